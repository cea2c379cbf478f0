"""Fit a classifier that does not train in epochs: random kernels, or a linear part without a recurrent part."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from pocketrnn_training.candidates.random_kernel_fit import fit_kernels_at_better_scale
from pocketrnn_training.classifiers.checkpoint import Checkpoint
from pocketrnn_training.classifiers.inference import compute_logits
from pocketrnn_training.classifiers.linear_classifier import LinearArchitecture, LinearClassifier
from pocketrnn_training.classifiers.random_kernels import KernelArchitecture
from pocketrnn_training.classifiers.recurrent_classifiers import AnyClassifier
from pocketrnn_training.loop.thread_limit import limit_threads
from pocketrnn_training.loop.training_loop import TrainingLoop, TrainingState
from pocketrnn_training.preparation.prepared_data import Task
from pocketrnn_training.settings.number_settings import OF_LAYERS
from pocketrnn_training.texts.recurrent_linear_mixing import ALONE
from pocketrnn_training.training_events import Epoch, Notice, Progress, StageNotice

__all__ = ["fit_classifier_without_epochs", "is_fitted_without_epochs"]


def is_fitted_without_epochs(task: Task) -> bool:
    """Return whether a task is fitted without epochs: its classifier is linear, or made of random kernels."""
    return isinstance(task.architecture, KernelArchitecture | LinearArchitecture)


def fit_classifier_without_epochs(
    loop: TrainingLoop,
    report: Callable[[Progress | Epoch | Notice], None],
    keep: Callable[[TrainingState], None],
) -> Checkpoint:
    """Fit a linear classifier or one of random kernels, measure it, and return its checkpoint.

    Folds measure it if the prepared data has folds, and it is then fitted on all rows. Otherwise it is fitted on the
    training rows and measured on the validation rows; a final fit then fits it once more, on both.

    Args:
        loop: the prepared data and the settings.
        report: called with notices about the fit.
        keep: called once, with the state of the finished run.
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
    """Fit the classifier of a task on its training rows, and return it in evaluation mode. Call `report` if each row
    is divided by its own deviation."""
    if isinstance(task.architecture, KernelArchitecture):
        found = fit_kernels_at_better_scale(task, seed)
        if found.module.architecture.own_scale:
            share, other = found.right / found.rows, found.other / found.rows
            said = f"with this, models classify {share:.1%} of unseen rows correctly, and {other:.1%} without"
            report(Notice(f"Each row is divided by its own deviation: {said}."))
        return found.module
    assert isinstance(task.architecture, LinearArchitecture)  # noqa: S101 - see `is_fitted_without_epochs`
    assert task.linear is not None  # noqa: S101 - it is the classifier
    assert task.parts is not None  # noqa: S101 - the folds have fitted them
    module = LinearClassifier(task.architecture)
    module.linear.load_state_dict(task.linear.tensors(task.parts.linear))
    return module.eval()


def _compute_logits_by_folds(task: Task, seed: int) -> torch.Tensor:
    """Compute the logits of each row with a classifier that was fitted on the other folds, float32 [rows, classes]."""
    assert task.folds is not None  # noqa: S101 - it is asked for only where there are folds
    logits = torch.zeros(len(task.targets), task.architecture.classes)
    for fold in range(int(task.folds.max()) + 1):
        rows, others = (np.flatnonzero(some) for some in (task.folds == fold, task.folds != fold))
        logits[rows] = compute_logits(
            _fit_classifier(task.select_training_rows(others), seed), task.rows.select_rows(rows), 1
        )
    return logits
