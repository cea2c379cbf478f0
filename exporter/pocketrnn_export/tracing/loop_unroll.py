"""Loops over the steps of a text, traced as a few iterations of each.

`for t in range(x.size(1))` makes torch.export keep the example's length permanently. So while a module is traced, a
loop whose length is a size of the input runs `ITERATIONS` iterations, whatever that length is:

- `range`, `unbind`, `split`, `chunk` and iteration over a tensor give the first iterations' positions, or slices;
- every operation carries the loop and the iteration that it was called in;
- `x[:, t]` becomes `pocketrnn::step`, `out[:, t] = h` `pocketrnn::put`, and `torch.stack(outputs)` of what the
  iterations gave `pocketrnn::stacked`. Their shapes are those of the whole length, so that what comes after is
  traced as it is.

What is traced so computes nothing that is wanted: `pocketrnn_export.tracing.reroll` makes layers of its iterations.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.fx.traceback import annotate, preserve_node_meta
from torch.overrides import TorchFunctionMode

from pocketrnn_export.tracing.restrictions import UntraceableError
from pocketrnn_export.tracing.torch_internals import expression_of
from pocketrnn_export.tracing.users_code import users_line

__all__ = ["ITERATION", "ITERATIONS", "KEEP", "PUT", "STACKED", "STEP", "Loop", "Positions", "unrolled"]

# The first iteration may differ by its initial state, and the last by what nothing uses after it. Between them are
# two to find what is handed from one to the next.
ITERATIONS: Final = 4
# The name, among the annotations of a traced node, of the loop's number and its iteration.
ITERATION: Final = "pocketrnn_iteration"


@torch.library.custom_op("pocketrnn::step", mutates_args=())
def _step(x: Tensor, axis: int, index: int) -> Tensor:
    """`x.select(axis, index)`, which restricts no size."""
    raise NotImplementedError("pocketrnn::step exists to be traced, not to be run")


@_step.register_fake
def _(x: Tensor, axis: int, index: Any) -> Tensor:
    del index
    return x.new_empty([size for i, size in enumerate(x.shape) if i != axis])


@torch.library.custom_op("pocketrnn::put", mutates_args=())
def _put(x: Tensor, value: Tensor, axis: int, index: int) -> Tensor:
    """x with `value` at a position of an axis: `torch.select_scatter`, which restricts no size."""
    raise NotImplementedError("pocketrnn::put exists to be traced, not to be run")


@_put.register_fake
def _(x: Tensor, value: Tensor, axis: int, index: Any) -> Tensor:
    del value, axis, index
    return torch.empty_like(x)


@torch.library.custom_op("pocketrnn::stacked", mutates_args=())
def _stacked(values: Sequence[Tensor], count: int, axis: int, loop: int, flipped: bool) -> Tensor:
    """`torch.stack` of what all iterations of a loop gave, of which the first ones are given; the last first if
    flipped."""
    raise NotImplementedError("pocketrnn::stacked exists to be traced, not to be run")


@_stacked.register_fake
def _(values: Sequence[Tensor], count: Any, axis: int, loop: int, flipped: bool) -> Tensor:
    del loop, flipped
    shape = list(values[0].shape)
    shape.insert(axis, count)
    return values[0].new_empty(shape)


@torch.library.custom_op("pocketrnn::keep", mutates_args=())
def _keep(x: Tensor, values: Sequence[Tensor]) -> Tensor:
    """x. What the iterations made beside it is not left out of the graph, so that all iterations look alike."""
    raise NotImplementedError("pocketrnn::keep exists to be traced, not to be run")


@_keep.register_fake
def _(x: Tensor, values: Sequence[Tensor]) -> Tensor:
    del values
    return torch.empty_like(x)


KEEP: Final = torch.ops.pocketrnn.keep.default
STEP: Final = torch.ops.pocketrnn.step.default
PUT: Final = torch.ops.pocketrnn.put.default
STACKED: Final = torch.ops.pocketrnn.stacked.default


@dataclass(frozen=True)
class Loop:
    """A loop over a size of the input.

    Attributes:
        count: how many iterations it has, a torch.SymInt.
        where: its line in the module's code, as one shows it in an error.
    """

    count: Any
    where: str


@dataclass
class _Unrolling(threading.local):
    """What the tracing thread knows. Every other thread sees `active` False, and Python as it is."""

    active: bool = False
    loops: list[Loop] = field(default_factory=list)
    # The loop and iteration that run now, the innermost last.
    running: list[tuple[int, int]] = field(default_factory=list)
    # By the identity of a tensor: the loop and iteration that made it, and the tensor, which keeps the identity its
    # own.
    made_in: dict[int, tuple[int, int, Tensor]] = field(default_factory=dict)


_unrolling = _Unrolling()


@contextlib.contextmanager
def unrolled(module: nn.Module, loops: list[Loop]) -> Iterator[None]:
    """While the block runs in this thread, loops in the forward of `module` over a size of the input run few
    iterations.

    Args:
        module: a copy to be traced; its `forward` is wrapped, and given back after.
        loops: takes note of the loops that ran, by their number; empty at first.

    Example:
        >>> with unrolled(module, loops):
        ...     program = torch.export.export(module, example, dynamic_shapes=axes, strict=False)
    """
    forward, own = module.forward, "forward" in module.__dict__
    names = _namespaces(module)

    @functools.wraps(forward)
    def unrolled_forward(*args: Any, **kwargs: Any) -> Any:
        with _Operations():
            return _kept(forward(*args, **kwargs))

    try:
        for namespace in names:
            namespace["range"] = _range
        module.forward = unrolled_forward
        _unrolling.active, _unrolling.loops, _unrolling.running, _unrolling.made_in = True, loops, [], {}
        with preserve_node_meta():
            yield
    finally:
        _unrolling.active, _unrolling.loops, _unrolling.running, _unrolling.made_in = False, [], [], {}
        for namespace in names:
            namespace.pop("range", None)
        if own:
            module.forward = forward
        else:
            module.__dict__.pop("forward", None)


def _kept(answer: Any) -> Any:
    made = [value for _, _, value in _unrolling.made_in.values()] if _unrolling.loops else []
    if not made:
        return answer
    if isinstance(answer, (tuple, list)) and answer and isinstance(answer[0], Tensor):
        return type(answer)([KEEP(answer[0], made), *answer[1:]])
    return KEEP(answer, made) if isinstance(answer, Tensor) else answer


def _namespaces(module: nn.Module) -> list[dict[str, Any]]:
    """The global names that the code of a module's own classes sees, but for those with a `range` of their own."""
    found: dict[int, dict[str, Any]] = {}
    classes = {base for layer in module.modules() for base in type(layer).__mro__}
    for owner in classes:
        if not owner.__module__.startswith(("torch.", "builtins", "pocketrnn_export.")):
            for function in vars(owner).values():
                if isinstance(function, FunctionType):
                    found[id(function.__globals__)] = function.__globals__
    return [namespace for namespace in found.values() if "range" not in namespace]


