"""Pools over a size, and bags of rows of a table, as reductions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_export.tracing.arrays import number_of
from pocketrnn_export.tracing.session import Rule, TraceSession, always, declined, rule
from pocketrnn_export.tracing.torch_internals import statically_known_true

__all__ = ["POOLING"]


@rule("embedding_bag")
def embedding_bag(
    _: TraceSession,
    input: Any,  # noqa: A002 - torch's name
    weight: Any,
    offsets: Any = None,
    max_norm: Any = None,
    norm_type: Any = 2.0,
    scale_grad_by_freq: Any = False,
    mode: Any = "mean",
    sparse: Any = False,
    per_sample_weights: Any = None,
    include_last_offset: Any = False,
    padding_idx: Any = None,
) -> Any:
    """Bags of rows of a table: the sum, mean or largest of each. A bag with no id but the padding is zeros."""
    del norm_type, scale_grad_by_freq, sparse
    if max_norm is not None or mode not in {"sum", "mean", "max"} or not isinstance(weight, Tensor):
        return declined("a table with a norm, or of a mode that is not known")
    rows = torch.nn.functional.embedding(input, weight)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    counted = torch.ones_like(input, dtype=torch.bool)
    if padding_idx is not None:
        counted = input != (padding_idx if padding_idx >= 0 else weight.shape[0] + padding_idx)
    if input.dim() == 1:
        # One axis of ids, cut at the offsets: every bag sees all ids, and counts its own.
        if offsets is None:
            return declined("one axis of ids without offsets")
        starts = offsets[:-1] if include_last_offset else offsets
        bag = (torch.arange(input.shape[0])[None] >= starts[:, None]).sum(0) - 1
        counted = counted[None] & (bag[None] == torch.arange(starts.shape[0])[:, None])
        rows = rows[None]
    if mode == "max":
        largest = rows.masked_fill(~counted.unsqueeze(-1), -math.inf).amax(1)
        return torch.where(counted.any(1, keepdim=True), largest, torch.zeros((), dtype=rows.dtype))
    mask = counted.to(rows.dtype)
    total = (mask @ rows[0]) if input.dim() == 1 else (rows * mask.unsqueeze(-1)).sum(1)
    return total if mode == "sum" else total / mask.sum(1, keepdim=True).clamp(min=1)


def _pool(axes: int, reduce: Callable[..., Any]) -> Callable[..., Any]:
    """A pool over the whole of some of its axes, and one by one over the others, as a reduction."""

    def pool(
        session: TraceSession,
        x: Any,
        kernel_size: Any = None,
        stride: Any = None,
        padding: Any = 0,
        *rest: Any,
        **kwargs: Any,
    ) -> Any:
        if axes == 1 and reduce is _largest and not session.scripted:
            found = _sliding(x, kernel_size, stride, padding, *rest, **kwargs)
            if found is not None:
                return found
        if rest or padding not in (0, (0,), (0, 0), [0, 0]) or kernel_size is None:
            return declined("padded, or with more arguments")
        if any(kwargs.get(name) not in (None, False, 1) for name in ("ceil_mode", "return_indices", "dilation")):
            return declined("with ceil_mode, return_indices or dilation")
        sizes = list(kernel_size) if isinstance(kernel_size, list | tuple) else [kernel_size] * axes
        sizes = sizes * axes if len(sizes) == 1 else sizes
        whole = []
        for axis, size in zip(range(-axes, 0), sizes, strict=True):
            size = number_of(size) if isinstance(size, Tensor) and not session.scripted else size
            if _is_whole(session, size, x, axis):
                whole.append(axis)
            elif not (isinstance(size, int) and size == 1):
                return declined("a kernel that is neither a whole axis nor 1")
        strides = list(stride) if isinstance(stride, list | tuple) else [stride] * axes
        steps = [step for axis, step in zip(range(-axes, 0), strides, strict=False) if axis not in whole]
        if not whole or any(step not in (None, 1) for step in steps):
            return declined("over no whole axis, or with a stride")
        return reduce(x, whole)

    return pool


def _sliding(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: Any = False,
    return_indices: Any = False,
) -> Any:
    """The largest of each window of plain numbers, over two axes of which one is 1: over one, PyTorch asks for the size
    of the axis as a plain number. None for another pool."""
    plain = []
    for value in (kernel_size, stride if stride not in (None, (), []) else kernel_size, padding, dilation):
        values = list(value) if isinstance(value, list | tuple) else [value]
        if len(values) != 1 or type(values[0]) is not int:
            return None
        plain.append(values[0])
    if return_indices or ceil_mode or not isinstance(x, Tensor) or isinstance(x.shape[-1], int):
        return None
    size, step, pad, apart = plain
    planes = x.unsqueeze(-2)
    return torch.max_pool2d(planes, (1, size), (1, step), (0, pad), (1, apart)).squeeze(-2)


def _is_whole(session: TraceSession, size: Any, x: Tensor, axis: int) -> bool:
    """Whether a kernel is as long as an axis, whatever the size of that; a plain number only happens to be."""
    if session.scripted:
        return isinstance(size, Tensor) and int(size) == int(x.shape[axis])
    return isinstance(size, torch.SymInt) and statically_known_true(size == x.shape[axis])


def _adaptive(axes: int, *, largest: bool) -> Callable[..., Any]:
    """A pool to a number of windows, whose ends depend on the size: window j of k is the steps from j * n // k up to
    (j + 1) * n / k, rounded up."""

    def pool(session: TraceSession, x: Any, output_size: Any = None, return_indices: Any = False) -> Any:
        sizes = list(output_size) if isinstance(output_size, list | tuple) else [output_size] * axes
        sizes = sizes * axes if len(sizes) == 1 else sizes
        if return_indices or not all(size is None or isinstance(size, int) for size in sizes):
            return declined("with indices, or to sizes that are no plain numbers")
        whole = [axis for axis, size in zip(range(-axes, 0), sizes, strict=True) if size == 1]
        if session.scripted and any(size not in (1, None) for size in sizes):
            return declined("with indices, or to sizes that are no plain numbers")
        for axis, size in zip(range(-axes, 0), sizes, strict=True):
            if size not in (1, None) and not (isinstance(x.shape[axis], int) and x.shape[axis] == size):
                x = _windows(x, axis, size, largest=largest)
        if not whole:
            return x
        return _largest(x, whole) if largest else _mean(x, whole)

    return pool


def _windows(x: Tensor, axis: int, count: int, *, largest: bool) -> Tensor:
    """x [..., n, ...] as [..., count, ...]: the largest or the mean of each window along an axis."""
    size = x.shape[axis]
    window = torch.arange(count)
    starts = torch.div(window * size, count, rounding_mode="floor")[:, None]
    ends = torch.div((window + 1) * size + count - 1, count, rounding_mode="floor")[:, None]
    steps = torch.arange(size)[None]
    inside = (steps >= starts) & (steps < ends)
    last = x.movedim(axis, -1)
    if largest:
        found = last.unsqueeze(-2).masked_fill(~inside, -math.inf).amax(-1)
    else:
        found = last @ (inside.to(x.dtype) / (ends - starts).to(x.dtype)).transpose(0, 1)
    return found.movedim(-1, axis)


def _largest(x: Any, axes: list[int]) -> Any:
    return x.amax(axes, keepdim=True)


def _mean(x: Any, axes: list[int]) -> Any:
    return x.mean(axes, keepdim=True)


_POOLS: Final = {
    **{f"max_pool{axes}d": _pool(axes, _largest) for axes in (1, 2)},
    **{f"avg_pool{axes}d": _pool(axes, _mean) for axes in (1, 2)},
    **{f"adaptive_max_pool{axes}d": _adaptive(axes, largest=True) for axes in (1, 2)},
    **{f"adaptive_avg_pool{axes}d": _adaptive(axes, largest=False) for axes in (1, 2)},
}
POOLING: Final = (embedding_bag, *(Rule((name,), pool, always) for name, pool in _POOLS.items()))
