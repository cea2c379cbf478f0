"""Decide whether the numbers of words are ids or counts, and how many of the ids have a row in the embedding.

The ids of a vocabulary may have gaps, as after words were filtered. Counts of words have wider ones: by Zipf's law, the
counts of n words that all differ reach about n squared.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

# Models reserve ids for at most four special tokens without names (padding, start, unknown, unused).
FEW_UNUSED: Final = 4
# Fewer numbers may be counts that happen to be the first whole numbers.
FEWEST_IDS: Final = 10
# Twice the largest vocabulary in common use. Larger numbers are those of a hash.
MOST_IDS: Final = 2**22


@dataclass(frozen=True)
class IdEvidence:
    """Further evidence on whether the numbers beside words are ids, and not counts of the words.

    Attributes:
        count_rows: returns the number of rows of the embedding, or 0 if it is not known. Since it may load weights, it
            is called only for numbers with gaps.
        are_named_ids: whether a name beside the numbers, such as `word2idx`, says that they are ids.
        are_trusted: whether the user says that the numbers are ids, or whether the user's answers will show it later.
    """

    count_rows: Callable[[], int] = int
    are_named_ids: bool = False
    are_trusted: bool = False


def count_ids(numbers: Sequence[int], special_ids: Sequence[int], evidence: IdEvidence) -> int:
    """Return the size of the vocabulary whose ids are the numbers beside words: the highest number plus 1, or the
    number of rows of the embedding if some words have higher numbers. Return 0 if the numbers may be counts of words,
    or the ids of another module.

    Args:
        numbers: the numbers of the words, none below 0, each once, in the order of the words.
        special_ids: the numbers of the tokens for unknown words and for padding.
        evidence: what else shows whether the numbers are ids.

    Example:
        >>> count_ids([0, 1, 3, 4], [], IdEvidence()), count_ids([59, 31, 12], [], IdEvidence())
        (5, 0)
        >>> count_ids([*range(8), 9, 11], [], IdEvidence(lambda: 10))
        10
    """
    words, lowest, highest = len(numbers), min(numbers, default=0), max(numbers, default=-1)
    unused = highest + 1 - words
    if highest >= MOST_IDS:
        return 0
    is_dense = unused < max(1, words) and (unused <= FEW_UNUSED or words >= FEWEST_IDS)
    if is_dense and unused == lowest:
        return highest + 1
    falls = all(before > after for before, after in itertools.pairwise(numbers))
    rows = evidence.count_rows()
    ends_at_rows = highest < rows <= highest + 1 + FEW_UNUSED
    is_sure = evidence.are_trusted and rows > 0
    if not (ends_at_rows or is_sure or (is_dense and (evidence.are_named_ids or not falls))):
        return 0
    if not rows or highest < rows:
        return highest + 1
    beyond = sum(number >= rows for number in numbers)
    # Code that subtracts the first number has a row for each word.
    may_be_shifted = lowest > 0 and highest - lowest < rows
    if 2 * beyond > words or max(special_ids, default=0) >= rows or (not is_sure and (words > rows or may_be_shifted)):
        return 0
    return rows
