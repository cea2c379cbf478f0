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
from pocketrnn_training.loop.thread_limit import limit_threads
from pocketrnn_training.measures.evaluation import Evaluation, compute_checkpoint_logits, evaluate
from pocketrnn_training.preparation.continued_training import add_checkpoint_labels
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
from pocketrnn_training.training_events_as_text import EventLines
from pocketrnn_training.training_parts_by_row_kind import find_row_kind

__all__ = ["FittedClassifier", "cross_validate", "fit"]

_log: Final = logging.getLogger(__name__)
# A shorter run shows no progress.
_SHORT: Final = 2.0


@dataclass(frozen=True)
class FittedClassifier(TrainedEstimator):
    """The result of `fit`: a trained classifier that PyTorch runs, and that scikit-learn's tools take as an estimator.

    `pocketrnn_export.export_trained` makes a bundle of it, which needs no PyTorch.

    Attributes:
        checkpoint: the classifier and all that is known about it; `checkpoint.metrics` has the validation scores.
        given: each label as the user gave it, by its name in the checkpoint: {"1": 1} for the number 1.

    If each text had a list of labels, `predict_labels` returns the labels that reach their thresholds, and `predict`
    the likeliest label.

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
        """Predict the likeliest label of each text. A label has the type in which `fit` got it.

        Args:
            texts: strings or, if the classifier was trained on them, pairs of strings or sequences of numbers, as a
                list, a column of numpy or pandas, or another iterable.

        Raises:
            DataError: `texts` is one string, or an item is not a text.
            SequenceError: an item is not a sequence with the channels of the classifier.

        Example:
            >>> fitted.predict(["so good"])
            ['good']
        """
        return [self.given[self.labels[i]] for i in self._logits(texts).argmax(dim=1).tolist()]

    def predict_labels(self, texts: Iterable[Any], threshold: float | None = None) -> list[tuple[Any, ...]]:
        """List for each text the labels whose probability reaches their threshold.

        If each text has exactly one label, only the likeliest label can be in the list, which may be empty.

        Args:
            texts: the same as for `predict`.
            threshold: one threshold for all labels; None for those that the validation chose, or for 0.5 if it chose
                none.

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
        """Compute the accuracy: the share of texts that get the correct label.

        If a text can have several labels, it counts if it gets exactly its labels.

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
            force: whether to replace a checkpoint that the folder holds.

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

    `pocketrnn train` trains in the same way on files.

    Args:
        texts: a list, a column of numpy or pandas, or another iterable of strings; or of tuples of two strings, for a
            classifier of pairs of texts. If `channels` is given, sequences of numbers: a list of arrays
            [time, channels], or one array [sequences, time, channels].
        labels: one label for each text: a string, a whole number or a boolean, which `predict` returns. If a text can
            have any number of labels, a list for each text, or a table of 0 and 1 with a column for each label.
        channels: for sequences of numbers, the names of the channels, or the number of channels.
        numbers: further options for sequences of numbers, by name: `missing`, `integer_scale`, `units`, `window`,
            `hop` and `rate`, as for `pocketrnn train`.
        validation: texts and labels to validate with. With None, a tenth of each class is held out; if there are fewer
            than 20,000 rows, the classifier is fitted once more at the end, on all rows.
        outside: the label of texts that belong to none of the classes. The classes are not learnt from them; they set a
            threshold below which `predict_labels` gives a text no label.
        name: the name of the classifier.
        word_vectors: a file of word vectors to start from, in GloVe's format or a table of `scripts/make_words`. With
            None, installed word vectors (`pocketrnn-words`) are tried, unless `shipped_vectors` is False.
        examples: whether the checkpoint stores up to 32 validation texts, which everyone who has it can read.
            Otherwise it stores random texts of words of the vocabulary.
        before: a classifier to continue from, with its tokenizer, architecture and labels. New words and labels are
            added. The classifier forgets what it has learnt from texts that are not given again.
        report: the function to call with each event of the progress. With None, problems of the texts are logged as
            warnings, and other events are shown if `progress` is true.
        progress: whether to show the progress on standard error, from two seconds after the start. If your program has
            set up logging, the progress is logged at the level INFO instead.
        choices: values for settings of `TextSettings`, `PairSettings` (pairs of texts) or `NumberSettings` (sequences
            of numbers), by name: `epochs=3`, `seed=1`.

    Raises:
        InputError: the name of a setting is unknown, or its value is out of its range.
        DataError: the texts or the labels cannot be used: their numbers differ, an item is not a text, a label is
            missing, there is only one class, or every class has only one text.
        TrainingError: the loss is no longer a finite number.

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
    """Measure the accuracy of `fit` by cross-validation. The classifiers of the folds are not kept.

    Args:
        folds: the number of folds, stratified by class; rows with the same text are in the same fold.

    All other arguments are the same as for `fit`.

    Returns:
        The `scores` of the folds, their `mean` and `deviation`, and the scores of a linear model (`linear_scores`).

    Raises:
        InputError: `folds` is less than 2, the name of a setting is unknown, or a value is out of its range.
        DataError: there are fewer different rows than folds, or the texts or the labels cannot be used.
        TrainingError: the loss is no longer a finite number.

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
            "The argument `numbers` is for sequences of numbers, but `channels` is not given, so the rows are texts.",
            "If they are sequences, give their channels: channels=['ax', 'ay']. If they are texts, leave out "
            "`numbers`.",
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
            f"The argument `outside` is {short_repr(outside, 40)}, but no text has this label. The labels are "
            f"{list_first_names(sorted(given_labels))}.",
            "Give `outside` the label of the texts that belong to none of the classes.",
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
        The training rows; the validation rows, or None without `validation`; and each label as the user gave it, by its
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
    """Make a function that shows each event of a training run on standard error.

    If `progress` is false, or if logging is set up, the function writes the events to the log instead.
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
    """Write a notice or the scores of an epoch to the log; do nothing for the progress within an epoch."""
    if isinstance(event, Notice):
        _log.log(logging.INFO if isinstance(event, StageNotice) else logging.WARNING, "%s", event.text)
    elif isinstance(event, Epoch):
        _log.info(
            "epoch %d  validation loss %.4f  accuracy %.1f%%",
            event.epoch,
            event.validation_loss,
            100 * event.validation_accuracy,
        )
