"""A call of a module that takes two texts, as a call on rows of ids: each row is parted into its two texts.

All that asks a module about texts asks it with rows of ids, and so about pairs of texts. A row that holds a mark
(`pocketrnn.text.pairs`) has its first text before it and its second behind. A row without one, as any of our drawn
batches has, is parted at a place that follows from its length alone; a row of one id is both texts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pocketrnn_export.comparing.cases import parting_place

__all__ = ["PAIR_NAMES", "PairCall", "parted"]

# The names of the two texts in a line that calls a module, and of their lengths.
PAIR_NAMES = ("first", "second", "first_lengths", "second_lengths")


@dataclass(frozen=True)
class PairCall:
    """A call of (module, tokens, lengths), made of one of (module, first, second, first_lengths, second_lengths)."""

    of_both: Callable[[nn.Module, Tensor, Tensor, Any, Any], Any]

    def __call__(self, module: nn.Module, tokens: Tensor, lengths: Tensor) -> Any:
        """The module's answer to pairs that are rows of ids."""
        return self.of_both(module, *parted(tokens, lengths))


def parted(tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two texts of each row, padded to the longest of their side, and their lengths.

    Args:
        tokens: int64 [pairs, sequence].
        lengths: int64 [pairs], how many ids of a row count. The padding stands behind the shortest.

    Returns:
        int64 [pairs, longest first], int64 [pairs, longest second], and int64 [pairs] of each.

    Example:
        >>> first, second, *_ = parted(torch.tensor([[5, 6, -1, 7], [5, -1, 8, 9]]), torch.tensor([4, 4]))
        >>> first.tolist(), second.tolist()
        ([[5, 6], [5, 0]], [[7, 0], [8, 9]])
    """
    rows, whole = tokens.detach().cpu().tolist(), lengths.tolist()
    marks = [next((i for i, number in enumerate(row) if number < 0), None) for row in rows]
    shortest = whole.index(min(whole))
    padding_id = rows[shortest][-1] if marks[0] is None else ~rows[0][marks[0]]
    firsts = [parting_place(n) if at is None else at for at, n in zip(marks, whole, strict=True)]
    starts = [0 if n == 1 else k if at is None else k + 1 for at, k, n in zip(marks, firsts, whole, strict=True)]
    seconds = [n - start for n, start in zip(whole, starts, strict=True)]
    first = _cut(tokens, [0] * len(rows), firsts, padding_id)
    second = _cut(tokens, starts, seconds, padding_id)
    return first, second, torch.tensor(firsts), torch.tensor(seconds)


def _cut(tokens: Tensor, starts: list[int], lengths: list[int], padding_id: int) -> Tensor:
    """From each row so many ids from a place on, and then the padding."""
    width = max(lengths)
    if len(set(starts)) == 1 and min(lengths) == width:
        return tokens[:, starts[0] : starts[0] + width].contiguous()
    across = torch.arange(width)
    places = (torch.tensor(starts)[:, None] + across).clamp(max=tokens.shape[1] - 1)
    inside = across < torch.tensor(lengths)[:, None]
    return torch.where(inside, torch.gather(tokens, 1, places), torch.full((), padding_id))
