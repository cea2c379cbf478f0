"""Running two forms of a classifier on the same cases, and measuring how far their logits differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import onnxruntime
import torch

from pocketrnn.bundle.manifest import Comparison
from pocketrnn.errors import ExportError, ParityError, first_line
from pocketrnn.verification import logit_differences
from pocketrnn_export.comparing.cases import Case, Ids, Logits, Run, answer_rows, of_each_text
from pocketrnn_export.comparing.exact import SPREADS, nearness
from pocketrnn_export.comparing.first_missing_operation import Place
from pocketrnn_export.comparing.float64_graph import Run64, float64_run_of_onnx, graph_inputs
from pocketrnn_export.comparing.spread import Exact, exact_answers, moved_graphs
from pocketrnn_export.module_runs.cpu_run import answer_of
from pocketrnn_export.progress import each

__all__ = [
    "LEAST_TOLERANCE",
    "Compared",
    "Difference",
    "Logits",
    "Reference",
    "Run",
    "compare",
    "difference",
    "graph_reference",
    "rows_stand_alone",
    "run_of",
    "run_of_onnx",
    "session_of",
    "summary",
    "texts_stand_alone",
]


# A difference of this size passes without a look at what rounding may do: it is what the smallest classifiers show.
LEAST_TOLERANCE: Final = 1e-5
# PyTorch's own answers were up to 33 spreads from the exact ones; ten times as far, they are not a reference.
_OF_REFERENCE: Final = 10.0


# And how much further than the reference a candidate may be.
_OF_OWN: Final = 2.0
# Where the reference itself is so near to the exact answer, rounding leaves it alone, and no form is so far from it,
# whatever the spread: weights that are moved may meet a question that rounding does not, such as `mask == 0.3`.
# Relative to a logit above 1.
_NEAR: Final = 1e-6
_FAR: Final = 1e-2


@dataclass(frozen=True)
class Reference:
    """The answers that every form is compared with.

    Attributes:
        name: its name in the proof.
        run: its answers.
        float64_run: its answers computed in double precision; None where it cannot do that.
        moved: the same with all weights moved by one float32 step, a run a draw.
        departs: finds the operation where an ONNX file and the module part, on a case that the file answers otherwise
            in double precision; empty where that cannot be found. Its last argument finds a user's line.
    """

    name: str
    run: Run
    float64_run: Run64 | None = None
    moved: Callable[[], Iterator[Run64]] = lambda: iter(())
    departs: Callable[[bytes, Case, Place], str] | None = None

    def exact(self, cases: Sequence[Case], *, spreads: bool) -> list[Exact]:
        """The exact answers to the cases.

        Args:
            cases: what to ask.
            spreads: measure how far rounding may move each answer; it takes eight times as long. Without it, that is
                the rounding of the answer itself.

        Raises:
            ExportError: the reference cannot be computed in double precision.
        """
        if self.float64_run is None:
            raise ExportError(f"{self.name} cannot be computed in double precision.", "Give the Python module.")
        return exact_answers(self.float64_run, self.moved() if spreads else iter(()), cases)


@dataclass(frozen=True)
class Difference:
    """How far a candidate's logits differ from the reference's on one case.

    Attributes:
        candidate: whose logits.
        case: the case's name.
        largest: the largest difference of a logit from the reference's, measured as a bundle's tolerance is.
        labels_differing: how many rows have another label than the reference gives.
        spreads: how far the logits are from the exact ones, in units of what rounding may do to them; None where the
            exact ones are not known.
    """

    candidate: str
    case: str
    largest: float
    labels_differing: int
    spreads: float | None = None


@dataclass(frozen=True)
class Compared:
    """One candidate on one kind of inputs: the line of the proof, and the difference on each case."""

    line: Comparison
    each: tuple[Difference, ...]


def run_of(module: Callable[..., Any], *, takes_lengths: bool) -> Run:
    """A module in eval mode on the CPU, as a run on arrays.

    A module that packs with `enforce_sorted=True` needs its rows by falling length: they are given so, and the answers
    are put back in order. To every other module the order of the rows means nothing, so that all are run like this.
    PyTorch's warnings are silenced: the module's owner has seen them before.

    Example:
        >>> run = run_of(module.eval(), takes_lengths=True)
        >>> run(np.array([[3, 4], [5, 1]]), np.array([2, 1])).shape
        (2, 4)
    """

    def run(tokens: Ids, lengths: Ids) -> Logits:
        order = np.argsort(-lengths, kind="stable")
        inputs = [torch.from_numpy(tokens[order])]
        if takes_lengths:
            inputs.append(torch.from_numpy(lengths[order]))
        logits = answer_of(module, inputs)
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        result: Logits = answer_rows(logits.float().numpy()[back], lengths)
        return result

    return run


def run_of_onnx(content: bytes, *, optimized: bool) -> Run:
    """An ONNX file's bytes, as a run on arrays with onnxruntime on one thread, with or without its graph rewriting.

    Example:
        >>> run = run_of_onnx(Path("news/model.onnx").read_bytes(), optimized=True)
        >>> run(np.array([[3, 4], [5, 1]]), np.array([2, 1])).shape
        (2, 4)
    """
    session = session_of(content, optimized=optimized)
    names = [node.name for node in session.get_inputs()]

    def run(tokens: Ids, lengths: Ids) -> Logits:
        logits: Logits = session.run(["logits"], dict(zip(names, graph_inputs(names, tokens, lengths), strict=False)))[
            0
        ]
        rows: Logits = answer_rows(logits, lengths)
        return rows

    return run


def session_of(content: bytes, *, optimized: bool = True) -> onnxruntime.InferenceSession:
    """An ONNX file in onnxruntime on one thread, with or without its graph rewriting.

    Raises:
        ExportError: onnxruntime cannot open it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Fatal errors only: what fails is raised, and said once.
    options.log_severity_level = 4
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    # onnxruntime's errors share no base of their own.
    except Exception as error:
        raise ExportError(
            f"onnxruntime cannot run the graph: {first_line(error)}.",
            "Compute in float32 in forward, by usual operations.",
        ) from error


