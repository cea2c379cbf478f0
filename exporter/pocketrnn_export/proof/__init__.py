"""The promise: a program that answers as its module does for all sizes, and every form of it on all cases."""
