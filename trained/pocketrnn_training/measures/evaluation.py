"""Measure a classifier on labelled rows: accuracy, precision, recall, F1 and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from torch import Tensor

from pocketrnn.classifier import Classifier, get_answers_of_chosen_labels
from pocketrnn.errors import CheckpointError, DataError
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.tables.column_and_label_checks import check_same_labels
from pocketrnn.tags import has_span_prefixes
from pocketrnn_training.classifiers.architecture import labels_tokens
from pocketrnn_training.classifiers.checkpoint import Checkpoint
from pocketrnn_training.classifiers.logits_of_encoded_rows import compute_logits, encode_rows
from pocketrnn_training.measures.logit_measures import compute_micro_f1
from pocketrnn_training.measures.span_scores import SpanScores
from pocketrnn_training.rows.labelled_pairs import LabelledPairs
from pocketrnn_training.rows.labelled_rows import LabelledRows, check_labelled
from pocketrnn_training.rows.labelled_sequences import LabelledSequences
from pocketrnn_training.rows.tagged_sentences import TaggedSentences
from pocketrnn_training.texts.sentences_as_piece_ids import encode_sentences_with_word_starts

__all__ = [
    "ClassScore",
    "Confusion",
    "Evaluation",
    "OutsideScore",
    "add_span_scores",
    "compute_checkpoint_logits",
    "evaluate",
    "find_number_rules",
    "gives_several_labels",
    "labels_each_token_or_word",
    "list_confusions_by_frequency",
    "predict_tag_targets",
    "score_classes",
    "score_multi_label_predictions",
    "takes_two_texts",
]

_READ_PAIRS: Final = ("Read one column of texts.", "Read them with read_pairs, or --second-text-column.")
_READ_SEQUENCES: Final = "Read them with read_sequences: .ts and .npz files, or tables with --channels."


@dataclass(frozen=True)
class ClassScore:
    """The precision, recall and F1 of one class, from 0 to 1, and the number of its rows.

    A score that is not defined is 0.
    """

    label: str
    precision: float
    recall: float
    f1: float
    rows: int


@dataclass(frozen=True)
class OutsideScore:
    """The effect of a classifier's thresholds on texts that belong to none of the classes, and on all other texts.

    Attributes:
        rows: how many texts of none of the classes there are.
        none: the share of these texts that correctly get no label.
        right: the share of all other texts that get their correct label.
    """

    rows: int
    none: float
    right: float


@dataclass(frozen=True)
class Evaluation:
    """The scores of a classifier on labelled texts.

    Attributes:
        rows: the number of rows; for a tagger, of words.
        accuracy: the share of rows that get their correct label or, if a row can have several, exactly their labels.
        micro_f1: the micro F1; it equals the accuracy if each row has one label.
        macro_f1: the mean of the F1 of all classes.
        classes: the scores of each class, in the order of the labels.
        confusion: confusion[i][j] is the number of rows of class i that get the label j; empty if a row can have
            several labels.
        outside: the effect of the thresholds, if the data has texts of none of the classes; else None. All other scores
            leave out these texts and the thresholds.
        spans: the scores of spans, if the labels of words mark spans, such as B-PER; else None.

    Example:
        >>> evaluation = evaluate(read_checkpoint(Path("reviews.checkpoint")), read_files([Path("test.csv")]))
        >>> evaluation.rows, [score.label for score in evaluation.classes]
        (20, ['bad', 'good'])
    """

    rows: int
    accuracy: float
    micro_f1: float
    macro_f1: float
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    outside: OutsideScore | None = None
    spans: SpanScores | None = None


def evaluate(classifier: Classifier | Checkpoint, data: LabelledRows) -> Evaluation:
    """Classify labelled rows, and compare the classifier's answers with the labels.

    If a row can have several labels, its answer is all labels whose probability reaches their threshold, or 0.5 if the
    classifier stores no thresholds.

    PyTorch runs a checkpoint. If the checkpoint is not packed, so that padding changes its answers, it reads the rows
    in their order, in batches of its training batch size.

    Args:
        classifier: a bundle's `Classifier`, or a checkpoint. If a bundle has several heads, give the head whose labels
            the rows have (`Classifier.head`).
        data: the rows. Their `labels` must be those of the classifier, in the same order.

    Raises:
        InputError: the classifier has several heads.
        DataError: the rows have other labels, another order of labels or another kind of input than the classifier;
            only one of the two allows several labels for a row; a row has no label; or some texts belong to none of
            the classes, but the classifier has no threshold.
        CheckpointError: the checkpoint is not packed, and does not store its training batch size.

    Example:
        >>> checkpoint = read_checkpoint(Path("reviews.checkpoint"))
        >>> evaluation = evaluate(checkpoint, read_files([Path("test.csv")], labels=checkpoint.labels))
        >>> 0 <= evaluation.accuracy <= 1
        True
    """
    labels = tuple(classifier.labels)
    if isinstance(classifier, Classifier):
        get_answers_of_chosen_labels(classifier).require_single_head("evaluate()")
    if labels_each_token_or_word(classifier) != isinstance(data, TaggedSentences):
        labelled, other = ("words", "rows") if labels_each_token_or_word(classifier) else ("rows", "words")
        raise DataError(
            f"{classifier.name} gives labels to {labelled}, but the data has labels of {other}.",
            "Read files of sentences with read_tagged, or with --labels-of tokens."
            if labels_each_token_or_word(classifier)
            else "Read the files with read_files, or without --labels-of.",
        )
    if isinstance(data, TaggedSentences):
        check_same_labels(data.labels, labels)
        tags = predict_tag_targets(classifier, data)
        return add_span_scores(score_classes(labels, data.targets, tags), data, tags)
    takes_numbers = find_number_rules(classifier) is not None
    if takes_numbers != isinstance(data, LabelledSequences):
        takes, rows = ("sequences of numbers", "texts") if takes_numbers else ("texts", "sequences of numbers")
        remedy = _READ_SEQUENCES if takes_numbers else "Read files of texts with read_files, or without --channels."
        raise DataError(f"{classifier.name} reads {takes}, but the rows are {rows}.", remedy)
    takes_two = takes_two_texts(classifier)
    if takes_two != isinstance(data, LabelledPairs):
        takes, have = ("two texts", "one text") if takes_two else ("one text", "two texts")
        raise DataError(
            f"{classifier.name} reads {takes} at a time, but each row of the data has {have}.", _READ_PAIRS[takes_two]
        )
    if isinstance(classifier, Classifier):
        get_answers_of_chosen_labels(classifier).check_gives_labels()
    check_same_labels(data.labels, labels)
    check_labelled(data, "row", "Evaluate with labelled rows only.")
    if data.several_labels != gives_several_labels(classifier):
        given, have = (
            ("one label", "any number of labels") if data.several_labels else ("any number of labels", "one label")
        )
        remedy = f"Read them with multi_label={not data.several_labels}."
        raise DataError(
            f"{classifier.name} gives {given} to a {data.ROW}, but each row of the data has {have}.",
            "Give a classifier that gives one label." if takes_numbers else remedy,
        )
    if data.several_labels:
        return score_multi_label_predictions(
            labels, data.targets, _mark_labels_that_reach_threshold(classifier, data.inputs)
        )
    if isinstance(classifier, Checkpoint):
        predicted = compute_checkpoint_logits(classifier, data.inputs).argmax(dim=1).numpy()
    else:
        index = {label: target for target, label in enumerate(labels)}
        answers = classifier.predict(data.inputs)
        predicted = np.fromiter(map(index.__getitem__, answers), dtype=np.int64, count=len(data))
    return replace(
        score_classes(labels, data.targets, predicted), outside=_score_thresholds_on_outside_texts(classifier, data)
    )


def _score_thresholds_on_outside_texts(classifier: Classifier | Checkpoint, data: LabelledRows) -> OutsideScore | None:
    """Measure how often the texts of none of the classes get no label, and how often the other rows get the right one.

    Return None if `data` has no texts of none of the classes.

    Raises:
        DataError: the classifier has no thresholds, so that it gives every text a label.
    """
    if not data.outside:
        return None
    if classifier.thresholds is None:
        raise DataError(
            f"{classifier.name} has no threshold below which a text gets no label, but some rows belong to none of its "
            "classes.",
            "Train the classifier with --outside or --none-of-these; or evaluate it without these rows.",
        )
    given = _mark_labels_that_reach_threshold(classifier, data.inputs)
    right = given[np.arange(len(data)), data.targets]
    none = ~_mark_labels_that_reach_threshold(classifier, data.outside).any(axis=1)
    return OutsideScore(len(data.outside), float(none.mean()), float(right.mean()))


def find_number_rules(classifier: Classifier | Checkpoint) -> NumberInput | None:
    """Return the rules by which a classifier reads sequences of numbers; None if it reads texts."""
    rules = classifier.rules if isinstance(classifier, Checkpoint) else classifier.manifest.input
    return rules if isinstance(rules, NumberInput) else None


def takes_two_texts(classifier: Classifier | Checkpoint) -> bool:
    """Return whether a classifier takes pairs of texts."""
    return classifier.two_texts if isinstance(classifier, Checkpoint) else classifier.manifest.has_two_texts


def labels_each_token_or_word(classifier: Classifier | Checkpoint) -> bool:
    """Return whether a classifier labels each token or word, and not each text."""
    if isinstance(classifier, Checkpoint):
        return labels_tokens(classifier.architecture)
    return classifier.manifest.output.of_tokens


def predict_tag_targets(classifier: Classifier | Checkpoint, data: TaggedSentences) -> npt.NDArray[np.int64]:
    """Predict the index of each word's label, int64 [words of all sentences].

    A word that the classifier does not read, since its sentence is too long, gets -1.
    """
    if isinstance(classifier, Checkpoint):
        encoded, steps = encode_sentences_with_word_starts(data.sentences, classifier.text_rules, classifier.vocabulary)
        logits, crf = compute_logits(classifier.module, encoded, 1)[torch.from_numpy(steps)].numpy(), classifier.crf
        parts = np.split(logits, np.cumsum(data.lengths)[:-1])
        return np.concatenate([part.argmax(1) if crf is None else crf.decode_labels(part) for part in parts])
    index = {label: target for target, label in enumerate(classifier.labels)}
    given = np.full(len(data.targets), -1, np.int64)
    starts = np.cumsum(data.lengths) - data.lengths
    for start, tags in zip(starts.tolist(), classifier.predict_tags(map(list, data.sentences)), strict=True):
        for tag in tags:
            given[start + tag.start] = index[tag.label]
    return given


def add_span_scores(evaluation: Evaluation, data: TaggedSentences, predicted: npt.NDArray[np.int64]) -> Evaluation:
    """Return the evaluation with the scores of spans, if the labels mark spans, such as B-PER; else unchanged.

    Args:
        evaluation: the scores of words.
        data: the sentences with the right labels.
        predicted: int64 [words of all sentences], the index of each word's predicted label, or -1.
    """
    if not has_span_prefixes(data.labels):
        return evaluation
    return replace(evaluation, spans=SpanScores.from_predictions(data.labels, data.lengths, data.targets, predicted))


def gives_several_labels(classifier: Classifier | Checkpoint) -> bool:
    """Return whether a classifier can give a text any number of labels."""
    activation = (
        classifier.activation
        if isinstance(classifier, Checkpoint)
        else get_answers_of_chosen_labels(classifier).activation
    )
    return activation == "sigmoid"


def _mark_labels_that_reach_threshold(
    classifier: Classifier | Checkpoint, texts: Sequence[str]
) -> npt.NDArray[np.bool_]:
    """Classify texts, and mark the labels whose probability reaches their threshold, bool [texts, labels]."""
    if isinstance(classifier, Checkpoint):
        answers, logits = classifier.answers, compute_checkpoint_logits(classifier, texts).numpy()
    else:
        answers, logits = get_answers_of_chosen_labels(classifier), classifier.logits(texts)
    return answers.mark_reached_labels(answers.probabilities(logits))


def compute_checkpoint_logits(checkpoint: Checkpoint, inputs: Sequence[Any]) -> Tensor:
    """Compute the logits of a checkpoint for texts, pairs or sequences of numbers in PyTorch, float32 [rows, classes].

    If padding changes the classifier's answers (it is not packed), the batches have the size of those in training.

    Raises:
        CheckpointError: the checkpoint is not packed and does not store its training batch size.
    """
    batch_size = checkpoint.training.get("batch_size")
    if not checkpoint.architecture.packed and (not isinstance(batch_size, int) or batch_size < 1):
        raise CheckpointError(
            f"The answers of the checkpoint {checkpoint.name} depend on the batch size (it was trained with --padded), "
            "but its config.json does not state the batch size of its training.",
            'Write the batch size into config.json: "training": {"batch_size": 16}.',
        )
    encoded = encode_rows(inputs, checkpoint)
    return compute_logits(checkpoint.module, encoded, batch_size or 1)


def score_classes(
    labels: Sequence[str], targets: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64]
) -> Evaluation:
    """Compute accuracy, precision, recall, F1 and the confusion matrix of predicted classes.

    Args:
        labels: the name of each class.
        targets: int64 [rows], the right classes.
        predicted: int64 [rows], the predicted classes.
    """
    indices = np.arange(len(labels))
    precision, recall, f1, rows = precision_recall_fscore_support(targets, predicted, labels=indices, zero_division=0.0)
    accuracy = float(np.mean(targets == predicted))
    return Evaluation(
        rows=len(targets),
        accuracy=accuracy,
        micro_f1=accuracy,
        macro_f1=float(np.mean(f1)),
        classes=_make_class_scores(labels, precision, recall, f1, rows),
        confusion=tuple(map(tuple, confusion_matrix(targets, predicted, labels=indices).tolist())),
    )


class Confusion(NamedTuple):
    """The number of rows of one class that wrongly get another class. The classes are indices."""

    rows: int
    true: int
    given: int


def list_confusions_by_frequency(counts: npt.NDArray[np.int64]) -> list[Confusion]:
    """List how often each class is taken for each other class, the most frequent confusion first.

    `counts` is a confusion matrix, int64 [classes, classes]: counts[i, j] rows of class i were given class j.
    """
    found = (Confusion(int(counts[i, j]), i, j) for i, j in np.argwhere(counts).tolist() if i != j)
    return sorted(found, key=lambda one: (-one.rows, one.true, one.given))


def score_multi_label_predictions(
    labels: Sequence[str], targets: npt.NDArray[np.bool_], predicted: npt.NDArray[np.bool_]
) -> Evaluation:
    """Compute accuracy, precision, recall and F1 of predictions where a row can have any number of labels.

    Args:
        labels: the names of the labels.
        targets: bool [rows, labels], the labels that apply.
        predicted: bool [rows, labels].
    """
    precision, recall, f1, rows = precision_recall_fscore_support(targets, predicted, zero_division=0.0)
    return Evaluation(
        rows=len(targets),
        accuracy=float((targets == predicted).all(axis=1).mean()),
        micro_f1=compute_micro_f1(targets, predicted),
        macro_f1=float(np.mean(f1)),
        classes=_make_class_scores(labels, precision, recall, f1, rows),
        confusion=(),
    )


def _make_class_scores(
    labels: Sequence[str],
    precisions: npt.NDArray[Any],
    recalls: npt.NDArray[Any],
    f1_scores: npt.NDArray[Any],
    row_counts: npt.NDArray[Any],
) -> tuple[ClassScore, ...]:
    """Make the score object of each class from arrays with one number for each class."""
    return tuple(
        ClassScore(label, float(precision), float(recall), float(f1), int(rows))
        for label, precision, recall, f1, rows in zip(labels, precisions, recalls, f1_scores, row_counts, strict=True)
    )
