"""Restore a module, and the state of the random generators, after a run that may change them."""

from __future__ import annotations

import contextlib
import dis
import functools
import logging
import random
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pocketrnn_export.module_runs.complete_deep_copy import has_settable_attributes
from pocketrnn_export.torch_internals import count_in_place_writes

# The types of values that a run of a module cannot change.
_NOT_CHANGED: Final = (str, bytes, int, float, complex, type(None), logging.Logger)
# Files whose globals no forward writes to.
_LIBRARIES: Final = sys.stdlib_module_names | {"torch", "numpy", "pocketrnn", "pocketrnn_export"}
# The functions that undo the changes to a module, for each block of `keep_module_unchanged`, the innermost last.
_undoing: Final[list[list[Callable[[], object]]]] = []


@contextlib.contextmanager
def restore_module(module: nn.Module) -> Iterator[None]:
    """After the block, undo all changes that the block made to a module: to its layers, tensors, attributes, lists and
    hooks, to closures and defaults of its functions, to its classes, and to the globals that it reads. The random state
    is restored, too."""
    undoing = list(_make_functions_that_restore_module(module))
    try:
        with restore_random_state():
            yield
    finally:
        for undo in undoing:
            undo()


@contextlib.contextmanager
def keep_module_unchanged(module: nn.Module) -> Iterator[None]:
    """After the block, undo all changes that the block made to the user's module, and restore torch's default dtype.
    Inside the block, a call of `undo_changes_to_module()` undoes the changes so far."""
    _undoing.append(list(_make_functions_that_restore_module(module)))
    dtype = torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        for undo in _undoing.pop():
            undo()


def undo_changes_to_module() -> None:
    """Undo all changes since the innermost block of `keep_module_unchanged` began. Outside such a block, do nothing."""
    for undo in _undoing[-1] if _undoing else ():
        undo()


@contextlib.contextmanager
def restore_random_state() -> Iterator[None]:
    """After the block, restore the random state of torch, numpy and Python."""
    drawn, numbers = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(drawn)
        np.random.set_state(numbers)


def _make_functions_that_restore_module(module: nn.Module) -> Iterator[Callable[[], object]]:
    """Yield functions without arguments, each of which restores the present state of an object that a module can reach:
    a tensor, a list, a class, globals and so on."""
    waiting: list[Any] = [module]
    met: dict[int, Any] = {}
    while waiting:
        value = waiting.pop()
        if id(value) in met or isinstance(value, _NOT_CHANGED):
            continue
        met[id(value)] = value
        if isinstance(value, torch.jit.ScriptModule):
            for layer in value.modules():
                if hasattr(layer, "training"):
                    yield functools.partial(setattr, layer, "training", layer.training)
            yield from map(_make_function_that_restores_tensor, [*value.parameters(), *value.buffers()])
            continue
        if isinstance(value, Tensor):
            yield _make_function_that_restores_tensor(value)
        elif isinstance(value, nn.Module):
            yield functools.partial(object.__setattr__, value, "__class__", type(value))
            for kind in type(value).__mro__:
                if kind.__module__.split(".")[0] not in ("torch", "builtins", "pocketrnn_export"):
                    waiting += vars(kind).values()
                    yield _make_function_that_restores_class(kind)
        yield from _make_functions_that_restore_contents(value)
        waiting += _list_held_values(value)
        if isinstance(value, FunctionType):
            for names, name, held in _list_globals_read_by_function(value):
                if isinstance(held, FunctionType) and held.__globals__ is names:
                    waiting.append(held)
                elif isinstance(held, type) and held.__module__ == value.__module__ and id(held) not in met:
                    met[id(held)] = held
                    waiting += vars(held).values()
                    yield _make_function_that_restores_class(held)
                elif not isinstance(held, type | FunctionType | ModuleType):
                    yield functools.partial(names.__setitem__, name, held)
                    waiting.append(held)


def _list_globals_read_by_function(function: FunctionType) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """Yield a tuple (dict, name, value) for each global that a function reads; the dict holds the global. Attributes of
    the user's other files, such as `config.CALLS`, are included."""
    for name in find_global_names_read(function.__code__) & function.__globals__.keys():
        held = function.__globals__[name]
        yield function.__globals__, name, held
        if isinstance(held, ModuleType) and held.__name__.split(".")[0] not in _LIBRARIES:
            for attribute in _list_mentioned_names(function.__code__) & vars(held).keys():
                yield vars(held), attribute, vars(held)[attribute]


@functools.cache
def _list_mentioned_names(code: CodeType) -> set[str]:
    """Return the names of all globals and attributes that a function and its inner functions mention."""
    return set(code.co_names).union(
        *(_list_mentioned_names(part) for part in code.co_consts if isinstance(part, CodeType))
    )


