"""Make names, numbers, arrays, caches and errors behave in a trace as they do in a normal run of the user's code."""
