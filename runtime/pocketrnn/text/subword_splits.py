"""The splits that cut a text into words, which a subword model cuts further.

All splits are data and include the Unicode sets that they need. There are no regular expressions: patterns are given as
runs of code points (`SplitAtRuns`), or as one of the patterns that many tokenizers share, which are code
(`subword_patterns.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text.cleaning_steps import Replace
from pocketrnn.text.code_point_cache import make_code_point_map
from pocketrnn.text.code_point_patterns import (
    Run,
    build_run_from_document,
    check_runs,
    make_run_document,
    make_run_search,
)
from pocketrnn.text.code_point_ranges import check_ranges, make_range_test
from pocketrnn.text.subword_patterns import (
    Pattern,
    build_pattern_from_document,
    make_pattern_document,
    make_pattern_function,
)
from pocketrnn.text.subword_steps import Bytes, make_subword_steps_function
from pocketrnn.text.value_checks import check_flags, check_string

__all__ = [
    "Pattern",
    "PrependTo",
    "Split",
    "SplitAt",
    "SplitAtRuns",
    "SplitAtText",
    "build_splits_from_documents",
    "check_splits",
    "make_split_documents",
    "make_split_function",
]

How = Literal["removed", "isolated", "with_previous", "with_next", "runs"]

_HOW: Final = ("removed", "isolated", "with_previous", "with_next", "runs")
_MOST_SPLITS: Final = 64
# A lone surrogate, which a text cannot hold when it is cut.
_CUT: Final = "\ud800"


@dataclass(frozen=True)
class SplitAt:
    """Cut a word at the code points of `ranges`.

    Attributes:
        ranges: each one code point, or two: the first and the last of a range.
        how: what becomes of each code point of `ranges`. `removed`: it is dropped. `isolated`: it is a word.
            `with_previous`: it ends a word. `with_next`: it begins a word. `runs`: the longest runs of code points of
            `ranges` are words, and so are the longest runs of others.

    Raises:
        InputError: a range is not valid, or `how` is unknown.
    """

    ranges: tuple[str, ...]
    how: How

    def __post_init__(self) -> None:
        check_ranges(self.ranges, "Where a word is cut")
        _check_how(self.how)


@dataclass(frozen=True)
class SplitAtText:
    """Cut a word at every occurrence of `text`. `how` is `removed`, `isolated`, `with_previous`, `with_next` or `runs`;
    `SplitAt` explains them.

    Raises:
        InputError: `text` is not a string of 1 to 256 code points, or `how` is unknown.
    """

    text: str
    how: How

    def __post_init__(self) -> None:
        check_string(self.text, "The text that a word is cut at", 1)
        _check_how(self.how)


@dataclass(frozen=True)
class SplitAtRuns:
    """Cut a word at runs, from left to right. At each position, the first of `runs` that matches is used.

    Attributes:
        runs: 1 to 16 runs.
        how: what becomes of each run that is found; `SplitAt` explains the values.
        inverted: whether `how` applies to the text between the runs, and not to the runs.

    Raises:
        InputError: `runs` is not a tuple of runs, or has too many; or `how` is unknown.
    """

    runs: tuple[Run, ...]
    how: How
    inverted: bool = False

    def __post_init__(self) -> None:
        check_runs(self.runs)
        _check_how(self.how)
        check_flags(self, "inverted")


@dataclass(frozen=True)
class PrependTo:
    """Put `text` before every word that does not already begin with `text`; with `first`, only before the first word.

    Raises:
        InputError: `text` is not a string of 1 to 256 code points, or `first` is not a boolean.
    """

    text: str
    first: bool = False

    def __post_init__(self) -> None:
        check_string(self.text, "The text that is put before a word", 1)
        check_flags(self, "first")


Split = SplitAt | SplitAtText | SplitAtRuns | Pattern | PrependTo | Replace | Bytes
_KINDS: Final = (SplitAt, SplitAtText, SplitAtRuns, Pattern, PrependTo, Replace, Bytes)
Cut = Callable[[list[str]], list[str]]
# A part of a word, and whether it is a match of the split.
_PartAndIsMatch = tuple[str, bool]


def check_splits(splits: Sequence[Split]) -> None:
    """Check splits: their types, their number and order, and that they make a text at most 64 times as long. Raise an
    InputError if they are refused."""
    if not isinstance(splits, tuple) or not all(isinstance(split, _KINDS) for split in splits):
        raise InputError(
            f"`splits` is {short_repr(splits)}, but it must be a tuple of splits.",
            "Make them with the classes in pocketrnn.text.subword_splits.",
        )
    if len(splits) > _MOST_SPLITS:
        raise InputError(f"There are {len(splits):,} splits, but at most {_MOST_SPLITS} are allowed.", "Give fewer.")
    if sum(isinstance(split, Bytes) for split in splits) > 1:
        raise InputError("`splits` converts the text to bytes more than once.", "Give `Bytes` once.")
    cutting = [not isinstance(split, PrependTo | Replace) for split in splits]
    if any(isinstance(split, PrependTo) and split.first and any(cutting[:i]) for i, split in enumerate(splits)):
        raise InputError(
            "`splits` has a split with `first`, which puts text before the first word, after a split that cuts the "
            "text.",
            "Move the split with `first` before all splits that cut the text.",
        )
    grown = 1
    for split in splits:
        if isinstance(split, Replace):
            grown *= max(1, len(split.by))
    if grown > 64:
        raise InputError("The splits can make a text grow more than 64 times in length.", "Give shorter replacements.")


def make_split_function(split: Split) -> Cut:
    """Make a function that cuts each word of a list, and returns the list of the parts that are not empty."""
    match split:
        case SplitAt(_, "runs"):
            inside = make_range_test(split.ranges)
            return _make_cut_of_each_word(lambda word: _split_into_runs(word, inside))
        case SplitAt():
            return _make_cut_at_ranges(split)
        case SplitAtText(text, how):
            return _make_cut_of_each_word(
                lambda word: list(_drop_or_join_parts(_split_by_text_and_flag_matches(word, text), how))
            )
        case SplitAtRuns():
            return _make_cut_at_runs(split)
        case Pattern():
            return _make_cut_of_each_word(make_pattern_function(split))
        case PrependTo(before, first):
            return lambda words: [
                word if word.startswith(before) or (first and i) else before + word for i, word in enumerate(words)
            ]
        case Replace(what, by):
            return lambda words: [made for word in words if (made := word.replace(what, by))]
        case Bytes():
            function = make_subword_steps_function((split,))
            return lambda words: list(map(function, words))


def _check_how(how: Any) -> None:
    if how not in _HOW:
        raise InputError(
            f"`how` of a split is {short_repr(how)}, which is not a way to cut words.",
            f"Give one of these: {', '.join(_HOW)}.",
        )


def _make_cut_of_each_word(function: Callable[[str], Iterable[str]]) -> Cut:
    """Make a function that cuts each word of a list by `function`. Empty parts are dropped."""
    return lambda words: [part for word in words for part in function(word) if part]


def _make_cut_at_ranges(split: SplitAt) -> Cut:
    """Make a function that cuts each word of a list at the code points of `split`."""
    inside = make_range_test(split.ranges)
    before = "" if split.how == "with_previous" else _CUT
    after = "" if split.how == "with_next" else _CUT

    def insert_cut_marks(code: int) -> int | str:
        if not inside(code):
            return code
        return _CUT if split.how == "removed" else f"{before}{chr(code)}{after}"

    mark_text = make_code_point_map(insert_cut_marks)
    return lambda words: [part for part in mark_text(_CUT.join(words)).split(_CUT) if part]


def _split_into_runs(word: str, inside: Callable[[int], bool]) -> Iterator[str]:
    """Split a word into the longest runs of code points that are all inside a set, or all outside."""
    start, kind = 0, inside(ord(word[0]))
    for index, point in enumerate(word):
        if inside(ord(point)) != kind:
            yield word[start:index]
            start, kind = index, not kind
    yield word[start:]


def _split_by_text_and_flag_matches(word: str, text: str) -> Iterator[_PartAndIsMatch]:
    """Split a word at each occurrence of `text`. Yield each part, and whether it is an occurrence."""
    for i, part in enumerate(word.split(text)):
        if i:
            yield text, True
        if part:
            yield part, False


def _drop_or_join_parts(parts_with_match_flags: Iterable[_PartAndIsMatch], how: How) -> Iterable[str]:
    """Drop, keep or join the parts of a word as `how` says. Each part is a pair: a text, and whether the split matches
    it."""
    if how in ("removed", "isolated"):
        return [part for part, found in parts_with_match_flags if how == "isolated" or not found]
    backwards = how == "with_next"
    made: list[str] = []
    before = False
    for part, found in reversed(list(parts_with_match_flags)) if backwards else parts_with_match_flags:
        joins = found == before if how == "runs" else found and not before
        if joins and made:
            made[-1] = part + made[-1] if backwards else made[-1] + part
        else:
            made.append(part)
        before = found
    return reversed(made) if backwards else made


def _make_cut_at_runs(split: SplitAtRuns) -> Cut:
    """Make a function that cuts each word of a list at the runs of `split`."""
    find = make_run_search(split.runs)

    def split_and_flag_matches(word: str) -> Iterator[_PartAndIsMatch]:
        done = 0
        for start, end in find(word):
            if done < start:
                yield word[done:start], split.inverted
            yield word[start:end], not split.inverted
            done = end
        if done < len(word):
            yield word[done:], split.inverted

    return _make_cut_of_each_word(lambda word: _drop_or_join_parts(split_and_flag_matches(word), split.how))


# --- classifier.json ---


def make_split_documents(splits: Iterable[Split]) -> list[dict[str, Any]]:
    """Convert the splits to documents for classifier.json."""
    return [_make_split_document(split) for split in splits]


def _make_split_document(split: Split) -> dict[str, Any]:
    match split:
        case SplitAt(ranges, how):
            return {"at": list(ranges), "how": how}
        case SplitAtText(text, how):
            return {"at_text": text, "how": how}
        case SplitAtRuns(runs, how, inverted):
            return {
                "at_runs": list(map(make_run_document, runs)), "how": how, **({"inverted": True} if inverted else {})
            }  # fmt: skip
        case Pattern():
            return make_pattern_document(split)
        case PrependTo(text, first):
            return {"prepend": text, **({"first": True} if first else {})}
        case Replace(what, by):
            return {"replace": what, "by": by}
        case Bytes():
            return {"bytes": True}


def build_splits_from_documents(documents: Iterable[Any]) -> tuple[Split, ...]:
    """Build splits from documents of classifier.json. Raise an InputError if a document is not a split."""
    return tuple(map(_build_split_of_document, documents))


def _build_split_of_document(document: Any) -> Split:
    match document:
        case {"at": list(ranges), "how": how} if len(document) == 2:
            return SplitAt(tuple(ranges), how)
        case {"at_text": text, "how": how} if len(document) == 2:
            return SplitAtText(text, how)
        case {"at_runs": list(runs), "how": how} if document.keys() <= {"at_runs", "how", "inverted"}:
            return SplitAtRuns(tuple(map(build_run_from_document, runs)), how, document.get("inverted", False))
        case {"pattern": str(), "letters": list()} if (pattern := build_pattern_from_document(document)) is not None:
            return pattern
        case {"prepend": text} if document.keys() <= {"prepend", "first"}:
            return PrependTo(text, document.get("first", False))
        case {"replace": what, "by": by} if len(document) == 2:
            return Replace(what, by)
        case {"bytes": True} if len(document) == 1:
            return Bytes()
    raise InputError(
        f"The split {short_repr(document)} has missing or unknown members.",
        "Give the members that docs/format.md lists for a split.",
    )
