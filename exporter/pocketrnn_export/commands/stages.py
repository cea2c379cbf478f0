"""What the exporter is doing, as lines on standard error."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from pocketrnn.commands.standard_streams import tell

__all__ = ["stages_on_stderr"]


def _show(record: logging.LogRecord) -> None:
    """A stage that begins, or a warning."""
    message = record.getMessage()
    tell(f"Note: {message}" if record.levelno >= logging.WARNING else f"{message} ...", err=True)


@contextlib.contextmanager
def stages_on_stderr() -> Iterator[None]:
    """While the block runs, each stage that the exporter logs is a line on standard error.

    Verdicts are left out: a command says them in its last lines.
    """
    from pocketrnn.verdicts import LOGGER

    logger = logging.getLogger("pocketrnn_export")
    handler = logging.Handler()
    handler.addFilter(lambda record: record.name != LOGGER)
    handler.emit = _show  # type: ignore[method-assign]
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
