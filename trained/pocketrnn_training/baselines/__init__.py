"""Simple models of the same rows, with which a classifier has to be compared."""
