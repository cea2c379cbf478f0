"""The named sets of code points of Hugging Face's tokenizers, which `scripts/make_unicode_sets` collects."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = [
    "CLUSTERS",
    "complement_points",
    "complement_ranges",
    "complement_set",
    "range_points",
    "ranges_from_points",
    "unicode_set",
]

# The sets of a step `Table` that are for clusters, in its order.
CLUSTERS: Final = (
    *("cluster_on", "cluster_begin", "cluster_apart", "pictographs", "pictograph_extend"),
    *("consonants", "consonant_linkers", "consonant_extend"),
)


@functools.cache
def _load_sets() -> Mapping[str, tuple[str, ...]]:
    document = json.loads(Path(__file__).with_name("unicode_sets.json").read_bytes())
    return {name: tuple(ranges) for name, ranges in document.items()}


def unicode_set(name: str) -> tuple[str, ...]:
    """The ranges of a set, as in a step `Keep`.

    Example:
        >>> unicode_set("white_space")[:2]
        ('\\t\\r', ' ')
    """
    return _load_sets()[name]


def complement_set(name: str) -> tuple[str, ...]:
    """The ranges of the code points that are not in a set.

    Example:
        >>> complement_set("white_space")[:2]
        ('\\x00\\x08', '\\x0e\\x1f')
    """
    return complement_ranges(_load_sets()[name])


def complement_ranges(some: Iterable[str]) -> tuple[str, ...]:
    """The ranges of all other code points; the given ranges are sorted and do not touch.

    Example:
        >>> complement_ranges(("\\0\\t", "\\v\\U0010ffff"))
        ('\\n',)
    """
    return ranges_from_points(complement_points(range_points(some)))


def range_points(ranges: Iterable[str]) -> list[tuple[int, int]]:
    """The first and the last code point of each range.

    Example:
        >>> range_points(("ac", "x"))
        [(97, 99), (120, 120)]
    """
    return [(ord(some[0]), ord(some[-1])) for some in ranges]


def complement_points(some: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The gaps between the given ranges, which are sorted and do not touch.

    Example:
        >>> complement_points([(0, 9), (11, 0x10FFFF)])
        [(10, 10)]
    """
    ends = zip([-1, *(end for _, end in some)], [*(start for start, _ in some), sys.maxunicode + 1], strict=True)
    return [(before + 1, after - 1) for before, after in ends if before + 1 < after]


def ranges_from_points(some: Iterable[tuple[int, int]]) -> tuple[str, ...]:
    """The ranges as in a step `Keep`, from first and last code points; none begins or ends with a surrogate.

    Example:
        >>> ranges_from_points([(97, 99), (0xD800, 0xE000)])
        ('ac', '\\ue000')
    """
    made = []
    for start, end in some:
        first, last = 0xE000 if 0xD800 <= start <= 0xDFFF else start, 0xD7FF if 0xD800 <= end <= 0xDFFF else end
        if first <= last:
            made.append(chr(first) if first == last else chr(first) + chr(last))
    return tuple(made)
