"""The command `pocketrnn`, its exit statuses, and the commands that other packages add.

A command that needs more than the runtime is part of the package that it needs, and is imported when it is used.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import IO, Any, Final

import click

from pocketrnn import __version__
from pocketrnn.commands.bench import bench
from pocketrnn.commands.classify import classify
from pocketrnn.commands.inspect import inspect
from pocketrnn.commands.option_names_in_messages import translate_to_options
from pocketrnn.commands.push import push
from pocketrnn.commands.signal_handling import raise_on_signals
from pocketrnn.commands.standard_streams import (
    discard_stdout,
    discard_stream,
    get_lines_to_print_at_end,
    make_stdout_write_error,
    print_line,
    replace_closed_stderr,
)
from pocketrnn.commands.terminal_text import escape_line
from pocketrnn.commands.verify import verify
from pocketrnn.errors import (
    InputError,
    MissingExtraError,
    PocketRNNError,
    Terminated,
    first_line,
    require_module,
    suggest_similar_name,
)

__all__ = ["main"]

# The commands of other packages: the module that defines the command, and the extra that installs it.
_OTHER_PACKAGES_COMMANDS: Final = {
    "train": ("pocketrnn_training.commands.train", "train"),
    "evaluate": ("pocketrnn_training.commands.evaluate", "train"),
    "export": ("pocketrnn_export.commands.export", "export"),
    "compress": ("pocketrnn_export.commands.compress", "export"),
    "import-vocab": ("pocketrnn_export.commands.import_vocab", "export"),
    "pack": ("pocketrnn_export.commands.pack", "export"),
    "check": ("pocketrnn_export.commands.check", "export"),
}
_RUNTIME_COMMANDS: Final = ("classify", "verify", "inspect", "bench", "push")
# A shell reports 128 + the signal for a command that Ctrl-C (SIGINT, 2) or a closed pipe (SIGPIPE, 13) has ended.
_INTERRUPTED: Final = 130
_PIPE_CLOSED: Final = 141
# The largest length of an error's line in characters. A user's name or value can be as long as a command line, 128 kB.
_LONGEST_LINE: Final = 2000
_COMMAND: Final = " Write: pocketrnn "


class _CommandError(click.ClickException):
    """A PocketRNNError that click prints as `Error: ...` on standard error, without a traceback.

    Args:
        command: the command that failed, whose options the message then names; None if it is not known.
        lines_after: lines to print after the error.
    """

    def __init__(
        self, error: PocketRNNError, command: click.Command | None = None, lines_after: Sequence[str] = ()
    ) -> None:
        message = translate_to_options(str(error), command)
        lines = message.split("\n") if error.of_lines else [escape_line(message)]
        # A command to copy stands on a line of its own.
        lines = [part for line in lines for part in line.replace(_COMMAND, f"\n{_COMMAND.lstrip()}").split("\n")]
        # It is the last one, after the lines that follow the error.
        last = [line for line in lines[-1:] if line.startswith(_COMMAND.lstrip())]
        super().__init__("\n".join(_shorten_message(line.rstrip()) for line in lines[: len(lines) - len(last)]))
        self.exit_code = error.exit_status  # type: ignore[misc]
        self._heading = error.heading
        self._lines_after = [*lines_after, *(_shorten_message(line.rstrip()) for line in last)]

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the error, and then the lines that follow it, on standard error."""
        click.echo(f"{self._heading}: {self.format_message()}", file=file, err=file is None)
        for line in self._lines_after:
            print_line(line, err=True)


class _OneLineUsageError(click.UsageError):
    """A usage error that is printed on one line. click's own usage errors take three lines."""

    def __init__(self, error: click.UsageError) -> None:
        message = error.format_message()
        if isinstance(error, click.NoSuchOption) and error.ctx is not None:
            known = [name for p in error.ctx.command.get_params(error.ctx) for name in (*p.opts, *p.secondary_opts)]
            options = [name for name in known if name.startswith("-")]
            message = f"No such option {error.option_name}. {suggest_similar_name(error.option_name, options)}".strip()
        super().__init__(_shorten_message(message), error.ctx)

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the error as one line on standard error."""
        path = "pocketrnn" if self.ctx is None else self.ctx.command_path
        # The system's messages about files have no full stop.
        message = self.message if self.message.endswith((".", "?", "!")) else f"{self.message}."
        click.echo(f"Error: {message} See {path} --help.", file=file or sys.stderr)


def _shorten_message(message: str) -> str:
    """Escape line breaks in a message, and shorten a message of more than 2,000 characters: keep its beginning, and its
    end, which is the remedy."""
    line = escape_line(message)
    half = _LONGEST_LINE // 2
    return line if len(line) <= _LONGEST_LINE else f"{line[:half]} [...] {line[-half:]}"


@contextlib.contextmanager
def _shorten_usage_errors() -> Iterator[None]:
    """Replace click's usage errors in the block by errors that are printed on one line."""
    try:
        yield
    except click.UsageError as error:
        # `pocketrnn` without a command is a usage error in click, too, which shows the help.
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        raise _OneLineUsageError(error) from None


