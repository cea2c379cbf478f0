"""Find the position of each token in the original text, and the index of its id among the text's ids.

A text is lower-cased, cleaned and split by the rules; here each resulting character keeps the position that it came
from. The result is compared with that of the encoder, so that a wrong position is never returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text.added_ids_and_width import add_outer_ids_and_pad, cut_items
from pocketrnn.text.cleaning_from_shorthand import NAMED_STEPS
from pocketrnn.text.cleaning_steps import CleaningStep, Lowercase, Replace, ReplaceRuns
from pocketrnn.text.code_point_patterns import make_run_search
from pocketrnn.text.code_point_ranges import make_range_test
from pocketrnn.text.encoder import TextEncoder
from pocketrnn.text.rules import TextRules
from pocketrnn.text.tokenizers import SPLITS

if TYPE_CHECKING:
    from pocketrnn.text.subword_word_ids import Word

__all__ = ["LocatedToken", "LocatedTokens", "locate_split_tokens", "locate_text_tokens"]


@dataclass(frozen=True)
class LocatedToken:
    """A token and its position in the original text, from `start` to `end`.

    `step` is the index of the token's id among the ids of the text; None if the token was cut off or dropped.
    """

    token: str
    start: int
    end: int
    step: int | None


@dataclass(frozen=True)
class LocatedTokens:
    """The ids of a text, and its tokens with their positions."""

    ids: list[int]
    tokens: tuple[LocatedToken, ...]


@dataclass(frozen=True)
class _LocatedCharacters:
    """A cleaned text. `starts` and `ends` give the part of the original text from which each character comes."""

    text: str
    starts: list[int] = field(repr=False)
    ends: list[int] = field(repr=False)

    def replace_parts(self, parts: Iterable[tuple[int, int, str]]) -> _LocatedCharacters:
        """Replace parts of the text, each given as (begin, end, replacement).

        Characters that a part and its replacement have in common at the end, or else at the beginning, keep their
        original positions. An inserted character gets an empty span: its start is its end.
        """
        parts = list(parts)
        if not parts:
            return self
        text, starts, ends, done = list[str](), list[int](), list[int](), 0
        for begin, end, by in (*parts, (len(self.text), len(self.text), "")):
            text += [self.text[done:begin], by]
            what = self.text[begin:end]
            last = _find_common_prefix_length(what[::-1], by[::-1])
            first = _find_common_prefix_length(what[: len(what) - last], by[: len(by) - last])
            if first + last == len(by) < len(what):
                # The remaining characters get the position of the whole part.
                first = last = 0
            new, start, stop = len(by) - first - last, begin + first, end - last
            here = self.find_original_span(start, stop)
            starts += self.starts[done:start] + new * [here[0]] + self.starts[stop:end]
            ends += self.ends[done:start] + new * [here[1]] + self.ends[stop:end]
            done = end
        return _LocatedCharacters("".join(text), starts, ends)

    def find_original_span(self, begin: int, end: int) -> tuple[int, int]:
        """Return the start and the end of the part of the original text from which the characters from `begin` to `end`
        come. If `begin` is `end`, return an empty span before the next character."""
        if begin == end:
            at = self.starts[begin] if begin < len(self.starts) else self.ends[-1] if self.ends else 0
            return at, at
        return self.starts[begin], self.ends[end - 1]


def _find_common_prefix_length(one: str, other: str) -> int:
    """Return the length of the common prefix of two strings."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def locate_text_tokens(encoder: TextEncoder, text: str) -> LocatedTokens:
    """Find the ids of a text, and the positions of its tokens.

    Args:
        text: any string; positions count its code points.

    Raises:
        InputError: the words of the text, encoded one by one, have other ids than the whole text.
    """
    rules = encoder.rules
    if not isinstance(rules, TextRules):
        from pocketrnn.text.subword_word_ids import find_words_with_ids_and_positions

        return _locate_words_and_check_ids(encoder, text, find_words_with_ids_and_positions(encoder, text))
    located = _LocatedCharacters(text, list(range(len(text))), list(range(1, len(text) + 1)))
    steps: tuple[CleaningStep, ...] = (*((Lowercase(),) if rules.lowercase else ()), *rules.steps)
    if rules.tokenizer == "basic_english":
        steps += NAMED_STEPS["basic_english"]()
    for step in steps:
        located = _apply_step(step, located)
    dropped = frozenset(rules.stop_words)
    words: list[Word] = []
    for begin, end in _find_token_bounds(rules.tokenizer, located.text):
        if (cleaned := located.text[begin:end]) not in dropped:
            start, stop = located.find_original_span(begin, end)
            words.append((encoder.look_up([cleaned]), text[start:stop], start, stop))
    return _locate_words_and_check_ids(encoder, text, words)


