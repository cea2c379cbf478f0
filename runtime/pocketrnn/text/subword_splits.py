"""What cuts a text into the words that a model of subwords cuts further.

All of it is data, and what it needs of Unicode is in it. The patterns that many tokenizers share are code, since no
reader has regular expressions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pocketrnn.errors import InputError, shown
from pocketrnn.text.cleaning_steps import Replace, checked_ranges, checked_string, in_ranges
from pocketrnn.text.subword_steps import WHITE_SPACE, Bytes, subword_steps_applied

__all__ = [
    "Pattern",
    "PrependTo",
    "Split",
    "SplitAt",
    "SplitAtText",
    "check_splits",
    "split_documents",
    "split_function",
    "splits_of",
]

How = Literal["removed", "isolated", "with_previous", "with_next", "runs"]
Name = Literal["gpt2", "clip", "cl100k"]

_HOW: Final = ("removed", "isolated", "with_previous", "with_next", "runs")
_MOST_SPLITS: Final = 64
# Half of a surrogate pair: no text holds one when it is cut.
_CUT: Final = "\ud800"


@dataclass(frozen=True)
class SplitAt:
    """A word is cut at the code points of `ranges`.

    Attributes:
        ranges: as in `Keep`.
        how: `removed`, each is dropped; `isolated`, each is a word; `with_previous`, `with_next`: each ends or begins a
            word; `runs`, the longest runs of them, and of others, are words.

    Raises:
        InputError: a range is none, or `how` is unknown.

    Example:
        >>> split_function(SplitAt(("09",), "isolated"))(["ab12"])
        ['ab', '1', '2']
    """

    ranges: tuple[str, ...]
    how: How

    def __post_init__(self) -> None:
        checked_ranges(self.ranges, "Where a word is cut")
        _check_how(self.how)


@dataclass(frozen=True)
class SplitAtText:
    """A word is cut where `text` stands, as at the code points of `SplitAt`.

    Raises:
        InputError: it is no string of 1 to 256 code points, or `how` is unknown.

    Example:
        >>> split_function(SplitAtText("--", "isolated"))(["a--b"])
        ['a', '--', 'b']
    """

    text: str
    how: How

    def __post_init__(self) -> None:
        checked_string(self.text, "What a word is cut at", 1)
        _check_how(self.how)


@dataclass(frozen=True)
class Pattern:
    """A word is cut as by one of the patterns that many tokenizers share.

    Attributes:
        name: `gpt2`, that of GPT-2 (openai/gpt-2, src/encoder.py); `clip`, that of CLIP, which drops what it does not
            match; `cl100k`, that of GPT-4 and Llama 3.
        letters: ranges of what the pattern takes for a letter (`\\p{L}`).
        numbers: ranges of what it takes for a digit (`\\p{N}`).
        digits: the most digits of a word in `cl100k`.

    Raises:
        InputError: a value is not of its type or out of its range.

    Example:
        >>> split_function(Pattern("gpt2", ("az", "AZ"), ("09",)))(["It's 5 o'clock"])
        ['It', "'s", ' 5', ' o', "'", 'clock']
    """

    name: Name
    letters: tuple[str, ...]
    numbers: tuple[str, ...]
    digits: int = 3

    def __post_init__(self) -> None:
        if self.name not in ("gpt2", "clip", "cl100k"):
            raise InputError(f"The pattern {shown(self.name)} is unknown.", "Use gpt2, clip or cl100k.")
        checked_ranges(self.letters, "A pattern's letters")
        checked_ranges(self.numbers, "A pattern's digits")
        if type(self.digits) is not int or not 1 <= self.digits <= 3:
            raise InputError(f"digits is {shown(self.digits)}.", "Use 1 to 3.")


@dataclass(frozen=True)
class PrependTo:
    """`text` is put before every word that does not begin with it; with `first`, only before the text's first.

    Raises:
        InputError: it is no string of 1 to 256 code points, or `first` is no boolean.

    Example:
        >>> split_function(PrependTo("_"))(["a", "_b"])
        ['_a', '_b']
    """

    text: str
    first: bool = False

    def __post_init__(self) -> None:
        checked_string(self.text, "What is put before a word", 1)
        if not isinstance(self.first, bool):
            raise InputError(f"first is {shown(self.first)}.", "Use true or false.")


Split = SplitAt | SplitAtText | Pattern | PrependTo | Replace | Bytes
_KINDS: Final = (SplitAt, SplitAtText, Pattern, PrependTo, Replace, Bytes)
Cut = Callable[[list[str]], list[str]]


def check_splits(splits: Sequence[Split]) -> None:
    """Refuse what are no splits, too many, or such as no reader could follow.

    Raises:
        InputError: they are.
    """
    if not isinstance(splits, tuple) or not all(isinstance(split, _KINDS) for split in splits):
        raise InputError(f"splits is {shown(splits)}.", "Make them of the classes in pocketrnn.text.subword_splits.")
    if len(splits) > _MOST_SPLITS:
        raise InputError(f"There are {len(splits):,} splits.", f"Use at most {_MOST_SPLITS}.")
    if sum(isinstance(split, Bytes) for split in splits) > 1:
        raise InputError("Two splits make bytes of the words.", "Use one.")
    cutting = [not isinstance(split, PrependTo | Replace) for split in splits]
    if any(isinstance(split, PrependTo) and split.first and any(cutting[:i]) for i, split in enumerate(splits)):
        raise InputError("Something is put before the first word after the text was cut.", "Do it before.")
    grown = 1
    for split in splits:
        if isinstance(split, Replace):
            grown *= max(1, len(split.by))
    if grown > 64:
        raise InputError("The splits can make a text grow more than 64 times.", "Use shorter replacements.")


def split_function(split: Split) -> Cut:
    """What cuts a list of words further; no word of the result is empty."""
    match split:
        case SplitAt(_, "runs"):
            inside = in_ranges(split.ranges)
            return _each(lambda word: _runs(word, inside))
        case SplitAt():
            return _cut_at(split)
        case SplitAtText(text, how):
            return _each(lambda word: list(_joined(_occurrences(word, text), how)))
        case Pattern():
            return _each(_pattern(split))
        case PrependTo(before, first):
            return lambda words: [
                word if word.startswith(before) or (first and i) else before + word for i, word in enumerate(words)
            ]
        case Replace(what, by):
            return lambda words: [made for word in words if (made := word.replace(what, by))]
        case Bytes():
            function = subword_steps_applied((split,))
            return lambda words: list(map(function, words))


def _check_how(how: Any) -> None:
    if how not in _HOW:
        raise InputError(f"A word is cut {shown(how)}.", f"Use one of: {', '.join(_HOW)}.")


def _each(function: Callable[[str], Iterable[str]]) -> Cut:
    return lambda words: [part for word in words for part in function(word) if part]


class _Cuts(dict[int, int | str]):
    """What `str.translate` asks for where to cut; it keeps the first code points that it was asked for."""

    def __init__(self, split: SplitAt) -> None:
        super().__init__()
        self._inside = in_ranges(split.ranges)
        before = "" if split.how == "with_previous" else _CUT
        after = "" if split.how == "with_next" else _CUT
        self._around = None if split.how == "removed" else (before, after)

    def __missing__(self, code: int) -> int | str:
        value: int | str = code
        if self._inside(code):
            value = _CUT if self._around is None else f"{self._around[0]}{chr(code)}{self._around[1]}"
        if len(self) < 1 << 14:
            self[code] = value
        return value


def _cut_at(split: SplitAt) -> Cut:
    table = _Cuts(split)
    return lambda words: [part for part in _CUT.join(words).translate(table).split(_CUT) if part]


def _runs(word: str, inside: Callable[[int], bool]) -> Iterator[str]:
    start, kind = 0, inside(ord(word[0]))
    for index, point in enumerate(word):
        if inside(ord(point)) != kind:
            yield word[start:index]
            start, kind = index, not kind
    yield word[start:]


def _occurrences(word: str, text: str) -> Iterator[tuple[str, bool]]:
    """The parts of a word, and whether each is the text that it is cut at."""
    for i, part in enumerate(word.split(text)):
        if i:
            yield text, True
        if part:
            yield part, False


def _joined(parts: Iterable[tuple[str, bool]], how: How) -> Iterable[str]:
    if how in ("removed", "isolated"):
        return [part for part, found in parts if how == "isolated" or not found]
    backwards = how == "with_next"
    made: list[str] = []
    before = False
    for part, found in reversed(list(parts)) if backwards else parts:
        joins = found == before if how == "runs" else found and not before
        if joins and made:
            made[-1] = part + made[-1] if backwards else made[-1] + part
        else:
            made.append(part)
        before = found
    return reversed(made) if backwards else made


# --- Patterns ---

_OTHER, _LETTER, _NUMBER, _SPACE = range(4)


class _KindsOf(dict[str, int]):
    """What a code point is to a pattern; it keeps the first that it was asked for."""

    def __init__(self, split: Pattern) -> None:
        super().__init__(dict.fromkeys(WHITE_SPACE, _SPACE))
        self._letter, self._number = in_ranges(split.letters), in_ranges(split.numbers)

    def __missing__(self, point: str) -> int:
        code = ord(point)
        kind = _LETTER if self._letter(code) else _NUMBER if self._number(code) else _OTHER
        if len(self) < 1 << 14:
            self[point] = kind
        return kind


def _pattern(split: Pattern) -> Callable[[str], list[str]]:
    kinds = _KindsOf(split)
    if split.name == "gpt2":
        return lambda word: _gpt2(word, kinds)
    if split.name == "clip":
        return lambda word: _clip(word, kinds)
    return lambda word: _cl100k(word, kinds, split.digits)


def _run(word: str, start: int, kinds: _KindsOf, most: int = sys.maxsize) -> int:
    """Where the run of code points of one kind ends that begins at `start`, of at most so many."""
    kind, end, stop = kinds[word[start]], start + 1, min(len(word), start + most)
    while end < stop and kinds[word[end]] == kind:
        end += 1
    return end


def _contraction(word: str, start: int) -> int:
    """How long one of 's, 't, 're, 've, 'm, 'll and 'd is that stands there; 0 if none does."""
    if word[start + 1 : start + 2] in ("s", "t", "m", "d"):
        return 2
    return 3 if word[start + 1 : start + 3] in ("re", "ve", "ll") else 0


