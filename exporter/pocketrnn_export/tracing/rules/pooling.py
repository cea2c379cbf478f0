"""Rules for pooling whose windows depend on a size. They use reductions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from pocketrnn_export.torch_internals import restrict_sizes, statically_known_true, sym_min
from pocketrnn_export.tracing.python_semantics.traced_arrays import replace_largest_length_by_width
from pocketrnn_export.tracing.trace_session import DeclinedRule, Rule, TraceSession, decline_call, decline_never


class _SplitWindows(NamedTuple):
    """The windows of a pooling, with their values.

    Attributes:
        values: [..., count, size], the values of each window. The pooled axis is the last.
        is_inside: bool [count, size], whether a position is inside the tensor, and not in its padding.
        reached: [count], how many positions of each window are inside the tensor or its padding.
    """

    values: Tensor
    is_inside: Tensor
    reached: Tensor


@dataclass(frozen=True)
class _Windows:
    """The windows of a pooling along one axis.

    Attributes:
        axis: the index of the axis, negative: -1 is the last axis.
        size, step, pad, apart: the kernel size, stride, padding and dilation, as plain or symbolic numbers.
    """

    axis: int
    size: Any
    step: Any
    pad: Any
    apart: Any

    @property
    def has_plain_numbers(self) -> bool:
        """Whether kernel size, stride, padding and dilation are plain numbers, and not symbolic sizes."""
        return all(type(value) is int for value in (self.size, self.step, self.pad, self.apart))

    def count_windows(self, length: Any, *, ceil: bool) -> Any:
        """Return the number of windows on an axis of this length. With `ceil`, the last window may end after the axis.

        Source: `pooling_output_shape` of PyTorch's ATen/native/Pool.h.
        """
        reach = self.apart * (self.size - 1) + 1
        if not ceil:
            return (length + 2 * self.pad - reach) // self.step + 1
        upwards = (length + 2 * self.pad - reach + self.step - 1) // self.step + 1
        return sym_min(upwards, (length + self.pad + self.step - 1) // self.step)

    def split_into_windows(self, x: Tensor, *, ceil: bool) -> _SplitWindows:
        """Return the windows of x [..., length, ...], with their values. With `ceil`, the last window may end after the
        axis."""
        length = x.shape[self.axis]
        count = self.count_windows(length, ceil=ceil)
        restrict_sizes(count >= 1, "the text is too short for the window of a pool")
        starts = torch.arange(count) * self.step - self.pad
        places = starts[:, None] + torch.arange(self.size)[None] * self.apart
        inside = (places >= 0) & (places < length)
        flat = torch.where(inside, places, torch.zeros((), dtype=places.dtype)).flatten()
        found = x.movedim(self.axis, -1).index_select(-1, flat)
        reached = (starts + self.size).clamp(max=length + self.pad) - starts
        return _SplitWindows(found.reshape(*found.shape[:-1], count, self.size), inside, reached)


def _read_values_per_axis(value: Any, axes: int, default: Any) -> list[Any]:
    """Return an argument of a pooling as a list with one value for each axis.

    Args:
        value: the argument: one number for all axes, or a list; None or an empty list for `default`.
        axes: the number of pooled axes.
        default: the value that is used if none is given.
    """
    value = default if value is None or value in ((), []) else value
    values = list(value) if isinstance(value, list | tuple) else [value]
    return values * axes if len(values) == 1 else values


def _make_windows_of_each_axis(axes: int, size: Any, stride: Any, padding: Any, dilation: Any) -> list[_Windows] | None:
    """Return the windows along each pooled axis, or None if the arguments of the pooling are not valid for this number
    of axes."""
    sizes = _read_values_per_axis(size, axes, 1)
    columns = [
        sizes,
        _read_values_per_axis(stride, axes, sizes),
        _read_values_per_axis(padding, axes, 0),
        _read_values_per_axis(dilation, axes, 1),
    ]
    if any(len(column) != axes for column in columns):
        return None
    columns = [[replace_largest_length_by_width(n) for n in column] for column in columns]
    return [_Windows(axis, *each) for axis, each in zip(range(-axes, 0), zip(*columns, strict=True), strict=True)]


def _separate_axes_of_single_window(
    session: TraceSession, x: Tensor, windows: Sequence[_Windows]
) -> tuple[list[int], list[_Windows]]:
    """Return two lists: the axes that one window covers as a whole, and the windows along the other axes. Windows of
    one value that change nothing are left out."""
    whole = [w.axis for w in windows if w.pad == 0 and w.apart == 1 and _covers_whole_axis(session, w.size, x, w.axis)]
    others = [w for w in windows if w.axis not in whole]
    return whole, [w for w in others if not w.has_plain_numbers or (w.size, w.step, w.pad) != (1, 1, 0)]


def _make_max_pool_rule(axes: int) -> Callable[..., Any]:
    """Return a rule for max pooling over this number of axes. A window over a whole axis becomes a reduction. PyTorch's
    pooling is kept if ONNX computes the same. Any other pooling becomes a maximum over the positions of each window."""

    def compute_max_pool(
        session: TraceSession,
        x: Any,
        kernel_size: Any = None,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: Any = False,
        return_indices: Any = False,
    ) -> Any:
        windows = _make_windows_of_each_axis(axes, kernel_size, stride, padding, dilation)
        if windows is None or return_indices or not isinstance(x, Tensor):
            return decline_call("indices are wanted, or the arguments are not valid")
        whole, others = _separate_axes_of_single_window(session, x, windows)
        if whole and not others:
            return x.amax(whole, keepdim=True)
        if session.scripted or not others:
            return decline_call("a window does not cover its whole axis")
        if all(w.has_plain_numbers and not (ceil_mode and (w.pad or w.step > w.size)) for w in others) and not whole:
            return (
                decline_call("ONNX has the same pooling")
                if axes == 2
                else _compute_max_pool_as_2d(x, others[0], ceil=bool(ceil_mode))
            )
        for w in others:
            taken, inside, _ = w.split_into_windows(x, ceil=bool(ceil_mode))
            x = taken.masked_fill(~inside, -math.inf).amax(-1).movedim(-1, w.axis)
        return x.amax(whole, keepdim=True) if whole else x

    return compute_max_pool


def _compute_max_pool_as_2d(x: Tensor, w: _Windows, *, ceil: bool) -> Any:
    """Return a max pooling over the last axis, computed as a pooling over two axes, since a trace of PyTorch's
    `max_pool1d` fixes the size of the axis. Decline if the size is fixed anyway.

    Args:
        w: the windows along the last axis.
        ceil: whether the last window may end after the axis.
    """
    if isinstance(x.shape[-1], int):
        return decline_call("the axis has a fixed size")
    planes = x.unsqueeze(-2)
    return torch.max_pool2d(planes, (1, w.size), (1, w.step), (0, w.pad), (1, w.apart), ceil).squeeze(-2)


def _make_avg_pool_rule(axes: int) -> Callable[..., Any]:
    """Return a rule for average pooling over this number of axes. A window over a whole axis becomes a reduction.
    PyTorch's pooling is kept if ONNX computes the same. Any other pooling becomes a mean over the positions of each
    window."""

    def compute_avg_pool(
        session: TraceSession,
        x: Any,
        kernel_size: Any = None,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: Any = False,
        count_include_pad: Any = True,
        divisor_override: Any = None,
    ) -> Any:
        windows = _make_windows_of_each_axis(axes, kernel_size, stride, padding, 1)
        if windows is None or not isinstance(x, Tensor):
            return decline_call("the arguments are not valid")
        whole, others = _separate_axes_of_single_window(session, x, windows)
        if whole and not others and divisor_override is None:
            return x.mean(whole, keepdim=True)
        plain = all(w.has_plain_numbers for w in windows) and not ceil_mode and divisor_override is None
        if session.scripted or plain or any(type(w.size) is not int and w.axis in whole for w in windows):
            return decline_call("ONNX has the same pooling, or one window covers a whole axis")
        total, divisor = x, torch.ones((), dtype=x.dtype)
        for w in windows:
            taken, inside, reached = w.split_into_windows(total, ceil=bool(ceil_mode))
            total = taken.masked_fill(~inside, 0.0).sum(-1).movedim(-1, w.axis)
            numbers = (reached if count_include_pad else inside.sum(1)).to(x.dtype)
            divisor = divisor * (numbers if w.axis == -1 else numbers[:, None])
        return total / (divisor if divisor_override is None else divisor_override)

    return compute_avg_pool


def _make_lp_pool_rule(axes: int) -> Callable[..., Any]:
    """Return a rule for power-average pooling (`F.lp_pool1d`) over this number of axes. As in PyTorch, the norm of each
    window is computed from the mean of the powers."""

    def compute_lp_pool(
        session: TraceSession, x: Any, norm_type: Any, kernel_size: Any, stride: Any = None, ceil_mode: Any = False
    ) -> Any:
        mean = _make_avg_pool_rule(axes)(session, x**norm_type, kernel_size, stride, 0, ceil_mode)
        if isinstance(mean, DeclinedRule):
            return mean
        places = math.prod(_read_values_per_axis(kernel_size, axes, 1))
        return (torch.sign(mean) * torch.relu(torch.abs(mean)) * places) ** (1.0 / norm_type)

    return compute_lp_pool


def _covers_whole_axis(session: TraceSession, size: Any, x: Tensor, axis: int) -> bool:
    """Return whether a window of this size is as long as an axis of x for all sizes of the input. Return False for a
    plain number, even if it equals the length in the example."""
    if session.scripted:
        return isinstance(size, Tensor) and int(size) == int(x.shape[axis])
    return isinstance(size, torch.SymInt) and statically_known_true(size == x.shape[axis])


def _make_adaptive_pool_rule(axes: int, *, largest: bool) -> Callable[..., Any]:
    """Return a rule for adaptive pooling of n steps to k windows. Window j contains the steps from floor(j * n / k) to
    before ceil((j + 1) * n / k).

    Args:
        axes: the number of pooled axes.
        largest: whether the rule is for max pooling, else for average pooling.
    """

    def compute_adaptive_pool(
        session: TraceSession, x: Any, output_size: Any = None, return_indices: Any = False
    ) -> Any:
        sizes = _read_values_per_axis(output_size, axes, None)
        if return_indices or not all(size is None or isinstance(size, int) for size in sizes):
            return decline_call("indices are wanted, or an output size is not a plain number")
        whole = [axis for axis, size in zip(range(-axes, 0), sizes, strict=True) if size == 1]
        if session.scripted and any(size not in (1, None) for size in sizes):
            return decline_call("TorchScript has the same pooling")
        for axis, size in zip(range(-axes, 0), sizes, strict=True):
            if size not in (1, None) and not (isinstance(x.shape[axis], int) and x.shape[axis] == size):
                x = _reduce_adaptive_windows(x, axis, size, largest=largest)
        if not whole:
            return x
        return x.amax(whole, keepdim=True) if largest else x.mean(whole, keepdim=True)

    return compute_adaptive_pool


def _reduce_adaptive_windows(x: Tensor, axis: int, count: int, *, largest: bool) -> Tensor:
    """Return an adaptive pooling of x [..., n, ...] to [..., count, ...] along an axis: the maximum of each window if
    `largest`, else the mean."""
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
        # Not a product with zeros, which makes NaN of an infinity in another window.
        found = last.unsqueeze(-2).masked_fill(~inside, 0.0).sum(-1) / (ends - starts).squeeze(-1).to(x.dtype)
    return found.movedim(-1, axis)


_POOLS: Final = {
    **{f"max_pool{axes}d": _make_max_pool_rule(axes) for axes in (1, 2)},
    **{f"avg_pool{axes}d": _make_avg_pool_rule(axes) for axes in (1, 2)},
    **{f"lp_pool{axes}d": _make_lp_pool_rule(axes) for axes in (1, 2)},
    **{f"adaptive_max_pool{axes}d": _make_adaptive_pool_rule(axes, largest=True) for axes in (1, 2)},
    **{f"adaptive_avg_pool{axes}d": _make_adaptive_pool_rule(axes, largest=False) for axes in (1, 2)},
}
POOLING: Final = tuple(Rule((name,), pool, decline_never) for name, pool in _POOLS.items())
