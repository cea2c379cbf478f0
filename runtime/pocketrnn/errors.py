"""Every error a user can meet: one family, each a sentence of what is wrong and one of what to do.

The command line prints that text without a traceback and exits with `exit_status`:
1 the task failed, 2 wrong usage or input, 3 parity broken.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

__all__ = [
    "BundleError",
    "CheckpointError",
    "CompressionError",
    "DataError",
    "ExportError",
    "InputError",
    "LimitError",
    "MissingExtraError",
    "OutputError",
    "ParityError",
    "PocketRNNError",
    "SequenceError",
    "Terminated",
    "TextError",
    "did_you_mean",
    "first_line",
    "reason",
    "require",
    "shown",
]


class PocketRNNError(Exception):
    """The base of the family.

    Args:
        problem: one sentence that says what is wrong.
        remedy: one sentence that says what to do.
    """

    exit_status = 1

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[PocketRNNError], tuple[str, str]]:
        return type(self), (self.problem, self.remedy)


class InputError(PocketRNNError):
    """Something handed in cannot be used: an option, a file, a value."""

    exit_status = 2


class TextError(InputError, TypeError):
    """An item given as a text is not a text."""


class LimitError(InputError):
    """A text has fewer or more tokens than the graph takes, or no known word where it needs one; see `Limits`."""


class SequenceError(InputError, ValueError):
    """A sequence of numbers has other channels, another length or other values than the classifier takes."""


class BundleError(InputError):
    """A bundle is missing, damaged, of another format or inconsistent with itself."""


class CheckpointError(InputError):
    """A checkpoint is missing, damaged or its weights do not fit its configuration."""


class DataError(InputError):
    """A data set, vocabulary or vector file cannot be used."""


class OutputError(InputError):
    """The place to write to is taken or cannot be written."""


class ExportError(PocketRNNError):
    """A module cannot be exported right, so nothing was written."""


class CompressionError(PocketRNNError):
    """A smaller classifier answers worse than was allowed, so nothing was written."""


class ParityError(PocketRNNError):
    """Two forms of one classifier do not give the same answers."""

    exit_status = 3


class MissingExtraError(PocketRNNError):
    """A layer above the runtime is used without the packages it needs."""


class Terminated(BaseException):
    """SIGTERM or SIGHUP has come. It is not a SystemExit, which is caught where a user's code is run: that may call
    sys.exit.

    Args:
        signal: its number.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or raise the error that names the extra which brings it.

    Raises:
        MissingExtraError: the package is not installed.
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        from pocketrnn.installation import installs_extra

        raise MissingExtraError(
            f"This needs the package {package}, which is not installed.", f"Install it with: {installs_extra(extra)}"
        ) from None


def first_line(error: BaseException) -> str:
    """The first line of what an error says, without its full stop: for the end of a sentence.

    An error that says nothing is named by its class.

    Example:
        >>> first_line(ValueError("The file is damaged.\\nMore of it."))
        'The file is damaged'
        >>> first_line(KeyError())
        'KeyError'
    """
    try:
        lines = str(error).strip().splitlines()
    # The error may be of a user's class.
    except Exception:
        lines = []
    return lines[0].strip().removesuffix(".") if lines else type(error).__name__


def reason(error: Exception) -> str:
    """Why a file cannot be read, for the end of a sentence: of an error of the system without its number and the file,
    which the sentence names.

    Example:
        >>> reason(OSError(21, "Is a directory", "news.csv"))
        'Is a directory'
    """
    return getattr(error, "strerror", None) or first_line(error)


def shown(value: object, length: int = 60) -> str:
    """A value as a message shows it: its `repr`, cut to `length` characters.

    Example:
        >>> shown("a" * 100, 10)
        "'aaaaaa..."
    """
    text = repr(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."


def did_you_mean(given: str, known: Iterable[str], *, least: float = 0.6) -> str:
    """The known name that is nearest to a wrong one, whatever its capitals, as a sentence; empty where none is near.

    Args:
        given: the wrong name.
        known: the names that are right.
        least: how near is near, from 0 to 1 (`difflib`).

    Example:
        >>> did_you_mean("notebok.py", ["notebook.py", "model.py"])
        'Did you mean notebook.py?'
        >>> did_you_mean("notebok.py", ["a.py"])
        ''
    """
    import difflib

    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(given.lower(), names, n=1, cutoff=least)
    return f"Did you mean {names[near[0]]}?" if near else ""
