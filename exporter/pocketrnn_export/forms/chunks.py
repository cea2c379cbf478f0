"""How the proof of a step reads a text or a sequence: in chunks, one after the other, each from the state before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn_export.comparing.cases import Ids, Logits, Run

__all__ = ["Floats", "ReadOn", "chunks_read", "read_in_chunks"]

Floats = NDArray[np.float32]
# Reads on from a state: some ids or samples, the state -> the logits, the new state.
ReadOn = Callable[[NDArray[Any], Floats], tuple[Floats, Floats]]
# Each step by itself.
_EACH: Final = 10**9


def chunks_read(each: str) -> dict[str, int | None]:
    """Into how many chunks a text or sequence is cut, as the proof calls them; None: at random.

    Args:
        each: what a step is: `token`, `step`.

    Example:
        >>> list(chunks_read("token"))
        ['3 chunks', '1 token each', 'chunks at random']
    """
    return {"3 chunks": 3, f"1 {each} each": _EACH, "chunks at random": None}


def read_in_chunks(read_on: ReadOn, state_size: int, parts: int | None, rows: Floats | None = None) -> Run:
    """A run on whole texts or sequences, each read in so many chunks of equal length, or fewer where it is short.

    Args:
        read_on: what reads some more.
        state_size: of the state that it begins with, zeros.
        parts: as `chunks_read` has them.
        rows: of a step that takes samples, those that ids stand for.
    """
    generator = np.random.default_rng(0)

    def run(tokens: Ids, lengths: Ids) -> Logits:
        answers = []
        for ids, length in zip(tokens, lengths, strict=True):
            state = np.zeros((1, state_size), np.float32)
            for some in _cut(ids[:length], parts, generator):
                logits, state = read_on(some if rows is None else rows[some], state)
            answers.append(logits)
        return np.concatenate(answers)

    return run


def _cut(ids: Ids, parts: int | None, generator: np.random.Generator) -> Iterator[Ids]:
    places: Any = min(parts or 0, len(ids))
    if parts is None:
        places = np.sort(generator.integers(0, len(ids) + 1, len(ids) // 3))
    yield from (some for some in np.array_split(ids, places) if len(some))
