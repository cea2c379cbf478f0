"""Draw the row numbers of an epoch, and cut them into batches."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["cut_into_batches", "draw_epoch_row_numbers", "make_similar_length_batches"]

# Rows are sorted by length among this many batches at a time, and the batches shuffled.
_BATCHES_SORTED_TOGETHER: Final = 64


def draw_epoch_row_numbers(row_count: int, epoch_size: int, epoch: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw the row numbers of one epoch in random order, int64 [epoch_size].

    Each row is drawn once before any row is drawn a second time, also across epochs. The result depends only on the
    arguments, so that a run can be resumed at any epoch.

    Args:
        row_count: the number of rows of the data.
        epoch_size: the number of rows of an epoch.
        epoch: the number of the epoch, from 1.
        seed: the seed of the random order.
    """
    first, end = (epoch - 1) * epoch_size, epoch * epoch_size
    rounds = range(first // row_count, (end - 1) // row_count + 1)
    orders = [np.random.default_rng((seed, number)).permutation(row_count) for number in rounds]
    start = first - rounds.start * row_count
    return np.concatenate(orders)[start : start + epoch_size]


def make_similar_length_batches(
    rows: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], batch_size: int, rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Cut the row numbers of an epoch into batches of rows of similar length, and shuffle the batches.

    Args:
        rows: int64, the row numbers of an epoch in random order.
        lengths: int64 [rows of the data], the length of each row.
        batch_size: the number of rows of a batch. Rows are sorted by length within groups of 64 batches, and the last
            batch of the last group may be smaller.
        rng: the random generator that draws the order of the batches.
    """
    together = batch_size * _BATCHES_SORTED_TOGETHER
    batches = []
    for start in range(0, len(rows), together):
        group = rows[start : start + together]
        group = group[np.argsort(lengths[group], kind="stable")]
        batches += [group[i : i + batch_size] for i in range(0, len(group), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def cut_into_batches(rows: npt.NDArray[np.int64], batch_size: int) -> list[npt.NDArray[np.int64]]:
    """Cut the row numbers of an epoch into batches, in the order in which they were drawn.

    The last batch may be smaller.
    """
    return [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
