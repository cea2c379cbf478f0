"""What a module keeps from one call to the next, and whether its answer to a text depends on the texts before it.

A cache of positions, of masks by their length, of attention to be looked at: no answer depends on it. A length that is
the longest so far, a state that is taken up where its shape fits, a count of calls: an answer does, and a graph has no
calls before. Asked twice in a row, such a module may answer the same.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.as_given import untouched
from pocketrnn_export.intake.call_discovery.asked import Asked
from pocketrnn_export.intake.call_discovery.trial import kept_state_advice
from pocketrnn_export.intake.convention import Convention
from pocketrnn_export.intake.user_frames import called_as
from pocketrnn_export.module_runs.cpu_run import quietly_on_cpu, tensors_in
from pocketrnn_export.module_runs.kept_attributes import Kept, assigned_by, attributes_kept, changed_by
from pocketrnn_export.module_runs.operations import Operations, Program, same_program
from pocketrnn_export.proof.cases import LONGEST

__all__ = ["is_changed_by_a_call", "refuse_kept_state"]

# Rounding of a text beside a larger cache.
_SAME: Final = 1e-5
# Calls after which a count of them is tried.
_CALLS: Final = (20, 1_000, 1_000_000)
# The tokens of a long text, of a longer one, and of one that stands for all that are longer still.
_LONG: Final = 150
_LONGER: Final = 400
_LONGEST: Final = 1_500
# How often what a call of a text leaves in a list is put there, too.
_ENTRIES: Final = (20, 1_000)

# A module may change its answer from its twelfth call on.
_CALLS_AT_A_TIME: Final = 16

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class _Answer:
    """The numbers [batch, units] that a module gives, and the operators that made them; none of a long text."""

    numbers: Tensor
    program: Program


def refuse_kept_state(asked: Asked, convention: Convention) -> None:
    """Refuse a module whose answer to a text depends on the texts that it was asked before, or on how many.

    Args:
        asked: the module, which is left as it was.
        convention: how it is called.

    Raises:
        ExportError: its answers depend on what it keeps; names the attribute.

    Example:
        >>> refuse_kept_state(asked, asked_convention(asked))
    """
    rows, width = 1 if convention.one_text else asked.rows, asked.tried_widths[-1][-1]
    text, other, long, longer, longest = (
        asked.batch(rows, width),
        (asked.batch(rows + 1, width)[0][:rows], torch.full((rows,), width)),
        asked.batch(rows, asked.widths.clip(_LONG)),
        asked.batch(rows, asked.widths.clip(_LONGER)),
        asked.batch(1, asked.widths.clip(_LONGEST)),
    )
    with untouched(asked.module):
        kept = changed_by(lambda: _answers(asked, convention, [text]), asked.module)
    alone, others, longers = (_anew(asked, convention, batch) for batch in (text, other, longer))
    for order, anew in (
        ([other, long, text, other], [*alone, *others]),
        ([longer, longer, longer, text], [*longers, *alone]),
        ([longest, text, text, other], [*alone, *others]),
    ):
        with untouched(asked.module):
            in_turn: list[Any] = []
            changed = changed_by(partial(_put, in_turn, asked, convention, order), asked.module)
        # A module that fails here is met again, and told, by the proof.
        if len(anew) == 2 and len(in_turn) == 4 and not all(map(_same, in_turn[2:], anew)):
            raise _depends("on the texts that it was asked before", changed, convention)
    for order in ([text, other, text], [longer, other]):
        if (held := _made_before(asked, convention, order)) is not None:
            raise _depends("on the texts that it was asked before", held, convention)
    for one in kept if alone else ():
        if one.is_number and any(_counts(asked, convention, one, calls, text, alone[0]) for calls in _CALLS):
            raise _depends("on how often it was asked", [one], convention)
        if any(_fills(asked, convention, one, batch, n) for batch in (text, longer) for n in _ENTRIES):
            raise _depends("on the texts that it was asked before", [one], convention)


def _made_before(asked: Asked, convention: Convention, batches: Sequence[Batch]) -> list[Kept] | None:
    """What a module keeps, where its answer to the last batch is made of it: of the numbers of an earlier text, or of
    what each call makes of what it finds, such as a count. None where the answer is made of nothing like that.

    What the first call makes of no text may be read by the others: a cache.
    """
    operations = Operations()
    answered: list[Tensor] = []

    def run() -> None:
        for call, batch in enumerate(batches):
            operations.label_what_follows(f"call {call}")
            answered.append(_answer(asked, convention, batch, operations, f"text {call}"))

    with untouched(asked.module):
        changed = changed_by(run, asked.module)
    if len(answered) < len(batches):
        return None
    last = len(batches) - 1
    before = {f"text {call}" for call in range(last)} | {f"call {call}" for call in range(1, last)}
    if not operations.labels_of(answered[-1]) & before:
        return None
    return sorted(changed, key=lambda kept: not operations.labels_of(*tensors_in(kept.after)) & before)


def _anew(asked: Asked, convention: Convention, batch: Batch) -> list[_Answer]:
    with untouched(asked.module):
        return _answers(asked, convention, [batch])


def _answers(asked: Asked, convention: Convention, batches: Sequence[Batch]) -> list[_Answer]:
    """The answers to batches, one after the other; as many as there are before the module fails."""
    answers = []
    with contextlib.suppress(Exception, SystemExit):
        for tokens, lengths in batches:
            operations = Operations() if tokens.shape[1] < _LONG else None
            answer = _answer(asked, convention, (tokens, lengths), operations, "text")
            program = operations.program_of(operations.steps_of(answer), "text") if operations is not None else ()
            numbers = answer.float().reshape(len(tokens), convention.units).nan_to_num()
            answers.append(_Answer(numbers, program))
    return answers


def _answer(asked: Asked, convention: Convention, batch: Batch, operations: Operations | None, label: str) -> Any:
    """What a module answers, with what it keeps of a call left in it."""
    tokens, lengths = (value.clone() for value in batch)
    if operations is not None:
        operations.label(label, tokens, lengths)
    with torch.no_grad(), quietly_on_cpu(), operations or contextlib.nullcontext():
        return called_as(convention.function, asked.module, tokens, lengths)


def _put(found: list[Any], asked: Asked, convention: Convention, batches: Sequence[Batch]) -> None:
    found.extend(_answers(asked, convention, batches))


def _fills(asked: Asked, convention: Convention, kept: Kept, batch: Batch, entries: int) -> bool:
    """Whether a module answers otherwise once a list that each call adds to holds what many calls add."""
    if not isinstance(kept.after, list | deque):
        return False
    expected = _anew(asked, convention, batch)
    path, _, name = kept.name.rpartition(".")
    layer = asked.module.get_submodule(path)
    with untouched(asked.module):
        # The first call may make the list.
        _answers(asked, convention, [batch])
        held = getattr(layer, name, None)
        if not isinstance(held, list | deque):
            return False
        before = len(held)
        _answers(asked, convention, [batch])
        # A list that is made anew by each call holds nothing of the calls before.
        is_anew = getattr(layer, name, None) is not held
        if is_anew or len(held) <= before:
            return False
        held.extend(list(held)[before:] * entries)
        answers = _answers(asked, convention, [batch])
    return bool(answers) and bool(expected) and not _same(answers[0], expected[0])


def _same(one: _Answer, other: _Answer) -> bool:
    """Whether two answers are the same, and made by the same operators of the same constants."""
    near = (one.numbers - other.numbers).abs().max() <= _SAME * max(1.0, float(other.numbers.abs().max()))
    return bool(near) and same_program(one.program, other.program)


def _counts(asked: Asked, convention: Convention, kept: Kept, calls: int, batch: Batch, expected: _Answer) -> bool:
    """Whether a module answers otherwise once a number that each call changes is what it comes to after many."""
    *path, name = kept.name.split(".")
    with untouched(asked.module):
        setattr(asked.module.get_submodule(".".join(path)), name, kept.before + calls * (kept.after - kept.before))
        answers = _answers(asked, convention, [batch])
    return bool(answers) and not _same(answers[0], expected)


def _depends(on: str, changed: Sequence[Kept], convention: Convention) -> ExportError:
    advice = (
        kept_state_advice(changed, convention.line)
        if changed
        else "Let forward keep nothing that a later answer depends on, in the module, its file or a default argument."
    )
    return ExportError(f"The module's answer to a text depends {on}.", advice)


def is_changed_by_a_call(asked: Asked, convention: Convention) -> bool:
    """Whether forward assigns to attributes, such as a cache of positions, and answers as before: its copies begin
    without what it left. One that answers otherwise the next time, such as a counter, is asked as it is: refused."""
    rows = 1 if convention.one_text else asked.rows
    # A cache may grow for the longest text of the proof only.
    shapes = ((rows, asked.tried_widths[-1][-1], _CALLS_AT_A_TIME), (1, asked.widths.clip(LONGEST), 2))
    return any(_is_changed_by(asked, convention, *shape) for shape in shapes)


def _is_changed_by(asked: Asked, convention: Convention, rows: int, width: int, calls: int) -> bool:
    batch = asked.batch(rows, width)
    if not assigned_by(lambda: _answers(asked, convention, [batch]), asked.module):
        return False
    with attributes_kept(asked.module):
        answers = _answers(asked, convention, [batch] * calls)
    return bool(answers) and all(torch.equal(answers[0].numbers, other.numbers) for other in answers)
