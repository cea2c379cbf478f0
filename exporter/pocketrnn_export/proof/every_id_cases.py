"""Make cases that together contain every token id. Then the proof reads each row of an embedding."""

from __future__ import annotations

from typing import Final

import numpy as np

from pocketrnn_export.comparing.proof_inputs import Case

# Three tokens a row: short enough that each token changes the answer, and long enough for code that reads neighbours.
# 400,000 ids are 65 batches.
_WIDTH: Final = 3
_ROWS: Final = 2048


def make_cases_with_every_id(ids: int, *, batch: int | None = None, width: int = _WIDTH) -> list[Case]:
    """Make cases of short rows that together contain every id from 0 to `ids` - 1, in random order.

    Args:
        ids: the number of ids.
        batch: the most rows of a case, such as 1 for a graph that takes one text a run; None for 2,048.
        width: the number of tokens in a row.
    """
    order = np.random.default_rng(2).permutation(ids)
    # The last row is filled up with ids of the first rows.
    rows = np.resize(order, (-(-ids // width), width)).astype(np.int64)
    most = batch or _ROWS
    return [
        Case(f"ids {start * width} to {min(start * width + some.size, ids) - 1}", some, np.full(len(some), width))
        for start, some in ((start, rows[start : start + most]) for start in range(0, len(rows), most))
    ]
