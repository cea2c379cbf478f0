"""The program of a packed file: values, and the operations that compute the logits from the ids of one text or the
samples of one sequence."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pocketrnn.bundle.packed_enums import NumberType, Storage
from pocketrnn.bundle.packed_file import PackedProgram
from pocketrnn.errors import ExportError
from pocketrnn_export.forms.packed_file.size_dependent_values import Size
from pocketrnn_export.forms.packed_file.sizes_of_two_texts import unpack_two_factors

FLOAT: Final = NumberType.FLOAT
INT: Final = NumberType.INT
BOOL: Final = NumberType.BOOL
# Stands for an operand that is left out, or for the region of a constant.
NONE: Final = 0xFFFFFFFF

_FACTORS: Final = 4
_ALIGN: Final = 64
# Constants with fewer numbers are stored as they are.
_SMALLEST: Final = 256
Array = npt.NDArray[Any]

# For each operation: its code, the number of operands, and the indices of the operands that it writes.
_LAYOUT: Final[dict[str, tuple[int, int, tuple[int, ...]]]] = {
    "lookup": (0, 3, (2,)),
    "copy": (1, 2, (1,)),
    "fill": (2, 1, (0,)),
    "count": (3, 1, (0,)),
    "recurrent": (4, 6, (3, 4, 5)),
    "linear": (5, 4, (3,)),
    "matmul": (6, 3, (2,)),
    "unary": (7, 2, (1,)),
    "binary": (8, 3, (2,)),
    "where": (9, 4, (3,)),
    "reduce": (10, 2, (1,)),
    "softmax": (11, 2, (1,)),
    "norm": (12, 4, (3,)),
    "conv": (13, 4, (3,)),
    "pool": (14, 2, (1,)),
    "gather": (15, 3, (2,)),
    "argmax": (16, 2, (1,)),
    "cumsum": (17, 2, (1,)),
}


def convert_float_to_bits(number: float) -> int:
    """Return the 32 bits of a number in float32 as an integer."""
    return int(struct.unpack("<I", struct.pack("<f", number))[0])


@dataclass(frozen=True)
class Op:
    """An operation of a packed program.

    Attributes:
        name: the operation's name in the file format, such as `linear`.
        operands: the indices of the values that the operation reads or writes; `NONE` for an operand that is left out.
        words: the 32-bit integers that follow the operands in the file, such as sizes.
        weights: those of the `words` that are the indices of constants; the operation also reads these constants.
    """

    name: str
    operands: tuple[int, ...]
    words: tuple[int, ...]
    # Constants among the words, which are values too.
    weights: tuple[int, ...] = ()

    @property
    def values_written(self) -> list[int]:
        """The indices of the values that the operation writes."""
        return [self.operands[i] for i in _LAYOUT[self.name][2] if self.operands[i] != NONE]

    @property
    def values_read(self) -> list[int]:
        """The indices of the values that the operation reads."""
        written = _LAYOUT[self.name][2]
        return [v for i, v in enumerate(self.operands) if i not in written and v != NONE] + list(self.weights)


@dataclass
class _Value:
    """A value of a packed program: an input, a constant or the result of an operation.

    Attributes:
        type: FLOAT, INT or BOOL.
        factors: the sizes whose product is the number of elements, each as (a, b), which stands for a * tokens + b.
        constant: the numbers of a constant; else None.
        is_table: whether the value is a table in which ids are looked up.
        region: the index of the memory region that holds the value; `NONE` for a constant.
        scales: for weights that are multiplied as integers, the scale of each column; their `constant` is int8.
        stored: for a float32 constant that equals int8 numbers times a scale of each column, these numbers and scales.
    """

    type: int
    factors: tuple[Size, ...]
    constant: Array | None = None
    is_table: bool = False
    region: int = NONE
    # The scale of each column of weights that are multiplied as integers; `constant` is int8 then.
    scales: Array | None = None
    # A matrix that is stored as int8, and the scale of each column.
    stored: tuple[Array, Array] | None = None


@dataclass
class Program:
    """The values and operations of a packed file. Values have indices: value 0 is the input, which is the ids, int
    [tokens], or the samples, float [steps, channels]. Value 1 is a second input if there is one: the state of a step,
    the features of a text, float [features], or the ids of a second text, int [second].

    Attributes:
        state_size: the number of floats in the state of a step; 0 if the program takes whole texts.
        channels: the number of channels of the samples; 0 if the program takes ids.
        features: the number of features beside a text.
        second: the number of ids of a second text as a size (a, b); None if the program takes one text.
        values: the values, in the order of their indices.
        ops: the operations, in the order in which they run.
        outputs: the indices of the values that are the result: the logits and, for a step, the new state.
        turns: the numbers of tokens near which one size of the graph begins to exceed another.
        most: the most tokens for which every integer fits 32 bits; None for as many as the graph takes.
    """

    state_size: int = 0
    channels: int = 0
    features: int = 0
    second: Size | None = None
    values: list[_Value] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    turns: frozenset[int] = frozenset()
    most: int | None = None

    def __post_init__(self) -> None:
        self.values.append(_Value(FLOAT, ((1, 0), (0, self.channels))) if self.channels else _Value(INT, ((1, 0),)))
        if self.state_size or self.features:
            self.values.append(_Value(FLOAT, ((0, self.state_size or self.features),)))
        if self.second is not None:
            self.values.append(_Value(INT, (self.second,)))
        self._given = len(self.values)

    def add_value(self, kind: int, sizes: Iterable[Size]) -> int:
        """Add a value for the result of an operation. Return the value's index in the program.

        Args:
            kind: the type of its numbers: FLOAT, INT or BOOL.
            sizes: the sizes (a, b) of its axes, each of which stands for a * tokens + b.

        Raises:
            UnsupportedOperatorError: more than three sizes depend on the number of tokens.
        """
        varying = [size for size in sizes if size[0]]
        fixed = 1
        for a, b in sizes:
            fixed *= 1 if a else b
        if len(varying) >= _FACTORS:
            raise UnsupportedOperatorError(
                f"A value has {len(varying)} axes whose size depends on the number of tokens, but the native "
                f"engine supports at most {_FACTORS - 1}.",
                "Merge some axes with reshape in forward; or use the bundle with onnxruntime.",
            )
        self.values.append(_Value(kind, (*varying, (0, fixed))))
        return len(self.values) - 1

    def add_constant(self, numbers: Array, *, is_table: bool = False) -> int:
        """Add a constant of floats, integers or bools, unless the program has an equal one. Return the constant's index
        in the program.

        Args:
            numbers: the numbers. They are stored as float32, int32 or bool.
            is_table: whether ids are looked up in the constant.
        """
        kind = {"f": FLOAT, "i": INT, "b": BOOL}[numbers.dtype.kind]
        numbers = numbers.astype(["<f4", "<i4", "?"][kind])
        return self._add_constant_unless_present(_Value(kind, ((0, numbers.size),), numbers, is_table))

    def add_matrix_multiplied_as_integers(self, int8_matrix: Array, column_scales: Array) -> int:
        """Add a matrix that the engine multiplies as 8-bit integers, unless the program has an equal one. Return its
        index.

        Args:
            int8_matrix: int8 [rows, columns], from -127 to 127.
            column_scales: float32 [columns], the factor of each column.
        """
        sizes = ((0, int8_matrix.shape[0]), (0, int8_matrix.shape[1]))
        return self._add_constant_unless_present(
            _Value(FLOAT, sizes, int8_matrix.astype(np.int8), scales=column_scales.astype("<f4"))
        )

    def _add_constant_unless_present(self, constant: _Value) -> int:
        """Add a constant unless the program has an equal one. Return the index of the constant."""
        same = (index for index, known in enumerate(self.values) if _is_same_constant(constant, known))
        if (index := next(same, None)) is not None:
            return index
        self.values.append(constant)
        return len(self.values) - 1

    def add_operation(
        self, name: str, operands: Sequence[int], *words: int | Size, weights: Sequence[int] = ()
    ) -> None:
        """Add an operation at the end of the program.

        Args:
            name: the operation's name in the file format, such as `linear`.
            operands: the indices of the values that the operation reads or writes.
            words: the integers that follow the operands in the file. A size (a, b) becomes two integers.
            weights: the indices of the constants that the operation reads; they follow the other integers.
        """
        flat: list[int] = []
        for word in words:
            flat += self._encode_size_as_two_integers(word) if isinstance(word, tuple) else [word]
        self.ops.append(Op(name, tuple(operands), (*flat, *weights), tuple(w for w in weights if w != NONE)))

    def _encode_size_as_two_integers(self, size: Size) -> tuple[int, int]:
        """Return the two 32-bit integers that stand for a size in the file. If there are two texts, the first integer
        holds two factors of 16 bits each. Raise an UnsupportedOperatorError for a factor that does not fit."""
        if self.second is None:
            return size
        first, second = unpack_two_factors(size[0])
        if not all(-1 << 15 <= factor < 1 << 15 for factor in (first, second)):
            raise UnsupportedOperatorError(
                f"A size is {max(map(abs, (first, second))):,} times the number of tokens, but in a file of two "
                "texts, the native engine supports at most 32,767 times.",
                USE_OTHER_OPERATIONS,
            )
        return first + (second << 16), size[1]

    def encode_sections(self, step_program: Program | None = None) -> PackedProgram:
        """Encode the program as sections of the packed file. Operations that no output needs are dropped first.

        Args:
            step_program: the program of a step, if the file can answer streams; the two programs share equal constants.
                None if it cannot.
        """
        self.drop_unused_operations()
        regions = self._assign_memory_regions()
        weights = bytearray()
        values = b"".join(self._encode_value(value, weights) for value in self.values)
        numbers = (*self.outputs, len(self.values), len(self.ops), regions)
        steps = b""
        if step_program is not None:
            step_program.drop_unused_operations()
            of_step = step_program._assign_memory_regions()
            own = step_program._renumber_values_after_known_ones(self.values)
            values += b"".join(self._encode_value(value, weights) for value in own)
            head = [step_program.state_size, len(own), len(step_program.ops), of_step, *step_program.outputs]
            steps = struct.pack("<6I", *head) + step_program._encode_operations()
        return PackedProgram(values, self._encode_operations(), bytes(weights), numbers, steps)

    def _encode_operations(self) -> bytes:
        """Encode the operations as 32-bit integers, and return their bytes."""
        code = bytearray()
        for op in self.ops:
            words = [_LAYOUT[op.name][0], 2 + len(op.operands) + len(op.words), *op.operands, *op.words]
            code += struct.pack(f"<{len(words)}I", *(word & 0xFFFFFFFF for word in words))
        return bytes(code)

    def _renumber_values_after_known_ones(self, known_values: Sequence[_Value]) -> list[_Value]:
        """Renumber this program's values so that they can follow other values in a file. A constant that the file
        already has gets the index that it has there. Return the new values, in the order of their new indices.
        `known_values` are the values that the file already has."""
        numbers = {NONE: NONE, 0: 0}
        own: list[_Value] = []
        for index, value in enumerate(self.values[1:], 1):
            same = [
                i for i, one in enumerate(known_values) if value.constant is not None and _is_same_constant(value, one)
            ]
            numbers[index] = same[0] if same else len(known_values) + len(own)
            if not same:
                own.append(value)
        self._replace_value_indices(numbers)
        return own

    def split_rows_in_half(self, matrix: int) -> tuple[int, int]:
        """Add the upper and the lower half of a constant matrix as two constants. Return the indices of both; `NONE`
        for a half that is all zeros. The halves of an int8 matrix keep the matrix's scales, because a half may lack the
        number from which a scale was computed. `matrix` is the index of the matrix."""
        whole = self.values[matrix].constant
        assert whole is not None  # noqa: S101 - it is a constant
        stored = _find_int8_and_scales_that_give_matrix(whole, axis=0) if np.isfinite(whole).all() else None
        made = []
        for part in (slice(len(whole) // 2), slice(len(whole) // 2, None)):
            if not whole[part].any():
                made.append(NONE)
                continue
            made.append(self.add_constant(np.ascontiguousarray(whole[part])))
            if stored is not None:
                self.values[made[-1]].stored = (np.ascontiguousarray(stored[0][part]), stored[1])
        return made[0], made[1]

    def drop_unused_operations(self) -> None:
        """Remove the operations and values that no output needs. The remaining values get new indices, without gaps."""
        inputs = set(range(self._given))
        wanted, kept = {*self.outputs}, []
        for op in reversed(self.ops):
            if wanted & set(op.values_written):
                wanted |= set(op.values_read)
                kept.append(op)
        kept = [_drop_unread_outputs(op, wanted) for op in reversed(kept)]
        wanted |= {*inputs, *(v for op in kept for v in op.values_written)}
        self.ops = kept
        self.values = [self.values[old] for old in sorted(wanted)]
        self._replace_value_indices({old: new for new, old in enumerate(sorted(wanted))} | {NONE: NONE})

    def _replace_value_indices(self, new_indices: dict[int, int]) -> None:
        """Replace each value's old index by the new one, in the outputs and in all operations. `new_indices` maps old
        indices to new ones."""
        self.outputs = [new_indices[output] for output in self.outputs]
        self.ops = [
            Op(
                op.name,
                tuple(new_indices[v] for v in op.operands),
                _renumber_weights_in_words(op, new_indices),
                tuple(new_indices[w] for w in op.weights),
            )
            for op in self.ops
        ]

    def _assign_memory_regions(self) -> int:
        """Assign a memory region to each value that is not a constant, and return the number of regions. Values that
        are not needed at the same time share a region."""
        last = {value: i for i, op in enumerate(self.ops) for value in (*op.values_read, *op.values_written)}
        last |= dict.fromkeys(self.outputs, len(self.ops))
        free: dict[tuple[Any, ...], list[int]] = {}
        # The ids, and what is given with them, are the caller's memory, which is not reused.
        given = self._given
        for value in self.values[:given]:
            value.region = 0
        regions = 1
        for i, op in enumerate(self.ops):
            for index in op.values_written:
                value = self.values[index]
                if value.region == NONE:
                    kind = (value.type, value.factors)
                    if free.get(kind):
                        value.region = free[kind].pop()
                    else:
                        value.region = regions
                        regions += 1
            for index in {*op.values_read, *op.values_written}:
                value = self.values[index]
                if last[index] == i and value.constant is None and index >= given:
                    free.setdefault((value.type, value.factors), []).append(value.region)
        return regions

    def _encode_value(self, value: _Value, weights: bytearray) -> bytes:
        """Encode a value as 32-bit integers, and return their bytes. Append the numbers of a constant to `weights`, the
        bytes of the file's section of weights."""
        factors = [word for size in value.factors for word in self._encode_size_as_two_integers(size)]
        storage, offset, scale_offset = Storage.AS_IS, 0, 0
        if value.constant is not None:
            numbers = value.constant
            if value.scales is None:
                storage, stored, scales = (
                    (Storage.BYTES_BY_COLUMN, *value.stored)
                    if value.stored is not None
                    else _choose_storage(numbers, is_table=value.is_table)
                )
            else:
                storage, stored, scales = Storage.INTEGERS_BY_COLUMN, group_rows_by_four(numbers), value.scales
            shape = numbers.shape if numbers.ndim == 2 else (1, numbers.size)
            factors = [0, shape[0], 0, shape[1]]
            offset = _append_array_at_aligned_offset(weights, stored)
            scale_offset = 0 if scales is None else _append_array_at_aligned_offset(weights, scales)
        factors += [0, 1] * (_FACTORS - len(factors) // 2)
        words = [value.type | value.is_table << 8, value.region, storage, offset, scale_offset, *factors]
        return struct.pack(f"<{len(words)}I", *(word & 0xFFFFFFFF for word in words))


def _is_same_constant(value: _Value, other: _Value) -> bool:
    """Return whether two values are equal constants."""
    a, b = value.constant, other.constant
    return (
        a is not None
        and b is not None
        and (value.type, value.is_table, a.shape, a.dtype) == (other.type, other.is_table, b.shape, b.dtype)
        and a.tobytes() == b.tobytes()
        and (value.scales is None) == (other.scales is None)
        and (value.scales is None or other.scales is None or value.scales.tobytes() == other.scales.tobytes())
    )


def _drop_unread_outputs(op: Op, wanted_values: set[int]) -> Op:
    """Return an operation without those of its outputs that are not in `wanted_values`. Only a recurrent layer may lack
    an output; other operations are returned unchanged."""
    if op.name != "recurrent":
        return op
    written = _LAYOUT[op.name][2]
    operands = tuple(NONE if i in written and v not in wanted_values else v for i, v in enumerate(op.operands))
    return Op(op.name, operands, op.words, op.weights)


def _renumber_weights_in_words(op: Op, new_indices: dict[int, int]) -> tuple[int, ...]:
    """Return the `words` of an operation, with the indices of its weights replaced by new ones. `new_indices` maps old
    indices to new ones."""
    if not op.weights:
        return op.words
    behind = 8 if op.name == "recurrent" else len(op.weights)
    return (*op.words[:-behind], *(new_indices[w] for w in op.words[-behind:]))


def _append_array_at_aligned_offset(weights: bytearray, array: Array) -> int:
    """Append an array to the section of weights at the next multiple of 64 bytes, and return its offset in the
    section."""
    weights += bytes(-len(weights) % _ALIGN)
    offset = len(weights)
    weights += array.tobytes()
    return offset


def group_rows_by_four(matrix: Array) -> Array:
    """Rearrange an int8 matrix [rows, columns] as [rows / 4, columns, 4], in the order in which the engine's kernels
    read it. Rows of zeros fill up the last group."""
    rows, columns = matrix.shape
    filled = np.zeros((-(-rows // 4) * 4, columns), np.int8)
    filled[:rows] = matrix
    return np.ascontiguousarray(filled.reshape(-1, 4, columns).transpose(0, 2, 1))


def round_columns_to_int8(numbers: Array) -> tuple[Array, Array]:
    """Round a float32 matrix to int8, from -127 to 127, with a scale for each column. Return the int8 matrix and the
    scales. A matrix that was rounded before keeps its numbers."""
    found = _find_int8_and_scales_that_give_matrix(numbers, axis=0)
    if found is not None:
        return found
    scales = (np.abs(numbers).max(0) / np.float32(127)).astype(np.float32)
    scales = np.where(scales > 0, scales, np.float32(1))
    with np.errstate(over="ignore"):
        whole = np.clip(np.rint(numbers / scales), -127, 127).astype(np.int8)
    return whole, scales


def round_table_to_int8_multiples(numbers: Array) -> Array:
    """Round a float32 table to the products of int8 numbers and one scale for each row. Return these products, as
    float32."""
    whole, scales = round_columns_to_int8(np.ascontiguousarray(numbers.T))
    return np.ascontiguousarray((whole.astype(np.float32) * scales).T)


def _choose_storage(numbers: Array, *, is_table: bool) -> tuple[int, Array, Array | None]:
    """Choose the smallest storage that holds a constant exactly. Return the storage's code, the stored numbers, and
    their scales, or None if it has none.

    Args:
        numbers: the constant.
        is_table: whether ids are looked up in it; then int8 numbers have a scale for each row, else for each column.
    """
    if numbers.dtype != np.float32 or numbers.ndim != 2 or numbers.size < _SMALLEST or not np.isfinite(numbers).all():
        return Storage.AS_IS, numbers, None
    found = _find_int8_and_scales_that_give_matrix(numbers, axis=1 if is_table else 0)
    if found is not None:
        return Storage.BYTES_BY_ROW if is_table else Storage.BYTES_BY_COLUMN, *found
    with np.errstate(over="ignore"):
        half = numbers.astype("<f2")
    if (half.astype(np.float32) == numbers).all():
        return Storage.HALF, half, None
    return Storage.AS_IS, numbers, None


def _find_int8_and_scales_that_give_matrix(numbers: Array, *, axis: int) -> tuple[Array, Array] | None:
    """Find int8 numbers, and scales along an axis, whose products are exactly the numbers of a float32 matrix. Return
    the int8 numbers and the scales; None if there are none."""
    largest = np.abs(numbers).max(axis)
    scales = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
    # The largest number is 127 * scale, rounded, so the scale that is computed from it may differ from the original one
    # in the last digit.
    for step in (0, 1, -1, 2, -2):
        tried = scales
        for _ in range(abs(step)):
            tried = np.nextafter(tried, np.float32(np.sign(step) * np.inf), dtype=np.float32)
        spread = np.expand_dims(tried, axis)
        whole = np.clip(np.rint(numbers / spread), -127, 127)
        right = (whole.astype(np.float32) * spread == numbers).all(axis)
        if step == 0:
            found, chosen = right.copy(), scales.copy()
        chosen = np.where(right & ~found, tried, chosen)
        found |= right
    if not found.all():
        return None
    whole = np.clip(np.rint(numbers / np.expand_dims(chosen, axis)), -127, 127).astype(np.int8)
    return whole, chosen.astype("<f4")


# --- The error for an operator that the engine cannot compute, and what to do about it ---

COMPUTE_IN_FLOAT32: Final = "Compute this in float32, or in whole numbers; or use the bundle with onnxruntime."
USE_OTHER_OPERATIONS: Final = "Use the bundle with onnxruntime, or use other operations in that part of forward."


class UnsupportedOperatorError(ExportError):
    """An operator of a graph that the native engine cannot compute. The code that translates graphs adds the operator's
    name and place to the message.

    Args:
        problem: the reason, a sentence.
        remedy: the sentence that says what to do.
    """

    def __init__(self, problem: str, remedy: str = USE_OTHER_OPERATIONS) -> None:
        super().__init__(problem, remedy)
