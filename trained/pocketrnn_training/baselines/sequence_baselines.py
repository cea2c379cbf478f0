"""The accuracy of a linear model of random convolutions, and of a random forest on eight statistics of each channel, to
compare a recurrent classifier of numbers with. The statistics ignore the order of the steps.

Dempster, Petitjean and Webb, "ROCKET: exceptionally fast and accurate time series classification using random
convolutional kernels", 2020, https://arxiv.org/abs/1910.13051; here with 500 kernels, where they use 10,000.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from pocketrnn.numbers.number_input import NumberInput
from pocketrnn_training.baselines.baseline_accuracy import Baseline
from pocketrnn_training.classifiers.checkpoint import Checkpoint
from pocketrnn_training.loop.thread_limit import limit_threads
from pocketrnn_training.rows.encoded_rows import EncodedSequences
from pocketrnn_training.rows.labelled_rows import assign_folds
from pocketrnn_training.rows.labelled_sequences import LabelledSequences

__all__ = [
    "ConvolutionBaseline",
    "StatisticsBaseline",
    "compute_channel_statistics",
    "fit_convolution_baseline",
    "fit_sequence_baseline",
    "fit_statistics_baseline",
]

KERNELS: Final = 500
# If there are more training rows, this many are drawn at random.
MOST_ROWS: Final = 5_000
# A longer sequence is cut after this many steps.
_MOST_STEPS: Final = 4_000
_WIDTHS: Final = (7, 9, 11)
_BATCH: Final = 64


class ConvolutionBaseline(Baseline):
    """The accuracy of a linear model of random convolutions."""

    MODEL = (
        f"A linear model of {KERNELS} random convolutions (as ROCKET's, with scikit-learn's RidgeClassifierCV, not "
        "tuned)"
    )
    ADVICE = (
        "Where you need no small classifier, use such a model: MiniRocket of the package aeon. More rows may bring "
        "this one further."
    )


def fit_convolution_baseline(
    training: EncodedSequences,
    targets: npt.NDArray[np.int64],
    validation: EncodedSequences,
    validation_targets: npt.NDArray[np.int64],
) -> ConvolutionBaseline | None:
    """Fit a linear model on the outputs of random convolution kernels, and measure its accuracy on the validation rows.

    The model is scikit-learn's RidgeClassifierCV. The features are the largest output of each kernel, and the share of
    its outputs above zero.

    Args:
        training: the rows to learn from, at the module's scale.
        targets: int64 [training rows], the class of each row.
        validation: the rows to measure with.
        validation_targets: int64 [validation rows], the class of each row.

    Returns:
        The accuracy of the model; None if all training rows have the same class.
    """
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    rows = np.arange(len(targets))
    if len(rows) > MOST_ROWS:
        rows = np.sort(rng.choice(rows, MOST_ROWS, replace=False))
    if len(np.unique(targets[rows])) < 2:
        return None
    kernels = list(_draw_kernel_groups(rng, training.samples.shape[1], int(np.median(training.lengths))))
    model = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=np.logspace(-3, 3, 10)))
    with warnings.catch_warnings():
        # With few rows, the matrix may be singular.
        warnings.simplefilter("ignore")
        model.fit(_compute_kernel_features(training, rows, kernels), targets[rows])
        given = model.predict(_compute_kernel_features(validation, np.arange(len(validation_targets)), kernels))
    return ConvolutionBaseline(float((given == validation_targets).mean()), len(rows))


def fit_sequence_baseline(
    training: LabelledSequences, validation: LabelledSequences, checkpoint: Checkpoint
) -> Baseline | None:
    """Fit a simple model to compare a trained classifier of sequences with, and measure its accuracy.

    Args:
        training: the rows to learn from.
        validation: the rows to measure with; `training` itself if the classifier was measured by cross-validation.
        checkpoint: the trained classifier.

    Returns:
        The accuracy of a linear model on the outputs of random convolution kernels. If the classifier was measured by
        cross-validation, it has such kernels itself, and a random forest on statistics of each channel is measured
        instead, with the same folds. None if the model cannot be fitted.
    """
    rules = checkpoint.rules
    assert isinstance(rules, NumberInput)  # noqa: S101 - it was trained on numbers
    with limit_threads(checkpoint.training["threads"]):
        if validation is training:
            rng = np.random.default_rng(checkpoint.training["seed"])
            folds = assign_folds(training, int(checkpoint.metrics["folds"]), rng)
            return fit_statistics_baseline(training.sequences, training.targets, folds)
        of_training, of_validation = (
            EncodedSequences.from_sequences(data.sequences, rules) for data in (training, validation)
        )
        return fit_convolution_baseline(of_training, training.targets, of_validation, validation.targets)


@dataclass(frozen=True)
class _Kernels:
    """Convolution kernels of one width and dilation: weights [kernels, channels, width], bias [kernels]."""

    weights: Tensor
    bias: Tensor
    dilation: int


def _draw_kernel_groups(rng: np.random.Generator, channels: int, typical_steps: int) -> Iterator[_Kernels]:
    """Draw random convolution kernels as ROCKET does; yield them in groups of one width and dilation.

    Args:
        rng: the random generator that draws the kernels.
        channels: the number of channels of a sequence.
        typical_steps: the usual number of steps of a sequence, which limits the dilations.
    """
    drawn: dict[tuple[int, int], int] = {}
    for _ in range(KERNELS):
        width = int(rng.choice(_WIDTHS))
        most = np.log2(max(1.0, (typical_steps - 1) / (width - 1)))
        key = width, int(2 ** rng.uniform(0, most))
        drawn[key] = drawn.get(key, 0) + 1
    for (width, dilation), count in sorted(drawn.items()):
        weights = rng.normal(size=(count, channels, width))
        weights -= weights.mean(axis=2, keepdims=True)
        # Each kernel reads some of the channels, from one to all.
        shares = 2 ** rng.uniform(0, np.log2(channels + 1), size=(count, 1))
        order = rng.permuted(np.tile(np.arange(channels), (count, 1)), axis=1)
        weights *= (order < np.floor(shares))[:, :, None]
        bias = rng.uniform(-1, 1, size=count)
        yield _Kernels(torch.tensor(weights, dtype=torch.float32), torch.tensor(bias, dtype=torch.float32), dilation)


def _compute_kernel_features(
    encoded: EncodedSequences, rows: npt.NDArray[np.int64], kernel_groups: list[_Kernels]
) -> npt.NDArray[np.float32]:
    """Compute two features of each row for each kernel: the largest response, and the share of responses above 0.

    Args:
        encoded: all rows.
        rows: int64, the numbers of the rows to compute.
        kernel_groups: the kernels.

    Returns:
        float32 [rows, 2 * kernels].
    """
    features = np.empty((len(rows), 2 * KERNELS), np.float32)
    order = np.argsort(encoded.lengths[rows], kind="stable")
    for start in range(0, len(rows), _BATCH):
        places = order[start : start + _BATCH]
        batch, lengths = encoded.batch(rows[places], 0.0)
        samples = torch.from_numpy(batch[:, :_MOST_STEPS]).transpose(1, 2)
        real = torch.from_numpy(lengths).clamp(max=_MOST_STEPS).view(-1, 1, 1)
        found = []
        for some in kernel_groups:
            reach = (some.weights.size(2) - 1) * some.dilation // 2
            values = conv1d(pad(samples, (reach, reach)), some.weights, some.bias, dilation=some.dilation)
            values = values.masked_fill(torch.arange(values.size(2)) >= real, float("-inf"))
            found += [values.amax(dim=2), (values > 0).sum(dim=2) / real.squeeze(2)]
        features[places] = torch.cat(found, dim=1).numpy()
    return features


_TREES: Final = 200


class StatisticsBaseline(Baseline):
    """The accuracy of a random forest on statistics of each channel."""

    NAME = "forest"
    MODEL = (
        f"A random forest of {_TREES} trees on eight statistics of each channel (mean, deviation, least, largest, "
        "median, mean step, first, last; scikit-learn's, not tuned)"
    )
    FITTED = "fitted on the rows of the other folds"
    ADVICE = "The order of the steps adds little here: use such a forest, or give the statistics as channels."


def compute_channel_statistics(sequences: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
    """Compute eight statistics of each channel, such as mean, minimum and first value. A missing sample counts as 0.

    Returns:
        float64 [sequences, 8 * channels].
    """
    found = []
    for sequence in sequences:
        steps = np.nan_to_num(np.asarray(sequence, np.float64))
        mean_step = (steps[-1] - steps[0]) / max(1, len(steps) - 1)
        of_all = (steps.mean(0), steps.std(0), steps.min(0), steps.max(0), np.median(steps, axis=0))
        found.append(np.concatenate([*of_all, mean_step, steps[0], steps[-1]]))
    return np.array(found)


def fit_statistics_baseline(
    sequences: Sequence[npt.NDArray[Any]],
    targets: npt.NDArray[np.int64],
    fold_of: npt.NDArray[np.int64],
) -> StatisticsBaseline | None:
    """Measure the accuracy of a random forest on statistics of each channel, by cross-validation.

    Args:
        sequences: the rows, arrays [time, channels].
        targets: int64 [rows], the class of each row.
        fold_of: int64 [rows], the fold of each row.

    Returns:
        The accuracy of the forest; None if the training rows of a fold all have the same class.
    """
    from sklearn.ensemble import RandomForestClassifier

    features, numbers, right = compute_channel_statistics(sequences), np.unique(fold_of), 0
    for fold in numbers:
        others, rows = fold_of != fold, fold_of == fold
        if len(np.unique(targets[others])) < 2:
            return None
        forest = RandomForestClassifier(_TREES, random_state=0).fit(features[others], targets[others])
        right += int((forest.predict(features[rows]) == targets[rows]).sum())
    return StatisticsBaseline(right / len(targets), len(targets), folds=len(numbers))
