"""Rules for slices, splits, rolls, pads and shapes by a size. The operators that they use are right for every size, or
the rules record a restriction.

torch.export clamps the ends of a slice for its example, which restricts the sizes; `pocketrnn::cut` clamps them for
every size.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.intake.user_code_lines_for_messages import (
    describe_line,
    find_frame_outside_package,
    is_user_frame,
    list_call_frames,
    read_line,
)
from pocketrnn_export.torch_internals import list_guards, size_functions, statically_known_true, sym_max
from pocketrnn_export.tracing.operators_right_for_every_size import CUT, END
from pocketrnn_export.tracing.python_semantics.size_condition_answers import make_equality_relation, record_guard
from pocketrnn_export.tracing.rules.lengths import record_that_result_has_full_width
from pocketrnn_export.tracing.sizes.size_conditions import BATCH, Condition, compute_value_at
from pocketrnn_export.tracing.sizes.size_question_log import Question
from pocketrnn_export.tracing.trace_session import (
    Call,
    Rule,
    Topic,
    TraceSession,
    decline_call,
    decline_unless_sizes_are_chosen,
    find_shape_environment_of_tensors,
    rule,
)


def _run_call_and_record_guards(session: TraceSession, call: Call, proceed: Callable[[Call], Any]) -> Any:
    """Return the result of a call of torch by `proceed`, and record the guards, restrictions on sizes, that
    torch.export makes for the call. If the call raises an error, record the line."""
    args = call.args
    environment = find_shape_environment_of_tensors(
        args[0] if args and isinstance(args[0], (list, tuple)) else args[:1]
    )
    before = len(list_guards(environment))
    try:
        return proceed(call)
    except Exception:
        caller = find_frame_outside_package(sys._getframe(1))
        if is_user_frame(caller):
            session.log.raised.append(describe_line(caller))
        raise
    finally:
        if made := list_guards(environment)[before:]:
            frame = next(filter(is_user_frame, list_call_frames(sys._getframe(1))), None)
            for guard in made:
                record_guard(session, guard, read_line(frame) if frame is not None else None)


@rule("__getitem__", decline=decline_unless_sizes_are_chosen)
def rewrite_slices_as_cuts(_: TraceSession, x: Any, index: Any) -> Any:
    """Rewrite the slices in `x[:, 2:n]` as the operator `pocketrnn::cut`, which slices without restricting sizes. Other
    parts of the index stay unchanged."""
    parts = index if isinstance(index, tuple) else (index,)
    if not isinstance(x, Tensor) or not any(isinstance(part, slice) for part in parts):
        return decline_call("the index has no slice")
    axes = _find_first_axis_of_each_index_part(parts, x.dim())
    if axes is None:
        return decline_call("the index has a boolean")
    rest, changed = list(parts), False
    for i, axis in enumerate(axes):
        part = parts[i]
        if axis is None or not isinstance(part, slice):
            continue
        numbers = (part.start, part.stop, part.step)
        if numbers[:2] == (None, None) or not all(n is None or isinstance(n, (int, torch.SymInt)) for n in numbers):
            continue
        if not any(isinstance(n, torch.SymInt) for n in (x.shape[axis], *numbers)) or not isinstance(
            part.step or 1, int
        ):
            continue
        start = 0 if part.start is None else part.start
        x = CUT(x, axis, start, END if part.stop is None else part.stop, part.step or 1)
        rest[i], changed = slice(None), True
    if not changed:
        return decline_call("no slice of the index depends on a size of the input")
    if all((isinstance(part, slice) and part == slice(None)) or part is Ellipsis for part in rest):
        return x
    return x[tuple(rest)]


def _find_first_axis_of_each_index_part(parts: tuple[Any, ...], dimensions: int) -> list[int | None] | None:
    """Return for each part of an index the first axis to which it applies, or None for a new axis and an ellipsis. For
    an index with a boolean, return None instead of the list.

    Args:
        parts: the parts of the index.
        dimensions: the number of axes of the indexed tensor.
    """
    if any(isinstance(part, bool) for part in parts):
        return None
    axisless = [part is None or part is Ellipsis for part in parts]
    taken = [0 if none else _count_axes_indexed_by_part(part) for part, none in zip(parts, axisless, strict=True)]
    taken = [dimensions - sum(taken) if part is Ellipsis else axes for part, axes in zip(parts, taken, strict=True)]
    first = itertools.accumulate(taken, initial=0)
    return [None if none else axis for axis, none in zip(first, axisless, strict=False)]


def _count_axes_indexed_by_part(part: Any) -> int:
    """Return the number of axes that a part of an index selects from: 1 or, for a mask of bools, the mask's number of
    axes."""
    return part.dim() if isinstance(part, Tensor) and part.dtype == torch.bool else 1


@rule("narrow", decline=decline_unless_sizes_are_chosen)
def rewrite_narrow_as_cut(_: TraceSession, x: Tensor, dim: int, start: Any, length: Any) -> Any:
    """Rewrite `x.narrow(1, 0, n)` as the operator `pocketrnn::cut`, which slices without restricting sizes."""
    dim %= x.dim()
    if not isinstance(start, (int, torch.SymInt)) or not any(
        isinstance(n, torch.SymInt) for n in (x.shape[dim], start, length)
    ):
        return decline_call("no argument is a size of the input")
    if isinstance(start, int) and start < 0:
        start = x.shape[dim] + start
    return CUT(x, dim, start, start + length, 1)


@rule("split", decline=decline_unless_sizes_are_chosen)
def rewrite_split_as_one_chunk(_: TraceSession, x: Tensor, split_size: Any = None, dim: int = 0, **kwargs: Any) -> Any:
    """Rewrite `x.split(64, dim=1)`, whose number of chunks depends on a size: return all of x as one chunk.

    This is right if the module processes all chunks alike and joins them again. The comparison with the module checks
    it.
    """
    split_size = kwargs.get("split_size_or_sections", split_size)
    if not isinstance(split_size, int) or not isinstance(x.shape[dim], torch.SymInt):
        return decline_call("the number of chunks does not depend on a size")
    return (x,)


@rule("chunk", decline=decline_unless_sizes_are_chosen)
def rewrite_chunk_as_cuts(session: TraceSession, x: Tensor, chunks: Any, dim: int = 0) -> Any:
    """Rewrite `x.chunk(4, 1)` as cuts of equal width. `chunk` may return fewer chunks for short texts: return as many
    as for the sizes for which the trace is made, and record this number as a condition on sizes."""
    size = x.shape[dim]
    expression = session.express_size_by_batch_and_tokens(size)
    if not isinstance(chunks, int) or expression is None or session.branch is None:
        return decline_call("the number of chunks is not fixed, or the axis has a fixed size")
    if expression == BATCH:
        return (x,)
    width = size_functions.FloorDiv(expression + (chunks - 1), chunks)
    count = size_functions.FloorDiv(expression + width - 1, width)
    many = int(compute_value_at(count, session.branch.sizes))
    session.log.record_question_if_it_varies(
        Question(
            Condition(make_equality_relation(count, many)),
            True,
            *read_line(find_frame_outside_package(sys._getframe(1))),
        )
    )
    step = (size + chunks - 1) // chunks
    return tuple(CUT(x, dim % x.dim(), i * step, (i + 1) * step, 1) for i in range(many))


@rule("pad", decline=decline_unless_sizes_are_chosen)
def rewrite_pad_with_amounts_from_zero(session: TraceSession, x: Tensor, pad: Any, *rest: Any, **kwargs: Any) -> Any:
    """Rewrite `F.pad(x, (0, n - x.size(1)))` so that a negative amount pads nothing, while PyTorch would cut. This
    applies only to a trace with `pads_from_zero`, which is made for sizes at which forward pads."""
    if not any(isinstance(amount, torch.SymInt) for amount in pad):
        return decline_call("the amounts are fixed")
    session.log.pads += 1
    if session.branch is None or not session.branch.pads_from_zero:
        return decline_call("on this branch a negative amount cuts, as in PyTorch")
    return nn.functional.pad(x, [_clamp_at_zero(n) for n in pad], *rest, **kwargs)


def _make_rule_that_clamps_sizes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a rule for a function that makes a tensor of given sizes, such as `torch.zeros`. A negative symbolic size
    becomes 0."""

    def make_tensor_of_size(_: TraceSession, /, *args: Any, **kwargs: Any) -> Any:
        shape = [*args, *(part for arg in args if isinstance(arg, (tuple, list)) for part in arg)]
        if not any(isinstance(part, torch.SymInt) for part in shape):
            return decline_call("the shape does not depend on a size of the input")
        from_zero = [
            type(arg)(map(_clamp_at_zero, arg)) if type(arg) in (tuple, list) else _clamp_at_zero(arg) for arg in args
        ]
        return function(*from_zero, **kwargs)

    return make_tensor_of_size


