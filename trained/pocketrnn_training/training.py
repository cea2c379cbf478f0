"""Train a recurrent text classifier: the loop, on a CPU, a GPU, or several processes that share one batch."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pocketrnn.errors import InputError, PocketRNNError
from pocketrnn_training import vectors
from pocketrnn_training.architecture import RecurrentClassifier
from pocketrnn_training.batches import random_batches, rows_of_epoch, similar_length_batches
from pocketrnn_training.calibration import calibration_error, cool, fitted_temperature
from pocketrnn_training.checkpoint import Checkpoint
from pocketrnn_training.data import LabelledTexts
from pocketrnn_training.inference import batch_of, logits_of
from pocketrnn_training.preparation import Task, prepare
from pocketrnn_training.processes import fabric_quiet, in_processes
from pocketrnn_training.progress import Epoch, Notice, Progress
from pocketrnn_training.settings import Settings

__all__ = ["State", "TrainingError", "train"]


class TrainingError(PocketRNNError):
    """Training cannot go on; what was kept before stays."""


@dataclass(frozen=True)
class State:
    """Where a run stood after an epoch: what it needs to go on as if it had never stopped.

    Attributes:
        task: a digest of the settings and the encoded data; a run goes on with the same only.
        history: every epoch so far.
        best: the checkpoint of the best of them.
        tensors: the weights, and what the optimizers remember.
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
    word_vectors: Path | None = None,
    examples: Sequence[str] | None = None,
    report: Callable[[Progress | Epoch | Notice], None] = lambda _: None,
    keep: Callable[[State], None] = lambda _: None,
    resume: State | None = None,
) -> Checkpoint:
    """Train a classifier and return the checkpoint of its best epoch by validation accuracy.

    The checkpoint's probabilities are calibrated on the validation rows (`pocketrnn_training.calibration`).

    Two runs with the same arguments on the same CPU, torch and count of threads give the same weights, bit for bit, and
    so does a run that was broken off and resumed. The state of torch's global generators is left as it was found.

    With several processes, each reads its part of every batch, and the gradients are averaged. They are started anew
    (spawned), so that a script which calls this must do so under `if __name__ == "__main__":`.

    Args:
        data: the training rows.
        settings: the choices.
        name: what the classifier is called.
        validation: rows to validate with, with the labels of `data`; without them a part of `data` is held out.
        word_vectors: a file in GloVe's format that the embedding starts from. Words that it lacks start at random.
        examples: texts to put into the checkpoint; without them, up to 32 texts of the validation rows.
        report: called with what is to be shown while the run lasts.
        keep: called after each epoch with what a run that is broken off from there on needs to go on.
        resume: what `keep` was last called with.

    Raises:
        InputError: a setting is out of its range, or the device is not there; the run to resume was another one.
        DataError: the data or the word vectors cannot be used.
        TrainingError: the loss is no longer a number.
        ProcessError: one of several processes ended before its work was done.
    """
    fabric = _fabric(settings)
    task = prepare(data, validation, settings, word_vectors, examples, report)
    digest = _digest(task, settings)
    if resume is not None and resume.task != digest:
        raise InputError(
            "The run to resume was made with other settings or other data.",
            "Give the same ones, or train anew.",
        )
    best = None if resume is None else resume.best

    def emit(event: Progress | Epoch | State) -> None:
        nonlocal best
        if isinstance(event, State):
            best = event.best
            keep(event)
        else:
            report(event)

    run = (task, settings, digest, name, resume)
    with fabric_quiet():
        if settings.processes == 1:
            with _generators_restored():
                _fit(fabric, *run, emit, lambda: False)
        else:
            in_processes(fabric, _fit, run, emit)
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
    """What decides the weights: the data as ids, and the settings; not how often a run speaks."""
    digest = hashlib.sha256()
    for texts, targets in (
        (task.texts, task.targets),
        (task.validation_texts, task.validation_targets),
    ):
        for array in (texts.ids, texts.offsets, targets):
            digest.update(np.ascontiguousarray(array).data)
    decisive = {n: v for n, v in asdict(settings).items() if n not in ("report_every", "device")}
    start = None if task.vectors is None else hashlib.sha256(task.vectors.values.data).hexdigest()
    digest.update(json.dumps([decisive, task.vocabulary, task.labels, start]).encode())
    return digest.hexdigest()


