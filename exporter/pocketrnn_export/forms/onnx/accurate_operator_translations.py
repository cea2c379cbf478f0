"""ONNX translations that give PyTorch's results, in place of torch's own. Those are right only in exact arithmetic, or
leave the results to the engine.

torch's exporter writes `F.logsigmoid(x)` as `Log(Sigmoid(x))`, and onnxruntime's Sigmoid is 0 below -18: minus infinity
in place of -20. `tests/exporter/test_onnxruntime_kernels.py` compares functions of torch with onnxruntime's results
over all magnitudes of float32. The functions that differed are here, as PyTorch's own kernels compute them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import onnx_ir as ir
import torch
from onnxscript import opset18
from onnxscript.function_libs.torch_lib.ops.core import (
    aten_addcdiv,
    aten_addcmul,
    aten_bitwise_left_shift,
    aten_bitwise_right_shift,
    aten_clamp_tensor,
    aten_full,
    aten_full_like,
    aten_pow_tensor_scalar,
    aten_scatter_reduce,
    aten_var_correction,
    aten_var_mean_correction,
)
from onnxscript.function_libs.torch_lib.ops.linalg import aten_linalg_vector_norm
from onnxscript.function_libs.torch_lib.ops.nn import aten_scaled_dot_product_attention

# Any: the types in its stubs do not fit the values here.
op: Final[Any] = opset18
_FLOATS: Final = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE})
_BOOL: Final = int(ir.DataType.BOOL)
# The numerator's and the denominator's coefficients: in y from 0.46875 to 4, and in 1 / y^2 beyond.
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
# The names of the sizes of an input.
_OF_INPUT: Final = re.compile(r"s\d+|[A-Za-z_]+")


def _make_constant_like(value: float, like: Any) -> Any:
    """Return a constant with the dtype of `like`."""
    assert like.dtype is not None  # noqa: S101 - a value that is computed during the translation has no type yet
    made: Any = op.Constant(value=ir.tensor(value, dtype=like.dtype))
    made.dtype = like.dtype
    return made


def _translate_scalar_tensor(s: Any, dtype: int = -1, **_layout: Any) -> Any:
    """Translate `torch.scalar_tensor(s, dtype=dtype)` without rounding the number to float32 first. With torch's own
    translation, 0.57 * 1000 in double precision, cast to an integer, is 569 and not 570.

    Args:
        s: the number, or a value that holds it.
        dtype: ONNX's number of the result's type; -1 for float32.
        _layout: further arguments of torch, which are ignored.
    """
    kind = ir.DataType.FLOAT if dtype == -1 else ir.DataType(dtype)
    if isinstance(s, ir.Value):
        return op.Cast(s, to=int(kind))
    made = op.Constant(value=ir.tensor(s, dtype=kind))
    made.dtype = kind
    return made


def _translate_full(size: Any, fill_value: Any, dtype: int = -1, **layout: Any) -> Any:
    # Without a dtype, the number's type decides: booleans stay booleans.
    return aten_full(
        size, fill_value if dtype == -1 else _translate_scalar_tensor(fill_value, dtype), dtype=dtype, **layout
    )


def _translate_full_like(x: Any, fill_value: Any, dtype: int = -1, **layout: Any) -> Any:
    kind = int(x.dtype) if dtype == -1 else dtype
    return aten_full_like(x, _translate_scalar_tensor(fill_value, kind), dtype=kind, **layout)


def _translate_masked_fill(x: Any, mask: Any, value: Any) -> Any:
    return op.Where(mask, _make_constant_like(value, x) if x.dtype == ir.DataType.DOUBLE else op.CastLike(value, x), x)


def _make_addcmul_or_addcdiv_translation(
    of_torch: Callable[..., Any], combine: Callable[[Any, Any], Any]
) -> Callable[..., Any]:
    """Return a translation of `torch.addcmul` or `torch.addcdiv`, `x + value * (a * b)` or `x + value * (a / b)`, that
    does not round `value` to float32 if x is in double precision.

    Args:
        of_torch: torch's own translation, which is used for all other x.
        combine: the ONNX operator between a and b: Mul or Div.
    """

    def translate_add_with_factor(x: Any, first: Any, second: Any, value: float = 1.0) -> Any:
        if x.dtype != ir.DataType.DOUBLE:
            return of_torch(x, first, second, value=value)
        return op.Add(x, op.Mul(_make_constant_like(value, x), combine(first, second)))

    return translate_add_with_factor


def _compute_softplus_of_minus_absolute_difference(first: Any, second: Any) -> Any:
    return op.Softplus(op.Neg(op.Abs(op.Sub(first, second))))


def _translate_log_add_exp(first: Any, second: Any) -> Any:
    """Translate `torch.logaddexp(a, b)` to max(a, b) + softplus(-|a - b|). If a equals b, the softplus is log(2)."""
    more = op.Where(
        op.Equal(first, second),
        _make_constant_like(math.log(2), first),
        _compute_softplus_of_minus_absolute_difference(first, second),
    )
    return op.Add(op.Max(first, second), more)


def _translate_log_add_exp2(first: Any, second: Any) -> Any:
    """Translate `torch.logaddexp2(a, b)`, log2(2**a + 2**b), to max(a, b) + log2(1 + 2**-|a - b|)."""
    two = _make_constant_like(math.log(2), first)
    scaled = op.Div(_compute_softplus_of_minus_absolute_difference(op.Mul(first, two), op.Mul(second, two)), two)
    more = op.Where(op.Equal(first, second), _make_constant_like(1.0, first), scaled)
    return op.Add(op.Max(first, second), more)


def _make_log_translation(base: int) -> Callable[[Any], Any]:
    """Return a translation of `torch.log2(x)` or `torch.log10(x)` whose result for a power of the base is exactly an
    integer, as in PyTorch. Without this, onnxruntime's log2 of 8,192 is just below 13, and its floor 12."""

    def translate_log(x: Any) -> Any:
        quotient = op.Div(op.Log(x), _make_constant_like(math.log(base), x))
        whole = op.Round(quotient)
        return op.Where(op.Equal(op.Pow(_make_constant_like(float(base), x), whole), x), whole, quotient)

    return translate_log


