"""Choose the thresholds of labels: a text gets a label if the label's probability is at least its threshold.

Where a text can have several labels, they are chosen on validation rows for the highest F1. With a half for all
labels, rare ones would hardly be given: few of their probabilities reach it. Lewis, Schapire, Callan and Papka,
"Training algorithms for linear text classifiers", 1996, choose one for each label; Yang, "A study of thresholding
strategies for text categorization", 2001, shows how such thresholds of rare labels overfit.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from pocketrnn_training.measures.logit_measures import find_best_threshold_and_its_f1

__all__ = [
    "choose_and_measure_rejection_threshold",
    "choose_thresholds",
    "find_separating_threshold",
    "find_threshold_that_share_of_right_answers_reaches",
    "predict_cross_fitted_labels",
]

# With this many validation rows of a label, the label's own threshold and the common one have the same weight.
_ROWS_OF_A_LABEL: Final = 10
# Thresholds are rounded because people read them; an answer is closer to a threshold than this only by chance.
_DECIMALS: Final = 4


def choose_thresholds(probabilities: npt.NDArray[np.float64], targets: npt.NDArray[np.bool_]) -> tuple[float, ...]:
    """Choose a threshold for each label, for a high F1, if a text can have several labels.

    A label's threshold lies between the best threshold for this label alone and the best common threshold of all
    labels. The more rows the label has, the nearer it is to its own best threshold.

    Args:
        probabilities: float64 [rows, labels], of rows that were not trained on.
        targets: bool [rows, labels], the labels that the rows have.
    """
    of_all, _ = find_best_threshold_and_its_f1(probabilities.ravel(), targets.ravel())
    found = []
    for label in range(targets.shape[1]):
        rows = int(targets[:, label].sum())
        own, _ = find_best_threshold_and_its_f1(probabilities[:, label], targets[:, label])
        found.append(round((rows * own + _ROWS_OF_A_LABEL * of_all) / (rows + _ROWS_OF_A_LABEL), _DECIMALS))
    return tuple(found)


def find_threshold_that_share_of_right_answers_reaches(
    share_of_right: float, probabilities: npt.NDArray[np.float64], targets: npt.NDArray[np.int64]
) -> float:
    """Find the highest threshold that the probabilities of a given share of the correct answers reach.

    An answer is the likeliest class of a row. The largest probability is mostly lower for a text of none of the classes
    (Hendrycks and Gimpel, "A baseline for detecting misclassified and out-of-distribution examples in neural networks",
    2017).

    Args:
        share_of_right: the share of the correct answers, above 0, up to 1.
        probabilities: float64 [rows, classes], of rows that were not trained on.
        targets: int64 [rows], the right classes.

    Returns:
        The threshold; 0 if every answer is wrong.
    """
    right = np.sort(probabilities[probabilities.argmax(axis=1) == targets].max(axis=1, initial=0.0))
    if not len(right):
        return 0.0
    # The threshold is rounded down. If it is round already, it is lowered by one unit, so that the float32 probability
    # also reaches it.
    least = right[len(right) - math.ceil(share_of_right * len(right))]
    return max(0.0, math.ceil(float(least) * 10**_DECIMALS - 1) / 10**_DECIMALS - 10**-_DECIMALS)


def find_separating_threshold(
    outside: npt.NDArray[np.float64], probabilities: npt.NDArray[np.float64], targets: npt.NDArray[np.int64]
) -> float:
    """Find the threshold that best separates correct answers from answers to rows of none of the classes.

    The threshold maximizes the mean of two shares: of rows with a class, those that get their correct label; of rows of
    none of the classes, those that get no label.

    Args:
        outside: float64 [rows of none of the classes, classes], the probabilities for these rows.
        probabilities: float64 [rows, classes], the probabilities for rows that have a class and were not trained on.
        targets: int64 [rows], the right classes.
    """
    right = np.sort(probabilities[probabilities.argmax(axis=1) == targets].max(axis=1, initial=0.0))
    others = np.sort(outside.max(axis=1, initial=0.0))
    occur = np.unique(np.concatenate(([0.0], right, others, [1.0])))
    cuts = np.concatenate(([0.0], (occur[:-1] + occur[1:]) / 2))
    given = (len(right) - np.searchsorted(right, cuts)) / len(targets)
    none = np.searchsorted(others, cuts) / len(others)
    return round(float(cuts[(given + none).argmax()]), _DECIMALS)


def choose_and_measure_rejection_threshold(
    share_of_right: float | None,
    probabilities: npt.NDArray[np.float64],
    targets: npt.NDArray[np.int64],
    outside: npt.NDArray[np.float64] | None,
) -> tuple[float, dict[str, float]]:
    """Choose the threshold below which a text gets no label, and measure how many answers reach it.

    Args:
        share_of_right: the share of the correct answers that must reach the threshold; None for the threshold that
            best separates correct answers from the answers in `outside`.
        probabilities: float64 [rows, classes], of rows that were not trained on.
        targets: int64 [rows].
        outside: float64 [rows of none of the classes, classes], or None.

    Returns:
        The threshold; and a dict of metrics by name: the threshold, and the shares of correct answers, of wrong answers
        and of answers for `outside` that reach it. If `share_of_right` is None, each half of the rows is measured with
        the threshold that the other half chooses.
    """

    def choose_threshold(chosen_rows: npt.NDArray[np.bool_], chosen_outside: npt.NDArray[np.bool_]) -> float:
        if share_of_right is not None:
            return find_threshold_that_share_of_right_answers_reaches(
                share_of_right, probabilities[chosen_rows], targets[chosen_rows]
            )
        assert outside is not None  # noqa: S101 - one of both is given
        return find_separating_threshold(outside[chosen_outside], probabilities[chosen_rows], targets[chosen_rows])

    right = probabilities.argmax(axis=1) == targets
    likeliest = probabilities.max(axis=1)
    of_outside = np.empty(0) if outside is None else outside.max(axis=1)
    all_rows, all_others = np.ones(len(targets), bool), np.ones(len(of_outside), bool)
    threshold = choose_threshold(all_rows, all_others)
    given, others_given = likeliest >= threshold, of_outside >= threshold
    if share_of_right is None and min(len(targets), len(of_outside)) > 1:
        half, other_half = np.arange(len(targets)) % 2 == 0, np.arange(len(of_outside)) % 2 == 0
        for measured, others in ((half, other_half), (~half, ~other_half)):
            of_the_rest = choose_threshold(~measured, ~others)
            given[measured] = likeliest[measured] >= of_the_rest
            others_given[others] = of_outside[others] >= of_the_rest
    figures = {
        "threshold": threshold,
        "right_above_threshold": float(given[right].mean()) if right.any() else 0.0,
        "wrong_above_threshold": float(given[~right].mean()) if not right.all() else 0.0,
    }
    return threshold, figures if outside is None else {
        **figures,
        "outside_above_threshold": float(others_given.mean()),
    }


def predict_cross_fitted_labels(
    probabilities: npt.NDArray[np.float64], targets: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Predict the labels of each half of the rows with thresholds that are chosen on the other half.

    No row then helps to choose the thresholds that it is measured with.

    Args:
        probabilities: float64 [rows, labels].
        targets: bool [rows, labels], the labels that the rows have.

    Returns:
        bool [rows, labels], the predicted labels.
    """
    given = np.zeros_like(targets)
    half = np.arange(len(targets)) % 2 == 0
    for measured in (half, ~half):
        others = ~measured if (~measured).any() else measured
        given[measured] = probabilities[measured] >= np.array(choose_thresholds(probabilities[others], targets[others]))
    return given
