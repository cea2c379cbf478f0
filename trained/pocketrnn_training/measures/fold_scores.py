"""The accuracy of a classifier on the folds of a cross-validation: its mean and its spread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

__all__ = ["FoldScores"]


@dataclass(frozen=True)
class FoldScores:
    """The mean and the spread of the scores of the folds of a cross-validation.

    Attributes:
        mean: the mean of the accuracies of the folds or, if a row can have several labels, of their micro F1.
        deviation: the sample standard deviation (divisor n - 1) of these scores.
        folds: the number of folds.
        rows: the number of rows of all folds together.
        several_labels: whether a row can have several labels.
    """

    mean: float
    deviation: float
    folds: int
    rows: int
    several_labels: bool = False

    @classmethod
    def from_scores(cls, scores: npt.NDArray[np.float64], rows: int, *, several_labels: bool = False) -> Self:
        """Compute the mean and the standard deviation of the scores of folds.

        Args:
            scores: float64 [folds], the accuracy or the micro F1 of each fold.
            rows: the number of rows in all folds together.
            several_labels: whether a row can have several labels, so that the scores are micro F1.
        """
        return cls(float(scores.mean()), float(scores.std(ddof=1)), len(scores), rows, several_labels)

    @classmethod
    def from_right_rows(cls, right: npt.NDArray[np.bool_], fold_of: npt.NDArray[np.int64]) -> Self:
        """Compute the accuracy of each fold from the rows that are classified correctly; return their mean and spread.

        Args:
            right: bool [rows], whether each row was classified correctly.
            fold_of: int64 [rows], the fold of each row.
        """
        return cls.from_scores(np.array([right[fold_of == fold].mean() for fold in np.unique(fold_of)]), len(right))

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, Any], rows: int) -> Self:
        """Read the accuracy on folds from the metrics of a checkpoint. `rows` is the number of rows in all folds."""
        return cls(metrics["folds_accuracy"], metrics["folds_accuracy_deviation"], metrics["folds"], rows)

    @property
    def summary(self) -> str:
        """The mean and the standard deviation as a part of a sentence, with ± between them."""
        what = "micro F1" if self.several_labels else "accuracy"
        return f"{what} {self.mean:.1%} ± {self.deviation:.1%} of {self.rows:,} rows, by {self.folds} folds"

    @property
    def metrics(self) -> dict[str, float]:
        """The number of folds, and the mean and the standard deviation of their scores, as metrics for a checkpoint."""
        of = "micro_f1" if self.several_labels else "accuracy"
        return {"folds": self.folds, f"folds_{of}": self.mean, f"folds_{of}_deviation": self.deviation}
