"""Find out how to call a module: try likely calls on a few small batches.

A call works if the module runs, gives finite numbers for each text, repeats them in a second call, gives
different texts different answers, and answers each text as it does alone. The batches have sizes that occur nowhere
else, so that no axis can be taken for another. If two calls work and give different answers, none is chosen.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, cast

import torch
from torch import Tensor

from pocketrnn.errors import ExportError
from pocketrnn.text.features_beside_text import Features
from pocketrnn_export.intake.call_discovery.call_candidates import (
    LENGTH_FIRST,
    MOST_LINES,
    CallCandidate,
    list_forward_candidates,
    list_method_candidates,
)
from pocketrnn_export.intake.call_discovery.call_failures import (
    SAY_TWO_TEXTS,
    AmbiguousCallError,
    FailedCall,
    Reason,
    choose_refusal,
    make_ambiguity_error,
    make_documents_error,
    make_missing_characters_error,
)
from pocketrnn_export.intake.call_discovery.call_trial import (
    WorkingCall,
    are_answer_parts_computed_equally,
    try_call_line,
    try_candidate,
)
from pocketrnn_export.intake.call_discovery.character_pair_and_feature_inputs import (
    find_named_features,
    find_pair_names,
    list_features_in_code,
    list_pair_lines,
)
from pocketrnn_export.intake.call_discovery.constants_for_non_text_inputs import (
    find_line_with_opposite_mask,
    make_failure_of_inputs_without_working_value,
    make_number_inputs_failure,
    note_inputs_with_defaults,
)
from pocketrnn_export.intake.call_discovery.initial_states import list_setup_statements
from pocketrnn_export.intake.call_discovery.length_use import (
    find_id_that_explains_difference,
    find_line_that_counts_tokens_itself,
    note_inputs_unlike_lengths,
)
from pocketrnn_export.intake.call_discovery.logits_or_probabilities import decide_logits_or_probabilities
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import ModuleFacts
from pocketrnn_export.intake.call_discovery.trial_answers import call_and_restore_state, can_run_line
from pocketrnn_export.intake.calling_convention import Convention
from pocketrnn_export.intake.character_pair_and_feature_calls import PAIR_NAMES, CharacterCall, FeatureCall, PairCall
from pocketrnn_export.intake.compiled_call_line import Call
from pocketrnn_export.intake.crf_discovery import list_code_that_reads_emissions
from pocketrnn_export.intake.last_activation_removal import apply_activation
from pocketrnn_export.progress import log_step

# The most calls with two texts that are tried, where it is not known that the module takes two.
_MOST_PAIRS: Final = 8
# The most ways that are tried with constants for the same inputs, where the module runs with none of them.
_MOST_WITHOUT: Final = 24
# Only the first ways are tried on short texts: an unusual call that answers two tokens shows little.
_LIKELY: Final = 4


def find_convention(facts: ModuleFacts, call: str | Call | None = None) -> Convention:
    """Find out how to call a module. Check the user's call or, if there is none, try likely calls. Return the
    convention of the call that works: its line, and how its answer is read.

    Args:
        facts: the module, and what is known of it.
        call: a line of Python that calls the module; or a function of (module, tokens, lengths). For two texts, it is a
            function of (module, first, second, first_lengths, second_lengths). With features or characters, it has a
            fourth argument: a dict of the features by their names, or the characters.

    Raises:
        ExportError: no call works; or two calls work and give different answers.
        InputError: the line is not Python.
    """
    if call is None:
        convention = _search_convention(facts)
    elif isinstance(call, str):
        convention = _check_owners_call(facts, call.strip(), facts.compile(call))
    else:
        given = ", ".join(PAIR_NAMES) if facts.two_texts else "tokens, lengths" + ", features" * bool(facts.features)
        given += ", characters" * (facts.spellings is not None)
        function = call
        if facts.two_texts:
            function = PairCall(cast("Any", call))
        elif facts.spellings is not None:
            function = CharacterCall(cast("Any", call), facts.spellings)
        elif facts.features:
            function = FeatureCall(cast("Any", call), facts.features)
        convention = _check_owners_call(facts, f"{getattr(call, '__name__', 'call')}(module, {given})", function)
    return decide_logits_or_probabilities(facts, convention, call_was_searched=call is None)


def _check_owners_call(facts: ModuleFacts, line: str, function: Call) -> Convention:
    """Try the owner's call on trial texts. Return its convention. Raise an ExportError with the reason if it does not
    work."""
    failures: list[FailedCall] = []
    for one_text, widths in itertools.product((False, True), facts.trial_widths):
        # One text alone has one number of each feature: a module that fails on others is asked in batches.
        if facts.one_text is not one_text and (facts.one_text or facts.features):
            continue
        if one_text and not facts.one_text and any(failed.reason >= Reason.OTHER_ANSWER for failed in failures):
            # The module takes a batch, but answers it wrongly. Only its owner may decide to export it for one text at a
            # time.
            break
        outcomes = try_call_line(facts, line, function, widths, one_text=one_text)
        for found in outcomes:
            if isinstance(found, WorkingCall):
                return found.convention
            failures.append(found)
    raise choose_refusal(facts, failures)


def _search_convention(facts: ModuleFacts) -> Convention:
    """Try likely calls, and return the convention of the call that works."""
    ways = list(itertools.islice(list_forward_candidates(facts), MOST_LINES))
    try:
        found = _search_candidates(facts, ways)
    except ExportError as error:
        raise make_missing_characters_error(facts) or error from error.__cause__
    if isinstance(found, Convention):
        return found
    if facts.of_tokens and not isinstance(facts.module, torch.jit.ScriptModule):
        # These explain why forward of a tagger fails: then other methods are not tried.
        own = [failed for failed in found if failed.reason > Reason.NO_LOGITS]
        answered = None if own else _search_methods_other_than_forward(facts)
        if answered is not None:
            return answered
    if (beside := make_missing_characters_error(facts)) is not None:
        raise beside
    failures = found
    if all(failed.reason < Reason.NO_LOGITS for failed in failures):
        first = failures[0].error if failures else None
        failures += [
            said
            for said in (
                make_number_inputs_failure(facts, ways),
                make_failure_of_inputs_without_working_value(ways, first),
            )
            if said
        ][:1]
    if all(failed.reason <= Reason.NO_LOGITS for failed in failures) and not facts.two_texts:
        failures += filter(None, [_find_failure_on_longer_texts(facts, ways[:_LIKELY])])
    if all(failed.reason < Reason.NO_LOGITS for failed in failures):
        first = failures[0].error if failures else None
        failures += filter(None, [make_failure_of_inputs_without_working_value(ways, first, ("other", "targets"))])
    raise _choose_refusal_with_advice_on_two_texts(facts, failures)


def _choose_refusal_with_advice_on_two_texts(facts: ModuleFacts, failures: Sequence[FailedCall]) -> ExportError:
    """Return the error of the failed call that says most about the module. If the module may take two texts, the advice
    says so."""
    error = choose_refusal(facts, failures)
    if (
        facts.two_texts
        or error.remedy.startswith(SAY_TWO_TEXTS)
        or facts.samples
        or not any(
            can_run_line(facts, line)
            for line in itertools.islice(list_pair_lines(facts.module, with_lengths=None), _MOST_PAIRS)
        )
    ):
        return error
    found = ExportError(error.problem, f"{SAY_TWO_TEXTS} {error.remedy}")
    found.__cause__ = error.__cause__
    return found


def _search_methods_other_than_forward(facts: ModuleFacts) -> Convention | None:
    """Find a method other than forward that gives the logits, for a tagger whose forward does not. Return the
    convention of its call, or None if no method works.

    Raises:
        ExportError: two methods work, but give different answers.
    """
    for name, ways in itertools.groupby(list_method_candidates(facts), key=lambda way: way.method):
        found = _search_candidates(facts, list(ways))
        if isinstance(found, Convention):
            note = f"forward does not give numbers for the labels of tokens, so another method is called: {name}."
            return replace(found, notes=(*found.notes, note))
    return None


def _search_candidates(facts: ModuleFacts, ways: Sequence[CallCandidate]) -> Convention | list[FailedCall]:
    """Return the convention of the candidate that works. If none works, return the failures of all candidates.

    Raises:
        ExportError: two candidates work and give different answers; or a candidate fails for a reason that holds for
            all of them.
    """
    failures: list[FailedCall] = []
    setups = [""] if isinstance(facts.module, torch.jit.ScriptModule) else ["", *list_setup_statements(facts.module)]
    # Where forward decodes labels, first look for the emissions that go into the decoder.
    arounds = [*(list_code_that_reads_emissions(facts.module) if facts.of_tokens else []), ""]
    for one_text in (False, True):
        # One text alone has one number of each feature: a module that fails on others is asked in batches.
        if facts.one_text is not one_text and (facts.one_text or facts.features):
            continue
        for widths, setup, around in itertools.product(facts.trial_widths, setups, arounds):
            given = [replace(way, setup=setup, around=around) for way in ways]
            working_calls, failing = _find_working_calls(facts, given, widths, one_text=one_text)
            failures += failing
            if rows_of_rows := [working for working in working_calls if _takes_documents(facts, working)]:
                raise make_documents_error(rows_of_rows[0].convention.line, of_samples=facts.samples)
            if len(working_calls) > 1:
                raise make_ambiguity_error([(one.call, one.convention.line[len(one.call) :]) for one in working_calls])
            if working_calls:
                return _refuse_ambiguity_and_note_assumptions(facts, working_calls[0], widths)
            if not around and any(failed.reason == Reason.INPUT_BESIDE for failed in failing):
                raise _choose_refusal_with_advice_on_two_texts(facts, failures)
        if any(failed.reason >= Reason.OTHER_ANSWER for failed in failures):
            # The module takes a batch, but answers it wrongly. Only its owner may decide to export it for one text at a
            # time.
            raise _choose_refusal_with_advice_on_two_texts(
                facts, [failed for failed in failures if failed.reason >= Reason.OTHER_ANSWER]
            )
    return failures


def _takes_documents(facts: ModuleFacts, working: WorkingCall) -> bool:
    """Return whether a module runs on two rows of ids for each text, such as documents of sentences or pairs of
    texts. A module that only removes an axis of size 1 does not."""
    line = re.sub(r"\btokens\.unsqueeze\(([12])\)", r"torch.stack([tokens, tokens], \1)", working.convention.line)
    return line != working.convention.line and can_run_line(facts, line)


def _find_failure_on_longer_texts(facts: ModuleFacts, ways: Sequence[CallCandidate]) -> FailedCall | None:
    """Find a call that works on short texts, and return its failure on longer texts. Return None if no candidate works
    on short texts."""
    tried = max(facts.trial_widths[0])
    for most, way in itertools.product(range(tried - 1, 1, -1), ways):
        working = _try_on_texts_of_width(facts, way, most)
        if not isinstance(working, WorkingCall) or _has_constant_inputs(working):
            continue
        if isinstance(longer := _try_on_texts_of_width(facts, way, most + 1), FailedCall):
            return replace(
                longer,
                reason=Reason.USELESS_LOGITS,
                problem=f"On texts of more than {most} tokens: {longer.problem}",
                advice=f"It was tried on texts of {tried}. If a table is too short, such as a table of positions, make "
                f'it longer. If no text is longer, let the rules cut texts: "max_width": {most}.',
            )
    return None


def _has_constant_inputs(working: WorkingCall) -> bool:
    """Return whether a call gives constants, other than None, to inputs besides the text. Short texts may then hide
    that the call is wrong."""
    return working.way is not None and any(
        option.given == "constant" and option.value not in (None, "None") for option in working.way.options
    )


def _try_on_texts_of_width(facts: ModuleFacts, candidate: CallCandidate, width: int) -> WorkingCall | FailedCall | None:
    """Try a candidate on texts with `width` tokens. Return the first result: a working call or a failure. Return None
    if there is no result."""
    return next(iter(try_candidate(facts, candidate, (width,), one_text=facts.one_text)), None)


def _find_working_calls(
    facts: ModuleFacts, ways: Sequence[CallCandidate], widths: tuple[int, ...], *, one_text: bool
) -> tuple[list[WorkingCall], list[FailedCall]]:
    """Try the candidates `ways` on texts of these widths. Return the working calls, one for each different answer, and
    the failures of the other candidates. With `one_text`, the module gets one text at a time."""
    working_calls: list[WorkingCall] = []
    failures: list[FailedCall] = []
    beside: set[frozenset[int]] = set()
    without: Counter[frozenset[int]] = Counter()
    certain = False
    for way in ways:
        constants = frozenset(way.find_inputs_of_kind("constant"))
        # A number below the width can be a length or an id, so a row that begins with its length is always tried.
        if (certain and way.plain != LENGTH_FIRST) or (
            constants and (constants in beside or without[constants] >= _MOST_WITHOUT)
        ):
            continue
        log_step(f"Calling forward as {way.line}")
        for found in try_candidate(facts, way, widths, one_text=one_text, working_calls=working_calls):
            if isinstance(found, FailedCall):
                failures.append(found)
                without[constants] += found.reason == Reason.RAISES
                if found.reason == Reason.INPUT_BESIDE:
                    beside.add(constants)
            elif (
                facts.of_tokens
                and found.way is not None
                and found.way.around
                and not _can_decode_labels_of_one_text(facts, found.way)
            ):
                failures.append(
                    FailedCall(
                        found.way.line,
                        Reason.RAISES,
                        "On one text, the call fails before or in the decoding of the labels.",
                        "",
                    )
                )
            elif not any(_have_equal_answers_and_programs(found, other, facts, widths) for other in working_calls):
                working_calls.append(found)
        certain = certain or (bool(working_calls) and not way.setup and way is ways[0] and _is_only_possible_call(way))
    # The right one of two opposite masks is the one with which tokens past the length change the answer less.
    return [working for working in working_calls if not working.leaks] or working_calls, failures


def _can_decode_labels_of_one_text(facts: ModuleFacts, candidate: CallCandidate) -> bool:
    """Return whether a tagger's call runs on one text and decodes its labels. Decoding may fail, for example by the
    dtype of a mask, although the emissions can be read."""
    # Whatever a user's module raises.
    with contextlib.suppress(Exception, SystemExit):
        call_and_restore_state(
            facts.module,
            facts.compile(replace(candidate, around="").line),
            *facts.draw_batch(1, facts.widths.clip(7)),
        )
        return True
    return False


def _is_only_possible_call(way: CallCandidate) -> bool:
    """Return whether the names of forward's inputs leave a single possible call: with tokens, or tokens and lengths."""
    return way.signature is not None and all(
        slot.role == "tokens" or (slot.role == "lengths" and slot.required) or (option.given == "default" and
        slot.role == "other")
        for slot, option in zip(way.slots, way.options, strict=True)
    )  # fmt: skip


