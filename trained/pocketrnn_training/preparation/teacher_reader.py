"""Read the answers of teachers: from files of probabilities, or by running classifiers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pocketrnn.classifier import Classifier
from pocketrnn.errors import DataError, short_repr
from pocketrnn.tables.column_and_label_checks import list_first_names
from pocketrnn.text import TextEncoder
from pocketrnn.text.text_input import TextInput
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.classifiers.checkpoint import Checkpoint
from pocketrnn_training.classifiers.logits_of_encoded_rows import compute_logits
from pocketrnn_training.rows.disk_backed_data import ByteBuffer
from pocketrnn_training.rows.encoded_rows import EncodedTexts
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.rows.table_files import SUFFIXES, read_column_names, read_columns
from pocketrnn_training.rows.teacher_answers import TeacherAnswers, average_teacher_answers, normalize_probabilities

__all__ = ["read_teacher"]

# The columns that hold a list of all values of a row.
_LISTS: Final = ("probabilities", "logits")
_ALL_COLUMNS: Final = "Give every row a value for each label, or null for each to leave it without an answer."
_SAME_ROWS: Final = "Give one row of answers for each row of the data, in its order."


def read_teacher(
    sources: Sequence[str | Path],
    data: LabelledTexts,
    *,
    logits: bool = False,
    text_column: str = "text",
    label_column: str = "label",
) -> TeacherAnswers:
    """Read or compute a teacher's probabilities for the rows of `data`; average them if there are several teachers.

    A teacher is a file (`.csv`, `.tsv`, `.jsonl`, `.ndjson` or `.parquet`) with a row for each row of the data, in the
    same order; or a classifier, which is run on the texts: the folder of a checkpoint, or an argument of
    `Classifier.load`.

    A file has a column for each label, with the label as its name; or one column named `probabilities` or `logits`,
    with a list of numbers in the order of `data.labels`. A row whose values are all empty has no answer. If the file
    also has a column of texts, they must be the texts of the data.

    Args:
        sources: the teachers: paths or names.
        data: the rows.
        logits: whether the files hold logits. A column named `logits` always does.
        text_column: the name of the column of texts, if a file has one.
        label_column: the name of a column of labels, which a file may have and which is not read.

    Raises:
        DataError: a file cannot be read; it has other rows, texts or labels than the data; a value is not a finite
            number, or the values of a row are not probabilities; a classifier has other labels.
        CheckpointError, BundleError: a classifier cannot be read.

    Example:
        >>> data = read_files([Path("reviews.csv")])
        >>> len(read_teacher(["reviews.checkpoint"], data)) == len(data)
        True
    """
    if not sources:
        raise DataError(
            "The argument `sources` is empty, but it must name at least one teacher.",
            "Give the path of a file of probabilities, or of a classifier.",
        )
    answers = []
    for source in sources:
        path = Path(source)
        if path.suffix.lower() in SUFFIXES and not path.is_dir():
            answers.append(_read_teacher_answers_from_file(path, data, logits, text_column, label_column))
        else:
            answers.append(_run_teacher_classifier(str(source), data))
    return average_teacher_answers(answers)


def _run_teacher_classifier(path_or_name: str, data: LabelledTexts) -> TeacherAnswers:
    """Run a teacher, the classifier of a checkpoint or a bundle, on the texts of the data.

    Returns:
        The probabilities of the teacher, with classes in the order of `data.labels`.

    Raises:
        DataError: the classifier has other labels, gives several labels to a text, or does not take one text.
    """
    folder = Path(path_or_name)
    if (folder / checkpoints.CONFIG_JSON).is_file():
        checkpoint = checkpoints.read(folder)
        _refuse_teacher_of_several_labels(checkpoint.name, checkpoint.activation)
        if checkpoint.two_texts:
            raise DataError(
                f"The teacher {checkpoint.name} reads pairs of texts, but each row of the data has one text.",
                "Name a classifier of single texts as the teacher.",
            )
        name, labels = checkpoint.name, checkpoint.labels
        order = _find_position_of_each_label(name, labels, data.labels)
        values = _compute_probabilities(checkpoint, data.texts)
    else:
        classifier = Classifier.load(path_or_name)
        if not isinstance(classifier.manifest.input, TextInput):
            raise DataError(
                f"The teacher {classifier.name} reads sequences of numbers, but each row of the data has a text.",
                "Name a classifier of texts as the teacher.",
            )
        classifier.manifest.require_single_text("a teacher")
        classifier.manifest.require_single_head("a teacher")
        _refuse_teacher_of_several_labels(classifier.name, classifier.manifest.output.activation)
        name, labels = classifier.name, classifier.labels
        order = _find_position_of_each_label(name, labels, data.labels)
        values = classifier.predict_proba(data.texts)
    return TeacherAnswers.of(values[:, order], sources=(name,))


def _refuse_teacher_of_several_labels(teacher: str, activation: str) -> None:
    """Raise a DataError if the teacher of this name can give a text several labels: its activation is `sigmoid`."""
    if activation == "sigmoid":
        raise DataError(
            f"The teacher {teacher} gives any number of labels to a text, but a teacher must give exactly one.",
            "Name a teacher that gives each text one label.",
        )


def _find_position_of_each_label(teacher: str, labels: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Find the position in `labels`, the labels of a teacher, of each of the labels `wanted`.

    Raises:
        DataError: the teacher does not have exactly the wanted labels.
    """
    if set(labels) != set(wanted):
        raise DataError(
            f"The teacher {teacher} has the labels {list_first_names(labels)}, but the data has the labels "
            f"{list_first_names(wanted)}.",
            "Name a teacher that was trained with the labels of the data.",
        )
    return [list(labels).index(label) for label in wanted]


