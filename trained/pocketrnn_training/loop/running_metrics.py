"""Measure the loss, accuracy and speed while an epoch runs."""

from __future__ import annotations

import time

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from pocketrnn_training.loop.training_step import TrainingBatch
from pocketrnn_training.measures.logit_measures import mark_rows_classified_correctly
from pocketrnn_training.training_events import Progress

__all__ = ["RunningMetrics"]


class RunningMetrics:
    """The loss, accuracy and speed of one epoch: in total, and since the last report.

    The sums stay on the device, so that the CPU waits for a GPU once for each report and not for each step.
    """

    def __init__(self, fabric: Fabric, report_every: int) -> None:
        """Start the clock; a report is due every `report_every` rows."""
        self._fabric = fabric
        self._report_every = report_every
        self._sums = torch.zeros(2, dtype=torch.float64, device=fabric.device)
        self._since = time.perf_counter()
        self._rows = self._answers = 0
        self._totals = np.zeros(3)
        self.seconds = 0.0

    @property
    def is_due(self) -> bool:
        """Whether a report is due: enough rows were added since the last report."""
        return self._rows >= self._report_every

    @property
    def loss(self) -> float:
        """The mean loss of all reported rows, or of all their labelled tokens."""
        return float(self._totals[0] / self._totals[2])

    @property
    def accuracy(self) -> float:
        """The share of all reported rows with the right class."""
        return float(self._totals[1] / self._totals[2])

    def add(self, loss: Tensor, logits: Tensor, batch: TrainingBatch) -> None:
        """Add the loss and the number of right answers of one batch to the sums.

        Args:
            loss: float32 [], the summed loss of this process's rows.
            logits: float32 [this process's rows, classes].
            batch: the rows.
        """
        if batch.scale:
            with torch.no_grad():
                self._sums += torch.stack((loss, mark_rows_classified_correctly(logits, batch.targets).sum()))
        self._rows += batch.rows
        self._answers += batch.answers

    def progress(self, epoch: int, epochs: int, row: int, rows: int) -> Progress:
        """Compute the loss, accuracy and speed since the last report, over all processes; begin the next report.

        Args:
            epoch: the number of the epoch, from 1.
            epochs: the largest number of epochs.
            row: how many rows of the epoch were read.
            rows: the number of rows of an epoch.
        """
        if self._fabric.world_size > 1:
            self._sums = self._fabric.all_reduce(self._sums, reduce_op="sum")  # type: ignore[assignment]
        loss, correct = self._sums.tolist()
        now = time.perf_counter()
        speed = self._rows / (now - self._since)
        progress = Progress(epoch, epochs, row, rows, loss / self._answers, correct / self._answers, speed)
        self._totals += (loss, correct, self._answers)
        self.seconds += now - self._since
        self._sums = torch.zeros_like(self._sums)
        self._since, self._rows, self._answers = now, 0, 0
        return progress
