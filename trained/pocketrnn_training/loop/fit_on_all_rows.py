"""Fit a classifier on all rows: the last fit of a run, or its only fit if the run is measured by folds.

The final fit also reads the rows that were held out for validation. It takes over the results of validating the first
fit: the accuracy, the temperature of the probabilities, the tokenizer. It has the same cycle of epochs and the same
vocabulary. Its last epoch is kept, since no row is left that could choose one, and so the first fit keeps its last
epoch, too. With `patience`, the first fit keeps its best epoch, and the final fit has as many epochs, in a cycle of
its own, in which the learning rate falls to 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Self

from lightning_fabric import Fabric

from pocketrnn_training.classifiers.checkpoint import FITTED_ROWS, Checkpoint
from pocketrnn_training.classifiers.recurrent_classifiers import AnyClassifier
from pocketrnn_training.loop.thread_limit import limit_threads
from pocketrnn_training.loop.training_loop import (
    VALIDATION_LENGTHS,
    VALIDATION_LOGITS,
    Emit,
    TrainingLoop,
    TrainingState,
    copy_trained_module_and_add_linear_part,
)
from pocketrnn_training.loop.training_step import Learner
from pocketrnn_training.measures.temperature_scaling import apply_temperature
from pocketrnn_training.preparation.prepared_data import Task
from pocketrnn_training.texts.weighted_sum_of_recurrent_and_linear_logits import RecurrentLinearWeights

__all__ = ["FinalFit", "LoopFit", "OnlyFit"]


@dataclass(frozen=True)
class LoopFit:
    """The base class of fits with the data and the settings of a training loop, but without validation of epochs.

    Attributes:
        loop: the loop.
    """

    loop: TrainingLoop

    @property
    def task(self) -> Task:
        """The prepared data that the fit trains on."""
        return self.loop.task

    def replace_task(self, task: Task) -> Self:
        """Return a copy of the fit with other prepared data."""
        return replace(self, loop=self.loop.replace_task(task))


@dataclass(frozen=True)
class FinalFit(LoopFit):
    """The last fit of a run: the classifier is trained anew, on the training and the validation rows together.

    Attributes:
        loop: the loop of the first fit, changed so that it has all rows and the number of epochs of this fit.
        found: the state of the run after the first fit, or after an epoch of an interrupted final fit.
    """

    found: TrainingState

    def fit(
        self,
        fabric: Fabric,
        emit: Emit,
        stopped: Callable[[], bool],
    ) -> None:
        """Train the classifier anew on all rows, up to the last epoch.

        Args:
            fabric: the device and the processes.
            emit: the function to call with the progress, and after each epoch with the state to resume the run from.
            stopped: the function to call before each step, in every process. If it returns True, the training ends.

        Raises:
            TrainingError: the loss is no longer a finite number.
        """
        loop, found = self.loop, self.found
        validation = {name: found.tensors[name] for name in (VALIDATION_LOGITS, VALIDATION_LENGTHS)}
        with limit_threads(loop.settings.threads):
            learner = Learner(loop.task, loop.settings, fabric, found.tensors if found.fitted else None)
            for epoch in range(found.fitted + 1, loop.max_epochs + 1):
                if loop.run_epoch(learner, epoch, fabric, emit, stopped, epochs_before=len(found.history)) is None:
                    return
                best = found.best if epoch < loop.max_epochs else self._make_checkpoint(learner.module)
                emit(TrainingState(loop.digest, found.history, best, learner.tensors() | validation, fitted=epoch))

    @property
    def _weights_of_parts_from_first_fit(self) -> RecurrentLinearWeights:
        """The weights of the recurrent and the linear part, taken from the first fit."""
        metrics, names = self.found.best.metrics, [one.name for one in fields(RecurrentLinearWeights)]
        return RecurrentLinearWeights(*(float(metrics.get(name, 1.0)) for name in names))

    def _make_checkpoint(self, module: AnyClassifier) -> Checkpoint:
        """Make the checkpoint of this fit: that of the first fit, with the weights of `module` in place of its own."""
        best = self.found.best
        kept = copy_trained_module_and_add_linear_part(module, self.task, self._weights_of_parts_from_first_fit)
        apply_temperature(kept, float(best.metrics["temperature"]))
        return replace(best, module=kept, data={**best.data, FITTED_ROWS: self.task.size})


@dataclass(frozen=True)
class OnlyFit(LoopFit):
    """The only fit of a run that was measured by cross-validation: both parts are trained on all rows.

    Attributes:
        loop: the loop. Its task has the folds, and the logits of each row from a classifier that did not see it.
    """

    def fit(
        self,
        fabric: Fabric,
        emit: Emit,
        stopped: Callable[[], bool],
    ) -> None:
        """Train the classifier on all rows, up to the last epoch, and calibrate its probabilities.

        The calibration uses the logits of each row from the classifier that was trained without its fold.

        Args:
            fabric: the device and the processes.
            emit: the function to call with the progress, and at the end with the state of the finished run.
            stopped: the function to call before each step, in every process. If it returns True, the training ends.

        Raises:
            TrainingError: the loss is no longer a finite number.
        """
        loop, task, start = self.loop, self.task, time.perf_counter()
        assert task.parts is not None  # noqa: S101 - the folds have fitted them
        assert task.unseen is not None  # noqa: S101 - the same
        with limit_threads(loop.settings.threads):
            if (learner := loop.fit_without_validation(fabric, emit, stopped)) is None:
                return
            kept = copy_trained_module_and_add_linear_part(learner.module, task, task.parts)
            seconds, rows = time.perf_counter() - start, len(task.targets)
            emit(loop.calibrate_and_make_state(kept, task.parts, task.unseen, seconds, rows))
