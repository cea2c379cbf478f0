"""A deep copy that has all that an object has, whatever its classes say of copying, and that refers to itself only.

`copy.deepcopy` asks the classes first: a `__deepcopy__` or `__getstate__` may leave attributes out, make a new module,
or give the object itself. It takes functions and weak references as they are, so that a `lambda x: self.scale * x` of
the copy reads the original; and it drops what somebody set on a parameter.
"""

from __future__ import annotations

import copy
import copyreg
import functools
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any, Final, TypeVar

import numpy as np
import torch
from torch import Tensor

from pocketrnn_export.torch_internals import MODULE_TABLES

__all__ = ["copied_again", "difference_of", "has_attributes", "whole_copy"]

_T = TypeVar("_T")
# By which a class says how it is copied.
_HOOKS: Final = ("__deepcopy__", "__getstate__", "__setstate__", "__reduce__", "__reduce_ex__", "__getnewargs__",
                 "__getnewargs_ex__")  # fmt: skip
# Whose own classes copy themselves rightly.
_TRUSTED: Final = ("torch", "builtins", "collections", "numpy", "copyreg", "typing", "enum", "functools", "weakref",
                   "pocketrnn_export", "abc")  # fmt: skip
# The types whose values are the same object in every copy.
_ATOMS: Final = (type, ModuleType, BuiltinFunctionType, torch.dtype, torch.device, str, bytes, int, float, complex,
                 type(None), type(...), range, slice)  # fmt: skip


def whole_copy(value: _T, known: Mapping[int, Any] | None = None) -> _T:
    """A deep copy. Where `copy.deepcopy` loses or shares something, objects are copied by their attributes instead.

    Args:
        value: what is copied.
        known: copies that exist already, by the originals' ids.

    Raises:
        Exception: what `copy.deepcopy` raises, where both ways fail.

    Example:
        >>> whole_copy(module) is module
        False
    """
    failure: Exception | None = None
    made: Any = None
    memory: dict[int, Any] = dict(known or {})
    try:
        made = copy.deepcopy(value, memory)
        _Own(memory).copy_of(made)
        if difference_of(value, made) is None:
            return made  # type: ignore[no-any-return]
    # Whatever a user's class raises.
    except Exception as error:
        failure = error
    memory = dict(known or {})
    try:
        again = _by_attributes(value, memory)
        _Own(memory).copy_of(again)
    except Exception:
        if failure is not None:
            raise failure from None
        return made  # type: ignore[no-any-return]
    if failure is None and difference_of(value, again) is not None:
        # Neither is whole: the owner's own way then. That its answers are the module's is looked at elsewhere.
        return made  # type: ignore[no-any-return]
    return again  # type: ignore[no-any-return]


def copied_again(value: _T) -> _T:
    """A deep copy of what `whole_copy` gave: its classes lose nothing any more, and need not be compared again.

    Example:
        >>> copied_again(whole_copy(module)) is module
        False
    """
    memory: dict[int, Any] = {}
    try:
        made = copy.deepcopy(value, memory)
    # Something in it cannot be copied, such as a lock.
    except Exception:
        memory = {}
        made = _by_attributes(value, memory)
    _Own(memory).copy_of(made)
    return made


def has_attributes(value: Any) -> bool:
    """Whether a value is an object of some class of its own, with attributes that can be set."""
    return hasattr(value, "__dict__") and not isinstance(
        value, (*_ATOMS, FunctionType, MethodType, torch.jit.ScriptModule, functools.partial)
    )