def locate_split_tokens(encoder: TextEncoder, tokens: Sequence[str]) -> LocatedTokens:
    """Find the ids of a text that is given as a list of tokens, and the positions of the tokens: indices in this list.

    Args:
        tokens: the tokens; for subword rules, the words.

    Raises:
        InputError: subword rules give the words, encoded one by one, other ids than the joined text.
    """
    rules = encoder.rules
    if not isinstance(rules, TextRules):
        from pocketrnn.text.subword_word_ids import encode_each_word

        groups = zip(encode_each_word(encoder, tokens), enumerate(tokens), strict=True)
        return _cut_words_and_add_outer_ids(encoder, [(ids, token, i, i + 1) for ids, (i, token) in groups])
    dropped = frozenset(rules.stop_words)
    kept = ((i, token) for i, token in enumerate(tokens) if token not in dropped)
    return _cut_words_and_add_outer_ids(encoder, [(encoder.look_up([token]), token, i, i + 1) for i, token in kept])


def _locate_words_and_check_ids(encoder: TextEncoder, text: str, words: Sequence[Word]) -> LocatedTokens:
    """Return the words of a text as located tokens. Raise an InputError if the encoder gives the whole text other ids
    than those of the words."""
    made = _cut_words_and_add_outer_ids(encoder, words)
    if made.ids != encoder.encode(text):
        raise InputError(
            f"The positions of the tokens in {short_repr(text, 40)} cannot be found: encoded one by one, its words "
            "have other ids than the whole text.",
            "Split the text yourself, and give it as a list of its tokens.",
        )
    return made


def _cut_words_and_add_outer_ids(encoder: TextEncoder, words: Sequence[Word]) -> LocatedTokens:
    """Cut the ids of words by the rules, and add the first ids, the last ids and the padding. Return all ids, and each
    word with the index of its first id; None if the word's ids were cut off."""
    rules = encoder.rules
    owners = [i for i, (ids, *_) in enumerate(words) for _ in ids]
    ids = [i for of_word, *_ in words for i in of_word]
    # Negative numbers are used as indices into `ids`, since the ids of the frame are never negative.
    order = [-1 - place for place in range(len(ids))]
    if isinstance(rules, TextRules) and rules.max_tokens is not None:
        # Tokens are counted before they are looked up.
        read = list(range(len(words)))
        cut_items(read, rules.max_tokens, rules.cut_side)
        order = [place for place in order if owners[-1 - place] in set(read)]
    elif rules.max_tokens is not None:
        cut_items(order, rules.max_tokens, rules.cut_side)
    order = add_outer_ids_and_pad(order, rules)
    firsts: dict[int, int] = {}
    before = -1
    for step, place in enumerate(order):
        if place < 0:
            owner = owners[-1 - place]
            # A word whose first ids are cut off gets no index.
            is_first = -1 - place == 0 or owners[-2 - place] != owner
            if owner != before and is_first:
                firsts[owner] = step
            before = owner
    made = [ids[-1 - place] if place < 0 else place for place in order] or [rules.empty_id]
    return LocatedTokens(made, tuple(LocatedToken(*word[1:], firsts.get(i)) for i, word in enumerate(words)))


def _apply_step(step: CleaningStep, located: _LocatedCharacters) -> _LocatedCharacters:
    """Apply a cleaning step to characters, which keep their positions in the original text."""
    text = located.text
    if isinstance(step, Lowercase):
        lowered = text.lower()
        if len(lowered) == len(text):
            return _LocatedCharacters(lowered, located.starts, located.ends)
        made = located.replace_parts((i, i + 1, point.lower()) for i, point in enumerate(text))
        # A sigma at the end of a word becomes another letter, but also of one code point.
        return _LocatedCharacters(lowered, made.starts, made.ends)
    if isinstance(step, Replace):
        return located.replace_parts((i, i + len(step.what), step.by) for i in _find_occurrences(text, step.what))
    if isinstance(step, ReplaceRuns):
        return located.replace_parts(
            (start, end, step.by) for start, end in make_run_search(step.runs, step.word)(text)
        )
    inside = make_range_test(step.ranges)
    return located.replace_parts((i, i + 1, step.by) for i, point in enumerate(text) if not inside(ord(point)))


def _find_occurrences(text: str, part: str) -> Iterator[int]:
    """Yield the index of each occurrence of a part in a text."""
    index = text.find(part)
    while index >= 0:
        yield index
        index = text.find(part, index + len(part))


def _find_token_bounds(tokenizer: str, cleaned_text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each token of a cleaned text."""
    if tokenizer in ("characters", "space"):
        at = 0
        for token in SPLITS[tokenizer](cleaned_text):
            yield at, at + len(token)
            at += len(token) + (tokenizer == "space")
        return
    at = 0
    for token in cleaned_text.split():
        # Only white space precedes it, so that the first match is right.
        at = cleaned_text.index(token, at)
        yield at, at + len(token)
        at += len(token)
