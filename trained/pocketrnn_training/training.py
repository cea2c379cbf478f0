"""Train a recurrent text classifier: the loop, on a CPU, a GPU, or several processes that share one batch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn.functional import cross_entropy

from pocketrnn.errors import InputError, PocketRNNError
from pocketrnn_training.architecture import RecurrentClassifier
from pocketrnn_training.batches import EncodedTexts, random_batches, rows_of_epoch, similar_length_batches
from pocketrnn_training.calibration import apply_temperature, calibration_error, fitted_temperature
from pocketrnn_training.checkpoint import Checkpoint
from pocketrnn_training.data import LabelledTexts
from pocketrnn_training.inference import logits_of
from pocketrnn_training.learner import Learner, read_batch
from pocketrnn_training.metrics import RunningMetrics
from pocketrnn_training.preparation import Task, prepare
from pocketrnn_training.processes import fabric_quiet, in_processes
from pocketrnn_training.progress import Epoch, Notice, Progress
from pocketrnn_training.settings import ANY_TIME, Settings
from pocketrnn_training.teacher_answers import TeacherAnswers
from pocketrnn_training.threads import limited

__all__ = ["VALIDATION_LENGTHS", "VALIDATION_LOGITS", "TrainingError", "TrainingLoop", "TrainingState", "train"]


# The names of tensors of a `TrainingState`, of the validation rows.
VALIDATION_LOGITS: Final = "validation.logits"
VALIDATION_LENGTHS: Final = "validation.lengths"
# A classifier that always gives every class the same probability has a loss of log(classes).
_DIVERGED: Final = 2.0


class TrainingError(PocketRNNError):
    """Training cannot go on; what was kept before stays."""


@dataclass(frozen=True)
class TrainingState:
    """A run after an epoch: all that it needs to go on as if it had never stopped.

    Attributes:
        task: a digest of the settings and the encoded data. A run is only resumed with the same ones.
        history: every epoch so far.
        best: the checkpoint of the best of them.
        tensors: the weights, the state of the optimizers, and of the validation rows the logits of the best epoch,
            not calibrated, and the lengths.
    """

    task: str
    history: tuple[Epoch, ...]
    best: Checkpoint
    tensors: Mapping[str, Tensor] = field(repr=False)


def train(
    data: LabelledTexts,
    settings: Settings,
    *,
    name: str = "classifier",
    validation: LabelledTexts | None = None,
    teacher: TeacherAnswers | None = None,
    word_vectors: Path | None = None,
    examples: Sequence[str] | None = None,
    report: Callable[[Progress | Epoch | Notice], None] = lambda _: None,
    keep: Callable[[TrainingState], None] = lambda _: None,
    resume: TrainingState | None = None,
) -> Checkpoint:
    """Train a classifier and return the checkpoint of its best epoch by validation accuracy.

    The checkpoint's probabilities are calibrated on the validation rows (`pocketrnn_training.calibration`).

    Two runs with the same arguments on the same CPU, torch and number of threads give the same weights, bit for bit.
    So does a run that was interrupted and resumed. The state of torch's global generators is restored at the end.

    With several processes, each reads its part of every batch, and the gradients are averaged. They are spawned, so
    that a script must call this under `if __name__ == "__main__":`.

    Args:
        data: the training rows.
        settings: the choices.
        name: the name of the classifier.
        validation: rows to validate with, with the labels of `data`; without them a part of `data` is held out.
        teacher: a teacher's answers for the rows of `data` (`read_teacher`, `TeacherAnswers.of`); rows that it answers
            need no label.
        word_vectors: a file in GloVe's format that the embedding starts from. Words that it lacks start at random.
        examples: texts to put into the checkpoint; without them, up to 32 texts of the validation rows, which whoever
            has the checkpoint can read. An empty list puts in texts made of the vocabulary's words.
        report: called with the progress of the run, for display.
        keep: called after each epoch with the state that an interrupted run is resumed from.
        resume: the state that `keep` was last called with.

    Raises:
        InputError: a setting is out of its range, the device is missing, or the run to resume was another one.
        DataError: the data or the word vectors cannot be used.
        TrainingError: the loss is no longer a number.
        ProcessError: one of several processes ended before its work was done.

    Example:
        >>> checkpoint = train(read_files([Path("reviews.csv")]), Settings(cell="lstm", epochs=1), name="reviews")
        >>> checkpoint.labels
        ('bad', 'good')
    """
    fabric = _fabric(settings)
    data = data if teacher is None else data.with_answers(teacher)
    task = prepare(data, validation, settings, word_vectors, examples, report)
    settings = settings.decided(len(task.targets))
    loop = TrainingLoop(task, settings, name, _digest(task, settings), resume)
    if resume is not None and resume.task != loop.digest:
        raise InputError(
            "The run to resume was made with other settings or other data.",
            "Give the same ones, or train anew.",
        )
    return _best_of(loop, fabric, report, keep)


@dataclass(frozen=True)
class TrainingLoop:
    """The training of a classifier on prepared data; the same in every process.

    Attributes:
        task: the prepared data.
        settings: the choices, none of them left to the number of rows.
        name: the name of the classifier.
        digest: of the task and the settings; see `TrainingState`.
        resume: the state to go on from, or None to train from the start.
    """

    task: Task
    settings: Settings
    name: str
    digest: str
    resume: TrainingState | None = None

    def with_task(self, task: Task) -> TrainingLoop:
        """The same loop on another task."""
        return replace(self, task=task)

    def fit(
        self,
        fabric: Fabric,
        emit: Callable[[Progress | Epoch | Notice | TrainingState], None],
        stopped: Callable[[], bool],
    ) -> None:
        """Train until the last epoch, or until `patience` ends it.

        Args:
            fabric: the device and the processes.
            emit: called with the progress, and after each epoch with the state and then the epoch; with a notice if
                the training diverges.
            stopped: asked before each step, in every process; if true, the training ends there.

        Raises:
            TrainingError: the loss is no longer a number.
        """
        with limited(self.settings.threads):
            self._fit(fabric, emit, stopped)

    def _fit(
        self,
        fabric: Fabric,
        emit: Callable[[Progress | Epoch | Notice | TrainingState], None],
        stopped: Callable[[], bool],
    ) -> None:
        task, settings, resume = self.task, self.settings, self.resume
        learner = Learner(task, settings, fabric, None if resume is None else resume.tensors)
        history = [] if resume is None else list(resume.history)
        best = None if resume is None else resume.best
        best_logits = None if resume is None else resume.tensors[VALIDATION_LOGITS]
        validation = {VALIDATION_LENGTHS: torch.from_numpy(task.validation_texts.lengths)}
        epoch_size = settings.epoch_size or len(task.targets)
        batch_size = settings.batch_size_for(epoch_size)
        epochs = settings.epochs_for(epoch_size)
        for epoch in range(len(history) + 1, epochs + 1):
            if _is_over(history, settings):
                break
            # Every epoch has its own generators, so that a run can be resumed at any of them.
            order, dropped = np.random.SeedSequence((settings.seed, epoch)).spawn(2)
            read = self._as_read_in(epoch)
            batches = self._batches(read.texts, epoch, epoch_size, fabric.world_size, np.random.default_rng(order))
            learner.start_epoch(int(dropped.generate_state(fabric.global_rank + 1, np.uint64)[-1] >> 1))
            metrics = RunningMetrics(fabric, settings.report_every)
            row = 0
            for rows in batches:
                if stopped():
                    return
                batch = read_batch(read, rows, fabric)
                loss, logits = learner.step(batch, self._learning_rate(epoch - 1 + row / epoch_size, epochs))
                metrics.add(loss, logits, batch)
                row += batch.rows
                if metrics.is_due or row == epoch_size:
                    progress = metrics.progress(epoch, epochs, row, epoch_size)
                    _check_loss(progress)
                    emit(progress)
            validation_logits = logits_of(learner.module, task.validation_texts, batch_size, fabric)
            history.append(self._validated(validation_logits, epoch, metrics, history))
            if history[-1].best:
                best, best_logits = self._checkpoint(learner.module, validation_logits, history[-1]), validation_logits
            assert best is not None  # noqa: S101 - the first epoch is always the best so far
            assert best_logits is not None  # noqa: S101
            if notice := self._diverged(history):
                emit(notice)
            validation[VALIDATION_LOGITS] = best_logits
            # The state first: whoever reads "best so far" and interrupts the run then finds it on the disk.
            emit(TrainingState(self.digest, tuple(history), best, learner.tensors() | validation))
            emit(history[-1])

    def _learning_rate(self, epochs_done: float, epochs: int) -> float:
        """Falls linearly from the initial rate to 0."""
        return self.settings.learning_rate * (1 - epochs_done / epochs)

    def _as_read_in(self, epoch: int) -> Task:
        """The task with the training rows as an epoch reads them: words are cut into other pieces in each."""
        if self.task.words is None:
            return self.task
        # The draws of all epochs differ from those of `fit`, which spawns from the same two numbers.
        seed = np.random.SeedSequence((self.settings.seed, epoch, 0))
        drawn = self.task.words.encoded(self.settings.piece_dropout, seed)
        return replace(self.task, texts=drawn)

    def _batches(
        self, texts: EncodedTexts, epoch: int, epoch_size: int, processes: int, rng: np.random.Generator
    ) -> list[npt.NDArray[np.int64]]:
        """The rows of each batch of an epoch, of all processes; `rng` decides the order of the batches."""
        lengths = texts.lengths
        batch_size = self.settings.batch_size_for(epoch_size) * processes
        rows = rows_of_epoch(len(lengths), epoch_size, epoch, self.settings.seed)
        if self.settings.packed:
            # For speed: the longest text of a batch decides how long its step takes.
            return similar_length_batches(rows, lengths, batch_size, rng)
        # Batches of one length have no padding, and would hide what padding does to such a classifier.
        return random_batches(rows, batch_size)

    def _validated(self, logits: Tensor, epoch: int, metrics: RunningMetrics, history: Sequence[Epoch]) -> Epoch:
        """The figures of an epoch: of its training, and of the validation logits, float32 [rows, classes]."""
        targets = torch.from_numpy(self.task.validation_targets)
        loss = cross_entropy(logits, targets).item()
        accuracy = (logits.argmax(dim=1) == targets).double().mean().item()
        is_best = all((accuracy, -loss) > (e.validation_accuracy, -e.validation_loss) for e in history)
        return Epoch(epoch, metrics.loss, metrics.accuracy, loss, accuracy, metrics.seconds, is_best)

    def _diverged(self, history: Sequence[Epoch]) -> Notice | None:
        """What to say after the first epoch whose loss is far above that of guessing."""
        guessing = float(np.log(len(self.task.labels)))
        if self.task.teaching is not None:
            # The loss of an answer counts by the square of the temperature (`pocketrnn_training.distillation`).
            guessing *= self.task.teaching.temperature**2
        worse = [epoch.training_loss > _DIVERGED * guessing for epoch in history]
        if not worse[-1] or any(worse[:-1]):
            return None
        return Notice(
            f"The training diverged: the loss of epoch {history[-1].epoch} is {history[-1].training_loss:.3g}, that of "
            f"guessing is {guessing:.2f}. Train again with a lower learning rate."
        )

    def _checkpoint(self, module: RecurrentClassifier, logits: Tensor, epoch: Epoch) -> Checkpoint:
        """A copy of the module, calibrated by its validation logits, with all that is known of it."""
        task, targets = self.task, torch.from_numpy(self.task.validation_targets)
        temperature = fitted_temperature(logits, targets)
        copied = _copy(module)
        apply_temperature(copied, temperature)
        return Checkpoint(
            name=self.name,
            architecture=task.architecture,
            rules=task.rules,
            labels=task.labels,
            vocabulary=task.vocabulary,
            module=copied,
            metrics={
                "validation_accuracy": epoch.validation_accuracy,
                "validation_loss": epoch.validation_loss,
                "calibrated_validation_loss": cross_entropy(logits / temperature, targets).item(),
                "epoch": epoch.epoch,
                "temperature": temperature,
                "calibration_error": calibration_error(logits / temperature, targets),
                "calibration_error_before": calibration_error(logits, targets),
            },
            data=task.about,
            examples=task.examples,
            training=asdict(self.settings) | {"torch": torch.version.__version__},
        )


def _is_over(history: Sequence[Epoch], settings: Settings) -> bool:
    """Whether none of the last `patience` epochs was better than those before."""
    if settings.patience is None or len(history) < settings.patience:
        return False
    return not any(epoch.best for epoch in history[-settings.patience :])


def _check_loss(progress: Progress) -> None:
    if not np.isfinite(progress.loss):
        raise TrainingError(
            f"The loss is no longer a number, in epoch {progress.epoch} after {progress.row} rows.",
            "Train again with a lower learning rate.",
        )


def _best_of(
    loop: TrainingLoop,
    fabric: Fabric,
    report: Callable[[Progress | Epoch | Notice], None],
    keep: Callable[[TrainingState], None],
) -> Checkpoint:
    """Run the loop, in this process or in several, and return its best checkpoint."""
    best = None if loop.resume is None else loop.resume.best

    def emit(event: Progress | Epoch | Notice | TrainingState) -> None:
        nonlocal best
        if isinstance(event, TrainingState):
            best = event.best
            keep(event)
        else:
            report(event)

    with fabric_quiet():
        if loop.settings.processes > 1:
            in_processes(fabric, loop, emit)
        else:
            with _generators_restored():
                loop.fit(fabric, emit, lambda: False)
    assert best is not None  # noqa: S101 - the first epoch is always the best so far
    return best


def _fabric(settings: Settings) -> Fabric:
    has_cuda = torch.cuda.is_available()
    if settings.device == "cuda" and not has_cuda:
        raise InputError("This torch finds no CUDA device.", "Use --device cpu, or install a torch built for CUDA.")
    accelerator = "cuda" if has_cuda and settings.device != "cpu" else "cpu"
    if accelerator == "cuda" and settings.processes > torch.cuda.device_count():
        raise InputError(
            f"{settings.processes} processes need as many CUDA devices, and there are {torch.cuda.device_count()}.",
            "Use fewer processes, or --device cpu.",
        )
    with fabric_quiet():
        return Fabric(
            accelerator=accelerator,
            devices=settings.processes,
            strategy="auto" if settings.processes == 1 else "ddp_spawn",
            precision={"fp32": "32-true", "bf16": "bf16-mixed"}[settings.precision],  # type: ignore[arg-type]
        )


def _digest(task: Task, settings: Settings) -> str:
    """Of all that decides the weights: the data as ids, and the settings but for those that may change any time."""
    digest = hashlib.sha256()
    if task.teaching is not None:
        for part in (task.teaching.answers.values, task.teaching.answers.places, task.teaching.label_share):
            digest.update(np.ascontiguousarray(part).data)
    for texts, targets in (
        (task.texts, task.targets),
        (task.validation_texts, task.validation_targets),
    ):
        for array in (texts.ids, texts.offsets, targets):
            digest.update(np.ascontiguousarray(array).data)
    decisive = {n: v for n, v in asdict(settings).items() if n not in ANY_TIME}
    start = None if task.vectors is None else hashlib.sha256(task.vectors.values.data).hexdigest()
    digest.update(json.dumps([decisive, task.vocabulary, task.labels, start]).encode())
    return digest.hexdigest()


def _copy(module: RecurrentClassifier) -> RecurrentClassifier:
    """A copy of the module, on the CPU and in evaluation mode."""
    with torch.device("meta"):
        copied = RecurrentClassifier(module.architecture)
    state = {name: tensor.detach().to("cpu", copy=True) for name, tensor in module.state_dict().items()}
    copied.load_state_dict(state, assign=True)
    return copied.eval()


@contextmanager
def _generators_restored() -> Iterator[None]:
    """Restore the state of torch's generators after the block."""
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_available() else []):
        yield
