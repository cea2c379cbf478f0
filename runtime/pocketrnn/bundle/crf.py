"""A conditional random field (CRF) over the labels of a text's tokens: its transition scores, and decoding with
them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketrnn.errors import InputError

__all__ = ["Crf"]

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Crf:
    """A conditional random field (CRF): the scores that it adds to the logits for a sequence of labels.

    Attributes:
        start: for each label, its score at the first token.
        end: for each label, its score at the last token.
        transitions: [from, to]: for each label of a token, the score of each label of the next token.
        over_tokens: True if the sequence has only the tokens that get a tag, such as the first subword of each word;
            False if it has all token ids of the text.

    Raises:
        InputError: `start`, `end` and `transitions` are not for the same number of labels.
    """

    start: tuple[float, ...] = field(repr=False)
    end: tuple[float, ...] = field(repr=False)
    transitions: tuple[tuple[float, ...], ...] = field(repr=False)
    over_tokens: bool = False

    def __post_init__(self) -> None:
        labels = len(self.start)
        sizes = ", ".join(str(size) for size in dict.fromkeys(map(len, self.transitions)))
        if len(self.end) != labels or [len(row) for row in self.transitions] != [labels] * labels:
            raise InputError(
                f"The parts of the CRF have different sizes: start has {labels} numbers, end has {len(self.end)}, and "
                f"transitions has {len(self.transitions)} rows of {sizes} numbers.",
                "For n labels, give n numbers as start, n as end, and n rows of n numbers as transitions.",
            )

    @property
    def document(self) -> dict[str, Any]:
        """The CRF as an object for classifier.json."""
        over = {"over": "tokens"} if self.over_tokens else {}
        return {"start": self.start, "end": self.end, "transitions": self.transitions, **over}

    def decode_labels(self, logits: NDArray[Any]) -> NDArray[np.int64]:
        """Find the sequence of labels with the largest score (Viterbi). If two sequences have the same score, the label
        with the smaller index is chosen.

        Args:
            logits: float [tokens, labels], of at least one token.

        Returns:
            the index of each token's label, int64 [tokens].
        """
        scores, moves = self._convert_logits_and_transitions_to_float64(logits)
        best, before = scores[0] + np.array(self.start), []
        for step in scores[1:]:
            ways = best[:, None] + moves
            before.append(ways.argmax(0))
            best = ways.max(0) + step
        path = [int((best + np.array(self.end)).argmax())]
        for came_from in reversed(before):
            path.append(int(came_from[path[-1]]))
        return np.array(path[::-1], np.int64)

    def score(self, logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
        """Return the score of one sequence of labels: the sum of its logits, transitions, start and end.

        Args:
            logits: float [tokens, labels], of at least one token.
            labels: the index of each token's label, int64 [tokens].
        """
        scores, moves = self._convert_logits_and_transitions_to_float64(logits)
        own = scores[np.arange(len(labels)), labels].sum() + moves[labels[:-1], labels[1:]].sum()
        return float(own + self.start[labels[0]] + self.end[labels[-1]])

    def probabilities(self, logits: NDArray[Any]) -> Doubles:
        """Return the marginal probability of each label of each token: the sum over all labels of the other tokens.

        Args:
            logits: float [tokens, labels], of at least one token.

        Returns:
            float64 [tokens, labels]; each row adds up to 1.
        """
        scores, moves = self._convert_logits_and_transitions_to_float64(logits)
        forward, backward = np.empty_like(scores), np.empty_like(scores)
        forward[0], backward[-1] = scores[0] + np.array(self.start), self.end
        for i in range(1, len(scores)):
            forward[i] = scores[i] + np.logaddexp.reduce(forward[i - 1][:, None] + moves, axis=0)
        for i in range(len(scores) - 2, -1, -1):
            backward[i] = np.logaddexp.reduce(moves + (scores[i + 1] + backward[i + 1])[None], axis=1)
        both = forward + backward
        powers = np.exp(both - both.max(axis=1, keepdims=True))
        shares: Doubles = powers / powers.sum(axis=1, keepdims=True)
        return shares

    def _convert_logits_and_transitions_to_float64(self, logits: NDArray[Any]) -> tuple[Doubles, Doubles]:
        return np.asarray(logits, np.float64), np.array(self.transitions)
