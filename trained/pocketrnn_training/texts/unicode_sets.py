"""The named sets of code points of Hugging Face's tokenizers. `scripts/make_unicode_sets` collected them."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from pocketrnn.text.code_point_ranges import (
    complement_point_ranges,
    list_first_and_last_points,
    make_ranges_from_points,
)

__all__ = [
    "CLUSTERS",
    "complement_ranges",
    "complement_set",
    "find_unicode_set",
]

# The sets of a step `Table` that are for clusters, in its order.
CLUSTERS: Final = (
    *("cluster_on", "cluster_begin", "cluster_apart", "pictographs", "pictograph_extend"),
    *("consonants", "consonant_linkers", "consonant_extend"),
)


@functools.cache
def _load_unicode_sets() -> Mapping[str, tuple[str, ...]]:
    """Load the ranges of code points of all Unicode sets, by the name of the set."""
    document = json.loads(Path(__file__).with_name("unicode_sets.json").read_bytes())
    return {name: tuple(ranges) for name, ranges in document.items()}


def find_unicode_set(name: str) -> tuple[str, ...]:
    """Return the ranges of code points of a Unicode set by its name, such as "punctuation".

    A range is a string such as "a-z", for the cleaning step `Keep`.
    """
    return _load_unicode_sets()[name]


def complement_set(name: str) -> tuple[str, ...]:
    """Return the ranges of all code points that are not in the Unicode set with this name, such as "punctuation"."""
    return complement_ranges(_load_unicode_sets()[name])


def complement_ranges(ranges: Iterable[str]) -> tuple[str, ...]:
    """Return the ranges of all code points outside the given ranges, which must be sorted and must not touch."""
    return make_ranges_from_points(complement_point_ranges(list_first_and_last_points(ranges)))
