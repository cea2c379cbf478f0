"""Rewrite sigmoids whose small results matter. onnxruntime's Sigmoid rounds small results to 0.

onnxruntime's Sigmoid is within 1e-8 of the right number, and 0 below -18, where PyTorch has 1.5e-8 down to 1e-38. That
does not matter for a gate. It matters where forward takes the logarithm of such a number or divides by it:
`torch.log(torch.sigmoid(x))`, `p / (1 - p)`, `a / a.sum(1)` of a text whose words all have small weights,
`F.normalize(F.silu(x))`. There the graph computes 1 / (1 + exp(-x)), as PyTorch does. That takes four nodes, so gates
keep the Sigmoid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from pocketrnn_export.forms.onnx.value_ranges import ANYTHING, NumberRange, compute_ranges, list_subgraphs

# Operators whose results do not depend on how small an input is: shares of a sum, sums with a large number.
_HIDES: Final = frozenset(
    {"Constant", "ConstantOfShape", "Exp", "HardSigmoid", "LogSoftmax", "Shape", "Sigmoid", "Size", "Softmax"}
)  # fmt: skip
# Operators whose results depend on how small an input is: comparisons, logarithms, signs, ranks.
_ASKS: Final = frozenset(
    {"Log", "Reciprocal", "Sqrt", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "ArgMax", "ArgMin",
     "TopK", "NonZero", "Sign", "Ceil", "Floor", "Round", "ReduceLogSum", "LayerNormalization",
     "InstanceNormalization", "LpNormalization", "Mod"}
)  # fmt: skip
_WHOLE: Final = frozenset({ir.DataType.INT64, ir.DataType.INT32})
_MOVES: Final = frozenset({"Unsqueeze", "Squeeze", "Reshape", "Expand", "Clip", "Identity", "Transpose", "Slice"})
_PRODUCTS: Final = frozenset({"Mul", "MatMul", "Gemm", "Conv", "Einsum", "BatchNormalization", "PRelu",
                              "GRU", "LSTM", "RNN"})  # fmt: skip
_LAYERS: Final = frozenset({"GRU", "LSTM", "RNN"})
# A factor, or a product of factors, above this makes 1e-8 large enough to matter.
_LARGE: Final = 64.0


def rewrite_sigmoids_with_small_values(model: ir.Model) -> None:
    """Write each Sigmoid as 1 / (1 + exp(-x)) if its small results matter, in place."""
    nodes = list(model.graph.all_nodes())
    outer = {graph: node for node in nodes for graph in list_subgraphs(node)}
    ranges = compute_ranges(model.graph)
    for node in nodes:
        if node.op_type == "Sigmoid" and not node.domain and _needs_small_values(node.outputs[0], outer, ranges):
            _expand_sigmoid(node)


def _needs_small_values(
    value: ir.Value, nodes_of_subgraphs: dict[ir.Graph, ir.Node], ranges: Mapping[ir.Value, NumberRange]
) -> bool:
    """Return whether a later result changes if the small numbers in a value are rounded to 0."""
    # For each other value, the factor by which the first value was multiplied on its way there.
    scales = {value: 1.0}
    reached = [value]

    def visit_users(scale: float, *values: ir.Value) -> None:
        for one in values:
            if scale > scales.get(one, 0.0):
                scales[one] = scale
                reached.append(one)

    while reached:
        one = reached.pop()
        for node, index in one.uses():
            factor = _find_largest_factor(node, index, ranges)
            if scales[one] * factor > _LARGE or _depends_on_small_values(node, index):
                return True
            # In a subgraph, the value can be any of the inputs.
            for body in list_subgraphs(node):
                visit_users(scales[one], *body.inputs)
            if not _hides_small_values(node):
                visit_users(scales[one] * max(1.0, factor), *node.outputs)
        for graph, node in nodes_of_subgraphs.items():
            if one in graph.outputs:
                visit_users(scales[one], *node.outputs, *graph.inputs)
    return False


def _find_largest_factor(node: ir.Node, input_index: int, ranges: Mapping[ir.Value, NumberRange]) -> float:
    """Return the largest absolute number by which a node multiplies its input with this index."""
    others = [
        ranges.get(value, ANYTHING) for i, value in enumerate(node.inputs) if i != input_index and value is not None
    ]
    if node.op_type == "Div" and input_index == 0:
        # An integer divisor is at least 1, or the quotient is not finite.
        least = 0.0 if others[0].may_be_zero else min(abs(others[0].low), abs(others[0].high))
        return 1.0 if _is_integer_divisor(node.inputs[1]) else math.inf if least == 0 else 1.0 / least
    if node.op_type == "BatchNormalization":
        epsilon = node.attributes.get("epsilon")
        least = max(others[3].low, 0.0) + (1e-5 if epsilon is None else epsilon.as_float())
        return others[0].largest_magnitude / math.sqrt(least) if least > 0 else math.inf
    if node.op_type == "Pow" and input_index == 0:
        return others[0].largest_magnitude
    alpha = node.attributes.get("alpha")
    scaled = 1.0 if alpha is None or node.op_type not in {"Gemm", "LeakyRelu"} else abs(alpha.as_float())
    if node.op_type not in _PRODUCTS:
        return max(1.0, scaled)
    return scaled * math.prod(
        one.largest_magnitude for one in (others[:1] if node.op_type in {"Gemm", "Conv", *_LAYERS} else others)
    )


def _depends_on_small_values(node: ir.Node, input_index: int) -> bool:
    """Return whether a node's result depends on how small the input with this index is, as in a logarithm."""
    if node.op_type in _ASKS:
        return True
    if node.op_type == "Cast":
        return bool(node.outputs[0].dtype == ir.DataType.BOOL)
    if node.op_type == "Div":
        return input_index == 1
    if node.op_type == "Pow":
        exponent = _read_constant_array(node.inputs[1])
        whole = exponent is not None and bool(((exponent >= 1) & (exponent == np.round(exponent))).all())
        return input_index == 1 or not whole
    # In a sum with a number that is not small, as `1 + p`, it does not matter how small p is. But only a constant is
    # known to be not small, and a difference may cancel. So sums are not in this list.
    return False


