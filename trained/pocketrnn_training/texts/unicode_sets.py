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
    document = json.loads(Path(__file__).with_name("unicode_sets.json").read_bytes())
    return {name: tuple(ranges) for name, ranges in document.items()}


def find_unicode_set(name: str) -> tuple[str, ...]:
    """Find the ranges of code points of a named set, as the cleaning step `Keep` takes them."""
    return _load_unicode_sets()[name]


def complement_set(name: str) -> tuple[str, ...]:
    """Return the ranges of the code points that are not in a named set."""
    return complement_ranges(_load_unicode_sets()[name])


def complement_ranges(ranges: Iterable[str]) -> tuple[str, ...]:
    """Return the ranges of all other code points. The given ranges must be sorted and must not touch."""
    return make_ranges_from_points(complement_point_ranges(list_first_and_last_points(ranges)))
