"""The tokenizers, which split a text into tokens; and the n-grams of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

__all__ = [
    "PACKED_TOKENIZERS",
    "SPLITS",
    "TOKENIZERS",
    "basic_english",
    "make_ngrams_of",
    "tokenize_lowered_basic_english",
]


def basic_english(text: str) -> list[str]:
    """Split a text into tokens as torchtext's tokenizer `basic_english` does.

    torchtext (`torchtext/data/utils.py`, `_basic_english_normalize`) lower-cases, applies twelve regular expressions in
    this order and splits at white space. Eleven of the twelve match fixed strings, so that `str.replace` does the same,
    2.5 times as fast; the twelfth folds white space, which the split does anyway.

    Example:
        >>> basic_english("Oil isn't cheap, is it?")
        ['oil', 'isn', "'", 't', 'cheap', ',', 'is', 'it', '?']
    """
    return tokenize_lowered_basic_english(text.lower())


def tokenize_lowered_basic_english(text: str) -> list[str]:
    """Split a text that is already lower-cased into the tokens of `basic_english`."""
    return (
        text.replace("'", " '  ")
        .replace('"', "")
        .replace(".", " . ")
        .replace("<br />", " ")
        .replace(",", " , ")
        .replace("(", " ( ")
        .replace(")", " ) ")
        .replace("!", " ! ")
        .replace("?", " ? ")
        .replace(";", " ")
        .replace(":", " ")
        .split()
    )


# A tokenizer's name in classifier.json, and its function for a text that is lower-cased where the rules say so.
# `whitespace` splits as str.split does; `characters` gives every code point, white space included.
TOKENIZERS: Final[dict[str, Callable[[str], list[str]]]] = {
    "basic_english": basic_english,
    "whitespace": str.split,
    "characters": list,
}
# The functions that the encoder uses, where basic_english need not lower-case again. `space` is text.split(" "), which
# many notebooks use: two spaces have an empty token between them.
SPLITS: Final[dict[str, Callable[[str], list[str]]]] = {
    **TOKENIZERS,
    "basic_english": tokenize_lowered_basic_english,
    "space": lambda text: text.split(" "),
}
# The numbers of the tokenizers in packed files.
PACKED_TOKENIZERS: Final = {
    "basic_english": 0,
    "whitespace": 1,
    "characters": 2,
    "space": 3,
    "subwords": 4,
    "external": 5,
}


def make_ngrams_of(tokens: Sequence[str], ngrams: int) -> list[str]:
    """Return the tokens, followed by their n-grams: 2-grams, then 3-grams and so on up to `ngrams`, each as tokens
    joined by spaces.

    The order is that of torchtext's `ngrams_iterator` (`torchtext/data/utils.py`).

    Example:
        >>> make_ngrams_of(["oil", "prices", "rise"], 2)
        ['oil', 'prices', 'rise', 'oil prices', 'prices rise']
    """
    result = list(tokens)
    for n in range(2, min(ngrams, len(tokens)) + 1):
        result.extend(map(" ".join, zip(*(tokens[i:] for i in range(n)), strict=False)))
    return result
