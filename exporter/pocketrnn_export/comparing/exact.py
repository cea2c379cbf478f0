"""The proof in two precisions: a graph is the module's own in double precision, and its float32 forms are near enough.

docs/proof.md states the rule in plain words and gives the figures behind both limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from torch import nn

from pocketrnn.errors import ExportError, ParityError, first_line
from pocketrnn_export.comparing.cases import Case, Run
from pocketrnn_export.comparing.float64_graph import Run64, float64_run_of_onnx
from pocketrnn_export.comparing.float64_module import doubled, run_of_doubled
from pocketrnn_export.comparing.same_graph import difference_beyond_rounding
from pocketrnn_export.comparing.spread import Exact
from pocketrnn_export.progress import each

__all__ = [
    "DOUBLE_TOLERANCE",
    "SPREADS",
    "Agreement",
    "Nearness",
    "agreement",
    "exact_proof",
    "graph_proof",
    "near_enough",
    "nearness",
    "tolerance_for",
]

# A right graph agrees with its module to 1e-13 in double precision; the nearest wrong one of 200 is 1.3e-9 from it
# (docs/proof.md).
DOUBLE_TOLERANCE: Final = 1e-10
# How many spreads a float32 answer may lie from the exact one.
SPREADS: Final = 40.0
# In float64 the same rounding is 2**-29 of what it is in float32. It matters where a network is chaotic: an answer that
# float32 loses altogether (a spread of 1) may differ by 7e-8 in float64.
_DOUBLE_TO_SINGLE: Final = 2.0**-29
# Beyond this, no rounding of float64 is to blame.
_ROUNDING_AT_MOST: Final = 1e-6
_LEAST_TOLERANCE: Final = 1e-5
_MOST_TOLERANCE: Final = 1e-2

Retrace = Callable[[nn.Module], bytes]
Numbers = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Agreement:
    """How a graph agrees with its module in double precision.

    Attributes:
        cases: how many were compared.
        rows: how many texts these hold.
        largest_difference: of a logit, relative to the logit where that is above 1.
        case: where it is.
        numbers_rounded: whether the graph was compared with its numbers as forward has them, before their rounding to
            float32, and then found to be the same graph with rounded numbers.
    """

    cases: int
    rows: int
    largest_difference: float
    case: str
    numbers_rounded: bool = False


@dataclass(frozen=True)
class Nearness:
    """How near a float32 answer is to the exact one, on a case.

    Attributes:
        candidate: whose answer.
        case: the case's name.
        largest_difference: of a logit from the exact one.
        spreads: the largest difference of a row in units of that row's spread.
        labels_differing: rows whose label is another than that of the exact answer.
    """

    candidate: str
    case: str
    largest_difference: float
    spreads: float
    labels_differing: int

    @property
    def passes(self) -> bool:
        """Whether the answer is as near as the module allows. A label that differs then stands in a tie: the exact
        logits of the two labels are no further apart than twice what is allowed."""
        return self.spreads <= SPREADS


def graph_proof(
    run: Run64,
    exact: Sequence[Exact],
    *,
    content: bytes = b"",
    retraced: Callable[[], bytes] | None = None,
    spreads: Callable[[Case], Exact | None] = lambda _: None,
) -> Agreement:
    """Prove that a graph in double precision gives the exact answers: they agree to 1e-10.

    Args:
        run: the graph in double precision.
        exact: what it must answer.
        content: the graph's ONNX file.
        retraced: traces the module in double precision as `content` was traced. Asked only where the graph is further
            off than that: numbers of forward that no float32 number equals may be to blame.
        spreads: the exact answer to a case with how far rounding may move it. Asked only where the graph is further off
            than 1e-10: a chaotic network's float64 answers depend on rounding too.

    Raises:
        ParityError: the graph computes something else; the message says where.
        ExportError: the graph cannot be computed in double precision.
    """
    found = agreement(run, exact)
    if found.largest_difference <= DOUBLE_TOLERANCE:
        return found
    reason = "nothing says that the numbers of forward are to blame"
    if retraced is not None and math.isfinite(found.largest_difference):
        again, reason = _again(content, exact, retraced)
        if again is not None:
            return again
    if found.largest_difference < _ROUNDING_AT_MOST:
        off = [agreement(run, [one]).largest_difference > DOUBLE_TOLERANCE for one in exact]
        exact = [(spreads(one.case) or one) if is_off else one for one, is_off in zip(exact, off, strict=True)]
        found = agreement(run, exact)
        if found.largest_difference <= DOUBLE_TOLERANCE:
            return found
    raise _wrong(found, reason)


def _again(content: bytes, exact: Sequence[Exact], retraced: Callable[[], bytes]) -> tuple[Agreement | None, str]:
    """The agreement of the module traced in double precision, if the shipped graph is that one with rounded numbers;
    else why it is not."""
    try:
        double = retraced()
        again = agreement(float64_run_of_onnx(double, unrounded=True), exact)
    except ExportError as error:
        return None, f"traced in double precision, {first_line(error)}"
    different = difference_beyond_rounding(content, double)
    if different is not None:
        return None, f"traced in double precision, its graph has another {different}"
    if again.largest_difference > DOUBLE_TOLERANCE:
        return None, f"traced in double precision, it is {again.largest_difference:.1e} off too"
    found = Agreement(again.cases, again.rows, again.largest_difference, again.case, numbers_rounded=True)
    return found, ""


def exact_proof(
    module: nn.Module,
    content: bytes,
    exact: Sequence[Exact],
    *,
    takes_lengths: bool,
    every_id: Sequence[Case] = (),
    retrace: Retrace | None = None,
) -> Agreement:
    """Prove that a graph computes what its module does: in double precision they agree to 1e-10.

    For who has a module and a graph only: `scripts/measure_proof` and the tests. The exporter, which has both runs
    already, calls `graph_proof`.

    Args:
        module: the reference, in eval mode, on the CPU; it is copied, not changed.
        content: the ONNX file that is to ship.
        exact: the module's exact answers, from `spread.exact_answers` with `float64_run_of(module)`.
        takes_lengths: whether forward is given lengths.
        every_id: more cases, compared in double precision only; those of `every_id.cases_of_every_id`.
        retrace: traces a module as `content` was traced. Asked only where numbers of forward are not float32 ones:
            `x * 0.1` in float32 multiplies by another number than in float64.

    Raises:
        ParityError: the graph computes something else; the message says where.
        ExportError: the module or the graph cannot be computed in double precision.
    """
    reference = run_of_doubled(doubled(module), takes_lengths=takes_lengths)
    exact = [*exact, *(Exact(c, reference(c.tokens, c.lengths), np.zeros(len(c.lengths))) for c in every_id)]
    return graph_proof(
        float64_run_of_onnx(content),
        exact,
        content=content,
        retraced=None if retrace is None else lambda: retrace(doubled(module)),
    )


def _wrong(found: Agreement, reason: str) -> ParityError:
    return ParityError(
        f"In double precision the graph is {found.largest_difference:.1e} from the module on {found.case}, where a "
        f"right graph is within {DOUBLE_TOLERANCE:g}; {reason}.",
        "Nothing was written; the module cannot be exported as it is.",
    )


def agreement(run: Run64, exact: Sequence[Exact]) -> Agreement:
    """How far a run in double precision lies from the exact answers, whatever that is.

    Raises:
        ParityError: it fails where the module answers.
    """
    largest, where, rows = 0.0, exact[0].case.name, 0
    for answer in each(exact, "Comparing in double precision"):
        try:
            given = run(answer.case.tokens, answer.case.lengths)
        except ExportError as error:
            raise ParityError(
                f"The graph fails in double precision on {answer.case.name}, where the module answers: "
                f"{first_line(error)}.",
                "Nothing was written; the module cannot be exported as it is.",
            ) from error
        rows += len(answer.case.lengths)
        apart = _apart(answer.logits, given)
        if apart.size and answer.logits.shape == given.shape:
            allowed = np.maximum(DOUBLE_TOLERANCE, SPREADS * _DOUBLE_TO_SINGLE * answer.spread)[:, None]
            size = np.maximum(1.0, np.abs(np.nan_to_num(answer.logits, posinf=0.0, neginf=0.0)))
            # Where rounding allows more than the tolerance, the difference counts for less by as much.
            apart = apart / size * (DOUBLE_TOLERANCE / allowed)
        worst = float(apart.max(initial=0.0))
        if worst > largest:
            largest, where = worst, answer.case.name
    return Agreement(len(exact), rows, largest, where)


def _apart(exact: Numbers, given: Numbers) -> npt.NDArray[np.float64]:
    """Differences, float64 [rows, classes]; infinite where the shapes differ, or one alone is not a finite number. Both
    may have no answer to a row."""
    if exact.shape != given.shape:
        return np.full((1, 1), np.inf)
    with np.errstate(invalid="ignore"):
        apart = np.abs(exact.astype(np.float64) - given.astype(np.float64))
    apart = np.where((exact == given) | (np.isnan(exact) & np.isnan(given)).all(1, keepdims=True), 0.0, apart)
    return np.where(np.isnan(apart), np.inf, apart)


def nearness(candidate: str, exact: Exact, given: npt.NDArray[np.float32]) -> Nearness:
    """How near an answer in float32 is to the exact one."""
    apart = _apart(exact.logits, given)
    if exact.logits.shape != given.shape:
        return Nearness(candidate, exact.case.name, math.inf, math.inf, len(exact.logits))
    return Nearness(
        candidate,
        exact.case.name,
        largest_difference=float(apart.max()),
        spreads=float((apart.max(1) / exact.spread).max()),
        labels_differing=int((exact.logits.argmax(1) != given.argmax(1)).sum()),
    )


def near_enough(candidate: str, run: Run, exact: Sequence[Exact]) -> list[Nearness]:
    """A form's answers in float32 to all cases, each compared with the exact one.

    For `scripts/measure_proof` and the tests. The exporter, which compares the labels in the same pass, calls
    `nearness`.

    Raises:
        ParityError: it fails where the module answers. Whether every case passes is for the caller to see.
    """
    found = []
    for answer in exact:
        try:
            given = run(answer.case.tokens, answer.case.lengths)
        # An engine raises errors of many classes.
        except Exception as error:
            raise ParityError(
                f"{candidate} fails on {answer.case.name}, where the module answers: {first_line(error)}.",
                "Nothing was written; the module cannot be exported as it is.",
            ) from error
        found.append(nearness(candidate, answer, given))
    return found


def tolerance_for(exact: Sequence[Exact]) -> float:
    """By how much two right float32 answers to these cases may differ: each lies `SPREADS` spreads from the exact one.

    At least 1e-5 and at most 1e-2, with one digit, rounded up. It is what `verify` allows on a bundle's golden
    examples.
    """
    largest = 2 * SPREADS * max(float(answer.spread.max()) for answer in exact)
    if not _LEAST_TOLERANCE < largest < _MOST_TOLERANCE:
        return _LEAST_TOLERANCE if largest <= _LEAST_TOLERANCE else _MOST_TOLERANCE
    unit = 10.0 ** math.floor(math.log10(largest))
    return float(f"{math.ceil(largest / unit - 1e-9) * unit:.0e}")
