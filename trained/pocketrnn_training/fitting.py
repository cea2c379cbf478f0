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

from pocketrnn.errors import DataError, InputError, SequenceError, short_repr
from pocketrnn.estimator import TrainedEstimator
from pocketrnn.numbers.number_input import NumberInput, convert_sequence_to_array
from pocketrnn.tables.row_checks import list_first_names
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.classifiers.checkpoint import Checkpoint
from pocketrnn_training.cross_validation import CrossValidation, cross_validate_rows
from pocketrnn_training.data_kinds import find_kind
from pocketrnn_training.loop.thread_limit import limit_threads
from pocketrnn_training.measures.evaluation import Evaluation, compute_checkpoint_logits, evaluate
from pocketrnn_training.preparation.continued_training import add_checkpoint_labels
from pocketrnn_training.rows.labelled_pairs import LabelledPairs
from pocketrnn_training.rows.labelled_rows import LabelledRows
from pocketrnn_training.rows.labelled_sequences import LabelledSequences, Recording, make_labelled_sequences
from pocketrnn_training.rows.labelled_texts import (
    LabelledTexts,
    make_class_targets,
    make_multi_label_texts,
    separate_outside_rows,
    sort_classes,
)
from pocketrnn_training.settings.number_settings import NumberSettings
from pocketrnn_training.settings.sequence_options import SequenceOptions
from pocketrnn_training.settings.settings_from_options import make_settings
from pocketrnn_training.training import train
from pocketrnn_training.training_events import Epoch, EventLines, Notice, Progress, StageNotice

__all__ = ["FittedClassifier", "cross_validate", "fit"]

