"""Sigmoids whose small results matter, written so that onnxruntime keeps them.

onnxruntime's Sigmoid is within 1e-8 of the right number, and 0 below -18, where PyTorch has 1.5e-8 down to 1e-38. Where
such a number is a gate, nothing is lost. Where its logarithm is taken, or something is divided by it, everything is:
`torch.log(torch.sigmoid(x))`, `p / (1 - p)`, `a / a.sum(1)` of a text whose words all weigh little, and so in
`F.normalize(F.silu(x))`. There a graph has 1 / (1 + exp(-x)), as PyTorch computes it: four nodes in place of one, which
gates do not pay.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from pocketrnn_export.forms.number_kinds import bodies

__all__ = ["keep_tails"]

# What hands on how small a number is: products, sums, what only moves numbers.
_HANDS_ON: Final = frozenset(
    {"Mul", "Div", "Add", "Sub", "Neg", "Abs", "Max", "Min", "Clip", "Sum", "Mean", "Where", "Relu", "LeakyRelu",
     "MatMul", "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
     "ReduceSumSquare", "CumSum", "Cast", "CastLike", "Concat", "Expand", "Flatten",
     "Gather", "GatherElements", "GatherND", "Identity",
     "Pad", "Reshape", "ReverseSequence", "ScatterElements", "ScatterND", "Slice", "Split", "Squeeze", "Tile",
     "Transpose", "Trilu", "Unsqueeze", "Compress", "Einsum", "MaxPool", "AveragePool", "GlobalMaxPool",
     "GlobalAveragePool"}
)  # fmt: skip
# What asks how small a number is: where it is compared, its sign or its place among others too.
_ASKS: Final = frozenset(
    {"Log", "Reciprocal", "Sqrt", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "ArgMax", "ArgMin",
     "TopK", "NonZero", "Sign", "Ceil", "Floor", "Round", "ReduceLogSum", "LayerNormalization",
     "InstanceNormalization", "LpNormalization", "Mod"}
)  # fmt: skip
_WHOLE: Final = frozenset({ir.DataType.INT64, ir.DataType.INT32})
_MOVES: Final = frozenset({"Unsqueeze", "Squeeze", "Reshape", "Expand", "Clip", "Identity", "Transpose", "Slice"})
# A factor, or a weight, beyond this makes 1e-8 a number that is seen.
_LARGE: Final = 64.0


def keep_tails(model: ir.Model) -> None:
    """Write each Sigmoid whose small results matter as 1 / (1 + exp(-x)), in place."""
    nodes = list(model.graph.all_nodes())
    outer = {graph: node for node in nodes for graph in bodies(node)}
    for node in nodes:
        if node.op_type == "Sigmoid" and not node.domain and _matters(node.outputs[0], outer):
            _write_out(node)


def _matters(value: ir.Value, outer: dict[ir.Graph, ir.Node]) -> bool:
    """Whether something that is made of a value asks how small it is."""
    reached, seen = [value], {value}

    def reach(*values: ir.Value) -> None:
        new = [one for one in values if one not in seen]
        seen.update(new)
        reached.extend(new)

    while reached:
        one = reached.pop()
        for node, index in one.uses():
            if _asks(node, index):
                return True
            # Inside, the value stands among the body's inputs; which of them is the operator's business.
            for body in bodies(node):
                reach(*body.inputs)
            if node.op_type in _HANDS_ON and not _is_layer(node):
                reach(*node.outputs)
        for graph, node in outer.items():
            if one in graph.outputs:
                reach(*node.outputs, *graph.inputs)
    return False


def _asks(node: ir.Node, index: int) -> bool:
    if node.op_type in _ASKS:
        return True
    if node.op_type == "Div":
        return index == 1 or not _is_count(node.inputs[1])
    if node.op_type == "Pow":
        exponent = _constant(node.inputs[1])
        whole = exponent is not None and bool(((exponent >= 1) & (exponent == np.round(exponent))).all())
        return index == 1 or not whole
    if node.op_type in {"Mul", "MatMul", "Gemm", "Conv"}:
        others = [_constant(value) for i, value in enumerate(node.inputs) if i != index]
        return any(other is not None and np.abs(other).max(initial=0.0) > _LARGE for other in others)
    # A sum with a number that is not small hides how small the other is, `1 + p` and `p + 0.5`: which it is, only
    # constants say, and what is subtracted from may leave nothing. So sums hand on.
    return False


def _is_count(divisor: ir.Value | None) -> bool:
    """Whether what is divided by is a constant, or a whole number, such as how many words a text has."""
    while divisor is not None and _constant(divisor) is None:
        producer = divisor.producer()
        if producer is None:
            return False
        if producer.op_type == "Cast":
            given = producer.inputs[0]
            return given is not None and given.dtype in _WHOLE
        if producer.op_type not in _MOVES:
            return False
        divisor = producer.inputs[0]
    return True


def _is_layer(node: ir.Node) -> bool:
    """Whether it is a product with weights, whose sums hide how small one number is."""
    return node.op_type in {"MatMul", "Einsum"} and any(_constant(value) is not None for value in node.inputs)


def _constant(value: ir.Value | None) -> Any:
    if value is None or not value.is_initializer() or value.const_value is None:
        return None
    array = value.const_value.numpy()
    return array if array.dtype.kind in "fiu" else None


def _write_out(node: ir.Node) -> None:
    x, result = node.inputs[0], node.outputs[0]
    assert x is not None and result.dtype is not None and node.graph is not None  # noqa: S101, PT018 - a Sigmoid has them
    tape = Tape()
    one = tape.op("Constant", [], attributes={"value": ir.tensor(1.0, dtype=result.dtype)})
    total = tape.op("Add", [tape.op("Exp", [tape.op("Neg", [x])]), one])
    kept = tape.op("Reciprocal", [total])
    for value in (total, kept):
        value.dtype, value.shape = result.dtype, result.shape
    ir.convenience.replace_nodes_and_values(node.graph, node, [node], list(tape.nodes), [result], [kept])
