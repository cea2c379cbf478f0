"""The exporter's progress as lines for the user: its stages, and the progress of long work."""

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
    "ProgressLines",
    "filter_records",
    "log_item_progress",
    "show_log_lines",
    "show_progress",
]

EXPORTER: Final = "pocketrnn_export"
# The logger of progress records, with the level DEBUG: the handler chooses how often to show them.
PROGRESS: Final = "pocketrnn_export.progress"
# Marks a warning that the command line prints at its end, after the error if there is one.
AFTER_AN_ERROR: Final = {"after_an_error": True}
# The seconds between two lines of progress.
_SECONDS: Final = 5.0
# In Python, work that takes less than these seconds shows no progress.
_SHORT: Final = 2.0

Item = TypeVar("Item")


@contextlib.contextmanager
def filter_records(choose: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    """For the block, add a filter to all loggers of the exporter: one on one logger leaves out its children."""
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith(EXPORTER)]
    for logger in loggers:
        logger.addFilter(choose)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(choose)


def log_item_progress(items: Iterable[Item], doing: str) -> Iterator[Item]:
    """Yield the items, and log before each what is done and how many are done."""
    items, log = list(items), logging.getLogger(PROGRESS)
    for i, item in enumerate(items):
        log.debug("%s: %d of %d", doing, i, len(items))
        yield item


class ProgressLines(logging.Handler):
    """A handler that shows stages and warnings, and a stage's progress if nothing was shown for some seconds.

    Args:
        show: called with a line.
        warn: called with the record of a warning.
        silent: for so many seconds at the beginning, only warnings are shown; then the current stage is shown.
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
def show_log_lines(lines: ProgressLines) -> Iterator[None]:
    """While the block runs, show the exporter's log records with this handler."""
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
def show_progress(wanted: bool) -> Iterator[None]:
    """While the block runs, print its progress on standard error, once it has taken two seconds.

    Where logging is set up, the program's handlers get the records instead, and its levels decide.

    Args:
        wanted: with False, only warnings are shown, as logging shows them.
    """
    if not wanted or logging.getLogger(EXPORTER).hasHandlers():
        yield
        return
    with show_log_lines(ProgressLines(_print_to_stderr, _log_record_as_usual, _SHORT)):
        yield


def _print_to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - what is asked for


def _log_record_as_usual(record: logging.LogRecord) -> None:
    if logging.lastResort is not None:
        logging.lastResort.handle(record)
