"""`check`: whether a file that somebody exported answers as its module does."""
