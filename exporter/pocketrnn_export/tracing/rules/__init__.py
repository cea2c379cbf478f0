"""The rules of a trace, a file for each topic; `tracing/module_trace.py` has their order."""
