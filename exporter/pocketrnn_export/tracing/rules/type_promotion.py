"""Rules for operations on numbers of several dtypes: `x.clamp(0.01, 1)`, `0.3 - ids`, `(x > 0) + (x > 1)`.

PyTorch converts them to one type before it computes, and ONNX takes only one type. torch's exporter does the same for
most operations; these are the ones where it fails, or for whose type onnxruntime has no kernel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.torch_internals import sym_float
from pocketrnn_export.tracing.trace_session import Rule, TraceSession, decline_call, decline_for_torchscript, rule

# The types that are not floating point.
_WHOLE: Final = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def _is_integer_or_bool_tensor(x: Any) -> bool:
    """Return whether a value is a tensor of integers or bools."""
    return isinstance(x, Tensor) and x.dtype in _WHOLE


def _is_float(value: Any) -> bool:
    """Return whether a value is a Python float or a symbolic float."""
    return isinstance(value, float | torch.SymFloat)


def _convert_to_dtype(value: Any, kind: torch.dtype) -> Any:
    """Return a number, which may be a symbolic size, as a float if `kind` is a floating dtype, else as an integer."""
    if isinstance(value, torch.SymInt):
        return sym_float(value) if kind.is_floating_point else value
    return float(value) if kind.is_floating_point else int(value)


def _find_promoted_dtype(x: Tensor, numbers: list[Any]) -> torch.dtype:
    """Return the dtype of the result when PyTorch computes with a tensor and these Python numbers."""
    kind = x.dtype
    for number in numbers:
        like = 0.5 if _is_float(number) else number if isinstance(number, bool) else 1
        kind = torch.promote_types(kind, torch.result_type(x, like))
    return kind


def _make_clamp_rule(
    function: Callable[..., Any], low: float | None = None, high: float | None = None
) -> Callable[..., Any]:
    """Return a rule for `x.clamp(0.01, 1)` that converts x and both bounds to the dtype of the result.

    Args:
        function: the torch function that clamps.
        low, high: the default bounds of the function; None if there are none.
    """

    def clamp_in_common_type(_session: TraceSession, x: Any, *given: Any, **named: Any) -> Any:
        bounds = [*given[:2], *([None] * (2 - len(given[:2])))]
        for i, names in enumerate((("min", "min_val"), ("max", "max_val"))):
            bounds[i] = next((named.pop(name) for name in names if name in named), bounds[i])
        bounds = [default if bound is None else bound for bound, default in zip(bounds, (low, high), strict=True)]
        numbers = [bound for bound in bounds if bound is not None]
        if not isinstance(x, Tensor) or not numbers or any(isinstance(bound, Tensor) for bound in numbers):
            return decline_call("the bounds are missing, or are tensors")
        # hardtanh returns the dtype of its input.
        kind = _find_promoted_dtype(x, numbers) if low is None else x.dtype
        expected = float if kind.is_floating_point else int
        if kind == torch.bool or (x.dtype == kind and all(type(bound) is expected for bound in numbers)):
            return decline_call("all operands have one dtype")
        low_and_high = (None if bound is None else _convert_to_dtype(bound, kind) for bound in bounds)
        return function(x if x.dtype == kind else x.to(kind), *low_and_high)

    return clamp_in_common_type


def _make_inplace_clamp_rule(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a rule for `x.clamp_(0.01, 1)`, which writes into x, that converts both bounds to the dtype of x."""
    clamped = _make_clamp_rule(function)

    def clamp_in_place(session: TraceSession, x: Any, *given: Any, **named: Any) -> Any:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            return decline_call("the integers stay integers")
        return clamped(session, x, *given, **named)

    return clamp_in_place


def _make_float_operation_rule(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a rule for an operation on integers and a float, such as `0.3 - ids`, that converts the integers to
    floats."""

    def compute_in_floats(_session: TraceSession, x: Any, other: Any, **more: Any) -> Any:
        if not (_is_integer_or_bool_tensor(x) and _is_float(other)):
            return decline_call("the operands are not integers and a float")
        return function(x.to(torch.get_default_dtype()), other, **more)

    return compute_in_floats


@rule("add", "__add__", decline=decline_for_torchscript)
def rewrite_sum_of_bools(_session: TraceSession, x: Any, other: Any, **more: Any) -> Any:
    """Rewrite `(x > 0) + (x > 1)`, a sum of bools, as a logical or."""
    if isinstance(other, bool):
        other = torch.full((), other)
    if more or not all(isinstance(one, Tensor) and one.dtype == torch.bool for one in (x, other)):
        return decline_call("the operands are not two boolean tensors")
    return torch.logical_or(x, other)


@rule("pow", "__pow__", decline=decline_for_torchscript)
def rewrite_power_of_integers(_session: TraceSession, base: Any, exponent: Any) -> Any:
    """Rewrite `ids ** weights`, integers to the power of floats: convert the base to floats."""
    if not (_is_integer_or_bool_tensor(base) and isinstance(exponent, Tensor) and exponent.is_floating_point()):
        return decline_call("the operands are not an integer base and float exponents")
    return torch.pow(base.to(torch.result_type(base, exponent)), exponent)


@rule("nansum", decline=decline_for_torchscript)
def rewrite_nansum_of_integers(_session: TraceSession, x: Any, *given: Any, **named: Any) -> Any:
    """Rewrite `nansum` of integers as `sum`, since integers are never NaN."""
    return torch.sum(x, *given, **named) if _is_integer_or_bool_tensor(x) else decline_call("the numbers are floats")


@rule("stack", decline=decline_for_torchscript)
def rewrite_stack_of_several_dtypes(_session: TraceSession, tensors: Any, dim: int = 0, **more: Any) -> Any:
    """Rewrite `torch.stack([counts, shares], 1)` of integers and floats: convert all to the promoted dtype."""
    if more or not isinstance(tensors, (list, tuple)) or len({one.dtype for one in tensors}) < 2:
        return decline_call("all operands have one dtype")
    kind = functools.reduce(torch.promote_types, (one.dtype for one in tensors))
    return torch.stack([one if one.dtype == kind else one.to(kind) for one in tensors], dim)


MIXED_NUMBERS: Final = (
    Rule(("clamp", "clip"), _make_clamp_rule(torch.clamp), decline_for_torchscript),
    Rule(("clamp_", "clip_"), _make_inplace_clamp_rule(Tensor.clamp_), decline_for_torchscript),
    Rule(("hardtanh",), _make_clamp_rule(nn.functional.hardtanh, -1.0, 1.0), decline_for_torchscript),
    Rule(("hardtanh_",), _make_inplace_clamp_rule(nn.functional.hardtanh_), decline_for_torchscript),
    Rule(("rsub", "__rsub__"), _make_float_operation_rule(torch.rsub), decline_for_torchscript),
    Rule(("floor_divide", "__floordiv__"), _make_float_operation_rule(torch.floor_divide), decline_for_torchscript),
    rewrite_sum_of_bools,
    rewrite_power_of_integers,
    rewrite_nansum_of_integers,
    rewrite_stack_of_several_dtypes,
)