def _translate_log1p(x: Any) -> Any:
    """Translate `torch.log1p(x)`, which is exact for small x: multiply log(1 + x), where 1 + x is rounded, by x / ((1 +
    x) - 1) (W. Kahan)."""
    one = _make_constant_like(1.0, x)
    total = op.Add(x, one)
    added = op.Sub(total, one)
    log = op.Log(total)
    # Where 1 + x is 1, the logarithm is x. Where 1 + x is exact, as for infinity, the result does not need a
    # correction.
    corrected = op.Where(op.Equal(added, x), log, op.Mul(log, op.Div(x, added)))
    return op.Where(op.Equal(added, _make_constant_like(0.0, x)), x, corrected)


def _translate_expm1(x: Any) -> Any:
    """Translate `torch.expm1(x)`, exp(x) - 1, to tanh(x / 2) * (exp(x) + 1), which loses no digits for small x."""
    half = op.Mul(x, _make_constant_like(0.5, x))
    return op.Mul(op.Tanh(half), op.Add(op.Exp(x), _make_constant_like(1.0, x)))


def _translate_clamp(x: Any, min: Any = None, max: Any = None) -> Any:  # noqa: A002 - torch's names
    """Translate `x.clamp(min, max)` with numbers as bounds. If one bound of floats is missing, it becomes an infinity,
    since onnxruntime's Clip would change an infinite x otherwise."""
    if x.dtype in _FLOATS and (min is None) != (max is None):
        min, max = (-math.inf if min is None else min), (math.inf if max is None else max)  # noqa: A001
    low, high = (
        None
        if bound is None
        else op.CastLike(bound, x)
        if isinstance(bound, ir.Value)
        else _make_constant_like(bound, x)
        for bound in (min, max)
    )
    return op.Clip(x, low, high)


def _translate_clamp_by_tensors(x: Any, min: Any = None, max: Any = None) -> Any:  # noqa: A002 - torch's names
    """Translate `x.clamp(min, max)` with tensors as bounds. If both are single numbers, they are translated as numbers:
    for x in double precision torch's exporter makes tensors of numbers, and the proof compares this graph with the one
    in float32."""
    if all(bound is None or bound.shape == ir.Shape([]) for bound in (min, max)):
        return _translate_clamp(x, min, max)
    return aten_clamp_tensor(x, min, max)


def _translate_scatter_reduce(x: Any, dim: int, index: Any, src: Any, reduce: str, include_self: bool = True) -> Any:
    """Translate `x.scatter_reduce(dim, index, src, reduce)`. torch's own translation gives the sum for "mean", and
    starts a maximum or minimum from a wrong number with include_self=False."""
    if reduce == "mean" and x.shape and x.dtype in _FLOATS:
        return _translate_scatter_mean(x, dim, index, src, include_self=include_self)
    largest = {"amax": -math.inf, "amin": math.inf}.get(reduce)
    if largest is None or not x.shape or x.dtype not in _FLOATS:
        return aten_scatter_reduce(x, dim, index, src, reduce, include_self)
    if not include_self:
        filled = op.Expand(_make_constant_like(largest, x), op.Shape(index))
        x = op.ScatterElements(x, index, filled, axis=dim)
    return op.ScatterElements(x, index, src, axis=dim, reduction=reduce[1:])


