"""The attributes of a module, given back after a run that assigns them: `self.hidden = ...` in forward."""

from __future__ import annotations

import contextlib
import operator
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.torch_internals import MODULE_TABLES, place_in_memory, writes_to

__all__ = ["Kept", "assigned_by", "attributes_kept", "changed_by"]

# A longer list, such as a vocabulary, is compared by its length only.
_FEW: Final = 256


@dataclass(frozen=True)
class Kept:
    """An attribute of a module that a run changes: `encoder.steps`, and its values before and after."""

    name: str
    before: Any
    after: Any

    @property
    def is_number(self) -> bool:
        """Whether it is a plain number, before and after."""
        return all(type(value) in (int, float, bool) for value in (self.before, self.after))


@contextlib.contextmanager
def attributes_kept(module: nn.Module) -> Iterator[None]:
    """Undo what the block assigns to attributes of a module and of its layers, also to their tables of parameters,
    buffers and layers, and what it puts into dicts that they hold. Writes into a tensor stay.

    Example:
        >>> with attributes_kept(module):
        ...     module(tokens)
    """
    tables = _tables(module)
    before = [dict(table) for table in tables]
    try:
        yield
    finally:
        for table, entries in zip(tables, before, strict=True):
            # By identity: to compare two tables of positions would be a step of a trace.
            if _differ(table, entries):
                table.clear()
                table.update(entries)


def assigned_by(run: Callable[[], object], module: nn.Module) -> bool:
    """Whether a run of a module assigns to its attributes, as to a cache of positions; they are as before afterwards.

    Example:
        >>> assigned_by(lambda: module(tokens), module)
        False
    """
    tables = _tables(module)
    before = [dict(table) for table in tables]
    with attributes_kept(module):
        # Whatever a user's module raises is met again, and told, where it is asked.
        with contextlib.suppress(Exception, SystemExit):
            run()
        return any(map(_differ, tables, before))


def changed_by(run: Callable[[], object], module: nn.Module) -> list[Kept]:
    """The attributes of a module and of its layers, its tensors among them, that a run changes: assigns anew, or writes
    or puts something into. Numbers come first. The changes are not undone.

    Example:
        >>> changed_by(lambda: module(tokens), module)
        [Kept(name='steps', before=0, after=1)]
    """
    before = dict(_content_of(module))
    # Whatever a user's module raises is met again, and told, where it is asked.
    with contextlib.suppress(Exception, SystemExit):
        run()
    found = []
    for name, (state, value) in _content_of(module):
        if name not in before:
            path, _, last = name.rpartition(".")
            found.append(Kept(name, getattr(type(module.get_submodule(path)), last, None), value))
        elif before[name][0] != state:
            found.append(Kept(name, before[name][1], value))
    return sorted(found, key=lambda kept: not kept.is_number)


def _content_of(module: nn.Module) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """By the name of each attribute: what is another one once it has changed, and its value."""
    for path, layer in module.named_modules():
        if isinstance(layer, torch.jit.ScriptModule):
            continue
        for table in (vars(layer), *(vars(layer)[name] for name in MODULE_TABLES[:2])):
            for name, value in table.items():
                if name.startswith("_"):
                    continue
                state: Any = id(value)
                if isinstance(value, Tensor):
                    # `weight.data = ...` leaves the tensor, and gives it other memory.
                    place = place_in_memory(value) if value.layout == torch.strided else 0
                    state = (id(value), writes_to(value), place)
                elif isinstance(value, dict | list | set | deque):
                    held = value.values() if isinstance(value, dict) else value
                    state = (id(value), len(value), [id(one) for one in held] if len(value) <= _FEW else None)
                elif type(value) in (int, float, bool, str):
                    state = value
                yield f"{path}.{name}".lstrip("."), (state, value)


def _tables(module: nn.Module) -> list[dict[Any, Any]]:
    tables: list[dict[Any, Any]] = []
    for layer in module.modules():
        if not isinstance(layer, torch.jit.ScriptModule):
            own = vars(layer)
            tables.append(own)
            tables += [value for name, value in own.items() if type(value) is dict or name in MODULE_TABLES]
    return tables


def _differ(table: dict[Any, Any], entries: dict[Any, Any]) -> bool:
    """Whether two tables hold other objects, or under other names: by identity, and in C, as most calls ask of dozens
    of tables."""
    if not entries:
        return bool(table)
    return not (
        len(table) == len(entries)
        and all(map(operator.is_, table.values(), entries.values()))
        and all(map(operator.is_, table, entries))
    )
