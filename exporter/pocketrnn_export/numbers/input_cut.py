"""A graph without its table: its input is what was looked up in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from pocketrnn.errors import ExportError
from pocketrnn_export.proof.float64_graph import graphs

__all__ = ["with_samples_as_input"]

SAMPLES: Final = "samples"
_SUFFIX: Final = ".samples"
# What may be done to ids before they are looked up: their axes are moved, or one is cut. The axis of the channels is
# then the last one more.
_MOVES: Final = frozenset({"Transpose", "Identity", "Gather", "Slice", "Unsqueeze", "Squeeze"})


def with_samples_as_input(content: bytes, table: str, channels: int) -> bytes:
    """An ONNX file that takes the rows of a table in place of the ids that are looked up in it.

    Args:
        content: the file's bytes; its first input is `tokens` int64 [batch, sequence].
        table: how the name of the initializer ends, float32 [rows, channels].
        channels: how many numbers a row has.

    Returns:
        the bytes of the same graph with the input `samples` float32 [batch, sequence, channels], without the table.

    Raises:
        ExportError: the graph does with the ids something else than to look them up.

    Example:
        >>> with_samples_as_input(content, "pocketrnn_samples.weight", 9)[:2]
        b'\\x08\\n'
    """
    model = onnx.load_model_from_string(content)
    every = list(graphs(model.graph))
    names = {name for graph in every for name in _names(graph, table)} - {""}
    constants = {t.name: t for graph in every for t in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for graph in every for node in graph.node
                  if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value"}  # fmt: skip
    ids = {model.graph.input[0].name: SAMPLES}
    for graph in every:
        nodes = [made for node in graph.node for made in _lifted(node, ids, names, constants)]
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
    first = graph.input[0].type.tensor_type.shape.dim
    batch, sequence = (d.dim_param or (d.dim_value if d.HasField("dim_value") else None) for d in first[:2])
    graph.input[0].CopyFrom(helper.make_tensor_value_info(SAMPLES, TensorProto.FLOAT, [batch, sequence, channels]))
    used = {name for inner in every for node in inner.node for name in node.input}
    if used & (set(ids) | names):
        raise _not_cut(sorted(used & (set(ids) | names))[0])
    made: bytes = model.SerializeToString()
    return made


def _names(graph: GraphProto, table: str) -> set[str]:
    """What the table is called in a graph: by its place in the module."""
    return {tensor.name for tensor in graph.initializer if tensor.name.endswith(table)}


def _lifted(
    node: NodeProto, ids: dict[str, str], names: set[str], constants: Mapping[str, TensorProto]
) -> list[NodeProto]:
    """A node as it is for samples. `ids` maps each tensor of ids to what has the samples of it."""
    if node.op_type == "Gather" and node.input[0] in names:
        if node.input[1] not in ids:
            raise _not_cut(node.input[1])
        return [helper.make_node("Identity", [ids[node.input[1]]], list(node.output), name=node.name)]
    if not node.input or node.input[0] not in ids:
        return [node]
    samples, made = ids[node.input[0]], NodeProto()
    made.CopyFrom(node)
    made.input[0] = samples
    if node.op_type == "Shape":
        _without_channels(made)
        return [made]
    if node.op_type == "Cast":
        ids[node.output[0]] = samples
        return []
    if node.op_type not in _MOVES or not _keeps_channels(made, constants):
        raise _not_cut(node.op_type)
    if node.op_type == "Transpose":
        (order,) = made.attribute
        order.ints.append(len(order.ints))
    ids[node.output[0]] = made.output[0] = node.output[0] + _SUFFIX
    return [made]


def _without_channels(node: NodeProto) -> None:
    """Have Shape leave out the last axis, which ids have not."""
    bounds = {attribute.name: attribute for attribute in node.attribute}
    if "end" not in bounds:
        node.attribute.append(helper.make_attribute("end", -1))
    elif bounds["end"].i < 0:
        bounds["end"].i -= 1
    if "start" in bounds and bounds["start"].i < 0:
        bounds["start"].i -= 1


def _keeps_channels(node: NodeProto, constants: Mapping[str, TensorProto]) -> bool:
    """Whether a move of ids is one of samples too: its axes are counted from the first."""
    if node.op_type in {"Slice", "Unsqueeze", "Squeeze"}:
        at = 3 if node.op_type == "Slice" else 1
        axes = constants.get(node.input[at]) if len(node.input) > at else None
        return axes is not None and bool((numpy_helper.to_array(axes) >= 0).all())
    if node.op_type == "Gather":
        return all(attribute.i >= 0 for attribute in node.attribute if attribute.name == "axis")
    return True


def _not_cut(what: str) -> ExportError:
    return ExportError(
        f"The graph does something with the steps of a sequence that its numbers alone do not say ({what}).",
        "Report the module: this is a fault of pocketrnn.",
    )
