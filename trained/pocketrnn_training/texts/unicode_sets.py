"""The sets of code points that the tokenizers of Hugging Face know by a name; `scripts/make_unicode_sets` asks them."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["CLUSTERS", "all_but", "other_points", "others_of", "points_of", "ranges_of", "unicode_set"]

# The sets of a step `Table` that are for clusters, in its order.
CLUSTERS: Final = (
    *("cluster_on", "cluster_begin", "cluster_apart", "pictographs", "pictograph_extend"),
    *("consonants", "consonant_linkers", "consonant_extend"),
)


@functools.cache
def _sets() -> Mapping[str, tuple[str, ...]]:
    document = json.loads(Path(__file__).with_name("unicode_sets.json").read_bytes())
    return {name: tuple(ranges) for name, ranges in document.items()}


def unicode_set(name: str) -> tuple[str, ...]:
    """The ranges of a set, as in a step `Keep`.

    Example:
        >>> unicode_set("white_space")[:2]
        ('\\t\\r', ' ')
    """
    return _sets()[name]


def all_but(name: str) -> tuple[str, ...]:
    """The ranges of the code points that are not in a set.

    Example:
        >>> all_but("white_space")[:2]
        ('\\x00\\x08', '\\x0e\\x1f')
    """
    return others_of(_sets()[name])


def others_of(some: Iterable[str]) -> tuple[str, ...]:
    """The ranges of all other code points; those given are in order and apart.

    Example:
        >>> others_of(("\\0\\t", "\\v\\U0010ffff"))
        ('\\n',)
    """
    return ranges_of(other_points(points_of(some)))


def points_of(ranges: Iterable[str]) -> list[tuple[int, int]]:
    """The first and the last code point of each range.

    Example:
        >>> points_of(("ac", "x"))
        [(97, 99), (120, 120)]
    """
    return [(ord(some[0]), ord(some[-1])) for some in ranges]


def other_points(some: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """All other code points; those given are in order and apart.

    Example:
        >>> other_points([(0, 9), (11, 0x10FFFF)])
        [(10, 10)]
    """
    ends = zip([-1, *(end for _, end in some)], [*(start for start, _ in some), sys.maxunicode + 1], strict=True)
    return [(before + 1, after - 1) for before, after in ends if before + 1 < after]


def ranges_of(some: Iterable[tuple[int, int]]) -> tuple[str, ...]:
    """The ranges as in `Keep`; none begins or ends with half of a surrogate pair.

    Example:
        >>> ranges_of([(97, 99), (0xD800, 0xE000)])
        ('ac', '\\ue000')
    """
    made = []
    for start, end in some:
        first, last = 0xE000 if 0xD800 <= start <= 0xDFFF else start, 0xD7FF if 0xD800 <= end <= 0xDFFF else end
        if first <= last:
            made.append(chr(first) if first == last else chr(first) + chr(last))
    return tuple(made)
