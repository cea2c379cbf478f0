"""Functions of torch whose own translations are right in exact arithmetic only, in ONNX by forms that keep their
digits in float32.

torch's exporter writes `F.logsigmoid(x)` as `Log(Sigmoid(x))`, and onnxruntime's Sigmoid is 0 below -18: minus infinity
in place of -20. `tests/exporter/test_onnxruntime_kernels.py` compares functions of torch with what onnxruntime makes of
them, over all magnitudes of float32. What stands here is what that showed, as PyTorch's own kernels compute it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import onnx_ir as ir
import torch
from onnxscript import opset18

__all__ = ["FUNCTION_TRANSLATIONS"]

# Its stubs name types of numbers that no value here is known by.
op: Final[Any] = opset18
_FLOATS: Final = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE})
# Of y from 0.46875 to 4, and of 1 / y^2 beyond: what stands over and under the line.
_ERFC_MIDDLE: Final = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1, 2.98635138197400131e2,
     8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
    (1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3, 3.29079923573345963e3,
     4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip
_ERFC_LARGE: Final = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
     1.60837851487422766e-2, 6.58749161529837803e-4),
    (2.56852019228982242, 1.87295284992346725, 5.27905102951428412e-1, 6.05183413124413191e-2, 2.33520497626869185e-3),
)  # fmt: skip
# How the sizes of an input are called.
_OF_INPUT: Final = re.compile(r"s\d+|[A-Za-z_]+")


def _number(value: float, like: Any) -> Any:
    assert like.dtype is not None  # noqa: S101 - what is computed while it is translated has no type yet
    made: Any = op.Constant(value=ir.tensor(value, dtype=like.dtype))
    made.dtype = like.dtype
    return made


def _log_sigmoid(x: Any) -> Any:
    """`F.logsigmoid(x)` as -softplus(-x), which keeps both tails."""
    return op.Neg(op.Softplus(op.Neg(x)))


def _softplus_of_difference(first: Any, second: Any) -> Any:
    return op.Softplus(op.Neg(op.Abs(op.Sub(first, second))))


def _log_add_exp(first: Any, second: Any) -> Any:
    """`torch.logaddexp(a, b)`: the larger one, and softplus(-|a - b|). Of two equal ones, which may be infinite, their
    difference is not asked for."""
    more = op.Where(op.Equal(first, second), _number(math.log(2), first), _softplus_of_difference(first, second))
    return op.Add(op.Max(first, second), more)


def _log_add_exp2(first: Any, second: Any) -> Any:
    """`torch.logaddexp2(a, b)`, the same with powers of two."""
    two = _number(math.log(2), first)
    scaled = op.Div(_softplus_of_difference(op.Mul(first, two), op.Mul(second, two)), two)
    more = op.Where(op.Equal(first, second), _number(1.0, first), scaled)
    return op.Add(op.Max(first, second), more)


def _log1p(x: Any) -> Any:
    """`torch.log1p(x)`: 1 + x is rounded, and its logarithm is right for the rounded number; x over what was added in
    truth puts that right (W. Kahan)."""
    one = _number(1.0, x)
    total = op.Add(x, one)
    added = op.Sub(total, one)
    log = op.Log(total)
    # Where nothing was added, the logarithm is x. What was added in full, such as infinity, is not divided by itself.
    corrected = op.Where(op.Equal(added, x), log, op.Mul(log, op.Div(x, added)))
    return op.Where(op.Equal(added, _number(0.0, x)), x, corrected)


def _expm1(x: Any) -> Any:
    """`torch.expm1(x)` as tanh(x / 2) (exp(x) + 1), which subtracts nothing."""
    half = op.Mul(x, _number(0.5, x))
    return op.Mul(op.Tanh(half), op.Add(op.Exp(x), _number(1.0, x)))


def _ratio(x: Any, over: Sequence[float], under: Sequence[float], like: Any) -> Any:
    """A polynomial over another, as `_ERFC` has them: the highest power's number first, 1 below."""

    def polynomial(numbers: Sequence[float]) -> Any:
        found = _number(numbers[0], like)
        for one in numbers[1:]:
            found = op.Add(op.Mul(found, x), _number(one, like))
        return found

    return op.Div(polynomial(over), polynomial((1.0, *under)))


