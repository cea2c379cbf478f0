"""Estimate how long a proof takes, from the time of a few runs of the module."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from pocketrnn_export.comparing.answer_spread_by_rounding import DRAWS
from pocketrnn_export.comparing.logit_comparison import Reference
from pocketrnn_export.comparing.proof_inputs import Case, Run
from pocketrnn_export.proof.reference_answers_on_demand import JOINED_TOKENS

# A shorter proof needs no estimate.
_SHORT: Final = 20.0
# The module runs as it was given and as its copy, beside the forms.
_OWN_RUNS: Final = 2
# In double precision, the module runs once on all cases, and the graph, node by node, takes about twice as long.
_DOUBLE_RUNS: Final = 3


def estimate_proof_seconds(
    reference: Reference, cases: Mapping[str, Sequence[Case]], forms: Sequence[Run], *, rows_alone: bool = False
) -> float:
    """Estimate how many seconds the comparisons of a proof take, from a few runs. Runs that fail count as 0 seconds.

    Args:
        reference: the module.
        cases: the batches to compare, by kind. The kind `texts` is run several times to measure rounding.
        forms: functions that run the exported forms, such as the ONNX graph, which are compared with the module.
        rows_alone: whether each text's answer is independent of its batch, so that texts with equally many tokens share
            a run in double precision.
    """
    every = [case for some in cases.values() for case in some]
    if not every:
        return 0.0
    single = _measure_seconds_per_call_step_and_token(reference.run, every)
    double = (
        _Cost()
        if reference.float64_run is None
        else _measure_seconds_per_call_step_and_token(reference.float64_run, every)
    )
    of_module, texts = single.estimate_seconds(every), cases.get("texts", ())
    of_texts = double.estimate_seconds(texts)
    if rows_alone and texts:
        tokens, widths = sum(case.tokens.size for case in texts), len({case.tokens.shape[1] for case in texts})
        shared = 1 - min(1.0, max(widths, tokens // JOINED_TOKENS) / len(texts))
        of_texts -= shared * replace(double, of_token=0.0).estimate_seconds(texts)
    return (
        of_module * _OWN_RUNS
        # The first runs of TorchScript are its slowest.
        + sum(
            min(of_module, _measure_seconds_per_call_step_and_token(run, every).estimate_seconds(every))
            for run in forms
        )
        + double.estimate_seconds(every) * _DOUBLE_RUNS
        + of_texts * DRAWS
    )


@dataclass(frozen=True)
class _Cost:
    """How many seconds a run takes on a case: a number for the call, a number for each step, and a number for each
    token."""

    of_call: float = 0.0
    of_step: float = 0.0
    of_token: float = 0.0

    def estimate_seconds(self, cases: Sequence[Case]) -> float:
        """Estimate how many seconds the runs on these batches take together."""
        steps: int = sum(case.tokens.shape[1] for case in cases)
        tokens: int = sum(case.tokens.size for case in cases)
        return self.of_call * len(cases) + self.of_step * steps + self.of_token * tokens


def _measure_seconds_per_call_step_and_token(run: Callable[..., Any], cases: Sequence[Case]) -> _Cost:
    """Measure how many seconds a run takes for the call, for each step, and for each token. Three batches are run: the
    smallest of `cases`, one of about the mean size, and the longest row of the latter alone."""
    mean = sum(case.tokens.size for case in cases) / len(cases)
    small = min(cases, key=lambda case: case.tokens.size)
    usual = min(cases, key=lambda case: abs(case.tokens.size - mean))
    longest = usual.lengths.argmax() + np.arange(1)
    row = replace(usual, tokens=usual.tokens[longest], lengths=usual.lengths[longest])
    seconds, of_row, more = (_measure_seconds(run, case) for case in (small, row, usual))
    steps, tokens = row.tokens.shape[1] - small.tokens.shape[1], usual.tokens.size - row.tokens.size
    # Where all cases have equally many steps, their time is that of a call.
    of_step = max(0.0, of_row - seconds) / steps if steps > 0 else 0.0
    of_token = max(0.0, more - of_row) / tokens if tokens > 0 else 0.0
    return _Cost(max(0.0, seconds - of_step * small.tokens.shape[1]), of_step, of_token)


def _measure_seconds(run: Callable[..., Any], case: Case) -> float:
    """Run a batch (case) twice, and return how many seconds the second run took. Return 0 if a run fails."""
    try:
        run(case.tokens, case.lengths)
        started = time.perf_counter(), time.process_time()
        run(case.tokens, case.lengths)
    # The proof itself says what fails.
    except Exception:
        return 0.0
    # Other work on the machine makes the first longer, several threads the second.
    return min(time.perf_counter() - started[0], time.process_time() - started[1])


def describe_duration_of_long_work(seconds: float) -> str:
    """Return words to put after the name of some work: how long it takes where other work does not slow it down, as the
    estimate is of processor time. Return "" for less than 20 seconds."""
    if seconds < _SHORT:
        return ""
    written = f"{round(seconds, -1):.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"
    return f", which takes about {written} if the machine does nothing else"
