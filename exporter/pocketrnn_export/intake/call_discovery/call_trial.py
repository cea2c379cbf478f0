"""Try one call of a module on small batches.

A call works if the module runs, gives finite numbers for each text, repeats them in a second call, gives
different texts different answers, and answers each text as it does alone.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pocketrnn_export.intake.call_discovery.call_candidates import LENGTH_FIRST, CallCandidate
from pocketrnn_export.intake.call_discovery.call_failures import FailedCall, Reason, explain_exception
from pocketrnn_export.intake.call_discovery.constants_for_non_text_inputs import (
    find_candidate_with_constants,
    make_changing_inputs_failure,
)
from pocketrnn_export.intake.call_discovery.head_outputs import JoinedHeads, find_head_outputs
from pocketrnn_export.intake.call_discovery.initial_states import find_state_methods_with_arguments
from pocketrnn_export.intake.call_discovery.kept_state_advice import advise_on_kept_state, find_changed_attributes
from pocketrnn_export.intake.call_discovery.length_use import (
    ROUNDING,
    depends_on_lengths,
    reads_exactly_to_length,
    works_as_mask,
)
from pocketrnn_export.intake.call_discovery.logits_location import (
    Known,
    count_numbers_per_output,
    find_float_tensors,
    find_logits_places,
)
from pocketrnn_export.intake.call_discovery.missing_logits_and_omitted_outputs import (
    describe_omitted_outputs,
    explain_missing_logits,
    explain_unsuitable_output,
    find_missing_logits_reason,
)
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import Batch, ModuleFacts
from pocketrnn_export.intake.call_discovery.tensor_dependencies import FlowRecorder, record_flow
from pocketrnn_export.intake.call_discovery.trial_answers import (
    answer_texts_one_by_one,
    are_answers_near,
    call_and_read_numbers,
    call_and_restore_state,
    can_run_line,
    read_answer_part,
    wrap_answer,
    wrap_answer_part,
)
from pocketrnn_export.intake.calling_convention import Convention
from pocketrnn_export.intake.character_pair_and_feature_calls import add_feature_ids, derive_features_from_first_ids
from pocketrnn_export.intake.compiled_call_line import Call, compile_call
from pocketrnn_export.intake.ids_with_batch_dependent_answers import explain_batch_dependence
from pocketrnn_export.intake.run_that_undoes_assignments import run_quietly_and_undo_assignments
from pocketrnn_export.intake.user_code_lines_for_messages import (
    find_nonfinite_line,
    find_random_draw_line,
    run_user_call,
)
from pocketrnn_export.module_runs.operator_recording import (
    PROBABILITIES,
    SHAPES,
    OperatorRecorder,
    find_first_different_operator,
)


@dataclass(frozen=True)
class WorkingCall:
    """A call that passed all trials: how it calls the module, and the logits that the module gave.

    Attributes:
        convention: how the module is called, and where the logits are in its answer.
        answers: the logits that the module gave to the trial batches.
        leaks: whether tokens past the end of a masked row change the answers.
        way: the candidate that was tried; None for a call that the user wrote.
        suffix: the code that selects the logits in the answer, such as `[0]`.
    """

    convention: Convention
    answers: tuple[Tensor, ...]
    leaks: bool = False
    way: CallCandidate | None = None
    suffix: str = ""

    @property
    def call(self) -> str:
        """The line of the call, without the code that selects a part of its answer."""
        return self.convention.line if self.way is None else self.way.line


def try_call_line(
    facts: ModuleFacts, line: str, function: Call, widths: Sequence[int], *, one_text: bool
) -> Iterable[WorkingCall | FailedCall]:
    """Try the owner's call. Yield the working call, or its failure."""
    batches = facts.make_batches(1 if one_text else facts.trial_rows, widths)
    return (_try_head_outputs if facts.heads else _try_call)(facts, line, function, batches, None, one_text=one_text)


