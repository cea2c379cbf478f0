"""The trie of a packed file finds all pieces that begin at a place of a text."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from pocketrnn.bundle.packed_subwords import encode_pieces_trie

PIECES = st.lists(
    st.text(st.sampled_from("ab\u2581\u00e9\u4e2d\U0001f600"), min_size=1, max_size=6), min_size=1, unique=True
)


def found_by(trie: bytes, pieces: list[str], text: bytes) -> list[int]:
    """The ids of the pieces that a text begins with, as docs/packed-format.md says."""
    count, base, *units = struct.unpack(f"<{len(trie) // 4}I", trie)
    assert count == len(units)
    found = []
    for byte in text:
        unit = units[base ^ byte] if base ^ byte < count else 0
        if unit & 0xFF != byte:
            break
        if unit >> 31:
            number = (unit & 0x7FFFFFFF) >> 8
            return [*found, number] if text.startswith(pieces[number].encode()) else found
        base = unit >> 9
        if unit >> 8 & 1:
            found.append((units[base] & 0x7FFFFFFF) >> 8)
    return found


@given(PIECES, st.text(st.sampled_from("ab\u2581\u00e9\u4e2d\U0001f600"), max_size=12))
def test_all_pieces_that_begin_at_a_place_are_found(pieces: list[str], text: str) -> None:
    trie = encode_pieces_trie({piece: i for i, piece in enumerate(pieces)})
    for asked in (text, *pieces):
        wanted = sorted((len(piece), i) for i, piece in enumerate(pieces) if asked.startswith(piece))
        assert found_by(trie, pieces, asked.encode()) == [i for _, i in wanted]


def test_most_units_of_a_large_trie_are_in_use() -> None:
    trie = encode_pieces_trie({f"{i * i:x}": i for i in range(5000)})
    units = struct.unpack(f"<{len(trie) // 4}I", trie)[2:]
    assert sum(map(bool, units)) > 0.95 * len(units)


def test_no_trie_is_made_where_byte_0_would_be_a_letter() -> None:
    assert encode_pieces_trie({"a\0": 0, "b": 1}) == b""
    assert encode_pieces_trie({}) == b""
