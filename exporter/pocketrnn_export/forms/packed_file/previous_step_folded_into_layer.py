"""Fold the previous step into a layer whose input joins each step with the step before. The new layer reads the steps
themselves, and needs no joined copy."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pocketrnn.bundle.packed_enums import Layer
from pocketrnn_export.forms.packed_file.program import FLOAT, NONE, Op, Program

Places = npt.NDArray[np.int64]
# Sizes have the form a * tokens + b, so a result that holds for these numbers of tokens holds for all.
_TOKENS: Final = (1, 2, 3, 5, 8)
# The origin of a number: its index in a value, from 1, and the value in the bits above. 0 is a zero; -1 is unknown.
_OF_VALUE: Final = 1 << 32
_X, _CELL = 0, 2
_AXES: Final = 5
_WEIGHTS: Final = 8


class _Window(NamedTuple):
    """The two adjacent steps that a layer reads at once: each step of a value joined with the step before it.

    Attributes:
        steps: the index of the value whose steps the layer reads.
        is_first: whether the joined input has each step in front of its preceding step, as in torch.cat([x, shifted],
            2).
        before: the numbers with which the first step is joined: 0 for zeros, else value * 2^32 + position. There,
            `value` is the index of the value that holds these numbers, and `position`, counted from 1, is where they
            begin in it.
    """

    steps: int
    is_first: bool
    before: int


def fold_previous_step_into_layers(program: Program) -> None:
    """Change layers that read each step of x joined with the step before it, torch.cat([x, shifted], 2), in place. The
    new layers read x itself, and have separate weights for the step before. Only FORGET layers are changed: recurrent
    layers whose gates do not depend on the state.

    Args:
        program: a program with its outputs. Operations that are no longer needed are dropped.
    """
    for number in reversed(range(len(program.ops))):
        op = program.ops[number]
        if op.name != "recurrent" or op.words[0] != Layer.FORGET or op.operands[_CELL] != NONE:
            continue
        windows = {_find_value_read_with_previous_steps(program, op, tokens) for tokens in _TOKENS}
        if len(windows) == 1 and (window := windows.pop()) is not None:
            program.ops[number : number + 1] = _make_layer_that_reads_single_steps(program, op, window)
    program.drop_unused_operations()


def _find_value_read_with_previous_steps(program: Program, op: Op, tokens: int) -> _Window | None:
    """Find the value whose steps a layer reads in pairs, each step joined with the step before it. Return None if the
    layer reads another input. `tokens` is the number of tokens of the text for which this is decided."""
    columns, _, by_token, fixed = op.words[2:6]
    steps = by_token * tokens + fixed
    places = _trace_number_origins(program, op.operands[_X], tokens)
    if columns % 2 or steps < 1 or places.size != steps * columns:
        return None
    halves = places.reshape(steps, 2, -1).swapaxes(0, 1)
    for now, before, is_first in ((*halves, True), (*halves[::-1], False)):
        value, begin = divmod(int(now[0, 0]), _OF_VALUE)
        first = int(before[0, 0])
        if (
            value > 0
            and begin == 1
            and (now.ravel() == value * _OF_VALUE + 1 + np.arange(now.size)).all()
            and (before[1:] == now[:-1]).all()
            and first >= 0
            and (before[0] == first + (np.arange(columns // 2) if first else 0)).all()
            and _count_elements(program, value, tokens) == now.size
        ):
            return _Window(value, is_first, first)
    return None


def _make_layer_that_reads_single_steps(program: Program, op: Op, window: _Window) -> list[Op]:
    """Return the operations that replace a layer which reads pairs of steps: a layer that reads the single steps and,
    if the first step is joined with other numbers than zeros, a copy of these numbers in front of it."""
    begin = []
    half = op.words[2] // 2
    operands = [window.steps, *op.operands[1:]]
    if window.before:
        value, place = divmod(window.before, _OF_VALUE)
        operands[_CELL] = program.add_value(FLOAT, [(0, half)])
        one, none = (0, 1), (0, 0)
        row = [one, one, one, one, (0, half)]
        words = [*row, (0, place - 1), *[none] * 4, one, none, *[none] * 4, one]
        begin.append(Op("copy", (value, operands[_CELL]), tuple(part for size in words for part in size)))
    weights: list[int] = []
    for direction in range(2):
        matrix, _, bias, _ = op.words[-_WEIGHTS:][4 * direction : 4 * direction + 4]
        if matrix == NONE:
            weights += [NONE] * 4
            continue
        now, before = program.split_rows_in_half(matrix)[:: 1 if window.is_first else -1]
        weights += [now, before, bias, NONE]
    words_of_layer = (*op.words[:2], half, *op.words[3:-_WEIGHTS], *weights)
    return [*begin, Op(op.name, tuple(operands), words_of_layer, tuple(w for w in weights if w != NONE))]


def _count_elements(program: Program, value: int, tokens: int) -> int:
    return int(np.prod([a * tokens + b for a, b in program.values[value].factors]))


def _trace_number_origins(program: Program, value: int, tokens: int) -> Places:
    """Return an integer for each number of a value, which says where the number was copied from: equal positive
    integers stand for copies of the same number, 0 for a zero, and -1 for another constant.

    Args:
        value: the index of the value in the program.
        tokens: the number of tokens of the text for which this is decided.
    """
    numbers = _count_elements(program, value, tokens)
    constant = program.values[value].constant
    if constant is not None:
        return np.where(constant.ravel() == 0, 0, -1).astype(np.int64)
    writers = [op for op in program.ops if value in op.values_written]
    if not writers or any(op.name not in ("copy", "fill") for op in writers):
        return value * _OF_VALUE + 1 + np.arange(numbers)
    made = np.full(numbers, -1)
    for op in writers:
        if op.name == "fill":
            made[:] = 0 if op.words[0] == 0 else -1
            continue
        sizes = [a * tokens + b for a, b in zip(op.words[::2], op.words[1::2], strict=True)]
        shape, source, strides = sizes[:_AXES], sizes[_AXES], sizes[_AXES + 1 : 2 * _AXES + 1]
        target, target_strides = sizes[2 * _AXES + 1], sizes[2 * _AXES + 2 :]
        read = _trace_number_origins(program, op.operands[0], tokens)
        made[_list_copy_indices(shape, target, target_strides)] = read[_list_copy_indices(shape, source, strides)]
    return made


def _list_copy_indices(shape: list[int], offset: int, strides: list[int]) -> Places:
    """Return the indices of the numbers that a copy operation reads or writes, in order: offset + the sum of index *
    stride over all axes of `shape`."""
    places = np.full(shape, offset)
    for axis, stride in enumerate(strides):
        places += (np.arange(shape[axis]) * stride).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return places.ravel()
