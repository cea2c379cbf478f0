"""The epochs of a run: batches, gradients, optimizers, processes, and the final fit on all rows."""
