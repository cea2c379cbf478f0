"""Running two forms of a classifier on the same cases, and measuring how far their logits differ."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from pocketrnn.errors import ParityError, first_line
from pocketrnn.manifest import Comparison
from pocketrnn.verification import logit_differences
from pocketrnn_export.proof.cases import Case, Ids

__all__ = [
    "Compared",
    "Difference",
    "Logits",
    "Reference",
    "Run",
    "compare",
    "difference",
    "rows_stand_alone",
    "run_of",
    "run_of_onnx",
    "summary",
]

# float32, or float64 of a run in double precision
Logits = npt.NDArray[np.floating[Any]]

# (tokens int64 [batch, sequence], lengths int64 [batch]) -> logits [batch, classes]
Run = Callable[[Ids, Ids], Logits]


@dataclass(frozen=True)
class Reference:
    """What every form is compared with.

    Attributes:
        name: what the proof calls it.
        run: its answers.
        float64_run: its answers computed in double precision; None where it cannot do that.
    """

    name: str
    run: Run
    float64_run: Run | None = None


@dataclass(frozen=True)
class Difference:
    """How far a candidate's logits differ from the reference's on one case."""

    candidate: str
    case: str
    largest: float
    labels_differing: int


@dataclass(frozen=True)
class Compared:
    """One candidate on one kind of inputs: the line of the proof, and the difference on each case."""

    line: Comparison
    each: tuple[Difference, ...]


def run_of(module: Callable[..., Any], *, takes_lengths: bool, dtype: torch.dtype = torch.float32) -> Run:
    """A module in eval mode on the CPU, as a run on arrays.

    A module that packs with `enforce_sorted=True` needs its rows by falling length: they are given so, and the answers
    are put back in order. To every other module the order of the rows means nothing, so that all are run like this.
    PyTorch's warnings are silenced: the module's owner has seen them before. The logits are given in `dtype`.

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
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logits = module(*inputs)
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        result: Logits = logits.to(dtype).numpy()[back]
        return result

    return run


def run_of_onnx(content: bytes, *, optimized: bool) -> Run:
    """An ONNX file's bytes, as a run on arrays with onnxruntime on one thread, with or without its graph rewriting.

    Example:
        >>> run = run_of_onnx(Path("news/model.onnx").read_bytes(), optimized=True)
        >>> run(np.array([[3, 4], [5, 1]]), np.array([2, 1])).shape
        (2, 4)
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def run(tokens: Ids, lengths: Ids) -> Logits:
        logits: Logits = session.run(["logits"], dict(zip(names, (tokens, lengths), strict=False)))[0]
        return logits

    return run


def compare(
    name: str,
    candidate: Run,
    cases: Sequence[Case],
    expected: Sequence[Logits],
    *,
    inputs: str,
    reference: str = "pytorch",
) -> Compared:
    """Run `candidate` on `cases` and compare its logits with the expected ones.

    Raises:
        ParityError: the candidate fails on a case that the reference answers.

    Example:
        >>> grid = shape_grid(50, 1, ragged=True)
        >>> expected = [pytorch(case.tokens, case.lengths) for case in grid]
        >>> compare("onnx", onnx, grid, expected, inputs="shapes").line.largest_difference
        1.2e-07
    """
    differences = []
    for case, logits in zip(cases, expected, strict=True):
        try:
            given = candidate(case.tokens, case.lengths)
        # Engines fail with errors of many classes.
        except Exception as error:
            raise ParityError(
                f"{name} fails on {inputs}, {case.name}, where {reference} answers: {first_line(error)}.",
                "Nothing was written; the module cannot be exported as it is.",
            ) from error
        differences.append(difference(name, case.name, logits, given))
    return summary(differences, reference=reference, inputs=inputs, rows=sum(len(case.lengths) for case in cases))


def difference(candidate: str, case: str, expected: Logits, given: Logits) -> Difference:
    """How far `given` lies from `expected`, both [batch, classes]; infinitely, if the shapes differ.

    Example:
        >>> difference("onnx", "one", np.array([[0.5, 2.0]], np.float32), np.array([[0.5, 1.0]], np.float32)).largest
        1.0
    """
    if expected.shape != given.shape:
        return Difference(candidate, case, float("inf"), len(expected))
    largest = float(logit_differences(expected, given).max())
    labels = int((expected.argmax(1) != given.argmax(1)).sum())
    # A NaN on either side is no agreement.
    return Difference(candidate, case, float("inf") if np.isnan(largest) else largest, labels)


def summary(differences: Sequence[Difference], *, reference: str, inputs: str, rows: int) -> Compared:
    """The differences of one candidate, and the line of the proof that sums them up."""
    line = Comparison(
        reference=reference,
        candidate=differences[0].candidate,
        inputs=inputs,
        cases=len(differences),
        rows=rows,
        largest_difference=max(d.largest for d in differences),
        labels_differing=sum(d.labels_differing for d in differences),
    )
    return Compared(line, tuple(differences))


def rows_stand_alone(run: Run, cases: Iterable[Case]) -> bool:
    """Whether each row of the cases gets the same answer alone and beside the other rows, to 1e-5."""
    for case in cases:
        together = run(case.tokens, case.lengths)
        for row, length in enumerate(case.lengths):
            alone = run(case.tokens[row : row + 1, :length], case.lengths[row : row + 1])
            if not difference("", "", together[row : row + 1], alone).largest <= 1e-5:
                return False
    return True
