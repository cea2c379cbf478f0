"""The error that gives the corrected options of a command. Several such errors become one line to copy."""

from __future__ import annotations

from collections.abc import Mapping

from pocketrnn.errors import InputError


class OptionCorrectionsError(InputError):
    """Raised if options are missing or wrong, and the right ones are known.

    Args:
        problem: a sentence that says what is wrong.
        remedy: a sentence that says what to do.
        changes: the options of `pocketrnn export` to change, by their names, with their values. The value None means to
            leave the option out.
        nearest: the text rules that come nearest, as JSON, if they are too long for the message; otherwise empty.
    """

    def __init__(
        self, problem: str, remedy: str, changes: Mapping[str, str | None] | None = None, nearest: str = ""
    ) -> None:
        super().__init__(problem, remedy)
        self.changes, self.nearest = dict(changes or {}), nearest


class MissingOptionsError(OptionCorrectionsError):
    """Raised if what was given is right, but more is needed: an option, or a file that a script is to write."""

    heading = "Not exported yet"
