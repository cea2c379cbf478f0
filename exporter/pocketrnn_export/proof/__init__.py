"""The proof: what every form of a classifier is run on, how it is compared with PyTorch, and the verdict."""
