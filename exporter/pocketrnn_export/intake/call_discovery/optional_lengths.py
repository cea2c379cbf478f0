"""Find out whether a module counts the tokens itself if a call leaves out its optional lengths."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import torch

from pocketrnn_export.intake.call_discovery.call_candidates import CallCandidate
from pocketrnn_export.intake.call_discovery.constants_for_non_text_inputs import is_equal_up_to_rounding, trace_answer
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import Batch, ModuleFacts
from pocketrnn_export.intake.call_discovery.trial_answers import call_and_restore_state
from pocketrnn_export.module_runs.operator_recording import Program

# The operators with which a module counts the tokens or steps of a text.
_COUNTS: Final = frozenset({
    "all", "any", "bool", "clamp", "clamp_max", "count_nonzero", "eq", "ge", "gt", "isnan", "le", "logical_not", "lt",
    "ne", "nonzero", "sign",
})  # fmt: skip
# The tokens in a row of the comparison, and the most ids that are compared.
_WIDTH: Final = 12
_MOST: Final = 24_000


def find_line_that_counts_tokens_itself(
    facts: ModuleFacts, way: CallCandidate, suffix: str, batch: Batch
) -> str | None:
    """Return the line of the call without its optional lengths, if forward then counts the tokens itself or gives other
    answers. Else return None.

    Equal answers to the tried texts do not show that all are equal: a text may have the padding id inside. So texts
    with every id are tried, and the operators of both calls are compared.
    """
    for i in way.find_inputs_of_kind("lengths"):
        if way.slots[i].required:
            continue
        options = list(way.options)
        options[i] = replace(options[i], value=None, given="default")
        left_out = replace(way, options=tuple(options))
        own, other = (trace_answer(facts, each, suffix, batch) for each in (way, left_out))
        if own is None or other is None:
            continue
        more = _count_operators_that_count_tokens(other.program) - _count_operators_that_count_tokens(own.program)
        if more or not _are_answers_same_without_lengths(facts, way, left_out, suffix, rows=len(batch[0])):
            return left_out.line + suffix
    return None


def _count_operators_that_count_tokens(program: Program) -> Counter[str]:
    names = (name.partition(".")[0] for name, _ in program)
    return Counter(name for name in names if name in _COUNTS)


def find_id_that_explains_difference(facts: ModuleFacts, lines: tuple[str, str], *, one_text: bool) -> int | None:
    """Find the id that explains why two calls differ: they give the same answers to all tried texts without this id.
    Return None if no id explains it.

    Args:
        facts: the module, and what is known of it.
        lines: the two calls.
        one_text: whether the module takes one text at a time.
    """
    calls = [facts.compile(line) for line in lines]
    rows = 1 if one_text else facts.trial_rows
    for without in dict.fromkeys((facts.padding_id, 0)):
        # Whatever a user's module raises.
        with contextlib.suppress(Exception, SystemExit):
            given = list(_make_batches_of_every_id(facts, rows=rows, without_id=without))
            answers = ([call_and_restore_state(facts.module, call, *batch) for call in calls] for batch in given)
            if all(is_equal_up_to_rounding(one, other) for one, other in answers):
                return without
    return None


def _make_batches_of_every_id(facts: ModuleFacts, *, rows: int, without_id: int | None = None) -> Iterator[Batch]:
    """Yield batches of texts, with their lengths, that together contain every id except `without_id`."""
    width = facts.widths.clip(_WIDTH)
    ids = torch.arange(min(facts.ids, _MOST))
    usual = facts.ids - 1 - (facts.padding_id == facts.ids - 1)
    tokens = torch.full((-(-len(ids) // width), width), usual)
    tokens.view(-1)[: len(ids)] = ids
    if without_id is not None:
        tokens[tokens == without_id] = usual
    # Reversed rows, too: an id that ends a row hides an error in counting there.
    tokens = torch.cat([tokens, tokens.flip(1)])
    step = 1 if rows == 1 else len(tokens)
    for several in (tokens[begin : begin + step] for begin in range(0, len(tokens), step)):
        yield several, torch.full((len(several),), width)


def _are_answers_same_without_lengths(
    facts: ModuleFacts, way: CallCandidate, without_lengths: CallCandidate, suffix: str, *, rows: int
) -> bool:
    """Return whether texts with every id get the same answers with lengths and without lengths."""
    for batch in _make_batches_of_every_id(facts, rows=rows):
        one, other = (trace_answer(facts, each, suffix, batch) for each in (way, without_lengths))
        if one is not None and other is not None and not is_equal_up_to_rounding(one.numbers, other.numbers):
            return False
    return True
