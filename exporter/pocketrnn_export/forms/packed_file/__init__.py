"""The form that the native engine reads: a graph as the program of a packed file."""
