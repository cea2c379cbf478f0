"""Read facts from a file that `check` has opened: its weights, rows of tables, sizes of reshapes, and names of axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto

from pocketrnn_export.checking.exported_file import Array, CheckedFile

# Operators that leave ids unchanged between the input and a table.
_SAME_IDS: Final = frozenset({"Cast", "Transpose", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Slice", "Concat"})
# Operators between the sizes of a reshape and the constants that they are made of.
_SAME_SIZES: Final = frozenset({"Cast", "Concat", "Unsqueeze", "Identity"})
_MOST_STEPS: Final = 1_100
_OF_SEQUENCE: Final = ("seq", "time", "step", "tokens", "length")
# Sorted numbers that differ by more are other weights: large matrices of one distribution differ by little.
_SAME_WEIGHT: Final = 1e-6


def find_axis_role(axis_name: str) -> Literal["b", "s"] | None:
    """Return what the name of an axis means: "b" for the batch, "s" for the sequence, None for neither."""
    name = axis_name.lower()
    return "b" if "batch" in name else "s" if any(word in name for word in _OF_SEQUENCE) else None


def find_missing_matrices(file: CheckedFile, matrices: Mapping[str, Array]) -> list[str]:
    """Find the matrices of a module that a file lacks, and return their names; none if the file shows no weights.

    The numbers of a matrix may be in any order.
    """
    if not file.weights:
        return []
    held: dict[int, list[Array]] = {}
    for array in file.weights:
        # A bidirectional layer has both directions in one tensor.
        for part in (array, *(array if array.ndim == 3 and len(array) == 2 else ())):
            if part.dtype.kind == "f":
                held.setdefault(part.size, []).append(np.sort(part, axis=None))
    return [
        name
        for name, matrix in matrices.items()
        if not any(
            np.allclose(np.sort(matrix, axis=None), numbers, rtol=0, atol=_SAME_WEIGHT)
            for numbers in held.get(matrix.size, ())
        )
    ]


def count_table_rows(file: CheckedFile, input_name: str) -> int | None:
    """Count the rows of the smallest table in which a file looks up the ids of an input; None if unknown."""
    if file.model is None:
        return None
    nodes = list(_list_graph_nodes(file.model.graph))
    tables = {name: tensor.dims for name, tensor in _find_constants(file.model.graph, nodes).items()}
    same, rows = {input_name}, []
    for node in nodes:
        if node.op_type == "Gather" and node.input[1] in same and len(dims := tables.get(node.input[0], ())) == 2:
            rows.append(dims[_read_gather_axis(node)])
        if node.op_type in _SAME_IDS and node.input[0] in same:
            same |= set(node.output)
    return min(rows, default=None)


def list_reshape_sizes(file: CheckedFile) -> list[int]:
    """Return the sizes up to 1,100 to which a file may reshape tensors: 1, and the whole numbers in its Reshape
    operators or its TorchScript code."""
    numbers: list[Any] = [1, *file.numbers]
    if file.model is not None:
        nodes = list(_list_graph_nodes(file.model.graph))
        # Before opset 5 a reshape had no second input.
        sizes = {name for node in nodes if node.op_type in ("Reshape", "Expand") for name in node.input[1:2]}
        for node in reversed(nodes):
            if node.op_type in _SAME_SIZES and sizes & set(node.output):
                sizes |= set(node.input)
        constants = _find_constants(file.model.graph, nodes)
        held = [onnx.numpy_helper.to_array(constants[name]).ravel() for name in sorted(sizes & constants.keys())]
        numbers += [number for array in held if array.dtype.kind in "iu" for number in array.tolist()]
    return sorted({int(number) for number in numbers if 0 < number <= _MOST_STEPS and number == int(number)})


def _find_constants(graph: GraphProto, nodes: Sequence[NodeProto]) -> dict[str, TensorProto]:
    """Return the weights of a graph and the tensors of its Constant nodes, by name."""
    made = (node for node in nodes if node.op_type == "Constant")
    constants = {node.output[0]: a.t for node in made for a in node.attribute if a.name == "value"}
    return {tensor.name: tensor for tensor in graph.initializer} | constants


def _list_graph_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield the nodes of a graph; the nodes of an inner graph come before their outer node."""
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _list_graph_nodes(inner)
        yield node


def _read_gather_axis(node: NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 0)
