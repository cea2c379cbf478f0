"""Find runs of code points, which are simple patterns as data. Steps replace them, and splits cut words at them.

A run is sets of code points, one after the other, each with the fewest and the most that it takes. Each takes as many
as there are, and is not tried with fewer if the next one fails, so that a search takes linear time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text.code_point_cache import CodePointCache
from pocketrnn.text.code_point_ranges import check_ranges, make_range_test
from pocketrnn.text.value_checks import convert_list_to_tuple

__all__ = [
    "LONGEST_RUN",
    "Run",
    "RunPart",
    "build_run_from_document",
    "check_runs",
    "make_run_document",
    "make_run_search",
]

MOST_RUNS: Final = 16
MOST_PARTS: Final = 31
LONGEST_RUN: Final = 64
_RUN_MEMBERS: Final = {
    "ranges", "before", "least", "most", "ends_at", "not_before", "from_boundary", "to_boundary", "then",
}  # fmt: skip
_PART_MEMBERS: Final = {"ranges", "least", "most", "to_boundary"}


@dataclass(frozen=True)
class RunPart:
    """Any part of a `Run` but the first: consecutive code points of `ranges`, as many as possible up to `most`.

    Attributes:
        ranges: each one code point, or two: the first and the last of a range.
        least: the smallest number of code points, 0 or more.
        most: the largest number of code points; None for no limit.
        to_boundary: whether the part must end at a word boundary. It gives back its last code points until it does.

    Raises:
        InputError: a range is not valid, or a number is out of its range.
    """

    ranges: tuple[str, ...]
    least: int = 1
    most: int | None = 1
    to_boundary: bool = False

    def __post_init__(self) -> None:
        check_ranges(self.ranges, "The set of a part of a run")
        _check_least_and_most(self.least, self.most, 0)


@dataclass(frozen=True)
class Run:
    """A run of code points: consecutive code points of `ranges`, after an optional code point of `before`.

    Attributes:
        ranges: each one code point, or two: the first and the last of a range.
        before: ranges, or empty.
        least: the smallest number of code points of `ranges`, 1 or more.
        most: the largest number of code points of `ranges`; None for no limit.
        ends_at: ranges, or empty: the run is cut after its last code point of these ranges. If it has none of them, it
            does not match.
        not_before: ranges, or empty: if a code point of these ranges follows the run, the run's last code point is left
            out.
        then: the parts that must follow, in order.
        from_boundary: whether the run must begin at a word boundary (`\\b` of `re`).
        to_boundary: whether the code points of `ranges` must end at a word boundary. The last of them are given back
            until they do.

    Raises:
        InputError: a range is not valid, or a number is out of its range.
    """

    ranges: tuple[str, ...]
    before: tuple[str, ...] = ()
    least: int = 1
    most: int | None = None
    ends_at: tuple[str, ...] = ()
    not_before: tuple[str, ...] = ()
    then: tuple[RunPart, ...] = ()
    from_boundary: bool = False
    to_boundary: bool = False

    def __post_init__(self) -> None:
        check_ranges(self.ranges, "The set of a run")
        for ranges in filter(None, (self.before, self.ends_at, self.not_before)):
            check_ranges(ranges, "The set beside a run")
        _check_least_and_most(self.least, self.most, 1)
        if not isinstance(self.then, tuple) or not all(isinstance(part, RunPart) for part in self.then):
            raise InputError(
                f"`then` of a run is {short_repr(self.then)}, but it must be a tuple of RunPart.",
                "Give a tuple such as (RunPart(('az',)),).",
            )
        if len(self.then) > MOST_PARTS:
            raise InputError(
                f"`then` of a run has {len(self.then)} parts, but at most {MOST_PARTS} are allowed.",
                "Give fewer parts.",
            )

    @property
    def parts(self) -> tuple[RunPart, ...]:
        """All parts of the run. The first one has the code points of `ranges`."""
        return (RunPart(self.ranges, self.least, self.most, self.to_boundary), *self.then)

    @property
    def needs_word_boundaries(self) -> bool:
        """Whether the run must begin at a word boundary, or a part of the run must end at a word boundary."""
        return self.from_boundary or any(part.to_boundary for part in self.parts)

    @property
    def fewest_code_points(self) -> int:
        """The smallest number of code points that the run takes."""
        return sum(part.least for part in self.parts)

    @property
    def sets(self) -> tuple[tuple[str, ...], ...]:
        """All sets of code points that the run names, each as ranges: those of its parts, `before`, `ends_at` and
        `not_before`."""
        return (self.ranges, self.before, self.ends_at, self.not_before, *(part.ranges for part in self.then))


def _check_least_and_most(least: Any, most: Any, smallest_least: int) -> None:
    """Raise an InputError if `least` and `most`, the numbers of code points that a part of a run takes, are not valid.
    `least` must be at least `smallest_least`."""
    if type(least) is not int or not smallest_least <= least <= LONGEST_RUN:
        raise InputError(
            f"`least` of a run is {short_repr(least)}, but it must be a whole number from {smallest_least} to "
            f"{LONGEST_RUN}.",
            "Give the smallest number of characters that the run takes.",
        )
    if most is not None and (type(most) is not int or not max(least, 1) <= most <= LONGEST_RUN):
        raise InputError(
            f"`most` of a run is {short_repr(most)}, but it must be a whole number from {max(least, 1)} to "
            f"{LONGEST_RUN}.",
            "Give the largest number of characters that the run takes, or leave it out for no limit.",
        )


def check_runs(runs: Any, word_ranges: tuple[str, ...] = ()) -> None:
    """Check that `runs` is a tuple of 1 to 16 runs, and that `word_ranges` is given only if a run needs it.

    Args:
        word_ranges: the code points that words consist of; empty if no run begins or ends at a word boundary.

    Raises:
        InputError: the runs or the ranges are refused.
    """
    if not isinstance(runs, tuple) or not all(isinstance(run, Run) for run in runs):
        raise InputError(
            f"`runs` is {short_repr(runs)}, but it must be a tuple of Run.", "Give a tuple such as (Run(('az',)),)."
        )
    if not 1 <= len(runs) <= MOST_RUNS:
        raise InputError(
            f"`runs` has {len(runs)} runs, but 1 to {MOST_RUNS} are allowed.", f"Give 1 to {MOST_RUNS} runs."
        )
    if word_ranges:
        check_ranges(word_ranges, "The set of a word's code points")
    if bool(word_ranges) != any(run.needs_word_boundaries for run in runs):
        raise InputError(
            f"`word`, the characters of words, is {short_repr(word_ranges)}, but it must be given if a run begins or "
            "ends at a word boundary, and must be empty if none does.",
            "Set `word` and the run's `from_boundary` or `to_boundary` together, or neither.",
        )


# For each code point, the sets that contain it, as bits.
_SetBits = CodePointCache[str, int]


@dataclass(frozen=True)
class _RunBits:
    """A `Run` in which a bit stands for each set of code points. A part is a tuple: the bit of its set, `least`, `most`
    and `to_boundary`."""

    before: int
    ends_at: int
    not_before: int
    word: int
    from_boundary: bool
    parts: tuple[tuple[int, int, int, bool], ...]


# Where the parts of a run without a limit stood when the run failed: the number of the part, its start and its end. A
# run whose part of this number begins there fails at the same point, so that a long part is read only once.
_FailedParts = dict[int, tuple[int, int]]


def make_run_search(
    runs: tuple[Run, ...], word_ranges: tuple[str, ...] = ()
) -> Callable[[str], Iterator[tuple[int, int]]]:
    """Make a function that finds runs in a text, from left to right, and yields the start and the end of each.

    At each position, the first of `runs` that matches is taken. The search goes on after the match.

    Args:
        word_ranges: the code points that words consist of, for runs that begin or end at a word boundary.
    """
    sets = list({ranges: None for ranges in (word_ranges, *(some for run in runs for some in run.sets)) if ranges})
    tests = [make_range_test(ranges) for ranges in sets]
    bits = CodePointCache[str, int](lambda point: sum(1 << i for i, inside in enumerate(tests) if inside(ord(point))))
    bit_of = {(): 0, **{ranges: 1 << i for i, ranges in enumerate(sets)}}
    each = [
        _RunBits(
            bit_of[run.before], bit_of[run.ends_at], bit_of[run.not_before], bit_of[word_ranges], run.from_boundary,
            tuple((bit_of[part.ranges], part.least, part.most or sys.maxsize, part.to_boundary) for part in run.parts),
        )
        for run in runs
    ]  # fmt: skip
    firsts = 0
    for run in each:
        firsts |= run.before | run.parts[0][0]

    def find_first_match_end(text: str, start: int, start_bits: int, failed: list[_FailedParts]) -> int:
        """Find the end of the first run that matches at `start`; 0 if none matches."""
        for i, run in enumerate(each):
            if run.from_boundary and not _is_boundary(text, start, bits, run.word):
                continue
            for skipped, first in ((1, run.before), (0, run.parts[0][0])):
                if start_bits & first and (end := _find_run_end(text, start + skipped, bits, run, failed[i])):
                    return end
        return 0

    def find_runs(text: str) -> Iterator[tuple[int, int]]:
        at, size = 0, len(text)
        failed: list[_FailedParts] = [{} for _ in each]
        while at < size:
            here = bits[text[at]]
            end = find_first_match_end(text, at, here, failed) if here & firsts else 0
            if end:
                yield at, end
            at = end or at + 1

    return find_runs


def _find_run_end(text: str, start: int, bits: _SetBits, run: _RunBits, failed: _FailedParts) -> int:
    """Find the end of a run whose code points of `ranges` begin at `start`; 0 if the run does not match.

    Args:
        bits: for each code point, a number with the bits of the sets that contain it.
        failed: for each part of the run, the positions at which it failed. New ones are added, so that no part is tried
            at a position twice.
    """
    end = start
    read: list[tuple[int, int, int]] = []
    for number, (inside, least, most, to_boundary) in enumerate(run.parts):
        begin = end
        begun, stop = failed.get(number, (0, 0))
        if begun <= begin < stop:
            break
        end = stop = _find_set_run_end(text, begin, bits, inside, most)
        if not number:
            if run.ends_at:
                while end > begin and not bits[text[end - 1]] & run.ends_at:
                    end -= 1
            if run.not_before and begin < end < len(text) and bits[text[end]] & run.not_before:
                end -= 1
        while to_boundary and end > begin and not _is_boundary(text, end, bits, run.word):
            end -= 1
        fails = end - begin < least or (to_boundary and not _is_boundary(text, end, bits, run.word))
        if most == sys.maxsize and stop > begin:
            # A run may begin where the first part leaves something out at its end, unless it leaves out all.
            read.append((number, begin, stop if fails or end == begin else end))
        if fails:
            break
    else:
        return end
    failed.update((number, (begin, stop)) for number, begin, stop in read)
    return 0


def _is_boundary(text: str, index: int, bits: _SetBits, word_bit: int) -> bool:
    """Return whether `\\b` of `re` would match at an index if `word_bit` stood for the set of word characters."""
    before, after = index and bits[text[index - 1]] & word_bit, index < len(text) and bits[text[index]] & word_bit
    return bool(before) != bool(after)


def _find_set_run_end(text: str, start: int, bits: _SetBits, set_bit: int, most: int) -> int:
    """Find the end of the run that begins at `start`: at most `most` code points of the set whose bit is `set_bit`."""
    end, stop = start, min(len(text), start + most)
    while end < stop and bits[text[end]] & set_bit:
        end += 1
    return end


# --- classifier.json ---


def make_run_document(run: Run) -> dict[str, Any]:
    """Convert a run to a document for classifier.json."""
    more = {
        "before": list(run.before), "least": run.least if run.least > 1 else None, "most": run.most,
        "ends_at": list(run.ends_at), "not_before": list(run.not_before),
        "from_boundary": run.from_boundary, "to_boundary": run.to_boundary,
        "then": list(map(_make_part_document, run.then)),
    }  # fmt: skip
    return {"ranges": list(run.ranges), **{name: value for name, value in more.items() if value}}


def _make_part_document(part: RunPart) -> dict[str, Any]:
    more = {"most": part.most, "to_boundary": part.to_boundary}
    return {
        "ranges": list(part.ranges), "least": part.least, **{name: value for name, value in more.items() if value},
    }  # fmt: skip


def _read_flag(document: Mapping[str, Any], name: str) -> bool:
    """Return whether the JSON object has the member `name`. Raise an InputError if its value is not true."""
    if document.get(name, True) is not True:
        raise InputError(
            f"`{name}` of a run is {short_repr(document[name])}, but it can only be true.",
            "Write true, or leave it out.",
        )
    return name in document


def _build_part_of_document(document: Any) -> RunPart:
    match document:
        case {"ranges": list(ranges), "least": least} if document.keys() <= _PART_MEMBERS:
            return RunPart(tuple(ranges), least, document.get("most"), _read_flag(document, "to_boundary"))
    raise InputError(
        f"{short_repr(document)} is not a part of a run.",
        "Give an object with the members that docs/format.md lists for `then` of a run.",
    )


def build_run_from_document(document: Any) -> Run:
    """Build a run from a document of classifier.json. Raise an InputError if the document is not a run."""
    match document:
        case {"ranges": list(ranges)} if document.keys() <= _RUN_MEMBERS:
            before, ends_at, not_before = (
                convert_list_to_tuple(document.get(n, [])) for n in ("before", "ends_at", "not_before")
            )
            least, most = document.get("least", 1), document.get("most")
            then = tuple(map(_build_part_of_document, document.get("then", [])))
            flags = (_read_flag(document, name) for name in ("from_boundary", "to_boundary"))
            return Run(tuple(ranges), before, least, most, ends_at, not_before, then, *flags)
    raise InputError(
        f"{short_repr(document)} is not a run.", "Give an object with the members that docs/format.md lists for a run."
    )
