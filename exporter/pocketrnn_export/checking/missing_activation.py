"""Find an activation, such as softmax, that only the file or only the module has at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from pocketrnn_export.checking.exported_file import Array

# The activation of the other's numbers is as near as a quantised file's answers are.
_NEAR: Final = 5e-2
_SUM: Final = 1e-2


@dataclass(frozen=True)
class Activation:
    """An activation: its name, and the function of an array of numbers [..., classes]."""

    name: str
    compute: Callable[[Array], Array]


def _compute_softmax(numbers: Array) -> Any:
    powers = np.exp(numbers - numbers.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _compute_log_softmax(numbers: Array) -> Any:
    apart = numbers - numbers.max(-1, keepdims=True)
    return apart - np.log(np.exp(apart).sum(-1, keepdims=True))


def _compute_sigmoid(numbers: Array) -> Any:
    return np.exp(-np.logaddexp(0, -numbers))


_ACTIVATIONS: Final = (
    Activation("softmax", _compute_softmax),
    Activation("logarithm of the softmax", _compute_log_softmax),
    Activation("sigmoid", _compute_sigmoid),
)


def are_probabilities(numbers: Array) -> bool:
    """Return whether the numbers of each row, [..., classes], are probabilities: none is negative, and each row sums to
    1."""
    if numbers.dtype.kind != "f" or not numbers.ndim or numbers.shape[-1] < 2 or not numbers.size:
        return False
    return bool(numbers.min() >= 0 and np.abs(numbers.sum(-1, dtype=np.float64) - 1).max() < _SUM)


class MissingActivation(NamedTuple):
    """An activation that only one side has, and the side without it: `module` or `file`."""

    side: str
    activation: Activation


def find_missing_activation(module_output: Array, file_output: Array) -> MissingActivation | None:
    """Find an activation, such as softmax, with which only one of two outputs ends: the other output with this
    activation applied is nearly equal. Return the activation and the side without it, or None if there is none.

    Args:
        module_output: the module's output to some inputs.
        file_output: the file's output to the same inputs.
    """
    outputs = module_output, file_output
    if (
        module_output.shape != file_output.shape
        or not module_output.size
        or any(one.dtype.kind != "f" for one in outputs)
    ):
        return None
    for activation in _ACTIVATIONS:
        for side, plain, other in (("module", module_output, file_output), ("file", file_output, module_output)):
            if _is_near(activation.compute(plain), other) and not _is_near(plain, other):
                return MissingActivation(side, activation)
    return None


def _is_near(one: Array, other: Array) -> bool:
    size = max(float(np.abs(other).max()), float(np.ptp(other)))
    return bool(np.abs(one - other).max() <= _NEAR * size) and bool(np.isfinite(one).all())
