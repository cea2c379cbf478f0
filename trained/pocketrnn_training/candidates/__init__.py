"""The candidates of a run, and what chooses between them."""
