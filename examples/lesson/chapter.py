"""The classifiers of the lesson, and the loop that trains them as the chapter does.

`docs/lesson.md` shows this file in pieces, and `scripts/lesson` runs it. The marks `--8<--` say where a piece begins
and ends; after a change, `scripts/make_lesson` writes the page and the notebook again.
"""

from __future__ import annotations

# --8<-- [start:imports]
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from pocketrnn.text import TextRules
from pocketrnn_training import Architecture, Checkpoint, LabelledTexts, RecurrentClassifier, TextSettings
from pocketrnn_training.rows.epoch_batches import cut_into_batches
from pocketrnn_training.texts.vocabulary import PADDING, UNKNOWN, build

# --8<-- [end:imports]

__all__ = ["CHAPTER", "ROWS", "Curve", "Row", "find_row", "make_architecture", "train_like_the_chapter"]

# --8<-- [start:settings]
CHAPTER = TextSettings(
    embedding_dim=64,
    hidden_dim=32,
    batch_size=16,
    learning_rate=0.001,
    epochs=1,
    min_freq=1,  # every word that occurs
    max_vocabulary=None,
    max_tokens=None,
    dropout=0.0,
    cell="lstm",
    bidirectional=False,
    pooling="last",
    packed=True,
    device="cpu",
)


@dataclass(frozen=True)
class Row:
    """A row of the lesson's table.

    Attributes:
        name: its folder, and its name on the command line.
        title: what it is, in words.
        chapter: the running accuracy that the chapter gives on 120,000 rows, or None.
        settings: all choices.
    """

    name: str
    title: str
    chapter: float | None
    settings: TextSettings


ROWS = (
    Row(
        "rnn-mean-padded",
        "RNN, mean of all states, padded",
        0.812,
        replace(CHAPTER, cell="rnn_tanh", pooling="mean", packed=False),
    ),
    Row("lstm-last-padded", "LSTM, last state, padded", 0.704, replace(CHAPTER, packed=False)),
    Row("lstm-last-packed", "LSTM, last state, packed", 0.815, CHAPTER),
    Row(
        "lstm-both-directions",
        "LSTM, both directions, packed",
        None,
        replace(CHAPTER, bidirectional=True),
    ),
    Row("lstm-two-layers", "LSTM, two layers, packed", None, replace(CHAPTER, layers=2)),
    Row("gru-last-packed", "GRU, last state, packed", None, replace(CHAPTER, cell="gru")),
    Row("default-recipe", "our default recipe", None, TextSettings(device="cpu")),
)


def find_row(name: str) -> Row:
    """The row of the table with this name.

    Example:
        >>> find_row("lstm-last-packed").title
        'LSTM, last state, packed'
    """
    return next(row for row in ROWS if row.name == name)


# --8<-- [end:settings]


# --8<-- [start:training]
Curve = list[tuple[int, float]]  # rows read so far, and the share of them that was answered right


def make_architecture(settings: TextSettings, vocabulary_size: int, classes: int) -> Architecture:
    """The shape of a classifier's weights."""
    return Architecture(
        cell=settings.cell,
        vocabulary_size=vocabulary_size,
        embedding_dim=settings.embedding_dim or 64,
        hidden_dim=settings.hidden_dim or 96,
        layers=settings.layers,
        bidirectional=settings.bidirectional,
        dropout=settings.dropout or 0.0,
        pooling=settings.pooling,
        packed=settings.packed,
        classes=classes,
        padding_id=PADDING,
    )


def train_like_the_chapter(
    data: LabelledTexts,
    settings: TextSettings,
    name: str,
    report: Callable[[int, float], None] = lambda *_: None,
) -> tuple[Checkpoint, Curve]:
    """Train for one epoch: Adam at one rate for all weights, batches in random order.

    `pocketrnn_training.train` does more: its rate falls, its embedding starts small, its batches
    hold texts of similar length, and the best epoch is chosen by validation rows. None of that can
    be switched off, so the loop stands here.

    Args:
        data: the training rows.
        settings: the choices; those named in `CHAPTER` count.
        name: the name of the classifier.
        report: called every `settings.report_every` rows with the rows read and the running
            accuracy.

    Returns:
        The classifier, and its running accuracy: of the rows read so far, how many were answered
        right.
    """
    # Every word of the training rows gets a number; 0 is for unknown words, 1 for padding.
    rules = TextRules("basic_english", unknown_id=UNKNOWN, empty_id=UNKNOWN, padding_id=PADDING)
    least = settings.min_freq_for(len(data), of_words=True)
    most = settings.max_vocabulary
    vocabulary, texts = build(data.texts, rules, min_freq=least, max_size=most)
    architecture = make_architecture(settings, len(vocabulary), len(data.labels))
    order = np.random.default_rng(settings.seed).permutation(len(data))

    curve: Curve = []
    read = right = 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        module = RecurrentClassifier(architecture)
        optimizer = torch.optim.Adam(module.parameters(), lr=settings.learning_rate, fused=True)
        for rows in cut_into_batches(order, settings.batch_size_for(len(data))):
            tokens, lengths = map(torch.from_numpy, texts.batch(rows, PADDING))
            targets = torch.from_numpy(data.targets[rows])

            logits = module(tokens, lengths if settings.packed else None)
            loss = cross_entropy(logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

            before, read = read, read + len(rows)
            right += int((logits.argmax(dim=1) == targets).sum())
            is_due = read // settings.report_every > before // settings.report_every
            if is_due or read == len(data):
                curve.append((read, right / read))
                report(read, right / read)

    checkpoint = Checkpoint(
        name=name,
        architecture=architecture,
        rules=rules,
        labels=data.labels,
        vocabulary=vocabulary,
        module=module.eval(),
        metrics={"running_accuracy": right / read},
        data={"source": data.source, "licence": data.licence, "rows": len(data)},
        examples=tuple(text[:1000] for text in data.texts[:32]),
        training=asdict(settings),
    )
    return checkpoint, curve


# --8<-- [end:training]
