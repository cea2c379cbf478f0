"""The rules of a trace, a file for each topic; `tracing/trace.py` has their order."""
