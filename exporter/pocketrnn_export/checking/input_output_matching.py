"""Match the inputs and outputs of a file with the inputs and outputs of a module: by names, types and axes."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pocketrnn.errors import InputError, suggest_similar_name
from pocketrnn_export.checking.exported_file import Array, CheckedFile, Port, find_axis_role
from pocketrnn_export.checking.forward_call_recording import RecordedCall, RowsAndSteps

# An array with more axes than this is not transposed.
_MOST_AXES: Final = 4
# The most orders of all axes that are ranked, and that are tried.
_MOST_RANKED: Final = 1_000
_MOST_RUN: Final = 24
# The rate of a call of which each answer of the file has the shape of one of the module's; and of one where their
# numbers are near, too.
_FITTING: Final = 2
AGREEING: Final = 3
_NEAR: Final = 1e-3


# The index of an output of the file, and the name of the module's output that it is compared with.
OutputPair = tuple[int, str]


@dataclass(frozen=True)
class MatchedInput:
    """An input of a file, the module's input that it takes, and the order of its axes."""

    port: Port
    name: str
    order: tuple[int, ...] | None = None

    @property
    def declared_sizes(self) -> list[tuple[int | str | None, int]]:
        """Pairs (declared size, axis) of the file's input: the size that the file declares, and the index of this axis
        in the module's input."""
        axes = self.port.axes or ()
        return list(zip(axes, self.order or range(len(axes)), strict=bool(axes)))


def match_inputs(
    file: CheckedFile,
    calls: Sequence[RecordedCall],
    owners_pairs: Mapping[str, str],
    sizes: Sequence[RowsAndSteps],
) -> tuple[MatchedInput, ...]:
    """Find out which input of the module each input of a file takes, and in which order of axes.

    An order must agree with the sizes and names of axes that the file declares. The module's own order is taken if the
    file runs with it on all calls. Otherwise, the order is taken with which most answers of the file have the shapes of
    the module's answers; a transposed order is left out if these shapes may fit by chance.

    Args:
        calls: calls of the module with different sizes. An axis whose size differs between them may have any size.
        owners_pairs: a dict from names of the module's inputs to names of the file's, as the user gave it.
        sizes: the numbers (rows, steps) of each call.

    Raises:
        InputError: `owners_pairs` has an unknown name, or an input of the file fits no input of the module.
    """
    given = calls[0].inputs
    fed: dict[str, str] = {}
    ports = {port.name: port for port in file.inputs}
    for name, of_file in owners_pairs.items():
        for one, known, whose in ((name, list(given), "The module"), (of_file, list(ports), str(file.path))):
            if one not in known:
                known_names = ", ".join(known) or "none"
                advice = suggest_similar_name(one, known) or "Use one of these."
                raise InputError(f"{whose} does not have an input {one}. Its inputs are {known_names}.", advice)
        fed[of_file] = name
    left = [name for name in given if name not in fed.values()]
    for same in (_find_module_input_by_name, _find_module_input_by_type_and_order):
        for port in file.inputs:
            found = None if port.name in fed else same(port, left, calls)
            if found is not None:
                fed[port.name] = found
                left.remove(found)
    if lost := [port.name for port in file.inputs if port.name not in fed]:
        raise InputError(
            f"The input {lost[0]} of {file.path} fits no input of the module by name, type and axes. Inputs of the "
            f"module that are left: {', '.join(left) or 'none'}.",
            "Say which inputs belong together: --input PARAMETER=INPUT, or inputs={'parameter': 'input'} in Python.",
        )
    each = [
        [MatchedInput(port, fed[port.name], order) for order in _list_axis_orders(port, fed[port.name], calls)]
        for port in file.inputs
    ]
    every = [tuple(matched) for matched in itertools.islice(itertools.product(*each), _MOST_RANKED)]
    ranks = {matched: _make_sort_key_of_axis_orders(matched, calls, sizes) for matched in every}
    # Names of the axes that fit the module's own call say that nothing is transposed.
    fewest = min((rank[0] for rank in ranks.values() if not rank[1]), default=sys.maxsize)
    ranked = sorted((matched for matched in every if ranks[matched][0] <= fewest), key=lambda matched: ranks[matched])
    best, most = ranked[0], (-1, -1)
    for matched in ranked[:_MOST_RUN]:
        agreeing = [rate_fit_of_file_answers(file, matched, call) for call in calls]
        runs = sum(map(bool, agreeing))
        if runs == len(calls) and matched == ranked[0] and all(fed.order is None for fed in matched):
            return matched
        fitting_sizes = [size for size, rate in zip(sizes, agreeing, strict=True) if rate >= _FITTING]
        if any(fed.order is not None for fed in matched) and _may_shapes_fit_by_chance(matched, sizes, fitting_sizes):
            continue
        # Where no answer has the module's shape, the inputs are not the ones that the file was made for.
        fits = len(fitting_sizes), runs
        if fits > most:
            best, most = matched, fits
    return best


