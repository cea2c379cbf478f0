"""Word vectors, a table for each language, that `pocketrnn train` tries by itself: README.md of this distribution."""
