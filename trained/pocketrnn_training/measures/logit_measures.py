"""Measure logits against the right answers: loss, accuracy, F1.

Targets are int64 [rows], the class of each row, or bool [rows, labels], whether each label applies, where a text can
have several: then each label is a question of its own, and its probability is the sigmoid of its logit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

__all__ = [
    "compute_guessing_loss",
    "compute_label_log_odds",
    "compute_macro_or_best_micro_f1",
    "compute_mean_loss",
    "compute_micro_f1",
    "compute_summed_multi_label_loss",
    "find_best_threshold_and_its_f1",
    "mark_rows_classified_correctly",
]


def compute_summed_multi_label_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Compute the binary cross-entropy of rows with any number of labels, summed over labels and rows, float32 [].

    Args:
        logits: float32 [rows, labels].
        targets: bool [rows, labels].
        smoothing: the label smoothing: with 0.1, the targets 0 and 1 become 0.05 and 0.95.
    """
    wanted = targets.to(logits.dtype) * (1 - smoothing) + smoothing / 2
    return binary_cross_entropy_with_logits(logits, wanted, reduction="sum")


def compute_label_log_odds(targets: npt.NDArray[np.bool_]) -> Tensor:
    """Compute the log odds of each label's frequency, float32 [labels]: log(p / (1 - p)) of its share p of the rows.

    `targets` is bool [rows, labels].
    """
    # To keep the shares between 0 and 1, half a row of each label and one row in total are added to the counts.
    shares = (targets.sum(axis=0) + 0.5) / (len(targets) + 1)
    return torch.from_numpy(np.log(shares / (1 - shares)).astype(np.float32))


def compute_mean_loss(logits: Tensor, targets: Tensor) -> float:
    """Compute the mean cross-entropy of the rows. If a row can have several labels, its loss is the sum over labels.

    Args:
        logits: float32 [rows, classes].
        targets: int64 [rows], the right classes; or bool [rows, labels].
    """
    if targets.dim() == 2:
        return compute_summed_multi_label_loss(logits, targets).item() / len(logits)
    return cross_entropy(logits, targets).item()


def compute_guessing_loss(label_count: int, *, several_labels: bool) -> float:
    """Compute the loss of a classifier that gives each class the same probability, or each of several labels 0.5."""
    return label_count * float(np.log(2)) if several_labels else float(np.log(label_count))


def mark_rows_classified_correctly(logits: Tensor, targets: Tensor) -> Tensor:
    """Mark the rows whose likeliest class is the right one, bool [rows].

    If a row can have several labels, exactly its labels must reach the threshold 0.5.

    Args:
        logits: float32 [rows, classes].
        targets: int64 [rows], the right classes; or bool [rows, labels].
    """
    if targets.dim() == 2:
        return ((logits > 0) == targets).all(dim=1)
    return logits.argmax(dim=1) == targets


def compute_macro_or_best_micro_f1(logits: Tensor, targets: Tensor) -> float:
    """Compute macro F1 or, if a row can have several labels, the highest micro F1 that one threshold for all gives.

    Args:
        logits: float32 [rows, classes].
        targets: int64 [rows], the right classes; or bool [rows, labels].
    """
    if targets.dim() == 2:
        return find_best_threshold_and_its_f1(torch.sigmoid(logits.double()).numpy().ravel(), targets.numpy().ravel())[
            1
        ]
    classes = logits.size(1)
    predicted = logits.argmax(dim=1)
    hits = torch.bincount(targets[predicted == targets], minlength=classes).double()
    both = torch.bincount(targets, minlength=classes) + torch.bincount(predicted, minlength=classes)
    return float((2 * hits / both.clamp_min(1)).mean())


def compute_micro_f1(targets: npt.NDArray[np.bool_], predicted: npt.NDArray[np.bool_]) -> float:
    """Compute F1 over all labels together; 0 if the rows neither have nor are predicted any label.

    Args:
        targets: bool [rows, labels], the labels that the rows have.
        predicted: bool [rows, labels], the labels that are predicted.
    """
    hits, both = int((targets & predicted).sum()), int(targets.sum()) + int(predicted.sum())
    return 2 * hits / max(1, both)


def find_best_threshold_and_its_f1(
    probabilities: npt.NDArray[np.float64], are_right: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """Find the threshold on probabilities that gives the highest F1; return the threshold and its F1.

    The threshold lies midway between two probabilities that occur.

    Args:
        probabilities: float64 [answers], the probability of a label for a row.
        are_right: bool [answers], whether the row has the label.

    Returns:
        The threshold, from 0 to 1, and F1; 0.5 and 0 if no row has its label.
    """
    if not are_right.any():
        return 0.5, 0.0
    order = np.argsort(-probabilities, kind="stable")
    falling, hits = probabilities[order], np.cumsum(are_right[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + hits[-1])
    below = np.append(falling[1:], 0.0)
    # A threshold cannot part equal probabilities.
    f1[falling == below] = 0.0
    best = int(f1.argmax())
    return float((falling[best] + below[best]) / 2), float(f1[best])
