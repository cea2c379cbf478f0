"""Read sentencepiece's table of string replacements, `precompiled_charsmap`.

It holds the size of a double array, the array, and strings that end in 0 (sentencepiece, src/normalizer.cc,
`DecodePrecompiledCharsMap`). The array is darts-clone's: a unit has a label, the offset of its children, and a bit that
says whether a key ends there; a unit that is a value has the highest bit. nmt_nfkc has 225,276 keys in 240 kB: as a
list it would take 4 MB.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from pocketrnn.errors import InputError
from pocketrnn.text.code_point_cache import CodePointCache

__all__ = ["Charsmap", "check_charsmap"]

_LARGEST: Final = 1 << 22
_VALUE: Final = 1 << 31
# The longest replacement, in code points: that of U+FDFA in NFKC.
_MOST_OF_ONE: Final = 18
# The base of a node's children in the trie, and the replacement of a key that ends at the node.
_ChildrenBaseAndReplacement = tuple[int, str | None]


def check_charsmap(content: bytes) -> None:
    """Check sentencepiece's table of string replacements, as the bytes of `precompiled_charsmap`. Raise an InputError
    if the bytes are not such a table, or a replacement is longer than 18 code points."""
    size = struct.unpack_from("<I", content)[0] if isinstance(content, bytes) and len(content) >= 4 else 0
    if not 4 <= size <= len(content) - 4 or size % 4 or len(content) > _LARGEST:
        raise _make_damaged_table_error("the sizes of its parts do not add up to its length")
    units = np.frombuffer(content, "<u4", size // 4, 4).astype(np.int64)
    strings = content[4 + size :]
    values = units[units >= _VALUE] - _VALUE
    inner = units < _VALUE
    children = np.arange(len(units)) ^ ((units >> 10) << ((units & 0x200) >> 6))
    if (values >= max(1, len(strings))).any() or (children[inner] >= len(units)).any():
        raise _make_damaged_table_error("an index in it points beyond its end")
    ends = inner & ((units & 0x100) > 0)
    first = np.frombuffer(strings or b"\0", np.uint8)[values]
    if (units[children[ends]] < _VALUE).any() or (first >> 6 == 2).any():
        raise _make_damaged_table_error("an index in it points into the middle of a character")
    try:
        longest = max(map(len, strings.decode().split("\0")))
    except UnicodeDecodeError:
        raise _make_damaged_table_error("its strings are not UTF-8") from None
    if longest > _MOST_OF_ONE:
        raise _make_damaged_table_error(
            f"a string in it has {longest} characters, but at most {_MOST_OF_ONE} are allowed"
        )


def _make_damaged_table_error(damage: str) -> InputError:
    return InputError(
        f"The table of character replacements (precompiled_charsmap of sentencepiece) is damaged: {damage}.",
        "Fetch the tokenizer's file again, or export the bundle again.",
    )


class Charsmap:
    """Looks up replacements in sentencepiece's table `content`, which `check_charsmap` has accepted."""

    def __init__(self, content: bytes) -> None:
        size = struct.unpack_from("<I", content)[0]
        self._units = struct.unpack_from(f"<{size // 4}I", content, 4)
        self._strings = content[4 + size :]
        self._root = self._find_children_base(0)
        # For a code point at the beginning of a key: the base of its children, or -1, and the replacement of the key
        # that it is, or None.
        self._firsts = CodePointCache[str, _ChildrenBaseAndReplacement](
            lambda point: self._follow_code_point(self._root, point) or (-1, None)
        )
        ascii_points = [chr(code) for code in range(0x80)]
        alone = all(
            self._follow_code_point(node, other) is None
            for point in ascii_points
            if (node := self._firsts[point][0]) >= 0
            for other in ascii_points
        )
        # The replacements of ASCII characters, if no key has two of them.
        self.of_ascii: dict[int, str] | None = None
        if alone:
            found = {ord(point): self._firsts[point][1] for point in ascii_points}
            self.of_ascii = {code: by for code, by in found.items() if by is not None}

    def find_longest_key(self, text: str, start: int) -> tuple[int, str] | None:
        """Find the longest key that begins at `start`. Return its end and its replacement; None if no key begins
        there."""
        node, by = self._firsts[text[start]]
        found = None if by is None else (start + 1, by)
        end = start + 1
        while node >= 0 and end < len(text):
            reached = self._follow_code_point(node, text[end])
            if reached is None:
                break
            node, by = reached
            end += 1
            if by is not None:
                found = end, by
        return found

    def find_replacement_of_shortest_key(self, text: str) -> str | None:
        """Find the shortest key at the beginning of a text, and return its replacement; None without a key."""
        node, by = self._firsts[text[0]]
        for point in text[1:]:
            if by is not None or node < 0:
                break
            reached = self._follow_code_point(node, point)
            if reached is None:
                return None
            node, by = reached
        return by

    def starts_key(self, point: str) -> bool:
        """Return whether any key begins with this code point."""
        return self._follow_code_point(self._root, point) is not None

    def replace_code_point(self, point: str) -> str:
        """Return the replacement of a code point; without a replacement, the code point."""
        by = self._firsts[point][1]
        return point if by is None else by

    def _find_children_base(self, place: int) -> int:
        unit: int = self._units[place]
        return place ^ ((unit >> 10) << ((unit & 0x200) >> 6))

    def _follow_code_point(self, node: int, point: str) -> _ChildrenBaseAndReplacement | None:
        """Follow the bytes of a code point in the trie, from `node` on. Return the base of the children of the node
        that is reached, and the replacement of the key that ends there; None if the trie has no such node."""
        units, unit = self._units, 0
        for byte in point.encode():
            place = node ^ byte
            if not byte or place >= len(units):
                return None
            unit = units[place]
            if unit & 0x800000FF != byte:
                return None
            node = self._find_children_base(place)
        if not unit >> 8 & 1:
            return node, None
        start = units[node] & (_VALUE - 1)
        end = self._strings.find(b"\0", start)
        return node, self._strings[start : end if end >= 0 else None].decode("utf-8", "replace")
