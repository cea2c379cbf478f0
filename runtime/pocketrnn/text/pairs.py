"""Pairs of texts: a pair is one row of ids, those of the first text, a mark, and those of the second."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pocketrnn.errors import TextError, shown
from pocketrnn.text.encoder import TextEncoder

__all__ = ["PAIR_INPUTS", "PairEncoder", "PairInputs", "Parts", "checked_pair", "mark_of", "pair_inputs", "parts_of"]

Ids = NDArray[np.int64]

# The inputs of a graph of pairs, without lengths and with them.
PAIR_INPUTS: Final = (("tokens", "second_tokens"), ("tokens", "second_tokens", "lengths", "second_lengths"))


class Parts(NamedTuple):
    """Where the two texts of each pair stand in its row: int64 [pairs] each, from `starts` on, `lengths` many."""

    first_lengths: Ids
    second_starts: Ids
    second_lengths: Ids


class PairInputs(NamedTuple):
    """The inputs of a graph of pairs: int64 [pairs, longest text] and int64 [pairs], of both texts."""

    tokens: Ids
    second_tokens: Ids
    lengths: Ids
    second_lengths: Ids


def mark_of(padding_id: int) -> int:
    """The mark between the two texts: no id, since it is negative, and by it the padding is known.

    Example:
        >>> mark_of(0), mark_of(1)
        (-1, -2)
    """
    return ~padding_id


def parts_of(tokens: Ids, lengths: Ids) -> Parts:
    """Where the two texts of pairs stand.

    Args:
        tokens: int64 [pairs, sequence], rows with one mark each.
        lengths: int64 [pairs], how many of a row count, the mark among them.

    Example:
        >>> parts_of(np.array([[5, 6, -1, 7]]), np.array([4]))
        Parts(first_lengths=array([2]), second_starts=array([3]), second_lengths=array([1]))
    """
    firsts = (tokens < 0).argmax(1)
    return Parts(firsts, firsts + 1, lengths - firsts - 1)


def pair_inputs(tokens: Ids, lengths: Ids) -> PairInputs:
    """The inputs of a graph for pairs, each text padded to the longest of its side.

    Args:
        tokens, lengths: as for `parts_of`.

    Example:
        >>> given = pair_inputs(np.array([[5, 6, -1, 7], [5, -1, 8, 9]]), np.array([4, 4]))
        >>> given.tokens.tolist(), given.second_tokens.tolist(), given.lengths.tolist()
        ([[5, 6], [5, 0]], [[7, 0], [8, 9]], [2, 1])
    """
    parts = parts_of(tokens, lengths)
    padding_id = ~int(tokens[0, parts.first_lengths[0]])
    zeros = np.zeros_like(parts.first_lengths)
    return PairInputs(
        _cut(tokens, zeros, parts.first_lengths, padding_id),
        _cut(tokens, parts.second_starts, parts.second_lengths, padding_id),
        parts.first_lengths,
        parts.second_lengths,
    )


def _cut(tokens: Ids, starts: Ids, lengths: Ids, padding_id: int) -> Ids:
    across = np.arange(int(lengths.max()))
    places = np.minimum(starts[:, None] + across, tokens.shape[1] - 1)
    return np.where(across < lengths[:, None], np.take_along_axis(tokens, places, 1), padding_id)


class PairEncoder(TextEncoder):
    """Makes token ids of pairs of texts, both by the same rules.

    Args:
        rules: the text rules.
        vocabulary: the tokens, in the order of their ids.

    Example:
        >>> PairEncoder(TextRules(), ["<unk>", "oil", "prices"]).encode(("Oil", "prices rise"))
        [1, -1, 2, 0]
    """

    def encode(self, pair: Any) -> list[int]:
        """The ids of a pair of strings, with the mark between.

        Raises:
            TextError: it is no pair.
        """
        first, second = checked_pair(pair)
        return [*super().encode(first), mark_of(self.rules.padding_id), *super().encode(second)]

    def encode_row(self, pair: Any) -> Ids:
        """The same as int64 [1, ids]."""
        return np.array([self.encode(pair)], np.int64)


def checked_pair(pair: object, which: str = "The pair") -> tuple[Any, Any]:
    """The two texts of a pair.

    Args:
        pair: a tuple, list or array of two texts.
        which: which it is, as the begin of a sentence.

    Raises:
        TextError: it is another thing, such as one string.

    Example:
        >>> checked_pair(["Who won?", "The reds."])
        ('Who won?', 'The reds.')
    """
    given = pair.tolist() if hasattr(pair, "tolist") else pair
    if not isinstance(given, tuple | list) or len(given) != 2:
        kind = type(pair).__name__
        what = f"one text, {shown(given, 40)}" if isinstance(given, str) else f"of the type {kind}"
        if isinstance(given, tuple | list):
            what = f"a {kind} of {len(given)}"
        raise TextError(f"{which} is {what}, and not two texts.", "Give a tuple of two: (first, second).")
    first, second = given
    return first, second
