"""ONNX translations of numbers that a module computes from sizes: `int(n * 0.7)`, `round(n * 0.15)`,
`h / math.sqrt(n)`.

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
from pocketrnn_export.forms.onnx.accurate_operator_translations import compute_integer_power
from pocketrnn_export.torch_internals import sym_sqrt
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
    """Return a number as a tensor float64 []. Floats that this file made are float64 already, although the exporter
    declares them as float32."""
    if isinstance(value, int | float):
        return op.Constant(value=ir.tensor(np.array(value, np.float64)))  # type: ignore[arg-type]
    return value if _is_float(value) else _mark_as_size_number(op.Cast(value, to=int(_DOUBLE)))


def _make_integer_constant(value: Any) -> Any:
    return op.Constant(value_int=value) if isinstance(value, int) else value


def _make_number_translation(
    float_operator: Callable[..., Any], integer_operator: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """Return a translation that uses `float_operator`, or `integer_operator` if all values are integers."""

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


def _translate_power_of_numbers(base: Any, exponent: Any) -> Any:
    """Translate a power of sizes. Floats are computed in double precision, and integers as products."""
    if exponent == 0.5:
        return _mark_as_size_number(op.Sqrt(_convert_to_float64(base)))
    if _is_float(base) or _is_float(exponent):
        return _mark_as_size_number(op.Pow(_convert_to_float64(base), _convert_to_float64(exponent)))
    if isinstance(exponent, int) and exponent > 0:
        return compute_integer_power(_make_integer_constant(base), exponent)
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
            raise TypeError("forward shifts by a number of bits that it computes from a size")
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
    torch.sym_max: _make_number_translation(op.Max),
    torch.sym_min: _make_number_translation(op.Min),
    operator.add: _make_number_translation(op.Add),
    operator.sub: _make_number_translation(op.Sub),
    operator.mul: _make_number_translation(op.Mul),
    operator.neg: _make_number_translation(op.Neg),
    operator.abs: _make_number_translation(op.Abs),
    operator.truediv: lambda a, b: _mark_as_size_number(op.Div(_convert_to_float64(a), _convert_to_float64(b))),
    operator.floordiv: _make_number_translation(lambda a, b: op.Floor(op.Div(a, b)), _translate_floor_division),
    operator.pow: _translate_power_of_numbers,
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
    """Round the float64 numbers that a model computes from sizes to float32 where other nodes use them, in place. Also
    correct the dtype of these numbers, which the exporter declares as float32."""
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
        elsewhere = [(node, i) for node, i in value.uses() if _computes_in_float32(node)]
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


def _computes_in_float32(node: ir.Node) -> bool:
    """Return whether a node computes in float32. If it takes a number that is computed from sizes, the caller rounds
    this number to float32."""
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
