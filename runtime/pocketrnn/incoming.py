"""Texts as people hand them over: a list, a generator, a column of numpy or pandas; checked, and in chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

from pocketrnn.errors import InputError, TextError

__all__ = ["Chunk", "OnError", "checked_batches", "chunks"]

OnError = Literal["raise", "skip"]
# Texts are answered this many at a time, so that a million texts do not stand in memory as ids. Runs are shaped as well
# from 4,096 texts as from more: AG News' 3,801 test rows fall into 44 runs, all but two of them full.
_LARGEST: Final = 4096
# A short list is shared out among the threads all the same: with two chunks a thread, they end at nearly the same time.
# Chunks of 1,024 cost 7 % more processor time than of 4,096, since fewer of their texts are of like length.
_CHUNKS_A_THREAD: Final = 2
_SMALLEST: Final = 256


@dataclass(frozen=True)
class Chunk:
    """Some texts that follow each other.

    Attributes:
        texts: strings only.
        skipped: the indices in `texts` of items that were no text; an empty text stands there.
        first: the position of the first of them in all texts, from 0.

    Example:
        >>> Chunk(["good film", ""], [1]).skipped
        [1]
    """

    texts: list[str]
    skipped: list[int]
    first: int = 0


def chunks(texts: Iterable[str], *, on_error: OnError, threads: int) -> Iterable[Chunk]:
    """Check texts, and share them out in chunks, in their order.

    What has a length (a list, a column) is checked whole before any work is done. What has none (a generator) is read
    lazily, a chunk at a time, and never held.

    Args:
        texts: the texts.
        on_error: `raise` refuses an item that is not a string; `skip` lets an empty text stand for it.
        threads: how many threads the chunks are for.

    Raises:
        TextError: `texts` is no collection of texts, or an item of it is not a string.
        InputError: `on_error` is neither.

    Example:
        >>> [chunk.texts for chunk in chunks(["a", "b"], on_error="raise", threads=1)]
        [['a', 'b']]
    """
    if on_error not in ("raise", "skip"):
        raise InputError(f"on_error is {on_error!r}.", "Use 'raise' or 'skip'.")
    items = _iterator(texts)
    if not isinstance(texts, Sized):
        return _checked_chunks(items, 0, _LARGEST, on_error)
    everything = list(items)
    shared_out = -(-len(everything) // (_CHUNKS_A_THREAD * threads))
    size = _LARGEST if threads == 1 else min(_LARGEST, max(_SMALLEST, shared_out))
    return list(_checked_chunks(iter(everything), 0, size, on_error))


def checked_batches(batches: Iterable[list[str]]) -> Iterator[Chunk]:
    """Check lists of texts, and give each as one chunk.

    Raises:
        TextError: an item of a batch is not a string.

    Example:
        >>> [chunk.texts for chunk in checked_batches([["a"], ["b"]])]
        [['a'], ['b']]
    """
    first = 0
    for batch in batches:
        _not_strings(batch, first, "raise")
        yield Chunk(batch, [], first)
        first += len(batch)


def _checked_chunks(items: Iterator[str], first: int, size: int, on_error: OnError) -> Iterator[Chunk]:
    while some := list(islice(items, size)):
        skipped = _not_strings(some, first, on_error)
        for index in skipped:
            some[index] = ""
        yield Chunk(some, skipped, first)
        first += len(some)


def _not_strings(items: list[str], first: int, on_error: OnError) -> list[int]:
    """The indices of items that are no strings."""
    odd = [index for index, item in enumerate(items) if not isinstance(item, str)]
    if odd and on_error == "raise":
        raise TextError(
            f"The text at position {first + odd[0]} (counted from 0) is not a string but "
            f"{type(items[odd[0]]).__name__}.",
            "Give strings only, or skip the others with on_error='skip'.",
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
