"""Ids whose vectors are the largest of a module's tables: a text that repeats one drives sums where no drawn text does.

Two of 5,000 weights of words may be -3 and 3, and all others 0.02. A drawn text then sums up to 1; the first such word,
ten times, to -30, where a sigmoid is 1e-13.
"""

from __future__ import annotations

import numpy as np
from torch import nn

__all__ = ["loud_ids"]


def loud_ids(module: nn.Module, ids: int) -> list[int]:
    """The ids of the longest vector and of the vectors with the largest and the least sum, in each table of a module
    with a row for each id.

    Args:
        module: any; its floating point parameters and buffers are looked at.
        ids: how many ids there are.

    Example:
        >>> loud_ids(nn.Embedding.from_pretrained(torch.tensor([[0.0], [-3.0], [1.0]])), 3)
        [1, 2]
    """
    found: list[int] = []
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.dim() and len(tensor) == ids and tensor.is_floating_point() and tensor.numel():
            rows = np.nan_to_num(tensor.detach().cpu().double().reshape(ids, -1).numpy(), posinf=0.0, neginf=0.0)
            sums = rows.sum(1)
            found += [int(place) for place in (np.square(rows).sum(1).argmax(), sums.argmax(), sums.argmin())]
    return list(dict.fromkeys(found))
