"""Find and undo the changes that a run makes to the attributes of a module: `self.hidden = ...` in forward."""

from __future__ import annotations

import contextlib
import operator
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from pocketrnn_export.torch_internals import MODULE_TABLES, count_in_place_writes, read_memory_address

# A longer list, such as a vocabulary, is compared only by its length.
_FEW: Final = 256


@dataclass(frozen=True)
class ChangedAttribute:
    """An attribute that a run of the module changes, such as `encoder.steps`, with its value before and after the
    run."""

    name: str
    before: Any
    after: Any

    @property
    def is_number(self) -> bool:
        """Whether the attribute is a plain number, both before and after the run."""
        return all(type(value) in (int, float, bool) for value in (self.before, self.after))


@contextlib.contextmanager
def restore_attributes(module: nn.Module) -> Iterator[None]:
    """After the block, give the attributes of a module and its layers their values from before. Parameters, buffers,
    sublayers, and the entries of dicts are restored, too. Writes into a tensor are not undone."""
    tables = _list_dicts_that_hold_attributes(module)
    before = [dict(table) for table in tables]
    try:
        yield
    finally:
        for table, entries in zip(tables, before, strict=True):
            # Compare by identity: a comparison of two tensors would be traced as an operator.
            if _hold_dicts_different_objects(table, entries):
                table.clear()
                table.update(entries)


def does_run_assign_attributes(run: Callable[[], object], module: nn.Module) -> bool:
    """Return whether a call of `run`, which runs a module, assigns to attributes of the module or its layers, or to
    entries of dicts in these attributes. The attributes and entries are restored. An error of the run is ignored."""
    tables = _list_dicts_that_hold_attributes(module)
    before = [dict(table) for table in tables]
    with restore_attributes(module):
        # A user's module may raise anything; the proof meets and reports the same error.
        with contextlib.suppress(Exception, SystemExit):
            run()
        return any(map(_hold_dicts_different_objects, tables, before))


def find_attributes_changed_by_run(run: Callable[[], object], module: nn.Module) -> list[ChangedAttribute]:
    """Call `run`, which runs a module. Return the module's public attributes, parameters and buffers that the run
    assigns, or whose tensor, list, set or dict it changes; plain numbers come first. The changes are not undone. An
    error of the run is ignored."""
    before = dict(_list_attribute_states(module))
    # A user's module may raise anything; the proof meets and reports the same error.
    with contextlib.suppress(Exception, SystemExit):
        run()
    found = []
    for name, state in _list_attribute_states(module):
        if name not in before:
            path, _, last = name.rpartition(".")
            found.append(ChangedAttribute(name, getattr(type(module.get_submodule(path)), last, None), state.value))
        elif before[name].key != state.key:
            found.append(ChangedAttribute(name, before[name].value, state.value))
    return sorted(found, key=lambda kept: not kept.is_number)


class _AttributeState(NamedTuple):
    """The value of an attribute, and a key that differs after a change of the value, such as the ids of a list's
    items."""

    key: Any
    value: Any


def _list_attribute_states(module: nn.Module) -> Iterator[tuple[str, _AttributeState]]:
    """Yield a pair (dotted name, state) for each public attribute, parameter and buffer of a module and its layers. Two
    states of an attribute have equal keys if the attribute did not change. TorchScript layers are left out."""
    for path, layer in module.named_modules():
        if isinstance(layer, torch.jit.ScriptModule):
            continue
        for table in (vars(layer), *(vars(layer)[name] for name in MODULE_TABLES[:2])):
            for name, value in table.items():
                if name.startswith("_"):
                    continue
                key: Any = id(value)
                if isinstance(value, Tensor):
                    # `weight.data = ...` keeps the tensor object but gives it other memory.
                    place = read_memory_address(value) if value.layout == torch.strided else 0
                    key = (id(value), count_in_place_writes(value), place)
                elif isinstance(value, dict | list | set | deque):
                    held = value.values() if isinstance(value, dict) else value
                    key = (id(value), len(value), [id(one) for one in held] if len(value) <= _FEW else None)
                elif type(value) in (int, float, bool, str):
                    key = value
                yield f"{path}.{name}".lstrip("."), _AttributeState(key, value)


def _list_dicts_that_hold_attributes(module: nn.Module) -> list[dict[Any, Any]]:
    """Return the dicts in which a module and its layers hold attributes, parameters, buffers and sublayers. Attributes
    that are dicts themselves are included."""
    tables: list[dict[Any, Any]] = []
    for layer in module.modules():
        if not isinstance(layer, torch.jit.ScriptModule):
            own = vars(layer)
            tables.append(own)
            tables += [value for name, value in own.items() if type(value) is dict or name in MODULE_TABLES]
    return tables


def _hold_dicts_different_objects(table: dict[Any, Any], entries: dict[Any, Any]) -> bool:
    """Return whether two dicts have different keys, or hold different objects under a key."""
    if not entries:
        return bool(table)
    return not (
        len(table) == len(entries)
        and all(map(operator.is_, table.values(), entries.values()))
        and all(map(operator.is_, table, entries))
    )
