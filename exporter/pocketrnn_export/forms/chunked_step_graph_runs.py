"""Runs of a step graph for the proof. The step graph reads a text, or a sequence of numbers, in chunks. Each chunk
continues from the state after the chunk before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn_export.comparing.proof_inputs import Ids, Logits, Run

Floats = NDArray[np.float32]
# A step: (some ids or samples, the state before) -> (the logits, the state after).
ReadOn = Callable[[NDArray[Any], Floats], tuple[Floats, Floats]]
# Cut before each step.
_EACH: Final = 10**9


def list_chunk_counts_for_proof(step_word: str) -> dict[str, int | None]:
    """Return the ways in which the proof cuts a text into chunks for a step graph: a dict from each way's name in the
    proof's report to the number of chunks. None stands for chunks of random lengths. `step_word` is the word for one
    step in the names: `token` or `step`."""
    return {"3 chunks": 3, f"1 {step_word} each": _EACH, "chunks at random": None}


def make_step_graph_run_in_chunks(
    read_on: ReadOn, state_size: int, chunk_count: int | None, rows_of_ids: Floats | None = None
) -> Run:
    """Return a function that runs a step graph on whole texts or sequences: it feeds each one in chunks, and returns
    the logits after the last chunk.

    Args:
        read_on: runs the step graph on one chunk: (the chunk, the state before it) -> (the logits, the state after it).
        state_size: the number of floats in the state. Each text begins with a state of zeros.
        chunk_count: the number of chunks, of nearly equal length; a text with fewer tokens is cut into single tokens.
            None for chunks of random lengths.
        rows_of_ids: float32 [ids, channels], the sample that each id stands for, if the step graph takes samples; None
            if it takes ids.
    """
    generator = np.random.default_rng(0)

    def run_in_chunks(tokens: Ids, lengths: Ids) -> Logits:
        answers = []
        for ids, length in zip(tokens, lengths, strict=True):
            state = np.zeros((1, state_size), np.float32)
            for some in _cut_into_chunks(ids[:length], chunk_count, generator):
                logits, state = read_on(some if rows_of_ids is None else rows_of_ids[some], state)
            answers.append(logits)
        return np.concatenate(answers)

    return run_in_chunks


def _cut_into_chunks(ids: Ids, chunk_count: int | None, generator: np.random.Generator) -> Iterator[Ids]:
    """Cut the ids of a text into `chunk_count` chunks of nearly equal length, or, if it is None, into chunks of random
    lengths. Yield the chunks that are not empty."""
    places: Any = min(chunk_count or 0, len(ids))
    if chunk_count is None:
        places = np.sort(generator.integers(0, len(ids) + 1, len(ids) // 3))
    yield from (some for some in np.array_split(ids, places) if len(some))
