"""Classifiers of sequences of numbers: what a sensor gives, prepared as their module was trained, and answered."""
