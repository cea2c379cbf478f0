"""Small tables of sentencepiece's normalization, made as darts-clone lays out a double array; hostile ones too."""

from __future__ import annotations

import struct
from collections.abc import Mapping

__all__ = ["charsmap_of"]

_VALUE = 1 << 31
_ENDS = 1 << 8


def charsmap_of(becomes: Mapping[str, str]) -> bytes:
    """The table in which each key becomes its string.

    Example:
        >>> Charsmap(charsmap_of({"ab": "c"})).longest("xab", 1)
        (3, 'c')
    """
    strings, starts = b"", {}
    for key, by in becomes.items():
        starts[key.encode()] = len(strings)
        strings += by.encode() + b"\0"
    units = {0: 0}
    bases: set[int] = set()

    def lay(place: int, keys: Mapping[bytes, int], depth: int) -> None:
        """Put the children of a unit where all of them have room."""
        labels = sorted({key[depth] if depth < len(key) else 0 for key in keys})
        base = 1
        while base in bases or any(base ^ label in units for label in labels):
            base += 1
        bases.add(base)
        units[place] |= (place ^ base) << 10
        for label in labels:
            units[base ^ label] = label
        for label in labels:
            inner = {key: start for key, start in keys.items() if (key[depth] if depth < len(key) else 0) == label}
            if label:
                lay(base ^ label, inner, depth + 1)
            else:
                units[place] |= _ENDS
                units[base] = _VALUE | next(iter(inner.values()))

    lay(0, starts, 0)
    # A free place has a label that no place like it can have.
    size = max(units) + 1
    content = struct.pack(f"<{size}I", *(units.get(place, place & 0xFF ^ 1) for place in range(size)))
    return struct.pack("<I", len(content)) + content + strings
