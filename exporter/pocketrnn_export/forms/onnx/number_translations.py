"""Numbers that a module makes of sizes, in ONNX: `int(n * 0.7)`, `round(n * 0.15)`, `h / math.sqrt(n)`.

Python computes them in double precision and rounds `//` down; torch's own translations compute in float32, where
`int(n * 0.7)` is another step of the text at 90 tokens, and round `//` toward zero. Here floats are double, step by
step in Python's order, so that every rounding is Python's. Where such a number meets a tensor it is rounded to float32,
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
from pocketrnn_export.forms.onnx.function_translations import whole_power
from pocketrnn_export.torch_internals import sym_sqrt
from pocketrnn_export.tracing.python_semantics.math_of_sizes import OF_NUMBER

__all__ = ["NUMBER_TRANSLATIONS", "round_numbers"]

_DOUBLE: Final = ir.DataType.DOUBLE
_INT64: Final = int(ir.DataType.INT64)
# Marks a node that makes a number of sizes.
_MARK: Final = "pocketrnn.number"


def _is_float(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, ir.Value) and value.dtype in (ir.DataType.FLOAT, _DOUBLE))


def _marked(value: Any) -> Any:
    value.producer().metadata_props[_MARK] = "1"
    return value


def _double(value: Any) -> Any:
    """A number as float64 []. A value that the exporter calls float32 was made here, and is float64."""
    if isinstance(value, int | float):
        return op.Constant(value=ir.tensor(np.array(value, np.float64)))  # type: ignore[arg-type]
    return value if _is_float(value) else _marked(op.Cast(value, to=int(_DOUBLE)))


def _whole(value: Any) -> Any:
    return op.Constant(value_int=value) if isinstance(value, int) else value


def _either(floats: Callable[..., Any], integers: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """A translation of numbers that may be whole."""

    def translated(*values: Any) -> Any:
        if any(map(_is_float, values)):
            return _marked(floats(*map(_double, values)))
        return (integers or floats)(*map(_whole, values))

    return translated


def _compared(floats: Callable[..., Any]) -> Callable[..., Any]:
    def translated(first: Any, second: Any) -> Any:
        pair = (first, second)
        return _marked(floats(*map(_double if any(map(_is_float, pair)) else _whole, pair)))

    return translated


def _true_division(first: Any, second: Any) -> Any:
    return _marked(op.Div(_double(first), _double(second)))


def _floor_division(first: Any, second: Any) -> Any:
    # ONNX rounds toward zero: what is left over, which Mod gives the sign of the divisor, is taken away before.
    return op.Div(op.Sub(first, op.Mod(first, second)), second)


def _power(base: Any, exponent: Any) -> Any:
    if exponent == 0.5:
        return _marked(op.Sqrt(_double(base)))
    if _is_float(base) or _is_float(exponent):
        return _marked(op.Pow(_double(base), _double(exponent)))
    if isinstance(exponent, int) and exponent > 0:
        return whole_power(_whole(base), exponent)
    return op.Pow(_whole(base), _whole(exponent))


def _to_integer(rounded: Callable[[Any], Any]) -> Callable[..., Any]:
    def translated(value: Any, *_: Any) -> Any:
        if not _is_float(value):
            return _whole(value)
        return _marked(op.Cast(_marked(rounded(_double(value))), to=_INT64))

    return translated


def _round(value: Any, digits: Any = None) -> Any:
    if digits is None:
        return _to_integer(op.Round)(value)
    # Without digits behind the point; others are refused before.
    return _marked(op.Round(_double(value)))


def _to_float(value: Any) -> Any:
    return value if _is_float(value) else _double(value)


def _shifted(by: Callable[..., Any]) -> Callable[..., Any]:
    def translated(value: Any, bits: Any) -> Any:
        if not isinstance(bits, int):
            raise TypeError("a shift by a number of bits that is a size")
        return by(_whole(value), op.Constant(value_int=2**bits))

    return translated


def _of_number(number: Any, function: str) -> Any:
    if function == "itself":
        return _marked(op.Identity(_double(number)))
    return _marked(getattr(op, function.capitalize())(_double(number)))


NUMBER_TRANSLATIONS: Final[Mapping[Any, Callable[..., Any]]] = {
    OF_NUMBER: _of_number,
    torch.sym_float: _to_float,
    sym_sqrt: lambda value: _marked(op.Sqrt(_double(value))),
    torch.sym_max: _either(op.Max),
    torch.sym_min: _either(op.Min),
    operator.add: _either(op.Add),
    operator.sub: _either(op.Sub),
    operator.mul: _either(op.Mul),
    operator.neg: _either(op.Neg),
    operator.abs: _either(op.Abs),
    operator.truediv: _true_division,
    operator.floordiv: _either(lambda a, b: op.Floor(op.Div(a, b)), _floor_division),
    operator.pow: _power,
    operator.lshift: _shifted(op.Mul),
    operator.rshift: _shifted(_floor_division),
    math.ceil: _to_integer(op.Ceil),
    math.floor: _to_integer(op.Floor),
    math.trunc: _to_integer(lambda value: value),
    round: _round,
    operator.lt: _compared(op.Less),
    operator.le: _compared(op.LessOrEqual),
    operator.gt: _compared(op.Greater),
    operator.ge: _compared(op.GreaterOrEqual),
    operator.eq: _compared(op.Equal),
}


def round_numbers(model: ir.Model) -> None:
    """Give the numbers made of sizes their type, which the exporter takes for float32, and round them to float32 where
    they meet anything else. In place."""
    numbers: set[ir.Value] = set()
    for node in model.graph:
        if _MARK in node.metadata_props:
            made = [value for value in node.outputs if value.dtype in (ir.DataType.FLOAT, _DOUBLE)]
            for value in made:
                value.dtype = _DOUBLE
            numbers.update(made)
        elif any(value in numbers for value in node.inputs):
            # The operations on a tensor of one number, such as a logarithm: float64 up to a Cast.
            whole = all(value in numbers or _is_constant(value) for value in node.inputs)
            if node.op_type == "Cast" and node.attributes["to"].as_int() == ir.DataType.FLOAT:
                _name_single(node.outputs[0])
            elif whole and all(value.dtype == _DOUBLE for value in node.outputs):
                numbers.update(node.outputs)
    for value in numbers:
        elsewhere = [(node, i) for node, i in value.uses() if _meets_float32(node)]
        if elsewhere:
            cast = ir.node("Cast", [value], attributes={"to": ir.DataType.FLOAT})
            cast.outputs[0].dtype, cast.outputs[0].shape = ir.DataType.FLOAT, value.shape
            cast.outputs[0].name = value.name
            _name_single(cast.outputs[0])
            producer = value.producer()
            assert producer is not None  # noqa: S101 - a number is made by a node
            model.graph.insert_after(producer, cast)
            for node, i in elsewhere:
                node.replace_input_with(i, cast.outputs[0])


def _meets_float32(node: ir.Node) -> bool:
    """Whether a node that takes a number was made by the exporter for float32."""
    if _MARK in node.metadata_props or node.op_type in {"Cast", "CastLike"}:
        return False
    return all(value.dtype != _DOUBLE for value in node.outputs)


def _is_constant(value: ir.Value | None) -> bool:
    producer = None if value is None else value.producer()
    if producer is None:
        return value is None or value.is_initializer()
    return all(map(_is_constant, producer.inputs))


def _name_single(value: ir.Value) -> None:
    value.name = f"{value.name}{SINGLE}"
