"""Check the operators and tensors of a graph in onnxruntime's own format, a flatbuffer.

The tables are those of onnxruntime's ort.fbs; for flatbuffers themselves see flatbuffers.dev, "Internals". onnxruntime
verifies the offsets itself when it opens a file; here each is checked before it is followed. Parts of a flatbuffer may
share their bytes: tensors must not, so that a small file cannot take a large memory.
"""

from __future__ import annotations

import math
import struct
from typing import Final

from pocketrnn.graph_check.graph_contents import KNOWN_VALUES, GraphContents, Node, Values

__all__ = ["read_ort_contents"]

# The index of a member in its table.
_SESSION_MODEL: Final = 1
_MODEL_GRAPH: Final = 7
_INITIALIZERS, _NODES, _SPARSE, _RUNTIME_OPTIMIZATIONS = 0, 2, 7, 8
_NODE_DOMAIN, _NODE_OPERATOR, _NODE_INPUTS, _NODE_OUTPUTS, _NODE_ATTRIBUTES = 2, 5, 8, 9, 10
_ATTRIBUTE_NAME, _I, _T, _G, _INTS, _TENSORS, _GRAPHS = 0, 4, 6, 7, 9, 11, 12
_TENSOR_NAME, _DIMS, _KIND, _RAW, _STRINGS, _EXTERNAL = 0, 2, 3, 4, 5, 6
_NUMBERS: Final = {1: "f", 6: "i", 7: "q", 11: "d"}
_DEEPEST: Final = 16
_LONGEST_NAME: Final = 4096


def read_ort_contents(content: bytes, graph_contents: GraphContents) -> None:
    """Read a file in onnxruntime's format from its beginning to its end, and add its contents to `graph_contents`.
    Raise a BundleError if the bytes are not a file in onnxruntime's format, or contain something that a classifier's
    graph does not need."""
    walk = _OrtWalker(content, graph_contents)
    if content[4:8] != b"ORTM":
        raise graph_contents.make_refusal("is not a graph in onnxruntime's format")
    model = walk.read_table_member(walk.follow_offset(0), _SESSION_MODEL)
    graph = None if model is None else walk.read_table_member(model, _MODEL_GRAPH)
    if graph is None:
        raise graph_contents.make_refusal("is not a graph in onnxruntime's format: it holds no graph")
    walk.read_graph(graph, 0)
    if graph_contents.weights > len(content):
        raise graph_contents.make_refusal("holds tensors that share the same bytes of the file")


