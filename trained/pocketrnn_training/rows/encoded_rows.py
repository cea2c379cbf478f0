"""Rows as a module reads them, in flat arrays: the ids of texts, or the scaled samples of sequences of numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.text import TextEncoder
from pocketrnn_training.rows.disk_backed_data import ByteBuffer

_Rows = TypeVar("_Rows", bound="EncodedRows")

__all__ = [
    "EncodedRows",
    "EncodedSequences",
    "EncodedTexts",
    "join_rows",
]


class EncodedRows(ABC):
    """Many rows in one array: row i is values[offsets[i]:offsets[i + 1]].

    A subclass is constructed from these two arrays.
    """

    offsets: npt.NDArray[np.int64]

    @abstractmethod
    def __init__(self, values: npt.NDArray[Any], offsets: npt.NDArray[np.int64]) -> None: ...

    @property
    @abstractmethod
    def values(self) -> npt.NDArray[Any]:
        """The values of all rows, one row after the other, [steps of all rows, ...]; a step is a token or a sample."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The number of steps of each row, int64 [rows]; at least 1."""
        return np.diff(self.offsets)

    def batch(self, rows: npt.NDArray[np.int64], padding: float) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Make a batch of some rows. Each row is padded at its end to the length of the longest row of the batch.

        Args:
            rows: int64 [batch], the numbers of the rows, from 0.
            padding: the value to pad with.

        Returns:
            tokens int64 [batch, sequence] or samples float32 [batch, time, channels]; lengths int64 [batch].
        """
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        columns = np.arange(lengths.max())
        real = columns < lengths[:, None]
        values = self.values
        kind = np.int64 if values.dtype.kind == "i" else values.dtype
        batch = np.full((*real.shape, *values.shape[1:]), padding, dtype=kind)
        batch[real] = values[(starts[:, None] + columns)[real]]
        return batch, lengths

    def select_rows(self, rows: npt.NDArray[np.int64]) -> Self:
        """Return the rows with the numbers `rows`, int64 [selected], in the order of these numbers."""
        lengths = self.lengths[rows]
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        places = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return type(self)(self.values[places], offsets)


def join_rows(first: _Rows, second: _Rows) -> _Rows:
    """Join the rows of two objects of the same class; those of the first object come first."""
    values = np.concatenate((first.values, second.values))
    return type(first)(values, np.concatenate((first.offsets, first.offsets[-1] + second.offsets[1:])))


@dataclass(frozen=True)
class EncodedTexts(EncodedRows):
    """Many texts as ids in one array: row i is ids[offsets[i]:offsets[i + 1]].

    Attributes:
        ids: int32 [tokens of all rows].
        offsets: int64 [rows + 1].
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def from_lengths(cls, ids: npt.NDArray[np.int32], lengths: npt.NDArray[np.int64]) -> EncodedTexts:
        """Make the rows from `ids`, which holds all rows one after the other, and their `lengths`, int64 [rows]."""
        return cls(ids, np.concatenate(([0], np.cumsum(lengths))))

    @classmethod
    def from_texts(cls, texts: Iterable[Any], encoder: TextEncoder) -> EncodedTexts:
        """Encode texts, or pairs of texts if the encoder takes pairs, and store the ids of each as a row."""
        return cls.from_rows(map(encoder.encode, texts))

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[int]]) -> EncodedTexts:
        """Make the rows from the ids of each row. Large data is kept in a temporary file."""
        ids, lengths = ByteBuffer(), ByteBuffer()
        for row in rows:
            ids.write(array("i", row).tobytes())
            lengths.write(array("q", (len(row),)).tobytes())
        return cls.from_lengths(ids.numbers(np.int32), lengths.numbers(np.int64))

    @property
    def values(self) -> npt.NDArray[np.int32]:
        """The ids of all texts, one text after the other."""
        return self.ids

    def join_pairs(self, mark: int) -> EncodedTexts:
        """Join rows 0 and 1, rows 2 and 3, and so on, with the id `mark` between them: half as many rows result."""
        lengths = self.lengths
        return EncodedTexts.from_lengths(
            np.insert(self.ids, self.offsets[1:-1:2], np.int32(mark)), lengths[::2] + lengths[1::2] + 1
        )


@dataclass(frozen=True)
class EncodedSequences(EncodedRows):
    """Many sequences of numbers in one array: row i is samples[offsets[i]:offsets[i + 1]].

    Attributes:
        samples: float32 [steps of all rows, channels], scaled as the module expects.
        offsets: int64 [rows + 1].
    """

    samples: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def from_sequences(cls, sequences: Iterable[object], rules: NumberInput) -> EncodedSequences:
        """Scale sequences from the sensor's units to the module's input, and store each as a row.

        Args:
            sequences: arrays [time, channels], as the sensor gives them.
            rules: the channels, and the mean and scale of each channel.

        Raises:
            SequenceError: a sequence has another number of channels than the rules, is empty, or holds a value that the
                rules refuse, such as infinity.
        """
        prepared = [rules.prepared(sequence) for sequence in sequences]
        samples = np.concatenate([np.empty((0, len(rules.channels)), np.float32), *prepared])
        return cls(samples, np.concatenate(([0], np.cumsum([len(sequence) for sequence in prepared], dtype=np.int64))))

    @property
    def values(self) -> npt.NDArray[np.float32]:
        """The samples of all sequences, one sequence after the other."""
        return self.samples
