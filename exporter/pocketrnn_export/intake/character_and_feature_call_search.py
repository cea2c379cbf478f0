"""Find out how to call a module of texts with features, or of words and their characters. Check that it runs with every
category, all numbers and every character, and note the features that change no answer."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch

from pocketrnn.errors import ExportError, InputError, first_line, short_repr
from pocketrnn.text.features_beside_text import Category, Features
from pocketrnn_export.intake.call_discovery.call_candidates import list_forward_candidates
from pocketrnn_export.intake.call_discovery.call_search import find_convention
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import ModuleFacts
from pocketrnn_export.intake.call_discovery.trial_answers import call_and_read_numbers, can_run_line
from pocketrnn_export.intake.calling_convention import Convention
from pocketrnn_export.intake.character_pair_and_feature_calls import (
    CHARACTERS,
    NumberInRange,
    add_feature_ids,
    draw_feature_numbers,
)
from pocketrnn_export.intake.compiled_call_line import Call, list_names_in_line
from pocketrnn_export.vocabularies.spelled_word_ids import Spellings

# How many ids of a category are tried in one call, and the numbers that a feature is changed to.
_IDS_AT_A_TIME = 1024
_NUMBERS = (0.0, 1.0, -1.0, 7.5, 1000.0)
_MOST_OTHERS = 8
# A module that fails on some numbers is looked for with these, and then on the others, up to the largest of the proof.
_TAME: Final = (1.0, 2.0)
_LEAST: Final = (0.0, 0.001, 1.0)
_LARGEST: Final = 10_000
# The most ways that are tried with features for each token.
_MOST_WAYS = 40


def find_convention_with_features(facts: ModuleFacts, call: str | Call | None) -> Convention:
    """Find out how to call a module that takes features besides a text. If some features change no answer, the notes of
    the returned convention name them.

    Raises:
        ExportError: no call works; or the module fails on a feature or on the id of a category.
        InputError: the user's call does not use a feature.
    """
    if isinstance(call, str):
        _refuse_unused_feature_names(facts, call)
    try:
        convention = find_convention(facts, call)
    except ExportError:
        # With only one id in each category, a way to call the module may be found, and then the id that fails.
        least = _limit_categories_to_first_value(facts.features)
        found = None
        with contextlib.suppress(ExportError):
            found = find_convention(replace(facts, features=least), call) if least != facts.features else None
        if found is not None:
            _refuse_failing_category_ids(facts, found)
        tame = replace(facts, features=_limit_numbers_to_ordinary_range(facts.features))
        with contextlib.suppress(ExportError):
            found = find_convention(tame, call) if tame.features != facts.features else None
        if found is not None:
            _refuse_failing_feature_numbers(tame, found, must_be_finite=True)
        _refuse_features_of_tokens(facts)
        raise
    _refuse_failing_category_ids(facts, convention)
    _refuse_failing_feature_numbers(facts, convention, must_be_finite=False)
    return replace(convention, notes=(*convention.notes, *_note_unused_features(facts, convention)))


def _refuse_features_of_tokens(facts: ModuleFacts) -> None:
    """Raise an ExportError if a module also runs with separate features for each token, since its features may then
    belong to tokens and not to texts."""
    for way in itertools.islice(list_forward_candidates(facts), _MOST_WAYS):
        places, wide = way.find_inputs_of_kind("beside"), way
        for i in places:
            value = way.options[i].value
            each = f"({value})[:, None].expand(-1, tokens.size(1), *({value}).shape[1:])"
            wide = wide.replace_value(i, each)
        if places and can_run_line(facts, wide.line):
            names = " and ".join(way.slots[i].name for i in places)
            raise ExportError(
                f"The module's forward takes numbers for each token in {names}, as this call shows: {wide.line}. A "
                "bundle can only give it one number for the whole text.",
                "Change forward, so that it takes only the token's id for each token, and each feature once for a "
                "text.",
            )


def _refuse_unused_feature_names(facts: ModuleFacts, line: str) -> None:
    """Raise an InputError if the user's call, `line`, does not use each feature, by its name or by `features` and
    `categories`."""
    try:
        read = list_names_in_line(line)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # It is refused where it is compiled.
        return
    every = {False: "features", True: "categories"}
    for name, feature in facts.features:
        if not read & {name, every[isinstance(feature, Category)]}:
            raise InputError(
                f"The call {short_repr(line)} does not use the feature {name}.",
                f"Pass the feature to the module, as in module(tokens, {name}), or leave it out of the features.",
            )


def _refuse_failing_category_ids(facts: ModuleFacts, convention: Convention) -> None:
    """Raise an ExportError if a module fails on one of the ids of a category."""
    for column, (name, feature) in enumerate(facts.features):
        if not isinstance(feature, Category):
            continue
        for start in range(0, len(feature.ids), _IDS_AT_A_TIME):
            ids = feature.ids[start : start + _IDS_AT_A_TIME]
            if _find_error_on_category_ids(facts, convention, column, ids) is None:
                continue
            first, last = 0, len(ids) - 1
            while first < last:
                middle = (first + last) // 2
                fails = _find_error_on_category_ids(facts, convention, column, ids[: middle + 1]) is not None
                first, last = (first, middle) if fails else (middle + 1, last)
            error = _find_error_on_category_ids(facts, convention, column, ids[: first + 1])
            value = next((repr(v) for v, i in feature.values.items() if i == ids[first]), "unknown values")
            raise ExportError(
                f"The feature {name} has the ids {feature.ids[0]} to {feature.ids[-1]:,}, but the module fails on "
                f"the id {ids[first]:,}, which is that of {value}: {first_line(error) if error else ''}.",
                "Give exactly the values with which the module was trained. Its embedding has one row for each value.",
            )


def _find_error_on_category_ids(
    facts: ModuleFacts, convention: Convention, column: int, ids: Sequence[int]
) -> BaseException | None:
    """Run the module on texts that have these ids as their category in the column `column` of the features. Return the
    error that the module raises, or None if it raises none."""
    # As many rows as in the trials, or more.
    tokens, lengths = facts.draw_batch(max(len(ids), facts.trial_rows), facts.trial_widths[0][0])
    numbers = draw_feature_numbers(_limit_categories_to_first_value(facts.features), np.arange(len(tokens)))
    numbers[:, column] = np.resize(np.array(ids, np.float32), len(tokens))
    try:
        call_and_read_numbers(facts, convention, *add_feature_ids(tokens, lengths, numbers))
    # Whatever a user's module raises.
    except (Exception, SystemExit) as error:
        return error
    return None


def _refuse_failing_feature_numbers(facts: ModuleFacts, convention: Convention, *, must_be_finite: bool) -> None:
    """Raise an ExportError if a module fails on a number as a feature: on -1, on 0, or on a very large number of either
    sign."""
    for column, (name, feature) in enumerate(facts.features):
        if isinstance(feature, Category):
            continue

        def find_failure(number: float, column: int = column) -> str:
            return _find_failure_on_feature_number(facts, convention, column, number, must_be_finite=must_be_finite)

        bad = next((number for number in (-1.0, -float(_LARGEST), 0.0, float(_LARGEST)) if find_failure(number)), None)
        if bad is None:
            continue
        least = next(one for one in _LEAST if not find_failure(one) or one == _LEAST[-1])
        most, above = (_LARGEST, _LARGEST + 1) if not find_failure(_LARGEST) else (1, _LARGEST)
        while above - most > 1:
            middle = (most + above) // 2
            most, above = (middle, above) if not find_failure(middle) else (most, middle)
        ends = [f"min={least:g}"] * any(map(find_failure, (-1.0, -float(_LARGEST), 0.0)))
        ends += [f"max={most}"] * (most < _LARGEST)
        kept = {name: f"{name}.clamp({', '.join(ends)})"}
        every = [kept.get(other, other) for other, one in facts.features if not isinstance(one, Category)]
        line = re.sub(r"\bfeatures\b", f"torch.stack([{', '.join(every)}], 1)", convention.line)
        line = line if line != convention.line else re.sub(rf"\b{name}\b", kept[name], line)
        raise ExportError(
            f"The module fails if the feature {name} is {bad:g}: {find_failure(bad)}.",
            "In the call, limit the feature to its range in training, so that a number outside of the range gets "
            "the answer of the nearest number inside. On the command line: "
            f'--call "{line}", in Python call=.',
        )


def _find_failure_on_feature_number(
    facts: ModuleFacts, convention: Convention, column: int, number: float, *, must_be_finite: bool
) -> str:
    """Run the module on texts with `number` as the feature in the column `column`. Return a phrase that says how the
    module fails, or an empty string if it does not. With `must_be_finite`, an answer that is infinite or NaN is a
    failure, too."""
    tokens, lengths = facts.draw_batch(1 if convention.one_text else facts.trial_rows, facts.trial_widths[0][0])
    numbers = draw_feature_numbers(_limit_numbers_to_ordinary_range(facts.features), np.arange(len(tokens)))
    numbers[:, column] = number
    try:
        answer = call_and_read_numbers(facts, convention, *add_feature_ids(tokens, lengths, numbers))
    # Whatever a user's module raises.
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {first_line(error)}".rstrip(".")
    return "its answer is not finite" if must_be_finite and not bool(torch.isfinite(answer).all()) else ""


def _limit_numbers_to_ordinary_range(features: Features) -> Features:
    """Return the features with a narrow range of numbers, on which most modules run."""
    return tuple(
        (name, feature if isinstance(feature, Category) else NumberInRange(feature.mean, feature.scale, *_TAME))
        for name, feature in features
    )


def _limit_categories_to_first_value(features: Features) -> Features:
    """Return the features with only the first id of each category, on which most modules run."""
    return tuple(
        (name, Category({"0": feature.ids[0]}) if isinstance(feature, Category) else feature)
        for name, feature in features
    )


def _note_unused_features(facts: ModuleFacts, convention: Convention) -> tuple[str, ...]:
    """Run the module with other values of each feature. Return a tuple with a note that names the features that change
    no answer. Return an empty tuple if all change the answers."""
    tokens, lengths = facts.draw_batch(facts.trial_rows, facts.trial_widths[-1][-1])
    own = draw_feature_numbers(facts.features, np.arange(len(tokens)))
    before = call_and_read_numbers(facts, convention, *add_feature_ids(tokens, lengths, own))
    unused = []
    for column, (name, feature) in enumerate(facts.features):
        others = feature.ids if isinstance(feature, Category) else _NUMBERS
        changed = False
        for other in others[:: max(1, len(others) // _MOST_OTHERS)]:
            numbers = own.copy()
            numbers[:, column] = other
            after = call_and_read_numbers(facts, convention, *add_feature_ids(tokens, lengths, numbers))
            changed = changed or not torch.equal(before, after)
        unused += [] if changed or len(others) == 1 else [name]
    if not unused:
        return ()
    return (f"No value of {', '.join(unused)} that was tried changes an answer.",)


# How many tokens are tried in one call.
_TOKENS = 64


def find_convention_with_characters(facts: ModuleFacts, spellings: Spellings, call: str | Call | None) -> Convention:
    """Find out how to call a module that takes words and their characters.

    Raises:
        ExportError: no call works; or the module fails on a character.
        InputError: the user's call does not use the characters, or they change no answer.
    """
    # A line that is not Python is refused where it is compiled.
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        if isinstance(call, str) and CHARACTERS not in list_names_in_line(call):
            raise InputError(
                f"The call {short_repr(call)} does not use the characters of the words.",
                f"Pass them to the module, as in module(tokens, {CHARACTERS}); or leave out the argument `characters` "
                "of export().",
            )
    convention = find_convention(facts, call)
    _refuse_failing_characters(facts, spellings, convention)
    _refuse_unused_characters(facts, spellings, convention)
    return convention


def _refuse_failing_characters(facts: ModuleFacts, spellings: Spellings, convention: Convention) -> None:
    """Raise an ExportError if a module fails on a character. It is tried on words that together contain every
    character."""
    first = next(i for i, word in enumerate(spellings.words) if word != i or i == len(spellings.rows) - 1)
    rows, width = 1 if convention.one_text else facts.trial_rows, facts.widths.clip(_TOKENS)
    for start in range(first, len(spellings.rows), width):
        ids = torch.arange(start, start + width).clamp(max=len(spellings.rows) - 1)
        try:
            call_and_read_numbers(facts, convention, ids.expand(rows, width), torch.full((rows,), width))
        # Whatever a user's module raises.
        except (Exception, SystemExit) as error:
            known = spellings.characters.ids
            raise ExportError(
                f"The ids of characters are {known[0]} to {known[-1]:,}, but the module fails on some of them: "
                f"{type(error).__name__}: {first_line(error)}.",
                "Give exactly the characters with which the module was trained. Its embedding has one row for "
                "each character.",
            ) from error


def _refuse_unused_characters(facts: ModuleFacts, spellings: Spellings, convention: Convention) -> None:
    """Raise an InputError if a module's answers do not change with the characters of the words."""
    alike = np.flatnonzero(spellings.words == np.bincount(spellings.words).argmax())
    width = facts.widths.clip(min(_TOKENS, len(alike)))
    tokens = torch.from_numpy(np.resize(alike, width))[None].expand(
        1 if convention.one_text else facts.trial_rows, width
    )
    lengths = torch.full((len(tokens),), width)
    if torch.equal(
        call_and_read_numbers(facts, convention, tokens, lengths),
        call_and_read_numbers(facts, convention, tokens.flip(1), lengths),
    ):
        raise InputError(
            f"The characters of the words change no answer of the module, if it is called as {convention.line}.",
            "If forward takes characters, say how it is called: --call LINE, in Python call=. Otherwise, leave "
            "out the characters: --characters, in Python characters=.",
        )
