"""The accuracy of a simple model on the same rows, to compare a trained classifier with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["Baseline"]


@dataclass(frozen=True)
class Baseline:
    """A simple model, usually linear, that was fitted on the rows of a run, and its accuracy.

    Attributes:
        accuracy: the share of the validation rows that it classifies correctly, from 0 to 1.
        rows: how many training rows it learnt from.
        micro_f1: F1 of all its answers together, where a row can have several labels; else None.
        folds: the folds of the training rows that it was measured by; 0 for the validation rows.
    """

    # The words of the report: the name, the kind of model, how it was fitted, and what to do where it is better.
    NAME: ClassVar[str] = "linear model"
    MODEL: ClassVar[str]
    FITTED: ClassVar[str] = "fitted on {:,} training rows"
    ADVICE: ClassVar[str]

    accuracy: float
    rows: int
    micro_f1: float | None = None
    folds: int = 0

    @property
    def compared_score(self) -> float:
        """The score that is compared with the classifier's: the accuracy; or the micro F1 if a row can have several
        labels."""
        return self.accuracy if self.micro_f1 is None else self.micro_f1

    @property
    def summary(self) -> str:
        """The accuracy or micro F1 as the end of a sentence: "has an accuracy of 90.0% on the same validation rows"."""
        measure = "an accuracy" if self.micro_f1 is None else "a micro F1"
        rows = "rows, by the same folds" if self.folds else "validation rows"
        return f"has {measure} of {self.compared_score:.1%} on the same {rows}"
