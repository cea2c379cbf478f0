"""The events that a training run reports."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Epoch", "Notice", "Progress", "StageNotice"]


@dataclass(frozen=True)
class Notice:
    """One sentence about the data for the user. The run goes on."""

    text: str


@dataclass(frozen=True)
class StageNotice(Notice):
    """One sentence about the next stage of the run."""


@dataclass(frozen=True)
class Progress:
    """How far a run is in an epoch, with the loss and the accuracy since the last such report.

    Attributes:
        epoch: the number of the epoch, from 1.
        epochs: the largest number of epochs.
        row: how many rows were read in this epoch.
        rows: the number of rows of an epoch.
        loss: the mean loss since the last report.
        accuracy: the share of rows that were classified correctly since the last report; if a row can have several
            labels, with exactly its labels.
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

    The training scores are measured with dropout and while the weights change, so that they may be worse than the
    validation scores.

    Attributes:
        epoch: the number of the epoch, from 1.
        training_loss: the mean loss of the training rows.
        training_accuracy: the share of training rows that were classified correctly.
        validation_loss: the mean loss of the validation rows.
        validation_accuracy: the share of validation rows that are classified correctly; if a row can have several
            labels, with exactly its labels at a threshold of 0.5.
        validation_f1: macro F1; if a row can have several labels, micro F1 at the best single threshold.
        seconds: the duration of the training, without the validation.
        best: whether the validation score is the best so far.
    """

    epoch: int
    training_loss: float
    training_accuracy: float
    validation_loss: float
    validation_accuracy: float
    validation_f1: float
    seconds: float
    best: bool
