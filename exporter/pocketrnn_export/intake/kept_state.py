"""The state that a module keeps between calls, and whether its answer to a text depends on the texts before it.

A cache of positions, of masks by their length, of attention to be looked at: no answer depends on it. A length that is
the longest so far, a state that is taken up where its shape fits, a count of calls: an answer does, and a graph has no
calls before. Asked twice in a row, such a module may answer the same.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.cases import LONGEST
from pocketrnn_export.intake.call_discovery.module_facts import ModuleFacts
from pocketrnn_export.intake.call_discovery.trial import kept_state_advice
from pocketrnn_export.intake.convention import Convention
from pocketrnn_export.intake.random_draws import drawing_line
from pocketrnn_export.intake.user_frames import called_as
from pocketrnn_export.module_runs.cpu_run import quietly_on_cpu, tensors_in
from pocketrnn_export.module_runs.kept_attributes import Kept, assigned_by, attributes_kept, changed_by
from pocketrnn_export.module_runs.operations import Operations, Program, same_program
from pocketrnn_export.module_runs.untouched import untouched

__all__ = ["is_changed_by_a_call", "refuse_kept_by_sizes", "refuse_kept_state"]

# Rounding of a text beside a larger cache.
_SAME: Final = 1e-5
# Calls after which a count of them is tried.
_CALLS: Final = (20, 1_000, 1_000_000)
# The tokens of a long text, of a longer one, and of one that stands for all that are longer still.
_LONG: Final = 150
_LONGER: Final = 400
_LONGEST: Final = 1_500
# So many tokens of a batch are asked for. For so many seconds of processor time the operators of an order of batches
# are noted, those of long ones too, and for twice as many more those of short ones.
_MOST: Final = 20_000
_SECONDS: Final = 2.0
# How often what a call of a text leaves in a list is put there, too.
_ENTRIES: Final = (20, 1_000)

# A module may change its answer from its twelfth call on.
_CALLS_AT_A_TIME: Final = 16
_BEFORE: Final = "on the texts that it was asked before"

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class _Answer:
    """The numbers [batch, units] that a module gives, and the operators that made them, if these were noted."""

    numbers: Tensor
    program: Program | None


def refuse_kept_state(asked: ModuleFacts, convention: Convention) -> None:
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
    text, other, longer = (
        asked.batch(rows, width),
        (asked.batch(rows + 1, width)[0][:rows], torch.full((rows,), width)),
        asked.batch(rows, asked.widths.clip(_LONGER)),
    )
    with untouched(asked.module):
        kept = changed_by(lambda: _answers(asked, convention, [text], noted=False), asked.module)
    sizes = [(1, 1), (rows, 1), (rows, 2), (rows, _LONG), (rows, _LONGER), (1, _LONGEST)]
    _refuse_after_others(asked, convention, [text, other, *_batches(asked, convention, sizes)])
    for order in ([text, other, text], [longer, other]):
        if (held := _made_before(asked, convention, order)) is not None:
            raise _depends(_BEFORE, held, convention)
    alone = _anew(asked, convention, text)
    for one in kept if alone else ():
        if one.is_number and any(_counts(asked, convention, one, calls, text, alone[0]) for calls in _CALLS):
            raise _depends("on how often it was asked", [one], convention)
        if any(_fills(asked, convention, one, batch, n) for batch in (text, longer) for n in _ENTRIES):
            raise _depends(_BEFORE, [one], convention)


def refuse_kept_by_sizes(asked: ModuleFacts, convention: Convention, sizes: Iterable[tuple[int, int]]) -> None:
    """Refuse a module whose answer to a text of one size depends on a text of another that it was asked before.

    Args:
        asked: the module, which is left as it was.
        convention: how it is called.
        sizes: (texts, tokens) on both sides of what forward asks about a size.

    Raises:
        ExportError: it does; names the attribute.

    Example:
        >>> refuse_kept_by_sizes(asked, convention, [(3, 36), (3, 37), (3, 38)])
    """
    if sizes := sorted(sizes, key=lambda size: size[0] * size[1]):
        rows = asked.rows
        _refuse_after_others(asked, convention, _batches(asked, convention, [(1, 1), (rows, 1), (rows, 2), *sizes]))


def _batches(asked: ModuleFacts, convention: Convention, sizes: Iterable[tuple[int, int]]) -> list[Batch]:
    """Batches of sizes (texts, tokens) as the module takes them, each size once."""
    taken = ((1 if convention.one_text else rows, asked.widths.clip(tokens)) for rows, tokens in sizes)
    return [asked.batch(*size) for size in dict.fromkeys(taken) if size[0] * size[1] <= _MOST]


def _refuse_after_others(asked: ModuleFacts, convention: Convention, batches: Sequence[Batch]) -> None:
    """Refuse a module that answers one of the batches otherwise after others than a new copy does: after each, twice,
    and by falling number, as far as the time reaches; and each after each where calls leave something in the module.

    Raises:
        ExportError: it does; names the attribute.
    """
    answered, clock = list[tuple[Batch, _Answer]](), _Clock()
    for batch in batches:
        for noted in clock.asks(batch):
            answered += [(batch, answer) for answer in _anew(asked, convention, batch, noted=noted)]
    last = len(answered) - 1
    twice = [place for place in range(last) for _ in range(2)]
    for order in ([*twice, *range(last, -1, -1)], _each_after_each(last + 1)):
        differs = list[Batch]()
        with untouched(asked.module):
            run = partial(_ask_in_turn, asked, convention, [answered[place] for place in order], differs)
            changed = changed_by(run, asked.module)
        if differs:
            drawn = None if changed else _drawn(asked, convention, differs[0])
            raise drawn or _depends(_BEFORE, changed, convention)
        if not changed:
            return


class _Clock:
    """The processor time that is left for batches, one after the other."""

    def __init__(self) -> None:
        self._started = time.process_time()
        # The longest time of a step, over the batches whose operators were noted.
        self._a_step = 0.0

    def asks(self, batch: Batch) -> Iterator[bool]:
        """Whether the operators of a batch are noted, which takes longer: of a short one, or where there is time for
        it; nothing where all time is gone."""
        steps, now = batch[0].shape[1], time.process_time()
        spent = now - self._started
        if spent < 3 * _SECONDS:
            noted = steps < _LONG or spent + self._a_step * steps < _SECONDS
            yield noted
            if noted:
                self._a_step = max(self._a_step, (time.process_time() - now) / max(steps, _LONG))


def _ask_in_turn(
    asked: ModuleFacts, convention: Convention, answered: Iterable[tuple[Batch, _Answer]], differs: list[Batch]
) -> None:
    """Ask for batches one after the other, until one is answered otherwise, which goes into a list."""
    clock = _Clock()
    for batch, expected in answered:
        for noted in clock.asks(batch):
            answers = _answers(asked, convention, [batch], noted=noted)
            if not answers or not _same(answers[0], expected):
                differs.append(batch)
                return


def _each_after_each(number: int) -> list[int]:
    """Numbers below one, in an order in which each stands behind each, and behind itself.

    Example:
        >>> _each_after_each(3)
        [0, 0, 1, 0, 1, 1, 2, 0, 2, 1, 2, 2]
    """
    return [one for last in range(number) for other in range(last + 1) for one in (last, other)]


def _made_before(asked: ModuleFacts, convention: Convention, batches: Sequence[Batch]) -> list[Kept] | None:
    """The state that a module keeps, where its answer to the last batch is computed from it: from the numbers of an
    earlier text, or from a value that each call changes, such as a count. None where the answer does not use such.

    The other calls may read values that the first call made without a text: a cache.
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


