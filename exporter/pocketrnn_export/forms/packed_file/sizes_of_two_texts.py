"""Sizes that depend on the lengths of two texts: a * first + b * second + c. One integer holds both factors, a and b.
So the code for one text also computes sums and multiples of such sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np

# The number of tokens of a text, or of both.
Lengths: TypeAlias = int | tuple[int, int]
# The factor of one token of the second text. Factors of the first are far smaller.
OF_SECOND: Final = 1 << 40


def pack_two_factors(first: int, second: int) -> int:
    """Return one integer that holds both factors of a size which depends on two texts: `first` times the tokens of the
    first text plus `second` times the tokens of the second text."""
    return first + second * OF_SECOND


def unpack_two_factors(factor: int) -> tuple[int, int]:
    """Return the two factors that one integer from `pack_two_factors` holds: that of the first text's tokens, and that
    of the second text's tokens."""
    first = (factor + OF_SECOND // 2) % OF_SECOND - OF_SECOND // 2
    return first, (factor - first) // OF_SECOND


def compute_size(size: tuple[int, Any], lengths: Lengths) -> Any:
    """Return a size as a plain number, for texts of these lengths: factor * length + constant.

    Args:
        size: (factor, constant); for two texts, the factor is an integer from `pack_two_factors`.
        lengths: the number of tokens of the text, or of both texts.
    """
    factor, fixed = size
    if isinstance(lengths, int):
        return factor * lengths + fixed
    first, second = unpack_two_factors(factor)
    return first * lengths[0] + second * lengths[1] + fixed


def are_packed_factors_divisible(factor: int, divisor: int) -> bool:
    """Return whether `divisor` divides both of the factors that an integer from `pack_two_factors` holds."""
    return not any(one % divisor for one in unpack_two_factors(factor))


def sum_absolute_packed_factors(factor: int) -> int:
    """Return |a| + |b| for an integer from `pack_two_factors` that holds a and b. This sum, times the length of the
    longer text, is at least |a * first length + b * second length|."""
    return sum(map(abs, unpack_two_factors(factor)))


def fit_size_of_two_texts(lengths: Sequence[tuple[int, int]], numbers: Sequence[int]) -> tuple[int, int] | None:
    """Find integers a, b and c such that a * first length + b * second length + c equals a given number at each pair of
    lengths. Return a and b packed into one integer by `pack_two_factors`, and c; or None if there are no such
    integers."""
    if len({*numbers}) == 1:
        return 0, numbers[0]
    rows = np.array([(*pair, 1) for pair in lengths], np.float64)
    solved, _, rank, _ = np.linalg.lstsq(rows, np.array(numbers, np.float64), rcond=None)
    if rank < rows.shape[1]:
        return None
    first, second, fixed = (int(one) for one in np.rint(solved))
    size = pack_two_factors(first, second), fixed
    agree = all(compute_size(size, pair) == number for pair, number in zip(lengths, numbers, strict=True))
    return size if agree and max(abs(first), abs(second), abs(fixed)) < 1 << 31 else None