def _range(*args: Any) -> Any:
    """`range`, whose bounds may be sizes of the input."""
    if not _unrolling.active or not any(isinstance(arg, torch.SymInt) for arg in args):
        return builtins.range(*args)
    start, stop, step = (0, *args, 1) if len(args) == 1 else (*args, 1)[:3]
    if step == 1:
        return Positions(start, 1, stop - start)
    if step == -1:
        return Positions(start, -1, start - stop)
    raise UntraceableError(
        f"The module loops over a size in other steps than 1, {users_line(sys._getframe(1))}, which a trace freezes at "
        "one length.",
        "Loop over every position, or compute all parts at once, such as by unfold.",
    )


class Positions:
    """A range whose length is a size of the input: its first iterations."""

    def __init__(self, start: Any, step: int, count: Any) -> None:
        self.start, self.step, self.count = start, step, count

    def __iter__(self) -> Iterator[Any]:
        return _one_by_one(self.count, [self.start + self.step * iteration for iteration in builtins.range(ITERATIONS)])

    def __getitem__(self, index: Any) -> Any:
        if index == slice(None, None, -1):
            return Positions(self.start + self.step * (self.count - 1), -self.step, self.count)
        if isinstance(index, slice):
            raise TypeError("slices of the positions of a text")
        return self.start + self.step * (self.count + index if isinstance(index, int) and index < 0 else index)

    def as_index(self) -> Tensor:
        """All positions at once, for `x[range(len(x)), lengths - 1]`."""
        return torch.arange(self.start, self.start + self.step * self.count, self.step)

    def __reversed__(self) -> Iterator[Any]:
        return iter(self[::-1])


