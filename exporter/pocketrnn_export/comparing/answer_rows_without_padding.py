"""Select the rows of an answer that are not padding, and split the rows by text."""

from __future__ import annotations

from typing import Any

import numpy as np

from pocketrnn_export.comparing.proof_inputs import Ids


def drop_padding_rows_of_answer(answer: Any, lengths: Ids) -> Any:
    """Return an answer without its padding rows. From [batch, sequence, classes], select the rows of the tokens within
    each text's length, [tokens, classes]; if `sequence` is shorter than a length, the missing rows are NaN. Return an
    answer [batch, classes] unchanged. `lengths` is int64 [batch]."""
    if answer.ndim != 3:
        return answer
    missing = int(lengths.max()) - answer.shape[1]
    if missing > 0:
        answer = np.pad(answer, ((0, 0), (0, missing), (0, 0)), constant_values=np.nan)
    return answer[np.arange(answer.shape[1]) < lengths[:, None]]


def split_answer_rows_by_text(rows: Any, lengths: Ids) -> list[Any]:
    """Split the rows of an answer by text. Return a list with the rows of each text.

    Args:
        rows: one row for each text, [batch, ...], or one for each token of all texts, [tokens, ...].
        lengths: the number of tokens of each text, int64 [batch].

    Raises:
        ValueError: the number of rows is neither the number of texts nor the number of all their tokens.
    """
    if len(rows) == len(lengths):
        return [rows[i : i + 1] for i in range(len(rows))]
    if len(rows) != lengths.sum():
        raise ValueError(
            f"the answer has {len(rows)} rows, but needs {len(lengths)} (one for each text) or {lengths.sum()} (one "
            "for each token)"
        )
    return np.split(rows, np.cumsum(lengths)[:-1])
