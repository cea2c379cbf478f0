"""Fit a classifier that does not train in epochs: a linear part without a recurrent part, or random kernels, for which
kernels are drawn and the scale of rows is chosen."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import eigh
from torch.nn.functional import conv1d

from pocketrnn_training.classifiers.checkpoint import Checkpoint
from pocketrnn_training.classifiers.linear_classifier import LinearArchitecture, LinearClassifier
from pocketrnn_training.classifiers.logits_of_encoded_rows import compute_logits, make_batch
from pocketrnn_training.classifiers.random_kernel_classifier import (
    BANK,
    KERNEL_STEPS,
    SIZE_RAMPS,
    KernelArchitecture,
    KernelClassifier,
    standardize_and_measure_channels,
)
from pocketrnn_training.classifiers.recurrent_classifiers import AnyClassifier
from pocketrnn_training.loop.thread_limit import limit_threads
from pocketrnn_training.loop.training_loop import TrainingLoop, TrainingState
from pocketrnn_training.measures.temperature_scaling import fit_temperature
from pocketrnn_training.preparation.prepared_data import Task
from pocketrnn_training.rows.encoded_rows import EncodedRows
from pocketrnn_training.settings.number_settings import OF_LAYERS
from pocketrnn_training.texts.weighted_sum_of_recurrent_and_linear_logits import ALONE
from pocketrnn_training.training_events import Epoch, Notice, Progress, StageNotice

__all__ = [
    "KernelFit",
    "Ridge",
    "fit_classifier_without_epochs",
    "fit_kernels_at_better_scale",
    "fit_ridge_and_choose_strength",
    "should_fit_without_epochs",
]


def should_fit_without_epochs(task: Task) -> bool:
    """Return whether the classifier is linear or has random kernels, so that it is fitted without gradient steps."""
    return isinstance(task.architecture, KernelArchitecture | LinearArchitecture)


def fit_classifier_without_epochs(
    loop: TrainingLoop,
    report: Callable[[Progress | Epoch | Notice], None],
    keep: Callable[[TrainingState], None],
) -> Checkpoint:
    """Fit a linear classifier or a classifier of random kernels, measure it, and return its checkpoint.

    If the prepared data has folds, the classifier is measured by cross-validation and fitted on all rows. Otherwise it
    is fitted on the training rows and measured on the validation rows; if the settings ask for a final fit, it is then
    fitted once more, on both.

    Args:
        loop: the prepared data and the settings.
        report: the function to call with notices about the fit.
        keep: the function to call once, with the state of the finished run.
    """
    task, seed, start = loop.task, loop.settings.seed, time.perf_counter()
    with limit_threads(loop.settings.threads), torch.no_grad():
        if task.folds is None:
            module = _fit_classifier(task, seed)
            logits = compute_logits(module, task.validation_rows, 1)
            whole = task.add_validation_rows()
        else:
            count, whole = int(task.folds.max()) + 1, task
            report(
                StageNotice(
                    f"{count} folds of all {len(task.targets):,} rows measure the classifier; then it is fitted on all."
                )
            )
            logits = _compute_logits_by_folds(task, seed) if task.unseen is None else task.unseen
        fits_all = task.folds is not None or bool(loop.settings.final_fit)
        if fits_all:
            module = _fit_classifier(whole, seed, report)
    rows, seconds = (len(whole.targets) if fits_all else None), time.perf_counter() - start
    state = loop.calibrate_and_make_state(module, task.parts or ALONE, logits, seconds, rows)
    training = {name: value for name, value in state.best.training.items() if name not in OF_LAYERS}
    state = replace(state, best=replace(state.best, training=training))
    keep(state)
    return state.best


def _fit_classifier(task: Task, seed: int, report: Callable[[Notice], None] = lambda _: None) -> AnyClassifier:
    """Fit the linear classifier or the classifier of random kernels on the training rows; return its module.

    Args:
        task: the prepared data.
        seed: the seed of the random kernels.
        report: the function to call with a notice if each row is divided by its own standard deviation.
    """
    if isinstance(task.architecture, KernelArchitecture):
        found = fit_kernels_at_better_scale(task, seed)
        if found.module.architecture.own_scale:
            share, other = found.right / found.rows, found.other / found.rows
            said = f"with this, models classify {share:.1%} of unseen rows correctly, and {other:.1%} without"
            report(Notice(f"Each row is divided by its own deviation: {said}."))
        return found.module
    assert isinstance(task.architecture, LinearArchitecture)  # noqa: S101 - see `should_fit_without_epochs`
    assert task.linear is not None  # noqa: S101 - it is the classifier
    assert task.parts is not None  # noqa: S101 - the folds have fitted them
    module = LinearClassifier(task.architecture)
    module.linear.load_state_dict(task.linear.tensors(task.parts.linear))
    return module.eval()


def _compute_logits_by_folds(task: Task, seed: int) -> torch.Tensor:
    """Compute the logits of each row with a classifier that is fitted on the folds without this row.

    Returns:
        float32 [rows, classes].
    """
    assert task.folds is not None  # noqa: S101 - it is asked for only where there are folds
    logits = torch.zeros(len(task.targets), task.architecture.classes)
    for fold in range(int(task.folds.max()) + 1):
        rows, others = (np.flatnonzero(some) for some in (task.folds == fold, task.folds != fold))
        logits[rows] = compute_logits(
            _fit_classifier(task.select_training_rows(others), seed), task.rows.select_rows(rows), 1
        )
    return logits


Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

# A bank reads at most this many channels.
_MOST_CHANNELS: Final = 9
# The ramp of a kernel goes from the quantile below its threshold to the one above it, and half of it is at least this
# share of the standard deviation of its responses to a row. docs/numbers.md, "How the defaults were chosen".
_QUANTILES: Final = 0.05
_STEEPEST: Final = 0.01
# The ridge strengths that are compared, and the number of folds that compare them.
_STRENGTHS: Final = np.logspace(-3, 3, 10)
_PARTS: Final = 20
# If there are more rows, this many are drawn at random.
_MOST_ROWS: Final = 10_000
# A share that varies less than this between the rows is not scaled up further.
_LEAST_DEVIATION: Final = 1e-2
# Rows at their own scale must be better by this many standard deviations. In a sixth of the sets, chance alone gives
# more than one.
_CLEARLY: Final = 2
# A rough factor from scores of 1 and -1 to logits; the fitted temperature corrects it.
_AS_LOGITS: Final = 5.0
_NOT_SINGULAR: Final = 1e-10
_BATCH_NUMBERS: Final = 1 << 16


@dataclass(frozen=True)
class KernelFit:
    """A fitted classifier of random kernels, compared with a classifier that scales the rows in another way.

    Attributes:
        module: the classifier, in evaluation mode.
        right: the number of rows that are classified correctly by models of this kind that did not see them.
        other: the same number for the classifier that scales the rows in the other way.
        rows: the number of all rows.
    """

    module: KernelClassifier
    right: int
    other: int
    rows: int


def fit_kernels_at_better_scale(task: Task, seed: int) -> KernelFit:
    """Fit two classifiers of random kernels on the training rows of a task, and return the better one.

    The second classifier divides each row by the row's own standard deviation. It is returned only if it is clearly
    better on unseen rows: its gain must exceed twice the square root of the number of rows that only one of the two
    classifies correctly.

    Args:
        task: the rows, their classes and weights, and the architecture.
        seed: decides the kernels and their thresholds.
    """
    architecture = task.architecture
    assert isinstance(architecture, KernelArchitecture)  # noqa: S101 - there is no other way here
    rng = np.random.default_rng(seed)
    if len(task.targets) > _MOST_ROWS:
        task = task.select_training_rows(np.sort(rng.choice(len(task.targets), _MOST_ROWS, replace=False)))
    plain, own = (
        _draw_kernels_and_fit_ridge(replace(architecture, own_scale=scale), task, rng) for scale in (False, True)
    )
    right, of_own = (model.unseen.argmax(axis=1) == task.targets for _, model in (plain, own))
    more = int(of_own.sum()) - int(right.sum())
    counts = (int(right.sum()), int(of_own.sum()))
    chosen, counts = (own, counts[::-1]) if more > _CLEARLY * np.sqrt((right != of_own).sum()) else (plain, counts)
    return KernelFit(_copy_ridge_weights_and_calibrate(*chosen, task), *counts, len(task.targets))


def _draw_kernels_and_fit_ridge(
    architecture: KernelArchitecture, task: Task, rng: np.random.Generator
) -> tuple[KernelClassifier, Ridge]:
    """Make a module with random kernels, and fit a ridge regression on their responses to the training rows.

    The weights of the regression are returned beside the module, whose linear layer is not set yet.
    """
    module = _draw_kernel_classifier(architecture, task.rows, rng)
    shares = _compute_response_shares(module, task.rows)
    groups = np.arange(len(shares)) if task.groups is None else task.groups
    row_weights = task.class_weights[task.targets].astype(np.float64)
    return module, fit_ridge_and_choose_strength(shares, task.targets, architecture.classes, row_weights, groups)


def _copy_ridge_weights_and_calibrate(module: KernelClassifier, model: Ridge, task: Task) -> KernelClassifier:
    """Store the weights of a fitted ridge regression in the module, scaled so that its probabilities are calibrated.

    The scale is fitted on the scores of rows that the regression did not see. The module is changed and returned.
    """
    scores = torch.from_numpy(_AS_LOGITS * model.unseen)
    factor = _AS_LOGITS / fit_temperature(scores, torch.from_numpy(task.targets))
    with torch.no_grad():
        module.means.copy_(torch.from_numpy(model.mean))
        module.fc.weight.copy_(torch.from_numpy(factor * model.weights.T))
        module.fc.bias.copy_(torch.from_numpy(factor * model.bias))
    return module


def _draw_kernel_classifier(
    architecture: KernelArchitecture, rows: EncodedRows, rng: np.random.Generator
) -> KernelClassifier:
    """Make a module with random kernels, whose thresholds are quantiles of their responses to some of the rows.

    The linear layer of the module is not fitted. `rng` draws the kernels and the rows.
    """
    module = KernelClassifier(architecture).eval()
    if module.size_rates is not None:
        rows = _standardize_rows_and_set_size_ramps(module, rows)
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
            lows, highs = _draw_response_range_of_each_kernel(weights, dilation, levels, rows, chosen, rng)
            steepness = 1 / (highs - lows)
            bank = module.get_submodule(f"banks.{i}")
            bank.load_state_dict(
                {
                    "weight": torch.from_numpy(weights * steepness[:, None]).unsqueeze(1),
                    "bias": torch.from_numpy(-lows * steepness),
                }
            )
    return module


def _standardize_rows_and_set_size_ramps(module: KernelClassifier, rows: EncodedRows) -> EncodedRows:
    """Scale each row to mean 0 and standard deviation 1, and return the scaled rows.

    The module also gets features of the mean and the deviation of a row before scaling. Each feature rises from 0 to 1
    between two values, which are chosen so that all features cover about the same number of rows.
    """
    scaled, sizes = [], []
    for start, end in itertools.pairwise(rows.offsets.tolist()):
        read = torch.from_numpy(np.asarray(rows.values[start:end])).T.unsqueeze(0)
        after = torch.zeros(1, 1, end - start, dtype=torch.bool)
        made, size = standardize_and_measure_channels(read, after, torch.tensor([end - start]))
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


def _draw_response_range_of_each_kernel(
    weights: npt.NDArray[np.float32],
    dilation: int,
    quantiles: Floats,
    rows: EncodedRows,
    channel_factors: npt.NDArray[np.float32],
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Choose for each kernel the range of responses in which the feature of the kernel rises from 0 to 1.

    The range is around a quantile of the kernel's responses to one row, which is drawn at random.

    Args:
        weights: float32 [kernels, steps], the kernels of one bank.
        dilation: the dilation of the kernels.
        quantiles: float64 [kernels], from 0 to 1.
        rows: the training rows.
        channel_factors: float32 [channels], the factors of the sum of channels that the bank reads.
        rng: the random generator that draws the row for each kernel.

    Returns:
        The lower ends and the upper ends, float64 [kernels] each.
    """
    lows, highs = np.empty(len(weights)), np.empty(len(weights))
    for kernel, (row, level) in enumerate(
        zip(rng.integers(len(rows.lengths), size=len(weights)), quantiles, strict=True)
    ):
        samples = np.asarray(rows.values[rows.offsets[row] : rows.offsets[row + 1]]) @ channel_factors
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


