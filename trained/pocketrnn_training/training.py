"""Train a recurrent text classifier: data, module, loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pocketrnn.errors import DataError, InputError, PocketRNNError
from pocketrnn.text import TextEncoder, TextRules
from pocketrnn_training import vectors, vocabulary
from pocketrnn_training.architecture import Architecture, RecurrentClassifier
from pocketrnn_training.batches import EncodedTexts, epochs_of_rows, random_batches, similar_length_batches
from pocketrnn_training.checkpoint import Checkpoint
from pocketrnn_training.data import LabelledTexts, split
from pocketrnn_training.inference import answer, logits_of
from pocketrnn_training.settings import Settings

__all__ = ["Progress", "TrainingError", "Validation", "train"]

_EXAMPLES = 32
_EXAMPLE_CHARACTERS = 1000


class TrainingError(PocketRNNError):
    """Training cannot go on; what was kept before stays."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands within an epoch. Loss, accuracy and speed are over the rows since the last one."""

    epoch: int
    row: int
    rows: int
    loss: float
    accuracy: float
    rows_per_second: float


@dataclass(frozen=True)
class Validation:
    """What the validation after an epoch gave, and whether it is the best so far."""

    epoch: int
    loss: float
    accuracy: float
    best: bool


def train(
    data: LabelledTexts,
    settings: Settings,
    *,
    name: str = "classifier",
    validation: LabelledTexts | None = None,
    word_vectors: Path | None = None,
    examples: Sequence[str] | None = None,
    report: Callable[[Progress | Validation], None] = lambda _: None,
    keep: Callable[[Checkpoint], None] = lambda _: None,
) -> Checkpoint:
    """Train a classifier and return the checkpoint of its best epoch by validation accuracy.

    Two runs with the same arguments on the same CPU, torch and count of threads give the same weights, bit for bit. The
    state of torch's global generators is left as it was found.

    Args:
        data: the training rows.
        settings: the choices.
        name: what the classifier is called.
        validation: rows to validate with, with the labels of `data`; without them a part of `data` is held out.
        word_vectors: a file in GloVe's format that the embedding starts from. Words that it lacks start at random.
        examples: texts to put into the checkpoint; without them, up to 32 texts of the validation rows.
        report: called with what is to be shown while the run lasts.
        keep: called with each checkpoint that is better than those before it, as soon as it is known, so that a run
            that is broken off has lost nothing.

    Raises:
        InputError: a setting is out of its range, or the device is not there.
        DataError: the data or the word vectors cannot be used.
        TrainingError: the loss is no longer a number.
    """
    device = _device(settings.device)
    rng = np.random.default_rng(settings.seed)
    task = _prepare(data, validation, settings, word_vectors, rng)
    lengths = task.texts.lengths
    epoch_size = settings.epoch_size or len(lengths)
    epochs = epochs_of_rows(len(lengths), epoch_size, rng)
    best: Checkpoint | None = None
    best_score = (-1.0, 0.0)
    epochs_without_better = 0

    with _seeded(settings.seed, device):
        module = RecurrentClassifier(task.architecture)
        _start_embedding(module, task.vectors)
        module.to(device)
        optimizers = _optimizers(module, settings.learning_rate)
        for epoch in range(1, settings.epochs + 1):
            if settings.packed:
                # For speed: 1,300 rows/s become 2,300, since the longest text of 16 decides how long a step takes.
                batches = similar_length_batches(next(epochs), lengths, settings.batch_size, rng)
            else:
                # Batches of one length have no padding, and would hide what padding does to such a classifier.
                batches = random_batches(next(epochs), settings.batch_size)
            module.train()
            running = _Running(device)
            row = 0
            for rows in batches:
                done = (epoch - 1 + row / epoch_size) / settings.epochs
                for optimizer in optimizers:
                    optimizer.param_groups[0]["lr"] = settings.learning_rate * (1 - done)
                    optimizer.zero_grad()
                targets = task.targets[torch.from_numpy(rows)].to(device)
                logits = answer(module, task.texts, rows, device)
                loss = cross_entropy(logits, targets)
                loss.backward()  # type: ignore[no-untyped-call]
                for optimizer in optimizers:
                    optimizer.step()
                row += len(rows)
                running.add(loss, logits, targets)
                if running.rows >= settings.report_every or row == epoch_size:
                    progress = running.progress(epoch, row, epoch_size)
                    if not np.isfinite(progress.loss):
                        raise TrainingError(
                            f"The loss is no longer a number, in epoch {epoch} after {row} rows.",
                            "Train again with a lower learning rate.",
                        )
                    report(progress)

            logits = logits_of(module, task.validation_texts, settings.batch_size, device)
            validation_loss = cross_entropy(logits, task.validation_targets).item()
            accuracy = (logits.argmax(dim=1) == task.validation_targets).double().mean().item()
            is_best = best is None or (accuracy, -validation_loss) > best_score
            report(Validation(epoch, validation_loss, accuracy, is_best))
            if is_best:
                best_score = (accuracy, -validation_loss)
                epochs_without_better = 0
                best = Checkpoint(
                    name=name,
                    architecture=task.architecture,
                    rules=task.rules,
                    labels=data.labels,
                    vocabulary=task.vocabulary,
                    module=_copy(module),
                    metrics={"validation_accuracy": accuracy, "validation_loss": validation_loss, "epoch": epoch},
                    data=task.about,
                    examples=tuple(task.examples if examples is None else examples),
                    training=asdict(settings) | {"torch": torch.__version__},
                )
                keep(best)
            else:
                epochs_without_better += 1
                if epochs_without_better == settings.patience:
                    break
    assert best is not None  # noqa: S101 - the first epoch is always the best so far
    return best


