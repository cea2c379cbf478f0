"""All errors for users, in one family. Each error states the problem in a sentence, and the remedy in another.

The command line prints that text without a traceback and exits with `exit_status`:
1 the task failed, 2 wrong usage or input, 3 parity broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import ModuleType
from typing import TypeVar

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
    "find_file_error_reason",
    "find_similar_name",
    "first_line",
    "replace_error_subject",
    "require_module",
    "short_repr",
    "suggest_similar_name",
]


_Error = TypeVar("_Error", bound="PocketRNNError")


class PocketRNNError(Exception):
    """The base class of pocketrnn's errors.

    Args:
        problem: one sentence that says what is wrong.
        remedy: one sentence that says what to do.

    Attributes:
        exit_status: the exit status of a command that fails with this error.
        of_lines: whether the message may have several lines, such as those of a table.
        heading: what stands before the message on the command line.
    """

    exit_status = 1
    of_lines = False
    heading = "Error"

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[PocketRNNError], tuple[str, str]]:
        return type(self), (self.problem, self.remedy)


class InputError(PocketRNNError):
    """An option, a file or a value from the user cannot be used."""

    exit_status = 2


class TextError(InputError, TypeError):
    """An item that was given as a text is not a text; or the text rules or the features of the classifier refuse it."""


class LimitError(InputError):
    """A text has too few or too many tokens for the graph, or no word of the vocabulary although the graph needs one;
    or the native engine would need too much memory or time for the text, or too large integers."""


class SequenceError(InputError, ValueError):
    """A sequence of numbers has other channels, another length or other values than the classifier accepts."""


class BundleError(InputError):
    """A bundle is missing or damaged, has an unknown format, or contradicts itself."""


class CheckpointError(InputError):
    """A checkpoint is missing or damaged, or its weights do not fit its configuration."""


class DataError(InputError):
    """A data set, vocabulary or vector file cannot be used."""


class OutputError(InputError):
    """The output path exists already or cannot be written."""


class ExportError(PocketRNNError):
    """A module cannot be exported correctly, so nothing was written."""


class CompressionError(PocketRNNError):
    """The compressed classifier is worse than allowed, so nothing was written."""

    of_lines = True


class ParityError(PocketRNNError):
    """Two forms of one classifier do not give the same answers."""

    exit_status = 3
    of_lines = True


class MissingExtraError(PocketRNNError):
    """A package that this feature needs is not installed."""


class Terminated(BaseException):
    """SIGTERM or SIGHUP was received.

    This is not a SystemExit: pocketrnn catches a SystemExit when a user's code runs, since the code may call sys.exit.

    Args:
        signal: the signal's number.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal


def require_module(module: str, extra: str) -> ModuleType:
    """Import `module`. If its package is not installed, raise an error that names the extra of pocketrnn to install.
    Raise a MissingExtraError if the package is not installed."""
    from importlib import import_module

    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        from pocketrnn.install_commands import make_extra_install_command

        raise MissingExtraError(
            f"The package {package} is needed for this, but it is not installed.",
            f"Install it with: {make_extra_install_command(extra)}",
        ) from None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message that has a letter or digit, without its full stop and without codes
    for colours. It can stand at the end of a sentence. For an error without a message, return the name of its class.
    """
    try:
        plain = re.sub(r"\x1b\[[\d;]*m", "", str(error))
        lines = [line for line in plain.splitlines() if any(map(str.isalnum, line))]
    # The error may have a user's class, whose `__str__` can fail.
    except Exception:
        lines = []
    return lines[0].strip().removesuffix(".") if lines else type(error).__name__


def find_file_error_reason(error: Exception) -> str:
    """Return why a file cannot be read, for use at the end of a sentence: the system's reason, or else the first line
    of the error's message."""
    return getattr(error, "strerror", None) or first_line(error)


def replace_error_subject(error: _Error, subject: str, new_subject: str) -> _Error:
    """Return an error of the same class in which `new_subject` replaces `subject`: "The text has ..." becomes "Line 3
    has ...".

    If the message does not begin with `subject`, put `new_subject` and a colon in front.
    """
    problem = error.problem.replace(subject, new_subject, 1)
    return type(error)(problem if problem.startswith(new_subject) else f"{new_subject}: {problem}", error.remedy)


def short_repr(value: object, length: int = 60) -> str:
    """Return the `repr` of a value for a message, cut to at most `length` characters."""
    text = repr(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."


def suggest_similar_name(given: str, known: Iterable[str], *, least: float = 0.6) -> str:
    """Return a sentence that suggests the known name most similar to a wrong name, "Did you mean ...?"; an empty string
    if none is similar.

    Args:
        given: the wrong name.
        known: the valid names.
        least: the smallest similarity, from 0 to 1 (`difflib`).
    """
    near = find_similar_name(given, known, least=least)
    return f"Did you mean {near}?" if near else ""


def find_similar_name(given: str, known: Iterable[str], *, least: float = 0.6) -> str:
    """Return the known name that is most similar to a wrong name, ignoring case; an empty string if none is similar.

    Args:
        given: the wrong name.
        known: the valid names.
        least: the smallest similarity, from 0 to 1 (`difflib`).
    """
    import difflib

    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(given.lower(), names, n=1, cutoff=least)
    return names[near[0]] if near else ""
