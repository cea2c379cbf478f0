"""The proof: every form of a classifier against the untouched PyTorch module."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from pocketrnn.errors import ParityError
from pocketrnn.manifest import Comparison, Parity
from pocketrnn.verification import logit_differences

__all__ = [
    "BATCHES",
    "SEQUENCES",
    "Case",
    "Difference",
    "Run",
    "compare",
    "difference",
    "drawn_cases",
    "each_row",
    "proven",
    "report",
    "rows_stand_alone",
    "run_of",
    "run_of_onnx",
    "shape_grid",
    "summary",
    "table",
]

Ids = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]

# (tokens int64 [batch, sequence], lengths int64 [batch]) -> logits float32 [batch, classes]
Run = Callable[[Ids, Ids], Logits]

# One row and one step are where exporters specialise; 7 and 33 fill no vector register; 257 outlasts any unrolling.
BATCHES: Final = (1, 2, 7, 33)
SEQUENCES: Final = (1, 2, 17, 64, 257)
# Below this, a difference may be rounding that many steps have made larger: a trained GRU was seen 8e-5 apart on one of
# 337 rows of random tokens, 1.5e-6 on all others. A wrong graph is off by more.
ROUNDING: Final = 1e-3
# Shapes that are drawn beside them.
DRAWN: Final = 16


@dataclass(frozen=True)
class Case:
    """One run: its name, tokens int64 [batch, sequence], lengths int64 [batch], the longest of which is `sequence`."""

    name: str
    tokens: Ids
    lengths: Ids


@dataclass(frozen=True)
class Difference:
    """What a candidate gave that the reference did not, on one case."""

    candidate: str
    case: str
    largest: float
    labels_differing: int


def shape_grid(ids: int, padding_id: int, *, ragged: bool, seed: int = 0) -> list[Case]:
    """Cases for every batch in `BATCHES` and sequence in `SEQUENCES`, of random tokens.

    Args:
        ids: tokens are drawn below this.
        padding_id: what stands past a row's length.
        ragged: rows of random lengths, one of them full; else all rows full.
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    shapes = itertools.product(BATCHES, SEQUENCES)
    return [_case(generator, batch, sequence, ids, padding_id, ragged=ragged) for batch, sequence in shapes]


def drawn_cases(ids: int, padding_id: int, *, ragged: bool, seed: int = 1) -> list[Case]:
    """Cases whose batch and sequence are drawn too, so that no shape is special; arguments as `shape_grid`."""
    generator = np.random.default_rng(seed)
    shapes = zip(generator.integers(1, 41, DRAWN), generator.integers(1, 129, DRAWN), strict=True)
    return [_case(generator, int(batch), int(sequence), ids, padding_id, ragged=ragged) for batch, sequence in shapes]


def _case(
    generator: np.random.Generator, batch: int, sequence: int, ids: int, padding_id: int, *, ragged: bool
) -> Case:
    tokens = generator.integers(0, ids, (batch, sequence), dtype=np.int64)
    lengths = np.full(batch, sequence, dtype=np.int64)
    if ragged:
        lengths = generator.integers(1, sequence + 1, batch, dtype=np.int64)
        lengths[generator.integers(batch)] = sequence
        tokens[np.arange(sequence) >= lengths[:, None]] = padding_id
    return Case(f"batch {batch} x sequence {sequence}", tokens, lengths)


def each_row(cases: Iterable[Case]) -> list[Case]:
    """Every row of the cases as a case of its own, without its padding: for a graph that takes one text at a time."""
    return [
        Case(f"{case.name}, row {row}", case.tokens[row : row + 1, :length], case.lengths[row : row + 1])
        for case in cases
        for row, length in enumerate(case.lengths)
    ]


def run_of(module: Callable[..., Any], *, takes_lengths: bool) -> Run:
    """A module in eval mode on the CPU, as a run on arrays.

    A module that packs with `enforce_sorted=True` wants its rows by falling length: they are given so, and the answers
    are put back in order. To every other module a row's place means nothing, so that all are run like this. What
    PyTorch warns of meanwhile, it has told the module's owner before.
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
        result: Logits = logits.float().numpy()[back]
        return result

    return run


def run_of_onnx(content: bytes, *, optimized: bool) -> Run:
    """An ONNX file's bytes, as a run on arrays with onnxruntime on one thread, with or without its graph rewriting."""
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
) -> tuple[Comparison, list[Difference]]:
    """Run `candidate` on `cases` and hold its logits to the expected ones.

    Returns:
        the line of the proof, and each case's difference.

    Raises:
        ParityError: the candidate fails on a case where the reference answers.
    """
    differences = []
    for case, logits in zip(cases, expected, strict=True):
        try:
            given = candidate(case.tokens, case.lengths)
        except Exception as error:
            raise ParityError(
                f"{name} fails on {inputs}, {case.name}, where {reference} answers: {str(error).splitlines()[0]}",
                "Nothing was written; the module cannot be exported as it is.",
            ) from error
        differences.append(difference(name, case.name, logits, given))
    return summary(
        differences, reference=reference, inputs=inputs, rows=sum(len(case.lengths) for case in cases)
    ), differences


