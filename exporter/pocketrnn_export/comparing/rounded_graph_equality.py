"""Find out whether two graphs differ only because their numbers are rounded to float32.

A number that forward or an exporter computes in double precision (0.1, the square root of 2 in GELU, a product of two
weights) is rounded in a float32 graph. Such a graph is correct, and yet 1e-9 from the module in double precision.
So the module is traced once more in double precision: that graph must agree with the module, and the shipped graph
must be that graph, node by node, with each number rounded to the nearest float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper

# A number computed in float32, such as one that an exporter folded, may be this many ulps from the number computed
# in float64 and then rounded. In 31 user modules all differ by 0 or 1. The ulps are those of the largest number of the
# tensor: the last of `1 - torch.arange(1, 10) / 10` is 3 of its own ulps from 0.1, and the middle of
# `torch.linspace(-1, 1, 11)` is 0 or nearly. Numbers above a million, such as a mask's, do not set the scale of others.
_ULPS: Final = 4
_LARGE: Final = 2.0**20
_LARGEST: Final = float(np.finfo(np.float32).max)
_TYPES: Final = {int(TensorProto.DOUBLE): int(TensorProto.FLOAT)}
_ZERO: Final = helper.make_tensor("", TensorProto.FLOAT, [1], [0.0])


def find_difference_beyond_rounding(shipped: bytes, double: bytes) -> str | None:
    """Describe the first difference between two graphs that rounding their numbers does not explain, or return None.

    Args:
        shipped: an ONNX file in float32.
        double: an ONNX file in float64. Its values may have other names.
    """
    a, b = onnx.load_from_string(shipped), onnx.load_from_string(double)
    opsets = [sorted((o.domain, o.version) for o in model.opset_import) for model in (a, b)]
    if opsets[0] != opsets[1] or a.functions or b.functions:
        return "their opsets"
    return _compare_graphs(a.graph, b.graph, {})


def _compare_graphs(a: GraphProto, b: GraphProto, names_in_b: dict[str, str]) -> str | None:
    """Describe the first difference between two graphs, or return None. `names_in_b` has the names in the second
    graph of values in the first."""
    b = _remove_widening_casts(b)
    if (len(a.node), len(a.input), len(a.output)) != (len(b.node), len(b.input), len(b.output)):
        return f"{len(a.node)} and {len(b.node)} nodes"
    names_in_b = {**names_in_b, "": ""} | {x.name: y.name for x, y in zip(a.input, b.input, strict=True)}
    numbers = {tensor.name: tensor for tensor in a.initializer}, {tensor.name: tensor for tensor in b.initializer}
    for x, y in zip(a.node, b.node, strict=True):
        different = _compare_nodes(x, y, names_in_b, numbers)
        if different:
            return f"{x.op_type} {x.name or x.output[0]}: {different}"
        names_in_b.update(zip(x.output, y.output, strict=True))
    wired = [names_in_b.get(x.name) == y.name for x, y in zip(a.output, b.output, strict=True)]
    return None if all(wired) else "the outputs"


def _remove_widening_casts(graph: GraphProto) -> GraphProto:
    """Return a copy of a float64 graph without the casts that the float32 graph does not have. These casts change no
    number.

    They cast tensors that forward makes in float32, such as `torch.full((n, n), -1e9)`, and float32 inputs, such as
    features.
    """
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input)}
    made = GraphProto()
    made.CopyFrom(graph)
    del made.node[:]
    names: dict[str, str] = {}
    for node in graph.node:
        to_double = node.op_type == "Cast" and node.attribute[0].i == TensorProto.DOUBLE
        if to_double and kinds.get(node.input[0]) == TensorProto.FLOAT:
            names[node.output[0]] = names.get(node.input[0], node.input[0])
            continue
        kept = made.node.add()
        kept.CopyFrom(node)
        kept.input[:] = [names.get(name, name) for name in node.input]
    return made


def _compare_nodes(
    a: NodeProto,
    b: NodeProto,
    names_in_b: dict[str, str],
    initializers: tuple[dict[str, TensorProto], dict[str, TensorProto]],
) -> str | None:
    """Describe the first difference between two nodes: operator, inputs or attributes. Return None if there is none."""
    if (a.op_type, a.domain, len(a.input), len(a.output)) != (b.op_type, b.domain, len(b.input), len(b.output)):
        return f"is in the place of {b.op_type}"
    for x, y in zip(a.input, b.input, strict=True):
        if x in names_in_b:
            if names_in_b[x] != y:
                return f"its input {x}"
        elif (
            x not in initializers[0]
            or y not in initializers[1]
            or not _is_rounded_to_float32(initializers[0][x], initializers[1][y])
        ):
            return f"its number {x}"
    theirs, others = _read_node_attributes(a), _read_node_attributes(b)
    if [x.name for x in theirs] != [y.name for y in others]:
        return "its attributes"
    for x, y in zip(theirs, others, strict=True):
        if not _are_attributes_equal(x, y, names_in_b):
            return f"its attribute {x.name}"
    return None


def _read_node_attributes(node: NodeProto) -> Sequence[AttributeProto]:
    """Read the attributes of a node. A ConstantOfShape without a value gets its default, zero in float32."""
    if node.op_type == "ConstantOfShape" and not node.attribute:
        return [helper.make_attribute("value", _ZERO)]
    return [*node.attribute]


def _are_attributes_equal(a: AttributeProto, b: AttributeProto, names_in_b: dict[str, str]) -> bool:
    """Return whether an attribute is another one with float32 in place of float64: with rounded numbers, and with the
    type replaced."""
    if a.type != b.type:
        return False
    if a.type == AttributeProto.TENSOR:
        return _is_rounded_to_float32(a.t, b.t)
    if a.type == AttributeProto.GRAPH:
        return _compare_graphs(a.g, b.g, names_in_b) is None
    if a.type == AttributeProto.INT and a.name in {"to", "dtype"}:
        return bool(_TYPES.get(b.i, b.i) == a.i)
    return bool(a.SerializeToString(deterministic=True) == b.SerializeToString(deterministic=True))


def _is_rounded_to_float32(single: TensorProto, double: TensorProto) -> bool:
    """Return whether a tensor holds the numbers of a float64 tensor, rounded to float32, up to 4 ulps."""
    if _TYPES.get(double.data_type, double.data_type) != single.data_type or list(single.dims) != list(double.dims):
        return False
    a: npt.NDArray[Any] = numpy_helper.to_array(single)
    b: npt.NDArray[Any] = numpy_helper.to_array(double)
    if double.data_type != TensorProto.DOUBLE:
        return bool(np.array_equal(a, b))
    # The lowest float64 in a mask is the counterpart of the lowest float32.
    b = np.where(np.isfinite(b), np.clip(b, -_LARGEST, _LARGEST), b)
    rounded = b.astype(np.float32)
    with np.errstate(invalid="ignore"):
        sizes = np.abs(rounded)
        scale = np.where(sizes < _LARGE, np.max(sizes, where=sizes < _LARGE, initial=0.0), sizes)
        near = np.abs(a - b) <= _ULPS * np.spacing(scale).astype(np.float64)
    return bool((near | (a == rounded) | (np.isnan(a) & np.isnan(b))).all())
