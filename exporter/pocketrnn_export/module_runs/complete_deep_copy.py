"""Make a complete deep copy of an object, even if its classes define their own copying.

`copy.deepcopy` follows the classes' own hooks: a `__deepcopy__` or `__getstate__` may leave attributes out, make a new
module, or return the object itself. It shares functions and weak references, so a `lambda x: self.scale * x` of the
copy reads the original; and it drops attributes that were set on a parameter.
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

_T = TypeVar("_T")
# The hooks by which a class defines how it is copied.
_HOOKS: Final = ("__deepcopy__", "__getstate__", "__setstate__", "__reduce__", "__reduce_ex__", "__getnewargs__",
                 "__getnewargs_ex__")  # fmt: skip
# The packages whose classes copy themselves correctly.
_TRUSTED: Final = ("torch", "builtins", "collections", "numpy", "copyreg", "typing", "enum", "functools", "weakref",
                   "pocketrnn_export", "abc")  # fmt: skip
# The types whose values are the same object in every copy.
_ATOMS: Final = (type, ModuleType, BuiltinFunctionType, torch.dtype, torch.device, str, bytes, int, float, complex,
                 type(None), type(...), range, slice)  # fmt: skip


def make_complete_copy(value: _T, copies_by_id: Mapping[int, Any] | None = None) -> _T:
    """Make a deep copy that shares nothing with the original. If `copy.deepcopy` does not give such a copy, copy each
    object attribute by attribute.

    Args:
        value: the original.
        copies_by_id: a dict from the `id()` of some objects inside the original to the copies to use for them.

    Raises:
        Exception: the exception that `copy.deepcopy` raised, if the copy attribute by attribute fails, too.
    """
    failure: Exception | None = None
    made: Any = None
    memory: dict[int, Any] = dict(copies_by_id or {})
    try:
        made = copy.deepcopy(value, memory)
        _ReferenceFixer(memory).fix_references(made)
        if find_copy_difference(value, made) is None:
            return made  # type: ignore[no-any-return]
    # A user's class may raise anything.
    except Exception as error:
        failure = error
    memory = dict(copies_by_id or {})
    try:
        again = _copy_by_attributes(value, memory)
        _ReferenceFixer(memory).fix_references(again)
    except Exception:
        if failure is not None:
            raise failure from None
        return made  # type: ignore[no-any-return]
    if failure is None and find_copy_difference(value, again) is not None:
        # Neither copy is complete, so the owner's own way is used. Other checks compare its answers with the module's.
        return made  # type: ignore[no-any-return]
    return again  # type: ignore[no-any-return]


def copy_without_comparison(value: _T) -> _T:
    """Make a deep copy of an object without checking that the copy is complete. If `copy.deepcopy` fails, copy each
    object attribute by attribute."""
    memory: dict[int, Any] = {}
    try:
        made = copy.deepcopy(value, memory)
    # Something in it cannot be copied, such as a lock.
    except Exception:
        memory = {}
        made = _copy_by_attributes(value, memory)
    _ReferenceFixer(memory).fix_references(made)
    return made


def has_settable_attributes(value: Any) -> bool:
    """Return whether a value is an ordinary object whose attributes can be set."""
    return hasattr(value, "__dict__") and not isinstance(
        value, (*_ATOMS, FunctionType, MethodType, torch.jit.ScriptModule, functools.partial)
    )


def find_copy_difference(original: Any, copied: Any) -> str | None:
    """Find the first item or attribute of a copy that differs from the original, or that the copy shares with the
    original. Return its path, such as `encoder.scale`; None for a complete copy."""
    waiting, met = deque([("", original, copied)]), set[tuple[int, int]]()
    while waiting:
        path, one, other = waiting.popleft()
        if (id(one), id(other)) in met or (one is other and not isinstance(one, torch.nn.Module | Tensor)):
            continue
        met.add((id(one), id(other)))
        kind, shared = _find_original_class(one), one is other and not isinstance(one, torch.jit.ScriptModule)
        if kind is not _find_original_class(other) or shared or not _is_equal_without_contents(one, other):
            return path or kind.__name__
        if type(one) in (dict, list) and all(
            isinstance(part, _ATOMS) for part in (one.values() if isinstance(one, dict) else one)
        ):
            # Compare at once: a vocabulary may have a million words.
            if one == other:
                continue
            return path
        parts = [dict(_list_named_parts(one)), dict(_list_named_parts(other))]
        for name in parts[0] | parts[1]:
            # An object of a library may create an attribute only when it is read.
            if (name in parts[0]) != (name in parts[1]):
                return _join_path(path, name)
        waiting += ((_join_path(path, name), part, parts[1][name]) for name, part in parts[0].items())
    return None


def _join_path(path: str, name: str) -> str:
    # Leave out torch's tables of a module's parts: the user does not know these names.
    if name in {f".{table}" for table in MODULE_TABLES}:
        return path
    return path + name if path else name.removeprefix(".")


def _find_original_class(value: Any) -> type:
    return getattr(type(value), "_copied_from", type(value))


def _is_equal_without_contents(one: Any, other: Any) -> bool:
    """Return whether two values of one class are equal, apart from the values that they contain: tensors by their
    numbers, containers by their lengths, functions by their code."""
    if isinstance(one, Tensor):
        if one.is_meta or one.layout != torch.strided or other.layout != torch.strided:
            return True
        same_kind = one.shape == other.shape and one.dtype == other.dtype
        if not same_kind or one.device != other.device:
            return False
        numbers = (one.detach(), other.detach())
        return torch.equal(*numbers) or torch.equal(*(t.cpu().nan_to_num() for t in numbers))
    if isinstance(one, np.ndarray):
        alike = one.shape == other.shape and one.dtype == other.dtype
        return alike and (one.dtype == object or bool(one.tobytes() == other.tobytes()))
    if isinstance(one, str | bytes | int | float | complex | bool):
        return bool(one == other) or one != one
    if isinstance(one, list | tuple | set | frozenset | deque | Mapping):
        return len(one) == len(other)
    return not isinstance(one, FunctionType) or one.__code__ is other.__code__


def _list_named_parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield a pair (name, part) for each value inside a container, a function or an object: `("[0]", item)` for a list,
    `(".size", number)` for an attribute `size`."""
    if isinstance(value, Mapping) and not isinstance(value, weakref.WeakKeyDictionary | weakref.WeakValueDictionary):
        for i, (key, part) in enumerate(value.items()):
            yield f".{key}" if isinstance(key, str) else f"[{key}]" if isinstance(key, int) else f"[item {i}]", part
    elif isinstance(value, list | tuple | deque):
        yield from ((f"[{i}]", part) for i, part in enumerate(value))
    elif isinstance(value, FunctionType):
        # The cell of a name that is not bound yet is empty.
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            if _is_filled(cell):
                yield f"<{name}>", cell.cell_contents
    elif isinstance(value, MethodType):
        yield "<self>", value.__self__
    elif isinstance(value, functools.partial):
        yield from (("<function>", value.func), ("<arguments>", value.args), ("<keywords>", value.keywords))
    if isinstance(value, Tensor) or has_settable_attributes(value):
        yield from ((f".{name}", part) for name, part in getattr(value, "__dict__", {}).items() if name[:5] != "_flat")
        yield from ((f".{name}", part) for name, part in _read_slot_values(value))


