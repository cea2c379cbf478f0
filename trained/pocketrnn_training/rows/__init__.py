"""Labelled rows: where they come from, how files of texts and of numbers are read, and what is in memory."""
