"""Make names, numbers, arrays, caches and errors look to the user's code in a trace as they do without one."""
