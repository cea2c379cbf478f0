"""What a training run tells while it lasts."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Epoch", "Notice", "Progress"]


@dataclass(frozen=True)
class Notice:
    """One sentence about the data or the run that its owner should know; nothing stops for it."""

    text: str


@dataclass(frozen=True)
class Progress:
    """Where a run stands within an epoch. Loss, accuracy and speed are over the rows since the last one.

    There are at most `epochs` epochs, of `rows` rows each.
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
    """What an epoch gave, and whether its validation is the best so far.

    The training figures are taken while the weights change and values are dropped, so that a good run's are worse than
    those of the validation at first. Seconds are of the training, without the validation.
    """

    epoch: int
    training_loss: float
    training_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float
    best: bool
