"""Texts as people hand them over: a list, a generator, a column of numpy or pandas; checked, and in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

from pocketrnn.errors import InputError, TextError

__all__ = ["OnError", "Piece", "pieces", "whole_pieces"]

OnError = Literal["raise", "skip"]
# Texts are answered this many at a time, so that a million texts do not stand in memory as ids. Runs are shaped as well
# from 4,096 texts as from more: AG News' 3,801 test rows fall into 44 runs, all but two of them full.
_LARGEST: Final = 4096
# A short list is shared out among the threads all the same: with 2 pieces a thread, each ends with work left for none
# or one. Pieces of 1,024 cost 7 % more processor time than of 4,096, since fewer of their texts are of like length.
_PIECES_A_THREAD: Final = 2
_SMALLEST: Final = 256


@dataclass(frozen=True)
class Piece:
    """Some texts that follow each other.

    Attributes:
        texts: strings only.
        skipped: the places in `texts` where what was given is no text; an empty text stands there.
    """

    texts: list[str]
    skipped: list[int]


def pieces(texts: Iterable[str], *, on_error: OnError, threads: int) -> Iterable[Piece]:
    """`texts` checked and in pieces, in their order.

    What has a length (a list, a column) is checked whole, and given as a list, so that a wrong item costs no work; what
    has none (a generator) is read a piece at a time, and never held.

    Args:
        texts: the texts.
        on_error: `raise` refuses an item that is not a string; `skip` lets an empty text stand for it.
        threads: how many threads the pieces are for.

    Raises:
        TextError: `texts` is no collection of texts, or an item of it is not a string.
        InputError: `on_error` is neither.
    """
    if on_error not in ("raise", "skip"):
        raise InputError(f"on_error is {on_error!r}.", "Use 'raise' or 'skip'.")
    items = _iterator(texts)
    if not isinstance(texts, Sized):
        return _checked_pieces(items, 0, _LARGEST, on_error)
    everything = list(items)
    shared_out = -(-len(everything) // (_PIECES_A_THREAD * threads))
    size = _LARGEST if threads == 1 else min(_LARGEST, max(_SMALLEST, shared_out))
    return list(_checked_pieces(iter(everything), 0, size, on_error))


def whole_pieces(batches: Iterable[list[str]]) -> Iterator[Piece]:
    """Lists of texts checked, each as one piece.

    Raises:
        TextError: an item of a batch is not a string.
    """
    first = 0
    for batch in batches:
        _odd_places(batch, first, "raise")
        first += len(batch)
        yield Piece(batch, [])


def _checked_pieces(items: Iterator[str], first: int, size: int, on_error: OnError) -> Iterator[Piece]:
    while some := list(islice(items, size)):
        skipped = _odd_places(some, first, on_error)
        for place in skipped:
            some[place] = ""
        first += len(some)
        yield Piece(some, skipped)


def _odd_places(items: list[str], first: int, on_error: OnError) -> list[int]:
    """The places of what is not a string."""
    odd = [place for place, item in enumerate(items) if not isinstance(item, str)]
    if odd and on_error == "raise":
        raise TextError(
            f"The text at position {first + odd[0]} (counted from 0) is not a string but "
            f"{type(items[odd[0]]).__name__}.",
            "Give strings only, or pass over what is none with on_error='skip'.",
        )
    return odd


def _iterator(texts: Iterable[str]) -> Iterator[str]:
    if isinstance(texts, (str, bytes)):
        raise TextError(
            f"This takes a list of texts, not one {type(texts).__name__}.", "Use classify for one text, or give a list."
        )
    if isinstance(texts, (Mapping, Set)):
        raise TextError(
            f"This takes a list of texts, not a {type(texts).__name__}: its order is none to answer in.",
            "Give a list of strings.",
        )
    if getattr(texts, "ndim", 1) != 1:
        raise TextError(
            f"This takes one column of texts, not a {type(texts).__name__} of {texts.ndim} dimensions.",  # type: ignore[attr-defined]
            "Give one column of it.",
        )
    try:
        return iter(texts)
    except TypeError:
        raise TextError(f"This takes a list of texts, not {type(texts).__name__}.", "Give a list of strings.") from None
