"""Divide all sizes into regions. Within a region, forward tests the same conditions on sizes, with the same results.

Forward is run for some sizes, and the conditions that it tests are recorded. All sizes for which they have the same
results are a region. Then forward is run for sizes outside the known regions, until every size of at most `LARGEST`
tokens belongs to a region. So a condition inside a branch, or in the second half of an `and`, is found by sizes that
reach it.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import sympy

from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.proof_inputs import LARGEST
from pocketrnn_export.tracing.sizes.size_conditions import (
    BATCH,
    TOKENS,
    USUAL,
    AllSizes,
    Condition,
    Sizes,
    compute_values_at_all_sizes,
    join_by_and,
    make_all_sizes,
)
from pocketrnn_export.tracing.sizes.size_question_log import Question, TraceLog

# The most regions. A module with ten questions about one size has eleven.
_MOST: Final = 80
# The processor time after which no further region is explored.
_SECONDS: Final = 60
# If forward fails for some sizes, other sizes of the same region are tried, at these fractions of the region's list.
_OTHERS: Final = (0.02, 0.2, 0.5, 0.9)
# The most tokens of a text that is taken from a region's middle, if the region has such texts.
_ORDINARY: Final = 2_000
# PyTorch treats sizes of 1 as plain numbers, so they are regions of their own.
_ONE_ROW: Final = Condition(sympy.Eq(BATCH, 1))
_ONE_TOKEN: Final = Condition(sympy.Eq(TOKENS, 1))


@dataclass(frozen=True)
class Regions:
    """All sizes of an input, divided into regions. Within a region, all conditions that forward tests have the same
    results.

    Attributes:
        conditions: for each region, the condition that is true only inside the region.
        which: int64 [sizes], the index of the region of each pair of a batch size and a number of tokens, in the order
            of `make_all_sizes(batch)`.
        questions: the conditions that forward tests in all regions.
        batch: the batch size of every run, if it is fixed.
    """

    conditions: tuple[Condition, ...]
    which: npt.NDArray[np.int64]
    questions: tuple[Question, ...]
    batch: int | None

    def __len__(self) -> int:
        return len(self.conditions)

    def find_region(self, sizes: Sizes) -> int:
        """Return the index of the region that contains these sizes, of at most `LARGEST` tokens in the batch."""
        every = make_all_sizes(self.batch)
        return int(self.which[np.argmax((every.batch == sizes.batch) & (every.tokens == sizes.tokens))])

    def list_sample_sizes(self, region: int) -> list[Sizes]:
        """Return some sizes of a region: the cheapest, some with several rows and steps, and one from the middle."""
        every, inside = make_all_sizes(self.batch), np.flatnonzero(self.which == region)
        several = inside[(every.batch[inside] > 1) & (every.tokens[inside] > 1)]
        one_row = inside[every.batch[inside] == 1]
        # Each engine rounds sums over very long texts differently.
        one_row = one_row[every.tokens[one_row] <= max(_ORDINARY, every.tokens[one_row[:1]].sum())]
        chosen = [*inside[:3], *several[:2], *one_row[:3], one_row[len(one_row) // 2] if len(one_row) else inside[0]]
        return [every.get_sizes(int(index)) for index in dict.fromkeys(chosen)]

    def choose_typical_sizes(self, region: int) -> Sizes:
        """Return the sizes with which to trace a program for a region: those of the usual example, or several rows and
        steps, if the region contains such sizes."""
        every, inside = make_all_sizes(self.batch), np.flatnonzero(self.which == region)
        usual = inside[(every.batch[inside] == USUAL.batch) & (every.tokens[inside] == USUAL.tokens)]
        if len(usual):
            return every.get_sizes(int(usual[0]))
        for rows in (3, 2):
            column = inside[(every.batch[inside] == rows) & (every.tokens[inside] > 1)]
            if len(column):
                return every.get_sizes(int(column[min(2, len(column) - 1)]))
        several = inside[every.tokens[inside] > 1]
        return every.get_sizes(int((several if len(several) else inside)[0]))


@dataclass(frozen=True)
class FollowedRun:
    """A run of forward for one batch size and number of tokens.

    Attributes:
        log: the conditions on sizes that forward tested.
        fails: whether an operation in forward fails for these sizes.
    """

    log: TraceLog
    fails: bool = False


def divide_sizes_into_regions(follow: Callable[[Sizes], FollowedRun], batch: int | None) -> Regions:
    """Divide all pairs of a batch size and a number of tokens into regions in which each condition that forward tests
    has one result. To find the conditions, run forward for some pairs until every pair is in a region.

    Args:
        follow: a function that runs forward for some sizes, and records the conditions that it tests.
        batch: the batch size of every run, if it is fixed.

    Raises:
        ExportError: there are too many regions; the message names the line that tests the most conditions.
    """
    every = make_all_sizes(batch)
    which = np.full(len(every), -1, np.int64)
    conditions: list[Condition] = []
    questions: list[Question] = []
    started = time.process_time()
    while (left := which < 0).any():
        is_late = time.process_time() - started > _SECONDS
        if len(conditions) >= _MOST or (is_late and any(question.branch for question in questions)):
            raise _make_too_many_regions_error(questions)
        index = _choose_index_of_next_sizes(every, left)
        followed = follow(every.get_sizes(index))
        answers = _evaluate_conditions(followed.log, every.get_sizes(index), batch)
        _refuse_plain_number_with_too_many_values(followed.log, answers, batch)
        inside = left & _find_sizes_with_answers(answers, batch)
        if followed.fails:
            # Other sizes with the same answers may not fail, and show further questions.
            found = np.flatnonzero(inside)
            for other in (int(found[int(share * (len(found) - 1))]) for share in _OTHERS):
                instead = follow(every.get_sizes(other))
                if not instead.fails:
                    answers = _evaluate_conditions(instead.log, every.get_sizes(other), batch)
                    followed, inside = instead, left & _find_sizes_with_answers(answers, batch)
                    break
        which[inside] = len(conditions)
        conditions.append(join_by_and(one if answer else one.negated for one, answer in answers.items()))
        questions += [question for question in followed.log.questions if question not in questions]
    return Regions(tuple(conditions), which, tuple(questions), batch)


def _evaluate_conditions(log: TraceLog, sizes: Sizes, batch: int | None) -> dict[Condition, bool]:
    """Return whether each condition is true for these sizes: the conditions that the module's own code tested, and
    those that there is one token and, unless the batch size is fixed, one text.

    Args:
        log: the conditions that forward tested.
        batch: the batch size of every run, if it is fixed.
    """
    asked = [question.condition for question in log.questions if question.branch]
    ones = [_ONE_TOKEN] if batch is not None else [_ONE_ROW, _ONE_TOKEN]
    return {condition: condition.holds(sizes) for condition in (*ones, *asked)}


def _refuse_plain_number_with_too_many_values(
    log: TraceLog, answers: Mapping[Condition, bool], batch: int | None
) -> None:
    """Raise an ExportError if a module uses a size as a plain number, and this size can have more values than can be
    tried.

    Args:
        log: the conditions that forward tested in one run.
        answers: the results of the conditions in this run, in the order in which they were tested.
        batch: the batch size of every run, if it is fixed.
    """
    way = np.ones(len(make_all_sizes(batch)), np.bool_)
    for condition, answer in answers.items():
        question = next((q for q in log.questions if q.condition == condition and q.number), None)
        if question is not None and isinstance(condition.relation, sympy.Eq):
            numbers = compute_values_at_all_sizes(condition.relation.lhs, batch)[way]
            if len(np.unique(numbers)) > _MOST:
                raise _make_too_many_regions_error([question])
        way &= condition.evaluate_on_all_sizes(batch) == answer


def _find_sizes_with_answers(answers: Mapping[Condition, bool], batch: int | None) -> npt.NDArray[np.bool_]:
    """Return bool [sizes], whether all conditions have the given results for each pair of a batch size and a number of
    tokens, in the order of `make_all_sizes(batch)`. `answers` has the result of each condition."""
    return functools.reduce(
        np.logical_and, (one.evaluate_on_all_sizes(batch) == answer for one, answer in answers.items())
    )


def _choose_index_of_next_sizes(every: AllSizes, left: npt.NDArray[np.bool_]) -> int:
    """Return the index in `every` of the sizes to try next: those of the usual example, else the cheapest with several
    rows and steps, else the cheapest.

    Args:
        every: all sizes, in order of cost.
        left: bool [sizes], which of them are not in a region yet.
    """
    several = left & (every.batch > 1) & (every.tokens > 1)
    usual = several & (every.batch == USUAL.batch) & (every.tokens == USUAL.tokens)
    return int(np.argmax(next(some for some in (usual, several, left) if some.any())))


def _make_too_many_regions_error(questions: Sequence[Question]) -> ExportError:
    """Return the error for a module with too many regions of sizes. It names the line that tests the most
    conditions."""
    lines = Counter(question.where for question in questions if question.branch)
    where = lines.most_common(1)[0][0]
    if any(question.number and question.where == where for question in questions):
        return ExportError(
            "The module uses a size of its input as a plain number, so that it may compute something else for each "
            f"size, and pocketrnn cannot try all sizes: {where}.",
            "Use only arithmetic and comparisons of sizes. Do not pass sizes to str(), bit_length(), a dict or "
            "functions of math.",
        )
    return ExportError(
        "The module tests the size of its input in more ways than pocketrnn can try. The line with the most tests: "
        f"{where}.",
        "Use few comparisons of sizes, as in 700 <= n < 800. Loop over range(x.size(1)), or use nn.RNN, nn.LSTM or "
        "nn.GRU. Do not call a function recursively for parts of a text.",
    )


# --- Sizes at boundaries ---
# The sizes at which programs are compared with the module: the sizes just below and above every condition on a size.

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
    """Return the sizes at which programs are compared with the module, sorted by cost.

    They lie around every condition: the last two sizes before its result changes, the first size after, and one twice
    as large. Further ones are some sizes of every region, one size for each remainder of a division, small sizes, 40
    and 200 rows, and 600 and 2,000 tokens.

    Args:
        questions: the conditions that forward tests.
        regions: the regions of all sizes.
        divisors: the integers by which forward divides sizes.
    """
    batch = regions.batch
    needed = {sizes for region in range(len(regions)) for sizes in regions.list_sample_sizes(region)}
    # Small sizes, many rows, and long texts are tried for every module.
    usual = itertools.chain(itertools.product((1, 2, 3), (1, 2, 3, 7, 20)), ((40, 9), (200, 5), (3, 600), (2, 2000)))
    found = {Sizes(*pair) for pair in usual}
    found |= {Sizes(2, p + rest) for p in divisors if p <= _PERIOD for rest in range(p)}
    for question in questions:
        for rows in (1, 2, 3, 40) if batch is None else (batch,):
            tokens = np.arange(1, LARGEST // rows + 1)
            for edge in find_sizes_where_condition_changes(
                question.condition.evaluate_on_sizes(np.full_like(tokens, rows), tokens)
            ):
                found |= {Sizes(rows, n) for n in (edge - 1, edge, edge + 1, 2 * edge) if n >= 1}
                found |= {Sizes(2, edge), Sizes(2, edge + 1)}
        for steps in (1, 2, 7, 64) if batch is None else ():
            rows_of = np.arange(1, LARGEST // steps + 1)
            for edge in find_sizes_where_condition_changes(
                question.condition.evaluate_on_sizes(rows_of, np.full_like(rows_of, steps))
            ):
                if steps in (1, 7) or edge * steps <= 20_000:
                    found |= {Sizes(n, steps) for n in (edge - 1, edge, edge + 1, 2 * edge) if n >= 1}
    found = {sizes if batch is None else replace(sizes, batch=batch) for sizes in found}
    ordered = _sort_by_cost(sizes for sizes in found if sizes.batch * sizes.tokens <= LARGEST)
    small = [sizes for sizes in ordered if sizes.batch * sizes.tokens <= _SMALL]
    return _sort_by_cost({*small, *ordered[len(small) :][:_LARGE_CASES], *needed})


def _sort_by_cost(sizes: Iterable[Sizes]) -> list[Sizes]:
    """Sort sizes by the number of tokens in the batch."""
    return sorted(sizes, key=lambda s: (s.batch * s.tokens, s.tokens))


def find_sizes_where_condition_changes(holds: npt.NDArray[np.bool_]) -> list[int]:
    """Return each size after which the result of a condition changes. If there are many, return some of them.

    Args:
        holds: bool [sizes], the results for the sizes 1, 2, 3, ...
    """
    edges = [int(edge) for edge in np.flatnonzero(holds[1:] != holds[:-1]) + 1]
    if len(edges) <= _CHANGES:
        return edges
    near = [edge for edge in edges if edge <= _OFTEN] or edges
    return [*near[: _CHANGES - 3], *near[-3:]]
