"""A program whose products are of integers: which of its weights have an integer form, and their numbers.

docs/packed-format.md says what such a product is. All else of the program stays as it is, in float32.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Final

import numpy as np

from pocketrnn.bundle.packed_codes import Layer
from pocketrnn_export.forms.packed_file.packed_program import NONE, Array, Op, Program, rounded_columns, rounded_rows

__all__ = ["MOST_ROWS", "IntegerForm", "with_integers"]

# So many products of -128 to 127 by -127 to 127 are below 2^31.
MOST_ROWS: Final = 1 << 17
# A product that is done once for a text takes a thousandth of its time, and what it is given is rounded once more: it
# stays in float32. One for every token pays from some thousand numbers on.
_SMALLEST_LINEAR: Final = 1 << 12
# The kinds of layers whose states are -1 to 1, by their number in the file.
_BOUNDED: Final = frozenset({Layer.RNN_TANH, Layer.LSTM, Layer.GRU, Layer.FORGET})
_X, _H0, _OUT, _WEIGHTS = 0, 1, 2, 1


@dataclass(frozen=True)
class IntegerForm:
    """A program with integers.

    Attributes:
        program: the program.
        matrices: how many matrices of weights it multiplies as integers.
        tables: how many tables of embeddings are rounded to int8, since nothing but such products reads their rows.
        left: what of it multiplies in float32, as names of operations; other operations do none of this.

    Example:
        >>> form = with_integers(program)
        >>> form.matrices, form.left
        (4, ('linear',))
    """

    program: Program
    matrices: int
    tables: int
    left: tuple[str, ...]


def with_integers(program: Program) -> IntegerForm:
    """A copy of a program, with integers wherever they have a form.

    That is: recurrent layers whose states are -1 to 1 (tanh, LSTM, GRU; where they begin is zeros, or known to be so),
    and linear layers of every token. Another layer's weights stay float32, and so do weights that are not finite or
    have more than 2^17 rows.

    Args:
        program: not finished yet.
    """
    made = deepcopy(program)
    left, matrices, exact = [], set(), set()
    for number, op in enumerate(made.ops):
        done = _layer(made, op) if op.name == "recurrent" else _linear(made, op) if op.name == "linear" else None
        if done is not None:
            made.ops[number] = done
            matrices |= {v for v in (*done.weights, *done.operands) if v != NONE and made.values[v].scales is not None}
            exact.add(number)
        elif op.name in ("recurrent", "linear", "matmul", "conv"):
            left.append(op.name)
    tables = _round_tables(made, exact)
    return IntegerForm(made, len(matrices), tables, tuple(dict.fromkeys(left)))


def _integers(program: Program, weights: int) -> int | None:
    """The number of the same weights as integers; None where they have no such form."""
    numbers = program.values[weights].constant
    if numbers is None or not np.isfinite(numbers).all() or len(numbers) > MOST_ROWS:
        return None
    return program.integers(*rounded_columns(numbers))


def _layer(program: Program, op: Op) -> Op | None:
    kind = op.words[0]
    behind = 8
    matrices = [value for place, value in enumerate(op.words[-behind:]) if place % 4 < 2 and value != NONE]
    # A layer that forgets multiplies no states.
    if kind not in _BOUNDED or not (kind == Layer.FORGET or _is_bounded(program, op.operands[_H0])):
        return None
    made: dict[int, int] = {}
    for value in matrices:
        integers = _integers(program, value)
        if integers is None:
            return None
        made[value] = integers
    words = (*op.words[:-behind], *(made.get(word, word) for word in op.words[-behind:]))
    return Op(op.name, op.operands, words, tuple(made.get(value, value) for value in op.weights))


def _is_bounded(program: Program, state: int) -> bool:
    """Whether a layer's first state is known to be -1 to 1: zeros, such constants, or what the step left itself."""
    if state == NONE:
        return True
    numbers: Array | None = program.values[state].constant
    return program.state_size > 0 if numbers is None else bool((np.abs(numbers) <= 1).all())


def _linear(program: Program, op: Op) -> Op | None:
    rows_by_token, _, inputs, outputs = op.words
    if not rows_by_token or inputs * outputs < _SMALLEST_LINEAR:
        return None
    integers = _integers(program, op.operands[_WEIGHTS])
    if integers is None:
        return None
    return Op(op.name, (op.operands[_X], integers, *op.operands[_WEIGHTS + 1 :]), op.words)


def _round_tables(program: Program, exact: set[int]) -> int:
    """Round the tables whose rows are read by products of integers only; how many."""
    tables = set()
    for number, op in enumerate(program.ops):
        if op.name != "lookup":
            continue
        table, _, out = op.operands
        readers = [i for i, one in enumerate(program.ops) if out in one.read]
        only_x = all(program.ops[i].operands[_X] == out and program.ops[i].read.count(out) == 1 for i in readers)
        numbers = program.values[table].constant
        if not readers or not exact.issuperset(readers) or not only_x or out in program.outputs or numbers is None:
            continue
        if not np.isfinite(numbers).all():
            continue
        rounded = program.constant(rounded_rows(numbers), is_table=True)
        program.ops[number] = Op(op.name, (rounded, *op.operands[1:]), op.words)
        tables.add(rounded)
    return len(tables)
