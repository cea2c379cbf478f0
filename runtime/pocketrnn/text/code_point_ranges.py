"""Sets of code points as ranges: a range is a string of one code point, or of its first and its last code point."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text.value_checks import check_string

__all__ = [
    "check_ranges",
    "complement_point_ranges",
    "find_ranges",
    "list_first_and_last_points",
    "make_range_test",
    "make_ranges_from_points",
    "merge_ranges",
]

# word_characters has 770 ranges.
_MOST_RANGES: Final = 4096


def check_ranges(ranges: Any, value_name: str) -> None:
    """Check that a value is a tuple of ranges. A range is a string of one code point, or of its first and its last.

    Args:
        value_name: the name of the value, with which messages begin.

    Raises:
        InputError: the value is not a tuple of 1 to 4,096 ranges, a range has another type or length, a range ends
            before it begins, or a range holds half of a surrogate pair.
    """
    if not isinstance(ranges, tuple) or not 1 <= len(ranges) <= _MOST_RANGES:
        raise InputError(
            f"{value_name} is {short_repr(ranges)}, but it must be a tuple of 1 to {_MOST_RANGES:,} ranges.",
            "Write a range as its first and its last character, such as 'az', or as a single character.",
        )
    for some in ranges:
        check_string(some, "A range", 1, 2)
        if some[0] > some[-1]:
            raise InputError(
                f"{value_name} has the range {some!r}, which ends before it begins: {some[1]!r} comes before "
                f"{some[0]!r}.",
                f"Write {some[::-1]!r}.",
            )


def make_range_test(ranges: Iterable[str]) -> Callable[[int], bool]:
    """Make a function that returns whether a code point is in one of the ranges."""
    merged = merge_ranges(list_first_and_last_points(ranges))
    starts, ends = [start for start, _ in merged], [end for _, end in merged]

    def is_inside(code: int) -> bool:
        index = bisect_right(starts, code) - 1
        return index >= 0 and code <= ends[index]

    return is_inside


def list_first_and_last_points(ranges: Iterable[str]) -> list[tuple[int, int]]:
    """List the first and the last code point of each range."""
    return [(ord(some[0]), ord(some[-1])) for some in ranges]


def merge_ranges(points: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sort ranges, given by their first and last code points, and join those that overlap or touch."""
    made: list[tuple[int, int]] = []
    for start, end in sorted(points):
        if made and start <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(made[-1][1], end))
        else:
            made.append((start, end))
    return made


def complement_point_ranges(points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges of all code points outside the given ranges, which must be sorted and must not touch."""
    ends = zip([-1, *(end for _, end in points)], [*(start for start, _ in points), sys.maxunicode + 1], strict=True)
    return [(before + 1, after - 1) for before, after in ends if before + 1 < after]


def make_ranges_from_points(points: Iterable[tuple[int, int]]) -> tuple[str, ...]:
    """Make ranges from their first and last code points. No range begins or ends with a surrogate."""
    made = []
    for start, end in points:
        first, last = 0xE000 if 0xD800 <= start <= 0xDFFF else start, 0xD7FF if 0xD800 <= end <= 0xDFFF else end
        if first <= last:
            made.append(chr(first) if first == last else chr(first) + chr(last))
    return tuple(made)


def find_ranges(belongs: Callable[[str], bool], codes: Iterable[int]) -> tuple[str, ...]:
    """Find the ranges of the code points for which `belongs` is true. No range begins or ends with a surrogate."""
    found: list[list[int]] = []
    for code in codes:
        if not 0xD800 <= code <= 0xDFFF and belongs(chr(code)):
            if found and found[-1][1] in (code - 1, 0xD7FF if code == 0xE000 else -1):
                found[-1][1] = code
            else:
                found.append([code, code])
    return make_ranges_from_points((start, end) for start, end in found)