def _compute_response_shares(module: KernelClassifier, rows: EncodedRows) -> Floats:
    """Compute the features of all rows: the mean of each kernel's output, clamped to 0 to 1, over the steps of a row.

    Returns:
        float64 [rows, features].
    """
    found = np.empty((len(rows.lengths), module.architecture.features))
    order = np.argsort(rows.lengths, kind="stable")
    size = max(1, _BATCH_NUMBERS // max(1, int(rows.lengths.max())))
    with torch.inference_mode():
        for start in range(0, len(order), size):
            places = order[start : start + size]
            found[places] = module.shares(*make_batch(rows, places, module.architecture, torch.device("cpu"))).numpy()
    return found


@dataclass(frozen=True)
class Ridge:
    """A linear model, fitted by ridge regression.

    Attributes:
        weights: float64 [kernels, classes].
        mean: float64 [kernels], the mean of each feature, which is subtracted from a row before the weights are used.
        bias: float64 [classes], the scores of a row whose features are all at their mean.
        unseen: float64 [rows, classes], the scores of each row by a model that did not see it.
        strength: the regularization strength.
    """

    weights: Floats
    mean: Floats
    bias: Floats
    unseen: Floats
    strength: float


def fit_ridge_and_choose_strength(
    shares: Floats, targets: Rows, classes: int, row_weights: Floats, groups: Rows
) -> Ridge:
    """Fit a linear model by ridge regression; cross-validation chooses its regularization strength.

    The target is 1 for the class of a row and -1 for all other classes.

    Args:
        shares: float64 [rows, kernels], the features.
        targets: int64 [rows], the class of each row.
        classes: the number of classes.
        row_weights: float64 [rows], the weight of each row in the fit.
        groups: int64 [rows]: rows of one group are in the same fold.
    """
    wanted = np.where(targets[:, None] == np.arange(classes), 1.0, -1.0)
    mean, wanted_mean = (np.average(values, axis=0, weights=row_weights) for values in (shares, wanted))
    deviation = np.maximum(shares.std(axis=0), _LEAST_DEVIATION)
    root = np.sqrt(row_weights)[:, None]
    x, y = root * (shares - mean) / deviation, root * (wanted - wanted_mean)
    # x = z @ directions.T with orthogonal columns of z, computed from the smaller of x @ x.T and x.T @ x.
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
