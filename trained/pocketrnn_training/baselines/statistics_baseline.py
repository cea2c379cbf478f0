"""The accuracy of a random forest on eight statistics of each channel. The statistics ignore the order of the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pocketrnn_training.baselines.baseline_accuracy import Baseline

__all__ = ["StatisticsBaseline", "compute_channel_statistics", "fit_statistics_baseline"]

_TREES: Final = 200


class StatisticsBaseline(Baseline):
    """The accuracy of a random forest on statistics of each channel."""

    NAME = "forest"
    MODEL = (
        f"A random forest of {_TREES} trees on eight statistics of each channel (mean, deviation, least, largest, "
        "median, mean step, first, last; scikit-learn's, not tuned)"
    )
    FITTED = "fitted on the rows of the other folds"
    ADVICE = "The order of the steps adds little here: use such a forest, or give the statistics as channels."


def compute_channel_statistics(sequences: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
    """Compute eight statistics of each channel, float64 [sequences, 8 * channels]. A missing sample counts as 0."""
    found = []
    for sequence in sequences:
        steps = np.nan_to_num(np.asarray(sequence, np.float64))
        mean_step = (steps[-1] - steps[0]) / max(1, len(steps) - 1)
        of_all = (steps.mean(0), steps.std(0), steps.min(0), steps.max(0), np.median(steps, axis=0))
        found.append(np.concatenate([*of_all, mean_step, steps[0], steps[-1]]))
    return np.array(found)


def fit_statistics_baseline(
    sequences: Sequence[npt.NDArray[Any]],
    targets: npt.NDArray[np.int64],
    fold_of: npt.NDArray[np.int64],
) -> StatisticsBaseline | None:
    """Fit and measure the forest by folds: it is fitted on all rows outside a fold, and measured on the fold.

    Args:
        sequences: the rows.
        targets: int64 [rows].
        fold_of: int64 [rows], the fold of each row.

    Returns:
        the accuracy of the forest; None if the training rows of a fold all have the same class.
    """
    from sklearn.ensemble import RandomForestClassifier

    features, numbers, right = compute_channel_statistics(sequences), np.unique(fold_of), 0
    for fold in numbers:
        others, rows = fold_of != fold, fold_of == fold
        if len(np.unique(targets[others])) < 2:
            return None
        forest = RandomForestClassifier(_TREES, random_state=0).fit(features[others], targets[others])
        right += int((forest.predict(features[rows]) == targets[rows]).sum())
    return StatisticsBaseline(right / len(targets), len(targets), folds=len(numbers))
