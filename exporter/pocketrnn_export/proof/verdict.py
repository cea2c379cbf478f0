"""Whether what was compared is a proof, and what to say where it is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np

from pocketrnn.errors import OutputError, ParityError
from pocketrnn.manifest import Parity
from pocketrnn_export.proof.cases import Case, each_row
from pocketrnn_export.proof.comparing import Compared, Difference, Reference, difference

__all__ = ["Float64Error", "float64_error", "proven", "report", "write_report"]

# Below this, a difference may be rounding that many steps have made larger: a trained GRU was seen 8e-5 apart on one of
# 337 rows of random tokens, 1.5e-6 on all others. A wrong graph is off by more.
ROUNDING: Final = 1e-3
# How many failing cases an error lists.
_LISTED: Final = 20

# (kind of inputs, name of a case) -> how far the reference is from its own double-precision answer, or None if unknown
Float64Error = Callable[[str, str], float | None]


def proven(
    compared: Iterable[Compared], tolerance: float, float64_error: Float64Error = lambda _inputs, _case: None
) -> Parity:
    """The proof, if every case of every comparison passes.

    Args:
        compared: every comparison that was made.
        tolerance: the largest difference of two logits that passes.
        float64_error: how far the reference is from its own double-precision answer on a case. The error message
            states it where the differences are of the size of rounding.

    Raises:
        ParityError: a logit differs by more than `tolerance`, or a label at all; the message is a table of the cases.

    Example:
        >>> proven([compare("onnx", onnx, grid, expected, inputs="shapes")], 1e-5).tolerance
        1e-05
    """
    compared = list(compared)
    failing = [
        (one.line.inputs, d) for one in compared for d in one.each if not d.largest <= tolerance or d.labels_differing
    ]
    if failing:
        rows = [
            f"  {d.candidate:<16} {inputs:<12} {d.case:<26} {d.largest:.3g}  {d.labels_differing} labels"
            for inputs, d in failing[:_LISTED]
        ]
        more = [f"  and {len(failing) - _LISTED} more"] if len(failing) > _LISTED else []
        raise ParityError(
            f"The exported forms do not give PyTorch's answers (allowed difference {tolerance:g}):",
            "\n".join(["", *rows, *more, _remedy(failing, float64_error)]),
        )
    return Parity(tolerance=tolerance, comparisons=tuple(one.line for one in compared))


def _remedy(failing: Sequence[tuple[str, Difference]], float64_error: Float64Error) -> str:
    """What to do about failing cases: they are wrong, or they differ by rounding only."""
    largest = max(d.largest for _, d in failing)
    if largest < ROUNDING and not any(d.labels_differing for _, d in failing):
        inputs, worst = max(failing, key=lambda pair: pair[1].largest)
        own = float64_error(inputs, worst.case)
        itself = "" if own is None else f" PyTorch itself is {own:.1g} away from its double-precision answer there."
        enough = 10.0 ** np.ceil(np.log10(largest))
        return (
            f"Nothing was written. Every label agrees, and the differences are of the size of rounding.{itself} If so "
            f"much is good enough, allow it: --tolerance {enough:g} (tolerance={enough:g} in Python)."
        )
    return "Nothing was written; the module cannot be exported as it is."


def float64_error(reference: Reference, cases: Mapping[str, Sequence[Case]]) -> Float64Error:
    """How far the reference in single precision is from itself in double precision, on a case of the proof.

    Args:
        reference: what the forms were compared with.
        cases: by kind of inputs; a row of one of them is found too.
    """

    def error_on(inputs: str, name: str) -> float | None:
        if reference.float64_run is None or inputs not in cases:
            return None
        for case in (*cases[inputs], *each_row(cases[inputs])):
            if case.name == name:
                exact = reference.float64_run(case.tokens, case.lengths)
                return difference("", name, exact, reference.run(case.tokens, case.lengths)).largest
        return None

    return error_on


def report(compared: Iterable[Compared], tolerance: float) -> str:
    """The proof with every single case, as JSON."""
    comparisons = [{**asdict(one.line), "each": [asdict(d) for d in one.each]} for one in compared]
    return json.dumps({"tolerance": tolerance, "comparisons": comparisons}, indent=1)


def write_report(path: str | Path, compared: Iterable[Compared], tolerance: float) -> None:
    """Write the report of what was compared so far.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        Path(path).write_text(report(compared, tolerance), encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"The report {path} cannot be written: {error.strerror or error}.", "Give the name of a file."
        ) from None
