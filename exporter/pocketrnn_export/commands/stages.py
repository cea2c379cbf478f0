"""What the exporter is doing, as lines on standard error."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Final

from pocketrnn.commands.standard_streams import tell

__all__ = ["stages_on_stderr"]

# Work that takes longer says how far it is, so often.
_SECONDS: Final = 5.0


class _Lines(logging.Handler):
    """Stages that begin, and warnings; how far the work is only where nothing was shown for some seconds."""

    def __init__(self) -> None:
        from pocketrnn.verdicts import LOGGER
        from pocketrnn_export.proof.progress import PROGRESS

        super().__init__()
        self._progress = PROGRESS
        self._shown = time.monotonic()
        # A command says the verdicts in its last lines.
        self.addFilter(lambda record: record.name != LOGGER)

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if record.name == self._progress and now - self._shown < _SECONDS:
            return
        self._shown = now
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            tell(f"Note: {message}", err=True)
        else:
            tell(f"{'  ' * (record.name == self._progress)}{message} ...", err=True)


@contextlib.contextmanager
def stages_on_stderr() -> Iterator[None]:
    """While the block runs, each stage that the exporter logs is a line on standard error, and how far it is is one
    where it takes longer than five seconds."""
    from pocketrnn_export.proof.progress import PROGRESS

    logger, progress, handler = logging.getLogger("pocketrnn_export"), logging.getLogger(PROGRESS), _Lines()
    levels = logger.level, progress.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    progress.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(levels[0])
        progress.setLevel(levels[1])