@functools.cache
def find_global_names_read(code: CodeType) -> set[str]:
    """Return the names of the globals that a function and its inner functions read."""
    inner = [find_global_names_read(part) for part in code.co_consts if isinstance(part, CodeType)]
    own = {one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*inner)


def _list_held_values(value: Any) -> list[Any]:
    """Return the values that a container, a function or an object holds, such as items, closure contents and
    attributes."""
    held: list[Any] = []
    if isinstance(value, dict):
        held += value.values()
    elif isinstance(value, list | tuple | set | frozenset | deque):
        held += value
    elif isinstance(value, staticmethod | classmethod):
        held.append(value.__func__)
    elif isinstance(value, property):
        held += [value.fget, value.fset]
    elif isinstance(value, functools.partial):
        held += [value.func, *value.args, *value.keywords.values()]
    elif isinstance(value, MethodType):
        held += [value.__self__, value.__func__]
    elif isinstance(value, FunctionType):
        for cell in value.__closure__ or ():
            with contextlib.suppress(ValueError):
                held.append(cell.cell_contents)
        held += [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    elif isinstance(value, weakref.ref):
        held.append(value())
    if isinstance(value, FunctionType | Tensor) or has_settable_attributes(value):
        held += getattr(value, "__dict__", {}).values()
    return held


def _make_functions_that_restore_contents(value: Any) -> Iterator[Callable[[], object]]:
    """Yield functions without arguments that restore the present items or attributes of a container, array, random
    generator, closure or object. Changes inside an item are not undone."""
    if isinstance(value, dict | set | deque):
        yield functools.partial(_restore_items, value, dict(value) if isinstance(value, dict) else list(value))
    elif isinstance(value, list):
        yield functools.partial(value.__setitem__, slice(None), list(value))
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield functools.partial(_restore_array, value, value.copy())
    elif isinstance(value, random.Random):
        yield functools.partial(value.setstate, value.getstate())
    elif isinstance(value, torch.Generator):
        yield functools.partial(value.set_state, value.get_state())
    elif isinstance(value, np.random.Generator):
        yield functools.partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    elif isinstance(value, FunctionType):
        for cell in value.__closure__ or ():
            with contextlib.suppress(ValueError):
                yield functools.partial(setattr, cell, "cell_contents", cell.cell_contents)
    if isinstance(value, FunctionType | Tensor) or has_settable_attributes(value):
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict):
            yield functools.partial(_restore_items, attributes, dict(attributes))


def _restore_items(holder: Any, content: Any) -> None:
    """Replace the items of a dict, set or deque by those of `content`."""
    if not isinstance(holder, dict):
        holder.clear()
        (holder.update if isinstance(holder, set) else holder.extend)(content)
        return
    same = len(holder) == len(content) and all(a is b for a, b in zip(holder.values(), content.values(), strict=True))
    if not same or list(holder) != list(content):
        dict.clear(holder)
        dict.update(holder, content)


def _restore_array(array: Any, content: Any) -> None:
    if array.flags.writeable:
        array[...] = content


def _make_function_that_restores_tensor(tensor: Tensor) -> Callable[[], object]:
    """Return a function without arguments that restores a tensor's present numbers, memory, gradient and
    `requires_grad`."""
    if is_lazy(tensor) or tensor.is_nested or tensor.layout != torch.strided:
        # It has no numbers in memory of its own; the export refuses it.
        return lambda: None
    data, wanted, version = tensor.data, tensor.requires_grad, count_in_place_writes(tensor)
    gradient = tensor.grad if tensor.is_leaf else None
    content = data.clone() if data.device.type == "cpu" else None

    def restore_tensor() -> None:
        if tensor.data_ptr() != data.data_ptr() or tensor.dtype != data.dtype or tensor.device != data.device:
            tensor.data = data
        if content is not None and (count_in_place_writes(tensor) != version or not torch.equal(tensor.data, content)):
            # A tensor that was made in inference mode can only be written in it.
            with torch.inference_mode(tensor.is_inference()):
                tensor.data.copy_(content)
        if tensor.is_leaf and tensor.requires_grad != wanted:
            tensor.requires_grad_(wanted)
        if tensor.is_leaf and tensor.grad is not gradient:
            tensor.grad = gradient

    return restore_tensor


def _make_function_that_restores_class(kind: type) -> Callable[[], object]:
    """Return a function without arguments that restores the present attributes of a class."""
    before = dict(vars(kind))

    def restore_class() -> None:
        for name in vars(kind).keys() - before.keys():
            delattr(kind, name)
        for name, value in before.items():
            if vars(kind).get(name) is not value:
                setattr(kind, name, value)

    return restore_class
