"""Cases that together hold every token id, so that no row of an embedding goes unread."""

from __future__ import annotations

from typing import Final

import numpy as np

from pocketrnn_export.comparing.cases import Case

__all__ = ["cases_of_every_id"]

# Three tokens a row: short, so that each token still tells in the answer, and long enough for what looks at
# neighbours. 400,000 ids are 65 batches.
_WIDTH: Final = 3
_ROWS: Final = 2048


def cases_of_every_id(ids: int, *, batch: int = _ROWS, width: int = _WIDTH, seed: int = 2) -> list[Case]:
    """Cases of short rows that together hold every id from 0 to `ids` - 1 once, in a drawn order.

    Args:
        ids: how many there are.
        batch: how many rows a case has at most; 1 for a graph that takes one text a run.
        width: how many tokens a row has.
        seed: of the order.

    Example:
        >>> [case.tokens.shape for case in cases_of_every_id(7_000)]
        [(2048, 3), (286, 3)]
    """
    order = np.random.default_rng(seed).permutation(ids)
    # The last row is filled with ids that stand in the first ones.
    rows = np.resize(order, (-(-ids // width), width)).astype(np.int64)
    return [
        Case(f"ids {start * width} to {min(start * width + some.size, ids) - 1}", some, np.full(len(some), width))
        for start, some in ((start, rows[start : start + batch]) for start in range(0, len(rows), batch))
    ]