def try_candidate(
    facts: ModuleFacts,
    way: CallCandidate,
    widths: Sequence[int],
    *,
    one_text: bool,
    working_calls: Sequence[WorkingCall] = (),
) -> Iterable[WorkingCall | FailedCall]:
    """Try a candidate. Yield a working call or a failure for each part of its answer that may be the logits. Skip a
    part if a call in `working_calls` already gives the same numbers."""
    line = way.line
    if not one_text and ("tokens[0]" in line or "[tokens.size(1)]" in line):
        return
    if one_text and "lengths.tolist()" in line and not facts.two_texts:
        # `[tokens.size(1)]` is tried in its place.
        return
    batches = facts.make_batches(1 if one_text else facts.trial_rows, widths)
    with_constants = find_candidate_with_constants(facts, way, batches)
    way = way if with_constants is None else with_constants
    tried = _try_head_outputs if facts.heads else _try_call
    yield from tried(
        facts, way.line, facts.compile(way.line), batches, way, one_text=one_text, working_calls=working_calls
    )


def _try_call(
    facts: ModuleFacts,
    line: str,
    function: Call,
    batches: Sequence[Batch],
    way: CallCandidate | None,
    *,
    one_text: bool,
    working_calls: Sequence[WorkingCall] = (),
) -> Iterable[WorkingCall | FailedCall]:
    """Try a call on batches. Yield a working call or a failure for each part of its answer that may be the logits. If
    the whole call fails, yield only this failure."""
    answers = _answer_trial_batches(facts, line, function, batches)
    if isinstance(answers, FailedCall):
        yield answers
        return
    rows = len(batches[0][0])
    known = [(tokens, answer) for (tokens, _), answer in zip(batches, answers, strict=True)]
    places = find_logits_places(facts, known, search_parts=way is not None)
    following: tuple[str, ...] = ()
    if places and not facts.of_tokens:
        tried = [tokens.shape[1] for tokens, _ in known]
        lengths = facts.list_further_lengths(tried, from_least_width=way is None)
        known += _list_answered_batches(facts, function, [facts.draw_batch(rows, length) for length in lengths])
        following = count_numbers_per_output(facts, known).following
        places = [place for place in places if place.suffix not in following]
    elif not places and any(tuple(leaf.shape) == (rows,) for _, leaf in find_float_tensors(answers[0])):
        # The shape (rows,) may be one number a text, or that many for one text: another batch size shows which.
        known += _list_answered_batches(facts, function, [facts.draw_batch(rows + 8, batches[0][0].shape[1])])
    if not places:
        # The failure of the last candidate, rows that begin with their length, says less about the module.
        is_other = bool(following) and (way is None or way.plain != LENGTH_FIRST)
        reason = Reason.OTHER_ANSWER if is_other else find_missing_logits_reason(known[0], facts)
        yield FailedCall(line, reason, *explain_missing_logits(known, facts, line))
    found: list[WorkingCall | FailedCall] = []
    for place in places:
        suffix, written = place.suffix, place.suffix + place.arranged
        convention = Convention(
            line + written, wrap_answer_part(function, written), place.units, takes_lengths=True, one_text=one_text,
            of_tokens=facts.of_tokens,
        )  # fmt: skip
        given = [
            read_answer_part(answer, written, *batch).float().reshape(rows, -1)
            for batch, answer in zip(batches, answers, strict=True)
        ]
        alike = [other for other in working_calls if not other.leaks and _gave_near_answers(other, given)]
        of_this = [(suffix, other.suffix) for other in alike if other.way is not None and other.way.line == line]
        # Numbers of two outputs of one call may differ on rare texts, so that their programs are compared.
        is_same = any(are_answer_parts_computed_equally(facts, function, batches[0], two) for two in of_this)
        if is_same or (alike and not of_this):
            continue
        # Checked first: a constant given to each text may be why an answer depends on the other texts.
        refused = None if way is None else make_changing_inputs_failure(facts, way, suffix, batches)
        one = refused or _check_answers_of_call(facts, convention, batches, way)
        if isinstance(one, FailedCall) and place.arranged.startswith(".reshape"):
            # It is a guess that the rows are tokens of several texts: if it fails, that means little.
            one = replace(one, reason=min(one.reason, Reason.USELESS_LOGITS))
        found.append(replace(one, way=way, suffix=suffix) if isinstance(one, WorkingCall) else one)
    if way is None or facts.heads or not any(isinstance(one, WorkingCall) for one in found):
        yield from found
    else:
        yield from _check_suitable_outputs(facts, found, record_flow(facts.module, function, *batches[0]), known, line)


