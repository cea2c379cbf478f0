"""Labelled texts and the reader of their files. Some texts may lack a label.

A file has a column of texts and a column of labels.

Each text has one label; or, in a multi-label data set, any number of labels.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any, ClassVar, Final, Self, TypeVar

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import DataError, InputError, short_repr
from pocketrnn.tables.encodings import UTF8
from pocketrnn.tables.row_batches import LABEL_SEPARATOR
from pocketrnn.tables.row_checks import check_same_labels, list_first_names
from pocketrnn_training.rows.column_files import COLUMN_REMEDY, read_columns
from pocketrnn_training.rows.disk_backed_data import ByteBuffer, StoredTexts
from pocketrnn_training.rows.labelled_rows import UNLABELLED, LabelledRows, check_labelled, normalize_label, split_rows
from pocketrnn_training.rows.teacher_answers import TeacherAnswers
from pocketrnn_training.settings.base_settings import Settings

__all__ = [
    "LabelledTexts",
    "make_class_targets",
    "make_multi_label_texts",
    "parse_labels",
    "read_files",
    "read_labelled_columns",
    "read_texts",
    "select_texts",
    "separate_outside_rows",
    "sort_classes",
    "with_unlabelled",
]

# The most rows times labels where a text can have several labels: each takes a byte of memory.
_MOST_ANSWERS: Final = 2**31
_ROWS_COPIED: Final = 10_000
_NONE_OF_SEVERAL: Final = (
    "Where a text can have several labels, a text of none of the classes has no label, so outside has no meaning."
)


_Rows = TypeVar("_Rows", bound="LabelledTexts")


@dataclass(frozen=True)
class LabelledTexts(LabelledRows):
    """Texts, each with one class or with any number of labels.

    Attributes:
        texts: one a row.
        targets: int64 [rows], the index of a row's class in `labels`, or -1 for a row without a label, from which only
            a teacher's answer is learnt. Or, where a text can have several labels, bool [rows, labels].
        labels: the classes.
        source: where the rows come from, in words.
        licence: the licence of the rows, where it is known.
        answers: what a teacher answers for the rows.
        outside: texts that are of none of the classes; they are not among the rows.

    Example:
        >>> data = LabelledTexts(["so good", "so bad"], np.array([1, 0]), ("bad", "good"), "two reviews")
        >>> len(data), data.labels[data.targets[0]]
        (2, 'good')
    """

    ROW: ClassVar[str] = "text"
    STEPS: ClassVar[str] = "tokens"

    texts: Sequence[str] = field(repr=False)
    targets: npt.NDArray[Any] = field(repr=False)
    labels: tuple[str, ...]
    source: str
    licence: str | None = None
    answers: TeacherAnswers | None = field(default=None, repr=False)
    outside: Sequence[str] = field(default=(), repr=False)

    @property
    def inputs(self) -> Sequence[str]:
        """The texts."""
        return self.texts

    @property
    def single_texts(self) -> LabelledTexts:
        """Return rows of one text each.

        These are the rows themselves; for pairs, each text with the labels of its pair.

        Example:
            >>> data.single_texts is data
            True
        """
        return self

    @property
    def hashes(self) -> npt.NDArray[np.int64]:
        """Compute a hash of each input, int64 [rows].

        Among 3,000,000 different inputs, two have the same hash in one of 4,000,000 runs.

        Example:
            >>> first, second = LabelledTexts(["a", "a"], np.array([0, 1]), ("no", "yes"), "two rows").hashes
            >>> bool(first == second)
            True
        """
        return np.fromiter(map(hash, self.inputs), dtype=np.int64, count=len(self))

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """Return the same number for rows of the same text, int64 [rows].

        Example:
            >>> LabelledTexts(["a", "a"], np.array([0, 1]), ("no", "yes"), "two rows").groups.shape
            (2,)
        """
        return self.hashes

    def format_row(self, row: int) -> str:
        """Format a row for a report: its text.

        Example:
            >>> LabelledTexts(["good"], np.array([0]), ("yes",), "a row").format_row(0)
            'good'
        """
        return self.texts[row]

    def split(self, validation: LabelledTexts | None, settings: Settings) -> tuple[LabelledTexts, LabelledTexts]:
        """Split the rows into the training and the validation rows of a run.

        If no validation rows are given, a part of each class is held out. A row whose text is also in the training part
        is trained on and not held out, so that validation texts are not memorized; but the last validation row of a
        class stays. A row without a label whose text is a validation text is left out.

        Raises:
            DataError: the validation rows have other labels than the data, or are unlabelled; not one class has two
                rows; all rows are unlabelled, and there are no validation rows.

        Example:
            >>> rows = LabelledTexts(["a", "b", "c", "d"], np.array([0, 1, 0, 1]), ("no", "yes"), source="four rows")
            >>> training, held_out = rows.split(None, TextSettings())
            >>> len(training), len(held_out)
            (2, 2)
        """
        hashes = self.hashes
        if validation is not None:
            remedy = "Read them with the labels of the training rows."
            check_same_labels(validation.labels, self.labels, "The validation rows have other labels", remedy)
            if validation.several_labels != self.several_labels:
                raise DataError(
                    f"The validation rows have {'any number of labels' if validation.several_labels else 'one label'} "
                    "each, but the training rows do not.",
                    f"Read them with multi_label={self.several_labels}.",
                )
            check_labelled(validation, "validation row", "Validate with labelled rows only.")
            copies = ~self.labelled & np.isin(hashes, validation.hashes)
            return self.rows(np.flatnonzero(~copies)) if copies.any() else self, validation
        training_rows, held_out = split_rows(self, settings.validation_share, np.random.default_rng(settings.seed))
        labelled = self.labelled[training_rows]
        leaks = held_out[np.isin(hashes[held_out], hashes[training_rows[labelled]])]
        if len(leaks):
            others = self.counts(np.setdiff1d(held_out, leaks)) > 0
            of_leaks = self.targets[leaks]
            leaks = leaks[(others | ~of_leaks).all(axis=1) if self.several_labels else others[of_leaks]]
            training_rows = np.sort(np.concatenate((training_rows, leaks)))
            held_out = np.setdiff1d(held_out, leaks)
        copies = ~self.labelled[training_rows] & np.isin(hashes[training_rows], hashes[held_out])
        training_rows = training_rows[~copies]
        return self.rows(training_rows), replace(self.rows(held_out), outside=())

    def rows(self, chosen: npt.NDArray[np.int64]) -> Self:
        """Return the chosen rows, int64 [chosen], in the given order. Labels without a row are kept.

        Example:
            >>> data = LabelledTexts(["good", "bad"], np.array([1, 0]), ("no", "yes"), source="two rows")
            >>> data.rows(np.array([1])).texts
            ['bad']
        """
        answers = None if self.answers is None else self.answers.rows(chosen)
        return replace(self, texts=select_texts(self.texts, chosen), targets=self.targets[chosen], answers=answers)

    def add_teacher_answers(self, answers: TeacherAnswers) -> LabelledTexts:
        """Return the same rows with a teacher's answers.

        Raises:
            DataError: the answers have another number of rows or of classes.

        Example:
            >>> data = LabelledTexts(["good", "bad"], np.array([1, -1]), ("no", "yes"), source="two rows")
            >>> taught = data.add_teacher_answers(TeacherAnswers.of([[0.1, 0.9], [0.8, 0.2]]))
            >>> taught.answers.likeliest_classes().tolist()
            [1, 0]
        """
        if len(answers) != len(self) or answers.values.shape[1] != len(self.labels):
            raise DataError(
                f"The teacher answers {len(answers):,} rows with {answers.values.shape[1]} classes; the data has "
                f"{len(self):,} rows and {len(self.labels)} labels.",
                "Give one row of answers for each row of the data, and one column for each label.",
            )
        return replace(self, answers=answers)


def select_texts(texts: Sequence[str], chosen: npt.NDArray[np.int64]) -> Sequence[str]:
    """Select the chosen texts, int64 [chosen], in the given order. Texts in a file are not read."""
    return texts.rows(chosen) if isinstance(texts, StoredTexts) else [texts[i] for i in chosen.tolist()]


def separate_outside_rows(data: _Rows, label: str) -> _Rows:
    """Remove one label from the classes. The texts of its rows become `outside`: they belong to none of the classes.

    Args:
        data: rows with one label each.
        label: the label of rows that are of none of the classes.

    Raises:
        DataError: no row has the label, only one class is left, or the rows have any number of labels.
    """
    if data.several_labels:
        raise DataError(_NONE_OF_SEVERAL, "Leave it out, and give these texts an empty list of labels.")
    if label not in data.labels:
        raise DataError(
            f"No row of {data.source} has the label {label!r} of --outside; there are {list_first_names(data.labels)}.",
            "Name the label of the rows that are of none of the classes.",
        )
    place = data.labels.index(label)
    labels = (*data.labels[:place], *data.labels[place + 1 :])
    if len(labels) < 2:
        raise DataError(
            f"Beside {label!r}, which is outside, {data.source} has {len(labels)} class{'es' * (not labels)}.",
            "A classifier needs rows of two classes at least.",
        )
    is_outside = data.targets == place
    kept = data.rows(np.flatnonzero(~is_outside))
    targets = kept.targets - (kept.targets > place)
    inputs = data.rows(np.flatnonzero(is_outside)).inputs
    return replace(kept, targets=targets, labels=labels, outside=inputs)


def read_files(
    paths: Sequence[Path],
    *,
    text_column: str = "text",
    label_column: str = "label",
    labels: tuple[str, ...] | None = None,
    blank_labels: bool = False,
    multi_label: bool = False,
    label_separator: str = LABEL_SEPARATOR,
    encoding: str = UTF8,
    outside: str | None = None,
    join_labels: bool = False,
    drop_unlabelled: bool = False,
) -> LabelledTexts:
    """Read the files of one data set in the given order, as one `LabelledTexts`.

    The suffix of a name decides the format: `.csv`, `.tsv` (both with a header line, quoted as spreadsheets do),
    `.jsonl` or `.ndjson` (a JSON object a line), `.parquet`, `.txt` (fastText's lines: `__label__NAME` before a text).
    A label may be a whole number; it is kept as its digits. An empty text is kept. A missing text is refused; so is
    a missing label, unless `blank_labels` is true.

    Args:
        paths: the files.
        text_column: the name of the column that holds the texts.
        label_column: the name of the column that holds the labels.
        labels: the classes and their order; without it, the labels that occur, sorted.
        blank_labels: keep rows without a label.
        multi_label: a text has any number of labels: a list, or a string with `label_separator` between them. An empty
            list, or an empty string, is a text without labels.
        label_separator: the separator between the labels of a text, where they are a string.
        encoding: the encoding of files of text, by its name in Python; not used for Parquet.
        outside: the label of rows that are of none of the classes; they become `LabelledTexts.outside`.
        join_labels: labels that differ only in case or spaces are one, spelt as in `labels` or else as in most rows.
        drop_unlabelled: leave rows without a label out; `source` says how many.

    Raises:
        DataError: a file is missing, unreadable, of another kind or in another encoding; a column is missing; there
            are no rows; a text or a label is missing; a label is not one of `labels`; without `labels`, there is only
            one class.
        InputError: the encoding is unknown.

    Example:
        >>> data = read_files([Path("reviews.csv")], text_column="text", label_column="label")
        >>> data.labels
        ('bad', 'good')
    """
    data, _ = read_labelled_columns(
        paths, (text_column,), COLUMN_REMEDY, label_column=label_column, labels=labels, blank_labels=blank_labels,
        multi_label=multi_label, label_separator=label_separator, encoding=encoding, outside=outside,
        join_labels=join_labels, drop_unlabelled=drop_unlabelled,
    )  # fmt: skip
    return data if outside is None else separate_outside_rows(data, outside)


def read_labelled_columns(
    paths: Sequence[Path],
    text_columns: Sequence[str],
    remedy: str,
    *,
    label_column: str = "label",
    labels: tuple[str, ...] | None = None,
    blank_labels: bool = False,
    multi_label: bool = False,
    label_separator: str = LABEL_SEPARATOR,
    encoding: str = UTF8,
    outside: str | None = None,
    join_labels: bool = False,
    drop_unlabelled: bool = False,
) -> tuple[LabelledTexts, list[StoredTexts]]:
    """Read files with one or several columns of texts, in one pass.

    Return the labelled texts of the first column, and the texts of each further one. The label `outside` stays among
    the classes.

    Args:
        paths: the files.
        text_columns: the names of the columns that hold texts.
        remedy: what to do if a column is missing, for the error.

    The other arguments and the errors are those of `read_files`.
    """
    if outside is not None:
        if multi_label:
            raise InputError(_NONE_OF_SEVERAL, "Leave --outside out, and give these texts an empty list of labels.")
        if labels is not None and outside in labels:
            raise InputError(f"{outside!r} is one of the classes.", "Name another label as outside, or leave it out.")
        labels = None if labels is None else (*labels, outside)
    read = partial(_read_checked_texts, text_columns=text_columns, remedy=remedy, encoding=encoding)
    if multi_label:
        return _read_multi_label(paths, read, label_column, labels, label_separator, join_labels)
    codes = ByteBuffer()
    code_of: dict[str, int] = {}
    dropped = 0

    def find_code(label: str) -> int:
        return code_of.setdefault(label, len(code_of)) if label else UNLABELLED

    def list_texts_and_codes() -> Iterator[list[list[str]]]:
        nonlocal dropped
        for path in paths:
            keep_blank = blank_labels or drop_unlabelled
            for *columns, labels_of_rows in _read_checked_chunks(path, read, label_column, keep_blank, encoding):
                if drop_unlabelled:
                    have = [bool(label.strip()) for label in labels_of_rows]
                    dropped += have.count(False)
                    *columns, labels_of_rows = (list(compress(some, have)) for some in (*columns, labels_of_rows))
                codes.write(array("q", map(find_code, labels_of_rows)).tobytes())
                yield columns

    texts, *others = StoredTexts.from_columns(list_texts_and_codes())
    source = ", ".join(path.name for path in paths) + (f" without {dropped:,} unlabelled rows" if dropped else "")
    if not len(texts):
        raise DataError(f"{source} holds no rows.", "Give a file with labelled texts.")
    targets = codes.numbers(np.int64)
    names = _unify_label_spelling(code_of, targets, labels) if join_labels else tuple(code_of)
    if labels is None:
        if not code_of:
            raise DataError(f"No row of {source} has a label.", "Give some rows of each class a label.")
        labels = sort_classes(set(names), f"{len(texts)} rows of {source}", "rows")
    return LabelledTexts(texts, make_class_targets(targets, names, labels, source), labels, source), others


def _unify_label_spelling(
    names: Iterable[str], codes: npt.NDArray[np.int64], labels: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Find the common spelling of each label: the spelling in `labels`, or else the most frequent spelling in the
    rows."""
    names = tuple(names)
    counts = np.bincount(codes[codes >= 0], minlength=len(names)).tolist()
    written: dict[str, str] = {}
    for _, name in sorted(zip(counts, names, strict=True), key=lambda pair: (-pair[0], pair[1])):
        written.setdefault(normalize_label(name), name.strip())
    written |= {normalize_label(label): label for label in labels or ()}
    return tuple(written[normalize_label(name)] for name in names)


def _read_multi_label(
    paths: Sequence[Path],
    read: Callable[..., Iterator[list[list[Any]]]],
    label_column: str,
    labels: tuple[str, ...] | None,
    separator: str,
    join_labels: bool,
) -> tuple[LabelledTexts, list[StoredTexts]]:
    """Read files of texts with any number of labels, as `read_labelled_columns` does."""
    codes, counts = ByteBuffer(), ByteBuffer()
    code_of: dict[str, int] = {}

    def list_texts_and_codes() -> Iterator[list[list[str]]]:
        for path in paths:
            before = 0
            for *columns, values in read(path, label_column=label_column):
                for row, value in enumerate(values, start=before + 1):
                    names = parse_labels(value, separator)
                    if names is None:
                        raise DataError(
                            f"Row {row} of {path} has {_show_value(value)} in the column {label_column!r}, not labels.",
                            f'Write them as a list, or as "a{separator}b"; an empty list is a text without any.',
                        )
                    found = [code_of.setdefault(name, len(code_of)) for name in names]
                    codes.write(array("q", found).tobytes())
                    counts.write(array("q", (len(found),)).tobytes())
                before += len(values)
                yield columns

    texts, *others = StoredTexts.from_columns(list_texts_and_codes())
    source = ", ".join(path.name for path in paths)
    if not len(texts):
        raise DataError(f"{source} holds no rows.", "Give a file with labelled texts.")
    found = codes.numbers(np.int64)
    names = _unify_label_spelling(code_of, found, labels) if join_labels else tuple(code_of)
    return make_multi_label_texts(texts, found, counts.numbers(np.int64), names, labels, source), others


def parse_labels(value: Any, separator: str = LABEL_SEPARATOR) -> list[str] | None:
    """Parse the labels of a text from a list, or from a string with separators; None for any other value."""
    if isinstance(value, str):
        return list(dict.fromkeys(filter(None, (part.strip() for part in value.split(separator)))))
    parts = [value] if type(value) is int else value
    # The exact type, not isinstance: True is an int in Python, but not a class number.
    if not isinstance(parts, list | tuple) or not all(type(part) in (str, int) and part != "" for part in parts):
        return None
    return list(dict.fromkeys(map(str, parts)))


def make_multi_label_texts(
    texts: Sequence[str],
    codes: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    names: tuple[str, ...],
    labels: tuple[str, ...] | None,
    source: str,
) -> LabelledTexts:
    """Make rows of texts with any number of labels. The labels are given as codes.

    Args:
        texts: one a row.
        codes: int64 [labels of all rows]; names[code] is a label.
        counts: int64 [rows], how many labels each row has.
        names: the labels that occur.
        labels: the classes, in the order of the targets; None for the labels that occur, sorted.
        source: where the rows come from, in words.

    Raises:
        DataError: a name is not one of `labels`; without `labels`, fewer than two labels occur; there are too many.
    """
    if labels is None:
        labels = tuple(sorted(set(names)))
        if len(labels) < 2:
            found = f"The only label is {labels[0]!r}" if labels else "There is no label"
            raise DataError(
                f"{found} in the {len(counts)} rows of {source}.",
                "A classifier of several labels needs two at least. For one label, give every row one of two classes.",
            )
    if len(counts) * len(labels) > _MOST_ANSWERS:
        raise DataError(
            f"{len(counts):,} rows with {len(labels):,} labels are too many.",
            f"Their product may be {_MOST_ANSWERS:,}: leave rare labels out, or rows.",
        )
    places = make_class_targets(codes, names, labels, source)
    targets = np.zeros((len(counts), len(labels)), dtype=bool)
    targets[np.repeat(np.arange(len(counts)), counts), places] = True
    return LabelledTexts(texts, targets, labels, source)


def read_texts(paths: Sequence[Path], labels: tuple[str, ...], *, text_column: str = "text") -> LabelledTexts:
    """Read the texts of files as rows without a label.

    Args:
        paths: files as for `read_files`; they need no column of labels, and one that they have is not read.
        labels: the classes of the data set.
        text_column: the name of the column that holds the texts.

    Raises:
        DataError: a file is missing, unreadable, of another kind or not UTF-8; a column or a text is missing, or there
            are no rows.
    """
    nothing = LabelledTexts([], np.empty(0, np.int64), labels, "")
    data = with_unlabelled(nothing, paths, text_column=text_column)
    source = ", ".join(path.name for path in paths)
    if not len(data):
        raise DataError(f"{source} holds no rows.", "Give a file with texts.")
    return replace(data, source=source)


def with_unlabelled(
    data: LabelledTexts, paths: Sequence[Path], *, text_column: str = "text", encoding: str = UTF8
) -> LabelledTexts:
    """Add texts without a label from files, after the rows of `data`.

    Args:
        data: the rows.
        paths: files as for `read_files`; they need no column of labels, and one that they have is not read.
        text_column: the name of the column that holds the texts.
        encoding: the encoding of files of text.

    Raises:
        DataError: a file is missing, unreadable, of another kind or in another encoding; a column or a text is missing.
        InputError: the encoding is unknown.

    Example:
        >>> data = with_unlabelled(read_files([Path("reviews.csv")]), [Path("test.csv")])
        >>> len(data), int((data.targets == -1).sum())
        (40, 20)
    """

    def read_chunks() -> Iterator[list[str]]:
        for start in range(0, len(data), _ROWS_COPIED):
            yield list(data.texts[start : start + _ROWS_COPIED])
        for path in paths:
            before = 0
            for (texts,) in read_columns(path, (text_column,), encoding=encoding):
                _check_values(texts, (str,), text_column, path, before)
                before += len(texts)
                yield texts

    texts = StoredTexts.from_chunks(read_chunks())
    unlabelled = np.full(len(texts) - len(data), UNLABELLED)
    source = ", ".join([data.source, *(path.name for path in paths)])
    return replace(data, texts=texts, targets=np.concatenate((data.targets, unlabelled)), source=source)


def _read_checked_texts(
    path: Path, text_columns: Sequence[str], label_column: str, remedy: str, encoding: str
) -> Iterator[list[list[Any]]]:
    """Read one file, some thousand rows at a time. Texts are checked, and labels are left unchanged."""
    before = 0
    for *columns, labels in read_columns(path, (*text_columns, label_column), remedy, encoding):
        for name, texts in zip(text_columns, columns, strict=True):
            _check_values(texts, (str,), name, path, before)
        before += len(labels)
        yield [*columns, labels]


def _read_checked_chunks(
    path: Path, read: Callable[..., Iterator[list[list[Any]]]], label_column: str, blank_labels: bool, encoding: str
) -> Iterator[list[list[str]]]:
    """Read and check the texts and labels of one file, some thousand rows at a time. A missing label is ""."""
    before = 0
    for *columns, labels in read(path, label_column=label_column):
        labels = ["" if label is None else label for label in labels]
        _check_values(labels, (str, int), label_column, path, before)
        if "" in labels and not blank_labels:
            raise _make_missing_labels_error(path, label_column, before + labels.index("") + 1, encoding)
        before += len(labels)
        yield [*columns, list(map(str, labels))]


def _make_missing_labels_error(path: Path, column: str, first: int, encoding: str) -> DataError:
    """Make the error for rows without a label. It counts these rows, and names the first."""
    values = (value for (chunk,) in read_columns(path, (column,), encoding=encoding) for value in chunk)
    blank = sum(value is None or value == "" for value in values)
    have = f"Row {first} of {path} has" if blank == 1 else f"{blank:,} rows of {path} have"
    return DataError(
        f"{have} nothing in the column {column!r}{'' if blank == 1 else f', the first is row {first}'}.",
        f"Fill {'it' if blank == 1 else 'them'}, or leave such rows out: --drop-unlabelled.",
    )


def sort_classes(names: Iterable[str], all_of_them: str, rows: str) -> tuple[str, ...]:
    """Sort the labels that occur, as the classes. There must be at least two.

    Args:
        names: the labels that occur, at least one.
        all_of_them: the number of rows and their source in words, for the error.
        rows: the word for the rows: `rows`, `texts`, `sequences`.

    Raises:
        DataError: there is only one class.
    """
    labels = tuple(sorted(names))
    if len(labels) == 1:
        raise DataError(
            f"All {all_of_them} belong to one class, {labels[0]!r}.",
            f"A classifier needs {rows} of two classes at least.",
        )
    return labels


def make_class_targets(
    codes: npt.NDArray[np.int64], names: tuple[str, ...], labels: tuple[str, ...], source: str
) -> npt.NDArray[np.int64]:
    """Make the targets of rows from the codes of their labels.

    Args:
        codes: int64 [rows]; the label of a row is names[code], and -1 means that it has no label.
        names: the labels that occur.
        labels: the classes, in the order of the targets.
        source: where the rows come from, for the error.

    Returns:
        int64 [rows], the index of each row's label in `labels`.

    Raises:
        DataError: a name is not one of `labels`.
    """
    index = {label: target for target, label in enumerate(labels)}
    if unknown := sorted(set(names) - index.keys()):
        joined = normalize_label(unknown[0]) in map(normalize_label, labels)
        raise DataError(
            f"{source} holds the label {unknown[0]!r}, which is not one of {list_first_names(labels)}.",
            "If labels that differ only in case or spaces are the same, add --join-labels."
            if joined
            else "Use rows of the classes that the classifier was trained with.",
        )
    # The code -1 indexes the last item, UNLABELLED.
    return np.array([*(index[label] for label in names), UNLABELLED], dtype=np.int64)[codes]


def _check_values(values: list[Any], types: tuple[type, ...], column: str, path: Path, before: int) -> None:
    for row, value in enumerate(values, start=before + 1):
        # The exact type, not isinstance: True is an int in Python, but not a class number.
        if type(value) not in types:
            wanted = "text" if int not in types else "text or a whole number"
            what = "nothing" if value is None else f"{_show_value(value)}, which is not {wanted},"
            several = "If a text can have several labels, say so with --multi-label; else give one."
            remedy = several if isinstance(value, list) and int in types else "Fill it, or delete the row."
            raise DataError(f"Row {row} of {path} has {what} in the column {column!r}.", remedy)


def _show_value(value: Any) -> str:
    return "nothing" if value is None else short_repr(value, 40)