def _translate_scatter_mean(x: Any, dim: int, index: Any, src: Any, *, include_self: bool) -> Any:
    """Translate `x.scatter_reduce(dim, index, src, "mean")`: each place of x gets the mean of the numbers of src that
    go there, and with include_self of the number in x, too. A place that gets no number keeps x."""
    zero, one = _make_constant_like(0.0, x), _make_constant_like(1.0, x)
    ones = op.Expand(one, op.Shape(index))
    none = op.Expand(zero, op.Shape(x))
    count = op.ScatterElements(none, index, ones, axis=dim, reduction="add")
    # src may be larger than the index; the rest is not used.
    starts = [0] * len(index.shape)
    part = op.Slice(src, op.Constant(value_ints=starts), op.Shape(index))
    if include_self:
        return op.Div(op.ScatterElements(x, index, part, axis=dim, reduction="add"), op.Add(count, one))
    total = op.ScatterElements(none, index, part, axis=dim, reduction="add")
    return op.Where(op.Equal(count, zero), x, op.Div(total, op.Max(count, one)))


def _translate_diagonal(x: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """Translate `torch.diagonal(x, offset, dim1, dim2)` to a Gather of the diagonal's positions, without an identity
    matrix."""
    rank = len(x.shape)
    first, second = dim1 % rank, dim2 % rank
    others = [axis for axis in range(rank) if axis not in (first, second)]
    moved = op.Transpose(x, perm=[*others, first, second])
    height, width = (op.Shape(x, start=axis, end=axis + 1) for axis in (first, second))
    down, right = (op.Constant(value_ints=[max(0, number)]) for number in (-offset, offset))
    zero = op.Constant(value_ints=[0])
    count = op.Max(op.Min(op.Sub(height, down), op.Sub(width, right)), zero)
    steps = op.Range(op.Constant(value_int=0), op.Squeeze(count, zero), op.Constant(value_int=1))
    places = op.Add(op.Mul(op.Add(steps, down), width), op.Add(steps, right))
    ends = op.Constant(value_ints=[-1]) if not others else op.Concat(
        *(op.Shape(x, start=axis, end=axis + 1) for axis in others), op.Mul(height, width), axis=0
    )  # fmt: skip
    return op.Gather(op.Reshape(moved, ends), places, axis=len(others))


def _translate_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Translate `F.scaled_dot_product_attention` for any number of axes. A query whose keys are all masked gives 0, as
    in PyTorch. torch's own translation is used where attention is causal or grouped."""
    axes = len(query.shape)
    if is_causal or enable_gqa or axes < 3 or not len(key.shape) == len(value.shape) == axes:
        return aten_scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1])
    swapped = op.Transpose(key, perm=[*range(axes - 2), axes - 1, axes - 2])
    scores = op.Mul(op.MatMul(query, swapped), _make_constant_like(scale, query))
    if attn_mask is None:
        return op.MatMul(op.Softmax(scores, axis=-1), value)
    nothing = _make_constant_like(-math.inf, query)
    hides = attn_mask.dtype == ir.DataType.BOOL
    scores = op.Where(attn_mask, scores, nothing) if hides else op.Add(scores, attn_mask)
    largest = op.ReduceMax(scores, op.Constant(value_ints=[-1]), keepdims=1)
    weights = op.Where(op.Equal(largest, nothing), _make_constant_like(0.0, query), op.Softmax(scores, axis=-1))
    return op.MatMul(weights, value)


