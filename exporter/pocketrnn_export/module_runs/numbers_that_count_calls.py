"""Find the numbers that count the calls of a module, and give them other values.

A counter may be an attribute of a layer, its class or an object of the owner's; an entry of a dict or list, also of one
that is a function's default argument; a global of the owner's file; or a number in a function's closure.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import CellType, FunctionType
from typing import Any, Final

import torch
from torch import nn

from pocketrnn_export.module_runs.function_caches import list_user_tables

# Longer lists and dicts, such as a vocabulary, are not searched.
_FEW: Final = 256
# In how many containers inside each other numbers are searched.
_DEPTH: Final = 3
_OWN: Final = frozenset(vars(nn.Module()))
_ARITHMETIC: Final = ("add", "radd", "sub", "rsub", "mul", "rmul", "mod", "floordiv", "and", "rshift")
_COMPARISONS: Final = ("eq", "ne", "lt", "le", "gt", "ge")


@dataclass(frozen=True)
class CallCounter:
    """A number that each call of a module changes.

    Attributes:
        holder: the dict, list, class or cell of a closure that holds it.
        key: its key, index or name there.
        name: its name as an attribute of the module, such as `encoder.steps`; empty if it is elsewhere.
        before: its value before the first call; after the first call, if that made the number.
        step: what the last call added.
    """

    holder: Any
    key: Any
    name: str
    before: Any
    step: Any

    @contextlib.contextmanager
    def holding(self, value: Any) -> Iterator[None]:
        """While the block runs, give the counter another value."""
        _write(self.holder, self.key, value)
        try:
            yield
        finally:
            _write(self.holder, self.key, self.before)


class ComparisonFlipper:
    """Counts the comparisons of the numbers that it watches, and gives the opposite answer to one of them.

    Args:
        flipped: the number of the comparison, from 0; None for none.

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

    def count_and_answer(self, is_true: bool) -> bool:
        """Count a comparison of a watched number. Return its result `is_true`, or the opposite result if the comparison
        is the one to flip."""
        self.count += 1
        return is_true != (self.count - 1 == self._flipped)


class _WatchedNumber(int):
    """An integer that asks its `ComparisonFlipper` for the answer to each comparison."""

    flipper: ComparisonFlipper

    def __bool__(self) -> bool:
        return self.flipper.count_and_answer(int(self) != 0)

    __hash__ = int.__hash__


def _add_operators_to_watched_numbers() -> None:
    def make_operator(name: str) -> Callable[[Any, Any], Any]:
        of_int = getattr(int, name)

        def apply(number: _WatchedNumber, other: Any) -> Any:
            made = of_int(number, other)
            if made is NotImplemented:
                return made
            return number.flipper.count_and_answer(made) if type(made) is bool else number.flipper.watch(made)

        return apply

    for name in (f"__{part}__" for part in (*_ARITHMETIC, *_COMPARISONS)):
        setattr(_WatchedNumber, name, make_operator(name))


_add_operators_to_watched_numbers()


def find_call_counters(run: Callable[[], object], module: nn.Module) -> list[CallCounter]:
    """Run a module three times, and return the numbers that change in every run, such as a counter of calls. A number
    that the first run creates is included if both later runs change it. Numbers that existed before are restored.

    Args:
        run: runs the module, and undoes no changes.
        module: the module.
    """
    seen = [_list_numbers(module)]
    try:
        for _ in range(3):
            run()
            seen.append(_list_numbers(module))
    finally:
        for holder, key, _, value in seen[0].values():
            if seen[-1].get((id(holder), key), (None,) * 4)[3] != value:
                _write(holder, key, value)
    found = []
    # The first run may make a number.
    for place, (holder, key, name, _) in seen[1].items():
        values = [numbers[place][3] for numbers in seen if place in numbers]
        steps = [after - one for one, after in itertools.pairwise(values)]
        if len(values) >= len(seen) - 1 and all(steps):
            before = values[0]
            if place not in seen[0] and name:
                # Before it is an attribute of the layer, a number is read from the class.
                before = getattr(type(module.get_submodule(name.rpartition(".")[0])), key, before)
            found.append(CallCounter(holder, key, name, before, steps[-1]))
    return found


# The holder of a number, its key, its name as an attribute of the module, and the number.
_Place = tuple[Any, Any, str, Any]


def _list_numbers(module: nn.Module) -> dict[tuple[int, Any], _Place]:
    """List the numbers that may be a counter of calls: in a module's layers, and in the user's classes and files. The
    key of each is the id of the object that holds it, and its name or index there."""
    found: dict[tuple[int, Any], _Place] = {}
    searched: set[int] = set()

    def search(holder: Any, entries: Iterable[tuple[Any, Any]], path: str | None, depth: int) -> None:
        if depth == 0 or id(holder) in searched:
            return
        searched.add(id(holder))
        for key, value in list(entries):
            if type(value) in (int, float):
                found[id(holder), key] = holder, key, "" if path is None else f"{path}.{key}".lstrip("."), value
            elif type(value) in (dict, list, deque) and len(value) <= _FEW:
                search(value, value.items() if type(value) is dict else enumerate(value), None, depth - 1)
            elif isinstance(value, FunctionType):
                search(value, enumerate(value.__defaults__ or ()), None, depth - 1)
                for cell in value.__closure__ or ():
                    with contextlib.suppress(ValueError):
                        search(cell, [("cell_contents", cell.cell_contents)], None, depth - 1)
            elif type(value).__module__ in of_user and hasattr(value, "__dict__") and not isinstance(value, nn.Module):
                search(vars(value), vars(value).items(), None, depth - 1)

    kinds, files = list_user_tables(module)
    files = [names for names in files if names.get("__name__") not in sys.stdlib_module_names]
    of_user = {names.get("__name__") for names in files}
    for path, layer in module.named_modules():
        if not isinstance(layer, torch.jit.ScriptModule):
            search(vars(layer), [entry for entry in vars(layer).items() if entry[0] not in _OWN], path, _DEPTH)
    holders: list[Any] = [*kinds, *files]
    for holder in holders:
        search(holder, dict(vars(holder) if isinstance(holder, type) else holder).items(), None, _DEPTH)
    # Numbers that are default arguments cannot change.
    return {place: number for place, number in found.items() if not isinstance(number[0], FunctionType)}


def _write(holder: Any, key: Any, value: Any) -> None:
    if isinstance(holder, type | CellType):
        setattr(holder, key, value)
    else:
        holder[key] = value