def _anew(asked: ModuleFacts, convention: Convention, batch: Batch, *, noted: bool = True) -> list[_Answer]:
    with untouched(asked.module):
        return _answers(asked, convention, [batch], noted=noted)


def _answers(
    asked: ModuleFacts, convention: Convention, batches: Sequence[Batch], *, noted: bool = True
) -> list[_Answer]:
    """The answers to batches, one after the other; as many as there are before the module fails."""
    answers = []
    with contextlib.suppress(Exception, SystemExit):
        for batch in batches:
            operations = Operations() if noted else None
            answer = _answer(asked, convention, batch, operations, "text")
            steps = frozenset[int]() if operations is None else operations.steps_of(answer)
            program = None if operations is None else operations.program_of(steps, "text")
            numbers = answer.float().reshape(len(batch[0]), -1).nan_to_num()
            answers.append(_Answer(numbers, program))
    return answers


def _answer(asked: ModuleFacts, convention: Convention, batch: Batch, operations: Operations | None, label: str) -> Any:
    """The module's answer; the state that the call leaves in it stays."""
    tokens, lengths = (value.clone() for value in batch)
    if operations is not None:
        operations.label(label, tokens, lengths)
    with torch.no_grad(), quietly_on_cpu(), operations or contextlib.nullcontext():
        return called_as(convention.function, asked.module, tokens, lengths)