def _compute_probabilities(checkpoint: Checkpoint, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Compute the probabilities of a checkpoint's classes for texts, float32 [texts, classes]."""
    encoded = EncodedTexts.from_texts(texts, TextEncoder(checkpoint.text_rules, checkpoint.vocabulary))
    # A padded classifier reads texts one by one, as its bundle does.
    values: npt.NDArray[np.float32] = compute_logits(checkpoint.module, encoded, 1).softmax(dim=1).numpy()
    return values


def _read_teacher_answers_from_file(
    path: Path, data: LabelledTexts, logits: bool, text_column: str, label_column: str
) -> TeacherAnswers:
    """Read a teacher's answers from a file that has a row for each row of the data, in the same order.

    Args:
        data: the rows, whose number, labels and texts the file must have.
        logits: whether the values are logits; a column named `logits` says so, too.
        text_column: the column of texts, which is compared with the data if the file has it.
        label_column: a column that the file may have and that is not read.

    Raises:
        DataError: the file cannot be read, does not fit the data, or holds a value that cannot be used.
    """
    names = read_column_names(path)
    columns = _find_value_columns(path, names, data.labels, (text_column, label_column))
    is_list, has_texts = columns[0] not in data.labels, text_column in names
    logits = logits or columns == ["logits"]
    values, answered = ByteBuffer(), ByteBuffer()
    texts = iter(data.texts)
    before = 0
    for chunk in read_columns(path, [*columns, text_column] if has_texts else columns, _ALL_COLUMNS):
        rows = len(chunk[0])
        # Rows after the last row of the data are only counted, for the error.
        if before + rows <= len(data):
            if has_texts:
                _check_same_texts(chunk[-1], list(islice(texts, rows)), path, before)
            lists = (
                _parse_number_list_of_each_row(chunk[0], len(data.labels), path, before)
                if is_list
                else list(map(list, zip(*chunk[: len(columns)], strict=True)))
            )
            numbers, known = _parse_numbers_and_mark_answered(lists, columns, path, before)
            places = before + np.flatnonzero(known)
            values.write(normalize_probabilities(numbers[known], places, str(path), logits=logits).tobytes())
            answered.write(known.tobytes())
        before += rows
    if before != len(data):
        raise DataError(f"{path} has {before:,} rows, but the data has {len(data):,} rows.", _SAME_ROWS)
    known = answered.numbers(np.bool_)
    if not known.any():
        raise DataError(
            f"All values of {path} are empty, so the teacher has no answer for any row.",
            "Give the teacher's numbers for at least one row.",
        )
    probabilities = values.numbers(np.float32).reshape(-1, len(data.labels))
    return TeacherAnswers(probabilities, np.where(known, np.cumsum(known) - 1, -1), (path.name,))


def _find_value_columns(
    path: Path, columns: Sequence[str], labels: Sequence[str], other_columns: Sequence[str]
) -> list[str]:
    """Find the columns of a file that hold a teacher's answers: a column for each label, or one column of lists.

    Args:
        path: the file, for the error.
        columns: the names of all its columns.
        labels: the labels of the data.
        other_columns: the names of columns that may be there, too, such as the texts.

    Raises:
        DataError: a label has no column, or a column is neither a label nor one of `other_columns`.
    """
    missing = [label for label in labels if label not in columns]
    if len(missing) == len(labels):
        lists = [name for name in _LISTS if name in columns]
        if len(lists) == 1:
            return lists
        raise DataError(
            f"{path} has no column for the label {missing[0]!r}. Its columns are "
            f"{list_first_names(columns) or 'none'}.",
            "Give a column for each label, with the label as its name; or one column named probabilities or logits, "
            "with a list of numbers in each row.",
        )
    if missing:
        raise DataError(
            f"{path} has no column for {'the label' if len(missing) == 1 else 'the labels'} "
            f"{list_first_names(missing)}.",
            "Give a column for each label of the data, with the label as its name.",
        )
    if unknown := [name for name in columns if name not in labels and name not in other_columns]:
        raise DataError(
            f"{path} has the column {unknown[0]!r}, but the data has only the labels {list_first_names(labels)}.",
            "Remove this column from the file.",
        )
    return list(labels)


def _check_same_texts(found: list[Any], wanted: list[str], path: Path, rows_before: int) -> None:
    """Raise a DataError if some texts of a file are not the texts of the same rows of the data.

    Args:
        found: the texts of the file.
        wanted: the texts of the data.
        path: the file, for the error.
        rows_before: how many rows come before these texts, so that the error can name the row.
    """
    for row, (text, other) in enumerate(zip(found, wanted, strict=True), start=rows_before + 1):
        if text != other:
            raise DataError(
                f"Row {row} of {path} has the text {short_repr(text, 40)}, but the same row of the data has "
                f"{short_repr(other, 40)}.",
                _SAME_ROWS,
            )


def _parse_number_list_of_each_row(values: list[Any], classes: int, path: Path, rows_before: int) -> list[list[Any]]:
    """Parse a column of lists of numbers, which are strings such as "[0.9, 0.1]" if they come from CSV.

    Args:
        values: the values of the column; an empty value becomes a list of None.
        classes: the length that each list must have.
        path: the file, for the error.
        rows_before: how many rows come before, so that the error can name the row.

    Raises:
        DataError: a value is not a list of this length.
    """
    lists = []
    for row, value in enumerate(values, start=rows_before + 1):
        found = value
        if isinstance(value, str) and value:
            with suppress(ValueError, RecursionError):
                found = json.loads(value)
        if found is None or found == "":
            found = [None] * classes
        if not isinstance(found, list) or len(found) != classes:
            raise DataError(
                f"Row {row} of {path} has {short_repr(value, 40)}, but it must be a list of exactly {classes} numbers.",
                "Give one number for each label of the data, in the sorted order of the labels.",
            )
        lists.append(found)
    return lists


def _parse_numbers_and_mark_answered(
    rows: list[list[Any]], columns: Sequence[str], path: Path, rows_before: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Convert the values of rows to numbers, and mark the rows with an answer, whose values are not empty.

    Args:
        rows: the values of each row.
        columns: the column of each value, or the one column of lists, for the error.
        path: the file, for the error.
        rows_before: how many rows come before, so that the error can name the row.

    Returns:
        float64 [rows, classes], zeros for a row without an answer; and bool [rows].

    Raises:
        DataError: a value is not a number, or only some values of a row are empty.
    """
    numbers = np.zeros((len(rows), len(rows[0]) if rows else 0))
    known = np.ones(len(rows), dtype=bool)
    for i, row in enumerate(rows):
        if all(value is None or value == "" for value in row):
            known[i] = False
            continue
        for j, value in enumerate(row):
            try:
                numbers[i, j] = _convert_to_float_unless_boolean(value)
            except (TypeError, ValueError, OverflowError):
                column = columns[min(j, len(columns) - 1)]
                what = "nothing" if value in (None, "") else short_repr(value, 40)
                raise DataError(
                    f"Row {rows_before + i + 1} of {path} has {what} in the column {column!r}, but it must be a "
                    "number.",
                    "Give a number for each label; or, if the teacher has no answer for this row, leave all its values "
                    "empty.",
                ) from None
    return numbers, known


def _convert_to_float_unless_boolean(value: Any) -> float:
    """Convert a number, or a string that holds one, to a float; raise a TypeError for True, False and other types."""
    # The exact type: True is an int in Python, but not a probability.
    if type(value) in (float, int, str, Decimal):
        return float(value)
    raise TypeError
