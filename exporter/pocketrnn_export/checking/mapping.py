"""Which input of a file is which of a module's, and the same of their outputs: by names, types and axes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pocketrnn.errors import InputError, did_you_mean
from pocketrnn_export.checking.exchange import Exchange
from pocketrnn_export.checking.other_file import Array, OtherFile, Port

__all__ = ["Fed", "feeds", "mapped_inputs", "mapped_outputs", "without_ones"]

# More axes are not put into another order.
_MOST_AXES: Final = 4


@dataclass(frozen=True)
class Fed:
    """An input of a file, and what it is fed: which of the module's inputs, and in which order of its axes."""

    port: Port
    name: str
    order: tuple[int, ...] | None = None


def mapped_inputs(file: OtherFile, calls: Sequence[Exchange], told: Mapping[str, str]) -> tuple[Fed, ...]:
    """Find what each input of a file is fed with.

    Args:
        file: the file.
        calls: of the module, of other sizes: an axis that has another size in another call may have any.
        told: a module's input by its name, to the file's.

    Raises:
        InputError: an input of the file has no counterpart, or several.
    """
    given = calls[0].inputs
    fed: dict[str, str] = {}
    ports = {port.name: port for port in file.inputs}
    for name, of_file in told.items():
        for one, known, whose in ((name, list(given), "The module"), (of_file, list(ports), str(file.path))):
            if one not in known:
                known_names = ", ".join(known) or "none"
                advice = did_you_mean(one, known) or "Use one of these."
                raise InputError(f"{whose} has no input {one}, only {known_names}.", advice)
        fed[of_file] = name
    left = [name for name in given if name not in fed.values()]
    for same in (_by_name, _by_order):
        for port in file.inputs:
            found = None if port.name in fed else same(port, left, calls)
            if found is not None:
                fed[port.name] = found
                left.remove(found)
    if lost := [port.name for port in file.inputs if port.name not in fed]:
        raise InputError(
            f"The input {lost[0]} of {file.path} is none of the module's: {', '.join(left) or 'none is left'}.",
            "Say which: --input parameter=input, or inputs={'parameter': 'input'}.",
        )
    return tuple(Fed(port, fed[port.name], _order(port, fed[port.name], calls)) for port in file.inputs)


def _by_name(port: Port, left: Sequence[str], _calls: Sequence[Exchange]) -> str | None:
    return next((name for name in left if _plain(name) == _plain(port.name)), None)


def _by_order(port: Port, left: Sequence[str], calls: Sequence[Exchange]) -> str | None:
    """The first input that is left and fits: exporters keep the order."""
    fits = [name for name in left if _fits(port, calls[0].inputs[name])]
    same_type = [name for name in fits if port.kind == str(calls[0].inputs[name].dtype)]
    return next(iter(same_type or fits), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _fits(port: Port, array: Array) -> bool:
    if port.axes is not None and len(port.axes) != array.ndim:
        return False
    return port.kind is None or np.dtype(port.kind).kind == array.dtype.kind or array.dtype.kind in "ib"


def _order(port: Port, name: str, calls: Sequence[Exchange]) -> tuple[int, ...] | None:
    """The order of the axes in which an array fits what a file declares; None where that is its own."""
    shapes = [call.inputs[name].shape for call in calls]
    if port.axes is None or len(port.axes) != len(shapes[0]) or len(port.axes) > _MOST_AXES:
        return None
    for order in itertools.permutations(range(len(port.axes))):
        if all(
            not isinstance(size, int) or len({shape[axis] for shape in shapes}) > 1 or size == shapes[0][axis]
            for size, axis in zip(port.axes, order, strict=True)
        ):
            return None if order == tuple(range(len(order))) else order
    return None


def feeds(fed: Sequence[Fed], given: Mapping[str, Array]) -> list[Array]:
    """The arrays for a file's inputs, of those that the module was given."""
    made = []
    for one in fed:
        array = given[one.name] if one.order is None else given[one.name].transpose(one.order)
        made.append(np.ascontiguousarray(array if one.port.kind is None else array.astype(one.port.kind)))
    return made


def mapped_outputs(
    file: OtherFile, answers: Sequence[Array] | None, outputs: Mapping[str, Array]
) -> tuple[tuple[int, str], ...]:
    """The pairs of an output of a file, by its number, and one of the module's, by its name.

    Args:
        file: the file.
        answers: its own in a call; None where it has none.
        outputs: the module's in the same call.

    Raises:
        InputError: there is no pair.
    """
    names, count = list(outputs), len(file.outputs) if answers is None else len(answers)
    by_name = {_plain(name): name for name in names}
    pairs = [
        (number, by_name[_plain(port.name)]) for number, port in enumerate(file.outputs) if _plain(port.name) in by_name
    ]
    if not pairs and count == len(names):
        pairs = list(enumerate(names))
    if not pairs:
        for number in range(count if answers is not None else 0):
            assert answers is not None  # noqa: S101 - the line above
            left = [name for name in names if name not in {name for _, name in pairs}]
            alike = [name for name in left if without_ones(outputs[name]) == without_ones(answers[number])]
            if alike:
                pairs.append((number, min(alike, key=lambda name: _apart(outputs[name], answers[number]))))
    numbers = [pair for pair in pairs if outputs[pair[1]].dtype.kind == "f"]
    if not pairs:
        shapes = [list(answer.shape) for answer in answers or ()]
        own = [list(array.shape) for array in outputs.values()]
        raise InputError(
            f"No output of {file.path} has the shape of one of the module's: {shapes} beside {own}.",
            "Export the module whose outputs are these, or compare with the module that the file was made of.",
        )
    return tuple(numbers or pairs)


def without_ones(array: Array) -> tuple[int, ...]:
    """The shape of an array without its axes of one: a squeeze of a batch of one takes an axis away."""
    return tuple(size for size in array.shape if size != 1)


def _apart(one: Array, other: Array) -> float:
    return float(np.nan_to_num(np.abs(one.reshape(-1).astype(float) - other.reshape(-1).astype(float))).sum())
