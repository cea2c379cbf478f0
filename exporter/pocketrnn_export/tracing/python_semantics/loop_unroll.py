"""Loops over the steps of a text, traced as a few iterations of each.

`for t in range(x.size(1))` makes torch.export keep the example's length permanently. So while a module is traced, a
loop whose length is a size of the input runs `ITERATIONS` iterations, whatever that length is:

- `range`, `unbind`, `split`, `chunk` and iteration over a tensor give the first iterations' positions, or slices;
- every operation carries the loop and the iteration that it was called in;
- `x[:, t]` becomes `pocketrnn::step`, `out[:, t] = h` `pocketrnn::put`, and `torch.stack(outputs)` of what the
  iterations gave `pocketrnn::stacked`. Their shapes are those of the whole length, so that what comes after is
  traced as it is.

The calls are rewritten by `pocketrnn_export.tracing.rules.loops`. The traced values themselves are not used:
`pocketrnn_export.tracing.loops.reroll` makes layers of the iterations.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_export.intake.user_frames import users_line
from pocketrnn_export.tracing.python_semantics.arrays import TracedArray
from pocketrnn_export.tracing.session import Loop, TraceSession, current
from pocketrnn_export.tracing.sizes.questions import UntraceableError
from pocketrnn_export.tracing.trace_operators import STEP

__all__ = ["ITERATION", "ITERATIONS", "Positions", "Slices", "positions"]

# The first iteration may differ by its initial state, and the last by what nothing uses after it. Between them are
# two to find what is handed from one to the next.
ITERATIONS: Final = 4
# The name, among the annotations of a traced node, of the loop's number and its iteration.
ITERATION: Final = "pocketrnn_iteration"


def positions(*args: Any) -> Positions:
    """`range` of bounds among which are sizes of the input.

    Raises:
        UntraceableError: its steps are other than 1.
    """
    start, stop, step = (0, *args, 1) if len(args) == 1 else (*args, 1)[:3]
    if step == 1:
        return Positions(start, 1, stop - start)
    if step == -1:
        return Positions(start, -1, start - stop)
    raise UntraceableError(
        f"The module loops over a size in other steps than 1, {users_line(sys._getframe(2))}, which a trace freezes at "
        "one length.",
        "Take the steps by x[:, ::2], and positions by torch.arange(0, n, 2); or loop over every position.",
    )


class Positions(TracedArray):
    """A range whose length is a size of the input: as a loop its first iterations, as numbers all of them."""

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

    @property
    def tensor(self) -> Tensor:  # type: ignore[override]
        """All positions at once, for `x[range(len(x)), lengths - 1]`."""
        return torch.arange(self.start, self.start + self.step * self.count, self.step)

    def __reversed__(self) -> Iterator[Any]:
        return iter(self[::-1])


class Slices:
    """The result of `unbind` along an axis whose length is a size of the input."""

    def __init__(self, x: Tensor, axis: int, *, keeps_axis: bool, backward: bool = False) -> None:
        self.x, self.axis, self.keeps_axis, self.backward = x, axis, keeps_axis, backward

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            if index == slice(None):
                return self
            if index == slice(None, None, -1):
                return Slices(self.x, self.axis, keeps_axis=self.keeps_axis, backward=not self.backward)
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
    session = current()
    if session is None:
        yield from values
        return
    number, running = _same_loop(session, where, count), session.running
    try:
        for iteration, value in enumerate(values):
            if (number, iteration) not in running:
                running[:] = [other for other in running if other[0] != number]
                running.append((number, iteration))
            yield value
    finally:
        running[:] = [other for other in running if other[0] != number]


def _same_loop(session: TraceSession, where: str, count: Any) -> int:
    if session.running:
        number, iteration = session.running[-1]
        if iteration == 0 and session.loops[number].where == where:
            return number
    session.loops.append(Loop(count, where))
    return len(session.loops) - 1
