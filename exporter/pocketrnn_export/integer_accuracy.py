"""What integers change of a classifier's answers: measured on data, and refused beyond what is allowed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.answers import Answers
from pocketrnn.classifier import Classifier
from pocketrnn.errors import CompressionError, InputError
from pocketrnn.verdicts import IntegerVerdict

if TYPE_CHECKING:
    from pocketrnn_training.data import LabelledTexts

__all__ = ["MOST_CHANGED", "MOST_LOST", "AllowedChange", "accuracy_change", "changed_by_integers"]

# Percent of the labels, and points of accuracy.
MOST_CHANGED: Final = 0.2
MOST_LOST: Final = 0.1
# 95 % of a normal distribution.
_QUANTILE: Final = 1.959964


@dataclass(frozen=True)
class AllowedChange:
    """What integers may change on the data.

    Attributes:
        labels: of how many percent of the texts the label.
        loss: by how many points the accuracy may be lower, where the data has labels.

    Raises:
        InputError: a number is out of range.

    Example:
        >>> AllowedChange(labels=0.5)
        AllowedChange(labels=0.5, loss=0.1)
    """

    labels: float = MOST_CHANGED
    loss: float = MOST_LOST

    def __post_init__(self) -> None:
        for name, value in (("max_changed", self.labels), ("max_loss", self.loss)):
            if not 0 <= value <= 100:
                raise InputError(f"{name} is {value}.", "Give a number from 0 to 100.")


@dataclass(frozen=True)
class _Answers:
    """Probabilities of the texts that both take, and the right labels, or -1."""

    before: NDArray[np.float32] = field(repr=False)
    after: NDArray[np.float32] = field(repr=False)
    targets: NDArray[np.int64] = field(repr=False)


def changed_by_integers(
    before: Classifier, after: Classifier, data: LabelledTexts | None, allowed: AllowedChange
) -> IntegerVerdict:
    """Measure what integers change, on data or, without any, on the golden examples.

    Args:
        before: the classifier that multiplies float32.
        after: the same with integers.
        data: texts, labelled or not; their labels are the classifier's.
        allowed: what may change.

    Raises:
        InputError: the classifier takes none of the texts, or the data has other labels.
        CompressionError: more has changed than is allowed.

    Example:
        >>> changed_by_integers(before, after, None, AllowedChange()).changed
        0
    """
    if data is not None and tuple(data.labels) != before.manifest.labels:
        raise InputError("The data has other labels than the classifier.", "Read it with the classifier's labels.")
    answers = _answered(before, after, data)
    labels = answers.before.argmax(1), answers.after.argmax(1)
    changed = int((labels[0] != labels[1]).sum())
    known = answers.targets >= 0
    right = labels[0][known] == answers.targets[known], labels[1][known] == answers.targets[known]
    verdict = IntegerVerdict(
        texts=len(answers.targets),
        source="golden examples" if data is None else data.source,
        is_data=data is not None,
        changed=changed,
        largest_change=float(np.abs(answers.after - answers.before).max()),
        labelled=int(known.sum()),
        accuracy_before=float(right[0].mean()) if known.any() else None,
        accuracy=float(right[1].mean()) if known.any() else None,
        interval=accuracy_change(*right) if known.any() else None,
    )
    _check(verdict, allowed)
    return verdict


def accuracy_change(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> tuple[float, float]:
    """The 95 % confidence interval of how much the accuracy changes, from pairs of answers to the same rows.

    Args:
        before, after: bool [rows], whether the answer is right.

    Returns:
        its ends, as shares of the rows. It holds 0 where no answer differs, and is no point there.

    Source: Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", 2005: a half is
    added to each of the four counts.

    Example:
        >>> right = np.ones(1000, bool)
        >>> [round(end, 4) for end in accuracy_change(right, right)]
        [-0.002, 0.002]
    """
    rows = len(before) + 2
    lost, won = float((before & ~after).sum()) + 0.5, float((after & ~before).sum()) + 0.5
    change = (won - lost) / rows
    spread = _QUANTILE * float(np.sqrt(won + lost - (won - lost) ** 2 / rows)) / rows
    return change - spread, change + spread


def _answered(before: Classifier, after: Classifier, data: LabelledTexts | None) -> _Answers:
    texts = [example.text for example in before.manifest.examples] if data is None else list(data.texts)
    targets = np.full(len(texts), -1) if data is None else data.targets
    logits = [classifier.logits(texts, on_error="skip") for classifier in (before, after)]
    taken = ~np.isnan(logits[0]).any(1) & ~np.isnan(logits[1]).any(1)
    if not taken.any():
        raise InputError("The classifier takes none of the data's texts.", "Give others; see its limits with inspect.")
    probabilities = [Answers.of(before.manifest).probabilities(some[taken]) for some in logits]
    return _Answers(probabilities[0], probabilities[1], np.asarray(targets)[taken])


def _check(verdict: IntegerVerdict, allowed: AllowedChange) -> None:
    share = 100 * verdict.changed / verdict.texts
    # 1e-9: a share of whole rows that is nearer than this is equal.
    if share > allowed.labels + 1e-9:
        raise CompressionError(
            f"With integers the label of {verdict.changed:,} of {verdict.texts:,} texts changes ({share:.2f} %), "
            f"more than {allowed.labels:g} %: nothing was written.",
            f"Pack it in float32, or allow more: --max-changed {_above(share)} (max_changed= in Python)."
            + ("" if verdict.is_data else " Golden examples are few: --data FILE measures it on texts of yours."),
        )
    if verdict.accuracy is None or verdict.accuracy_before is None:
        return
    loss = 100 * (verdict.accuracy_before - verdict.accuracy)
    if loss > allowed.loss + 1e-9:
        raise CompressionError(
            f"With integers {loss:.2f} points of accuracy are lost on {verdict.labelled:,} rows, more than "
            f"{allowed.loss:g}: nothing was written.",
            f"Pack it in float32, or allow more: --max-loss {_above(loss)} (max_loss= in Python).",
        )


def _above(number: float) -> str:
    """A number with two digits behind the point that is not below."""
    return f"{np.ceil(100 * number - 1e-6) / 100:g}"
