"""TorchScript whose recurrent layers begin with a state of one batch size, which ends the process at any other.

PyTorch checks an initial state in Python. A trace holds no such check: `weight.new(2, x.size(0), 10).zero_()` became a
constant of the example's batch, and a run of another batch reads beyond it (SIGSEGV, SIGBUS or SIGABRT).
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn

from pocketrnn.errors import ExportError

__all__ = ["refuse_fixed_states"]

# Operators with an initial state: the second of their inputs, or the third after the sizes of packed rows.
_LAYERS: Final = frozenset({"aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu"})


def refuse_fixed_states(module: nn.Module) -> None:
    """Refuse TorchScript, all or parts of the module, with an initial state that depends on no input.

    Raises:
        ExportError: a recurrent layer has one.

    Example:
        >>> refuse_fixed_states(torch.jit.load("news.pt"))
    """
    for path, layer in module.named_modules():
        if not isinstance(layer, torch.jit.ScriptModule) or not hasattr(layer, "inlined_graph"):
            continue
        try:
            graph = layer.inlined_graph
        # A part without a forward of its own.
        except RuntimeError:
            continue
        own = next(iter(graph.inputs()), None)
        for kind in _LAYERS:
            for node in graph.findAllNodes(kind, True):  # type: ignore[attr-defined]
                states = list(node.inputs())[2 if "batch_sizes" in node.schema() else 1]
                if not _hangs_on_input(states, own):
                    raise ExportError(
                        f"The TorchScript {path or 'module'} begins {kind.removeprefix('aten::').upper()} with a state "
                        "of a fixed number of texts; a run of another number reads beyond it and may end the process.",
                        "Export the Python module, or trace it again with a state made of x.size(0) by torch.zeros.",
                    )


def _hangs_on_input(value: Any, own: Any) -> bool:
    waiting, met = [value], set[str]()
    while waiting:
        current = waiting.pop()
        if current.debugName() in met:
            continue
        met.add(current.debugName())
        node = current.node()
        if own is not None and current.debugName() == own.debugName():
            continue
        # An input, or what a loop or a branch gives: not followed.
        if node.kind() in {"prim::Param", "prim::If", "prim::Loop", "prim::CallMethod"}:
            return True
        waiting += node.inputs()
    return False
