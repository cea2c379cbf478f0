"""Find the ids with extreme embedding vectors: the longest, and those with the largest and the smallest sum. A text
that repeats one of these ids has larger sums than random texts have.

Two of 5,000 words may have the weights -3 and 3, and all others 0.02. The sum of a random text is then at most 1; the
first such word, ten times, gives -30, where a sigmoid is 1e-13.
"""

from __future__ import annotations

import numpy as np
from torch import nn


def find_ids_of_extreme_vectors(module: nn.Module, ids: int) -> list[int]:
    """Return up to three ids for each table of a module that has a row for each id: the id with the longest vector, and
    the ids whose vectors have the largest and the smallest sum. Each id is returned once."""
    found: list[int] = []
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.dim() and len(tensor) == ids and tensor.is_floating_point() and tensor.numel():
            rows = np.nan_to_num(tensor.detach().cpu().double().reshape(ids, -1).numpy(), posinf=0.0, neginf=0.0)
            sums = rows.sum(1)
            found += [int(place) for place in (np.square(rows).sum(1).argmax(), sums.argmax(), sums.argmin())]
    return list(dict.fromkeys(found))
