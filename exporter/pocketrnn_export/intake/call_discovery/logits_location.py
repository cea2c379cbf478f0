"""Find the place of the logits in a module's answer, also in the values that an object in it computes on request, by
properties, `__getattr__`, `__getitem__` or methods."""

from __future__ import annotations

import contextlib
import enum
import functools
import inspect
import re
import types
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import ModuleFacts

# How deep lists, dicts and objects in an answer are searched.
_DEEPEST: Final = 8
# The types that cannot hold an output.
_PLAIN: Final = (
    types.NoneType, bool, int, float, complex, str, bytes, range, enum.Enum, np.generic, torch.dtype, torch.device,
    torch.Size,
)  # fmt: skip
# The types that give an output only if they are called.
_CODE: Final = (
    type, types.ModuleType, types.FunctionType, types.MethodType, types.BuiltinFunctionType, functools.partial,
    nn.Module,
)  # fmt: skip

# Tokens [batch, sequence], and what the module answers to them.
Known = tuple[Tensor, Any]
# For each code that reorders axes: the shapes that it accepts at each width.
_ShapesByArrangement: TypeAlias = dict[str, list[set[tuple[int, ...]]]]


@dataclass(frozen=True)
class OutputCounts:
    """How many numbers each output of a module holds for one text. An output is named by the code that reads it.

    Attributes:
        fixed: the counts of those outputs whose count is the same for every number of tokens.
        following: the names of the outputs whose count changes with the number of tokens.
        one_length: the number of tokens, if the module answers only texts of one length.
    """

    fixed: dict[str, int]
    following: tuple[str, ...]
    one_length: int | None

    def may_count_tokens(self, suffix: str) -> bool:
        """Return whether an output may have a number for each token and not for each label. The code `suffix` selects
        the output."""
        return suffix in self.following or self.fixed.get(suffix) == self.one_length


def count_numbers_per_output(facts: ModuleFacts, known: Sequence[Known]) -> OutputCounts:
    """Count how many numbers each output of a module holds for one text, from its answers to batches of several
    lengths."""
    found: dict[str, list[int]] = {}
    others: set[str] = set()
    for tokens, answer in known:
        for suffix, leaf in find_float_tensors(answer):
            if (n := count_numbers_per_text(leaf, len(tokens), values=facts.values)) is not None:
                found.setdefault(suffix, []).append(n)
            elif len(tokens) != len(known[0][0]):
                # Its first axis is not the batch: it had this size by chance.
                others.add(suffix)
    found = {suffix: counts for suffix, counts in found.items() if suffix not in others}
    lengths = {tokens.shape[1] for tokens, _ in known}
    return OutputCounts(
        {suffix: counts[0] for suffix, counts in found.items() if len(set(counts)) == 1},
        tuple(suffix for suffix, counts in found.items() if len(set(counts)) > 1),
        lengths.pop() if len(lengths) == 1 else None,
    )


@dataclass(frozen=True)
class AnswerPlace:
    """The place of the logits in a module's answer, as the code that reads them there.

    Attributes:
        suffix: the code after the call that selects the tensor, such as `[0]`.
        units: how many numbers the tensor has for each text, or each token.
        arranged: the code after `suffix` that reorders the tensor's axes.
    """

    suffix: str
    units: int
    arranged: str = ""


