"""Read files of texts or pairs of texts, with labels or without.

A file has a column for the texts, or one for each text of a pair, and a column for the labels.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import DataError, InputError, short_repr
from pocketrnn.tables.encodings import UTF8
from pocketrnn.tables.row_batches import LABEL_SEPARATOR
from pocketrnn_training.rows.class_labels import convert_codes_to_targets, normalize_label, sort_and_check_classes
from pocketrnn_training.rows.disk_backed_data import ByteBuffer, StoredTexts
from pocketrnn_training.rows.labelled_pairs import LabelledPairs
from pocketrnn_training.rows.labelled_rows import UNLABELLED
from pocketrnn_training.rows.labelled_texts import (
    OUTSIDE_OF_SEVERAL,
    LabelledTexts,
    make_multi_label_texts,
    separate_outside_rows,
)
from pocketrnn_training.rows.table_files import COLUMN_REMEDY, read_columns

__all__ = ["SECOND_COLUMN_REMEDY", "parse_labels_of_text", "read_files", "read_pairs", "read_texts", "with_unlabelled"]

# The remedy where a column of pairs is missing.
SECOND_COLUMN_REMEDY: Final = "Name the columns with --text-column, --second-text-column and --label-column."
# Rows that are copied at a time.
_ROWS_COPIED: Final = 10_000


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
        blank_labels: whether rows without a label are kept; otherwise such a row is an error.
        multi_label: a text has any number of labels: a list, or a string with `label_separator` between them. An empty
            list, or an empty string, is a text without labels.
        label_separator: the separator between the labels of a text, where they are a string.
        encoding: the encoding of files of text, by its name in Python; not used for Parquet.
        outside: the label of rows that are of none of the classes; they become `LabelledTexts.outside`.
        join_labels: whether labels that differ only in case or spaces count as one label. It is spelt as in `labels`,
            or as in most rows if `labels` is None.
        drop_unlabelled: whether rows without a label are left out. `LabelledTexts.source` then says how many.

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
    data, _ = _read_labelled_columns(
        paths, (text_column,), COLUMN_REMEDY, label_column=label_column, labels=labels, blank_labels=blank_labels,
        multi_label=multi_label, label_separator=label_separator, encoding=encoding, outside=outside,
        join_labels=join_labels, drop_unlabelled=drop_unlabelled,
    )  # fmt: skip
    return data if outside is None else separate_outside_rows(data, outside)


def read_pairs(
    paths: Sequence[Path],
    *,
    text_column: str = "text",
    second_text_column: str = "second_text",
    encoding: str = UTF8,
    **options: Any,
) -> LabelledPairs:
    """Read the files of one data set of pairs of texts, one after the other.

    Args:
        paths: the files, in the formats of `read_files`.
        text_column: the name of the column that holds the first texts.
        second_text_column: the name of the column that holds the second texts.
        encoding: the encoding of files of text, by its name in Python; not used for Parquet.
        options: the other arguments of `read_files`.

    Raises:
        DataError: a file is missing, unreadable, of another kind or in another encoding; a column is missing; there
            are no rows; a text or a label is missing; a label is not one of `labels`; or only one class occurs.
        InputError: the encoding is unknown.

    Example:
        >>> data = read_pairs([Path("pairs.csv")], text_column="premise", second_text_column="hypothesis")
        >>> len(data.texts) == len(data.second_texts)
        True
    """
    columns = (text_column, second_text_column)
    first, (second,) = _read_labelled_columns(paths, columns, SECOND_COLUMN_REMEDY, encoding=encoding, **options)
    data, outside = LabelledPairs.of(first, second), options.get("outside")
    return data if outside is None else separate_outside_rows(data, outside)


def read_texts(paths: Sequence[Path], labels: tuple[str, ...], *, text_column: str = "text") -> LabelledTexts:
    """Read the texts of files as rows without a label. A column of labels is not needed, and is not read.

    Args:
        paths: the files, in the formats of `read_files`.
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
        raise DataError(f"{source} holds no rows.", "Give a file with at least one text.")
    return replace(data, source=source)


