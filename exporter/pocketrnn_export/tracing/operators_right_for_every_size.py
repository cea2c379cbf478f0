"""Operators that a trace uses instead of PyTorch operators that would restrict a size. They are right for every size.

The Python function of each operator defines its result, so a program with these operators also runs in PyTorch.

`x[:, :512]` as `pocketrnn::cut` is one Slice, which clamps its ends, as PyTorch does. For 600 steps, the graph with
this operator is 2e-7 off, and the graph of a plain trace 0.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_export.torch_internals import statically_known_true, sym_ite, sym_max, sym_min

# The number that ONNX's Slice takes for "to the end".
END: Final = 2**62
# A user never sees this message: layers replace the loop, and its operators, before a program runs.
_NOT_RUN: Final = (
    "{} can run only in a trace, and pocketrnn should have replaced it before the program runs: please report your "
    "module as a bug of pocketrnn."
)


@torch.library.custom_op("pocketrnn::cut", mutates_args=())
def _slice_clamped(x: Tensor, axis: int, start: int, end: int, step: int) -> Tensor:
    """Return the slice `x[start:end:step]` along an axis, for any size of the axis. `start` and `end` are clamped to
    the axis, as in Python and ONNX; `END` as the end means to the end of the axis."""
    place = [slice(None)] * x.dim()
    place[axis] = slice(start, None if end >= END else end, step)
    return x[tuple(place)].clone()


@_slice_clamped.register_fake
def _infer_shape_of_slice_clamped(x: Tensor, axis: int, start: Any, end: Any, step: int) -> Tensor:
    size = x.shape[axis]

    def clamp_index(index: Any) -> Any:
        """Return `index` as a position from 0 to size. A negative index counts from the end."""
        if not isinstance(index, torch.SymInt):
            return sym_min(index, size) if index >= 0 else sym_max(size + index, 0)
        if statically_known_true(index >= 0):
            return sym_min(index, size)
        from_end = sym_max(size + index, 0)
        return sym_ite(index >= 0, sym_min(index, size), from_end)

    first, last = clamp_index(start), size if isinstance(end, int) and end >= END else clamp_index(end)
    length = last if isinstance(first, int) and first == 0 else sym_max(last - first, 0)
    if step != 1:
        length = (length + step - 1) // step
    return x.new_empty([length if i == axis else other for i, other in enumerate(x.shape)])


@torch.library.custom_op("pocketrnn::size", mutates_args=())
def _read_axis_size(x: Tensor, axis: int) -> Tensor:
    """Return the size of an axis as a tensor int64 []. torch.export does not turn this tensor into a constant."""
    return torch.tensor(x.shape[axis])


@_read_axis_size.register_fake
def _infer_shape_of_read_axis_size(x: Tensor, axis: int) -> Tensor:
    del axis
    return x.new_empty((), dtype=torch.int64)


@torch.library.custom_op("pocketrnn::cut_to_longest", mutates_args=())
def _cut_to_longest(x: Tensor, lengths: Tensor) -> Tensor:
    """Cut x [sequence, batch, ...] to the largest of the lengths [batch]."""
    return x[: int(lengths.max())].clone()


@_cut_to_longest.register_fake
def _infer_shape_of_cut_to_longest(x: Tensor, lengths: Tensor) -> Tensor:
    del lengths
    return x.new_empty((torch.library.get_ctx().new_dynamic_size(min=1), *x.shape[1:]))


@torch.library.custom_op("pocketrnn::step", mutates_args=())
def _select_step(x: Tensor, axis: int, index: int) -> Tensor:
    """Return one step of a tensor, as `x.select(axis, index)` does, without restricting the size of the axis."""
    return x.select(axis, index).clone()


@_select_step.register_fake
def _infer_shape_of_select_step(x: Tensor, axis: int, index: Any) -> Tensor:
    del index
    return x.new_empty([size for i, size in enumerate(x.shape) if i != axis])


@torch.library.custom_op("pocketrnn::put", mutates_args=())
def _write_step(x: Tensor, value: Tensor, axis: int, index: int) -> Tensor:
    """Return a copy of x with `value` at the position `index` of an axis, as `torch.select_scatter` does, without
    restricting the size of the axis."""
    return x.select_scatter(value, axis, index)


@_write_step.register_fake
def _infer_shape_of_write_step(x: Tensor, value: Tensor, axis: int, index: Any) -> Tensor:
    del value, axis, index
    return torch.empty_like(x)


@torch.library.custom_op("pocketrnn::stacked", mutates_args=())
def _stack_iterations(values: Sequence[Tensor], count: int, axis: int, loop: int, flipped: bool) -> Tensor:
    """Stand for `torch.stack` of the results of all iterations of a loop. The trace runs only the first few iterations,
    so a layer replaces this operator before a program runs.

    Args:
        values: the results of the few iterations that the trace runs.
        count: the number of all iterations.
        axis: the new axis of the stacked tensor.
        loop: the index of the loop in the trace.
        flipped: whether the results are stacked from the last iteration to the first.
    """
    raise NotImplementedError(_NOT_RUN.format("pocketrnn::stacked"))


@_stack_iterations.register_fake
def _infer_shape_of_stack_iterations(
    values: Sequence[Tensor], count: Any, axis: int, loop: int, flipped: bool
) -> Tensor:
    del loop, flipped
    shape = list(values[0].shape)
    shape.insert(axis, count)
    return values[0].new_empty(shape)


@torch.library.custom_op("pocketrnn::keep", mutates_args=())
def _keep_iteration_results(x: Tensor, values: Sequence[Tensor]) -> Tensor:
    """Return x. In a traced graph, this operator keeps the results `values` of loop iterations, since they are its
    arguments. A layer replaces the operator before a program runs."""
    raise NotImplementedError(_NOT_RUN.format("pocketrnn::keep"))


@_keep_iteration_results.register_fake
def _infer_shape_of_keep_iteration_results(x: Tensor, values: Sequence[Tensor]) -> Tensor:
    del values
    return torch.empty_like(x)


KEEP: Final = torch.ops.pocketrnn.keep.default
STEP: Final = torch.ops.pocketrnn.step.default
PUT: Final = torch.ops.pocketrnn.put.default
STACKED: Final = torch.ops.pocketrnn.stacked.default
CUT_TO_LONGEST: Final = torch.ops.pocketrnn.cut_to_longest.default
CUT: Final = torch.ops.pocketrnn.cut.default
SIZE: Final = torch.ops.pocketrnn.size.default
