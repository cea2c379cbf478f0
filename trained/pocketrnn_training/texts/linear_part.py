"""Fit the linear part of a classifier of texts: scores of tokens, of their characters and of neighbouring tokens.

A recurrent classifier and a linear model are wrong about different texts, so that a weighted sum of both is better than
either (docs/training.md, "The linear part"). Unlike a "wide" part that trains together with the deep one (Cheng et al.
2016), this part is fitted by itself: trained together, it did not help.

The characters of a token are known beforehand: the scores of its character n-grams are added to the token's own row.
Characters at the joint of two pieces have a table of their own, as pairs of tokens do. Word vectors are folded in, too:
a linear model of the sum of the vectors gives each token a score, which is added to its row. So words that the rows do
not hold have scores.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pocketrnn_training.rows.encoded_rows import EncodedRows

__all__ = [
    "FeatureCounter",
    "FeatureCounts",
    "LinearPart",
    "choose_row_count_of_pair_table",
    "compute_hash_codes_for_token_pairs",
]

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]

_REGULARISATION: Final = 0.5
# With fewer rows, C is 1: with 150 rows of each of five sets, an accuracy of 63.2 % in place of 62.7.
_FEW_ROWS: Final = 1_000
_REGULARISATION_OF_FEW: Final = 1.0
# The table of pairs has as many rows as fit into 2 MiB, between these two bounds.
_MOST_NUMBERS_OF_PAIRS: Final = 1 << 19
_MOST_PAIRS: Final = 1 << 16
_FEWEST_PAIRS: Final = 1 << 10
# The most rows of the table of joints, where pieces meet. With 65,536 rows, the accuracy on tweets is the same.
_MOST_JOINTS: Final = 1 << 14
# With more numbers than these in both tables, 8 MiB, there is no linear part.
_MOST_NUMBERS: Final = 1 << 21
# The lengths of the character n-grams of a token.
_FEWEST_CHARACTERS: Final = 2
_MOST_CHARACTERS: Final = 5
# A longer token is cut after this many characters.
_READ_CHARACTERS: Final = 64
# The weight of the vector of a text; its tokens and pairs weigh 1, and so do its characters.
_OF_VECTORS: Final = 0.8
# The number of characters of each token that make up a joint. Several lengths together, from 1 to 4, are not better.
_WHERE_PIECES_MEET: Final = 2


def choose_row_count_of_pair_table(vocabulary_size: int, classes: int) -> int:
    """Choose the number of rows of the hash table that holds the weights of pairs of tokens.

    Return 0 if the weights of all tokens and pairs would make the classifier too large.
    """
    pairs = _FEWEST_PAIRS
    while pairs < _MOST_PAIRS and 2 * pairs * classes <= _MOST_NUMBERS_OF_PAIRS:
        pairs *= 2
    return pairs if (vocabulary_size + pairs) * classes <= _MOST_NUMBERS else 0


def compute_hash_codes_for_token_pairs(vocabulary_size: int, pair_rows: int) -> Codes:
    """Compute two hash codes for each token, int64 [vocabulary_size, 2], for feature hashing of pairs of tokens.

    The row of a pair in the weight table is the first code of its first token plus the second code of its second token.
    Two different pairs may get the same row (Weinberger et al. 2009). Every engine computes such sums exactly.
    """
    mixed = np.arange(1, vocabulary_size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    # The finish of splitmix64 (Steele, Lea and Flood 2014).
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    halves = np.stack((mixed >> np.uint64(32), mixed & np.uint64(0xFFFFFFFF)), axis=1)
    return (halves % np.uint64(max(1, pair_rows // 2))).astype(np.int64)


class FeatureCounts(NamedTuple):
    """How often each row has each feature: sparse matrices float64 [rows, features]."""

    tokens: Any
    pairs: Any
    joints: Any


@dataclass(frozen=True)
class FeatureCounter:
    """Counts the features of a linear part in texts: tokens, pairs of neighbouring tokens, and joints.

    A joint is the characters where two pieces of words meet: the last ones of a piece and the first ones of the next.

    Attributes:
        spelled: the characters of each token, with a space where a word begins or ends; empty for a special token.
        pairs: the number of rows of the weight table of pairs.
        padding_id: the id before the first token of a text, so that the first token has a pair, too.
        pieces: whether the tokens are pieces of words, so that joints are counted.
        vectors: float32 [vocabulary, dimensions], the word vector of each token, zeros for a token without one; None
            without word vectors.
    """

    spelled: tuple[str, ...]
    pairs: int
    padding_id: int
    pieces: bool
    vectors: Floats | None = None

    @property
    def joints(self) -> int:
        """The number of rows of the weight table of joints; 0 if the tokens are words."""
        return min(self.pairs, _MOST_JOINTS) if self.pieces else 0

    @cached_property
    def joint_codes(self) -> Codes:
        """Two hash codes for each token, int64 [vocabulary, 2]: of its last characters, and of its first characters.

        The row of a joint in the weight table is the first code of its first piece plus the second code of its second.
        """
        half = max(1, self.joints // 2)
        ends = [_hash_text(f"{token[-_WHERE_PIECES_MEET:]}|") % half for token in self.spelled]
        return np.stack((ends, [_hash_text(f"|{token[:_WHERE_PIECES_MEET]}") % half for token in self.spelled]), axis=1)

    @cached_property
    def character_ngram_counts(self) -> Any:
        """The count of each character n-gram in each token: a sparse matrix float64 [vocabulary, n-grams].

        The n-grams have 2 to 5 characters.
        """
        from scipy import sparse

        number_of: dict[str, int] = {}
        tokens, numbers = [], []
        for token, spelled in enumerate(self.spelled):
            for some in _list_character_ngrams(spelled[:_READ_CHARACTERS]):
                tokens.append(token)
                numbers.append(number_of.setdefault(some, len(number_of)))
        ones, shape = np.ones(len(tokens)), (len(self.spelled), len(number_of))
        return sparse.coo_matrix((ones, (np.array(tokens, np.int32), np.array(numbers, np.int32))), shape).tocsr()

    def count_features(self, rows: EncodedRows) -> FeatureCounts:
        """Count in each row the tokens, the pairs of neighbouring tokens, and the joints.

        Returns:
            Three sparse matrices, float64 [rows, vocabulary], [rows, pairs] and [rows, joints].
        """
        from scipy import sparse

        ids, lengths = np.asarray(rows.values), rows.lengths
        # scikit-learn takes indices of 32 bits.
        row_of = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        ones = np.ones(len(ids))
        before = np.concatenate(([self.padding_id], ids[:-1]))
        before[rows.offsets[:-1]] = self.padding_id

        def count_columns(columns: npt.NDArray[Any], column_count: int) -> Any:
            return sparse.coo_matrix((ones, (row_of, columns.astype(np.int32))), (len(lengths), column_count)).tocsr()

        def count_neighbours(codes: Codes, column_count: int) -> Any:
            return (
                count_columns(codes[before, 0] + codes[ids, 1], column_count)
                if column_count
                else sparse.csr_matrix((len(lengths), 0))
            )

        pairs = count_neighbours(compute_hash_codes_for_token_pairs(len(self.spelled), self.pairs), self.pairs)
        joints = count_neighbours(self.joint_codes, self.joints)
        return FeatureCounts(count_columns(ids, len(self.spelled)), pairs, joints)


@dataclass(frozen=True)
class LinearPart:
    """A linear model of tokens and pairs of neighbouring tokens.

    Its logits are bias + (sum of the scores of all tokens, pairs and joints) / sqrt(sum of the sizes of all tokens).

    The square root approximates the norm of the TF-IDF vector of the text, which is larger for a text of rare words.

    Attributes:
        counted: the object that counts the features of a text.
        sizes: float32 [vocabulary_size, 1], what a token adds to the squared norm of a text.
        words: float32 [vocabulary_size, classes], the scores of a token, including those of its characters.
        pairs: float32 [pairs, classes], the scores of pairs of neighbouring tokens.
        joints: float32 [joints, classes], the scores of the characters where two pieces meet.
        bias: float32 [classes].
        balanced: whether every class had the same weight in the fit; otherwise every row had.
    """

    counted: FeatureCounter
    sizes: Floats
    words: Floats
    pairs: Floats
    joints: Floats
    bias: Floats
    balanced: bool = False

    @classmethod
    def fit_to_rows(
        cls,
        counter: FeatureCounter,
        rows: EncodedRows,
        targets: npt.NDArray[np.int64],
        *,
        classes: int,
        balanced: bool = False,
    ) -> LinearPart:
        """Fit a linear support vector machine on TF-IDF of tokens and pairs, on characters, and on word vectors.

        Args:
            counter: the object that counts the features.
            rows: the training rows as ids.
            targets: int64 [rows], the class of each row; at least two classes occur.
            classes: the number of classes; a class that does not occur gets a low score.
            balanced: whether every class has the same weight; otherwise every row has.
        """
        from scipy import sparse
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC

        tokens, pairs, joints = counter.count_features(rows)
        parts: tuple[Any, ...] = (tokens, pairs, tokens @ counter.character_ngram_counts, joints)
        rare = [_compute_inverse_frequencies(part) for part in parts]
        squares = [np.square(some) for some in rare]
        of_neighbours = sum((parts[i] @ squares[i]).sum() for i in (1, 3)) / tokens.sum()
        sizes = (squares[0] + counter.character_ngram_counts @ squares[2] + of_neighbours).astype(np.float32)[:, None]
        divided = sparse.diags(1 / np.sqrt(tokens @ sizes.astype(np.float64))[:, 0])
        parts = tuple(divided @ part for part in parts)
        # The characters have the same weight as the tokens and the pairs together.
        importance = np.concatenate(
            (
                _compute_scaled_inverse_frequencies(parts[:2], rare[:2]),
                _compute_scaled_inverse_frequencies(parts[2:], rare[2:]),
            )
        )
        counts = sparse.hstack(parts).tocsr() @ sparse.diags(importance)
        meanings = _weight_word_vectors_by_inverse_frequency(counter.vectors, rare[0], parts[0])
        if meanings is not None:
            counts = sparse.hstack((counts, sparse.csr_matrix(parts[0] @ meanings))).tocsr()
        regularisation = _REGULARISATION_OF_FEW if len(targets) < _FEW_ROWS else _REGULARISATION
        model = LinearSVC(C=regularisation, class_weight="balanced" if balanced else None, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", "The number of unique classes is greater", UserWarning)
            model.fit(counts, targets)
        learnt, bias = model.coef_, model.intercept_
        if len(model.classes_) == 2:
            learnt, bias = (np.stack((-one[0] / 2, one[0] / 2)) for one in (learnt, bias))
        table = np.zeros((learnt.shape[1], classes))
        table[:, model.classes_] = learnt.T
        of_vectors, table = table[len(importance) :], table[: len(importance)] * importance[:, None]
        # The score of a class without rows.
        whole_bias = np.full(classes, -1, np.float32)
        whole_bias[model.classes_] = bias
        of_tokens, of_pairs, of_characters, of_joints = np.split(table, np.cumsum([p.shape[1] for p in parts[:3]]))
        words = of_tokens + counter.character_ngram_counts @ of_characters
        if meanings is not None:
            words += meanings @ of_vectors
        words, of_pairs, of_joints = (some.astype(np.float32) for some in (words, of_pairs, of_joints))
        return cls(counter, sizes, words, of_pairs, of_joints, whole_bias, balanced)

    def refit(self, rows: EncodedRows, targets: npt.NDArray[np.int64]) -> LinearPart:
        """Fit a new linear part with the same features and settings on other rows.

        `targets` is int64 [rows], the class of each row.
        """
        return LinearPart.fit_to_rows(self.counted, rows, targets, classes=len(self.bias), balanced=self.balanced)

    def tensors(self, weight: float) -> dict[str, Tensor]:
        """Return the weights by their names in the PyTorch module `LinearScores`, with all scores times `weight`."""
        tables = {"words": self.words, "pairs": self.pairs, "bias": self.bias}
        tables |= {"joints": self.joints} if self.counted.joints else {}
        found = {name: torch.from_numpy(table * np.float32(weight)) for name, table in tables.items()}
        found["sizes"] = torch.from_numpy(self.sizes)
        codes = {"joint_codes": torch.from_numpy(self.counted.joint_codes)} if self.counted.joints else {}
        return found | codes

    def logits(self, rows: EncodedRows) -> Floats:
        """Compute the logits of encoded texts, float32 [rows, classes]."""
        tokens, pairs, joints = self.counted.count_features(rows)
        scores = tokens @ self.words + pairs @ self.pairs + joints @ self.joints
        return np.asarray(scores / np.sqrt(tokens @ self.sizes) + self.bias, np.float32)


def _compute_inverse_frequencies(counts: Any) -> npt.NDArray[np.float64]:
    """Compute the inverse document frequency (IDF) of each feature, float64 [features].

    `counts` is a sparse matrix [rows, features].
    """
    rows = counts.shape[0]
    found: npt.NDArray[np.float64] = (
        np.log((1 + rows) / (1 + np.bincount(counts.indices, minlength=counts.shape[1]))) + 1
    )
    return found


def _compute_scaled_inverse_frequencies(
    counts_of_kinds: Sequence[Any], inverse_frequencies: Sequence[npt.NDArray[np.float64]]
) -> npt.NDArray[np.float64]:
    """Scale the inverse document frequencies of all features so that a TF-IDF row has the mean squared norm 1.

    Args:
        counts_of_kinds: for each kind of features, a sparse matrix of counts [rows, features].
        inverse_frequencies: for each kind of features, float64 [features].

    Returns:
        The scaled frequency of each feature, float64 [features of all kinds].
    """
    squares = [
        np.square(part.data * some[part.indices]).sum()
        for part, some in zip(counts_of_kinds, inverse_frequencies, strict=True)
    ]
    return np.concatenate(inverse_frequencies) / (np.sqrt(sum(squares) / counts_of_kinds[0].shape[0]) or 1)


def _weight_word_vectors_by_inverse_frequency(
    vectors: Floats | None, inverse_frequencies: npt.NDArray[np.float64], token_counts: Any
) -> npt.NDArray[np.float64] | None:
    """Multiply each token's word vector by the inverse document frequency of the token and by a common factor.

    Args:
        vectors: float32 [vocabulary, dimensions], or None without word vectors.
        inverse_frequencies: float64 [vocabulary].
        token_counts: a sparse matrix [rows, vocabulary], which decides the common factor.

    Returns:
        float64 [vocabulary, dimensions], or None.
    """
    if vectors is None:
        return None
    found: npt.NDArray[np.float64] = vectors * inverse_frequencies[:, None]
    return found * (_OF_VECTORS / (np.sqrt(np.square(token_counts @ found).sum(axis=1).mean()) or 1))


def _list_character_ngrams(spelled: str) -> Iterable[str]:
    """Yield the character n-grams of a token, of 2 to 5 characters."""
    for size in range(_FEWEST_CHARACTERS, _MOST_CHARACTERS + 1):
        for start in range(len(spelled) - size + 1):
            yield spelled[start : start + size]


def _hash_text(text: str) -> int:
    """Compute a hash of 32 bits that is the same in every process."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "little")
