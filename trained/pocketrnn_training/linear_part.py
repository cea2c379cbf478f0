"""The linear part of a classifier: scores of words and of pairs of words, fitted apart and added to the logits.

A recurrent classifier and a linear model of words and pairs are wrong of different texts, so that the sum of both is
better than either (docs/training.md, "The linear part"). Unlike a "wide" part that learns together with the deep one
(Cheng et al. 2016), this one is fitted by itself: learnt together, it brought nothing.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pocketrnn_training.batches import EncodedRows

__all__ = ["LinearPart", "pair_codes", "pairs_for"]

Floats = npt.NDArray[np.float32]

# What the margins of the linear model count beside the logits: docs/training-measurements.md, "Words or pieces".
_WEIGHT: Final = 5.0
_REGULARISATION: Final = 0.5
# Rows of the table of pairs: as many as have 2 MiB, between these two.
_MOST_NUMBERS_OF_PAIRS: Final = 1 << 19
_MOST_PAIRS: Final = 1 << 16
_FEWEST_PAIRS: Final = 1 << 10
# With more numbers than these in both tables, 8 MiB, there is no linear part.
_MOST_NUMBERS: Final = 1 << 21


def pairs_for(vocabulary_size: int, classes: int) -> int:
    """How many rows the table of pairs has; 0 where the tables would be too large for a small classifier.

    Example:
        >>> pairs_for(3000, classes=6), pairs_for(1400, classes=77), pairs_for(15_000, classes=1000)
        (65536, 4096, 0)
    """
    pairs = _FEWEST_PAIRS
    while pairs < _MOST_PAIRS and 2 * pairs * classes <= _MOST_NUMBERS_OF_PAIRS:
        pairs *= 2
    return pairs if (vocabulary_size + pairs) * classes <= _MOST_NUMBERS else 0


def pair_codes(vocabulary_size: int, pairs: int) -> npt.NDArray[np.int64]:
    """What each token adds to the number of a pair, int64 [vocabulary_size, 2]: as its first, and as its second.

    Two different pairs may have the same number: a hash of pairs (Weinberger et al. 2009), made by a sum, which every
    engine computes exactly.

    Example:
        >>> codes = pair_codes(3000, 1024)
        >>> int((codes[:, 0].max() + codes[:, 1].max())) < 1024
        True
    """
    mixed = np.arange(1, vocabulary_size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    # The finish of splitmix64 (Steele, Lea and Flood 2014).
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    halves = np.stack((mixed >> np.uint64(32), mixed & np.uint64(0xFFFFFFFF)), axis=1)
    return (halves % np.uint64(max(1, pairs // 2))).astype(np.int64)


@dataclass(frozen=True)
class LinearPart:
    """What a linear model says of texts: bias + (scores of the words + scores of the pairs) / sqrt(number of tokens).

    Attributes:
        words: float32 [vocabulary_size, classes].
        pairs: float32 [pairs, classes].
        bias: float32 [classes].
        padding_id: what stands before the first token of a text, so that it has a pair, too.
        balanced: every class weighed the same in the fit, not every row.
    """

    words: Floats
    pairs: Floats
    bias: Floats
    padding_id: int
    balanced: bool = False

    @classmethod
    def fitted(
        cls,
        rows: EncodedRows,
        targets: npt.NDArray[np.int64],
        *,
        vocabulary_size: int,
        pairs: int,
        classes: int,
        padding_id: int,
        balanced: bool = False,
    ) -> LinearPart:
        """Fit a linear support vector machine on TF-IDF of the words and the pairs.

        Args:
            rows: the training rows as ids.
            targets: int64 [rows], the class of each; two of them at least occur.
            vocabulary_size: how many tokens there are.
            pairs: how many numbers pairs have.
            classes: how many classes there are; those that do not occur are not likely.
            padding_id: as the attribute.
            balanced: let every class weigh the same.

        Example:
            >>> rows = EncodedTexts(np.array([2, 3, 2, 4], np.int32), np.array([0, 2, 4]))
            >>> part = LinearPart.fitted(rows, np.array([0, 1]), vocabulary_size=5, pairs=8, classes=2, padding_id=1)
            >>> part.logits(rows).argmax(axis=1).tolist()
            [0, 1]
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC

        counts = _counts(rows, vocabulary_size, pairs, padding_id)
        occur = np.bincount(counts.indices, minlength=counts.shape[1])
        importance = np.log((1 + len(targets)) / (1 + occur)) + 1
        weighed = counts.copy()
        weighed.data *= importance[counts.indices]
        # Not each text but their mean has the length 1: what a text is divided by is then known by its tokens alone.
        length = np.sqrt(np.square(weighed.data).sum() / len(targets))
        weighed.data /= length
        importance /= length
        model = LinearSVC(C=_REGULARISATION, class_weight="balanced" if balanced else None, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", "The number of unique classes is greater", UserWarning)
            model.fit(weighed, targets)
        learnt, bias = model.coef_ * importance, model.intercept_
        if len(model.classes_) == 2:
            learnt, bias = (np.stack((-one[0] / 2, one[0] / 2)) for one in (learnt, bias))
        table = np.zeros((counts.shape[1], classes), np.float32)
        table[:, model.classes_] = _WEIGHT * learnt.T
        # The margin of what is certainly not.
        whole_bias = np.full(classes, -_WEIGHT, np.float32)
        whole_bias[model.classes_] = _WEIGHT * bias
        return cls(table[:vocabulary_size], table[vocabulary_size:], whole_bias, padding_id, balanced)

    def refitted(self, rows: EncodedRows, targets: npt.NDArray[np.int64]) -> LinearPart:
        """The same fit on other rows."""
        (size, classes), pairs = self.words.shape, len(self.pairs)
        return LinearPart.fitted(
            rows,
            targets,
            vocabulary_size=size,
            pairs=pairs,
            classes=classes,
            padding_id=self.padding_id,
            balanced=self.balanced,
        )

    def logits(self, rows: EncodedRows) -> Floats:
        """float32 [rows, classes]: what it says of texts as ids."""
        table = np.concatenate((self.words, self.pairs))
        counts = _counts(rows, len(self.words), len(self.pairs), self.padding_id)
        return np.asarray(counts @ table + self.bias, np.float32)


def _counts(rows: EncodedRows, vocabulary_size: int, pairs: int, padding_id: int) -> Any:
    """How often each row has each token, and each pair, by the root of its length: a sparse matrix float64 [rows,
    vocabulary_size + pairs]."""
    from scipy import sparse

    ids, lengths = np.asarray(rows.values), rows.lengths
    row_of = np.repeat(np.arange(len(lengths)), lengths)
    codes = pair_codes(vocabulary_size, pairs)
    before = np.concatenate(([padding_id], ids[:-1]))
    before[rows.offsets[:-1]] = padding_id
    numbers = codes[before, 0] + codes[ids, 1] + vocabulary_size
    places = np.concatenate((row_of, row_of)), np.concatenate((ids, numbers))
    shares = (1 / np.sqrt(lengths))[places[0]]
    # scikit-learn takes indices of 32 bits.
    rows_and_columns = tuple(place.astype(np.int32) for place in places)
    return sparse.coo_matrix((shares, rows_and_columns), shape=(len(lengths), vocabulary_size + pairs)).tocsr()
