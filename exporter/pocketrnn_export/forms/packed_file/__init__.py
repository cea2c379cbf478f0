"""The packed form of a classifier: a graph becomes the program of a packed file, which the native engine runs."""