def _answer_trial_batches(
    facts: ModuleFacts, line: str, function: Call, batches: Sequence[Batch]
) -> list[Any] | FailedCall:
    """Return the module's answers to the trial batches. If the module fails on one of them, return this failure."""
    try:
        return [call_and_restore_state(facts.module, function, *batch) for batch in batches]
    # A user's module may raise any exception.
    except (Exception, SystemExit) as error:
        return FailedCall(line, Reason.RAISES, *explain_exception(error, facts, line), error)


def _try_head_outputs(
    facts: ModuleFacts,
    line: str,
    function: Call,
    batches: Sequence[Batch],
    way: CallCandidate | None,
    *,
    one_text: bool,
    working_calls: Sequence[WorkingCall] = (),
) -> Iterable[WorkingCall | FailedCall]:
    """Try a call of a module with one output for each head. Join the outputs to one answer, and yield the results for
    this answer. If the outputs cannot be joined, yield the failure."""
    answers = _answer_trial_batches(facts, line, function, batches)
    if isinstance(answers, FailedCall):
        yield answers
        return
    known = [(tokens, answer) for (tokens, _), answer in zip(batches, answers, strict=True)]
    alone = _list_answered_batches(facts, function, [(batches[0][0][:1], batches[0][1][:1])])
    joined = find_head_outputs(facts, known, alone[0][1] if alone else None)
    if isinstance(joined, tuple):
        yield FailedCall(line, Reason.OTHER_ANSWER, *joined)
        return
    heads = tuple(
        Convention(line + part, wrap_answer_part(function, part), units, takes_lengths=True, one_text=one_text)
        for part, units in zip(joined.parts, joined.units, strict=True)
    )
    join, way = _wrap_in_head_join(function, joined), None if way is None else replace(way, around=joined.around)
    for one in _try_call(
        facts, joined.write_call(line), join, batches, way, one_text=one_text, working_calls=working_calls
    ):
        if isinstance(one, FailedCall):
            yield one
            continue
        left_out = ""
        if joined.suffixes:
            left_out = describe_omitted_outputs(
                facts, record_flow(facts.module, function, *batches[0]), known, *joined.suffixes
            )
        notes = (*one.convention.notes, *([joined.note] if joined.note else []))
        yield replace(one, convention=replace(one.convention, heads=heads, notes=notes, left_out=left_out))


def _wrap_in_head_join(function: Call, joined: JoinedHeads) -> Call:
    """Return a function that makes the call and joins the outputs of all heads to one answer."""
    if not joined.around:
        return function
    # The answer stands for `module` in the code.
    return wrap_answer(function, compile_call(joined.write_call("module")))


def _check_suitable_outputs(
    facts: ModuleFacts,
    outcomes: Sequence[WorkingCall | FailedCall],
    flow: FlowRecorder,
    known: Sequence[Known],
    line: str,
) -> Iterable[WorkingCall | FailedCall]:
    """Yield a result for each output that may be the logits: the working call with a note on the other outputs, or the
    failure that says why this output is not the answer. If the answer is an output that does not fit the labels, yield
    only this failure."""
    suffixes = [one.suffix for one in outcomes if isinstance(one, WorkingCall)]
    refused = {suffix: explain_unsuitable_output(facts, flow, known, line, suffix) for suffix in suffixes}
    for no_answer in refused.values():
        if no_answer is not None and no_answer.other not in suffixes:
            yield no_answer.fails
            return
    for one in outcomes:
        if not isinstance(one, WorkingCall):
            yield one
        elif (no_answer := refused[one.suffix]) is not None:
            yield no_answer.fails
        else:
            left_out = describe_omitted_outputs(facts, flow, known, one.suffix)
            yield replace(one, convention=replace(one.convention, left_out=left_out))


