"""Rules for evenly spaced numbers whose count is a size, such as `torch.linspace(0, 1, n)` and `torch.arange(n - 1, -1,
-1)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_export.torch_internals import sym_max, without_dispatch_modes
from pocketrnn_export.tracing.trace_session import (
    DeclinedRule,
    TraceSession,
    decline_call,
    decline_for_torchscript,
    rule,
)

# The most numbers that a graph holds as a constant; more are computed when it runs.
_MOST_NUMBERS: Final = 1 << 16
# torch has no type annotation for it.
_arange: Callable[..., Tensor] = torch.arange


def _are_plain_numbers(values: Sequence[Any]) -> bool:
    """Return whether all values are plain Python numbers or options such as `dtype`, not tensors or sizes."""
    return not any(isinstance(value, Tensor | torch.SymInt | torch.SymFloat) for value in values)


def _compute_as_constant(function: Callable[..., Tensor], *args: Any, **options: Any) -> Any:
    """Return the result of a torch function of plain numbers as a constant of the graph, which would round differently
    if it computed the numbers. Decline for too many numbers, or for a result with a gradient."""
    with without_dispatch_modes():
        made = function(*args, **options)
    if made.numel() > _MOST_NUMBERS or made.requires_grad:
        return decline_call("the result has too many numbers for a constant, or a gradient")
    return torch.tensor(made.tolist(), dtype=made.dtype)


@rule("arange", decline=decline_for_torchscript)
def rewrite_arange_as_offsets_or_constant(_session: TraceSession, *ends: Any, step: Any = 1, **options: Any) -> Any:
    """Rewrite `torch.arange(n - 1, -1, -1)` as `n - 1 - torch.arange(n)`, and `torch.arange(0.0, 1.0, 0.1)` as a
    constant.

    onnxruntime turns a lookup at a range into a slice, whose negative end would count from the end of the table.
    """
    numbers = [*ends, step, *options.values()]
    if float in map(type, numbers) and _are_plain_numbers(numbers):
        return _compute_as_constant(_arange, *ends, **options, **({"step": step} if len(ends) == 2 else {}))
    given = [*ends[:2], *(options.pop(name) for name in ("start", "end") if name in options)]
    step = ends[2] if len(ends) > 2 else step
    if len(given) != 2 or type(step) is not int or not all(type(one) in (int, torch.SymInt) for one in given):
        return decline_call("the range starts at 0 by default, or not all its numbers are integers")
    start, end = given
    if torch.SymInt not in map(type, given) or (type(start) is int and start >= 0 and step > 0):
        return decline_call("the range has fixed ends, or goes up from a number that is not below 0")
    if step > 0:
        return start + _arange(0, end - start, step, **options)
    return start - _arange(0, start - end, -step, **options)


@rule("linspace", decline=decline_for_torchscript)
def rewrite_linspace_of_symbolic_count(
    _session: TraceSession, start: Any, end: Any, steps: Any = None, *, dtype: Any = None, **_: Any
) -> Any:
    """Rewrite `torch.linspace(0, 1, n)` of a symbolic size n: compute the numbers from both ends to the middle, as
    PyTorch does. Rewrite `torch.linspace(0, 1, 5)` as a constant."""
    if _are_plain_numbers([start, end, steps]):
        return _compute_as_constant(torch.linspace, start, end, steps, dtype=dtype)
    if not isinstance(steps, torch.SymInt) or isinstance(start, Tensor) or isinstance(end, Tensor):
        return decline_call("the count of numbers is fixed, or an end is a tensor")
    kind = torch.float32 if dtype is None else dtype
    if not kind.is_floating_point:
        return decline_call("the result is integers")
    first, last = torch.full((), start, dtype=kind), torch.full((), end, dtype=kind)
    position = _arange(steps)
    step = (last - first) / torch.full((), sym_max(steps - 1, 1), dtype=kind)
    below = position < sym_max(steps // 2, 1)
    return torch.where(below, first + position * step, last + (position - sym_max(steps - 1, 0)) * step)


@rule("logspace", decline=decline_for_torchscript)
def rewrite_logspace_as_powers(
    session: TraceSession, start: Any, end: Any, steps: Any = None, base: Any = 10.0, *, dtype: Any = None, **_: Any
) -> Any:
    """Rewrite `torch.logspace(0, 1, n)` of a symbolic size n as powers of the base. Rewrite `torch.logspace(0, 1, 5)`
    as a constant."""
    if _are_plain_numbers([start, end, steps, base]):
        return _compute_as_constant(torch.logspace, start, end, steps, base, dtype=dtype)
    powers = rewrite_linspace_of_symbolic_count(session, start, end, steps, dtype=dtype)
    return powers if isinstance(powers, DeclinedRule) else torch.full((), base, dtype=powers.dtype) ** powers


SPACED: Final = (rewrite_arange_as_offsets_or_constant, rewrite_linspace_of_symbolic_count, rewrite_logspace_as_powers)
