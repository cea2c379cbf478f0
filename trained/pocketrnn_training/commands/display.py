"""The progress of a run on standard error: a live bar on a terminal, else plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from pocketrnn.commands.standard_streams import tell
from pocketrnn.commands.terminal import one_line
from pocketrnn_training.progress import Epoch, Notice, Progress

__all__ = ["displayed"]

# Seconds between lines within an epoch.
_EVERY: Final = 30.0


@contextmanager
def displayed(*, quiet: bool = False, every: bool = False) -> Iterator[Callable[[Progress | Epoch | Notice], None]]:
    """A function that shows the events of a run.

    Args:
        quiet: show none.
        every: show each, where there is no terminal; else few.
    """
    if quiet:
        yield lambda _: None
        return
    if not sys.stderr.isatty():
        yield (lambda event: tell(_line(event), err=True)) if every else _Lines().show
        return
    with _live_bar() as show:
        yield show


class _Lines:
    """Plain lines, for a file or a pipe: one for each epoch, and one in half a minute of a long one."""

    def __init__(self) -> None:
        self._shown = time.monotonic()
        self._ended: Progress | None = None

    def show(self, event: Progress | Epoch | Notice) -> None:
        # The end of an epoch has its own line, with the validation; a final fit has none.
        ended, self._ended = self._ended, None
        if ended is not None and not isinstance(event, Epoch):
            tell(_line(ended), err=True)
        if isinstance(event, Progress):
            if event.row == event.rows:
                self._ended = event
                return
            if time.monotonic() - self._shown < _EVERY:
                return
            self._shown = time.monotonic()
        tell(_line(event), err=True)


@contextmanager
def _live_bar() -> Iterator[Callable[[Progress | Epoch | Notice], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("reading the data", total=None, figures="")

        def show(event: Progress | Epoch | Notice) -> None:
            if not isinstance(event, Progress):
                bar.console.print(_line(event), highlight=False, markup=False)
                return
            bar.update(
                task,
                description=f"epoch {event.epoch}/{event.epochs}",
                total=event.epochs * event.rows,
                completed=(event.epoch - 1) * event.rows + event.row,
                figures=_figures(event),
            )

        yield show


def _line(event: Progress | Epoch | Notice) -> str:
    """One event as a line of text."""
    if isinstance(event, Notice):
        return f"Note: {one_line(event.text)}"
    if isinstance(event, Epoch):
        best = "  best so far" if event.best else ""
        return (
            f"epoch {event.epoch}  validation loss {event.validation_loss:.4f}  "
            f"accuracy {event.validation_accuracy:.1%}  F1 {event.validation_f1:.1%}{best}"
        )
    rows_left = (event.epochs - event.epoch + 1) * event.rows - event.row
    time_left = timedelta(seconds=round(rows_left / event.rows_per_second))
    position = f"epoch {event.epoch}/{event.epochs}  row {event.row:,}/{event.rows:,}"
    return f"{position}  {_figures(event)}  at most {time_left} left"


def _figures(event: Progress) -> str:
    return f"loss {event.loss:.4f}  accuracy {event.accuracy:.1%}  {event.rows_per_second:,.0f} rows/s"
