"""Labelled texts: from files with a text and a label column, and AG News as torchtext knows it."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import tempfile
import urllib.error
import urllib.request
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

from pocketrnn.errors import DataError
from pocketrnn_training.stored import Spool, StoredTexts

__all__ = ["AG_NEWS_LABELS", "LabelledTexts", "ag_news", "read_files", "split"]

# torchtext/datasets/ag_news.py: where the two files are, their md5, and what the classes 1 to 4 mean.
AG_NEWS_LABELS: Final = ("World", "Sports", "Business", "Sci/Tech")
_AG_NEWS_URL: Final = "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv/"
_AG_NEWS_MD5: Final = {"train.csv": "b1a00f826fdfbd249f79597b59e1dc12", "test.csv": "d52ea96a97a2d943681189a97654912d"}

# How much of a CSV file is read at once. No row may be longer.
_BLOCK: Final = 16 * 2**20
_ROWS: Final = 10_000


@dataclass(frozen=True)
class LabelledTexts:
    """Texts and the class of each.

    Attributes:
        texts: one a row.
        targets: int64 [rows], the place of a row's class in `labels`.
        labels: the classes.
        source: where the rows come from, in words.
        licence: the licence of the rows, where it is known.
    """

    texts: Sequence[str] = field(repr=False)
    targets: npt.NDArray[np.int64] = field(repr=False)
    labels: tuple[str, ...]
    source: str
    licence: str | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def rows(self, chosen: npt.NDArray[np.int64]) -> LabelledTexts:
        """The chosen rows, in the order given; the labels stay all of them."""
        if isinstance(self.texts, StoredTexts):
            texts: Sequence[str] = self.texts.rows(chosen)
        else:
            texts = [self.texts[i] for i in chosen.tolist()]
        return LabelledTexts(texts, self.targets[chosen], self.labels, self.source, self.licence)


def split(
    data: LabelledTexts, share: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Part the rows in two, every class by the same share.

    Args:
        data: the rows.
        share: how much of each class goes to the second part; at least one row of each class stands in either.
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

    A name's end says what a file is: `.csv`, `.tsv` (both with a header line, quoted as spreadsheets quote), `.jsonl`
    or `.ndjson` (a JSON object a line), `.parquet`. All are UTF-8. A label may be a whole number; it is kept as its
    digits. An empty text is kept; a missing text or label is refused.

    Args:
        paths: the files.
        text_column: the name of the column that holds the texts.
        label_column: the name of the column that holds the labels.
        labels: the classes and their order; without it, those that occur, sorted.

    Raises:
        DataError: a file is missing, unreadable, of another kind or not UTF-8; a column is missing; there is no row; a
            text or a label is missing; a label is not one of `labels`; without `labels`, there is one class only.
    """
    codes = Spool()
    places: dict[str, int] = {}

    def texts_and_codes() -> Iterator[list[str]]:
        for path in paths:
            for texts, named in _pieces(path, text_column, label_column):
                codes.write(array("q", [places.setdefault(label, len(places)) for label in named]).tobytes())
                yield texts

    texts = StoredTexts.of(texts_and_codes())
    source = ", ".join(path.name for path in paths)
    if not len(texts):
        raise DataError(f"{source} holds no rows.", "Give a file with labelled texts.")
    if labels is None:
        labels = tuple(sorted(places))
        if len(labels) == 1:
            raise DataError(
                f"All {len(texts)} rows of {source} are of one class, {labels[0]!r}.",
                "A classifier needs rows of two classes at least.",
            )
    return LabelledTexts(texts, _targets(codes.numbers(np.int64), tuple(places), labels, source), labels, source)


def _pieces(path: Path, text_column: str, label_column: str) -> Iterator[tuple[list[str], list[str]]]:
    """The texts and the names of the labels of one file, checked, some thousand rows at a time."""
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


def _targets(
    codes: npt.NDArray[np.int64], named: tuple[str, ...], labels: tuple[str, ...], source: str
) -> npt.NDArray[np.int64]:
    """The place in `labels` of every row whose label is named[code]."""
    place = {label: target for target, label in enumerate(labels)}
    if unknown := sorted(set(named) - place.keys()):
        raise DataError(
            f"{source} holds the label {unknown[0]!r}, which is not one of {_listed(labels)}.",
            "Use rows of the classes that the classifier was trained with.",
        )
    return np.array([place[label] for label in named], dtype=np.int64)[codes]


