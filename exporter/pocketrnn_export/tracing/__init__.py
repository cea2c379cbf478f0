"""Trace a module as a program of `torch.export`, and control the values that forward sees meanwhile. `module_trace.py`
is the entry."""