def with_unlabelled(
    data: LabelledTexts, paths: Sequence[Path], *, text_column: str = "text", encoding: str = UTF8
) -> LabelledTexts:
    """Return the rows of `data`, followed by texts without a label from files.

    Args:
        data: the rows.
        paths: the files, in the formats of `read_files`. A column of labels is not needed, and is not read.
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
                _check_value_types_of_column(texts, (str,), text_column, path, before)
                before += len(texts)
                yield texts

    texts = StoredTexts.from_chunks(read_chunks())
    unlabelled = np.full(len(texts) - len(data), UNLABELLED)
    source = ", ".join([data.source, *(path.name for path in paths)])
    return replace(data, texts=texts, targets=np.concatenate((data.targets, unlabelled)), source=source)


def _read_labelled_columns(
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
    """Read files with one label column and one or several text columns.

    Args:
        text_columns: the names of the columns that hold texts.
        remedy: the end of the error for a missing column, which says what to do.

    The other arguments and the errors are those of `read_files`.

    Returns:
        The labelled texts of the first text column, among whose classes is the label `outside`; and the texts of each
        further text column.
    """
    if outside is not None:
        if multi_label:
            raise InputError(*OUTSIDE_OF_SEVERAL)
        if labels is not None and outside in labels:
            raise InputError(
                f"--outside is {outside!r}, which is also one of the classes.",
                "Give --outside the label of the texts that belong to none of the classes, or leave out --outside.",
            )
        labels = None if labels is None else (*labels, outside)
    read = partial(_read_texts_and_raw_labels, text_columns=text_columns, remedy=remedy, encoding=encoding)
    if multi_label:
        return _read_multi_label_columns(paths, read, label_column, labels, label_separator, join_labels)
    codes = ByteBuffer()
    code_of: dict[str, int] = {}
    dropped = 0

    def find_or_add_code(label: str) -> int:
        return code_of.setdefault(label, len(code_of)) if label else UNLABELLED

    def read_texts_and_store_codes() -> Iterator[list[list[str]]]:
        nonlocal dropped
        for path in paths:
            keep_blank = blank_labels or drop_unlabelled
            for *columns, labels_of_rows in _read_texts_and_labels(path, read, label_column, keep_blank, encoding):
                if drop_unlabelled:
                    have = [bool(label.strip()) for label in labels_of_rows]
                    dropped += have.count(False)
                    *columns, labels_of_rows = (list(compress(some, have)) for some in (*columns, labels_of_rows))
                codes.write(array("q", map(find_or_add_code, labels_of_rows)).tobytes())
                yield columns

    texts, *others = StoredTexts.from_columns(read_texts_and_store_codes())
    source = ", ".join(path.name for path in paths) + (f" without {dropped:,} unlabelled rows" if dropped else "")
    if not len(texts):
        raise DataError(f"{source} holds no rows.", "Give a file with labelled texts.")
    targets = codes.numbers(np.int64)
    names = _find_common_spelling_of_labels(code_of, targets, labels) if join_labels else tuple(code_of)
    if labels is None:
        if not code_of:
            raise DataError(f"No row of {source} has a label.", "Write a label in some rows of each class.")
        labels = sort_and_check_classes(set(names), f"{len(texts)} rows of {source}", "rows")
    return LabelledTexts(texts, convert_codes_to_targets(targets, names, labels, source), labels, source), others


def _find_common_spelling_of_labels(
    names: Iterable[str], codes: npt.NDArray[np.int64], labels: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Choose one spelling for all names that differ only in case or spaces; return it for each name, in their order.

    It is the spelling in `labels` or, if `labels` is None or lacks the name, the spelling that most rows have:
    ("good", "Good") becomes ("good", "good").

    Args:
        names: the spellings that occur.
        codes: int64 [rows], the position in `names` of each row's label, or -1 for a row without a label.
        labels: the classes as the user spells them, or None.
    """
    names = tuple(names)
    counts = np.bincount(codes[codes >= 0], minlength=len(names)).tolist()
    written: dict[str, str] = {}
    for _, name in sorted(zip(counts, names, strict=True), key=lambda pair: (-pair[0], pair[1])):
        written.setdefault(normalize_label(name), name.strip())
    written |= {normalize_label(label): label for label in labels or ()}
    return tuple(written[normalize_label(name)] for name in names)


def _read_multi_label_columns(
    paths: Sequence[Path],
    read: Callable[..., Iterator[list[list[Any]]]],
    label_column: str,
    labels: tuple[str, ...] | None,
    separator: str,
    join_labels: bool,
) -> tuple[LabelledTexts, list[StoredTexts]]:
    """Read files with one or several columns of texts and any number of labels for each row.

    Args:
        read: a function that yields a file's columns of texts and its column of labels, in chunks of rows.
        label_column: the name of the column of labels.
        labels: the classes and their order; None for the labels that occur.
        separator: the separator between labels in a string.
        join_labels: whether labels that differ only in case or spaces count as one label.

    Returns:
        The labelled texts of the first column, and the texts of each further column.
    """
    codes, counts = ByteBuffer(), ByteBuffer()
    code_of: dict[str, int] = {}

    def read_texts_and_store_codes() -> Iterator[list[list[str]]]:
        for path in paths:
            before = 0
            for *columns, values in read(path, label_column=label_column):
                for row, value in enumerate(values, start=before + 1):
                    names = parse_labels_of_text(value, separator)
                    if names is None:
                        raise DataError(
                            f"Row {row} of {path} has {_describe_value(value)} in the column {label_column!r}, "
                            "but it must be a list of labels.",
                            f'Write the labels of a text as a list or as "a{separator}b", and an empty list for a '
                            "text without labels.",
                        )
                    found = [code_of.setdefault(name, len(code_of)) for name in names]
                    codes.write(array("q", found).tobytes())
                    counts.write(array("q", (len(found),)).tobytes())
                before += len(values)
                yield columns

    texts, *others = StoredTexts.from_columns(read_texts_and_store_codes())
    source = ", ".join(path.name for path in paths)
    if not len(texts):
        raise DataError(f"{source} holds no rows.", "Give a file with labelled texts.")
    found = codes.numbers(np.int64)
    names = _find_common_spelling_of_labels(code_of, found, labels) if join_labels else tuple(code_of)
    return make_multi_label_texts(texts, found, counts.numbers(np.int64), names, labels, source), others


