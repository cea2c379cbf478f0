"""A module whose recurrent layers forget nothing: what a program leaves out shows, however long ago it was.

A GRU with the weights that it is made with halves its state in a step or two. `x[:, -100:]` before it changes no digit
of an answer, so that a program without that slice agrees with the module on every drawn text; and with a trained layer
that holds its state over some words, it does not. Which program is right is not a question of weights: it is asked with
others.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from pocketrnn_export.module_runs.whole_copy import copied_again

__all__ = ["with_lasting_states"]

# The sigmoid of it is 0.9995: of what a step changed, a third is left after 2,000 steps.
_KEPT: Final = 7.5
# An LSTM adds up what its input gate lets through, which is one part in 150.
_LET_IN: Final = -5.0
# A layer without gates passes its state on, and adds a little: of a large one, tanh forgets what came before.
_PASSED_ON: Final = 0.9995
_ADDED: Final = 0.003
# With this, a rectified state never falls to 0.
_RISEN: Final = 0.01


def with_lasting_states(module: nn.Module) -> nn.Module | None:
    """A copy of a module whose recurrent layers keep their states; None where it has no layer that could.

    Example:
        >>> gru = nn.GRU(2, 3)
        >>> torch.sigmoid(with_lasting_states(gru).bias_ih_l0[3:6])
        tensor([0.9994, 0.9994, 0.9994], grad_fn=<SigmoidBackward0>)
    """
    copy, changed = copied_again(module), False
    with torch.no_grad():
        for layer in copy.modules():
            if isinstance(layer, nn.RNNBase | nn.RNNCellBase) and layer.bias:
                rectified = "relu" in str(getattr(layer, "nonlinearity", "")).lower()
                for name, weight in layer.named_parameters(recurse=False):
                    changed |= _kept(name, weight, int(layer.hidden_size), rectified=rectified)
    return copy if changed else None


def _kept(name: str, weight: Tensor, size: int, *, rectified: bool) -> bool:
    """Change a weight of a layer, in place; whether it is one of a layer's."""
    kind = name.partition("_l")[0]
    if kind not in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        return False
    gates = {4: "ifgo", 3: "rzn", 1: "n"}[len(weight) // size]
    for gate, rows in zip(gates, torch.split(weight, size), strict=True):
        if gate in "izf":
            rows.fill_({"bias_ihi": _LET_IN, "bias_ihz": _KEPT, "bias_ihf": _KEPT}.get(kind + gate, 0.0))
        elif gates == "n" and kind.startswith("bias"):
            rows.fill_(_RISEN if rectified and kind == "bias_ih" else 0.0)
        elif gates == "n":
            square = kind == "weight_hh" and rows.shape == (size, size)
            rows.copy_(torch.eye(size) * _PASSED_ON) if square else rows.mul_(_ADDED)
    return True