class _Slices:
    """What `unbind` gives along an axis whose length is a size of the input."""

    def __init__(self, x: Tensor, axis: int, *, keeps_axis: bool, backward: bool = False) -> None:
        self.x, self.axis, self.keeps_axis, self.backward = x, axis, keeps_axis, backward

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            if index == slice(None):
                return self
            if index == slice(None, None, -1):
                return _Slices(self.x, self.axis, keeps_axis=self.keeps_axis, backward=not self.backward)
            raise TypeError("slices of the steps of a text as a list")
        size = self.x.shape[self.axis]
        if isinstance(index, int) and index < 0:
            index = size + index
        step = STEP(self.x, self.axis, size - 1 - index if self.backward else index)
        return step.unsqueeze(self.axis) if self.keeps_axis else step

    def __iter__(self) -> Iterator[Tensor]:
        yield from (self[iteration] for iteration in iter(Positions(0, 1, self.x.shape[self.axis])))

    def __reversed__(self) -> Iterator[Tensor]:
        return iter(self[::-1])


def _one_by_one(count: Any, values: Sequence[Any]) -> Iterator[Any]:
    """Give the values of the first iterations, each while its iteration is what runs."""
    where = users_line(sys._getframe(1))
    # `zip` moves several at once. They are one loop.
    number = _same_loop(where, count)
    running = _unrolling.running
    try:
        for iteration, value in enumerate(values):
            if (number, iteration) not in running:
                running[:] = [other for other in running if other[0] != number]
                running.append((number, iteration))
            yield value
    finally:
        running[:] = [other for other in running if other[0] != number]


def _same_loop(where: str, count: Any) -> int:
    if _unrolling.running:
        number, iteration = _unrolling.running[-1]
        if iteration == 0 and _unrolling.loops[number].where == where:
            return number
    _unrolling.loops.append(Loop(count, where))
    return len(_unrolling.loops) - 1


