"""The proof: every form of a classifier held to the untouched PyTorch module."""
