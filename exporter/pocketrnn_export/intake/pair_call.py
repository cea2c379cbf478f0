"""Call a module of two texts on rows of ids. Each row contains the two texts of a pair.

All checks call a module with rows of ids, and so pairs are rows of ids, too. In a row with a mark
(`pocketrnn.text.pairs`) the first text is before the mark, and the second after it. A row without one, as in all random
batches, is split at a place that depends only on its length; a row of one id is both texts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pocketrnn_export.comparing.proof_inputs import choose_split_position

# The names of the two texts in a line that calls a module, and of their lengths.
PAIR_NAMES = ("first", "second", "first_lengths", "second_lengths")


@dataclass(frozen=True)
class PairCall:
    """A call that takes (module, tokens, lengths), and calls another function with (module, first, second,
    first_lengths, second_lengths)."""

    wrapped: Callable[[nn.Module, Tensor, Tensor, Any, Any], Any]

    def __call__(self, module: nn.Module, tokens: Tensor, lengths: Tensor) -> Any:
        """Return the module's answer to rows of ids that contain pairs."""
        return self.wrapped(module, *split_pairs(tokens, lengths))


def split_pairs(tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Split each row into its two texts. Return the first texts, the second texts, and the lengths of each. All first
    texts are padded to the longest of them, and so are all second texts.

    Args:
        tokens: int64 [pairs, sequence].
        lengths: int64 [pairs], how many ids of each row count; the others are padding.

    Returns:
        int64 [pairs, longest first], int64 [pairs, longest second], and int64 [pairs] of each.
    """
    rows, whole = tokens.detach().cpu().tolist(), lengths.tolist()
    marks = [next((i for i, number in enumerate(row) if number < 0), None) for row in rows]
    shortest = whole.index(min(whole))
    padding_id = rows[shortest][-1] if marks[0] is None else ~rows[0][marks[0]]
    firsts = [choose_split_position(n) if at is None else at for at, n in zip(marks, whole, strict=True)]
    starts = [0 if n == 1 else k if at is None else k + 1 for at, k, n in zip(marks, firsts, whole, strict=True)]
    seconds = [n - start for n, start in zip(whole, starts, strict=True)]
    first = _slice_rows(tokens, [0] * len(rows), firsts, padding_id)
    second = _slice_rows(tokens, starts, seconds, padding_id)
    return first, second, torch.tensor(firsts), torch.tensor(seconds)


def _slice_rows(tokens: Tensor, starts: list[int], lengths: list[int], padding_id: int) -> Tensor:
    """Return a part of each row: the number of ids in `lengths`, from the index in `starts` on, followed by padding."""
    width = max(lengths)
    if len(set(starts)) == 1 and min(lengths) == width:
        return tokens[:, starts[0] : starts[0] + width].contiguous()
    across = torch.arange(width)
    places = (torch.tensor(starts)[:, None] + across).clamp(max=tokens.shape[1] - 1)
    inside = across < torch.tensor(lengths)[:, None]
    return torch.where(inside, torch.gather(tokens, 1, places), torch.full((), padding_id))
