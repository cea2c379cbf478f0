"""Compute how far rounding may move an answer: the spread of its exact answers when every weight moves by one ulp.

A classifier's weights are rounded numbers, which limits how near its float32 answers can be to the exact ones. So the
unit for the error of a float32 answer is how far the float64 answer moves when each weight moves to the next float32
number up or down. It is large if a text's answer depends on the last digits, and small otherwise.

Not every number of a module is rounded. The 0 and 1 of a mask and the 0.5 of a threshold are exact, and a module may
compare with them: 0 / 0 is NaN where 1e-45 / 1e-45 is 1. So multiples of 1/16 are not moved; one random weight in a
million is among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from pocketrnn_export.comparing.float64_graph import (
    convert_model_to_float64,
    list_perturbable_weights,
    make_float64_model_run,
)
from pocketrnn_export.comparing.float64_module import make_float64_copy, make_float64_copy_run
from pocketrnn_export.comparing.proof_inputs import Case, Run64
from pocketrnn_export.progress import log_item_progress

Doubles = npt.NDArray[np.float64]

# How often all weights are moved. The largest change over these draws is the spread.
DRAWS: Final = 8
# Multiples of 1 / _MEANT count as exact. All numbers beyond 2**20 are such multiples; they are not weights.
_MEANT: Final = np.float32(16)
# Half an ulp of 1.0 in float32: the possible error of any answer, because it is stored in float32.
_HALF_ULP: Final = 2.0**-24


@dataclass(frozen=True)
class ExactAnswer:
    """The answer to a case in double precision, and how far rounding of the weights may move it.

    Attributes:
        case: the inputs.
        logits: float64 [rows, classes]: a row for each text, or for each token of each text.
        spread: float64 [rows]: how far the logits of each row move when all weights move by one ulp, the maximum over
            `DRAWS` draws; at least half a float32 ulp of the row's largest logit, or of 1.
    """

    case: Case
    logits: Doubles
    spread: Doubles


def compute_exact_answers(
    run: Run64, perturbed_runs: Iterator[Run64], cases: Sequence[Case], inputs: str = "cases"
) -> list[ExactAnswer]:
    """Compute the answers to batches of texts (cases) in double precision, and how far the logits of each row move when
    each weight moves to a neighbouring float32 number.

    Args:
        run: runs the module, or a graph, in double precision.
        perturbed_runs: functions that run the same with moved weights, one for each random draw. Each function is used
            before the next one is taken from the iterator.
        cases: the batches.
        inputs: the name of the batches in progress messages.
    """
    doing = f"Answering {inputs} in double precision"
    answers = [run(case.tokens, case.lengths) for case in log_item_progress(cases, doing)]
    spreads = [_HALF_ULP * np.maximum(1.0, np.abs(_replace_nonfinite_numbers(logits)).max(1)) for logits in answers]
    doing, total = f"Answering {inputs} with slightly changed weights", DRAWS * len(cases)
    for draw, other in enumerate(perturbed_runs):
        for i, case in log_item_progress(enumerate(cases), doing, done_before=draw * len(cases), total=total):
            given = other(case.tokens, case.lengths)
            # The difference of two infinities, from a probability of 0, is NaN and counts as 0.
            with np.errstate(invalid="ignore"):
                apart = np.abs(_replace_nonfinite_numbers(given - answers[i])).max(1)
            spreads[i] = np.maximum(spreads[i], apart)
    return [ExactAnswer(*of_case) for of_case in zip(cases, answers, spreads, strict=True)]


def _replace_nonfinite_numbers(numbers: Doubles) -> Doubles:
    return np.nan_to_num(numbers, nan=0.0, posinf=0.0, neginf=0.0)


def make_perturbed_module_runs(
    module: nn.Module, *, takes_lengths: bool, draws: int = DRAWS, sorts_rows: bool = True
) -> Iterator[Run64]:
    """Yield functions that run a module in double precision with slightly changed weights, one for each random draw.
    Each weight and float buffer is moved to the next float32 number, up or down at random.

    Args:
        module: the module, in eval mode and on the CPU. It is copied and not changed.
        takes_lengths: whether forward takes lengths.
        draws: the number of functions.
        sorts_rows: whether the module gets the rows sorted by decreasing length. Give False if a row's answer may
            depend on other rows.

    Raises:
        ExportError: the module is TorchScript.
    """
    moved = make_float64_copy(module)
    run = make_float64_copy_run(moved, takes_lengths=takes_lengths, sorts_rows=sorts_rows)
    tensors = [t for t in (*moved.parameters(), *moved.buffers()) if t.dtype == torch.float64]
    originals = [t.detach().numpy().astype(np.float32) for t in tensors]
    for moved_weights in _move_weights_by_one_ulp(originals, draws):
        with torch.no_grad():
            for tensor, weights in zip(tensors, moved_weights, strict=True):
                tensor.copy_(torch.from_numpy(weights))
        yield run


def make_perturbed_graph_runs(content: bytes, *, draws: int = DRAWS) -> Iterator[Run64]:
    """Yield functions that run an ONNX file in double precision with slightly changed weights, one for each of `draws`
    random draws. Each weight is moved to the next float32 number, up or down at random."""
    model = convert_model_to_float64(onnx.load_from_string(content))
    tensors = list_perturbable_weights(model)
    originals = [numpy_helper.to_array(tensor).astype(np.float32) for tensor in tensors]
    for moved_weights in _move_weights_by_one_ulp(originals, draws):
        for tensor, weights in zip(tensors, moved_weights, strict=True):
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
        yield make_float64_model_run(model)


def _compute_ulp_steps(weights: npt.NDArray[np.float32]) -> Doubles:
    """Return the distance by which each weight is moved to measure rounding: that to the next float32 number (one ulp),
    or 0 for a multiple of 1/16, which counts as exact."""
    with np.errstate(invalid="ignore", over="ignore"):
        meant = ~np.isfinite(weights) | (weights * _MEANT == np.round(weights * _MEANT))
        return np.where(meant, 0.0, np.spacing(np.abs(weights)).astype(np.float64))


def _move_weights_by_one_ulp(originals: Sequence[npt.NDArray[np.float32]], draws: int) -> Iterator[Iterator[Doubles]]:
    """Yield, for each of `draws` random draws, an iterator of the weight tensors `originals` with each weight moved to
    the next float32 number, up or down at random."""
    steps = [_compute_ulp_steps(original) for original in originals]
    generator = np.random.default_rng(0)

    def move_weights(weights: npt.NDArray[np.float32], step: Doubles) -> Doubles:
        signs = generator.integers(0, 2, weights.shape, dtype=np.int8) * 2.0 - 1.0
        return np.asarray(weights + signs * step)

    for _ in range(draws):
        yield map(move_weights, originals, steps)
