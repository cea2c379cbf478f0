"""How a text becomes token ids. Training, export and runtime all use this file, so that text means the same in each.

A text goes through these steps, in this order; docs/format.md says the same for other languages:

1. it is lower-cased, and then cleaned by the steps of `cleaning_steps.py`;
2. the tokenizer cuts it into tokens; stop words are dropped;
3. `max_tokens` of the tokens are kept;
4. with `ngrams` > 1, the n-grams of those tokens follow them;
5. every token is looked up in the vocabulary; an unknown one becomes `unknown_id`, or is dropped where that is None;
6. `first_id` and `last_id` are set around the ids;
7. the ids are cut to `max_width` and padded to `min_width`;
8. a text that has no id left becomes the one id `empty_id`, so that no length is ever 0.

Tokens that are ready, because somebody else has cut the text, enter behind step 2's tokenizer: nothing is lower-cased,
cleaned or cut, and all that follows is done. Ids that are ready are final: nothing is done to them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.errors import InputError, shown
from pocketrnn.text.cleaning_steps import applied
from pocketrnn.text.framing import cut, framed
from pocketrnn.text.rules import EXTERNAL, AnyTextRules, TextRules
from pocketrnn.text.tokenizers import SPLITS, lowered_basic_english, ngrams_of

if TYPE_CHECKING:
    from pocketrnn.text.subwords import SubwordIds

__all__ = ["TextEncoder"]


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

    def __init__(self, rules: AnyTextRules, vocabulary: Sequence[str]) -> None:
        self.rules = rules
        self._ids: dict[str, int] = dict(zip(vocabulary, range(len(vocabulary)), strict=True))
        if len(self._ids) != len(vocabulary):
            seen: set[str] = set()
            twice = next(token for token in vocabulary if token in seen or seen.add(token))  # type: ignore[func-returns-value]
            raise InputError(f"The vocabulary holds {twice!r} twice.", "Give every token once.")
        self._is_plain = rules.is_plain
        self._pieces: SubwordIds | None = None
        self._many: _ManyTexts | None = None
        self._id_of_marker = self._ids.get(_ManyTexts.MARKER)
        if not isinstance(rules, TextRules):
            from pocketrnn.text.subwords import SubwordIds

            self._pieces, self._vocabulary = SubwordIds(rules, vocabulary), vocabulary
            return
        self._tokenize = _tokenize_by(rules)
        self._lower_first = rules.lowercase
        if self._is_plain and rules.lowercase and rules.ngrams == 1:
            # `_id_of_marker` stands in its place while many texts are encoded.
            self._many = _ManyTexts(rules, self._ids)

    def tokens(self, text: str) -> list[str]:
        """The tokens of `text`, n-grams included, before the vocabulary is asked; or its pieces, with the unknown."""
        if self._pieces is not None:
            return [self._vocabulary[i] for i in self._counted(self._pieces.encode(text))]
        return self._counted(self._tokenize(text.lower() if self._lower_first else text))

    def _counted(self, tokens: list[Any]) -> list[Any]:
        """The tokens that are read, and their n-grams; the list may be changed."""
        rules = self.rules
        if rules.max_tokens is not None:
            cut(tokens, rules.max_tokens, rules.cut_side)
        return tokens if not isinstance(rules, TextRules) or rules.ngrams == 1 else ngrams_of(tokens, rules.ngrams)

    def encode(self, text: str) -> list[int]:
        """The token ids of `text`; never empty."""
        if self._pieces is not None:
            return self._whole(self._counted(self._pieces.encode(text)))
        return self._whole(self._look_up(self.tokens(text)))

    def encode_tokens(self, tokens: Sequence[str]) -> list[int]:
        """The token ids of a text that somebody has split; never empty.

        Example:
            >>> TextEncoder(TextRules(last_id=0), ["<eos>", "oil"]).encode_tokens(["oil"])
            [1, 0]
        """
        dropped = frozenset(self.rules.stop_words if isinstance(self.rules, TextRules) else ())
        return self._whole(self.look_up(self._counted([token for token in tokens if token not in dropped])))

    def holds(self, token: str) -> bool:
        """Whether the vocabulary has a token.

        Example:
            >>> TextEncoder(TextRules(), ["oil"]).holds("Oil")
            False
        """
        return (self._id_of_marker if token == _ManyTexts.MARKER else self._ids.get(token)) is not None

    def _whole(self, ids: list[int]) -> list[int]:
        return (ids if self._is_plain else framed(ids, self.rules)) or [self.rules.empty_id]

    @property
    def pieces(self) -> SubwordIds | None:
        """The object that makes ids of texts by rules of subwords; None for other rules."""
        return self._pieces

    def look_up(self, tokens: Sequence[str]) -> list[int]:
        """The ids of tokens, without those that the rules drop."""
        if self._many is None or _ManyTexts.MARKER not in tokens:
            return self._look_up(tokens)
        unknown, known = self.rules.unknown_id, {**self._ids, _ManyTexts.MARKER: self._id_of_marker}
        ids = (unknown if (i := known.get(token)) is None else i for token in tokens)
        return [i for i in ids if i is not None]

    def _look_up(self, tokens: Sequence[str]) -> list[int]:
        """The same for tokens among which the marker of many texts is not."""
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
        """The token ids of many texts, as `encode` gives those of one, in three quarters of the time. A text that is a
        list holds its ids already.

        Returns:
            int64 [tokens of all texts], one text after the other; int64 [texts], how many ids each has, at least 1.
        """
        if self._many is not None and texts and set(map(type, texts)) <= {str}:
            return self._many.encode(texts)  # type: ignore[arg-type]
        rows = [text if isinstance(text, list) else self.encode(text) for text in texts]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum())), lengths


def _tokenize_by(rules: TextRules) -> Callable[[str], list[str]]:
    """A function that cuts a text, lower-cased where the rules say so, into tokens."""
    if rules.tokenizer == EXTERNAL:
        return _no_split
    split = SPLITS[rules.tokenizer]
    if not rules.steps and not rules.stop_words:
        return split
    clean, dropped = applied(rules.steps), frozenset(rules.stop_words)
    return lambda text: [token for token in split(clean(text)) if token not in dropped]


def _no_split(text: str) -> list[str]:
    raise InputError(
        f"The text {shown(text, 40)} cannot be split: the tokenizer is external.",
        "Give its tokens or ids as a list, or a tokenizer to Classifier.load.",
    )


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
    # The ids of the marker and of a dropped token, until they are taken out.
    END = -1
    DROPPED = -2
    # A tokenizer's name, how the marker is set off from the text before it, and the tokenizer for lower-cased text.
    TOKENIZERS: Final[dict[str, tuple[str, Callable[[str], Sequence[str]]]]] = {
        "basic_english": (" ", lowered_basic_english),
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
        """The result of `encode`, from the ids of all texts, each followed by `END`."""
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
