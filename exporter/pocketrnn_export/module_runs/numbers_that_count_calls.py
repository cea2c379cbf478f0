"""Find the numbers that count the calls of a module, and give them other values.

A counter may be an attribute of a layer, its class, a function or an object of the owner's; an entry of a dict, list or
array, also of one that is a function's default argument; a global of the owner's file; a number in the closure of a
function; or the next value of an iterator at any of these places, such as `itertools.count()`.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from types import CellType, FunctionType
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import nn

from pocketrnn_export.module_runs.function_caches import list_user_classes_and_globals

# Longer lists and dicts, such as a vocabulary, are not searched.
_FEW: Final = 256
# In how many containers inside each other numbers are searched.
_DEPTH: Final = 3
_OWN: Final = frozenset(vars(nn.Module()))


@dataclass(frozen=True)
class CallCounter:
    """A number that each call of a module changes, or an iterator whose next value each call takes.

    Attributes:
        holder: the dict, list, array, class, object or closure cell that holds the number or iterator.
        key: the key, index or name of the number or iterator in `holder`.
        name: its name as an attribute of the module, such as `encoder.steps`; empty if it is not an attribute.
        before: the number before the first call, or after the first call if that call created it; for an iterator, its
            next value.
        step: what the last call added; 0 for an iterator whose later values are not known.
        iterator: the iterator; None for a number.
    """

    holder: Any
    key: Any
    name: str
    before: Any
    step: Any
    iterator: Iterator[Any] | None = None

    @contextlib.contextmanager
    def hold_value(self, value: Any) -> Iterator[None]:
        """While the block runs, give the counter the value `value`; afterwards, restore it."""
        is_number = self.iterator is None
        _write(self.holder, self.key, value if is_number else _count_from(value, self.step))
        try:
            yield
        finally:
            _write(self.holder, self.key, self.before if is_number else self.iterator)


def _count_from(value: Any, step: Any) -> Iterator[Any]:
    """Yield `value`, `value + step`, `value + 2 * step` and so on. Unlike `itertools.count`, keep the type of `value`
    if it is a subclass of int."""
    while True:
        yield value
        value += step


def find_call_counters(run: Callable[[], object], module: nn.Module) -> list[CallCounter]:
    """Run a module four times. Return the numbers that each run changes, such as a counter of calls, and the iterators
    whose next value a run takes. A number that the first run creates is included if the later runs change it. Numbers
    that existed before are restored. `run` runs the module, and must not undo the changes that the run makes."""
    seen = [_list_numbers_and_iterators(module)[0]]
    try:
        for _ in range(3):
            run()
            seen.append(_list_numbers_and_iterators(module)[0])
    finally:
        for place, first in seen[0].items():
            if place not in seen[-1] or seen[-1][place].number != first.number:
                _write(first.holder, first.key, first.value)
    found = []
    # The first run may make a number.
    for place, (holder, key, name, before, _) in seen[1].items():
        values = [numbers[place].number for numbers in seen if place in numbers]
        steps = [after - one for one, after in itertools.pairwise(values)]
        if len(values) >= len(seen) - 1 and all(steps):
            before = values[0]
            if place not in seen[0] and name:
                # Before it is an attribute of the layer, a number is read from the class.
                before = getattr(type(module.get_submodule(name.rpartition(".")[0])), key, before)
            found.append(CallCounter(holder, key, name, before, steps[-1]))
    return [*found, *_find_iterators_advanced_by_run(run, module)]


def _find_iterators_advanced_by_run(run: Callable[[], object], module: nn.Module) -> list[CallCounter]:
    """Call `run`, which runs a module, and return the iterators whose next value the run takes, such as
    `itertools.count()`."""
    watched = [(place, _WatchedIterator(place.value)) for place in _list_numbers_and_iterators(module)[1].values()]
    try:
        for place, iterator in watched:
            _write(place.holder, place.key, iterator)
        run()
    finally:
        for place, _ in watched:
            _write(place.holder, place.key, place.value)
    found = []
    for (holder, key, name, _, iterator), watching in watched:
        if watching.is_advanced:
            is_count = isinstance(iterator, itertools.count)
            before, after = (next(iterator), next(iterator)) if is_count else (0, 0)
            found.append(CallCounter(holder, key, name, before, after - before, iterator))
    return found


class _WatchedIterator:
    """An iterator that yields the values of another iterator, and records whether it yielded any."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self.is_advanced = False
        self._iterator = iterator

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self.is_advanced = True
        return next(self._iterator)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._iterator, name)


class _Place(NamedTuple):
    """A number or iterator that may count the calls of a module, with its place.

    Attributes:
        holder: the dict, list, array, class, object or closure cell that holds the value.
        key: the key, index or name of the value in `holder`.
        name: its name as an attribute of the module; empty if it is not an attribute.
        number: the number, with integers of other types as `int`; 0 for an iterator.
        value: the value itself.
    """

    holder: Any
    key: Any
    name: str
    number: Any
    value: Any


# The places of values, by the id of the holder and the key.
_Places = dict[tuple[int, Any], _Place]


