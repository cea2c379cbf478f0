"""The command line of training. Only this folder uses click or a terminal."""
