"""Find out whether a module's answer to a text depends on earlier calls.

Answers do not depend on a cache of positions, of masks, or of attention weights. They depend on the longest length so
far, on a state that is used again where its shape fits, or on a count of calls; and a graph has no earlier calls. Such
a module may still give the same answer twice in a row. Numbers that forward takes out of tensors, as with .item(), and
may store, cannot be followed further.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.proof_inputs import LONGEST
from pocketrnn_export.intake.call_discovery.kept_state_advice import advise_on_kept_state
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import Batch, ModuleFacts
from pocketrnn_export.intake.calling_convention import Convention
from pocketrnn_export.intake.user_code_lines_for_messages import (
    find_random_draw_line,
    list_call_frames,
    run_user_call,
    write_place,
)
from pocketrnn_export.module_runs.attribute_changes import (
    ChangedAttribute,
    does_run_assign_attributes,
    find_attributes_changed_by_run,
    restore_attributes,
)
from pocketrnn_export.module_runs.numbers_that_count_calls import CallCounter, ComparisonFlipper, find_call_counters
from pocketrnn_export.module_runs.operator_recording import OperatorRecorder, Program, find_first_different_operator
from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu
from pocketrnn_export.module_runs.state_restoration import restore_module
from pocketrnn_export.module_runs.tensors_in_values import list_tensors_in
from pocketrnn_export.torch_internals import FunctionMode

# The rounding of an answer where a cache has grown.
_SAME: Final = 1e-5
# The numbers of calls after which a counter is tried, and how many of its comparisons are turned around.
_CALLS: Final = (20, 1_000, 1_000_000)
_MOST_COMPARISONS: Final = 20
# The number of tokens of a long text, of a longer one, and of one that represents all texts that are longer still.
_LONG: Final = 150
_LONGER: Final = 400
_LONGEST: Final = 1_500
# The most tokens in a batch. For this processor time the operators of all batches are recorded, and then for twice
# as long those of short batches only.
_MOST: Final = 20_000
_SECONDS: Final = 2.0
# How many calls' entries are added to a collection that each call extends.
_ENTRIES: Final = (20, 1_000)
_COLLECTIONS: Final = (list, deque, set, dict, tuple, str)

# A module may change its answer from its twelfth call on.
_CALLS_AT_A_TIME: Final = 16
_BEFORE: Final = "earlier texts"


@dataclass(frozen=True)
class _RecordedAnswer:
    """The numbers [batch, units] that a module gives, with the operators that compute them if these were recorded."""

    numbers: Tensor
    program: Program | None


def refuse_dependence_on_calls(facts: ModuleFacts, convention: Convention) -> None:
    """Raise an ExportError if a module's answer to a text depends on earlier texts, or on the number of earlier
    calls."""
    rows, width = 1 if convention.one_text else facts.trial_rows, facts.trial_widths[-1][-1]
    text, other, longer = (
        facts.draw_batch(rows, width),
        (facts.draw_batch(rows + 1, width)[0][:rows], torch.full((rows,), width)),
        facts.draw_batch(rows, facts.widths.clip(_LONGER)),
    )
    with restore_module(facts.module):
        kept = find_attributes_changed_by_run(
            lambda: _compute_answers_to_batches(facts, convention, [text], recorded=False), facts.module
        )
    sizes = [(1, 1), (rows, 1), (rows, 2), (rows, _LONG), (rows, _LONGER), (1, _LONGEST)]
    _refuse_dependence_on_earlier_batches(facts, convention, [text, other, *_make_batches(facts, convention, sizes)])
    for order in ([text, other, text], [longer, other]):
        if (held := _find_attributes_with_used_state(facts, convention, order)) is not None:
            raise _make_dependence_error(_BEFORE, held, convention)
    _refuse_dependence_on_call_counters(facts, convention, text)
    for one in kept:
        if any(_depends_on_length(facts, convention, one, batch, n) for batch in (text, longer) for n in _ENTRIES):
            raise _make_dependence_error(_BEFORE, [one], convention)


def refuse_dependence_on_sizes(facts: ModuleFacts, convention: Convention, sizes: Iterable[tuple[int, int]]) -> None:
    """Raise an ExportError if a module's answer to a text depends on an earlier text of another size.

    Args:
        facts: the module, which is not changed.
        convention: how the module is called.
        sizes: (texts, tokens) around each size that forward compares with.
    """
    if sizes := sorted(sizes, key=lambda size: size[0] * size[1]):
        rows = facts.trial_rows
        _refuse_dependence_on_earlier_batches(
            facts, convention, _make_batches(facts, convention, [(1, 1), (rows, 1), (rows, 2), *sizes])
        )


def _make_batches(facts: ModuleFacts, convention: Convention, sizes: Iterable[tuple[int, int]]) -> list[Batch]:
    """Make a batch of each size (texts, tokens), with texts that the module accepts. Sizes of more than 20,000 tokens
    are left out."""
    taken = ((1 if convention.one_text else rows, facts.widths.clip(tokens)) for rows, tokens in sizes)
    return [facts.draw_batch(*size) for size in dict.fromkeys(taken) if size[0] * size[1] <= _MOST]


def _refuse_dependence_on_earlier_batches(facts: ModuleFacts, convention: Convention, batches: Sequence[Batch]) -> None:
    """Raise an ExportError if a module's answer to a batch changes after other batches. A new copy of the module gives
    the expected answer. Each batch runs twice, then all batches run in reverse order. If calls leave state in the
    module, each batch also runs after each other batch."""
    answered, clock = list[tuple[Batch, _RecordedAnswer]](), _TimeBudget()
    for batch in batches:
        for recorded in clock.yield_recording_while_time_is_left(batch):
            answered += [
                (batch, answer)
                for answer in _answer_and_restore_if_possible(facts, convention, batch, recorded=recorded)
            ]
    last = len(answered) - 1
    twice = [place for place in range(last) for _ in range(2)]
    # Every pair of batches stands side by side, also each batch with itself.
    paired = [place for later in range(last + 1) for other in range(later + 1) for place in (later, other)]
    for order in ([*twice, *range(last, -1, -1)], paired):
        differs = list[Batch]()
        with restore_module(facts.module):
            run = partial(
                _collect_first_differing_batch, facts, convention, [answered[place] for place in order], differs
            )
            changed = find_attributes_changed_by_run(run, facts.module)
        if differs:
            drawn = None if changed else _find_error_of_random_draws(facts, convention, differs[0])
            raise drawn or _make_dependence_error(_BEFORE, changed, convention)
        if not changed:
            return


class _TimeBudget:
    """The processor time that is left for a sequence of batches."""

    def __init__(self) -> None:
        self._started = time.process_time()
        # The longest time for a step in batches whose operators were recorded.
        self._a_step = 0.0

    def yield_recording_while_time_is_left(self, batch: Batch) -> Iterator[bool]:
        """Yield once, with whether to record the operators of a batch; yield nothing if no time is left. Operators of
        short batches are always recorded, those of long ones only if the time will probably be enough."""
        steps, now = batch[0].shape[1], time.process_time()
        spent = now - self._started
        if spent < 3 * _SECONDS:
            recorded = steps < _LONG or spent + self._a_step * steps < _SECONDS
            yield recorded
            if recorded:
                self._a_step = max(self._a_step, (time.process_time() - now) / max(steps, _LONG))


def _collect_first_differing_batch(
    facts: ModuleFacts,
    convention: Convention,
    answered: Iterable[tuple[Batch, _RecordedAnswer]],
    differing: list[Batch],
) -> None:
    """Compare the module's answers to batches with the expected ones, one after the other. Add the first batch whose
    answer differs to `differing`, and stop there."""
    clock = _TimeBudget()
    for batch, expected in answered:
        for recorded in clock.yield_recording_while_time_is_left(batch):
            answers = _compute_answers_to_batches(facts, convention, [batch], recorded=recorded)
            if not answers or not _is_same_up_to_rounding(answers[0], expected):
                differing.append(batch)
                return


def _find_attributes_with_used_state(
    facts: ModuleFacts, convention: Convention, batches: Sequence[Batch]
) -> list[ChangedAttribute] | None:
    """Find out whether the module's answer to the last batch depends on earlier calls. If so, return the attributes
    that calls change, likely causes first. Otherwise, return None.

    A value that the first call stores without using its text, such as a cache, does not count.
    """
    operations = OperatorRecorder()
    answered: list[Tensor] = []

    def run_module() -> None:
        for call, batch in enumerate(batches):
            operations.label_results_of_later_operators(f"call {call}")
            answered.append(_call_module(facts, convention, batch, operations, f"text {call}"))

    with restore_module(facts.module):
        changed = find_attributes_changed_by_run(run_module, facts.module)
    if len(answered) < len(batches):
        return None
    last = len(batches) - 1
    before = {f"text {call}" for call in range(last)} | {f"call {call}" for call in range(1, last)}
    if not operations.find_labels(answered[-1]) & before:
        return None
    return sorted(changed, key=lambda kept: not operations.find_labels(*list_tensors_in(kept.after)) & before)


def _answer_and_restore_if_possible(
    facts: ModuleFacts, convention: Convention, batch: Batch, *, recorded: bool = True
) -> list[_RecordedAnswer]:
    """Call the module on a batch, and undo the changes of the call. Return the answer in a list, or an empty list if
    the module fails. With `recorded`, the operators are recorded, too."""
    with restore_module(facts.module):
        return _compute_answers_to_batches(facts, convention, [batch], recorded=recorded)


def _compute_answers_to_batches(
    facts: ModuleFacts, convention: Convention, batches: Sequence[Batch], *, recorded: bool = True
) -> list[_RecordedAnswer]:
    """Call the module on one batch after the other until it fails. Return the answers. Changes that the calls make to
    the module are not undone. With `recorded`, the operators are recorded, too."""
    answers = []
    with contextlib.suppress(Exception, SystemExit):
        for batch in batches:
            operations = OperatorRecorder() if recorded else None
            answer = _call_module(facts, convention, batch, operations, "text")
            steps = frozenset[int]() if operations is None else operations.find_steps_that_made(answer)
            program = None if operations is None else operations.extract_program(steps, "text")
            numbers = answer.float().reshape(len(batch[0]), -1).nan_to_num()
            answers.append(_RecordedAnswer(numbers, program))
    return answers


def _call_module(
    facts: ModuleFacts, convention: Convention, batch: Batch, operations: OperatorRecorder | None, label: str
) -> Any:
    """Return the module's answer to a batch. The changes that the call makes to the module are not undone. If
    `operations` records the operators, it gives the inputs the label `label`."""
    tokens, lengths = (value.clone() for value in batch)
    if operations is not None:
        operations.label_tensors(label, tokens, lengths)
    with torch.no_grad(), run_quietly_on_cpu(), operations or contextlib.nullcontext():
        return run_user_call(convention.function, facts.module, tokens, lengths)


def _depends_on_length(
    facts: ModuleFacts, convention: Convention, kept: ChangedAttribute, batch: Batch, further_calls: int
) -> bool:
    """Return whether the answer changes when many calls extend a collection of the module: a list, set, dict, tuple or
    string. `kept` is the attribute that holds the collection. The calls are not made; instead, the entries that one
    call adds are added `further_calls` times."""
    if not isinstance(kept.after, _COLLECTIONS):
        return False
    expected = _answer_and_restore_if_possible(facts, convention, batch)
    path, _, name = kept.name.rpartition(".")
    layer = facts.module.get_submodule(path)
    with restore_module(facts.module):
        # The first call may make the collection.
        _compute_answers_to_batches(facts, convention, [batch])
        held: Any = getattr(layer, name, None)
        before = len(held) if isinstance(held, _COLLECTIONS) else 0
        _compute_answers_to_batches(facts, convention, [batch])
        longer: Any = getattr(layer, name, None)
        # A list that each call creates again holds nothing from earlier calls.
        is_anew = isinstance(held, list | deque) and longer is not held
        if is_anew or not isinstance(longer, _COLLECTIONS) or type(longer) is not type(held) or len(longer) <= before:
            return False
        setattr(layer, name, _extend_collection(longer, before, further_calls))
        answers = _compute_answers_to_batches(facts, convention, [batch])
    return bool(answers) and bool(expected) and not _is_same_up_to_rounding(answers[0], expected[0])


def _extend_collection(held: Any, before: int, further_calls: int) -> Any:
    """Return a collection extended as further calls would extend it: each call adds as many entries as the last one
    did, before which the collection had `before` entries. Lists and dicts are extended in place, since forward may also
    reach them by another name."""
    if isinstance(held, str):
        return held + held[before:] * further_calls
    if isinstance(held, tuple):
        return (*held, *(held[before:] * further_calls))
    added = (len(held) - before) * further_calls
    if isinstance(held, set):
        held.update(object() for _ in range(added))
    elif isinstance(held, dict):
        last = next(reversed(held.values()))
        held.update((object(), last) for _ in range(added))
    else:
        held.extend(list(held)[before:] * further_calls)
    return held


def _is_same_up_to_rounding(one: _RecordedAnswer, other: _RecordedAnswer) -> bool:
    """Return whether two answers have equal numbers up to rounding. If the operators of both were recorded, these must
    be equal, too."""
    near = (one.numbers - other.numbers).abs().max() <= _SAME * max(1.0, float(other.numbers.abs().max()))
    both = one.program is not None and other.program is not None
    return bool(near) and (not both or find_first_different_operator(one.program or (), other.program or ()) is None)


def _refuse_dependence_on_call_counters(facts: ModuleFacts, convention: Convention, batch: Batch) -> None:
    """Raise an ExportError if a module's answer depends on a number that every call changes, such as a counter. To find
    out, the number is set to its value after many calls, and the results of comparisons with it, such as `self.calls %
    50 == 0`, are reversed. Also raise the error if a module takes values from an iterator that it keeps, since later
    values are unknown; an `itertools.count` is allowed."""
    with restore_module(facts.module):
        counters = find_call_counters(
            lambda: _compute_answers_to_batches(facts, convention, [batch], recorded=False), facts.module
        )
    expected = _answer_and_restore_if_possible(facts, convention, batch)
    with restore_module(facts.module):
        for counter in counters if expected else ():
            if not counter.step:
                raise ExportError(
                    "forward takes the next value of an iterator that the module "
                    f"keeps{counter.name and f': {counter.name}'}. "
                    "The answer to a text may thus depend on how many texts came before.",
                    "Create the iterator in forward, or keep a list and read it by index.",
                )

            def differs(value: Any, counter: CallCounter = counter) -> bool:
                with restore_attributes(facts.module), counter.hold_value(value):
                    answers = _compute_answers_to_batches(facts, convention, [batch])
                return bool(answers) and not _is_same_up_to_rounding(answers[0], expected[0])

            counting = ComparisonFlipper()
            watched = [counting.watch(counter.before)] if type(counter.before) is int else []
            later = [counter.before + calls * counter.step for calls in _CALLS]
            if any(map(differs, [*watched, *later])) or any(
                differs(ComparisonFlipper(flipped).watch(counter.before))
                for flipped in range(min(counting.count, _MOST_COMPARISONS))
            ):
                changed = ChangedAttribute(counter.name, counter.before, counter.before + counter.step)
                is_attribute = counter.name and counter.iterator is None
                raise _make_dependence_error(
                    "the number of calls before", [changed] if is_attribute else [], convention
                )


def _find_error_of_random_draws(facts: ModuleFacts, convention: Convention, batch: Batch) -> ExportError | None:
    """Return the error for a module that draws random numbers in eval mode for some texts. Return None if it does
    not."""
    with restore_module(facts.module):
        line = find_random_draw_line(facts.module, lambda: _compute_answers_to_batches(facts, convention, [batch]))
    if not line:
        return None
    return ExportError(
        f"The module draws random numbers in eval mode, at {line}: its answers to some texts differ from call to call.",
        "Draw them only if self.training is true, as F.dropout(x, p, self.training) and nn.Dropout do.",
    )


def _make_dependence_error(cause: str, changed: Sequence[ChangedAttribute], convention: Convention) -> ExportError:
    """Make the error for a module whose answer depends on `cause`, such as earlier texts. The error names the
    attributes that the calls have changed."""
    advice = (
        advise_on_kept_state(changed, convention.line)
        if changed
        else "Do not let forward keep anything that a later answer depends on, in the module, its file or a "
        "default argument."
    )
    return ExportError(f"The module's answer to a text depends on {cause}.", advice)


def assigns_without_effect(facts: ModuleFacts, convention: Convention) -> bool:
    """Return whether forward assigns to attributes, such as a cache, without changing its next answer.

    Such assignments are undone. A module whose next answer changes, for example by a counter, is refused later.
    """
    rows = 1 if convention.one_text else facts.trial_rows
    # A cache may grow only for the longest text of the proof.
    shapes = ((rows, facts.trial_widths[-1][-1], _CALLS_AT_A_TIME), (1, facts.widths.clip(LONGEST), 2))
    return any(_assigns_without_effect_at_size(facts, convention, *shape) for shape in shapes)


def _assigns_without_effect_at_size(
    facts: ModuleFacts, convention: Convention, rows: int, width: int, calls: int
) -> bool:
    """Return whether repeated calls on a batch of one size assign to attributes of the module, but always give the same
    answer."""
    batch = facts.draw_batch(rows, width)
    if not does_run_assign_attributes(
        lambda: _compute_answers_to_batches(facts, convention, [batch], recorded=False), facts.module
    ):
        return False
    with restore_attributes(facts.module):
        answers = _compute_answers_to_batches(facts, convention, [batch] * calls, recorded=False)
    return bool(answers) and all(torch.equal(answers[0].numbers, other.numbers) for other in answers)


_TAKE_OUT: Final = frozenset({"__array__", "__float__", "__int__", "item", "numpy", "tolist"})
_PYTHONS: Final = (bool, int, float, str, list, tuple, dict, set, np.ndarray)


def note_extracted_numbers(facts: ModuleFacts, convention: Convention) -> tuple[str, ...]:
    """Run the module once. Return a note if forward reads numbers out of tensors and may store them for later texts.
    Otherwise, return an empty tuple."""
    tokens, lengths = facts.draw_batch(1 if convention.one_text else facts.trial_rows, facts.trial_widths[-1][-1])
    operations = OperatorRecorder()
    taken = _ExtractedNumberRecorder(operations)
    operations.label_tensors("text", tokens)

    def run_module() -> None:
        with torch.no_grad(), run_quietly_on_cpu(), operations, taken:
            run_user_call(convention.function, facts.module, tokens, lengths)

    # A module that fails here also fails in the proof, which reports it.
    with restore_module(facts.module), contextlib.suppress(Exception, SystemExit):
        changed = find_attributes_changed_by_run(run_module, facts.module)
        if taken.floats or (
            taken.lines and (_holds_numpy_arrays(facts.module) or any(map(_has_python_value, changed)))
        ):
            return (
                f"forward takes numbers out of tensors ({', '.join(taken.lines)}): if it keeps them from one text to "
                "the next, the proof notices that only if it changes the answer to a text of the proof. A change "
                "that only a rare text causes is missed.",
            )
    return ()


class _ExtractedNumberRecorder(FunctionMode):
    """Records the lines of code that take a number out of a tensor that depends on the text, and whether a number was a
    float."""

    def __init__(self, operations: OperatorRecorder) -> None:
        super().__init__()
        self._operations = operations
        self.lines: dict[str, None] = {}
        self.floats = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _TAKE_OUT and isinstance(args[0], Tensor):
            frame = next(list_call_frames(sys._getframe(1)), None)
            if frame is not None and self._operations.find_labels(args[0]):
                self.lines[write_place(Path(frame.f_code.co_filename).name, frame.f_lineno)] = None
                self.floats = self.floats or args[0].is_floating_point()
        return func(*args, **(kwargs or {}))


def _has_python_value(kept: ChangedAttribute) -> bool:
    """Return whether a changed attribute holds a value that is not a tensor: a number, a string, or a container with
    such values."""
    held = kept.after.values() if isinstance(kept.after, dict) else kept.after
    if isinstance(held, str) or not isinstance(held, Iterable):
        return isinstance(held, _PYTHONS)
    return isinstance(kept.after, _PYTHONS) and not all(isinstance(value, Tensor) for value in held)


def _holds_numpy_arrays(module: nn.Module) -> bool:
    """Return whether a layer holds a numpy array, directly or in a list, a dict or an object."""
    for layer in module.modules():
        for value in vars(layer).values():
            held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            if any(isinstance(one, np.ndarray) for one in (*held, *getattr(value, "__dict__", {}).values())):
                return True
    return False
