"""Check the operators and tensors of an ONNX file without onnx. The file is a protobuf message; unknown parts are
refused.

The walk knows the few messages that hold operators and tensors, skips everything else, and copies nothing. It is
strict, so that no other reader of the same bytes finds something in them that was not checked here: a field that is
unknown, has another type, or occurs twice where it may occur once is refused.

Fields: onnx.proto of ONNX 1.23; a test compares the table with it. Wire format: protobuf.dev, "Encoding".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Final

from pocketrnn.graph_check.graph_contents import KNOWN_VALUES, TRUST_OR_EXPORT, GraphContents, Node, Values

__all__ = ["MESSAGES", "read_onnx_contents"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}
_LETTERS: Final = {_VARINT: "v", _FIXED64: "q", _BYTES: "b", _FIXED32: "i"}
_DEEPEST: Final = 16
# A field of a message: its number, its wire type, and where it begins and ends. An integer has its value as the begin.
_NumberWireBeginAndEnd = tuple[int, int, int, int]
_WireBeginAndEnd = tuple[int, int, int]
# The fields of each message: the wire types that a field may have (v, q, b, i), "*" if it may stand more than once, and
# the message inside, if that is read. Fields that inference does not need are left out: training_info, sparse tensors,
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
# For each TensorProto.DataType: the field that holds its numbers if raw_data does not, and their format in `struct`.
_NUMBERS: Final = {1: (4, "f"), 6: (5, "i"), 7: (7, "q"), 11: (10, "d")}
_EXTERNAL: Final = "keeps weights in further files, which no digest protects"


def read_onnx_contents(content: bytes, graph_contents: GraphContents) -> None:
    """Read an ONNX file from its beginning to its end, and add its contents to `graph_contents`.

    The time is proportional to the number of the file's fields, for any bytes: 1 ms for `ag_news`.

    Raises:
        BundleError: the bytes are not an ONNX file, or contain something that a classifier's graph does not need.
    """
    # onnxruntime reads a file with this mark as its own format, and the mark may be part of a name in an ONNX file.
    if content[4:8] == b"ORTM":
        raise graph_contents.make_refusal("is not an ONNX file: it is marked as a file in onnxruntime's own format")
    _OnnxWalker(memoryview(content), graph_contents).read_model_graph_or_function("ModelProto", 0, len(content), 0)


class _OnnxWalker:
    """Reads the messages of an ONNX file, and adds operators and small tensors to `graph_contents`. The methods take
    positions in the file: where a message or field begins, and where it ends."""

    def __init__(self, view: memoryview, graph_contents: GraphContents) -> None:
        self.view = view
        self.graph_contents = graph_contents

    def read_varint(self, position: int, end: int) -> tuple[int, int]:
        """Read an integer of up to 64 bits; return the integer and the position after it."""
        # Nearly all take one byte: this case makes the walk 1.4 times as fast.
        if position < end and self.view[position] < 0x80:
            return self.view[position], position + 1
        value = 0
        for shift in range(0, 70, 7):
            if position >= end:
                raise self.graph_contents.make_refusal("is not an ONNX file: it ends within a number")
            byte = self.view[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, position
        raise self.graph_contents.make_refusal("is not an ONNX file: a number in it has more than 10 bytes")

    def read_fields(self, message_name: str, position: int, end: int) -> Iterator[_NumberWireBeginAndEnd]:
        """Yield the fields of a message: the field's number, its wire type, and where its content begins and ends. An
        integer has its value in place of the beginning.

        Args:
            message_name: the type of the message, a key of `MESSAGES`.
            position: where the message begins.
            end: where the message ends.
        """
        known, seen = MESSAGES[message_name], 0
        while position < end:
            self.graph_contents.count_field_or_refuse()
            tag, position = self.read_varint(position, end)
            number, wire = tag >> 3, tag & 7
            letters, _ = known.get(number, ("", ""))
            if wire not in _LETTERS or _LETTERS[wire] not in letters:
                raise self.graph_contents.make_refusal(
                    f"is not an ONNX file, or holds more than a classifier needs: field {number} of wire type {wire} "
                    f"in {message_name}"
                )
            if "*" not in letters and seen & (1 << number):
                raise self.graph_contents.make_refusal(
                    f"is not an ONNX file: field {number} of {message_name} stands twice"
                )
            seen |= 1 << number
            if wire == _VARINT:
                value, position = self.read_varint(position, end)
                yield number, wire, value, position
                continue
            size = _SIZES.get(wire)
            if size is None:
                size, position = self.read_varint(position, end)
            if size > end - position:
                raise self.graph_contents.make_refusal("is not an ONNX file: it is cut short")
            yield number, wire, position, position + size
            position += size

    def read_text(self, start: int, end: int) -> str:
        """Read the name between two positions; refuse the file if the name is not UTF-8."""
        try:
            return str(self.view[start:end], "utf-8")
        except UnicodeDecodeError:
            raise self.graph_contents.make_refusal("holds a name that is not UTF-8") from None

    def read_integers(self, wire: int, start: int, end: int) -> list[int]:
        """Read the integers of a field, as signed 64-bit integers. A field of the wire type "varint" holds one integer,
        which is `start` itself; any other holds several, packed."""
        values = [start] if wire == _VARINT else []
        while wire == _BYTES and start < end:
            self.graph_contents.count_field_or_refuse()
            value, start = self.read_varint(start, end)
            values.append(value)
        return [value - (1 << 64) if value >> 63 else value for value in values]

    def read_model_graph_or_function(self, message_name: str, start: int, end: int, depth: int) -> None:
        """Read a model, a graph or a function, and add its operators and tensors to `graph_contents`. `depth` counts
        the graphs around it."""
        if depth > _DEEPEST:
            raise self.graph_contents.make_refusal(f"nests graphs more than {_DEEPEST} levels deep")
        for number, _, begin, stop in self.read_fields(message_name, start, end):
            inner = MESSAGES[message_name][number][1]
            if inner == "NodeProto":
                self.graph_contents.add_node(self.read_node(begin, stop, depth))
            elif inner == "TensorProto":
                name, values = self.read_tensor(begin, stop)
                self.graph_contents.constants[name] = values
            elif inner == "AttributeProto":
                self.read_attribute(Node(), begin, stop, depth)
            elif inner:
                if inner == "FunctionProto" and not self.graph_contents.trusted:
                    raise self.graph_contents.make_refusal("defines functions of its own", TRUST_OR_EXPORT)
                self.read_model_graph_or_function(inner, begin, stop, depth + 1)

    def read_node(self, start: int, end: int, depth: int) -> Node:
        """Read an operator with its attributes."""
        node = Node()
        for number, _, begin, stop in self.read_fields("NodeProto", start, end):
            if number == 1:
                node.inputs.append(self.read_text(begin, stop))
            elif number == 2:
                node.outputs.append(self.read_text(begin, stop))
            elif number == 4:
                node.operator = self.read_text(begin, stop)
            elif number == 5:
                self.read_attribute(node, begin, stop, depth)
            elif number == 7:
                node.domain = self.read_text(begin, stop)
        return node

    def read_attribute(self, node: Node, start: int, end: int, depth: int) -> None:
        """Read an attribute, and add its integers, or the numbers of its small tensor, to the attributes of `node`."""
        name, values = "", Values()
        for number, wire, begin, stop in self.read_fields("AttributeProto", start, end):
            if number == 1:
                name = self.read_text(begin, stop)
            elif number in (3, 8):
                values += tuple(self.read_integers(wire, begin, stop))
            elif number in (5, 10):
                _, values = self.read_tensor(begin, stop)
            elif number in (6, 11):
                node.holds_graphs = True
                if not self.graph_contents.trusted:
                    continue
                self.read_model_graph_or_function("GraphProto", begin, stop, depth + 1)
        if values:
            node.attributes[name] = values

    def read_tensor(self, start: int, end: int) -> tuple[str, Values]:
        """Read a tensor; return its name, and its numbers if there are at most 64, else no numbers."""
        name, kind, dims, stored = "", 0, list[int](), 0
        spans: dict[int, list[_WireBeginAndEnd]] = {}
        for number, wire, begin, stop in self.read_fields("TensorProto", start, end):
            if number == 1:
                dims += self.read_integers(wire, begin, stop)
            elif number == 2:
                kind = begin
            elif number == 8:
                name = self.read_text(begin, stop)
            elif number == 13 or (number == 14 and begin != 0):
                raise self.graph_contents.make_refusal(_EXTERNAL)
            elif number in (4, 5, 7, 9, 10, 11):
                spans.setdefault(number, []).append((wire, begin, stop))
                size = 1 if wire == _VARINT else stop - begin
                stored += size
                # Integers outside raw_data may take one byte in the file and eight in onnxruntime.
                self.graph_contents.weights += size if number in (4, 9, 10) else 0
        # The smallest numbers take half a byte.
        if any(size < 0 for size in dims) or math.prod(dims) > 2 * stored:
            raise self.graph_contents.make_refusal(
                f"holds a tensor of the shape {dims[:8]} in {stored} bytes, which do not fit this shape"
            )
        if len(spans) > 1:
            raise self.graph_contents.make_refusal("holds a tensor that stores its numbers twice")
        few = math.prod(dims) <= KNOWN_VALUES and stored <= 10 * KNOWN_VALUES
        return name, self.read_tensor_numbers(kind, spans) if few else ()

    def read_tensor_numbers(self, element_type: int, spans_by_field: dict[int, list[_WireBeginAndEnd]]) -> Values:
        """Read the numbers of a tensor; return an empty tuple if their type is not known, or if the data has not a
        whole number of them.

        Args:
            element_type: the type of the numbers, a value of TensorProto.DataType.
            spans_by_field: for each field with data its parts: the wire type, where the part begins, and where it ends.
        """
        field, letter = _NUMBERS.get(element_type, (0, ""))
        if field in (5, 7) and field in spans_by_field:
            return tuple(value for span in spans_by_field[field] for value in self.read_integers(*span))
        content = b"".join(
            self.view[begin:stop] for _, begin, stop in spans_by_field.get(9, spans_by_field.get(field, []))
        )
        if not letter or len(content) % struct.calcsize(f"<{letter}"):
            return ()
        return tuple(value for (value,) in struct.iter_unpack(f"<{letter}", content))
