"""The progress of a run on standard error: a live bar on a terminal, else plain lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from pocketrnn.commands.standard_streams import tell
from pocketrnn.commands.terminal import one_line
from pocketrnn_training.progress import Epoch, Notice, Progress

__all__ = ["displayed"]


@contextmanager
def displayed() -> Iterator[Callable[[Progress | Epoch | Notice], None]]:
    """A function that shows each event of a run."""
    if not sys.stderr.isatty():
        yield lambda event: tell(_line(event), err=True)
        return
    with _live_bar() as show:
        yield show


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