class _OrtWalker:
    """Reads the tables of a flatbuffer, and adds operators and small tensors to `graph_contents`. A table is given by
    its position in the file; a member of a table is given by its index in the table."""

    def __init__(self, content: bytes, graph_contents: GraphContents) -> None:
        self.content = content
        self.graph_contents = graph_contents

    def read_number(self, struct_code: str, position: int) -> int:
        """Read the number at a position, in the format `struct_code` of Python's `struct`; refuse a file that ends
        before."""
        try:
            if position < 0:
                raise struct.error
            value: int = struct.unpack_from(f"<{struct_code}", self.content, position)[0]
        except struct.error:
            raise self.graph_contents.make_refusal("is not a graph in onnxruntime's format: it is cut short") from None
        return value

    def follow_offset(self, position: int) -> int:
        """Return the position to which the offset at `position` points, such as that of a table."""
        self.graph_contents.count_field_or_refuse()
        return position + self.read_number("I", position)

    def find_member(self, table: int, member_index: int) -> int | None:
        """Return the position of a member in its table; None if the member is missing."""
        fields = table - self.read_number("i", table)
        if 4 + 2 * member_index >= self.read_number("H", fields):
            return None
        offset = self.read_number("H", fields + 4 + 2 * member_index)
        return table + offset if offset else None

    def read_table_member(self, table: int, member_index: int) -> int | None:
        """Return the position to which a member of a table points, such as that of an inner table; None if the member
        is missing."""
        position = self.find_member(table, member_index)
        return None if position is None else self.follow_offset(position)

    def list_item_positions(self, table: int, member_index: int, item_size: int) -> range:
        """Return the positions of the items of a list member, each of `item_size` bytes; an empty range if the member
        is missing."""
        start = self.read_table_member(table, member_index)
        if start is None:
            return range(0)
        end = start + 4 + item_size * self.read_number("I", start)
        if end > len(self.content):
            raise self.graph_contents.make_refusal("is not a graph in onnxruntime's format: it is cut short")
        return range(start + 4, end, item_size)

    def list_tables(self, table: int, member_index: int) -> list[int]:
        """Return the positions of the tables to which the items of a list member point."""
        return [self.follow_offset(position) for position in self.list_item_positions(table, member_index, 4)]

    def read_text_at(self, start: int) -> str:
        """Read the text at a position: its length, then UTF-8."""
        size = self.read_number("I", start)
        if size > _LONGEST_NAME:
            raise self.graph_contents.make_refusal(
                f"holds a name of {size:,} bytes, but at most {_LONGEST_NAME:,} are allowed"
            )
        try:
            return self.content[start + 4 : start + 4 + size].decode()
        except UnicodeDecodeError:
            raise self.graph_contents.make_refusal("holds a name that is not UTF-8") from None

    def read_member_text(self, table: int, member_index: int) -> str:
        """Read the text of a member; return an empty string if the member is missing."""
        start = self.read_table_member(table, member_index)
        return "" if start is None else self.read_text_at(start)

    def read_graph(self, table: int, depth: int) -> None:
        """Read the graph at the position `table`, and add its operators and tensors to `graph_contents`. `depth` counts
        the graphs around it."""
        if depth > _DEEPEST:
            raise self.graph_contents.make_refusal(f"nests graphs more than {_DEEPEST} levels deep")
        if self.list_tables(table, _SPARSE):
            raise self.graph_contents.make_refusal("holds sparse tensors, which a classifier does not need")
        # Member 0 is the list of optimizations; onnxruntime writes the table also where the list is empty.
        optimizations = self.read_table_member(table, _RUNTIME_OPTIMIZATIONS)
        if optimizations is not None and self.list_item_positions(optimizations, 0, 4):
            raise self.graph_contents.make_refusal(
                "holds operators that onnxruntime would add only when it opens a file"
            )
        for tensor in self.list_tables(table, _INITIALIZERS):
            name, values = self.read_tensor(tensor)
            self.graph_contents.constants[name] = values
        for node in self.list_tables(table, _NODES):
            self.graph_contents.add_node(self.read_node(node, depth))

    def read_node(self, table: int, depth: int) -> Node:
        """Read an operator with its attributes."""
        node = Node(
            domain=self.read_member_text(table, _NODE_DOMAIN),
            operator=self.read_member_text(table, _NODE_OPERATOR),
            inputs=[self.read_text_at(position) for position in self.list_tables(table, _NODE_INPUTS)],
            outputs=[self.read_text_at(position) for position in self.list_tables(table, _NODE_OUTPUTS)],
        )
        for attribute in self.list_tables(table, _NODE_ATTRIBUTES):
            values: Values = tuple(self.read_integers(attribute, _INTS))
            integer = self.find_member(attribute, _I)
            if integer is not None:
                values += (self.read_number("q", integer),)
            tensor = self.read_table_member(attribute, _T)
            for one in [*([] if tensor is None else [tensor]), *self.list_tables(attribute, _TENSORS)]:
                _, values = self.read_tensor(one)
            inner = self.read_table_member(attribute, _G)
            graphs = [*([] if inner is None else [inner]), *self.list_tables(attribute, _GRAPHS)]
            node.holds_graphs |= bool(graphs)
            for graph in graphs if self.graph_contents.trusted else ():
                self.read_graph(graph, depth + 1)
            if values:
                node.attributes[self.read_member_text(attribute, _ATTRIBUTE_NAME)] = values
        return node

    def read_integers(self, table: int, member_index: int) -> list[int]:
        """Read the 64-bit integers of a list member."""
        positions = self.list_item_positions(table, member_index, 8)
        for _ in positions:
            self.graph_contents.count_field_or_refuse()
        return [self.read_number("q", position) for position in positions]

    def read_tensor(self, table: int) -> tuple[str, Values]:
        """Read the tensor at the position `table`; return its name, and its numbers if there are at most 64, else no
        numbers."""
        dims, raw = self.read_integers(table, _DIMS), self.list_item_positions(table, _RAW, 1)
        external = self.find_member(table, _EXTERNAL)
        if external is not None and self.read_number("q", external) != -1:
            raise self.graph_contents.make_refusal("keeps weights in further files, which no digest protects")
        if self.list_item_positions(table, _STRINGS, 4):
            raise self.graph_contents.make_refusal("holds a tensor of strings, which a classifier does not need")
        self.graph_contents.weights += len(raw)
        if any(size < 0 for size in dims) or math.prod(dims) > 2 * len(raw):
            raise self.graph_contents.make_refusal(
                f"holds a tensor of the shape {dims[:8]} in {len(raw)} bytes, which do not fit this shape"
            )
        kind = self.find_member(table, _KIND)
        letter = _NUMBERS.get(0 if kind is None else self.read_number("i", kind), "")
        name = self.read_member_text(table, _TENSOR_NAME)
        if not letter or math.prod(dims) > KNOWN_VALUES or len(raw) != math.prod(dims) * struct.calcsize(f"<{letter}"):
            return name, ()
        content = self.content[raw.start : raw.stop]
        return name, tuple(value for (value,) in struct.iter_unpack(f"<{letter}", content))
