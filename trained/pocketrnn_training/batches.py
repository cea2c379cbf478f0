"""Encoded texts in flat arrays, and batches of them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pocketrnn.text import TextEncoder
from pocketrnn_training.stored import Spool

__all__ = ["EncodedTexts", "random_batches", "rows_of_epoch", "similar_length_batches"]

# Rows are sorted by length among this many batches at a time, and the batches shuffled.
_BATCHES_SORTED_TOGETHER = 64


@dataclass(frozen=True)
class EncodedTexts:
    """Many texts as ids in one array: row i is ids[offsets[i]:offsets[i + 1]].

    Attributes:
        ids: int32 [tokens of all rows].
        offsets: int64 [rows + 1].
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def from_lengths(cls, ids: npt.NDArray[np.int32], lengths: npt.NDArray[np.int64]) -> EncodedTexts:
        """From the ids of all rows and the length of each."""
        return cls(ids, np.concatenate(([0], np.cumsum(lengths))))

    @classmethod
    def of(cls, texts: Iterable[str], encoder: TextEncoder) -> EncodedTexts:
        """Encode the texts; much data is kept in a temporary file (`pocketrnn_training.stored`)."""
        ids, lengths = Spool(), Spool()
        for text in texts:
            row = encoder.encode(text)
            ids.write(array("i", row).tobytes())
            lengths.write(array("q", (len(row),)).tobytes())
        return cls.from_lengths(ids.numbers(np.int32), lengths.numbers(np.int64))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """int64 [rows]: the number of tokens of each row, at least 1."""
        return np.diff(self.offsets)

    def batch(
        self, rows: npt.NDArray[np.int64], padding_id: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The given rows, padded at the end to the longest of them.

        Returns:
            tokens int64 [batch, sequence], lengths int64 [batch].
        """
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        columns = np.arange(lengths.max())
        real = columns < lengths[:, None]
        tokens = np.full(real.shape, padding_id, dtype=np.int64)
        tokens[real] = self.ids[(starts[:, None] + columns)[real]]
        return tokens, lengths


def rows_of_epoch(rows: int, size: int, epoch: int, seed: int) -> npt.NDArray[np.int64]:
    """The row numbers of one epoch, int64 [size], in random order.

    Over the epochs, every row is drawn once before any is drawn again. The rows of an epoch follow from its number and
    the seed alone, so that a run can be resumed at any epoch.

    Args:
        rows: the number of rows of the data.
        size: the number of rows of an epoch.
        epoch: the number of the epoch, from 1.
        seed: decides the order.
    """
    first, end = (epoch - 1) * size, epoch * size
    rounds = range(first // rows, (end - 1) // rows + 1)
    orders = [np.random.default_rng((seed, number)).permutation(rows) for number in rounds]
    start = first - rounds.start * rows
    return np.concatenate(orders)[start : start + size]


def similar_length_batches(
    rows: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], batch_size: int, rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Batches of rows of similar length, in random order.

    Args:
        rows: int64, the row numbers of an epoch in random order.
        lengths: int64 [rows of the data], the length of each row.
        batch_size: the rows of a batch; the last batch of a group may have fewer.
        rng: decides the order of the batches.
    """
    together = batch_size * _BATCHES_SORTED_TOGETHER
    batches = []
    for start in range(0, len(rows), together):
        group = rows[start : start + together]
        group = group[np.argsort(lengths[group], kind="stable")]
        batches += [group[i : i + batch_size] for i in range(0, len(group), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def random_batches(rows: npt.NDArray[np.int64], batch_size: int) -> list[npt.NDArray[np.int64]]:
    """Batches of the rows in the given order; the last one may have fewer."""
    return [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
