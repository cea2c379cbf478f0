"""Python's arithmetic with sizes in a trace: `math.sqrt(n)`, `np.log(n)`, `float(n)`, `max(1, n // 3)`.

`math.sqrt` converts its argument to a float, which would make the size of the example a constant. Here such functions
take torch's symbolic sizes (`torch.SymInt`, `torch.SymFloat`), whose arithmetic stays in the trace, step by step and in
Python's order. A function without a symbolic form, such as a logarithm, gives a `TracedNumber`: a float64 tensor
without axes.

The graph computes all of it in double precision, as Python does; see
`pocketrnn_export.forms.onnx.size_and_layer_translations`.
"""

from __future__ import annotations

import builtins
import functools
import math
import operator
import sys
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import sympy
import torch
from torch import Tensor

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.user_code_lines_for_messages import describe_user_line, describe_user_line_of_node
from pocketrnn_export.torch_internals import (
    read_size_expression,
    size_functions,
    sym_float,
    sym_max,
    sym_min,
    sym_sqrt,
)
from pocketrnn_export.tracing.python_semantics.traced_arrays import TracedArray, unwrap_arrays
from pocketrnn_export.tracing.trace_session import find_current_session, is_torchscript_trace

# A question about a size from this file counts as its caller's: see `intake/user_code_lines_for_messages.py`.
ASKS_FOR_ITS_CALLER: Final = True

# Functions of one number whose last digit differs between platforms; ONNX has operators for them.
_OF_NUMBER: Final = (
    "log", "exp", "tanh", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "erf",
)  # fmt: skip


@torch.library.custom_op("pocketrnn::of_number", mutates_args=())
def _apply_math_function_to_number(number: torch.types.Number, function: str) -> Tensor:
    """Return a function of `math` of a number, as float64 []. For the function "itself", return the number.

    Args:
        number: the number, which may be a symbolic size.
        function: the function's name, such as "log".
    """
    value = float(number)
    return torch.tensor(value if function == "itself" else getattr(math, function)(value), dtype=torch.float64)


@_apply_math_function_to_number.register_fake
def _infer_shape_of_apply_math_function_to_number(number: Any, function: str) -> Tensor:
    del number, function
    return torch.empty((), dtype=torch.float64)


OF_NUMBER: Final = torch.ops.pocketrnn.of_number.default


def is_size(value: Any) -> bool:
    """Return whether a value is a symbolic size, or a symbolic float that is computed from sizes."""
    return isinstance(value, torch.SymInt | torch.SymFloat)


def _may_be_size_of_torchscript_trace(value: Any) -> bool:
    """Return whether a value may be a size in a trace for TorchScript, where a size is a tensor without axes."""
    return is_torchscript_trace() and isinstance(value, Tensor) and value.dim() == 0


class TracedNumber(TracedArray):
    """The result of a function of a size, such as `math.log(n)`: a float64 tensor that computes like a Python float.

    The exporter would round a Python float to float32 where it is used with a tensor.
    """


def _convert_to_float64_tensor(value: Any) -> Any:
    """Return a number, a size or a `TracedNumber` as a float64 tensor. Return a tensor of the module unchanged."""
    if is_size(value):
        value = sym_float(value)
    return OF_NUMBER(value, "itself") if isinstance(value, float | int | torch.SymFloat) else unwrap_arrays(value)


def _make_operator_method(name: str, *, reflected: bool = False) -> Callable[..., Any]:
    """Return the method of `TracedNumber` for an operator of Python: `__add__` for "add" or, if `reflected`,
    `__radd__`."""
    function = getattr(operator, name)

    def apply_operation(self: TracedNumber, *others: Any) -> Any:
        values = [self.tensor, *map(_convert_to_float64_tensor, others)]
        result = function(*reversed(values)) if reflected else function(*values)
        return TracedNumber(result) if result.dim() == 0 and result.dtype == torch.float64 else result

    return apply_operation


for _name in ("add", "sub", "mul", "truediv", "pow"):
    setattr(TracedNumber, f"__{_name}__", _make_operator_method(_name))
    setattr(TracedNumber, f"__r{_name}__", _make_operator_method(_name, reflected=True))


