"""Labelled texts, some perhaps without a label, and their reader: files with a text and a label column."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import DataError, shown
from pocketrnn.tables.checks import listed
from pocketrnn_training.column_files import read_columns
from pocketrnn_training.stored import Spool, StoredTexts
from pocketrnn_training.teacher_answers import TeacherAnswers

__all__ = ["UNLABELLED", "LabelledTexts", "class_targets", "read_files", "read_texts", "split", "with_unlabelled"]

# The target of a row without a label.
UNLABELLED: Final = -1
_ROWS_COPIED: Final = 10_000


@dataclass(frozen=True)
class LabelledTexts:
    """Texts and the class of each.

    Attributes:
        texts: one a row.
        targets: int64 [rows], the index of a row's class in `labels`, or -1 for a row without a label, which only a
            teacher's answer can be learnt from.
        labels: the classes.
        source: where the rows come from, in words.
        licence: the licence of the rows, where it is known.
        answers: what a teacher answers for the rows.

    Example:
        >>> data = LabelledTexts(["so good", "so bad"], np.array([1, 0]), ("bad", "good"), "two reviews")
        >>> len(data), data.labels[data.targets[0]]
        (2, 'good')
    """

    texts: Sequence[str] = field(repr=False)
    targets: npt.NDArray[np.int64] = field(repr=False)
    labels: tuple[str, ...]
    source: str
    licence: str | None = None
    answers: TeacherAnswers | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.texts)

    def rows(self, chosen: npt.NDArray[np.int64]) -> LabelledTexts:
        """The chosen rows, int64 [chosen], in the order given. All labels stay, also of classes without a row.

        Example:
            >>> data = LabelledTexts(["good", "bad"], np.array([1, 0]), ("no", "yes"), source="two rows")
            >>> data.rows(np.array([1])).texts
            ['bad']
        """
        if isinstance(self.texts, StoredTexts):
            texts: Sequence[str] = self.texts.rows(chosen)
        else:
            texts = [self.texts[i] for i in chosen.tolist()]
        answers = None if self.answers is None else self.answers.rows(chosen)
        return replace(self, texts=texts, targets=self.targets[chosen], answers=answers)

    def with_answers(self, answers: TeacherAnswers) -> LabelledTexts:
        """The same rows with a teacher's answers.

        Raises:
            DataError: the answers are of another number of rows or of classes.

        Example:
            >>> data = LabelledTexts(["good", "bad"], np.array([1, -1]), ("no", "yes"), source="two rows")
            >>> data.with_answers(TeacherAnswers.of([[0.1, 0.9], [0.8, 0.2]])).answers.favourites().tolist()
            [1, 0]
        """
        if len(answers) != len(self) or answers.values.shape[1] != len(self.labels):
            raise DataError(
                f"The teacher answers {len(answers):,} rows with {answers.values.shape[1]} classes; the data has "
                f"{len(self):,} rows and {len(self.labels)} labels.",
                "Give one row of answers for each row of the data, and one column for each label.",
            )
        return replace(self, answers=answers)


def split(
    data: LabelledTexts, share: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split the rows in two, every class by the same share, in whatever order the labels stand.

    Rows without a label go to the first part.

    Args:
        data: the rows.
        share: the share of each class that goes to the second part. Each part has at least one row of each class.
        rng: decides which rows.

    Returns:
        The row numbers of the first and of the second part, int64, ascending.

    Raises:
        DataError: a class has one row only.
    """
    second = []
    for label, target in sorted(zip(data.labels, range(len(data.labels)), strict=True)):
        rows = np.flatnonzero(data.targets == target)
        if len(rows) < 2:
            raise DataError(
                f"The class {label!r} has {len(rows)} row{'s' if len(rows) != 1 else ''}.",
                "Every class needs two at least: one to train on, one to validate with.",
            )
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        second.append(rng.permutation(rows)[:count])
    held_out = np.zeros(len(data), dtype=bool)
    held_out[np.concatenate(second)] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def read_files(
    paths: Sequence[Path],
    *,
    text_column: str = "text",
    label_column: str = "label",
    labels: tuple[str, ...] | None = None,
    blank_labels: bool = False,
) -> LabelledTexts:
    """Read the files of one data set, one after the other.

    The suffix of a name decides the format: `.csv`, `.tsv` (both with a header line, quoted as spreadsheets do),
    `.jsonl` or `.ndjson` (a JSON object a line), `.parquet`. All are UTF-8. A label may be a whole number; it is kept
    as its digits. An empty text is kept; a missing text is refused, and a missing label is unless `blank_labels`.

    Args:
        paths: the files.
        text_column: the name of the column that holds the texts.
        label_column: the name of the column that holds the labels.
        labels: the classes and their order; without it, those that occur, sorted.
        blank_labels: keep rows without a label.

    Raises:
        DataError: a file is missing, unreadable, of another kind or not UTF-8; a column is missing; there is no row; a
            text or a label is missing; a label is not one of `labels`; without `labels`, there is one class only.

    Example:
        >>> data = read_files([Path("reviews.csv")], text_column="text", label_column="label")
        >>> data.labels
        ('bad', 'good')
    """
    codes = Spool()
    code_of: dict[str, int] = {}

    def code(label: str) -> int:
        return code_of.setdefault(label, len(code_of)) if label else UNLABELLED

    def texts_and_codes() -> Iterator[list[str]]:
        for path in paths:
            for texts, labels_of_rows in _checked_chunks(path, text_column, label_column, blank_labels):
                codes.write(array("q", map(code, labels_of_rows)).tobytes())
                yield texts

    texts = StoredTexts.of(texts_and_codes())
    source = ", ".join(path.name for path in paths)
    if not len(texts):
        raise DataError(f"{source} holds no rows.", "Give a file with labelled texts.")
    if labels is None:
        labels = tuple(sorted(code_of))
        if not labels:
            raise DataError(f"No row of {source} has a label.", "Give some rows of each class a label.")
        if len(labels) == 1:
            raise DataError(
                f"All {len(texts)} rows of {source} are of one class, {labels[0]!r}.",
                "A classifier needs rows of two classes at least.",
            )
    return LabelledTexts(texts, class_targets(codes.numbers(np.int64), tuple(code_of), labels, source), labels, source)


