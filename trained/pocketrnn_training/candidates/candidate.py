"""A candidate: one way to make a classifier of texts, and its accuracy on rows that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from pocketrnn_training.measures.fold_scores import FoldScores
from pocketrnn_training.settings.text_settings import BPE
from pocketrnn_training.texts.weighted_sum_of_recurrent_and_linear_logits import RecurrentLinearWeights

__all__ = ["Candidate", "make_checkpoint_member_of_candidates", "read_candidates"]

# The name of the candidates in `Checkpoint.data`.
_CANDIDATES: Final = "candidates"


@dataclass(frozen=True)
class Candidate:
    """A variant of a classifier that training compares with other variants by cross-validation, and its accuracy.

    A variant splits texts into words or into pieces of words. It has a recurrent part and a linear part, whose logits
    are multiplied by a weight each and added; or only the linear part.

    Attributes:
        tokenizer: the name of the tokenizer.
        recurrent_weight: the weight of the recurrent part; 0 without a recurrent part.
        linear_weight: the weight of the linear part.
        rows: the number of rows that were classified.
        folds: the number of folds of these rows.
        accuracy: the mean accuracy of the folds. Both weights were fitted on the other folds.
        deviation: the standard deviation of the accuracies of the folds.
        loss: the mean loss of a row.
        recurrent_accuracy: the accuracy of the recurrent part alone; None without a recurrent part.
        vectors: the name of the file of word vectors that training starts from; None without word vectors.
    """

    tokenizer: str
    recurrent_weight: float
    linear_weight: float
    rows: int
    folds: int
    accuracy: float
    deviation: float
    loss: float
    recurrent_accuracy: float | None = None
    vectors: str | None = None

    @property
    def weights(self) -> RecurrentLinearWeights:
        """The weights of the recurrent and of the linear part."""
        return RecurrentLinearWeights(self.recurrent_weight, self.linear_weight)

    @property
    def is_linear(self) -> bool:
        """Whether the candidate has only the linear part."""
        return self.recurrent_accuracy is None

    @property
    def display_name(self) -> str:
        """The candidate in words, such as "pieces of words with word vectors, both parts"."""
        tokens = "pieces of words" if self.tokenizer == BPE else "words"
        tokens += "" if self.vectors is None else " with word vectors"
        return f"{tokens}, {'the linear part alone' if self.is_linear else 'both parts'}"

    @property
    def scores(self) -> FoldScores:
        """The mean accuracy of the folds, and its spread."""
        return FoldScores(self.accuracy, self.deviation, self.folds, self.rows)

    @property
    def accuracy_summary(self) -> str:
        """The candidate, its accuracy and the weights of its parts, as a line for a report."""
        weigh = "" if self.is_linear else (f"; recurrent {self.recurrent_weight:.2f}, linear {self.linear_weight:.2f}")
        return f"{self.display_name.capitalize()}: {self.scores.summary}{weigh}"


def read_candidates(data: Mapping[str, Any]) -> tuple[Candidate, ...]:
    """Read from the `data` of a checkpoint the candidates that its training compared, the chosen one first.

    The result is empty if candidates were not compared.
    """
    return tuple(Candidate(**one) for one in data.get(_CANDIDATES, ()))


def make_checkpoint_member_of_candidates(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Make the member of a checkpoint's `data` that holds the candidates; return an empty dict without candidates."""
    return {_CANDIDATES: [asdict(one) for one in candidates]} if candidates else {}
