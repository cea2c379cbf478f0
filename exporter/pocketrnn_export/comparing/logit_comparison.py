"""Run a form of a classifier on cases, and measure how far its logits are from those of the reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from pocketrnn.bundle.manifest import Comparison
from pocketrnn.errors import ExportError, ParityError, first_line
from pocketrnn.verification import compute_largest_logit_differences
from pocketrnn_export.comparing.answer_rows_without_padding import split_answer_rows_by_text
from pocketrnn_export.comparing.answer_spread_by_rounding import (
    ExactAnswer,
    compute_exact_answers,
    make_perturbed_graph_runs,
)
from pocketrnn_export.comparing.first_operation_not_in_graph import LineFinder
from pocketrnn_export.comparing.float64_graph import make_float64_onnx_run
from pocketrnn_export.comparing.float64_proof import SPREADS, measure_distance_to_exact_answer
from pocketrnn_export.comparing.module_and_graph_as_functions import make_onnx_run
from pocketrnn_export.comparing.proof_inputs import Case, Logits, Run, Run64
from pocketrnn_export.progress import log_item_progress

# A difference up to this size passes without an estimate of rounding: the smallest classifiers show it.
LEAST_TOLERANCE: Final = 1e-5
# PyTorch's own answers were up to 33 spreads from the exact ones. An answer that is ten times as far cannot be a
# reference.
_OF_REFERENCE: Final = 10.0
# How many times as far from the exact answer as the reference a candidate may be.
_OF_OWN: Final = 2.0
# If the reference is within _NEAR of the exact answer, rounding hardly changes this answer. A form that is further than
# _FAR from it is then wrong, whatever the spread is: perturbed weights may change a condition such as `mask == 0.3`,
# and rounding does not. Both limits are relative to a logit above 1.
_NEAR: Final = 1e-6
_FAR: Final = 1e-2


@dataclass(frozen=True)
class Reference:
    """The reference of a proof: the module or graph whose answers all other graphs and engines must give.

    Attributes:
        name: the name of the reference in the proof.
        run: computes the answers of the reference.
        float64_run: computes the answers in double precision; None if the reference cannot.
        moved: yields runs in double precision with all weights moved by one float32 step, one run for each draw.
        departs: describes the first operation where an ONNX file differs from the module, for a case with different
            answers in double precision, or returns an empty string. Its last argument finds the line of the user's
            code.
        heads: the number of labels of each output head; empty for a model with one head.
    """

    name: str
    run: Run
    float64_run: Run64 | None = None
    moved: Callable[[], Iterator[Run64]] = lambda: iter(())
    departs: Callable[[bytes, Case, LineFinder], str] | None = None
    heads: tuple[int, ...] = ()

    def compute_exact_answers(
        self, cases: Sequence[Case], *, spreads: bool, inputs: str = "cases"
    ) -> list[ExactAnswer]:
        """Compute the reference's answers to batches of texts (cases) in double precision, and how far rounding may
        move each answer.

        Args:
            cases: the batches.
            spreads: whether rounding of the weights is measured, which takes eight times as long. If false, only the
                rounding of the answer itself counts.
            inputs: the name of the batches in progress messages.

        Raises:
            ExportError: the reference cannot be computed in double precision.
        """
        if self.float64_run is None:
            raise ExportError(
                f"{self.name} cannot be computed in double precision.",
                f"Give the Python module from which {self.name} was made.",
            )
        return compute_exact_answers(self.float64_run, self.moved() if spreads else iter(()), cases, inputs)


@dataclass(frozen=True)
class Difference:
    """How far a candidate's logits are from the reference's logits on one case.

    Attributes:
        candidate: the name of the candidate.
        case: the name of the case.
        largest: the largest difference of a logit from the reference's, measured like the tolerance of a bundle.
        labels_differing: how many rows have another label than the reference gives, in any head.
        spreads: the distance of the logits from the exact logits, in units of how far rounding may move these; None if
            the exact logits are not known.
    """

    candidate: str
    case: str
    largest: float
    labels_differing: int
    spreads: float | None = None


@dataclass(frozen=True)
class CandidateComparison:
    """The comparison of a candidate with the reference on one kind of inputs: the entry in the proof, and the
    difference on each case."""

    line: Comparison
    each: tuple[Difference, ...]


def make_graph_reference(name: str, content: bytes) -> Reference:
    """Return the reference of a proof that compares other graphs and engines with an ONNX graph. `name` is its name in
    the proof, and `content` has the bytes of the ONNX file."""
    return Reference(
        name,
        make_onnx_run(content, optimized=False),
        make_float64_onnx_run(content),
        lambda: make_perturbed_graph_runs(content),
    )


def compare_logits_of_candidate(
    name: str,
    candidate: Run,
    cases: Sequence[Case],
    expected: Sequence[Logits],
    *,
    inputs: str,
    reference: str = "pytorch",
    exact: Callable[[Case], ExactAnswer | None] = lambda _: None,
    heads: Sequence[int] = (),
) -> CandidateComparison:
    """Run `candidate` on batches of texts (cases), and compare its logits with the reference's, `expected`.

    Args:
        name: the name of the candidate in the proof.
        candidate: computes the logits to compare.
        cases: the batches.
        expected: the reference's logits for each batch.
        inputs: the name of this kind of batches in the proof.
        reference: the name of the reference in the proof.
        exact: returns the answer to a batch in double precision, with how far rounding may move it. This is slow, so
            the function is called only if the logits differ by more than 1e-5, or if a label differs.
        heads: the number of labels of each head, for a model with several heads.

    Raises:
        ParityError: the candidate fails on a batch that the reference answers.
    """
    differences = []
    for case, logits in log_item_progress(zip(cases, expected, strict=True), f"Comparing {name} on {inputs}"):
        try:
            given = candidate(case.tokens, case.lengths)
        # Engines raise exceptions of many classes.
        except Exception as error:
            raise ParityError(
                f"{reference} answers an input of the proof ({inputs}, {case.name}), but {name} fails on it: "
                f"{first_line(error)}.",
                "Nothing was written. Use other operations in forward in place of those that this message names.",
            ) from error
        differences.append(measure_difference_with_exact_answer_if_needed(name, case, logits, given, exact, heads))
    return summarize_differences(
        differences, reference=reference, inputs=inputs, rows=sum(len(case.lengths) for case in cases)
    )


def measure_difference_with_exact_answer_if_needed(
    candidate: str,
    case: Case,
    expected: Logits,
    given: Logits,
    exact: Callable[[Case], ExactAnswer | None],
    heads: Sequence[int],
) -> Difference:
    """Measure how far the logits `given` are from the reference's logits `expected`. If the two differ by more than
    1e-5, or if a label differs, also measure how far `given` is from the logits in double precision.

    Args:
        candidate: the name of the graph or engine that gives the logits.
        case: the batch.
        expected: the reference's logits, [rows, classes].
        given: the logits to compare, [rows, classes].
        exact: computes the logits of a batch in double precision, which is slow.
        heads: the number of labels of each head, for a model with several heads.
    """
    found = measure_difference(candidate, case.name, expected, given, heads=heads)
    if found.largest <= LEAST_TOLERANCE and not found.labels_differing:
        return found
    return measure_difference(candidate, case.name, expected, given, exact(case), heads)


def measure_difference(
    candidate: str,
    case: str,
    expected: Logits,
    given: Logits,
    exact: ExactAnswer | None = None,
    heads: Sequence[int] = (),
) -> Difference:
    """Measure how far the logits `given` are from the reference's logits `expected`, and from the logits in double
    precision `exact`. All are [rows, classes]. The differences are infinite if the shapes differ.

    Args:
        candidate: the name of the graph or engine that gives the logits.
        case: the name of the batch.
        expected: the reference's logits.
        given: the logits to compare.
        exact: the logits in double precision; None if they are not needed.
        heads: the number of labels of each head, for a model with several heads.
    """
    spreads = None if exact is None else _measure_distance_in_spreads(candidate, expected, given, exact)
    if expected.shape != given.shape:
        return Difference(candidate, case, float("inf"), len(expected), spreads)
    # A module that counts the tokens itself gives no answer to the tokens that it leaves out.
    answered = ~(np.isnan(expected).all(1) & np.isnan(given).all(1))
    expected, given = expected[answered], given[answered]
    largest = float(compute_largest_logit_differences(expected, given).max(initial=0.0))
    ends = np.cumsum(heads)[:-1]
    parts = zip(np.split(expected, ends, 1), np.split(given, ends, 1), strict=True)
    labels = int(np.any([one.argmax(1) != other.argmax(1) for one, other in parts], 0).sum())
    # A NaN on one side only counts as infinitely far.
    return Difference(candidate, case, float("inf") if np.isnan(largest) else largest, labels, spreads)


def _measure_distance_in_spreads(candidate: str, expected: Logits, given: Logits, exact: ExactAnswer) -> float:
    """Return how far a candidate's answer is from the exact answer, in units of how far rounding may move the exact
    answer (its `spread`).

    Args:
        candidate: the name of the candidate.
        expected: the reference's answer. The candidate may also be as far from the exact answer as this one is.
        given: the candidate's answer.
        exact: the answer in double precision.
    """
    if expected.shape != exact.logits.shape:
        return measure_distance_to_exact_answer(candidate, exact, given).spreads
    # The exact answers come from a copy in double precision. If the copy computes something else than the reference,
    # the reference is far from them.
    own = measure_distance_to_exact_answer("", exact, expected)
    if own.spreads > SPREADS * _OF_REFERENCE:
        return own.spreads / _OF_REFERENCE
    if expected.shape == given.shape and _is_only_candidate_far(exact, expected, given):
        return math.inf
    # The spread shows the rounding of weights, but not rounding inside forward, as in a layer norm of numbers with a
    # large mean. The reference's own error on the case shows the latter: a candidate's error may be twice as large.
    as_own = replace(exact, spread=np.maximum(exact.spread, _OF_OWN * own.largest_difference / SPREADS))
    return measure_distance_to_exact_answer(candidate, as_own, given).spreads


def _is_only_candidate_far(exact: ExactAnswer, expected: Logits, given: Logits) -> bool:
    """Return whether there is a text for which the candidate's answer `given` is far from the exact answer, but the
    reference's answer `expected` is near it."""
    size = np.maximum(1.0, np.abs(exact.logits))
    with np.errstate(invalid="ignore"):
        near = (np.abs(expected - exact.logits) <= _NEAR * size).all(1)
        far = ~(np.abs(given - exact.logits) <= _FAR * size).all(1)
    return bool((near & far).any())