def difference_of(original: Any, made: Any) -> str | None:
    """The first place at which a copy is not what the original is, or is the original's own; None where there is none.

    Example:
        >>> difference_of(module, copied)
        'gate.scale'
    """
    waiting, met = deque([("", original, made)]), set[tuple[int, int]]()
    while waiting:
        path, one, other = waiting.popleft()
        if (id(one), id(other)) in met or (one is other and not isinstance(one, torch.nn.Module | Tensor)):
            continue
        met.add((id(one), id(other)))
        kinds = (_class_of(one), _class_of(other))
        if kinds[0] is not kinds[1]:
            return path or kinds[0].__name__
        shared = one is other and not isinstance(one, torch.jit.ScriptModule)
        if shared or not _same(one, other):
            return path or kinds[0].__name__
        if type(one) in (dict, list) and all(isinstance(part, _ATOMS) for part in _values(one)):
            # A vocabulary has a million words.
            if one == other:
                continue
            return path
        parts = [dict(_parts(one)), dict(_parts(other))]
        for name in parts[0] | parts[1]:
            # An object of a library may hold what it makes when it is asked for.
            if (name in parts[0]) != (name in parts[1]):
                return _joined(path, name)
        waiting += ((_joined(path, name), part, parts[1][name]) for name, part in parts[0].items())
    return None


def _joined(path: str, name: str) -> str:
    # The tables in which torch keeps a module's parts are not names of the user's.
    if name in {f".{table}" for table in MODULE_TABLES}:
        return path
    own = path and not name.startswith("[")
    return f"{path}{name if own else name.removeprefix('.')}" if own else f"{path}{name.removeprefix('.')}"


def _class_of(value: Any) -> type:
    return getattr(type(value), "_copied_from", type(value))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        if one.is_meta or one.layout != torch.strided or other.layout != torch.strided:
            return True
        same_kind = one.shape == other.shape and one.dtype == other.dtype
        if not same_kind or one.device != other.device:
            return False
        numbers = (one.detach(), other.detach())
        return torch.equal(*numbers) or torch.equal(*(t.cpu().nan_to_num() for t in numbers))
    if isinstance(one, np.ndarray):
        return one.shape == other.shape and one.dtype == other.dtype and (one.dtype == object or _equal(one, other))
    if isinstance(one, str | bytes | int | float | complex | bool):
        return bool(one == other) or one != one
    if isinstance(one, list | tuple | set | frozenset | deque | Mapping):
        return len(one) == len(other)
    return not isinstance(one, FunctionType) or one.__code__ is other.__code__


