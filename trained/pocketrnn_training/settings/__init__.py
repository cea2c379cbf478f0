"""The settings of a training run, and their defaults. This folder needs no PyTorch."""
