"""Make the program of a packed file from the graph of a bundle. docs/packed-format.md describes packed files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import onnx

from pocketrnn.bundle.manifest import Graph
from pocketrnn.errors import ExportError, first_line
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.text.features_beside_text import Features
from pocketrnn_export.forms.packed_file import composed_operator_lowering, layer_and_reduction_lowering
from pocketrnn_export.forms.packed_file.graph_observation import list_token_dependent_names, observe_graph
from pocketrnn_export.forms.packed_file.layer_length_removal import rewrite_layers_without_lengths
from pocketrnn_export.forms.packed_file.operator_lowering import Lowering

# These modules register handlers for operators when they are imported.
_OPERATORS: Final = (composed_operator_lowering, layer_and_reduction_lowering)


def lower_graph(
    content: bytes,
    graph: Graph,
    *,
    numbers: NumberInput | None = None,
    state_size: int = 0,
    padding_id: int | None = None,
    features: Features = (),
    equal_lengths: bool = False,
) -> Lowering:
    """Translate an ONNX graph for one text or sequence into the program of a packed file.

    The arguments are those of `observe_graph`.

    Raises:
        ExportError: the engine has no operation for an operator; the message names it and its place.
    """
    with _convert_read_errors():
        content = content if numbers is not None else _convert_tables_to_float32(onnx.load_from_string(content))
        content = rewrite_layers_without_lengths(content, list_token_dependent_names)
        seen = observe_graph(
            content, graph, numbers=numbers, state_size=state_size, padding_id=padding_id, features=features,
            equal_lengths=equal_lengths,
        )  # fmt: skip
    lowering = Lowering(seen)
    lowering.lower_operators()
    return lowering


@contextmanager
def _convert_read_errors() -> Iterator[None]:
    """While the block runs, convert the errors of onnx and numpy to an ExportError."""
    try:
        yield
    # onnx's own errors, and numpy's for malformed tensors, have no common base class.
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ExportError(
            f"The graph cannot be read: {first_line(error)}.", "Use the bundle with onnxruntime."
        ) from error


def _is_float32_cast(node: onnx.NodeProto) -> bool:
    to = next((a.i for a in node.attribute if a.name == "to"), None)
    return node.op_type == "Cast" and len(node.input) == 1 and to == onnx.TensorProto.FLOAT


def _convert_tables_to_float32(model: onnx.ModelProto) -> bytes:
    """Convert quantized embedding tables to float32. Remove the cast and the scaling that follow each lookup."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    made = {name: node for node in model.graph.node for name in node.output}

    def find_table_and_indices_of_lookup(name: str) -> tuple[str, str] | None:
        node = made.get(name)
        if node is None or node.op_type != "Gather" or len(node.input) != 2 or node.input[0] not in tensors:
            return None
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        return (node.input[0], node.input[1]) if axis == 0 else None

    def read_array(name: str) -> Any:
        return onnx.numpy_helper.to_array(tensors[name])

    for node in model.graph.node:
        if node.op_type == "Mul" and len(node.input) == 2:
            cast, scaled = made.get(node.input[0]), find_table_and_indices_of_lookup(node.input[1])
            stored = (
                None if cast is None or not _is_float32_cast(cast) else find_table_and_indices_of_lookup(cast.input[0])
            )
            if stored is None or scaled is None or stored[1] != scaled[1] or read_array(stored[0]).dtype != np.int8:
                continue
            table = read_array(stored[0]).astype(np.float32) * read_array(scaled[0])
        elif _is_float32_cast(node):
            stored = find_table_and_indices_of_lookup(node.input[0])
            if stored is None or read_array(stored[0]).dtype != np.float16:
                continue
            table = read_array(stored[0]).astype(np.float32)
        else:
            continue
        name = f"{stored[0]}.as float32"
        if name not in tensors:
            tensors[name] = onnx.numpy_helper.from_array(table, name)
            model.graph.initializer.append(tensors[name])
        plain = onnx.helper.make_node("Gather", [name, stored[1]], list(node.output), name=node.name, axis=0)
        node.CopyFrom(plain)
    content: bytes = model.SerializeToString()
    return content
