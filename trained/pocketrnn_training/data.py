"""Labelled texts, and their reader: files with a text and a label column."""

from __future__ import annotations

import codecs
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from pocketrnn.errors import DataError, first_line, shown
from pocketrnn.table_checks import SAVE_AS_UTF8, check_columns, json_object, listed, not_parquet
from pocketrnn_training.stored import Spool, StoredTexts

__all__ = ["LabelledTexts", "class_targets", "opened", "read_delimited", "read_files", "split"]

# Bytes of a CSV file that are read at once. No row may be longer.
_BLOCK: Final = 16 * 2**20
# Rows of a chunk of JSON Lines and Parquet.
_ROWS: Final = 10_000
_NAME_COLUMNS: Final = "Name the columns with --text-column and --label-column."


@dataclass(frozen=True)
class LabelledTexts:
    """Texts and the class of each.

    Attributes:
        texts: one a row.
        targets: int64 [rows], the index of a row's class in `labels`.
        labels: the classes.
        source: where the rows come from, in words.
        licence: the licence of the rows, where it is known.

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
        return LabelledTexts(texts, self.targets[chosen], self.labels, self.source, self.licence)


def split(
    data: LabelledTexts, share: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split the rows in two, every class by the same share.

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
    for target, label in enumerate(data.labels):
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
) -> LabelledTexts:
    """Read the files of one data set, one after the other.

    The suffix of a name decides the format: `.csv`, `.tsv` (both with a header line, quoted as spreadsheets do),
    `.jsonl` or `.ndjson` (a JSON object a line), `.parquet`. All are UTF-8. A label may be a whole number; it is kept
    as its digits. An empty text is kept; a missing text or label is refused.

    Args:
        paths: the files.
        text_column: the name of the column that holds the texts.
        label_column: the name of the column that holds the labels.
        labels: the classes and their order; without it, those that occur, sorted.

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

    def texts_and_codes() -> Iterator[list[str]]:
        for path in paths:
            for texts, labels_of_rows in _checked_chunks(path, text_column, label_column):
                codes.write(array("q", [code_of.setdefault(label, len(code_of)) for label in labels_of_rows]).tobytes())
                yield texts

    texts = StoredTexts.of(texts_and_codes())
    source = ", ".join(path.name for path in paths)
    if not len(texts):
        raise DataError(f"{source} holds no rows.", "Give a file with labelled texts.")
    if labels is None:
        labels = tuple(sorted(code_of))
        if len(labels) == 1:
            raise DataError(
                f"All {len(texts)} rows of {source} are of one class, {labels[0]!r}.",
                "A classifier needs rows of two classes at least.",
            )
    return LabelledTexts(texts, class_targets(codes.numbers(np.int64), tuple(code_of), labels, source), labels, source)


def _checked_chunks(path: Path, text_column: str, label_column: str) -> Iterator[tuple[list[str], list[str]]]:
    """The texts and the labels of one file, checked, some thousand rows at a time."""
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path} is of no kind that can be read.", f"Use a file that ends in one of: {', '.join(_READERS)}."
        )
    before = 0
    for texts, labels in reader(path, text_column, label_column):
        _check_values(texts, (str,), text_column, path, before)
        _check_values(labels, (str, int), label_column, path, before)
        if "" in labels:
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
        codes: int64 [rows]; the label of a row is names[code].
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
    return np.array([index[label] for label in names], dtype=np.int64)[codes]


def _check_values(values: list[Any], types: tuple[type, ...], column: str, path: Path, before: int) -> None:
    for row, value in enumerate(values, start=before + 1):
        # By type, not isinstance: True is an int in Python, but no class number.
        if type(value) not in types:
            wanted = "text" if int not in types else "text or a whole number"
            what = "nothing" if value is None else f"{shown(value, 40)}, which is not {wanted},"
            raise DataError(f"Row {row} of {path} has {what} in the column {column!r}.", "Fill it, or delete the row.")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file of data.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.", "Check the name of the file.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.", "Check the file and its rights.") from None


def _not_utf8(path: Path, line: int, byte: int) -> DataError:
    return DataError(f"{path} is not UTF-8: line {line} holds the byte 0x{byte:02x}.", SAVE_AS_UTF8)


