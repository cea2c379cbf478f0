"""Compute products of integers in numpy, and compare each number exactly with the native engine's product.

The arithmetic is that of docs/packed-format.md, "Products of integers", in a few lines. It reads the file's own bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pocketrnn.bundle.manifest import Comparison
from pocketrnn.bundle.packed_enums import Storage
from pocketrnn.bundle.packed_file import PackedProgram
from pocketrnn.engines.native import import_native_module
from pocketrnn.errors import ParityError
from pocketrnn_export.comparing.logit_comparison import CandidateComparison

# The proof's names for the engine's products of integers, and for their reference.
PRODUCTS: Final = "products of int8"
STATEMENT: Final = "numpy, exactly"
_VALUE: Final = 13
_NONE: Final = 0xFFFFFFFF
# The number of random rows for each matrix, besides the rows that are hard on purpose.
_DRAWN: Final = 32
_LEAST: Final = np.float32(1e-30)

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class IntegerWeights:
    """The weights in a packed file that are multiplied as integers.

    Attributes:
        value: the index of the weights among the values in the file.
        whole: the integers, int8 [rows, columns].
        scales: the factor of each column's integers, float32 [columns].
    """

    value: int
    whole: Integers
    scales: Floats


def read_integer_weights(program: PackedProgram) -> Iterator[IntegerWeights]:
    """Yield the weights of a packed program that are stored as integers, read from the file's bytes as
    docs/packed-format.md defines them."""
    for number, record in enumerate(np.frombuffer(program.values, "<u4").reshape(-1, _VALUE)):
        region, storage, offset, at_scales = (int(word) for word in record[1:5])
        if region != _NONE or storage != Storage.INTEGERS_BY_COLUMN:
            continue
        rows, columns = int(record[6]), int(record[8])
        fours = np.frombuffer(program.weights, np.int8, -(-rows // 4) * 4 * columns, offset).reshape(-1, columns, 4)
        whole = fours.transpose(0, 2, 1).reshape(-1, columns)[:rows]
        yield IntegerWeights(number, whole, np.frombuffer(program.weights, "<f4", columns, at_scales))


def round_rows_to_engine_integers(x: Floats, *, as_states: bool) -> Integers:
    """Round float rows to the integers that the engine multiplies in place of the floats.

    Args:
        x: float32 [count, rows].
        as_states: multiply each number by 127, as the engine does for states, which are at most 1; else multiply each
            row so that its largest number becomes 127.

    Returns:
        int8 [count, rows].
    """
    factor = np.full((len(x), 1), np.float32(127))
    if not as_states:
        largest = np.abs(x).max(1, keepdims=True)
        is_zero = largest < _LEAST
        factor = np.where(is_zero, np.float32(0), np.float32(127) / np.where(is_zero, np.float32(1), largest))
    with np.errstate(over="ignore"):
        product = x * factor
    # numpy rounds halves to even.
    whole: Integers = np.rint(np.clip(product, -127, 127)).astype(np.int8)
    return whole


def multiply_rounded_rows_by_weights(rounded_rows: Integers, weights: IntegerWeights) -> Integers:
    """Return the matrix product of `rounded_rows`, int8 [count, rows], and integer weights, int8 [rows, columns]:
    int32 [count, columns]. The scales of the weights are not applied."""
    made: Integers = rounded_rows.astype(np.int32) @ weights.whole.astype(np.int32)
    return made


def compare_integer_products_with_numpy(file: Path, program: PackedProgram, *, in_place: bool) -> CandidateComparison:
    """Multiply random and difficult rows by each integer matrix of a packed file, in the native engine and in numpy,
    and compare the integers exactly.

    Args:
        file: the packed file.
        program: the sections of this file.
        in_place: whether the engine reads the weights from the file's memory and does not copy them.

    Returns:
        The entry for the proof, with the number of rows.

    Raises:
        ParityError: an integer differs.
    """
    engine = import_native_module().Packed(file.read_bytes(), 0, in_place)
    generator, asked, matrices = np.random.default_rng(0), 0, 0
    for weights in read_integer_weights(program):
        matrices += 1
        for as_states in (False, True):
            x = _make_test_rows(weights.whole, generator)
            given = np.empty(x.shape, np.int8), np.empty((len(x), weights.whole.shape[1]), np.int32)
            engine.integers(weights.value, x, as_states, *given)
            wanted = round_rows_to_engine_integers(x, as_states=as_states)
            if not np.array_equal(wanted, given[0]) or not np.array_equal(
                multiply_rounded_rows_by_weights(wanted, weights), given[1]
            ):
                raise ParityError(
                    f"The native engine multiplies with the weight matrix number {weights.value} of the packed file "
                    "and gets other numbers than the format of packed files defines.",
                    "No file was written. This is a fault of pocketrnn or of the compiler that built pocketrnn-native. "
                    "Report it with the names of your processor and of the compiler.",
                )
            asked += len(x)
    candidate = f"{PRODUCTS}, in place" if in_place else PRODUCTS
    line = Comparison(STATEMENT, candidate, "drawn rows", matrices, asked, 0.0, 0)
    return CandidateComparison(line, ())


def _make_test_rows(integer_weights: Integers, generator: np.random.Generator) -> Floats:
    """Make rows of floats, float32 [count, rows], to be multiplied by weights [rows, columns]: random rows; rows with
    the largest possible sums; numbers halfway between two integers, and the floats next to them; numbers larger than
    states can be; numbers too small to divide by."""
    rows, columns = integer_weights.shape
    drawn = generator.normal(0, 0.5, (_DRAWN, rows))
    largest = np.sign(integer_weights[:, generator.integers(0, columns, 8)]).T
    halves = (generator.integers(-127, 127, (8, rows)) + 0.5) / 127
    halves[:, 0] = 1
    beside = np.nextafter(halves[:4].astype(np.float32), np.float32(2)).astype(np.float64)
    hard = [
        np.ones((1, rows)),
        -np.ones((1, rows)),
        np.zeros((1, rows)),
        drawn[:1] * 1e-32,
        drawn[:2] * 1e30,
        drawn[:2] * 9,
    ]
    return np.ascontiguousarray(np.concatenate([drawn, largest, halves, beside, *hard]), np.float32)