def _list_answered_batches(facts: ModuleFacts, function: Call, batches: Sequence[Batch]) -> list[Known]:
    """Return (tokens, answer) for each batch that the module answers without an error."""
    known: list[Known] = []
    for tokens, lengths in batches:
        with contextlib.suppress(Exception, SystemExit):
            known.append((tokens, call_and_restore_state(facts.module, function, tokens, lengths)))
    return known


def are_answer_parts_computed_equally(
    facts: ModuleFacts, function: Call, batch: Batch, suffixes: Sequence[str]
) -> bool:
    """Return whether the same operators compute two parts of an answer from the text. Operators that convert logits to
    probabilities, or that only change the shape, are ignored. `suffixes` is the code that selects the parts."""
    operations = OperatorRecorder()
    tokens, lengths = (value.clone() for value in batch)
    operations.label_tensors("text", tokens, lengths)
    with run_quietly_and_undo_assignments(facts.module), operations:
        leaves = dict(find_float_tensors(run_user_call(function, facts.module, tokens, lengths)))
    one, other = (
        operations.trace_back_through_operators_and_moves(SHAPES | PROBABILITIES, leaves[suffix], "text")
        for suffix in suffixes
    )
    programs = (operations.extract_program(steps, "text") for steps, _ in (one, other))
    return one[1] == other[1] and (one[0] == other[0] or find_first_different_operator(*programs) is None)


def _gave_near_answers(working: WorkingCall, answers: Sequence[Tensor]) -> bool:
    """Return whether a working call gave nearly the same answers as `answers` to the same batches."""
    return all(
        a.shape == b.shape and torch.allclose(a, b, atol=1e-5) for a, b in zip(answers, working.answers, strict=True)
    )


def _check_answers_of_call(
    facts: ModuleFacts, convention: Convention, batches: Sequence[Batch], way: CallCandidate | None
) -> WorkingCall | FailedCall:
    """Check that a call always gives the same answer to a text, alone and in a batch, and different answers to
    different texts. Return the working call, or a FailedCall with the reason."""
    line = convention.line
    try:
        answers = tuple(call_and_read_numbers(facts, convention, *batch) for batch in batches)
        again = tuple(call_and_read_numbers(facts, convention, *batch, twice=True) for batch in batches)
    # A user's module may raise any exception when it is run again.
    except (Exception, SystemExit) as error:
        return FailedCall(line, Reason.RAISES_ON_OTHER_SIZES, *explain_exception(error, facts, line), error)
    if not all(bool(torch.isfinite(answer).all()) for answer in answers):
        return _explain_infinite_answers(facts, convention, batches, answers)
    if not all(torch.equal(a, b) for a, b in zip(answers, again, strict=True)):
        problem = "The module gives other answers when it is run again on the same texts."
        return FailedCall(line, Reason.RANDOM, problem, _advise_on_randomness(facts, line))
    of_texts = answers if not facts.features else _answer_with_same_features(facts, convention, batches)
    texts = torch.cat([answer.reshape(-1, convention.units) for answer in of_texts])
    if torch.allclose(texts[1:], texts[:-1], rtol=ROUNDING, atol=1e-7):
        problem = "The module gives the same answer for every text."
        return FailedCall(
            line, Reason.USELESS_LOGITS, problem, "Load the trained weights, or give the call: --call, call=."
        )
    if facts.of_tokens and not _depends_on_neighbour_tokens(facts, convention, batches[-1]):
        by_itself = "The module labels each token by itself: no other token of the text changes its numbers"
        if way is not None:
            advice = (
                f'If your code calls it so, give --call "{line}", or call=. Else give a module that reads the text.'
            )
            return FailedCall(line, Reason.USELESS_LOGITS, f"{by_itself}.", advice)
        # Its owner wrote this call.
        convention = replace(convention, notes=(*convention.notes, f"{by_itself}."))
    convention = replace(convention, takes_lengths=depends_on_lengths(facts, convention, batches))
    exact, fails_alone = _check_answer_shapes_and_single_text(facts, convention, batches[0])
    convention = replace(convention, exact=exact, beside_a_copy=fails_alone)
    if not convention.one_text and (mixes := _find_batch_dependence(facts, convention, batches, answers)) is not None:
        return mixes
    leaks = False
    if way is not None and way.plain == LENGTH_FIRST and not reads_exactly_to_length(facts, convention, batches[-1]):
        problem = "The module does not use a row's first number as its length: ids past that length change its answer."
        return FailedCall(line, Reason.RAISES, problem, "Give the call: --call, or call=.")
    # Lengths that forward does not read are not checked.
    if way is not None and facts.lengths is None and convention.takes_lengths:
        for i in [*way.find_inputs_of_kind("lengths"), *way.find_inputs_of_kind("mask")]:
            if not works_as_mask(facts, convention, way, i, batches[-1]):
                slot = way.slots[i]
                if slot.role != "mask":
                    width = way.replace_value(i, "tokens.size(1)").line
                    of_width = f' If it is the number of tokens of the longest text, give --call "{width}".'
                    return FailedCall(
                        line,
                        Reason.NO_LENGTHS,
                        f"The module's forward takes {slot.name} beside the text. This is neither the lengths nor a "
                        "mask: tokens past the length change the answer.",
                        "Give its value: --call, or call=. A bundle is given nothing but a text."
                        + of_width * can_run_line(facts, width),
                    )
                leaks = True
    return WorkingCall(convention, answers, leaks)


