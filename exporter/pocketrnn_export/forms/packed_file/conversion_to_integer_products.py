"""Convert the matrix products of a packed program to products of 8-bit integers, where the weights have an integer
form.

docs/packed-format.md describes such a product. The rest of the program stays as it is, in float32.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Final

import numpy as np

from pocketrnn.bundle.packed_enums import Layer
from pocketrnn_export.forms.packed_file.program import (
    NONE,
    Array,
    Op,
    Program,
    round_columns_to_int8,
    round_table_to_int8_multiples,
)

# The sum of this many products of -128 to 127 by -127 to 127 is below 2^31.
MOST_ROWS: Final = 1 << 17
# A product that is computed once for a text takes a thousandth of the text's time, and its input would be rounded once
# more: it stays in float32. For a product that is computed for every token, integers are faster from some thousand
# weights on.
_SMALLEST_LINEAR: Final = 1 << 12
# The kinds of layers whose states are -1 to 1, by their number in the file.
_BOUNDED: Final = frozenset({Layer.RNN_TANH, Layer.LSTM, Layer.GRU, Layer.FORGET})
_X, _H0, _OUT, _WEIGHTS = 0, 1, 2, 1


@dataclass(frozen=True)
class IntegerForm:
    """A packed program whose matrix products use 8-bit integers where possible.

    Attributes:
        program: the program.
        matrices: the number of weight matrices that the program multiplies as integers.
        tables: the number of embedding tables that were rounded to int8, since only products of integers read their
            rows.
        left: the names of the operations that still multiply in float32.
    """

    program: Program
    matrices: int
    tables: int
    left: tuple[str, ...]


def convert_products_to_integers(program: Program) -> IntegerForm:
    """Copy a packed program, and convert the products of all weights that the engine can multiply as 8-bit integers.

    The weights of a tanh, LSTM, GRU or FORGET layer (a GRU whose gates do not depend on the state) are converted if its
    states, including the initial one, lie between -1 and 1. The weights of a linear layer are converted if it runs on
    every token and has at least 4,096 weights. All other weights stay float32, and so do weights that are not finite or
    have more than 2^17 rows.
    """
    made = deepcopy(program)
    left, matrices, integer_ops = [], set(), set()
    for number, op in enumerate(made.ops):
        done = (
            _convert_layer_to_integers(made, op)
            if op.name == "recurrent"
            else _convert_linear_to_integers(made, op)
            if op.name == "linear"
            else None
        )
        if done is not None:
            made.ops[number] = done
            matrices |= {v for v in (*done.weights, *done.operands) if v != NONE and made.values[v].scales is not None}
            integer_ops.add(number)
        elif op.name in ("recurrent", "linear", "matmul", "conv"):
            left.append(op.name)
    tables = _round_tables_read_by_integer_ops(made, integer_ops)
    return IntegerForm(made, len(matrices), tables, tuple(dict.fromkeys(left)))


def _add_integer_weights(program: Program, weights: int) -> int | None:
    """Add a copy of a weight matrix as 8-bit integers to the program. Return the index of the copy, or None if the
    matrix is not constant, is not finite, or has more than 2^17 rows. `weights` is the index of the matrix in the
    program."""
    numbers = program.values[weights].constant
    if numbers is None or not np.isfinite(numbers).all() or len(numbers) > MOST_ROWS:
        return None
    return program.add_matrix_multiplied_as_integers(*round_columns_to_int8(numbers))


def _convert_layer_to_integers(program: Program, op: Op) -> Op | None:
    """Return a copy of a recurrent layer that multiplies 8-bit integers, or None if its states may exceed 1 or its
    weights cannot be converted."""
    kind = op.words[0]
    behind = 8
    matrices = [value for place, value in enumerate(op.words[-behind:]) if place % 4 < 2 and value != NONE]
    # A FORGET layer does not multiply its states.
    if kind not in _BOUNDED or not (kind == Layer.FORGET or _is_bounded_state(program, op.operands[_H0])):
        return None
    made: dict[int, int] = {}
    for value in matrices:
        integers = _add_integer_weights(program, value)
        if integers is None:
            return None
        made[value] = integers
    words = (*op.words[:-behind], *(made.get(word, word) for word in op.words[-behind:]))
    return Op(op.name, op.operands, words, tuple(made.get(value, value) for value in op.weights))


def _is_bounded_state(program: Program, state: int) -> bool:
    """Return whether the initial state of a layer always lies between -1 and 1: it is zeros, or consists of such
    constants, or comes from the state of a stream, which an earlier run of the layer computed. `state` is the index of
    the initial state in the program; `NONE` for zeros."""
    if state == NONE:
        return True
    numbers: Array | None = program.values[state].constant
    return program.state_size > 0 if numbers is None else bool((np.abs(numbers) <= 1).all())


def _convert_linear_to_integers(program: Program, op: Op) -> Op | None:
    """Return a copy of a linear layer that multiplies 8-bit integers, or None if the layer does not run on every token,
    has fewer than 4,096 weights, or has weights that cannot be converted."""
    rows_by_token, _, inputs, outputs = op.words
    if not rows_by_token or inputs * outputs < _SMALLEST_LINEAR:
        return None
    integers = _add_integer_weights(program, op.operands[_WEIGHTS])
    if integers is None:
        return None
    return Op(op.name, (op.operands[_X], integers, *op.operands[_WEIGHTS + 1 :]), op.words)


def _round_tables_read_by_integer_ops(program: Program, integer_ops: set[int]) -> int:
    """Round to int8 the embedding tables whose rows only products of integers read. Return the number of these tables.
    `integer_ops` are the indices of the operations that multiply integers."""
    tables = set()
    for number, op in enumerate(program.ops):
        if op.name != "lookup":
            continue
        table, _, out = op.operands
        readers = [i for i, one in enumerate(program.ops) if out in one.values_read]
        only_x = all(program.ops[i].operands[_X] == out and program.ops[i].values_read.count(out) == 1 for i in readers)
        numbers = program.values[table].constant
        if not readers or not integer_ops.issuperset(readers) or not only_x or out in program.outputs:
            continue
        if numbers is None or not np.isfinite(numbers).all():
            continue
        rounded = program.add_constant(round_table_to_int8_multiples(numbers), is_table=True)
        program.ops[number] = Op(op.name, (rounded, *op.operands[1:]), op.words)
        tables.add(rounded)
    return len(tables)
