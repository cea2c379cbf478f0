"""The exporter's progress as lines for the user: its stages, and how far long work is."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from pocketrnn.verdicts import LOGGER as VERDICTS

__all__ = [
    "AFTER_AN_ERROR",
    "EXPORTER",
    "PROGRESS",
    "Lines",
    "each",
    "lines_shown",
    "records_filtered",
    "told_on_stderr",
]

EXPORTER: Final = "pocketrnn_export"
# Its records are of the level DEBUG: whoever listens chooses how often.
PROGRESS: Final = "pocketrnn_export.progress"
# Marks a warning that the command line prints at its end, after the error if there is one.
AFTER_AN_ERROR: Final = {"after_an_error": True}
# Work that takes longer says how far it is, so often.
_SECONDS: Final = 5.0
# From Python, work that takes no longer logs nothing.
_SHORT: Final = 2.0

Item = TypeVar("Item")


@contextlib.contextmanager
def records_filtered(choose: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    """For the block, a filter of all that the exporter logs: one on a logger is not asked for those below it.

    Example:
        >>> with records_filtered(lambda record: record.levelno >= logging.WARNING):
        ...     export(module, "news", labels=labels, vocabulary=vocabulary)
    """
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith(EXPORTER)]
    for logger in loggers:
        logger.addFilter(choose)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(choose)


def each(items: Iterable[Item], doing: str) -> Iterator[Item]:
    """The items, each after a record of what is done with them, and with how many of them it was done.

    Example:
        >>> [case.name for case in each(cases, "Comparing onnx on hazards")]
        ['3000 tokens', 'many rows']
    """
    items, log = list(items), logging.getLogger(PROGRESS)
    for i, item in enumerate(items):
        log.debug("%s: %d of %d", doing, i, len(items))
        yield item


class Lines(logging.Handler):
    """Stages that begin, and warnings; how far a stage is only where nothing was shown for some seconds.

    Args:
        show: called with a line.
        warn: called with the record of a warning.
        silent: for how many seconds from the beginning only warnings are shown. The stage at work is shown after them.
    """

    def __init__(
        self, show: Callable[[str], None], warn: Callable[[logging.LogRecord], None], silent: float = 0.0
    ) -> None:
        super().__init__()
        self._show, self._warn = show, warn
        self._shown = time.monotonic()
        self._from = self._shown + silent
        self._held: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if record.levelno >= logging.WARNING:
            self._shown = now
            self._warn(record)
        elif record.name == VERDICTS:
            return  # a conclusion, which the commands say in their last lines
        elif record.name != PROGRESS:
            self._held = f"{record.getMessage()} ..."
        if self._held is not None and now >= self._from:
            self._show(self._held)
            self._held, self._shown = None, now
        elif record.name == PROGRESS and now >= max(self._from, self._shown + _SECONDS):
            self._show(f"  {record.getMessage()} ...")
            self._shown = now


@contextlib.contextmanager
def lines_shown(lines: Lines) -> Iterator[None]:
    """While the block runs, what the exporter logs becomes these lines."""
    logger, progress = logging.getLogger(EXPORTER), logging.getLogger(PROGRESS)
    levels = logger.level, progress.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    progress.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(lines)
        logger.setLevel(levels[0])
        progress.setLevel(levels[1])


@contextlib.contextmanager
def told_on_stderr(wanted: bool) -> Iterator[None]:
    """While the block runs, and once it has taken two seconds, lines on standard error say what it does.

    Not where logging is set up: there the program's handlers get the records, and its levels decide.

    Args:
        wanted: with False nothing is shown but warnings, as logging shows them.
    """
    if not wanted or logging.getLogger(EXPORTER).hasHandlers():
        yield
        return
    with lines_shown(Lines(_to_stderr, _as_logging_does, _SHORT)):
        yield


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - what is asked for


def _as_logging_does(record: logging.LogRecord) -> None:
    if logging.lastResort is not None:
        logging.lastResort.handle(record)
