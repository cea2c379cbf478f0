"""How a text becomes token ids. Training, export and runtime all use this file, so that text means the same in each.

A text goes through these steps, in this order; docs/format.md says the same for other languages:

1. it is lower-cased, and then cleaned by the steps of `text_steps.py`;
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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain, repeat
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pocketrnn.errors import InputError, shown
from pocketrnn.text_steps import Keep, Lowercase, Replace, Step, applied, check_growth, step_documents, steps_of

__all__ = [
    "EXTERNAL",
    "TOKENIZERS",
    "TextEncoder",
    "TextRules",
    "basic_english",
    "beyond_version_1",
    "beyond_version_2",
    "ngrams_of",
    "rules_document",
    "rules_of",
]


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
# The same for a text that is lower-cased where it shall be. `space` is text.split(" "), which many notebooks write: two
# spaces have an empty token between them.
_SPLITS: Final[dict[str, Callable[[str], list[str]]]] = {
    **TOKENIZERS,
    "basic_english": _lowered_basic_english,
    "space": lambda text: text.split(" "),
}

# The tokenizer of a bundle whose texts are split outside of it, by its owner's code: it is given tokens or ids.
EXTERNAL: Final = "external"
# A text of 10,000 tokens becomes 160,000 with 16; classifiers in use have up to 6.
_MOST_NGRAMS: Final = 16
_MOST_STOP_WORDS: Final = 1 << 16
# Every text becomes at least so many ids: the largest is that of `min_tokens` of a graph's limits.
_LARGEST_MIN_WIDTH: Final = 1 << 16
_LARGEST: Final = (1 << 31) - 1


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


Side = Literal["left", "right"]


@dataclass(frozen=True)
class TextRules:
    """Everything but the vocabulary that decides how a text becomes ids.

    Attributes:
        tokenizer: a name in `TOKENIZERS`, or `space`: text.split(" "), whose tokens may be empty. Or `external`: texts
            are split by their owner's code, and come as tokens or ids.
        lowercase: lower-case the text first; `basic_english` always does, `external` never.
        ngrams: 1 for tokens alone, n for n-grams up to n beside them.
        max_tokens: how many of the tokenizer's tokens are read (n-grams are made from these), or None for all.
        unknown_id: the id of a token that the vocabulary does not hold, or None to drop such tokens.
        empty_id: the id that stands for a text with no id left.
        padding_id: the id that fills the rows of a batch up to one width, and every text up to `min_width`.
        steps: what is done to the text before it is split; `text_steps.cleaning` makes them from names and pairs.
        stop_words: tokens that are dropped, before `max_tokens` counts them.
        first_id: the id before those of the text, such as that of "<sos>", or None.
        last_id: the id after them, such as that of "<eos>", or None.
        max_width: the most ids of a text, `first_id` and `last_id` among them; the rest is cut off. None: all.
        min_width: the fewest ids of a text; `padding_id` fills it up, and the module sees it like any id. None: 1.
        cut_side: the side on which `max_tokens` and `max_width` cut.
        pad_side: the side on which `min_width` fills up.

    Raises:
        InputError: a value is out of its range.

    Example:
        >>> rules = TextRules(tokenizer="whitespace", max_tokens=100, unknown_id=None)
        >>> rules.lowercase, rules.ngrams, rules.highest_id
        (True, 1, 0)
        >>> from pocketrnn.text_steps import cleaning
        >>> rules = TextRules("space", steps=cleaning("keras_filters"), stop_words=("",), unknown_id=None,
        ...                   min_width=200, max_width=200, pad_side="left", cut_side="left")    # Keras' defaults
    """

    tokenizer: str = "basic_english"
    lowercase: bool = True
    ngrams: int = 1
    max_tokens: int | None = None
    unknown_id: int | None = 0
    empty_id: int = 0
    padding_id: int = 0
    steps: tuple[Step, ...] = ()
    stop_words: tuple[str, ...] = ()
    first_id: int | None = None
    last_id: int | None = None
    max_width: int | None = None
    min_width: int | None = None
    cut_side: Side = "right"
    pad_side: Side = "right"

    def __post_init__(self) -> None:
        if self.tokenizer not in (*_SPLITS, EXTERNAL):
            raise InputError(
                f"The tokenizer {self.tokenizer!r} is unknown.", f"Use one of: {', '.join((*_SPLITS, EXTERNAL))}."
            )
        if self.tokenizer == EXTERNAL:
            # There is no text that could be lower-cased.
            object.__setattr__(self, "lowercase", False)
            if self.steps:
                raise InputError(
                    "The tokenizer external is given tokens or ids, so that no step can be done before it.",
                    "Leave the steps out, and clean texts where you split them.",
                )
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
        if not self.is_plain:
            self._check_words()
            self._check_width()

    def _check_words(self) -> None:
        if not isinstance(self.steps, tuple) or not all(isinstance(s, Replace | Keep | Lowercase) for s in self.steps):
            raise InputError(f"steps is {shown(self.steps)}.", "Make them with pocketrnn.text_steps.cleaning(...).")
        check_growth(self.steps)
        words = self.stop_words
        if not isinstance(words, tuple) or not all(isinstance(word, str) for word in words):
            raise InputError(f"stop_words is {shown(words)}.", "Give a tuple of strings.")
        if len(words) > _MOST_STOP_WORDS:
            raise InputError(f"There are {len(words):,} stop words.", f"Use at most {_MOST_STOP_WORDS:,}.")

    def _check_width(self) -> None:
        for name, least, most in (
            ("first_id", 0, _LARGEST),
            ("last_id", 0, _LARGEST),
            ("max_width", 1, _LARGEST),
            ("min_width", 1, _LARGEST_MIN_WIDTH),
        ):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or not least <= value <= most):
                raise InputError(f"{name} is {shown(value)}.", f"Use a whole number from {least} to {most:,}, or none.")
        for name in ("cut_side", "pad_side"):
            if getattr(self, name) not in ("left", "right"):
                raise InputError(f"{name} is {shown(getattr(self, name))}.", "Use left or right.")
        if self.min_width is not None and self.max_width is not None and self.min_width > self.max_width:
            raise InputError(
                f"min_width is {self.min_width}, but max_width {self.max_width}.", "Use the same for one fixed width."
            )

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing in the rules but what version 1 of the format can say."""
        return self.tokenizer in TOKENIZERS and all(
            getattr(self, name) == default for name, default in _SINCE_VERSION_2.items()
        )

    @property
    def sizes(self) -> tuple[int, int | None]:
        """The fewest and the most ids that the rules give for any text; None where there is no limit.

        Example:
            >>> TextRules(max_tokens=5, last_id=3).sizes, TextRules(min_width=9, max_width=9).sizes
            ((1, 6), (9, 9))
        """
        least, most = self.min_width or 1, self.max_width
        if self.max_tokens is not None:
            ids = sum(max(0, self.max_tokens - n) for n in range(self.ngrams))
            around = (self.first_id is not None) + (self.last_id is not None)
            most = min(most or _LARGEST, max(ids + around, least))
        return least, most

    def fault_of(self, ids: list[int]) -> str:
        """Why the rules give these ids for no text, as the end of a sentence; empty if they may.

        Whoever gives ids gives all of a text's, with what stands around them: were something left out, the answer would
        be another one, and nobody would see it.

        Example:
            >>> TextRules(min_width=9).fault_of([4, 17])
            'has 2 ids, and the rules fill every text up to 9'
        """
        least, most = self.sizes
        if len(ids) < least:
            return f"has {len(ids)} ids, and the rules fill every text up to {least}"
        if most is not None and len(ids) > most:
            return f"has {len(ids):,} ids, and the rules cut every text to {most:,}"
        cut = self.cut_side if len(ids) == self.max_width else None
        start, end = self._without_padding(ids)
        if self.first_id not in (None, self.padding_id) and cut != "left" and ids[start:end][:1] != [self.first_id]:
            return f"does not begin with the id {self.first_id}, with which the rules begin every text"
        if self.last_id not in (None, self.padding_id) and cut != "right" and ids[start:end][-1:] != [self.last_id]:
            return f"does not end with the id {self.last_id}, with which the rules end every text"
        return ""

    def _without_padding(self, ids: Sequence[int]) -> tuple[int, int]:
        """Where the ids begin and end without those that fill a text up."""
        start, end = 0, len(ids)
        if self.min_width is not None and self.pad_side == "left":
            while start < end and ids[start] == self.padding_id:
                start += 1
        elif self.min_width is not None:
            while start < end and ids[end - 1] == self.padding_id:
                end -= 1
        return start, end

    @property
    def highest_id(self) -> int:
        """The highest id that the rules themselves can give, in ids of the vocabulary's numbering."""
        return max(self.unknown_id or 0, self.empty_id, self.padding_id, self.first_id or 0, self.last_id or 0)


