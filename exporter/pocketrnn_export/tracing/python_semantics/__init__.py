"""Make names, numbers, arrays, caches and errors behave in a trace as the user's code expects them to."""
