"""Compute the constants of a graph with the rounding of PyTorch: after each operation. Results of functions such as
sine are rounded only once.

A module that computes its frequencies in forward, `torch.exp(torch.arange(0, 12, 2) * -0.77)`, leaves them to the
folding of constants. onnxscript folds in float32, where each step rounds: `exp` came out five float32 numbers from the
right one, and the sine of a frequency times the 257th position 1e-5 off. The same constants are computed here first.

For other constants more digits are worse: in `share >= 1 - torch.arange(1, 10) / 10` PyTorch has 0.10000002, and with
0.1 a text of ten words has another answer. These constants are rounded after each operation. For sums, products and
quotients this gives exactly PyTorch's bits.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.float64_graph import build_evaluator, convert_model_to_float64

# As many numbers as onnxscript folds at most.
_MOST_NUMBERS: Final = 512 * 512
# Operators that are not computed here: random ones, and those whose result is as large as a number among their inputs.
_LEFT_OUT: Final = frozenset(
    {"RandomUniform", "RandomNormal", "RandomUniformLike", "RandomNormalLike", "Bernoulli", "Multinomial", "Dropout",
     "Pad", "Resize", "Upsample", "OneHot", "HannWindow", "HammingWindow", "BlackmanWindow", "If", "Loop", "Scan"}
)  # fmt: skip
# Operators with a jump in their result: a change in the last digit of an input can give another number.
_STEPS: Final = frozenset(
    {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Floor", "Ceil", "Round", "Sign", "Mod", "ArgMax",
     "ArgMin", "TopK", "Unique", "NonZero"}
)  # fmt: skip
_WHOLE: Final = frozenset(
    {ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.UINT8, ir.DataType.BOOL}
)
# Functions whose argument a graph may multiply by hundreds, as positions multiply frequencies. Their inputs and results
# are kept as exact as float32 can be, unless a step operator uses them.
_CURVED: Final = frozenset({"Sin", "Cos", "Tan", "Exp", "Log", "Pow"})
# The search for uses of a constant ends at a recurrent layer.
_LAYERS: Final = frozenset({"GRU", "LSTM", "RNN"})


def compute_rounded_constants(model: ir.Model) -> Mapping[str, npt.NDArray[np.float32]]:
    """Compute the float32 values of a graph that depend on constants only, and return them by name. Each operation
    rounds its result, as in PyTorch, except for functions such as exp and sine: these are computed in float64 and
    rounded once, unless an operator with jumps, such as Floor or a comparison, uses the result.

    Args:
        model: without functions. Values that cannot be computed in float64 are left out, and so are those that depend
            on them.
    """
    known: dict[ir.Value, npt.NDArray[Any]] = {}
    singles: dict[ir.Value, npt.NDArray[Any]] = {}
    curved: set[ir.Value] = set()
    found: dict[str, npt.NDArray[np.float32]] = {}
    for node in model.graph:
        inputs = [value for value in node.inputs if value is not None]
        if node.domain or node.op_type in _LEFT_OUT or not all(_add_known_constant(value, known) for value in inputs):
            continue
        singles |= {value: known[value] for value in inputs if value not in singles}
        made = _compute_node_in_float64(node, known, model)
        rounded = (
            _compute_node_in_float64(node, singles, model) if any(singles[v] is not known[v] for v in inputs) else made
        )
        made = rounded if _has_jumps(node) else made
        if node.op_type in _CURVED or not curved.isdisjoint(inputs):
            curved.update(node.outputs)
        for value, array, single in zip(node.outputs, made, rounded, strict=False):
            known[value] = singles[value] = array
            # A value that onnxscript adds, such as the Unsqueeze of `torch.stack`, may have no type.
            if value.dtype not in (ir.DataType.FLOAT, None) or array.dtype != np.float64:
                continue
            with np.errstate(over="ignore"):
                singles[value] = single.astype(np.float32).astype(np.float64)
                if value.name and value.dtype is not None:
                    chosen = array if _is_rounded_once(value, curved) else singles[value]
                    found[value.name] = chosen.astype(np.float32)
    return found


def _is_rounded_once(value: ir.Value, curved: Collection[ir.Value]) -> bool:
    """Return whether a function such as exp or sine makes or uses the value, and no operator with jumps, such as Floor
    or a comparison, uses it."""
    met = list(_list_downstream_operators(value))
    is_curved = value in curved or any(node.op_type in _CURVED for node in met)
    return is_curved and not any(map(_has_jumps, met))


def _list_downstream_operators(value: ir.Value) -> Iterator[ir.Node]:
    """Yield the operators that use a value, also indirectly, up to a recurrent layer or a function such as exp or
    sine."""
    waiting, seen = [value], {value}
    while waiting:
        for node, _ in waiting.pop().uses():
            yield node
            if node.op_type not in _CURVED | _LAYERS:
                waiting += [made for made in node.outputs if made not in seen]
                seen.update(node.outputs)


def _has_jumps(node: ir.Node) -> bool:
    return node.op_type in _STEPS or (node.op_type == "Cast" and node.outputs[0].dtype in _WHOLE)


def set_folded_values(model: ir.Model, rounded_constants: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Replace the values of folded constants in place by the values from `compute_rounded_constants`."""
    graph = model.graph
    for name, array in rounded_constants.items():
        value = graph.initializers.get(name)
        if value is not None and value.const_value is not None and tuple(value.const_value.shape) == array.shape:
            value.const_value = ir.tensor(array, name=name)