def _may_shapes_fit_by_chance(
    matched: Sequence[MatchedInput], sizes: Sequence[RowsAndSteps], fitting_sizes: Sequence[RowsAndSteps]
) -> bool:
    """Return whether a file's answers to transposed inputs may have the shapes of the module's answers by chance. They
    may if these shapes fit at no size, or only at sizes with one number of rows. They do not if the file declares a
    fixed size for a transposed input.

    Args:
        matched: the inputs, with the orders of their axes.
        sizes: all sizes (rows, steps) that were tried.
        fitting_sizes: the sizes at which the shapes fit.
    """
    if not fitting_sizes:
        return True
    if any(isinstance(declared, int) for fed in matched for declared, _ in fed.declared_sizes if fed.order is not None):
        return False
    return len({rows for rows, _ in fitting_sizes}) < min(2, len({rows for rows, _ in sizes}))


def _list_axis_orders(port: Port, module_input: str, calls: Sequence[RecordedCall]) -> list[tuple[int, ...] | None]:
    """List the orders in which the axes of a module's input may be given to an input of the file so that the sizes in
    all `calls` agree with the declared ones. The unchanged order is None, and comes first."""
    shapes = [call.inputs[module_input].shape for call in calls]
    axes = port.axes or (None,) * len(shapes[0])
    if len(axes) != len(shapes[0]) or len(axes) > _MOST_AXES:
        return [None]
    as_it_is = tuple(range(len(axes)))
    found = [
        None if order == as_it_is else order
        for order in itertools.permutations(as_it_is)
        if all(
            not isinstance(size, int) or len({shape[axis] for shape in shapes}) > 1 or size == shapes[0][axis]
            for size, axis in zip(axes, order, strict=True)
        )
    ]
    return found or [None]


def _make_sort_key_of_axis_orders(
    matched: Sequence[MatchedInput], calls: Sequence[RecordedCall], sizes: Sequence[RowsAndSteps]
) -> tuple[int, int]:
    """Return the sort key of an assignment of inputs with orders of axes, smallest for the best: how many declared
    names of axes contradict the sizes in the calls, and how many inputs are transposed.

    Args:
        matched: the assignment.
        sizes: the size (rows, steps) of each call.
    """
    by_role = {role: tuple(size[place] for size in sizes) for place, role in enumerate("bs")}
    meant: dict[str, set[tuple[int, ...]]] = {}
    wrong = 0
    for fed in matched:
        for name, axis in fed.declared_sizes:
            if isinstance(name, str):
                given = tuple(call.inputs[fed.name].shape[axis] for call in calls if fed.name in call.inputs)
                meant.setdefault(name, set()).add(given)
                wrong += given != by_role.get(find_axis_role(name) or "", given)
    wrong += sum(len(different) - 1 for different in meant.values())
    return wrong, sum(fed.order is not None for fed in matched)


def rate_fit_of_file_answers(file: CheckedFile, matched: Sequence[MatchedInput], call: RecordedCall) -> int:
    """Run a file on the inputs of a recorded call of the module. Return a rating of how well its answers fit the
    module's: 0 if the file fails, 1 if a shape differs, 2 if all shapes fit, 3 if the numbers are near, too."""
    answers = file.compute_outputs(make_file_inputs(matched, call.inputs))
    if isinstance(answers, str):
        return 0
    outputs = list(call.outputs.values())
    alike = [[own for own in outputs if squeeze_shape(own) == squeeze_shape(answer)] for answer in answers]
    if not all(alike):
        return 1
    near = (
        any(np.allclose(own.reshape(answer.shape), answer, rtol=_NEAR, atol=_NEAR, equal_nan=True) for own in some)
        for answer, some in zip(answers, alike, strict=True)
    )
    return AGREEING if all(near) else _FITTING


