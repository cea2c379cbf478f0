"""The exporter's stages as lines on standard error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pocketrnn.commands.command import told_at_the_end
from pocketrnn.commands.standard_streams import tell

if TYPE_CHECKING:
    import logging

__all__ = ["stages_on_stderr"]


@contextlib.contextmanager
def stages_on_stderr() -> Iterator[None]:
    """While the block runs, each stage that the exporter logs is a line on standard error, and how far it is is one
    where it takes longer than five seconds. The verdicts are not: a command says them in its last lines."""
    from pocketrnn.verdicts import LOGGER
    from pocketrnn_export.progress import Lines, lines_shown

    def warn(record: logging.LogRecord) -> None:
        line = f"Note: {record.getMessage()}"
        if not (hasattr(record, "after_an_error") and told_at_the_end(line)):
            tell(line, err=True)

    lines = Lines(lambda line: tell(line, err=True), warn)
    lines.addFilter(lambda record: record.name != LOGGER)
    with lines_shown(lines):
        yield