def _checked_utf8(path: Path) -> int:
    """The size of a file of UTF-8, in bytes; 0 if it holds only white space."""
    size, lines, waiting, blank = 0, 1, b"", True
    with opened(path) as file:
        while block := file.read(_BLOCK):
            size += len(block)
            blank = blank and not block.strip()
            block = waiting + block
            try:
                block.decode()
                waiting = b""
            except UnicodeDecodeError as error:
                # A character may be cut by the end of the block, but has at most four bytes.
                if len(block) - error.start >= 4 or not file.peek(1):  # type: ignore[attr-defined]
                    raise _not_utf8(path, lines + block.count(b"\n", 0, error.start), block[error.start]) from None
                block, waiting = block[: error.start], block[error.start :]
            lines += block.count(b"\n")
    return 0 if blank else size


def read_delimited(
    path: Path, wanted: Sequence[str], delimiter: str, names: Sequence[str] | None = None
) -> Iterator[tuple[list[str], ...]]:
    """Read the wanted columns of a CSV or TSV file, chunk by chunk.

    Args:
        path: the file, UTF-8.
        wanted: the names of the columns.
        delimiter: between the fields of a row.
        names: of all columns, for a file without a header line.

    Yields:
        For each wanted column, its values in the next rows.

    Raises:
        DataError: the file is missing, empty, not UTF-8 or not CSV; a column is missing or occurs twice.
    """
    size = _checked_utf8(path)
    if not size:
        raise DataError(f"{path} is empty.", "Give a file with labelled texts.")

    def reader(columns: Sequence[str]) -> pyarrow.csv.CSVStreamingReader:
        return pyarrow.csv.open_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(
                block_size=min(size + 1, _BLOCK), column_names=names, use_threads=False
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            # As strings: the label 01 is not the label 1, and the text NULL is a text.
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()), strings_can_be_null=False, include_columns=columns
            ),
        )

    try:
        with reader(()) as header:
            check_columns(header.schema.names, wanted, str(path), _NAME_COLUMNS)
        with reader(wanted) as chunks:
            for chunk in chunks:
                yield tuple(chunk.column(name).to_pylist() for name in wanted)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        if "straddl" in first_line(error):
            raise DataError(
                f"{path} has a row of more than {_BLOCK >> 20} MiB, or a quote that is never closed.",
                "Correct the row, or delete it.",
            ) from None
        raise DataError(f"{path} cannot be read: {first_line(error)}.", "Check that line of the file.") from None


def _read_csv(path: Path, text_column: str, label_column: str) -> Iterator[tuple[list[Any], ...]]:
    return read_delimited(path, (text_column, label_column), ",")


def _read_tsv(path: Path, text_column: str, label_column: str) -> Iterator[tuple[list[Any], ...]]:
    return read_delimited(path, (text_column, label_column), "\t")


def _read_json_lines(path: Path, text_column: str, label_column: str) -> Iterator[tuple[list[Any], ...]]:
    # Not pyarrow's reader: it refuses half a surrogate pair, which JSON allows, and its errors name no line.
    texts, labels = [], []
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            row = _json_object(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line, number, path)
            if row is None:
                continue
            for column in (text_column, label_column):
                if column not in row:
                    raise DataError(
                        f"Line {number} of {path} has no {column!r}; it has {listed(list(row)) or 'nothing'}.",
                        _NAME_COLUMNS,
                    )
            texts.append(row[text_column])
            labels.append(row[label_column])
            if len(texts) == _ROWS:
                yield texts, labels
                texts, labels = [], []
    yield texts, labels


def _json_object(line: bytes, number: int, path: Path) -> dict[str, Any] | None:
    """The object that a line of a JSON Lines file holds; None for an empty line."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(path, number, line[error.start]) from None
    if not text.strip():
        return None
    try:
        return json_object(text)
    except ValueError as error:
        raise DataError(f"Line {number} of {path} {error}.", "Write one JSON object on each line.") from None


def _read_parquet(path: Path, text_column: str, label_column: str) -> Iterator[tuple[list[Any], ...]]:
    with opened(path) as content:
        try:
            file = pyarrow.parquet.ParquetFile(content)
            check_columns(file.schema_arrow.names, (text_column, label_column), str(path), _NAME_COLUMNS)
            for chunk in file.iter_batches(_ROWS, columns=[text_column, label_column]):
                yield chunk.column(text_column).to_pylist(), chunk.column(label_column).to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise not_parquet(str(path), error) from None


_READERS: Final[dict[str, Callable[[Path, str, str], Iterator[tuple[list[Any], ...]]]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}