def _erfc(x: Any) -> Any:
    """`torch.erfc(x)` by the rational functions of W. J. Cody (Mathematics of Computation 23, 1969; CALERF of netlib's
    specfun), which are within 1e-15 of it, relative to its size. `1 - erf(x)`, torch's translation, is 0 from 4 on."""
    size = op.Abs(x)
    # Within 0.46875, erf leaves digits enough; larger numbers are held back, so that no branch is NaN.
    middle = _ratio(op.Min(op.Max(size, _number(0.46875, x)), _number(4.0, x)), *_ERFC_MIDDLE, x)
    large = op.Max(size, _number(4.0, x))
    inverse = op.Reciprocal(op.Mul(large, large))
    series = op.Mul(inverse, _ratio(inverse, *_ERFC_LARGE, x))
    far = op.Div(op.Sub(_number(1 / math.sqrt(math.pi), x), series), large)
    chosen = op.Where(op.Greater(size, _number(4.0, x)), far, middle)
    tail = op.Mul(op.Exp(op.Neg(op.Mul(x, x))), chosen)
    both = op.Where(op.Less(x, _number(0.0, x)), op.Sub(_number(2.0, x), tail), tail)
    return op.Where(op.LessOrEqual(size, _number(0.46875, x)), op.Sub(_number(1.0, x), op.Erf(x)), both)


def _log_odds(x: Any, eps: float | None = None) -> Any:
    """`torch.logit(x, eps)`, of NaN too."""
    inside = x if eps is None else op.Min(op.Max(x, _number(eps, x)), _number(1 - eps, x))
    return op.Log(op.Div(inside, op.Sub(_number(1.0, x), inside)))


def _step(x: Any, values: Any) -> Any:
    """`torch.heaviside(x, values)`: 0 of NaN."""
    zero, one = _number(0.0, x), _number(1.0, x)
    return op.Where(op.Equal(x, zero), values, op.Where(op.Greater(x, zero), one, zero))


def _pair(x: Any, other: Any) -> tuple[Any, Any]:
    """Two operands of one type, of which each may be a Python number."""
    if not isinstance(x, ir.Value):
        second, first = _pair(other, x)
        return first, second
    if isinstance(other, ir.Value):
        return x, other
    if isinstance(other, float) and x.dtype not in _FLOATS:
        x = op.Cast(x, to=int(ir.DataType.FLOAT))
        x.dtype = ir.DataType.FLOAT
    return x, _number(other, x)


def _is_whole(x: Any) -> bool:
    return x.dtype not in _FLOATS


def _sign_differs(rest: Any, other: Any) -> Any:
    """Whether something is left over whose sign is not that of the divisor."""
    zero = _number(0.0, other)
    return op.And(op.Not(op.Equal(rest, zero)), op.Xor(op.Less(rest, zero), op.Less(other, zero)))


def _remainder(x: Any, other: Any) -> Any:
    """`x % y` of floats, as PyTorch computes it: `fmod`, which is exact, with the divisor added where the signs
    differ. torch's translation, `x - floor(x / y) * y`, is off by the rounding of the quotient times y."""
    x, other = _pair(x, other)
    if _is_whole(x):
        return op.Mod(x, other)
    rest = op.Mod(x, other, fmod=1)
    return op.Where(_sign_differs(rest, other), op.Add(rest, other), rest)


def _floor_division(x: Any, other: Any) -> Any:
    """`x // y` of floats, as PyTorch and Python compute it: of what is there without the remainder. The floor of the
    rounded quotient, which is torch's translation, may be one too many: 0.3 // 0.1 is 2."""
    x, other = _pair(x, other)
    if _is_whole(x):
        return op.Div(op.Sub(x, op.Mod(x, other)), other)
    rest = op.Mod(x, other, fmod=1)
    whole = op.Div(op.Sub(x, rest), other)
    whole = op.Where(_sign_differs(rest, other), op.Sub(whole, _number(1.0, x)), whole)
    below = op.Floor(whole)
    near = op.Where(op.Greater(op.Sub(whole, below), _number(0.5, x)), op.Add(below, _number(1.0, x)), below)
    return op.Where(op.Equal(other, _number(0.0, x)), op.Div(x, other), near)


