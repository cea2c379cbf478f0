"""Print the stages of an export on standard error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pocketrnn.commands.standard_streams import print_at_end, print_line

if TYPE_CHECKING:
    import logging


@contextlib.contextmanager
def print_stages() -> Iterator[None]:
    """While the block runs, print each stage that the exporter logs. For a stage of more than ten seconds, also
    print the progress. The verdicts are left out: a command prints them at its end."""
    from pocketrnn.verdicts import LOGGER
    from pocketrnn_export.progress import ProgressLines, show_log_lines

    def print_warning(record: logging.LogRecord) -> None:
        line = f"Note: {record.getMessage()}"
        if not (hasattr(record, "after_an_error") and print_at_end(line)):
            print_line(line, err=True)

    lines = ProgressLines(lambda line: print_line(line, err=True), print_warning)
    lines.addFilter(lambda record: record.name != LOGGER)
    with show_log_lines(lines):
        yield
