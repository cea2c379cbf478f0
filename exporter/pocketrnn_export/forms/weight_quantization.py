"""Quantize the weights of an ONNX graph with standard operators. Also make the same graph with the rounded weights in
float32.

Weights are int8 with a float32 scale a row, or float16. An embedding table stays small in memory too: its rows are
looked up as they are stored, and then scaled. Other weights are converted to float32 by a Cast and a Mul before the
node that uses them. onnxruntime does this once, when it opens the file: after that the graph is as fast as before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from pocketrnn.errors import InputError
from pocketrnn_export.forms.onnx.onnx_conversion import find_token_lookups

# How a weight may be stored.
STORAGES: Final = ("float32", "float16", "int8")
# A weight with fewer numbers is not changed: its scales and two more nodes would need the bytes that it saves.
_SMALLEST: Final = 256
# The inputs of each operator that are weights worth storing small. Biases are not: 1,152 of a GRU's 84,000 numbers.
_WEIGHT_INPUTS: Final = {"RNN": (1, 2), "GRU": (1, 2), "LSTM": (1, 2), "Gemm": (0, 1), "MatMul": (0, 1), "Conv": (1,)}
_FLOAT32: Final = int(ir.DataType.FLOAT)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Storage:
    """The types in which the weights of a graph are stored.

    Attributes:
        embedding: the type of the embedding tables: `float32`, `float16` or `int8`.
        weights: the type of the other weights: `float32`, `float16` or `int8`.
        rows: the number of embedding rows to keep, counted from row 0; None for all rows.
    """

    embedding: str = "int8"
    weights: str = "int8"
    rows: int | None = None


@dataclass(frozen=True)
class QuantizedGraphs:
    """Two ONNX files that compute the same function with the same rounded weights.

    Attributes:
        content: stores the weights as int8 or float16, in few bytes.
        rounded: stores the weights as float32, with all rows of the embedding.
    """

    content: bytes
    rounded: bytes


def quantize_graph(content: bytes, storage: Storage, metadata: Mapping[str, str]) -> QuantizedGraphs:
    """Store the weights of a graph in fewer bytes. Return this graph, and a graph that has the same rounded weights in
    float32.

    Args:
        content: an ONNX file that contains its float32 weights, and whose first input is the token ids.
        storage: the types of the stored weights, and how many embedding rows are kept.
        metadata: entries to set in the `metadata_props` of both files.

    Raises:
        InputError: rows are to be cut from a table that is not only used to look up tokens; or a weight has numbers
            that are not finite, or too large for float16.
    """
    model, rounded = _read_model(content), _read_model(content)
    model.metadata_props.update(metadata)
    if storage.rows is not None:
        _cut_table_rows(model.graph, storage.rows)
    chosen = [(table, storage.embedding, -1) for table in _find_quantizable_tables(model.graph)]
    chosen += [(weight, storage.weights, axis) for weight, axis in _find_weights_and_summed_axes(model.graph)]
    for value, stored, axis in chosen:
        if stored != "float32":
            whole = rounded.graph.initializers[str(value.name)]
            numbers, scales = _convert_weight(whole, stored, axis)
            _set_weight_numbers(whole, numbers.astype(np.float32) * (1 if scales is None else scales))
            _store_and_dequantize_weight(model.graph, value, *_convert_weight(value, stored, axis))
    return QuantizedGraphs(_serialize_model(model), _serialize_model(rounded))


def _read_model(content: bytes) -> ir.Model:
    return ir.serde.deserialize_model(onnx.load_from_string(content))


def _serialize_model(model: ir.Model) -> bytes:
    written: bytes = ir.serde.serialize_model(model).SerializeToString()
    return written


def _cut_table_rows(graph: ir.Graph, rows: int) -> None:
    """Cut each embedding table to its first `rows` rows, in place. Raise an InputError if another operator than the
    lookup of tokens uses the table."""
    lookups = find_token_lookups(graph)
    for table in {id(node.inputs[0]): node.inputs[0] for node in lookups}.values():
        assert table is not None  # noqa: S101 - find_token_lookups gives nodes with a table
        if any(node not in lookups or index != 0 for node, index in table.uses()):
            raise InputError(
                f"The embedding {table.name} is not only used to look up tokens, so its rows cannot be cut.",
                "Keep all rows: leave out --words, or in Python the argument `rows` of Storage.",
            )
        _set_weight_numbers(table, np.ascontiguousarray(_read_weight_numbers(table)[:rows]))


def _find_quantizable_tables(graph: ir.Graph) -> list[ir.Value]:
    """Return the large float32 tables [rows, columns] that the graph uses only to look up rows."""
    return [
        value
        for value in graph.initializers.values()
        if _is_quantizable_weight(value)
        and len(value.shape or ()) == 2
        and all(
            node.op_type == "Gather" and index == 0 and _read_gather_axis(node) == 0 for node, index in value.uses()
        )
    ]


def _find_weights_and_summed_axes(graph: ir.Graph) -> list[tuple[ir.Value, int]]:
    """Return the weight matrices of products, recurrent layers and convolutions, each with the axis along which the
    product sums. All numbers along this axis get the same int8 scale."""
    found: dict[str, tuple[ir.Value, int]] = {}
    for node in graph:
        for index in _WEIGHT_INPUTS.get(node.op_type, ()) if node.domain == "" else ():
            value = node.inputs[index] if index < len(node.inputs) else None
            if value is not None and value.is_initializer() and _is_quantizable_weight(value):
                found.setdefault(str(value.name), (value, _find_summed_axis(node, index)))
    return list(found.values())


def _find_summed_axis(node: ir.Node, index: int) -> int:
    if node.op_type == "Gemm":
        transposed = node.attributes.get("transA" if index == 0 else "transB")
        return -1 if (transposed is not None and bool(transposed.as_int())) == (index == 1) else -2
    # A matrix on the right of a MatMul is [in, out]; those of recurrent layers and convolutions are [..., out, in].
    return -2 if node.op_type == "MatMul" and index == 1 else -1


def _is_quantizable_weight(value: ir.Value) -> bool:
    """Return whether a value is a float32 constant with at least 256 numbers and two axes, and not an output of the
    graph."""
    return (
        value.dtype == ir.DataType.FLOAT
        and value.const_value is not None
        and value.const_value.size >= _SMALLEST
        and len(value.const_value.shape) >= 2
        and not value.is_graph_output()
    )


def _read_gather_axis(node: ir.Node) -> int:
    axis = node.attributes.get("axis")
    return 0 if axis is None else axis.as_int()


def _read_weight_numbers(value: ir.Value) -> Floats:
    assert value.const_value is not None  # noqa: S101 - an initializer
    numbers: Floats = value.const_value.numpy()
    return numbers


def _set_weight_numbers(value: ir.Value, numbers: npt.NDArray[Any]) -> None:
    value.const_value = ir.tensor(numbers, name=value.name)
    value.dtype, value.shape = value.const_value.dtype, ir.Shape(numbers.shape)


def _convert_to_int8(numbers: Floats, axis: int) -> tuple[npt.NDArray[np.int8], Floats]:
    """Convert a matrix of finite numbers to int8, from -127 to 127. Return the int8 matrix, and the float32 scales by
    which it must be multiplied: one scale for all numbers along `axis`."""
    scale = (np.abs(numbers).max(axis, keepdims=True) / np.float32(127)).astype(np.float32)
    divisor = np.where(scale > 0, scale, np.float32(1))
    return np.clip(np.rint(numbers / divisor), -127, 127).astype(np.int8), scale


def round_rows_as_int8_does(numbers: Floats) -> Floats:
    """Round a matrix of finite numbers to int8 with a scale for each row. Return the rounded matrix as float32, in the
    same shape."""
    whole, scale = _convert_to_int8(numbers, -1)
    return whole.astype(np.float32) * scale


def _convert_to_float16(numbers: Floats, name: str | None) -> npt.NDArray[np.float16]:
    """Convert a weight to float16. Raise an InputError if a number is too large for float16. `name` is the weight's
    name in the message."""
    with np.errstate(over="ignore"):
        half = numbers.astype(np.float16)
    if not np.isfinite(half).all():
        raise InputError(
            f"The weight {name} has numbers beyond 65504, the largest number in float16.",
            "Store it as int8 or float32: --weights int8, or for an embedding --embedding int8.",
        )
    return half


def _convert_weight(value: ir.Value, storage: str, axis: int) -> tuple[npt.NDArray[Any], Floats | None]:
    """Return the numbers of a weight in another type, and their scales: float16 numbers and None, or int8 numbers and
    float32 scales. Raise an InputError for a weight with a number that is not finite, or too large for float16.

    Args:
        storage: the new type, `float16` or `int8`.
        axis: the axis whose numbers share an int8 scale.
    """
    numbers = _read_weight_numbers(value)
    if not np.isfinite(numbers).all():
        raise InputError(
            f"The weight {value.name} has a number that is infinite or NaN, which only float32 can store.",
            "Store it as float32: --weights float32, or for an embedding --embedding float32.",
        )
    if storage == "float16":
        return _convert_to_float16(numbers, value.name), None
    return _convert_to_int8(numbers, axis)


def _store_and_dequantize_weight(
    graph: ir.Graph, value: ir.Value, numbers: npt.NDArray[Any], scales: Floats | None
) -> None:
    """Replace the numbers of a weight by its quantized numbers, and add nodes that convert them back to float32 where
    the weight is used.

    Args:
        numbers: the weight in int8 or float16.
        scales: the float32 scales of int8 numbers; None for float16.
    """
    uses, scale = list(value.uses()), None
    _set_weight_numbers(value, numbers)
    if scales is not None:
        scale = ir.Value(name=f"{value.name}.scale", const_value=ir.tensor(scales, name=f"{value.name}.scale"))
        _set_weight_numbers(scale, scales)
        graph.register_initializer(scale)
    if all(node.op_type == "Gather" for node, _ in uses):
        for node, _ in uses:
            _dequantize_after_lookup(graph, node, scale)
        return
    nodes, result = _make_dequantize_nodes(value, scale, str(value.name))
    graph.insert_before(graph[0], nodes)
    for node, index in uses:
        node.replace_input_with(index, result)


def _dequantize_after_lookup(graph: ir.Graph, lookup: ir.Node, scale: ir.Value | None) -> None:
    """Add nodes after a lookup in a quantized table. They convert the looked-up rows to float32, and multiply each row
    by its scale, if there are scales.

    Args:
        lookup: the Gather node.
        scale: the float32 scales of the table's rows; None for float16.
    """
    looked_up, name = lookup.outputs[0], str(lookup.outputs[0].name)
    users, shape = list(looked_up.uses()), looked_up.shape
    nodes: list[ir.Node] = []
    scales = None
    if scale is not None:
        nodes.append(ir.node("Gather", [scale, lookup.inputs[1]], {"axis": 0}))
        scales = nodes[-1].outputs[0]
        scales.name = f"{name}.scale"
    more, result = _make_dequantize_nodes(looked_up, scales, name)
    table = lookup.inputs[0]
    assert table is not None and table.dtype is not None  # noqa: S101, PT018 - an initializer
    looked_up.dtype, result.shape = table.dtype, shape
    graph.insert_after(lookup, [*nodes, *more])
    for node, index in users:
        node.replace_input_with(index, result)


def _make_dequantize_nodes(stored: ir.Value, scale: ir.Value | None, name: str) -> tuple[list[ir.Node], ir.Value]:
    """Return the nodes that convert a stored value to float32, and the result of the last node. The name of this result
    is `name` with the ending `.float32`.

    Args:
        stored: the int8 or float16 value.
        scale: the factors of an int8 value; None for float16.
        name: the beginning of the names of the new values.
    """
    cast = ir.node("Cast", [stored], {"to": _FLOAT32})
    result = cast.outputs[0]
    result.name, result.dtype = f"{name}.float32", ir.DataType.FLOAT
    if scale is None:
        return [cast], result
    scaled = ir.node("Mul", [result, scale])
    result.name = f"{name}.whole"
    scaled.outputs[0].name, scaled.outputs[0].dtype = f"{name}.float32", ir.DataType.FLOAT
    return [cast, scaled], scaled.outputs[0]
