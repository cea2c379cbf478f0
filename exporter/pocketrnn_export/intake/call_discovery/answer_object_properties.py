"""Find the values that an object in an answer computes on request, by properties, `__getattr__`, `__getitem__` or
methods."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor

# Classes of these libraries compute no value that they do not also store.
_LIBRARIES: Final = frozenset({"abc", "builtins", "collections", "enum", "numpy", "torch", "types", "typing"})
# The names that are tried with `__getattr__` and `__getitem__`.
_NAMES: Final = (
    "logits", "probs", "probabilities", "scores", "log_probs", "proba", "prediction", "predictions", "pred", "preds",
    "output", "outputs", "out", "result",
)  # fmt: skip
# A method is only called if its name matches: others may do anything.
_OF_AN_ANSWER: Final = re.compile(
    r"logit|prob|score|pred|softmax|sigmoid|(?:^|_)(?:answer|final|output|result)s?(?:_|$)"
)
# The methods that move or convert an answer.
_CONVERSIONS: Final = frozenset({
    "asdict", "clone", "copy", "cpu", "cuda", "detach", "items", "keys", "numpy", "to_dict", "to_tuple", "tolist",
    "values",
})  # fmt: skip
_MISSING: Final = object()
# The code after the name of an object that reads a value from it, such as `.logits` or `[0]`; and the value.
SuffixAndValue: TypeAlias = tuple[str, Any]


class UncalledCode:
    """A marker for the unknown value of a property or method that is not called."""


def find_computed_parts(holder: Any, held_ids: set[int]) -> Iterator[SuffixAndValue]:
    """Yield (suffix, value) for each value that an object computes by properties, methods, `__getattr__` or
    `__getitem__`. The code `object` + suffix gives the value. The value is `UncalledCode` if the code was not called.
    Values whose `id()` is in `held_ids` are left out, since the object stores them."""
    kinds = [kind for kind in type(holder).__mro__ if kind.__module__.partition(".")[0] not in _LIBRARIES]
    members = {name: member for kind in reversed(kinds) for name, member in vars(kind).items()}
    for name, member in members.items():
        if name.startswith("_") or name in _CONVERSIONS:
            continue
        if isinstance(member, types.FunctionType):
            if _needs_no_arguments(member):
                called = _OF_AN_ANSWER.search(name)
                part = _read_value_or_missing(lambda name=name: getattr(holder, name)()) if called else UncalledCode()
                if part is not _MISSING:
                    yield f".{name}()", part
        elif (
            _is_computed(member)
            and (part := _read_attribute_or_missing(holder, name)) is not _MISSING
            and id(part) not in held_ids
        ):
            yield f".{name}", part
    asked = [members[name] for name in ("__getattr__", "__getattribute__") if name in members]
    yield from _find_values_by_name(
        holder, asked, held_ids, ".{}", lambda name: _read_attribute_or_missing(holder, name)
    )
    asked = [members[name] for name in ("__getitem__", "__missing__") if name in members]
    yield from _find_values_by_name(
        holder, asked, held_ids, "[{!r}]", lambda name: _read_value_or_missing(lambda: holder[name])
    )
    if "__call__" in members and not isinstance(holder, torch.nn.Module):
        yield "()", UncalledCode()
    if "__iter__" in members and not isinstance(holder, Mapping | Sequence | Tensor):
        found = _read_value_or_missing(lambda: list(holder))
        if found is not _MISSING and not all(id(part) in held_ids for part in found):
            yield ".__iter__()", UncalledCode()


def _read_attribute_or_missing(holder: Any, name: str) -> Any:
    """Return an attribute of an object by its name. Return the marker `_MISSING` if the attribute does not exist."""
    return _read_value_or_missing(lambda: getattr(holder, name))


def _read_value_or_missing(read_value: Any) -> Any:
    """Return the value that `read_value` reads from an object; the marker `_MISSING` if it raises an exception."""
    # An owner's code may raise any exception.
    with contextlib.suppress(Exception):
        return read_value()
    return _MISSING


def _find_values_by_name(
    holder: Any, functions: Sequence[Any], held_ids: set[int], suffix_form: str, read_part: Any
) -> Iterator[SuffixAndValue]:
    """Yield (suffix, value) for each tensor, mapping, list or tuple that an object computes for a name by `functions`,
    such as its `__getattr__`. If no name gives a value, yield `UncalledCode`. The names are common ones, the strings in
    the code of `functions`, and the keys of mappings that the object holds.

    Args:
        holder: the object.
        functions: the functions of its class that compute a value for a name.
        held_ids: the `id()` of values that are left out, since the object stores them.
        suffix_form: the code that reads a value, with {} for the name.
        read_part: returns the value for a name.
    """
    if not functions:
        return
    names: dict[str, None] = dict.fromkeys(_NAMES)
    for function in functions:
        names |= dict.fromkeys(_list_strings_in_code(getattr(function, "__code__", None)))
    kept = getattr(holder, "__dict__", {})
    for part in [holder, *(kept.values() if isinstance(kept, dict) else ())]:
        names |= dict.fromkeys(key for key in part if isinstance(key, str)) if isinstance(part, Mapping) else {}
    kept = {name for name in kept if isinstance(name, str)} if suffix_form.startswith(".") else set()
    found = False
    for name in names:
        usable = name.isidentifier() and not name.startswith("_") if suffix_form.startswith(".") else True
        if not usable or name in kept or hasattr(type(holder), name):
            continue
        part = read_part(name)
        if part is not _MISSING and isinstance(part, Tensor | Mapping | list | tuple):
            found = True
            if id(part) not in held_ids:
                yield suffix_form.format(name), part
    if not found and any(isinstance(function, types.FunctionType) for function in functions):
        yield suffix_form.format("<name>").replace("'", ""), UncalledCode()


def _list_strings_in_code(code: types.CodeType | None) -> Iterator[str]:
    """Yield the constant strings in code, also in the functions inside it."""
    for constant in () if code is None else code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _list_strings_in_code(constant)
        elif isinstance(constant, str | tuple | frozenset):
            yield from (
                word for word in ([constant] if isinstance(constant, str) else constant) if isinstance(word, str)
            )


def _is_computed(member: Any) -> bool:
    """Return whether a class computes an attribute instead of storing it, as a property does."""
    if isinstance(member, property | functools.cached_property):
        return True
    fields = (types.MemberDescriptorType, types.GetSetDescriptorType, staticmethod, classmethod, type)
    return hasattr(type(member), "__get__") and not isinstance(member, fields)


def _needs_no_arguments(function: types.FunctionType) -> bool:
    """Return whether a method can be called without arguments."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[1:]
    except (TypeError, ValueError):
        return False
    kinds = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return all(p.default is not p.empty or p.kind in kinds for p in parameters)
