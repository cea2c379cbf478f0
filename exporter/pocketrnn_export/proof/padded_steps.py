"""Whether what stands after a text in a wider batch may reach its answer, whatever the text says.

A maximum over all steps of a batch is that of a text's own steps while one of these is above the padding's zero, as it
is for nearly every drawn text of 70 words. So the program runs on a text beside one of its own length and beside a
longer one, and the operators are looked at one by one (`hidden_differences.py`), with what stands after the text as it
is.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from pocketrnn_export.intake.user_frames import line_of_node
from pocketrnn_export.proof.hidden_differences import TEXT, HiddenDifferences, KeptRun
from pocketrnn_export.tracing.session import of_two_texts

__all__ = ["place_of_padded_steps"]

# Tokens of a text, and so many more of the one beside it, which is first: few, and as many as a question about the
# amount of padding may ask for.
_LENGTHS: Final = (3, 40)
_MORE: Final = 9
_MANY_MORE: Final = 400
# Questions of forward about longer texts are not tried.
_LONGEST: Final = 2_000


def place_of_padded_steps(
    program: torch.export.ExportedProgram,
    inputs_of: Callable[[int, int], tuple[Tensor, ...]],
    bounds: Sequence[int] = (),
    *,
    padding_id: int,
    until: float = float("inf"),
) -> str:
    """The line at which the padding after a text tells, for some text; empty where it never does.

    Args:
        program: of torch.export. Where it takes no lengths, and may count them, the padding stands in the text.
        inputs_of: of rows and steps random inputs, as the program takes them.
        bounds: numbers of tokens on both sides of what forward asks about a length.
        padding_id: what stands after a text.
        until: nothing more is tried from this `time.process_time()` on.

    Example:
        >>> place_of_padded_steps(program, inputs_of, padding_id=1)
        'model.py:12: `return self.fc(outputs.amax(1))`'
    """
    asked = sorted({n for n in bounds if 1 < n <= _LONGEST} - set(_LENGTHS))
    few, many = ((n, _MORE) for n in (*_LENGTHS, *asked)), ((n, _MANY_MORE) for n in _LENGTHS[-1:])
    sides = range(2 if of_two_texts(inputs_of(2, _MORE)) else 1)
    for (length, more), side in itertools.product((*few, *many), sides):
        pair = _both_runs(program, inputs_of, length, length + more, padding_id, side)
        if pair is not None and (node := HiddenDifferences(program, *pair).first_node(until)) is not None:
            return line_of_node(node) or "a line that is not known"
        if time.process_time() > until:
            break
    return ""


def _both_runs(
    program: torch.export.ExportedProgram,
    inputs_of: Callable[[int, int], tuple[Tensor, ...]],
    length: int,
    width: int,
    padding_id: int,
    side: int,
) -> tuple[KeptRun, KeptRun] | None:
    """A text beside one of its own length, and beside a longer one; None where the program fails. Where it takes two,
    that is the one of a side, and the other is the same in both."""
    inputs = [value.clone() for value in inputs_of(2, width)]
    texts = 2 if of_two_texts(inputs) else 1
    tokens, second = inputs[side].new_zeros(2, width), len(inputs) > texts
    words = inputs[0][inputs[0] != padding_id]
    if not len(words):
        return None
    tokens[:] = words[torch.arange(2 * width).view(2, width) % len(words)]
    tokens[TEXT, length:] = padding_id
    alone, beside = list(inputs), list(inputs)
    alone[side], beside[side] = torch.where(torch.arange(width) < length, tokens, padding_id), tokens
    if second:
        alone[side], alone[texts + side] = tokens[:, :length].contiguous(), torch.full((2,), length)
        beside[texts + side] = torch.tensor([width, length])
    narrow, wide = KeptRun(program), KeptRun(program)
    return (narrow, wide) if narrow(tuple(alone)) and wide(tuple(beside)) else None