def graph_reference(name: str, content: bytes) -> Reference:
    """An ONNX graph as what other forms of it are compared with.

    Example:
        >>> graph_reference("onnx", Path("news/model.onnx").read_bytes()).name
        'onnx'
    """
    return Reference(
        name, run_of_onnx(content, optimized=False), float64_run_of_onnx(content), lambda: moved_graphs(content)
    )


def compare(
    name: str,
    candidate: Run,
    cases: Sequence[Case],
    expected: Sequence[Logits],
    *,
    inputs: str,
    reference: str = "pytorch",
    exact: Callable[[Case], Exact | None] = lambda _: None,
) -> Compared:
    """Run `candidate` on `cases` and compare its logits with the expected ones.

    Args:
        name: what the proof calls the candidate.
        candidate: what is compared.
        cases: what it is given.
        expected: the reference's logits for each case.
        inputs: what the proof calls the cases.
        reference: what it calls the reference.
        exact: the exact answer to a case, with how far rounding may move it. It is asked for only where the logits
            differ by more than 1e-5, or a label does: it takes longer than everything else.

    Raises:
        ParityError: the candidate fails on a case that the reference answers.

    Example:
        >>> grid = shape_grid(50, 1, ragged=True)
        >>> expected = [pytorch(case.tokens, case.lengths) for case in grid]
        >>> compare("onnx", onnx, grid, expected, inputs="shapes").line.largest_difference
        1.2e-07
    """
    differences = []
    for case, logits in each(zip(cases, expected, strict=True), f"Comparing {name} on {inputs}"):
        try:
            given = candidate(case.tokens, case.lengths)
        # Engines fail with errors of many classes.
        except Exception as error:
            raise ParityError(
                f"{name} fails on {inputs}, {case.name}, where {reference} answers: {first_line(error)}.",
                "Nothing was written; the module cannot be exported as it is.",
            ) from error
        found = difference(name, case.name, logits, given)
        if not found.largest <= LEAST_TOLERANCE or found.labels_differing:
            found = difference(name, case.name, logits, given, exact(case))
        differences.append(found)
    return summary(differences, reference=reference, inputs=inputs, rows=sum(len(case.lengths) for case in cases))


