"""The accuracy of a simple model on the same rows, to compare a trained classifier with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["Baseline"]


@dataclass(frozen=True)
class Baseline:
    """The accuracy of a simple model, usually linear, with which a trained classifier is compared.

    Attributes:
        accuracy: the share of the validation rows that it classifies correctly, from 0 to 1.
        rows: the number of training rows.
        micro_f1: its micro F1 if a row can have several labels; else None.
        folds: the number of folds of the cross-validation that measured it; 0 if validation rows did.
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
        """The score to compare with the classifier's: the accuracy or, if a row can have several labels, micro F1."""
        return self.accuracy if self.micro_f1 is None else self.micro_f1

    @property
    def summary(self) -> str:
        """The accuracy or micro F1 as the end of a sentence: "has an accuracy of 90.0% on the same validation rows"."""
        measure = "an accuracy" if self.micro_f1 is None else "a micro F1"
        rows = "rows, by the same folds" if self.folds else "validation rows"
        return f"has {measure} of {self.compared_score:.1%} on the same {rows}"
