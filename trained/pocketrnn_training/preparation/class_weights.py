"""Compute the weight of the rows of each class in the loss."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["compute_class_weights"]


def compute_class_weights(counts: npt.NDArray[np.int64], *, balanced: bool) -> npt.NDArray[np.float32]:
    """Compute how much a row of each class counts in the loss.

    Args:
        counts: int64 [classes], the number of rows of each class.
        balanced: give all classes the same total weight; otherwise each row has the weight 1.

    Returns:
        float32 [classes].
    """
    if not balanced or not counts.any():
        return np.ones(len(counts), dtype=np.float32)
    # As scikit-learn's class_weight="balanced" (King and Zeng 2001); the weight of a class without rows is never used.
    present = int((counts > 0).sum())
    weights: npt.NDArray[np.float32] = (counts.sum() / (present * np.maximum(counts, 1))).astype(np.float32)
    return weights