def _is_integer_divisor(divisor: ir.Value | None) -> bool:
    """Return whether the divisor is an integer, such as the number of words in a text."""
    while divisor is not None and (producer := divisor.producer()) is not None:
        divisor = producer.inputs[0]
        if producer.op_type == "Cast" and divisor is not None and divisor.dtype in _WHOLE:
            return True
        if producer.op_type not in _MOVES:
            return False
    return False


def _hides_small_values(node: ir.Node) -> bool:
    """Return whether the result of a node is the same for all small inputs, as with a bias."""
    if node.op_type in _LAYERS:
        weights = _read_constant_array(node.inputs[1])
        return weights is not None and bool(np.abs(weights).max() <= _LARGE)
    if node.op_type not in {"Gemm", "Conv"}:
        return node.op_type in _HIDES
    bias = _read_constant_array(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(1)
    return bias is None or bool(bias.any())


def _read_constant_array(value: ir.Value | None) -> Any:
    if value is None or not value.is_initializer() or value.const_value is None:
        return None
    array = value.const_value.numpy()
    return array if array.dtype.kind in "fiu" else None


def _expand_sigmoid(node: ir.Node) -> None:
    """Replace a Sigmoid by the nodes of 1 / (1 + exp(-x))."""
    x, result = node.inputs[0], node.outputs[0]
    assert x is not None and result.dtype is not None and node.graph is not None  # noqa: S101, PT018 - a Sigmoid has them
    tape = Tape()
    one = tape.op("Constant", [], attributes={"value": ir.tensor(1.0, dtype=result.dtype)})
    total = tape.op("Add", [tape.op("Exp", [tape.op("Neg", [x])]), one])
    kept = tape.op("Reciprocal", [total])
    for value in (total, kept):
        value.dtype, value.shape = result.dtype, result.shape
    ir.convenience.replace_nodes_and_values(node.graph, node, [node], list(tape.nodes), [result], [kept])
