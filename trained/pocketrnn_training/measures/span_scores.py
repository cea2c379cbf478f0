"""Compute precision, recall and F1 of spans in BIO or IOBES labels, as `conlleval` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from pocketrnn.tags import Tag, spans_of

__all__ = ["SpanScore", "SpanScores"]


@dataclass(frozen=True)
class SpanScore:
    """Precision, recall and F1 of the spans of one label, or of all labels. A score that is not defined is 0.

    Attributes:
        label: the label without its prefix; empty for all labels.
        precision: the share of the predicted spans that are correct: a true span has the same words and label.
        recall: the share of the true spans that are predicted.
        f1: the harmonic mean of precision and recall.
        spans: the number of true spans.
    """

    label: str
    precision: float
    recall: float
    f1: float
    spans: int

    @classmethod
    def from_counts(cls, label: str, right: int, predicted: int, true: int) -> Self:
        """Compute the scores from the numbers of right, predicted and true spans."""
        return cls(label, right / max(1, predicted), right / max(1, true), 2 * right / max(1, predicted + true), true)


@dataclass(frozen=True)
class SpanScores:
    """The scores of all spans together, and of the spans of each label."""

    all: SpanScore
    labels: tuple[SpanScore, ...]

    @property
    def f1(self) -> float:
        """The F1 of all spans together."""
        return self.all.f1

    @classmethod
    def from_predictions(
        cls,
        labels: Sequence[str],
        word_counts: npt.NDArray[np.int64],
        targets: npt.NDArray[np.int64],
        predicted: npt.NDArray[np.int64],
    ) -> Self:
        """Compare the spans of the predicted labels with the spans of the right labels.

        Args:
            labels: the names of the labels, such as B-PER.
            word_counts: int64 [sentences], the number of words of each sentence.
            targets: int64 [words of all sentences], the indices of the right labels.
            predicted: int64 [words of all sentences], the indices of the predicted labels; -1 for a word without one.
        """
        true, given, right = Counter[str](), Counter[str](), Counter[str]()
        ends = np.cumsum(word_counts)[:-1]
        # A word without an answer has -1, and is outside of all spans.
        for one, other in zip(np.split(targets, ends), np.split(predicted, ends), strict=True):
            of_true, of_given = _find_spans(labels, one), _find_spans(labels, other)
            for counter, spans in ((true, of_true), (given, of_given), (right, of_true & of_given)):
                counter.update(label for label, *_ in spans)
        every = [SpanScore.from_counts(name, right[name], given[name], true[name]) for name in sorted(true | given)]
        return cls(SpanScore.from_counts("", right.total(), given.total(), true.total()), tuple(every))


def _find_spans(labels: Sequence[str], targets: npt.NDArray[np.int64]) -> set[tuple[str, int, int]]:
    """Find the spans in the labels of one sentence; return the label, first word and end (exclusive) of each.

    Args:
        labels: the names of the labels, such as B-PER.
        targets: int64 [words], the index of each word's label; -1 counts as outside of all spans.
    """
    tags = [Tag("", labels[target] if target >= 0 else "O", 1.0, i, i + 1) for i, target in enumerate(targets.tolist())]
    return {(span.label, span.start, span.end) for span in spans_of(tags, [""] * len(tags))}
