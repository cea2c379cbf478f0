"""The choices of a training run, and their defaults. Nothing here needs PyTorch."""
