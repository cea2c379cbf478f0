"""Which ids of subwords are of which word of a text, as the text was given.

Steps that normalise a text, tables and merges cannot be followed character by character. But nearly every tokenizer
makes the ids of a word of that word alone. So a text is cut into words, each with what stands before it, and the ids of
these are held against those of the whole text: where they are the same, each word has its ids.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence

from pocketrnn.errors import InputError, shown
from pocketrnn.text.encoder import TextEncoder

__all__ = ["ids_of_words", "words_of_subwords"]

Word = tuple[list[int], str, int, int]


def words_of_subwords(encoder: TextEncoder, text: str) -> list[Word]:
    """The words of a text, each with its ids, what the text has there, and where it begins and ends.

    A word is what stands between white space. Marks of punctuation stand apart, one by one or as a run of them, where
    the tokenizer makes ids of them alone.

    Raises:
        InputError: the ids of the words are not those of the text.

    Example:
        >>> [word[1:] for word in words_of_subwords(encoder, "unable, able")]
        [('unable', 0, 6), (',', 6, 7), ('able', 8, 12)]
    """
    whole = _pieces(encoder, text)
    for cuts in (_each_mark, _runs_of_marks, _by_white_space):
        words, done = list[Word](), 0
        for start, end in cuts(text):
            words.append((_pieces(encoder, text[done:end], goes_on=done > 0), text[start:end], start, end))
            done = end
        rest = _pieces(encoder, text[done:], goes_on=done > 0) if done < len(text) else []
        if [i for ids, *_ in words for i in ids] + rest == whole:
            return [word for word in words if word[0]]
    raise InputError(
        f"The tokenizer makes other ids of the words of {shown(text, 40)} than of the whole text, so that no id is "
        "known to be of one word.",
        "Give the text as a list of its words.",
    )


def ids_of_words(encoder: TextEncoder, words: Sequence[str]) -> list[list[int]]:
    """The ids of each of the words of a text that somebody has split, as between single spaces.

    Raises:
        InputError: these are not the ids of the words between single spaces.

    Example:
        >>> ids_of_words(encoder, ["unable", "able"])
        [[1, 2], [3]]
    """
    found = [_pieces(encoder, f" {word}" if i else word, goes_on=i > 0) for i, word in enumerate(words)]
    if [i for ids in found for i in ids] != _pieces(encoder, " ".join(words)):
        raise InputError(
            f"The tokenizer makes other ids of the words {shown(list(words), 40)} than of a text of them.",
            "Give the text as a string.",
        )
    return found


def _pieces(encoder: TextEncoder, text: str, *, goes_on: bool = False) -> list[int]:
    assert encoder.pieces is not None  # noqa: S101 - whoever asks has rules of subwords
    return encoder.pieces.encode(text, goes_on=goes_on)


def _kinds(text: str) -> list[str]:
    """Whether each code point is white space, a mark of punctuation, or of a word."""
    return [" " if point.isspace() else _kind(point) for point in text]


def _kind(point: str) -> str:
    """Symbols of ASCII are marks, too, as BERT has it."""
    is_mark = unicodedata.category(point).startswith("P") or (point.isascii() and not point.isalnum())
    return "." if is_mark else "a"


def _cut(text: str, apart: Callable[[str, str], bool]) -> Iterator[tuple[int, int]]:
    kinds, start = _kinds(text), 0
    for i, kind in enumerate(kinds):
        if kind == " ":
            continue
        start = i if i == 0 or kinds[i - 1] == " " or apart(kinds[i - 1], kind) else start
        if i + 1 == len(kinds) or kinds[i + 1] == " " or apart(kind, kinds[i + 1]):
            yield start, i + 1


def _each_mark(text: str) -> Iterator[tuple[int, int]]:
    return _cut(text, lambda one, next_one: "." in (one, next_one))


def _runs_of_marks(text: str) -> Iterator[tuple[int, int]]:
    return _cut(text, lambda one, next_one: one != next_one)


def _by_white_space(text: str) -> Iterator[tuple[int, int]]:
    return _cut(text, lambda _one, _next: False)
