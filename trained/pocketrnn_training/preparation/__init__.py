"""Prepare labelled rows for training."""
