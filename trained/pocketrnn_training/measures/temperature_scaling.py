"""Calibrate probabilities by temperature scaling.

Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017.
"""

from __future__ import annotations

from math import exp
from typing import Final

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from pocketrnn_training.classifiers.linear_classifier import LINEAR
from pocketrnn_training.classifiers.recurrent_classifiers import AnyClassifier
from pocketrnn_training.measures.logit_measures import compute_mean_loss

__all__ = ["apply_temperature", "compute_calibration_error", "fit_temperature"]

# The standard deviation of the prior: the logarithm of the temperature is normal around 0. Without a prior, a few rows
# that are all classified correctly would make every answer certain. A few hundred rows outweigh it.
_DEVIATION: Final = 0.5


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """Fit the temperature T at which softmax(logits / T) makes the correct classes likeliest, for calibration.

    A prior keeps T near 1 if there are few rows.

    Args:
        logits: float32 [rows, classes], of rows that were not trained on.
        targets: int64 [rows], the right classes; or bool [rows, labels], for sigmoid(logits / T).
    """

    def compute_cost(log_temperature: float) -> float:
        loss = len(logits) * compute_mean_loss(logits.double() / exp(log_temperature), targets)
        return loss + log_temperature**2 / (2 * _DEVIATION**2)

    return exp(float(minimize_scalar(compute_cost, bounds=(-3, 3), method="bounded", options={"xatol": 1e-4}).x))


def apply_temperature(module: AnyClassifier, temperature: float) -> None:
    """Divide the weights of a module's last layer, linear part and CRF by `temperature`, which divides its logits.

    Every runtime then gives calibrated probabilities without code for calibration.
    """
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name.startswith(("fc.", "crf.", LINEAR)):
                weight.div_(temperature)


def compute_calibration_error(logits: Tensor, targets: Tensor, bins: int = 15) -> float:
    """Compute the expected calibration error: the mean distance between probability and accuracy (Naeini et al. 2015).

    The rows are put into bins of equal width by their largest probability. If a row can have several labels, each label
    of each row is put into a bin by its probability. The mean over the bins is weighted by the size of a bin.

    Args:
        logits: float32 [rows, classes].
        targets: int64 [rows], the right classes; or bool [rows, labels].
        bins: the number of bins.

    Returns:
        A share from 0 to 1.
    """
    if targets.dim() == 2:
        probability, right = torch.sigmoid(logits.double()).flatten().numpy(), targets.flatten().numpy()
    else:
        probability, predicted = (values.numpy() for values in logits.double().softmax(dim=1).max(dim=1))
        right = predicted == targets.numpy()
    indices = np.minimum((probability * bins).astype(np.int64), bins - 1)
    distances = np.bincount(indices, weights=right.astype(np.float64) - probability, minlength=bins)
    return float(np.abs(distances).sum() / len(right))