def _refuse_ambiguity_and_note_assumptions(
    facts: ModuleFacts, working: WorkingCall, widths: Sequence[int]
) -> Convention:
    """Return the convention of a working call, with notes on what is assumed about the call. Raise an
    AmbiguousCallError if a call with another mask, or without lengths, may be the right one. `widths` are the numbers
    of tokens in the trial texts."""
    if working.way is None:
        return working.convention
    if facts.two_texts:
        return replace(working.convention, pair=find_pair_names(facts.module, working.way.plain))
    batches = facts.make_batches(1 if working.convention.one_text else facts.trial_rows, widths)
    if (other := find_line_with_opposite_mask(facts, working.way, working.suffix, batches)) is not None:
        raise _make_error_of_two_calls(facts, working, other)
    if (other := find_line_that_counts_tokens_itself(facts, working.way, working.suffix, batches[0])) is not None:
        raise _make_error_of_two_calls(facts, working, other)
    notes = (
        *working.convention.notes,
        *_note_feature_order(working.way, facts.features),
        *note_inputs_with_defaults(facts, working.way, working.suffix, batches),
        *note_inputs_unlike_lengths(facts, working.convention, working.way, batches[-1]),
    )
    return replace(working.convention, notes=notes)


def _make_error_of_two_calls(facts: ModuleFacts, working: WorkingCall, other_line: str) -> AmbiguousCallError:
    """Make the error for two calls that work but give different answers. If they differ only for texts with one id, the
    error names this id."""
    lines = working.convention.line, other_line
    found = find_id_that_explains_difference(facts, lines, one_text=working.convention.one_text)
    return make_ambiguity_error([(line, "") for line in lines], found)


