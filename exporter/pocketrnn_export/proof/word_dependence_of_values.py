"""Find out how much each value of a program depends on the words of a text: not at all, on tried ids only, or in any
way.

A batch may be cut to the longest of its lengths, and sorted by them. A length is an input, or the count of ids that are
not padding; such ids are tried one by one, and a text that holds one runs alone if it changes the answer
(`pocketrnn_export.intake.padding_effect`). Other values computed from words are not lengths, whatever their shape: a
count of some words, or whether a text begins with one word and ends with another, which hardly any random text does.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

import torch
from torch import Tensor
from torch.fx import Node

from pocketrnn_export.module_runs.operator_recording import GIVES_NO_NUMBERS
from pocketrnn_export.proof.program_runs_and_nodes import read_operator_name


class WordDependence(IntEnum):
    """How much a value may depend on the words of a text. Some ids, such as padding, are called tried: other checks run
    a text with each of these ids.

    NOTHING: the value depends only on sizes, given lengths and weights.
    IDS: the value is the token ids themselves, each at its place; MOVED_IDS: at other places.
    FLAGS: the value marks the places of tried ids.
    COUNTS: the value counts tried ids, or gives their places.
    ANYTHING: any word may change the value.
    """

    NOTHING = 0
    IDS = 1
    MOVED_IDS = 2
    FLAGS = 3
    COUNTS = 4
    ANYTHING = 5


# Ids below this are tried, as in `ids_with_batch_dependent_answers.py`, and each number that forward compares with an
# id.
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


def find_word_dependence(program: torch.export.ExportedProgram) -> dict[Node, WordDependence]:
    """Return a dict from each node of a program to how much the node's value depends on the words of the texts."""
    inputs = program.graph_signature.user_inputs
    dependences: dict[Node, WordDependence] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            dependences[node] = WordDependence.IDS if inputs and node.name == inputs[0] else WordDependence.NOTHING
            # Features may be anything, as words may.
            dependences[node] = WordDependence.ANYTHING if node.name == "features" in inputs[1:] else dependences[node]
        else:
            dependences[node] = _find_dependence_of_node(node, dependences)
    return dependences


def _find_dependence_of_node(node: Node, dependences: dict[Node, WordDependence]) -> WordDependence:
    """Return how much a node's value depends on the words of a text. `dependences` gives this for all nodes before
    it."""
    name = read_operator_name(node)
    given = [dependences[n] for n in node.all_input_nodes if dependences[n] is not WordDependence.NOTHING]
    # The input of an operator that only reads sizes does not count: the width of a batch says nothing about words.
    if not given or name.startswith(GIVES_NO_NUMBERS):
        return WordDependence.NOTHING
    most = max(given)
    if most in (WordDependence.IDS, WordDependence.MOVED_IDS):
        return _find_dependence_on_ids(node, dependences, most, len(given))
    if most is WordDependence.ANYTHING:
        # The ids with a zero vector are tried.
        return WordDependence.FLAGS if _finds_zero_vectors(node, name, dependences) else WordDependence.ANYTHING
    if name in _MOVE:
        # `x[order]` and `lengths[order]` sort the texts by their lengths.
        if min(given) <= WordDependence.MOVED_IDS:
            return (
                WordDependence.MOVED_IDS
                if dependences[node.all_input_nodes[0]] <= WordDependence.MOVED_IDS
                else WordDependence.ANYTHING
            )
        return WordDependence.COUNTS
    if min(given) <= WordDependence.MOVED_IDS or (len(given) > 1 and most is WordDependence.COUNTS):
        return WordDependence.ANYTHING
    if name in _SAME or name in _OF_FLAGS:
        return most
    return WordDependence.COUNTS if name in _OF_COUNTS else WordDependence.ANYTHING


def _find_dependence_on_ids(
    node: Node, dependences: dict[Node, WordDependence], ids: WordDependence, dependent_inputs: int
) -> WordDependence:
    """Return how much a node's value depends on the words of a text if the node reads token ids.

    Args:
        dependences: how much the values of the nodes before it depend on words.
        ids: IDS if the ids that it reads are at their places, else MOVED_IDS.
        dependent_inputs: how many of its inputs depend on words.
    """
    name, flags = read_operator_name(node), WordDependence.FLAGS if ids is WordDependence.IDS else WordDependence.COUNTS
    to = node.kwargs.get("dtype", node.args[1] if name == "to" and len(node.args) > 1 else None)
    if name == "sign" or (name in ("_to_copy", "to") and to is torch.bool):
        return flags
    if name in _SAME:
        return ids
    # But not for `table[x]`, whose result is not ids.
    if name in _MOVE and dependent_inputs == 1 and dependences[node.all_input_nodes[0]] is ids:
        return WordDependence.MOVED_IDS
    if name in _COMPARED and dependent_inputs == 1 and _compares_with_tried_ids(name, node.args[1]):
        return flags
    return WordDependence.ANYTHING


def _compares_with_tried_ids(operator_name: str, compared_with: Any) -> bool:
    """Return whether the comparison `operator_name`, such as "ne", of token ids with `compared_with` separates only a
    few ids from all others, as `ids != 0` does. Other checks run a text with each of these few ids."""
    if isinstance(compared_with, Node):
        value = compared_with.meta.get("val")
        return operator_name in ("eq", "ne") and isinstance(value, Tensor) and value.dim() == 0
    if not isinstance(compared_with, int | float):
        return False
    return operator_name in ("eq", "ne") or compared_with < (_TRIED - 1 if operator_name in ("gt", "le") else _TRIED)


def _finds_zero_vectors(node: Node, name: str, dependences: dict[Node, WordDependence]) -> bool:
    """Return whether a node finds the embedding vectors that are zero, as `vectors.abs().sum(2) != 0` does. `name` is
    the node's operator; `dependences` says how much the values before it depend on words."""
    if name not in _COMPARED or len(node.all_input_nodes) != 1 or node.args[1] != 0:
        return False
    inner = node.all_input_nodes[0]
    while read_operator_name(inner) in _OF_VECTORS:
        inner = inner.all_input_nodes[0]
    return read_operator_name(inner) == "embedding" and dependences[inner.all_input_nodes[-1]] is WordDependence.IDS
