"""How much of the words of a text each value of a program may hold: nothing, where tried ids stand, or anything.

A batch may be cut to the longest of its lengths, and sorted by them. A length is given, or is the count of the ids that
are not the padding; such ids are tried one by one, and a text that holds one runs alone where it tells
(`pocketrnn_export.intake.padding_effect`). Other values made of words are not lengths, whatever their shape: a count of
some words, or whether a text begins with one word and ends with another, which hardly any drawn text does.
"""

from __future__ import annotations

import operator
from enum import IntEnum
from typing import Any, Final

import torch
from torch import Tensor
from torch.fx import Node

from pocketrnn_export.module_runs.operations import GIVES_NO_NUMBERS

__all__ = ["OfWords", "name_of_node", "what_of_words"]


class OfWords(IntEnum):
    """How much of the words a value may hold.

    NOTHING: it follows from the sizes, from given lengths and from weights.
    IDS: the ids themselves, each at its place; MOVED_IDS at another place.
    FLAGS: at each place, whether tried ids stand there.
    COUNTS: how many there are, or where; two counts together may say more than any id alone.
    ANYTHING: any word may change it.
    """

    NOTHING = 0
    IDS = 1
    MOVED_IDS = 2
    FLAGS = 3
    COUNTS = 4
    ANYTHING = 5


# Ids below this are tried, as `padding_effect.candidate_ids` does, and each number that forward compares with.
_TRIED: Final = 8
_COMPARED: Final = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})
_SAME: Final = frozenset({
    "_to_copy", "alias", "clone", "contiguous", "detach", "detach_", "expand", "getitem", "lift_fresh_copy", "permute",
    "squeeze", "t", "to", "transpose", "type_as", "unsqueeze",
})  # fmt: skip
_MOVE: Final = frozenset({"cut", "cut_to_longest", "flip", "index", "index_select", "slice"})
_OF_FLAGS: Final = frozenset({
    "__and__", "__or__", "bitwise_and", "bitwise_not", "bitwise_or", "logical_and", "logical_not", "logical_or",
    "masked_fill", "mul", "where", *_COMPARED,
})  # fmt: skip
_OF_COUNTS: Final = frozenset({
    "_local_scalar_dense", "add", "all", "amax", "amin", "any", "argmax", "argmin", "argsort", "clamp", "clamp_max",
    "clamp_min", "count_nonzero", "cumsum", "item", "max", "maximum", "min", "minimum", "neg", "rsub", "sort", "sub",
    "sum",
})  # fmt: skip
# The operators that find a vector of zeros; ids that have one are tried.
_OF_VECTORS: Final = frozenset({"abs", "amax", "any", "count_nonzero", "linalg_vector_norm", "norm", "sum"})


def what_of_words(program: torch.export.ExportedProgram) -> dict[Node, OfWords]:
    """How much of the words of its texts each node of a program may hold.

    Example:
        >>> found = what_of_words(program)
        >>> [found[node].name for node in program.graph.nodes][-4:]
        ['IDS', 'FLAGS', 'COUNTS', 'ANYTHING']
    """
    inputs = program.graph_signature.user_inputs
    found: dict[Node, OfWords] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            found[node] = OfWords.IDS if inputs and node.name == inputs[0] else OfWords.NOTHING
        else:
            found[node] = _of_node(node, found)
    return found


def name_of_node(node: Node) -> str:
    """The name of what a node calls, without its overload."""
    if node.target is operator.getitem:
        return "getitem"
    packet = getattr(node.target, "overloadpacket", node.target)
    return str(getattr(packet, "__name__", packet))


def _of_node(node: Node, found: dict[Node, OfWords]) -> OfWords:
    name, given = name_of_node(node), [found[n] for n in node.all_input_nodes if found[n] is not OfWords.NOTHING]
    # The input of an operator that only takes sizes does not count: the width of a batch holds no word.
    if not given or name.startswith(GIVES_NO_NUMBERS):
        return OfWords.NOTHING
    most = max(given)
    if most in (OfWords.IDS, OfWords.MOVED_IDS):
        return _of_ids(node, found, most, len(given))
    if most is OfWords.ANYTHING:
        # A vector of zeros is that of ids that are tried.
        return OfWords.FLAGS if _tells_zero_vectors(node, name, found) else OfWords.ANYTHING
    if name in _MOVE:
        # `x[order]` and `lengths[order]` put the texts in the order of their lengths.
        if min(given) <= OfWords.MOVED_IDS:
            return OfWords.MOVED_IDS if found[node.all_input_nodes[0]] <= OfWords.MOVED_IDS else OfWords.ANYTHING
        return OfWords.COUNTS
    if min(given) <= OfWords.MOVED_IDS or (len(given) > 1 and most is OfWords.COUNTS):
        return OfWords.ANYTHING
    if name in _SAME or name in _OF_FLAGS:
        return most
    return OfWords.COUNTS if name in _OF_COUNTS else OfWords.ANYTHING


def _of_ids(node: Node, found: dict[Node, OfWords], ids: OfWords, given: int) -> OfWords:
    name, flags = name_of_node(node), OfWords.FLAGS if ids is OfWords.IDS else OfWords.COUNTS
    to = node.kwargs.get("dtype", node.args[1] if name == "to" and len(node.args) > 1 else None)
    if name == "sign" or (name in ("_to_copy", "to") and to is torch.bool):
        return flags
    if name in _SAME:
        return ids
    # Not `table[x]`, which is not the ids.
    if name in _MOVE and given == 1 and found[node.all_input_nodes[0]] is ids:
        return OfWords.MOVED_IDS
    if name in _COMPARED and given == 1 and _parts_tried_ids(name, node.args[1]):
        return flags
    return OfWords.ANYTHING


def _parts_tried_ids(name: str, number: Any) -> bool:
    """Whether the ids on one side of a comparison are tried, each of them."""
    if isinstance(number, Node):
        value = number.meta.get("val")
        return name in ("eq", "ne") and isinstance(value, Tensor) and value.dim() == 0
    if not isinstance(number, int | float):
        return False
    return name in ("eq", "ne") or number < (_TRIED - 1 if name in ("gt", "le") else _TRIED)


def _tells_zero_vectors(node: Node, name: str, found: dict[Node, OfWords]) -> bool:
    """Whether it is `vectors.abs().sum(2) != 0`, or the like."""
    if name not in _COMPARED or len(node.all_input_nodes) != 1 or node.args[1] != 0:
        return False
    inner = node.all_input_nodes[0]
    while name_of_node(inner) in _OF_VECTORS:
        inner = inner.all_input_nodes[0]
    return name_of_node(inner) == "embedding" and found[inner.all_input_nodes[-1]] is OfWords.IDS