def _space_end(word: str, start: int, end: int) -> int:
    """Where a run of white space is cut: before its last one, which the next word begins with, unless it is alone."""
    return end if end == len(word) or end == start + 1 else end - 1


def _gpt2(word: str, kinds: _KindsOf) -> list[str]:
    """'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"""
    made, start, size = [], 0, len(word)
    while start < size:
        first = word[start]
        length = _contraction(word, start) if first == "'" else 0
        body = start + 1 if first == " " else start
        if length:
            end = start + length
        elif body < size and kinds[word[body]] != _SPACE:
            end = _run(word, body, kinds)
        else:
            end = _space_end(word, start, _run(word, start, kinds))
        made.append(word[start:end])
        start = end
    return made


def _clip(word: str, kinds: _KindsOf) -> list[str]:
    """'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+, without what is between"""
    made, start = [], 0
    while start < len(word):
        kind = kinds[word[start]]
        length = _contraction(word, start) if word[start] == "'" else 0
        end = start + length if length else start + 1 if kind == _NUMBER else _run(word, start, kinds)
        if kind != _SPACE:
            made.append(word[start:end])
        start = end
    return made


def _cl100k(word: str, kinds: _KindsOf, digits: int) -> list[str]:
    """(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|
    \\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"""
    made, start, size = [], 0, len(word)
    while start < size:
        first = word[start]
        kind = kinds[first]
        # The long s is an s in any case.
        length = _contraction(word[start : start + 3].lower().replace("\u017f", "s"), 0) if first == "'" else 0
        body = start + 1 if first == " " else start
        if length:
            end = start + length
        elif kind == _LETTER:
            end = _run(word, start, kinds)
        elif kind != _NUMBER and first not in "\r\n" and start + 1 < size and kinds[word[start + 1]] == _LETTER:
            end = _run(word, start + 1, kinds)
        elif kind == _NUMBER:
            end = _run(word, start, kinds, digits)
        elif body < size and kinds[word[body]] == _OTHER:
            end = _run(word, body, kinds)
            while end < size and word[end] in "\r\n":
                end += 1
        else:
            end = _run(word, start, kinds)
            line_end = max(word.rfind("\n", start, end), word.rfind("\r", start, end)) + 1
            end = line_end or _space_end(word, start, end)
        made.append(word[start:end])
        start = end
    return made


