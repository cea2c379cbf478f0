"""Rules that keep lengths as tensors where forward turns them into numpy arrays, lists or numbers. They also pass on
the known facts about lengths.

`lengths.max()` is the width, since the longest of the given lengths equals it: so it can be used as a size, an index
and a plain number if a trace knows the width. Packing needs to know that the longest is among the lengths
(`Fact.whole`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_export.torch_internals import statically_known_true
from pocketrnn_export.tracing.python_semantics.globals_replaced_during_trace import replace_stand_ins_for_types
from pocketrnn_export.tracing.python_semantics.size_arithmetic import TracedNumber, is_size
from pocketrnn_export.tracing.python_semantics.traced_arrays import (
    TracedArray,
    replace_largest_length_by_width,
    unwrap_arrays,
)
from pocketrnn_export.tracing.trace_session import Call, TraceSession, decline_call, rule

# The functions whose arguments are sizes or positions: there, the longest of the lengths is used as a number.
_OF_SIZES: Final = frozenset(
    {"arange", "zeros", "ones", "full", "empty", "rand", "expand", "view", "reshape", "repeat", "narrow", "new_zeros",
     "new_ones", "new_full", "new_empty", "linspace", "range"}
)  # fmt: skip
# The functions that return the only length in a batch of one.
_OF_ONE: Final = frozenset({"__getitem__", "select", "squeeze", "unbind", "max", "min", "amax", "amin", "sum"})
# The functions that return the same numbers in the same order.
_KEEPS: Final = frozenset({"cpu", "cuda", "to", "long", "int", "clone", "detach", "contiguous", "type", "type_as"})
# The functions that do not change the longest of some lengths.
_KEEP_LONGEST: Final = frozenset(
    {"cpu", "to", "long", "int", "clone", "detach", "contiguous", "view", "reshape", "flatten", "sort", "index_select",
     "tolist", "type", "flip", "squeeze"}
)  # fmt: skip


def run_call_without_stand_ins(_: TraceSession, call: Call, proceed: Callable[[Call], Any]) -> Any:
    """Return the result of a call of torch by `proceed`, in whose arguments stand-ins of the trace, such as a
    `TracedArray`, are replaced by the tensors and types for which they stand."""
    args = tuple(replace_stand_ins_for_types(unwrap_arrays(value)) for value in call.args)
    kwargs = {name: replace_stand_ins_for_types(unwrap_arrays(value)) for name, value in call.kwargs.items()}
    if call.name in {"tensor", "as_tensor"} and args and isinstance(args[0], list | tuple):
        numbers = list(_flatten_numbers(call.args[0]))
        # A TracedNumber stands for a Python float but has 64 bits, so set the dtype that torch would choose.
        if any(isinstance(number, TracedNumber) for number in numbers):
            kwargs.setdefault("dtype", _find_common_dtype(numbers))
    if call.name in {"__getitem__", "__setitem__"}:
        args = (args[0], _replace_largest_lengths_by_width(_stack_index_lists(args[1])), *args[2:])
    if call.name in _OF_SIZES:
        args = tuple(map(_replace_largest_lengths_by_width, args))
        kwargs = {name: _replace_largest_lengths_by_width(value) for name, value in kwargs.items()}
    return proceed(replace(call, args=args, kwargs=kwargs))


def _replace_largest_lengths_by_width(value: Any) -> Any:
    """Return an argument in which each tensor that is known to be the largest length is replaced by the padded width, a
    symbolic size. Slices, lists and tuples are searched."""
    if isinstance(value, slice):
        return slice(*(_replace_largest_lengths_by_width(n) for n in (value.start, value.stop, value.step)))
    if type(value) in (list, tuple):
        return type(value)(_replace_largest_lengths_by_width(item) for item in value)
    return replace_largest_length_by_width(value)


def _stack_index_lists(index: Any) -> Any:
    """Return an index in which lists with tensors or sizes, such as `[n - 1 for n in lengths]`, are stacked into
    tensors."""
    if type(index) is tuple:
        return tuple(_stack_index_lists(part) for part in index)
    traced = type(index) is list and any(_is_number_tensor(part) or is_size(part) for part in index)
    return _stack_numbers(index) if traced else index


def _is_number_tensor(value: Any) -> bool:
    """Return whether a value is a tensor without axes."""
    return isinstance(value, Tensor) and not value.dim()


def _stack_numbers(numbers: Any, dtype: torch.dtype | None = None) -> Tensor:
    """Return numbers, or nested lists of numbers, as one tensor. Some of the numbers are tensors or sizes. If `dtype`
    is None, it is chosen as by `torch.tensor`."""
    dtype = _find_common_dtype(list(_flatten_numbers(numbers))) if dtype is None else dtype
    lists = [isinstance(part, list | tuple) for part in numbers]
    return torch.stack(
        [
            _stack_numbers(part, dtype) if is_list else _convert_to_tensor(part, dtype)
            for part, is_list in zip(numbers, lists, strict=True)
        ]
    )


def _flatten_numbers(numbers: Any) -> Iterator[Any]:
    """Yield the numbers in nested lists."""
    for part in numbers:
        if isinstance(part, list | tuple):
            yield from _flatten_numbers(part)
        else:
            yield part


def _find_common_dtype(numbers: Sequence[Any]) -> torch.dtype | None:
    """Return the dtype that `torch.tensor` chooses for a list of these numbers. Return None if one of them is not a
    number."""
    types = [
        torch.get_default_dtype() if type(number) in {float, torch.SymFloat, TracedNumber}
        else torch.bool if type(number) is bool
        else torch.int64 if type(number) in {int, torch.SymInt}
        else number.dtype if isinstance(number, Tensor)
        else None
        for number in numbers
    ]  # fmt: skip
    known = [kind for kind in types if kind is not None]
    return functools.reduce(torch.promote_types, known) if known and len(known) == len(types) else None


def _convert_to_tensor(number: Any, dtype: torch.dtype | None) -> Tensor:
    """Return a number, a size or a tensor as a tensor with this dtype or, for None, its own dtype."""
    if is_size(number):
        usual = torch.int64 if isinstance(number, torch.SymInt) else torch.float32
        return torch.full((), number, dtype=usual if dtype is None else dtype)
    found = number if isinstance(number, Tensor) else torch.as_tensor(number)
    return found if dtype is None else found.to(dtype)


def record_how_result_follows_from_lengths(session: TraceSession, call: Call, result: Any) -> None:
    """Record how the numbers in a call's result follow from the lengths that forward is given: for example that they
    are these lengths, sorted."""
    name, args, kwargs = call.name, call.args, call.kwargs
    if session.scripted or not args:
        return
    facts = session.facts
    if writes_into_first_argument(name):
        facts.forget_tensor_and_its_views(args[0])
        return
    if name == "full" and len(args) > 1 and _is_padded_width(session, args[1]) and result.dim() == 1:
        facts.record_facts(result, lengths="given", whole=True, width=args[1])
        return
    known = facts.find_fact(args[0]).lengths
    if not known:
        return
    first = result[0] if isinstance(result, tuple) and result else result
    facts.record_facts(first, width=facts.find_fact(args[0]).width)
    order = facts.find_fact(args[-1]).lengths
    falling = bool(kwargs.get("descending", args[2] if len(args) > 2 and isinstance(args[2], bool) else False))
    ordered = known in {"given", "falling", "rising"}
    has_largest = ordered or known == "batch sizes"
    if name in _KEEPS:
        facts.record_facts(first, lengths=known)
    elif name in {"neg", "__neg__", "negative"} and known == "given":
        facts.record_facts(first, lengths="negated")
    elif ordered and args[0].shape[0] == 1 and isinstance(args[0].shape[0], int) and name in _OF_ONE:
        # One text a run: its length is the width.
        facts.record_facts(first, lengths="longest")
    elif name in {"max", "amax"} and has_largest and not any(isinstance(value, Tensor) for value in args[1:]):
        facts.record_facts(first, lengths="longest")
    elif name == "sort" and ordered:
        facts.record_facts(first, lengths="falling" if falling else "rising")
        facts.record_facts(result[1], lengths="falling order" if falling else "")
    elif name in {"sort", "argsort"} and (falling if ordered else known == "negated" and not falling):
        facts.record_facts(result[1] if name == "sort" else result, lengths="falling order")
    elif name in {"__getitem__", "index_select"} and (known, order) == ("given", "falling order"):
        facts.record_facts(first, lengths="falling")
    elif name == "__getitem__" and (known, args[1] if isinstance(args[1], int) else None) in _LONGEST_AT:
        facts.record_facts(first, lengths="longest")
    elif name == "flip" and known in {"falling", "rising"}:
        facts.record_facts(first, lengths="rising" if known == "falling" else "falling")


def writes_into_first_argument(name: str) -> bool:
    """Return whether the torch function with this name writes into its first argument, as `clamp_` and `__setitem__`
    do."""
    return name in _WRITES or (name.endswith("_") and not name.endswith("__"))


_WRITES: Final = frozenset({"__setitem__", *(f"__i{name}__" for name in ("add", "sub", "mul", "truediv", "floordiv"))})
# The index of the longest of sorted lengths, and of the largest of batch sizes.
_LONGEST_AT: Final = frozenset({("falling", 0), ("rising", -1), ("batch sizes", 0)})


def _is_padded_width(session: TraceSession, value: Any) -> bool:
    """Return whether a value is the padded width, `x.size(1)`. A forward without lengths as an input makes lengths from
    it."""
    return isinstance(value, torch.SymInt) and any(statically_known_true(value == width) for width in session.widths)


def record_that_result_has_full_width(session: TraceSession, call: Call, result: Any) -> None:
    """Record that the largest length in a call's result equals the padded width, if this holds for the lengths that the
    call takes and the call keeps the largest."""
    name, args, kwargs = call.name, call.args, call.kwargs
    if not args or not session.facts.find_fact(args[0]).whole:
        return
    reordered = name == "__getitem__" and isinstance(args[1], Tensor) and args[1].dtype == torch.int64
    at_least_1 = name in {"clamp", "clamp_min"} and (*args[1:], *kwargs.values()) in {(0,), (1,)}
    if name in _KEEP_LONGEST or reordered or (at_least_1 and "max" not in kwargs):
        session.facts.record_facts(result[0] if isinstance(result, tuple) else result, whole=True)


@rule("numpy", "__array__")
def rewrite_numpy_as_traced_array(session: TraceSession, x: Any, *_: Any, **__: Any) -> Any:
    """Rewrite `lengths.numpy()`: return a `TracedArray`, a stand-in for a numpy array that holds the tensor."""
    if session.scripted and not _may_hold_lengths(x):
        return decline_call("the tensor does not contain lengths")
    return TracedArray(x)


@rule("tolist")
def rewrite_tolist_as_traced_array(session: TraceSession, x: Any) -> Any:
    """Rewrite `lengths.tolist()`: return a `TracedArray`, a stand-in for a list that holds the tensor."""
    if session.scripted and not _may_hold_lengths(x):
        return decline_call("the tensor does not contain lengths")
    return TracedArray(x) if x.dim() else replace_largest_length_by_width(x)


@rule("item")
def rewrite_item_as_width_or_tensor(session: TraceSession, x: Any) -> Any:
    """Rewrite `lengths.max().item()` as the padded width, a symbolic size, and `x[0].item()` as the tensor itself,
    which computes like a number."""
    if session.scripted and (x.dim() or x.is_floating_point()):
        return decline_call("the tensor is not a single integer")
    return replace_largest_length_by_width(x)


def answer_tolist_with_array_in_trace(session: TraceSession, x: Any, shipped: Callable[[Any], Any]) -> Any:
    """Return the result of `x.tolist()`: a `TracedArray` if x belongs to a trace, else that of `shipped`, torch's own
    method. This function replaces the method, since a torch function mode does not see calls of `tolist`."""
    found = rewrite_tolist_as_traced_array(session, x)
    return found if isinstance(found, TracedArray | Tensor | torch.SymInt) else shipped(x)


def _may_hold_lengths(x: Tensor) -> bool:
    """Return whether a tensor may hold lengths: integers with one axis."""
    return x.dim() == 1 and not x.is_floating_point()


@rule("tensor", "as_tensor")
def rewrite_tensor_of_traced_values(_session: TraceSession, data: Any, *_: Any, dtype: Any = None, **__: Any) -> Any:
    """Rewrite `torch.tensor(data)` for a tensor, a size, or a list with tensors or sizes, so that their values stay in
    the trace and do not become constants."""
    if isinstance(data, Tensor):
        return data.to(dtype) if dtype is not None else data.detach()
    if is_size(data):
        return _convert_to_tensor(data, dtype)
    numbers = list(_flatten_numbers(data)) if isinstance(data, list | tuple) else []
    if any(_is_number_tensor(number) or is_size(number) for number in numbers):
        known_kinds = all(
            _is_number_tensor(number) or is_size(number) or isinstance(number, int | float) for number in numbers
        )
        return (
            _stack_numbers(data, dtype) if known_kinds else decline_call("the list contains other values than numbers")
        )
    return decline_call("no size is among the numbers")


@rule("data.__get__")
def rewrite_data_as_detach(session: TraceSession, x: Any, *_: Any) -> Any:
    """Rewrite `x.data` as `x.detach()`. `.data` would take the tensor out of the trace."""
    detached = x.detach()
    fact = session.facts.find_fact(x)
    session.facts.record_facts(detached, lengths=fact.lengths, width=fact.width)
    return detached


LENGTHS: Final = (
    rewrite_numpy_as_traced_array,
    rewrite_tolist_as_traced_array,
    rewrite_item_as_width_or_tensor,
    rewrite_tensor_of_traced_values,
    rewrite_data_as_detach,
)
