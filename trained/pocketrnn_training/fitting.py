"""Train from Python on labelled texts or sequences in memory, with the interface of scikit-learn."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from pocketrnn.errors import InputError, short_repr
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.scikit_learn_interface import TrainedEstimator
from pocketrnn.tables.column_and_label_checks import list_first_names
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.classifiers.checkpoint import Checkpoint
from pocketrnn_training.cross_validation import CrossValidation, cross_validate_rows
from pocketrnn_training.event_lines import EventLines
from pocketrnn_training.loop.thread_limit import limit_threads
from pocketrnn_training.measures.evaluation import Evaluation, compute_checkpoint_logits, evaluate
from pocketrnn_training.preparation.continued_training import add_checkpoint_labels
from pocketrnn_training.row_kinds import find_row_kind
from pocketrnn_training.rows.labelled_rows import LabelledRows
from pocketrnn_training.rows.labelled_texts import LabelledTexts, separate_outside_rows
from pocketrnn_training.rows.rows_in_memory import (
    GivenLabels,
    check_texts,
    make_number_rules,
    make_rows_of_sequences,
    make_rows_of_texts,
)
from pocketrnn_training.settings.number_settings import NumberSettings
from pocketrnn_training.settings.settings_from_options import make_settings_from_values_by_name
from pocketrnn_training.training import train
from pocketrnn_training.training_events import Epoch, Notice, Progress, StageNotice

__all__ = ["FittedClassifier", "cross_validate", "fit"]

_log: Final = logging.getLogger(__name__)
# A shorter run shows no progress.
_SHORT: Final = 2.0


@dataclass(frozen=True)
class FittedClassifier(TrainedEstimator):
    """The result of `fit`: a trained classifier that PyTorch runs.

    scikit-learn's tools take it as an estimator.

    `pocketrnn_export.export_trained` makes a bundle of it, which needs no PyTorch.

    Attributes:
        checkpoint: the classifier and all that is known of it; `checkpoint.metrics` has the validation scores.
        given: the labels as they were given, by their names in the checkpoint: the number 1 has the name "1".

    Where each text had a list of labels, `predict_labels` gives the labels that reach their thresholds, and `predict`
    the likeliest one.

    Example:
        >>> fitted = fit(["so good", "so bad"] * 10, ["good", "bad"] * 10, epochs=1, min_freq=1)
        >>> fitted.labels
        ('bad', 'good')
    """

    checkpoint: Checkpoint
    given: Mapping[str, Any] = field(repr=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels, in the order of the columns of `predict_proba`.

        Example:
            >>> fitted.labels
            ('bad', 'good')
        """
        return self.checkpoint.labels

    @property
    def classes_(self) -> npt.NDArray[Any]:
        """The labels as they were given to `fit`, in the order of `labels`.

        Example:
            >>> fitted.classes_.tolist()
            ['bad', 'good']
        """
        return np.array([self.given[label] for label in self.labels])

    def predict(self, texts: Iterable[Any]) -> list[Any]:
        """Predict the likeliest label of every text, as the label was given to `fit`.

        Args:
            texts: a list, a column of numpy or pandas, or any other iterable of strings; or of sequences of numbers.

        Raises:
            DataError: `texts` is one string, or an item is not a text.
            SequenceError: an item is not a sequence that the classifier takes.

        Example:
            >>> fitted.predict(["so good"])
            ['good']
        """
        return [self.given[self.labels[i]] for i in self._logits(texts).argmax(dim=1).tolist()]

    def predict_labels(self, texts: Iterable[Any], threshold: float | None = None) -> list[tuple[Any, ...]]:
        """List for every text the labels that reach their threshold.

        If each text has one label, this is the likeliest label, or none.

        Args:
            texts: as in `predict`.
            threshold: one probability for all labels; None for the thresholds that validation chose, or else 0.5.

        Raises:
            DataError: `texts` is one string, or an item is not a text.

        Example:
            >>> fitted.predict_labels(["so good", "so so"], 0.9)
            [('good',), ()]
        """
        reached = self.checkpoint.answers.mark_reached_labels(self.predict_proba(texts), threshold)
        return [tuple(self.given[self.labels[i]] for i in np.flatnonzero(row).tolist()) for row in reached]

    def predict_proba(self, texts: Iterable[Any]) -> npt.NDArray[np.float32]:
        """Compute the probability of every label for every text, float32 [texts, labels], in the order of `labels`.

        Each row sums to 1, unless texts can have several labels.

        Raises:
            DataError: `texts` is one string, or an item is not a text.

        Example:
            >>> fitted.predict_proba(["so good"]).shape
            (1, 2)
        """
        return self.checkpoint.answers.probabilities(self._logits(texts).numpy())

    def score(self, texts: Iterable[Any], labels: Iterable[Any]) -> float:
        """Compute the share of texts that get the right label.

        If texts can have several labels, a text counts if it gets all of its right labels and no other.

        Raises:
            DataError: the texts or the labels cannot be used, or a label is not one of the classifier's.

        Example:
            >>> fitted.score(["so good", "so bad"], ["good", "bad"])
            1.0
        """
        return self.evaluate(texts, labels).accuracy

    def evaluate(self, texts: Iterable[Any], labels: Iterable[Any]) -> Evaluation:
        """Measure accuracy, the precision, recall and F1 of each class, and which classes are confused.

        Raises:
            DataError: the texts or the labels cannot be used, or a label is not one of the classifier's.

        Example:
            >>> fitted.evaluate(["so good", "so bad"], ["good", "bad"]).rows
            2
        """
        with limit_threads(self._threads):
            rules = self.checkpoint.rules
            if isinstance(rules, NumberInput):
                plain = replace(rules, mean=None, scale=None)
                return evaluate(self.checkpoint, make_rows_of_sequences(texts, labels, plain, self.labels)[0])
            several = self.checkpoint.activation == "sigmoid"
            return evaluate(self.checkpoint, make_rows_of_texts(texts, labels, self.labels, several_labels=several)[0])

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Write the checkpoint, for `read_checkpoint`, `pocketrnn export` and `pocketrnn evaluate`.

        Args:
            folder: the folder to make.
            force: replace a checkpoint that is there.

        Raises:
            OutputError: the folder is taken or cannot be written.

        Example:
            >>> fitted.save("reviews.checkpoint")
        """
        checkpoints.write(self.checkpoint, Path(folder), force=force)

    @property
    def _threads(self) -> int:
        return int(self.checkpoint.training["threads"])

    def _logits(self, texts: Iterable[Any]) -> torch.Tensor:
        with limit_threads(self._threads):
            # A value that is not a sequence is refused where it is brought to scale.
            checkpoint = self.checkpoint
            of_numbers = isinstance(checkpoint.rules, NumberInput)
            given = list(texts) if of_numbers else check_texts(texts, two_texts=checkpoint.two_texts)
            return compute_checkpoint_logits(checkpoint, given)


def fit(
    texts: Iterable[Any],
    labels: Iterable[Any],
    *,
    channels: Sequence[str] | int | None = None,
    numbers: Mapping[str, Any] | None = None,
    validation: tuple[Iterable[Any], Iterable[Any]] | None = None,
    outside: Any = None,
    name: str = "classifier",
    word_vectors: str | Path | None = None,
    examples: bool = True,
    before: FittedClassifier | Checkpoint | None = None,
    report: Callable[[Progress | Epoch | Notice], None] | None = None,
    progress: bool = True,
    **choices: Any,
) -> FittedClassifier:
    """Train a classifier of texts, pairs of texts or sequences of numbers on data in memory.

    It trains as `pocketrnn train` does with files.

    Args:
        texts: a list, a column of numpy or pandas, or any other iterable of strings; or of tuples of two strings, for a
            classifier of two texts. With `channels`: sequences of numbers, a list of arrays [time, channels], or one
            array [sequences, time, channels].
        labels: one for each text: strings, whole numbers or booleans, which `predict` gives back. If a text can have
            several labels or none: a list for each text, or a table of 0 and 1 with a column for each label.
        channels: for sequences of numbers, the names of the channels, or how many there are.
        numbers: more options of the sequences: `missing`, `integer_scale`, `units`, `window`, `hop` and `rate`, as
            `pocketrnn train` takes them.
        validation: texts and labels to validate with. Without them a tenth of each class is held out, and where there
            are fewer than 20,000 rows, the classifier is fitted once more in the end, on all of them.
        outside: the label of texts that belong to none of the classes. They are not trained on. They decide a
            threshold, which the classifier keeps: below it, `predict_labels` gives no label.
        name: what the classifier is called.
        word_vectors: a file of word vectors to start from, in GloVe's format or a table of `scripts/make_words`.
            Without one, those that are installed (`pocketrnn-words`) are tried, unless `shipped_vectors` is False.
        examples: keep up to 32 of the validation texts in the checkpoint, which whoever has it can read. With False,
            words of the vocabulary are kept.
        before: a classifier to go on from, with its tokenizer, its shape and its labels; words and labels that it lacks
            are added. The classifier forgets what the texts do not show: give the old ones, too.
        report: called with the progress. Without it, problems of the texts are logged as warnings, and all else
            as `progress` says.
        progress: show the progress on standard error, once the training has taken two seconds. If your program sets up
            logging, log it at the level INFO instead.
        choices: settings of `TextSettings`, of `PairSettings` for two texts, or with `channels` of `NumberSettings`,
            that differ from the defaults, by their names: `epochs=3`, `seed=1`.

    Returns:
        the classifier, with `predict`, `predict_proba`, `score`, `evaluate` and `save`.

    Raises:
        InputError: a choice is unknown, or its value is out of its range.
        DataError: the texts or the labels cannot be used: their numbers differ, an item is not a text, a label is
            missing, there is only one class, or not one class has two texts.
        TrainingError: the loss is no longer a number.

    Example:
        >>> fitted = fit(["so good", "so bad"] * 10, ["good", "bad"] * 10, epochs=1, min_freq=1)
        >>> fitted.predict(["so good"]) in (["good"], ["bad"])
        True
    """
    data: LabelledRows
    held_out: LabelledRows | None
    if channels is not None:
        make_settings_from_values_by_name(NumberSettings, choices).refuse_unsupported_sources(
            word_vectors=word_vectors, before=before, outside=outside
        )
        rules = make_number_rules(channels, numbers or {})
        data, given = make_rows_of_sequences(texts, labels, rules)
        held_out = None if validation is None else make_rows_of_sequences(*validation, rules, data.labels)[0]
    else:
        _refuse_number_options_without_channels(numbers)
        data, held_out, given = _make_training_and_validation_rows(texts, labels, validation, outside, before)
    checkpoint = train(
        data,
        make_settings_from_values_by_name(find_row_kind(data).settings, choices),
        name=name,
        validation=held_out,
        word_vectors=None if word_vectors is None else Path(word_vectors),
        examples=None if examples else (),
        report=_make_function_that_shows_events(progress) if report is None else report,
        before=before.checkpoint if isinstance(before, FittedClassifier) else before,
    )
    return FittedClassifier(checkpoint, given)


def cross_validate(
    texts: Iterable[Any],
    labels: Iterable[Any],
    folds: int = 5,
    *,
    channels: Sequence[str] | int | None = None,
    numbers: Mapping[str, Any] | None = None,
    word_vectors: str | Path | None = None,
    report: Callable[[Progress | Epoch | Notice], None] | None = None,
    progress: bool = True,
    **choices: Any,
) -> CrossValidation:
    """Measure the accuracy of `fit` by folds: each row is answered by a classifier that was fitted on the other folds.

    As scikit-learn's `cross_val_score`, it keeps no classifier; `fit` makes one of all rows.

    Args:
        texts: as in `fit`.
        labels: as in `fit`.
        folds: the number of folds, stratified by class; rows with the same text are in the same fold.
        channels: as in `fit`.
        numbers: as in `fit`.
        word_vectors: as in `fit`.
        report: called with the progress.
        progress: as in `fit`.
        choices: as in `fit`.

    Returns:
        `scores`, their `mean` and `deviation`, the same of a linear model (`linear_scores`), and each fold in `folds`.

    Raises:
        InputError: there are fewer than two folds; see also `fit`.
        DataError: there are fewer different rows than folds; see also `fit`.

    Example:
        >>> result = cross_validate(["so good", "so bad"] * 10, ["good", "bad"] * 10, 2, epochs=1, min_freq=1)
        >>> len(result.scores)
        2
    """
    data: LabelledRows
    if channels is not None:
        data = make_rows_of_sequences(texts, labels, make_number_rules(channels, numbers or {}))[0]
    else:
        _refuse_number_options_without_channels(numbers)
        data = make_rows_of_texts(texts, labels)[0]
    return cross_validate_rows(
        data,
        make_settings_from_values_by_name(find_row_kind(data).settings, choices),
        folds,
        report=_make_function_that_shows_events(progress) if report is None else report,
        word_vectors=None if word_vectors is None else Path(word_vectors),
    )


def _refuse_number_options_without_channels(numbers: Mapping[str, Any] | None) -> None:
    """Raise an InputError if `numbers`, the options of sequences of numbers, is given for texts."""
    if numbers is not None:
        raise InputError(
            "The argument numbers is given without channels, but it is for sequences of numbers.",
            "Give the channels of your sequences: channels=['ax', 'ay']. For texts, leave numbers out.",
        )


def _find_name_of_outside_label(outside: Any, given_labels: Mapping[str, Any]) -> str:
    """Find the name of the label that the user gives to texts which belong to none of the classes.

    Args:
        outside: that label, as the user gave it, such as the number 0.
        given_labels: all labels as the user gave them, by their names: {"0": 0, "1": 1}.

    Raises:
        InputError: not one text has the label `outside`.
    """
    name = next(
        (name for name, label in given_labels.items() if label == outside and type(label) is type(outside)), None
    )
    if name is None:
        raise InputError(
            f"outside is {short_repr(outside, 40)}, but no text has that label; the labels are "
            f"{list_first_names(sorted(given_labels))}.",
            "Give the label of the texts that belong to no class.",
        )
    return name


def _make_training_and_validation_rows(
    texts: Iterable[Any],
    labels: Iterable[Any],
    validation: tuple[Iterable[Any], Iterable[Any]] | None,
    outside: Any,
    before: FittedClassifier | Checkpoint | None,
) -> tuple[LabelledTexts, LabelledTexts | None, GivenLabels]:
    """Make labelled rows from the arguments of `fit`, for texts.

    Returns:
        the training rows; the validation rows, or None without `validation`; and each label as the user gave it, by its
        name: {"1": 1}.
    """
    data, given = make_rows_of_texts(texts, labels)
    known = None
    if outside is not None:
        known = _find_name_of_outside_label(outside, given)
        data = separate_outside_rows(data, known)
        del given[known]
    if isinstance(before, FittedClassifier):
        data, given = add_checkpoint_labels(before.checkpoint, data), {**before.given, **given}
    elif before is not None:
        data, given = add_checkpoint_labels(before, data), {label: label for label in before.labels} | given
    if validation is None:
        return data, None, given
    # Validation rows may have the label `outside`, too.
    also = data.labels if known is None else (*data.labels, known)
    held_out = make_rows_of_texts(*validation, also, several_labels=data.several_labels)[0]
    return data, held_out if known is None else separate_outside_rows(held_out, known), given


def _make_function_that_shows_events(progress: bool) -> Callable[[Progress | Epoch | Notice], None]:
    """Make the function to call with each event of a training run.

    The function writes the events to the log if `progress` is false or logging is set up; otherwise it shows them on
    standard error.
    """
    if not progress or _log.hasHandlers():
        return _log_event
    lines = EventLines(_print_to_stderr, _SHORT)

    def print_event(event: Progress | Epoch | Notice) -> None:
        # Without handlers, logging itself shows a warning.
        if isinstance(event, Notice) and not isinstance(event, StageNotice):
            _log_event(event)
        else:
            lines.show_event(event)

    return print_event


def _print_to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - what is asked for


def _log_event(event: Progress | Epoch | Notice) -> None:
    """Write an event to the log if it is a notice or the scores of an epoch. The progress within an epoch is not
    logged."""
    if isinstance(event, Notice):
        _log.log(logging.INFO if isinstance(event, StageNotice) else logging.WARNING, "%s", event.text)
    elif isinstance(event, Epoch):
        _log.info(
            "epoch %d  validation loss %.4f  accuracy %.1f%%",
            event.epoch,
            event.validation_loss,
            100 * event.validation_accuracy,
        )