_log: Final = logging.getLogger(__name__)
_SOURCE: Final = "texts given in Python"
# A shorter run shows no progress.
_SHORT: Final = 2.0
_LISTS: Final = (list, tuple, set, frozenset, np.ndarray)


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
            DataError: see `evaluate`.

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
                return evaluate(self.checkpoint, _make_labelled_sequences(texts, labels, plain, self.labels)[0])
            several = self.checkpoint.activation == "sigmoid"
            return evaluate(self.checkpoint, make_labelled_texts(texts, labels, self.labels, several_labels=several)[0])

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
            given = list(texts) if of_numbers else _check_texts(texts, two=checkpoint.two_texts)
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
        labels: one for each text: strings, whole numbers or booleans, which `predict` gives back. Or a list for each,
            where a text can have several labels, or none; or a table of 0 and 1 [texts, labels], a column a label.
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
            get rows. The classifier forgets what the texts do not show: give the old ones, too.
        report: called with the progress. Without it, problems of the texts are logged as warnings, and all else
            as `progress` says.
        progress: show on standard error how far it is, once it has taken two seconds. Where your program sets logging
            up, its handlers get that instead, at the level INFO.
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
        make_settings(NumberSettings, choices).check_beside(word_vectors=word_vectors, before=before, outside=outside)
        rules = _make_number_rules(channels, numbers or {})
        data, given = _make_labelled_sequences(texts, labels, rules)
        held_out = None if validation is None else _make_labelled_sequences(*validation, rules, data.labels)[0]
    else:
        _refuse_number_options(numbers)
        data, held_out, given = _make_training_and_validation_rows(texts, labels, validation, outside, before)
    checkpoint = train(
        data,
        make_settings(find_kind(data).settings, choices),
        name=name,
        validation=held_out,
        word_vectors=None if word_vectors is None else Path(word_vectors),
        examples=None if examples else (),
        report=_make_default_report(progress) if report is None else report,
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
        data = _make_labelled_sequences(texts, labels, _make_number_rules(channels, numbers or {}))[0]
    else:
        _refuse_number_options(numbers)
        data = make_labelled_texts(texts, labels)[0]
    return cross_validate_rows(
        data,
        make_settings(find_kind(data).settings, choices),
        folds,
        report=_make_default_report(progress) if report is None else report,
        word_vectors=None if word_vectors is None else Path(word_vectors),
    )


def _refuse_number_options(numbers: Mapping[str, Any] | None) -> None:
    if numbers is not None:
        raise InputError("numbers is given without channels.", "Give the channels, too: channels=['ax', 'ay'].")


def _find_outside_name(outside: Any, given: Mapping[str, Any]) -> str:
    """Find the name of the label `outside`.

    Raises:
        InputError: not one text has it.
    """
    name = next((name for name, label in given.items() if label == outside and type(label) is type(outside)), None)
    if name is None:
        raise InputError(
            f"outside is {short_repr(outside, 40)}, but no text has that label; there are "
            f"{list_first_names(sorted(given))}.",
            "Give the label of the texts that are of none of the classes.",
        )
    return name


def _make_training_and_validation_rows(
    texts: Iterable[Any],
    labels: Iterable[Any],
    validation: tuple[Iterable[Any], Iterable[Any]] | None,
    outside: Any,
    before: FittedClassifier | Checkpoint | None,
) -> tuple[LabelledTexts, LabelledTexts | None, dict[str, Any]]:
    """Make the training rows and the validation rows of `fit`; also map label names to the labels as given."""
    data, given = make_labelled_texts(texts, labels)
    known = None
    if outside is not None:
        known = _find_outside_name(outside, given)
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
    held_out = make_labelled_texts(*validation, also, several_labels=data.several_labels)[0]
    return data, held_out if known is None else separate_outside_rows(held_out, known), given


def make_labelled_texts(
    texts: Iterable[Any],
    labels: Iterable[Any],
    known: tuple[str, ...] | None = None,
    *,
    several_labels: bool | None = None,
) -> tuple[LabelledTexts, dict[str, Any]]:
    """Make rows from texts and labels in memory; also map label names to the labels as given.

    Args:
        texts: the texts, or tuples of two texts.
        labels: one label for each.
        known: the classes and their order; without them, the labels that occur, sorted by their names.
        several_labels: whether each text has a list of labels; None to take it from the first text.

    Raises:
        DataError: they cannot be used; see `fit`. A label is not one of `known`.
    """
    checked, given = _check_texts(texts), dict[str, Any]()
    if _are_pairs(checked):
        firsts, seconds = (list(some) for some in zip(*checked, strict=True))
        data, given = make_labelled_texts(firsts, labels, known, several_labels=several_labels)
        return LabelledPairs.of(data, seconds), given
    values = list(_read_labels_from_indicators(labels) or _iterate_items(labels, "labels"))
    if len(values) != len(checked):
        raise DataError(f"There are {len(checked):,} texts and {len(values):,} labels.", "Give one for each text.")
    if not checked:
        raise DataError("There is no text.", "Give texts and their labels.")
    if several_labels is None:
        several_labels = isinstance(values[0], _LISTS)
    if several_labels:
        return _make_multi_label_rows(checked, values, known, given), given
    names = [_add_given_label(label, row, given) for row, label in enumerate(values)]
    if known is None:
        known = sort_classes(given, f"{len(checked):,} texts", "texts")
    code_of = {name: code for code, name in enumerate(given)}
    codes = np.fromiter(map(code_of.__getitem__, names), np.int64, len(names))
    return LabelledTexts(checked, make_class_targets(codes, tuple(given), known, _SOURCE), known, _SOURCE), given


def _make_number_rules(channels: Sequence[str] | int, numbers: Mapping[str, Any]) -> NumberInput:
    known = ("missing", "integer_scale", "units", "window", "hop", "rate")
    if unknown := sorted(numbers.keys() - set(known)):
        raise InputError(f"numbers has the member {unknown[0]!r}.", f"Use {', '.join(known)}.")
    numbers = dict(numbers)
    for name in ("integer_scale", "units"):
        if (given := numbers.get(name)) is not None:
            if not isinstance(given, list | tuple):
                raise InputError(
                    f"numbers[{name!r}] is {short_repr(given)}.", "Give a list, with one value for each channel."
                )
            numbers[name] = tuple(given)
    if isinstance(channels, int):
        return SequenceOptions(None, None, **numbers).rules(channels)
    return SequenceOptions(tuple(channels), None, **numbers).rules(len(channels))


def _make_labelled_sequences(
    sequences: Iterable[Any], labels: Iterable[Any], rules: NumberInput, known: tuple[str, ...] | None = None
) -> tuple[LabelledSequences, dict[str, Any]]:
    """Make rows from sequences and labels in memory; also map label names to the labels as given."""
    if isinstance(sequences, str | bytes | Mapping) or not isinstance(sequences, Iterable):
        raise DataError(f"The sequences are {short_repr(sequences, 40)}.", "Give a list of arrays [time, channels].")
    arrays, values = list(sequences), list(_iterate_items(labels, "labels"))
    if len(arrays) != len(values):
        raise DataError(f"There are {len(arrays):,} sequences and {len(values):,} labels.", "Give one for each.")
    given: dict[str, Any] = {}
    recordings = []
    for row, (array, label) in enumerate(zip(arrays, values, strict=True)):
        name = f"the sequence at position {row} (counted from 0)"
        try:
            samples = convert_sequence_to_array(array, rules.channels)
        except SequenceError as error:
            raise DataError(f"{name}: {error.problem}", error.remedy) from None
        recordings.append(Recording(name, samples, _add_given_label(label, row, given)))
    return make_labelled_sequences(recordings, rules, known, "sequences given in Python"), given


def _make_multi_label_rows(
    texts: list[str], values: Sequence[Any], known: tuple[str, ...] | None, given: dict[str, Any]
) -> LabelledTexts:
    """Make rows from texts with any number of labels, and add the labels to `given`."""
    names: list[list[str]] = []
    for row, value in enumerate(values):
        if not isinstance(value, _LISTS):
            raise DataError(
                f"The labels at position {row} (counted from 0) are {short_repr(value, 40)}, not a list.",
                "Give a list for each text; an empty one for a text without a label.",
            )
        names.append([_add_given_label(label, row, given) for label in value])
    code_of = {name: code for code, name in enumerate(given)}
    codes = np.fromiter((code_of[name] for some in names for name in some), np.int64)
    counts = np.fromiter(map(len, names), np.int64, len(names))
    return make_multi_label_texts(texts, codes, counts, tuple(given), known, _SOURCE)


def _read_labels_from_indicators(labels: Any) -> list[list[Any]] | None:
    """Read the labels of each row of an indicator matrix [texts, labels], as in scikit-learn.

    They are the names of its columns, or their numbers. None for any other value.
    """
    if getattr(labels, "ndim", 1) != 2:
        return None
    marks = np.asarray(labels.toarray() if hasattr(labels, "toarray") else labels)
    if not np.isin(marks, (0, 1)).all():
        raise DataError(
            "The labels are a table that contains other values than 0 and 1.", "Give one column of it, or lists."
        )
    names = list(getattr(labels, "columns", range(marks.shape[1])))
    return [[names[i] for i in np.flatnonzero(row).tolist()] for row in marks]


def _iterate_items(values: Iterable[Any], what: str) -> Iterable[Any]:
    """Yield values as Python's own types; values of numpy, pandas and pyarrow are converted."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise DataError(f"{what} is {short_repr(values, 40)}.", f"Give {what} as a list, or as a column of a table.")
    if getattr(values, "ndim", 1) != 1:
        raise DataError(f"{what} has {values.ndim} dimensions.", "Give one column of it.")  # type: ignore[attr-defined]
    # The method of numpy and pandas; the method of pyarrow.
    as_list = getattr(values, "tolist", getattr(values, "to_pylist", None))
    return values if as_list is None else as_list()


def _are_pairs(items: Sequence[Any]) -> bool:
    """Return whether the items are pairs of texts. The first item decides."""
    return bool(items) and _is_pair(items[0])


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(text, str) for text in item)


def _check_texts(texts: Iterable[Any], *, two: bool | None = None) -> list[Any]:
    """Check the texts, and return them as strings, or as tuples for pairs.

    `two` says whether they are pairs; if it is None, the first item shows it.
    """
    found = list(_iterate_items(texts, "texts"))
    if _are_pairs(found) if two is None else two:
        return [_check_pair(pair, row) for row, pair in enumerate(found)]
    for row, text in enumerate(found):
        if not isinstance(text, str):
            raise DataError(
                f"The text at position {row} (counted from 0) is {short_repr(text, 40)}, not a string.",
                "If it is a sequence of numbers, say its channels: fit(..., channels=3)."
                if isinstance(text, np.ndarray | list | tuple)
                else "Fill it, or leave it out with its label.",
            )
    # A subclass of str, such as numpy's, becomes a plain str.
    return [text if type(text) is str else str(text) for text in found]


def _check_pair(pair: Any, row: int) -> tuple[str, str]:
    if not _is_pair(pair):
        raise DataError(
            f"The item at position {row} (counted from 0) is {short_repr(pair, 40)}, not two texts.",
            "Give a tuple of two strings: (first, second).",
        )
    first, second = map(str, pair)
    return first, second


def _add_given_label(label: Any, row: int, given: dict[str, Any]) -> str:
    """Add a label to `given` under its name, and return the name."""
    label = label.item() if isinstance(label, np.generic) else label
    if not isinstance(label, str | int) or label == "":
        raise DataError(
            f"The label at position {row} (counted from 0) is {short_repr(label, 40)}.",
            "If a text can have several labels, give a list for each; else one label."
            if isinstance(label, _LISTS)
            else "Give a string that is not empty, a whole number or a boolean.",
        )
    name = str(label)
    before = given.setdefault(name, label)
    if type(before) is not type(label):
        raise DataError(
            f"The labels {short_repr(before)} and {short_repr(label)} have the same name.",
            "Give all of them as strings.",
        )
    return name


def _make_default_report(progress: bool) -> Callable[[Progress | Epoch | Notice], None]:
    """Make the default `report`. It shows events as log lines, or on standard error."""
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
    if isinstance(event, Notice):
        _log.log(logging.INFO if isinstance(event, StageNotice) else logging.WARNING, "%s", event.text)
    elif isinstance(event, Epoch):
        _log.info(
            "epoch %d  validation loss %.4f  accuracy %.1f%%",
            event.epoch,
            event.validation_loss,
            100 * event.validation_accuracy,
        )
