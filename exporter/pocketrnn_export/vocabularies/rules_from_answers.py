"""Find the text rules with which a module gives its owner's answers: a tokenizer, cleaning steps, the handling of
unknown words, and a width, all at once.

Where the owner pads each text to one width, no tokenizer agrees on any text without that width, and no width without
the tokenizer. So both are tried together, on one text after the other: a wrong pair fails on one of the first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from pocketrnn.text import TextEncoder, TextRules
from pocketrnn_export.vocabularies.candidate_text_rules import list_candidate_rules
from pocketrnn_export.vocabularies.unreachable_words import find_unreachable_words

# How far the module's answer for some ids is from the owner's answer to the text with this number.
Measure: TypeAlias = Callable[[int, Sequence[int]], float]
# The most ids that the module reads for all tries, and the seconds that a slow one may take.
_MOST_IDS: Final = 300_000
_SECONDS: Final = 60.0
# The texts on which all rules are tried; those that agree are compared on all texts.
_SOME: Final = 40
# Widths that people choose, the most usual ones first.
_ROUND: Final = tuple(n for n in range(512, 7, -1) if n % 50 == 0 or n & (n - 1) == 0)
_TENS: Final = tuple(n for n in range(500, 9, -1) if n not in _ROUND and n % (10 if n > 100 else 5) == 0)
_SMALL: Final = tuple(n for n in range(64, 0, -1) if n not in _ROUND and n not in _TENS)
# Answers of seven digits that agree better than this are those of these rules.
_SURELY: Final = 1e-5
_COMPARED: Final = 3
# How many rules, of those with the most known words, are tried with another handling of unknown words.
_BEST: Final = 8
# How many words of the vocabulary are asked whether rules can give them.
_WORDS: Final = 300
_SIDES: Final[tuple[Literal["right", "left"], ...]] = ("right", "left")


@dataclass(frozen=True)
class AgreeingRules:
    """Text rules with which the module's answers to all texts equal the owner's answers.

    Attributes:
        rules: the rules.
        distance: the largest distance of an answer.
    """

    rules: TextRules
    distance: float


class _EnoughError(Exception):
    """Raised to end the search for rules: the module has read as many ids as it may, or the time is over."""


class _Trial:
    """Measures how far the module's answers are from the owner's if text rules make the ids of the texts.

    Args:
        tokens: those of the vocabulary.
        texts: the texts, the shortest first.
        measure: the distance of an answer.
        tolerance: the largest distance that agrees.
    """

    def __init__(self, tokens: Sequence[str], texts: Sequence[tuple[int, str]], measure: Measure, tolerance: float):
        self.tokens, self.texts, self.tolerance = tokens, texts, tolerance
        self._measure, self._left, self._end = measure, _MOST_IDS, time.monotonic() + _SECONDS
        self._known: dict[tuple[int, tuple[int, ...]], float] = {}

    def measure(self, text_number: int, ids: Sequence[int]) -> float:
        """Return how far the module's answer to these ids is from the owner's answer to text `text_number`. Each
        distance is measured once."""
        key = (text_number, tuple(ids))
        if key not in self._known:
            self._left -= len(ids)
            if self._left < 0 or time.monotonic() > self._end:
                raise _EnoughError
            self._known[key] = self._measure(text_number, ids)
        return self._known[key]

    def count_and_measure_until_first_miss(self, rules: TextRules) -> tuple[int, float]:
        """Return how many texts the module answers as the owner does before the first other answer, and the largest
        distance of these answers."""
        encoder, largest = TextEncoder(rules, self.tokens), 0.0
        for count, (number, text) in enumerate(self.texts):
            distance = self.measure(number, encoder.encode(text))
            if not distance <= self.tolerance:
                return count, largest
            largest = max(largest, distance)
        return len(self.texts), largest


def find_rules_from_answers(
    rules: TextRules, tokens: Sequence[str], texts: Sequence[str], measure: Measure, tolerance: float
) -> list[AgreeingRules]:
    """Return the text rules with which the module answers all texts as the owner does, those with the smallest
    difference first. Return an empty list if none of the tried rules do.

    Args:
        rules: the present rules; if they have widths, no others are tried.
        tokens: those of the vocabulary.
        texts: the owner's texts.
        measure: see `Measure`; it gives infinity where the module takes no such ids.
        tolerance: the largest distance that agrees.
    """
    whole = _Trial(tokens, sorted(enumerate(texts), key=lambda one: len(one[1])), measure, tolerance)
    some = [whole.texts[i * len(texts) // _SOME] for i in range(_SOME)] if len(texts) > _SOME else whole.texts
    trial = _Trial(tokens, some, measure, tolerance)
    is_open = (rules.max_width, rules.min_width, rules.max_tokens) == (None, None, None)
    try:
        splits = _list_rules_with_different_ids(whole, rules)
        for widths in ((), _ROUND, _TENS, _SMALL) if is_open else ((),):
            if found := _list_agreeing_rules(trial, whole, splits, widths):
                return sorted(found, key=lambda one: one.distance)
    except _EnoughError:
        pass
    return []


def _list_agreeing_rules(
    trial_on_some_texts: _Trial, trial_on_all_texts: _Trial, splits: Sequence[TextRules], widths: Sequence[int]
) -> list[AgreeingRules]:
    """Return the rules in `splits`, with these widths, that give the owner's answers to all texts of
    `trial_on_all_texts`. Only rules that do so for the texts of `trial_on_some_texts`, some of these, are compared on
    all. Return a single one as soon as its answers are nearly exact."""
    found: list[AgreeingRules] = []
    for split in splits:
        for one in _list_agreeing_widths(trial_on_some_texts, split, widths):
            if one.distance < _SURELY and trial_on_all_texts.count_and_measure_until_first_miss(one.rules)[0] == len(
                trial_on_all_texts.texts
            ):
                return [one]
            found.append(one)
    found.sort(key=lambda one: one.distance)
    each = ((one.rules, *trial_on_all_texts.count_and_measure_until_first_miss(one.rules)) for one in found[:_COMPARED])
    return [AgreeingRules(one, largest) for one, agreed, largest in each if agreed == len(trial_on_all_texts.texts)]


def _list_rules_with_different_ids(trial: _Trial, rules: TextRules) -> list[TextRules]:
    """List usual text rules that give different ids to the texts. Rules with the fewest unknown words in the texts and
    the fewest unused words of the vocabulary come first; the best follow again with another id for unknown words, or
    without these words."""
    found: dict[tuple[tuple[int, ...], ...], tuple[float, TextRules]] = {}
    unknown, words = rules.unknown_id, [*enumerate(trial.tokens)][:: len(trial.tokens) // _WORDS + 1]
    for split in (rules, *list_candidate_rules(rules, trial.tokens)):
        encoder = TextEncoder(split, trial.tokens)
        rows = tuple(tuple(encoder.encode(text)) for _, text in trial.texts)
        if rows not in found:
            missed = sum(row.count(-1 if unknown is None else unknown) for row in rows) / sum(map(len, rows))
            unreached = len(find_unreachable_words(encoder, words)) / len(words)
            found[rows] = missed + unreached, split
    ranked = [split for _, split in sorted(found.values(), key=lambda one: one[0])]
    # The last id is the -1 that `str.find` gives.
    others = dict.fromkeys([None, rules.padding_id, 0, len(trial.tokens) - 1])
    return [*ranked, *(replace(s, unknown_id=id_) for s in ranked[:_BEST] for id_ in others if id_ != unknown)]


def _list_agreeing_widths(trial: _Trial, split: TextRules, widths: Sequence[int]) -> Iterator[AgreeingRules]:
    """Yield the rules `split` with each width that gives the owner's answers to all texts of the trial. If `widths` is
    empty, yield `split` without a width if that gives them, else with each cut that does."""
    encoder = TextEncoder(split, trial.tokens)
    # A text of one word has the same ids by most tokenizers.
    number, probe = next((one for one in trial.texts if len(one[1].split()) > 1), trial.texts[-1])
    tried = [replace(split, min_width=width, max_width=width, pad_side=side, cut_side=cut)
             for width in widths for side in _SIDES for cut in _SIDES]  # fmt: skip
    # Where a text is longer, it may also be kept whole.
    longest = max((len(encoder.encode(text)) for _, text in trial.texts[-1:]), default=0)
    tried += [replace(split, min_width=width, pad_side=side) for width in widths if width < longest for side in _SIDES]
    if not widths:
        agreed, largest = trial.count_and_measure_until_first_miss(split)
        if agreed == len(trial.texts):
            yield AgreeingRules(split, largest)
        elif 2 * agreed >= len(trial.texts):
            missed = len(encoder.encode(trial.texts[agreed][1]))
            tried = [replace(split, max_tokens=most, cut_side=side)
                     for most in (*_ROUND, *_TENS, *_SMALL) if most < missed for side in _SIDES]  # fmt: skip
    for one in tried:
        if widths and trial.measure(number, TextEncoder(one, trial.tokens).encode(probe)) > trial.tolerance:
            continue
        agreed, largest = trial.count_and_measure_until_first_miss(one)
        if agreed == len(trial.texts):
            yield AgreeingRules(one, largest)
