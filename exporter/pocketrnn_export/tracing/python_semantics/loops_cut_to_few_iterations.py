"""Trace only a few iterations of each loop over the steps of a text.

`for t in range(x.size(1))` makes torch.export freeze the example's length. So while a module is traced, a loop whose
length is a size of the input runs `ITERATIONS` iterations, whatever that length is:

- `range`, `unbind`, `split`, `chunk` and iteration over a tensor give the first iterations' positions, or slices;
- every operation is annotated with the loop and the iteration that it was called in;
- `x[:, t]` becomes `pocketrnn::step`, `out[:, t] = h` becomes `pocketrnn::put`, and `torch.stack(outputs)` of the
  iterations' results becomes `pocketrnn::stacked`. Their shapes are those of the whole length, so the code after the
  loop is traced as usual.

The calls are rewritten by `pocketrnn_export.tracing.rules.loop_iterations_over_sizes`. The traced values themselves are
not used: `pocketrnn_export.tracing.loops.loops_as_layers` makes layers of the iterations.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from pocketrnn_export.intake.user_code_lines_for_messages import describe_user_line
from pocketrnn_export.tracing.operators_right_for_every_size import STEP
from pocketrnn_export.tracing.python_semantics.traced_arrays import TracedArray
from pocketrnn_export.tracing.sizes.size_question_log import UntraceableError
from pocketrnn_export.tracing.trace_session import Loop, TraceSession, find_current_session

# The first iteration may differ in its initial state, and the last in results that are not used. The two between them
# show the states that are passed from one to the next.
ITERATIONS: Final = 4
# The key, in the annotations of a traced node, of the loop's number and the iteration.
ITERATION: Final = "pocketrnn_iteration"


def make_range_stand_in(*args: Any) -> Positions:
    """Return a stand-in for `range(...)` with these arguments, some of which are sizes of the input, such as
    `range(x.size(1))`.

    Raises:
        UntraceableError: the step is neither 1 nor -1.
    """
    start, stop, step = (0, *args, 1) if len(args) == 1 else (*args, 1)[:3]
    if step == 1:
        return Positions(start, 1, stop - start)
    if step == -1:
        return Positions(start, -1, start - stop)
    raise UntraceableError(
        "The module loops over a range that ends at a size of the input, and whose step is neither 1 nor -1, "
        f"{describe_user_line(sys._getframe(2))}. The exported graph would have the iterations for texts of only one "
        "length.",
        "Loop over every position; or, without a loop, select steps with x[:, ::2] and positions with "
        "torch.arange(0, n, 2).",
    )


class Positions(TracedArray):
    """A stand-in for a `range` whose length is a size of the input. A loop over it runs a few iterations; as an index
    it is a tensor of all positions.

    Args:
        start: the first position.
        step: 1 or -1.
        count: the number of positions, a symbolic size.
    """

    def __init__(self, start: Any, step: int, count: Any) -> None:
        self.start, self.step, self.count = start, step, count

    def __iter__(self) -> Iterator[Any]:
        return _yield_values_of_first_iterations(
            self.count, [self.start + self.step * iteration for iteration in builtins.range(ITERATIONS)]
        )

    def __getitem__(self, index: Any) -> Any:
        if index == slice(None, None, -1):
            return Positions(self.start + self.step * (self.count - 1), -self.step, self.count)
        if isinstance(index, slice):
            raise TypeError(
                "A range up to a size of the input can be sliced only by [::-1]. Write range(1, n), not range(n)[1:]."
            )
        return self.start + self.step * (self.count + index if isinstance(index, int) and index < 0 else index)

    @property
    def tensor(self) -> Tensor:  # type: ignore[override]
        """All positions as a tensor, so that the range can be an index: `x[range(len(x)), lengths - 1]`."""
        return torch.arange(self.start, self.start + self.step * self.count, self.step)

    def __reversed__(self) -> Iterator[Any]:
        return iter(self[::-1])


class Slices:
    """The steps of a tensor along an axis whose length is a size of the input. It stands for the result of `unbind`, or
    of `split` and `chunk` into single steps. A loop over it runs a few iterations.

    Args:
        x: the tensor.
        axis: the axis.
        keeps_axis: whether each step keeps the axis, with the size 1, as in `split`.
        backward: whether the last step comes first.
    """

    def __init__(self, x: Tensor, axis: int, *, keeps_axis: bool, backward: bool = False) -> None:
        self.x, self.axis, self.keeps_axis, self.backward = x, axis, keeps_axis, backward

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            if index == slice(None):
                return self
            if index == slice(None, None, -1):
                return Slices(self.x, self.axis, keeps_axis=self.keeps_axis, backward=not self.backward)
            raise TypeError(
                "The list of a text's steps, such as x.unbind(1), can be sliced only by [:] or [::-1]. Slice the "
                "tensor instead, as in x[:, 1:].unbind(1)."
            )
        size = self.x.shape[self.axis]
        if isinstance(index, int) and index < 0:
            index = size + index
        step = STEP(self.x, self.axis, size - 1 - index if self.backward else index)
        return step.unsqueeze(self.axis) if self.keeps_axis else step

    def __iter__(self) -> Iterator[Tensor]:
        yield from (self[iteration] for iteration in iter(Positions(0, 1, self.x.shape[self.axis])))

    def __reversed__(self) -> Iterator[Tensor]:
        return iter(self[::-1])


def _yield_values_of_first_iterations(count: Any, values: Sequence[Any]) -> Iterator[Any]:
    """Yield the values of the first few iterations of a loop, such as the positions 0, 1, 2 and 3, and record meanwhile
    that these iterations run.

    Args:
        count: the number of all iterations, a symbolic size.
        values: one value for each iteration that runs.
    """
    where = describe_user_line(sys._getframe(1))
    # `zip` advances several iterators at once, which are one loop.
    session = find_current_session()
    if session is None:
        yield from values
        return
    number, running = _find_or_add_loop(session, where, count), session.running
    try:
        for iteration, value in enumerate(values):
            if (number, iteration) not in running:
                running[:] = [other for other in running if other[0] != number]
                running.append((number, iteration))
            yield value
    finally:
        running[:] = [other for other in running if other[0] != number]


def _find_or_add_loop(session: TraceSession, where: str, count: Any) -> int:
    """Return the index, in the session's list, of the loop that has just begun on the line `where`. If the list does
    not contain it, add a loop of `count` iterations."""
    if session.running:
        number, iteration = session.running[-1]
        if iteration == 0 and session.loops[number].where == where:
            return number
    session.loops.append(Loop(count, where))
    return len(session.loops) - 1


class StackedLoop(NamedTuple):
    """The loop whose iterations made some tensors.

    Attributes:
        number: the index of the loop in the trace.
        is_reversed: whether the tensor of the last iteration comes first.
    """

    number: int
    is_reversed: bool


def find_stacked_loop(session: TraceSession, tensors: Any) -> StackedLoop | None:
    """Return the loop whose iterations made the tensors of a list, one in each iteration that the trace runs. Return
    None for any other list or value."""
    if not isinstance(tensors, (list, tuple)) or len(tensors) != ITERATIONS:
        return None
    made = [session.facts.find_fact(tensor).iteration for tensor in tensors]
    loops = {iteration[0] for iteration in made if iteration is not None}
    iterations = [None if iteration is None else iteration[1] for iteration in made]
    forward = list(builtins.range(ITERATIONS))
    if len(loops) != 1 or iterations not in (forward, forward[::-1]):
        return None
    return StackedLoop(loops.pop(), iterations != forward)