def _answer_with_same_features(facts: ModuleFacts, convention: Convention, batches: Sequence[Batch]) -> list[Tensor]:
    """Return the answers to the batches with the features of the first text given to all texts, so that the texts
    differ only in their tokens."""
    own = derive_features_from_first_ids(facts.features, batches[0][0][:1])
    return [
        call_and_read_numbers(facts, convention, *add_feature_ids(tokens, lengths, own.expand(len(tokens), -1)))
        for tokens, lengths in batches
    ]


def _depends_on_neighbour_tokens(facts: ModuleFacts, convention: Convention, batch: Batch) -> bool:
    """Return whether the first or the last token of a text changes the module's numbers for the other tokens."""
    tokens, lengths = batch
    other = facts.draw_batch(len(tokens) + 1, tokens.shape[1])[0][1:]
    own = call_and_read_numbers(facts, convention, tokens, lengths).reshape(*tokens.shape, -1)[:, 1:-1]
    for place in (0, -1):
        changed = tokens.clone()
        changed[:, place] = other[:, place]
        given = call_and_read_numbers(facts, convention, changed, lengths).reshape(*tokens.shape, -1)[:, 1:-1]
        if not torch.allclose(given, own, rtol=ROUNDING, atol=1e-7):
            return True
    return False


def _find_batch_dependence(
    facts: ModuleFacts, convention: Convention, batches: Sequence[Batch], answers: Sequence[Tensor]
) -> FailedCall | None:
    """Return the failure of a call whose answer to a text depends on the other texts of its batch, or that fails on a
    single text. Otherwise, return None."""
    line = convention.line
    try:
        for (tokens, lengths), together in zip(batches, answers, strict=True):
            alone = answer_texts_one_by_one(facts, convention, tokens, lengths)
            # For texts with padding, ids_with_batch_dependent_answers.py later finds whether they may share a batch.
            whole = int(lengths.min()) == tokens.shape[1]
            if (
                whole
                and not _are_rows_near(alone, together)
                and not _depends_on_batch_only_by_highest_id(facts, convention, tokens, lengths)
            ):
                kept = find_changed_attributes(facts, line)
                more = f" {advise_on_kept_state(kept, line)}" if kept else ""
                once = functools.partial(answer_texts_one_by_one, facts, convention, tokens, lengths)
                problem, advice = explain_batch_dependence(once)
                return FailedCall(line, Reason.OTHER_ANSWER, problem, advice + more)
    # Whatever a user's module raises.
    except (Exception, SystemExit) as error:
        problem, advice = explain_exception(error, facts, line)
        return FailedCall(line, Reason.USELESS_LOGITS, f"For a single text: {problem}", advice, error)
    return None


def _depends_on_batch_only_by_highest_id(
    facts: ModuleFacts, convention: Convention, tokens: Tensor, lengths: Tensor
) -> bool:
    """Return whether answers depend on the batch only for texts with the highest id, which the module may treat as
    padding."""
    plain = facts.replace_highest_id(tokens)
    if plain is None:
        return False
    try:
        return _are_rows_near(
            answer_texts_one_by_one(facts, convention, plain, lengths),
            call_and_read_numbers(facts, convention, plain, lengths),
        )
    # Whatever a user's module raises.
    except (Exception, SystemExit):
        return False


