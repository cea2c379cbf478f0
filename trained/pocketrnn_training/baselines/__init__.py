"""Simple models of the same rows, which a classifier has to be compared with."""
