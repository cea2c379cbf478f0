"""Lengths stay tensors as numpy arrays, lists and numbers; and what is known of them is known of what they become.

`lengths.max()` is the width, which is the longest of the given lengths: so it can be a size, an index and a plain
number where a trace knows the width. Whoever packs by them needs to know that the longest is there (`Fact.whole`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_export.torch_internals import statically_known_true
from pocketrnn_export.tracing.python_semantics.arrays import TracedArray, number_of, unwrapped
from pocketrnn_export.tracing.python_semantics.math_of_sizes import TracedNumber, is_size
from pocketrnn_export.tracing.python_semantics.patched_globals import shipped_types
from pocketrnn_export.tracing.session import Call, TraceSession, declined, rule

__all__ = ["LENGTHS", "lists_as_arrays", "note_order", "note_whole", "with_tensors"]

# Functions whose arguments are sizes or positions: the longest of the lengths is a number there.
_OF_SIZES: Final = frozenset(
    {"arange", "zeros", "ones", "full", "empty", "rand", "expand", "view", "reshape", "repeat", "narrow", "new_zeros",
     "new_ones", "new_full", "new_empty", "__getitem__", "linspace", "range"}
)  # fmt: skip
# The functions that take the only length of a batch of one.
_OF_ONE: Final = frozenset({"__getitem__", "select", "squeeze", "unbind", "max", "min", "amax", "amin", "sum"})
# The functions that give the same numbers in the same order.
_KEEPS: Final = frozenset({"cpu", "cuda", "to", "long", "int", "clone", "detach", "contiguous", "type", "type_as"})


# The functions that leave the longest of some lengths as it is.
_KEEP_LONGEST: Final = frozenset(
    {"cpu", "to", "long", "int", "clone", "detach", "contiguous", "view", "reshape", "flatten", "sort", "index_select",
     "tolist", "type", "flip", "squeeze"}
)  # fmt: skip


def with_tensors(_: TraceSession, call: Call, proceed: Callable[[Call], Any]) -> Any:
    """A call with tensors and types of PyTorch in place of what stands for them in a user's file."""
    args = tuple(shipped_types(unwrapped(value)) for value in call.args)
    kwargs = {name: shipped_types(unwrapped(value)) for name, value in call.kwargs.items()}
    if call.name in {"tensor", "as_tensor"} and args and isinstance(args[0], list | tuple):
        numbers = list(_numbers_in(call.args[0]))
        # As tensors, those that stand for floats of Python's have 64 bits.
        if any(isinstance(number, TracedNumber) for number in numbers):
            kwargs.setdefault("dtype", _type_of(numbers))
    if call.name in {"__getitem__", "__setitem__"}:
        args = (args[0], _stacked_numbers(args[1]), *args[2:])
    if call.name in _OF_SIZES:
        args = tuple(map(_as_sizes, args))
        kwargs = {name: _as_sizes(value) for name, value in kwargs.items()}
    return proceed(replace(call, args=args, kwargs=kwargs))


def _as_sizes(value: Any) -> Any:
    """An argument with the number in place of the tensor that is the longest of the lengths."""
    if isinstance(value, slice):
        return slice(*(_as_sizes(n) for n in (value.start, value.stop, value.step)))
    if type(value) in (list, tuple):
        return type(value)(_as_sizes(item) for item in value)
    return number_of(value)


def _stacked_numbers(index: Any) -> Any:
    """An index whose lists of numbers that are tensors or sizes, such as `[n - 1 for n in lengths]`, are tensors."""
    if type(index) is tuple:
        return tuple(_stacked_numbers(part) for part in index)
    traced = type(index) is list and any(_is_number(part) or is_size(part) for part in index)
    return _stacked(index) if traced else index


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.dim()


def _stacked(numbers: Any, dtype: torch.dtype | None = None) -> Tensor:
    """Numbers, or lists of them, of which some are tensors or sizes, as a tensor."""
    dtype = _type_of(list(_numbers_in(numbers))) if dtype is None else dtype
    lists = [isinstance(part, list | tuple) for part in numbers]
    return torch.stack(
        [
            _stacked(part, dtype) if is_list else _as_tensor(part, dtype)
            for part, is_list in zip(numbers, lists, strict=True)
        ]
    )


def _numbers_in(numbers: Any) -> Iterator[Any]:
    """The numbers of lists in lists."""
    for part in numbers:
        if isinstance(part, list | tuple):
            yield from _numbers_in(part)
        else:
            yield part


def _type_of(numbers: Sequence[Any]) -> torch.dtype | None:
    """The type that `torch.tensor` gives numbers together: None where one is not a number."""
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


def _as_tensor(number: Any, dtype: torch.dtype | None) -> Tensor:
    if is_size(number):
        usual = torch.int64 if isinstance(number, torch.SymInt) else torch.float32
        return torch.full((), number, dtype=usual if dtype is None else dtype)
    found = number if isinstance(number, Tensor) else torch.as_tensor(number)
    return found if dtype is None else found.to(dtype)


