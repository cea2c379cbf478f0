"""Check users' texts, from a list, a generator, or a column of numpy or pandas, and divide them into chunks.

A text among them is a string, or a list of its tokens or ids (`text_row_encoder.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal

from pocketrnn.errors import InputError, TextError, short_repr
from pocketrnn.text.text_row_encoder import Text, TextRowEncoder

__all__ = ["Chunk", "OnError", "check_and_iterate_texts", "check_batches", "check_on_error", "divide_into_chunks"]

OnError = Literal["raise", "skip"]
# Texts are answered this many at a time, so that the ids of a million texts are not in memory at once. 4,096 texts are
# divided into runs as well as more: AG News' 3,801 test rows make 44 runs, all but two of them full.
_LARGEST: Final = 4096
# A short list is divided among the threads, too: with two chunks for each thread, they end at nearly the same time.
# Chunks of 1,024 take 7 % more processor time than of 4,096, since fewer of their texts have similar lengths.
_CHUNKS_A_THREAD: Final = 2
_SMALLEST: Final = 256


@dataclass(frozen=True)
class Chunk:
    """Some consecutive texts that were checked: strings, or lists of ids.

    Attributes:
        texts: each text as a string; or as a list of ids if it was given as tokens or ids, or the caller's tokenizer
            split it.
        skipped: the indices in `texts` of items that were not texts. An empty text stands in place of each.
        first: the index of the chunk's first text among the texts of all chunks.
    """

    texts: list[str] | list[str | list[int]]
    skipped: list[int]
    first: int = 0

    @property
    def texts_if_all_strings(self) -> list[str] | None:
        """The texts, if all are strings; else None."""
        return self.texts if set(map(type, self.texts)) <= {str} else None  # type: ignore[return-value]


def check_on_error(on_error: object) -> None:
    """Check that `on_error` is `raise` or `skip`. Raise an InputError if it is neither."""
    if on_error not in ("raise", "skip"):
        raise InputError(
            f"on_error is {short_repr(on_error)}, but it must be 'raise' or 'skip'.",
            "Give 'raise' to stop at an item that is not a text, or 'skip' to leave such items out.",
        )


def divide_into_chunks(
    texts: Iterable[Text], row_encoder: TextRowEncoder, *, on_error: OnError, threads: int
) -> Iterable[Chunk]:
    """Check texts and divide them into chunks, in order.

    All texts of a collection with a length, such as a list, are checked before the first chunk is returned. A generator
    is read one chunk at a time, and is never held in memory as a whole.

    Args:
        row_encoder: encodes texts that are given as tokens or ids. It encodes strings only with a caller's tokenizer.
        on_error: `raise` refuses an item that is not a text; `skip` replaces the item by an empty text.
        threads: how many threads will work on the chunks.

    Raises:
        TextError: `texts` is not a collection of texts, or an item of it is not a text.
        InputError: `on_error` is neither `raise` nor `skip`, or the caller's tokenizer fails.
    """
    check_on_error(on_error)
    items = check_and_iterate_texts(texts)
    if not isinstance(texts, Sized):
        return _check_in_chunks(items, row_encoder, _LARGEST, on_error)
    everything = list(items)
    shared_out = -(-len(everything) // (_CHUNKS_A_THREAD * threads))
    size = _LARGEST if threads == 1 else min(_LARGEST, max(_SMALLEST, shared_out))
    return list(_check_in_chunks(iter(everything), row_encoder, size, on_error))


def check_batches(batches: Iterable[list[str]], row_encoder: TextRowEncoder) -> Iterator[Chunk]:
    """Check lists of texts, and yield one chunk for each list. Raise a TextError if an item of a batch is not a
    text."""
    first = 0
    for batch in batches:
        yield _check_and_encode_chunk(batch, row_encoder, first, "raise")
        first += len(batch)


def _check_in_chunks(
    items: Iterator[Text], row_encoder: TextRowEncoder, size: int, on_error: OnError
) -> Iterator[Chunk]:
    first = 0
    while some := list(islice(items, size)):
        yield _check_and_encode_chunk(some, row_encoder, first, on_error)
        first += len(some)


def _check_and_encode_chunk(
    items: Sequence[Text], row_encoder: TextRowEncoder, first_index: int, on_error: OnError
) -> Chunk:
    """Check items, and make a chunk of them. Tokens and ids become ids; so do strings if there is a caller's tokenizer.

    Raise a TextError for an item that is not a text if `on_error` is "raise". With "skip", replace the item by an empty
    text, and add its index to `skipped`.
    """
    others = [i for i, item in enumerate(items) if not (row_encoder.splits and isinstance(item, str))]
    if not others:
        return Chunk(list(items), [], first_index)  # type: ignore[arg-type]
    texts: list[Any] = list(items)
    skipped = []
    for index in others:
        try:
            texts[index] = row_encoder.encode_text(
                items[index], f"The text at position {first_index + index} (counted from 0)"
            )
        except TextError as error:
            if on_error == "raise":
                raise TextError(
                    error.problem, f"{error.remedy.removesuffix('.')}; or skip such texts with on_error='skip'."
                ) from None
            texts[index] = row_encoder.blank
            skipped.append(index)
    return Chunk(texts, skipped, first_index)


def check_and_iterate_texts(texts: Iterable[Any]) -> Iterator[Any]:
    """Return an iterator over a collection of texts. Raise a TextError for a single string, a collection without order
    such as a set, a table of several columns, or any other object."""
    if isinstance(texts, (str, bytes)):
        raise TextError(
            f"A list of texts is needed, but one {type(texts).__name__} was given.",
            "Give a list of texts, or call `classify` for a single text.",
        )
    if isinstance(texts, (Mapping, Set)):
        raise TextError(
            f"A list of texts is needed, but a {type(texts).__name__} was given. Its items have no fixed order, so "
            "that the answers could not be matched to them.",
            "Give a list of strings.",
        )
    if getattr(texts, "ndim", 1) != 1:
        raise TextError(
            f"One column of texts is needed, but this {type(texts).__name__} has {texts.ndim} dimensions.",  # type: ignore[attr-defined]
            "Give one of its columns. If each row holds the token ids of a text, give a list of lists of ids, without "
            "the padding.",
        )
    try:
        return iter(texts)
    except TypeError:
        raise TextError(
            f"A list of texts is needed, but an object of the type {type(texts).__name__} was given.",
            "Give a list of strings.",
        ) from None
