"""Find out whether a call uses the lengths of texts, and whether its answers depend on tokens past these lengths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from pocketrnn_export.intake.call_discovery.call_candidates import CallCandidate
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import Batch, ModuleFacts
from pocketrnn_export.intake.call_discovery.trial_answers import (
    are_answers_near,
    call_and_read_numbers,
    call_and_restore_state,
    wrap_answer_part,
)
from pocketrnn_export.intake.calling_convention import Convention
from pocketrnn_export.intake.compiled_call_line import uses_lengths
from pocketrnn_export.intake.pair_call import PairCall, split_pairs

# Some processors round the rows of one matrix product differently, by up to 16 times float32's precision.
ROUNDING: Final = 2e-6


def depends_on_lengths(facts: ModuleFacts, convention: Convention, batches: Sequence[Batch]) -> bool:
    """Return whether a call uses the lengths of the texts. For this check, the lengths are an object that raises when
    the module uses it."""
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
    """Return whether an input hides tokens as a mask does: if only this input gets shorter lengths, the tokens past
    them do not change the answer.

    An input that is named like lengths counts as right without a test: a module may use it only to divide a sum.
    """
    if way.slots[input_index].role == "lengths" or isinstance(facts.module, torch.jit.ScriptModule):
        return True
    value = way.options[input_index].value or ""
    if "lengths" not in value and "size(1)" not in value:
        return True
    return _ignores_tokens_past_lengths(facts, convention, way, input_index, batch)


def note_inputs_unlike_lengths(
    facts: ModuleFacts, convention: Convention, way: CallCandidate, batch: Batch
) -> Iterable[str]:
    """Yield a note on each input that is named like lengths although tokens past its value change the answer: it may be
    something else, such as a number of characters."""
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
    """Return whether the last token of a text changes the answer, and no token past the length does."""
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
    """Return three answers to the rows of a batch: unchanged, with another last token, and with other tokens past the
    end. Return None if the module fails, or if there is no id but the padding."""
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