def note_order(session: TraceSession, call: Call, result: Any) -> None:
    """Note what is known of a result that is made of the given lengths."""
    name, args, kwargs = call.name, call.args, call.kwargs
    if session.scripted or not args:
        return
    facts = session.facts
    if _writes(name):
        facts.forget(args[0])
        return
    if name == "full" and len(args) > 1 and _is_width(session, args[1]) and result.dim() == 1:
        facts.note(result, lengths="given", whole=True, width=args[1])
        return
    known = facts.of(args[0]).lengths
    if not known:
        return
    first = result[0] if isinstance(result, tuple) and result else result
    facts.note(first, width=facts.of(args[0]).width)
    falling = bool(kwargs.get("descending", args[2] if len(args) > 2 and isinstance(args[2], bool) else False))
    ordered = known in {"given", "falling", "rising"}
    if name in _KEEPS:
        facts.note(first, lengths=known)
    elif name in {"neg", "__neg__", "negative"} and known == "given":
        facts.note(first, lengths="negated")
    elif ordered and args[0].shape[0] == 1 and isinstance(args[0].shape[0], int) and name in _OF_ONE:
        # One text a run: its length is the width.
        facts.note(first, lengths="longest")
    elif name in {"max", "amax"} and ordered and not any(isinstance(value, Tensor) for value in args[1:]):
        facts.note(first, lengths="longest")
    elif name == "sort" and ordered:
        facts.note(first, lengths="falling" if falling else "rising")
        facts.note(result[1], lengths="falling order" if falling else "")
    elif name in {"sort", "argsort"} and (falling if ordered else known == "negated" and not falling):
        facts.note(result[1] if name == "sort" else result, lengths="falling order")
    elif name in {"__getitem__", "index_select"} and known == "given" and facts.of(args[-1]).lengths == "falling order":
        facts.note(first, lengths="falling")
    elif name == "__getitem__" and (known, args[1] if isinstance(args[1], int) else None) in _LONGEST_AT:
        facts.note(first, lengths="longest")
    elif name == "flip" and known in {"falling", "rising"}:
        facts.note(first, lengths="rising" if known == "falling" else "falling")


def _writes(name: str) -> bool:
    """Whether a function of this name writes into its first argument: `clamp_`, `__setitem__`, `__isub__`."""
    return name in _WRITES or (name.endswith("_") and not name.endswith("__"))


_WRITES: Final = frozenset({"__setitem__", *(f"__i{name}__" for name in ("add", "sub", "mul", "truediv", "floordiv"))})
# Where the longest of sorted lengths is.
_LONGEST_AT: Final = frozenset({("falling", 0), ("rising", -1)})


def _is_width(session: TraceSession, value: Any) -> bool:
    """Whether lengths are made of the width itself, where forward is not given any."""
    return isinstance(value, torch.SymInt) and any(statically_known_true(value == width) for width in session.widths)


def note_whole(session: TraceSession, call: Call, result: Any) -> None:
    """Note a result that has the whole width for its longest, as the lengths that it is made of have."""
    name, args, kwargs = call.name, call.args, call.kwargs
    if not args or not session.facts.of(args[0]).whole:
        return
    reordered = name == "__getitem__" and isinstance(args[1], Tensor) and args[1].dtype == torch.int64
    at_least_1 = name in {"clamp", "clamp_min"} and (*args[1:], *kwargs.values()) in {(0,), (1,)}
    if name in _KEEP_LONGEST or reordered or (at_least_1 and "max" not in kwargs):
        session.facts.note(result[0] if isinstance(result, tuple) else result, whole=True)


@rule("numpy", "__array__")
def numpy(session: TraceSession, x: Any, *_: Any, **__: Any) -> Any:
    """`lengths.numpy()`: an array that is a tensor inside."""
    return declined("no lengths") if session.scripted and not _holds_lengths(x) else TracedArray(x)


@rule("tolist")
def tolist(session: TraceSession, x: Any) -> Any:
    """`lengths.tolist()`: a list that is a tensor inside."""
    if session.scripted and not _holds_lengths(x):
        return declined("no lengths")
    return TracedArray(x) if x.dim() else number_of(x)


@rule("item")
def item(session: TraceSession, x: Any) -> Any:
    """`lengths.max().item()`: the width, or the tensor itself, which computes as a number does."""
    if session.scripted and (x.dim() or x.is_floating_point()):
        return declined("no whole number")
    return number_of(x)


def lists_as_arrays(session: TraceSession, x: Any, shipped: Callable[[Any], Any]) -> Any:
    """`tolist` of a tensor of the trace, which no mode sees."""
    found = tolist(session, x)
    return found if isinstance(found, TracedArray | Tensor | torch.SymInt) else shipped(x)


def _holds_lengths(x: Tensor) -> bool:
    return x.dim() == 1 and not x.is_floating_point()


@rule("tensor", "as_tensor")
def tensor(_session: TraceSession, data: Any, *_: Any, dtype: Any = None, **__: Any) -> Any:
    """`torch.tensor(lengths)` where the lengths are a tensor still, or of numbers that are tensors or sizes."""
    if isinstance(data, Tensor):
        return data.to(dtype) if dtype is not None else data.detach()
    if is_size(data):
        return _as_tensor(data, dtype)
    numbers = list(_numbers_in(data)) if isinstance(data, list | tuple) else []
    if any(_is_number(number) or is_size(number) for number in numbers):
        known_kinds = all(
            _is_number(number) or is_size(number) or isinstance(number, int | float) for number in numbers
        )
        return _stacked(data, dtype) if known_kinds else declined("not only numbers are in it")
    return declined("of numbers that no size is among")


@rule("data.__get__")
def data(session: TraceSession, x: Any, *_: Any) -> Any:
    """`.data` takes a tensor out of a trace; detached, it stays in it."""
    detached = x.detach()
    fact = session.facts.of(x)
    session.facts.note(detached, lengths=fact.lengths, width=fact.width)
    return detached


LENGTHS: Final = (numpy, tolist, item, tensor, data)
