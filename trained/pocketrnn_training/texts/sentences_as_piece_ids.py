"""Encode sentences as ids of pieces of words, and find the first piece of each word, which has the word's label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pocketrnn.text import AnyTextRules, TextEncoder
from pocketrnn.text.token_positions import locate_split_tokens
from pocketrnn_training.rows.encoded_rows import EncodedTexts

__all__ = ["encode_sentences_with_word_starts", "join_words"]


def encode_sentences_with_word_starts(
    sentences: Iterable[Sequence[str]], rules: AnyTextRules, vocabulary: tuple[str, ...]
) -> tuple[EncodedTexts, npt.NDArray[np.int64]]:
    """Encode sentences, which are lists of words, as ids of pieces; also return where each word begins.

    Returns:
        The ids; and int64 [words of all sentences], the position of each word's first id among all ids.

    Raises:
        InputError: a word has no piece, since the rules remove all of its characters.
    """
    encoder = TextEncoder(rules, vocabulary)
    ids: list[int] = []
    lengths, steps = list[int](), list[Any]()
    for sentence in sentences:
        placed = locate_split_tokens(encoder, sentence)
        steps += [len(ids) + token.step for token in placed.tokens if token.step is not None]
        ids += placed.ids
        lengths.append(len(placed.ids))
    made = EncodedTexts.from_lengths(np.array(ids, np.int32), np.array(lengths, np.int64))
    return made, np.array(steps, np.int64)


def join_words(sentence: Sequence[str]) -> str:
    """Join the words of a sentence into one text, with a space between two words."""
    return " ".join(sentence)