def find_logits_places(facts: ModuleFacts, known: Sequence[Known], *, search_parts: bool) -> list[AnswerPlace]:
    """Return the places in an answer of the tensors that may be the logits: [rows, units], or for labels of tokens
    [rows, sequence, units] with the axes in any order. Without `search_parts`, only the whole answer may be the
    logits."""
    leaves, rows = [dict(find_float_tensors(answer)) for _, answer in known], len(known[0][0])
    if facts.heads:
        # The outputs of all heads, joined.
        return [AnswerPlace("", known[0][1].shape[-1])]
    units = [facts.classes]
    if facts.classes == 2 and not facts.multi_label and not facts.values:
        units.append(1)
    widths = [tokens.shape[1] for tokens, _ in known]
    places: list[AnswerPlace] = []
    for wanted in units:
        asked_for = [suffix for suffix in leaves[0] if search_parts or not suffix]
        if facts.of_tokens:
            found = [
                AnswerPlace(suffix, wanted, arranged)
                for suffix in asked_for
                for arranged, shapes in _list_shapes_by_axis_arrangement(rows, wanted, widths).items()
                if all(
                    tuple(leaf[suffix].shape) in of for leaf, of in zip(leaves, shapes, strict=True) if suffix in leaf
                )
                and all(suffix in leaf for leaf in leaves)
            ]
        else:
            found = [
                AnswerPlace(suffix, wanted)
                for suffix in asked_for
                if all(
                    suffix in leaf and count_numbers_per_text(leaf[suffix], rows, values=facts.values) == wanted
                    for leaf in leaves
                )
            ]
        # Some modules give the labels themselves beside the scores, as whole numbers.
        scores = [
            place
            for place in found
            if not all(torch.equal(leaf[place.suffix], leaf[place.suffix].round()) for leaf in leaves)
        ]
        # For two labels the answer may have one number or two.
        places += scores or found
    return places


def _list_shapes_by_axis_arrangement(rows: int, units: int, widths: Sequence[int]) -> _ShapesByArrangement:
    """Return the ways to reorder the axes of token logits to [rows, sequence, units]: the code of each way, and the
    shapes that it accepts for each width."""
    flat, across = f".reshape(tokens.size(0), -1, {units})", f".reshape(tokens.size(1), -1, {units}).transpose(0, 1)"
    made: _ShapesByArrangement = {
        "": [{(rows, n, units)} | ({(n, units), (n, 1, units)} if rows == 1 else set()) for n in widths],
        ".transpose(-1, -2)": [{(rows, units, n)} | ({(units, n)} if rows == 1 else set()) for n in widths],
    }
    if units == 1:
        made[""] = [{*shapes, (rows, n)} for shapes, n in zip(made[""], widths, strict=True)]
    if rows > 1:
        made[".transpose(0, 1)"] = [{(n, rows, units)} | ({(n, rows)} if units == 1 else set()) for n in widths]
        made[flat] = made[across] = [{(rows * n, units)} for n in widths]
    return made


