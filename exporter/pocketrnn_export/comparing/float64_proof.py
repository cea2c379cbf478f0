"""Prove a graph in two precisions: in double precision it equals its module, and its float32 forms are near enough.

docs/proof.md states the rule in plain words and gives the figures behind both limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import nn

from pocketrnn.errors import ExportError, ParityError, first_line
from pocketrnn_export.comparing.float64_graph import Run64, make_float64_onnx_run
from pocketrnn_export.comparing.float64_module import make_float64_copy, make_float64_copy_run
from pocketrnn_export.comparing.proof_inputs import Case
from pocketrnn_export.comparing.rounded_graph_equality import find_difference_beyond_rounding
from pocketrnn_export.comparing.rounding_spread import ExactAnswer
from pocketrnn_export.progress import log_item_progress

# A right graph agrees with its module to 1e-13 in double precision; the nearest wrong one of 200 is 1.3e-9 from it
# (docs/proof.md).
DOUBLE_TOLERANCE: Final = 1e-10
# How many spreads a float32 answer may lie from the exact one.
SPREADS: Final = 40.0
# Rounding in float64 is 2**-29 of rounding in float32. It matters where a network is chaotic: where float32 loses an
# answer completely (a spread of 1), float64 may differ by 7e-8.
_DOUBLE_TO_SINGLE: Final = 2.0**-29
# A larger difference is not caused by rounding in float64.
_ROUNDING_AT_MOST: Final = 1e-6
_LEAST_TOLERANCE: Final = 1e-5
_MOST_TOLERANCE: Final = 1e-2

Retrace = Callable[[nn.Module], bytes]
Numbers = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Float64Agreement:
    """How well a graph agrees with its module in double precision.

    Attributes:
        cases: the number of cases that were compared.
        rows: the number of texts in them.
        largest_difference: the largest difference of a logit, relative to a logit above 1.
        case: the case with this difference.
        numbers_rounded: whether a graph with the unrounded numbers of forward was compared, and the shipped graph was
            found to be that graph with its numbers rounded to float32.
    """

    cases: int
    rows: int
    largest_difference: float
    case: str
    numbers_rounded: bool = False


@dataclass(frozen=True)
class DistanceToExactAnswer:
    """How far a float32 answer to a case is from the exact answer, which is computed in double precision.

    Attributes:
        candidate: the name of the candidate.
        case: the name of the case.
        largest_difference: the largest difference of a logit from the exact one.
        spreads: the largest difference of a row, in units of that row's spread.
        labels_differing: the number of rows whose label differs from the exact answer's.
    """

    candidate: str
    case: str
    largest_difference: float
    spreads: float
    labels_differing: int

    @property
    def passes(self) -> bool:
        """Whether the float32 answer is near enough to the exact answer.

        If its label still differs, it is a tie: the exact logits of the two labels differ by at most twice the allowed
        distance.
        """
        return self.spreads <= SPREADS


def prove_graph(
    run: Run64,
    exact: Sequence[ExactAnswer],
    *,
    content: bytes = b"",
    retraced: Callable[[], bytes] | None = None,
    spreads: Callable[[Case], ExactAnswer | None] = lambda _: None,
    inputs: str = "cases",
) -> Float64Agreement:
    """Prove that a graph in double precision gives the exact answers, up to 1e-10 or to what rounding explains.

    Args:
        run: the graph in double precision.
        exact: the answers that it must give.
        content: the graph's ONNX file.
        retraced: traces the module in double precision as `content` was traced. It is called only if the graph is more
            than 1e-10 off: forward may hold numbers that float32 cannot represent.
        spreads: gives the exact answer to a case with how far rounding may move it. It is called only if the graph is
            more than 1e-10 off: a chaotic network's float64 answers depend on rounding too.
        inputs: the name of the inputs, for the progress.

    Raises:
        ParityError: the graph computes something else; the message says where.
        ExportError: the graph cannot be computed in double precision.
    """
    found = measure_agreement(run, exact, inputs)
    if found.largest_difference <= DOUBLE_TOLERANCE:
        return found
    reason = "rounded numbers of forward do not explain it"
    if retraced is not None and math.isfinite(found.largest_difference):
        again, reason = _compare_retraced_module(content, exact, retraced)
        if again is not None:
            return again
    if found.largest_difference < _ROUNDING_AT_MOST:
        off = [measure_agreement(run, [one]).largest_difference > DOUBLE_TOLERANCE for one in exact]
        exact = [(spreads(one.case) or one) if is_off else one for one, is_off in zip(exact, off, strict=True)]
        found = measure_agreement(run, exact)
        if found.largest_difference <= DOUBLE_TOLERANCE:
            return found
    raise ParityError(
        f"In double precision, the graph's answer to {found.case} differs from the module's by "
        f"{found.largest_difference:.1e}, more than {DOUBLE_TOLERANCE:g}; {reason}.",
        "Nothing was written. Use other operations in forward at the place that this message names. If it names none, "
        "report the module.",
    )


class _RetracedComparison(NamedTuple):
    """How well the graph of a module, traced in double precision, agrees with the exact answers; or None, and why this
    says nothing about the shipped graph."""

    agreement: Float64Agreement | None
    why_not: str


def _compare_retraced_module(
    content: bytes, exact: Sequence[ExactAnswer], retraced: Callable[[], bytes]
) -> _RetracedComparison:
    """Trace the module in double precision, and find out whether the shipped graph differs from the new graph only by
    rounded numbers.

    If so, and the new graph gives the exact answers, the result has an agreement; else it has the reason why not.
    """
    try:
        double = retraced()
        again = measure_agreement(make_float64_onnx_run(double, restores_constants=True), exact)
    except ExportError as error:
        return _RetracedComparison(None, f"traced in double precision, {first_line(error)}")
    different = find_difference_beyond_rounding(content, double)
    if different is not None:
        return _RetracedComparison(None, f"traced in double precision, its graph has another {different}")
    if again.largest_difference > DOUBLE_TOLERANCE:
        return _RetracedComparison(None, f"traced in double precision, it is {again.largest_difference:.1e} off too")
    found = Float64Agreement(again.cases, again.rows, again.largest_difference, again.case, numbers_rounded=True)
    return _RetracedComparison(found, "")


def prove_module_graph(
    module: nn.Module,
    content: bytes,
    exact: Sequence[ExactAnswer],
    *,
    takes_lengths: bool,
    every_id: Sequence[Case] = (),
    retrace: Retrace | None = None,
) -> Float64Agreement:
    """Prove that a graph computes the same as its module, in double precision up to 1e-10.

    It is for callers that have only a module and a graph: `scripts/measure_proof` and the tests. The exporter already
    has both runs and calls `prove_graph`.

    Args:
        module: the reference, in eval mode, on the CPU; it is copied, not changed.
        content: the ONNX file to ship.
        exact: the module's exact answers, from `compute_exact_answers` with `make_float64_module_run(module)`.
        takes_lengths: whether forward takes lengths.
        every_id: more cases, compared in double precision only; from `make_cases_with_every_id`.
        retrace: traces a module as `content` was traced. It is called only if forward holds numbers that float32 cannot
            represent: `x * 0.1` in float32 multiplies by another number than in float64.

    Raises:
        ParityError: the graph computes something else; the message says where.
        ExportError: the module or the graph cannot be computed in double precision.
    """
    reference = make_float64_copy_run(make_float64_copy(module), takes_lengths=takes_lengths)
    exact = [*exact, *(ExactAnswer(c, reference(c.tokens, c.lengths), np.zeros(len(c.lengths))) for c in every_id)]
    return prove_graph(
        make_float64_onnx_run(content),
        exact,
        content=content,
        retraced=None if retrace is None else lambda: retrace(make_float64_copy(module)),
    )


def measure_agreement(run: Run64, exact: Sequence[ExactAnswer], inputs: str = "cases") -> Float64Agreement:
    """Run a form in double precision, and measure how far it is from the exact answers. Progress messages name the
    cases by `inputs`.

    Raises:
        ParityError: the run fails on a case that the module answers.
    """
    largest, where, rows = 0.0, exact[0].case.name, 0
    for answer in log_item_progress(exact, f"Comparing the graph on {inputs} in double precision"):
        try:
            given = run(answer.case.tokens, answer.case.lengths)
        except ExportError as error:
            # The error's own problem begins with the same words as this one.
            said = error.problem if error.__cause__ is None else f"{first_line(error.__cause__)}."
            raise ParityError(
                f"The graph fails in double precision on {answer.case.name}, where the module answers: {said}",
                f"{error.remedy} Nothing was written.".strip(),
            ) from error
        rows += len(answer.case.lengths)
        apart = _compute_absolute_differences(answer.logits, given)
        if apart.size and answer.logits.shape == given.shape:
            allowed = np.maximum(DOUBLE_TOLERANCE, SPREADS * _DOUBLE_TO_SINGLE * answer.spread)[:, None]
            size = np.maximum(1.0, np.abs(np.nan_to_num(answer.logits, posinf=0.0, neginf=0.0)))
            # If rounding allows more than the tolerance, the difference is scaled down by the same factor.
            apart = apart / size * (DOUBLE_TOLERANCE / allowed)
        worst = float(apart.max(initial=0.0))
        if worst > largest:
            largest, where = worst, answer.case.name
    return Float64Agreement(len(exact), rows, largest, where)


def _compute_absolute_differences(exact: Numbers, given: Numbers) -> npt.NDArray[np.float64]:
    """Return the absolute differences between two answers, [rows, classes]: infinite if the shapes differ, 0 in a row
    that is NaN in both."""
    if exact.shape != given.shape:
        return np.full((1, 1), np.inf)
    with np.errstate(invalid="ignore"):
        apart = np.abs(exact.astype(np.float64) - given.astype(np.float64))
    apart = np.where((exact == given) | (np.isnan(exact) & np.isnan(given)).all(1, keepdims=True), 0.0, apart)
    return np.where(np.isnan(apart), np.inf, apart)


def measure_distance_to_exact_answer(
    candidate: str, exact: ExactAnswer, given: npt.NDArray[np.float32]
) -> DistanceToExactAnswer:
    """Measure how far a float32 answer is from the exact answer."""
    apart = _compute_absolute_differences(exact.logits, given)
    if exact.logits.shape != given.shape:
        return DistanceToExactAnswer(candidate, exact.case.name, math.inf, math.inf, len(exact.logits))
    return DistanceToExactAnswer(
        candidate,
        exact.case.name,
        largest_difference=float(apart.max()),
        spreads=float((apart.max(1) / exact.spread).max()),
        labels_differing=int((exact.logits.argmax(1) != given.argmax(1)).sum()),
    )


def compute_rounding_tolerance(exact: Sequence[ExactAnswer]) -> float:
    """Return by how much two float32 answers to these cases may differ if both are right but rounded differently.

    Each may be away from the exact answer by `SPREADS` times the answer's `spread`, which is how far rounding moves it.
    The result is between 1e-5 and 1e-2, rounded up to one digit. `verify` allows this difference on a bundle's golden
    examples.
    """
    largest = 2 * SPREADS * max(float(answer.spread.max()) for answer in exact)
    if not _LEAST_TOLERANCE < largest < _MOST_TOLERANCE:
        return _LEAST_TOLERANCE if largest <= _LEAST_TOLERANCE else _MOST_TOLERANCE
    unit = 10.0 ** math.floor(math.log10(largest))
    return float(f"{math.ceil(largest / unit - 1e-9) * unit:.0e}")
