"""Where in a text its tokens stand, as the text was given, and which of its ids are theirs.

A text is lower-cased, cleaned and cut by the rules; here each character of what they make keeps the place that it came
of. The result is compared with that of the encoder, so that no place is believed that the rules do not give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from pocketrnn.errors import InputError, shown
from pocketrnn.text.cleaning_steps import NAMED_STEPS, CleaningStep, Keep, Lowercase, Replace, in_ranges
from pocketrnn.text.encoder import TextEncoder
from pocketrnn.text.framing import cut, framed
from pocketrnn.text.rules import TextRules
from pocketrnn.text.tokenizers import SPLITS

__all__ = ["PlacedToken", "PlacedTokens", "placed_in_text", "placed_tokens"]

_SPLIT_YOURSELF: Final = "Split the text yourself, and give the list of its tokens."


@dataclass(frozen=True)
class PlacedToken:
    """A token: what the text has there, from `start` to `end`, and the place of its id among those of the text; None
    where it has none: it was cut off, or dropped."""

    token: str
    start: int
    end: int
    step: int | None


@dataclass(frozen=True)
class PlacedTokens:
    """The ids of a text, and its tokens in their order.

    Example:
        >>> encoder = TextEncoder(TextRules(), ["<unk>", "oil"])
        >>> [(token.token, token.start, token.step) for token in placed_in_text(encoder, "Oil, oil").tokens]
        [('Oil', 0, 0), (',', 3, 1), ('oil', 5, 2)]
    """

    ids: list[int]
    tokens: tuple[PlacedToken, ...]


@dataclass(frozen=True)
class _Placed:
    """Characters, and for each of them the part of the text that it came of: from `starts` to `ends`."""

    text: str
    starts: list[int] = field(repr=False)
    ends: list[int] = field(repr=False)

    def replaced(self, parts: Iterable[tuple[int, int, str]]) -> _Placed:
        """Characters from one place to another by others, part after part, with what is between as it is. Characters
        that a part has before and after, at its end or else at its begin, keep their places; those that are only put in
        have a place without a length."""
        parts = list(parts)
        if not parts:
            return self
        text, starts, ends, done = list[str](), list[int](), list[int](), 0
        for begin, end, by in (*parts, (len(self.text), len(self.text), "")):
            text += [self.text[done:begin], by]
            what = self.text[begin:end]
            last = _common(what[::-1], by[::-1])
            first = _common(what[: len(what) - last], by[: len(by) - last])
            if first + last == len(by) < len(what):
                # Those that are left stand for all of it.
                first = last = 0
            new, start, stop = len(by) - first - last, begin + first, end - last
            here = self.span(start, stop)
            starts += self.starts[done:start] + new * [here[0]] + self.starts[stop:end]
            ends += self.ends[done:start] + new * [here[1]] + self.ends[stop:end]
            done = end
        return _Placed("".join(text), starts, ends)

    def span(self, begin: int, end: int) -> tuple[int, int]:
        """The part of the text that characters came of; of none, the place before the next."""
        if begin == end:
            at = self.starts[begin] if begin < len(self.starts) else self.ends[-1] if self.ends else 0
            return at, at
        return self.starts[begin], self.ends[end - 1]


def _common(one: str, other: str) -> int:
    """How many characters two strings begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def placed_in_text(encoder: TextEncoder, text: str) -> PlacedTokens:
    """The ids and the tokens of a text.

    Args:
        encoder: the text rules and the vocabulary.
        text: any string; places count its code points.

    Raises:
        InputError: the rules do with the text what no place can be followed through.
    """
    rules = encoder.rules
    if not isinstance(rules, TextRules):
        from pocketrnn.text.subword_alignment import words_of_subwords

        return _of_groups(encoder, text, words_of_subwords(encoder, text))
    placed = _Placed(text, list(range(len(text))), list(range(1, len(text) + 1)))
    steps: tuple[CleaningStep, ...] = (*((Lowercase(),) if rules.lowercase else ()), *rules.steps)
    if rules.tokenizer == "basic_english":
        steps += NAMED_STEPS["basic_english"]()
    for step in steps:
        placed = _done(step, placed)
    dropped, found, cleaned = frozenset(rules.stop_words), [], list[str]()
    for begin, end in _cuts(rules.tokenizer, placed.text):
        if placed.text[begin:end] not in dropped:
            start, stop = placed.span(begin, end)
            found.append((text[start:stop], start, stop))
            cleaned.append(placed.text[begin:end])
    made = _with_steps(encoder, cleaned, found)
    if made.ids != encoder.encode(text):
        raise InputError(f"The places of the tokens of {shown(text, 40)} are not known.", _SPLIT_YOURSELF)
    return made


