"""Rules for numbers that are selected or found by their order (`median`, `kthvalue`, `searchsorted`), position or
value. Functions that ONNX does not have, such as running maxima, are refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, NoReturn

import torch
from torch import Tensor

from pocketrnn_export.intake.user_code_lines_for_messages import describe_user_line
from pocketrnn_export.tracing.sizes.size_question_log import UntraceableError
from pocketrnn_export.tracing.trace_session import Rule, TraceSession, decline_call, decline_for_torchscript, rule

# The functions without an ONNX operator, with advice on what to write instead.
_WITHOUT: Final = {
    "cumprod": "For a mask of 0 and 1, use (mask == 0).cumsum(1) == 0. For positive numbers, "
    "torch.exp(torch.cumsum(torch.log(x), 1)) gives nearly the same.",
    "cummax": "Use x.max(1), the maximum of all steps; running maxima are not supported.",
    "cummin": "Use x.min(1), the minimum of all steps; running minima are not supported.",
    "logcumsumexp": "With m = x.amax(1, True), torch.log(torch.cumsum(torch.exp(x - m), 1)) + m is nearly equal.",
    "mode": "Count with F.one_hot(x, ids).sum(1).argmax(1), which gives the lowest of the most frequent numbers.",
    "nanmedian": "Remove NaN from the numbers, and use x.median(1).",
}


def _select_sorted_values_and_positions(
    x: Tensor, index: Any, dim: int, *, keepdim: bool, nan_first: bool = False
) -> Any:
    """Return the values at an index of a sorted axis, and their positions in x.

    Args:
        x: the tensor, not sorted.
        index: the index in the sorted axis, which may be a symbolic size.
        keepdim: whether the result keeps the axis.
        nan_first: whether the first NaN is the result where the axis contains a NaN.
    """
    if not x.dim():
        return x, torch.zeros_like(x, dtype=torch.int64)
    values, places = x.sort(dim=dim)
    where = torch.full((1,), index, dtype=torch.int64)
    found = [part.index_select(dim, where) for part in (values, places)]
    if nan_first:
        # NaN is sorted behind all other numbers, and is the result if there is one.
        last = torch.full((1,), x.shape[dim] - 1, dtype=torch.int64)
        none = torch.isnan(values.index_select(dim, last))
        first = torch.isnan(x).to(x.dtype).argmax(dim=dim, keepdim=True)
        found = [torch.where(none, torch.nan, found[0]), torch.where(none, first, found[1])]
    return tuple(part if keepdim else part.squeeze(dim) for part in found)


@rule("median", decline=decline_for_torchscript)
def rewrite_median_as_sort(_session: TraceSession, x: Any, dim: Any = None, keepdim: bool = False, **more: Any) -> Any:
    """Rewrite `x.median(1)` as a sort and a selection. For an even number of values, the median is the lower middle
    one."""
    if dim is None or more:
        return decline_call("the axis is not given")
    size = x.shape[dim] if x.dim() else 1
    return torch.return_types.median(
        _select_sorted_values_and_positions(x, (size - 1) // 2, dim, keepdim=keepdim, nan_first=x.is_floating_point())
    )


@rule("kthvalue", decline=decline_for_torchscript)
def rewrite_kthvalue_as_sort(
    _session: TraceSession, x: Any, k: Any, dim: Any = -1, keepdim: bool = False, **more: Any
) -> Any:
    """Rewrite `x.kthvalue(2, 1)` as a sort and a selection."""
    if more or isinstance(k, Tensor):
        return decline_call("k is a tensor")
    return torch.return_types.kthvalue(_select_sorted_values_and_positions(x, k - 1, dim, keepdim=keepdim))


@rule("quantile", decline=decline_for_torchscript)
def rewrite_quantile_as_sort(
    _session: TraceSession, x: Any, q: Any, dim: Any = None, keepdim: bool = False, **more: Any
) -> Any:
    """Rewrite `torch.quantile(x, 0.5, dim=1)` as a sort, and an interpolation between the two nearest values."""
    if not isinstance(q, float | int) or dim is None or not x.dim() or set(more) - {"interpolation"}:
        return decline_call("the axis is not given, or several quantiles are wanted")
    if more.get("interpolation", "linear") != "linear":
        return decline_call("the interpolation is not linear")
    values = x.sort(dim=dim)[0]
    rank = torch.full((1,), x.shape[dim] - 1, dtype=x.dtype) * q
    below = rank.floor()
    lower, upper = (values.index_select(dim, place.to(torch.int64)) for place in (below, rank.ceil()))
    weight = (rank - below).reshape([1] * x.dim())
    # NaN is sorted behind all other numbers, and is the result if there is one.
    last = values.index_select(dim, torch.full((1,), x.shape[dim] - 1, dtype=torch.int64))
    # From the nearer one, as torch.lerp: the other may be infinite.
    between = torch.where(weight < 0.5, lower + weight * (upper - lower), upper - (upper - lower) * (1 - weight))
    found = torch.where(torch.isnan(last), torch.nan, between)
    return found if keepdim else found.squeeze(dim)


@rule("take_along_dim", decline=decline_for_torchscript)
def rewrite_take_along_dim_as_gather(
    _session: TraceSession,
    input: Any,  # noqa: A002 - torch's name
    indices: Any,
    dim: Any = None,
    **more: Any,
) -> Any:
    """Rewrite `torch.take_along_dim(x, indices, 1)` as `gather`, after expanding axes of size 1."""
    if not isinstance(dim, int) or more or input.dim() != indices.dim():
        return decline_call("the axis is not given")

    def expand_to_shape_of(x: Tensor, other: Tensor) -> Tensor:
        axes = enumerate(zip(x.shape, other.shape, strict=True))
        return x.expand([b if i != dim % x.dim() and isinstance(a, int) and a == 1 else -1 for i, (a, b) in axes])

    return expand_to_shape_of(input, indices).gather(dim, expand_to_shape_of(indices, input))


def _make_rule_for_bools_as_integers(function: Callable[..., Any], bool_results: int = 1) -> Callable[..., Any]:
    """Return a rule for a function such as `torch.sort` that computes with bools as the integers 0 and 1, since ONNX
    does not order bools.

    Args:
        bool_results: how many of its results become bools again, from the first on. `sort` also returns indices.
    """

    def compute_with_bools_as_integers(_session: TraceSession, x: Any, *args: Any, **more: Any) -> Any:
        if not isinstance(x, Tensor) or x.dtype != torch.bool or more.get("out") is not None:
            return decline_call("the input is not boolean")
        whole = [one.to(torch.int64) if isinstance(one, Tensor) else one for one in args]
        named = {name: one.to(torch.int64) if isinstance(one, Tensor) else one for name, one in more.items()}
        found = function(x.to(torch.int64), *whole, **named)
        if isinstance(found, Tensor):
            return found.to(torch.bool) if bool_results else found
        return type(found)((*(part.to(torch.bool) for part in found[:bool_results]), *found[bool_results:]))

    return compute_with_bools_as_integers


@rule("searchsorted", decline=decline_for_torchscript)
def rewrite_searchsorted_as_count(
    _session: TraceSession,
    sorted_sequence: Any,
    input: Any,  # noqa: A002 - torch's name
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Any:
    """Rewrite `torch.searchsorted(edges, x)`: count for each number the edges below it. NaN is above all edges."""
    if sorter is not None or not isinstance(sorted_sequence, Tensor) or not isinstance(input, Tensor):
        return decline_call("an argument is a number, or a sorter is given")
    edges = sorted_sequence.unsqueeze(-2) if sorted_sequence.dim() > 1 else sorted_sequence
    values = input.unsqueeze(-1)
    before = ~(edges > values) if right or side == "right" else ~(edges >= values)
    return before.sum(-1).to(torch.int32 if out_int32 else torch.int64)


def _make_rule_that_refuses_call(name: str) -> Rule:
    """Return a rule that raises an UntraceableError for each call of the torch function with this name, since ONNX has
    no operator for the function."""

    @rule(name, decline=decline_for_torchscript)
    def refuse_call(_session: TraceSession, *_: Any, **__: Any) -> NoReturn:
        where = describe_user_line(sys._getframe(1))
        raise UntraceableError(
            f"The module calls torch.{name}, which no ONNX operator computes, {where}.", _WITHOUT[name]
        )

    return refuse_call


@rule("isin", decline=decline_for_torchscript)
def rewrite_isin_as_comparisons(_session: TraceSession, elements: Any, test_elements: Any, **more: Any) -> Any:
    """Rewrite `torch.isin(x, stop_words)` as comparisons of each element with each word. torch would sort and search
    for many words."""
    if not isinstance(elements, Tensor) or not isinstance(test_elements, Tensor):
        return decline_call("an argument is a number")
    found = (elements.unsqueeze(-1) == test_elements.reshape(-1)).any(-1)
    return ~found if more.get("invert") else found


_TRUTHS: Final = (
    *(Rule((function.__name__,), _make_rule_for_bools_as_integers(function), decline_for_torchscript) for function in
      (torch.max, torch.min, torch.amax, torch.amin, torch.maximum, torch.minimum, torch.sort)),
    Rule(("aminmax",), _make_rule_for_bools_as_integers(torch.aminmax, 2), decline_for_torchscript),
    Rule(("argsort",), _make_rule_for_bools_as_integers(torch.argsort, 0), decline_for_torchscript),
)  # fmt: skip
ORDER_STATISTICS: Final = (
    *(
        rewrite_median_as_sort,
        rewrite_kthvalue_as_sort,
        rewrite_quantile_as_sort,
        rewrite_take_along_dim_as_gather,
        rewrite_searchsorted_as_count,
        rewrite_isin_as_comparisons,
    ),
    *(*_TRUTHS, *map(_make_rule_that_refuses_call, _WITHOUT)),
)
