"""The command line of the runtime. Only this folder uses click or a terminal."""
