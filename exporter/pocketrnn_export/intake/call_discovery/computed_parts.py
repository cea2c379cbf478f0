"""The parts that an object in an answer computes: properties, `__getattr__`, `__getitem__`, methods."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

__all__ = ["Uncalled", "computed_parts", "read_attribute"]

# Classes of these give nothing by code that they do not keep as well.
_LIBRARIES: Final = frozenset({"abc", "builtins", "collections", "enum", "numpy", "torch", "types", "typing"})
# The names that are tried with code that takes a name.
_NAMES: Final = (
    "logits", "probs", "probabilities", "scores", "log_probs", "proba", "prediction", "predictions", "pred", "preds",
    "output", "outputs", "out", "result",
)  # fmt: skip
# A method of another name may do anything, and is not called.
_OF_AN_ANSWER: Final = re.compile(
    r"logit|prob|score|pred|softmax|sigmoid|(?:^|_)(?:answer|final|output|result)s?(?:_|$)"
)
# The methods that bring an answer elsewhere, or to another type.
_CONVERSIONS: Final = frozenset({
    "asdict", "clone", "copy", "cpu", "cuda", "detach", "items", "keys", "numpy", "to_dict", "to_tuple", "tolist",
    "values",
})  # fmt: skip
_MISSING: Final = object()


class Uncalled:
    """Code of an answer's class that is not called: what it gives is not known."""


def computed_parts(value: Any, held: set[int]) -> Iterator[tuple[str, Any]]:
    """The values that the code of an object's class gives, each with the text to write behind the object to reach it;
    `Uncalled` where it was not called.

    Args:
        value: the object.
        held: the ids of the values that it keeps, which are not given again.

    Example:
        >>> [written for written, _ in computed_parts(Scores(scores, prior), held=set())]
        ['.logits']
    """
    kinds = [kind for kind in type(value).__mro__ if not _is_of_a_library(kind)]
    members = {name: member for kind in reversed(kinds) for name, member in vars(kind).items()}
    for name, member in members.items():
        if name.startswith("_") or name in _CONVERSIONS:
            continue
        if isinstance(member, types.FunctionType):
            if _takes_nothing(member):
                called = _OF_AN_ANSWER.search(name)
                part = _asked(lambda name=name: getattr(value, name)()) if called else Uncalled()
                if part is not _MISSING:
                    yield f".{name}()", part
        elif _is_computed(member) and (part := read_attribute(value, name)) is not _MISSING and id(part) not in held:
            yield f".{name}", part
    asked = [members[name] for name in ("__getattr__", "__getattribute__") if name in members]
    yield from _by_name(value, asked, held, ".{}", lambda name: read_attribute(value, name))
    asked = [members[name] for name in ("__getitem__", "__missing__") if name in members]
    yield from _by_name(value, asked, held, "[{!r}]", lambda name: _asked(lambda: value[name]))
    if "__call__" in members and not isinstance(value, torch.nn.Module):
        yield "()", Uncalled()
    if "__iter__" in members and not isinstance(value, Mapping | Sequence | Tensor):
        found = _asked(lambda: list(value))
        if found is not _MISSING and not all(id(part) in held for part in found):
            yield ".__iter__()", Uncalled()


def read_attribute(value: Any, name: str) -> Any:
    """The value that a line of Python reads under a name; a marker object where there is none.

    Example:
        >>> read_attribute(answer, "logits").shape
        torch.Size([3, 4])
    """
    return _asked(lambda: getattr(value, name))


def _asked(ask: Any) -> Any:
    # Whatever an owner's code raises.
    with contextlib.suppress(Exception):
        return ask()
    return _MISSING


def _by_name(
    value: Any, functions: Sequence[Any], held: set[int], written: str, read: Any
) -> Iterator[tuple[str, Any]]:
    """The values that code gives for a name: for the usual names, and for those in the code or where it may look."""
    if not functions:
        return
    names: dict[str, None] = dict.fromkeys(_NAMES)
    for function in functions:
        names |= dict.fromkeys(_words_of(getattr(function, "__code__", None)))
    kept = getattr(value, "__dict__", {})
    for part in [value, *(kept.values() if isinstance(kept, dict) else ())]:
        names |= dict.fromkeys(key for key in part if isinstance(key, str)) if isinstance(part, Mapping) else {}
    kept = {name for name in kept if isinstance(name, str)} if written.startswith(".") else set()
    found = False
    for name in names:
        usable = name.isidentifier() and not name.startswith("_") if written.startswith(".") else True
        if not usable or name in kept or hasattr(type(value), name):
            continue
        part = read(name)
        if part is not _MISSING and isinstance(part, Tensor | Mapping | list | tuple):
            found = True
            if id(part) not in held:
                yield written.format(name), part
    if not found and any(isinstance(function, types.FunctionType) for function in functions):
        yield written.format("<name>").replace("'", ""), Uncalled()


def _words_of(code: types.CodeType | None) -> Iterator[str]:
    for constant in () if code is None else code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _words_of(constant)
        elif isinstance(constant, str | tuple | frozenset):
            yield from (
                word for word in ([constant] if isinstance(constant, str) else constant) if isinstance(word, str)
            )


def _is_of_a_library(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in _LIBRARIES


def _is_computed(member: Any) -> bool:
    """Whether a class has code in place of an attribute: a property or the like, no field."""
    if isinstance(member, property | functools.cached_property):
        return True
    fields = (types.MemberDescriptorType, types.GetSetDescriptorType, staticmethod, classmethod, type)
    return hasattr(type(member), "__get__") and not isinstance(member, fields)


def _takes_nothing(function: types.FunctionType) -> bool:
    """Whether a method needs nothing but its object."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[1:]
    except (TypeError, ValueError):
        return False
    kinds = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return all(p.default is not p.empty or p.kind in kinds for p in parameters)
