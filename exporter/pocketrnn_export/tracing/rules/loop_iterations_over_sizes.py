"""Rules for an iteration of a loop over a size: it reads a step of a tensor, writes a step, and collects results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_export.torch_internals import annotate_operators, read_size_expression
from pocketrnn_export.tracing.operators_right_for_every_size import PUT, STACKED, STEP
from pocketrnn_export.tracing.python_semantics.loops_cut_to_few_iterations import ITERATION, Slices, find_stacked_loop
from pocketrnn_export.tracing.trace_session import (
    Call,
    DeclinedRule,
    Rule,
    Topic,
    TraceSession,
    decline_call,
    decline_never,
    decline_outside_loop,
    rule,
)

# The number of a part of an index, the axis to which it applies, and the position of the step that it selects.
_IndexedStep = tuple[int, int, Any]


def _run_call_and_record_iteration(session: TraceSession, call: Call, proceed: Callable[[Call], Any]) -> Any:
    """Return the result of a call of torch by `proceed`, and record for the result in which loop and iteration the call
    runs. After the loop, record the iteration that made the call's arguments, if it is a single one."""
    if session.running:
        running = session.running[-1]
        with annotate_operators({ITERATION: running}):
            result = proceed(call)
    else:
        result = proceed(call)
        made = _find_iterations_that_made_tensors(session, (call.args, call.kwargs))
        if len(made) != 1:
            return result
        (running,) = made
    for value in result if isinstance(result, (tuple, list)) else (result,):
        session.facts.record_facts(value, iteration=running)
    return result


def _find_iterations_that_made_tensors(session: TraceSession, values: Any) -> set[tuple[int, int]]:
    """Return the pairs (loop, iteration) in which the tensors in a value were made. Lists, tuples, dicts and iterators
    are searched."""
    if isinstance(values, Tensor):
        made = session.facts.find_fact(values).iteration
        return set() if made is None else {made}
    if isinstance(values, dict):
        values = values.values()
    if isinstance(values, (tuple, list)) or hasattr(values, "__next__") or type(values).__name__ == "dict_values":
        return {iteration for value in values for iteration in _find_iterations_that_made_tensors(session, value)}
    return set()


def _is_size(value: Any) -> bool:
    """Return whether a value is a symbolic size."""
    return isinstance(value, torch.SymInt)


