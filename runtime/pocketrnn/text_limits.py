"""Texts that a graph cannot take: those of fewer or more token ids than the bundle's limits say."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.errors import LimitError
from pocketrnn.manifest import Limits

__all__ = ["SKIP_THEM", "limit_error", "outside"]

SKIP_THEM: Final = "pass over such texts with on_error='skip'"


def outside(limits: Limits, lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which texts the graph cannot take.

    Args:
        limits: the bundle's.
        lengths: int64 [texts], how many ids each text has.

    Returns:
        bool [texts].

    Example:
        >>> outside(Limits(min_tokens=2, max_tokens=9), np.array([1, 2, 9, 10])).tolist()
        [True, False, False, True]
    """
    found: NDArray[np.bool_] = lengths < (limits.min_tokens or 1)
    if limits.max_tokens is not None:
        found |= lengths > limits.max_tokens
    return found


def limit_error(name: str, limits: Limits, tokens: int, *, text: str = "The text", otherwise: str = "") -> LimitError:
    """What to raise for a text that `outside` finds.

    Args:
        name: what the classifier is called.
        limits: the bundle's.
        tokens: how many ids the text has.
        text: which text it is, as the begin of a sentence.
        otherwise: what else can be done about it, as the end of a sentence.

    Example:
        >>> limit_error("news", Limits(max_tokens=300), 412).problem
        'The text becomes 412 token ids, but news takes at most 300.'
    """
    few = tokens < (limits.min_tokens or 1)
    bound = f"at least {limits.min_tokens}" if few else f"at most {limits.max_tokens}"
    ids = "1 token id" if tokens == 1 else f"{tokens} token ids"
    remedies = ["give a longer one" if few else "shorten it"]
    if not few:
        remedies.append("export the classifier with max_tokens in its text rules")
    remedy = ", or ".join([*remedies, *([otherwise] if otherwise else [])])
    return LimitError(f"{text} becomes {ids}, but {name} takes {bound}.", f"{remedy[0].upper()}{remedy[1:]}.")
