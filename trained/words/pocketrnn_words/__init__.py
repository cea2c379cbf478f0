"""Word vectors, with a table for each language, that `pocketrnn train` tries automatically; see README.md of this
distribution."""
