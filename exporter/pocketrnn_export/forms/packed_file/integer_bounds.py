"""Compute bounds for the integers of a program. The engine's integers have 32 bits, but a graph's have 64.

The bound of an integer depends on n, the number of tokens; for two texts, of the longer one. The bound of an id is
constant, the bound of a position grows as n, and the bound of a sum of positions as n squared. So each bound is a
polynomial in n.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Final

from pocketrnn_export.forms.packed_file.size_dependent_values import HOLDS, Affine, Size
from pocketrnn_export.forms.packed_file.sizes_of_two_texts import sum_absolute_packed_factors

# The engine's largest integer.
LARGEST: Final = HOLDS["int32"]
# c0 + c1 * tokens + c2 * tokens ^ 2 + ...; None if nothing is known.
Bound = tuple[int, ...] | None


def compute_bound_of_numbers_between(ends: Iterable[Affine]) -> Bound:
    """Return a bound of the absolute value of every number between some numbers a * tokens + b. The result (c, d)
    stands for c + d * tokens. `ends` are the numbers as pairs (a, b)."""
    return compute_common_bound(*((abs(int(b)), sum_absolute_packed_factors(int(a))) for a, b in ends))


def compute_common_bound(*bounds: Bound) -> Bound:
    """Return a bound that holds for numbers from several sources, from the bound of each source; None if one of these
    is unknown."""
    return _combine_bounds_by_power(max, bounds)


def compute_bound_of_sum(*bounds: Bound) -> Bound:
    """Return the bound of a sum of numbers, from the bound of each number; None if one of these is unknown."""
    return _combine_bounds_by_power(sum, bounds)


def _combine_bounds_by_power(combine: Callable[[Iterable[int]], int], bounds: tuple[Bound, ...]) -> Bound:
    known = [bound for bound in bounds if bound is not None]
    if len(known) < len(bounds):
        return None
    return tuple(map(combine, itertools.zip_longest(*known, fillvalue=0)))


def compute_bound_of_sum_over_axes(bound: Bound, *sizes: Size) -> Bound:
    """Return the bound of a sum with as many terms as the product of some sizes.

    Args:
        bound: the bound of each term, as factors of 1, tokens, tokens ^ 2, ...; None if it is unknown, and so is the
            result.
        sizes: the sizes (a, b), each of which stands for a * tokens + b.
    """
    if bound is None:
        return None
    for a, b in sizes:
        bound = tuple(
            abs(b) * here + sum_absolute_packed_factors(a) * before
            for here, before in zip((*bound, 0), (0, *bound), strict=True)
        )
    return bound


def find_most_tokens_within_bound(bound: Bound, most_tokens: int, largest_integer: int = LARGEST) -> int:
    """Return the largest number of tokens for which a bound is at most `largest_integer`; 0 if there is none or the
    bound is unknown.

    Args:
        bound: the bound, as factors of 1, tokens, tokens ^ 2, ...
        most_tokens: the result is at most this number.
        largest_integer: the largest integer that is allowed.
    """
    if bound is None:
        return 0
    least, beyond = 0, most_tokens + 1
    while beyond - least > 1:
        middle = (least + beyond) // 2
        if sum(c * middle**power for power, c in enumerate(bound)) <= largest_integer:
            least = middle
        else:
            beyond = middle
    return least