# The members of `text` that version 1 of the format does not have, and what their absence means.
_SINCE_VERSION_2: Final[dict[str, Any]] = {
    member.name: member.default for member in fields(TextRules)[[f.name for f in fields(TextRules)].index("steps") :]
}


def rules_document(rules: TextRules) -> dict[str, Any]:
    """The rules as `text` of classifier.json, without the members whose absence means the same.

    Example:
        >>> rules_document(TextRules(first_id=2))["first_id"], "last_id" in rules_document(TextRules())
        (2, False)
    """
    members = {member.name: getattr(rules, member.name) for member in fields(rules)}
    members = {name: value for name, value in members.items() if value != _SINCE_VERSION_2.get(name, ...)}
    if rules.steps:
        members["steps"] = step_documents(rules.steps)
    return members


def beyond_version_1(document: Mapping[str, Any]) -> list[str]:
    """What `text` of a classifier.json holds that version 1 of the format does not have.

    Example:
        >>> beyond_version_1({"tokenizer": "space", "min_width": 9})
        ['the tokenizer space', 'min_width']
    """
    tokenizer = [] if document["tokenizer"] in TOKENIZERS else [f"the tokenizer {document['tokenizer']}"]
    return [*tokenizer, *(name for name in _SINCE_VERSION_2 if name in document)]


