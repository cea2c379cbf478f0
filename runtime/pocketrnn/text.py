"""How a text becomes token ids. Training, export and runtime all use this file, so that text means the same in each.

A text goes through four steps, in this order:

1. the tokenizer cuts it into tokens, of which the first `max_tokens` are kept;
2. with `ngrams` > 1, the n-grams of those tokens follow them;
3. every token is looked up in the vocabulary; an unknown one becomes `unknown_id`, or is dropped where that is None;
4. a text that has no token left becomes the one id `empty_id`, so that no length is ever 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.errors import InputError

__all__ = ["TOKENIZERS", "TextEncoder", "TextRules", "basic_english", "ngrams_of"]


def basic_english(text: str) -> list[str]:
    """torchtext's `basic_english` tokenizer, token for token.

    torchtext (`torchtext/data/utils.py`, `_basic_english_normalize`) lower-cases, applies twelve regular expressions in
    this order and splits at white space. Eleven of the twelve match fixed strings, so that `str.replace` does the same,
    2.5 times as fast; the twelfth folds white space, which the split does anyway.

    Example:
        >>> basic_english("Oil isn't cheap, is it?")
        ['oil', 'isn', "'", 't', 'cheap', ',', 'is', 'it', '?']
    """
    return _lowered_basic_english(text.lower())


def _lowered_basic_english(text: str) -> list[str]:
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


# A tokenizer's name in classifier.json, and what it does to a text that has been lower-cased where the rules say so.
# `whitespace` splits as str.split does; `characters` gives every code point, white space included.
TOKENIZERS: Final[dict[str, Callable[[str], list[str]]]] = {
    "basic_english": basic_english,
    "whitespace": str.split,
    "characters": list,
}

# A text of 10,000 tokens becomes 160,000 with 16; classifiers in use have up to 6.
_MOST_NGRAMS: Final = 16


def ngrams_of(tokens: Sequence[str], ngrams: int) -> list[str]:
    """The tokens, then their 2-grams, 3-grams ... up to `ngrams`, each joined by a space.

    The order is that of torchtext's `ngrams_iterator` (`torchtext/data/utils.py`).

    Example:
        >>> ngrams_of(["oil", "prices", "rise"], 2)
        ['oil', 'prices', 'rise', 'oil prices', 'prices rise']
    """
    result = list(tokens)
    for n in range(2, min(ngrams, len(tokens)) + 1):
        result.extend(map(" ".join, zip(*(tokens[i:] for i in range(n)), strict=False)))
    return result


@dataclass(frozen=True)
class TextRules:
    """Everything but the vocabulary that decides how a text becomes ids.

    Attributes:
        tokenizer: a name in `TOKENIZERS`.
        lowercase: lower-case the text first; `basic_english` always does.
        ngrams: 1 for tokens alone, n for n-grams up to n beside them.
        max_tokens: how many of the tokenizer's tokens are read (n-grams are made from these), or None for all.
        unknown_id: the id of a token that the vocabulary does not hold, or None to drop such tokens.
        empty_id: the id that stands for a text with no token left.
        padding_id: the id that fills the rows of a batch up to one width.

    Raises:
        InputError: a value is out of its range.

    Example:
        >>> rules = TextRules(tokenizer="whitespace", max_tokens=100, unknown_id=None)
        >>> rules.lowercase, rules.ngrams, rules.highest_id
        (True, 1, 0)
    """

    tokenizer: str = "basic_english"
    lowercase: bool = True
    ngrams: int = 1
    max_tokens: int | None = None
    unknown_id: int | None = 0
    empty_id: int = 0
    padding_id: int = 0

    def __post_init__(self) -> None:
        if self.tokenizer not in TOKENIZERS:
            raise InputError(f"The tokenizer {self.tokenizer!r} is unknown.", f"Use one of: {', '.join(TOKENIZERS)}.")
        if self.tokenizer == "basic_english" and not self.lowercase:
            raise InputError("basic_english always lower-cases.", "Use the tokenizer whitespace to keep the case.")
        if not 1 <= self.ngrams <= _MOST_NGRAMS:
            raise InputError(
                f"ngrams is {self.ngrams}.", f"Use 1 for single tokens, 2 for pairs beside them, up to {_MOST_NGRAMS}."
            )
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InputError(f"max_tokens is {self.max_tokens}.", "Use a number from 1, or none for no limit.")
        if min(self.unknown_id or 0, self.empty_id, self.padding_id) < 0:
            raise InputError("A token id is negative.", "Token ids count from 0.")

    @property
    def highest_id(self) -> int:
        """The highest id that the rules themselves can give, in ids of the vocabulary's numbering."""
        return max(self.unknown_id or 0, self.empty_id, self.padding_id)