def _fit(
    fabric: Fabric,
    task: Task,
    settings: Settings,
    digest: str,
    name: str,
    resume: State | None,
    emit: Callable[[Progress | Epoch | State], None],
    stopped: Callable[[], bool],
) -> None:
    """Train from the start, or from where `resume` stood, and tell what comes of it; in every process the same."""
    torch.manual_seed(settings.seed)
    module = RecurrentClassifier(task.architecture)
    _start_embedding(module, task.vectors)
    module.to(fabric.device)
    optimizers = _optimizers(module, settings.learning_rate)
    history: list[Epoch] = []
    best: Checkpoint | None = None
    if resume is not None:
        history, best = list(resume.history), resume.best
        _restore(resume.tensors, module, optimizers)
    model, *steppers = fabric.setup(module, *optimizers)

    lengths = task.texts.lengths
    epoch_size = settings.epoch_size or len(lengths)
    class_weights = torch.from_numpy(task.class_weights).to(fabric.device)
    validation_targets = torch.from_numpy(task.validation_targets)

    epochs = settings.epochs_for(epoch_size)
    for epoch in range(len(history) + 1, epochs + 1):
        if _is_over(history, settings):
            break
        rows_in_order = rows_of_epoch(len(lengths), epoch_size, epoch, settings.seed)
        # Every epoch has generators of its own, so that a run can be taken up at any of them.
        order, dropped = np.random.SeedSequence((settings.seed, epoch)).spawn(2)
        torch.manual_seed(int(dropped.generate_state(fabric.global_rank + 1, np.uint64)[-1] >> 1))
        if settings.packed:
            # For speed: the longest text of a batch decides how long its step takes.
            batches = similar_length_batches(
                rows_in_order, lengths, settings.batch_size * fabric.world_size, np.random.default_rng(order)
            )
        else:
            # Batches of one length have no padding, and would hide what padding does to such a classifier.
            batches = random_batches(rows_in_order, settings.batch_size * fabric.world_size)
        model.train()
        running = _Running(fabric, settings.report_every)
        row = 0
        for rows in batches:
            if stopped():
                return
            rate = settings.learning_rate * (1 - (epoch - 1 + row / epoch_size) / epochs)
            for optimizer in steppers:
                optimizer.param_groups[0]["lr"] = rate
                optimizer.zero_grad()
            batch = _read(fabric, task, settings, rows)
            summed, logits = _learn_from(batch, fabric, model, module, class_weights, settings)
            for optimizer in steppers:
                optimizer.step()
            row += len(rows)
            running.add(summed, logits, batch)
            if running.is_due or row == epoch_size:
                progress = running.progress(epoch, epochs, row, epoch_size)
                if not np.isfinite(progress.loss):
                    raise TrainingError(
                        f"The loss is no longer a number, in epoch {epoch} after {row} rows.",
                        "Train again with a lower learning rate.",
                    )
                emit(progress)

        logits = logits_of(module, task.validation_texts, settings.batch_size, fabric)
        loss = cross_entropy(logits, validation_targets).item()
        accuracy = (logits.argmax(dim=1) == validation_targets).double().mean().item()
        is_best = all((accuracy, -loss) > (e.validation_accuracy, -e.validation_loss) for e in history)
        history.append(Epoch(epoch, running.loss, running.accuracy, loss, accuracy, running.seconds, is_best))
        if is_best:
            best = _calibrated(module, logits, validation_targets, task, settings, name, history[-1])
        assert best is not None  # noqa: S101 - the first epoch is always the best so far
        # Kept before it is told: who reads "best so far" and breaks off finds it.
        emit(State(digest, tuple(history), best, _remembered(module, optimizers)))
        emit(history[-1])


@dataclass(frozen=True)
class _Batch:
    """This process's part of a batch, on its device.

    Attributes:
        tokens: int64 [rows, sequence].
        lengths: int64 [rows], or None where the classifier does not read them.
        targets: int64 [rows].
        rows: how many rows the whole batch has.
        scale: what this part's summed loss is multiplied by: the gradients of the processes are averaged, and are to be
            those of the mean over the whole batch. 0 for a part that counts nothing.
    """

    tokens: Tensor
    lengths: Tensor | None
    targets: Tensor
    rows: int
    scale: float