@dataclass(frozen=True)
class _Task:
    """All that is the same in every epoch."""

    rules: TextRules
    vocabulary: tuple[str, ...]
    architecture: Architecture
    vectors: vectors.Vectors | None
    texts: EncodedTexts
    targets: Tensor
    validation_texts: EncodedTexts
    validation_targets: Tensor
    examples: tuple[str, ...]
    about: dict[str, Any]


def _prepare(
    data: LabelledTexts,
    validation: LabelledTexts | None,
    settings: Settings,
    word_vectors: Path | None,
    rng: np.random.Generator,
) -> _Task:
    if validation is None:
        training_rows, validation_rows = split(data, settings.validation_share, rng)
        data, validation = data.rows(training_rows), data.rows(validation_rows)
    elif validation.labels != data.labels:
        raise DataError("The validation rows have other labels.", "Read them with the labels of the training rows.")
    rules = TextRules(
        tokenizer=settings.tokenizer,
        ngrams=settings.ngrams,
        max_tokens=settings.max_tokens,
        unknown_id=vocabulary.UNKNOWN,
        empty_id=vocabulary.UNKNOWN,
        padding_id=vocabulary.PADDING,
    )
    tokens, texts = vocabulary.build(data.texts, rules, min_freq=settings.min_freq, max_size=settings.max_vocabulary)
    start = None if word_vectors is None else vectors.read(word_vectors, tokens)
    return _Task(
        rules=rules,
        vocabulary=tokens,
        architecture=Architecture(
            cell=settings.cell,
            vocabulary_size=len(tokens),
            embedding_dim=_embedding_dim(settings.embedding_dim, start),
            hidden_dim=settings.hidden_dim,
            layers=settings.layers,
            bidirectional=settings.bidirectional,
            dropout=settings.dropout,
            pooling=settings.pooling,
            packed=settings.packed,
            classes=len(data.labels),
            padding_id=vocabulary.PADDING,
        ),
        vectors=start,
        texts=texts,
        targets=torch.from_numpy(data.targets),
        validation_texts=EncodedTexts.of(validation.texts, TextEncoder(rules, tokens)),
        validation_targets=torch.from_numpy(validation.targets),
        examples=_examples(validation.texts),
        about={
            "source": data.source,
            "licence": data.licence,
            "rows": len(data) + len(validation),
            "training_rows": len(data),
            "validation_rows": len(validation),
            "word_vectors": None if start is None else {"source": start.source, "words_found": len(start.ids)},
        },
    )


def _device(asked: str) -> str:
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise InputError("This torch finds no CUDA device.", "Use --device cpu, or install a torch built for CUDA.")
    return "cuda"


def _embedding_dim(asked: int | None, start: vectors.Vectors | None) -> int:
    if start is None:
        return 64 if asked is None else asked
    dimensions = int(start.values.shape[1])
    if asked not in (None, dimensions):
        raise InputError(
            f"The word vectors have {dimensions} dimensions, but the embedding is to have {asked}.",
            "Leave the embedding dimension out, or give that of the word vectors.",
        )
    return dimensions


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


class _Running:
    """Loss, accuracy and speed since the last report, summed on the device, so that a step need not wait for it."""

    def __init__(self, device: str) -> None:
        self._sums = torch.zeros(2, device=device)
        self._since = time.perf_counter()
        self.rows = 0

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        with torch.no_grad():
            self._sums += torch.stack((loss * len(targets), (logits.argmax(dim=1) == targets).sum()))
        self.rows += len(targets)

    def progress(self, epoch: int, row: int, rows: int) -> Progress:
        loss, correct = self._sums.tolist()
        now = time.perf_counter()
        speed = self.rows / (now - self._since)
        progress = Progress(epoch, row, rows, loss / self.rows, correct / self.rows, speed)
        self._sums.zero_()
        self._since, self.rows = now, 0
        return progress


def _copy(module: RecurrentClassifier) -> RecurrentClassifier:
    """The module as it stands, on the CPU and in evaluation mode, its own from now on."""
    with torch.device("meta"):
        copied = RecurrentClassifier(module.architecture)
    state = {name: tensor.detach().to("cpu", copy=True) for name, tensor in module.state_dict().items()}
    copied.load_state_dict(state, assign=True)
    return copied.eval()


def _examples(texts: Sequence[str]) -> tuple[str, ...]:
    # A golden example is read by people and copied into every export: no text of a million characters.
    short = [text for text in texts if len(text) <= _EXAMPLE_CHARACTERS] or [min(texts, key=len)]
    places = np.unique(np.linspace(0, len(short) - 1, _EXAMPLES).astype(int))
    return tuple(dict.fromkeys(short[i] for i in places))


@contextmanager
def _seeded(seed: int, device: str) -> Iterator[None]:
    """Seed torch's generators for the block, and put back the state that they had."""
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device == "cuda":
            torch.cuda.manual_seed(seed)
        yield
