"""The progress of a run on standard error: a live bar on a terminal, else plain lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from pocketrnn.commands.standard_streams import tell
from pocketrnn.commands.terminal import one_line
from pocketrnn_training.progress import Epoch, FewLines, Notice, Progress, figures_of, line_of

__all__ = ["displayed"]


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
        shown = partial(tell, err=True)
        yield (lambda event: shown(line_of(event))) if every else FewLines(shown).event
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
                bar.console.print(one_line(line_of(event)), highlight=False, markup=False)
                return
            bar.update(
                task,
                description=f"epoch {event.epoch}/{event.epochs}",
                total=event.epochs * event.rows,
                completed=(event.epoch - 1) * event.rows + event.row,
                figures=figures_of(event),
            )

        yield show