def _add_known_constant(value: ir.Value, known: dict[ir.Value, npt.NDArray[Any]]) -> bool:
    """Add the numbers of an initializer to `known`, in float64. Return whether the numbers of the value are known
    now."""
    if value in known:
        return True
    if not value.is_initializer() or value.const_value is None or value.const_value.size > _MOST_NUMBERS:
        return False
    array = value.const_value.numpy()
    known[value] = array.astype(np.float64) if array.dtype == np.float32 else array
    return True


def _compute_node_in_float64(
    node: ir.Node, known: Mapping[ir.Value, npt.NDArray[Any]], model: ir.Model
) -> list[npt.NDArray[Any]]:
    """Return the outputs of one node in double precision; an empty list if the node fails, or if the outputs are too
    large."""
    if _compute_largest_output_size(node, [known[value] for value in node.inputs if value is not None]) > _MOST_NUMBERS:
        return []
    proto: Any = ir.serde.serialize_node(node)
    names = [f"output{i}" for i in range(len(node.outputs))]
    proto.input[:] = [f"input{i}" if value is not None else "" for i, value in enumerate(node.inputs)]
    proto.output[:] = names
    tensors = [
        numpy_helper.from_array(known[value], f"input{i}") for i, value in enumerate(node.inputs) if value is not None
    ]
    outputs = [helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, None) for name in names]
    opsets = [helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    single = helper.make_model(helper.make_graph([proto], "constant", [], outputs, tensors), opset_imports=opsets)
    try:
        made = build_evaluator(convert_model_to_float64(single))({})
    except ExportError:
        return []
    # A sequence is a list, of tensors that may have several shapes.
    return [] if any(isinstance(one, list) for one in made) else [np.asarray(one) for one in made]


def _compute_largest_output_size(node: ir.Node, inputs: list[npt.NDArray[Any]]) -> float:
    """Return the largest possible number of elements in an operator's result."""
    shapes = [value.shape for value in node.outputs]
    static = [shape.numpy() for shape in shapes if shape is not None and shape.is_static()]
    if len(static) == len(shapes):
        return max(map(math.prod, static))
    if node.op_type == "Range":
        start, limit, step = (float(array) for array in inputs)
        return abs(limit - start) / max(abs(step), 1e-9)
    sizes = math.prod(max(array.size, 1) for array in inputs)
    if node.op_type in {"ConstantOfShape", "Expand", "Tile"}:
        sizes *= math.prod(max(int(size), 1) for size in inputs[-1])
    return sizes