def _explain_infinite_answers(
    facts: ModuleFacts, convention: Convention, batches: Sequence[Batch], answers: Sequence[Tensor]
) -> FailedCall:
    """Return the failure of a call whose answers are infinite or NaN. It names the line that computes such a number
    from finite numbers, if this line is found."""
    batch = next(one for one, answer in zip(batches, answers, strict=True) if not bool(torch.isfinite(answer).all()))
    line = find_nonfinite_line(lambda: call_and_read_numbers(facts, convention, *batch))
    place = f", at {line}" if line else ""
    if all(bool((torch.isfinite(answer) | (answer == -math.inf)).all()) for answer in answers):
        return FailedCall(
            convention.line,
            Reason.INFINITE_LOGITS,
            f"The module gives minus infinity among its logits{place}.",
            "Use a finite number for an impossible label, such as -1e4: its probability is 0 all the same.",
        )
    return FailedCall(
        convention.line,
        Reason.USELESS_LOGITS,
        f"The module gives logits that are not finite numbers{place}.",
        "Check the module's weights, and what that line computes for 0 and negative numbers."
        if line
        else "Check the module's weights.",
    )


def _advise_on_randomness(facts: ModuleFacts, line: str) -> str:
    """Return advice for a module whose answers change from call to call: it draws random numbers or a random state, or
    keeps a state between calls."""
    batch = facts.draw_batch(facts.trial_rows, facts.widths.clip(7))
    for name, arguments in find_state_methods_with_arguments(facts.module):
        states = []
        with contextlib.suppress(Exception, SystemExit):
            states = [
                call_and_restore_state(facts.module, facts.compile(f"module.{name}({arguments})"), *batch)
                for _ in range(2)
            ]
        found = [[leaf for _, leaf in find_float_tensors(state)] for state in states]
        if found and found[0] and not all(torch.equal(a, b) for a, b in zip(*found, strict=True)):
            zeros = [
                f"torch.zeros({', '.join('tokens.size(0)' if n == facts.trial_rows else str(n) for n in leaf.shape)})"
                for leaf in found[0]
            ]
            made = zeros[0] if isinstance(states[0], Tensor) else f"({', '.join(zeros)})"
            return (
                f"Its {name} draws a random state for each call. To give zeros instead: --call "
                f'"module.{name} = lambda *_: {made}; {line}", or call=.'
            )
    kept = find_changed_attributes(facts, line)
    if kept:
        return advise_on_kept_state(kept, line)
    if drawn := find_random_draw_line(
        facts.module, lambda: call_and_restore_state(facts.module, facts.compile(line), *batch)
    ):
        return (
            f"It draws random numbers in eval mode, at {drawn}: draw them only if self.training is true, as "
            "F.dropout(x, p, self.training) and nn.Dropout do."
        )
    return (
        "Remove randomness, such as dropout or a random initial state, from eval mode. If the module keeps a state "
        "from one call to the next, make the state in the call: --call, or call=."
    )


def _check_answer_shapes_and_single_text(facts: ModuleFacts, convention: Convention, batch: Batch) -> tuple[bool, bool]:
    """Call the module on a batch, and on the first text alone. Return two values: whether the answers have exactly the
    shapes that a bundle's graph gives, and whether the call fails on the single text."""
    tokens, lengths = batch
    exact, fails_alone = True, False
    for rows in dict.fromkeys((len(tokens), 1)):
        try:
            answer = call_and_restore_state(facts.module, convention.function, tokens[:rows], lengths[:rows])
        # Whatever a user's module raises.
        except (Exception, SystemExit):
            fails_alone = fails_alone or rows == 1
            continue
        exact = exact and tuple(answer.shape) == convention.shape(rows, tokens.shape[1])
    return exact, fails_alone


def _are_rows_near(a: Tensor, b: Tensor) -> bool:
    return all(map(are_answers_near, a, b))