# --- classifier.json ---


def split_documents(splits: Iterable[Split]) -> list[dict[str, Any]]:
    """The splits as they stand in classifier.json.

    Example:
        >>> split_documents([SplitAt((" ",), "removed"), PrependTo("_")])
        [{'at': [' '], 'how': 'removed'}, {'prepend': '_'}]
    """
    return [_document(split) for split in splits]


def _document(split: Split) -> dict[str, Any]:
    match split:
        case SplitAt(ranges, how):
            return {"at": list(ranges), "how": how}
        case SplitAtText(text, how):
            return {"at_text": text, "how": how}
        case Pattern(name, letters, numbers, digits):
            document = {"pattern": name, "letters": list(letters), "numbers": list(numbers)}
            return document | ({"digits": digits} if name == "cl100k" else {})
        case PrependTo(text, first):
            return {"prepend": text, **({"first": True} if first else {})}
        case Replace(what, by):
            return {"replace": what, "by": by}
        case Bytes():
            return {"bytes": True}


def splits_of(documents: Iterable[Any]) -> tuple[Split, ...]:
    """Splits as they stand in classifier.json.

    Raises:
        InputError: one is no split.

    Example:
        >>> splits_of([{"at_text": "--", "how": "removed"}])
        (SplitAtText(text='--', how='removed'),)
    """
    return tuple(map(_split_of, documents))


def _split_of(document: Any) -> Split:
    match document:
        case {"at": list(ranges), "how": how} if len(document) == 2:
            return SplitAt(tuple(ranges), how)
        case {"at_text": text, "how": how} if len(document) == 2:
            return SplitAtText(text, how)
        case {"pattern": name, "letters": list(letters), "numbers": list(numbers)} if document.keys() <= {
            *("pattern", "letters", "numbers", "digits")
        }:
            return Pattern(name, tuple(letters), tuple(numbers), document.get("digits", 3))
        case {"prepend": text} if document.keys() <= {"prepend", "first"}:
            return PrependTo(text, document.get("first", False))
        case {"replace": what, "by": by} if len(document) == 2:
            return Replace(what, by)
        case {"bytes": True} if len(document) == 1:
            return Bytes()
    raise InputError(f"{shown(document)} is no split.", "docs/format.md lists the splits.")
