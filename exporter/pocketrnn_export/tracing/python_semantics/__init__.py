"""The user's code in a trace: it sees names, numbers, arrays, caches and errors as it does without a trace."""
