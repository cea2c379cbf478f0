"""The fit of a classifier of random kernels: how they are drawn, the scale of the rows, the linear model of shares."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import eigh
from torch.nn.functional import conv1d

from pocketrnn_training.classifiers.inference import batch_of
from pocketrnn_training.classifiers.kernels import (
    BANK,
    KERNEL_STEPS,
    SIZE_RAMPS,
    KernelArchitecture,
    KernelClassifier,
    at_own_scale,
)
from pocketrnn_training.measures.calibration import fitted_temperature
from pocketrnn_training.preparation.task import Task
from pocketrnn_training.rows.batches import EncodedRows

__all__ = ["KernelFit", "Ridge", "fitted_kernels", "ridge"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

# A bank reads up to so many channels.
_MOST_CHANNELS: Final = 9
# The ramp of a kernel goes from the quantile before its threshold to the one behind it, and is not steeper than this
# share of the deviation of what the kernel makes of a row. docs/numbers.md, "How the defaults were chosen".
_QUANTILES: Final = 0.05
_STEEPEST: Final = 0.01
# The strengths of the ridge that are compared, and in how many parts of the rows.
_STRENGTHS: Final = np.logspace(-3, 3, 10)
_PARTS: Final = 20
# From more rows, so many are drawn.
_MOST_ROWS: Final = 10_000
# A share that differs less than this between the rows is not blown up.
_LEAST_DEVIATION: Final = 1e-2
# Standard deviations by which rows at their own scale are better: of one, chance is enough in a sixth of all sets.
_CLEARLY: Final = 2
# Scores of 1 and -1 are about so much as logits; the rows say it better.
_AS_LOGITS: Final = 5.0
_NOT_SINGULAR: Final = 1e-10
_BATCH_NUMBERS: Final = 1 << 16


@dataclass(frozen=True)
class KernelFit:
    """A classifier of random kernels, and how it compares with the one that it was chosen from.

    Attributes:
        module: the classifier, in evaluation mode.
        right: how many of the rows it classifies correctly, by models that did not see them.
        other: how many the other one does, with or without rows at their own scale.
        rows: how many rows there are.
    """

    module: KernelClassifier
    right: int
    other: int
    rows: int


def fitted_kernels(task: Task, seed: int) -> KernelFit:
    """A classifier of the training rows of a task.

    Rows are divided by their own deviations, where a model of such rows classifies more of those correctly that it has
    not seen, clearly more: by twice the root of the number of rows that only one of both classifies correctly.

    Args:
        task: the rows, their classes and weights, and the shape.
        seed: decides the kernels and their thresholds.
    """
    architecture = task.architecture
    assert isinstance(architecture, KernelArchitecture)  # noqa: S101 - there is no other way here
    rng = np.random.default_rng(seed)
    if len(task.targets) > _MOST_ROWS:
        task = task.of_rows(np.sort(rng.choice(len(task.targets), _MOST_ROWS, replace=False)))
    plain, own = (_fitted(replace(architecture, own_scale=scale), task, rng) for scale in (False, True))
    right, of_own = (model.unseen.argmax(axis=1) == task.targets for _, model in (plain, own))
    more = int(of_own.sum()) - int(right.sum())
    counts = (int(right.sum()), int(of_own.sum()))
    chosen, counts = (own, counts[::-1]) if more > _CLEARLY * np.sqrt((right != of_own).sum()) else (plain, counts)
    return KernelFit(_with_model(*chosen, task), *counts, len(task.targets))


def _fitted(architecture: KernelArchitecture, task: Task, rng: np.random.Generator) -> tuple[KernelClassifier, Ridge]:
    module = _drawn(architecture, task.rows, rng)
    shares = _shares(module, task.rows)
    groups = np.arange(len(shares)) if task.groups is None else task.groups
    row_weights = task.class_weights[task.targets].astype(np.float64)
    return module, ridge(shares, task.targets, architecture.classes, row_weights, groups)


def _with_model(module: KernelClassifier, model: Ridge, task: Task) -> KernelClassifier:
    """The module with the linear model of its shares, calibrated by what that says of rows that it did not see."""
    scores = torch.from_numpy(_AS_LOGITS * model.unseen)
    factor = _AS_LOGITS / fitted_temperature(scores, torch.from_numpy(task.targets))
    with torch.no_grad():
        module.means.copy_(torch.from_numpy(model.mean))
        module.fc.weight.copy_(torch.from_numpy(factor * model.weights.T))
        module.fc.bias.copy_(torch.from_numpy(factor * model.bias))
    return module


def _drawn(architecture: KernelArchitecture, rows: EncodedRows, rng: np.random.Generator) -> KernelClassifier:
    """A module with its kernels and their thresholds, which are quantiles of what they make of some of the rows."""
    module = KernelClassifier(architecture).eval()
    if module.size_rates is not None:
        rows = _ramps_of_sizes(module, rows)
    patterns = np.full((84, KERNEL_STEPS), -1.0, np.float32)
    for pattern, twos in zip(patterns, itertools.combinations(range(KERNEL_STEPS), 3), strict=True):
        pattern[list(twos)] = 2.0
    channels = architecture.channels
    sums = np.zeros((len(module.banks), channels), np.float32)
    for chosen in sums:
        most = min(channels, _MOST_CHANNELS)
        count = min(most, int(2 ** rng.uniform(0, np.log2(most + 1))))
        chosen[rng.choice(channels, count, replace=False)] = 1.0
    with torch.no_grad():
        if module.sums is not None:
            module.sums.weight.copy_(torch.from_numpy(sums).unsqueeze(2))
        # The golden section: fractions of its multiples fill the range evenly.
        quantiles = (rng.uniform() + np.arange(architecture.kernels) * (5**0.5 - 1) / 2) % 1
        for i, (dilation, chosen) in enumerate(zip(architecture.dilations, sums, strict=True)):
            weights = patterns[rng.permutation(len(patterns))[:BANK]]
            levels = quantiles[i * BANK : (i + 1) * BANK]
            lows, highs = _ramps(weights, dilation, levels, rows, chosen, rng)
            steepness = 1 / (highs - lows)
            bank = module.get_submodule(f"banks.{i}")
            bank.load_state_dict(
                {
                    "weight": torch.from_numpy(weights * steepness[:, None]).unsqueeze(1),
                    "bias": torch.from_numpy(-lows * steepness),
                }
            )
    return module


def _ramps_of_sizes(module: KernelClassifier, rows: EncodedRows) -> EncodedRows:
    """Let the ramps of deviations and means part the rows evenly, and return the rows at their own scale."""
    scaled, sizes = [], []
    for start, end in itertools.pairwise(rows.offsets.tolist()):
        read = torch.from_numpy(np.asarray(rows.values[start:end])).T.unsqueeze(0)
        after = torch.zeros(1, 1, end - start, dtype=torch.bool)
        made, size = at_own_scale(read, after, torch.tensor([end - start]))
        scaled.append(made[0].T.numpy())
        sizes.append(size[0].double().numpy())
    edges = np.quantile(np.array(sizes), np.linspace(0, 1, SIZE_RAMPS + 1), axis=0)
    lows, highs = edges[:-1], edges[1:]
    # A steeper ramp would show how the sizes are rounded.
    widths = np.maximum(highs - lows, _STEEPEST * (1e-2 + np.abs(lows)))
    assert module.size_rates is not None  # noqa: S101 - it is called where there are some
    with torch.no_grad():
        module.size_rates.copy_(torch.from_numpy(1 / widths))
        module.size_offsets.copy_(torch.from_numpy(-lows / widths))
    return type(rows)(np.concatenate(scaled), rows.offsets)


def _ramps(
    weights: npt.NDArray[np.float32],
    dilation: int,
    levels: Floats,
    rows: EncodedRows,
    chosen: npt.NDArray[np.float32],
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Where the ramps of the kernels of a bank begin and end, float64 [kernels] each."""
    lows, highs = np.empty(len(weights)), np.empty(len(weights))
    for kernel, (row, level) in enumerate(zip(rng.integers(len(rows.lengths), size=len(weights)), levels, strict=True)):
        samples = np.asarray(rows.values[rows.offsets[row] : rows.offsets[row + 1]]) @ chosen
        made = conv1d(
            torch.from_numpy(samples)[None, None],
            torch.from_numpy(weights[kernel])[None, None],
            padding=KERNEL_STEPS // 2 * dilation,
            dilation=dilation,
        )
        values = made[0, 0].double().numpy()
        low, high = np.quantile(values, np.clip([level - _QUANTILES, level + _QUANTILES], 0, 1))
        # A row that never changes has no deviation; the unit of a sample is about 1.
        half = max((high - low) / 2, _STEEPEST * (values.std() + 1e-2))
        lows[kernel], highs[kernel] = (low + high) / 2 - half, (low + high) / 2 + half
    return lows, highs


