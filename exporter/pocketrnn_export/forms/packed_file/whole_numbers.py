"""How large the whole numbers of a program can get: the engine's have 32 bits, and a graph's 64.

What bounds a number grows with the tokens of a text: an id by nothing, a position as they do, a sum of positions as
their square. So each whole number has a polynomial of the tokens that it does not exceed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Final

from pocketrnn_export.forms.packed_file.size_values import Affine, Size

__all__ = ["LARGEST", "Bound", "larger", "most_tokens", "of_ends", "product", "total"]

# The engine's largest whole number.
LARGEST: Final = (1 << 31) - 1
# c0 + c1 * tokens + c2 * tokens ^ 2 + ...; None where nothing is known.
Bound = tuple[int, ...] | None


def of_ends(ends: Iterable[Affine]) -> Bound:
    """What numbers between some ends do not exceed.

    Example:
        >>> of_ends([(0, 0), (1, -1)])
        (1, 1)
    """
    return larger(*((abs(int(b)), abs(int(a))) for a, b in ends))


def larger(*bounds: Bound) -> Bound:
    """What none of several numbers exceeds.

    Example:
        >>> larger((7,), (0, 1))
        (7, 1)
    """
    return _joined(max, bounds)


def total(*bounds: Bound) -> Bound:
    """What the sum of numbers does not exceed.

    Example:
        >>> total((7,), (0, 1), (1,))
        (8, 1)
    """
    return _joined(lambda *terms: sum(terms), bounds)


def _joined(of_terms: Callable[..., int], bounds: tuple[Bound, ...]) -> Bound:
    known = [bound for bound in bounds if bound is not None]
    if len(known) < len(bounds):
        return None
    return tuple(
        of_terms(*terms) if len(terms) > 1 else terms[0] for terms in itertools.zip_longest(*known, fillvalue=0)
    )


def product(bound: Bound, *sizes: Size) -> Bound:
    """What the sum of so many numbers does not exceed.

    Example:
        >>> product((0, 1), (1, 2))
        (0, 2, 1)
    """
    if bound is None:
        return None
    for a, b in sizes:
        bound = tuple(abs(b) * here + abs(a) * before for here, before in zip((*bound, 0), (0, *bound), strict=True))
    return bound


def most_tokens(bound: Bound, most: int, largest: int = LARGEST) -> int:
    """The most tokens, up to `most`, of which no number exceeds `largest`; 0 where there are none.

    Example:
        >>> most_tokens((0, 0, 1), 1 << 31)
        46340
    """
    if bound is None:
        return 0
    least, beyond = 0, most + 1
    while beyond - least > 1:
        middle = (least + beyond) // 2
        if sum(c * middle**power for power, c in enumerate(bound)) <= largest:
            least = middle
        else:
            beyond = middle
    return least
