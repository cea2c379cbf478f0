"""Make the candidate classifiers of a run, and choose between them."""
