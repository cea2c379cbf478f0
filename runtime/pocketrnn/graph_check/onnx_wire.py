"""An ONNX file, a protobuf message, looked through without onnx: its operators, its tensors, and nothing unknown.

The walk knows the few messages that hold operators and tensors, steps over everything else, and copies nothing. It is
strict, so that no other reader of the same bytes finds something in them that was not looked at here: a field that is
not known, of another type, or twice where it may stand once is refused.

Fields: onnx.proto of ONNX 1.23; a test holds the table to it. Wire format: protobuf.dev, "Encoding".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Final

from pocketrnn.graph_check.allow_list import KNOWN_VALUES, Found, Node, Values

__all__ = ["MESSAGES", "walk_onnx"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}
_LETTERS: Final = {_VARINT: "v", _FIXED64: "q", _BYTES: "b", _FIXED32: "i"}
_DEEPEST: Final = 16
# For each message its fields: the wire types that they may have (v, q, b, i), "*" if they may stand more than once, and
# the message inside, if it is looked into. Left out is what inference has no use for: training_info, sparse tensors,
# segments, tensors of strings.
MESSAGES: Final[dict[str, dict[int, tuple[str, str]]]] = {
    "ModelProto": {
        **dict.fromkeys((1, 5), ("v", "")),
        **dict.fromkeys((2, 3, 4, 6), ("b", "")),
        **dict.fromkeys((8, 14, 26), ("b*", "")),
        7: ("b", "GraphProto"),
        25: ("b*", "FunctionProto"),
    },
    "FunctionProto": {
        **dict.fromkeys((1, 8, 10, 13), ("b", "")),
        **dict.fromkeys((4, 5, 6, 9, 12, 14), ("b*", "")),
        7: ("b*", "NodeProto"),
        11: ("b*", "AttributeProto"),
    },
    "GraphProto": {
        **dict.fromkeys((2, 10), ("b", "")),
        **dict.fromkeys((11, 12, 13, 14, 16), ("b*", "")),
        1: ("b*", "NodeProto"),
        5: ("b*", "TensorProto"),
    },
    "NodeProto": {
        **dict.fromkeys((3, 4, 6, 7, 8), ("b", "")),
        **dict.fromkeys((1, 2, 9, 10), ("b*", "")),
        5: ("b*", "AttributeProto"),
    },
    "AttributeProto": {
        **dict.fromkeys((1, 4, 13, 14, 21), ("b", "")),
        **dict.fromkeys((9, 15), ("b*", "")),
        2: ("i", ""),
        **dict.fromkeys((3, 20), ("v", "")),
        5: ("b", "TensorProto"),
        6: ("b", "GraphProto"),
        7: ("ib*", ""),
        8: ("vb*", ""),
        10: ("b*", "TensorProto"),
        11: ("b*", "GraphProto"),
    },
    "TensorProto": {
        **dict.fromkeys((2, 14), ("v", "")),
        **dict.fromkeys((1, 5, 7, 11), ("vb*", "")),
        4: ("ib*", ""),
        10: ("qb*", ""),
        **dict.fromkeys((8, 9, 12), ("b", "")),
        **dict.fromkeys((13, 16), ("b*", "")),
    },
}
# TensorProto.DataType: the field that holds its numbers where raw_data does not, and how they lie in either.
_NUMBERS: Final = {1: (4, "f"), 6: (5, "i"), 7: (7, "q"), 11: (10, "d")}
_EXTERNAL: Final = "keeps weights in further files, which no digest covers"


def walk_onnx(content: bytes, found: Found) -> None:
    """Look through an ONNX file, and add what it holds to `found`.

    It takes time in proportion to the number of the file's fields, whatever the bytes: 1 ms for `ag_news`.

    Raises:
        BundleError: the bytes are not an ONNX file, or hold something that no classifier needs; see the module.
    """
    # onnxruntime takes bytes with this mark for its own format. The mark may stand within a name of an ONNX file.
    if content[4:8] == b"ORTM":
        raise found.refused("is not an ONNX file: it is marked as of onnxruntime's own format")
    _Walk(memoryview(content), found).holder("ModelProto", 0, len(content), 0)


class _Walk:
    def __init__(self, view: memoryview, found: Found) -> None:
        self.view = view
        self.found = found

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """An integer of up to 64 bits, and where it ends."""
        # One byte is enough for nearly all: 1.4 times as fast so.
        if at < end and self.view[at] < 0x80:
            return self.view[at], at + 1
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                raise self.found.refused("is not an ONNX file: it ends within a number")
            byte = self.view[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, at
        raise self.found.refused("is not an ONNX file: a number in it has more than 10 bytes")

    def fields(self, message: str, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """A message's fields: number, wire type, and where the content begins and ends; of a varint, it and its end."""
        known, seen = MESSAGES[message], 0
        while at < end:
            self.found.count()
            tag, at = self.varint(at, end)
            number, wire = tag >> 3, tag & 7
            letters, _ = known.get(number, ("", ""))
            if wire not in _LETTERS or _LETTERS[wire] not in letters:
                raise self.found.refused(
                    f"is not an ONNX file that a classifier may have: field {number} of type {wire} in {message}"
                )
            if "*" not in letters and seen & (1 << number):
                raise self.found.refused(f"is not an ONNX file: field {number} of {message} stands in it twice")
            seen |= 1 << number
            if wire == _VARINT:
                value, at = self.varint(at, end)
                yield number, wire, value, at
                continue
            size = _SIZES.get(wire)
            if size is None:
                size, at = self.varint(at, end)
            if size > end - at:
                raise self.found.refused("is not an ONNX file: it is cut short")
            yield number, wire, at, at + size
            at += size

    def text(self, start: int, end: int) -> str:
        try:
            return str(self.view[start:end], "utf-8")
        except UnicodeDecodeError:
            raise self.found.refused("holds a name that is not UTF-8") from None

    def integers(self, wire: int, start: int, end: int) -> list[int]:
        """Signed integers of 64 bits: the one of a field, or several, packed."""
        values = [start] if wire == _VARINT else []
        while wire == _BYTES and start < end:
            self.found.count()
            value, start = self.varint(start, end)
            values.append(value)
        return [value - (1 << 64) if value >> 63 else value for value in values]

    def holder(self, message: str, start: int, end: int, depth: int) -> None:
        """A model, a graph or a function."""
        if depth > _DEEPEST:
            raise self.found.refused(f"nests graphs more than {_DEEPEST} deep")
        for number, _, begin, stop in self.fields(message, start, end):
            inner = MESSAGES[message][number][1]
            if inner == "NodeProto":
                self.found.add(self.node(begin, stop, depth))
            elif inner == "TensorProto":
                name, values = self.tensor(begin, stop)
                self.found.constants[name] = values
            elif inner == "AttributeProto":
                self.attribute(Node(), begin, stop, depth)
            elif inner:
                if inner == "FunctionProto" and not self.found.trusted:
                    raise self.found.refused("holds functions of its own")
                self.holder(inner, begin, stop, depth + 1)

    def node(self, start: int, end: int, depth: int) -> Node:
        node = Node()
        for number, _, begin, stop in self.fields("NodeProto", start, end):
            if number == 1:
                node.inputs.append(self.text(begin, stop))
            elif number == 2:
                node.outputs.append(self.text(begin, stop))
            elif number == 4:
                node.operator = self.text(begin, stop)
            elif number == 5:
                self.attribute(node, begin, stop, depth)
            elif number == 7:
                node.domain = self.text(begin, stop)
        return node

    def attribute(self, node: Node, start: int, end: int, depth: int) -> None:
        name, values = "", Values()
        for number, wire, begin, stop in self.fields("AttributeProto", start, end):
            if number == 1:
                name = self.text(begin, stop)
            elif number in (3, 8):
                values += tuple(self.integers(wire, begin, stop))
            elif number in (5, 10):
                _, values = self.tensor(begin, stop)
            elif number in (6, 11):
                node.holds_graphs = True
                if not self.found.trusted:
                    continue
                self.holder("GraphProto", begin, stop, depth + 1)
        if values:
            node.attributes[name] = values

    def tensor(self, start: int, end: int) -> tuple[str, Values]:
        """A tensor's name and, if they are few, its numbers."""
        name, kind, dims, stored = "", 0, list[int](), 0
        spans: dict[int, list[tuple[int, int, int]]] = {}
        for number, wire, begin, stop in self.fields("TensorProto", start, end):
            if number == 1:
                dims += self.integers(wire, begin, stop)
            elif number == 2:
                kind = begin
            elif number == 8:
                name = self.text(begin, stop)
            elif number == 13 or (number == 14 and begin != 0):
                raise self.found.refused(_EXTERNAL)
            elif number in (4, 5, 7, 9, 10, 11):
                spans.setdefault(number, []).append((wire, begin, stop))
                size = 1 if wire == _VARINT else stop - begin
                stored += size
                # Whole numbers outside raw_data may take one byte for the eight that onnxruntime makes of them.
                self.found.weights += size if number in (4, 9, 10) else 0
        # Two to a byte is the least that a number takes.
        if any(size < 0 for size in dims) or math.prod(dims) > 2 * stored:
            raise self.found.refused(f"holds a tensor of the shape {dims[:8]} in {stored} bytes")
        if len(spans) > 1:
            raise self.found.refused("holds a tensor whose numbers stand in it twice")
        few = math.prod(dims) <= KNOWN_VALUES and stored <= 10 * KNOWN_VALUES
        return name, self.numbers(kind, spans) if few else ()

    def numbers(self, kind: int, spans: dict[int, list[tuple[int, int, int]]]) -> Values:
        field, letter = _NUMBERS.get(kind, (0, ""))
        if field in (5, 7) and field in spans:
            return tuple(value for span in spans[field] for value in self.integers(*span))
        content = b"".join(self.view[begin:stop] for _, begin, stop in spans.get(9, spans.get(field, [])))
        if not letter or len(content) % struct.calcsize(f"<{letter}"):
            return ()
        return tuple(value for (value,) in struct.iter_unpack(f"<{letter}", content))
