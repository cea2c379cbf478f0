"""The rules of a trace, one file for each topic. `tracing/module_trace.py` defines their order."""
