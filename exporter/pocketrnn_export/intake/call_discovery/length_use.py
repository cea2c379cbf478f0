"""Find out whether a call uses the lengths of texts, whether its answers depend on tokens past these lengths, and
whether the module counts the tokens itself if the call leaves them out."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from pocketrnn_export.intake.call_discovery.call_candidates import CallCandidate
from pocketrnn_export.intake.call_discovery.constants_for_non_text_inputs import is_equal_up_to_rounding, trace_answer
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import Batch, ModuleFacts
from pocketrnn_export.intake.call_discovery.trial_answers import (
    are_answers_near,
    call_and_read_numbers,
    call_and_restore_state,
    wrap_answer_part,
)
from pocketrnn_export.intake.calling_convention import Convention
from pocketrnn_export.intake.character_pair_and_feature_calls import PairCall, split_pairs
from pocketrnn_export.intake.compiled_call_line import uses_lengths
from pocketrnn_export.module_runs.operator_recording import Program

# Some processors round the rows of one matrix product differently, by up to 16 times float32's precision.
ROUNDING: Final = 2e-6


def depends_on_lengths(facts: ModuleFacts, convention: Convention, batches: Sequence[Batch]) -> bool:
    """Return whether a call uses the lengths of the texts. To find out, the lengths are replaced by an object that
    raises an exception when it is used."""
    line = convention.line
    if line.startswith(("module", "_")) and not line.endswith("(module, tokens, lengths)") and not uses_lengths(line):
        return False
    tokens, lengths = batches[-1]
    none: Any = _UnusableLengths()
    try:
        if isinstance(pair_call := convention.function, PairCall):
            first, second, *_ = split_pairs(tokens, lengths)
            call_and_restore_state(
                facts.module,
                lambda module, _, none: pair_call.wrapped(module, first, second, none, none),
                tokens,
                none,
            )
        else:
            call_and_restore_state(facts.module, convention.function, tokens, none)
    # Any exception shows that the lengths are used.
    except (Exception, SystemExit):
        return True
    return False


class _UnusableLengths:
    """A stand-in for lengths that raises an error when it is used."""

    def __getattribute__(self, name: str) -> Any:
        raise AttributeError(name)


def works_as_mask(
    facts: ModuleFacts, convention: Convention, way: CallCandidate, input_index: int, batch: Batch
) -> bool:
    """Return whether an input works as a mask: if only this input gets shorter lengths, the tokens past these lengths
    do not change the answer. An input that is named like lengths is accepted without a test, since a module may use it
    only to divide a sum."""
    if way.slots[input_index].role == "lengths" or isinstance(facts.module, torch.jit.ScriptModule):
        return True
    value = way.options[input_index].value or ""
    if "lengths" not in value and "size(1)" not in value:
        return True
    return _ignores_tokens_past_lengths(facts, convention, way, input_index, batch)


def note_inputs_unlike_lengths(
    facts: ModuleFacts, convention: Convention, way: CallCandidate, batch: Batch
) -> Iterable[str]:
    """Yield a note on each input that is named like lengths, although tokens past these lengths change the answer. Such
    an input may be something else, such as a number of characters."""
    if isinstance(facts.module, torch.jit.ScriptModule) or not convention.takes_lengths or convention.one_text:
        return
    for i in way.find_inputs_of_kind("lengths"):
        if not _ignores_tokens_past_lengths(facts, convention, way, i, batch):
            yield (
                f"forward's {way.slots[i].name} is given the number of tokens, but tokens past it change the answer. "
                "If it is not the length, give the right call: --call, or call=."
            )


def _ignores_tokens_past_lengths(
    facts: ModuleFacts, convention: Convention, way: CallCandidate, input_index: int, batch: Batch
) -> bool:
    """Return whether tokens past the end of a text leave the answer unchanged, if only the input with the index
    `input_index` gets the lengths of the texts."""
    function = wrap_answer_part(
        facts.compile(way.give_lengths_only_to(input_index).line), convention.line[len(way.line) :]
    )
    answers = _compute_answers_around_ends(facts, replace(convention, function=function), batch)
    return answers is not None and are_answers_near(answers.unchanged, answers.with_others_past_end)


def reads_exactly_to_length(facts: ModuleFacts, convention: Convention, batch: Batch) -> bool:
    """Return whether the last token of a text changes the answer, but tokens past the length do not."""
    answers = _compute_answers_around_ends(facts, convention, batch)
    if answers is None:
        return False
    own, changed, cut = answers
    return are_answers_near(own, cut) and bool(((own - changed).abs().amax(1) > ROUNDING).all())


class _AnswersAroundEnds(NamedTuple):
    """Three answers to the rows of a batch: unchanged, with another last token, and with other tokens past the end."""

    unchanged: Tensor
    with_other_last: Tensor
    with_others_past_end: Tensor


def _compute_answers_around_ends(facts: ModuleFacts, convention: Convention, batch: Batch) -> _AnswersAroundEnds | None:
    """Return three answers to the rows of a batch: to the rows as they are, with another last token, and with other
    tokens past the end. Return None if the module fails, or if the padding id is the only id."""
    tokens, _ = batch
    width, rows = tokens.shape[1], len(tokens)
    ends = [width, *(max(1, width - 2 - i * (width - 3) // max(1, rows - 2)) for i in range(rows - 1))]
    lengths = torch.tensor(ends if rows > 1 else [max(1, width - 2)])
    ids = [i for i in range(facts.ids) if i != facts.padding_id]
    if not ids:
        # With one id, which is the padding, a row cannot have another token.
        return None
    other = torch.tensor([ids[(int(token) + 3) % len(ids)] for token in tokens.flatten()]).view_as(tokens)
    place = torch.arange(width)
    past, last = place >= lengths[:, None], place == lengths[:, None] - 1
    try:
        own, changed, cut = (
            call_and_read_numbers(facts, convention, torch.where(where, other, tokens), lengths)
            for where in (torch.zeros_like(past), last, past)
        )
    # Whatever a user's module raises.
    except (Exception, SystemExit):
        return None
    if facts.of_tokens:
        # Numbers past the end of a text are not part of its answer.
        own, changed, cut = (
            numbers.reshape(rows, width, -1).masked_fill(past[:, :, None], 0.0).flatten(1)
            for numbers in (own, changed, cut)
        )
    return _AnswersAroundEnds(own, changed, cut)


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
    answers. Otherwise, return None.

    Equal answers to the tried texts are not enough, since a text may have the padding id inside. So texts with every id
    are tried, and the operators of both calls are compared.
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
    """Find the id that explains why two calls give different answers: without this id in the texts, the calls give
    equal answers to all trial texts. Return None if no id explains it.

    Args:
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
    """Return whether texts that together contain every id get the same answers with lengths and without."""
    for batch in _make_batches_of_every_id(facts, rows=rows):
        one, other = (trace_answer(facts, each, suffix, batch) for each in (way, without_lengths))
        if one is not None and other is not None and not is_equal_up_to_rounding(one.numbers, other.numbers):
            return False
    return True
