"""Find out whether a program mixes the rows of a batch: change one row, and check every value on the way to the answer.

`torch.roll(x, 1, 0)`, `x[order]` and a product of the batch with itself keep the batch axis, so their shapes show
nothing; a sort by lengths that is undone later is not mixing. A value of each text may change only for the text that
was changed. The answers alone would not show it: a comparison of two rows may have another result in only one batch of
thousands.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor
from torch.fx import Node

from pocketrnn_export.intake.user_frames import find_node_line
from pocketrnn_export.proof.batch_reductions import OF_LENGTHS, find_batch_axes
from pocketrnn_export.proof.token_dependence import read_operator_name
from pocketrnn_export.torch_internals import read_size_expression
from pocketrnn_export.tracing.session import takes_two_texts

__all__ = ["find_mixed_rows"]

_ROWS: Final = 4
_STEPS: Final = (6, 3)
# The numbers of ids that random words are drawn from. With two, several rows have equal words, which a comparison of
# rows may need.
_ALPHABETS: Final = (10**9, 2, 3, 5)


def find_mixed_rows(
    values_of: Callable[[tuple[Tensor, ...]], Mapping[Node, Any]],
    inputs_of: Callable[[int, int], tuple[Tensor, ...]],
    batch: set[Any],
) -> str:
    """Find the line at which a value of one text depends on another text of its batch; empty if there is none.

    Args:
        values_of: computes the value of each node of the program from inputs.
        inputs_of: makes random inputs from rows and steps, as the program takes them.
        batch: the symbols of the batch size.
    """
    generator = torch.Generator().manual_seed(11)
    # Cached, since the axes are the same in all runs.
    axes_of = functools.cache(functools.partial(_find_text_axes, batch=batch))
    for steps in _STEPS:
        inputs = inputs_of(_ROWS, steps)
        for first, changed in _make_changed_inputs(inputs, generator):
            before = values_of(first)
            for after in map(values_of, changed):
                for node in before:
                    if _is_mixed(before[node], after.get(node), axes_of(node)):
                        return find_node_line(node) or "a line that is not known"
    return ""


def _make_changed_inputs(
    inputs: tuple[Tensor, ...], generator: torch.Generator
) -> Iterator[tuple[tuple[Tensor, ...], list[tuple[Tensor, ...]]]]:
    """Yield inputs; and then for each row the same inputs with other words in this row, in one of the two texts if
    there are two, or with other features."""
    texts = 2 if takes_two_texts(inputs) else 1
    for side in range(texts):
        lengths = next((one for one in inputs[texts + side :] if one.dim() == 1), None)

        def replace_tokens(text: Tensor, side: int = side) -> tuple[Tensor, ...]:
            return (*inputs[:side], text, *inputs[side + 1 :])

        for first, changed in _make_changed_rows(inputs[side], lengths, generator):
            yield replace_tokens(first), list(map(replace_tokens, changed))
    *others, last = inputs
    if others and last.is_floating_point():
        # Features: each row takes those of the next one.
        rows, next_ones = torch.arange(len(last)), last.roll(-1, 0)
        yield inputs, [(*others, torch.where((rows == row)[:, None], next_ones, last)) for row in rows]


def _make_changed_rows(
    tokens: Tensor, lengths: Tensor | None, generator: torch.Generator
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Yield tokens; and then for each row the same tokens with other words in this row. The padding is not changed."""
    there = torch.ones_like(tokens, dtype=torch.bool)
    if lengths is not None:
        there = torch.arange(tokens.shape[1]) < lengths[:, None]
    known = torch.tensor(sorted(set(tokens[there].tolist())))
    rows = torch.arange(len(tokens))
    for alphabet in _ALPHABETS:
        words = known[torch.randperm(len(known), generator=generator)[:alphabet]]
        first, *others_drawn = (
            torch.where(there, words[torch.randint(len(words), tokens.shape, generator=generator)], tokens)
            for _ in range(1 + len(rows))
        )
        yield first, [torch.where((rows == row)[:, None], one, first) for row, one in enumerate(others_drawn)]


def _find_text_axes(node: Node, batch: set[Any]) -> tuple[int, list[int] | None] | None:
    """Return the number of axes of a node's value, and its axes over the texts. The axes are None for the longest of
    the lengths, which is the width of the batch. Return None if the value is not a tensor."""
    stated = node.meta.get("val")
    if node.op != "call_function" or not isinstance(stated, Tensor):
        return None
    axes = find_batch_axes(node, batch)
    # A value that depends on the words is not a length.
    if read_operator_name(node) in OF_LENGTHS and not axes:
        return stated.dim(), None
    # An axis whose size is a multiple of the batch size is left out.
    return stated.dim(), [axis for axis in axes if read_size_expression(stated.shape[axis]) in batch]


def _is_mixed(before: Any, after: Any, told: tuple[int, list[int] | None] | None) -> bool:
    """Return whether a value changed for more than one text."""
    if told is None or not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return False
    dims, axes = told
    # The shapes differ for the words that a mask selects.
    if before.shape != after.shape or before.dim() != dims or axes == []:
        return False
    differs = (before != after) & ~((before != before) & (after != after))
    if axes is None:
        return bool(differs.any())
    for axis in axes:
        if before.shape[axis] == _ROWS:
            others = [other for other in range(dims) if other != axis]
            if int((differs.any(others) if others else differs).sum()) > 1:
                return True
    return False
