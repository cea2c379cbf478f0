"""Show the progress of a run on standard error: a live bar on a terminal, else lines of text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from pocketrnn.commands.standard_streams import print_line
from pocketrnn.commands.terminal_text import escape_line
from pocketrnn_training.training_events import Epoch, Notice, Progress
from pocketrnn_training.training_events_as_text import EventLines, format_event_line, format_training_metrics

__all__ = ["show_progress"]


@contextmanager
def show_progress(
    *, quiet: bool = False, every_event: bool = False
) -> Iterator[Callable[[Progress | Epoch | Notice], None]]:
    """Yield a function to call with each event of a run: it shows the event on standard error.

    Args:
        quiet: whether to show nothing.
        every_event: whether to show every event if standard error is not a terminal; otherwise only few are shown. A
            terminal shows a live bar in any case.
    """
    if quiet:
        yield lambda _: None
        return
    if not sys.stderr.isatty():
        shown = partial(print_line, err=True)
        yield (lambda event: shown(format_event_line(event))) if every_event else EventLines(shown).show_event
        return
    with _show_live_bar() as show:
        yield show


@contextmanager
def _show_live_bar() -> Iterator[Callable[[Progress | Epoch | Notice], None]]:
    """Show a live bar on standard error while the block runs; yield a function that shows an event in it."""
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
                bar.console.print(escape_line(format_event_line(event)), highlight=False, markup=False)
                return
            bar.update(
                task,
                description=f"epoch {event.epoch}/{event.epochs}",
                total=event.epochs * event.rows,
                completed=(event.epoch - 1) * event.rows + event.row,
                figures=format_training_metrics(event),
            )

        yield show