class TextEncoder:
    """Turns texts into token ids by the rules and one vocabulary.

    Args:
        rules: the text rules.
        vocabulary: the tokens; a token's index in it is its id.

    Raises:
        InputError: a token is in the vocabulary twice.

    Example:
        >>> encoder = TextEncoder(TextRules(), ["<unk>", "oil", "prices", "rise"])
        >>> encoder.encode("Oil prices doubled")
        [1, 2, 0]
        >>> ids, lengths = encoder.encode_all(["Oil prices rise", "Oil"])
        >>> ids.tolist(), lengths.tolist()
        ([1, 2, 3, 1], [3, 1])
    """

    def __init__(self, rules: TextRules, vocabulary: Sequence[str]) -> None:
        self.rules = rules
        self._ids: dict[str, int] = dict(zip(vocabulary, range(len(vocabulary)), strict=True))
        if len(self._ids) != len(vocabulary):
            seen: set[str] = set()
            twice = next(token for token in vocabulary if token in seen or seen.add(token))  # type: ignore[func-returns-value]
            raise InputError(f"The vocabulary holds {twice!r} twice.", "Give every token once.")
        self._tokenize = TOKENIZERS[rules.tokenizer]
        self._lower_first = rules.lowercase and rules.tokenizer != "basic_english"
        self._many = _ManyTexts(rules, self._ids) if rules.lowercase and rules.ngrams == 1 else None

    def tokens(self, text: str) -> list[str]:
        """The tokens of `text`, n-grams included, before the vocabulary is asked."""
        rules = self.rules
        tokens = self._tokenize(text.lower() if self._lower_first else text)
        if rules.max_tokens is not None:
            del tokens[rules.max_tokens :]
        return tokens if rules.ngrams == 1 else ngrams_of(tokens, rules.ngrams)

    def encode(self, text: str) -> list[int]:
        """The token ids of `text`; never empty."""
        return self.look_up(self.tokens(text)) or [self.rules.empty_id]

    def look_up(self, tokens: Sequence[str]) -> list[int]:
        """The ids of tokens, without those that the rules drop."""
        lookup = self._ids.get
        unknown = self.rules.unknown_id
        if unknown is None:
            return [i for token in tokens if (i := lookup(token)) is not None]
        return list(map(lookup, tokens, repeat(unknown)))

    def encode_row(self, text: str) -> NDArray[np.int64]:
        """The token ids of `text` as the graph takes them, int64 [1, tokens].

        It makes no list of the ids, which saves 1 us of 46.
        """
        unknown = self.rules.unknown_id
        tokens = self.tokens(text)
        if unknown is None or not tokens:
            return np.array((self.encode(text),), np.int64)
        number = len(tokens)
        return np.fromiter(map(self._ids.get, tokens, repeat(unknown)), np.int64, number).reshape(1, number)

    def encode_all(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The token ids of many texts, as `encode` gives those of one, in three quarters of the time.

        Returns:
            int64 [tokens of all texts], one text after the other; int64 [texts], how many ids each has, at least 1.
        """
        if self._many is not None and texts:
            return self._many.encode(texts)
        rows = [self.encode(text) for text in texts]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum())), lengths


class _ManyTexts:
    """Encodes many texts that are lower-cased and have no n-grams: it joins them and tokenizes them in one pass.

    A marker follows every text. It is a token that no lower-cased text can hold: an upper-case letter. No replacement
    of a tokenizer touches it or reaches across it.

    Args:
        rules: the text rules.
        ids: the vocabulary's ids. The marker is added to them. A vocabulary may hold the marker as a token; no
            lower-cased text ever asks for it.
    """

    MARKER = "A"
    # What the marker and a dropped token are among the ids, until they are taken out.
    END = -1
    DROPPED = -2
    # A tokenizer's name, how the marker is set off from the text before it, and the tokenizer for lower-cased text.
    TOKENIZERS: Final[dict[str, tuple[str, Callable[[str], Sequence[str]]]]] = {
        "basic_english": (" ", _lowered_basic_english),
        "whitespace": (" ", str.split),
        "characters": ("", str),
    }
    # So many texts go into one pass: 6.8 us a news text. One at a time takes 9.0; with 512 the strings leave the cache.
    TEXTS_IN_A_PASS = 64

    def __init__(self, rules: TextRules, ids: dict[str, int]) -> None:
        space, self._tokenize = self.TOKENIZERS[rules.tokenizer]
        self._after_each = f"{space}{self.MARKER}{space}"
        self._rules = rules
        self._ids = ids
        self._ids[self.MARKER] = self.END

    def encode(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As `TextEncoder.encode_all`, for one text or more."""
        unknown = repeat(self.DROPPED if self._rules.unknown_id is None else self._rules.unknown_id)
        parts = []
        for start in range(0, len(texts), self.TEXTS_IN_A_PASS):
            # Lower-cased one by one: one text beyond ASCII would make str.lower slow for all.
            lowered = map(str.lower, texts[start : start + self.TEXTS_IN_A_PASS])
            tokens = self._tokenize(self._after_each.join(lowered) + self._after_each)
            parts.append(np.fromiter(map(self._ids.get, tokens, unknown), np.int64, len(tokens)))
        return self._split(np.concatenate(parts))

    def _split(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What `encode` returns, from the ids of all texts, each followed by `END`."""
        ends = np.flatnonzero(ids == self.END)
        starts = np.append(0, ends[:-1] + 1)
        kept = ids >= 0
        if self._rules.max_tokens is not None:
            position = np.arange(len(ids)) - np.repeat(starts, ends - starts + 1)
            kept &= position < self._rules.max_tokens
        lengths = np.add.reduceat(kept, starts, dtype=np.int64)
        # A text with no token left keeps one id: its marker becomes the id for an empty text.
        empty = ends[lengths == 0]
        ids[empty] = self._rules.empty_id
        kept[empty] = True
        return ids[kept], np.maximum(lengths, 1)
