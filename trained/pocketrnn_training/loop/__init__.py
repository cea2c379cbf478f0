"""The epochs of a run: batches, gradients, optimizers, processes, and the last fit."""
