"""Whether a program knows the place of a text in its batch: `torch.arange(len(x)) >= 170`, a table cut to the batch.

A condition on such a number may have another result only in a large batch. So the number is found where it arises:
among rows of the same text, a value that differs from row to row is the number of the row, or made of it. It may be a
position at which each text finds its own values (`states[torch.arange(len(x)), lengths - 1]`), and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor
from torch.fx import Node

from pocketrnn_export.intake.user_frames import line_of_node
from pocketrnn_export.module_runs.operations import GIVES_NO_NUMBERS
from pocketrnn_export.proof.across_rows import BY_POSITION, axes_of_batch, needed_nodes
from pocketrnn_export.proof.what_of_words import name_of_node
from pocketrnn_export.torch_internals import expression_of

__all__ = ["place_of_row_numbers"]

_ROWS: Final = 4
_STEPS: Final = 6
# Rows of one product of matrices are rounded otherwise on some processors.
_SAME: Final = 1e-4
# The operators that take a part of a tensor: the axis is the second argument.
_CUTS: Final = frozenset({"cut", "narrow", "slice"})
_ORDERS: Final = frozenset({"argsort", "sort"})
_WHOLE: Final = frozenset({torch.int64, torch.int32})
# The operators that keep a position a position: a remainder or a clamp has another result far down a large batch.
_STAYS: Final = frozenset({
    "_to_copy", "add", "alias", "cat", "clone", "contiguous", "copy", "cut", "detach", "expand", "flatten", "flip",
    "gather", "getitem", "index", "index_put", "index_select", "mul", "permute", "repeat", "repeat_interleave",
    "reshape", "rsub", "select", "slice", "squeeze", "stack", "step", "sub", "t", "to", "transpose", "type_as",
    "unsqueeze", "view",
})  # fmt: skip


def place_of_row_numbers(
    program: torch.export.ExportedProgram,
    values_of: Callable[[tuple[Tensor, ...]], Mapping[Node, Any]],
    inputs_of: Callable[[int, int], tuple[Tensor, ...]],
    batch: set[Any],
) -> str:
    """The line at which a program makes something of the place of a text in its batch; empty where there is none.

    Args:
        program: of torch.export.
        values_of: of inputs what each node of the program computes.
        inputs_of: of rows and steps random inputs, as the program takes them.
        batch: the symbols of the number of texts.
    """
    values = values_of(tuple(value[:1].repeat(_ROWS, *[1] * (value.dim() - 1)) for value in inputs_of(_ROWS, _STEPS)))
    needed = dict.fromkeys(needed_nodes(program))
    numbers = {node for node in needed if _differs(node, values.get(node), batch)}
    for node in needed:
        if _is_of_a_table(node, values, batch):
            return line_of_node(node) or "a line that is not known"
        for user in node.users if node in numbers else ():
            if user in needed and not _is_position(node, user, numbers, batch):
                return line_of_node(user) or line_of_node(node) or "a line that is not known"
    return ""


def _differs(node: Node, value: Any, batch: set[Any]) -> bool:
    """Whether a value differs between rows of the same text."""
    stated = node.meta.get("val")
    if node.op != "call_function" or not isinstance(stated, Tensor) or not isinstance(value, Tensor):
        return False
    if value.dim() != stated.dim():
        return False
    for axis in axes_of_batch(node, batch):
        size = value.shape[axis]
        if expression_of(stated.shape[axis]) in batch:
            views = [value.movedim(axis, 0)] if size == _ROWS else []
        elif size % _ROWS == 0 and size:
            # The rows one after the other, in either order.
            before, after = value.shape[:axis], value.shape[axis + 1 :]
            views = [
                value.reshape(*before, _ROWS, -1, *after).movedim(axis, 0),
                value.reshape(*before, -1, _ROWS, *after).movedim(axis + 1, 0),
            ]
        else:
            views = []
        if views and all(map(_rows_differ, views)):
            return True
    return False


def _rows_differ(rows: Tensor) -> bool:
    if not rows.is_floating_point():
        return bool((rows != rows[:1]).any())
    rows = rows.double().nan_to_num()
    return bool((rows - rows[:1]).abs().gt(_SAME * max(1.0, float(rows.abs().max()))).any()) if rows.numel() else False


def _is_of_a_table(node: Node, values: Mapping[Node, Any], batch: set[Any]) -> bool:
    """Whether a tensor that no text is in is cut to the number of texts, and its rows are not all the same."""
    stated = node.meta.get("val")
    if name_of_node(node) not in _CUTS or not isinstance(stated, Tensor) or not axes_of_batch(node, batch):
        return False
    source, axis = node.args[0], node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    table = values.get(source) if isinstance(source, Node) else None
    if not isinstance(table, Tensor) or not isinstance(axis, int) or axes_of_batch(source, batch):  # type: ignore[arg-type]
        return False
    return axis % stated.dim() in axes_of_batch(node, batch) and _rows_differ(table.movedim(axis, 0))


def _is_position(node: Node, user: Node, numbers: set[Node], batch: set[Any]) -> bool:
    """Whether the number of a row stays one, or is the position of what belongs to the text of that row."""
    name, value = name_of_node(user).removesuffix("_"), user.meta.get("val")
    if name.startswith(GIVES_NO_NUMBERS) or name in _ORDERS:
        return True
    if name in _STAYS and user in numbers and isinstance(value, Tensor) and value.dtype in _WHOLE:
        return True
    if not user.all_input_nodes or user.args[0] is node or not isinstance(user.args[0], Node):
        return False
    axes = set(axes_of_batch(user.args[0], batch)) if isinstance(user.args[0].meta.get("val"), Tensor) else set()
    if name in ("index", "index_put") and isinstance(user.args[1], list | tuple):
        return all(axis in axes for axis, position in enumerate(user.args[1]) if position is node)
    return (
        name in BY_POSITION and isinstance(user.args[1], int) and user.args[1] % user.args[0].meta["val"].dim() in axes
    )