def _read(fabric: Fabric, task: Task, settings: Settings, rows: npt.NDArray[np.int64]) -> _Batch:
    # A batch has fewer rows than there are processes only at the end of an epoch; one of them then counts nothing.
    part = rows[fabric.global_rank :: fabric.world_size]
    counts = len(part) > 0
    part = part if counts else rows[:1]
    tokens, lengths = batch_of(task.texts, part, task.architecture, fabric.device)
    return _Batch(
        tokens=tokens,
        lengths=lengths if settings.packed else None,
        targets=torch.from_numpy(task.targets[part]).to(fabric.device),
        rows=len(rows),
        scale=counts * fabric.world_size / float(task.class_weights[task.targets[rows]].sum()),
    )


def _learn_from(
    batch: _Batch,
    fabric: Fabric,
    model: nn.Module,
    module: RecurrentClassifier,
    class_weights: Tensor,
    settings: Settings,
) -> tuple[Tensor, Tensor]:
    """Add the batch's gradient to the weights' own; the summed loss and the logits.

    `model` is the module as Fabric runs it.
    """

    def loss_and_logits(shift: Tensor | None) -> tuple[Tensor, Tensor]:
        logits = model(batch.tokens, batch.lengths, shift)
        summed = cross_entropy(logits, batch.targets, class_weights, reduction="sum")
        fabric.backward(summed * batch.scale)
        return summed, logits

    if not settings.adversarial:
        return loss_and_logits(None)
    # Miyato, Dai and Goodfellow, "Adversarial training methods for semi-supervised text classification", 2017: read
    # each row again with its embeddings moved the way that raises its loss the most, which is the loss's gradient.
    shift = torch.zeros(
        *batch.tokens.shape, module.architecture.embedding_dim, device=fabric.device, requires_grad=True
    )
    summed, logits = loss_and_logits(shift)
    gradient = shift.grad
    assert gradient is not None  # noqa: S101 - backward has just been through it
    with torch.no_grad():
        is_padding = (batch.tokens == module.architecture.padding_id).unsqueeze(2)
        length = module.embedding(batch.tokens).masked_fill(is_padding, 0.0).flatten(1).norm(dim=1)
        steepness = gradient.flatten(1).norm(dim=1).clamp_min(1e-12)
        against = gradient * (settings.adversarial * length / steepness).view(-1, 1, 1)
    loss_and_logits(against)
    return summed, logits


def _is_over(history: Sequence[Epoch], settings: Settings) -> bool:
    """Whether the last `patience` epochs brought nothing."""
    if settings.patience is None or len(history) < settings.patience:
        return False
    return not any(epoch.best for epoch in history[-settings.patience :])


def _calibrated(
    module: RecurrentClassifier,
    logits: Tensor,
    targets: Tensor,
    task: Task,
    settings: Settings,
    name: str,
    epoch: Epoch,
) -> Checkpoint:
    temperature = fitted_temperature(logits, targets)
    copied = _copy(module)
    cool(copied, temperature)
    return Checkpoint(
        name=name,
        architecture=task.architecture,
        rules=task.rules,
        labels=task.labels,
        vocabulary=task.vocabulary,
        module=copied,
        metrics={
            "validation_accuracy": epoch.validation_accuracy,
            "validation_loss": cross_entropy(logits / temperature, targets).item(),
            "epoch": epoch.epoch,
            "temperature": temperature,
            "calibration_error": calibration_error(logits / temperature, targets),
            "calibration_error_before": calibration_error(logits, targets),
        },
        data=task.about,
        examples=task.examples,
        training=asdict(settings) | {"torch": torch.__version__},
    )


def _start_embedding(module: RecurrentClassifier, start: vectors.Vectors | None) -> None:
    """Scale the embedding that torch drew, with a standard deviation of 1, and put the word vectors into it."""
    weight = module.embedding.weight
    with torch.no_grad():
        if start is None:
            # Right of the validation rows after at most 10 epochs, drawn with 1, 0.3 and 0.1: TREC 83.2 %, 86.1 %,
            # 88.8 %; Banking77 80.3 %, 83.6 %, 85.1 %. A rare word that starts large stays noise.
            weight.mul_(0.1)
        else:
            weight.mul_(start.scale)
            weight[torch.from_numpy(start.ids)] = torch.from_numpy(start.values)


