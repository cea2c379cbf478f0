"""The lines of text that show the events of a training run."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from pocketrnn_training.training_events import Epoch, Notice, Progress

__all__ = ["EventLines", "format_event_line", "format_training_metrics"]

# Seconds after which the next line is shown in any case.
_LONGEST_SILENCE: Final = 30.0
# About this many epochs of a longer run have a line.
_EPOCH_LINES: Final = 20


def format_event_line(event: Progress | Epoch | Notice) -> str:
    """Format one event as a line of text."""
    if isinstance(event, Notice):
        return f"Note: {event.text}"
    if isinstance(event, Epoch):
        best = "  best so far" if event.best else ""
        return (
            f"epoch {event.epoch}  validation loss {event.validation_loss:.4f}  "
            f"accuracy {event.validation_accuracy:.1%}  F1 {event.validation_f1:.1%}{best}"
        )
    rows_left = (event.epochs - event.epoch + 1) * event.rows - event.row
    time_left = timedelta(seconds=round(rows_left / event.rows_per_second))
    position = f"epoch {event.epoch}/{event.epochs}  row {event.row:,}/{event.rows:,}"
    return f"{position}  {format_training_metrics(event)}  at most {time_left} left"


def format_training_metrics(event: Progress) -> str:
    """Format the training loss, the accuracy and the rows per second since the last report, for a progress line."""
    return f"training loss {event.loss:.4f}  accuracy {event.accuracy:.1%}  {event.rows_per_second:,.0f} rows/s"


class EventLines:
    """Shows the events of a training run as few lines of text, for a log file or a pipe.

    It shows all notices, about 20 epochs of the run, and at least one line in half a minute.

    Args:
        show: the function to call with each line.
        silent: how many seconds the object waits before it shows its first line. Lines of this time are shown later,
            before the next line.
    """

    def __init__(self, show: Callable[[str], None], silent: float = 0.0) -> None:
        self._show = show
        self._shown = time.monotonic()
        self._from = self._shown + silent
        self._held: list[str] = []
        self._ended: Progress | None = None
        self._epochs = 1

    def show_event(self, event: Progress | Epoch | Notice) -> None:
        """Show an event as a line, or skip it: most epochs and progress reports are skipped."""
        # An epoch ends with its own line of validation scores, except an epoch of a final fit.
        ended, self._ended = self._ended, None
        if ended is not None and not isinstance(event, Epoch):
            self._show_epoch_line_if_due(ended)
        if isinstance(event, Notice):
            self._show_or_hold_line(event)
        elif isinstance(event, Epoch):
            self._show_epoch_line_if_due(event)
        else:
            self._epochs = event.epochs
            if event.row == event.rows:
                self._ended = event
            elif self._was_silent_too_long():
                self._show_or_hold_line(event)

    def _show_epoch_line_if_due(self, event: Progress | Epoch) -> None:
        """Show an epoch as a line if it is one of about 20 evenly spaced epochs, or if no line came for half a
        minute."""
        one_of = -(-self._epochs // _EPOCH_LINES)
        if event.epoch % one_of == 0 or self._was_silent_too_long():
            self._show_or_hold_line(event)

    def _was_silent_too_long(self) -> bool:
        """Return whether the last line was shown half a minute ago or earlier."""
        return time.monotonic() - self._shown >= _LONGEST_SILENCE

    def _show_or_hold_line(self, event: Progress | Epoch | Notice) -> None:
        """Show an event as a line. In the silent seconds at the start, store the line; a later call shows it first."""
        self._held.append(format_event_line(event))
        if time.monotonic() < self._from:
            return
        self._shown = time.monotonic()
        for line in self._held:
            self._show(line)
        self._held = []