def find_float_tensors(answer: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield (suffix, tensor) for each floating-point tensor in an answer. The suffix is the code that selects it, such
    as `[0]`."""
    for suffix, part in _walk_parts(answer, "", _DEEPEST, set()):
        if isinstance(part, Tensor) and part.is_floating_point():
            yield suffix, part


def find_unsearched_values(answer: Any) -> Iterator[tuple[str, str]]:
    """Yield (suffix, kind) for each part of an answer that is not searched: deeply nested parts, generators, sets,
    NumPy arrays, functions. The suffix is the code that selects the part, such as `[0]`."""
    for suffix, part in _walk_parts(answer, "", _DEEPEST, set()):
        if isinstance(part, UncalledCode):
            yield suffix, "computed when it is asked"
        elif not isinstance(part, Tensor):
            yield suffix, type(part).__name__


def _walk_parts(value: Any, suffix: str, depth: int, seen: set[int]) -> Iterator[SuffixAndValue]:
    """Yield (suffix, part) for each tensor in a value, and for each part that is not searched. Containers are searched
    down to `depth` levels, except those whose `id()` is in `seen`. The suffix is the code that selects the part."""
    if isinstance(value, _PLAIN) or id(value) in seen:
        return
    if isinstance(value, Set) and all(isinstance(part, _PLAIN) for part in value):
        return
    inside = None if isinstance(value, UncalledCode) else _list_items(value)
    if isinstance(value, Tensor) or inside is None or (inside and depth == 0):
        yield suffix, value
    if inside and depth > 0:
        seen.add(id(value))
        for written, part in inside:
            yield from _walk_parts(part, suffix + written, depth - 1, seen)
    if depth > 1 and not isinstance(value, _CODE):
        for written, part in find_computed_parts(value, {id(part) for _, part in inside or ()}):
            # A computed value is another object each time: it is searched once.
            yield from _walk_parts(part, suffix + written, 1, set(seen))


def _list_items(value: Any) -> list[SuffixAndValue] | None:
    """Return the items of a container or an object, each with the code that selects it. Return None for a value that is
    not searched."""
    if isinstance(value, Mapping):
        items = [(f"[{key!r}]", part) for key, part in value.items()]
    elif isinstance(value, Sequence):
        items = [(f"[{i}]", part) for i, part in enumerate(value)]
    else:
        items = []
    attributes = _read_stored_attributes(value)
    if attributes is None:
        return items if isinstance(value, Mapping | Sequence) else None
    held = {id(part) for _, part in items}
    return items + [(f".{name}", part) for name, part in attributes.items() if id(part) not in held]


def _read_stored_attributes(value: Any) -> dict[str, Any] | None:
    """Return the attributes that an object stores. None of the object's code is called. Return None for functions and
    classes."""
    if isinstance(value, _CODE):
        return None
    slots = {
        name: slot
        for kind in type(value).__mro__
        if "__slots__" in vars(kind)
        for name, slot in vars(kind).items()
        if isinstance(slot, types.MemberDescriptorType)
    }
    kept: dict[str, Any] = {}
    for name, slot in slots.items():
        # A slot that was never assigned has no value.
        with contextlib.suppress(AttributeError):
            kept[name] = slot.__get__(value)
    try:
        kept |= object.__getattribute__(value, "__dict__")
    except AttributeError:
        return kept if slots else None
    hidden = {name for name in kept if isinstance(inspect.getattr_static(type(value), name, None), property)}
    return {name: part for name, part in kept.items() if name.isidentifier() and name not in hidden}


def count_numbers_per_text(leaf: Tensor, rows: int, *, values: bool) -> int | None:
    """Return how many numbers a tensor has for each of `rows` texts. Return None if its shape does not fit. A shape
    with a third axis, such as a forecast of several steps, fits only with `values`, that is, for a module that gives
    values."""
    shape, n = tuple(leaf.shape), leaf.numel() // rows
    if shape in {(rows, n), (1, rows, n), (rows, 1, n), (rows, n, 1), (1, rows, n, 1)}:
        return n
    if (shape == (rows,) and rows > 1) or (rows == 1 and len(shape) < 2):
        return n
    # A forecast of several values for each step ahead; other lengths show that it is not the number of steps.
    return n if values and len(shape) == 3 and shape[0] == rows else None


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
    `__getitem__`. The suffix is the code that selects the value. The value is `UncalledCode` if the code was not
    called. Values whose `id()` is in `held_ids` are left out, since the object stores them."""
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
        functions: the functions of its class that compute a value for a name.
        held_ids: the `id()` of values that are left out, since the object stores them.
        suffix_form: the code that reads a value, with {} for the name.
        read_part: returns the value for a name.
    """
    if not functions:
        return
    names: dict[str, None] = dict.fromkeys(_NAMES)
    for function in functions:
        names |= dict.fromkeys(_yield_strings_in_code(getattr(function, "__code__", None)))
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


def _yield_strings_in_code(code: types.CodeType | None) -> Iterator[str]:
    """Yield the constant strings in code, also in the functions inside it."""
    for constant in () if code is None else code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _yield_strings_in_code(constant)
        elif isinstance(constant, str | tuple | frozenset):
            yield from (
                word for word in ([constant] if isinstance(constant, str) else constant) if isinstance(word, str)
            )


def _is_computed(member: Any) -> bool:
    """Return whether a class computes an attribute, as by a property, and does not store it."""
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
