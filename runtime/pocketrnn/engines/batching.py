"""Divide many texts into few runs of the graph.

A run is a rectangle of token ids as wide as its longest text. Padding takes time as tokens do, and every run has an
overhead, so texts of similar lengths share a run. A graph whose answers depend on padding gets only texts of equal
length in a run; if it takes an id inside a text for padding, a text with such an id gets a run of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_TOKENS", "Steps", "divide_into_runs", "mark_texts_with_ids", "pad_rows"]

# Token ids, or samples of sequences of numbers.
Steps = NDArray[np.int64] | NDArray[np.float32]

# An LSTM(64 -> 32) takes 30.2 us a text with this; 33.6 with runs of 512 tokens, 30.9 with 4,096. With 32,768, an
# LSTM(50 -> 128) exceeds the cache and takes two thirds more. docs/benchmarks.md, "How texts are put into runs".
MAX_TOKENS: Final = 2048
# A text may be shorter than its run's width by a fifth or by 8 tokens: 32 texts then take 19.4 us each; 31.2 us with
# equal lengths only (21 runs), and 21.5 us with any lengths in one run.
_SHORTEST: Final = 0.8
_SLACK: Final = 8


def divide_into_runs(
    lengths: NDArray[np.int64],
    *,
    padding: bool,
    max_tokens: int = MAX_TOKENS,
    max_texts: int | None = None,
    alone: NDArray[np.bool_] | None = None,
) -> Iterator[NDArray[np.intp]]:
    """Divide texts of similar lengths into runs of the graph, each of at most `max_tokens` tokens, padding included. A
    longer text runs alone.

    Args:
        lengths: int64 [texts], how many ids each text has, at least 1.
        padding: whether texts of different lengths may share a run.
        max_tokens: the largest number of tokens of a run, 1 or more.
        max_texts: the largest number of texts of a run, 1 or more; None for no limit.
        alone: bool [texts], True for a text that gets a run of its own; None if there is no such text.

    Yields:
        intp [texts of the run], the indices of the run's texts, the longest text first. Every text is in one run.
    """
    order = np.argsort(-lengths, kind="stable")
    by_themselves = order[:0] if alone is None else order[alone[order]]
    if len(by_themselves):
        order = order[~alone[order]]  # type: ignore[index]
    negated = -lengths[order]
    start = 0
    while start < len(order):
        width = -int(negated[start])
        shortest = min(int(width * _SHORTEST), width - _SLACK) if padding else width
        like_length = int(np.searchsorted(negated, -shortest, side="right"))
        end = min(like_length, start + min(max(1, max_tokens // width), max_texts or len(order)))
        yield order[start:end]
        start = end
    yield from by_themselves[:, None]


def mark_texts_with_ids(ids: Steps, lengths: NDArray[np.int64], wanted: Sequence[int]) -> NDArray[np.bool_] | None:
    """Mark the texts that contain at least one of the wanted ids.

    Args:
        ids: int64 [ids of all texts], one text after the other.
        lengths: int64 [texts], how many ids each text has, at least 1.

    Returns:
        bool [texts]; None if no text contains one.
    """
    if not wanted:
        return None
    found = ids == wanted[0] if len(wanted) == 1 else np.isin(ids, np.asarray(wanted))
    return np.logical_or.reduceat(found, np.cumsum(lengths) - lengths) if found.any() else None


def pad_rows(steps: Steps, starts: NDArray[np.int64], lengths: NDArray[np.int64], padding: float | list[int]) -> Steps:
    """Pad rows of ids or samples to the length of the longest row, and join them into one array.

    Args:
        steps: [ids of all texts] or [time of all sequences, channels], one row after the other; more rows than the
            wanted ones may be there.
        starts: int64 [rows], the index in `steps` of each wanted row's first step.
        lengths: int64 [rows], how many steps each wanted row has.
        padding: what fills the rest of a row: an id, a number, or the values of one step.

    Returns:
        [rows, longest length, ...].
    """
    across = np.arange(int(lengths.max()))
    inside = across < lengths[:, None]
    # After a row's end the index may leave the array: `clip` keeps it inside, and those elements are overwritten.
    made = steps.take(starts[:, None] + across, axis=0, mode="clip")
    made[~inside] = padding
    return made
