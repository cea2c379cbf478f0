"""Print the stages of an export on standard error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from pocketrnn.commands.standard_streams import print_at_end_if_command_runs, print_line

if TYPE_CHECKING:
    import logging

_PRINTED_NOTES: Final = "pocketrnn.printed_notes"


@contextlib.contextmanager
def print_stages() -> Iterator[None]:
    """While the block runs, print each stage that the exporter logs. For a stage of more than ten seconds, also
    print the progress. The verdicts are left out: a command prints them at its end. A command prints each note once,
    though it may find the same twice."""
    from pocketrnn.verdicts import LOGGER
    from pocketrnn_export.progress import AFTER_AN_ERROR, ProgressLines, show_log_lines

    def print_note_once(record: logging.LogRecord) -> None:
        line = f"Note: {record.getMessage()}"
        context = click.get_current_context(silent=True)
        printed: set[str] = set() if context is None else context.meta.setdefault(_PRINTED_NOTES, set())
        if line in printed:
            return
        printed.add(line)
        about = getattr(record, AFTER_AN_ERROR, None)
        if about is None or not print_at_end_if_command_runs(line, about):
            print_line(line, err=True)

    lines = ProgressLines(lambda line: print_line(line, err=True), print_note_once)
    lines.addFilter(lambda record: record.name != LOGGER)
    with show_log_lines(lines):
        yield
