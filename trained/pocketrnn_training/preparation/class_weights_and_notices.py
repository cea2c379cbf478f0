"""Compute the weight of the rows of each class in the loss. Make notices about the classes of the rows: too few rows of
a class, far more than of another, or similar names."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from pocketrnn.tables.column_and_label_checks import list_first_names
from pocketrnn_training.rows.class_labels import normalize_label

__all__ = ["compute_class_weights", "make_class_notices"]

# With nine rows of one class for each row of another, always answering the first class gives an accuracy of 90 %.
_SKEWED: Final = 9


def make_class_notices(
    labels: tuple[str, ...],
    training_counts: npt.NDArray[np.int64],
    validation_counts: npt.NDArray[np.int64] | None,
    *,
    warn_of_skew: bool,
) -> list[str]:
    """Make sentences for the user about classes with too few rows, or with names that differ only in case or spaces.

    Args:
        labels: the classes.
        training_counts: int64 [classes], the number of training rows of each class.
        validation_counts: int64 [classes], the number of validation rows of each class; None for cross-validation,
            which has no separate validation rows.
        warn_of_skew: whether to also make a sentence if a class has more than nine times the rows of another class.
    """
    notices = _make_similar_label_notices(
        labels, training_counts if validation_counts is None else training_counts + validation_counts
    )
    parts = [(training_counts, "training")]
    if validation_counts is not None:
        alone = (training_counts == 1) & (validation_counts == 0)
        if alone.any():
            some = [label for label, is_alone in zip(labels, alone.tolist(), strict=True) if is_alone]
            which = (
                f"The class {some[0]!r} has"
                if len(some) == 1
                else f"Each of {len(some):,} classes ({list_first_names(some)}) has"
            )
            notices.append(f"{which} 1 row, which is trained on: no validation row is left to measure it with.")
        parts.append((validation_counts + alone, "validation"))
    for counts, part in parts:
        if missing := [label for label, count in zip(labels, counts, strict=True) if not count]:
            classes = "class" if len(missing) == 1 else "classes"
            notices.append(f"No {part} row is of the {classes} {list_first_names(missing)}.")
    present = np.flatnonzero(training_counts)
    if warn_of_skew and len(present):
        most, least = present[training_counts[present].argmax()], present[training_counts[present].argmin()]
        if training_counts[most] > _SKEWED * training_counts[least]:
            notices.append(
                f"The class {labels[most]!r} has {training_counts[most]:,} training rows, {labels[least]!r} has "
                f"{training_counts[least]:,}; class weights (balanced) make them count alike."
            )
    return notices


def _make_similar_label_notices(labels: tuple[str, ...], counts: npt.NDArray[np.int64]) -> list[str]:
    """Make a notice about classes whose names differ only in case or spaces; an empty list if there are none.

    `counts`, int64 [classes], is the number of rows of each class, which the notice states.
    """
    alike: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        alike.setdefault(normalize_label(label), []).append(place)
    groups = sorted((g for g in alike.values() if len(g) > 1), key=lambda group: -counts[group].sum())
    if not groups:
        return []
    some = ", ".join(f"{labels[place]!r} ({counts[place]:,} rows)" for place in groups[0])
    which = "Classes differ" if len(groups) == 1 else f"{len(groups):,} groups of classes differ"
    return [f"{which} only in case or spaces: {some}. Train with --join-labels to make one class of them."]


def compute_class_weights(counts: npt.NDArray[np.int64], *, balanced: bool) -> npt.NDArray[np.float32]:
    """Compute how much a row of each class counts in the loss.

    Args:
        counts: int64 [classes], the number of rows of each class.
        balanced: whether all classes get the same total weight; otherwise each row has the weight 1.

    Returns:
        float32 [classes], the weight of one row of each class.
    """
    if not balanced or not counts.any():
        return np.ones(len(counts), dtype=np.float32)
    # As scikit-learn's class_weight="balanced" (King and Zeng 2001); the weight of a class without rows is never used.
    present = int((counts > 0).sum())
    weights: npt.NDArray[np.float32] = (counts.sum() / (present * np.maximum(counts, 1))).astype(np.float32)
    return weights
