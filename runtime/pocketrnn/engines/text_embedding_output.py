"""Find the input of a graph's last linear layer, and make it an output. This input is the embedding of a text."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pocketrnn.errors import InputError
from pocketrnn.graph_check.graph_contents import GraphContents
from pocketrnn.graph_check.onnx_protobuf import read_onnx_contents

__all__ = ["add_graph_output", "find_last_layer_input"]

_LAYERS: Final = ("Gemm", "MatMul")
# Members of ModelProto, GraphProto and ValueInfoProto in onnx.proto: graph, output, name.
_GRAPH, _OUTPUT, _NAME = 7, 12, 1


def find_last_layer_input(content: bytes, path: Path) -> str:
    """Find the name of the tensor that a graph's last linear layer takes as input.

    The search goes back from the logits to a product with weights, through operators with one input that is not
    constant, such as a division by a temperature.

    Args:
        content: the bytes of an ONNX file that was checked.

    Raises:
        InputError: the graph does not end with a linear layer.
    """
    graph_contents = GraphContents(path, trusted=True)
    read_onnx_contents(content, graph_contents)
    made = {name: node for node in graph_contents.nodes for name in node.outputs}
    fixed = _find_names_independent_of_input(graph_contents)
    name = "logits"
    while (node := made.get(name)) is not None:
        given = [one for one in node.inputs if one and one not in fixed]
        if len(given) != 1:
            break
        if node.operator in _LAYERS and node.inputs[0] == given[0]:
            return given[0]
        (name,) = given
    raise InputError(
        f"The graph {path} cannot give embeddings of texts: it does not end with a linear layer.",
        "Use the logits or the probabilities instead.",
    )


def _find_names_independent_of_input(graph_contents: GraphContents) -> set[str]:
    """Return the names of all tensors of a graph that do not depend on its input."""
    fixed = set(graph_contents.constants)
    for node in graph_contents.nodes:
        if all(name in fixed for name in node.inputs if name):
            fixed.update(node.outputs)
    return fixed


def add_graph_output(content: bytes, name: str) -> bytes:
    """Return an ONNX file whose graph gives the tensor `name` as a further output.

    The output is appended as a second GraphProto, which protobuf merges with the first ("Last One Wins" in its
    specification).
    """
    return content + _encode_protobuf_field(
        _GRAPH, _encode_protobuf_field(_OUTPUT, _encode_protobuf_field(_NAME, name.encode()))
    )


def _encode_protobuf_field(field_number: int, content: bytes) -> bytes:
    """Encode a field of a protobuf message: its number, its length and its content."""
    size, left = b"", len(content)
    while left > 0x7F:
        size, left = size + bytes([left & 0x7F | 0x80]), left >> 7
    return bytes([field_number << 3 | 2]) + size + bytes([left]) + content
