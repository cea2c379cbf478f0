"""The splits that cut a text into words, which a subword model cuts further.

All splits are data and include the Unicode sets that they need. There are no regular expressions: patterns are given as
runs of code points (`SplitAtRuns`), or as one of the patterns that many tokenizers share, which are code
(`subword_patterns.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text.cleaning_steps import Replace, check_ranges, check_string, in_ranges, list_as_tuple
from pocketrnn.text.subword_patterns import Pattern, pattern_document, pattern_function, pattern_of
from pocketrnn.text.subword_steps import Bytes, subword_steps_function

__all__ = [
    "LONGEST_RUN",
    "Pattern",
    "PrependTo",
    "Run",
    "RunPart",
    "Split",
    "SplitAt",
    "SplitAtRuns",
    "SplitAtText",
    "check_splits",
    "split_documents",
    "split_function",
    "splits_of",
]

How = Literal["removed", "isolated", "with_previous", "with_next", "runs"]

_HOW: Final = ("removed", "isolated", "with_previous", "with_next", "runs")
_MOST_SPLITS: Final = 64
_MOST_RUNS: Final = 16
_MOST_PARTS: Final = 31
LONGEST_RUN: Final = 64
# A lone surrogate, which a text cannot hold when it is cut.
_CUT: Final = "\ud800"
_RUN_MEMBERS: Final = {"ranges", "before", "least", "most", "ends_at", "not_before", "then"}


@dataclass(frozen=True)
class SplitAt:
    """Cut a word at the code points of `ranges`.

    Attributes:
        ranges: as in `Keep`.
        how: `removed`: each is dropped; `isolated`: each is a word; `with_previous`, `with_next`: each ends or begins a
            word; `runs`: the longest runs of them, and of others, are words.

    Raises:
        InputError: a range is not valid, or `how` is unknown.

    Example:
        >>> split_function(SplitAt(("09",), "isolated"))(["ab12"])
        ['ab', '1', '2']
    """

    ranges: tuple[str, ...]
    how: How

    def __post_init__(self) -> None:
        check_ranges(self.ranges, "Where a word is cut")
        _check_how(self.how)


@dataclass(frozen=True)
class SplitAtText:
    """Cut a word at every occurrence of `text`, as `SplitAt` does at code points.

    Raises:
        InputError: `text` is not a string of 1 to 256 code points, or `how` is unknown.

    Example:
        >>> split_function(SplitAtText("--", "isolated"))(["a--b"])
        ['a', '--', 'b']
    """

    text: str
    how: How

    def __post_init__(self) -> None:
        check_string(self.text, "The text that a word is cut at", 1)
        _check_how(self.how)


@dataclass(frozen=True)
class RunPart:
    """A further part of a `Run`: as many code points of `ranges` as there are, at most `most`.

    Attributes:
        ranges: as in `Keep`.
        least: the fewest of them, from 0.
        most: the most of them; None for no limit.

    Raises:
        InputError: a range is not valid, or a number is out of its range.
    """

    ranges: tuple[str, ...]
    least: int = 1
    most: int | None = 1

    def __post_init__(self) -> None:
        check_ranges(self.ranges, "The set of a part of a run")
        _check_count(self.least, self.most, 0)


@dataclass(frozen=True)
class Run:
    """A run that `SplitAtRuns` searches: optionally one code point of `before`, then as many of `ranges` as there are.

    Attributes:
        ranges: as in `Keep`.
        before: ranges, or empty.
        least: the fewest code points of `ranges`, from 1.
        most: the most of them; None for no limit.
        ends_at: ranges, or empty: the run ends after its last code point of these; without one it is not a run.
        not_before: ranges, or empty: if one of these follows, the run's last code point is left out.
        then: the parts that must follow, in order.

    Raises:
        InputError: a range is not valid, or a number is out of its range.

    Example:
        >>> tag = Run(("<",), most=1, then=(RunPart(("az",), 1, None), RunPart((">",))))
        >>> split_function(SplitAtRuns((tag,), "isolated"))(["a<br>b<"])
        ['a', '<br>', 'b<']
    """

    ranges: tuple[str, ...]
    before: tuple[str, ...] = ()
    least: int = 1
    most: int | None = None
    ends_at: tuple[str, ...] = ()
    not_before: tuple[str, ...] = ()
    then: tuple[RunPart, ...] = ()

    def __post_init__(self) -> None:
        check_ranges(self.ranges, "The set of a run")
        for ranges in filter(None, (self.before, self.ends_at, self.not_before)):
            check_ranges(ranges, "The set beside a run")
        _check_count(self.least, self.most, 1)
        if not isinstance(self.then, tuple) or not all(isinstance(part, RunPart) for part in self.then):
            raise InputError(f"then is {short_repr(self.then)}.", "Make it of Part.")
        if len(self.then) > _MOST_PARTS:
            raise InputError(f"A run goes on with {len(self.then)} parts.", f"Use at most {_MOST_PARTS}.")

    @property
    def sets(self) -> tuple[tuple[str, ...], ...]:
        """All ranges of the run."""
        return (self.ranges, self.before, self.ends_at, self.not_before, *(part.ranges for part in self.then))


def _check_count(least: Any, most: Any, fewest: int) -> None:
    if type(least) is not int or not fewest <= least <= LONGEST_RUN:
        raise InputError(f"least is {short_repr(least)}.", f"Use {fewest} to {LONGEST_RUN}.")
    if most is not None and (type(most) is not int or not max(least, 1) <= most <= LONGEST_RUN):
        raise InputError(f"most is {short_repr(most)}.", f"Use {max(least, 1)} to {LONGEST_RUN}, or none.")


@dataclass(frozen=True)
class SplitAtRuns:
    """Cut a word at runs, searched from the left; at each position the first of `runs` that matches counts.

    Attributes:
        runs: the runs to search.
        how: as in `SplitAt`, for the runs that are found.
        inverted: whether `how` is for the text between the runs instead.

    Raises:
        InputError: `runs` is not a tuple of runs, or has too many; or `how` is unknown.

    Example:
        >>> split_function(SplitAtRuns((Run(("09",), most=3),), "isolated"))(["ab1234"])
        ['ab', '123', '4']
        >>> split_function(SplitAtRuns((Run(("az",), (" ",)),), "isolated"))(["ab cd 1"])
        ['ab', ' cd', ' 1']
    """

    runs: tuple[Run, ...]
    how: How
    inverted: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.runs, tuple) or not all(isinstance(run, Run) for run in self.runs):
            raise InputError(f"runs is {short_repr(self.runs)}.", "Make them of Run.")
        if not 1 <= len(self.runs) <= _MOST_RUNS:
            raise InputError(f"A word is cut at {len(self.runs)} kinds of runs.", f"Use 1 to {_MOST_RUNS}.")
        _check_how(self.how)
        if not isinstance(self.inverted, bool):
            raise InputError(f"inverted is {short_repr(self.inverted)}.", "Use true or false.")


@dataclass(frozen=True)
class PrependTo:
    """Put `text` before every word that does not begin with it; with `first`, only before the text's first word.

    Raises:
        InputError: `text` is not a string of 1 to 256 code points, or `first` is not a boolean.

    Example:
        >>> split_function(PrependTo("_"))(["a", "_b"])
        ['_a', '_b']
    """

    text: str
    first: bool = False

    def __post_init__(self) -> None:
        check_string(self.text, "The text that is put before a word", 1)
        if not isinstance(self.first, bool):
            raise InputError(f"first is {short_repr(self.first)}.", "Use true or false.")


Split = SplitAt | SplitAtText | SplitAtRuns | Pattern | PrependTo | Replace | Bytes
_KINDS: Final = (SplitAt, SplitAtText, SplitAtRuns, Pattern, PrependTo, Replace, Bytes)
Cut = Callable[[list[str]], list[str]]


def check_splits(splits: Sequence[Split]) -> None:
    """Check splits: their types, their number, their order, and how much they can make a text grow.

    Raises:
        InputError: the splits are refused.
    """
    if not isinstance(splits, tuple) or not all(isinstance(split, _KINDS) for split in splits):
        raise InputError(
            f"splits is {short_repr(splits)}.", "Make them of the classes in pocketrnn.text.subword_splits."
        )
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
    """Make a function that cuts a list of words further; words of the result are not empty."""
    match split:
        case SplitAt(_, "runs"):
            inside = in_ranges(split.ranges)
            return _cut_each(lambda word: _find_runs(word, inside))
        case SplitAt():
            return _cut_at_ranges(split)
        case SplitAtText(text, how):
            return _cut_each(lambda word: list(_join_parts(_split_by_text(word, text), how)))
        case SplitAtRuns():
            return _cut_at_runs(split)
        case Pattern():
            return _cut_each(pattern_function(split))
        case PrependTo(before, first):
            return lambda words: [
                word if word.startswith(before) or (first and i) else before + word for i, word in enumerate(words)
            ]
        case Replace(what, by):
            return lambda words: [made for word in words if (made := word.replace(what, by))]
        case Bytes():
            function = subword_steps_function((split,))
            return lambda words: list(map(function, words))


def _check_how(how: Any) -> None:
    if how not in _HOW:
        raise InputError(f"A word is cut {short_repr(how)}.", f"Use one of: {', '.join(_HOW)}.")


def _cut_each(function: Callable[[str], Iterable[str]]) -> Cut:
    return lambda words: [part for word in words for part in function(word) if part]


class _CutTable(dict[int, int | str]):
    """A table for `str.translate` that marks where to cut; it caches the first code points that are looked up."""

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


def _cut_at_ranges(split: SplitAt) -> Cut:
    table = _CutTable(split)
    return lambda words: [part for part in _CUT.join(words).translate(table).split(_CUT) if part]


def _find_runs(word: str, inside: Callable[[int], bool]) -> Iterator[str]:
    start, kind = 0, inside(ord(word[0]))
    for index, point in enumerate(word):
        if inside(ord(point)) != kind:
            yield word[start:index]
            start, kind = index, not kind
    yield word[start:]


def _split_by_text(word: str, text: str) -> Iterator[tuple[str, bool]]:
    """Split a word by a text; yield each part, and whether it is that text."""
    for i, part in enumerate(word.split(text)):
        if i:
            yield text, True
        if part:
            yield part, False


def _join_parts(parts: Iterable[tuple[str, bool]], how: How) -> Iterable[str]:
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


# --- Runs ---


class _SetBits(dict[str, int]):
    """A dict with the sets that hold a code point, as bits; it caches the first code points that are looked up."""

    def __init__(self, sets: Iterable[tuple[str, ...]]) -> None:
        super().__init__()
        self._inside = [in_ranges(ranges) for ranges in sets]

    def __missing__(self, point: str) -> int:
        code = ord(point)
        bits = sum(1 << i for i, inside in enumerate(self._inside) if inside(code))
        if len(self) < 1 << 14:
            self[point] = bits
        return bits


@dataclass(frozen=True)
class _RunBits:
    """A run with its sets as bits."""

    inside: int
    before: int
    ends_at: int
    not_before: int
    least: int
    most: int
    then: tuple[tuple[int, int, int], ...]


# A failed match of a run: the number of the part without a limit before the failure, and that part's start and end. A
# match that begins within the part fails at the same point, so that a long part is read only once.
_Vain = tuple[int, int, int]
_NOWHERE: Final[_Vain] = (0, 0, 0)


def _set_run_end(word: str, start: int, bits: _SetBits, inside: int, most: int) -> int:
    end, stop = start, min(len(word), start + most)
    while end < stop and bits[word[end]] & inside:
        end += 1
    return end


def _find_run_end(word: str, start: int, bits: _SetBits, run: _RunBits, vain: _Vain) -> tuple[int, _Vain]:
    """Find the end of a run whose code points of `ranges` begin at `start`; 0 if the run does not match there."""
    if vain[0] == 0 and vain[1] <= start < vain[2]:
        return 0, vain
    end = stop = _set_run_end(word, start, bits, run.inside, run.most)
    if run.ends_at:
        while end > start and not bits[word[end - 1]] & run.ends_at:
            end -= 1
    if run.not_before and end < len(word) and bits[word[end]] & run.not_before:
        end -= 1
    if end - start < run.least:
        return 0, (0, start, stop) if run.ends_at and run.most == sys.maxsize and end == start else vain
    last, last_from, has_no_limit = 0, start, run.most == sys.maxsize
    for number, (inside, least, most) in enumerate(run.then, 1):
        if vain[0] == number and vain[1] <= end < vain[2]:
            return 0, vain
        begin, end = end, _set_run_end(word, end, bits, inside, most)
        if end - begin < least:
            return 0, (last, last_from, begin) if has_no_limit else vain
        if end > begin:
            last, last_from, has_no_limit = number, begin, most == sys.maxsize
    return end, vain


def _cut_at_runs(split: SplitAtRuns) -> Cut:
    sets = list({ranges: None for run in split.runs for ranges in run.sets if ranges})
    bits = _SetBits(sets)
    of = {(): 0, **{ranges: 1 << i for i, ranges in enumerate(sets)}}
    runs = [
        _RunBits(
            of[run.ranges], of[run.before], of[run.ends_at], of[run.not_before], run.least, run.most or sys.maxsize,
            tuple((of[part.ranges], part.least, part.most or sys.maxsize) for part in run.then),
        )
        for run in split.runs
    ]  # fmt: skip

    def find_end(word: str, start: int, vain: list[_Vain]) -> int:
        """Find the end of the first run that matches at `start`; 0 if none does."""
        here = bits[word[start]]
        for i, run in enumerate(runs):
            for skipped in (1, 0):
                if here & (run.before if skipped else run.inside):
                    end, vain[i] = _find_run_end(word, start + skipped, bits, run, vain[i])
                    if end:
                        return end
        return 0

    def parts(word: str) -> Iterator[tuple[str, bool]]:
        at = done = 0
        vain = [_NOWHERE] * len(runs)
        while at < len(word):
            end = find_end(word, at, vain)
            if not end:
                at += 1
                continue
            if done < at:
                yield word[done:at], split.inverted
            yield word[at:end], not split.inverted
            at = done = end
        if done < len(word):
            yield word[done:], split.inverted

    return _cut_each(lambda word: _join_parts(parts(word), split.how))


# --- classifier.json ---


def split_documents(splits: Iterable[Split]) -> list[dict[str, Any]]:
    """The splits as documents for classifier.json.

    Example:
        >>> split_documents([SplitAt((" ",), "removed"), PrependTo("_")])
        [{'at': [' '], 'how': 'removed'}, {'prepend': '_'}]
    """
    return [_split_document(split) for split in splits]


def _split_document(split: Split) -> dict[str, Any]:
    match split:
        case SplitAt(ranges, how):
            return {"at": list(ranges), "how": how}
        case SplitAtText(text, how):
            return {"at_text": text, "how": how}
        case SplitAtRuns(runs, how, inverted):
            return {
                "at_runs": [_run_document(run) for run in runs], "how": how, **({"inverted": True} if inverted else {})
            }  # fmt: skip
        case Pattern():
            return pattern_document(split)
        case PrependTo(text, first):
            return {"prepend": text, **({"first": True} if first else {})}
        case Replace(what, by):
            return {"replace": what, "by": by}
        case Bytes():
            return {"bytes": True}


def _run_document(run: Run) -> dict[str, Any]:
    more = {
        "before": list(run.before), "least": run.least if run.least > 1 else None, "most": run.most,
        "ends_at": list(run.ends_at), "not_before": list(run.not_before), "then": list(map(_part_document, run.then)),
    }  # fmt: skip
    return {"ranges": list(run.ranges), **{name: value for name, value in more.items() if value}}


def _part_document(part: RunPart) -> dict[str, Any]:
    most = {} if part.most is None else {"most": part.most}
    return {"ranges": list(part.ranges), "least": part.least, **most}


def splits_of(documents: Iterable[Any]) -> tuple[Split, ...]:
    """Build splits from documents of classifier.json.

    Raises:
        InputError: a document is not a split.

    Example:
        >>> splits_of([{"at_text": "--", "how": "removed"}])
        (SplitAtText(text='--', how='removed'),)
    """
    return tuple(map(_split_of_document, documents))


def _part_of_document(document: Any) -> RunPart:
    match document:
        case {"ranges": list(ranges), "least": least} if document.keys() <= {"ranges", "least", "most"}:
            return RunPart(tuple(ranges), least, document.get("most"))
    raise InputError(f"{short_repr(document)} is not part of a run.", "docs/format.md lists the splits.")


def _run_of_document(document: Any) -> Run:
    match document:
        case {"ranges": list(ranges)} if document.keys() <= _RUN_MEMBERS:
            before, ends_at, not_before = (
                list_as_tuple(document.get(n, [])) for n in ("before", "ends_at", "not_before")
            )
            least, most = document.get("least", 1), document.get("most")
            then = tuple(map(_part_of_document, document.get("then", [])))
            return Run(tuple(ranges), before, least, most, ends_at, not_before, then)
    raise InputError(f"{short_repr(document)} is not a run.", "docs/format.md lists the splits.")


def _split_of_document(document: Any) -> Split:
    match document:
        case {"at": list(ranges), "how": how} if len(document) == 2:
            return SplitAt(tuple(ranges), how)
        case {"at_text": text, "how": how} if len(document) == 2:
            return SplitAtText(text, how)
        case {"at_runs": list(runs), "how": how} if document.keys() <= {"at_runs", "how", "inverted"}:
            return SplitAtRuns(tuple(map(_run_of_document, runs)), how, document.get("inverted", False))
        case {"pattern": str(), "letters": list()} if (pattern := pattern_of(document)) is not None:
            return pattern
        case {"prepend": text} if document.keys() <= {"prepend", "first"}:
            return PrependTo(text, document.get("first", False))
        case {"replace": what, "by": by} if len(document) == 2:
            return Replace(what, by)
        case {"bytes": True} if len(document) == 1:
            return Bytes()
    raise InputError(f"{short_repr(document)} is not a split.", "docs/format.md lists the splits.")
