"""Find the text rules with which a module gives its owner's answers: a tokenizer, cleaning steps, the handling of
unknown words, and a width, all at once.

Where the owner pads each text to one width, no tokenizer agrees on any text without that width, and no width without
the tokenizer. So both are tried together, on one text after the other: a wrong pair fails on one of the first.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final, Literal, TypeAlias

from pocketrnn.text import TextEncoder, TextRules
from pocketrnn_export.progress import log_item_progress
from pocketrnn_export.vocabularies.candidate_text_rules import (
    STEPS_OUTSIDE_ENCODINGS,
    list_candidate_rules,
    list_rules_with_sos_and_eos,
)
from pocketrnn_export.vocabularies.unreachable_words import find_unreachable_words

_log = logging.getLogger(__name__)
# How far the module's answer for some ids is from the owner's answer to the text with this number.
Measure: TypeAlias = Callable[[int, Sequence[int]], float]
# The most ids that the module reads for all tries.
_MOST_IDS: Final = 300_000
# How many kinds of rules are tried before the user is told that none agree: those without a width, and the likeliest
# ones with round widths.
_USUAL: Final = 2
# The texts on which all rules are tried; those that agree are compared on all texts.
_SOME: Final = 40
# Widths that people choose, the most usual ones first.
_ROUND: Final = tuple(n for n in range(512, 7, -1) if n % 50 == 0 or n & (n - 1) == 0)
_TENS: Final = tuple(n for n in range(500, 9, -1) if n not in _ROUND and n % (10 if n > 100 else 5) == 0)
_SMALL: Final = tuple(n for n in range(64, 0, -1) if n not in _ROUND and n not in _TENS)
# Answers of seven digits that agree better than this are those of these rules.
_SURELY: Final = 1e-5
_COMPARED: Final = 24
# How many rules, of those with the most known words, are tried first with all widths, and with another handling of
# unknown words.
_BEST: Final = 8
# How many of them are also tried with words such as <s> and </s> around each text and all widths.
_MARKED: Final = 2
_SECONDS_FOR_MARKS: Final = 20.0
# How many words of the vocabulary are asked whether rules can give them.
_WORDS: Final = 300
_SIDES: Final[tuple[Literal["right", "left"], ...]] = ("right", "left")


@dataclass(frozen=True)
class AgreeingRules:
    """Text rules with which the module's answers to all texts, or to nearly all, equal the owner's answers.

    Attributes:
        rules: the text rules.
        distance: the largest difference from the owner's answer, among the answers that agree.
        exceptions: the indices of the texts whose answers differ.
    """

    rules: TextRules
    distance: float
    exceptions: tuple[int, ...] = ()


class _EnoughError(Exception):
    """Raised to end the search for rules: the module has read as many ids as it may, or the time is over."""


class _Trial:
    """Measures how far the module's answers are from the owner's if text rules make the ids of the texts.

    Args:
        tokens: the tokens of the vocabulary.
        texts: pairs (number of the text, text), the shortest text first.
        measure: returns how far the module's answer to ids is from the owner's answer to the text with a number.
        tolerance: the largest distance at which two answers agree.
        most_exceptions: how many answers may differ.
        seconds: the most processor time in seconds. After it, the trial ends with an `_EnoughError`.
    """

    def __init__(
        self,
        tokens: Sequence[str],
        texts: Sequence[tuple[int, str]],
        measure: Measure,
        tolerance: float,
        most_exceptions: int,
        seconds: float,
    ) -> None:
        self.tokens, self.texts, self.tolerance, self._most_exceptions = tokens, texts, tolerance, most_exceptions
        self._measure, self._left, self._end = measure, _MOST_IDS, time.process_time() + seconds
        self._known: dict[tuple[int, tuple[int, ...]], float] = {}

    def measure(self, text_number: int, ids: Sequence[int]) -> float:
        """Return how far the module's answer to these ids is from the owner's answer to text `text_number`. Each
        distance is measured once."""
        key = (text_number, tuple(ids))
        if key not in self._known:
            self._left -= len(ids)
            if self._left < 0 or time.process_time() > self._end:
                raise _EnoughError
            self._known[key] = self._measure(text_number, ids)
        return self._known[key]

    def compare_until_too_many_differ(self, rules: TextRules) -> tuple[int, AgreeingRules]:
        """Compare the module's answers with the owner's, text by text, until more answers differ than are allowed.
        Return the number of texts that were compared before that, and the rules with the largest distance and the
        exceptions among these texts."""
        encoder, largest, exceptions = TextEncoder(rules, self.tokens), 0.0, list[int]()
        for count, (number, text) in enumerate(self.texts):
            distance = self.measure(number, encoder.encode(text))
            if distance <= self.tolerance:
                largest = max(largest, distance)
            elif len(exceptions) == self._most_exceptions:
                return count, AgreeingRules(rules, largest, tuple(exceptions))
            else:
                exceptions.append(number)
        return len(self.texts), AgreeingRules(rules, largest, tuple(exceptions))

    def list_agreeing(self, tried: Iterable[TextRules]) -> Iterator[AgreeingRules]:
        """Yield the rules with which at most the allowed number of answers differ."""
        for rules in tried:
            count, found = self.compare_until_too_many_differ(rules)
            if count == len(self.texts):
                yield found


def find_rules_from_answers(
    rules: TextRules,
    tokens: Sequence[str],
    texts: Sequence[str],
    measure: Measure,
    tolerance: float,
    most_exceptions: int = 0,
    stops_before_rare: Callable[[], bool] = lambda: False,
    seconds: float = 60.0,
    stop_words: Sequence[Sequence[str]] = (),
    named_widths: Sequence[int] = (),
) -> list[AgreeingRules]:
    """Find the text rules with which the module gives the owner's answers to all texts. Return them, those with the
    smallest difference first. If there are none, return rules with few exceptions, the fewest first. The list may be
    empty.

    Args:
        rules: the present rules. If they have widths, no other widths are tried.
        tokens: the tokens of the vocabulary.
        texts: the owner's texts.
        measure: returns how far the module's answer to ids is from the owner's answer to a text (see `Measure`);
            infinity if the module refuses these ids.
        tolerance: the largest distance at which two answers agree.
        most_exceptions: how many answers may differ.
        stops_before_rare: called if the usual text rules and widths do not agree; returns whether to try no others.
        seconds: the most processor time in seconds.
        stop_words: lists of stop words to try, if the present rules have none.
        named_widths: widths that the owner's code or files name. They are tried before others.
    """
    by_length = sorted(enumerate(texts), key=lambda one: len(one[1]))
    whole = _Trial(tokens, by_length, measure, tolerance, most_exceptions, seconds)
    # With the longest, which shows whether texts are cut.
    some = by_length[-1 :: -(len(texts) // _SOME or 1)][::-1]
    trial = _Trial(tokens, some, measure, tolerance, most_exceptions, seconds)
    is_open = (rules.max_width, rules.min_width, rules.max_tokens) == (None, None, None)
    found: list[AgreeingRules] = []
    try:
        best, others = _list_rules_with_different_ids(whole, rules, stop_words)
        widths_to_try = [named_widths] * bool(named_widths) + [_ROUND, _SMALL, _TENS]
        of_width = [*product((best, others), widths_to_try)] if is_open else []
        usual = _USUAL + bool(named_widths)
        for count, (some_splits, widths) in enumerate([([*best, *others], ()), *of_width]):
            if count == usual and not found:
                if stops_before_rare():
                    break
                _log.info(
                    "No answers agree with the usual text rules and widths: rarer ones are tried for up to a minute"
                )
            found += _list_agreeing_rules(trial, whole, some_splits, widths)
            if not all(one.exceptions for one in found):
                break
    except _EnoughError:
        pass
    found.sort(key=_get_sort_key_of_agreeing_rules)
    return [one for one in found if bool(one.exceptions) == bool(found[0].exceptions)]


def list_rules_that_find_most_words(rules: TextRules, tokens: Sequence[str], texts: Sequence[str]) -> list[TextRules]:
    """List those of the usual text rules that find the most words of the vocabulary in some texts. They have no widths.

    Args:
        rules: the present rules.
        tokens: the tokens of the vocabulary.
        texts: the texts.
    """
    trial = _Trial(tokens, [*enumerate(texts)], lambda _, __: 0.0, 0.0, 0, 0.0)
    return _list_rules_with_different_ids(trial, rules)[0][:_BEST]


def find_rules_with_sos_and_eos(
    rules: TextRules,
    tokens: Sequence[str],
    texts: Sequence[str],
    measure: Measure,
    tolerance: float,
    most_exceptions: int = 0,
) -> list[AgreeingRules]:
    """Find text rules that put words such as `<s>` and `</s>` around each text, and with which the module gives the
    owner's answers to all texts, or to nearly all. Return them, the fewest exceptions first. The list may be empty.

    Args:
        rules: the present text rules.
        tokens: the tokens of the vocabulary.
        texts: the owner's texts.
        measure: returns how far the module's answer to ids is from the owner's answer to the text with a number.
        tolerance: the largest distance at which two answers agree.
        most_exceptions: how many answers may differ.
    """
    if not list_rules_with_sos_and_eos(rules, tokens):
        return []
    by_length = sorted(enumerate(texts), key=lambda one: len(one[1]))
    trial = _Trial(tokens, by_length, measure, tolerance, most_exceptions, _SECONDS_FOR_MARKS)
    splits, _ = _list_rules_with_different_ids(trial, rules)
    found: list[AgreeingRules] = []
    with contextlib.suppress(_EnoughError):
        for split in [rules, *splits[:_BEST]]:
            found += trial.list_agreeing(list_rules_with_sos_and_eos(split, tokens))
    return sorted({one.rules: one for one in found}.values(), key=_get_sort_key_of_agreeing_rules)


def _get_sort_key_of_agreeing_rules(found: AgreeingRules) -> tuple[int, float, int]:
    """Return the key by which rules are sorted: the fewest exceptions first, then the smallest distance, then the
    fewest steps. Labels agree with a distance of 0, and do not show whether a step is right."""
    return len(found.exceptions), found.distance, len(found.rules.steps) + bool(found.rules.stop_words)


def _list_agreeing_rules(
    trial_on_some_texts: _Trial, trial_on_all_texts: _Trial, splits: Sequence[TextRules], widths: Sequence[int]
) -> list[AgreeingRules]:
    """Return copies of the rules `splits`, also with widths, with which the module gives the owner's answers to all
    texts. Copies with exceptions may be among them.

    All copies are tried on some texts, and the best of them on all texts. Rules whose probabilities are nearly exact
    are returned at once. Rules with exceptions are tried again with a step that replaces or drops characters outside
    ASCII or Latin-1.
    """
    found: list[AgreeingRules] = []
    step = "Trying text rules with widths" if widths else "Trying text rules"
    try:
        for split in log_item_progress(splits, step):
            for one in _list_agreeing_widths(trial_on_some_texts, split, widths):
                if 0 < one.distance < _SURELY and not one.exceptions:
                    sure = [*trial_on_all_texts.list_agreeing([one.rules])]
                    if sure and not sure[0].exceptions:
                        return sure
                found.append(one)
    except _EnoughError:
        if not found:
            raise
    compared = [
        *trial_on_all_texts.list_agreeing(
            one.rules for one in sorted(found, key=_get_sort_key_of_agreeing_rules)[:_COMPARED]
        )
    ]
    near = [one.rules for one in compared if one.exceptions]
    encoded = [replace(one, steps=(*steps, *one.steps)) for one in near for steps in STEPS_OUTSIDE_ENCODINGS]
    return [*compared, *trial_on_all_texts.list_agreeing(encoded)]


def _list_rules_with_different_ids(
    trial: _Trial, rules: TextRules, stop_words: Sequence[Sequence[str]] = ()
) -> tuple[list[TextRules], list[TextRules]]:
    """List usual text rules, also with lists of stop words if the rules have none. If several rules give the same ids
    to the texts of the trial, only one of them is listed.

    Returns:
        the rules that find the most words of the texts in the vocabulary, each several times: with other ids for
        unknown words, and with unknown words left out; and all other rules.
    """
    found: dict[tuple[tuple[int, ...], ...], tuple[float, TextRules]] = {}
    missed_id, words = len(trial.tokens), [*enumerate(trial.tokens)][:: len(trial.tokens) // _WORDS + 1]
    encoded = [replace(rules, steps=(*steps, *rules.steps)) for steps in STEPS_OUTSIDE_ENCODINGS]
    tried = [rules, *list_candidate_rules(rules, trial.tokens), *encoded]
    left_out = [*map(tuple, stop_words)] if not rules.stop_words else []
    for split in (*tried, *(replace(one, stop_words=words) for words in left_out for one in tried)):
        encoder = TextEncoder(replace(split, unknown_id=missed_id), trial.tokens)
        rows = tuple(tuple(encoder.encode(text)) for _, text in trial.texts)
        if rows not in found:
            missed = sum(row.count(missed_id) for row in rows) / sum(map(len, rows))
            unreached = len(find_unreachable_words(encoder, words)) / len(words)
            found[rows] = missed + unreached, split
    ranked = [split for _, split in sorted(found.values(), key=lambda one: one[0])]
    # The last id is the -1 that `str.find` gives.
    others = dict.fromkeys([rules.unknown_id, None, rules.padding_id, 0, len(trial.tokens) - 1])
    best = [replace(split, unknown_id=id_) for id_ in others for split in ranked[:_BEST]]
    marked = [one for split in ranked[:_MARKED] for one in list_rules_with_sos_and_eos(split, trial.tokens)]
    return [*best[:_BEST], *marked, *best[_BEST:]], ranked[_BEST:]


def _list_agreeing_widths(trial: _Trial, split: TextRules, widths: Sequence[int]) -> Iterator[AgreeingRules]:
    """Yield copies of the rules `split` that cut or pad texts to one of the `widths`, and with which the module gives
    the owner's answers to all texts of the trial. If `widths` is empty, yield `split` itself if it gives these answers,
    or else copies that only cut."""
    encoder = TextEncoder(split, trial.tokens)
    # A text of one word has the same ids by most tokenizers, and one of known words by all ids of unknown ones.
    several = [one for one in trial.texts if len(one[1].split()) > 1] or trial.texts[-1:]
    marking = TextEncoder(replace(split, unknown_id=len(trial.tokens)), trial.tokens)
    known = (one for one in several if len(trial.tokens) not in marking.encode(one[1]))
    number, probe = next(known, several[0])
    tried = [replace(split, min_width=width, max_width=width, pad_side=side, cut_side=cut)
             for width in widths for side in _SIDES for cut in _SIDES]  # fmt: skip
    # Where a text is longer, it may also be kept whole.
    longest = max((len(encoder.encode(text)) for _, text in trial.texts[-1:]), default=0)
    tried += [replace(split, min_width=width, pad_side=side) for width in widths if width < longest for side in _SIDES]
    if not widths:
        agreed, found = trial.compare_until_too_many_differ(split)
        if agreed == len(trial.texts):
            yield found
        elif 2 * agreed >= len(trial.texts):
            missed = len(encoder.encode(trial.texts[agreed][1]))
            tried = [replace(split, max_tokens=most, cut_side=side)
                     for most in (*_ROUND, *_TENS, *_SMALL) if most < missed for side in _SIDES]  # fmt: skip
    yield from trial.list_agreeing(
        one for one in tried
        if not widths or trial.measure(number, TextEncoder(one, trial.tokens).encode(probe)) <= trial.tolerance
    )  # fmt: skip
