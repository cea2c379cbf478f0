"""Pairs of texts. A pair is one row of ids: the first text, a negative mark, and the second text."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pocketrnn.errors import TextError, short_repr
from pocketrnn.text.encoder import TextEncoder

__all__ = [
    "PAIR_INPUTS",
    "PairEncoder",
    "PairInputs",
    "check_pair",
    "make_pair_inputs",
    "make_pair_mark",
]

Ids = NDArray[np.int64]

# The inputs of a graph of pairs, without lengths and with them.
PAIR_INPUTS: Final = (("tokens", "second_tokens"), ("tokens", "second_tokens", "lengths", "second_lengths"))


class PairInputs(NamedTuple):
    """The inputs of a graph for pairs: the ids of the first and of the second texts, int64 [pairs, longest text] each,
    and the lengths of both, int64 [pairs] each."""

    tokens: Ids
    second_tokens: Ids
    lengths: Ids
    second_lengths: Ids


def make_pair_mark(padding_id: int) -> int:
    """Make the mark that separates the two texts of a pair in a row of ids: a negative number, from which the padding
    id can be computed."""
    return ~padding_id


def make_pair_inputs(tokens: Ids, lengths: Ids) -> PairInputs:
    """Make the inputs of a graph for pairs from rows of ids. The first texts are padded to the longest first text, the
    second texts to the longest second text.

    Args:
        tokens: int64 [pairs, sequence]: each row has the ids of the first text, a mark, and the ids of the second text.
        lengths: int64 [pairs], the length of each row without padding, the mark included.
    """
    firsts = (tokens < 0).argmax(1)
    seconds = lengths - firsts - 1
    padding_id = ~int(tokens[0, firsts[0]])
    return PairInputs(
        _pad_part(tokens, np.zeros_like(firsts), firsts, padding_id),
        _pad_part(tokens, firsts + 1, seconds, padding_id),
        firsts,
        seconds,
    )


def _pad_part(tokens: Ids, starts: Ids, lengths: Ids, padding_id: int) -> Ids:
    """Copy the ids of one text of each pair: `lengths` ids of its row from `starts` on. Pad all to the longest."""
    across = np.arange(int(lengths.max()))
    places = np.minimum(starts[:, None] + across, tokens.shape[1] - 1)
    return np.where(across < lengths[:, None], np.take_along_axis(tokens, places, 1), padding_id)


class PairEncoder(TextEncoder):
    """Encodes pairs of texts as token ids, with the same rules for both texts."""

    def encode(self, pair: Any) -> list[int]:
        """Encode a pair of strings as ids, with a mark (a negative number) between the ids of the two texts. Raise a
        TextError for an argument that is not a pair."""
        first, second = check_pair(pair)
        return [*super().encode(first), make_pair_mark(self.rules.padding_id), *super().encode(second)]

    def encode_row(self, pair: Any) -> Ids:
        """Encode a pair of strings as ids, int64 [1, ids]."""
        return np.array([self.encode(pair)], np.int64)


def check_pair(pair: object, pair_name: str = "The pair") -> tuple[Any, Any]:
    """Check a pair, and return its two texts.

    Args:
        pair: a tuple, list or array of two texts.
        pair_name: the name of the pair, with which messages begin.

    Raises:
        TextError: `pair` is something else, such as one string.
    """
    given = pair.tolist() if hasattr(pair, "tolist") else pair
    if not isinstance(given, tuple | list) or len(given) != 2:
        kind = type(pair).__name__
        what = f"one text, {short_repr(given, 40)}" if isinstance(given, str) else f"of the type {kind}"
        if isinstance(given, tuple | list):
            what = f"a {kind} of {len(given)} items"
        raise TextError(
            f"{pair_name} is {what}, but it must be two texts.", "Give a tuple of two strings: (first, second)."
        )
    first, second = given
    return first, second