def _refuse_rounding_of_traced_number(*_: Any) -> Any:
    """Raise an ExportError for `int(math.log2(n))` and the like. The result depends on the last digit of the logarithm,
    which differs between platforms."""
    session, error = find_current_session(), _make_rounding_error(describe_user_line(sys._getframe(1)))
    raise error if session is None else session.log.record_refusal(error)


for _name in ("int", "floor", "ceil", "round", "trunc", "index"):
    setattr(TracedNumber, f"__{_name}__", _refuse_rounding_of_traced_number)
for _name in ("neg", "abs"):
    setattr(TracedNumber, f"__{_name}__", _make_operator_method(_name))


def _make_math_stand_in(name: str) -> Callable[..., Any]:
    """Return a stand-in for a function of `math`, such as `log`, by its name. For a size, its result is a
    `TracedNumber` and not a constant."""
    shipped = getattr(math, name)

    @functools.wraps(shipped)
    def call_math_function(*args: Any) -> Any:
        if find_current_session() is not None and len(args) in (1, 1 + (name == "log")):
            number, *base = args
            found: Any = None
            if is_size(number):
                found = TracedNumber(OF_NUMBER(sym_float(number), name))
            elif isinstance(number, TracedNumber):
                found = TracedNumber(getattr(torch, name)(number.tensor))
            elif _may_be_size_of_torchscript_trace(number):
                found = getattr(torch, name)(number.double())
            if found is not None:
                return found / math.log(*base) if base else found
        return shipped(*args)

    return call_math_function


def _make_stand_in_for_sizes(
    shipped: Callable[..., Any], of_size: Callable[[Any], Any], *, also_for_traced_numbers: bool = True
) -> Callable[..., Any]:
    """Return a stand-in for a function of one number, such as `np.floor`, that handles sizes in a trace.

    Args:
        shipped: the function itself, which is called for other values.
        of_size: a function that computes the result for a size.
        also_for_traced_numbers: whether `of_size` is also called for a `TracedNumber`, and for a size in a trace for
            TorchScript.
    """

    @functools.wraps(shipped)
    def call_with_size(*args: Any, **kwargs: Any) -> Any:
        if find_current_session() is not None and len(args) == 1 and not kwargs:
            number = args[0]
            if is_size(number) or (
                also_for_traced_numbers
                and (isinstance(number, TracedNumber) or _may_be_size_of_torchscript_trace(number))
            ):
                return of_size(number)
        return shipped(*args, **kwargs)

    return call_with_size


