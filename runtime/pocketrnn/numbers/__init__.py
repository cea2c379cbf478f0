"""Prepare sequences of numbers, such as those of a sensor, in the same way as the module's training did."""