class _Operations(TorchFunctionMode):
    """Sees every torch function of a module that runs in iterations."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        running = _unrolling.running[-1] if _unrolling.running else None
        rewritten = _REWRITTEN.get(getattr(func, "__name__", ""))
        if running is None:
            result = rewritten(*args, **kwargs) if rewritten is not None else NotImplemented
            result = func(*args, **kwargs) if result is NotImplemented else result
            iterations = _iterations_of((args, kwargs))
            if len(iterations) == 1:
                _note(result, *iterations.pop())
            return result
        with annotate({ITERATION: running}):
            result = rewritten(*args, **kwargs) if rewritten is not None else NotImplemented
            result = func(*args, **kwargs) if result is NotImplemented else result
        _note(result, *running)
        return result


def _note(result: Any, loop: int, iteration: int) -> None:
    for value in result if isinstance(result, (tuple, list)) else (result,):
        if isinstance(value, Tensor):
            _unrolling.made_in[id(value)] = (loop, iteration, value)


def _iterations_of(values: Any) -> set[tuple[int, int]]:
    """The loops and iterations that made the tensors among some values."""
    if isinstance(values, Tensor):
        known = _unrolling.made_in.get(id(values))
        return set() if known is None else {known[:2]}
    if isinstance(values, dict):
        values = values.values()
    if isinstance(values, (tuple, list)) or hasattr(values, "__next__") or type(values).__name__ == "dict_values":
        return {iteration for value in values for iteration in _iterations_of(value)}
    return set()


def _is_size(value: Any) -> bool:
    return isinstance(value, torch.SymInt)


def _positions(x: Any, index: Any) -> list[tuple[int, Any]] | None:
    """The axes of x whose length is a size of the input and at which an index has a number, and the numbers.

    None where the index holds more than numbers, slices and an ellipsis.
    """
    parts = list(index) if isinstance(index, tuple) else [index]
    if not isinstance(x, Tensor) or not all(
        part is Ellipsis or (isinstance(part, (slice, int, torch.SymInt)) and not isinstance(part, bool))
        for part in parts
    ):
        return None
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (x.dim() - len(parts) + 1)
    numbers = [_one_step(part) if isinstance(part, slice) else part for part in parts]
    return [(axis, n) for axis, n in enumerate(numbers) if n is not None and _is_size(x.shape[axis])]


def _one_step(part: slice) -> Any:
    """The position that a slice such as `t : t + 1` takes; None for other slices."""
    if part.step in (None, 1) and part.start is not None and part.stop is not None:
        length = part.stop - part.start
        if (expression_of(length) if _is_size(length) else length) == 1:
            return part.start
    return None


def _getitem(x: Any, index: Any) -> Any:
    found = _positions(x, index) if _unrolling.running else None
    if not found:
        return NotImplemented
    parts = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (x.dim() - len(parts) + 1)
    # From the last on, so that the axes before keep their numbers.
    for axis, number in reversed(found):
        is_slice = isinstance(parts[axis], slice)
        x = STEP(x, axis, _from_start(x.shape[axis], number))
        if is_slice:
            x, parts[axis] = x.unsqueeze(axis), slice(None)
        else:
            del parts[axis]
    return x if all(part == slice(None) for part in parts) else x[tuple(parts)]


def _from_start(size: Any, index: Any) -> Any:
    return size + index if isinstance(index, int) and index < 0 else index


def _setitem(x: Any, index: Any, value: Any) -> Any:
    found = _positions(x, index) if _unrolling.running else None
    if not found or len(found) != 1:
        return NotImplemented
    parts = index if isinstance(index, tuple) else (index,)
    (axis, number) = found[0]
    if any(isinstance(part, slice) and part != slice(None) for part in parts) or len(parts) > x.dim():
        return NotImplemented
    if sum(not isinstance(part, slice) and part is not Ellipsis for part in parts) != 1:
        return NotImplemented
    shape = [size for i, size in enumerate(x.shape) if i != axis]
    given = value if isinstance(value, Tensor) else torch.full((), value, dtype=x.dtype)
    x.copy_(PUT(x, given.to(x.dtype).expand(shape), axis, _from_start(x.shape[axis], number)))
    return None


def _select(x: Tensor, dim: int, index: Any) -> Any:
    dim %= x.dim()
    return (
        STEP(x, dim, _from_start(x.shape[dim], index))
        if _unrolling.running and _is_size(x.shape[dim])
        else NotImplemented
    )


def _unbind(x: Tensor, dim: int = 0) -> Any:
    dim %= x.dim()
    return _Slices(x, dim, keeps_axis=False) if _is_size(x.shape[dim]) else NotImplemented


def _split(x: Tensor, split_size: Any = None, dim: int = 0, **kwargs: Any) -> Any:
    size = kwargs.get("split_size_or_sections", split_size)
    dim %= x.dim()
    return _Slices(x, dim, keeps_axis=True) if _is_size(x.shape[dim]) and size == 1 else NotImplemented


def _chunk(x: Tensor, chunks: Any, dim: int = 0) -> Any:
    dim %= x.dim()
    size: Any = x.shape[dim]
    if not _is_size(chunks) or not _is_size(size) or expression_of(chunks) != expression_of(size):
        return NotImplemented
    return _Slices(x, dim, keeps_axis=True)


def _stack(tensors: Any, dim: int = 0, **_: Any) -> Any:
    found = _all_iterations(tensors)
    if found is None:
        return NotImplemented
    loop, flipped = found
    tensors = tensors[::-1] if flipped else tensors
    return STACKED(list(tensors), _unrolling.loops[loop].count, dim % (tensors[0].dim() + 1), loop, flipped)


def _cat(tensors: Any, dim: int = 0, **kwargs: Any) -> Any:
    found = _all_iterations(tensors)
    if found is None:
        return NotImplemented
    loop, flipped = found
    tensors = tensors[::-1] if flipped else tensors
    axis = kwargs.get("axis", dim) % tensors[0].dim()
    return STACKED(list(tensors), _unrolling.loops[loop].count, axis, loop, flipped).flatten(axis, axis + 1)


def _all_iterations(tensors: Any) -> tuple[int, bool] | None:
    """The loop whose iterations made the tensors, one each in their order, and whether the last comes first."""
    if not isinstance(tensors, (list, tuple)) or len(tensors) != ITERATIONS:
        return None
    made = [_unrolling.made_in.get(id(tensor)) for tensor in tensors]
    loops = {known[0] for known in made if known is not None}
    iterations = [known[1] if known is not None else None for known in made]
    forward = list(builtins.range(ITERATIONS))
    if len(loops) != 1 or iterations not in (forward, forward[::-1]):
        return None
    return loops.pop(), iterations != forward


def _add(x: Any, number: Any, **kwargs: Any) -> Any:
    """`0 + x`, the first iteration of a sum that begins with a plain 0, as the sum of two tensors that later
    iterations are."""
    if not _unrolling.running or not isinstance(x, Tensor) or type(number) not in (int, float) or number != 0 or kwargs:
        return NotImplemented
    return torch.zeros(x.shape, dtype=x.dtype) + x


# By the name of the torch function; each gives NotImplemented where it has nothing to change.
_REWRITTEN: Final[dict[str, Callable[..., Any]]] = {
    "__radd__": _add,
    "add": _add,
    "__getitem__": _getitem,
    "__setitem__": _setitem,
    "select": _select,
    "unbind": _unbind,
    "split": _split,
    "chunk": _chunk,
    "stack": _stack,
    "cat": _cat,
    "concat": _cat,
}
