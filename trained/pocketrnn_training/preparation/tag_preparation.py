"""Prepare sentences with labelled words for training: split words into pieces, and label the first piece of a word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import numpy.typing as npt

from pocketrnn.tables.column_and_label_checks import list_first_names
from pocketrnn.tags import has_span_prefixes, may_follow_label
from pocketrnn.text import SubwordRules
from pocketrnn.text.subword_encoder import make_words_function
from pocketrnn_training.classifiers.architecture import Architecture
from pocketrnn_training.classifiers.checkpoint import MADE_EXAMPLES
from pocketrnn_training.preparation.batch_augmentation import WordDropout
from pocketrnn_training.preparation.class_weights_and_notices import compute_class_weights
from pocketrnn_training.preparation.example_texts import choose_short_texts, make_random_texts
from pocketrnn_training.preparation.prepared_data import (
    IGNORED,
    OtherSources,
    Task,
    describe_rows,
    label_first_piece_of_each_word,
)
from pocketrnn_training.rows.tagged_sentences import TaggedSentences
from pocketrnn_training.settings.settings_of_all_runs import NO_POOLING
from pocketrnn_training.settings.tag_settings import TagSettings
from pocketrnn_training.texts.piece_learning import RowWords, learn_pieces
from pocketrnn_training.texts.sentences_as_piece_ids import join_words
from pocketrnn_training.texts.vocabulary import PADDING, UNKNOWN
from pocketrnn_training.training_events import Notice

__all__ = ["prepare_tags"]


def prepare_tags(
    data: TaggedSentences,
    validation: TaggedSentences | None,
    settings: TagSettings,
    report: Callable[[Notice], None],
    *,
    examples: Sequence[str] | None = None,
    other_sources: OtherSources,  # noqa: ARG001 - other sources are for texts, and refused before
) -> tuple[Task, TagSettings]:
    """Prepare sentences for training a tagger.

    Validation sentences are held out, pieces of words are learnt from the training sentences, and the first piece of
    each word gets the word's label.

    Args:
        data: the training sentences, from which some are held out if `validation` is None.
        validation: the validation sentences, or None.
        settings: the user's settings.
        report: the function to call with notices for the owner of the data.
        examples: texts to store in the checkpoint; None for some validation sentences; an empty sequence for random
            texts made of the vocabulary's words.
        other_sources: not used.

    Returns:
        the prepared data; and the settings, with a value for each None that the data decides.

    Raises:
        DataError: the data cannot be used.
    """
    data, validation = data.split(validation, settings)
    for text in _make_notices(data, validation):
        report(Notice(text))
    decided = settings.fill_missing_values(len(data), len(data.labels))
    if settings.metric is None and has_span_prefixes(data.labels):
        decided = replace(decided, metric="f1")
    texts = [join_words(sentence) for sentence in chain(data.sentences, validation.sentences)]
    rules, tokens = learn_pieces(
        texts[: len(data)], settings.pieces, min_freq=decided.min_freq or 1, max_tokens=None, lowercase=False
    )
    words = RowWords.from_texts(texts, rules, tokens)
    word_targets = _label_first_part_of_each_word((data, validation), rules)
    rows, begins = words.draw_pieces_with_word_starts(0.0, 0)
    steps = label_first_piece_of_each_word(rows, begins, word_targets)
    training, held_out = np.arange(len(data)), np.arange(len(data), len(texts))
    with_crf = _should_train_crf(decided, data.labels)
    task = Task(
        rules=rules,
        vocabulary=tokens,
        labels=data.labels,
        architecture=_make_architecture(decided, len(tokens), len(data.labels), crf=with_crf),
        changes=WordDropout(settings.word_dropout, UNKNOWN, PADDING) if settings.word_dropout else None,
        rows=rows.select_rows(training),
        words=words if settings.piece_dropout else None,
        piece_dropout=settings.piece_dropout,
        targets=data.targets,
        class_weights=compute_class_weights(data.counts(), balanced=settings.class_weights == "balanced"),
        validation_rows=rows.select_rows(held_out),
        validation_targets=validation.targets,
        examples=tuple(
            choose_short_texts(texts[len(data) :]) if examples is None else examples or make_random_texts(tokens, rules)
        ),
        about=describe_rows(data, validation)
        | {"words": len(data.targets) + len(validation.targets), "validation_words": len(validation.targets)}
        | ({} if examples is None or examples else {"examples": MADE_EXAMPLES}),
        step_targets=steps.select_rows(training),
        validation_step_targets=steps.select_rows(held_out),
        word_targets=word_targets,
        ruled_out=_find_forbidden_label_orders(data) if with_crf else None,
    )
    return task, decided


def _label_first_part_of_each_word(data_sets: Sequence[TaggedSentences], rules: SubwordRules) -> npt.NDArray[np.int64]:
    """Make the target of each part of all words, int64 [parts]; the tokenizer splits a word at punctuation into parts.

    The first part of a word has the word's label. Its other parts have -100, which the loss ignores.
    """
    cut = make_words_function(rules)
    known: dict[str, int] = {}
    targets = []
    for data in data_sets:
        counts = [
            known.get(word) or known.setdefault(word, len(cut(word)))
            for sentence in data.sentences
            for word in sentence
        ]
        of_words = np.full(sum(counts), IGNORED, np.int64)
        of_words[np.cumsum(counts) - counts] = data.targets
        targets.append(of_words)
    return np.concatenate(targets)


def _should_train_crf(settings: TagSettings, labels: Sequence[str]) -> bool:
    """Return whether the tagger gets a CRF, which is trained with it and decodes its labels.

    It gets one if the labels have span prefixes, such as B-, and the settings ask for neither class weights nor label
    smoothing, which a CRF does not support.

    F1 of spans on validation words, without a CRF and with one: slots of snips 81.7 and 87.9 %, AnEM 65.5 and 68.3,
    WNUT-17 17.3 and 18.2 (docs/training-measurements.md).
    """
    return has_span_prefixes(labels) and settings.class_weights == "none" and not settings.label_smoothing


def _find_forbidden_label_orders(data: TaggedSentences) -> npt.NDArray[np.bool_]:
    """Find which labels cannot begin a sentence, and which labels cannot follow each label, bool [1 + labels, labels].

    Row 0 is for the beginning of a sentence, the other rows for each label. A label is forbidden if it would continue a
    span that is not open, and no training sentence has this order.
    """
    before = (None, *data.labels)
    orders = np.array([[not may_follow_label(label, one) for label in data.labels] for one in before])
    firsts = np.cumsum(data.lengths) - data.lengths
    earlier = np.concatenate(([0], 1 + data.targets[:-1]))
    earlier[firsts] = 0
    orders[earlier, data.targets] = False
    return orders


def _make_architecture(settings: TagSettings, vocabulary_size: int, classes: int, *, crf: bool) -> Architecture:
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
        crf=crf,
    )


def _make_notices(data: TaggedSentences, validation: TaggedSentences) -> list[str]:
    """Make notices for the user about problems of the rows: repeated sentences, validation sentences that are also
    training sentences, and labels without training words."""
    notices = []
    known = set(data.sentences)
    if copies := len(data) - len(known):
        notices.append(f"{copies:,} of {len(data):,} training sentences repeat another.")
    if leaked := sum(sentence in known for sentence in validation.sentences):
        notices.append(
            f"{leaked:,} of {len(validation):,} validation sentences are trained on: the accuracy on new ones may be "
            "lower."
        )
    missing = np.flatnonzero(data.counts() == 0)
    if len(missing):
        notices.append(
            f"No training word has the label {list_first_names([data.labels[i] for i in missing.tolist()])}."
        )
    return notices