def _is_filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - raises where the cell is empty
    except ValueError:
        return False
    return True


def _has_copy_hook(kind: type) -> bool:
    """Return whether user code defines how objects of a class are copied: by a method such as `__deepcopy__` in the
    class or a base class, or with `copyreg`."""
    if kind in copyreg.dispatch_table:
        return True
    return any(
        hook in vars(base) and base.__module__.split(".")[0] not in _TRUSTED for base in kind.__mro__ for hook in _HOOKS
    )


def _copy_by_attributes(value: Any, memory: dict[int, Any]) -> Any:
    """Make a deep copy attribute by attribute, without the methods by which classes define their own copying, such as
    `__deepcopy__`. `memory` is the memo of `copy.deepcopy`: the copies that were made so far, by `id()` of the
    originals."""
    waiting, met, asked = [value], set[int](), []
    while waiting:
        one = waiting.pop()
        if id(one) in met or id(one) in memory:
            continue
        met.add(id(one))
        own = isinstance(one, torch.nn.Module) and type(one).__module__.split(".")[0] not in _TRUSTED
        if (
            has_settable_attributes(one)
            and not isinstance(one, Tensor)
            and (own or _has_copy_hook(type(one)) or one is value)
        ):
            memory[id(one)] = _make_object_without_attributes(_make_attribute_copied_class(type(one)))  # type: ignore[arg-type]  # a class can be hashed
            asked.append(one)
        waiting += (part for _, part in _list_named_parts(one))
    for one in asked:
        _copy_contents_into(memory[id(one)], one, memory)
    return memory[id(value)] if id(value) in memory else copy.deepcopy(value, memory)