def _make_math_stand_in_for_sizes(name: str, of_size: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return a stand-in for a function of `math`, by its name, that handles sizes in a trace. It calls `of_size` for a
    symbolic size, and torch's function of the same name for a size that is a tensor, as in a trace for TorchScript."""
    return _make_stand_in_for_sizes(
        getattr(math, name),
        lambda n: getattr(torch, name)(n.double()) if _may_be_size_of_torchscript_trace(n) else of_size(n),
    )


def _compute_sqrt_in_trace(number: Any) -> Any:
    """Return the square root of a symbolic size or a `TracedNumber`."""
    if isinstance(number, TracedNumber):
        return TracedNumber(number.tensor.sqrt())
    return sym_sqrt(sym_float(number))


def _make_function_return_floats(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that converts the result of another to a float, as numpy's rounding functions return floats."""
    return lambda number: sym_float(function(number))


def _convert_to_float_in_trace(*args: Any) -> Any:
    """Return `float(...)` in a trace, where a size becomes a symbolic float."""
    if find_current_session() is not None and len(args) == 1:
        if is_size(args[0]):
            return sym_float(args[0])
        if isinstance(args[0], TracedNumber):
            return args[0]
        if _may_be_size_of_torchscript_trace(args[0]):
            return args[0].double()
    return float(*args)


def _compute_divmod_in_trace(first: Any, second: Any) -> Any:
    """Return `divmod(first, second)` in a trace, where both may be symbolic sizes."""
    if find_current_session() is not None and (is_size(first) or is_size(second)):
        return first // second, first % second
    return builtins.divmod(first, second)


def _make_max_or_min_stand_in(shipped: Callable[..., Any], symbolic: Callable[..., Any]) -> Callable[..., Any]:
    """Return a stand-in for `max` or `min` that handles symbolic sizes. Python's function would compare the sizes, and
    so freeze in the graph which of them is larger.

    Args:
        shipped: Python's function, which is called for other values.
        symbolic: torch's function for two symbolic sizes, `sym_max` or `sym_min`.
    """

    def compute_extreme(*args: Any, **kwargs: Any) -> Any:
        values = list(args[0]) if len(args) == 1 and isinstance(args[0], list | tuple) else list(args)
        numbers = all(isinstance(value, int | float) or is_size(value) for value in values)
        if find_current_session() is not None and not kwargs and numbers and any(map(is_size, values)):
            return functools.reduce(symbolic, values)
        return shipped(*args, **kwargs)

    return compute_extreme


_FUNCTIONS: Final = {name: _make_math_stand_in(name) for name in _OF_NUMBER}
# Stand-ins for functions of `math`, by their name there.
MATH: Final[dict[str, Callable[..., Any]]] = {
    **_FUNCTIONS,
    "sqrt": _make_math_stand_in_for_sizes("sqrt", _compute_sqrt_in_trace),
    "log2": _make_math_stand_in_for_sizes("log2", lambda n: _FUNCTIONS["log"](n) / math.log(2)),
    "log10": _make_math_stand_in_for_sizes("log10", lambda n: _FUNCTIONS["log"](n) / math.log(10)),
    "log1p": _make_math_stand_in_for_sizes("log1p", lambda n: _FUNCTIONS["log"](1 + n)),
    "expm1": _make_math_stand_in_for_sizes("expm1", lambda n: _FUNCTIONS["exp"](n) - 1),
}
# The same for functions of `numpy`.
NUMPY: Final[dict[str, Callable[..., Any]]] = {
    **{
        name: _make_stand_in_for_sizes(getattr(np, name), MATH[name])
        for name in ("sqrt", "log", "log2", "log10", "log1p", "exp", "expm1", "tanh", "sin", "cos", "tan")
    },
    **{
        shipped.__name__: _make_stand_in_for_sizes(
            shipped, _make_function_return_floats(function), also_for_traced_numbers=False
        )
        for shipped, function in (
            *((np.ceil, math.ceil), (np.floor, math.floor), (np.trunc, math.trunc)),
            *((np.rint, round), (np.round, round)),
        )
    },
}
# And for those of Python.
BUILTINS: Final[dict[str, Callable[..., Any]]] = {
    "float": _convert_to_float_in_trace,
    "divmod": _compute_divmod_in_trace,
    "max": _make_max_or_min_stand_in(builtins.max, sym_max),
    "min": _make_max_or_min_stand_in(builtins.min, sym_min),
}


def refuse_numbers_rounded_otherwise_in_graph(program: torch.export.ExportedProgram) -> None:
    """Raise an ExportError if a program rounds a number that a graph may round differently from Python, as in
    `round(n / 7, 1)` and `int(n ** 0.7)`.

    A graph's numbers equal Python's to the last bit after `+ - * /`, square roots, and `int`, `ceil`, `floor` and
    `round` to an integer. After another power the last bit may differ, and so may the integer after rounding.
    """
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if not is_size(value):
            continue
        functions = read_size_expression(value).atoms(sympy.Function)
        powers = [one for one in functions if isinstance(one, size_functions.FloatPow) and one.args[1] != 0.5]
        if (powers and isinstance(value, torch.SymInt)) or any(
            isinstance(one, size_functions.RoundDecimal) and one.args[1] != 0 for one in functions
        ):
            where = describe_user_line_of_node(node)
            raise _make_rounding_error(where or "")


def _make_rounding_error(where: str) -> ExportError:
    """Return the error for a number that Python and a graph round differently. `where` is the line, or "" if it is not
    known."""
    return ExportError(
        f"The module rounds a number that it computes from a size{', ' * bool(where)}{where}, but an ONNX graph would "
        "round it differently.",
        "Round with int(), math.ceil, math.floor or round() without digits, and take roots with math.sqrt: ONNX "
        "computes these as Python does.",
    )
