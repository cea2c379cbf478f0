"""Python's arithmetic of sizes in a trace: `math.sqrt(n)`, `np.log(n)`, `float(n)`, `max(1, n // 3)`.

`math.sqrt` asks its argument for a float, which would make the size of the example a constant. Here it and its like
take sizes as torch knows them (`torch.SymInt`, `torch.SymFloat`), whose arithmetic stays in the trace, step by step and
in Python's order. A function that torch has no form for, such as a logarithm, gives a `TracedNumber`: a float64 tensor
without axes.

The graph computes all of it in double precision, as Python does; see `pocketrnn_export.forms.onnx.number_translations`.
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
from pocketrnn_export.intake.user_frames import line_of_node, users_line
from pocketrnn_export.torch_internals import (
    expression_of,
    size_functions,
    sym_float,
    sym_max,
    sym_min,
    sym_sqrt,
)
from pocketrnn_export.tracing.python_semantics.arrays import TracedArray, unwrapped
from pocketrnn_export.tracing.session import current, scripting

__all__ = ["BUILTINS", "MATH", "NUMPY", "OF_NUMBER", "is_size", "refuse_rounded"]

# A question about a size from this file counts as its caller's: see `intake/user_frames.py`.
ASKS_FOR_ITS_CALLER: Final = True

# Functions of one number whose last digit is not the same everywhere; in ONNX these have operators.
_OF_NUMBER: Final = (
    "log", "exp", "tanh", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "erf",
)  # fmt: skip


@torch.library.custom_op("pocketrnn::of_number", mutates_args=())
def _of_number(number: torch.types.Number, function: str) -> Tensor:
    """`math.log(number)` or another function of `math`, or the number itself, float64 []."""
    value = float(number)
    return torch.tensor(value if function == "itself" else getattr(math, function)(value), dtype=torch.float64)


@_of_number.register_fake
def _(number: Any, function: str) -> Tensor:
    del number, function
    return torch.empty((), dtype=torch.float64)


OF_NUMBER: Final = torch.ops.pocketrnn.of_number.default


def is_size(value: Any) -> bool:
    """Whether a value is a size of a trace, or a number made of one.

    Example:
        >>> is_size(7)
        False
    """
    return isinstance(value, torch.SymInt | torch.SymFloat)


def _traced(value: Any) -> bool:
    """Whether a value is a size where those are tensors: in a trace for TorchScript."""
    return scripting() and isinstance(value, Tensor) and value.dim() == 0


class TracedNumber(TracedArray):
    """The result of `math.log` of a size: a float64 tensor of one number, which counts with Python's numbers as they
    are.

    The exporter rounds a Python number that meets a tensor to float32.
    """


def _exact(value: Any) -> Any:
    """A number as a tensor that keeps its last digits; a tensor of the module's own as it is."""
    if is_size(value):
        value = sym_float(value)
    return OF_NUMBER(value, "itself") if isinstance(value, float | int | torch.SymFloat) else unwrapped(value)


def _operation(name: str, *, reflected: bool = False) -> Callable[..., Any]:
    function = getattr(operator, name)

    def operation(self: TracedNumber, *others: Any) -> Any:
        values = [self.tensor, *map(_exact, others)]
        result = function(*reversed(values)) if reflected else function(*values)
        return TracedNumber(result) if result.dim() == 0 and result.dtype == torch.float64 else result

    return operation


for _name in ("add", "sub", "mul", "truediv", "pow"):
    setattr(TracedNumber, f"__{_name}__", _operation(_name))
    setattr(TracedNumber, f"__r{_name}__", _operation(_name, reflected=True))


def _rounded(*_: Any) -> Any:
    """`int(math.log2(n))`: where n is a power, the last digit decides, which is not the same everywhere."""
    session, error = current(), _rounded_otherwise(users_line(sys._getframe(1)))
    raise error if session is None else session.log.refuse(error)


for _name in ("int", "floor", "ceil", "round", "trunc", "index"):
    setattr(TracedNumber, f"__{_name}__", _rounded)
for _name in ("neg", "abs"):
    setattr(TracedNumber, f"__{_name}__", _operation(_name))


def _function(name: str) -> Callable[..., Any]:
    """`math.log(n)`, as a number in the trace."""
    shipped = getattr(math, name)

    @functools.wraps(shipped)
    def stand_in(*args: Any) -> Any:
        if current() is not None and len(args) in (1, 1 + (name == "log")):
            number, *base = args
            found: Any = None
            if is_size(number):
                found = TracedNumber(OF_NUMBER(sym_float(number), name))
            elif isinstance(number, TracedNumber):
                found = TracedNumber(getattr(torch, name)(number.tensor))
            elif _traced(number):
                found = getattr(torch, name)(number.double())
            if found is not None:
                return found / math.log(*base) if base else found
        return shipped(*args)

    return stand_in


