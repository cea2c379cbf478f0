"""Remove the table of samples from a graph, so that the graph takes samples instead of ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.float64_graph import list_nested_graphs

SAMPLES: Final = "samples"
_SUFFIX: Final = ".samples"
# The operators that may move or cut ids before the look-up. On samples they work with one more axis, the last one, for
# the channels.
_MOVES: Final = frozenset({"Transpose", "Identity", "Gather", "Slice", "Unsqueeze", "Squeeze"})
# More operators that only select among ids, so that each id can be replaced by the position of its sample.
_PICKS: Final = _MOVES | {
    "Cast",
    "Pad",
    "Reshape",
    "Flatten",
    "Expand",
    "Split",
    "Compress",
    "GatherElements",
    "GatherND",
}


def replace_ids_by_samples(content: bytes, table: str, channels: int) -> bytes:
    """Return a graph that takes samples, made from a graph that takes the ids of samples in a table.

    Args:
        content: the file's bytes; its first input is `tokens` int64 [batch, sequence].
        table: the end of the name of the initializer, float32 [rows, channels].
        channels: how many numbers a row has.

    Returns:
        the bytes of the same graph with the input `samples` float32 [batch, sequence, channels], without the table.

    Raises:
        ExportError: the graph uses the ids for more than the look-up.
    """
    try:
        return _convert_graph_to_samples(content, table, channels)
    except _NoSampleOperatorError as error:
        return _replace_ids_by_positions(content, table, channels, error.operator)


def _convert_graph_to_samples(content: bytes, table: str, channels: int) -> bytes:
    """Replace each operator on ids by the same operator on samples, so that the graph needs no table."""
    model = onnx.load_model_from_string(content)
    every = list(list_nested_graphs(model.graph))
    names = {name for graph in every for name in _find_table_names(graph, table)} - {""}
    constants = {t.name: t for graph in every for t in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for graph in every for node in graph.node
                  if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value"}  # fmt: skip
    ids = {model.graph.input[0].name: SAMPLES}
    for graph in every:
        nodes = [made for node in graph.node for made in _convert_node_to_samples(node, ids, names, constants)]
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(kept)
        left = [value for value in graph.value_info if value.name not in ids]
        del graph.value_info[:]
        graph.value_info.extend(left)
    graph = model.graph
    tensors = [tensor for tensor in graph.initializer if tensor.name not in names]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    _declare_samples_input(graph, channels)
    used = {name for inner in every for node in inner.node for name in node.input}
    if used & (set(ids) | names):
        raise _NoSampleOperatorError(sorted(used & (set(ids) | names))[0])
    made: bytes = model.SerializeToString()
    return made


def _replace_ids_by_positions(content: bytes, table: str, channels: int, refused_operator: str) -> bytes:
    """Return the bytes of a graph that takes samples, made from one that looks up ids in a table. In the new graph, the
    samples themselves are the table, and their positions 1, 2, ... are the ids. Row 0 of the table is the padding.

    Args:
        content: the ONNX file of the graph that takes ids.
        table: the end of the name of the table.
        channels: how many numbers a row of the table has.
        refused_operator: the operator to name in the error.

    Raises:
        ExportError: the graph uses the ids for more than selection and look-up.
    """
    model = onnx.load_model_from_string(content)
    every, tokens = list(list_nested_graphs(model.graph)), model.graph.input[0].name
    names = {name for graph in every for name in _find_table_names(graph, table)} - {""}
    constants = {t.name: t for graph in every for t in graph.initializer}
    ids = {tokens}
    for node in (node for graph in every for node in graph.node):
        read = [at for at, name in enumerate(node.input) if name in ids]
        if not read or node.op_type == "Shape" or (node.op_type == "Gather" and node.input[0] in names):
            continue
        filled = constants.get(node.input[2]) if node.op_type == "Pad" and len(node.input) > 2 else None
        if read != [0] or node.op_type not in _PICKS or (filled is not None and numpy_helper.to_array(filled).any()):
            raise _make_other_use_error(refused_operator)
        ids.update(node.output)
    if len(names) != 1:
        raise _make_other_use_error(refused_operator)
    (name,) = names
    rows = next(t for t in model.graph.initializer if t.name == name)
    padding = numpy_helper.from_array(numpy_helper.to_array(rows)[:1], "places.padding")
    model.graph.initializer.remove(rows)
    ends = {"flat": [-1, channels], "first": 1}
    model.graph.initializer.append(padding)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), f"places.{key}") for key, value in ends.items()
    )
    nodes = [
        helper.make_node("Reshape", [SAMPLES, "places.flat"], ["places.steps"]),
        helper.make_node("Concat", ["places.padding", "places.steps"], [name], axis=0),
        helper.make_node("Shape", [SAMPLES], ["places.shape"], end=2),
        helper.make_node("ReduceProd", ["places.shape"], ["places.count"], keepdims=0),
        helper.make_node("Add", ["places.count", "places.first"], ["places.end"]),
        helper.make_node("Range", ["places.first", "places.end", "places.first"], ["places.all"]),
        helper.make_node("Reshape", ["places.all", "places.shape"], [tokens]),
    ]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *kept])
    _declare_samples_input(model.graph, channels)
    made: bytes = model.SerializeToString()
    return made


def _declare_samples_input(graph: GraphProto, channels: int) -> None:
    """Declare samples as the graph's first input, in place of ids."""
    first = graph.input[0].type.tensor_type.shape.dim
    batch, sequence = (d.dim_param or (d.dim_value if d.HasField("dim_value") else None) for d in first[:2])
    graph.input[0].CopyFrom(helper.make_tensor_value_info(SAMPLES, TensorProto.FLOAT, [batch, sequence, channels]))


