"""Make labelled rows from texts or sequences of numbers and their labels in memory, and refuse wrong values.

The values are in lists, or in columns of numpy, pandas or pyarrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from pocketrnn.errors import DataError, InputError, SequenceError, short_repr
from pocketrnn.numbers.number_input import NumberInput, convert_sequence_to_array
from pocketrnn_training.rows.class_labels import convert_codes_to_targets, sort_and_check_classes
from pocketrnn_training.rows.labelled_pairs import LabelledPairs
from pocketrnn_training.rows.labelled_sequences import LabelledSequences, Recording, make_labelled_sequences
from pocketrnn_training.rows.labelled_texts import LabelledTexts, make_multi_label_texts
from pocketrnn_training.settings.sequence_reading_options import SequenceOptions

__all__ = ["GivenLabels", "check_texts", "make_number_rules", "make_rows_of_sequences", "make_rows_of_texts"]

# Labels as they were given, by their names: the number 1 has the name "1".
GivenLabels = dict[str, Any]

_SOURCE: Final = "texts given in Python"
_LISTS: Final = (list, tuple, set, frozenset, np.ndarray)


def make_rows_of_texts(
    texts: Iterable[Any],
    labels: Iterable[Any],
    classes: tuple[str, ...] | None = None,
    *,
    several_labels: bool | None = None,
) -> tuple[LabelledTexts, GivenLabels]:
    """Make labelled rows from texts or pairs of texts in memory.

    Args:
        texts: the texts, or tuples of two texts.
        labels: one label for each text; a list of labels for each; or a table of zeros and ones [texts, labels].
        classes: the classes and their order; without them, the labels that occur, sorted by their names.
        several_labels: whether each text has a list of labels; with None, this is so if the first item of `labels` is
            a list.

    Returns:
        The rows; and each label as the user gave it, by its name: {"1": 1} if a label is the number 1.

    Raises:
        DataError: the numbers of texts and labels differ; an item is not a text; a label is neither a string nor a
            whole number, or is not one of `classes`; or only one class occurs.
    """
    checked, given_labels = check_texts(texts), dict[str, Any]()
    if _first_item_is_pair_of_texts(checked):
        firsts, seconds = (list(some) for some in zip(*checked, strict=True))
        data, given_labels = make_rows_of_texts(firsts, labels, classes, several_labels=several_labels)
        return LabelledPairs.of(data, seconds), given_labels
    values = _read_labels_from_table_of_zeros_and_ones(labels) or _convert_to_list(labels, "labels")
    if len(values) != len(checked):
        raise DataError(
            f"There are {len(checked):,} texts, but {len(values):,} labels.", "Give exactly one label for each text."
        )
    if not checked:
        raise DataError("The list of texts is empty.", "Give at least two texts, and a label for each.")
    if several_labels is None:
        several_labels = isinstance(values[0], _LISTS)
    if several_labels:
        return _make_multi_label_rows_from_lists(checked, values, classes, given_labels), given_labels
    names = [_check_and_add_given_label(label, row, given_labels) for row, label in enumerate(values)]
    if classes is None:
        classes = sort_and_check_classes(given_labels, f"{len(checked):,} texts", "texts")
    code_of = {name: code for code, name in enumerate(given_labels)}
    codes = np.fromiter(map(code_of.__getitem__, names), np.int64, len(names))
    return LabelledTexts(
        checked, convert_codes_to_targets(codes, tuple(given_labels), classes, _SOURCE), classes, _SOURCE
    ), given_labels


def make_number_rules(channels: Sequence[str] | int, numbers: Mapping[str, Any]) -> NumberInput:
    """Make the rules by which sequences of numbers are read, such as their channels and their window.

    Args:
        channels: the names of the channels, or the number of channels.
        numbers: other options by name: `missing`, `integer_scale`, `units`, `window`, `hop` and `rate`.

    Raises:
        InputError: `numbers` has another name, or a value is out of its range.
    """
    known = ("missing", "integer_scale", "units", "window", "hop", "rate")
    if unknown := sorted(numbers.keys() - set(known)):
        raise InputError(
            f"The argument `numbers` has the key {unknown[0]!r}, which is not the name of an option.",
            f"Use only these keys: {', '.join(known)}.",
        )
    numbers = dict(numbers)
    for name in ("integer_scale", "units"):
        if (given := numbers.get(name)) is not None:
            if not isinstance(given, list | tuple):
                raise InputError(
                    f"numbers[{name!r}] is {short_repr(given)}, but it must be a list.",
                    "Give a list with exactly one value for each channel.",
                )
            numbers[name] = tuple(given)
    if isinstance(channels, int):
        return SequenceOptions(None, None, **numbers).rules(channels)
    return SequenceOptions(tuple(channels), None, **numbers).rules(len(channels))


def make_rows_of_sequences(
    sequences: Iterable[Any], labels: Iterable[Any], rules: NumberInput, classes: tuple[str, ...] | None = None
) -> tuple[LabelledSequences, GivenLabels]:
    """Make labelled rows from sequences of numbers in memory.

    Args:
        sequences: arrays [time, channels].
        labels: one label for each sequence.
        rules: the channels and the other number rules.
        classes: the classes and their order; without them, the labels that occur, sorted by their names.

    Returns:
        The rows; and each label as the user gave it, by its name: {"1": 1} if a label is the number 1.

    Raises:
        DataError: the numbers of sequences and labels differ; an item is not a sequence with these channels; a label is
            neither a string nor a whole number, or is not one of `classes`; or only one class occurs.
    """
    if isinstance(sequences, str | bytes | Mapping) or not isinstance(sequences, Iterable):
        raise DataError(
            f"The sequences must be a list of arrays, but they are {short_repr(sequences, 40)}.",
            "Give a list of arrays [time, channels].",
        )
    arrays, values = list(sequences), _convert_to_list(labels, "labels")
    if len(arrays) != len(values):
        raise DataError(
            f"There are {len(arrays):,} sequences, but {len(values):,} labels.",
            "Give exactly one label for each sequence.",
        )
    given_labels: GivenLabels = {}
    recordings = []
    for row, (array, label) in enumerate(zip(arrays, values, strict=True)):
        name = f"the sequence at position {row} (counted from 0)"
        try:
            samples = convert_sequence_to_array(array, rules.channels, rules.integer_scale)
        except SequenceError as error:
            raise DataError(f"T{name[1:]} cannot be used: {error.problem}", error.remedy) from None
        recordings.append(Recording(name, samples, _check_and_add_given_label(label, row, given_labels)))
    return make_labelled_sequences(recordings, rules, classes, "sequences given in Python"), given_labels


def _make_multi_label_rows_from_lists(
    texts: list[str], label_lists: Sequence[Any], classes: tuple[str, ...] | None, given_labels: GivenLabels
) -> LabelledTexts:
    """Make labelled rows from texts that have a list of labels each.

    Args:
        texts: the texts.
        label_lists: a list of labels for each text, as the user gave them.
        classes: the classes and their order; None for the labels that occur, sorted.
        given_labels: a dict to which this function adds each label as the user gave it, by its name.

    Raises:
        DataError: an item of `label_lists` is not a list, or a label cannot be used.
    """
    names: list[list[str]] = []
    for row, value in enumerate(label_lists):
        if not isinstance(value, _LISTS):
            raise DataError(
                f"The labels of each text must be a list, but those at position {row} (counted from 0) are "
                f"{short_repr(value, 40)}.",
                "Give a list of labels for each text: an empty list for a text without a label.",
            )
        names.append([_check_and_add_given_label(label, row, given_labels) for label in value])
    code_of = {name: code for code, name in enumerate(given_labels)}
    codes = np.fromiter((code_of[name] for some in names for name in some), np.int64)
    counts = np.fromiter(map(len, names), np.int64, len(names))
    return make_multi_label_texts(texts, codes, counts, tuple(given_labels), classes, _SOURCE)


def _read_labels_from_table_of_zeros_and_ones(labels: Any) -> list[list[Any]] | None:
    """List the labels of each text from a table of zeros and ones [texts, labels], as scikit-learn uses it.

    A label is the name of a column or, in a table without names, the number of the column. Return None if `labels` does
    not have two dimensions.

    Raises:
        DataError: the table holds other values than 0 and 1.
    """
    if getattr(labels, "ndim", 1) != 2:
        return None
    marks = np.asarray(labels.toarray() if hasattr(labels, "toarray") else labels)
    if not np.isin(marks, (0, 1)).all():
        raise DataError(
            "The labels are a table [texts, labels], so they must all be 0 or 1, but other values occur.",
            "Write 1 where a text has the label of a column, else 0; or give a list with one label for each text.",
        )
    names = list(getattr(labels, "columns", range(marks.shape[1])))
    return [[names[i] for i in np.flatnonzero(row).tolist()] for row in marks]


def _convert_to_list(values: Iterable[Any], argument: str) -> list[Any]:
    """Convert the texts or labels that the user gave to a list.

    Values of numpy, pandas and pyarrow become Python's own.

    Args:
        values: what the user gave.
        argument: what the error calls it, `texts` or `labels`.

    Raises:
        DataError: `values` is one string, is not iterable, or has several dimensions.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise DataError(
            f"The argument `{argument}` must be a list, but it is {short_repr(values, 40)}.",
            f"Give `{argument}` as a list, or as a column of a table of numpy, pandas or pyarrow.",
        )
    if getattr(values, "ndim", 1) != 1:
        dimensions = values.ndim  # type: ignore[attr-defined]
        raise DataError(
            f"The argument `{argument}` must have exactly one dimension, but it has {dimensions}.",
            "Give a list, or one column of the table.",
        )
    # The method of numpy and pandas; the method of pyarrow.
    as_list = getattr(values, "tolist", getattr(values, "to_pylist", None))
    return list(values) if as_list is None else as_list()


