"""Labelled rows: where they come from, the readers of their files, and how they are kept in memory."""
