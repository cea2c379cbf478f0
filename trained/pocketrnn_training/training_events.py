"""The events that a training run reports, and the lines of text that show them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

__all__ = ["Epoch", "EventLines", "Notice", "Progress", "StageNotice", "format_event_line", "format_training_metrics"]

# Seconds after which the next line is shown in any case.
_LONGEST_SILENCE: Final = 30.0
# About this many epochs of a longer run have a line.
_EPOCH_LINES: Final = 20


@dataclass(frozen=True)
class Notice:
    """One sentence about the data for the user. The run goes on."""

    text: str


@dataclass(frozen=True)
class StageNotice(Notice):
    """One sentence about the next stage of the run."""


@dataclass(frozen=True)
class Progress:
    """How far a run is in an epoch, with the loss and accuracy so far.

    Attributes:
        epoch: the epoch, from 1.
        epochs: the largest number of epochs.
        row: the rows read in this epoch.
        rows: the rows of an epoch.
        loss: the mean loss since the last report.
        accuracy: the share of rows with the right class, or all of the right labels, since the last report.
        rows_per_second: the speed since the last report.
    """

    epoch: int
    epochs: int
    row: int
    rows: int
    loss: float
    accuracy: float
    rows_per_second: float


@dataclass(frozen=True)
class Epoch:
    """The loss, accuracy and F1 of one epoch.

    The training scores are measured while the weights change and with dropout, so that at first they are worse than
    the validation scores of a good run.

    Attributes:
        epoch: the epoch, from 1.
        training_loss: the mean loss of the training rows.
        training_accuracy: the share of training rows with the right class.
        validation_loss: the mean loss of the validation rows.
        validation_accuracy: the share of validation rows with the right class; with several labels, with all of them
            right at a threshold of 0.5.
        validation_f1: the mean F1 of all classes; with several labels, micro F1 at the best single threshold.
        seconds: the duration of the training, without the validation.
        best: whether the validation is the best so far.
    """

    epoch: int
    training_loss: float
    training_accuracy: float
    validation_loss: float
    validation_accuracy: float
    validation_f1: float
    seconds: float
    best: bool


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
    """Format the loss and accuracy of the training rows since the last report."""
    return f"training loss {event.loss:.4f}  accuracy {event.accuracy:.1%}  {event.rows_per_second:,.0f} rows/s"


class EventLines:
    """Shows the events of a run in few lines of text, for a file or a pipe.

    It shows all notices, and a line for each of about 20 epochs, but at least one line in half a minute.

    Args:
        show: called with a line.
        silent: for this many seconds from now on, lines are held back.
    """

    def __init__(self, show: Callable[[str], None], silent: float = 0.0) -> None:
        self._show = show
        self._shown = time.monotonic()
        self._from = self._shown + silent
        self._held: list[str] = []
        self._ended: Progress | None = None
        self._epochs = 1

    def show_event(self, event: Progress | Epoch | Notice) -> None:
        """Show a line for an event, unless it is an epoch or a progress for which other lines are enough."""
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
        """Show the line of an epoch if it is one of the about 20 to show, or the last line is half a minute old."""
        one_of = -(-self._epochs // _EPOCH_LINES)
        if event.epoch % one_of == 0 or self._was_silent_too_long():
            self._show_or_hold_line(event)

    def _was_silent_too_long(self) -> bool:
        return time.monotonic() - self._shown >= _LONGEST_SILENCE

    def _show_or_hold_line(self, event: Progress | Epoch | Notice) -> None:
        """Show the line of an event. During the silent seconds at the start, store it, and show it with the first line
        after them."""
        self._held.append(format_event_line(event))
        if time.monotonic() < self._from:
            return
        self._shown = time.monotonic()
        for line in self._held:
            self._show(line)
        self._held = []
