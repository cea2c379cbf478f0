"""Show the exporter's progress as lines: its stages, and how far a long stage is."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from pocketrnn.verdicts import LOGGER as VERDICTS

EXPORTER: Final = "pocketrnn_export"
# The logger of progress records, with the level DEBUG: the handler chooses how often to show them.
PROGRESS: Final = "pocketrnn_export.progress"
# The loggers of an export whose records only its own handler gets.
_APART: Final = (EXPORTER, "pocketrnn", "onnxscript", "onnx_ir")
# The attribute of a warning that the command line prints at its end, after the error if there is one. The value is what
# the warning is about, if the command may leave it out.
AFTER_AN_ERROR: Final = "after_an_error"
ABOUT_PADDING: Final = "padding"
ABOUT_SOFTMAX: Final = "softmax"
ABOUT_OUTPUT: Final = "output"
ABOUT_LENGTHS: Final = "lengths"
ABOUT_SPLITTING: Final = "splitting"
# Each note on one of these topics replaces the one before: an export may try several text rules.
ABOUT_WORDS: Final = "words"
ABOUT_MARKS: Final = "marks"
ABOUT_RULES: Final = (ABOUT_WORDS, ABOUT_MARKS)
# A vocabulary is read before its rules are known.
ABOUT_FIRST_ID: Final = "first id"
# The seconds without a line after which the progress of another step, or of the same one, is shown.
_SECONDS: Final = 10.0
_SECONDS_OF_ONE_STEP: Final = 30.0
# In Python, work that takes less than these seconds shows no progress.
_SHORT: Final = 2.0

Item = TypeVar("Item")


@contextlib.contextmanager
def filter_log_records(choose: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    """While the block runs, show only the log records of the exporter that `choose` accepts.

    `choose` becomes a filter of each of the exporter's loggers, since a filter of a logger does not reach its children.
    """
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith(EXPORTER)]
    for logger in loggers:
        logger.addFilter(choose)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(choose)


def hide_log_records() -> contextlib.AbstractContextManager[None]:
    """While the block runs, show none of the log records of the exporter."""
    return filter_log_records(lambda _: False)


def log_item_progress(
    items: Iterable[Item], step: str, *, done_before: int = 0, total: int | None = None
) -> Iterator[Item]:
    """Yield the items of a step. Before each item, log the step and how many of its items are done.

    Args:
        step: the step in words, such as "Comparing ONNX on texts".
        done_before: how many items of the step were already done.
        total: how many items the step has in all; by default, as many as `items`.
    """
    items, log = list(items), logging.getLogger(PROGRESS)
    total = len(items) if total is None else total
    for done, item in enumerate(items, done_before):
        # That none is done says nothing.
        count = f": {done} of {total}" if done and total > 1 else ""
        log.debug("%s%s", step, count, extra={"step": step, "done": done})
        yield item


def log_step(step: str) -> None:
    """Log the beginning of a step that has no items to count. A step that takes long is shown."""
    logging.getLogger(PROGRESS).debug("%s", step, extra={"step": step})


class ProgressLines(logging.Handler):
    """A log handler that shows stages and warnings.

    It shows the progress of a stage if nothing was shown for some seconds, even during a single long step. The count of
    a step never falls: if a step begins again, the line says for which time.

    Args:
        show: the function that shows a line.
        warn: the function that shows the log record of a warning.
        silent: the number of seconds at the beginning in which only warnings are shown. Then the current stage is
            shown.
        verdicts: whether to show the verdicts on the bundle, too, if the work took longer than `silent`. Commands print
            these themselves.
    """

    def __init__(
        self,
        show: Callable[[str], None],
        warn: Callable[[logging.LogRecord], None],
        silent: float = 0.0,
        *,
        verdicts: bool = False,
    ) -> None:
        super().__init__()
        self._show, self._warn = show, warn
        self._verdicts = verdicts
        self._shown = time.monotonic()
        self._from = self._shown + silent
        self._held: str | None = None
        self._waiting: tuple[str, str] | None = None
        self._step = ""
        # For each step, which time it is run, and how many items are done.
        self._counts: dict[str, tuple[int, int]] = {}

    def show_waiting_step(self) -> None:
        """Show the last step that was logged, if it was not shown when it began and it still runs after some
        seconds."""
        with self.lock or contextlib.nullcontext():
            self._show_step_after_pause(time.monotonic() if self._waiting else 0.0)

    def emit(self, record: logging.LogRecord) -> None:
        """Show the log record of a warning at once, and that of a stage after the silent seconds. Keep the record of a
        step until it is shown after some seconds."""
        now, self._waiting = time.monotonic(), None
        if record.levelno >= logging.WARNING:
            self._shown = now
            self._warn(record)
        elif record.name == VERDICTS:
            if self._verdicts and now >= self._from:
                self._show(record.getMessage())
            return
        elif record.name != PROGRESS:
            self._held = f"{record.getMessage()} ..."
        if self._held is not None and now >= self._from:
            self._show(self._held)
            self._held, self._shown = None, now
        elif record.name == PROGRESS:
            self._waiting = self._make_step_message(record), getattr(record, "step", "")
            self._show_step_after_pause(now)

    def _show_step_after_pause(self, now: float) -> None:
        """Show the step that waits, if nothing was shown for some seconds before the time `now`."""
        if self._waiting is not None:
            line, step = self._waiting
            pause = _SECONDS_OF_ONE_STEP if step == self._step else _SECONDS
            if now >= max(self._from, self._shown + pause):
                self._show(f"  {line} ...")
                self._shown, self._step, self._waiting = now, step, None

    def _make_step_message(self, record: logging.LogRecord) -> str:
        """Return the message of a step. If the step has begun again, the message says for which time."""
        message, step, done = record.getMessage(), getattr(record, "step", ""), getattr(record, "done", 0)
        time_of_step, most = self._counts.get(step, (1, -1))
        if done <= most:
            time_of_step += 1
        self._counts[step] = time_of_step, done
        again = f"{step}, for the {_name_ordinal(time_of_step)} time"
        return message if time_of_step == 1 else message.replace(step, again, 1)


def _name_ordinal(number: int) -> str:
    """Return a number of times in a sentence: "second", "third", "4th", "22nd"."""
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return {2: "second", 3: "third"}.get(number, f"{number}{ending}")


@contextlib.contextmanager
def show_log_lines(lines: ProgressLines) -> Iterator[None]:
    """While the block runs, show the exporter's log with the handler `lines` only.

    The file of a module may set logging up, and its log is not the place for the exporter's lines.
    """
    logger, progress, ended = logging.getLogger(EXPORTER), logging.getLogger(PROGRESS), threading.Event()

    def watch_steps() -> None:
        while not ended.wait(_SECONDS / 4):
            lines.show_waiting_step()

    watcher = threading.Thread(target=watch_steps, daemon=True)
    levels = logger.level, progress.level
    apart = [one for one in map(logging.getLogger, _APART) if one.propagate]
    logger.addHandler(lines)
    watcher.start()
    for one in apart:
        one.propagate = False
    logger.setLevel(logging.INFO)
    progress.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        logger.removeHandler(lines)
        for one in apart:
            one.propagate = True
        logger.setLevel(levels[0])
        progress.setLevel(levels[1])


@contextlib.contextmanager
def show_progress(wanted: bool) -> Iterator[None]:
    """While the block runs, print the progress of the exporter on standard error, after the first two seconds. If the
    program has set up logging, its handlers get the records instead, and its levels decide.

    Args:
        wanted: whether to print the progress. If not, only warnings are shown, by the usual logging.
    """
    if not wanted or logging.getLogger(EXPORTER).hasHandlers():
        yield
        return
    with show_log_lines(ProgressLines(_print_to_stderr, _pass_to_last_resort_handler, _SHORT, verdicts=True)):
        yield


def _print_to_stderr(line: str) -> None:
    """Print a line on standard error at once."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - what is asked for


def _pass_to_last_resort_handler(record: logging.LogRecord) -> None:
    """Show a log record as Python shows the warnings of programs that do not set logging up."""
    if logging.lastResort is not None:
        logging.lastResort.handle(record)
