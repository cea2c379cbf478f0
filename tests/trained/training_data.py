"""Small labelled texts that the training tests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from pocketrnn_training.classifiers.architecture import Architecture
from pocketrnn_training.classifiers.checkpoint import Checkpoint
from pocketrnn_training.classifiers.logits_of_encoded_rows import compute_logits, encode_rows
from pocketrnn_training.report.run_report import ValidationAnswers
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.settings.text_settings import TextSettings
from pocketrnn_training.training_events import Notice

LABELS = ("cat", "dog", "elk")
QUICK = TextSettings(
    min_freq=1,
    embedding_dim=8,
    hidden_dim=8,
    dropout=0.1,
    batch_size=16,
    learning_rate=0.03,
    epochs=3,
    device="cpu",
    # One fit is enough for most tests.
    final_fit=False,
    # So is one way of cutting the texts.
    compare=False,
)
# The same for `fit`.
CHOICES = {name: value for name, value in asdict(QUICK).items() if value != getattr(TextSettings(), name)}

SMALL = Architecture(
    cell="gru",
    vocabulary_size=11,
    embedding_dim=4,
    hidden_dim=5,
    layers=1,
    bidirectional=False,
    dropout=0.0,
    pooling="last",
    packed=True,
    classes=3,
    padding_id=1,
)


def easy_texts(rows: int = 240, seed: int = 0) -> LabelledTexts:
    """Texts of 1 to 9 words of noise with one word that decides the class."""
    rng = np.random.default_rng(seed)
    targets = rng.permutation(np.arange(rows) % len(LABELS))
    texts = []
    for target in targets:
        words = [f"noise{i}" for i in rng.integers(0, 20, rng.integers(1, 10))]
        words.insert(rng.integers(0, len(words) + 1), f"{LABELS[target]}{rng.integers(0, 3)}")
        texts.append(" ".join(words))
    return LabelledTexts(texts, targets.astype(np.int64), LABELS, "easy")


def noting(found: list[str]) -> Callable[[object], None]:
    """A `report` for `train` that collects the texts of its notices about the data, not of its steps."""

    def report(event: object) -> None:
        if type(event) is Notice:
            found.append(event.text)

    return report


def answer_rows(checkpoint: Checkpoint, data: LabelledTexts) -> ValidationAnswers:
    encoded = encode_rows(data.inputs, checkpoint)
    logits = compute_logits(checkpoint.module, encoded, int(checkpoint.training["batch_size"]))
    return ValidationAnswers(checkpoint.answers.probabilities(logits.numpy()), encoded.lengths)


def write_csv(path: Path, data: LabelledTexts) -> Path:
    lines = (f"{data.labels[target]},{text}" for target, text in zip(data.targets, data.texts, strict=True))
    path.write_text("\n".join(["label,text", *lines]) + "\n")
    return path