def _check_values(values: list[Any], types: tuple[type, ...], column: str, path: Path, before: int) -> None:
    for row, value in enumerate(values, start=before + 1):
        # By type, not isinstance: True is an int in Python, but no class number.
        if type(value) not in types:
            wanted = "text" if int not in types else "text or a whole number"
            what = "nothing" if value is None else f"{value!r:.40}, which is not {wanted},"
            raise DataError(f"Row {row} of {path} has {what} in the column {column!r}.", "Fill it, or delete the row.")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:10]))
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.", "Check the name of the file.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.", "Check the file and its rights.") from None


def _not_utf8(path: Path, line: int, byte: int) -> DataError:
    return DataError(f"{path} is not UTF-8: line {line} holds the byte 0x{byte:02x}.", "Save it as UTF-8.")


def _checked_utf8(path: Path) -> int:
    """The size of a file of UTF-8, in bytes; 0 where it holds nothing but white space."""
    size, lines, waiting, blank = 0, 1, b"", True
    with _opened(path) as file:
        while piece := file.read(_BLOCK):
            size += len(piece)
            blank = blank and not piece.strip()
            piece = waiting + piece
            try:
                piece.decode()
                waiting = b""
            except UnicodeDecodeError as error:
                # A character may be cut by the end of the piece, but has four bytes at most.
                if len(piece) - error.start >= 4 or not file.peek(1):  # type: ignore[attr-defined]
                    raise _not_utf8(path, lines + piece.count(b"\n", 0, error.start), piece[error.start]) from None
                piece, waiting = piece[: error.start], piece[error.start :]
            lines += piece.count(b"\n")
    return 0 if blank else size


def _check_columns(present: Sequence[str], wanted: Sequence[str], path: Path) -> None:
    for column in wanted:
        if column not in present:
            raise DataError(
                f"{path} has no column {column!r}; its columns are {_listed(present) or 'none'}.",
                "Name the columns with --text-column and --label-column.",
            )
        if present.count(column) > 1:
            raise DataError(f"{path} has the column {column!r} twice.", "Give every column a name of its own.")


def _read_delimited(
    path: Path, wanted: Sequence[str], delimiter: str, names: Sequence[str] | None = None
) -> Iterator[tuple[list[str], ...]]:
    """The wanted columns of a CSV or TSV file, piece by piece; `names` are given where the file has no header line."""
    size = _checked_utf8(path)
    if not size:
        raise DataError(f"{path} is empty.", "Give a file with labelled texts.")

    def opened(columns: Sequence[str]) -> pyarrow.csv.CSVStreamingReader:
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
        with opened(()) as first:
            _check_columns(first.schema.names, wanted, path)
        with opened(wanted) as reader:
            for piece in reader:
                yield tuple(piece.column(name).to_pylist() for name in wanted)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        first_line = str(error).splitlines()[0].removesuffix(".")
        if "straddl" in first_line:
            raise DataError(
                f"{path} has a row of more than {_BLOCK >> 20} MiB, or a quote that is never closed.",
                "Correct the row, or delete it.",
            ) from None
        raise DataError(f"{path} cannot be read: {first_line}.", "Check that line of the file.") from None


def _read_csv(path: Path, text_column: str, label_column: str) -> Iterator[tuple[list[Any], ...]]:
    return _read_delimited(path, (text_column, label_column), ",")


def _read_tsv(path: Path, text_column: str, label_column: str) -> Iterator[tuple[list[Any], ...]]:
    return _read_delimited(path, (text_column, label_column), "\t")


def _read_json_lines(path: Path, text_column: str, label_column: str) -> Iterator[tuple[list[Any], ...]]:
    # Not pyarrow's reader: it refuses half a surrogate pair, which JSON allows, and names no line when it refuses.
    texts, labels = [], []
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                raise _not_utf8(path, number, line[error.start]) from None
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise DataError(f"Line {number} of {path} is not JSON: {error}.", "Correct the line.") from None
            if not isinstance(row, dict):
                raise DataError(f"Line {number} of {path} is not a JSON object.", "Write one object a line.")
            for column in (text_column, label_column):
                if column not in row:
                    raise DataError(
                        f"Line {number} of {path} has no {column!r}; it has {_listed(list(row)) or 'nothing'}.",
                        "Name the columns with --text-column and --label-column.",
                    )
            texts.append(row[text_column])
            labels.append(row[label_column])
            if len(texts) == _ROWS:
                yield texts, labels
                texts, labels = [], []
    yield texts, labels


