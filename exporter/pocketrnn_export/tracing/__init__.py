"""A module as a program of `torch.export`: one trace, and what forward sees meanwhile; `trace` begins it."""