def _make_object_without_attributes(kind: type) -> Any:
    """Make an object of a class without attributes."""
    return next((base for base in (dict, list, set, deque) if issubclass(kind, base)), object).__new__(kind)


def _copy_contents_into(copied: Any, original: Any, memory: dict[int, Any]) -> None:
    """Copy the items and attributes of `original` into `copied`, an empty object of the same class. `memory` is the
    memo of `copy.deepcopy`: the copies that were made so far, by `id()` of the originals."""
    if isinstance(original, dict):
        dict.update(copied, {key: _copy_or_share(part, memory) for key, part in original.items()})
    elif isinstance(original, list | deque):
        copied.extend(_copy_or_share(part, memory) for part in original)
    elif isinstance(original, set):
        set.update(copied, original)
    for name, part in vars(original).items():
        vars(copied)[name] = _copy_or_share(part, memory)
    for name, part in _read_slot_values(original):
        object.__setattr__(copied, name, _copy_or_share(part, memory))


def _read_slot_values(value: Any) -> Iterator[tuple[str, Any]]:
    for base in type(value).__mro__:
        names = vars(base).get("__slots__", ())
        if base.__module__.split(".")[0] not in _TRUSTED:
            for name in (names,) if isinstance(names, str) else names:
                if name not in {"__dict__", "__weakref__"} and hasattr(value, name):
                    yield name, getattr(value, name)


def _copy_or_share(value: Any, memory: dict[int, Any]) -> Any:
    """Return a deep copy of a value. If `copy.deepcopy` fails, copy a list, tuple or dict part by part, raise the error
    for a tensor or a module, and return any other value itself, such as a lock. `memory` is the memo of
    `copy.deepcopy`: the copies that were made so far, by `id()` of the originals."""
    if isinstance(value, _ATOMS):
        return value
    attempt = dict(memory)
    try:
        made = copy.deepcopy(value, attempt)
    # A class that cannot be copied may raise anything.
    except Exception:
        if type(value) in (list, tuple):
            return type(value)(_copy_or_share(part, memory) for part in value)
        if type(value) in (dict, OrderedDict):
            return type(value)((key, _copy_or_share(part, memory)) for key, part in value.items())
        if isinstance(value, Tensor | torch.nn.Module):
            raise
        return value
    # Under the memo's own id, `deepcopy` keeps a list of the originals that must stay alive.
    memory.setdefault(id(memory), []).extend(attempt.pop(id(attempt), []))
    memory.update(attempt)
    return made


