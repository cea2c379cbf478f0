"""The `pocketrnn` command: its group, its exit statuses, and the commands that other packages bring.

A command that needs more than the runtime belongs to the package that it needs. It is imported when it is asked for.
"""

from __future__ import annotations

import errno
import importlib.util
from typing import Any, Final

import click

from pocketrnn import __version__
from pocketrnn.commands.bench import bench
from pocketrnn.commands.classify import classify
from pocketrnn.commands.inspect import inspect
from pocketrnn.commands.standard_streams import give_up_stdout, replace_closed_stderr
from pocketrnn.commands.terminal import one_line
from pocketrnn.commands.termination import ended_by_sigterm
from pocketrnn.commands.verify import verify
from pocketrnn.errors import (
    CompressionError,
    MissingExtraError,
    OutputError,
    ParityError,
    PocketRNNError,
    require,
)

__all__ = ["main"]

# A command that another package brings: the module that holds it under its name, and the extra that installs it.
_BROUGHT: Final = {
    "train": ("pocketrnn_training.commands.train", "train"),
    "evaluate": ("pocketrnn_training.commands.evaluate", "train"),
    "export": ("pocketrnn_export.commands.export", "export"),
    "compress": ("pocketrnn_export.commands.compress", "export"),
    "import-vocab": ("pocketrnn_export.commands.import_vocab", "export"),
    "pack": ("pocketrnn_export.commands.pack", "export"),
}
# A shell reports 128 + the signal for a command that Ctrl-C (SIGINT, 2) or a closed pipe (SIGPIPE, 13) has ended.
_INTERRUPTED: Final = 130
_PIPE_CLOSED: Final = 141


class _Failed(click.ClickException):
    """A PocketRNNError as click shows its own: `Error: ...` on stderr, no traceback."""

    def __init__(self, error: PocketRNNError) -> None:
        # The messages of these two are tables of several lines; every other message is one line.
        lines = str(error).split("\n") if isinstance(error, (CompressionError, ParityError)) else [str(error)]
        super().__init__("\n".join(map(one_line, lines)))
        self.exit_code = error.exit_status  # type: ignore[misc]


class _Commands(click.Group):
    """The runtime's commands, and those of the other packages that are installed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        brought = [name for name, (module, _) in _BROUGHT.items() if _is_installed(module)]
        return sorted([*super().list_commands(ctx), *brought])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _BROUGHT:
            return super().get_command(ctx, cmd_name)
        module, extra = _BROUGHT[cmd_name]
        try:
            command: click.Command = getattr(require(module, extra), cmd_name.replace("-", "_"))
        except MissingExtraError as error:
            raise _Failed(error) from None
        return command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        replace_closed_stderr()
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with ended_by_sigterm():
                return super().invoke(ctx)
        except PocketRNNError as error:
            raise _Failed(error) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            give_up_stdout()
            raise click.exceptions.Exit(_PIPE_CLOSED) from None
        except OSError as error:
            # An error without a file name comes from standard output.
            if error.errno != errno.ENOSPC or error.filename is not None:
                raise
            give_up_stdout()
            raise _Failed(OutputError("There is no room to write the answer.", "Free some space.")) from error


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="pocketrnn %(version)s")
def main() -> None:
    """Recurrent text classifiers: trained in PyTorch, exported with a proof, run without PyTorch.

    \b
    Examples:
      pocketrnn classify "Wall St. Bears Claw Back Into the Black"
      pocketrnn COMMAND --help
    """


for _command in (bench, classify, inspect, verify):
    main.add_command(_command)
