"""How good a classifier is: accuracy, F1, calibrated probabilities, thresholds."""