def difference(candidate: str, case: str, expected: Logits, given: Logits, exact: Exact | None = None) -> Difference:
    """How far `given` lies from `expected`, and from `exact`, all [rows, classes]; infinitely, if the shapes differ.

    Example:
        >>> difference("onnx", "one", np.array([[0.5, 2.0]], np.float32), np.array([[0.5, 1.0]], np.float32)).largest
        1.0
    """
    spreads = None if exact is None else _spreads(candidate, expected, given, exact)
    if expected.shape != given.shape:
        return Difference(candidate, case, float("inf"), len(expected), spreads)
    # A module that counts the tokens itself has no answer to those that it leaves out.
    answered = ~(np.isnan(expected).all(1) & np.isnan(given).all(1))
    expected, given = expected[answered], given[answered]
    largest = float(logit_differences(expected, given).max(initial=0.0))
    labels = int((expected.argmax(1) != given.argmax(1)).sum())
    # A NaN on either side is no agreement.
    return Difference(candidate, case, float("inf") if np.isnan(largest) else largest, labels, spreads)


def _spreads(candidate: str, expected: Logits, given: Logits, exact: Exact) -> float:
    """How far a candidate is from the exact answer, in units of what rounding may do."""
    if expected.shape != exact.logits.shape:
        return nearness(candidate, exact, given).spreads
    # The exact answers are those of a copy in double precision. It may do something else than the reference does: then
    # the reference is far from them.
    own = nearness("", exact, expected)
    if own.spreads > SPREADS * _OF_REFERENCE:
        return own.spreads / _OF_REFERENCE
    if expected.shape == given.shape and _far_alone(exact, expected, given):
        return math.inf
    # Rounding of what forward computes, such as a layer norm of numbers with a large mean, is in no weight. The
    # reference's own answers to the case show it: a candidate may be twice as far from the exact ones as these.
    as_own = replace(exact, spread=np.maximum(exact.spread, _OF_OWN * own.largest_difference / SPREADS))
    return nearness(candidate, as_own, given).spreads


def _far_alone(exact: Exact, expected: Logits, given: Logits) -> bool:
    """Whether a candidate is far from the exact answer to a text where the reference is near."""
    size = np.maximum(1.0, np.abs(exact.logits))
    with np.errstate(invalid="ignore"):
        near = (np.abs(expected - exact.logits) <= _NEAR * size).all(1)
        far = ~(np.abs(given - exact.logits) <= _FAR * size).all(1)
    return bool((near & far).any())


def summary(differences: Sequence[Difference], *, reference: str, inputs: str, rows: int) -> Compared:
    """The differences of one candidate, and the line of the proof that sums them up."""
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
    return Compared(line, tuple(differences))


def rows_stand_alone(
    run: Run, cases: Iterable[Case], *, tolerance: float = 1e-5, rows: Sequence[int] | None = None
) -> bool:
    """Whether each row of the cases, or those of `rows`, gets the same answer alone and beside the others."""
    for case in cases:
        together = of_each_text(run(case.tokens, case.lengths), case.lengths)
        for row in range(len(case.lengths)) if rows is None else rows:
            length = case.lengths[row]
            alone = run(case.tokens[row : row + 1, :length], case.lengths[row : row + 1])
            beside = together[row]
            if beside.shape == alone.shape:
                # Without an answer in both.
                has_answer = ~(np.isnan(beside).any(1) & np.isnan(alone).any(1))
                beside, alone = beside[has_answer], alone[has_answer]
            if not difference("", "", beside, alone).largest <= tolerance:
                return False
    return True


def texts_stand_alone(reference: Reference, cases: Sequence[Case]) -> bool:
    """Whether each row of the cases gets the same answer alone and beside the others, but for rounding.

    Other sums of a larger batch are rounded otherwise. A module that looks at its neighbours does in float64 too.
    """
    if rows_stand_alone(reference.run, cases):
        return True
    try:
        return reference.float64_run is not None and rows_stand_alone(reference.float64_run, cases, tolerance=1e-8)
    except ExportError:
        return False
