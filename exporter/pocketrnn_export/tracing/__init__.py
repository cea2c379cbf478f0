"""Trace a module into a program of `torch.export`, and control what forward sees during the trace; see
`module_trace.py`."""