def _fills(asked: ModuleFacts, convention: Convention, kept: Kept, batch: Batch, entries: int) -> bool:
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
    both = one.program is not None and other.program is not None
    return bool(near) and (not both or same_program(one.program or (), other.program or ()))


def _counts(
    asked: ModuleFacts, convention: Convention, kept: Kept, calls: int, batch: Batch, expected: _Answer
) -> bool:
    """Whether a module answers otherwise once a number that each call changes is what it comes to after many."""
    *path, name = kept.name.split(".")
    with untouched(asked.module):
        setattr(asked.module.get_submodule(".".join(path)), name, kept.before + calls * (kept.after - kept.before))
        answers = _answers(asked, convention, [batch])
    return bool(answers) and not _same(answers[0], expected)


def _drawn(asked: ModuleFacts, convention: Convention, batch: Batch) -> ExportError | None:
    """The refusal of a module that draws random numbers in eval mode, though its answers to the texts that were tried
    are none of them; None where it draws none."""
    with untouched(asked.module):
        line = drawing_line(asked.module, lambda: _answers(asked, convention, [batch]))
    if not line:
        return None
    return ExportError(
        f"The module draws random numbers in eval mode, at {line}: to some texts it answers otherwise at each call.",
        "Let it draw none where self.training is false, as F.dropout(x, p, self.training) and nn.Dropout do.",
    )


def _depends(on: str, changed: Sequence[Kept], convention: Convention) -> ExportError:
    advice = (
        kept_state_advice(changed, convention.line)
        if changed
        else "Let forward keep nothing that a later answer depends on, in the module, its file or a default argument."
    )
    return ExportError(f"The module's answer to a text depends {on}.", advice)


def is_changed_by_a_call(asked: ModuleFacts, convention: Convention) -> bool:
    """Whether forward assigns to attributes, such as a cache of positions, and answers as before: its copies begin
    without what it left. One that answers otherwise the next time, such as a counter, is asked as it is: refused."""
    rows = 1 if convention.one_text else asked.rows
    # A cache may grow for the longest text of the proof only.
    shapes = ((rows, asked.tried_widths[-1][-1], _CALLS_AT_A_TIME), (1, asked.widths.clip(LONGEST), 2))
    return any(_is_changed_by(asked, convention, *shape) for shape in shapes)


def _is_changed_by(asked: ModuleFacts, convention: Convention, rows: int, width: int, calls: int) -> bool:
    batch = asked.batch(rows, width)
    if not assigned_by(lambda: _answers(asked, convention, [batch], noted=False), asked.module):
        return False
    with attributes_kept(asked.module):
        answers = _answers(asked, convention, [batch] * calls, noted=False)
    return bool(answers) and all(torch.equal(answers[0].numbers, other.numbers) for other in answers)
