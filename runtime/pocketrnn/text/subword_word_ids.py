"""Find the ids of each word of a text that subword rules encode.

Normalization steps, tables and merges cannot be followed character by character. But with nearly every tokenizer the
ids of a word depend on that word alone. So a text is cut into words, each with the white space before it, and their ids
are compared with those of the whole text: if they are equal, the ids of each word are known.
"""

from __future__ import annotations

import operator
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text.encoder import TextEncoder

__all__ = ["Word", "encode_each_word", "find_words_with_ids_and_positions"]

# A word: its ids, its text, and its position from start to end.
Word = tuple[list[int], str, int, int]
# Whether a word ends between two characters of these kinds: beside every mark, between marks and others, or only at
# white space.
_WORD_ENDS: Final[tuple[Callable[[str, str], bool], ...]] = (
    lambda one, next_one: "." in (one, next_one),
    operator.ne,
    lambda _one, _next: False,
)


def find_words_with_ids_and_positions(encoder: TextEncoder, text: str) -> list[Word]:
    """Find the words of a text, each with its ids, its text, its start and its end. Words without ids are left out.

    Words are separated by white space. A punctuation mark, or a run of such marks, is a word of its own if the
    tokenizer splits the text there.

    Raises:
        InputError: the words encoded one by one have other ids than the whole text.
    """
    whole = _encode_pieces(encoder, text)
    for ends_between in _WORD_ENDS:
        words, done = list[Word](), 0
        for start, end in _find_word_bounds(text, ends_between):
            words.append(
                (_encode_pieces(encoder, text[done:end], continues_text=done > 0), text[start:end], start, end)
            )
            done = end
        rest = _encode_pieces(encoder, text[done:], continues_text=done > 0) if done < len(text) else []
        if [i for ids, *_ in words for i in ids] + rest == whole:
            return [word for word in words if word[0]]
    raise InputError(
        f"It is not known which ids belong to which word of {short_repr(text, 40)}: encoded one by one, its words have "
        "other ids than the whole text.",
        "Give the text as a list of its words.",
    )


def encode_each_word(encoder: TextEncoder, words: Sequence[str]) -> list[list[int]]:
    """Encode each word of a text that is given as a list of words. Raise an InputError if the words joined with single
    spaces have other ids than the words encoded one by one."""
    found = [_encode_pieces(encoder, f" {word}" if i else word, continues_text=i > 0) for i, word in enumerate(words)]
    if [i for ids in found for i in ids] != _encode_pieces(encoder, " ".join(words)):
        raise InputError(
            f"It is not known which ids belong to which of the words {short_repr(list(words), 40)}: encoded one by "
            "one, they have other ids than when they are joined with spaces.",
            "Give the text as one string.",
        )
    return found


def _encode_pieces(encoder: TextEncoder, text: str, *, continues_text: bool = False) -> list[int]:
    assert encoder.subword_encoder is not None  # noqa: S101 - whoever asks has rules of subwords
    return encoder.subword_encoder.encode(text, continues_text=continues_text)


def _classify_as_mark_or_other(point: str) -> str:
    """Return "." for punctuation and, as in BERT, ASCII symbols; "a" for any other code point."""
    is_mark = unicodedata.category(point).startswith("P") or (point.isascii() and not point.isalnum())
    return "." if is_mark else "a"


def _find_word_bounds(text: str, ends_between: Callable[[str, str], bool]) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each word of a text. A word ends before white space, and between two neighbouring
    characters for whose kinds ("." or "a") `ends_between` is true."""
    kinds, start = [" " if point.isspace() else _classify_as_mark_or_other(point) for point in text], 0
    for i, kind in enumerate(kinds):
        if kind == " ":
            continue
        start = i if i == 0 or kinds[i - 1] == " " or ends_between(kinds[i - 1], kind) else start
        if i + 1 == len(kinds) or kinds[i + 1] == " " or ends_between(kind, kinds[i + 1]):
            yield start, i + 1
