"""The sizes at which programs are compared with the module: the sizes just below and above every condition on a
size."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from pocketrnn_export.comparing.proof_inputs import LARGEST
from pocketrnn_export.tracing.sizes.size_conditions import Sizes
from pocketrnn_export.tracing.sizes.size_question_log import Question
from pocketrnn_export.tracing.sizes.size_regions import Regions

# At most `_LARGE_CASES` inputs above `_SMALL` tokens are tried: a module with many bounds would take minutes.
_SMALL: Final = 5_000
_LARGE_CASES: Final = 24
# The most changes of a condition along one size that are all tried; with more, the first and last ones up to `_OFTEN`
# tokens are tried.
_CHANGES: Final = 8
_OFTEN: Final = 2_000
# The largest divisor for which each remainder is tried.
_PERIOD: Final = 64


def list_boundary_sizes(questions: Sequence[Question], regions: Regions, divisors: Collection[int] = ()) -> list[Sizes]:
    """Return sizes around every condition: the last two sizes before its result changes, the first size after, and one
    twice as large. Also return some sizes of every region, and one size for each remainder of a division.

    Small sizes, 40 and 200 rows, and 600 and 2,000 tokens are added. The sizes are sorted by cost.
    """
    batch = regions.batch
    needed = {sizes for region in range(len(regions)) for sizes in regions.list_some_sizes(region)}
    # Small sizes, many rows, and long texts are tried for every module.
    usual = itertools.chain(itertools.product((1, 2, 3), (1, 2, 3, 7, 20)), ((40, 9), (200, 5), (3, 600), (2, 2000)))
    found = {Sizes(*pair) for pair in usual}
    found |= {Sizes(2, p + rest) for p in divisors if p <= _PERIOD for rest in range(p)}
    for question in questions:
        for rows in (1, 2, 3, 40) if batch is None else (batch,):
            tokens = np.arange(1, LARGEST // rows + 1)
            for edge in find_condition_changes(
                question.condition.evaluate_on_sizes(np.full_like(tokens, rows), tokens)
            ):
                found |= {Sizes(rows, n) for n in (edge - 1, edge, edge + 1, 2 * edge) if n >= 1}
                found |= {Sizes(2, edge), Sizes(2, edge + 1)}
        for steps in (1, 2, 7, 64) if batch is None else ():
            rows_of = np.arange(1, LARGEST // steps + 1)
            for edge in find_condition_changes(
                question.condition.evaluate_on_sizes(rows_of, np.full_like(rows_of, steps))
            ):
                if steps in (1, 7) or edge * steps <= 20_000:
                    found |= {Sizes(n, steps) for n in (edge - 1, edge, edge + 1, 2 * edge) if n >= 1}
    found = {sizes if batch is None else replace(sizes, batch=batch) for sizes in found}
    ordered = _sort_by_cost(sizes for sizes in found if sizes.batch * sizes.tokens <= LARGEST)
    small = [sizes for sizes in ordered if sizes.batch * sizes.tokens <= _SMALL]
    return _sort_by_cost({*small, *ordered[len(small) :][:_LARGE_CASES], *needed})


def _sort_by_cost(sizes: Iterable[Sizes]) -> list[Sizes]:
    return sorted(sizes, key=lambda s: (s.batch * s.tokens, s.tokens))


def find_condition_changes(holds: npt.NDArray[np.bool_]) -> list[int]:
    """Return the sizes after which a condition's result changes, from its results for the sizes 1, 2, 3, ... If they
    are many, return some of them."""
    edges = [int(edge) for edge in np.flatnonzero(holds[1:] != holds[:-1]) + 1]
    if len(edges) <= _CHANGES:
        return edges
    near = [edge for edge in edges if edge <= _OFTEN] or edges
    return [*near[: _CHANGES - 3], *near[-3:]]