@functools.cache
def _make_attribute_copied_class(kind: type) -> type:
    """Return a subclass of the class `kind` whose objects are copied attribute by attribute. Return `kind` itself if it
    does not define how its objects are copied, or if it cannot have such a subclass."""
    if not _has_copy_hook(kind):
        return kind

    def __deepcopy__(self: Any, memory: dict[int, Any]) -> Any:  # noqa: N807 - set on the class below
        memory[id(self)] = made = _make_object_without_attributes(type(self))
        _copy_contents_into(made, self, memory)
        return made

    members = {"__deepcopy__": __deepcopy__, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    try:
        made = type(kind)(kind.__name__, (kind,), {**members, "_copied_from": kind})
    # A class may forbid subclasses, or require more of them.
    except Exception:
        return kind
    return made if isinstance(made, type) else kind


class _ReferenceFixer:
    """Makes the functions, weak references and attributes of tensors in a copy refer to parts of the copy, and not to
    parts of the original. `memory` has the copies of objects by the ids of the originals."""

    def __init__(self, memory: dict[int, Any]) -> None:
        self._memory = memory
        self._met: dict[int, Any] = {}
        # Keeps objects alive whose ids are in `_met`.
        self._kept: list[Any] = []

    def fix_references(self, value: Any) -> Any:
        """Make a value of a copied module, and all values inside it, refer to values of the copy and not to those of
        the original. Return the value, or a new object in its place if the value cannot be changed, such as a
        function."""
        if isinstance(value, _ATOMS):
            return value
        if id(value) in self._met:
            return self._met[id(value)]
        self._met[id(value)] = value
        self._kept.append(value)
        made = self._fix_value(value)
        if isinstance(made, Tensor):
            self._copy_tensor_attributes(made)
        elif has_settable_attributes(made):
            self._fix_items(vars(made))
        self._met[id(value)] = made
        return made

    def _fix_value(self, value: Any) -> Any:
        """Make a value, but not its attributes, refer to values of the copy and not to those of the original. Return
        the value, or a new object in its place if the value cannot be changed, such as a tuple."""
        if isinstance(value, FunctionType):
            return self._fix_function(value)
        if isinstance(value, weakref.ref) and type(value) is weakref.ref:
            copied = self._memory.get(id(value()))
            return value if copied is None else weakref.ref(copied)
        if isinstance(value, MethodType):
            return MethodType(self.fix_references(value.__func__), self.fix_references(value.__self__))
        if type(value) is functools.partial:
            keywords = {name: self.fix_references(part) for name, part in value.keywords.items()}
            return functools.partial(self.fix_references(value.func), *map(self.fix_references, value.args), **keywords)
        if type(value) is tuple:
            parts = tuple(map(self.fix_references, value))
            return value if all(a is b for a, b in zip(parts, value, strict=True)) else parts
        if isinstance(value, dict | list):
            self._fix_items(value)
        return value

    def _fix_items(self, holder: Any) -> None:
        for key, part in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
            made = self.fix_references(part)
            if made is not part:
                holder[key] = made

    def _fix_function(self, value: FunctionType) -> FunctionType:
        """Return a function whose closure and defaults refer to the copy, not to the original. Return the function
        itself if it needs no change."""
        if not value.__closure__ and not value.__defaults__ and not value.__kwdefaults__:
            return value
        if (value.__module__ or "").split(".")[0] in _TRUSTED:
            return value
        cells = tuple(map(self._fix_cell, value.__closure__ or ()))
        defaults = None if value.__defaults__ is None else tuple(map(self._copy_held_value, value.__defaults__))
        keywords = value.__kwdefaults__ and {
            name: self._copy_held_value(part) for name, part in value.__kwdefaults__.items()
        }
        before = [*(value.__closure__ or ()), *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        after = [*cells, *(defaults or ()), *(keywords or {}).values()]
        if all(a is b for a, b in zip(before, after, strict=True)):
            return value
        made = FunctionType(value.__code__, value.__globals__, value.__name__, defaults, cells or None)
        made.__kwdefaults__, made.__module__, made.__qualname__ = keywords, value.__module__, value.__qualname__
        made.__dict__.update(value.__dict__)
        return made

    def _fix_cell(self, cell: CellType) -> CellType:
        """Return a new closure cell with the copy of a cell's content. Return the cell itself if it is empty, or if its
        content is not copied, such as a string."""
        if not _is_filled(cell):
            return cell
        if id(cell) not in self._met:
            self._kept.append(cell)
            # A function may refer to itself, or two functions may share a cell.
            self._met[id(cell)] = made = CellType(cell.cell_contents)
            made.cell_contents = self._copy_held_value(cell.cell_contents)
            if made.cell_contents is cell.cell_contents:
                self._met[id(cell)] = cell
        found: CellType = self._met[id(cell)]
        return found

    def _copy_held_value(self, value: Any) -> Any:
        """Return the copy of a value that a function holds in its closure or its defaults."""
        if isinstance(value, _ATOMS):
            return value
        if isinstance(value, FunctionType):
            return self.fix_references(value)
        if isinstance(value, Tensor | dict | list | set | deque | tuple) or has_settable_attributes(value):
            return self.fix_references(_copy_or_share(value, self._memory))
        return value

    def _copy_tensor_attributes(self, made: Tensor) -> None:
        """Give a copied tensor, `made`, copies of the attributes that were set on its original, such as
        `weight.my_flag`; `copy.deepcopy` leaves them out."""
        if (original := self._originals.get(id(made))) is not None:
            for name, part in vars(original).items():
                if name not in vars(made) and not name.startswith("_"):
                    vars(made)[name] = _copy_or_share(part, self._memory)
        self._fix_items(vars(made))

    @functools.cached_property
    def _originals(self) -> dict[int, Tensor]:
        """The dict from the id of each copied tensor to its original, which the memo of `deepcopy` keeps alive."""
        kept = [one for one in self._memory.get(id(self._memory), ()) if isinstance(one, Tensor)]
        return {id(self._memory[id(one)]): one for one in kept if id(one) in self._memory}
