"""What a module asks about its input's sizes: the questions, where each answer holds, and what is traced for it."""
