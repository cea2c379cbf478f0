"""ONNX translations of the operators that a trace uses: recurrent layers, slices of any length, sizes; and of numbers
that a module computes from sizes: `int(n * 0.7)`, `round(n * 0.15)`, `h / math.sqrt(n)`.

Python computes them in double precision and rounds `//` down; torch's own translations compute in float32, where
`int(n * 0.7)` is another step of the text at 90 tokens, and round `//` toward zero. Here floats are double, computed in
Python's order, so that every rounding is Python's. Where such a number is used with a tensor, it is rounded to float32,
as PyTorch rounds a Python number.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import onnx_ir as ir
import torch
from onnxscript import opset18 as op

from pocketrnn_export.comparing.float64_graph import SINGLE
from pocketrnn_export.forms.onnx.accurate_operator_translations import compute_integer_power_by_products
from pocketrnn_export.torch_internals import sym_sqrt
from pocketrnn_export.tracing.layers.recurrence import OPERATOR
from pocketrnn_export.tracing.operators_right_for_every_size import CUT, CUT_TO_LONGEST, SIZE
from pocketrnn_export.tracing.python_semantics.size_arithmetic import OF_NUMBER

_DOUBLE: Final = ir.DataType.DOUBLE
_INT64: Final = int(ir.DataType.INT64)
# Marks a node that computes a number from sizes.
_MARK: Final = "pocketrnn.number"


def _is_float(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, ir.Value) and value.dtype in (ir.DataType.FLOAT, _DOUBLE))


def _mark_as_size_number(value: Any) -> Any:
    value.producer().metadata_props[_MARK] = "1"
    return value


def _convert_to_float64(value: Any) -> Any:
    """Return a number as a scalar tensor in float64. A float from a translation of this file is float64 already,
    although the exporter declares it as float32."""
    if isinstance(value, int | float):
        return op.Constant(value=ir.tensor(np.array(value, np.float64)))  # type: ignore[arg-type]
    return value if _is_float(value) else _mark_as_size_number(op.Cast(value, to=int(_DOUBLE)))


def _make_integer_constant(value: Any) -> Any:
    return op.Constant(value_int=value) if isinstance(value, int) else value


def _make_size_arithmetic_translation(
    float_operator: Callable[..., Any], integer_operator: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """Return a translation to ONNX of a Python operation on numbers that are computed from sizes.

    Args:
        float_operator: the ONNX operator, if one of the numbers is a float.
        integer_operator: the ONNX operator, if all numbers are integers; None if it is the same.
    """

    def translate_numbers(*values: Any) -> Any:
        if any(map(_is_float, values)):
            return _mark_as_size_number(float_operator(*map(_convert_to_float64, values)))
        return (integer_operator or float_operator)(*map(_make_integer_constant, values))

    return translate_numbers


def _make_comparison_translation(operator: Callable[..., Any]) -> Callable[..., Any]:
    def translate_comparison(first: Any, second: Any) -> Any:
        pair = (first, second)
        return _mark_as_size_number(
            operator(*map(_convert_to_float64 if any(map(_is_float, pair)) else _make_integer_constant, pair))
        )

    return translate_comparison


def _translate_floor_division(first: Any, second: Any) -> Any:
    # ONNX rounds toward zero: the remainder, which has the divisor's sign in Mod, is subtracted before.
    return op.Div(op.Sub(first, op.Mod(first, second)), second)


def _translate_power_of_size_numbers(base: Any, exponent: Any) -> Any:
    """Translate a power of numbers that are computed from sizes: of floats in double precision, of integers as
    products."""
    if exponent == 0.5:
        return _mark_as_size_number(op.Sqrt(_convert_to_float64(base)))
    if _is_float(base) or _is_float(exponent):
        return _mark_as_size_number(op.Pow(_convert_to_float64(base), _convert_to_float64(exponent)))
    if isinstance(exponent, int) and exponent > 0:
        return compute_integer_power_by_products(_make_integer_constant(base), exponent)
    return op.Pow(_make_integer_constant(base), _make_integer_constant(exponent))


def _make_rounding_translation(operator: Callable[[Any], Any]) -> Callable[..., Any]:
    def translate_rounding(value: Any, *_: Any) -> Any:
        if not _is_float(value):
            return _make_integer_constant(value)
        return _mark_as_size_number(op.Cast(_mark_as_size_number(operator(_convert_to_float64(value))), to=_INT64))

    return translate_rounding


def _translate_round(value: Any, digits: Any = None) -> Any:
    if digits is None:
        return _make_rounding_translation(op.Round)(value)
    # Only digits=0 arrives here; others are refused before.
    return _mark_as_size_number(op.Round(_convert_to_float64(value)))


def _make_shift_translation(operator: Callable[..., Any]) -> Callable[..., Any]:
    def translate_shift(value: Any, bits: Any) -> Any:
        if not isinstance(bits, int):
            raise TypeError("forward shifts by a number of bits that depends on a size, but it must be a constant")
        return operator(_make_integer_constant(value), op.Constant(value_int=2**bits))

    return translate_shift


def _translate_math_function(number: Any, function: str) -> Any:
    if function == "itself":
        return _mark_as_size_number(op.Identity(_convert_to_float64(number)))
    return _mark_as_size_number(getattr(op, function.capitalize())(_convert_to_float64(number)))


NUMBER_TRANSLATIONS: Final[Mapping[Any, Callable[..., Any]]] = {
    OF_NUMBER: _translate_math_function,
    torch.sym_float: lambda value: value if _is_float(value) else _convert_to_float64(value),
    sym_sqrt: lambda value: _mark_as_size_number(op.Sqrt(_convert_to_float64(value))),
    torch.sym_max: _make_size_arithmetic_translation(op.Max),
    torch.sym_min: _make_size_arithmetic_translation(op.Min),
    operator.add: _make_size_arithmetic_translation(op.Add),
    operator.sub: _make_size_arithmetic_translation(op.Sub),
    operator.mul: _make_size_arithmetic_translation(op.Mul),
    operator.neg: _make_size_arithmetic_translation(op.Neg),
    operator.abs: _make_size_arithmetic_translation(op.Abs),
    operator.truediv: lambda a, b: _mark_as_size_number(op.Div(_convert_to_float64(a), _convert_to_float64(b))),
    operator.floordiv: _make_size_arithmetic_translation(
        lambda a, b: op.Floor(op.Div(a, b)), _translate_floor_division
    ),
    operator.pow: _translate_power_of_size_numbers,
    operator.lshift: _make_shift_translation(op.Mul),
    operator.rshift: _make_shift_translation(_translate_floor_division),
    math.ceil: _make_rounding_translation(op.Ceil),
    math.floor: _make_rounding_translation(op.Floor),
    math.trunc: _make_rounding_translation(lambda value: value),
    round: _translate_round,
    operator.lt: _make_comparison_translation(op.Less),
    operator.le: _make_comparison_translation(op.LessOrEqual),
    operator.gt: _make_comparison_translation(op.Greater),
    operator.ge: _make_comparison_translation(op.GreaterOrEqual),
    operator.eq: _make_comparison_translation(op.Equal),
}


def round_size_numbers_to_float32(model: ir.Model) -> None:
    """Round the float64 numbers that a model computes from sizes to float32 where nodes compute in float32 with them,
    in place. Also set the dtype of these numbers to float64, since the exporter declares it as float32."""
    numbers: set[ir.Value] = set()
    for node in model.graph:
        if _MARK in node.metadata_props:
            made = [value for value in node.outputs if value.dtype in (ir.DataType.FLOAT, _DOUBLE)]
            for value in made:
                value.dtype = _DOUBLE
            numbers.update(made)
        elif any(value in numbers for value in node.inputs):
            # The operations on a tensor of one number, such as a logarithm: float64 up to a Cast.
            whole = all(value in numbers or _is_computed_from_constants(value) for value in node.inputs)
            if node.op_type == "Cast" and node.attributes["to"].as_int() == ir.DataType.FLOAT:
                _mark_as_rounded_to_float32(node.outputs[0])
            elif whole and all(value.dtype == _DOUBLE for value in node.outputs):
                numbers.update(node.outputs)
    for value in numbers:
        elsewhere = [(node, i) for node, i in value.uses() if _needs_size_number_in_float32(node)]
        if elsewhere:
            cast = ir.node("Cast", [value], attributes={"to": ir.DataType.FLOAT})
            cast.outputs[0].dtype, cast.outputs[0].shape = ir.DataType.FLOAT, value.shape
            cast.outputs[0].name = value.name
            _mark_as_rounded_to_float32(cast.outputs[0])
            producer = value.producer()
            assert producer is not None  # noqa: S101 - a number is made by a node
            model.graph.insert_after(producer, cast)
            for node, i in elsewhere:
                node.replace_input_with(i, cast.outputs[0])


def _needs_size_number_in_float32(node: ir.Node) -> bool:
    """Return whether a node that takes a number computed from sizes needs it in float32: none of the node's outputs is
    float64, and the node is not itself arithmetic on sizes."""
    if _MARK in node.metadata_props or node.op_type in {"Cast", "CastLike"}:
        return False
    return all(value.dtype != _DOUBLE for value in node.outputs)


def _is_computed_from_constants(value: ir.Value | None) -> bool:
    producer = None if value is None else value.producer()
    if producer is None:
        return value is None or value.is_initializer()
    return all(map(_is_computed_from_constants, producer.inputs))


def _mark_as_rounded_to_float32(value: ir.Value) -> None:
    value.name = f"{value.name}{SINGLE}"


# --- Operators that a trace uses: recurrent layers, slices of any length, and sizes ---

_INT32: Final = int(ir.DataType.INT32)


def _translate_recurrence(
    x: Any, w: Any, r: Any, b: Any, lengths: Any, h0: Any, c0: Any, mode: str
) -> tuple[Any, Any, Any]:
    """Translate the operator `pocketrnn::recurrence` of a trace to ONNX's RNN, LSTM or GRU
    (https://onnx.ai/onnx/operators).

    Args:
        x: the input [sequence, batch, features].
        w, r, b: ONNX's weights of the input and of the state, and the biases.
        lengths: the length of each text; None if all are as long as x.
        h0, c0: the initial hidden and cell states; None for zeros.
        mode: the kind of layer, such as LSTM or RNN_TANH.

    Returns:
        the outputs [sequence, batch, directions * hidden], the final hidden states, and the final cell states (for
        other layers than an LSTM the hidden states again).
    """
    directions, _, hidden_size = r.shape
    lengths = None if lengths is None else op.Cast(lengths, to=_INT32)
    layer: dict[str, Any] = {
        "hidden_size": hidden_size,
        "direction": "forward" if directions == 1 else "bidirectional",
    }
    if mode == "LSTM":
        outputs, hidden, cell = op.LSTM(x, w, r, b, lengths, h0, c0, None, **layer)
    elif mode == "GRU_RESET_BEFORE":
        outputs, hidden = op.GRU(x, w, r, b, lengths, h0, linear_before_reset=0, **layer)
        cell = hidden
    elif mode == "GRU":
        # PyTorch applies the reset gate after the recurrent product; without this attribute ONNX does it before.
        outputs, hidden = op.GRU(x, w, r, b, lengths, h0, linear_before_reset=1, **layer)
        cell = hidden
    elif mode == "GRU_LINEAR":
        layer |= {"activation_alpha": [1.0] * 2 * directions, "activation_beta": [0.0] * 2 * directions}
        outputs, hidden = op.GRU(x, w, r, b, lengths, h0, activations=["Sigmoid", "Affine"] * directions, **layer)
        cell = hidden
    else:
        activation = {"RNN_TANH": "Tanh", "RNN_RELU": "Relu", "RNN_SIGMOID": "Sigmoid", "RNN_LINEAR": "Affine"}[mode]
        if activation == "Affine":
            layer |= {"activation_alpha": [1.0] * directions, "activation_beta": [0.0] * directions}
        outputs, hidden = op.RNN(x, w, r, b, lengths, h0, activations=[activation] * directions, **layer)
        cell = hidden
    if directions == 1:
        return op.Squeeze(outputs, _make_ints_constant(1)), hidden, cell
    batch_before_directions = op.Transpose(outputs, perm=[0, 2, 1, 3])
    # 0 keeps an axis, -1 takes the rest.
    return op.Reshape(batch_before_directions, _make_ints_constant(0, 0, -1)), hidden, cell


def _translate_cut(x: Any, axis: int, start: Any, end: Any, step: int) -> Any:
    """Translate the operator `pocketrnn::cut` of a trace, the slice `x[start:end:step]` along an axis, to ONNX's Slice.
    Ends beyond x are allowed, as in Python."""
    return op.Slice(
        x, _make_index_tensor(start), _make_index_tensor(end), _make_ints_constant(axis), _make_ints_constant(step)
    )


def _translate_cut_to_longest(x: Any, lengths: Any) -> Any:
    """Translate the operator `pocketrnn::cut_to_longest` of a trace to ONNX: cut x [sequence, batch, ...] to as many
    steps as the largest of the lengths."""
    return op.Slice(x, _make_ints_constant(0), op.ReduceMax(lengths, keepdims=1), _make_ints_constant(0))


def _translate_size(x: Any, axis: int) -> Any:
    """Translate the operator `pocketrnn::size` of a trace, the size of x along an axis, to ONNX's Shape and Squeeze."""
    return op.Squeeze(op.Shape(x, start=axis, end=axis + 1), _make_ints_constant(0))


def _make_index_tensor(value: Any) -> Any:
    if isinstance(value, int):
        return _make_ints_constant(value)
    return op.Reshape(op.Cast(value, to=_INT64), _make_ints_constant(1))  # type: ignore[type-var]


def _make_ints_constant(*values: int) -> Any:
    return op.Constant(value_ints=list(values))


# The translations, by the operator of the trace; see `pocketrnn_export.tracing`.
TRANSLATIONS: Final[Mapping[Any, Callable[..., Any]]] = {
    OPERATOR: _translate_recurrence,
    CUT: _translate_cut,
    SIZE: _translate_size,
    CUT_TO_LONGEST: _translate_cut_to_longest,
}
