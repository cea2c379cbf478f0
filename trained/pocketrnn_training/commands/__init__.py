"""The command line of training: everything here knows click or a terminal."""
