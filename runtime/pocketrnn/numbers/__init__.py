"""Prepare sequences of numbers, such as those of a sensor, as in the module's training."""
