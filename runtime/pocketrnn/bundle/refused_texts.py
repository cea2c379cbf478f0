"""Texts that a graph cannot take: of fewer or more token ids than the bundle's limits say, or of padding only."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import LimitError

__all__ = ["SKIP_THEM", "kinds_outside", "limit_error", "outside"]

SKIP_THEM: Final = "skip such texts with on_error='skip'"


def outside(limits: Limits, ids: NDArray[np.int64], lengths: NDArray[np.int64], padding_id: int) -> NDArray[np.bool_]:
    """Which texts the graph cannot take.

    Args:
        limits: the bundle's.
        ids: int64 [tokens of all texts], one text after the other.
        lengths: int64 [texts], how many ids each text has, at least 1.
        padding_id: that of the text rules.

    Returns:
        bool [texts].

    Example:
        >>> outside(Limits(min_tokens=2, real_token=True), np.array([5, 5, 1, 1, 1]), np.array([1, 2, 2]), 1).tolist()
        [True, False, True]
    """
    found: NDArray[np.bool_] = lengths < (limits.min_tokens or 1)
    if limits.max_tokens is not None:
        found |= lengths > limits.max_tokens
    if limits.real_token and len(lengths):
        found |= ~np.logical_or.reduceat(ids != padding_id, np.cumsum(lengths) - lengths)
    return found


def kinds_outside(limits: Limits) -> list[str]:
    """What is wrong with the texts that `outside` finds, as ends of a sentence.

    Example:
        >>> kinds_outside(Limits(max_tokens=300, real_token=True))
        ['with too few or too many tokens', 'without a known word']
    """
    sized = limits.min_tokens is not None or limits.max_tokens is not None
    return [
        *(["with too few or too many tokens"] if sized else []),
        *(["without a known word"] if limits.real_token else []),
    ]


def limit_error(name: str, limits: Limits, tokens: int, *, text: str = "The text", otherwise: str = "") -> LimitError:
    """What to raise for a text that `outside` finds.

    Args:
        name: what the classifier is called.
        limits: the bundle's.
        tokens: how many ids the text has. If these are neither too few nor too many, all are the padding's.
        text: which text it is, as the begin of a sentence.
        otherwise: what else can be done about it, as the end of a sentence.

    Example:
        >>> limit_error("news", Limits(max_tokens=300), 412).problem
        'The text becomes 412 token ids, but news takes at most 300.'
        >>> limit_error("news", Limits(real_token=True), 1).problem
        'The text holds no known word, and news takes none such.'
    """
    becomes = f"{text} becomes {'1 token id' if tokens == 1 else f'{tokens} token ids'}, but {name} takes"
    if limits.allow(tokens):
        problem = f"{text} holds no known word, and {name} takes none such."
        remedies = ["give one with a word of its vocabulary"]
    elif tokens < (limits.min_tokens or 1):
        problem, remedies = f"{becomes} at least {limits.min_tokens}.", ["give a longer one"]
    else:
        problem = f"{becomes} at most {limits.max_tokens}."
        remedies = ["shorten it", "export the classifier with max_tokens in its text rules"]
    remedy = ", or ".join([*remedies, *([otherwise] if otherwise else [])])
    return LimitError(problem, f"{remedy[0].upper()}{remedy[1:]}.")
