"""Find out whether the padding after a text, which a wider batch adds, may change the answer to some text.

A maximum over all steps of a batch is correct as long as one of a text's own steps is above the padding's zero, as it
is for nearly every random text of 70 words. So the program runs on a text beside one of its own length and beside a
longer one, and its operators are checked one by one (`differences_for_other_texts.py`), with the padding left as it is.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from pocketrnn_export.proof.differences_for_other_texts import TEXT, HiddenDifferences, RecordedRun
from pocketrnn_export.proof.program_nodes import describe_node_line
from pocketrnn_export.tracing.session import takes_lengths, takes_two_texts

# The numbers of tokens of a text, and how many more the longer text in the first row has: a few, and as many as a
# condition on the amount of padding may need.
_LENGTHS: Final = (3, 40)
_MORE: Final = 9
_MANY_MORE: Final = 400
# Conditions on longer texts are not tried.
_LONGEST: Final = 2_000


def find_padding_sensitive_line(
    program: torch.export.ExportedProgram,
    inputs_of: Callable[[int, int], tuple[Tensor, ...]],
    lengths_near_conditions: Sequence[int] = (),
    *,
    padding_id: int,
    deadline: float = float("inf"),
) -> str:
    """Return the line at which the padding after a text may change the answer to some text, or "".

    Args:
        program: from torch.export. If it takes no lengths but may count them, the padding is part of the text.
        inputs_of: makes random inputs from rows and steps, as the program takes them.
        lengths_near_conditions: the numbers of tokens around each condition on a length.
        padding_id: the token after a text.
        deadline: the search stops at this `time.process_time()`.
    """
    asked = sorted({n for n in lengths_near_conditions if 1 < n <= _LONGEST} - set(_LENGTHS))
    few, many = ((n, _MORE) for n in (*_LENGTHS, *asked)), ((n, _MANY_MORE) for n in _LENGTHS[-1:])
    sides = range(2 if takes_two_texts(inputs_of(2, _MORE)) else 1)
    for (length, more), side in itertools.product((*few, *many), sides):
        pair = _run_with_and_without_padding(program, inputs_of, length, length + more, padding_id, side)
        if (
            pair is not None
            and (node := HiddenDifferences(program, *pair).find_node_that_may_differ(deadline)) is not None
        ):
            return describe_node_line(node)
        if time.process_time() > deadline:
            break
    return ""


def _run_with_and_without_padding(
    program: torch.export.ExportedProgram,
    inputs_of: Callable[[int, int], tuple[Tensor, ...]],
    length: int,
    width: int,
    padding_id: int,
    padded_text_index: int,
) -> tuple[RecordedRun, RecordedRun] | None:
    """Run a text in a batch with a text of the same length, and in a batch with a longer text. Return both runs, or
    None if the program fails. In a program of two texts, `padded_text_index` is the index of the text that is padded;
    the other text is the same in both runs."""
    inputs = [value.clone() for value in inputs_of(2, width)]
    texts = 2 if takes_two_texts(inputs) else 1
    words = inputs[0][inputs[0] != padding_id]
    if not len(words):
        return None
    tokens = words[torch.arange(2 * width).view(2, width) % len(words)]
    tokens[TEXT, length:] = padding_id
    alone, beside = list(inputs), list(inputs)
    alone[padded_text_index] = torch.where(torch.arange(width) < length, tokens, padding_id)
    beside[padded_text_index] = tokens
    if takes_lengths(inputs):
        alone[padded_text_index] = tokens[:, :length].contiguous()
        alone[texts + padded_text_index] = torch.full((2,), length)
        beside[texts + padded_text_index] = torch.tensor([width, length])
    narrow, wide = RecordedRun(program), RecordedRun(program)
    return (narrow, wide) if narrow(tuple(alone)) and wide(tuple(beside)) else None
