"""Fit a weight for the recurrent part and a weight for the linear part of a classifier, and add their weighted logits.

The weights are fitted on rows that neither part was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["ALONE", "BY_DEFAULT", "RecurrentLinearWeights", "fit_recurrent_linear_weights"]


@dataclass(frozen=True)
class RecurrentLinearWeights:
    """The two weights of a classifier's logits: recurrent * (logits of the recurrent part) + linear * (logits of the
    linear part).

    Attributes:
        recurrent: the weight of the recurrent part.
        linear: the weight of the linear part.
    """

    recurrent: float
    linear: float

    def add_weighted_logits(self, recurrent: Any, linear: Any) -> Any:
        """Compute the weighted sum of the logits of both parts, [rows, classes]."""
        return self.recurrent * recurrent + self.linear * linear


# The weights where there is only the recurrent part.
ALONE: Final = RecurrentLinearWeights(1.0, 0.0)
# The weights where there are no rows to fit them on: docs/training-measurements.md, "The linear part".
BY_DEFAULT: Final = RecurrentLinearWeights(1.0, 5.0)


def fit_recurrent_linear_weights(
    recurrent: npt.NDArray[Any] | None, linear: npt.NDArray[Any], targets: npt.NDArray[np.int64]
) -> RecurrentLinearWeights:
    """Fit the weights by which the logits of the recurrent and the linear part are multiplied before they are added.

    The weights maximize the likelihood of the correct classes. Neither is negative.

    Args:
        recurrent: float [rows, classes], the logits of the recurrent part for rows that it has not learnt from; None
            to set its weight to 0.
        linear: float [rows, classes], the logits of the linear part.
        targets: int64 [rows], the right classes.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    parts = np.stack((np.zeros_like(linear) if recurrent is None else recurrent, linear)).astype(np.float64)
    rows = np.arange(len(targets))

    def compute_cost(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        likely = log_softmax(np.tensordot(weights, parts, 1), axis=1)
        wrong = np.exp(likely)
        wrong[rows, targets] -= 1
        return -float(likely[rows, targets].mean()), (parts * wrong).sum(axis=(1, 2)) / len(targets)

    start = np.array([BY_DEFAULT.recurrent, BY_DEFAULT.linear]) / 2
    # If both parts classify all rows correctly, the weights would grow without bound.
    bounds = [(0, 0 if recurrent is None else 50), (0, 50)]
    found = minimize(compute_cost, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return RecurrentLinearWeights(*found.tolist())
