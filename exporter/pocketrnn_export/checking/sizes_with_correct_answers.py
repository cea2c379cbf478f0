"""Find the sizes for which a file is right, as the simplest rule that fits all compared cases."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

# A size without bounds: (least, largest).
ANY: Final = (1, None)
# The padding of a batch: none, up to its longest row, or wider than that.
NO_PADDING: Final = 0
TO_LONGEST: Final = 1
WIDER: Final = 2
_PADDINGS: Final = {NO_PADDING: "rows of one length", TO_LONGEST: "batches as wide as their longest row"}


@dataclass(frozen=True)
class ComparedSize:
    """The size of a compared case, and whether the file was right.

    The size is its rows, its steps and its padding (NO_PADDING, TO_LONGEST or WIDER).
    """

    rows: int
    steps: int
    padding: int
    right: bool


@dataclass(frozen=True)
class Bounds:
    """Bounds of the sizes for which a file is right.

    Attributes:
        rows: the least and the largest batch.
        steps: the fewest and the most steps of a row.
        padding: the most padding of a batch.
    """

    rows: tuple[int, int | None] = (1, None)
    steps: tuple[int, int | None] = (1, None)
    padding: int = WIDER

    def contains_size(self, rows: int, steps: int, *, padding: int) -> bool:
        """Return whether a batch of this size is inside the bounds. `padding` is its kind of padding: NO_PADDING,
        TO_LONGEST or WIDER."""
        return _is_within_bounds(self.rows, rows) and _is_within_bounds(self.steps, steps) and padding <= self.padding

    def describe_bounds(self, step_word: str) -> str:
        """Describe the bounds in words: "batches of up to 8 and up to 40 tokens". `step_word` is the unit of a row's
        length: "tokens" or "steps". All sizes give ""."""
        parts = [_describe_range(self.rows, "batch {0} only", "batches of up to {0}", "batches of {0} or more")]
        parts.append(
            _describe_range(
                self.steps, f"rows of {{0}} {step_word} only", f"up to {{0}} {step_word}", f"{{0}} {step_word} or more"
            )
        )
        parts.append(_PADDINGS.get(self.padding, ""))
        return " and ".join(filter(None, parts))


def _is_within_bounds(bounds: tuple[int, int | None], size: int) -> bool:
    return bounds[0] <= size and (bounds[1] is None or size <= bounds[1])


def _describe_range(bounds: tuple[int, int | None], only: str, most: str, least: str) -> str:
    """Describe a range of sizes (smallest, largest) with the phrase that fits: `only` for a single size, `least` for a
    range without a largest size, else `most`, in which {0} is replaced by the size. Return "" for all sizes."""
    if bounds[0] == bounds[1]:
        said = only.format(bounds[0])
        return said.replace("s only", " only") if bounds[0] == 1 else said
    return (
        least.format(bounds[0]) if bounds[1] is None and bounds[0] > 1 else most.format(bounds[1]) if bounds[1] else ""
    )


def find_simplest_bounds_of_right_sizes(
    compared: Sequence[ComparedSize], is_right_at: Callable[[int, int], bool]
) -> Bounds | None:
    """Find the simplest bounds that contain the sizes of all batches for which a file is right, and no size of a batch
    for which it is wrong. Return None if there are no such bounds, or if all batches are right or all are wrong.

    Args:
        compared: the sizes of the compared batches.
        is_right_at: returns whether the file is right for a batch of (rows, steps). It is called to find the largest
            number of steps, and to test one row more than the bounds contain.
    """
    right = [one for one in compared if one.right]
    if not right or len(right) == len(compared):
        return None
    for bounds in _yield_bounds_that_contain_right_sizes(right):
        if all(bounds.contains_size(one.rows, one.steps, padding=one.padding) == one.right for one in compared):
            most = bounds.rows[1]
            # A large batch may be wrong by its ids, and not by its size.
            if most is None or not is_right_at(most + 1, next(one.steps for one in right if one.rows == most)):
                return _extend_bounds_to_most_steps(bounds, compared, is_right_at)
    return None


def _yield_bounds_that_contain_right_sizes(right_sizes: Sequence[ComparedSize]) -> Iterator[Bounds]:
    """Yield bounds that contain all the given sizes, the simplest first: those that limit the fewest of rows, steps and
    padding."""
    of_rows, of_steps = ([getattr(one, name) for one in right_sizes] for name in ("rows", "steps"))
    every = itertools.product(
        _list_ranges_that_contain_sizes(of_rows),
        _list_ranges_that_contain_sizes(of_steps),
        (WIDER, TO_LONGEST, NO_PADDING),
    )
    found = [Bounds(rows, steps, padding) for rows, steps, padding in every]
    yield from sorted(found, key=lambda b: (b.rows != ANY) + (b.steps != ANY) + (b.padding != WIDER))


def _list_ranges_that_contain_sizes(sizes: Sequence[int]) -> list[tuple[int, int | None]]:
    """Return the ranges (smallest, largest) that contain these sizes: the range without limits, the two ranges that end
    at the smallest or at the largest of the sizes, and the range that ends at both. None stands for no largest size."""
    least, most = min(sizes), max(sizes)
    return [ANY, (least, most)] if least == most else [ANY, (1, most), (least, None), (least, most)]


def _extend_bounds_to_most_steps(
    bounds: Bounds, compared: Sequence[ComparedSize], is_right_at: Callable[[int, int], bool]
) -> Bounds:
    """Find by bisection the largest number of steps for which the file is right. Return the bounds with this number as
    their largest; bounds without a largest number of steps are returned unchanged.

    Args:
        bounds: the bounds of the compared sizes.
        compared: these sizes.
        is_right_at: returns whether the file is right for a batch of (rows, steps).
    """
    least, most = bounds.steps
    if most is None or least == most:
        return bounds
    rows = next(one.rows for one in compared if one.right and one.steps == most)
    failing = min((one.steps for one in compared if not one.right and one.steps > most), default=most + 1)
    while failing - most > 1:
        middle = (most + failing) // 2
        most, failing = (middle, failing) if is_right_at(rows, middle) else (most, middle)
    return Bounds(bounds.rows, (least, most), bounds.padding)