def read_texts(paths: Sequence[Path], labels: tuple[str, ...], *, text_column: str = "text") -> LabelledTexts:
    """The texts of files, without a label.

    Args:
        paths: files as for `read_files`; they need no column of labels, and one that they have is not read.
        labels: the classes that they would be of.
        text_column: the name of the column that holds the texts.

    Raises:
        DataError: a file is missing, unreadable, of another kind or not UTF-8; a column or a text is missing, or there
            is none.

    Example:
        >>> read_texts([Path("test.csv")], ("bad", "good")).targets.max()
        -1
    """
    nothing = LabelledTexts([], np.empty(0, np.int64), labels, "")
    data = with_unlabelled(nothing, paths, text_column=text_column)
    source = ", ".join(path.name for path in paths)
    if not len(data):
        raise DataError(f"{source} holds no rows.", "Give a file with texts.")
    return replace(data, source=source)


def with_unlabelled(data: LabelledTexts, paths: Sequence[Path], *, text_column: str = "text") -> LabelledTexts:
    """The rows of `data`, and after them the texts of files, without a label.

    Args:
        data: the rows.
        paths: files as for `read_files`; they need no column of labels, and one that they have is not read.
        text_column: the name of the column that holds the texts.

    Raises:
        DataError: a file is missing, unreadable, of another kind or not UTF-8; a column or a text is missing.

    Example:
        >>> data = with_unlabelled(read_files([Path("reviews.csv")]), [Path("test.csv")])
        >>> len(data), int((data.targets == -1).sum())
        (40, 20)
    """

    def chunks() -> Iterator[list[str]]:
        for start in range(0, len(data), _ROWS_COPIED):
            yield list(data.texts[start : start + _ROWS_COPIED])
        for path in paths:
            before = 0
            for (texts,) in read_columns(path, (text_column,)):
                _check_values(texts, (str,), text_column, path, before)
                before += len(texts)
                yield texts

    texts = StoredTexts.of(chunks())
    unlabelled = np.full(len(texts) - len(data), UNLABELLED)
    source = ", ".join([data.source, *(path.name for path in paths)])
    return replace(data, texts=texts, targets=np.concatenate((data.targets, unlabelled)), source=source)


def _checked_chunks(
    path: Path, text_column: str, label_column: str, blank_labels: bool
) -> Iterator[tuple[list[str], list[str]]]:
    """The texts and the labels of one file, checked, some thousand rows at a time; "" for a label that is left out."""
    before = 0
    for texts, labels in read_columns(path, (text_column, label_column)):
        _check_values(texts, (str,), text_column, path, before)
        if blank_labels:
            labels = ["" if label is None else label for label in labels]
        _check_values(labels, (str, int), label_column, path, before)
        if "" in labels and not blank_labels:
            row = before + labels.index("") + 1
            raise DataError(
                f"Row {row} of {path} has nothing in the column {label_column!r}.", "Fill it, or delete the row."
            )
        before += len(texts)
        yield texts, list(map(str, labels))


def class_targets(
    codes: npt.NDArray[np.int64], names: tuple[str, ...], labels: tuple[str, ...], source: str
) -> npt.NDArray[np.int64]:
    """The targets of rows whose labels are known by codes.

    Args:
        codes: int64 [rows]; the label of a row is names[code], and -1 is no label.
        names: the labels that occur.
        labels: the classes, in the order that the targets count.
        source: where the rows come from, for the error.

    Returns:
        int64 [rows], the index of each row's label in `labels`.

    Raises:
        DataError: a name is not one of `labels`.
    """
    index = {label: target for target, label in enumerate(labels)}
    if unknown := sorted(set(names) - index.keys()):
        raise DataError(
            f"{source} holds the label {unknown[0]!r}, which is not one of {listed(labels)}.",
            "Use rows of the classes that the classifier was trained with.",
        )
    # The last one is what the code -1 finds.
    return np.array([*(index[label] for label in names), UNLABELLED], dtype=np.int64)[codes]


def _check_values(values: list[Any], types: tuple[type, ...], column: str, path: Path, before: int) -> None:
    for row, value in enumerate(values, start=before + 1):
        # By type, not isinstance: True is an int in Python, but no class number.
        if type(value) not in types:
            wanted = "text" if int not in types else "text or a whole number"
            what = "nothing" if value is None else f"{shown(value, 40)}, which is not {wanted},"
            raise DataError(f"Row {row} of {path} has {what} in the column {column!r}.", "Fill it, or delete the row.")
