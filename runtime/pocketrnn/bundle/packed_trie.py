"""Encode pieces as a trie in a packed file. The trie finds all pieces that begin at one position of a text.

docs/packed-format.md defines it. It is a double array (Aoe 1989): the child of a node for a byte is the unit at the
node's base xor the byte, and stores the byte. A node with a single piece below it stores that piece's id; the
piece's other bytes are in the vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pocketrnn.bundle.packed_strings import encode_utf8, encode_words

__all__ = ["encode_pieces_trie"]

_PIECE: Final = 1 << 31
_ENDS: Final = 1 << 8
_PIECE_SHIFT, _BASE_SHIFT = 8, 9
_MOST_UNITS: Final = 1 << 22
_ALL: Final = (1 << 256) - 1
# A node is placed in one of this many last blocks of 256 units: with T5's 32,100 pieces, 7 units in 1,000 stay empty.
_OPEN: Final = 2
# Masks that select every other group of bits, for groups of 1, 2, 4 and so on.
_GROUPS: Final = [sum(((1 << size) - 1) << at for at in range(0, 256, 2 * size)) for size in (1 << k for k in range(8))]
# A byte that can follow, and the first and the end of the pieces that have it.
_ByteFirstAndStop = tuple[int, int, int]


class _Block:
    """A block of 256 units of the trie, with a bit mask of its free units."""

    def __init__(self, start: int) -> None:
        self.start, self.free, self.bases = start, _ALL, _ALL

    def find_base(self, labels: Sequence[int]) -> int | None:
        """Find the first base at which the units for all `labels`, the bytes that can follow, are free; None if there
        is no such base."""
        fitting = self.bases
        for label in labels:
            fitting &= _permute_bits_by_xor(self.free, label)
            if not fitting:
                return None
        return (fitting & -fitting).bit_length() - 1

    def mark_taken(self, base: int, labels: Sequence[int]) -> None:
        self.bases &= ~(1 << base)
        for label in labels:
            self.free &= ~(1 << (base ^ label))


def _permute_bits_by_xor(bits: int, index_mask: int) -> int:
    """Permute 256 bits: bit i of the result is bit (i xor `index_mask`) of `bits`."""
    for k, group in enumerate(_GROUPS):
        if index_mask >> k & 1:
            bits = (bits & group) << (1 << k) | bits >> (1 << k) & group
    return bits


def encode_pieces_trie(pieces: Mapping[str, int]) -> bytes:
    """Encode pieces as a trie: the number of units, the base of the root, and the units. Empty without pieces, with a
    piece that contains the byte 0, or if the trie is too large.

    Args:
        pieces: the pieces, which are not empty, and their ids, which are below 2^22.
    """
    encoded = sorted((encode_utf8(piece), number) for piece, number in pieces.items())
    # Byte 0 stands for the end of a piece.
    if not encoded or any(0 in piece for piece, _ in encoded):
        return b""
    units: list[int] = []
    blocks: deque[_Block] = deque(maxlen=_OPEN)

    def place_children(labels: Sequence[int]) -> int:
        """Take free units for a node's children, in one of the last blocks or else in a new one; return the base of the
        node."""
        for block in blocks:
            if (base := block.find_base(labels)) is not None:
                block.mark_taken(base, labels)
                return block.start + base
        blocks.append(_Block(len(units)))
        units.extend([0] * 256)
        blocks[-1].mark_taken(0, labels)
        return blocks[-1].start

    root = 0
    # A node: the range of pieces below it, its depth in bytes, and the index of its unit.
    waiting = [(0, len(encoded), 0, -1)]
    while waiting:
        first, stop, depth, place = waiting.pop()
        children = list(_find_following_bytes_with_pieces(encoded, first, stop, depth))
        base = place_children([label for label, _, _ in children])
        if len(units) > _MOST_UNITS:
            return b""
        if place < 0:
            root = base
        else:
            units[place] |= base << _BASE_SHIFT | (0 if children[0][0] else _ENDS)
        for label, start, end in children:
            units[base ^ label] = label
            if end - start == 1:
                units[base ^ label] |= _PIECE | encoded[start][1] << _PIECE_SHIFT
            else:
                waiting.append((start, end, depth + 1, base ^ label))
    return encode_words([len(units), root, *units])


def _find_following_bytes_with_pieces(
    encoded: Sequence[tuple[bytes, int]], first: int, stop: int, depth: int
) -> Iterator[_ByteFirstAndStop]:
    """Yield each byte that can follow the first `depth` bytes of the pieces from `first` to `stop`, with the range of
    the pieces that have it. The byte 0 ends a piece."""
    while first < stop:
        piece = encoded[first][0]
        label, start = piece[depth] if depth < len(piece) else 0, first
        while first < stop and (encoded[first][0][depth : depth + 1] or b"\0")[0] == label:
            first += 1
        yield label, start, first
