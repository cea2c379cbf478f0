"""Encode integers and strings for a packed file, with hash tables of the strings, and decode strings. Encode sets and
runs of code points, too; docs/packed-format.md defines them."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from pocketrnn.text.code_point_patterns import Run, RunPart
from pocketrnn.text.code_point_ranges import list_first_and_last_points, merge_ranges

__all__ = [
    "decode_strings",
    "encode_as_32_bit_words",
    "encode_code_point_run",
    "encode_code_point_set",
    "encode_strings",
    "encode_utf8",
    "mix_hash",
    "pad_to_word",
]

# In the small form of strings, 16-bit offsets count from the offset of every 64th string.
_BLOCK: Final = 64
_SMALL_BITS: Final = 15


def encode_utf8(text: str) -> bytes:
    """Encode a string as UTF-8. A lone surrogate (half of a UTF-16 pair) is encoded like any other character."""
    # A lone surrogate is encoded like a character, and the engine decodes it so, too.
    return text.encode("utf-8", "surrogatepass")


def encode_as_32_bit_words(numbers: Iterable[int]) -> bytes:
    """Encode integers as 32-bit words, with the lowest byte first. A negative integer becomes its two's complement."""
    return b"".join(struct.pack("<I", number & 0xFFFFFFFF) for number in numbers)


def pad_to_word(content: bytes) -> bytes:
    """Add zero bytes until the length is a multiple of 4."""
    return content + bytes(-len(content) % 4)


def _hash_string(string: bytes) -> int:
    """Compute the hash by which a packed file looks a string up: 32-bit FNV-1a, then `mix_hash`."""
    made = 2166136261
    for byte in string:
        made = ((made ^ byte) * 16777619) & 0xFFFFFFFF
    return mix_hash(made)


def mix_hash(hashed: int) -> int:
    """Mix the bits of a 32-bit hash, so that its high bits depend on all bits. This is the last step of hashing."""
    hashed ^= hashed >> 15
    hashed = (hashed * 0x2C1B3C6D) & 0xFFFFFFFF
    return hashed ^ hashed >> 12


def encode_strings(strings: Sequence[str], *, looked_up: bool = False) -> bytes:
    """Encode strings in their order. With `looked_up`, add a hash table that finds the index of a string.

    A slot of the table holds the low bits of the string's hash, and its index + 1.
    """
    encoded = [encode_utf8(string) for string in strings]
    bits = (len(encoded) + 1).bit_length()
    slots = [0] * (len(encoded) * 4 // 3 + 1 if looked_up and encoded else 0)
    for number, string in enumerate(encoded):
        made = _hash_string(string)
        at = made * len(slots) >> 32 if slots else 0
        while slots and slots[at]:
            at = (at + 1) % len(slots)
        if slots:
            slots[at] = (made << bits & 0xFFFFFFFF) | (number + 1)
    ends = np.cumsum([0, *map(len, encoded)])
    anchors = ends[::_BLOCK]
    offsets = ends - np.repeat(anchors, _BLOCK)[: len(ends)]
    small = bits <= _SMALL_BITS and int(offsets.max()) < 1 << 16
    head = encode_as_32_bit_words([len(encoded), len(slots), bits, int(ends[-1]), int(small)])
    if small:
        tables = [anchors.astype("<u4"), offsets.astype("<u2"), (np.array(slots, np.int64) & 0xFFFF).astype("<u2")]
    else:
        tables = [ends.astype("<u4"), np.array(slots, "<u4")]
    return head + b"".join(pad_to_word(table.tobytes()) for table in tables) + pad_to_word(b"".join(encoded))


def decode_strings(content: bytes, offset: int) -> tuple[list[str], int]:
    """Decode the strings that `encode_strings` wrote at `offset`; return the strings, and the offset after them. The
    engine must have checked them before."""
    count, slots, _, size, small = struct.unpack_from("<5I", content, offset)
    offset += 20
    if small:
        anchors = np.frombuffer(content, "<u4", count // _BLOCK + 1, offset).astype(np.int64)
        offset += 4 * len(anchors)
        ends = np.frombuffer(content, "<u2", count + 1, offset) + np.repeat(anchors, _BLOCK)[: count + 1]
        offset += 4 * ((count + 2) // 2) + 4 * ((slots + 1) // 2)
    else:
        ends = np.frombuffer(content, "<u4", count + 1, offset).astype(np.int64)
        offset += 4 * (count + 1 + slots)
    found = [
        content[offset + start : offset + end].decode("utf-8", "surrogatepass")
        for start, end in itertools.pairwise(ends.tolist())
    ]
    return found, offset + size + -size % 4


_ASCII: Final = 128
# Marks of a part beside its `least`.
_TO_BOUNDARY: Final = 128
_FROM_BOUNDARY: Final = 256


def encode_code_point_set(ranges: Iterable[str]) -> bytes:
    """Encode a set of code points: the number of ranges, a bit mask of the ASCII characters, and the ranges.

    Args:
        ranges: strings of one code point, or of the first and the last code point of a range.
    """
    made = merge_ranges(list_first_and_last_points(ranges))
    bits = sum(1 << code for start, end in made for code in range(start, min(end + 1, _ASCII)))
    return (
        encode_as_32_bit_words([len(made)])
        + bits.to_bytes(16, "little")
        + encode_as_32_bit_words(end for some in made for end in some)
    )


def encode_code_point_run(run: Run, *, first_part_only: bool = False) -> bytes:
    """Encode a run, a pattern for consecutive code points in a text. With `first_part_only`, encode only the first part
    of the pattern, and the set of code points that may come before a match."""
    content = _encode_run_part(run, _FROM_BOUNDARY * run.from_boundary) + encode_code_point_set(run.before)
    if first_part_only:
        return content
    parts = b"".join(map(_encode_run_part, run.then))
    return (
        content
        + encode_code_point_set(run.ends_at)
        + encode_code_point_set(run.not_before)
        + encode_as_32_bit_words([len(run.then)])
        + parts
    )


def _encode_run_part(part: Run | RunPart, boundary_flag: int = 0) -> bytes:
    """Encode one part of a run: its smallest and largest number of code points, and their set.

    Args:
        part: the part, or a run, which begins with its first part.
        boundary_flag: a flag that is added to the first number.
    """
    least = part.least + _TO_BOUNDARY * part.to_boundary + boundary_flag
    return encode_as_32_bit_words([least, part.most or 0]) + encode_code_point_set(part.ranges)
