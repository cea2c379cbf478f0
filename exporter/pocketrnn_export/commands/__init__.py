"""The exporter's commands: everything here knows click or a terminal."""
