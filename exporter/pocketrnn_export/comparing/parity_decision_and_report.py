"""Decide whether comparisons are a proof, list the failing cases if they are not, and write the comparisons in a
report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np

from pocketrnn.bundle.manifest import Comparison, Parity
from pocketrnn.errors import OutputError, ParityError
from pocketrnn_export.comparing.float64_proof import SPREADS
from pocketrnn_export.comparing.logit_comparison import LEAST_TOLERANCE, CandidateComparison, Difference

# A smaller difference above the requested tolerance may be rounding that grew over many steps.
_ROUNDING: Final = 1e-3
# The most failing cases that an error lists.
_LISTED: Final = 20


def is_within_tolerance_or_rounding(found: Difference, tolerance: float | None) -> bool:
    """Return whether the difference between an answer and the reference's answer passes the proof.

    Args:
        found: the difference from the reference's answer, and from the exact answer in double precision.
        tolerance: the largest difference that passes, if the labels are equal. None lets an answer pass that differs by
            at most 1e-5 and has the same label, or that is as near to the exact answer as the module's own rounding
            allows (docs/proof.md).
    """
    if found.largest <= (LEAST_TOLERANCE if tolerance is None else tolerance) and not found.labels_differing:
        return True
    return tolerance is None and found.spreads is not None and found.spreads <= SPREADS


def prove_parity(
    compared: Iterable[CandidateComparison],
    tolerance: float | None,
    *,
    allowed: float = LEAST_TOLERANCE,
    float64_error: Callable[[str, str], float | None] = lambda _inputs, _case: None,
) -> Parity:
    """Return the proof of an export, made from all its comparisons. Raise an error if a difference is too large.

    Args:
        compared: the comparisons.
        tolerance: the largest difference of a logit that passes; None for 1e-5, or more if rounding explains it.
        allowed: the tolerance that the proof states for later runs of the bundle, if `tolerance` is None.
        float64_error: returns how far the reference's answer is from its answer in double precision, for a kind of
            inputs and the name of a case. The message has this distance if rounding may explain the differences.

    Raises:
        ParityError: a difference is too large; the message is a table of the failing cases.
    """
    compared = list(compared)
    failing = [(one.line, d) for one in compared for d in one.each if not is_within_tolerance_or_rounding(d, tolerance)]
    if failing:
        reference = failing[0][0].reference
        is_module = reference.startswith("pytorch")
        rows = [_format_failure(line.inputs, d) for line, d in failing[:_LISTED]]
        more = [f"  and {len(failing) - _LISTED} more"] if len(failing) > _LISTED else []
        wanted = f"{LEAST_TOLERANCE if tolerance is None else tolerance:g}"
        if tolerance is None and any(d.spreads is not None for _, d in failing):
            wanted += f", or {SPREADS:g} times what rounding may do"
        raise ParityError(
            f"The {'exported forms do' if is_module else 'new file does'} not give "
            f"{'PyTorch' if is_module else f'the bundle ({reference})'}'s answers (allowed difference {wanted}):",
            "\n".join(
                [
                    "",
                    *rows,
                    *more,
                    _make_advice_on_failing_cases(failing, tolerance, float64_error, is_module=is_module),
                ]
            ),
        )
    return Parity(
        tolerance=allowed if tolerance is None else tolerance, comparisons=tuple(one.line for one in compared)
    )


def _format_failure(inputs: str, found: Difference) -> str:
    spreads = "" if found.spreads is None else f"  {found.spreads:.3g} times what rounding may do"
    return (
        f"  {found.candidate:<16} {inputs:<12} {found.case:<26} {found.largest:.3g}  {found.labels_differing} labels"
        f"{spreads}"
    )


def _make_advice_on_failing_cases(
    failing: Sequence[tuple[Comparison, Difference]],
    tolerance: float | None,
    float64_error: Callable[[str, str], float | None],
    *,
    is_module: bool,
) -> str:
    """Return the advice in the error message for failing cases: to use other operations if the answers are wrong, or to
    give a larger tolerance if rounding explains the differences.

    Args:
        failing: the failing cases, each with its comparison.
        tolerance: the user's tolerance, or None.
        float64_error: returns how far the reference's answer is from its answer in double precision, for a kind of
            inputs and the name of a case.
        is_module: whether a module was exported; if not, a bundle was changed.
    """
    largest = max(d.largest for _, d in failing)
    if tolerance is None or largest >= _ROUNDING or any(d.labels_differing for _, d in failing):
        return "Nothing was written. " + (
            "Use other operations in forward at the place that this message names. If it names none, report the module."
            if is_module
            else "Use the bundle as it is."
        )
    line, worst = max(failing, key=lambda pair: pair[1].largest)
    own = float64_error(line.inputs, worst.case)
    itself = "" if own is None else f" PyTorch itself is {own:.1g} away from its double-precision answer there."
    enough = 10.0 ** np.ceil(np.log10(largest))
    return (
        f"Nothing was written. Every label agrees, and the differences are of the size of rounding.{itself} Leave "
        f"--tolerance out to allow what the module's own rounding does, or allow more: --tolerance {enough:g} "
        f"(tolerance={enough:g} in Python)."
    )


def write_comparison_report(path: str | Path, compared: Iterable[CandidateComparison], tolerance: float | None) -> None:
    """Write the tolerance and all comparisons of an export to a JSON file, each with its differences on all cases.
    Raise an OutputError if the file cannot be written."""
    comparisons = [{**asdict(one.line), "each": [asdict(d) for d in one.each]} for one in compared]
    report = json.dumps({"tolerance": tolerance, "comparisons": comparisons}, indent=1)
    try:
        Path(path).write_text(report, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"The report {path} cannot be written: {error.strerror or error}.",
            "Give the path of a file in a folder that you may write.",
        ) from None
