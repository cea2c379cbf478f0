"""Prepare labelled rows for the epochs of a training run."""
