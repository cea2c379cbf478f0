"""`python -m pocketrnn`: the same command line as `pocketrnn`."""

from pocketrnn.commands.cli import main

if __name__ == "__main__":
    main(prog_name="pocketrnn")
