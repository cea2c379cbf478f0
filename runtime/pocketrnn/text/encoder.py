"""Encode texts as token ids, by text rules and a vocabulary: in training, at export and when a bundle answers.

A text goes through these steps, in this order; docs/format.md defines them for other languages:

1. it is lower-cased, and then cleaned by the steps of `cleaning_steps.py`;
2. the tokenizer splits it into tokens; stop words are dropped;
3. `max_tokens` of the tokens are kept;
4. with `ngrams` > 1, the n-grams of those tokens follow them;
5. every token is looked up in the vocabulary; an unknown one becomes `unknown_id`, or is dropped where that is None;
6. `first_id` and `last_id` are added before and after the ids;
7. the ids are cut to `max_width` and padded to `min_width`;
8. a text without an id left becomes the single id `empty_id`, so that no length is ever 0.

A text that is given as tokens enters after step 2's tokenizer: it is not lower-cased, cleaned or split, and the rest of
the steps follow. A text that is given as ids is not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text.added_ids_and_width import add_outer_ids_and_pad, cut_items
from pocketrnn.text.cleaning_steps import cleaning_function
from pocketrnn.text.rules import EXTERNAL, AnyTextRules, TextRules
from pocketrnn.text.tokenizers import SPLITS, make_ngrams_of, tokenize_lowered_basic_english

if TYPE_CHECKING:
    from pocketrnn.text.subword_encoder import SubwordEncoder

__all__ = ["TextEncoder"]


class TextEncoder:
    """Turns texts into token ids, with text rules and a vocabulary.

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

    def __init__(self, rules: AnyTextRules, vocabulary: Sequence[str]) -> None:
        self.rules = rules
        self._ids: dict[str, int] = dict(zip(vocabulary, range(len(vocabulary)), strict=True))
        if len(self._ids) != len(vocabulary):
            seen: set[str] = set()
            twice = next(token for token in vocabulary if token in seen or seen.add(token))  # type: ignore[func-returns-value]
            raise InputError(f"The vocabulary contains the token {twice!r} twice.", "Give each token once.")
        self._is_plain = rules.is_plain
        self._pieces: SubwordEncoder | None = None
        self._many: _BatchEncoder | None = None
        self._id_of_marker = self._ids.get(_BatchEncoder.MARKER)
        if not isinstance(rules, TextRules):
            from pocketrnn.text.subword_encoder import SubwordEncoder

            self._pieces, self._vocabulary = SubwordEncoder(rules, vocabulary), vocabulary
            return
        self._tokenize = _make_tokenize_function(rules)
        self._lower_first = rules.lowercase
        if self._is_plain and rules.lowercase and rules.ngrams == 1:
            # In `_ids`, the marker now has an id of its own; `_id_of_marker` keeps the vocabulary's.
            self._many = _BatchEncoder(rules, self._ids)

    def tokens(self, text: str) -> list[str]:
        """Split `text` into tokens, and add their n-grams. Nothing is looked up in the vocabulary.

        With subword rules, return the pieces of the text, the unknown ones included.
        """
        if self._pieces is not None:
            return [self._vocabulary[i] for i in self._cut_and_add_ngrams(self._pieces.encode(text))]
        return self._cut_and_add_ngrams(self._tokenize(text.lower() if self._lower_first else text))

    def _cut_and_add_ngrams(self, tokens: list[Any]) -> list[Any]:
        """Cut tokens to `max_tokens`, and add their n-grams. The given list may be changed."""
        rules = self.rules
        if rules.max_tokens is not None:
            cut_items(tokens, rules.max_tokens, rules.cut_side)
        return tokens if not isinstance(rules, TextRules) or rules.ngrams == 1 else make_ngrams_of(tokens, rules.ngrams)

    def encode(self, text: str) -> list[int]:
        """Encode `text` as token ids; there is at least one."""
        if self._pieces is not None:
            return self._add_outer_ids(self._cut_and_add_ngrams(self._pieces.encode(text)))
        return self._add_outer_ids(self._look_up_without_marker(self.tokens(text)))

    def encode_tokens(self, tokens: Sequence[str]) -> list[int]:
        """Encode the tokens of a text as ids; there is at least one.

        Example:
            >>> TextEncoder(TextRules(last_id=0), ["<eos>", "oil"]).encode_tokens(["oil"])
            [1, 0]
        """
        dropped = frozenset(self.rules.stop_words if isinstance(self.rules, TextRules) else ())
        return self._add_outer_ids(
            self.look_up(self._cut_and_add_ngrams([token for token in tokens if token not in dropped]))
        )

    def holds(self, token: str) -> bool:
        """Return whether the vocabulary contains a token.

        Example:
            >>> TextEncoder(TextRules(), ["oil"]).holds("Oil")
            False
        """
        return (self._id_of_marker if token == _BatchEncoder.MARKER else self._ids.get(token)) is not None

    def _add_outer_ids(self, ids: list[int]) -> list[int]:
        return (ids if self._is_plain else add_outer_ids_and_pad(ids, self.rules)) or [self.rules.empty_id]

    @property
    def subword_encoder(self) -> SubwordEncoder | None:
        """The encoder for subword rules; None for other rules."""
        return self._pieces

    def look_up(self, tokens: Sequence[str]) -> list[int]:
        """Look up the ids of tokens. Tokens that the rules drop are left out."""
        if self._many is None or _BatchEncoder.MARKER not in tokens:
            return self._look_up_without_marker(tokens)
        unknown, known = self.rules.unknown_id, {**self._ids, _BatchEncoder.MARKER: self._id_of_marker}
        ids = (unknown if (i := known.get(token)) is None else i for token in tokens)
        return [i for i in ids if i is not None]

    def _look_up_without_marker(self, tokens: Sequence[str]) -> list[int]:
        """Look up the ids of tokens. The tokens must not contain the marker that `_BatchEncoder` puts between texts."""
        lookup = self._ids.get
        unknown = self.rules.unknown_id
        if unknown is None:
            return [i for token in tokens if (i := lookup(token)) is not None]
        return list(map(lookup, tokens, repeat(unknown)))

    def encode_row(self, text: str) -> NDArray[np.int64]:
        """Encode `text` as the graph's input, int64 [1, tokens].

        This makes no list of the ids, which saves 1 us of 46.
        """
        unknown = self.rules.unknown_id
        if not self._is_plain:
            return np.array((self.encode(text),), np.int64)
        tokens = self.tokens(text)
        if unknown is None or not tokens:
            return np.array((self.encode(text),), np.int64)
        number = len(tokens)
        return np.fromiter(map(self._ids.get, tokens, repeat(unknown)), np.int64, number).reshape(1, number)

    def encode_all(
        self, texts: Sequence[str] | Sequence[str | list[int]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Encode many texts as ids. A text that is a list is taken as its ids.

        For plain rules that lower-case, without n-grams, it takes three quarters of the time of `encode`.

        Returns:
            int64 [tokens of all texts], one text after the other; int64 [texts], how many ids each has, at least 1.
        """
        if self._many is not None and texts and set(map(type, texts)) <= {str}:
            return self._many.encode(texts)  # type: ignore[arg-type]
        rows = [text if isinstance(text, list) else self.encode(text) for text in texts]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum())), lengths


def _make_tokenize_function(rules: TextRules) -> Callable[[str], list[str]]:
    """Make a function that splits a text into tokens. It lower-cases the text first if the rules say so."""
    if rules.tokenizer == EXTERNAL:
        return _refuse_to_split
    split = SPLITS[rules.tokenizer]
    if not rules.steps and not rules.stop_words:
        return split
    clean, dropped = cleaning_function(rules.steps), frozenset(rules.stop_words)
    return lambda text: [token for token in split(clean(text)) if token not in dropped]


def _refuse_to_split(text: str) -> list[str]:
    raise InputError(
        f"The text {short_repr(text, 40)} cannot be split into tokens: the tokenizer is not part of the bundle.",
        "Give the text as a list of its tokens or ids, or load with Classifier.load(..., tokenizer=function).",
    )


class _BatchEncoder:
    """Encodes many texts at once, for rules that lower-case and make no n-grams. It joins the texts, and tokenizes them
    in one pass.

    A marker follows every text: an upper-case letter, which no lower-cased text contains. The replacements of a
    tokenizer do not change the marker or match across it.

    Args:
        ids: the id of each token of the vocabulary. The marker replaces an equal token, which no lower-cased text has.
    """

    MARKER = "A"
    # The ids of the marker and of a dropped token, until they are removed.
    END = -1
    DROPPED = -2
    # For each tokenizer: the separator between marker and text, and the tokenizer for lower-cased text.
    TOKENIZERS: Final[dict[str, tuple[str, Callable[[str], Sequence[str]]]]] = {
        "basic_english": (" ", tokenize_lowered_basic_english),
        "whitespace": (" ", str.split),
        "characters": ("", str),
    }
    # With this many texts a pass, a news text takes 6.8 us; one at a time, 9.0 us; 512 strings exceed the cache.
    TEXTS_IN_A_PASS = 64

    def __init__(self, rules: TextRules, ids: dict[str, int]) -> None:
        space, self._tokenize = self.TOKENIZERS[rules.tokenizer]
        self._after_each = f"{space}{self.MARKER}{space}"
        self._rules = rules
        self._ids = ids
        self._ids[self.MARKER] = self.END

    def encode(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Encode one text or more, like `TextEncoder.encode_all`."""
        unknown = repeat(self.DROPPED if self._rules.unknown_id is None else self._rules.unknown_id)
        parts = []
        for start in range(0, len(texts), self.TEXTS_IN_A_PASS):
            # Lower-cased one by one: one text beyond ASCII would make str.lower slow for all.
            lowered = map(str.lower, texts[start : start + self.TEXTS_IN_A_PASS])
            tokens = self._tokenize(self._after_each.join(lowered) + self._after_each)
            parts.append(np.fromiter(map(self._ids.get, tokens, unknown), np.int64, len(tokens)))
        return self._drop_text_ends_and_count_ids(np.concatenate(parts))

    def _drop_text_ends_and_count_ids(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Remove `END`, which follows the ids of each text. Return the other ids, and how many each text has."""
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