def _find_module_input_by_name(port: Port, unmatched: Sequence[str], calls: Sequence[RecordedCall]) -> str | None:
    """Return the name of the module's input, among `unmatched`, that has the name of the file's input `port`, apart
    from case and punctuation, and fits its axes and type. Return None if there is no such input."""
    fits = [name for name in unmatched if _can_port_take_array(port, calls[0].inputs[name])]
    return next((name for name in fits if normalize_name(name) == normalize_name(port.name)), None)


def _find_module_input_by_type_and_order(
    port: Port, unmatched: Sequence[str], calls: Sequence[RecordedCall]
) -> str | None:
    """Return the name of the module's first input, among `unmatched`, that fits the axes and type of the file's input
    `port`; one of exactly the same type is preferred. Return None if there is none. (Exporters keep the order.)"""
    fits = [name for name in unmatched if _can_port_take_array(port, calls[0].inputs[name])]
    same_type = [name for name in fits if port.kind == str(calls[0].inputs[name].dtype)]
    return next(iter(same_type or fits), None)


def normalize_name(name: str) -> str:
    """Return a name in lower case, without punctuation, to compare names that are written differently."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _can_port_take_array(port: Port, array: Array) -> bool:
    """Return whether an input of a file may take an array, by the array's number of axes and type. Integers and bools
    may be cast to any type."""
    if port.axes is not None and len(port.axes) != array.ndim:
        return False
    return port.kind is None or np.dtype(port.kind).kind == array.dtype.kind or array.dtype.kind in "ib"


def make_file_inputs(matched: Sequence[MatchedInput], module_inputs: Mapping[str, Array]) -> list[Array]:
    """Return the arrays for a file's inputs, in order, made from the module's inputs: with the axes in the file's
    order, and cast to the types that the file declares."""
    made = []
    for one in matched:
        array = module_inputs[one.name] if one.order is None else module_inputs[one.name].transpose(one.order)
        made.append(np.ascontiguousarray(array if one.port.kind is None else array.astype(one.port.kind)))
    return made


def match_outputs(
    file: CheckedFile, answers: Sequence[Array] | None, outputs: Mapping[str, Array]
) -> tuple[OutputPair, ...]:
    """Find out which output of the module each output of a file is compared with: by name, by order, or by shape and
    numbers. Return pairs of the index of the file's output, and the name of the module's output.

    Args:
        answers: the file's outputs in a call; None if the file failed.
        outputs: the module's outputs in the same call.

    Raises:
        InputError: no outputs match.
    """
    names, count = list(outputs), len(file.outputs) if answers is None else len(answers)
    by_name = {normalize_name(name): name for name in names}
    pairs = [
        (number, by_name[normalize_name(port.name)])
        for number, port in enumerate(file.outputs)
        if normalize_name(port.name) in by_name
    ]
    if not pairs and count == len(names):
        pairs = list(enumerate(names))
    if not pairs:
        for number in range(count if answers is not None else 0):
            assert answers is not None  # noqa: S101 - the line above
            left = [name for name in names if name not in {name for _, name in pairs}]
            alike = [name for name in left if squeeze_shape(outputs[name]) == squeeze_shape(answers[number])]
            if alike:
                pairs.append(
                    (number, min(alike, key=lambda name: _sum_absolute_differences(outputs[name], answers[number])))
                )
    if not pairs:
        shapes = [list(answer.shape) for answer in answers or ()]
        own = [list(array.shape) for array in outputs.values()]
        raise InputError(
            f"No output of {file.path} fits an output of the module: the file gives the shapes {shapes}, but the "
            f"module gives {own}.",
            "Compare the file with the module that it was made from, or export this module again.",
        )
    return tuple(pairs)


def squeeze_shape(array: Array) -> tuple[int, ...]:
    """Return the shape of an array without axes of size 1, to compare shapes: for one row, a squeeze() in forward
    removes the batch axis, too."""
    return tuple(size for size in array.shape if size != 1)


def _sum_absolute_differences(one: Array, other: Array) -> float:
    return float(np.nan_to_num(np.abs(one.reshape(-1).astype(float) - other.reshape(-1).astype(float))).sum())
