"""Explain which words an answer depends on.

Each word is left out once, and the other words are classified (leave-one-out, or occlusion).

This works with every tokenizer, n-grams included, and every engine. `runtime/web/word_contributions.js` is the same in
JavaScript.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.bundle.manifest import Manifest
from pocketrnn.errors import InputError, short_repr
from pocketrnn.predictions_from_logits import Answers
from pocketrnn.tags import select_text_between
from pocketrnn.text.added_ids_and_width import SUBWORDS

__all__ = ["Explainer", "Explanation", "Fragment"]

Floats = NDArray[np.float64]
Place = tuple[int, int]

# The largest number of tokens of all shortened texts together: a long text is cut into fewer and longer fragments. With
# an LSTM(50 -> 64), this takes 0.2 to 0.35 s in a browser.
_MOST_TOKENS: Final = 50_000
_WORD: Final = re.compile(r"\S+")
# With subwords, each code point of a script without spaces is a word: Thai, Lao, Burmese, Khmer, kana, Han.
_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
)
_WORD_OR_POINT: Final = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


@dataclass(frozen=True, slots=True)
class Fragment:
    """One word of a text, or several adjacent words, and the effect of this part on the label.

    Attributes:
        text: the fragment as it is in the text.
        start: the index in the text of the fragment's first character.
        end: the index after the fragment's last character.
        log_odds: how far the label's log-odds, log(p / (1 - p)), fall when the fragment is left out. A negative number
            means that they rise: the fragment speaks against the label.
        probability: how far the label's probability falls. This says little if the probability is near 1 or 0.
    """

    text: str
    start: int
    end: int
    log_odds: float
    probability: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """The effect of each word of a text on one label.

    Attributes:
        label: the label that is explained.
        probability: the probability of this label for the whole text.
        fragments: the words, or groups of adjacent words, in the order of the text. A fragment is missing if the text
            without it would be too short for the graph. Empty if the text has no word, or is too long to be explained.

    Example:
        >>> Explanation("Business", 0.9, (Fragment("Oil", 0, 3, 1.2, 0.2),)).fragments[0].text
        'Oil'
    """

    label: str
    probability: float
    fragments: tuple[Fragment, ...]


@dataclass(frozen=True, slots=True)
class Explainer:
    """Measures the effect of each word of a text on a label.

    Attributes:
        manifest: the classifier's manifest, with its text rules and limits.
        answers: turns logits into labels and probabilities.
        encode: returns the token ids of one text, or of a list of its tokens.
        logits: returns the logits of many texts, float32 [texts, labels], and the indices of refused texts.
    """

    manifest: Manifest
    answers: Answers
    encode: Callable[[str | list[str]], Sequence[int]]
    logits: Callable[[Sequence[str | list[str]]], tuple[NDArray[np.float32], list[int]]]

    def explain_label(self, text: str | list[str], label: str | None, most_fragments: int) -> Explanation:
        """Measure the effect of each word of a text on one label.

        Args:
            text: a string, or a list of tokens.
            label: the label; None for the likeliest.
            most_fragments: the largest number of fragments. In a text of more words, a fragment has several words.

        Raises:
            InputError: the label is unknown, or `most_fragments` is not a whole number of 1 or more.
            LimitError: the whole text has too few or too many tokens for the graph, or no known word where the graph
                needs one.
        """
        labels = self.answers.labels
        if label is not None and label not in labels:
            raise InputError(
                f"{self.manifest.name} has no label {short_repr(label, 40)}.",
                f"Give one of its labels: {', '.join(labels[:20])}.",
            )
        if not isinstance(most_fragments, int) or most_fragments < 1:
            raise InputError(
                f"most_fragments is {most_fragments!r}, but it must be a whole number of 1 or more.",
                "Give the largest number of fragments.",
            )
        words = _find_word_positions(text, self.manifest.text.rules.tokenizer)
        places = _group_words_into_fragments(words, min(most_fragments, _MOST_TOKENS // len(self.encode(text))))
        without: list[str | list[str]] = [text[:start] + text[end:] for start, end in places]  # type: ignore[operator]
        given, refused = self.logits([text, *without])
        kept = [i for i in range(len(without)) if i + 1 not in refused]
        logits = np.delete(given, refused, axis=0).astype(np.float64)
        index = int(logits[0].argmax()) if label is None else labels.index(label)
        odds = _compute_log_odds(logits, index, self.answers.activation)
        # With both activations, the probability is the sigmoid of the log-odds; written with tanh it never overflows.
        probabilities = 0.5 * (np.tanh(0.5 * odds) + 1)
        fragments = tuple(
            Fragment(select_text_between(text, start, end), start, end, lost, fallen)
            for (start, end), lost, fallen in zip(
                (places[i] for i in kept),
                _compute_drops_from_first(odds),
                _compute_drops_from_first(probabilities),
                strict=True,
            )
        )
        return Explanation(labels[index], float(probabilities[0]), fragments)


def _find_word_positions(text: str | list[str], tokenizer: str) -> list[Place]:
    """Find the words of a text; return the start and the end of each.

    Words are separated by white space. With the tokenizer `subwords`, each character of a script without spaces, such
    as Thai or Han, is a word, too. With `characters`, each character is a word. In a list, each item is a word.
    """
    if tokenizer == "characters" or not isinstance(text, str):
        return [(i, i + 1) for i in range(len(text))]
    return [found.span() for found in (_WORD_OR_POINT if tokenizer == SUBWORDS else _WORD).finditer(text)]


def _group_words_into_fragments(words: list[Place], most_fragments: int) -> list[Place]:
    """Group adjacent words into at most `most_fragments` fragments of equally many words; the last one may have fewer.
    Return the start and the end of each fragment. Return an empty list if several words would become a single
    fragment."""
    if not words or (len(words) > 1 and most_fragments < 2):
        return []
    together = -(-len(words) // max(most_fragments, 1))
    return [(words[i][0], words[min(i + together, len(words)) - 1][1]) for i in range(0, len(words), together)]


def _compute_log_odds(logits: Floats, label_index: int, activation: str) -> Floats:
    """Compute the log-odds log(p / (1 - p)) of one label for every row of logits.

    They are computed from the logits, because a probability near 1 has lost its digits.
    """
    if activation == "sigmoid":
        return logits[:, label_index]
    others = np.delete(logits, label_index, axis=1)
    largest = others.max(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.log(np.exp(others - largest[:, None]).sum(1))
    whole: Floats = logits[:, label_index] - np.where(np.isfinite(largest), largest + total, largest)
    return whole


def _compute_drops_from_first(numbers: Floats) -> list[float]:
    """Compute how far each number after the first lies below the first number; 0 for two equal infinities."""
    with np.errstate(invalid="ignore"):
        lost = numbers[0] - numbers[1:]
    return np.where(numbers[1:] == numbers[0], 0.0, lost).tolist()  # type: ignore[no-any-return]
