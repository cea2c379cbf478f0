"""Choose the example texts of a checkpoint: some of the validation texts, or random texts of the vocabulary's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from pocketrnn.text import SUBWORDS, AnyTextRules
from pocketrnn_training.texts import piece_learning, vocabulary

__all__ = ["choose_short_texts", "make_random_texts"]

_EXAMPLES: Final = 32
_EXAMPLE_CHARACTERS: Final = 1000
# The numbers of words of random example texts.
_MADE_SIZES: Final = (1, 2, 3, 5, 8, 13, 21, 34)


def choose_short_texts(texts: Sequence[Any]) -> list[Any]:
    """Choose up to 32 of the texts or pairs of texts, evenly spaced, among those of at most 1,000 characters.

    If all are longer, the shortest one is chosen.
    """
    # People read the examples, and every export copies them: very long texts are left out.
    lengths = [len(text) if isinstance(text, str) else sum(map(len, text)) for text in texts]
    short = [i for i, length in enumerate(lengths) if length <= _EXAMPLE_CHARACTERS]
    if not short:
        return [texts[lengths.index(min(lengths))]]
    chosen = np.unique(np.linspace(0, len(short) - 1, _EXAMPLES).astype(int))
    return list(dict.fromkeys(texts[short[i]] for i in chosen))


def make_random_texts(tokens: Sequence[str], rules: AnyTextRules) -> list[str]:
    """Make eight texts of random words of the vocabulary, for a checkpoint that must not contain the user's texts.

    Args:
        tokens: the vocabulary.
        rules: the tokenizer, which decides how the words are joined.
    """
    generator = np.random.default_rng(0)
    words = [token for i, token in enumerate(tokens) if i not in (vocabulary.UNKNOWN, vocabulary.PADDING)] or ["a"]
    between = " " if rules.tokenizer in ("basic_english", "whitespace") else ""
    drawn = [between.join(generator.choice(words, size)) for size in _MADE_SIZES]
    return [text.replace(piece_learning.MARK, " ").strip() for text in drawn] if rules.tokenizer == SUBWORDS else drawn
