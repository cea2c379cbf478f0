"""Rules for `x.new`, an old way to make tensors, and for `squeeze`."""

from __future__ import annotations

from typing import Any, Final

from pocketrnn_export.tracing.python_semantics.globals_replaced_during_trace import make_tensor_of_sizes_or_numbers
from pocketrnn_export.tracing.trace_session import TraceSession, decline_call, rule


@rule("new")
def rewrite_new_as_zeros_or_numbers(_: TraceSession, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Rewrite `x.new(n, 5)` as zeros of this size, and `x.new([1, 2])` as a tensor of these numbers."""
    return decline_call("the call has keyword arguments") if kwargs else make_tensor_of_sizes_or_numbers(x.dtype, args)


@rule("squeeze")
def rewrite_squeeze_of_fixed_axes(session: TraceSession, x: Any, dim: Any = None) -> Any:
    """Rewrite `x.squeeze()` so that it removes only axes whose size is always 1. PyTorch would also remove an axis
    whose size is 1 in the example only."""
    # In TorchScript's trace a size is a tensor, and the example's sizes are not 1.
    fixed = [int(size) == 1 if session.scripted else isinstance(size, int) and size == 1 for size in x.shape]
    wanted = (
        range(x.dim()) if dim is None else [axis % max(x.dim(), 1) for axis in ([dim] if type(dim) is int else dim)]
    )
    gone = [axis for axis in wanted if axis < len(fixed) and fixed[axis]]
    for axis in sorted(gone, reverse=True):
        x = x.select(axis, 0)
    return x


NEW_AND_SQUEEZE: Final = (rewrite_new_as_zeros_or_numbers, rewrite_squeeze_of_fixed_axes)
