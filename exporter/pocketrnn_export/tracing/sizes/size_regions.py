"""The regions that the questions of forward part all sizes into: in each, it asks the same and gets the same answers.

Forward is followed for some sizes, and what it asks on that way is noted. All sizes with the same answers go the same
way, whatever else there is to ask elsewhere. Then sizes are taken that have not gone this way, until every size of at
most `LARGEST` tokens has been on one: a question inside a branch, or in the second half of an `and`, is met where the
way to it is open.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import sympy

from pocketrnn.errors import ExportError
from pocketrnn_export.tracing.sizes.conditions import (
    BATCH,
    TOKENS,
    USUAL,
    Condition,
    EverySize,
    Sizes,
    all_of,
    every_size,
    values_over,
)
from pocketrnn_export.tracing.sizes.questions import Question, TraceLog, asks_too_much

__all__ = ["Followed", "Regions", "explored"]

# Ways that are followed. A module of ten questions about one size has eleven.
_MOST: Final = 80
# Nor more than can be followed in so many seconds of the processor.
_SECONDS: Final = 60
# Where forward fails, it is followed for others of these sizes: at these shares of them.
_OTHERS: Final = (0.02, 0.2, 0.5, 0.9)
# Texts of at most so many tokens are taken from a region's middle, where it has such.
_ORDINARY: Final = 2_000
# Sizes of 1 are plain numbers to PyTorch: they are looked at by themselves.
_ONE_ROW: Final = Condition(sympy.Eq(BATCH, 1))
_ONE_TOKEN: Final = Condition(sympy.Eq(TOKENS, 1))


@dataclass(frozen=True)
class Regions:
    """All sizes, parted.

    Attributes:
        conditions: of each region, what holds in it and nowhere else.
        which: the region of each of `every_size`, int64 [sizes].
        questions: what forward asked, in any of them.
        batch: the batch that every run has, where that is fixed.
    """

    conditions: tuple[Condition, ...]
    which: npt.NDArray[np.int64]
    questions: tuple[Question, ...]
    batch: int | None

    def __len__(self) -> int:
        return len(self.conditions)

    def of(self, sizes: Sizes) -> int:
        """The region of some sizes, of at most `LARGEST` tokens."""
        every = every_size(self.batch)
        return int(self.which[np.argmax((every.batch == sizes.batch) & (every.tokens == sizes.tokens))])

    def members(self, region: int) -> list[Sizes]:
        """Some sizes of a region: the cheapest, the next ones, some of several rows and steps, one in its middle."""
        every, inside = every_size(self.batch), np.flatnonzero(self.which == region)
        several = inside[(every.batch[inside] > 1) & (every.tokens[inside] > 1)]
        one_row = inside[every.batch[inside] == 1]
        # Sums of very long texts round otherwise in each engine.
        one_row = one_row[every.tokens[one_row] <= max(_ORDINARY, every.tokens[one_row[:1]].sum())]
        chosen = [*inside[:3], *several[:2], *one_row[:3], one_row[len(one_row) // 2] if len(one_row) else inside[0]]
        return [every.at(int(index)) for index in dict.fromkeys(chosen)]

    def typical(self, region: int) -> Sizes:
        """Sizes of a region to trace with: of several rows and steps if it has such, not at its edge."""
        every, inside = every_size(self.batch), np.flatnonzero(self.which == region)
        usual = inside[(every.batch[inside] == USUAL.batch) & (every.tokens[inside] == USUAL.tokens)]
        if len(usual):
            return every.at(int(usual[0]))
        for rows in (3, 2):
            column = inside[(every.batch[inside] == rows) & (every.tokens[inside] > 1)]
            if len(column):
                return every.at(int(column[min(2, len(column) - 1)]))
        several = inside[every.tokens[inside] > 1]
        return every.at(int((several if len(several) else inside)[0]))


@dataclass(frozen=True)
class Followed:
    """Forward, followed for some sizes.

    Attributes:
        log: what it asked.
        fails: whether the module fails for these sizes, within an operation.
    """

    log: TraceLog
    fails: bool = False


def explored(follow: Callable[[Sizes], Followed], batch: int | None) -> Regions:
    """Follow forward until every size has been on one of its ways.

    Args:
        follow: follows it for some sizes.
        batch: the batch that every run has, where that is fixed.

    Raises:
        ExportError: there are too many ways; names the line that asks.

    Example:
        >>> len(explored(follow, 1))  # of a forward that asks `x.size(1) % 7 == 3 and x.size(1) > 290`
        4
    """
    every = every_size(batch)
    which = np.full(len(every), -1, np.int64)
    conditions: list[Condition] = []
    questions: list[Question] = []
    started = time.process_time()
    while (left := which < 0).any():
        if len(conditions) >= _MOST or (any(q.branch for q in questions) and _late(started)):
            raise _too_many(questions)
        index = _next(every, left)
        followed = follow(every.at(index))
        answers = _answers(followed.log, every.at(index), batch)
        _refuse_many_numbers(followed.log, answers, batch)
        inside = left & _where(answers, batch)
        if followed.fails:
            # Others of these sizes may not fail, and ask on.
            found = np.flatnonzero(inside)
            for other in (int(found[int(share * (len(found) - 1))]) for share in _OTHERS):
                instead = follow(every.at(other))
                if not instead.fails:
                    answers = _answers(instead.log, every.at(other), batch)
                    followed, inside = instead, left & _where(answers, batch)
                    break
        which[inside] = len(conditions)
        conditions.append(_all_of(answers))
        questions += [question for question in followed.log.questions if question not in questions]
    return Regions(tuple(conditions), which, tuple(questions), batch)


def _late(started: float) -> bool:
    return time.process_time() - started > _SECONDS


def _answers(log: TraceLog, sizes: Sizes, batch: int | None) -> dict[Condition, bool]:
    asked = [question.condition for question in log.questions if question.branch]
    ones = [_ONE_TOKEN] if batch is not None else [_ONE_ROW, _ONE_TOKEN]
    return {condition: condition.holds(sizes) for condition in (*ones, *asked)}


def _refuse_many_numbers(log: TraceLog, answers: Mapping[Condition, bool], batch: int | None) -> None:
    """Refuse a size that Python takes for a plain number at once where there are too many on this way: each would be a
    way of its own.

    Raises:
        ExportError: there are.
    """
    way = np.ones(len(every_size(batch)), np.bool_)
    for condition, answer in answers.items():
        question = next((q for q in log.questions if q.condition == condition and q.number), None)
        if question is not None and isinstance(condition.relation, sympy.Eq):
            numbers = values_over(condition.relation.lhs, batch)[way]
            if len(np.unique(numbers)) > _MOST:
                raise _too_many([question])
        way &= condition.over_all(batch) == answer


def _where(answers: Mapping[Condition, bool], batch: int | None) -> npt.NDArray[np.bool_]:
    """For which of `every_size` the answers are these."""
    return functools.reduce(np.logical_and, (one.over_all(batch) == answer for one, answer in answers.items()))


def _next(every: EverySize, left: npt.NDArray[np.bool_]) -> int:
    """The cheapest sizes that are left; first those of the usual example, and of several rows and steps."""
    several = left & (every.batch > 1) & (every.tokens > 1)
    usual = several & (every.batch == USUAL.batch) & (every.tokens == USUAL.tokens)
    return int(np.argmax(next(some for some in (usual, several, left) if some.any())))


def _all_of(answers: Mapping[Condition, bool]) -> Condition:
    return all_of(one if answer else one.negated for one, answer in answers.items())


def _too_many(questions: Sequence[Question]) -> ExportError:
    """The error that names the line with the most questions."""
    lines = Counter(question.where for question in questions if question.branch)
    where = lines.most_common(1)[0][0]
    if any(question.number and question.where == where for question in questions):
        return ExportError(
            f"The module takes a size of its input for a plain number, and there are more than can be tried: {where}.",
            "Compute and compare with sizes, and give none to str(), bit_length(), a table or a function of math.",
        )
    return asks_too_much(where)
