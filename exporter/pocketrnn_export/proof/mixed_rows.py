"""Whether a program mixes the rows of a batch: one row is changed, and every value on the way to the answer looked at.

`torch.roll(x, 1, 0)`, `x[order]` and a product of the batch with itself keep the batch an axis, so that their form says
nothing; a sort by lengths that is undone later is not mixing. A value that belongs to each text changes for the text
that was changed, and for no other. Answers alone would not show it: where a comparison of two rows decides, it may take
a batch in thousands for it to come out otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor
from torch.fx import Node

from pocketrnn_export.intake.user_frames import line_of_node
from pocketrnn_export.proof.across_rows import OF_LENGTHS, axes_of_batch
from pocketrnn_export.proof.what_of_words import name_of_node
from pocketrnn_export.torch_internals import expression_of
from pocketrnn_export.tracing.session import of_two_texts

__all__ = ["place_of_mixed_rows"]

_ROWS: Final = 4
_STEPS: Final = (6, 3)
# From how many ids the words are drawn. With two, equal words stand in several rows, as a comparison may want it.
_ALPHABETS: Final = (10**9, 2, 3, 5)


def place_of_mixed_rows(
    values_of: Callable[[tuple[Tensor, ...]], Mapping[Node, Any]],
    inputs_of: Callable[[int, int], tuple[Tensor, ...]],
    batch: set[Any],
) -> str:
    """The line at which a value of one text depends on another text of its batch; empty where there is none.

    Args:
        values_of: of inputs what each node of the program computes.
        inputs_of: of rows and steps random inputs, as the program takes them.
        batch: the symbols of the number of texts.
    """
    generator = torch.Generator().manual_seed(11)
    # The same for all of the runs.
    axes_of = functools.cache(functools.partial(_axes_that_tell, batch=batch))
    for steps in _STEPS:
        inputs = inputs_of(_ROWS, steps)
        for first, changed in _changed_inputs(inputs, generator):
            before = values_of(first)
            for after in map(values_of, changed):
                for node in before:
                    if _is_mixed(before[node], after.get(node), axes_of(node)):
                        return line_of_node(node) or "a line that is not known"
    return ""


def _changed_inputs(
    inputs: tuple[Tensor, ...], generator: torch.Generator
) -> Iterator[tuple[tuple[Tensor, ...], list[tuple[Tensor, ...]]]]:
    """Inputs, and the same with other words in one row, for each row; of two texts, in one of the two."""
    texts = 2 if of_two_texts(inputs) else 1
    for side in range(texts):
        lengths = next((one for one in inputs[texts + side :] if one.dim() == 1), None)

        def with_text(text: Tensor, side: int = side) -> tuple[Tensor, ...]:
            return (*inputs[:side], text, *inputs[side + 1 :])

        for first, changed in _changed_rows(inputs[side], lengths, generator):
            yield with_text(first), list(map(with_text, changed))


def _changed_rows(
    tokens: Tensor, lengths: Tensor | None, generator: torch.Generator
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Tokens, and the same with other words in one row, for each row. Which places are padding stays."""
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


def _axes_that_tell(node: Node, batch: set[Any]) -> tuple[int, list[int] | None] | None:
    """How many axes a node's value has, and which of them are the texts of the batch: None in place of these for the
    longest of the lengths, the width of the batch. None for what is not a tensor."""
    stated = node.meta.get("val")
    if node.op != "call_function" or not isinstance(stated, Tensor):
        return None
    axes = axes_of_batch(node, batch)
    # A value that depends on the words is not a length.
    if name_of_node(node) in OF_LENGTHS and not axes:
        return stated.dim(), None
    # An axis may also be of the rows of a batch, one after the other.
    return stated.dim(), [axis for axis in axes if expression_of(stated.shape[axis]) in batch]


def _is_mixed(before: Any, after: Any, told: tuple[int, list[int] | None] | None) -> bool:
    """Whether a value changed for more than one text."""
    if told is None or not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return False
    dims, axes = told
    # Such as the words that a mask leaves.
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
