"""Measure a classifier (accuracy, F1), calibrate its probabilities, and choose its thresholds."""
