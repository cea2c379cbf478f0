"""Make the texts on which a tokenizer is compared with text rules. They have words of the vocabulary, and everything
that cleaning functions look for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

_TEXTS: Final = 300
_WORDS: Final = 2_000
# Code cuts at 512 words and fewer; one text of more costs nothing.
_LONGEST: Final = 1_200
# Public cleaning functions look for these: links, tags, mentions, numbers, short and long words, quotes.
_FOUND_IN_TEXTS: Final = (
    "a", "I", "x", "of", "the", "The", "don't", "won't", "it's", "I'm", "they'll", "we've", "rock-n-roll", "U.S.",
    "e.g.", "http://t.co/a?b=1", "https://www.a.org/b_c", "www.a.com", "me@a.org", "@user_1", "#tag", "<b>", "</b>",
    "<br />", "<a href='b'>", "&amp;", "3", "42", "2024", "3.14", "1,000", "50%", "$5", "2nd", "a1b2", "9am", "--",
    "...", "!!!", "?!", ":", ";)", "(so)", "[1]", "{x}", '"quoted"', "'quoted'", "`code`", "snake_case", "and/or", "+",
    "=", "~", "^", "|", "\\", "*bold*", "sooooo", "WOW", "iPhone", "naïve", "café", "Über", "ß", "the the",
    "antidisestablishmentarianism", "supercalifragilisticexpialidocious",
)  # fmt: skip
# Fewer pipelines were made with these in mind, so that a difference at one of them is told and not refused.
_RARE: Final = ("“so”", "it’s", "—", "…", "€5", "½", "x²", "😀", "日本語", "привет", "İ", "\u200b", "\x85")
_SPACES: Final = (" ", " ", " ", " ", "  ", "\n", "\t", ", ", ". ", "! ", " - ", "", "/")


def make_texts_for_comparison(words: Sequence[str]) -> list[str]:
    """Make texts on which two tokenizers are compared: words of the vocabulary, mixed with strings that cleaning
    functions usually look for. Every call makes the same texts. The last one is long, so that it shows whether texts
    are cut.

    Args:
        words: words of the vocabulary.
    """
    draw = random.Random(7)  # noqa: S311 - texts, not secrets
    known = [*words[:_WORDS]] or ["word"]
    made = ["", " ", *_FOUND_IN_TEXTS, *_RARE]
    while len(made) < _TEXTS - 1:
        rare = _RARE if len(made) % 4 == 0 else ()
        parts = [
            draw.choice((*_FOUND_IN_TEXTS, *rare)) if draw.random() < 0.5 else _vary_word(draw, draw.choice(known))
            for _ in range(draw.randint(2, 12))
        ]
        made.append("".join(part + draw.choice(_SPACES) for part in parts))
    return [*made, " ".join(draw.choice(known) for _ in range(_LONGEST))]


def has_ordinary_characters(text: str) -> bool:
    """Return whether all characters of a text are ordinary: those of ASCII, and Latin letters whose lower case is one
    character."""
    return all(one.isascii() or (one < "\u0180" and one.isalpha() and len(one.lower()) == 1) for one in text)


def _vary_word(draw: random.Random, word: str) -> str:
    """Return the word or, at random, a variant of it: with capitals, or with an s at its end."""
    return draw.choice((word, word, word.title(), word.upper(), f"{word}s", f"{word}'s"))
