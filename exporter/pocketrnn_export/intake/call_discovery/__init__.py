"""How a module is called, found out by calling it; `search` begins it."""
