"""A module's questions about its input's sizes: where each answer holds, and the program that is traced for it."""
