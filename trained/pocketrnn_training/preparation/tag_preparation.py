"""From sentences with labels to what an epoch needs: pieces of words, and the label of each word at its first piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import numpy.typing as npt

from pocketrnn.tables.checks import listed
from pocketrnn.tags import are_of_spans
from pocketrnn.text import SubwordRules
from pocketrnn.text.subwords import words_function
from pocketrnn_training.classifiers.architecture import Architecture
from pocketrnn_training.classifiers.checkpoint import MADE_EXAMPLES
from pocketrnn_training.preparation.augmentation import WordDropout
from pocketrnn_training.preparation.task import IGNORED, Beside, Task, about_rows, targets_of_steps
from pocketrnn_training.preparation.text_preparation import (
    class_weights_of,
    made_texts,
    short_texts,
)
from pocketrnn_training.progress import Notice
from pocketrnn_training.rows.tagged_sentences import TaggedSentences
from pocketrnn_training.settings.every_run import NO_POOLING
from pocketrnn_training.settings.tag_settings import TagSettings
from pocketrnn_training.texts.pieces import WordsOfRows, learn_pieces
from pocketrnn_training.texts.tagged_pieces import text_of
from pocketrnn_training.texts.vocabulary import PADDING, UNKNOWN

__all__ = ["prepare_tags"]


def prepare_tags(
    data: TaggedSentences,
    validation: TaggedSentences | None,
    settings: TagSettings,
    report: Callable[[Notice], None],
    *,
    examples: Sequence[str] | None = None,
    beside: Beside,  # noqa: ARG001 - what there is beside rows is for texts, and refused before
) -> tuple[Task, TagSettings]:
    """Split the sentences, learn pieces from those of the training, and give each word's first piece its label.

    It also gives the settings with all that the data decides.

    Args:
        data: the training sentences, from which some are held out if `validation` is None.
        validation: the validation sentences.
        settings: the choices.
        report: called with what the owner of the data should know.
        examples: None for some of the validation sentences in the checkpoint; else it holds none of them.
        beside: nothing.

    Raises:
        DataError: the data cannot be used.
    """
    data, validation = data.parts(validation, settings)
    for text in _notices(data, validation):
        report(Notice(text))
    decided = settings.decided(len(data), len(data.labels))
    if settings.metric is None and are_of_spans(data.labels):
        decided = replace(decided, metric="f1")
    texts = [text_of(sentence) for sentence in chain(data.sentences, validation.sentences)]
    rules, tokens = learn_pieces(
        texts[: len(data)], settings.pieces, min_freq=decided.min_freq or 1, max_tokens=None, lowercase=False
    )
    words = WordsOfRows.of(texts, rules, tokens)
    word_targets = _word_targets((data, validation), rules)
    rows, begins = words.drawn(0.0, 0)
    steps = targets_of_steps(rows, begins, word_targets)
    training, held_out = np.arange(len(data)), np.arange(len(data), len(texts))
    task = Task(
        rules=rules,
        vocabulary=tokens,
        labels=data.labels,
        architecture=_architecture(decided, len(tokens), len(data.labels)),
        changes=WordDropout(settings.word_dropout, UNKNOWN, PADDING) if settings.word_dropout else None,
        rows=rows.chosen(training),
        words=words if settings.piece_dropout else None,
        piece_dropout=settings.piece_dropout,
        targets=data.targets,
        class_weights=class_weights_of(data.counts(), balanced=settings.class_weights == "balanced"),
        validation_rows=rows.chosen(held_out),
        validation_targets=validation.targets,
        examples=tuple(short_texts(texts[len(data) :]) if examples is None else examples or made_texts(tokens, rules)),
        about=about_rows(data, validation)
        | {"words": len(data.targets) + len(validation.targets), "validation_words": len(validation.targets)}
        | ({} if examples is None or examples else {"examples": MADE_EXAMPLES}),
        step_targets=steps.chosen(training),
        validation_step_targets=steps.chosen(held_out),
        word_targets=word_targets,
    )
    return task, decided


def _word_targets(parts: Sequence[TaggedSentences], rules: SubwordRules) -> npt.NDArray[np.int64]:
    """int64: the target of each word as the rules cut them. They may cut one of a sentence: its first has the label."""
    cut = words_function(rules)
    known: dict[str, int] = {}
    targets = []
    for data in parts:
        counts = [
            known.get(word) or known.setdefault(word, len(cut(word)))
            for sentence in data.sentences
            for word in sentence
        ]
        of_words = np.full(sum(counts), IGNORED, np.int64)
        of_words[np.cumsum(counts) - counts] = data.targets
        targets.append(of_words)
    return np.concatenate(targets)


def _architecture(settings: TagSettings, vocabulary_size: int, classes: int) -> Architecture:
    assert settings.embedding_dim is not None  # noqa: S101 - it was decided
    return Architecture(
        cell=settings.cell,
        vocabulary_size=vocabulary_size,
        embedding_dim=settings.embedding_dim,
        hidden_dim=settings.hidden_dim,
        layers=settings.layers,
        bidirectional=settings.bidirectional,
        dropout=settings.dropout,
        pooling=NO_POOLING,
        packed=True,
        classes=classes,
        padding_id=PADDING,
    )


def _notices(data: TaggedSentences, validation: TaggedSentences) -> list[str]:
    notices = []
    known = set(data.sentences)
    if copies := len(data) - len(known):
        notices.append(f"{copies:,} of {len(data):,} training sentences repeat another.")
    if leaked := sum(sentence in known for sentence in validation.sentences):
        notices.append(
            f"{leaked:,} of {len(validation):,} validation sentences are trained on: new ones may be answered less "
            "well than these."
        )
    missing = np.flatnonzero(data.counts() == 0)
    if len(missing):
        notices.append(f"No training word has the label {listed([data.labels[i] for i in missing.tolist()])}.")
    return notices
