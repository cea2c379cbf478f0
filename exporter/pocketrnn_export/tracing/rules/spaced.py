"""Numbers between two ends, as many as a size: `torch.linspace(0, 1, n)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_export.tracing.session import Declined, TraceSession, declined, exporting, rule

__all__ = ["SPACED"]

# torch does not annotate these.
_arange: Callable[..., Tensor] = torch.arange
_sym_max: Callable[..., Any] = torch.sym_max


@rule("linspace", when=exporting)
def linspace(_session: TraceSession, start: Any, end: Any, steps: Any = None, *, dtype: Any = None, **_: Any) -> Any:
    """`torch.linspace(0, 1, n)`: from both ends to the middle, as PyTorch computes it."""
    if not isinstance(steps, torch.SymInt) or isinstance(start, Tensor) or isinstance(end, Tensor):
        return declined("a fixed number of numbers, or between tensors")
    kind = torch.float32 if dtype is None else dtype
    if not kind.is_floating_point:
        return declined("of whole numbers")
    first, last = torch.full((), start, dtype=kind), torch.full((), end, dtype=kind)
    position = _arange(steps)
    step = (last - first) / torch.full((), _sym_max(steps - 1, 1), dtype=kind)
    below = position < _sym_max(steps // 2, 1)
    return torch.where(below, first + position * step, last + (position - _sym_max(steps - 1, 0)) * step)


@rule("logspace", when=exporting)
def logspace(
    session: TraceSession, start: Any, end: Any, steps: Any = None, base: Any = 10.0, *, dtype: Any = None, **_: Any
) -> Any:
    """`torch.logspace(0, 1, n)`: powers of the base."""
    powers = linspace(session, start, end, steps, dtype=dtype)
    return powers if isinstance(powers, Declined) else torch.full((), base, dtype=powers.dtype) ** powers


SPACED: Final = (linspace, logspace)