def beyond_version_2(document: Mapping[str, Any]) -> list[str]:
    """What `text` of a classifier.json holds that version 2 of the format does not have.

    Example:
        >>> beyond_version_2({"tokenizer": "external"})
        ['the tokenizer external']
    """
    return ["the tokenizer external"] if document["tokenizer"] == EXTERNAL else []


def rules_of(document: Mapping[str, Any]) -> TextRules:
    """The rules that `text` of classifier.json says; a member that is missing is the default.

    Raises:
        InputError: a value is out of its range, or a step is none.

    Example:
        >>> rules_of({"tokenizer": "whitespace", "steps": [{"replace": ",", "by": " "}]}).steps
        (Replace(what=',', by=' '),)
    """
    # JSON Schema counts 1.0 as an integer; a range does not.
    members: dict[str, Any] = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in document.items()
    }
    if "steps" in members:
        members["steps"] = steps_of(members["steps"])
    if members["tokenizer"] == EXTERNAL and members.get("lowercase"):
        raise InputError("The tokenizer external cannot lower-case.", "Say that lowercase is false.")
    if isinstance(members.get("stop_words"), list):
        members["stop_words"] = tuple(members["stop_words"])
    return TextRules(**members)


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
        self._tokenize = _tokenize_by(rules)
        self._lower_first = rules.lowercase
        self._is_plain = rules.is_plain
        # What stands in its place while many texts are encoded.
        self._id_of_marker = self._ids.get(_ManyTexts.MARKER)
        self._many = _ManyTexts(rules, self._ids) if self._is_plain and rules.lowercase and rules.ngrams == 1 else None

    def tokens(self, text: str) -> list[str]:
        """The tokens of `text`, n-grams included, before the vocabulary is asked."""
        return self._counted(self._tokenize(text.lower() if self._lower_first else text))

    def _counted(self, tokens: list[str]) -> list[str]:
        """The tokens that are read, and their n-grams; the list may be changed."""
        rules = self.rules
        if rules.max_tokens is not None:
            _cut(tokens, rules.max_tokens, rules.cut_side)
        return tokens if rules.ngrams == 1 else ngrams_of(tokens, rules.ngrams)

    def encode(self, text: str) -> list[int]:
        """The token ids of `text`; never empty."""
        return self._whole(self._look_up(self.tokens(text)))

    def encode_tokens(self, tokens: Sequence[str]) -> list[int]:
        """The token ids of a text that somebody has split; never empty.

        Example:
            >>> TextEncoder(TextRules(last_id=0), ["<eos>", "oil"]).encode_tokens(["oil"])
            [1, 0]
        """
        dropped = frozenset(self.rules.stop_words)
        return self._whole(self.look_up(self._counted([token for token in tokens if token not in dropped])))

    def holds(self, token: str) -> bool:
        """Whether the vocabulary has a token.

        Example:
            >>> TextEncoder(TextRules(), ["oil"]).holds("Oil")
            False
        """
        return (self._id_of_marker if token == _ManyTexts.MARKER else self._ids.get(token)) is not None

    def _whole(self, ids: list[int]) -> list[int]:
        return (ids if self._is_plain else _set_in_width(ids, self.rules)) or [self.rules.empty_id]

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
        tokens = self.tokens(text)
        if unknown is None or not tokens or not self._is_plain:
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
    """What cuts a text, lower-cased where the rules say so, into tokens."""
    if rules.tokenizer == EXTERNAL:
        return _no_split
    split = _SPLITS[rules.tokenizer]
    if not rules.steps and not rules.stop_words:
        return split
    clean, dropped = applied(rules.steps), frozenset(rules.stop_words)
    return lambda text: [token for token in split(clean(text)) if token not in dropped]


def _no_split(text: str) -> list[str]:
    raise InputError(
        f"The text {shown(text, 40)} cannot be split: the tokenizer is external.",
        "Give its tokens or ids as a list, or a tokenizer to Classifier.load.",
    )


def _cut(items: list[Any], most: int, side: Side) -> None:
    """Leave at most so many items."""
    if side == "right":
        del items[most:]
    else:
        del items[:-most]


def _set_in_width(ids: list[int], rules: TextRules) -> list[int]:
    """The ids of a text with what stands around them: `first_id`, `last_id`, and the padding up to `min_width`."""
    if rules.first_id is not None:
        ids = [rules.first_id, *ids]
    if rules.last_id is not None:
        ids = [*ids, rules.last_id]
    if rules.max_width is not None:
        _cut(ids, rules.max_width, rules.cut_side)
    padding = [rules.padding_id] * ((rules.min_width or 0) - len(ids))
    return [*padding, *ids] if rules.pad_side == "left" else [*ids, *padding]


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
