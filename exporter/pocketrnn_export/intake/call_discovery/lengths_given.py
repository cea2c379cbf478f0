"""Lengths that forward takes: whether they are those of the texts, and what it does where it is given none."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from pocketrnn_export.intake.call_discovery.candidates import Way
from pocketrnn_export.intake.call_discovery.module_facts import ModuleFacts
from pocketrnn_export.intake.call_discovery.other_inputs import is_same_answer, made_answer
from pocketrnn_export.module_runs.operations import Program

__all__ = ["lengths_left_out"]

# The functions with which a module counts the words or steps of a text.
_COUNTS: Final = frozenset({
    "all", "any", "bool", "clamp", "clamp_max", "count_nonzero", "eq", "ge", "gt", "isnan", "le", "logical_not", "lt",
    "ne", "nonzero", "sign",
})  # fmt: skip
# How many tokens a row has that holds some of the ids, and how many ids are asked about at most.
_WIDTH: Final = 12
_MOST: Final = 24_000


def lengths_left_out(asked: ModuleFacts, way: Way, suffix: str, batch: tuple[Tensor, Tensor]) -> str | None:
    """The call without lengths that forward need not be given, where it then counts them by what a text holds; None
    where it answers every text the same without.

    The texts that were tried are answered the same. Another text is not: one that holds the padding's id or a step of
    zeros. So it is asked about every id, and the operators tell where the numbers do not.
    """
    for i in way.at("lengths"):
        if way.slots[i].required:
            continue
        options = list(way.options)
        options[i] = replace(options[i], value=None, given="default")
        left_out = replace(way, options=tuple(options))
        own, other = (made_answer(asked, each, suffix, batch) for each in (way, left_out))
        if own is None or other is None:
            continue
        more = _counted(other.program) - _counted(own.program)
        if more or not _same_for_every_id(asked, way, left_out, suffix, rows=len(batch[0])):
            return left_out.line + suffix
    return None


def _counted(program: Program) -> Counter[str]:
    names = (name.partition(".")[0] for name, _ in program)
    return Counter(name for name in names if name in _COUNTS)


def _same_for_every_id(asked: ModuleFacts, way: Way, left_out: Way, suffix: str, *, rows: int) -> bool:
    """Whether texts that together hold every id, the padding's too, are answered the same with lengths and without."""
    width = asked.widths.clip(_WIDTH)
    ids = torch.arange(min(asked.ids, _MOST))
    tokens = torch.full((-(-len(ids) // width), width), asked.ids - 1 - (asked.padding_id == asked.ids - 1))
    tokens.view(-1)[: len(ids)] = ids
    # Whatever id ends a row, a count of others is not cut short there.
    tokens = torch.cat([tokens, tokens.flip(1)])
    step = 1 if rows == 1 else len(tokens)
    for several in (tokens[begin : begin + step] for begin in range(0, len(tokens), step)):
        batch = several, torch.full((len(several),), width)
        one, other = (made_answer(asked, each, suffix, batch) for each in (way, left_out))
        if one is not None and other is not None and not is_same_answer(one.numbers, other.numbers):
            return False
    return True
