"""Labelled rows: their sources, the readers of files of texts and of numbers, and the rows in memory."""