def _list_numbers_and_iterators(module: nn.Module) -> tuple[_Places, _Places]:
    """Return two dicts, one of numbers and one of iterators, that may count the calls of a module. The module's layers
    and the user's classes and files are searched. A key is a pair: `id()` of the object that holds the value, and the
    value's key or name in this object."""
    numbers, iterators, searched = _Places(), _Places(), set[int]()

    def search(holder: Any, entries: Iterable[tuple[Any, Any]], path: str | None, depth: int) -> None:
        if depth == 0 or id(holder) in searched:
            return
        searched.add(id(holder))
        for key, value in list(entries):
            name = "" if path is None else f"{path}.{key}".lstrip(".")
            # A number in a tuple cannot change, and an iterator there cannot be replaced.
            is_fixed = isinstance(holder, tuple)
            if isinstance(value, int | float | np.number | Decimal | Fraction):
                if not is_fixed and not isinstance(value, bool | Enum):
                    number = int(value) if isinstance(value, int | np.integer) else value
                    numbers[id(holder), key] = _Place(holder, key, name, number, value)
            elif isinstance(value, Iterator):
                # An iterator of another module, such as a file, is not only read by next().
                if not is_fixed and type(value).__module__ in ("builtins", "itertools"):
                    iterators[id(holder), key] = _Place(holder, key, name, 0, value)
            else:
                for inner, inner_entries in _list_containers_with_entries(value, of_user):
                    search(inner, inner_entries, None, depth - 1)

    kinds, files = list_user_classes_and_globals(module)
    files = [names for names in files if names.get("__name__") not in sys.stdlib_module_names]
    of_user = {names.get("__name__") for names in files}
    for path, layer in module.named_modules():
        if not isinstance(layer, torch.jit.ScriptModule):
            search(vars(layer), [entry for entry in vars(layer).items() if entry[0] not in _OWN], path, _DEPTH)
    holders: list[Any] = [*kinds, *files]
    for holder in holders:
        search(holder, dict(vars(holder) if isinstance(holder, type) else holder).items(), None, _DEPTH)
    return numbers, iterators


def _list_containers_with_entries(value: Any, of_user: set[Any]) -> Iterator[tuple[Any, list[tuple[Any, Any]]]]:
    """Yield a pair (container, list of its (key, value) pairs) for each container in which a value holds other values,
    such as a dict or the cells of a closure. The attributes of an object are included only if its class is in one of
    the Python modules named in `of_user`, those of the user's files."""
    if isinstance(value, dict):
        if len(value) <= _FEW:
            yield value, list(value.items())
    elif isinstance(value, list | tuple | deque):
        if len(value) <= _FEW:
            yield value, list(enumerate(value))
    elif isinstance(value, np.ndarray):
        if value.size <= _FEW and value.dtype.kind in "iuf":
            yield value, list(enumerate(value.flat))
    elif isinstance(value, FunctionType):
        yield value, list(enumerate(value.__defaults__ or ()))
        for names in (vars(value), value.__kwdefaults__ or {}):
            yield names, list(names.items())
        for cell in value.__closure__ or ():
            # A cell may still be empty.
            with contextlib.suppress(ValueError):
                yield cell, [("cell_contents", cell.cell_contents)]
    elif type(value).__module__ in of_user and not isinstance(value, nn.Module | type):
        attributes = getattr(value, "__dict__", {})
        yield attributes, list(attributes.items())
        slots = {
            name for kind in type(value).__mro__ for name in vars(kind).get("__slots__", ()) if hasattr(value, name)
        }
        yield value, [(name, getattr(value, name)) for name in slots]


def _write(holder: Any, key: Any, value: Any) -> None:
    if isinstance(holder, np.ndarray):
        holder.flat[key] = value
    elif isinstance(holder, dict | list | deque):
        holder[key] = value
    elif isinstance(holder, FunctionType):
        holder.__defaults__ = (*holder.__defaults__[:key], value, *holder.__defaults__[key + 1 :])  # type: ignore[index]
    elif isinstance(holder, type | CellType):
        setattr(holder, key, value)
    else:
        object.__setattr__(holder, key, value)


_ARITHMETIC: Final = ("add", "radd", "sub", "rsub", "mul", "rmul", "mod", "floordiv", "and", "rshift")
_COMPARISONS: Final = ("eq", "ne", "lt", "le", "gt", "ge")


class ComparisonFlipper:
    """Counts the comparisons of watched numbers, and gives the opposite answer to one of these comparisons.

    Args:
        flipped: the index of the comparison with the opposite answer, from 0; None for no such comparison.

    Example:
        >>> flipper = ComparisonFlipper(flipped=1)
        >>> number = flipper.watch(7)
        >>> [number > 5, (number + 1) % 4 == 0, number > 5], flipper.count
        ([True, False, True], 3)
    """

    def __init__(self, flipped: int | None = None) -> None:
        self.count = 0
        self._flipped = flipped

    def watch(self, value: int) -> int:
        """Return a number that is equal to `value` and whose comparisons are counted, also after arithmetic with it."""
        made = _WatchedNumber(value)
        made.flipper = self
        return made

    def count_comparison_and_maybe_flip(self, is_true: bool) -> bool:
        """Count a comparison of a watched number whose result is `is_true`. Return this result, or the opposite one if
        this comparison is the one to flip."""
        self.count += 1
        return is_true != (self.count - 1 == self._flipped)


class _WatchedNumber(int):
    """An integer that asks its `ComparisonFlipper` for the answer to each comparison."""

    flipper: ComparisonFlipper

    def __bool__(self) -> bool:
        return self.flipper.count_comparison_and_maybe_flip(int(self) != 0)

    __hash__ = int.__hash__


def _add_operators_to_watched_numbers() -> None:
    def make_operator(name: str) -> Callable[[Any, Any], Any]:
        of_int = getattr(int, name)

        def apply(number: _WatchedNumber, other: Any) -> Any:
            made = of_int(number, other)
            if made is NotImplemented:
                return made
            return (
                number.flipper.count_comparison_and_maybe_flip(made)
                if type(made) is bool
                else number.flipper.watch(made)
            )

        return apply

    for name in (f"__{part}__" for part in (*_ARITHMETIC, *_COMPARISONS)):
        setattr(_WatchedNumber, name, make_operator(name))


_add_operators_to_watched_numbers()
