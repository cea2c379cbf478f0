"""The command line `pocketrnn` or `python -m pocketrnn`. It handles signals from its start."""

from pocketrnn.commands.signal_handling import SHELL_STATUS, exit_on_signals, exit_process_with_status
from pocketrnn.errors import Terminated

__all__ = ["main"]


def main() -> None:
    """Run the command that the user typed, and exit with the command's status. It always ends with SystemExit or the
    end of the process."""
    # Before the imports: they are the longest part of a short command, and an error in them would be a traceback.
    exit_on_signals()
    try:
        from pocketrnn.commands.cli import main as command_line

        command_line(prog_name="pocketrnn")
    except SystemExit as error:
        if not isinstance(error.code, int):
            raise
        exit_process_with_status(error.code)
    # For a signal that comes outside of the blocks that handle signals.
    except KeyboardInterrupt:
        exit_process_with_status(SHELL_STATUS + 2)
    except Terminated as error:
        exit_process_with_status(SHELL_STATUS + error.signal)


if __name__ == "__main__":
    main()
