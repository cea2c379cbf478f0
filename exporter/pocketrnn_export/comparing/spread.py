"""How far rounding may move an answer: the spread of the exact answers when every weight moves by one ulp.

A classifier's float32 answers cannot be nearer to the exact ones than its weights allow, each of which is a rounded
number itself. So the unit to measure a float32 answer by is how far the float64 answer moves when each weight moves to
the next float32 number up or down. It is large where a text's answer depends on the last digits, and small elsewhere.

Not every number of a module is rounded. The 0 and 1 of a mask, the 0.5 of a threshold are meant as they are, and a
module may ask whether they are: 0 / 0 is NaN where 1e-45 / 1e-45 is 1. Multiples of 1/16 stay where they are; of drawn
weights, one in a million is among them.
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

from pocketrnn_export.comparing.cases import Case
from pocketrnn_export.comparing.float64_graph import Run64, in_float64, perturbable, run_in_float64
from pocketrnn_export.comparing.float64_module import doubled, run_of_doubled
from pocketrnn_export.progress import each

__all__ = ["DRAWS", "Exact", "exact_answers", "moved_graphs", "moved_modules"]

Doubles = npt.NDArray[np.float64]

# How often all weights are moved. The largest of so many draws is the spread.
DRAWS: Final = 8
# Multiples of 1 / _MEANT are not rounded numbers. Weights beyond 2**20 are multiples all, and no weights.
_MEANT: Final = np.float32(16)
# Half an ulp of 1.0 in float32: what any answer may be off by, because it is written in float32.
_HALF_ULP: Final = 2.0**-24


@dataclass(frozen=True)
class Exact:
    """The exact answer to a case.

    Attributes:
        case: what was asked.
        logits: float64 [rows, classes]: a row for each text, or for each token of each text.
        spread: float64 [rows]: how far the logits of each row move when all weights move by one ulp, the furthest of
            `DRAWS` draws; at least the half ulp of float32 at the row's largest logit, or at 1.
    """

    case: Case
    logits: Doubles
    spread: Doubles


def exact_answers(run: Run64, moved: Iterator[Run64], cases: Sequence[Case]) -> list[Exact]:
    """The exact answers to the cases, with the spread of each row.

    Args:
        run: the module, or a graph, in double precision.
        moved: the same with its weights moved, a run a draw; from `moved_modules` or `moved_graphs`. Each is used
            before the next is asked for.
        cases: what to ask.
    """
    answers = [run(case.tokens, case.lengths) for case in each(cases, "Answering in double precision")]
    spreads = [_HALF_ULP * np.maximum(1.0, np.abs(_finite(logits)).max(1)) for logits in answers]
    for other in moved:
        for i, case in each(enumerate(cases), "Answering with weights that are moved"):
            given = other(case.tokens, case.lengths)
            # Two infinities, of a probability of 0, have no difference.
            with np.errstate(invalid="ignore"):
                apart = np.abs(_finite(given - answers[i])).max(1)
            spreads[i] = np.maximum(spreads[i], apart)
    return [Exact(*of_case) for of_case in zip(cases, answers, spreads, strict=True)]


def _finite(numbers: Doubles) -> Doubles:
    return np.nan_to_num(numbers, nan=0.0, posinf=0.0, neginf=0.0)


def moved_modules(module: nn.Module, *, takes_lengths: bool, draws: int = DRAWS, seed: int = 0) -> Iterator[Run64]:
    """A module in double precision, run with every rounded weight and float buffer moved by one ulp up or down, a run a
    draw.

    Raises:
        ExportError: the module is TorchScript.
    """
    moved = doubled(module)
    run = run_of_doubled(moved, takes_lengths=takes_lengths)
    tensors = [t for t in (*moved.parameters(), *moved.buffers()) if t.dtype == torch.float64]
    originals = [t.detach().numpy().astype(np.float32) for t in tensors]
    steps = [_steps(original) for original in originals]
    generator = np.random.default_rng(seed)
    for _ in range(draws):
        with torch.no_grad():
            for tensor, original, step in zip(tensors, originals, steps, strict=True):
                tensor.copy_(torch.from_numpy(_moved(original, step, generator)))
        yield run


def moved_graphs(content: bytes, *, draws: int = DRAWS, seed: int = 0) -> Iterator[Run64]:
    """An ONNX file in double precision, run with every rounded weight moved by one ulp up or down, a run a draw."""
    model = in_float64(onnx.load_from_string(content))
    tensors = perturbable(model)
    originals = [numpy_helper.to_array(tensor).astype(np.float32) for tensor in tensors]
    steps = [_steps(original) for original in originals]
    generator = np.random.default_rng(seed)
    for _ in range(draws):
        for tensor, original, step in zip(tensors, originals, steps, strict=True):
            tensor.CopyFrom(numpy_helper.from_array(_moved(original, step, generator), tensor.name))
        yield run_in_float64(model)


def _steps(weights: npt.NDArray[np.float32]) -> Doubles:
    """One ulp of each weight, and 0 for numbers that are not rounded."""
    with np.errstate(invalid="ignore", over="ignore"):
        meant = ~np.isfinite(weights) | (weights * _MEANT == np.round(weights * _MEANT))
        return np.where(meant, 0.0, np.spacing(np.abs(weights)).astype(np.float64))


def _moved(weights: npt.NDArray[np.float32], steps: Doubles, generator: np.random.Generator) -> Doubles:
    signs = generator.integers(0, 2, weights.shape, dtype=np.int8) * 2.0 - 1.0
    moved: Doubles = np.asarray(weights + signs * steps)
    return moved
