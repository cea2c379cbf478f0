"""Probabilities that mean what they say, by temperature scaling.

Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017.
"""

from __future__ import annotations

from math import exp
from typing import Final

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy

from pocketrnn_training.architecture import RecurrentClassifier

__all__ = ["calibration_error", "cool", "fitted_temperature"]

# Where a few rows are all answered right, the likelihood alone would make every answer certain. As a prior, the
# temperature's logarithm is normal around 0 with this deviation; some hundred rows outweigh it.
_DEVIATION: Final = 0.5


def fitted_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature T for which softmax(logits / T) is likeliest.

    Args:
        logits: float32 [rows, classes], of rows that were not trained on.
        targets: int64 [rows], the right classes.
    """

    def cost(logarithm: float) -> float:
        loss = cross_entropy(logits.double() / exp(logarithm), targets, reduction="sum").item()
        return loss + logarithm**2 / (2 * _DEVIATION**2)

    return exp(float(minimize_scalar(cost, bounds=(-3, 3), method="bounded", options={"xatol": 1e-4}).x))


def cool(module: RecurrentClassifier, temperature: float) -> None:
    """Divide the module's logits by `temperature`, in the weights of its last layer.

    So every runtime in every language gives the calibrated probability, and has no rule of its own for it.
    """
    with torch.no_grad():
        module.fc.weight.div_(temperature)
        module.fc.bias.div_(temperature)


def calibration_error(logits: Tensor, targets: Tensor, bins: int = 15) -> float:
    """The expected calibration error (Naeini et al. 2015): how far probability and accuracy lie apart.

    The rows are put into `bins` of equal width by their largest probability; a bin's distance between its mean
    probability and its accuracy counts by its rows.

    Args:
        logits: float32 [rows, classes].
        targets: int64 [rows], the right classes.
        bins: how many.

    Returns:
        a share from 0 to 1.
    """
    probability, predicted = (values.numpy() for values in logits.double().softmax(dim=1).max(dim=1))
    right = predicted == targets.numpy()
    places = np.minimum((probability * bins).astype(np.int64), bins - 1)
    distances = np.bincount(places, weights=right - probability, minlength=bins)
    return float(np.abs(distances).sum() / len(right))