def summarize_differences(
    differences: Sequence[Difference], *, reference: str, inputs: str, rows: int
) -> CandidateComparison:
    """Summarize a candidate's differences from the reference, one for each batch, as one entry of the proof.

    Args:
        differences: the differences.
        reference: the name of the reference in the proof.
        inputs: the name of this kind of batches in the proof.
        rows: the number of rows in all batches.
    """
    spreads = [d.spreads for d in differences if d.spreads is not None]
    line = Comparison(
        reference=reference,
        candidate=differences[0].candidate,
        inputs=inputs,
        cases=len(differences),
        rows=rows,
        largest_difference=max(d.largest for d in differences),
        labels_differing=sum(d.labels_differing for d in differences),
        spreads=max(spreads, default=None),
    )
    return CandidateComparison(line, tuple(differences))


def are_rows_independent(
    run: Run, cases: Iterable[Case], *, tolerance: float = 1e-5, rows: Sequence[int] | None = None
) -> bool:
    """Return whether each row of the batches `cases` gets the same answer alone as in its batch, up to `tolerance`. If
    `rows` is given, only the rows with these indices are tried."""
    for case in cases:
        together = split_answer_rows_by_text(run(case.tokens, case.lengths), case.lengths)
        for row in range(len(case.lengths)) if rows is None else rows:
            length = case.lengths[row]
            alone = run(case.tokens[row : row + 1, :length], case.lengths[row : row + 1])
            beside = together[row]
            if beside.shape == alone.shape:
                # Leave out rows that have no answer in both.
                has_answer = ~(np.isnan(beside).any(1) & np.isnan(alone).any(1))
                beside, alone = beside[has_answer], alone[has_answer]
            if not measure_difference("", "", beside, alone).largest <= tolerance:
                return False
    return True


def are_rows_independent_up_to_rounding(reference: Reference, cases: Sequence[Case]) -> bool:
    """Return whether each row of the batches `cases` gets the same answer alone as in its batch, up to rounding. A
    difference above 1e-5 counts as rounding if double precision shows no difference."""
    if are_rows_independent(reference.run, cases):
        return True
    try:
        return reference.float64_run is not None and are_rows_independent(reference.float64_run, cases, tolerance=1e-8)
    except ExportError:
        return False