def _division(x: Any, other: Any, rounding_mode: str | None = None) -> Any:
    """`torch.div` with a rounding; of whole numbers in whole numbers; torch's translation goes through float32."""
    if rounding_mode == "floor":
        return _floor_division(x, other)
    x, other = _pair(x, other)
    if rounding_mode is None:
        single = int(ir.DataType.FLOAT)
        return op.Div(op.Cast(x, to=single), op.Cast(other, to=single)) if _is_whole(x) else op.Div(x, other)
    if _is_whole(x):
        return op.Div(x, other)
    quotient = op.Div(x, other)
    return op.Where(op.Less(quotient, _number(0.0, x)), op.Ceil(quotient), op.Floor(quotient))


def _mean(x: Any, dim: int | Sequence[int] | None = None, keepdim: bool = False, dtype: int = -1) -> Any:
    """`mean`. Of no numbers it is NaN, as the sum over the size: onnxruntime's ReduceMean gives 0."""
    shape = x.shape
    if dtype not in (-1, None):
        # What is computed while it is translated has no shape yet.
        x = op.Cast(x, to=dtype)
        x.dtype = ir.DataType(dtype)
    if not shape:
        return op.Identity(x)
    axes = [] if dim is None else [dim] if isinstance(dim, int) else list(dim)
    axes = [axis % len(shape) for axis in axes] or list(range(len(shape)))
    given = op.Constant(value_ints=axes)
    if not any(_may_be_empty(shape[axis]) for axis in axes):
        return op.ReduceMean(x, given, keepdims=keepdim)
    sizes = op.Gather(op.Shape(x), given)
    count = op.Cast(op.ReduceProd(sizes, keepdims=0), to=int(x.dtype))
    return op.Div(op.ReduceSum(x, given, keepdims=keepdim), count)


def _with_number(operator: Callable[..., Any]) -> Callable[..., Any]:
    """A sum, difference, product or quotient of a tensor and a number, which may be made of sizes: `x * (10 / n)`."""

    def translated(x: Any, other: Any, alpha: float = 1.0) -> Any:
        if alpha != 1:
            factor = _number(alpha, x)
            other = op.Mul(op.CastLike(other, x), factor) if isinstance(other, ir.Value) else other * alpha
        if not isinstance(other, ir.Value):
            return operator(x, _number(other, x))
        # A fraction made of sizes is rounded to float32 where it meets a tensor; see `number_translations`.
        return operator(x, other if other.dtype in _FLOATS else op.CastLike(other, x))

    return translated


def _may_be_empty(size: Any) -> bool:
    """Whether an axis may be without numbers: all but plain numbers and the sizes of the input, such as `s0 - 1`, or
    what a mask selects."""
    return not isinstance(size, int) and _OF_INPUT.fullmatch(str(size)) is None


def _largest(reduced: Callable[..., Any]) -> Callable[..., Any]:
    """`amax` or `amin`, over all axes where none is named."""

    def translated(x: Any, dim: int | Sequence[int] = (), keepdim: bool = False) -> Any:
        axes = [dim] if isinstance(dim, int) else list(dim)
        return reduced(x, op.Constant(value_ints=axes), keepdims=keepdim) if axes else reduced(x, keepdims=keepdim)

    return translated


_ATEN: Final = torch.ops.aten
FUNCTION_TRANSLATIONS: Final[Mapping[Any, Callable[..., Any]]] = {
    _ATEN.log_sigmoid.default: _log_sigmoid,
    _ATEN.logaddexp.default: _log_add_exp,
    _ATEN.logaddexp2.default: _log_add_exp2,
    _ATEN.log1p.default: _log1p,
    _ATEN.expm1.default: _expm1,
    _ATEN.erfc.default: _erfc,
    _ATEN.special_erfc.default: _erfc,
    _ATEN.logit.default: _log_odds,
    _ATEN.heaviside.default: _step,
    _ATEN.remainder.Tensor: _remainder,
    _ATEN.remainder.Scalar: _remainder,
    _ATEN.remainder.Scalar_Tensor: _remainder,
    _ATEN.floor_divide.default: _floor_division,
    _ATEN.div.Tensor_mode: _division,
    _ATEN.div.Scalar_mode: _division,
    _ATEN.mean.default: _mean,
    _ATEN.mean.dim: _mean,
    _ATEN.add.Scalar: _with_number(op.Add),
    _ATEN.sub.Scalar: _with_number(op.Sub),
    _ATEN.mul.Scalar: _with_number(op.Mul),
    _ATEN.amax.default: _largest(op.ReduceMax),
    _ATEN.amin.default: _largest(op.ReduceMin),
}
