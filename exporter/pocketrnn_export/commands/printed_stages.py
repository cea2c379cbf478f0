"""Print the stages of an export on standard error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from pocketrnn.commands.standard_streams import get_lines_to_print_at_end, print_at_end_if_command_runs, print_line
from pocketrnn.errors import ParityError, PocketRNNError

if TYPE_CHECKING:
    import logging

_PRINTED_LINES: Final = "pocketrnn.printed_lines"


@contextlib.contextmanager
def print_stages() -> Iterator[None]:
    """While the block runs, print each stage that the exporter logs on standard error, and the progress of stages that
    take more than ten seconds. Each line is printed only once in a command. The verdicts are left out, since commands
    print these in their last lines."""
    from pocketrnn.verdicts import LOGGER
    from pocketrnn_export.progress import (
        ABOUT_FIRST_ID,
        ABOUT_LENGTHS,
        ABOUT_RULES,
        ABOUT_SOFTMAX,
        ABOUT_SPLITTING,
        AFTER_AN_ERROR,
        ProgressLines,
        show_log_lines,
    )

    def is_first(line: str) -> bool:
        context = click.get_current_context(silent=True)
        printed: set[str] = set() if context is None else context.meta.setdefault(_PRINTED_LINES, set())
        is_new = line not in printed
        printed.add(line)
        return is_new

    def print_stage_once(line: str) -> None:
        if is_first(line):
            print_line(line, err=True)

    def print_note_once(record: logging.LogRecord) -> None:
        line = f"Note: {record.getMessage()}"
        about = getattr(record, AFTER_AN_ERROR, None)
        context = click.get_current_context(silent=True)
        if about in ABOUT_RULES and context is not None:
            kept = get_lines_to_print_at_end(context)
            kept[:] = [one for one in kept if one[1] != about]
        elif not is_first(line):
            return
        if about is None or not print_at_end_if_command_runs(line, about):
            print_line(line, err=True)

    lines = ProgressLines(print_stage_once, print_note_once)
    lines.addFilter(lambda record: record.name != LOGGER)
    try:
        with show_log_lines(lines):
            yield
    except PocketRNNError as error:
        # They are about a bundle, which is not written. Lengths may be why answers differ.
        left_out = {ABOUT_SOFTMAX, ABOUT_FIRST_ID}
        left_out |= set() if isinstance(error, ParityError) else {ABOUT_LENGTHS, ABOUT_SPLITTING}
        if (context := click.get_current_context(silent=True)) is not None:
            kept = get_lines_to_print_at_end(context)
            kept[:] = [one for one in kept if one[1] not in left_out]
        raise