def parse_labels_of_text(value: Any, separator: str = LABEL_SEPARATOR) -> list[str] | None:
    """Parse the labels of one text: "a|b|a" or ["a", "b"] becomes ["a", "b"], and the number 3 becomes ["3"].

    Return None if the value is neither a string, a whole number nor a list of these.
    """
    if isinstance(value, str):
        return list(dict.fromkeys(filter(None, (part.strip() for part in value.split(separator)))))
    parts = [value] if type(value) is int else value
    # The exact type, not isinstance: True is an int in Python, but not a class number.
    if not isinstance(parts, list | tuple) or not all(type(part) in (str, int) and part != "" for part in parts):
        return None
    return list(dict.fromkeys(map(str, parts)))


def _read_texts_and_raw_labels(
    path: Path, text_columns: Sequence[str], label_column: str, remedy: str, encoding: str
) -> Iterator[list[list[Any]]]:
    """Yield the text columns and the label column of one file, some thousand rows at a time.

    The labels are not checked or converted.

    Args:
        text_columns: the names of the columns of texts.
        label_column: the name of the column of labels.
        remedy: the end of the error for a missing column, which says what to do.
        encoding: the encoding of the file.

    Raises:
        DataError: a text is missing or is not a string.
    """
    before = 0
    for *columns, labels in read_columns(path, (*text_columns, label_column), remedy, encoding):
        for name, texts in zip(text_columns, columns, strict=True):
            _check_value_types_of_column(texts, (str,), name, path, before)
        before += len(labels)
        yield [*columns, labels]


def _read_texts_and_labels(
    path: Path, read: Callable[..., Iterator[list[list[Any]]]], label_column: str, blank_labels: bool, encoding: str
) -> Iterator[list[list[str]]]:
    """Yield the text columns and the label column of one file, with labels as strings, some thousand rows at a time.

    Args:
        read: a function that yields the same columns with the labels as they are in the file.
        label_column: the name of the column of labels.
        blank_labels: whether a missing label is allowed; if so, it becomes "".
        encoding: the encoding of the file.

    Raises:
        DataError: a label is neither a string nor a whole number, or is missing and `blank_labels` is false.
    """
    before = 0
    for *columns, labels in read(path, label_column=label_column):
        labels = ["" if label is None else label for label in labels]
        _check_value_types_of_column(labels, (str, int), label_column, path, before)
        if "" in labels and not blank_labels:
            raise _count_missing_labels_and_make_error(path, label_column, before + labels.index("") + 1, encoding)
        before += len(labels)
        yield [*columns, list(map(str, labels))]


def _count_missing_labels_and_make_error(path: Path, column: str, first_row: int, encoding: str) -> DataError:
    """Count the rows of a file without a label, and make the error that names their number and the first one."""
    values = (value for (chunk,) in read_columns(path, (column,), encoding=encoding) for value in chunk)
    blank = sum(value is None or value == "" for value in values)
    have = f"Row {first_row} of {path} has" if blank == 1 else f"{blank:,} rows of {path} have"
    return DataError(
        f"{have} no label in the column {column!r}{'' if blank == 1 else f'. The first is row {first_row}'}.",
        "Write a label in each row, or leave out the rows without one with --drop-unlabelled.",
    )


def _check_value_types_of_column(
    values: list[Any], types: tuple[type, ...], column: str, path: Path, rows_before: int
) -> None:
    """Raise a DataError if the type of a value is not one of `types`. A subclass of these is refused, too.

    Args:
        values: the next values of the column.
        types: the allowed types.
        column: the name of the column, for the error.
        path: the file, for the error.
        rows_before: how many rows of the file come before the values, so that the error can name the row.
    """
    for row, value in enumerate(values, start=rows_before + 1):
        # The exact type, not isinstance: True is an int in Python, but not a class number.
        if type(value) not in types:
            wanted = "text" if int not in types else "text or a whole number"
            what = "nothing" if value is None else f"{_describe_value(value)}, which is not a {wanted},"
            several = "If a text can have several labels, add --multi-label; otherwise write one label."
            remedy = (
                several if isinstance(value, list) and int in types else f"Write a {wanted} there, or delete the row."
            )
            raise DataError(f"Row {row} of {path} has {what} in the column {column!r}.", remedy)


def _describe_value(value: Any) -> str:
    return "nothing" if value is None else short_repr(value, 40)
