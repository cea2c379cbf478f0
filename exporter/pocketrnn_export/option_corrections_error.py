"""The error that gives the corrected options of a command. Several such errors become one line to copy."""

from __future__ import annotations

from collections.abc import Mapping

from pocketrnn.errors import InputError


class OptionCorrectionsError(InputError):
    """Options are missing or wrong, and the right ones are known.

    Args:
        problem, remedy: as for every error.
        changes: the options of `pocketrnn export` to give, by the names of their parameters; None for one to leave out.
        nearest: text rules that are too long for the message, as JSON: the nearest ones. Often empty.
    """

    def __init__(
        self, problem: str, remedy: str, changes: Mapping[str, str | None] | None = None, nearest: str = ""
    ) -> None:
        super().__init__(problem, remedy)
        self.changes, self.nearest = dict(changes or {}), nearest
