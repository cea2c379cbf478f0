"""Turn logits into answers: labels with their probabilities, or values."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, isfinite, tanh
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.output_kinds import decides_between_two_labels
from pocketrnn.errors import InputError, PocketRNNError

__all__ = ["Answers", "Prediction"]

Floats = NDArray[np.float32]
# The logits of some texts, and the indices of the skipped texts. The rows of logits of skipped texts do not hold an
# answer.
LogitsAndSkipped = tuple[Floats, list[int]]


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to one text or sequence of numbers: its likeliest labels, with their probabilities.

    If the classifier is multi-label, each label has a probability of its own, and the probabilities need not add up to
    1.

    Attributes:
        label: the likeliest label.
        probability: the probability of this label.
        top: pairs of a label and its probability, the likeliest label first; as many as were asked for, at least one.

    Example:
        >>> Prediction("Sports", 0.9, (("Sports", 0.9), ("World", 0.1))).label
        'Sports'
    """

    label: str
    probability: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """Turns the logits of a classifier into answers: labels with probabilities, or values.

    Attributes:
        name: the classifier's name, for messages.
        labels: the classes, in the order of the logits; for values, the names of the values.
        activation: `softmax` if exactly one label is right; `sigmoid` if each label is decided by itself; `values` if
            the logits are the values themselves.
        thresholds: for each label, the probability from which the label is given; None if the bundle has no thresholds.
        heads: the answers of each head by its name, in the order of the logits (`HeadAnswers`); empty if there is a
            single set of labels.
    """

    name: str
    labels: tuple[str, ...]
    activation: str
    thresholds: tuple[float, ...] | None = None
    heads: Mapping[str, Answers] = field(default_factory=dict)

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> Answers:
        """Make the `Answers` for a manifest whose output has a single set of labels, or values."""
        return cls(manifest.name, manifest.labels, manifest.output.activation, manifest.output.thresholds)

    @property
    def gives_reached_labels(self) -> bool:
        """Whether the classifier, unless asked otherwise, gives all labels whose probabilities reach their thresholds:
        it has thresholds, or is multi-label."""
        return self.thresholds is not None or self.activation == "sigmoid"

    def iterate_heads(self) -> Iterator[tuple[str, Answers, slice]]:
        """Yield for each head its name, its `Answers`, and the slice of the columns of logits that belong to it. A
        classifier with a single set of labels has one head here, with the name ""."""
        yield "", self, slice(0, len(self.labels))

    def restrict_to_labels(self, indices: Sequence[int]) -> Answers:
        """Return `Answers` with only the labels at these indices of `labels`, and with their thresholds."""
        thresholds = None if self.thresholds is None else tuple(self.thresholds[index] for index in indices)
        return Answers(self.name, tuple(self.labels[index] for index in indices), self.activation, thresholds)

    def require_single_head(self, capability: str) -> None:
        """Do nothing: this classifier has a single set of labels. With several heads, `HeadAnswers` raises an
        InputError.

        Args:
            capability: the method or option that needs a single set of labels, as the subject of a sentence:
                `explain()`.
        """

    def probabilities(self, logits: Floats) -> Floats:
        """Convert logits to probabilities.

        Args:
            logits: float32 [texts, labels].

        Returns:
            float32 [texts, labels]; each row adds up to 1, unless the classifier is multi-label.

        Raises:
            InputError: the classifier gives values.
        """
        self.check_gives_labels()
        return _softmax(logits) if self.activation == "softmax" else _sigmoid(logits)

    def make_prediction(self, logits: Sequence[float], top: int = 1) -> Prediction:
        """Convert one row of logits to a `Prediction`. Labels with equal logits keep the order of `labels`.

        Args:
            logits: one row, as a list.
            top: how many labels to give, from 1 to the number of labels.

        Raises:
            InputError: `top` is out of its range; or the classifier gives values.
            PocketRNNError: the logits are NaN or infinite.
        """
        # In Python's own floats: on one row, numpy's calls take four times as long. The two agree to 1e-7.
        labels = self.labels
        largest = max(logits)
        if self.activation == "softmax":
            powers = [exp(logit - largest) for logit in logits]
            total = sum(powers)
        else:
            self.check_gives_labels()
            powers, total = [0.5 * (tanh(0.5 * logit) + 1.0) for logit in logits], 1.0
        if not isfinite(largest) or total != total:
            raise self._make_not_finite_error()
        if top == 1:
            best = logits.index(largest)
            label, probability = labels[best], powers[best] / total
            return Prediction(label, probability, ((label, probability),))
        self.check_top(top)
        # Sorted by logit: far from zero, several logits round to the same probability, 1.0 or 0.0.
        order = sorted(range(len(logits)), key=logits.__getitem__, reverse=True)[:top]
        likeliest = tuple((labels[i], powers[i] / total) for i in order)
        return Prediction(*likeliest[0], likeliest)

    def mark_reached_labels(self, probabilities: Floats, threshold: float | None = None) -> NDArray[np.bool_]:
        """Mark the labels whose probabilities reach their thresholds. With softmax, only the likeliest label of a text
        can be marked; or, if two thresholds add up to 1, the one label that reaches its threshold.

        Args:
            probabilities: float32 [texts, labels].
            threshold: one probability for all labels; None for the bundle's own thresholds, or 0.5 if it has none.

        Returns:
            bool [texts, labels], True for a label that reaches its threshold.
        """
        needed = np.array(self._list_thresholds(threshold), np.float32)
        reached: NDArray[np.bool_] = probabilities >= needed
        if self.activation == "softmax":
            if threshold is None and decides_between_two_labels(self.thresholds):
                # Rounding may leave both labels just below their thresholds.
                reached[:, 0] = probabilities[:, 1] < needed[1]
                return reached
            likeliest = np.zeros_like(reached)
            likeliest[np.arange(len(reached)), probabilities.argmax(1)] = True
            reached &= likeliest
        return reached

    def list_reached_labels(self, probabilities: Floats, threshold: float | None = None) -> list[tuple[str, ...]]:
        """List for each text the labels whose probabilities reach their thresholds, in the order of `labels`. With
        softmax, list at most one label, as `mark_reached_labels` chooses it.

        Args:
            probabilities: float32 [texts, labels].
            threshold: one probability for all labels; None for the bundle's own thresholds, or 0.5 if it has none.
        """
        rows = self.mark_reached_labels(probabilities, threshold)
        return [tuple(label for label, is_one in zip(self.labels, row, strict=True) if is_one) for row in rows]

    def find_likeliest_labels(self, chunks: Iterable[LogitsAndSkipped]) -> list[str | None]:
        """Return the likeliest label of each text; None for a skipped text.

        Args:
            chunks: the logits of some texts, and the indices of the skipped texts among them.
        """
        labels: list[str | None] = []
        for logits, skipped in chunks:
            start = len(labels)
            labels += [self.labels[i] for i in logits.argmax(1).tolist()]
            for index in skipped:
                labels[start + index] = None
        return labels

    def make_predictions_or_values(self, logits: Floats, top: int) -> list[Any]:
        """Convert each row of logits to a `Prediction` with the `top` likeliest labels; if the classifier gives values,
        to float32 [values].

        Raises:
            InputError: `top` is out of its range.
            PocketRNNError: the logits are NaN or infinite.
        """
        self.check_finite(logits)
        return list(logits) if self.gives_values else [self.make_prediction(row, top) for row in logits.tolist()]

    def iterate_predictions(
        self, chunks: Generator[LogitsAndSkipped, None, None], top: int
    ) -> Iterator[Prediction | None]:
        """Yield for each text its `Prediction`; None for a skipped text.

        If the caller stops before the end, the generator `chunks` is closed, too.

        Args:
            chunks: yields the logits of some texts, and the indices of the skipped texts among them.
            top: how many labels to give, from 1 to the number of labels.
        """
        with contextlib.closing(chunks):
            for logits, skipped in chunks:
                passed_over = set(skipped)
                for index, row in enumerate(logits.tolist()):
                    yield None if index in passed_over else self.make_prediction(row, top)

    def join_logits(self, chunks: Iterable[LogitsAndSkipped]) -> Floats:
        """Join chunks of logits to one array; the row of a skipped text becomes NaN.

        Args:
            chunks: the logits of some texts, and the indices of the skipped texts among them.
        """
        parts = [np.empty((0, len(self.labels)), np.float32)]
        for logits, skipped in chunks:
            logits[list(skipped)] = np.nan
            parts.append(logits)
        return np.concatenate(parts)

    def list_reached_labels_with_probabilities(
        self, answer_with_all_labels: Prediction, threshold: float | None = None
    ) -> tuple[tuple[str, float], ...]:
        """List the labels of one text whose probabilities reach their thresholds, with these probabilities, likeliest
        first. With softmax, list at most one label, as `mark_reached_labels` chooses it.

        Args:
            answer_with_all_labels: the prediction for the text, with all labels in `top`.
            threshold: one probability for all labels; None for the bundle's own thresholds, or 0.5 if it has none.
        """
        needed = dict(zip(self.labels, self._list_thresholds(threshold), strict=True))
        if threshold is None and self.activation == "softmax" and decides_between_two_labels(self.thresholds):
            found = dict(answer_with_all_labels.top)
            label = self.labels[found[self.labels[1]] >= needed[self.labels[1]]]
            return ((label, found[label]),)
        some = answer_with_all_labels.top[:1] if self.activation == "softmax" else answer_with_all_labels.top
        return tuple(pair for pair in some if pair[1] >= needed[pair[0]])

    def _list_thresholds(self, threshold: float | None) -> tuple[float, ...]:
        """Return the threshold of each label: `threshold` for all if it is given, else the bundle's own thresholds, or
        0.5."""
        if threshold is None and self.thresholds is not None:
            return self.thresholds
        return (0.5 if threshold is None else threshold,) * len(self.labels)

    @property
    def gives_values(self) -> bool:
        """Whether the classifier gives values, as in regression, and not labels."""
        return self.activation == "values"

    def check_gives_labels(self) -> None:
        """Check that the classifier gives labels and not values. Raise an InputError if the classifier gives values."""
        if self.gives_values:
            raise InputError(f"{self.name} gives values, not labels.", "Call values() or predict().")

    def check_top(self, top: int) -> None:
        """Check `top`, the number of labels to give for a text.

        Raises:
            InputError: `top` is not a whole number from 1 to the number of labels; or the classifier gives values.
        """
        self.check_gives_labels()
        try:
            number = operator.index(top)
        except TypeError:
            number = 0
        if not 1 <= number <= len(self.labels):
            raise InputError(
                f"top is {top!r}, but {self.name} has {len(self.labels)} labels.",
                f"Give a whole number from 1 to {len(self.labels)}.",
            )

    def check_finite(self, logits: Floats) -> None:
        """Check that logits are neither NaN nor infinite.

        A logit of minus infinity is accepted if another logit of the row is finite: it means the probability 0.

        Args:
            logits: float32 [texts, labels].

        Raises:
            PocketRNNError: a row has NaN or another infinity.
        """
        if not np.isfinite(logits if self.gives_values else logits.max(1)).all():
            raise self._make_not_finite_error()

    def _make_not_finite_error(self) -> PocketRNNError:
        """Make the error for logits that are NaN or infinite."""
        return PocketRNNError(
            f"The graph of {self.name} answered with logits that are NaN or infinite.",
            "Check the bundle with: pocketrnn verify",
        )


def _softmax(logits: Floats) -> Floats:
    # The largest logit is subtracted first, so that no exponential overflows.
    """Convert logits [texts, labels] to probabilities whose rows add up to 1, without overflow."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    powers /= powers.sum(1, keepdims=True)
    return powers  # type: ignore[no-any-return]


def _sigmoid(logits: Floats) -> Floats:
    # The tanh form overflows for no logit.
    """Convert each logit to a probability of its own, without overflow."""
    return np.float32(0.5) * (np.tanh(np.float32(0.5) * logits) + np.float32(1))  # type: ignore[no-any-return]
