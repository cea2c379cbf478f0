"""Compare programs with the module's own answers at some sizes. Find the limits of the sizes that the module
accepts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError, first_line
from pocketrnn_export.tracing.sizes.size_conditions import Sizes
from pocketrnn_export.tracing.sizes.size_question_log import TraceLog
from pocketrnn_export.tracing.sizes.trace_plan_and_branches import TracePlan

Logits = npt.NDArray[np.float32]
Traced = TypeVar("Traced")
# Logits that differ by less than _NEAR count as equal. A program that lost one token of 31 was wrong by only 2e-4. So a
# larger difference is allowed only if the module's own rounding is large: its distance from its answer in double
# precision, times _ROUNDINGS.
_NEAR: Final = 1e-5
_ROUNDINGS: Final = 30
_MOST_ROUNDING: Final = 1e-3


def is_within_limits(limits: Limits, sizes: Sizes) -> bool:
    """Return whether a batch of these sizes is within the limits."""
    return limits.allows_length(sizes.tokens) and sizes.batch <= (limits.max_batch or sys.maxsize)


@dataclass(frozen=True)
class ProgramAttempt(Generic[Traced]):
    """A program that may be right for all sizes, with functions that run it.

    Attributes:
        traced: the program.
        log: the log of its trace.
        run: a function that returns the program's logits [batch, classes] for a batch of the given sizes.
        plan: the sizes for which conditions were answered in the trace; None for an ordinary trace, whose program is
            right only for the sizes of its example until it is proven.
        run_non_forgetting: the same as `run`, with weights by which recurrent layers forget nothing; None if there are
            no such layers, or if the program does not run with these weights.
    """

    traced: Traced
    log: TraceLog
    run: Callable[[Sizes], Logits]
    plan: TracePlan | None = None
    run_non_forgetting: Callable[[Sizes], Logits] | None = None


class AnswerJudge:
    """Compares programs with the module's own answers. Each answer is computed only once.

    Args:
        reference: a function that returns the module's logits for a batch of the given sizes; may raise anything.
        in_doubles: the same function in double precision.
        batch: the batch size of every run, if it is fixed.

    Attributes:
        known: the answers of the module so far, or the exceptions that it raised.
        errors: the exceptions of traces that failed.
        verdicts: for the id of an attempt and sizes, whether the program gives the module's answer.
    """

    def __init__(
        self, reference: Callable[[Sizes], Logits], in_doubles: Callable[[Sizes], Any], batch: int | None
    ) -> None:
        self.reference, self.in_doubles, self.batch = reference, in_doubles, batch
        self.known: dict[Sizes, Logits | Exception] = {}
        self.errors: list[Exception] = []
        self.verdicts: dict[tuple[int, Sizes], bool] = {}

    def compute_answer_for(self, sizes: Sizes) -> Logits | Exception:
        """Return the module's answer for a batch of these sizes, or the exception that the module raises."""
        if sizes not in self.known:
            try:
                self.known[sizes] = self.reference(sizes)
            # A user's module may raise anything.
            except Exception as error:
                self.known[sizes] = error
        return self.known[sizes]

    def is_answered_at(self, sizes: Sizes) -> bool:
        """Return whether the module answers a batch of these sizes without an exception."""
        return not isinstance(self.compute_answer_for(sizes), Exception)

    def agrees_with_module(self, attempt: ProgramAttempt[Any], case: Sizes) -> bool:
        """Return whether a program gives the module's answer for a batch of the sizes `case`, for which the module
        runs."""
        if (id(attempt), case) not in self.verdicts:
            self.verdicts[id(attempt), case] = self._run_and_compare(attempt, case)
        return self.verdicts[id(attempt), case]

    def differs_from_module_without_forgetting(self, attempt: ProgramAttempt[Any], case: Sizes) -> bool:
        """Return whether a program and the module give different answers for a batch of the sizes `case` with weights
        by which recurrent layers forget nothing. Return False if one of the two does not run with these weights."""
        if attempt.run_non_forgetting is None or not self.is_answered_at(case):
            return False
        if (id(attempt), case) not in self.verdicts:
            # An error in PyTorch's own run of a program does not mean that its exported form fails.
            try:
                given = attempt.run_non_forgetting(case)
            except Exception:
                return False
            self.verdicts[id(attempt), case] = self._run_and_compare(replace(attempt, run=lambda _: given), case)
        return not self.verdicts[id(attempt), case]

    def _run_and_compare(self, attempt: ProgramAttempt[Any], case: Sizes) -> bool:
        """Run a program for a batch of the sizes `case`, and return whether its answer is near the module's."""
        try:
            given = attempt.run(case)
        # Engines raise exceptions of many classes.
        except Exception:
            return False
        expected = self.compute_answer_for(case)
        if isinstance(expected, Exception) or given.shape != expected.shape:
            return False
        apart = compute_largest_difference(given, expected)
        return apart <= _NEAR or apart <= min(_ROUNDINGS * self._measure_rounding(case, expected), _MOST_ROUNDING)

    def find_rounding_that_explains_difference(self, attempt: ProgramAttempt[Any], case: Sizes) -> float:
        """Return the rounding error of the module's answer for the sizes `case`, if the program's answer is too far
        from the module's and this rounding error can be the cause. Else return 0."""
        expected = self.compute_answer_for(case)
        if isinstance(expected, Exception):
            return 0.0
        rounding = self._measure_rounding(case, expected)
        try:
            apart = compute_largest_difference(attempt.run(case), expected)
        # Engines raise exceptions of many classes.
        except Exception:
            return 0.0
        return rounding if _MOST_ROUNDING < apart <= _ROUNDINGS * rounding else 0.0

    def _measure_rounding(self, case: Sizes, expected: Logits) -> float:
        """Return the difference between the module's answer in single precision, `expected`, and in double precision.
        Return 0 if the module fails in double precision."""
        try:
            return compute_largest_difference(self.in_doubles(case), expected)
        # For instance, forward makes float32 zeros.
        except Exception:
            return 0.0

    def find_limits_of_accepted_sizes(self, cases: Sequence[Sizes]) -> Limits:
        """Return the smallest and largest number of tokens, and the largest batch size, that the module accepts.

        Args:
            cases: the sizes that are tried.

        Raises:
            ExportError: the module fails for sizes within these limits, or accepts sizes outside of them.
        """
        if all(self.is_answered_at(case) for case in cases):
            return Limits()
        rows = 1 if self.batch is not None else 2
        tokens = [t for t in sorted({c.tokens for c in cases}) if self.is_answered_at(Sizes(rows, t))]
        if not tokens:
            raise self._make_limits_error(next(c for c in cases if not self.is_answered_at(c)))
        lowest, highest = tokens[0], tokens[-1]
        least = None if lowest == 1 else self._find_last_accepted_number(lowest, 0, lambda n: Sizes(rows, n))
        most = self._find_upper_limit({c.tokens for c in cases}, highest, lambda n: Sizes(rows, n))
        ordinary = lowest if least is not None else min(highest, 7)
        batches = {c.batch for c in cases}
        highest_batch = max((b for b in batches if self.is_answered_at(Sizes(b, ordinary))), default=rows)
        batch = self._find_upper_limit(batches, highest_batch, lambda n: Sizes(n, ordinary))
        limits = Limits(least, most, batch)
        for case in cases:
            if is_within_limits(limits, case) != self.is_answered_at(case):
                raise self._make_limits_error(case)
        return limits

    def _find_last_accepted_number(self, accepted: int, refused: int, make_sizes: Callable[[int], Sizes]) -> int:
        """Find by bisection the last number that the module accepts, between `accepted` and `refused`.

        Args:
            accepted, refused: a number that the module accepts, and a number that it does not accept.
            make_sizes: a function that returns the sizes to try for a number.
        """
        while abs(accepted - refused) > 1:
            middle = (accepted + refused) // 2
            accepted, refused = (middle, refused) if self.is_answered_at(make_sizes(middle)) else (accepted, middle)
        return accepted

    def _find_upper_limit(
        self, numbers_tried: Collection[int], highest_accepted: int, make_sizes: Callable[[int], Sizes]
    ) -> int | None:
        """Return the largest number that the module accepts, or None if it accepts all numbers that were tried.

        Args:
            numbers_tried: the numbers that were tried.
            highest_accepted: the highest of these numbers that the module accepts.
            make_sizes: a function that returns the sizes to try for a number.
        """
        above = [n for n in numbers_tried if n > highest_accepted]
        return self._find_last_accepted_number(highest_accepted, min(above), make_sizes) if above else None

    def _make_limits_error(self, case: Sizes) -> ExportError:
        """Return the error for sizes `case` at which the module contradicts the limits that were found at other sizes:
        it fails within the limits, or runs beyond them."""
        answer = self.compute_answer_for(case)
        if isinstance(answer, Exception):
            says = (
                f"The module fails for {describe_sizes(case)} in PyTorch itself: "
                f"{type(answer).__name__}: {first_line(answer)}"
            )
            return ExportError(
                says.rstrip(".") + ".", "Change forward so that it takes texts of any length in a batch of any size."
            )
        return ExportError(
            f"The module accepts {describe_sizes(case)}, but other numbers of tokens in batches of other sizes. A "
            "bundle can state only one range of lengths for all batches.",
            "Change forward so that it takes texts of any length in a batch of any size.",
        )


def compute_largest_difference(given: Logits, expected: Logits) -> float:
    """Return the largest difference between the logits of two answers of the same shape. NaN equals NaN, and an
    infinity equals the same infinity.

    If a number of `expected` exceeds 1, the differences are divided by the largest number, since a sum over 2,000 steps
    has fewer exact digits after the point.
    """
    with np.errstate(invalid="ignore"):
        apart = np.abs(given - expected) / np.abs(expected).max(where=np.isfinite(expected), initial=1.0)
    alike = (given == expected) | (np.isnan(given) & np.isnan(expected))
    return float(np.where(alike, 0.0, apart).max())


def describe_sizes(sizes: Sizes) -> str:
    """Describe a batch of these sizes in words: "3 texts of 7 tokens"."""
    rows = "one text" if sizes.batch == 1 else f"{sizes.batch} texts"
    return f"{rows} of {sizes.tokens} {'token' if sizes.tokens == 1 else 'tokens'}"
