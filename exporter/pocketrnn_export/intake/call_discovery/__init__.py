"""Find out how a module is called, by calling it; the search begins in `call_search`."""