def _first_item_is_pair_of_texts(items: Sequence[Any]) -> bool:
    """Return whether the first item is a pair of strings; False if there are no items."""
    return bool(items) and _is_pair(items[0])


def _is_pair(item: Any) -> bool:
    """Return whether an item is a tuple or list of two strings."""
    return isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(text, str) for text in item)


def check_texts(texts: Iterable[Any], *, two_texts: bool | None = None) -> list[Any]:
    """Check that all items are texts or all are pairs of texts, and return them as strings or tuples of two strings.

    Args:
        texts: the texts, or tuples of two texts.
        two_texts: whether each item must be a pair of texts; with None, all items must be pairs if the first one is.

    Raises:
        DataError: an item is not a text, or not a pair of texts if pairs are required.
    """
    found = _convert_to_list(texts, "texts")
    if _first_item_is_pair_of_texts(found) if two_texts is None else two_texts:
        return [_check_pair(pair, row) for row, pair in enumerate(found)]
    for row, text in enumerate(found):
        if not isinstance(text, str):
            raise DataError(
                f"The text at position {row} (counted from 0) must be a string, but it is {short_repr(text, 40)}.",
                "If your inputs are sequences of numbers, say how many channels they have: fit(..., channels=3)."
                if isinstance(text, np.ndarray | list | tuple)
                else "Give a string in its place, or leave out this item and its label.",
            )
    # A subclass of str, such as numpy's, becomes a plain str.
    return [text if type(text) is str else str(text) for text in found]


