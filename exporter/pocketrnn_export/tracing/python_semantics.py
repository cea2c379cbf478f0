"""What Python and old PyTorch do to a trace, done so that a graph can follow: one context for both ways to trace.

While a module is traced, its forward runs with

- the names of `stand_ins`: `len`, `int`, `list`, `torch.FloatTensor`, ... work on sizes and lengths of the trace;
- every function of torch looked at: `.numpy()`, `.tolist()`, `.item()` stay in the graph (`arrays`), pools over a whole
  axis are reductions, `squeeze()` keeps an axis whose size is not fixed, `x.new(n, 5)` is zeros of that size, and an
  assert about values holds;
- a machine without a GPU, and silence (`pocketrnn_export.proof.cpu_run`).

Attributes that forward assigns (`self.hidden = ...`) are given back after. All of this is in force in the tracing
thread only and ends with the block. What it changes is covered by the proof, whose reference runs without it.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pocketrnn_export.proof.cpu_run import quietly_on_cpu
from pocketrnn_export.tracing.arrays import TracedArray, known, number_of, unwrapped
from pocketrnn_export.tracing.hidden_trace import trace_hidden
from pocketrnn_export.tracing.loop_unroll import Positions
from pocketrnn_export.tracing.patched_globals import filled, renamed, shipped_types
from pocketrnn_export.tracing.size_numbers import is_size
from pocketrnn_export.tracing.sizes import given_whole
from pocketrnn_export.tracing.torch_internals import (
    MODULE_TABLES,
    buffer_hooks_aside,
    lists_of_traced,
    statically_known_true,
)

__all__ = ["followed"]

# torch does not annotate it.
_sym_max: Callable[..., Any] = torch.sym_max
_arange: Callable[..., Tensor] = torch.arange
_OWN: Final = f"{Path(__file__).parents[1]}{os.sep}"
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def followed(module: nn.Module, *, scripted: bool) -> Iterator[None]:
    """While the block runs, the forward of `module` can be traced through the idioms above.

    Args:
        module: a copy to be traced; its `forward` is wrapped, and given back after.
        scripted: whether it is traced for TorchScript.

    Example:
        >>> with followed(module, scripted=True):
        ...     script = torch.jit.trace(module, example, check_trace=False)
    """
    forward, own = module.forward, "forward" in module.__dict__

    @functools.wraps(forward)
    def followed_forward(*args: Any, **kwargs: Any) -> Any:
        inputs = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        known.marks = tuple((value, "given") for value in inputs[1:2] if value.dim() == 1)
        known.width = None if scripted or not inputs or inputs[0].dim() < 2 else inputs[0].shape[1]
        with _attributes_restored(module), quietly_on_cpu(), _Followed():
            return forward(*args, **kwargs)

    module.forward = followed_forward
    known.active, known.scripted, known.told = True, scripted, frozenset()
    try:
        with renamed(module), lists_of_traced(_list_of_traced), trace_hidden():
            yield
    finally:
        known.active, known.scripted, known.width, known.marks = False, False, None, ()
        if own:
            module.forward = forward
        else:
            del module.__dict__["forward"]


@contextlib.contextmanager
def _attributes_restored(module: nn.Module) -> Iterator[None]:
    """Give back the attributes that a run assigns.

    torch.export would take a buffer that forward assigns, such as a table of positions that grows, for an output of the
    program: its hook is put aside for as long.
    """
    before = [
        (layer, dict(vars(layer)), {table: dict(vars(layer)[table]) for table in MODULE_TABLES})
        for layer in module.modules()
        if not isinstance(layer, torch.jit.ScriptModule)
    ]
    try:
        with buffer_hooks_aside():
            yield
    finally:
        for layer, attributes, registered in before:
            for now, entries in ((vars(layer), attributes), *((vars(layer)[t], registered[t]) for t in MODULE_TABLES)):
                for name in [name for name in now if name not in entries]:
                    del now[name]
                for name, value in entries.items():
                    # By identity: to compare two tables of positions would be a step of the trace.
                    if now.get(name) is not value:
                        now[name] = value


class _Followed(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args = tuple(shipped_types(unwrapped(value)) for value in args)
        kwargs = {name: shipped_types(unwrapped(value)) for name, value in (kwargs or {}).items()}
        name = getattr(func, "__name__", "")
        if name == "__get__":
            # `.data` takes a tensor out of a trace; detached, it stays in it.
            if getattr(func.__self__, "__name__", "") == "data":
                return _marked("detach", args, kwargs, args[0].detach())
            return func(*args, **kwargs)
        if name == "__bool__":
            return _truth(func, args, kwargs, sys._getframe(1))
        if name in _TRUTHS:
            return _truth(func, args, kwargs, sys._getframe(1))
        if name in {"__getitem__", "__setitem__"}:
            args = (args[0], _stacked_numbers(args[1]), *args[2:])
        if name in _OF_SIZES:
            args = tuple(_as_sizes(value) for value in args)
            kwargs = {key: _as_sizes(value) for key, value in kwargs.items()}
        rewritten = _REWRITTEN.get(name)
        if rewritten is not None:
            result = rewritten(*args, **kwargs)
            if result is not NotImplemented:
                return result
        return _marked(name, args, kwargs, func(*args, **kwargs))


# Functions that give a bool of Python.
_TRUTHS: Final = frozenset({"equal", "allclose", "is_nonzero"})
# Functions whose arguments are sizes or positions: the longest of the lengths is a number there.
_OF_SIZES: Final = frozenset(
    {"arange", "zeros", "ones", "full", "empty", "rand", "expand", "view", "reshape", "repeat", "narrow", "new_zeros",
     "new_ones", "new_full", "new_empty", "__getitem__", "linspace", "range"}
)  # fmt: skip
# What gives the same numbers in the same order.
_OF_ONE: Final = frozenset({"__getitem__", "select", "squeeze", "unbind", "max", "min", "amax", "amin", "sum"})
_KEEPS: Final = frozenset({"cpu", "cuda", "to", "long", "int", "clone", "detach", "contiguous", "type", "type_as"})


def _as_sizes(value: Any) -> Any:
    if known.scripted:
        return value
    if isinstance(value, Tensor):
        return number_of(value) if known.of(value) == "longest" else value
    if isinstance(value, Positions):
        return value.as_index()
    if isinstance(value, slice):
        return slice(_as_sizes(value.start), _as_sizes(value.stop), _as_sizes(value.step))
    if type(value) in (list, tuple):
        return type(value)(_as_sizes(item) for item in value)
    return value


def _stacked_numbers(index: Any) -> Any:
    """An index whose lists of numbers that are tensors or sizes, such as `[n - 1 for n in lengths]`, are tensors."""
    if type(index) is tuple:
        return tuple(_stacked_numbers(part) for part in index)
    traced = type(index) is list and any(_is_number(part) or is_size(part) for part in index)
    return _stacked(index) if traced else index


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.dim()


def _stacked(numbers: Any, dtype: torch.dtype | None = None) -> Tensor:
    """Numbers of which some are tensors or sizes, as a tensor of one axis."""
    parts = [
        number if _is_number(number) else _tensor(number) if is_size(number) else torch.as_tensor(number)
        for number in numbers
    ]
    return torch.stack([part if dtype is None else part.to(dtype) for part in parts])


def _marked(name: str, args: Any, kwargs: Any, result: Any) -> Any:
    """Note what is known of a result that is made of the given lengths; gives the result."""
    if known.scripted or not args:
        return result
    if name == "full" and len(args) > 1 and _is_width(args[1]) and result.dim() == 1:
        known.mark(given_whole(result), "given")
        return result
    mark = known.of(args[0])
    if not mark:
        return result
    first = result[0] if isinstance(result, tuple) and result else result
    falling = bool(kwargs.get("descending", args[2] if len(args) > 2 and isinstance(args[2], bool) else False))
    ordered = mark in {"given", "falling", "rising"}
    if name in _KEEPS:
        known.mark(first, mark)
    elif name in {"neg", "__neg__", "negative"} and mark == "given":
        known.mark(first, "negated")
    elif ordered and args[0].shape[0] == 1 and isinstance(args[0].shape[0], int) and name in _OF_ONE:
        # One text a run: its length is the width.
        known.mark(first, "longest")
    elif name in {"max", "amax"} and ordered and not any(isinstance(value, Tensor) for value in args[1:]):
        known.mark(first, "longest")
    elif name == "sort" and ordered:
        known.mark(first, "falling" if falling else "rising")
        known.mark(result[1], "falling order" if falling else "")
    elif name in {"sort", "argsort"} and (falling if ordered else mark == "negated" and not falling):
        known.mark(result[1] if name == "sort" else result, "falling order")
    elif name in {"__getitem__", "index_select"} and mark == "given" and known.of(args[-1]) == "falling order":
        known.mark(first, "falling")
    elif name == "__getitem__" and (mark, _position(args[1])) in {("falling", 0), ("rising", -1)}:
        known.mark(first, "longest")
    elif name == "flip" and mark in {"falling", "rising"}:
        known.mark(first, {"falling": "rising", "rising": "falling"}[mark])
    return result


def _is_width(value: Any) -> bool:
    """Whether lengths are made of the width itself, where forward is not given any."""
    return isinstance(value, torch.SymInt) and known.width is not None and statically_known_true(value == known.width)


def _position(index: Any) -> Any:
    return index if isinstance(index, int) else None


def _truth(func: Any, args: Any, kwargs: Any, frame: FrameType | None) -> Any:
    """`bool(tensor)`, `torch.equal(x, y)`: True in an assert, which a graph cannot make."""
    # Other modes of this package stand between forward and this one.
    while frame is not None and frame.f_code.co_filename.startswith(_OWN):
        frame = frame.f_back
    if frame is not None and not known.scripted and _asserts(frame):
        line = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        if line not in known.told:
            _log.warning("An assert of forward is no part of the graph: %s.", line)
            known.told |= {line}
        return True
    return func(*args, **kwargs)


def _asserts(frame: FrameType) -> bool:
    """Whether what a frame is at decides between going on and an AssertionError."""
    instructions = list(dis.get_instructions(frame.f_code))
    at = next((i for i, one in enumerate(instructions) if one.offset > frame.f_lasti), len(instructions))
    current = instructions[at - 1 : at]
    # The truth is asked for by a jump itself, or, in newer Pythons, by an instruction before it.
    jump = next(
        (one for one in (*current, *instructions[at : at + 2]) if "JUMP" in one.opname and "_IF_" in one.opname), None
    )
    if jump is None:
        return False
    position = instructions.index(jump)
    following = instructions[position + 1 : position + 2]
    targets = [one for one in instructions if one.offset == jump.argval]
    return any(
        one.opname == "LOAD_ASSERTION_ERROR" or (one.opname == "LOAD_COMMON_CONSTANT" and one.arg == 0)
        for one in (*following, *targets)
    )


def _numpy(x: Any, *_: Any, **__: Any) -> Any:
    return TracedArray(x) if not known.scripted or _holds_lengths(x) else NotImplemented


def _tolist(x: Any) -> Any:
    if known.scripted and not _holds_lengths(x):
        return NotImplemented
    return TracedArray(x) if x.dim() else number_of(x)


def _list_of_traced(x: Any, shipped: Callable[[Any], Any]) -> Any:
    return _tolist(x) if known.active else shipped(x)


def _item(x: Any) -> Any:
    return number_of(x) if not known.scripted or (x.dim() == 0 and not x.is_floating_point()) else NotImplemented


def _holds_lengths(x: Tensor) -> bool:
    return x.dim() == 1 and not x.is_floating_point()


def _tensor(data: Any, *_: Any, dtype: Any = None, **__: Any) -> Any:
    """`torch.tensor(lengths)` where the lengths are a tensor still, or of numbers that are tensors or sizes."""
    if isinstance(data, Tensor):
        return data.to(dtype) if dtype is not None else data.detach()
    if is_size(data):
        usual = torch.int64 if isinstance(data, torch.SymInt) else torch.float32
        return torch.full((), data, dtype=usual if dtype is None else dtype)
    if isinstance(data, list | tuple) and any(map(_is_number, data)):
        known_kinds = all(_is_number(number) or is_size(number) or isinstance(number, int | float) for number in data)
        return _stacked(data, dtype) if known_kinds else NotImplemented
    if isinstance(data, list | tuple) and any(map(is_size, data)):
        if not all(is_size(number) or isinstance(number, int | float) for number in data):
            return NotImplemented
        whole = all(isinstance(number, torch.SymInt | int) for number in data)
        usual = torch.int64 if whole else torch.float32
        return torch.stack([torch.full((), number, dtype=usual if dtype is None else dtype) for number in data])
    return NotImplemented


def _linspace(start: Any, end: Any, steps: Any = None, *, dtype: Any = None, **_: Any) -> Any:
    """`torch.linspace(0, 1, n)`: from both ends to the middle, as PyTorch computes it."""
    if known.scripted or not isinstance(steps, torch.SymInt) or isinstance(start, Tensor) or isinstance(end, Tensor):
        return NotImplemented
    kind = torch.float32 if dtype is None else dtype
    if not kind.is_floating_point:
        return NotImplemented
    first, last = torch.full((), start, dtype=kind), torch.full((), end, dtype=kind)
    position = _arange(steps)
    step = (last - first) / torch.full((), _sym_max(steps - 1, 1), dtype=kind)
    below = position < _sym_max(steps // 2, 1)
    return torch.where(below, first + position * step, last + (position - _sym_max(steps - 1, 0)) * step)


def _logspace(start: Any, end: Any, steps: Any = None, base: Any = 10.0, *, dtype: Any = None, **_: Any) -> Any:
    powers = _linspace(start, end, steps, dtype=dtype)
    return powers if powers is NotImplemented else torch.full((), base, dtype=powers.dtype) ** powers


def _embedding_bag(
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
        return NotImplemented
    rows = torch.nn.functional.embedding(input, weight)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    counted = torch.ones_like(input, dtype=torch.bool)
    if padding_idx is not None:
        counted = input != (padding_idx if padding_idx >= 0 else weight.shape[0] + padding_idx)
    if input.dim() == 1:
        # One axis of ids, cut at the offsets: every bag sees all ids, and counts its own.
        if offsets is None:
            return NotImplemented
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


def _new(x: Any, *args: Any, **kwargs: Any) -> Any:
    return NotImplemented if kwargs else filled(x.dtype, args)


def _squeeze(x: Any, dim: Any = None) -> Any:
    """`squeeze`, of axes whose size is 1 whatever the input is. A size that is not fixed is larger in a batch of
    several longer texts."""
    fixed = [_is_one(x, axis) for axis in range(x.dim())]
    wanted = (
        range(x.dim()) if dim is None else [axis % max(x.dim(), 1) for axis in ([dim] if type(dim) is int else dim)]
    )
    gone = [axis for axis in wanted if axis < len(fixed) and fixed[axis]]
    for axis in sorted(gone, reverse=True):
        x = x.select(axis, 0)
    return x


def _is_one(x: Tensor, axis: int) -> bool:
    # In TorchScript's trace a size is a tensor, and the example has 3 rows of 7 steps.
    return int(x.shape[axis]) == 1 if known.scripted else isinstance(x.shape[axis], int) and x.shape[axis] == 1


def _pool(axes: int, reduce: Callable[..., Any]) -> Callable[..., Any]:
    """A pool over the whole of some of its axes, and one by one over the others, as a reduction."""

    def pool(x: Any, kernel_size: Any = None, stride: Any = None, padding: Any = 0, *rest: Any, **kwargs: Any) -> Any:
        if rest or padding not in (0, (0,), (0, 0), [0, 0]) or kernel_size is None:
            return NotImplemented
        if any(kwargs.get(name) not in (None, False, 1) for name in ("ceil_mode", "return_indices", "dilation")):
            return NotImplemented
        sizes = list(kernel_size) if isinstance(kernel_size, list | tuple) else [kernel_size] * axes
        sizes = sizes * axes if len(sizes) == 1 else sizes
        whole = []
        for axis, size in zip(range(-axes, 0), sizes, strict=True):
            size = number_of(size) if isinstance(size, Tensor) and not known.scripted else size
            if _is_whole(size, x, axis):
                whole.append(axis)
            elif not (isinstance(size, int) and size == 1):
                return NotImplemented
        strides = list(stride) if isinstance(stride, list | tuple) else [stride] * axes
        steps = [step for axis, step in zip(range(-axes, 0), strides, strict=False) if axis not in whole]
        if not whole or any(step not in (None, 1) for step in steps):
            return NotImplemented
        return reduce(x, whole)

    return pool


def _is_whole(size: Any, x: Tensor, axis: int) -> bool:
    """Whether a kernel is as long as an axis, whatever the size of that; a plain number only happens to be."""
    if known.scripted:
        return isinstance(size, Tensor) and int(size) == int(x.shape[axis])
    return isinstance(size, torch.SymInt) and statically_known_true(size == x.shape[axis])


def _adaptive(axes: int, *, largest: bool) -> Callable[..., Any]:
    """A pool to a number of windows, whose ends depend on the size: window j of k is the steps from j * n // k up to
    (j + 1) * n / k, rounded up."""

    def pool(x: Any, output_size: Any = None, return_indices: Any = False) -> Any:
        sizes = list(output_size) if isinstance(output_size, list | tuple) else [output_size] * axes
        sizes = sizes * axes if len(sizes) == 1 else sizes
        if return_indices or not all(size is None or isinstance(size, int) for size in sizes):
            return NotImplemented
        whole = [axis for axis, size in zip(range(-axes, 0), sizes, strict=True) if size == 1]
        if known.scripted and any(size not in (1, None) for size in sizes):
            return NotImplemented
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


_REWRITTEN: Final[dict[str, Callable[..., Any]]] = {
    "numpy": _numpy,
    "__array__": _numpy,
    "tolist": _tolist,
    "item": _item,
    "tensor": _tensor,
    "as_tensor": _tensor,
    "new": _new,
    "squeeze": _squeeze,
    "max_pool1d": _pool(1, _largest),
    "max_pool2d": _pool(2, _largest),
    "avg_pool1d": _pool(1, _mean),
    "avg_pool2d": _pool(2, _mean),
    "adaptive_max_pool1d": _adaptive(1, largest=True),
    "adaptive_max_pool2d": _adaptive(2, largest=True),
    "adaptive_avg_pool1d": _adaptive(1, largest=False),
    "adaptive_avg_pool2d": _adaptive(2, largest=False),
    "embedding_bag": _embedding_bag,
    "linspace": _linspace,
    "logspace": _logspace,
}