def _values(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value


def _equal(one: Any, other: Any) -> bool:
    return bool(one.tobytes() == other.tobytes())


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a value, by name."""
    if isinstance(value, Mapping) and not isinstance(value, weakref.WeakKeyDictionary | weakref.WeakValueDictionary):
        for i, (key, part) in enumerate(value.items()):
            yield f".{key}" if isinstance(key, str) else f"[{key}]" if isinstance(key, int) else f"[item {i}]", part
    elif isinstance(value, list | tuple | deque):
        yield from ((f"[{i}]", part) for i, part in enumerate(value))
    elif isinstance(value, FunctionType):
        # A cell of a name that is not bound yet has no contents.
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            if _filled(cell):
                yield f"<{name}>", cell.cell_contents
    elif isinstance(value, MethodType):
        yield "<self>", value.__self__
    elif isinstance(value, functools.partial):
        yield from (("<function>", value.func), ("<arguments>", value.args), ("<keywords>", value.keywords))
    if isinstance(value, Tensor) or has_attributes(value):
        yield from ((f".{name}", part) for name, part in getattr(value, "__dict__", {}).items() if name[:5] != "_flat")
        yield from ((f".{name}", part) for name, part in _slots(value))


def _filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - raises where the cell is empty
    except ValueError:
        return False
    return True


def _says_how(kind: type) -> bool:
    """Whether a class, or one that is no library's above it, says how its objects are copied."""
    if kind in copyreg.dispatch_table:
        return True
    return any(
        hook in vars(base) and base.__module__.split(".")[0] not in _TRUSTED for base in kind.__mro__ for hook in _HOOKS
    )


def _by_attributes(value: Any, memory: dict[int, Any]) -> Any:
    """A deep copy in which classes that say how they are copied are not asked."""
    waiting, met, asked = [value], set[int](), []
    while waiting:
        one = waiting.pop()
        if id(one) in met or id(one) in memory:
            continue
        met.add(id(one))
        own = isinstance(one, torch.nn.Module) and type(one).__module__.split(".")[0] not in _TRUSTED
        if has_attributes(one) and not isinstance(one, Tensor) and (own or _says_how(type(one)) or one is value):
            memory[id(one)] = _blank(_class_copied_whole(type(one)))  # type: ignore[arg-type]  # a class can be hashed
            asked.append(one)
        waiting += (part for _, part in _parts(one))
    for one in asked:
        _fill(memory[id(one)], one, memory)
    return memory[id(value)] if id(value) in memory else copy.deepcopy(value, memory)


def _blank(kind: type) -> Any:
    """An object of a class, with nothing in it."""
    return next((base for base in (dict, list, set, deque) if issubclass(kind, base)), object).__new__(kind)


def _fill(made: Any, original: Any, memory: dict[int, Any]) -> None:
    if isinstance(original, dict):
        dict.update(made, {key: _copied_or_shared(part, memory) for key, part in original.items()})
    elif isinstance(original, list | deque):
        made.extend(_copied_or_shared(part, memory) for part in original)
    elif isinstance(original, set):
        set.update(made, original)
    for name, part in vars(original).items():
        vars(made)[name] = _copied_or_shared(part, memory)
    for name, part in _slots(original):
        object.__setattr__(made, name, _copied_or_shared(part, memory))


def _slots(value: Any) -> Iterator[tuple[str, Any]]:
    for base in type(value).__mro__:
        names = vars(base).get("__slots__", ())
        if base.__module__.split(".")[0] not in _TRUSTED:
            for name in (names,) if isinstance(names, str) else names:
                if name not in {"__dict__", "__weakref__"} and hasattr(value, name):
                    yield name, getattr(value, name)


def _copied_or_shared(value: Any, memory: dict[int, Any]) -> Any:
    """A copy; of what cannot be copied, such as a package or a lock, itself."""
    if isinstance(value, _ATOMS):
        return value
    attempt = dict(memory)
    try:
        made = copy.deepcopy(value, attempt)
    # Whatever a class raises that cannot be copied.
    except Exception:
        if type(value) in (list, tuple):
            return type(value)(_copied_or_shared(part, memory) for part in value)
        if type(value) in (dict, OrderedDict):
            return type(value)((key, _copied_or_shared(part, memory)) for key, part in value.items())
        if isinstance(value, Tensor | torch.nn.Module):
            raise
        return value
    # By its memory's id, `deepcopy` keeps alive what it knows by its own.
    memory.setdefault(id(memory), []).extend(attempt.pop(id(attempt), []))
    memory.update(attempt)
    return made


@functools.cache
def _class_copied_whole(kind: type) -> type:
    """A class of the same name whose objects are copied by their attributes, where the class itself says otherwise."""
    if not _says_how(kind):
        return kind

    def __deepcopy__(self: Any, memory: dict[int, Any]) -> Any:  # noqa: N807 - set on the class below
        memory[id(self)] = made = _blank(type(self))
        _fill(made, self, memory)
        return made

    members = {"__deepcopy__": __deepcopy__, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    try:
        made = type(kind)(kind.__name__, (kind,), {**members, "_copied_from": kind})
    # A class may not be inherited, or asks its heirs for more.
    except Exception:
        return kind
    return made if isinstance(made, type) else kind


class _Own:
    """Makes a copy refer to itself only: its functions, weak references, and what was set on its tensors.

    Args:
        memory: the copies of objects, by the originals' ids.
    """

    def __init__(self, memory: dict[int, Any]) -> None:
        self._memory = memory
        self._met: dict[int, Any] = {}
        # Keeps alive what is known by its id.
        self._kept: list[Any] = []

    def copy_of(self, value: Any) -> Any:
        """The object in the copy for a value; the value itself wherever it can be changed in place."""
        if isinstance(value, _ATOMS):
            return value
        if id(value) in self._met:
            return self._met[id(value)]
        self._met[id(value)] = value
        self._kept.append(value)
        made = self._copy_value(value)
        if isinstance(made, Tensor):
            self._attributes_of_tensors(made)
        elif has_attributes(made):
            self._inside(vars(made))
        self._met[id(value)] = made
        return made

    def _copy_value(self, value: Any) -> Any:
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, weakref.ref) and type(value) is weakref.ref:
            copied = self._memory.get(id(value()))
            return value if copied is None else weakref.ref(copied)
        if isinstance(value, MethodType):
            return MethodType(self.copy_of(value.__func__), self.copy_of(value.__self__))
        if type(value) is functools.partial:
            keywords = {name: self.copy_of(part) for name, part in value.keywords.items()}
            return functools.partial(self.copy_of(value.func), *map(self.copy_of, value.args), **keywords)
        if type(value) is tuple:
            parts = tuple(map(self.copy_of, value))
            return value if all(a is b for a, b in zip(parts, value, strict=True)) else parts
        if isinstance(value, dict | list):
            self._inside(value)
        return value

    def _inside(self, holder: Any) -> None:
        for key, part in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
            made = self.copy_of(part)
            if made is not part:
                holder[key] = made

    def _function(self, value: FunctionType) -> FunctionType:
        if not value.__closure__ and not value.__defaults__ and not value.__kwdefaults__:
            return value
        if (value.__module__ or "").split(".")[0] in _TRUSTED:
            return value
        cells = tuple(map(self._cell, value.__closure__ or ()))
        defaults = None if value.__defaults__ is None else tuple(map(self._held, value.__defaults__))
        keywords = value.__kwdefaults__ and {name: self._held(part) for name, part in value.__kwdefaults__.items()}
        before = [*(value.__closure__ or ()), *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        after = [*cells, *(defaults or ()), *(keywords or {}).values()]
        if all(a is b for a, b in zip(before, after, strict=True)):
            return value
        made = FunctionType(value.__code__, value.__globals__, value.__name__, defaults, cells or None)
        made.__kwdefaults__, made.__module__, made.__qualname__ = keywords, value.__module__, value.__qualname__
        made.__dict__.update(value.__dict__)
        return made

    def _cell(self, cell: CellType) -> CellType:
        if not _filled(cell):
            return cell
        if id(cell) not in self._met:
            self._kept.append(cell)
            # A function may name itself, or two functions share a cell.
            self._met[id(cell)] = made = CellType(cell.cell_contents)
            made.cell_contents = self._held(cell.cell_contents)
            if made.cell_contents is cell.cell_contents:
                self._met[id(cell)] = cell
        found: CellType = self._met[id(cell)]
        return found

    def _held(self, value: Any) -> Any:
        """The copy of what a function holds on to."""
        if isinstance(value, _ATOMS):
            return value
        if isinstance(value, FunctionType):
            return self.copy_of(value)
        if isinstance(value, Tensor | dict | list | set | deque | tuple) or has_attributes(value):
            return self.copy_of(_copied_or_shared(value, self._memory))
        return value

    def _attributes_of_tensors(self, made: Tensor) -> None:
        original = next((one for one in self._originals.get(id(made), ())), None)
        if original is not None:
            for name, part in vars(original).items():
                if name not in vars(made) and not name.startswith("_"):
                    vars(made)[name] = _copied_or_shared(part, self._memory)
        self._inside(vars(made))

    @functools.cached_property
    def _originals(self) -> dict[int, list[Tensor]]:
        """The tensors that were copied, by the ids of their copies. `deepcopy` keeps the originals in its memory."""
        kept = [one for one in self._memory.get(id(self._memory), ()) if isinstance(one, Tensor)]
        return {id(self._memory[id(one)]): [one] for one in kept if id(one) in self._memory}
