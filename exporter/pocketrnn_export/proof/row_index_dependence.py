"""Find out whether a program uses the row number of a text in its batch, as in `torch.arange(len(x)) >= 170`, or in a
table that is cut to the batch size.

A condition on such a number may change its result only in a large batch. So the number is found where it arises: if all
rows hold the same text, a value that differs between rows is the row number, or computed from it. It may only be a
position at which each text finds its own values (`states[torch.arange(len(x)), lengths - 1]`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor
from torch.fx import Node

from pocketrnn_export.module_runs.operator_recording import GIVES_NO_NUMBERS
from pocketrnn_export.proof.program_runs_and_nodes import (
    describe_first_known_line_of_nodes,
    find_batch_axes,
    read_operator_name,
    select_nodes_needed_for_outputs,
)
from pocketrnn_export.proof.texts_mixed_in_batch import BY_POSITION
from pocketrnn_export.torch_internals import read_size_expression

_ROWS: Final = 4
_STEPS: Final = 6
# Some processors round the rows of one matrix product differently.
_SAME: Final = 1e-4
# The operators that take a slice of a tensor: the axis is the second argument.
_CUTS: Final = frozenset({"cut", "narrow", "slice"})
_ORDERS: Final = frozenset({"argsort", "sort"})
# Operators whose result has whatever the memory held, so that its rows may differ by chance.
_EMPTY: Final = ("empty", "new_empty")
_WHOLE: Final = frozenset({torch.int64, torch.int32})
# Operators whose result is still the row number. A remainder or a clamp gives another number far down in a large batch.
_STAYS: Final = frozenset({
    "_to_copy", "add", "alias", "cat", "clone", "contiguous", "copy", "cut", "detach", "expand", "flatten", "flip",
    "gather", "getitem", "index", "index_put", "index_select", "mul", "permute", "repeat", "repeat_interleave",
    "reshape", "rsub", "select", "slice", "squeeze", "stack", "step", "sub", "t", "to", "transpose", "type_as",
    "unsqueeze", "view",
})  # fmt: skip


def find_line_that_uses_row_number(
    program: torch.export.ExportedProgram,
    values_of: Callable[[tuple[Tensor, ...]], Mapping[Node, Any]],
    inputs_of: Callable[[int, int], tuple[Tensor, ...]],
    batch_symbols: set[Any],
) -> str:
    """Return the line of user code that computes with the row number of a text in its batch, or that cuts a table to
    the batch size. Return "" if there is no such line.

    Args:
        program: from torch.export.
        values_of: a function that computes the value of each node of the program from inputs.
        inputs_of: a function that makes random inputs, as the program takes them, from the number of texts and of
            tokens.
        batch_symbols: the symbols that stand for the batch size in the program's shapes.
    """
    values = values_of(tuple(value[:1].repeat(_ROWS, *[1] * (value.dim() - 1)) for value in inputs_of(_ROWS, _STEPS)))
    needed = dict.fromkeys(select_nodes_needed_for_outputs(program))
    numbers = {node for node in needed if _differs_between_rows(node, values.get(node), batch_symbols)}
    for node in needed:
        if _cuts_table_to_batch_size(node, values, batch_symbols):
            return describe_first_known_line_of_nodes(node)
        for user in node.users if node in numbers else ():
            if user in needed and not _is_harmless_row_number_use(node, user, numbers, batch_symbols):
                return describe_first_known_line_of_nodes(user, node)
    return ""


def _differs_between_rows(node: Node, value: Any, batch_symbols: set[Any]) -> bool:
    """Return whether the value of a node differs between the rows of a batch in which all texts are equal.

    Args:
        node: the node; its batch axes are known from its symbolic shape.
        value: the value of the node in a run with four equal texts.
        batch_symbols: the symbols that stand for the batch size in symbolic shapes.
    """
    stated = node.meta.get("val")
    if node.op != "call_function" or not isinstance(stated, Tensor) or not isinstance(value, Tensor):
        return False
    if read_operator_name(node).startswith(_EMPTY):
        return False
    if value.dim() != stated.dim():
        return False
    for axis in find_batch_axes(node, batch_symbols):
        size = value.shape[axis]
        if read_size_expression(stated.shape[axis]) in batch_symbols:
            views = [value.movedim(axis, 0)] if size == _ROWS else []
        elif size % _ROWS == 0 and size:
            # The batch axis may be merged with another, in either order.
            before, after = value.shape[:axis], value.shape[axis + 1 :]
            views = [
                value.reshape(*before, _ROWS, -1, *after).movedim(axis, 0),
                value.reshape(*before, -1, _ROWS, *after).movedim(axis + 1, 0),
            ]
        else:
            views = []
        if views and all(map(_are_rows_different, views)):
            return True
    return False


def _are_rows_different(rows: Tensor) -> bool:
    """Return whether any row, an entry along the first axis, differs from the first row by more than rounding."""
    if not rows.is_floating_point():
        return bool((rows != rows[:1]).any())
    rows = rows.double().nan_to_num()
    return bool((rows - rows[:1]).abs().gt(_SAME * max(1.0, float(rows.abs().max()))).any()) if rows.numel() else False


def _cuts_table_to_batch_size(node: Node, values: Mapping[Node, Any], batch_symbols: set[Any]) -> bool:
    """Return whether a node takes the first rows of a table, as many as the batch has texts: `table[: len(x)]`. Return
    False for a table that depends on the batch, and for one with equal rows.

    Args:
        values: the values of nodes in a run.
        batch_symbols: the symbols that stand for the batch size in symbolic shapes.
    """
    stated = node.meta.get("val")
    if (
        read_operator_name(node) not in _CUTS
        or not isinstance(stated, Tensor)
        or not find_batch_axes(node, batch_symbols)
    ):
        return False
    source, axis = node.args[0], node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    table = values.get(source) if isinstance(source, Node) else None
    if not isinstance(table, Tensor) or not isinstance(axis, int) or find_batch_axes(source, batch_symbols):  # type: ignore[arg-type]
        return False
    return axis % stated.dim() in find_batch_axes(node, batch_symbols) and _are_rows_different(table.movedim(axis, 0))


def _is_harmless_row_number_use(node: Node, user: Node, numbers: set[Node], batch_symbols: set[Any]) -> bool:
    """Return whether a node uses row numbers only in ways that cannot change an answer: it passes them on, or each text
    reads its own values by them, as in `states[torch.arange(len(x)), lengths - 1]`.

    Args:
        node: the node whose value is the row numbers.
        user: the node that uses them.
        numbers: all nodes whose values are row numbers or computed from them.
        batch_symbols: the symbols that stand for the batch size in symbolic shapes.
    """
    name, value = read_operator_name(user).removesuffix("_"), user.meta.get("val")
    if name.startswith(GIVES_NO_NUMBERS) or name in _ORDERS:
        return True
    if name in _STAYS and user in numbers and isinstance(value, Tensor) and value.dtype in _WHOLE:
        return True
    if not user.all_input_nodes or user.args[0] is node or not isinstance(user.args[0], Node):
        return False
    axes = (
        set(find_batch_axes(user.args[0], batch_symbols)) if isinstance(user.args[0].meta.get("val"), Tensor) else set()
    )
    if name in ("index", "index_put") and isinstance(user.args[1], list | tuple):
        return all(axis in axes for axis, position in enumerate(user.args[1]) if position is node)
    return (
        name in BY_POSITION and isinstance(user.args[1], int) and user.args[1] % user.args[0].meta["val"].dim() in axes
    )