def difference(candidate: str, case: str, expected: Logits, given: Logits) -> Difference:
    """How far `given` lies from `expected`, both float32 [batch, classes]; infinitely, if the shapes differ."""
    if expected.shape != given.shape:
        return Difference(candidate, case, float("inf"), len(expected))
    largest = float(logit_differences(expected, given).max())
    labels = int((expected.argmax(1) != given.argmax(1)).sum())
    # A NaN on either side is no agreement.
    return Difference(candidate, case, float("inf") if np.isnan(largest) else largest, labels)


def summary(differences: Sequence[Difference], *, reference: str, inputs: str, rows: int) -> Comparison:
    """The line of the proof that sums up `differences` of one candidate."""
    return Comparison(
        reference=reference,
        candidate=differences[0].candidate,
        inputs=inputs,
        cases=len(differences),
        rows=rows,
        largest_difference=max(d.largest for d in differences),
        labels_differing=sum(d.labels_differing for d in differences),
    )


def proven(
    comparisons: Iterable[tuple[Comparison, list[Difference]]],
    tolerance: float,
    in_doubles: Callable[[str, str], float | None] = lambda _inputs, _case: None,
) -> Parity:
    """The proof, if every case of every comparison passes.

    Args:
        comparisons: each with the differences of its cases.
        tolerance: the largest difference that passes.
        in_doubles: how far PyTorch lies from itself in double precision on a case, to tell rounding from being wrong.

    Raises:
        ParityError: a logit differs by more than `tolerance`, or a label at all; the message is a table of the cases.
    """
    comparisons = list(comparisons)
    failing = [
        (comparison.inputs, d)
        for comparison, differences in comparisons
        for d in differences
        if not d.largest <= tolerance or d.labels_differing
    ]
    if failing:
        rows = [
            f"  {d.candidate:<16} {inputs:<12} {d.case:<26} {d.largest:.3g}  {d.labels_differing} labels"
            for inputs, d in failing[:20]
        ]
        more = [f"  and {len(failing) - 20} more"] if len(failing) > 20 else []
        raise ParityError(
            f"The exported forms do not give PyTorch's answers (allowed difference {tolerance:g}):",
            "\n".join(["", *rows, *more, _remedy(failing, in_doubles)]),
        )
    return Parity(tolerance=tolerance, comparisons=tuple(comparison for comparison, _ in comparisons))


def _remedy(failing: Sequence[tuple[str, Difference]], in_doubles: Callable[[str, str], float | None]) -> str:
    """What to do about failing cases: they may be wrong, or texts whose answer hangs on the last digits."""
    largest = max(d.largest for _, d in failing)
    if largest < ROUNDING and not any(d.labels_differing for _, d in failing):
        inputs, worst = max(failing, key=lambda pair: pair[1].largest)
        own = in_doubles(inputs, worst.case)
        itself = "" if own is None else f" PyTorch itself is {own:.1g} away from its double-precision answer there."
        enough = 10.0 ** np.ceil(np.log10(largest))
        return (
            f"Nothing was written. Every label agrees, and the differences are of the size of rounding.{itself} If so "
            f"much is good enough, allow it: --tolerance {enough:g} (tolerance={enough:g} in Python)."
        )
    return "Nothing was written; the module cannot be exported as it is."


def report(comparisons: Iterable[tuple[Comparison, list[Difference]]], tolerance: float) -> str:
    """The proof with every single case, as JSON."""
    document = {
        "tolerance": tolerance,
        "comparisons": [
            {**asdict(comparison), "each": [asdict(d) for d in differences]} for comparison, differences in comparisons
        ],
    }
    return json.dumps(document, indent=1)


def table(parity: Parity) -> str:
    """The proof as lines of text, for a terminal."""
    rows = [("compared", "on", "cases", "texts", "largest difference", "labels differing")]
    rows += [
        (f"{c.candidate} with {c.reference}", c.inputs, str(c.cases), str(c.rows), f"{c.largest_difference:.1e}",
         str(c.labels_differing))
        for c in parity.comparisons
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def rows_stand_alone(reference: Run, cases: Iterable[Case]) -> bool:
    """Whether the module itself answers each row of the cases alike alone and beside the other rows, to 1e-5."""
    for case in cases:
        together = reference(case.tokens, case.lengths)
        for row, length in enumerate(case.lengths):
            alone = reference(case.tokens[row : row + 1, :length], case.lengths[row : row + 1])
            if not difference("", "", together[row : row + 1], alone).largest <= 1e-5:
                return False
    return True
