"""Copy a module so that its recurrent layers forget nothing. Then the answer changes if the program lost a part of the
module's code.

A GRU with its initial weights halves its state in a step or two. So `x[:, -100:]` before it changes no digit of an
answer, and a program without that slice agrees with the module on every random text; but with a trained layer that
keeps its state over some words, it does not. Whether a program is right must not depend on the weights, so it is also
compared with these weights.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from pocketrnn_export.module_runs.complete_copy import copy_without_comparison

# Its sigmoid is 0.9995: after 2,000 steps, a third of a step's change is left.
_KEPT: Final = 7.5
# The bias of an LSTM's input gate, which lets one part in 150 through; the cell adds these up.
_LET_IN: Final = -5.0
# A layer without gates keeps its state and adds a little: with large additions, tanh would forget what came before.
_PASSED_ON: Final = 0.9995
_ADDED: Final = 0.003
# With this bias, the state of a ReLU layer never falls to 0.
_RISEN: Final = 0.01


def copy_without_forgetting(module: nn.Module) -> nn.Module | None:
    """Copy a module, and change the weights of the copy's recurrent layers so that these keep their states, and early
    tokens still change the answer. Layers without biases stay as they are. Return None if no layer is changed."""
    copy, changed = copy_without_comparison(module), False
    with torch.no_grad():
        for layer in copy.modules():
            if isinstance(layer, nn.RNNBase | nn.RNNCellBase) and layer.bias:
                rectified = "relu" in str(getattr(layer, "nonlinearity", "")).lower()
                for name, weight in layer.named_parameters(recurse=False):
                    changed |= _set_non_forgetting_weight(name, weight, int(layer.hidden_size), rectified=rectified)
    return copy if changed else None


def _set_non_forgetting_weight(name: str, weight: Tensor, hidden_size: int, *, rectified: bool) -> bool:
    """Change a weight or bias of a recurrent layer in place, so that the layer keeps its state. Return whether the
    parameter, by its name, is such a weight or bias."""
    kind = name.partition("_l")[0]
    if kind not in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        return False
    gates = {4: "ifgo", 3: "rzn", 1: "n"}[len(weight) // hidden_size]
    for gate, rows in zip(gates, torch.split(weight, hidden_size), strict=True):
        if gate in "izf":
            rows.fill_({"bias_ihi": _LET_IN, "bias_ihz": _KEPT, "bias_ihf": _KEPT}.get(kind + gate, 0.0))
        elif gates == "n" and kind.startswith("bias"):
            rows.fill_(_RISEN if rectified and kind == "bias_ih" else 0.0)
        elif gates == "n":
            square = kind == "weight_hh" and rows.shape == (hidden_size, hidden_size)
            rows.copy_(torch.eye(hidden_size) * _PASSED_ON) if square else rows.mul_(_ADDED)
    return True
