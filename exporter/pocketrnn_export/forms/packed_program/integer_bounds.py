"""Compute bounds for the integers of a program. The engine's integers have 32 bits, but a graph's have 64.

The bound of an integer depends on n, the number of tokens; for two texts, of the longer one. The bound of an id is
constant, the bound of a position grows as n, and the bound of a sum of positions as n squared. So each bound is a
polynomial in n.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Final

from pocketrnn_export.forms.packed_program.pair_size_factors import sum_absolute_factors
from pocketrnn_export.forms.packed_program.size_dependent_values import HOLDS, Affine, Size

# The engine's largest integer.
LARGEST: Final = HOLDS["int32"]
# c0 + c1 * tokens + c2 * tokens ^ 2 + ...; None if nothing is known.
Bound = tuple[int, ...] | None


def compute_bound_between(ends: Iterable[Affine]) -> Bound:
    """Return the bound of the absolute values of all numbers between some numbers a * tokens + b. The bound (c, d)
    stands for c + d * tokens."""
    return join_bounds(*((abs(int(b)), sum_absolute_factors(int(a))) for a, b in ends))


def join_bounds(*bounds: Bound) -> Bound:
    """Return one bound that holds for all of several numbers, from the bound of each; None if one of these is
    unknown."""
    return _combine_bounds_by_power(max, bounds)


def sum_bounds(*bounds: Bound) -> Bound:
    """Return the upper bound of a sum of numbers, from the bound of each number; None if one of these is unknown."""
    return _combine_bounds_by_power(sum, bounds)


def _combine_bounds_by_power(combine: Callable[[Iterable[int]], int], bounds: tuple[Bound, ...]) -> Bound:
    known = [bound for bound in bounds if bound is not None]
    if len(known) < len(bounds):
        return None
    return tuple(map(combine, itertools.zip_longest(*known, fillvalue=0)))


def multiply_bound_by_sizes(bound: Bound, *sizes: Size) -> Bound:
    """Return the bound of a sum. The sum has as many terms as the product of `sizes`, and `bound` holds for each
    term."""
    if bound is None:
        return None
    for a, b in sizes:
        bound = tuple(
            abs(b) * here + sum_absolute_factors(a) * before
            for here, before in zip((*bound, 0), (0, *bound), strict=True)
        )
    return bound


def find_most_tokens(bound: Bound, most_tokens: int, largest_integer: int = LARGEST) -> int:
    """Return the largest number of tokens, up to `most_tokens`, for which a bound is at most `largest_integer`; 0 if
    there is none."""
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