def _note_feature_order(way: CallCandidate, features: Features) -> tuple[str, ...]:
    """Return a note that features are given to inputs by their order, if their names do not match."""
    named = find_named_features(way.slots, features)
    by_order = []
    for i in way.find_inputs_of_kind("beside"):
        if i in named or (way.options[i].value or "").startswith("{"):
            continue
        given = ", ".join(name for name, _ in list_features_in_code(way.options[i].value, features))
        by_order.append(f"forward's {way.slots[i].name} is given {given}")
    if not by_order or len(features) < 2:
        return ()
    return (f"By the order of the features, {'; '.join(by_order)}. If this is wrong, give the call: --call, or call=.",)


def _have_equal_answers_and_programs(
    one: WorkingCall, other: WorkingCall, facts: ModuleFacts, widths: Sequence[int]
) -> bool:
    """Return whether two calls give equal answers, up to rounding. Logits and their probabilities count as equal. If
    the calls differ only in the part of the answer that they read, the same operators must compute both parts:
    otherwise, these may differ for rare texts."""

    def compute_probabilities(working: WorkingCall, answer: Tensor) -> list[Tensor]:
        kind = "sigmoid" if facts.multi_label or facts.heads or working.convention.units == 1 else "softmax"
        return [answer, apply_activation(kind, answer.reshape(-1, working.convention.units)).reshape(answer.shape)]

    if one.convention.units != other.convention.units or not all(
        any(
            torch.allclose(x, y, atol=1e-5)
            for x in compute_probabilities(one, a)
            for y in compute_probabilities(other, b)
        )
        for a, b in zip(one.answers, other.answers, strict=True)
    ):
        return False
    if one.way is None or other.way is None or one.way.line != other.way.line:
        return True
    batch = facts.draw_batch(1 if one.convention.one_text else facts.trial_rows, widths[0])
    return are_answer_parts_computed_equally(facts, facts.compile(one.way.line), batch, (one.suffix, other.suffix))