def _translate_elu(x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    """Translate `F.elu(x)`, and selu and celu, by expm1. For negative x above -6e-8, onnxruntime's Elu gives 0.

    Args:
        alpha: the factor of negative results.
        scale: the factor of all results.
        input_scale: the factor of negative x before expm1.
    """
    below = op.Mul(_translate_expm1(_multiply_by_factor(x, input_scale)), _make_constant_like(alpha * scale, x))
    return op.Where(op.Less(x, _make_constant_like(0.0, x)), below, _multiply_by_factor(x, scale))


def _multiply_by_factor(x: Any, factor: float) -> Any:
    if factor == 1:
        return x
    product = op.Mul(x, _make_constant_like(factor, x))
    product.dtype = x.dtype
    return product


def _make_tensor_of_nan_where_x_is_nan(x: Any, like: Any = None) -> Any:
    """Return a tensor that is NaN where x is NaN, and 0 elsewhere, in the dtype of `like` or, without it, of x."""
    return op.Where(op.Equal(x, x), _make_constant_like(0.0, x if like is None else like), x)


def _make_xlogy_translation(log: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a translation of `torch.xlogy(x, y)` or `xlog1py`, x * log(y), whose result is 0 where x is 0, but NaN
    where y is NaN. `log` is the translation of the logarithm: log or log1p."""

    def translate_xlogy(x: Any, y: Any) -> Any:
        x, y = _convert_operands_to_one_dtype(x, y)
        zero = _make_constant_like(0.0, x)
        return op.Add(op.Where(op.Equal(x, zero), zero, op.Mul(x, log(y))), _make_tensor_of_nan_where_x_is_nan(y))

    return translate_xlogy


def _translate_atan2(y: Any, x: Any) -> Any:
    """Translate `torch.atan2(y, x)`, with PyTorch's results for NaN, infinities, 0 and -0."""
    zero, one = _make_constant_like(0.0, x), _make_constant_like(1.0, x)
    high, wide = op.Abs(y), op.Abs(x)
    less, more = op.Min(high, wide), op.Max(high, wide)
    ratio = op.Where(op.Equal(more, zero), zero, op.Where(op.Equal(less, more), one, op.Div(less, more)))
    angle = op.Atan(ratio)
    angle = op.Where(op.Greater(high, wide), op.Sub(_make_constant_like(math.pi / 2, x), angle), angle)
    angle = op.Where(_compute_sign_bit(x), op.Sub(_make_constant_like(math.pi, x), angle), angle)
    angle = op.Where(_compute_sign_bit(y), op.Neg(angle), angle)
    return op.Add(angle, op.Add(_make_tensor_of_nan_where_x_is_nan(x), _make_tensor_of_nan_where_x_is_nan(y)))


def _compute_sign_bit(x: Any) -> Any:
    """Compute whether each number of x is negative. Minus zero counts as negative."""
    zero = _make_constant_like(0.0, x)
    return op.Less(op.Where(op.Equal(x, zero), op.Reciprocal(x), x), zero)


def _compute_quotient_of_polynomials(x: Any, over: Sequence[float], under: Sequence[float], like: Any) -> Any:
    """Return the quotient of two polynomials in x.

    Args:
        x: the variable.
        over: the factors of the numerator, from the highest power on.
        under: the factors of the denominator without the first one, which is 1.
        like: a value whose dtype the result has.
    """

    def compute_polynomial(numbers: Sequence[float]) -> Any:
        found = _make_constant_like(numbers[0], like)
        for one in numbers[1:]:
            found = op.Add(op.Mul(found, x), _make_constant_like(one, like))
        return found

    return op.Div(compute_polynomial(over), compute_polynomial((1.0, *under)))


def _translate_erfc(x: Any) -> Any:
    """Translate `torch.erfc(x)` by the rational functions of W. J. Cody (Mathematics of Computation 23, 1969; CALERF of
    netlib's specfun), with a relative error of at most 1e-15. torch's translation, `1 - erf(x)`, is 0 for x from 4
    on."""
    size = op.Abs(x)
    # Within 0.46875, 1 - erf(x) is accurate enough; each branch's argument is clamped, so that none is NaN.
    middle = _compute_quotient_of_polynomials(
        op.Min(op.Max(size, _make_constant_like(0.46875, x)), _make_constant_like(4.0, x)), *_ERFC_MIDDLE, x
    )
    large = op.Max(size, _make_constant_like(4.0, x))
    inverse = op.Reciprocal(op.Mul(large, large))
    series = op.Mul(inverse, _compute_quotient_of_polynomials(inverse, *_ERFC_LARGE, x))
    far = op.Div(op.Sub(_make_constant_like(1 / math.sqrt(math.pi), x), series), large)
    chosen = op.Where(op.Greater(size, _make_constant_like(4.0, x)), far, middle)
    tail = op.Mul(op.Exp(op.Neg(op.Mul(x, x))), chosen)
    both = op.Where(op.Less(x, _make_constant_like(0.0, x)), op.Sub(_make_constant_like(2.0, x), tail), tail)
    return op.Where(
        op.LessOrEqual(size, _make_constant_like(0.46875, x)), op.Sub(_make_constant_like(1.0, x), op.Erf(x)), both
    )


def compute_integer_power_by_products(x: Any, exponent: int) -> Any:
    """Return an integer tensor to the power of `exponent`, which is at least 1, as a chain of products. They wrap
    around on overflow, as PyTorch's do. onnxruntime's Pow computes exponents from 4 on in double precision."""
    if exponent == 1:
        return x
    half = compute_integer_power_by_products(x, exponent // 2)
    return op.Mul(op.Mul(half, half), x) if exponent % 2 else op.Mul(half, half)


def _translate_power_by_number(x: Any, exponent: Any) -> Any:
    """Translate `x ** number`. `x ** 0.5` becomes Sqrt, as in PyTorch, since Pow gives infinity for minus infinity. A
    power of integers becomes products."""
    if _is_integer(x) and isinstance(exponent, int) and exponent > 0 and x.dtype != ir.DataType.BOOL:
        return compute_integer_power_by_products(x, exponent)
    if x.dtype not in _FLOATS or exponent not in (0.5, -0.5):
        return aten_pow_tensor_scalar(x, exponent)
    root = op.Sqrt(x)
    return root if exponent > 0 else op.Reciprocal(root)


def _make_softmax_translation(operator: Callable[..., Any]) -> Callable[..., Any]:
    """Return a translation of `softmax(x, dim, dtype)` or log_softmax that converts x to dtype first. torch's own
    translation converts only the result."""

    def translate_softmax(x: Any, dim: int, dtype: int = -1) -> Any:
        if dtype != -1 and dtype != x.dtype:
            x = op.Cast(x, to=dtype)
        return operator(x, axis=dim)

    return translate_softmax


def _translate_isinf(counted_signs: Mapping[str, int], x: Any) -> Any:
    """Translate `torch.isinf(x)`, `isposinf` or `isneginf`. torch's own translation tests doubles in float32.
    `counted_signs` are the attributes of ONNX's IsInf that say which infinities count; empty for both."""
    if x.dtype not in _FLOATS:
        x = op.Cast(x, to=ir.DataType.FLOAT)
    return op.IsInf(x, **counted_signs)


def _translate_bit_shift(x: Any, by: Any, direction: str) -> Any:
    """Translate `x << by` or `x >> by` to a shift in 64 bits. If `by` is below 0 or above 63, `<<` gives 0, and `>>`
    gives 0 or, for negative x, -1."""
    x, by = _convert_operands_to_one_dtype(x, by)
    number, places = (op.Cast(one, to=int(ir.DataType.INT64)) for one in (x, by))
    number.dtype = places.dtype = ir.DataType.INT64
    none, all_bits = _make_constant_like(0, number), _make_constant_like(64, number)
    is_inside = op.And(op.GreaterOrEqual(places, none), op.Less(places, all_bits))
    kept = op.Where(is_inside, places, _make_constant_like(63, number))
    kept.dtype = ir.DataType.INT64
    if direction == "RIGHT":
        moved = aten_bitwise_right_shift(number, kept)
    else:
        moved = op.Where(is_inside, aten_bitwise_left_shift(number, kept), none)
    found = op.Cast(moved, to=int(x.dtype))
    found.dtype = x.dtype
    return found


def _translate_power_of_tensors(x: Any, exponent: Any) -> Any:
    """Translate `x ** exponent` with a tensor as exponent, such as `torch.arange(n)`. The exponent is converted to the
    dtype of x, as packed files require."""
    differ = isinstance(x, ir.Value) and x.dtype in _FLOATS and getattr(exponent, "dtype", x.dtype) != x.dtype
    return op.Pow(x, op.CastLike(exponent, x) if differ else exponent)


def _translate_vector_norm(x: Any, order: float = 2.0, dim: Any = None, keepdim: bool = False, dtype: int = -1) -> Any:
    """Translate `torch.linalg.vector_norm(x, order)`. For an order such as 3, torch's own translation takes the root in
    float32, also for doubles."""
    if order in (0.0, 1.0, 2.0, math.inf, -math.inf):
        return aten_linalg_vector_norm(x, ord=order, dim=dim, keepdim=keepdim, dtype=dtype)
    if dtype != -1:
        x = op.Cast(x, to=dtype)
        x.dtype = ir.DataType(dtype)
    if dim is None:
        x, dim, keepdim = op.Reshape(x, op.Constant(value_ints=[-1])), [0], False
    powers = op.Pow(op.Abs(x), _make_constant_like(order, x))
    total = op.ReduceSum(powers, op.Constant(value_ints=[dim] if isinstance(dim, int) else list(dim)), keepdims=keepdim)
    return op.Pow(total, _make_constant_like(1 / order, x))


def _translate_signbit(x: Any) -> Any:
    """Translate `torch.signbit(x)`: true where a number is negative or minus zero."""
    return op.Less(x, _make_constant_like(0.0, x)) if _is_integer(x) else _compute_sign_bit(x)


def _translate_rrelu(x: Any, noise: Any, lower: float = 1 / 8, upper: float = 1 / 3, **_drawing: Any) -> Any:
    """Translate `F.rrelu(x)` in eval mode: negative x is multiplied by the mean of the two slopes."""
    slope = _make_constant_like((lower + upper) / 2, x)
    return op.Where(op.Greater(x, _make_constant_like(0.0, x)), x, op.Mul(x, slope)), noise


def _translate_logit(x: Any, eps: float | None = None) -> Any:
    """Translate `torch.logit(x, eps)`; the result for NaN is NaN."""
    inside = x if eps is None else op.Min(op.Max(x, _make_constant_like(eps, x)), _make_constant_like(1 - eps, x))
    return op.Log(op.Div(inside, op.Sub(_make_constant_like(1.0, x), inside)))


def _translate_heaviside(x: Any, values: Any) -> Any:
    """Translate `torch.heaviside(x, values)`; the result for NaN is 0."""
    zero, one = _make_constant_like(0.0, x), _make_constant_like(1.0, x)
    return op.Where(op.Equal(x, zero), values, op.Where(op.Greater(x, zero), one, zero))


def _convert_operands_to_one_dtype(x: Any, other: Any) -> tuple[Any, Any]:
    """Return the two operands of an operation as tensors of one dtype. Either operand may be a Python number, but not
    both."""
    if not isinstance(x, ir.Value):
        second, first = _convert_operands_to_one_dtype(other, x)
        return first, second
    if isinstance(other, ir.Value):
        return x, other
    if isinstance(other, float) and x.dtype not in _FLOATS:
        x = op.Cast(x, to=int(ir.DataType.FLOAT))
        x.dtype = ir.DataType.FLOAT
    return x, _make_constant_like(other, x)


def _is_integer(x: Any) -> bool:
    return x.dtype not in _FLOATS


def _have_different_signs(remainder: Any, divisor: Any) -> Any:
    """Compute where the remainder and the divisor have different signs. A remainder of 0 has no sign."""
    zero = _make_constant_like(0.0, divisor)
    return op.And(op.Not(op.Equal(remainder, zero)), op.Xor(op.Less(remainder, zero), op.Less(divisor, zero)))


def _translate_remainder(x: Any, other: Any) -> Any:
    """Translate `x % other`. For floats, PyTorch computes the exact `fmod`, and adds the divisor if the signs differ.
    torch's own translation, `x - floor(x / other) * other`, multiplies the rounding error of the quotient."""
    x, other = _convert_operands_to_one_dtype(x, other)
    if _is_integer(x):
        return op.Mod(x, other)
    rest = op.Mod(x, other, fmod=1)
    return op.Where(_have_different_signs(rest, other), op.Add(rest, other), rest)


def _translate_floor_division(x: Any, other: Any) -> Any:
    """Translate `x // other` as PyTorch and Python compute it: subtract the remainder from x, then divide. torch's own
    translation, the floor of the rounded quotient, may be too large by one: it gives 3 for 0.3 // 0.1, which is 2."""
    x, other = _convert_operands_to_one_dtype(x, other)
    if _is_integer(x):
        return op.Div(op.Sub(x, op.Mod(x, other)), other)
    rest = op.Mod(x, other, fmod=1)
    whole = op.Div(op.Sub(x, rest), other)
    whole = op.Where(_have_different_signs(rest, other), op.Sub(whole, _make_constant_like(1.0, x)), whole)
    below = op.Floor(whole)
    near = op.Where(
        op.Greater(op.Sub(whole, below), _make_constant_like(0.5, x)), op.Add(below, _make_constant_like(1.0, x)), below
    )
    return op.Where(op.Equal(other, _make_constant_like(0.0, x)), op.Div(x, other), near)


def _translate_division(x: Any, other: Any, rounding_mode: str | None = None) -> Any:
    """Translate `torch.div(x, other, rounding_mode=...)`. torch's own translation divides integers in float32."""
    if rounding_mode == "floor":
        return _translate_floor_division(x, other)
    x, other = _convert_operands_to_one_dtype(x, other)
    if rounding_mode is None:
        single = int(ir.DataType.FLOAT)
        return op.Div(op.Cast(x, to=single), op.Cast(other, to=single)) if _is_integer(x) else op.Div(x, other)
    if _is_integer(x):
        return op.Div(x, other)
    quotient = op.Div(x, other)
    return op.Where(op.Less(quotient, _make_constant_like(0.0, x)), op.Ceil(quotient), op.Floor(quotient))


def _translate_mean(x: Any, dim: int | Sequence[int] | None = None, keepdim: bool = False, dtype: int = -1) -> Any:
    """Translate `x.mean(dim)`. If an axis may be empty, it becomes sum / size: PyTorch's mean of an empty axis is NaN,
    but onnxruntime's ReduceMean gives 0."""
    shape = x.shape
    if dtype not in (-1, None):
        # A value that is computed during the translation has no shape yet.
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


def _translate_variance(x: Any, dim: Any = None, correction: float | None = None, keepdim: bool = False) -> Any:
    """Translate `x.var(dim)` so that the variance of an empty axis is NaN, as in PyTorch."""
    found = aten_var_correction(x, dim, correction, keepdim)
    return (
        op.Add(found, _make_tensor_of_nan_where_x_is_nan(_translate_mean(x, dim, keepdim), x))
        if _may_reduce_empty_axis(x, dim)
        else found
    )


def _translate_variance_and_mean(
    x: Any, dim: Any = None, correction: float | None = None, keepdim: bool = False
) -> Any:
    """Translate `torch.var_mean(x, dim)` so that both results for an empty axis are NaN, as in PyTorch."""
    variance, mean = aten_var_mean_correction(x, dim, correction, keepdim)
    if _may_reduce_empty_axis(x, dim):
        mean = _translate_mean(x, dim, keepdim)
        variance = op.Add(variance, _make_tensor_of_nan_where_x_is_nan(mean, x))
    return variance, mean


def _may_reduce_empty_axis(x: Any, dim: Any) -> bool:
    """Return whether one of the axes `dim` of x may be empty; None stands for all axes."""
    axes = range(len(x.shape)) if dim is None else [dim] if isinstance(dim, int) else dim
    return bool(x.shape) and any(_may_be_empty(x.shape[axis]) for axis in axes)


def _make_tensor_and_number_translation(operator: Callable[..., Any]) -> Callable[..., Any]:
    """Return a translation of an operation on a tensor and a number, such as `x * (10 / n)`. The number may be a
    constant, or a value that is computed from sizes. `operator` is the ONNX operator: Add, Sub or Mul."""

    def translate_operation(x: Any, other: Any, alpha: float = 1.0) -> Any:
        if alpha != 1:
            factor = _make_constant_like(alpha, x)
            other = op.Mul(op.CastLike(other, x), factor) if isinstance(other, ir.Value) else other * alpha
        if not isinstance(other, ir.Value):
            return operator(x, _make_constant_like(other, x))
        # A fraction made of sizes is rounded to float32 where it meets a tensor; see `size_and_layer_translations`.
        return operator(x, other if other.dtype in _FLOATS else op.CastLike(other, x))

    return translate_operation


def _may_be_empty(size: Any) -> bool:
    """Return whether an axis of this size may be empty: its size is an expression such as `s0 - 1`, or it is the number
    of elements that a mask selects. The sizes of inputs, plain names such as `s0`, are at least 1."""
    return not isinstance(size, int) and _OF_INPUT.fullmatch(str(size)) is None


def _make_amax_or_amin_translation(operator: Callable[..., Any]) -> Callable[..., Any]:
    """Return a translation of `x.amax(dim)` or `x.amin(dim)`. Without `dim`, all axes are reduced.

    Args:
        operator: ONNX's ReduceMax or ReduceMin.
    """

    def translate_reduction(x: Any, dim: int | Sequence[int] = (), keepdim: bool = False) -> Any:
        axes = [dim] if isinstance(dim, int) else list(dim)
        return operator(x, op.Constant(value_ints=axes), keepdims=keepdim) if axes else operator(x, keepdims=keepdim)

    return translate_reduction


def _translate_any(x: Any, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Any:
    """Translate `x.any(dim)` as a count above 0. torch's own translation takes the maximum, and engines disagree about
    the maximum of an empty axis, such as the pairs of words in a text of one word."""
    if not x.shape:
        return op.Cast(x, to=_BOOL)
    axes = [] if dim is None else [dim] if isinstance(dim, int) else list(dim)
    ones = op.Cast(op.Cast(x, to=_BOOL), to=int(ir.DataType.INT64))
    total = op.ReduceSum(ones, *([op.Constant(value_ints=axes)] if axes else []), keepdims=keepdim)
    return op.Greater(total, op.Constant(value_int=0))


def _translate_sort(x: Any, **options: Any) -> Any:
    """Translate a stable `x.sort(dim=..., descending=...)` to ONNX's TopK, which puts the lower index first among equal
    numbers."""
    if not x.shape:
        return op.Identity(x), op.Constant(value_int=0)
    axis = options.get("dim", -1) % len(x.shape)
    every = op.Shape(x, start=axis, end=axis + 1)
    return op.TopK(x, every, axis=axis, largest=options.get("descending", False), sorted=True)


_ATEN: Final = torch.ops.aten
_LEFT: Final = (
    *(_ATEN.bitwise_left_shift.Tensor, _ATEN.bitwise_left_shift.Tensor_Scalar, _ATEN.bitwise_left_shift.Scalar_Tensor),
    *(_ATEN.__lshift__.Scalar, _ATEN.__lshift__.Tensor),
)
_RIGHT: Final = (
    *(_ATEN.bitwise_right_shift.Tensor, _ATEN.bitwise_right_shift.Tensor_Scalar),
    *(_ATEN.bitwise_right_shift.Scalar_Tensor, _ATEN.__rshift__.Scalar, _ATEN.__rshift__.Tensor),
)
_XLOGY: Final = (_ATEN.xlogy.Tensor, _ATEN.xlogy.Scalar_Self, _ATEN.xlogy.Scalar_Other)
_REMAINDER: Final = (_ATEN.remainder.Tensor, _ATEN.remainder.Scalar, _ATEN.remainder.Scalar_Tensor)
FUNCTION_TRANSLATIONS: Final[Mapping[Any, Callable[..., Any]]] = {
    _ATEN.scalar_tensor.default: _translate_scalar_tensor,
    _ATEN.full.default: _translate_full,
    _ATEN.full_like.default: _translate_full_like,
    _ATEN.masked_fill.Scalar: _translate_masked_fill,
    _ATEN.addcmul.default: _make_addcmul_or_addcdiv_translation(aten_addcmul, op.Mul),
    _ATEN.addcdiv.default: _make_addcmul_or_addcdiv_translation(aten_addcdiv, op.Div),
    _ATEN.log_sigmoid.default: lambda x: op.Neg(op.Softplus(op.Neg(x))),  # It keeps both tails.
    _ATEN.logaddexp.default: _translate_log_add_exp,
    _ATEN.logaddexp2.default: _translate_log_add_exp2,
    _ATEN.log2.default: _make_log_translation(2),
    _ATEN.log10.default: _make_log_translation(10),
    _ATEN.log1p.default: _translate_log1p,
    # torch's own translations round the factor twice.
    _ATEN.deg2rad.default: lambda x: op.Mul(x, _make_constant_like(math.pi / 180, x)),
    _ATEN.rad2deg.default: lambda x: op.Mul(x, _make_constant_like(180 / math.pi, x)),
    _ATEN.expm1.default: _translate_expm1,
    _ATEN.clamp.default: _translate_clamp,
    _ATEN.clamp.Tensor: _translate_clamp_by_tensors,
    _ATEN.clamp_min.default: _translate_clamp,
    _ATEN.clamp_min.Tensor: _translate_clamp_by_tensors,
    _ATEN.clamp_max.default: lambda x, max_: _translate_clamp(x, None, max_),
    _ATEN.clamp_max.Tensor: lambda x, max_: _translate_clamp_by_tensors(x, None, max_),
    _ATEN.scatter_reduce.two: _translate_scatter_reduce,
    _ATEN.diagonal.default: _translate_diagonal,
    _ATEN.scaled_dot_product_attention.default: _translate_attention,
    _ATEN.elu.default: _translate_elu,
    # The numbers are PyTorch's, from ATen/native/Activation.cpp.
    _ATEN.selu.default: lambda x: _translate_elu(
        x, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
    ),
    _ATEN.celu.default: lambda x, alpha=1.0: _translate_elu(x, alpha, 1.0, 1 / alpha),
    _ATEN.atan2.default: _translate_atan2,
    **dict.fromkeys(_XLOGY, _make_xlogy_translation(op.Log)),
    _ATEN.special_xlog1py.default: _make_xlogy_translation(_translate_log1p),
    _ATEN.erfc.default: _translate_erfc,
    _ATEN.special_erfc.default: _translate_erfc,
    _ATEN.logit.default: _translate_logit,
    _ATEN.pow.Tensor_Scalar: _translate_power_by_number,
    _ATEN.pow.Tensor_Tensor: _translate_power_of_tensors,
    _ATEN.softmax.int: _make_softmax_translation(op.Softmax),
    _ATEN.log_softmax.int: _make_softmax_translation(op.LogSoftmax),
    _ATEN.isinf.default: partial(_translate_isinf, {}),
    _ATEN.isposinf.default: partial(_translate_isinf, {"detect_negative": 0}),
    _ATEN.isneginf.default: partial(_translate_isinf, {"detect_positive": 0}),
    **dict.fromkeys(_LEFT, partial(_translate_bit_shift, direction="LEFT")),
    **dict.fromkeys(_RIGHT, partial(_translate_bit_shift, direction="RIGHT")),
    _ATEN.linalg_vector_norm.default: _translate_vector_norm,
    torch.ops.prims.signbit.default: _translate_signbit,
    _ATEN.rrelu_with_noise_functional.default: _translate_rrelu,
    _ATEN.heaviside.default: _translate_heaviside,
    **dict.fromkeys(_REMAINDER, _translate_remainder),
    _ATEN.floor_divide.default: _translate_floor_division,
    _ATEN.div.Tensor_mode: _translate_division,
    _ATEN.div.Scalar_mode: _translate_division,
    _ATEN.var.correction: _translate_variance,
    _ATEN.var_mean.correction: _translate_variance_and_mean,
    _ATEN.mean.default: _translate_mean,
    _ATEN.mean.dim: _translate_mean,
    _ATEN.add.Scalar: _make_tensor_and_number_translation(op.Add),
    _ATEN.sub.Scalar: _make_tensor_and_number_translation(op.Sub),
    _ATEN.mul.Scalar: _make_tensor_and_number_translation(op.Mul),
    _ATEN.amax.default: _make_amax_or_amin_translation(op.ReduceMax),
    _ATEN.amin.default: _make_amax_or_amin_translation(op.ReduceMin),
    **dict.fromkeys((_ATEN.any.default, _ATEN.any.dim, _ATEN.any.dims), _translate_any),
    _ATEN.sort.stable: _translate_sort,
}
