"""Constants that a graph computes, folded in double precision and rounded once.

A module that computes its frequencies in forward, `torch.exp(torch.arange(0, 12, 2) * -0.77)`, leaves them to whoever
folds constants. onnxscript folds in float32, where each step rounds: `exp` came out five float32 numbers from the right
one, and the sine of a frequency times the 257th position 1e-5 off. What is folded is the same, and computed here
before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from pocketrnn.errors import ExportError
from pocketrnn_export.proof.float64_graph import evaluator, in_float64

__all__ = ["constants_in_doubles", "round_folded"]

# As many numbers as onnxscript folds at most.
_MOST_NUMBERS: Final = 512 * 512
# Operators that are not computed here: random ones, and those whose result is as large as a number among their inputs.
_LEFT_OUT: Final = frozenset(
    {"RandomUniform", "RandomNormal", "RandomUniformLike", "RandomNormalLike", "Bernoulli", "Multinomial", "Dropout",
     "Pad", "Resize", "Upsample", "OneHot", "HannWindow", "HammingWindow", "BlackmanWindow", "If", "Loop", "Scan"}
)  # fmt: skip


def constants_in_doubles(model: ir.Model) -> Mapping[str, npt.NDArray[np.float32]]:
    """The float32 values that a graph computes of constants alone, by their names: computed in float64, then rounded.

    Args:
        model: with no functions. What cannot be computed in float64 is left out, and so is what depends on it.
    """
    known: dict[ir.Value, npt.NDArray[Any]] = {}
    found: dict[str, npt.NDArray[np.float32]] = {}
    for node in model.graph:
        inputs = [value for value in node.inputs if value is not None]
        if node.domain or node.op_type in _LEFT_OUT or not all(_is_known(value, known) for value in inputs):
            continue
        for value, array in zip(node.outputs, _computed(node, known, model), strict=False):
            known[value] = array
            if value.name and value.dtype == ir.DataType.FLOAT and array.dtype == np.float64:
                with np.errstate(over="ignore"):
                    found[value.name] = array.astype(np.float32)
    return found


def round_folded(model: ir.Model, exact: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Give values that have been folded meanwhile the numbers of `constants_in_doubles`, in place."""
    graph = model.graph
    for name, array in exact.items():
        value = graph.initializers.get(name)
        if value is not None and value.const_value is not None and tuple(value.const_value.shape) == array.shape:
            value.const_value = ir.tensor(array, name=name)


def _is_known(value: ir.Value, known: dict[ir.Value, npt.NDArray[Any]]) -> bool:
    if value in known:
        return True
    if not value.is_initializer() or value.const_value is None or value.const_value.size > _MOST_NUMBERS:
        return False
    array = value.const_value.numpy()
    known[value] = array.astype(np.float64) if array.dtype == np.float32 else array
    return True


def _computed(node: ir.Node, known: Mapping[ir.Value, npt.NDArray[Any]], model: ir.Model) -> list[npt.NDArray[Any]]:
    """The outputs of one node in double precision; none where it cannot be computed so, or is too large."""
    if _most_numbers(node, [known[value] for value in node.inputs if value is not None]) > _MOST_NUMBERS:
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
        made = evaluator(in_float64(single))({})
    except ExportError:
        return []
    # A sequence is a list, of tensors that may have several shapes.
    return [] if any(isinstance(one, list) for one in made) else [np.asarray(one) for one in made]


def _most_numbers(node: ir.Node, inputs: list[npt.NDArray[Any]]) -> float:
    """How many numbers an operator's result has at most."""
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
