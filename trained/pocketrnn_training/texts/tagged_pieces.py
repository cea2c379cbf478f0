"""Sentences as ids of pieces of words, and which id of each word is the one that has its label: the first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pocketrnn.text import AnyTextRules, TextEncoder
from pocketrnn.text.alignment import placed_tokens
from pocketrnn_training.rows.batches import EncodedTexts

__all__ = ["encoded_sentences", "text_of"]


def encoded_sentences(
    sentences: Iterable[Sequence[str]], rules: AnyTextRules, vocabulary: tuple[str, ...]
) -> tuple[EncodedTexts, npt.NDArray[np.int64]]:
    """Sentences as the runtime makes ids of them, where it is given lists of words.

    Returns:
        the ids, and int64 [words of all sentences], the place of each word's label among the ids of all.

    Raises:
        InputError: a word has no piece of its own.
    """
    encoder = TextEncoder(rules, vocabulary)
    ids: list[int] = []
    lengths, steps = list[int](), list[Any]()
    for sentence in sentences:
        placed = placed_tokens(encoder, sentence)
        steps += [len(ids) + token.step for token in placed.tokens if token.step is not None]
        ids += placed.ids
        lengths.append(len(placed.ids))
    made = EncodedTexts.from_lengths(np.array(ids, np.int32), np.array(lengths, np.int64))
    return made, np.array(steps, np.int64)


def text_of(sentence: Sequence[str]) -> str:
    """A sentence as one text.

    Example:
        >>> text_of(("Ada", "works", "."))
        'Ada works .'
    """
    return " ".join(sentence)
