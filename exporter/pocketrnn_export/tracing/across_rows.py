"""Whether a program computes across the texts of a batch: a sum, a count or a maximum over all of them.

Where it moves every answer, the texts of a batch are answered otherwise than alone, and that is seen by asking. A count
that is compared with a number moves none until a batch is large enough: `torch.bincount(tokens.flatten()) > 300`. So
the program is looked at: is the batch an axis from its input to its answer?
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor
from torch.fx import Node

from pocketrnn_export.intake.user_frames import line_of_node
from pocketrnn_export.tracing.torch_internals import expression_of

__all__ = ["OF_LENGTHS", "axes_of_batch", "name_of_node", "place_across_rows", "symbols_of_batch"]

# What computes along an axis and keeps it: the position of the axis among the arguments, and the axis by default.
_ALONG: Final = {
    "cumsum": 1, "cumprod": 1, "cummax": 1, "cummin": 1, "logcumsumexp": 1, "softmax": 1, "_softmax": 1,
    "log_softmax": 1, "_log_softmax": 1,
}  # fmt: skip
# What may be done with one whole number of each text, such as its length: the longest is found, texts are sorted.
OF_LENGTHS: Final = frozenset(
    {"max", "amax", "select", "cumsum", "slice", "index", "item", "_local_scalar_dense", "step", "cut"}
)
# What asks its second argument for a type or a shape.
_LIKE: Final = frozenset({"type_as", "to", "view_as", "reshape_as"})
# Whether a batch holds an id at all, which the proof tries with each id that forward compares with.
_HOLDS: Final = frozenset({"any", "all"})
_COMPARED: Final = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})
# What gives sizes or new memory, and no numbers.
_NO_NUMBERS: Final = ("size", "new_", "empty", "zeros", "ones", "full", "arange", "scalar_tensor",
                      "sym_", "_assert")  # fmt: skip


def place_across_rows(program: torch.export.ExportedProgram) -> str:
    """The line at which a program computes across the texts of a batch; empty where it does not.

    Example:
        >>> place_across_rows(program)
        'model.py:12: `common = torch.bincount(x.reshape(-1)) > 300`'
    """
    batch = symbols_of_batch(program)
    if not batch:
        return ""
    for node in _needed(program):
        if node.op == "call_function" and _crosses(node, batch):
            return line_of_node(node) or "a line that is not known"
    return ""


def symbols_of_batch(program: torch.export.ExportedProgram) -> set[Any]:
    """The symbols of the number of texts, of which each input may have its own; none where that is fixed."""
    inputs = set(program.graph_signature.user_inputs)
    values = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in inputs]
    return {expression_of(value.shape[0]) for value in values if isinstance(value.shape[0], torch.SymInt)}


def _needed(program: torch.export.ExportedProgram) -> list[Node]:
    """The nodes that the answer depends on, in their order."""
    needed: set[Node] = set()
    waiting = [node for node in program.graph.nodes if node.op == "output"]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += node.all_input_nodes
    return [node for node in program.graph.nodes if node in needed]


def _crosses(node: Node, batch: set[Any]) -> bool:
    value, name = node.meta.get("val"), name_of_node(node)
    if not isinstance(value, Tensor) or name in _LIKE or name.startswith(_NO_NUMBERS):
        return False
    sources = [n for n in node.all_input_nodes if isinstance(n.meta.get("val"), Tensor) and axes_of_batch(n, batch)]
    if not sources:
        return False
    if name in _HOLDS and _compares_ids(sources[0]):
        return False
    of_lengths = all(n.meta["val"].dim() == 1 and not n.meta["val"].is_floating_point() for n in sources)
    if of_lengths and name in OF_LENGTHS:
        return False
    if name in _ALONG:
        axis = node.kwargs.get("dim", node.args[_ALONG[name]] if len(node.args) > _ALONG[name] else 0)
        return isinstance(axis, int) and axis % max(1, value.dim()) in axes_of_batch(sources[0], batch)
    return not axes_of_batch(node, batch)


def _compares_ids(node: Node) -> bool:
    """Whether it is `tokens == 7`, or the like."""
    inner = node.all_input_nodes
    return (
        name_of_node(node) in _COMPARED
        and len(inner) == 1
        and inner[0].op == "placeholder"
        and inner[0].meta["val"].dim() == 2
    )


def axes_of_batch(node: Node, batch: set[Any]) -> list[int]:
    """The axes of a node's value whose size depends on the number of texts."""
    sizes = list(node.meta["val"].shape)
    return [i for i, n in enumerate(sizes) if isinstance(n, torch.SymInt) and batch & expression_of(n).free_symbols]


def name_of_node(node: Node) -> str:
    packet = getattr(node.target, "overloadpacket", node.target)
    return str(getattr(packet, "__name__", packet))