def _find_table_names(graph: GraphProto, table: str) -> set[str]:
    """Return the names of the tensors in a graph that hold the table. They end with the table's path in the module."""
    return {tensor.name for tensor in graph.initializer if tensor.name.endswith(table)}


def _convert_node_to_samples(
    node: NodeProto, samples_of_ids: dict[str, str], table_names: set[str], constants: Mapping[str, TensorProto]
) -> list[NodeProto]:
    """Convert a node that takes ids to nodes that take samples. `samples_of_ids` maps each tensor of ids to the
    tensor of its samples."""
    if node.op_type == "Gather" and node.input[0] in table_names:
        if node.input[1] not in samples_of_ids:
            raise _NoSampleOperatorError(node.input[1])
        return [helper.make_node("Identity", [samples_of_ids[node.input[1]]], list(node.output), name=node.name)]
    if not node.input or node.input[0] not in samples_of_ids:
        return [node]
    samples, made = samples_of_ids[node.input[0]], NodeProto()
    made.CopyFrom(node)
    made.input[0] = samples
    if node.op_type == "Shape":
        _exclude_channel_axis(made)
        return [made]
    if node.op_type == "Cast":
        samples_of_ids[node.output[0]] = samples
        return []
    if node.op_type not in _MOVES or not _keeps_channels(made, constants):
        raise _NoSampleOperatorError(node.op_type)
    if node.op_type == "Transpose":
        (order,) = made.attribute
        order.ints.append(len(order.ints))
    samples_of_ids[node.output[0]] = made.output[0] = node.output[0] + _SUFFIX
    return [made]


def _exclude_channel_axis(node: NodeProto) -> None:
    """Make a Shape node leave out the last axis. Samples have this axis, but ids do not."""
    bounds = {attribute.name: attribute for attribute in node.attribute}
    if "end" not in bounds:
        node.attribute.append(helper.make_attribute("end", -1))
    elif bounds["end"].i < 0:
        bounds["end"].i -= 1
    if "start" in bounds and bounds["start"].i < 0:
        bounds["start"].i -= 1


def _keeps_channels(node: NodeProto, constants: Mapping[str, TensorProto]) -> bool:
    """Return whether a node that moves ids also moves samples correctly. A negative axis is wrong for samples, since it
    also counts their channels."""
    if node.op_type in {"Slice", "Unsqueeze", "Squeeze"}:
        at = 3 if node.op_type == "Slice" else 1
        axes = constants.get(node.input[at]) if len(node.input) > at else None
        return axes is not None and bool((numpy_helper.to_array(axes) >= 0).all())
    if node.op_type == "Gather":
        return all(attribute.i >= 0 for attribute in node.attribute if attribute.name == "axis")
    return True


class _NoSampleOperatorError(Exception):
    """The graph has an operator on ids that cannot be replaced by an operator on samples."""

    def __init__(self, operator: str) -> None:
        super().__init__(operator)
        self.operator = operator


def _make_other_use_error(operator: str) -> ExportError:
    return ExportError(
        f"The graph uses the ids of steps for more than the look-up of their numbers ({operator}).",
        "This is a fault of pocketrnn: report it with the module.",
    )
