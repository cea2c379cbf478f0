"""Whether a program computes across the texts of a batch: a sum, a count or a maximum over all of them.

Where it changes every answer, the texts of a batch are answered otherwise than alone, and a run shows that. A count
that
is compared with a number changes none until a batch is large enough: `torch.bincount(tokens.flatten()) > 300`. So the
program is read: is the batch an axis from its input to its answer? And is it, where it stays an axis, sorted, shifted
or indexed by values that depend on the words? A check for a rare word changes nothing while other words are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.fx import Node

from pocketrnn_export.intake.user_frames import line_of_node
from pocketrnn_export.module_runs.operations import GIVES_NO_NUMBERS
from pocketrnn_export.proof.what_of_words import OfWords, name_of_node, what_of_words
from pocketrnn_export.torch_internals import expression_of, in_one_memory, written_by

__all__ = [
    "BY_POSITION",
    "OF_LENGTHS",
    "axes_of_batch",
    "compared_numbers",
    "needed_nodes",
    "place_across_rows",
    "symbols_of_batch",
]

# The operators that compute along an axis and keep it; the axis is the second argument.
_ALONG: Final = frozenset({
    "cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "softmax", "_softmax", "log_softmax", "_log_softmax",
})  # fmt: skip
# The operators that may take one whole number of each text, such as its length: they find the longest, or sort texts.
OF_LENGTHS: Final = frozenset(
    {"max", "amax", "select", "cumsum", "slice", "index", "item", "_local_scalar_dense", "step", "cut"}
)
# The operators on the largest count of tried ids in a batch, up to the size to which the batch is cut.
_TO_SIZES: Final = frozenset({
    "_to_copy", "add", "clamp", "clamp_max", "clamp_min", "getitem", "item", "_local_scalar_dense", "rsub", "squeeze",
    "sub", "to",
})  # fmt: skip
# The operators that take a type or a shape from their second argument.
_LIKE: Final = frozenset({"type_as", "to", "view_as", "reshape_as"})
# The operators that put the texts in another order, by their contents: the position of the axis, and its default.
_ORDER: Final = {
    "sort": (1, -1), "argsort": (1, -1), "topk": (2, -1), "msort": (9, 0), "kthvalue": (2, -1), "_unique2": (9, 0),
    "unique_dim": (1, 0), "unique_consecutive": (9, 0),
}  # fmt: skip
# The operators that put a text in the place of another: the position of the axis or axes.
_SHIFT: Final = {"flip": 1, "roll": 2, "slice": 1, "cut": 1}
# The operators that take or put by positions along one axis.
BY_POSITION: Final = frozenset({
    "gather", "index_add", "index_copy", "index_fill", "index_select", "scatter", "scatter_add", "scatter_reduce",
})  # fmt: skip


def place_across_rows(program: torch.export.ExportedProgram) -> str:
    """The line at which a program computes across the texts of a batch; empty where it does not.

    Example:
        >>> place_across_rows(program)
        'model.py:12: `common = torch.bincount(x.reshape(-1)) > 300`'
    """
    batch = symbols_of_batch(program)
    if not batch:
        return ""
    words = what_of_words(program)
    for node in needed_nodes(program):
        if node.op == "call_function" and (_crosses(node, batch, words) or _moves_rows(node, batch, words)):
            return line_of_node(node) or "a line that is not known"
    return ""


def symbols_of_batch(program: torch.export.ExportedProgram) -> set[Any]:
    """The symbols of the number of texts, of which each input may have its own; none where that is fixed."""
    inputs = set(program.graph_signature.user_inputs)
    values = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in inputs]
    return {expression_of(value.shape[0]) for value in values if isinstance(value.shape[0], torch.SymInt)}


def compared_numbers(program: torch.export.ExportedProgram) -> list[int]:
    """The whole numbers that a program asks its values for: those of `x != 1`."""
    asked = [node for node in program.graph.nodes if name_of_node(node) in ("eq", "ne")]
    return [
        arg for node in asked for arg in node.args if isinstance(arg, int) and not isinstance(arg, bool) and arg >= 0
    ]


def needed_nodes(program: torch.export.ExportedProgram) -> list[Node]:
    """The nodes that the answer depends on, in their order; among them what is written into a view of such a value."""
    memory: dict[Node, Node] = {}
    writes: dict[Node, list[Node]] = {}
    for node in program.graph.nodes:
        shared = in_one_memory(node.target, node.args, node.kwargs) if node.op == "call_function" else []
        memory[node] = next((memory[one] for one in shared if isinstance(one, Node)), node)
        if shared and written_by(node.target, node.args, node.kwargs):
            writes.setdefault(memory[node], []).append(node)
    needed: set[Node] = set()
    waiting = [node for node in program.graph.nodes if node.op == "output"]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += [*node.all_input_nodes, *writes.get(memory[node], ())]
    return [node for node in program.graph.nodes if node in needed]


def _crosses(node: Node, batch: set[Any], words: Mapping[Node, OfWords]) -> bool:
    """Whether a value of all texts is made of those of each."""
    value, name = node.meta.get("val"), name_of_node(node)
    if name in _LIKE or name.startswith(GIVES_NO_NUMBERS):
        return False
    sources = [n for n in node.all_input_nodes if isinstance(n.meta.get("val"), Tensor) and axes_of_batch(n, batch)]
    if not sources:
        return False
    if name in _ALONG:
        return bool(_axes_of(node, 1, 0) & set(axes_of_batch(sources[0], batch))) and not (
            name in OF_LENGTHS and _is_length(sources, words)
        )
    if not isinstance(value, Tensor):
        return False
    if axes_of_batch(node, batch):
        return False
    if name in OF_LENGTHS and _is_length(sources, words):
        return not _becomes_a_size(node)
    return not (name in ("max", "amax") and _is_length(sources, words, counted=True) and _becomes_a_size(node))


def _is_length(sources: Sequence[Node], words: Mapping[Node, OfWords], *, counted: bool = False) -> bool:
    """Whether it is one whole number of each text, that no word changes, or only tried ids where it is counted."""
    least, most = (OfWords.FLAGS, OfWords.COUNTS) if counted else (OfWords.NOTHING, OfWords.NOTHING)
    whole = all(n.meta["val"].dim() == 1 and not n.meta["val"].is_floating_point() for n in sources)
    return whole and all(least <= words[n] <= most for n in sources)


def _becomes_a_size(node: Node) -> bool:
    waiting = [node]
    while waiting:
        for user in waiting.pop().users:
            if name_of_node(user) not in _TO_SIZES:
                return name_of_node(user).startswith("_assert")
            if isinstance(user.meta.get("val"), Tensor):
                waiting.append(user)
    return True


def _moves_rows(node: Node, batch: set[Any], words: Mapping[Node, OfWords]) -> bool:
    """Whether a text comes to stand where another did, by what the words say; or meets all others.

    Where the order is that of lengths, what is done with it is seen by changing words (`mixed_rows.py`).
    """
    name, first = name_of_node(node), node.all_input_nodes[0] if node.all_input_nodes else None
    value = node.meta.get("val")
    if words[node] is not OfWords.NOTHING and isinstance(value, Tensor) and len(axes_of_batch(node, batch)) > 1:
        return True
    if first is None or not isinstance(first.meta.get("val"), Tensor) or words[first] is OfWords.NOTHING:
        return False
    axes = set(axes_of_batch(first, batch))
    if name in _ORDER:
        by_words = words[first] not in (OfWords.FLAGS, OfWords.COUNTS)
        return by_words and bool(_axes_of(node, *_ORDER[name]) & axes)
    if name in _SHIFT:
        same = isinstance(value, Tensor) and name in ("slice", "cut") and _same_sizes(node, first)
        return not same and bool(_axes_of(node, _SHIFT[name], 0) & axes)
    if name in BY_POSITION:
        return bool(_axes_of(node, 1, 0) & axes) and _says_words(node.args[2], words)
    if name in ("index", "index_put") and isinstance(node.args[1], Sequence):
        places = dict(enumerate(node.args[1]))
        # A mask is not a position: what it leaves is no longer of each text, which is seen above.
        return any(_says_words(places.get(axis), words) and not _is_mask(places[axis]) for axis in axes)
    return name == "cut_to_longest" and _says_words(node.args[1], words)


def _axes_of(node: Node, position: int, default: int) -> set[int]:
    """The axes that an operator is given, from 0."""
    dims = max(1, node.all_input_nodes[0].meta["val"].dim())
    given = node.kwargs.get("dim", node.kwargs.get("dims", node.args[position] if len(node.args) > position else None))
    if isinstance(given, bool) or given is None:
        given = default
    return {axis % dims for axis in (given if isinstance(given, Sequence) else [given]) if isinstance(axis, int)}


def _same_sizes(node: Node, other: Node) -> bool:
    shapes = (one.meta["val"].shape for one in (node, other))
    sizes, others = ([expression_of(n) if isinstance(n, torch.SymInt) else n for n in shape] for shape in shapes)
    return sizes == others


def _says_words(positions: Any, words: Mapping[Node, OfWords]) -> bool:
    return isinstance(positions, Node) and words[positions] not in (OfWords.NOTHING, OfWords.FLAGS, OfWords.COUNTS)


def _is_mask(positions: Any) -> bool:
    return bool(positions.meta["val"].dtype == torch.bool)


def axes_of_batch(node: Node, batch: set[Any]) -> list[int]:
    """The axes of a node's value whose size depends on the number of texts."""
    sizes = list(node.meta["val"].shape)
    return [i for i, n in enumerate(sizes) if isinstance(n, torch.SymInt) and batch & expression_of(n).free_symbols]
