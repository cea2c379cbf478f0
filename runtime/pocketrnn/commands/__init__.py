"""The command line of the runtime: everything here knows click or a terminal."""
