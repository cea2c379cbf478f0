"""Trace a module into a program of `torch.export`, and control what forward sees meanwhile; see `trace`."""
