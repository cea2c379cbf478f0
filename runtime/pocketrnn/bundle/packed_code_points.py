"""Encode sets and runs of code points for a packed file; docs/packed-format.md defines both."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pocketrnn.bundle.packed_strings import encode_words
from pocketrnn.text.code_point_ranges import list_first_and_last_points, merge_ranges
from pocketrnn.text.code_point_runs import Run, RunPart

__all__ = ["encode_run", "encode_set"]

_ASCII: Final = 128
# Marks of a part beside its `least`.
_TO_BOUNDARY: Final = 128
_FROM_BOUNDARY: Final = 256


def encode_set(ranges: Iterable[str]) -> bytes:
    """Encode a set of code points: the number of ranges, a bit mask of the ASCII characters, and the ranges."""
    made = merge_ranges(list_first_and_last_points(ranges))
    bits = sum(1 << code for start, end in made for code in range(start, min(end + 1, _ASCII)))
    return encode_words([len(made)]) + bits.to_bytes(16, "little") + encode_words(end for some in made for end in some)


def encode_run(run: Run, *, first_part_only: bool = False) -> bytes:
    """Encode a run of code points; with `first_part_only`, only its first part and the code points that may come
    before it."""
    content = _encode_run_part(run, _FROM_BOUNDARY * run.from_boundary) + encode_set(run.before)
    if first_part_only:
        return content
    parts = b"".join(map(_encode_run_part, run.then))
    return content + encode_set(run.ends_at) + encode_set(run.not_before) + encode_words([len(run.then)]) + parts


def _encode_run_part(part: Run | RunPart, boundary_flag: int = 0) -> bytes:
    least = part.least + _TO_BOUNDARY * part.to_boundary + boundary_flag
    return encode_words([least, part.most or 0]) + encode_set(part.ranges)
