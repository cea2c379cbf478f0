"""Train a classifier on prepared data, epoch by epoch, and keep its best checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor

from pocketrnn.errors import PocketRNNError
from pocketrnn_training.classifiers.checkpoint import FITTED_ROWS, Checkpoint
from pocketrnn_training.classifiers.linear_classifier import LINEAR
from pocketrnn_training.classifiers.logits_of_encoded_rows import compute_logits
from pocketrnn_training.classifiers.recurrent_classifiers import (
    AnyClassifier,
    RecurrentClassifier,
    build_classifier,
    get_crf_layer,
)
from pocketrnn_training.loop.running_metrics import RunningMetrics
from pocketrnn_training.loop.thread_limit import limit_threads
from pocketrnn_training.loop.training_step import Learner, read_batch_of_this_process
from pocketrnn_training.measures.evaluation import score_multi_label_predictions
from pocketrnn_training.measures.fold_scores import FoldScores
from pocketrnn_training.measures.logit_measures import (
    compute_guessing_loss,
    compute_macro_or_best_micro_f1,
    compute_mean_loss,
    mark_rows_classified_correctly,
)
from pocketrnn_training.measures.temperature_scaling import (
    apply_temperature,
    compute_calibration_error,
    fit_temperature,
)
from pocketrnn_training.measures.thresholds import (
    choose_and_measure_rejection_threshold,
    choose_thresholds,
    predict_cross_fitted_labels,
)
from pocketrnn_training.preparation.prepared_data import Task
from pocketrnn_training.rows.encoded_rows import EncodedRows
from pocketrnn_training.rows.epoch_batches import (
    cut_into_batches,
    draw_epoch_row_numbers,
    make_similar_length_batches,
)
from pocketrnn_training.settings.settings_of_all_runs import FEW_VALIDATION_ROWS, Settings
from pocketrnn_training.texts.spelling_embedding import SpelledEmbedding
from pocketrnn_training.texts.weighted_sum_of_recurrent_and_linear_logits import (
    ALONE,
    BY_DEFAULT,
    RecurrentLinearWeights,
    fit_recurrent_linear_weights,
)
from pocketrnn_training.training_events import Epoch, Notice, Progress

__all__ = [
    "VALIDATION_LENGTHS",
    "VALIDATION_LOGITS",
    "Emit",
    "TrainingError",
    "TrainingLoop",
    "TrainingState",
    "copy_trained_module_and_add_linear_part",
]

# The names of tensors of a `TrainingState`, of the validation rows.
VALIDATION_LOGITS: Final = "validation.logits"
VALIDATION_LENGTHS: Final = "validation.lengths"
# As a multiple of the loss of guessing.
_DIVERGED: Final = 2.0
# The share of a run in which the learning rate rises, and its first value as a share of the highest.
_RISING: Final = 0.3
_FIRST_RATE: Final = 1 / 25


class TrainingError(PocketRNNError):
    """The training cannot continue, since its loss is not finite. The states that were saved before are kept."""


@dataclass(frozen=True)
class TrainingState:
    """The state of a run after an epoch: everything that is needed to continue the run.

    Attributes:
        task: a digest of the settings and the encoded data, which must be the same when the run is resumed.
        history: all epochs so far.
        best: the checkpoint of the best epoch, or of the last epoch if a final fit follows. After the final fit, its
            result.
        tensors: the weights and the state of the optimizers; the uncalibrated logits of the best epoch for the
            validation rows; and the lengths of these rows.
        fitted: the number of finished epochs of the final fit (`pocketrnn_training.loop.fit_on_all_rows`).
    """

    task: str
    history: tuple[Epoch, ...]
    best: Checkpoint
    tensors: Mapping[str, Tensor] = field(repr=False)
    fitted: int = 0


# Called with the events of a fit while it runs.
Emit = Callable[[Progress | Epoch | Notice | TrainingState], None]


@dataclass(frozen=True)
class TrainingLoop:
    """Trains a classifier on prepared data. If there are several processes, each has an equal copy of this object.

    Attributes:
        task: the prepared data.
        settings: the settings, without None for a value that the data decides.
        name: the name of the classifier.
        digest: the digest of the task and the settings that `TrainingState.task` stores.
        resume: the state to continue from; None to train from the start.
    """

    task: Task
    settings: Settings
    name: str
    digest: str
    resume: TrainingState | None = None

    def replace_task(self, task: Task) -> TrainingLoop:
        """Return a copy of the loop with other prepared data."""
        return replace(self, task=task)

    def replace_epochs(self, epochs: int) -> TrainingLoop:
        """Return a copy of the loop with another number of epochs."""
        return replace(self, settings=replace(self.settings, epochs=epochs))

    def fit_without_validation(self, fabric: Fabric, emit: Emit, stopped: Callable[[], bool]) -> Learner | None:
        """Train for all epochs from the start, without validation.

        Args:
            fabric: the device and the processes.
            emit: the function to call with the progress.
            stopped: the function to call before each step, in every process. If it returns True, the training ends.

        Returns:
            The trained classifier with its optimizers; None if the training was stopped.

        Raises:
            TrainingError: the loss is no longer a finite number.
        """
        learner = Learner(self.task, self.settings, fabric)
        for epoch in range(1, self.max_epochs + 1):
            if self.run_epoch(learner, epoch, fabric, emit, stopped) is None:
                return None
        return learner

    def fit(
        self,
        fabric: Fabric,
        emit: Emit,
        stopped: Callable[[], bool],
    ) -> None:
        """Train the classifier and validate it after each epoch, up to the last epoch or as long as `patience` allows.

        Args:
            fabric: the device and the processes.
            emit: the function to call with the progress; after each epoch with a `TrainingState`, then with an `Epoch`;
                and with a notice if the training diverges.
            stopped: the function to call before each step, in every process. If it returns True, the training ends.

        Raises:
            TrainingError: the loss is no longer a finite number.
        """
        with limit_threads(self.settings.threads):
            self._fit_epochs(fabric, emit, stopped)

    def _fit_epochs(
        self,
        fabric: Fabric,
        emit: Emit,
        stopped: Callable[[], bool],
    ) -> None:
        task, settings, resume = self.task, self.settings, self.resume
        learner = Learner(task, settings, fabric, None if resume is None else resume.tensors)
        history = [] if resume is None else list(resume.history)
        best = None if resume is None else resume.best
        best_logits = None if resume is None else resume.tensors[VALIDATION_LOGITS]
        validation = {VALIDATION_LENGTHS: torch.from_numpy(task.validation_lengths)}
        epoch_size = settings.epoch_size or task.size
        batch_size = settings.batch_size_for(epoch_size)
        of_linear_part = None if task.linear is None else torch.from_numpy(task.linear.logits(task.validation_rows))
        for epoch in range(len(history) + 1, self.max_epochs + 1):
            if _should_stop_for_lack_of_improvement(history, settings):
                break
            metrics = self.run_epoch(learner, epoch, fabric, emit, stopped)
            if metrics is None:
                return
            recurrent = self._compute_validation_logits(learner.module, batch_size, fabric)
            parts = self._choose_weights_of_recurrent_and_linear_part(recurrent, of_linear_part)
            validation_logits = _add_weighted_logits_of_both_parts(parts, recurrent, of_linear_part)
            history.append(self._score_epoch(validation_logits, epoch, metrics, history))
            if history[-1].best or self.keeps_last_epoch:
                outside = self._compute_outside_logits(learner.module, parts, batch_size, fabric)
                kept = copy_trained_module_and_add_linear_part(learner.module, task, parts)
                best = self._calibrate_and_make_checkpoint(kept, parts, validation_logits, outside, history[-1])
                best_logits = validation_logits
            assert best is not None  # noqa: S101 - the first epoch is always the best so far
            assert best_logits is not None  # noqa: S101
            if notice := self._make_notice_if_loss_diverged(history):
                emit(notice)
            validation[VALIDATION_LOGITS] = best_logits
            # The state first: whoever reads "best so far" and interrupts the run then finds it on the disk.
            emit(TrainingState(self.digest, tuple(history), best, learner.tensors() | validation))
            emit(history[-1])

    def _compute_validation_logits(self, module: AnyClassifier, batch_size: int, fabric: Fabric) -> Tensor:
        """Compute the logits of the recurrent part for the validation rows or, if words are labelled, for their words.

        If the module has a CRF, they are log probabilities whose argmax is the label that the CRF decodes.
        """
        task = self.task
        logits = task.select_logits_with_validation_target(
            compute_logits(module, task.validation_rows, batch_size, fabric)
        )
        crf, words = get_crf_layer(module), task.validation_words
        return logits if crf is None or words is None else crf.decode_words_as_log_probabilities(logits, words)

    def _choose_weights_of_recurrent_and_linear_part(
        self, recurrent: Tensor, linear: Tensor | None
    ) -> RecurrentLinearWeights:
        """Choose the weights by which the logits of the recurrent and the linear part are multiplied.

        The weights are those of the task (`Task.parts`) if it has some. Otherwise they are fitted on the validation
        rows; if there are few of these, the default weights are used.

        Args:
            recurrent: float32 [validation rows, classes], the logits of the recurrent part.
            linear: the logits of the linear part; None without a linear part.
        """
        targets = self.task.validation_targets
        if linear is None:
            return ALONE
        if self.task.parts is not None or len(targets) < FEW_VALIDATION_ROWS:
            return self.task.parts or BY_DEFAULT
        return fit_recurrent_linear_weights(recurrent.numpy(), linear.numpy(), targets)

    def _compute_outside_logits(
        self, module: AnyClassifier, parts: RecurrentLinearWeights, batch_size: int, fabric: Fabric
    ) -> Tensor | None:
        """Compute the classifier's logits for the rows that belong to none of the classes, float32 [rows, classes].

        Return None if there are no such rows. `parts` are the weights of the recurrent and the linear part.
        """
        rows, linear = self.task.outside_rows, self.task.linear
        if rows is None:
            return None
        logits = compute_logits(module, rows, batch_size, fabric)
        return _add_weighted_logits_of_both_parts(
            parts, logits, None if linear is None else torch.from_numpy(linear.logits(rows))
        )

    @property
    def keeps_last_epoch(self) -> bool:
        """Whether the last epoch is kept and not the best one, since a final fit follows, which cannot choose."""
        return bool(self.settings.final_fit) and self.settings.patience is None

    @property
    def max_epochs(self) -> int:
        """The largest number of epochs that the training may take."""
        return self.settings.epochs_for(self.settings.epoch_size or self.task.size, len(self.task.labels))

    def run_epoch(
        self,
        learner: Learner,
        epoch: int,
        fabric: Fabric,
        emit: Emit,
        stopped: Callable[[], bool],
        epochs_before: int = 0,
    ) -> RunningMetrics | None:
        """Train for one epoch. Return its loss, accuracy and speed; None if the training was stopped.

        Args:
            learner: the classifier to train, which is changed.
            epoch: the number of the epoch in this fit, from 1.
            fabric: the device and the processes.
            emit: the function to call with the progress.
            stopped: the function to call before each step. If it returns True, the epoch ends.
            epochs_before: the number of epochs of an earlier fit of the same run, which the progress counts, too.

        Raises:
            TrainingError: the loss is no longer a finite number.
        """
        settings = self.settings
        epoch_size = settings.epoch_size or self.task.size
        # Every epoch has its own generators, so that a run can be resumed at any of them.
        order, dropped = np.random.SeedSequence((settings.seed, epoch)).spawn(2)
        # A third number, so that these draws differ from the two generators above.
        read = self.task.draw_epoch(np.random.SeedSequence((settings.seed, epoch, 0)))
        batches = self._draw_batches_of_epoch(
            read.rows, epoch, epoch_size, fabric.world_size, np.random.default_rng(order)
        )
        learner.start_epoch(int(dropped.generate_state(fabric.global_rank + 1, np.uint64)[-1] >> 1))
        metrics = RunningMetrics(fabric, settings.report_every)
        again = settings.final_fit and not epochs_before and self.task.folds is None
        all_epochs = epochs_before + self.max_epochs * (2 if again else 1)
        row = 0
        for rows in batches:
            if stopped():
                return None
            batch = read_batch_of_this_process(read, rows, fabric)
            loss, logits = learner.step(batch, self._compute_scheduled_learning_rate(epoch - 1 + row / epoch_size))
            metrics.add(loss, logits, batch)
            row += batch.rows
            if metrics.is_due or row == epoch_size:
                progress = metrics.progress(epochs_before + epoch, all_epochs, row, epoch_size)
                _check_loss_is_finite(progress)
                emit(progress)
        return metrics

    def _compute_scheduled_learning_rate(self, epochs_done: float) -> float:
        """Compute the learning rate after `epochs_done` epochs, such as 2.5.

        The rate first rises to the setting `learning_rate`, and then falls to 0 at the end of the last epoch.
        """
        done = epochs_done / self.max_epochs
        if done < _RISING:
            factor = _FIRST_RATE + (1 - _FIRST_RATE) * (1 - math.cos(math.pi * done / _RISING)) / 2
        else:
            factor = (1 + math.cos(math.pi * (done - _RISING) / (1 - _RISING))) / 2
        return self.settings.learning_rate * factor

    def _draw_batches_of_epoch(
        self, epoch_rows: EncodedRows, epoch: int, epoch_size: int, processes: int, rng: np.random.Generator
    ) -> list[npt.NDArray[np.int64]]:
        """Draw the row numbers of an epoch at random, and cut them into batches.

        Args:
            epoch_rows: the training rows.
            epoch: the number of the epoch, from 1.
            epoch_size: how many rows the epoch has.
            processes: the number of processes, which share each batch.
            rng: the random generator that draws the order of the batches.
        """
        lengths = epoch_rows.lengths
        batch_size = self.settings.batch_size_for(epoch_size) * processes
        rows = draw_epoch_row_numbers(len(lengths), epoch_size, epoch, self.settings.seed)
        # If an epoch reads each row several times, a batch of one length would often hold the same row again and again.
        if self.task.architecture.packed and epoch_size <= len(lengths):
            # For speed: the longest row of a batch decides how long its step takes.
            return make_similar_length_batches(rows, lengths, batch_size, rng)
        # Batches of one length have no padding, and would hide how padding changes the answers of a padded classifier.
        return cut_into_batches(rows, batch_size)

    def _score_epoch(self, logits: Tensor, epoch: int, metrics: RunningMetrics, history: Sequence[Epoch]) -> Epoch:
        """Compute the validation scores of an epoch; return them with the training scores and whether it is the best.

        Args:
            logits: float32 [validation rows, classes].
            epoch: the number of the epoch, from 1.
            metrics: the scores on the training rows.
            history: the earlier epochs.
        """
        targets = torch.from_numpy(self.task.validation_targets)
        loss, f1 = compute_mean_loss(logits, targets), self.task.validation_f1(logits)
        accuracy = mark_rows_classified_correctly(logits, targets).double().mean().item()
        worth = f1 if self.settings.metric == "f1" else accuracy
        before = [e.validation_f1 if self.settings.metric == "f1" else e.validation_accuracy for e in history]
        is_best = all((worth, -loss) > (b, -e.validation_loss) for b, e in zip(before, history, strict=True))
        return Epoch(epoch, metrics.loss, metrics.accuracy, loss, accuracy, f1, metrics.seconds, is_best)

    def _make_notice_if_loss_diverged(self, history: Sequence[Epoch]) -> Notice | None:
        """Make a notice if the last epoch is the first one whose training loss is far above that of guessing.

        Return None otherwise.
        """
        guessing = compute_guessing_loss(len(self.task.labels), several_labels=self.task.several_labels)
        if self.task.teaching is not None:
            # The loss of an answer counts by the square of the temperature (`preparation/distillation.py`).
            guessing *= self.task.teaching.temperature**2
        worse = [epoch.training_loss > _DIVERGED * guessing for epoch in history]
        if not worse[-1] or any(worse[:-1]):
            return None
        return Notice(
            f"The training diverged: the loss of epoch {history[-1].epoch} is {history[-1].training_loss:.3g}, that of "
            f"guessing is {guessing:.2f}. Train again with a lower learning rate."
        )

    def calibrate_and_make_state(
        self,
        module: AnyClassifier,
        parts: RecurrentLinearWeights,
        logits: Tensor,
        seconds: float,
        fitted_rows: int | None,
    ) -> TrainingState:
        """Calibrate a classifier that was not validated after each epoch, and return the state of its finished run.

        Args:
            module: the classifier, on the CPU. It is changed.
            parts: the weights of its recurrent and its linear part.
            logits: float32 [validation rows, classes], the logits of each row from a classifier that has not seen it.
            seconds: how long the fit took.
            fitted_rows: the number of rows that the module was fitted on; None if these are the training rows.
        """
        task, targets = self.task, torch.from_numpy(self.task.validation_targets)
        right = mark_rows_classified_correctly(logits, targets)
        loss, accuracy = compute_mean_loss(logits, targets), float(right.double().mean())
        outside = None if task.outside_rows is None else compute_logits(module, task.outside_rows, 1)
        epoch = Epoch(
            1, loss, accuracy, loss, accuracy, compute_macro_or_best_micro_f1(logits, targets), seconds, best=True
        )
        best = self._calibrate_and_make_checkpoint(module, parts, logits, outside, epoch)
        metrics = {name: value for name, value in best.metrics.items() if name != "epoch"}
        if task.folds is not None:
            metrics |= FoldScores.from_right_rows(right.numpy(), task.folds).metrics
        data = dict(best.data) | ({} if fitted_rows is None else {FITTED_ROWS: fitted_rows})
        tensors = {VALIDATION_LOGITS: logits, VALIDATION_LENGTHS: torch.from_numpy(task.validation_rows.lengths)}
        return TrainingState(self.digest, (), replace(best, metrics=metrics, data=data), tensors)

    def _calibrate_and_make_checkpoint(
        self, module: AnyClassifier, parts: RecurrentLinearWeights, logits: Tensor, outside: Tensor | None, epoch: Epoch
    ) -> Checkpoint:
        """Calibrate a classifier on the validation rows, choose its thresholds, and make its checkpoint.

        Args:
            module: the classifier, on the CPU. The calibration changes its last weights in place.
            parts: the weights of its recurrent and its linear part.
            logits: float32 [validation rows, classes].
            outside: the logits of the rows that belong to none of the classes; None without such rows.
            epoch: the scores of the epoch.
        """
        task, targets = self.task, torch.from_numpy(self.task.validation_targets)
        temperature = fit_temperature(logits, targets)
        apply_temperature(module, temperature)
        thresholds, measured = self._choose_and_measure_thresholds(
            logits / temperature, None if outside is None else outside / temperature
        )
        return Checkpoint(
            name=self.name,
            architecture=module.architecture,
            rules=task.rules,
            labels=task.labels,
            vocabulary=task.vocabulary,
            module=module,
            activation="sigmoid" if task.several_labels else "softmax",
            thresholds=thresholds,
            metrics={
                "validation_accuracy": epoch.validation_accuracy,
                "validation_f1": epoch.validation_f1,
                **measured,
                "validation_loss": epoch.validation_loss,
                "calibrated_validation_loss": compute_mean_loss(logits / temperature, targets),
                "epoch": epoch.epoch,
                "temperature": temperature,
                **({} if task.linear is None else asdict(parts)),
                "calibration_error": compute_calibration_error(logits / temperature, targets),
                "calibration_error_before": compute_calibration_error(logits, targets),
            },
            data=task.about,
            examples=task.examples,
            training=asdict(self.settings) | {"torch": torch.version.__version__},
        )

    def _choose_and_measure_thresholds(
        self, logits: Tensor, outside: Tensor | None
    ) -> tuple[tuple[float, ...] | None, dict[str, float]]:
        """Choose a threshold for each label, and measure the answers with these thresholds.

        Args:
            logits: the calibrated logits of the validation rows.
            outside: the calibrated logits of rows that belong to none of the classes; None without such rows.

        Returns:
            The threshold of each label, or None if the classifier needs none; and the metrics of the answers by name.
            If a row can have several labels, the metrics are measured on rows that did not choose the thresholds.
        """
        targets, share = self.task.validation_targets, self.settings.none_of_these
        if not self.task.several_labels:
            if share is None and outside is None:
                return None, {}
            of_outside = None if outside is None else outside.double().softmax(dim=1).numpy()
            threshold, measured = choose_and_measure_rejection_threshold(
                share, logits.double().softmax(dim=1).numpy(), targets, of_outside
            )
            return (threshold,) * len(self.task.labels), measured
        probabilities = torch.sigmoid(logits.double()).numpy()
        result = score_multi_label_predictions(
            self.task.labels, targets, predict_cross_fitted_labels(probabilities, targets)
        )
        figures = {"accuracy": result.accuracy, "micro_f1": result.micro_f1, "macro_f1": result.macro_f1}
        measured = {f"validation_{name}": value for name, value in figures.items()}
        return choose_thresholds(probabilities, targets), measured


def _should_stop_for_lack_of_improvement(history: Sequence[Epoch], settings: Settings) -> bool:
    """Return whether training should end, since the last `patience` epochs were not better than the best one before."""
    if settings.patience is None or len(history) < settings.patience:
        return False
    return not any(epoch.best for epoch in history[-settings.patience :])


def _check_loss_is_finite(progress: Progress) -> None:
    """Raise a TrainingError if the loss is not a finite number."""
    if not np.isfinite(progress.loss):
        raise TrainingError(
            f"The training loss has become infinite or NaN in epoch {progress.epoch}, after {progress.row} rows.",
            "Train again with a lower learning rate: --learning-rate.",
        )


def _add_weighted_logits_of_both_parts(
    parts: RecurrentLinearWeights, recurrent: Tensor, linear: Tensor | None
) -> Tensor:
    """Return the weighted sum of the logits of the recurrent and the linear part; if `linear` is None, `recurrent`."""
    return recurrent if linear is None else parts.add_weighted_logits(recurrent, linear)


def copy_trained_module_and_add_linear_part(
    module: AnyClassifier, task: Task, parts: RecurrentLinearWeights
) -> AnyClassifier:
    """Copy a trained recurrent module to the CPU, in evaluation mode, and add the linear part of the task to the copy.

    The logits of each part are multiplied by its weight in `parts`. An embedding that adds fragments of words becomes
    an ordinary one with the same vectors.
    """
    with torch.device("meta"):
        made = build_classifier(task.architecture)
    weights = module.state_dict()
    if task.linear is not None:
        weights |= {f"{LINEAR}{name}": tensor for name, tensor in task.linear.tensors(parts.linear).items()}
        weights |= {name: tensor * parts.recurrent for name, tensor in weights.items() if name.startswith("fc.")}
    if isinstance(module, RecurrentClassifier) and isinstance(module.embedding, SpelledEmbedding):
        weights["embedding.weight"] = module.embedding.fold_embedding()
        del weights["embedding.fragments"]
    state = {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}
    made.load_state_dict(state, assign=True)
    return made.eval()