def _check_pair(pair: Any, row: int) -> tuple[str, str]:
    """Return a pair of texts as a tuple of two plain `str`, also if they are of a subclass of `str`.

    Raises:
        DataError: the item at position `row` is not a pair of texts.
    """
    if not _is_pair(pair):
        raise DataError(
            f"The item at position {row} (counted from 0) must be a pair of texts, but it is {short_repr(pair, 40)}.",
            "Give a tuple of two strings: (first, second).",
        )
    first, second = map(str, pair)
    return first, second


def _check_and_add_given_label(label: Any, row: int, given_labels: GivenLabels) -> str:
    """Check a label, add it to `given_labels` under its name, and return the name: the number 1 has the name "1".

    Args:
        label: the label as the user gave it.
        row: the position of its text, for the error.
        given_labels: the labels so far, by name.

    Raises:
        DataError: the label is neither a string nor a whole number; or `given_labels` has a label of another type under
            its name, such as the number 1 and the string "1".
    """
    label = label.item() if isinstance(label, np.generic) else label
    if not isinstance(label, str | int) or label == "":
        raise DataError(
            f"The label at position {row} (counted from 0) is {short_repr(label, 40)}, but a label must be a string "
            "that is not empty, a whole number or a boolean.",
            "Give one label for each text; or, if a text can have several labels, give a list of labels for each text."
            if isinstance(label, _LISTS)
            else "Give such a label in its place.",
        )
    name = str(label)
    before = given_labels.setdefault(name, label)
    if type(before) is not type(label):
        raise DataError(
            f"The labels {short_repr(before)} and {short_repr(label)} are of different types, but both become "
            f"{name!r} as a string.",
            "Give all labels as strings, or all as numbers.",
        )
    return name
