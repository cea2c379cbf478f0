"""`pocketrnn` and `python -m pocketrnn`: the command line, with care for signals from the first moment on."""

from pocketrnn.commands.termination import SHELL_STATUS, end_at_once, leave
from pocketrnn.errors import Terminated

__all__ = ["main"]


def main() -> None:
    """Run the command that the process was started with. It ends with the command's exit status, as SystemExit.

    Example:
        >>> main()  # doctest: +SKIP
    """
    # Before the imports: they are the longest part of a short command, and an error in them would be a traceback.
    end_at_once()
    try:
        from pocketrnn.commands.cli import main as command_line

        command_line(prog_name="pocketrnn")
    except SystemExit as error:
        if not isinstance(error.code, int):
            raise
        leave(error.code)
    # Where a signal comes between two blocks that would have met it.
    except KeyboardInterrupt:
        leave(SHELL_STATUS + 2)
    except Terminated as error:
        leave(SHELL_STATUS + error.signal)


if __name__ == "__main__":
    main()
