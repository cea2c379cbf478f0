"""Refuse TorchScript with initial states of a fixed batch size. A call with another batch size may end the process.

PyTorch checks an initial state in Python. A trace has no such check: `weight.new(2, x.size(0), 10).zero_()` became a
constant of the example's batch, and a run of another batch reads beyond it (SIGSEGV, SIGBUS or SIGABRT).
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn

from pocketrnn.errors import ExportError

# Operators with an initial state: their second input, or the third for packed rows, after the batch sizes.
_LAYERS: Final = frozenset({"aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu"})


def refuse_fixed_states(module: nn.Module) -> None:
    """Refuse TorchScript with an initial state that does not depend on an input. All parts of the module are
    checked."""
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
                if not _depends_on_input(states, own):
                    raise ExportError(
                        f"The TorchScript {path or 'module'} gives its {kind.removeprefix('aten::').upper()} an "
                        "initial state for a fixed number of texts; a run on another number reads beyond the state "
                        "and may end the process.",
                        "Export the Python module, or trace it again with a state of torch.zeros for x.size(0) texts.",
                    )


def _depends_on_input(value: Any, module_value: Any) -> bool:
    """Return whether a value is computed from an input of the graph. The module itself, its first input, does not
    count."""
    waiting, met = [value], set[str]()
    while waiting:
        current = waiting.pop()
        if current.debugName() in met:
            continue
        met.add(current.debugName())
        node = current.node()
        if module_value is not None and current.debugName() == module_value.debugName():
            continue
        # An input, or the output of a loop or a branch: not followed.
        if node.kind() in {"prim::Param", "prim::If", "prim::Loop", "prim::CallMethod"}:
            return True
        waiting += node.inputs()
    return False