def _optimizers(module: RecurrentClassifier, learning_rate: float) -> tuple[torch.optim.Optimizer, ...]:
    # A batch of 16 texts reads some 400 of 50,000 rows of the embedding. Adam over all of them gives 350 rows/s on one
    # core, its fused form 900, this 1,300: SparseAdam changes the rows that were read and leaves the others be.
    #
    # Adam's momentum moves a row on for some ten steps after it was read; here that would be one step of a tenth the
    # size, and rare words would hardly learn. Without momentum a row's whole move is made at once. Right of 3,248 news
    # after two epochs of 29,231, Adam / this / this with momentum: packed LSTM of batch 16, 88.6 / 88.7 / 88.2 %;
    # bidirectional GRU of batch 64, 89.5 / 89.4 / 89.0 %.
    module.embedding.sparse = True
    others = [parameter for name, parameter in module.named_parameters() if not name.startswith("embedding.")]
    return (
        torch.optim.SparseAdam([module.embedding.weight], lr=learning_rate, betas=(0.0, 0.999)),
        torch.optim.Adam(others, lr=learning_rate, fused=True),
    )


def _remembered(module: RecurrentClassifier, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    for i, optimizer in enumerate(optimizers):
        for parameter, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{parameter}.{name}": torch.as_tensor(v) for name, v in state.items()}
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def _restore(
    tensors: Mapping[str, Tensor], module: RecurrentClassifier, optimizers: Sequence[torch.optim.Optimizer]
) -> None:
    module.load_state_dict({n.removeprefix("module."): t for n, t in tensors.items() if n.startswith("module.")})
    for i, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor | int]] = {}
        for name, tensor in tensors.items():
            if name.startswith(f"optimizer.{i}."):
                parameter, member = name.split(".", 3)[2:]
                # SparseAdam counts its steps in a Python number, Adam in a tensor.
                counts_itself = isinstance(optimizer, torch.optim.SparseAdam) and member == "step"
                state.setdefault(int(parameter), {})[member] = int(tensor.item()) if counts_itself else tensor.clone()
        optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


class _Running:
    """Loss, accuracy and speed, of an epoch and since the last report; summed on the device, which need not wait."""

    def __init__(self, fabric: Fabric, report_every: int) -> None:
        self._fabric = fabric
        self._report_every = report_every
        self._sums = torch.zeros(2, dtype=torch.float64, device=fabric.device)
        self._since = time.perf_counter()
        self._rows = 0
        self._totals = np.zeros(3)
        self.seconds = 0.0

    @property
    def is_due(self) -> bool:
        return self._rows >= self._report_every

    @property
    def loss(self) -> float:
        """Over the whole epoch so far."""
        return float(self._totals[0] / self._totals[2])

    @property
    def accuracy(self) -> float:
        return float(self._totals[1] / self._totals[2])

    def add(self, summed: Tensor, logits: Tensor, batch: _Batch) -> None:
        if batch.scale:
            with torch.no_grad():
                self._sums += torch.stack((summed, (logits.argmax(dim=1) == batch.targets).sum()))
        self._rows += batch.rows

    def progress(self, epoch: int, epochs: int, row: int, rows: int) -> Progress:
        if self._fabric.world_size > 1:
            self._sums = self._fabric.all_reduce(self._sums, reduce_op="sum")  # type: ignore[assignment]
        loss, correct = self._sums.tolist()
        now = time.perf_counter()
        speed = self._rows / (now - self._since)
        progress = Progress(epoch, epochs, row, rows, loss / self._rows, correct / self._rows, speed)
        self._totals += (loss, correct, self._rows)
        self.seconds += now - self._since
        self._sums = torch.zeros_like(self._sums)
        self._since, self._rows = now, 0
        return progress


def _copy(module: RecurrentClassifier) -> RecurrentClassifier:
    """The module as it stands, on the CPU and in evaluation mode, its own from now on."""
    with torch.device("meta"):
        copied = RecurrentClassifier(module.architecture)
    state = {name: tensor.detach().to("cpu", copy=True) for name, tensor in module.state_dict().items()}
    copied.load_state_dict(state, assign=True)
    return copied.eval()


@contextmanager
def _generators_restored() -> Iterator[None]:
    """Put back the state that torch's generators had before the block."""
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_available() else []):
        yield
