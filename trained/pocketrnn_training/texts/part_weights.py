"""How much the two parts of a classifier of texts weigh: two numbers, fitted on rows that neither part has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["ALONE", "BY_DEFAULT", "PartWeights", "fitted_weights"]


@dataclass(frozen=True)
class PartWeights:
    """The factors of the logits of each part, which are added afterwards.

    Attributes:
        recurrent: for the recurrent part.
        linear: for the linear part.

    Example:
        >>> PartWeights(0.5, 2.0).total(np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]])).tolist()
        [[0.5, 3.5]]
    """

    recurrent: float
    linear: float

    def total(self, recurrent: Any, linear: Any) -> Any:
        """The logits of both parts, [rows, classes], from those of each."""
        return self.recurrent * recurrent + self.linear * linear


# The weight of the recurrent part where there is no other part.
ALONE: Final = PartWeights(1.0, 0.0)
# Where no rows are left to fit them on: docs/training-measurements.md, "The linear part".
BY_DEFAULT: Final = PartWeights(1.0, 5.0)


def fitted_weights(
    recurrent: npt.NDArray[Any] | None, linear: npt.NDArray[Any], targets: npt.NDArray[np.int64]
) -> PartWeights:
    """The weights, from 0 up, with which the right classes are the likeliest (maximum likelihood).

    Args:
        recurrent: float [rows, classes], the logits of the recurrent part for rows that it has not learnt from; None
            where it is to weigh nothing.
        linear: float [rows, classes], those of the linear part.
        targets: int64 [rows], the right classes.

    Example:
        >>> logits = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> fitted_weights(logits, -logits, np.array([0, 1, 1])).linear
        0.0
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    parts = np.stack((np.zeros_like(linear) if recurrent is None else recurrent, linear)).astype(np.float64)
    rows = np.arange(len(targets))

    def cost(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        likely = log_softmax(np.tensordot(weights, parts, 1), axis=1)
        wrong = np.exp(likely)
        wrong[rows, targets] -= 1
        return -float(likely[rows, targets].mean()), (parts * wrong).sum(axis=(1, 2)) / len(targets)

    start = np.array([BY_DEFAULT.recurrent, BY_DEFAULT.linear]) / 2
    # Rows that both parts are always right of would raise them for ever.
    bounds = [(0, 0 if recurrent is None else 50), (0, 50)]
    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return PartWeights(*found.tolist())