def placed_tokens(encoder: TextEncoder, tokens: Sequence[str]) -> PlacedTokens:
    """The ids and the tokens of a text that somebody has split; places count its tokens.

    Args:
        encoder: the text rules and the vocabulary.
        tokens: the tokens; or the words, where the rules cut subwords.

    Raises:
        InputError: as `placed_in_text`.

    Example:
        >>> placed_tokens(TextEncoder(TextRules(), ["<unk>", "oil"]), ["oil", "Oil"]).ids
        [1, 0]
    """
    rules = encoder.rules
    if not isinstance(rules, TextRules):
        from pocketrnn.text.subword_alignment import ids_of_words

        groups = zip(ids_of_words(encoder, tokens), enumerate(tokens), strict=True)
        return _of_groups(encoder, None, [(ids, token, i, i + 1) for ids, (i, token) in groups])
    dropped = frozenset(rules.stop_words)
    kept = [(token, i, i + 1) for i, token in enumerate(tokens) if token not in dropped]
    return _with_steps(encoder, [token for token, _, _ in kept], kept)


def _with_steps(encoder: TextEncoder, tokens: Sequence[str], found: Sequence[tuple[str, int, int]]) -> PlacedTokens:
    """Tokens as the rules make them, looked up and framed, with what they are in the text."""
    return _framed(encoder, [(encoder.look_up([token]), *place) for token, place in zip(tokens, found, strict=True)])


def _of_groups(
    encoder: TextEncoder, text: str | None, groups: Sequence[tuple[list[int], str, int, int]]
) -> PlacedTokens:
    """Words with the ids of each; the text's own ids hold them to it."""
    made = _framed(encoder, groups)
    if text is not None and made.ids != encoder.encode(text):
        raise InputError(f"The places of the words of {shown(text, 40)} are not known.", _SPLIT_YOURSELF)
    return made


def _framed(encoder: TextEncoder, groups: Sequence[tuple[list[int], str, int, int]]) -> PlacedTokens:
    """Words in order, each with its ids: cut, with what stands around them, and the place of each word's first id."""
    rules = encoder.rules
    owners = [i for i, (ids, *_) in enumerate(groups) for _ in ids]
    ids = [i for of_word, *_ in groups for i in of_word]
    # Not an id: the place of one among these.
    order = [-1 - place for place in range(len(ids))]
    if isinstance(rules, TextRules) and rules.max_tokens is not None:
        # Tokens are counted before they are looked up.
        read = list(range(len(groups)))
        cut(read, rules.max_tokens, rules.cut_side)
        order = [place for place in order if owners[-1 - place] in set(read)]
    elif rules.max_tokens is not None:
        cut(order, rules.max_tokens, rules.cut_side)
    order = framed(order, rules)
    firsts: dict[int, int] = {}
    before = -1
    for step, place in enumerate(order):
        if place < 0:
            owner = owners[-1 - place]
            # Nothing is known of a word whose first ids are cut off.
            is_first = -1 - place == 0 or owners[-2 - place] != owner
            if owner != before and is_first:
                firsts[owner] = step
            before = owner
    made = [ids[-1 - place] if place < 0 else place for place in order] or [rules.empty_id]
    return PlacedTokens(made, tuple(PlacedToken(*group[1:], firsts.get(i)) for i, group in enumerate(groups)))


def _done(step: CleaningStep, placed: _Placed) -> _Placed:
    text = placed.text
    if isinstance(step, Lowercase):
        lowered = text.lower()
        if len(lowered) == len(text):
            return _Placed(lowered, placed.starts, placed.ends)
        made = placed.replaced((i, i + 1, point.lower()) for i, point in enumerate(text))
        # A sigma is another letter at the end of a word, of one code point too.
        return _Placed(lowered, made.starts, made.ends)
    if isinstance(step, Replace):
        return placed.replaced((at, at + len(step.what), step.by) for at in _occurrences(text, step.what))
    return placed.replaced(_outside(step, text))


def _occurrences(text: str, what: str) -> Iterator[int]:
    at = text.find(what)
    while at >= 0:
        yield at
        at = text.find(what, at + len(what))


def _outside(step: Keep, text: str) -> Iterator[tuple[int, int, str]]:
    inside: Callable[[int], bool] = in_ranges(step.ranges)
    return ((i, i + 1, step.by) for i, point in enumerate(text) if not inside(ord(point)))


def _cuts(tokenizer: str, text: str) -> Iterator[tuple[int, int]]:
    """Where the tokens of a cleaned text begin and end."""
    if tokenizer in ("characters", "space"):
        at = 0
        for token in SPLITS[tokenizer](text):
            yield at, at + len(token)
            at += len(token) + (tokenizer == "space")
        return
    at = 0
    for token in text.split():
        # Before it stands white space only, in which it cannot begin.
        at = text.index(token, at)
        yield at, at + len(token)
        at += len(token)
