"""What the user's own code sees in a trace: names, numbers, arrays, caches and errors, as where no trace is."""
