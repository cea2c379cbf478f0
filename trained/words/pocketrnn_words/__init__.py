"""Word vectors, with a table for each language. `pocketrnn train` tries them automatically.

See README.md of this distribution.
"""
