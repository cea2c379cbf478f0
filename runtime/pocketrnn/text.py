"""How a text becomes token ids. Training, export and runtime all use this file, so that text means the same in each.

A text goes through four steps, in this order:

1. the tokenizer cuts it into tokens, of which the first `max_tokens` are kept;
2. with `ngrams` > 1, the n-grams of those tokens follow them;
3. every token is looked up in the vocabulary; an unknown one becomes `unknown_id`, or is dropped where that is None;
4. a text that has no token left becomes the single id `empty_id`, so that no length is ever 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final

from pocketrnn.errors import InputError

__all__ = ["TOKENIZERS", "TextEncoder", "TextRules", "basic_english", "ngrams_of"]


def basic_english(text: str) -> list[str]:
    """torchtext's `basic_english` tokenizer, token for token.

    torchtext (`torchtext/data/utils.py`, `_basic_english_normalize`) lower-cases, applies twelve regular expressions in
    this order and splits at white space. Eleven of the twelve match fixed strings, so that `str.replace` does the same,
    2.5 times as fast; the twelfth folds white space, which the split does anyway.
    """
    return (
        text.lower()
        .replace("'", " '  ")
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


def ngrams_of(tokens: Sequence[str], ngrams: int) -> list[str]:
    """The tokens, then their 2-grams, 3-grams ... up to `ngrams`, each joined by a space.

    The order is that of torchtext's `ngrams_iterator` (`torchtext/data/utils.py`).
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
        if self.ngrams < 1:
            raise InputError(f"ngrams is {self.ngrams}.", "Use 1 for single tokens, 2 for pairs beside them.")
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
        vocabulary: the tokens; a token's place in it is its id.

    Raises:
        InputError: a token stands twice in the vocabulary.
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

    def tokens(self, text: str) -> list[str]:
        """The tokens of `text`, n-grams included, before the vocabulary is asked."""
        rules = self.rules
        tokens = self._tokenize(text.lower() if self._lower_first else text)
        if rules.max_tokens is not None:
            del tokens[rules.max_tokens :]
        return tokens if rules.ngrams == 1 else ngrams_of(tokens, rules.ngrams)

    def encode(self, text: str) -> list[int]:
        """The token ids of `text`; never empty."""
        lookup = self._ids.get
        unknown = self.rules.unknown_id
        if unknown is None:
            ids = [i for token in self.tokens(text) if (i := lookup(token)) is not None]
        else:
            ids = list(map(lookup, self.tokens(text), repeat(unknown)))
        return ids or [self.rules.empty_id]