def _split_index_and_find_steps(x: Any, index: Any) -> tuple[list[Any], list[_IndexedStep]]:
    """Return two lists: the parts of an index, with an ellipsis replaced by slices, and the steps that these parts
    select on axes whose length is a symbolic size. The second list is empty if a part is a tensor, a list or a bool."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if not isinstance(x, Tensor) or not all(
        part is Ellipsis
        or part is None
        or (isinstance(part, (slice, int, torch.SymInt)) and not isinstance(part, bool))
        for part in parts
    ):
        return parts, []
    taken = sum(part is not None for part in parts)
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (x.dim() - taken + 1)
    axes = [axis for axis, part in enumerate(parts) if part is not None]
    found = []
    for axis, place in enumerate(axes):
        part = parts[place]
        number = _read_single_position(part) if isinstance(part, slice) else part
        if number is not None and _is_size(x.shape[axis]):
            found.append((place, axis, number))
    return parts, found


def _read_single_position(part: slice) -> Any:
    """Return the position t of a slice such as `t : t + 1`. Return None for slices of another length."""
    if part.step in (None, 1) and part.start is not None and part.stop is not None:
        length = part.stop - part.start
        if (read_size_expression(length) if _is_size(length) else length) == 1:
            return part.start
    return None


@rule("__getitem__", decline=decline_outside_loop)
def rewrite_index_as_steps(_: TraceSession, x: Any, index: Any) -> Any:
    """Rewrite `x[:, t]` and `x[:, t : t + 1]` as the operator `pocketrnn::step`, which selects a step without
    restricting sizes."""
    parts, found = _split_index_and_find_steps(x, index)
    if not found:
        return decline_call(
            "no integer indexes an axis of variable length, or the index contains other parts than slices"
        )
    # Start with the last axis, so that the axes before it keep their numbers.
    for place, axis, number in reversed(found):
        is_slice = isinstance(parts[place], slice)
        x = STEP(x, axis, _convert_to_index_from_start(x.shape[axis], number))
        if is_slice:
            x, parts[place] = x.unsqueeze(axis), slice(None)
        else:
            del parts[place]
    return x if all(part == slice(None) for part in parts) else x[tuple(parts)]


def _convert_to_index_from_start(size: Any, index: Any) -> Any:
    """Return an index that counts from the start of an axis of this size, for one that may be negative."""
    return size + index if isinstance(index, int) and index < 0 else index


@rule("__setitem__", decline=decline_outside_loop)
def rewrite_assignment_as_put(_: TraceSession, x: Any, index: Any, value: Any) -> Any:
    """Rewrite `out[:, t] = h` as the operator `pocketrnn::put`, which writes a step into a tensor without restricting
    sizes."""
    found = _split_index_and_find_steps(x, index)[1]
    if len(found) != 1:
        return decline_call("the index does not have exactly one integer for an axis whose length is a size")
    parts = index if isinstance(index, tuple) else (index,)
    _place, axis, number = found[0]
    if any(isinstance(part, slice) and part != slice(None) for part in parts) or len(parts) > x.dim():
        return decline_call("the assignment writes only a part of a step")
    if None in parts or sum(not isinstance(part, slice) and part is not Ellipsis for part in parts) != 1:
        return decline_call("the index has several numbers")
    shape = [size for i, size in enumerate(x.shape) if i != axis]
    given = value if isinstance(value, Tensor) else torch.full((), value, dtype=x.dtype)
    x.copy_(PUT(x, given.to(x.dtype).expand(shape), axis, _convert_to_index_from_start(x.shape[axis], number)))
    return None


@rule("select", decline=decline_outside_loop)
def rewrite_select_as_step(_: TraceSession, x: Tensor, dim: int, index: Any) -> Any:
    """Rewrite `x.select(1, t)` as the operator `pocketrnn::step`, which selects a step without restricting sizes."""
    dim %= x.dim()
    if not _is_size(x.shape[dim]):
        return decline_call("the axis has a fixed length")
    return STEP(x, dim, _convert_to_index_from_start(x.shape[dim], index))


@rule("unbind")
def rewrite_unbind_as_steps(_: TraceSession, x: Tensor, dim: int = 0) -> Any:
    """Rewrite `x.unbind(1)`, and a loop over a tensor, as the list of the single steps, of which a loop runs a few."""
    dim %= x.dim()
    return Slices(x, dim, keeps_axis=False) if _is_size(x.shape[dim]) else decline_call("the axis has a fixed length")


@rule("split")
def rewrite_split_as_steps(_: TraceSession, x: Tensor, split_size: Any = None, dim: int = 0, **kwargs: Any) -> Any:
    """Rewrite `x.split(1, dim=1)` as the list of the single steps, of which a loop runs a few."""
    size = kwargs.get("split_size_or_sections", split_size)
    dim %= x.dim()
    if not _is_size(x.shape[dim]) or size != 1:
        return decline_call("the call does not split an axis whose length is a size into single steps")
    return Slices(x, dim, keeps_axis=True)


@rule("chunk")
def rewrite_chunk_as_steps(_: TraceSession, x: Tensor, chunks: Any, dim: int = 0) -> Any:
    """Rewrite `x.chunk(x.size(1), dim=1)` as the list of the single steps, of which a loop runs a few."""
    dim %= x.dim()
    size: Any = x.shape[dim]
    if not _is_size(chunks) or not _is_size(size) or read_size_expression(chunks) != read_size_expression(size):
        return decline_call("there are not as many chunks as steps")
    return Slices(x, dim, keeps_axis=True)


@rule("stack")
def rewrite_stack_of_iterations(session: TraceSession, tensors: Any, dim: int = 0, **_: Any) -> Any:
    """Rewrite `torch.stack(outputs)` of the results of a loop's iterations as the operator `pocketrnn::stacked`, which
    stands for the results of all iterations, and not only of the few that the trace runs."""
    found = find_stacked_loop(session, tensors)
    if found is None:
        return decline_call("the tensors are not the results of all iterations of one loop")
    loop, flipped = found
    tensors = tensors[::-1] if flipped else tensors
    return STACKED(list(tensors), session.loops[loop].count, dim % (tensors[0].dim() + 1), loop, flipped)


@rule("cat", "concat")
def rewrite_cat_of_iterations(session: TraceSession, tensors: Any, dim: int = 0, **kwargs: Any) -> Any:
    """Rewrite `torch.cat(outputs, 1)` of the results of a loop's iterations as the operator `pocketrnn::stacked`, which
    stands for the results of all iterations, and not only of the few that the trace runs."""
    axis = kwargs.get("axis", dim)
    # The stacked tensor has one more axis, which shifts a negative axis.
    first = axis if axis >= 0 else axis - 1
    stacked = rewrite_stack_of_iterations(session, tensors, first)
    return stacked if isinstance(stacked, DeclinedRule) else stacked.flatten(first, first + 1)


def _make_rule_for_stacking_function(reshape: Callable[[Tensor], Tensor], axis: int) -> Callable[..., Any]:
    """Return a rule for `torch.hstack` or a similar function that joins tensors by `torch.cat`. torch's exporter would
    write ONNX sequences, which a bundle's graph does not support.

    Args:
        reshape: a function that gives each tensor the axes that the function requires, as `torch.atleast_1d`.
        axis: the axis to join, or the last one if the tensors have fewer axes.
    """

    def stack_tensors(session: TraceSession, tensors: Any, **more: Any) -> Any:
        if more or not isinstance(tensors, (list, tuple)):
            return decline_call("the argument is not a list of tensors")
        tensors = [reshape(tensor) for tensor in tensors]
        along = min(axis, tensors[0].dim() - 1)
        found = rewrite_cat_of_iterations(session, tensors, along)
        return torch.cat(tensors, along) if isinstance(found, DeclinedRule) else found

    return stack_tensors


_BESIDE: Final = tuple(
    Rule(names, _make_rule_for_stacking_function(reshape, axis), decline_never)
    for names, reshape, axis in (
        (("hstack",), torch.atleast_1d, 1),
        (("vstack", "row_stack"), torch.atleast_2d, 0),
        (("column_stack",), lambda x: x if x.dim() > 1 else x.reshape(-1, 1), 1),
        (("dstack",), torch.atleast_3d, 2),
    )
)


@rule("__radd__", "add", decline=decline_outside_loop)
def rewrite_sum_from_zero(_: TraceSession, x: Any, number: Any, **kwargs: Any) -> Any:
    """Rewrite `0 + x`, the first addition of a running sum, as a sum of two tensors like those of the later
    iterations."""
    if not isinstance(x, Tensor) or type(number) not in (int, float) or number != 0 or kwargs:
        return decline_call("the operands are not a plain 0 and a tensor")
    return torch.zeros(x.shape, dtype=torch.result_type(x, number)) + x


LOOPS: Final = Topic(
    (
        *(rewrite_index_as_steps, rewrite_assignment_as_put, rewrite_select_as_step, rewrite_unbind_as_steps),
        *(
            rewrite_split_as_steps,
            rewrite_chunk_as_steps,
            rewrite_stack_of_iterations,
            rewrite_cat_of_iterations,
            *_BESIDE,
            rewrite_sum_from_zero,
        ),
    ),
    around=_run_call_and_record_iteration,
)