def _read_parquet(path: Path, text_column: str, label_column: str) -> Iterator[tuple[list[Any], ...]]:
    with _opened(path) as content:
        try:
            file = pyarrow.parquet.ParquetFile(content)
            _check_columns(file.schema_arrow.names, (text_column, label_column), path)
            for piece in file.iter_batches(_ROWS, columns=[text_column, label_column]):
                yield piece.column(text_column).to_pylist(), piece.column(label_column).to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            first_line = str(error).splitlines()[0].removesuffix(".")
            raise DataError(f"{path} cannot be read as Parquet: {first_line}.", "Check the file.") from None


_READERS: Final[dict[str, Callable[[Path, str, str], Iterator[tuple[list[Any], ...]]]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}


def ag_news(part: str, data_dir: Path | None = None, *, labels: tuple[str, ...] | None = None) -> LabelledTexts:
    """AG News (Zhang, Zhao and LeCun 2015), as `torchtext.datasets.AG_NEWS` reads it.

    The files `train.csv` and `test.csv` have no header; a row is class (1 to 4), title, description, and its text is
    the title, a space, the description.

    Args:
        part: `train` or `test`.
        data_dir: a folder that holds the files, which need not be the official ones. Without it the official file is
            taken from the user's cache folder, and downloaded to there first if need be.
        labels: the classes and their order, where they are not to be `AG_NEWS_LABELS`.

    Raises:
        DataError: the file is missing, damaged or cannot be downloaded; a class is not 1 to 4; `labels` lacks a class.
    """
    file_name = f"{part}.csv"
    path = _cached_ag_news(file_name) if data_dir is None else data_dir / file_name
    names = {str(number): label for number, label in enumerate(AG_NEWS_LABELS, start=1)}
    codes = Spool()

    def texts_and_codes() -> Iterator[list[str]]:
        before = 0
        columns = ("class", "title", "description")
        for classes, titles, descriptions in _read_delimited(path, columns, ",", names=columns):
            for row, number in enumerate(classes, start=before + 1):
                if number not in names:
                    raise DataError(
                        f"Row {row} of {path} has the class {number!r:.40}; AG News has 1 to 4, and no header line.",
                        "Give a file with a header line by its own name, not as ag_news.",
                    )
            before += len(classes)
            codes.write(array("q", [int(number) - 1 for number in classes]).tobytes())
            yield [f"{title} {description}" for title, description in zip(titles, descriptions, strict=True)]

    source, labels = f"AG News, {file_name}", labels or AG_NEWS_LABELS
    texts = StoredTexts.of(texts_and_codes())
    return LabelledTexts(
        texts=texts,
        targets=_targets(codes.numbers(np.int64), AG_NEWS_LABELS, labels, source),
        labels=labels,
        source=source,
        licence="research and other non-commercial use",
    )


def _cached_ag_news(file_name: str) -> Path:
    # https://specifications.freedesktop.org/basedir-spec: an XDG_CACHE_HOME that is not absolute is to be ignored.
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    path = (cache if cache.is_absolute() else Path.home() / ".cache") / "pocketrnn" / "ag_news" / file_name
    if path.exists():
        if hashlib.md5(_whole(path), usedforsecurity=False).hexdigest() != _AG_NEWS_MD5[file_name]:
            raise DataError(f"{path} is not the official file: its md5 differs.", "Delete it and run this again.")
        return path
    _download(_AG_NEWS_URL + file_name, _AG_NEWS_MD5[file_name], path)
    return path


def _whole(path: Path) -> bytes:
    with _opened(path) as file:
        return file.read()


def _download(url: str, md5: str, path: Path) -> None:
    """Put the file at `url` at `path`, whole and with the right md5, or not at all."""
    elsewhere = "Get the file by other means and name its folder with --data-dir."
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - the two addresses are fixed, and https
            content = answer.read()
    except (OSError, urllib.error.URLError) as error:
        raise DataError(f"{url} cannot be downloaded: {error}.", elsewhere) from None
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise DataError(f"What {url} sent is not the official file: its md5 differs.", elsewhere)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as work:
            partial = Path(work) / path.name
            partial.write_bytes(content)
            partial.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}.", elsewhere) from None
