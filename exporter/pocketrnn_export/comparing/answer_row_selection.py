"""Select the rows of an answer that are not padding, and split the rows by text."""

from __future__ import annotations

from typing import Any

import numpy as np

from pocketrnn_export.comparing.proof_inputs import Ids


def select_answer_rows(answer: Any, lengths: Ids) -> Any:
    """Select the rows of an answer that are not padding.

    From [batch, classes], these are all rows; from [batch, sequence, classes], the rows of real tokens, as [tokens,
    classes]. If the module counts fewer tokens and does not answer some, these rows get NaN.

    Args:
        answer: the output of a module or a graph.
        lengths: int64 [batch].
    """
    if answer.ndim != 3:
        return answer
    missing = int(lengths.max()) - answer.shape[1]
    if missing > 0:
        answer = np.pad(answer, ((0, 0), (0, missing), (0, 0)), constant_values=np.nan)
    return answer[np.arange(answer.shape[1]) < lengths[:, None]]


def split_by_text(rows: Any, lengths: Ids) -> list[Any]:
    """Split the rows of an answer by text, and return an array of rows for each text.

    A row may also be a single number that was measured for the text or token.

    Args:
        rows: [batch, ...], or [tokens, ...] as `select_answer_rows` returns them.
        lengths: int64 [batch].

    Raises:
        ValueError: the number of rows fits neither shape.
    """
    if len(rows) == len(lengths):
        return [rows[i : i + 1] for i in range(len(rows))]
    if len(rows) != lengths.sum():
        raise ValueError(
            f"the answer has {len(rows)} rows, not {len(lengths)} (one for each text) or {lengths.sum()} (one for each "
            "token)"
        )
    return np.split(rows, np.cumsum(lengths)[:-1])
