"""How much the two parts of a classifier of texts weigh: two numbers, fitted on rows that neither part has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = [
    "ALONE",
    "BY_DEFAULT",
    "FEWEST_ROWS",
    "Candidate",
    "PartWeights",
    "candidates_of",
    "document_of",
    "fitted_weights",
    "told_by_folds",
]

# The name of the candidates in `Checkpoint.data`.
_CANDIDATES: Final = "candidates"
# From fewer rows no weights are fitted, and no accuracy is told alone: its standard error is 3 points and more.
FEWEST_ROWS: Final = 200


@dataclass(frozen=True)
class PartWeights:
    """By what the logits of each part are multiplied before they are added.

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
    recurrent: npt.NDArray[Any], linear: npt.NDArray[Any], targets: npt.NDArray[np.int64]
) -> PartWeights:
    """The weights, from 0 up, with which the right classes are the likeliest (maximum likelihood).

    Args:
        recurrent: float [rows, classes], the logits of the recurrent part for rows that it has not learnt from.
        linear: float [rows, classes], those of the linear part.
        targets: int64 [rows], the right classes.

    Example:
        >>> logits = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> fitted_weights(logits, -logits, np.array([0, 1, 1])).linear
        0.0
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    parts = np.stack((recurrent, linear)).astype(np.float64)
    rows = np.arange(len(targets))

    def cost(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        likely = log_softmax(np.tensordot(weights, parts, 1), axis=1)
        wrong = np.exp(likely)
        wrong[rows, targets] -= 1
        return -float(likely[rows, targets].mean()), (parts * wrong).sum(axis=(1, 2)) / len(targets)

    start = np.array([BY_DEFAULT.recurrent, BY_DEFAULT.linear]) / 2
    # Rows that both parts are always right of would raise them for ever.
    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=[(0, 50)] * 2).x
    return PartWeights(*found.tolist())


@dataclass(frozen=True)
class Candidate:
    """One way of cutting the texts, and what it reaches on rows that it has not seen.

    Attributes:
        tokenizer: the way.
        recurrent_weight: what the recurrent part weighs.
        linear_weight: what the linear part weighs.
        rows: how many rows were answered.
        folds: how many folds they are of.
        accuracy: the share that both parts together are right of, with weights that were fitted on the other folds.
        deviation: the standard deviation of the accuracies of the folds.
        loss: the mean loss of a row, with the same weights.
        recurrent_accuracy: the share that the recurrent part alone is right of.
        linear_accuracy: the share that the linear part alone is right of.
    """

    tokenizer: str
    recurrent_weight: float
    linear_weight: float
    rows: int
    folds: int
    accuracy: float
    deviation: float
    loss: float
    recurrent_accuracy: float
    linear_accuracy: float

    @property
    def weights(self) -> PartWeights:
        """The weight of each part."""
        return PartWeights(self.recurrent_weight, self.linear_weight)

    @property
    def reached(self) -> str:
        """Its accuracy with its spread, in words.

        Example:
            >>> Candidate("bpe", 0.4, 1.9, 3271, 4, 0.714, 0.011, 0.77, 0.69, 0.71).reached
            'right of 71.4% ± 1.1 (standard deviation) of 3,271 rows, by 4 folds'
        """
        spread = f"{self.accuracy:.1%} ± {100 * self.deviation:.1f} (standard deviation)"
        return f"right of {spread} of {self.rows:,} rows, by {self.folds} folds"

    @property
    def parts_said(self) -> str:
        """The accuracy of each part alone, and the weights of both, in words.

        Example:
            >>> Candidate("bpe", 0.4, 1.9, 3271, 4, 0.714, 0.011, 0.77, 0.69, 0.71).parts_said
            'the recurrent part alone of 69.0%, the linear part of 71.0%; they weigh 0.40 and 1.90'
        """
        return (
            f"the recurrent part alone of {self.recurrent_accuracy:.1%}, the linear part of "
            f"{self.linear_accuracy:.1%}; they weigh {self.recurrent_weight:.2f} and {self.linear_weight:.2f}"
        )


def candidates_of(data: Mapping[str, Any]) -> tuple[Candidate, ...]:
    """The candidates that a checkpoint tells of in its `data`, the best first; none where nothing was compared.

    Example:
        >>> candidates_of({"source": "reviews.csv"})
        ()
    """
    return tuple(Candidate(**one) for one in data.get(_CANDIDATES, ()))


def told_by_folds(data: Mapping[str, Any]) -> Candidate | None:
    """The best candidate that a checkpoint tells of in its `data`, where the validation rows are too few to tell how
    good it is; else None.

    Example:
        >>> told_by_folds({"validation_rows": 12})
    """
    candidates = candidates_of(data)
    return candidates[0] if candidates and data["validation_rows"] < FEWEST_ROWS else None


def document_of(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """The same as a part of `Checkpoint.data`.

    Example:
        >>> document_of([])
        {}
    """
    return {_CANDIDATES: [asdict(one) for one in candidates]} if candidates else {}
