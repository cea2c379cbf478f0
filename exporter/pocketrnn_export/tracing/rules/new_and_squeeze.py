"""Rules for `x.new`, an old way to make tensors, and for `squeeze`."""

from __future__ import annotations

from typing import Any, Final

from torch import Tensor

from pocketrnn_export.tracing.python_semantics.patched_globals import make_tensor_of_sizes_or_numbers
from pocketrnn_export.tracing.session import TraceSession, declined, rule


@rule("new")
def new(_: TraceSession, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Rewrite `x.new(n, 5)` as zeros of that size. From given numbers, or a given tensor, make a tensor of them."""
    return declined("the call has keyword arguments") if kwargs else make_tensor_of_sizes_or_numbers(x.dtype, args)


@rule("squeeze")
def squeeze(session: TraceSession, x: Any, dim: Any = None) -> Any:
    """Rewrite `squeeze` to remove only axes whose size is always 1. Other axes are longer in other batches."""
    fixed = [_has_size_one(session, x, axis) for axis in range(x.dim())]
    wanted = (
        range(x.dim()) if dim is None else [axis % max(x.dim(), 1) for axis in ([dim] if type(dim) is int else dim)]
    )
    gone = [axis for axis in wanted if axis < len(fixed) and fixed[axis]]
    for axis in sorted(gone, reverse=True):
        x = x.select(axis, 0)
    return x


def _has_size_one(session: TraceSession, x: Tensor, axis: int) -> bool:
    """Return whether an axis has the size 1 in every batch."""
    # In TorchScript's trace a size is a tensor, and the example's sizes are not 1.
    return int(x.shape[axis]) == 1 if session.scripted else isinstance(x.shape[axis], int) and x.shape[axis] == 1


CONSTRUCTORS: Final = (new, squeeze)
