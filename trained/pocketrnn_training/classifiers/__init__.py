"""The classifiers that are trained: their modules, their logits, and their checkpoints."""
