"""The classifiers that are trained: their modules, logits and checkpoints."""
