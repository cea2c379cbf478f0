"""Measure how much integer arithmetic changes a classifier's answers, and refuse more than the allowed change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pocketrnn.classifier import Classifier, compute_logits_of_engine_input
from pocketrnn.errors import CompressionError, InputError
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.predictions_from_logits import Answers
from pocketrnn.verdicts import IntegerVerdict
from pocketrnn_export.predicted_labels_and_data_labels import (
    Flags,
    compute_predicted_labels,
    read_target_labels_and_whether_known,
)

if TYPE_CHECKING:
    from pocketrnn_training.rows.labelled_sequences import LabelledSequences
    from pocketrnn_training.rows.labelled_texts import LabelledTexts

# Percent of the labels, and points of accuracy.
MOST_CHANGED: Final = 0.2
MOST_LOST: Final = 0.1
# 95 % of a normal distribution.
_QUANTILE: Final = 1.959964


@dataclass(frozen=True)
class AllowedChange:
    """The largest change of answers that integer arithmetic may cause on the data.

    Attributes:
        labels: the percentage of the texts or sequences whose predicted labels may change.
        loss: by how many percentage points the accuracy may fall, if the data has labels.

    Raises:
        InputError: a number is not from 0 to 100.
    """

    labels: float = MOST_CHANGED
    loss: float = MOST_LOST

    def __post_init__(self) -> None:
        for name, value in (("max_changed", self.labels), ("max_loss", self.loss)):
            if not 0 <= value <= 100:
                raise InputError(
                    f"`{name}` is {value}, but must be from 0 to 100.", "Give the largest allowed change in percent."
                )


@dataclass(frozen=True)
class _PairedAnswers:
    """The answers of two classifiers, one in float32 and one with integers, to the same rows. Rows that one of them
    refuses are left out.

    Attributes:
        probabilities: the probabilities of each classifier, float32 [rows, labels].
        given: the labels of `predict` for each classifier, bool [rows, labels].
        reached: the labels of `predict_labels` for each classifier, bool [rows, labels].
        right: the labels in the data, bool [rows, labels].
        known: whether the data has a label for the row, bool [rows].
    """

    probabilities: tuple[NDArray[np.float32], NDArray[np.float32]] = field(repr=False)
    given: tuple[Flags, Flags] = field(repr=False)
    reached: tuple[Flags, Flags] = field(repr=False)
    right: Flags = field(repr=False)
    known: Flags = field(repr=False)


def measure_integer_change(
    float32_classifier: Classifier,
    integer_classifier: Classifier,
    data: LabelledTexts | LabelledSequences | None,
    allowed: AllowedChange,
) -> IntegerVerdict:
    """Measure how many rows get other predicted labels with integer arithmetic, and how the accuracy changes.

    The labels are those of `predict` or `predict_labels`. The rows are those of the data or, without data, of the
    golden examples; equal rows count once.

    Args:
        float32_classifier: the classifier that multiplies float32.
        integer_classifier: the same classifier with integers.
        data: texts, labelled or not, or labelled sequences, already checked by `check_data_labels`.

    Raises:
        InputError: the classifier takes none of the rows.
        CompressionError: more labels change, or more accuracy is lost, than `allowed` says.
    """
    answers = _compute_paired_answers(float32_classifier, integer_classifier, data)
    known = answers.known
    changed = [(first != second).any(1) for first, second in (answers.given, answers.reached)]
    right, right_after = ((labels == answers.right).all(1)[known] for labels in answers.given)
    verdict = IntegerVerdict(
        texts=len(known),
        source="golden examples" if data is None else data.source,
        is_data=data is not None,
        changed=int((changed[0] | changed[1]).sum()),
        largest_change=float(np.abs(answers.probabilities[1] - answers.probabilities[0]).max()),
        labelled=int(known.sum()),
        accuracy_before=float(right.mean()) if known.any() else None,
        accuracy=float(right_after.mean()) if known.any() else None,
        interval=compute_accuracy_change_interval(right, right_after) if known.any() else None,
        of="sequences" if isinstance(float32_classifier.manifest.input, NumberInput) else "texts",
        several_labels=float32_classifier.manifest.output.activation == "sigmoid",
    )
    _refuse_larger_change(verdict, allowed)
    return verdict


def compute_accuracy_change_interval(
    right_before: NDArray[np.bool_], right_after: NDArray[np.bool_]
) -> tuple[float, float]:
    """Compute the 95 % confidence interval of the change of accuracy, from pairs of answers to the same rows.

    Args:
        right_before, right_after: bool [rows], whether the answer is right.

    Returns:
        the ends of the interval, as shares of the rows. Even if no answer differs, the interval has a positive width,
            and contains 0.

    Source: Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", 2005: a half is
    added to each of the four counts.
    """
    rows = len(right_before) + 2
    lost, won = float((right_before & ~right_after).sum()) + 0.5, float((right_after & ~right_before).sum()) + 0.5
    change = (won - lost) / rows
    spread = _QUANTILE * float(np.sqrt(won + lost - (won - lost) ** 2 / rows)) / rows
    return change - spread, change + spread


def _compute_paired_answers(
    float32_classifier: Classifier,
    integer_classifier: Classifier,
    data: LabelledTexts | LabelledSequences | None,
) -> _PairedAnswers:
    """Compute the answers of both classifiers to the rows that both accept. The rows are those of the data or, without
    data, the golden examples."""
    rows, right, known = _find_distinct_labelled_rows(data)
    logits = [_compute_row_logits(classifier, rows) for classifier in (float32_classifier, integer_classifier)]
    if right is None or known is None:
        right = np.zeros(logits[0].shape, bool)
        known = right[:, 0]
    taken = ~np.isnan(logits[0]).any(1) & ~np.isnan(logits[1]).any(1)
    if not taken.any():
        raise InputError(
            "The classifier accepts none of the rows in the data: each is too short or too long.",
            "Give rows within the limits of the classifier. The command `pocketrnn inspect` shows these limits.",
        )
    answers, (first, second) = Answers.from_manifest(float32_classifier.manifest), (some[taken] for some in logits)
    probabilities = answers.probabilities(first), answers.probabilities(second)
    return _PairedAnswers(
        probabilities,
        (
            compute_predicted_labels(float32_classifier.manifest, first),
            compute_predicted_labels(float32_classifier.manifest, second),
        ),
        (answers.mark_reached_labels(probabilities[0]), answers.mark_reached_labels(probabilities[1])),
        right[taken],
        known[taken],
    )


class _LabelledRows(NamedTuple):
    """Rows of data with their labels. All members are None without data.

    Attributes:
        rows: the texts or sequences.
        right: the labels, bool [rows, labels].
        known: whether the row has a label, bool [rows].
    """

    rows: list[Any] | None
    right: Flags | None
    known: Flags | None


def _find_distinct_labelled_rows(data: LabelledTexts | LabelledSequences | None) -> _LabelledRows:
    """Return each different row of the data once, with its labels. If equal rows have different labels, the labels of
    the first row whose labels are known are taken."""
    if data is None:
        return _LabelledRows(None, None, None)
    rows: Any = data.sequences if hasattr(data, "sequences") else data.texts
    right, known = read_target_labels_and_whether_known(data)
    places: dict[Any, int] = {}
    for place, row in enumerate(rows):
        key = (np.asarray(row).shape, np.asarray(row).tobytes()) if hasattr(data, "sequences") else row
        if not known[places.setdefault(key, place)] and known[place]:
            places[key] = place
    kept = sorted(places.values())
    return _LabelledRows([rows[place] for place in kept], right[kept], known[kept])


def _compute_row_logits(classifier: Classifier, rows: list[Any] | None) -> NDArray[np.float32]:
    """Compute the logits of the rows or, if `rows` is None, of the golden examples. The logits are NaN for a row that
    the classifier refuses."""
    if rows is not None:
        return classifier.logits(rows, on_error="skip")
    if not isinstance(classifier.manifest.input, NumberInput):
        return classifier.logits([example.text for example in classifier.manifest.golden_texts], on_error="skip")
    # The samples of golden examples are the graph's input, after the rules were applied.
    golden = [np.array(example.samples, np.float32) for example in classifier.manifest.golden_sequences]
    return np.concatenate([compute_logits_of_engine_input(classifier, [one]) for one in golden])


def _refuse_larger_change(verdict: IntegerVerdict, allowed: AllowedChange) -> None:
    """Raise a CompressionError if integers change more labels, or lose more accuracy, than `allowed` says."""
    share = 100 * verdict.changed / verdict.texts
    # 1e-9: a share of whole rows that is nearer than this is equal.
    if share > allowed.labels + 1e-9:
        raise CompressionError(
            f"With integers, the {verdict.unit} of {verdict.changed:,} of {verdict.texts:,} {verdict.of} changes "
            f"({share:.2f} %), but at most {allowed.labels:g} % may change. Nothing was written.",
            f"Pack it in float32, or allow a larger change: --max-changed {_format_rounded_up(share)} "
            "(max_changed= in Python)."
            + (
                ""
                if verdict.is_data
                else f" This was measured on few examples: --data FILE measures it on {verdict.of} of yours."
            ),
        )
    if verdict.accuracy is None or verdict.accuracy_before is None:
        return
    loss = 100 * (verdict.accuracy_before - verdict.accuracy)
    if loss > allowed.loss + 1e-9:
        raise CompressionError(
            f"With integers, {loss:.2f} percentage points of accuracy are lost on {verdict.labelled:,} rows, but "
            f"at most {allowed.loss:g} may be lost. Nothing was written.",
            f"Pack it in float32, or allow a larger loss: --max-loss {_format_rounded_up(loss)} (max_loss= in Python).",
        )


def _format_rounded_up(number: float) -> str:
    """Return a number, rounded up to two decimals, as a string."""
    return f"{np.ceil(100 * number - 1e-6) / 100:g}"
