"""The numbers before a graph's last linear layer: where they stand, and how the graph is made to give them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pocketrnn.errors import InputError
from pocketrnn.graph_check.allow_list import Found, Node
from pocketrnn.graph_check.onnx_wire import walk_onnx

__all__ = ["input_of_last_layer", "with_output"]

_LAYERS: Final = ("Gemm", "MatMul")
# Members of ModelProto, GraphProto and ValueInfoProto in onnx.proto: graph, output, name.
_GRAPH, _OUTPUT, _NAME = 7, 12, 1


def input_of_last_layer(content: bytes, path: Path) -> str:
    """The name of what a graph's last linear layer is given.

    From the logits it goes back through what is done to the numbers of one text, such as a division by a temperature,
    to a product with weights.

    Args:
        content: an ONNX file that was checked.
        path: its name, for the message.

    Raises:
        InputError: the logits are made in another way.
    """
    found = Found(path, trusted=True)
    walk_onnx(content, found)
    made = {name: node for node in found.nodes for name in node.outputs}
    fixed = _constants(found)
    name = "logits"
    while (node := made.get(name)) is not None:
        given = [one for one in node.inputs if one and one not in fixed]
        if len(given) != 1:
            break
        if node.operator in _LAYERS and node.inputs[0] == given[0]:
            return given[0]
        (name,) = given
    what = "is joined of several" if node is not None else "is not a linear layer's"
    raise InputError(
        f"{path} has no last linear layer whose input could be given: what comes before the logits {what}.",
        "Use the logits or the probabilities.",
    )


def _constants(found: Found) -> set[str]:
    """The names of all that no text changes."""
    fixed = set(found.constants)
    for node in found.nodes:
        if _is_fixed(node, fixed):
            fixed.update(node.outputs)
    return fixed


def _is_fixed(node: Node, fixed: set[str]) -> bool:
    return all(name in fixed for name in node.inputs if name)


def with_output(content: bytes, name: str) -> bytes:
    """A graph that also gives the numbers of this name.

    The members of a message may stand in several parts, one after the other, which protobuf joins: its specification,
    "Last One Wins".

    Example:
        >>> with_output(b"", "h")
        b':\\x05b\\x03\\n\\x01h'
    """
    return content + _member(_GRAPH, _member(_OUTPUT, _member(_NAME, name.encode())))


def _member(number: int, content: bytes) -> bytes:
    size, left = b"", len(content)
    while left > 0x7F:
        size, left = size + bytes([left & 0x7F | 0x80]), left >> 7
    return bytes([number << 3 | 2]) + size + bytes([left]) + content