def _clamp_at_zero(size: Any) -> Any:
    """Return a symbolic size that is at least 0. Return a plain number unchanged."""
    if not isinstance(size, torch.SymInt) or statically_known_true(size >= 0):
        return size
    return sym_max(size, 0)


_SHAPED: Final = {
    **{name: getattr(torch, name) for name in ("zeros", "ones", "empty")},
    **{name: getattr(Tensor, name) for name in ("new_zeros", "new_ones", "repeat")},
}
_SHAPE_RULES: Final = tuple(
    Rule((name,), _make_rule_that_clamps_sizes(function), decline_unless_sizes_are_chosen)
    for name, function in _SHAPED.items()
)


@rule("roll")
def rewrite_roll_as_cuts(_: TraceSession, x: Tensor, shifts: Any, dims: Any = None) -> Any:
    """Rewrite `torch.roll(x, x.size(1) // 2, 1)` as two cuts that are joined. torch.export would freeze the shift."""
    shifts, dims = (list(n) if isinstance(n, list | tuple) else [n] for n in (shifts, dims))
    if not any(isinstance(n, torch.SymInt) for n in shifts) or None in dims or len(shifts) != len(dims):
        return decline_call("no shift is a size, or no axis is given")
    for places, axis in zip(shifts, dims, strict=True):
        axis, first = axis % x.dim(), x.shape[axis] - places % x.shape[axis]
        x = torch.cat([CUT(x, axis, first, END, 1), CUT(x, axis, 0, first, 1)], dim=axis)
    return x


SLICING: Final = Topic(
    (
        *(rewrite_slices_as_cuts, rewrite_narrow_as_cut, rewrite_split_as_one_chunk, rewrite_chunk_as_cuts),
        *(rewrite_pad_with_amounts_from_zero, rewrite_roll_as_cuts, *_SHAPE_RULES),
    ),
    around=_run_call_and_record_guards,
    after=record_that_result_has_full_width,
)