def _by(shipped: Callable[..., Any], of_size: Callable[[Any], Any], *, numbers: bool = True) -> Callable[..., Any]:
    """A function of one number; of a size by another, and so of `numbers` that are made of sizes."""

    @functools.wraps(shipped)
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        if current() is not None and len(args) == 1 and not kwargs:
            number = args[0]
            if is_size(number) or (numbers and (isinstance(number, TracedNumber) or _traced(number))):
                return of_size(number)
        return shipped(*args, **kwargs)

    return stand_in


def _of_math(name: str, of_size: Callable[[Any], Any]) -> Callable[..., Any]:
    """A function of `math`; where sizes are tensors, torch's of that name."""
    return _by(getattr(math, name), lambda n: getattr(torch, name)(n.double()) if _traced(n) else of_size(n))


def _sqrt(number: Any) -> Any:
    if isinstance(number, TracedNumber):
        return TracedNumber(number.tensor.sqrt())
    return sym_sqrt(sym_float(number))


def _float_of(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """numpy's rounding gives floats."""
    return lambda number: sym_float(function(number))


def _float(*args: Any) -> Any:
    if current() is not None and len(args) == 1:
        if is_size(args[0]):
            return sym_float(args[0])
        if isinstance(args[0], TracedNumber):
            return args[0]
        if _traced(args[0]):
            return args[0].double()
    return float(*args)


def _divmod(first: Any, second: Any) -> Any:
    if current() is not None and (is_size(first) or is_size(second)):
        return first // second, first % second
    return builtins.divmod(first, second)


def _extreme(shipped: Callable[..., Any], symbolic: Callable[..., Any]) -> Callable[..., Any]:
    """`max(1, n // 3)` of numbers among which is a size: without a question about it."""

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        values = list(args[0]) if len(args) == 1 and isinstance(args[0], list | tuple) else list(args)
        numbers = all(isinstance(value, int | float) or is_size(value) for value in values)
        if current() is not None and not kwargs and numbers and any(map(is_size, values)):
            return functools.reduce(symbolic, values)
        return shipped(*args, **kwargs)

    return stand_in


_FUNCTIONS: Final = {name: _function(name) for name in _OF_NUMBER}
# Stand-ins for functions of `math`, by their name there.
MATH: Final[dict[str, Callable[..., Any]]] = {
    **_FUNCTIONS,
    "sqrt": _of_math("sqrt", _sqrt),
    "log2": _of_math("log2", lambda n: _FUNCTIONS["log"](n) / math.log(2)),
    "log10": _of_math("log10", lambda n: _FUNCTIONS["log"](n) / math.log(10)),
    "log1p": _of_math("log1p", lambda n: _FUNCTIONS["log"](1 + n)),
    "expm1": _of_math("expm1", lambda n: _FUNCTIONS["exp"](n) - 1),
}
# The same for functions of `numpy`.
NUMPY: Final[dict[str, Callable[..., Any]]] = {
    **{
        name: _by(getattr(np, name), MATH[name])
        for name in ("sqrt", "log", "log2", "log10", "log1p", "exp", "expm1", "tanh", "sin", "cos", "tan")
    },
    "ceil": _by(np.ceil, _float_of(math.ceil), numbers=False),
    "floor": _by(np.floor, _float_of(math.floor), numbers=False),
    "trunc": _by(np.trunc, _float_of(math.trunc), numbers=False),
    "rint": _by(np.rint, _float_of(round), numbers=False),
    "round": _by(np.round, _float_of(round), numbers=False),
}
# And for those of Python.
BUILTINS: Final[dict[str, Callable[..., Any]]] = {
    "float": _float,
    "divmod": _divmod,
    "max": _extreme(builtins.max, sym_max),
    "min": _extreme(builtins.min, sym_min),
}


def refuse_rounded(program: torch.export.ExportedProgram) -> None:
    """Refuse what a graph does not round as Python does: `round(n / 7, 1)`, `int(n ** 0.7)`.

    A graph's numbers are Python's to the last bit after `+ - * /`, square roots, and `int`, `ceil`, `floor` and `round`
    to a whole number. After another power they are so to the last bit but one, which may be the next whole number.

    Raises:
        ExportError: the program has such a number; names its line where that is known.
    """
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if not is_size(value):
            continue
        functions = expression_of(value).atoms(sympy.Function)
        powers = [one for one in functions if isinstance(one, size_functions.FloatPow) and one.args[1] != 0.5]
        if (powers and isinstance(value, torch.SymInt)) or any(
            isinstance(one, size_functions.RoundDecimal) and one.args[1] != 0 for one in functions
        ):
            where = line_of_node(node)
            raise _rounded_otherwise(where or "")


def _rounded_otherwise(where: str) -> ExportError:
    return ExportError(
        f"A graph rounds a number that the module makes of a size otherwise than Python{', ' * bool(where)}{where}.",
        "Use int(), math.ceil, math.floor, round() without digits and math.sqrt, which are the same in both.",
    )
