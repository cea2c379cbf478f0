"""Find out how to call a module, by trying calls. The search begins in `call_search.py`."""
