"""Find out whether a program combines values of different texts in a batch, as in a sum or a maximum over all texts.

If it changes every answer, the texts get other answers in a batch than alone, and a run shows that. A count that is
compared with a number changes nothing until a batch is large enough: `torch.bincount(tokens.flatten()) > 300`. So the
program is read: is the batch an axis from its input to its answer? And if it stays an axis, is it sorted, shifted or
indexed by values that depend on the words? A check for a rare word changes nothing on texts without that word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.fx import Node

from pocketrnn_export.module_runs.operator_recording import GIVES_NO_NUMBERS
from pocketrnn_export.proof.program_runs_and_nodes import (
    describe_first_known_line_of_nodes,
    find_batch_axes,
    find_batch_symbols,
    read_operator_name,
    select_nodes_needed_for_outputs,
)
from pocketrnn_export.proof.word_dependence_of_values import WordDependence, find_word_dependence
from pocketrnn_export.torch_internals import read_size_expression

# The operators that compute along an axis and keep it; the axis is the second argument.
_ALONG: Final = frozenset({
    "cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "softmax", "_softmax", "log_softmax", "_log_softmax",
})  # fmt: skip
# The operators that may combine one integer of each text, such as its length: they find the longest, or sort texts.
OF_LENGTHS: Final = frozenset(
    {"max", "amax", "select", "cumsum", "slice", "index", "item", "_local_scalar_dense", "step", "cut"}
)
# The operators between two values: the largest number of tried ids in a row of the batch, and the size to which the
# batch is cut.
_TO_SIZES: Final = frozenset({
    "_to_copy", "add", "clamp", "clamp_max", "clamp_min", "getitem", "item", "_local_scalar_dense", "rsub", "squeeze",
    "sub", "to",
})  # fmt: skip
# The operators that take a type or a shape from their second argument.
_LIKE: Final = frozenset({"type_as", "to", "view_as", "reshape_as"})
# The operators that sort texts by their contents: the position of the axis argument, and its default.
_ORDER: Final = {
    "sort": (1, -1), "argsort": (1, -1), "topk": (2, -1), "msort": (9, 0), "kthvalue": (2, -1), "_unique2": (9, 0),
    "unique_dim": (1, 0), "unique_consecutive": (9, 0),
}  # fmt: skip
# The operators that move a text to another row: the position of the axis argument.
_SHIFT: Final = {"flip": 1, "roll": 2, "slice": 1, "cut": 1}
# The operators that read or write by positions along one axis.
BY_POSITION: Final = frozenset({
    "gather", "index_add", "index_copy", "index_fill", "index_select", "scatter", "scatter_add", "scatter_reduce",
})  # fmt: skip


def find_line_that_mixes_texts_by_operators(program: torch.export.ExportedProgram) -> str:
    """Return the line of user code at which a program combines values of different texts in a batch, or moves texts to
    other rows depending on their words. Return "" if there is no such line. The program is read and not run."""
    batch = find_batch_symbols(program)
    if not batch:
        return ""
    words = find_word_dependence(program)
    for node in select_nodes_needed_for_outputs(program):
        if node.op == "call_function" and (
            _combines_values_of_several_texts(node, batch, words) or _moves_rows_by_words(node, batch, words)
        ):
            return describe_first_known_line_of_nodes(node)
    return ""


def _combines_values_of_several_texts(
    node: Node, batch_symbols: set[Any], words: Mapping[Node, WordDependence]
) -> bool:
    """Return whether a node combines the values of several texts of a batch into one value, as a sum over the batch
    axis does.

    Args:
        batch_symbols: the symbols that stand for the batch size in symbolic shapes.
        words: how much the value of each node depends on the words of a text.
    """
    value, name = node.meta.get("val"), read_operator_name(node)
    if name in _LIKE or name.startswith(GIVES_NO_NUMBERS):
        return False
    sources = [
        n for n in node.all_input_nodes if isinstance(n.meta.get("val"), Tensor) and find_batch_axes(n, batch_symbols)
    ]
    if not sources:
        return False
    if name in _ALONG:
        return bool(_read_axes(node, 1, 0) & set(find_batch_axes(sources[0], batch_symbols))) and not (
            name in OF_LENGTHS and _are_one_integer_per_text(sources, words)
        )
    if not isinstance(value, Tensor):
        return False
    if find_batch_axes(node, batch_symbols):
        return False
    if name in OF_LENGTHS and _are_one_integer_per_text(sources, words):
        return not _is_used_as_size(node)
    return not (
        name in ("max", "amax")
        and _are_one_integer_per_text(sources, words, counted_from_ids=True)
        and _is_used_as_size(node)
    )


def _are_one_integer_per_text(
    sources: Sequence[Node], words: Mapping[Node, WordDependence], *, counted_from_ids: bool = False
) -> bool:
    """Return whether the value of each node in `sources` is one integer for each text that does not depend on the
    text's words, such as a length that the module takes. With `counted_from_ids`, the integer must instead be counted
    from a few ids, such as padding, each of which other checks try.

    Args:
        sources: the nodes.
        words: how much the value of each node depends on the words of a text.
        counted_from_ids: whether the integer must be counted from a few ids.
    """
    least = WordDependence.FLAGS if counted_from_ids else WordDependence.NOTHING
    most = WordDependence.COUNTS if counted_from_ids else WordDependence.NOTHING
    whole = all(n.meta["val"].dim() == 1 and not n.meta["val"].is_floating_point() for n in sources)
    return whole and all(least <= words[n] <= most for n in sources)


def _is_used_as_size(node: Node) -> bool:
    """Return whether the value of a node is used only as a size: only casts, clamps, additions, subtractions and
    assertions read it and what they compute from it."""
    waiting = [node]
    while waiting:
        for user in waiting.pop().users:
            if read_operator_name(user).startswith("_assert"):
                continue
            if read_operator_name(user) not in _TO_SIZES:
                return False
            if isinstance(user.meta.get("val"), Tensor):
                waiting.append(user)
    return True


def _moves_rows_by_words(node: Node, batch_symbols: set[Any], words: Mapping[Node, WordDependence]) -> bool:
    """Return whether a node moves texts to other rows depending on their words, or pairs each text with all others.
    Return False for a sort by lengths: another check looks at it.

    Args:
        batch_symbols: the symbols that stand for the batch size in symbolic shapes.
        words: how much the value of each node depends on the words of a text.
    """
    name, first = read_operator_name(node), node.all_input_nodes[0] if node.all_input_nodes else None
    value = node.meta.get("val")
    if (
        words[node] is not WordDependence.NOTHING
        and isinstance(value, Tensor)
        and len(find_batch_axes(node, batch_symbols)) > 1
    ):
        return True
    if first is None or not isinstance(first.meta.get("val"), Tensor) or words[first] is WordDependence.NOTHING:
        return False
    axes = set(find_batch_axes(first, batch_symbols))
    if name in _ORDER:
        by_words = words[first] not in (WordDependence.FLAGS, WordDependence.COUNTS)
        return by_words and bool(_read_axes(node, *_ORDER[name]) & axes)
    if name in _SHIFT:
        same = isinstance(value, Tensor) and name in ("slice", "cut") and _has_same_sizes(node, first)
        return not same and bool(_read_axes(node, _SHIFT[name], 0) & axes)
    if name in BY_POSITION:
        return bool(_read_axes(node, 1, 0) & axes) and _depends_on_words(node.args[2], words)
    if name in ("index", "index_put") and isinstance(node.args[1], Sequence):
        places: dict[int, Any] = dict(enumerate(node.args[1]))
        # A mask is not a position: its result has no batch axis, which is checked above.
        return any(
            _depends_on_words(places.get(axis), words) and places[axis].meta["val"].dtype != torch.bool for axis in axes
        )
    return name == "cut_to_longest" and _depends_on_words(node.args[1], words)


def _read_axes(node: Node, argument_position: int, default: int) -> set[int]:
    """Return the axes that a node's operator computes along, counted from 0.

    Args:
        argument_position: the position of the axis among the operator's arguments, if it is not given by name.
        default: the axis if none is given.
    """
    dims = max(1, node.all_input_nodes[0].meta["val"].dim())
    given = node.kwargs.get(
        "dim", node.kwargs.get("dims", node.args[argument_position] if len(node.args) > argument_position else None)
    )
    if isinstance(given, bool) or given is None:
        given = default
    return {axis % dims for axis in (given if isinstance(given, Sequence) else [given]) if isinstance(axis, int)}


def _has_same_sizes(node: Node, other: Node) -> bool:
    """Return whether the values of two nodes have the same shape."""
    shapes = (one.meta["val"].shape for one in (node, other))
    sizes, others = ([read_size_expression(n) if isinstance(n, torch.SymInt) else n for n in shape] for shape in shapes)
    return sizes == others


def _depends_on_words(positions: Any, words: Mapping[Node, WordDependence]) -> bool:
    """Return whether an index, the node `positions`, depends on the words of texts. Return False for constants, and for
    an index that depends only on a few ids, such as padding, each of which other checks try. `words` says how much the
    value of each node depends on words."""
    return isinstance(positions, Node) and words[positions] not in (
        WordDependence.NOTHING,
        WordDependence.FLAGS,
        WordDependence.COUNTS,
    )