def _shares(module: KernelClassifier, rows: EncodedRows) -> Floats:
    """float64 [rows, features]: what the linear model is fitted on."""
    found = np.empty((len(rows.lengths), module.architecture.features))
    order = np.argsort(rows.lengths, kind="stable")
    size = max(1, _BATCH_NUMBERS // max(1, int(rows.lengths.max())))
    with torch.inference_mode():
        for start in range(0, len(order), size):
            places = order[start : start + size]
            found[places] = module.shares(*batch_of(rows, places, module.architecture, torch.device("cpu"))).numpy()
    return found


@dataclass(frozen=True)
class Ridge:
    """A linear model of shares.

    Attributes:
        weights: float64 [kernels, classes].
        mean: float64 [kernels], the shares of which the scores are `bias`.
        bias: float64 [classes].
        unseen: float64 [rows, classes], the scores of each row by a model that did not see it.
        strength: how strong the ridge is.
    """

    weights: Floats
    mean: Floats
    bias: Floats
    unseen: Floats
    strength: float


def ridge(shares: Floats, targets: Rows, classes: int, row_weights: Floats, groups: Rows) -> Ridge:
    """Ridge regression on 1 for the class of a row and -1 for every other, as strong as parts of the rows say.

    Args:
        shares: float64 [rows, kernels].
        targets: int64 [rows].
        classes: how many there are.
        row_weights: float64 [rows], what each row weighs.
        groups: int64 [rows]: rows of one group are of one part.
    """
    wanted = np.where(targets[:, None] == np.arange(classes), 1.0, -1.0)
    mean, wanted_mean = (np.average(values, axis=0, weights=row_weights) for values in (shares, wanted))
    deviation = np.maximum(shares.std(axis=0), _LEAST_DEVIATION)
    root = np.sqrt(row_weights)[:, None]
    x, y = root * (shares - mean) / deviation, root * (wanted - wanted_mean)
    # x = z @ directions.T, and the columns of z are orthogonal: by the smaller of both matrices of products.
    wide = x.shape[0] <= x.shape[1]
    squares, vectors = eigh(x @ x.T if wide else x.T @ x)
    kept = squares > 1e-9 * max(squares[-1], 1e-300)
    squares, vectors = squares[kept], vectors[:, kept]
    z = vectors * np.sqrt(squares) if wide else x @ vectors
    products = z.T @ y
    _, number = np.unique(groups, return_inverse=True)
    part_of = number % _PARTS
    best: tuple[float, float, Floats] | None = None
    for strength in _STRENGTHS:
        residual = y - z @ (products / (squares + strength)[:, None])
        for part in np.unique(part_of):
            rows = np.flatnonzero(part_of == part)
            # The residuals of a model without these rows, in closed form.
            hat = (z[rows] / (squares + strength)) @ z[rows].T + root[rows] @ root[rows].T / row_weights.sum()
            residual[rows] = np.linalg.solve((1 + _NOT_SINGULAR) * np.eye(len(rows)) - hat, residual[rows])
        error = float(np.square(residual).mean())
        if best is None or error < best[0]:
            best = error, strength, residual
    assert best is not None  # noqa: S101 - there are strengths
    _, strength, residual = best
    solved = products / (squares + strength)[:, None]
    weights = (x.T @ (vectors / np.sqrt(squares)) if wide else vectors) @ solved / deviation[:, None]
    return Ridge(weights, mean, wanted_mean, wanted - residual / root, strength)
