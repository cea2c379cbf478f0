"""Texts as people hand them over: a list, a generator, a column of numpy or pandas; checked, and in chunks.

A text among them is a string, or a list of its tokens or ids (`pretokenized.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal

from pocketrnn.errors import InputError, TextError, shown
from pocketrnn.text.pretokenized import ReadyTexts, Text

__all__ = ["Chunk", "OnError", "check_on_error", "checked_batches", "chunks", "iterated"]

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
        texts: strings; or the ids of texts that were ready, or that another tokenizer has split.
        skipped: the indices in `texts` of items that were not texts; an empty text stands there.
        first: the position of the first of them in all texts, from 0.

    Example:
        >>> Chunk(["good film", ""], [1]).skipped
        [1]
    """

    texts: list[str] | list[str | list[int]]
    skipped: list[int]
    first: int = 0

    @property
    def strings(self) -> list[str] | None:
        """The texts, if all are strings."""
        return self.texts if set(map(type, self.texts)) <= {str} else None  # type: ignore[return-value]


def check_on_error(on_error: object) -> None:
    """Refuse what is neither `raise` nor `skip`.

    Raises:
        InputError: it is neither.

    Example:
        >>> check_on_error("skip")
    """
    if on_error not in ("raise", "skip"):
        raise InputError(f"on_error is {shown(on_error)}.", "Use 'raise' or 'skip'.")


def chunks(texts: Iterable[Text], ready: ReadyTexts, *, on_error: OnError, threads: int) -> Iterable[Chunk]:
    """Check texts, and share them out in chunks, in their order.

    A collection with a length (a list, a column) is checked whole before any work is done. One without (a generator) is
    read lazily, a chunk at a time, and never held.

    Args:
        texts: the texts.
        ready: what makes ids of those that are not strings, or of all.
        on_error: `raise` refuses an item that is not a text; `skip` lets an empty text stand for it.
        threads: how many threads the chunks are for.

    Raises:
        TextError: `texts` is not a collection of texts, or an item of it is not a text.
        InputError: `on_error` is neither; or the caller's tokenizer fails.

    Example:
        >>> [chunk.texts for chunk in chunks(["a", "b"], ready, on_error="raise", threads=1)]
        [['a', 'b']]
    """
    check_on_error(on_error)
    items = iterated(texts)
    if not isinstance(texts, Sized):
        return _checked_chunks(items, ready, _LARGEST, on_error)
    everything = list(items)
    shared_out = -(-len(everything) // (_CHUNKS_A_THREAD * threads))
    size = _LARGEST if threads == 1 else min(_LARGEST, max(_SMALLEST, shared_out))
    return list(_checked_chunks(iter(everything), ready, size, on_error))


def checked_batches(batches: Iterable[list[str]], ready: ReadyTexts) -> Iterator[Chunk]:
    """Check lists of texts, and give each as one chunk.

    Raises:
        TextError: an item of a batch is not a text.

    Example:
        >>> [chunk.texts for chunk in checked_batches([["a"], ["b"]], ready)]
        [['a'], ['b']]
    """
    first = 0
    for batch in batches:
        yield _chunk(batch, ready, first, "raise")
        first += len(batch)


def _checked_chunks(items: Iterator[Text], ready: ReadyTexts, size: int, on_error: OnError) -> Iterator[Chunk]:
    first = 0
    while some := list(islice(items, size)):
        yield _chunk(some, ready, first, on_error)
        first += len(some)


def _chunk(items: Sequence[Text], ready: ReadyTexts, first: int, on_error: OnError) -> Chunk:
    """The items as a chunk, with the ids of those that are not strings, or of all where the bundle does not split."""
    others = [i for i, item in enumerate(items) if not (ready.splits and isinstance(item, str))]
    if not others:
        return Chunk(list(items), [], first)  # type: ignore[arg-type]
    texts: list[Any] = list(items)
    skipped = []
    for index in others:
        try:
            texts[index] = ready.ids(items[index], f"The text at position {first + index} (counted from 0)")
        except TextError as error:
            if on_error == "raise":
                raise TextError(
                    error.problem, f"{error.remedy.removesuffix('.')}; or skip such texts with on_error='skip'."
                ) from None
            texts[index] = ready.blank
            skipped.append(index)
    return Chunk(texts, skipped, first)


def iterated(texts: Iterable[Any]) -> Iterator[Any]:
    """An iterator over texts.

    Raises:
        TextError: it is not a collection of texts in an order.

    Example:
        >>> list(iterated(["a", "b"]))
        ['a', 'b']
    """
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
            "Give one column of it, or, where its rows are token ids, a list of lists, each without its padding.",
        )
    try:
        return iter(texts)
    except TypeError:
        raise TextError(f"This takes a list of texts, not {type(texts).__name__}.", "Give a list of strings.") from None
