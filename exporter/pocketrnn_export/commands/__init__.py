"""The exporter's commands. Only the files here use click or print to a terminal."""