class _CommandGroup(click.Group):
    """The commands of the runtime, and those of the other packages of pocketrnn that are installed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        others = [name for name, (module, _) in _OTHER_PACKAGES_COMMANDS.items() if _is_installed(module)]
        return sorted([*super().list_commands(ctx), *others])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands in the help: first the commands that use a classifier, then those that make one,
        then all others."""
        names = set(self.list_commands(ctx))
        groups = {"Use a classifier": _RUNTIME_COMMANDS, "Make one": tuple(_OTHER_PACKAGES_COMMANDS)}
        groups["Other commands"] = tuple(sorted(names - {*_RUNTIME_COMMANDS, *_OTHER_PACKAGES_COMMANDS}))
        for title, members in groups.items():
            commands = [(name, self.get_command(ctx, name)) for name in members if name in names]
            if commands:
                with formatter.section(title):
                    formatter.write_dl([(name, c.get_short_help_str(80)) for name, c in commands if c is not None])

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _shorten_usage_errors():
            return super().make_context(*args, **kwargs)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # click suggests only the group's own commands, and before version 8.4 none at all.
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            suggestion = suggest_similar_name(name, {*self.commands, *_OTHER_PACKAGES_COMMANDS})
            ctx.fail(f"No such command {name!r}. {suggestion}".strip())
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _OTHER_PACKAGES_COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, extra = _OTHER_PACKAGES_COMMANDS[cmd_name]
        try:
            command: click.Command = getattr(require_module(module, extra), cmd_name.replace("-", "_"))
        except MissingExtraError as error:
            raise _CommandError(error) from None
        return command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        replace_closed_stderr()
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            raise SystemExit(_report_write_error_and_choose_status(error)) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with raise_on_signals(), _shorten_usage_errors(), _refuse_exit_of_users_code():
                given = super().invoke(ctx)
            for line, _ in get_lines_to_print_at_end(ctx):
                print_line(line, err=True)
            return given
        except PocketRNNError as error:
            name = ctx.invoked_subcommand
            command = None if name is None else self.get_command(ctx, name)
            raise _CommandError(error, command, [line for line, _ in get_lines_to_print_at_end(ctx)]) from error
        except KeyboardInterrupt:
            print_line("Interrupted.", err=True)
            raise click.exceptions.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            discard_stdout()
            raise click.exceptions.Exit(_PIPE_CLOSED) from None
        except OSError as error:
            # An error without a file name comes from standard output.
            if error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF):
                discard_stdout()
                raise _CommandError(make_stdout_write_error(error)) from error
            raise _CommandError(_convert_unexpected_error(error)) from error
        except (click.ClickException, click.exceptions.Exit, click.Abort, SystemExit, Terminated):
            raise
        # A user's module may raise what is not an Exception.
        except BaseException as error:
            raise _CommandError(_convert_unexpected_error(error)) from error


@contextlib.contextmanager
def _refuse_exit_of_users_code() -> Iterator[None]:
    """Convert a SystemExit that a user's code raises in the block to an InputError. Otherwise `sys.exit(0)` in that
    code would end the command with the status 0, as if the command had succeeded."""
    try:
        yield
    except SystemExit as error:
        # Python has exit() there.
        *_, last = (one for one in traceback.extract_tb(error.__traceback__) if "_sitebuiltins" not in one.filename)
        raise InputError(
            f"Your code ends the program with {type(error).__name__}({error}) in line {last.lineno} of "
            f"{PurePath(last.filename).name}.",
            "Let your code return or raise an error there.",
        ) from error


def _report_write_error_and_choose_status(error: OSError) -> int:
    """Report that standard output or standard error could not be written; return the exit status of the process."""
    if isinstance(error.__context__, click.ClickException):
        discard_stream(sys.stderr)
        return error.__context__.exit_code
    discard_stdout()
    failed = _CommandError(make_stdout_write_error(error))
    print_line(f"Error: {failed.message}", err=True)
    return failed.exit_code


def _convert_unexpected_error(error: BaseException) -> PocketRNNError:
    """Convert an unexpected error to a PocketRNNError of one line. In Python's development mode (PYTHONDEVMODE=1),
    raise the error itself, so that its traceback is shown."""
    if isinstance(error, MemoryError):
        return PocketRNNError(
            "There is not enough memory for this command.", "Give fewer or shorter inputs, or use a larger machine."
        )
    if isinstance(error, OSError) and error.filename is not None:
        name, reason = os.fsdecode(error.filename), error.strerror or error
        return InputError(f"{name} cannot be read or written: {reason}.", "Check the file and its rights.")
    if sys.flags.dev_mode:
        raise error
    *_, last = traceback.extract_tb(error.__traceback__)
    where = f"{PurePath(last.filename).name}, line {last.lineno}"
    return PocketRNNError(
        f"pocketrnn failed in {where}: {type(error).__name__}: {first_line(error)}.",
        "It is a fault of pocketrnn: report it with what the same command shows after PYTHONDEVMODE=1 is set.",
    )


def _is_installed(module: str) -> bool:
    """Return whether a module can be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@click.group("pocketrnn", cls=_CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="pocketrnn %(version)s")
def main() -> None:
    """Recurrent text classifiers: trained in PyTorch, exported with a proof, run without PyTorch.

    \b
    Examples:
      pocketrnn classify "Où est la gare ?"
      pocketrnn train reviews.csv -o reviews.checkpoint --export reviews
      pocketrnn COMMAND --help
    """


for _command in (bench, classify, inspect, push, verify):
    main.add_command(_command)
