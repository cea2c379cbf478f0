"""Read the columns of files of rows, some thousand rows at a time.

The files are CSV, TSV, JSON Lines, Parquet and fastText.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from pocketrnn.bundle.names_from_paths import suggest_near_file
from pocketrnn.errors import DataError, find_file_error_reason, first_line
from pocketrnn.tables.column_and_label_checks import (
    DAMAGED_PARQUET,
    check_columns,
    list_first_names,
    make_parquet_error,
    parse_json_object,
)
from pocketrnn.tables.csv_delimiter import find_delimiter, write_header_line_remedy
from pocketrnn.tables.encodings import UTF8, check_encoding, check_not_utf16, make_not_utf8_error, recode_to_utf8

__all__ = [
    "COLUMN_REMEDY",
    "SUFFIXES",
    "open_as_utf8",
    "read_column_names",
    "read_columns",
    "read_delimited",
    "read_text_lines",
]

# Bytes of a CSV file that are read at once. No row may be longer.
_BLOCK: Final = 16 * 2**20
# Bytes of a line of JSON Lines, as for the runtime's files.
_LONGEST_LINE: Final = 1 << 28
# Rows of a chunk of JSON Lines and Parquet.
_ROWS: Final = 10_000
# A label of fastText begins with this.
_LABEL: Final = "__label__"
_FASTTEXT: Final = ("text", "label")
# The remedy where a column is missing.
COLUMN_REMEDY: Final = "Name the columns with --text-column and --label-column."


def read_columns(
    path: Path, wanted: Sequence[str], remedy: str = COLUMN_REMEDY, encoding: str = UTF8
) -> Iterator[tuple[list[Any], ...]]:
    """Yield the wanted columns of a file in chunks of rows.

    The suffix of a name decides the format: `.csv`, `.tsv` (both with a header line, quoted as spreadsheets do; every
    value is a string), `.jsonl` or `.ndjson` (a JSON object a line), `.parquet`, `.txt` (fastText's
    lines: `__label__NAME` before a text).

    Args:
        path: the file.
        wanted: the names of the columns.
        remedy: what to do if a column is missing, for the error.
        encoding: the encoding of the file, by its name in Python; not used for Parquet.

    Yields:
        For each wanted column, its values in the next rows.

    Raises:
        DataError: the file is missing, unreadable, of another kind or in another encoding; a column is missing or
            occurs twice.
        InputError: the encoding is unknown.
    """
    yield from _find_readers(path).read_columns(path, wanted, remedy, check_encoding(encoding))


def read_column_names(path: Path) -> list[str]:
    """Read the names of a file's columns. For JSON Lines, these are the members of the first object.

    Raises:
        DataError: the file is missing, unreadable, of another kind or empty.
    """
    return _find_readers(path).read_names(path)


@contextmanager
def open_as_utf8(path: Path, encoding: str = UTF8) -> Iterator[IO[bytes]]:
    """Open a data file for reading as UTF-8. A file in another encoding is converted.

    Raises:
        DataError: the file is missing, cannot be read, or is not a regular file; or, while the caller reads, a byte
            does not belong to the encoding.
    """
    try:
        # A device may have no end, and a pipe cannot be read twice.
        if path.exists() and not path.is_file():
            raise DataError(
                f"{path} is not a regular file: it is a folder, a device or a pipe.",
                "Give the path of a file with rows.",
            )
        with path.open("rb") as file:
            yield recode_to_utf8(file, str(path), encoding)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.", suggest_near_file(path) or "Check the path of the file.") from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read: {find_file_error_reason(error)}.", "Check the file and its access rights."
        ) from None


def _check_encoding_and_measure_utf8_size(path: Path, encoding: str) -> int:
    """Check that a whole file can be decoded, and return the size of its text in bytes of UTF-8.

    Return 0 if the file is empty or holds only white space.

    Raises:
        DataError: the file cannot be read, or holds a byte that does not belong to the encoding.
    """
    size, lines, waiting, blank = 0, 1, b"", True
    with open_as_utf8(path, encoding) as file:
        while block := file.read(_BLOCK):
            if not size:
                check_not_utf16(str(path), block[:4])
            size += len(block)
            blank = blank and not block.strip()
            block = waiting + block
            try:
                block.decode()
                waiting = b""
            except UnicodeDecodeError as error:
                # A character may be cut by the end of the block, but has at most four bytes.
                if len(block) - error.start >= 4 or not file.peek(1):  # type: ignore[attr-defined]
                    line = lines + block.count(b"\n", 0, error.start)
                    raise make_not_utf8_error(str(path), line, block[error.start]) from None
                block, waiting = block[: error.start], block[error.start :]
            lines += block.count(b"\n")
    return 0 if blank else size


def read_delimited(
    path: Path,
    wanted: Sequence[str],
    delimiter: str,
    names_without_header: Sequence[str] | None = None,
    remedy: str = COLUMN_REMEDY,
    encoding: str = UTF8,
) -> Iterator[tuple[list[str], ...]]:
    """Yield the wanted columns of a CSV or TSV file in chunks of rows.

    Args:
        path: the file.
        wanted: the names of the columns.
        delimiter: the character between the fields of a row.
        names_without_header: the names of all columns, for a file without a header line.
        remedy: what to do if a column is missing, for the error.
        encoding: the encoding of the file, by its name in Python in lower case.

    Yields:
        For each wanted column, its values in the next rows.

    Raises:
        DataError: the file is missing, empty, in another encoding or not CSV; a column is missing or occurs twice.
    """
    size = _measure_utf8_size_and_refuse_blank_file(path, encoding)
    with _open_delimited(path, size, (), wanted, delimiter, names_without_header, encoding) as header:
        check_columns(header.schema.names, wanted, str(path), remedy, write_header_line_remedy(wanted, delimiter))
    with _open_delimited(path, size, wanted, wanted, delimiter, names_without_header, encoding) as chunks:
        for chunk in chunks:
            yield tuple(chunk.column(name).to_pylist() for name in wanted)


def _measure_utf8_size_and_refuse_blank_file(path: Path, encoding: str = UTF8) -> int:
    """Return the size of a data file's text in bytes of UTF-8.

    Raises:
        DataError: the file is empty or only white space, cannot be read, or has another encoding.
    """
    size = _check_encoding_and_measure_utf8_size(path, encoding)
    if not size:
        raise DataError(f"{path} is empty, or holds only white space.", "Give a file with labelled texts.")
    return size


@contextmanager
def _open_delimited(
    path: Path,
    size: int,
    included_columns: Sequence[str],
    string_columns: Sequence[str],
    delimiter: str,
    names_without_header: Sequence[str] | None = None,
    encoding: str = UTF8,
) -> Iterator[pyarrow.csv.CSVStreamingReader]:
    """Open a CSV file, and yield a reader of chunks of its rows.

    Args:
        size: the number of bytes of the file in UTF-8.
        included_columns: the columns to read; empty for all.
        string_columns: the columns whose values are read as strings, whatever they look like.
        delimiter: the character between the fields of a row.
        names_without_header: the names of all columns, for a file without a header line.
        encoding: the encoding of the file.
    """
    with (
        open_as_utf8(path, encoding) as file,
        _translate_csv_errors(path),
        pyarrow.csv.open_csv(
            path if encoding == UTF8 else file,
            read_options=pyarrow.csv.ReadOptions(
                block_size=min(size + 1, _BLOCK), column_names=names_without_header, use_threads=False
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            # As strings: the label 01 is not the label 1, and the text NULL is a text.
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(string_columns, pa.string()),
                strings_can_be_null=False,
                include_columns=included_columns,
            ),
        ) as reader,
    ):
        yield reader


@contextmanager
def _translate_csv_errors(path: Path) -> Iterator[None]:
    """Catch the errors of pyarrow's CSV reader in the `with` block, and raise a DataError about the file instead."""
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        if "straddl" in first_line(error):
            raise DataError(
                f"{path} has a quotation mark that is never closed, or a row of more than {_BLOCK >> 20} MiB.",
                'Write "" for a quotation mark inside a quoted field, and shorten or delete a row that is too long.',
            ) from None
        raise DataError(
            f"{path} cannot be read as CSV: {first_line(error)}.", "Correct the named row, or save the file again."
        ) from None


def _read_csv(path: Path, wanted: Sequence[str], remedy: str, encoding: str) -> Iterator[tuple[list[Any], ...]]:
    """Yield the wanted columns of a .csv file in chunks of rows. A missing column's error ends with `remedy`."""
    return read_delimited(path, wanted, _find_csv_delimiter(path, wanted, encoding), remedy=remedy, encoding=encoding)


def _find_csv_delimiter(path: Path, wanted: Sequence[str], encoding: str = UTF8) -> str:
    """Find the character between the fields of a .csv file, such as a semicolon, from its header line.

    `wanted` are the names of columns that the header line should have.
    """
    _measure_utf8_size_and_refuse_blank_file(path, encoding)
    with open_as_utf8(path, encoding) as file:
        header = next((line for line in iter(partial(file.readline, _BLOCK), b"") if line.strip()), b"")
    return find_delimiter(header.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace").strip(), wanted)


def _read_tsv(path: Path, wanted: Sequence[str], remedy: str, encoding: str) -> Iterator[tuple[list[Any], ...]]:
    """Yield the wanted columns of a .tsv file in chunks of rows. A missing column's error ends with `remedy`."""
    return read_delimited(path, wanted, "\t", remedy=remedy, encoding=encoding)


def _read_json_lines(path: Path, wanted: Sequence[str], remedy: str, encoding: str) -> Iterator[tuple[list[Any], ...]]:
    """Yield the wanted members of the objects in a JSON Lines file as columns, in chunks of rows.

    If an object lacks a wanted member, the error ends with `remedy`.
    """

    # Not pyarrow's reader: it refuses half a surrogate pair, which JSON allows, and its errors name no line.
    def select_wanted_members() -> Iterator[list[Any]]:
        for number, row in _read_json_rows(path, encoding):
            for column in wanted:
                if column not in row:
                    has = list_first_names(list(row)) or "nothing"
                    raise DataError(
                        f"Line {number} of {path} is a JSON object without the member {column!r}. It has {has}.", remedy
                    )
            yield [row[column] for column in wanted]

    return _convert_rows_to_chunks_of_columns(select_wanted_members())


def _convert_rows_to_chunks_of_columns(rows: Iterator[list[Any]]) -> Iterator[tuple[list[Any], ...]]:
    """Take up to 10,000 rows at a time, and yield their columns: the rows [1, 2], [3, 4] become ([1, 3], [2, 4])."""
    while some := list(islice(rows, _ROWS)):
        yield tuple(map(list, zip(*some, strict=True)))


def _read_json_rows(path: Path, encoding: str = UTF8) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield pairs (line number, JSON object) for the lines of a JSON Lines file that are not empty."""
    for number, text in read_text_lines(path, encoding):
        try:
            row = parse_json_object(text)
        except ValueError as error:
            raise DataError(f"Line {number} of {path} {error}.", "Write one JSON object on each line.") from None
        yield number, row


def _read_fasttext(path: Path, wanted: Sequence[str], remedy: str, encoding: str) -> Iterator[tuple[list[Any], ...]]:
    """Yield the columns `text` and `label` of a fastText file, in chunks of rows.

    Each line of the file is labels that begin with `__label__`, then the text. Several labels become a list.

    Args:
        wanted: `text`, `label` or both.
        remedy: what to do, for the error if `wanted` has another name.
        encoding: the encoding of the file.
    """
    check_columns(_FASTTEXT, wanted, str(path), f"Each .txt file in fastText's format has these columns. {remedy}")

    def parse_lines() -> Iterator[list[Any]]:
        for number, text in read_text_lines(path, encoding):
            words = text.split()
            count = next((i for i, word in enumerate(words) if not word.startswith(_LABEL)), len(words))
            labels = [word.removeprefix(_LABEL) for word in words[:count]]
            if "label" in wanted and (not labels or "" in labels):
                raise DataError(
                    f"Line {number} of {path} does not begin with {_LABEL} and the name of a label, but each line of a "
                    ".txt file must.",
                    f"Write {_LABEL}NAME before each text, as for fastText; or give a .csv, .tsv, .jsonl or .parquet "
                    "file.",
                )
            # The text after the labels, with its own spaces.
            rest = text.split(None, count)[count] if count < len(words) else ""
            values = {"text": rest.rstrip(), "label": labels[0] if len(labels) == 1 else labels}
            yield [values[name] for name in wanted]

    return _convert_rows_to_chunks_of_columns(parse_lines())


def read_text_lines(path: Path, encoding: str = UTF8) -> Iterator[tuple[int, str]]:
    """Yield pairs (line number, text) for the lines of a file that are not empty. The text keeps its line break.

    Raises:
        DataError: the file is missing, cannot be read, is in another encoding, or has a line that is too long.
    """
    with open_as_utf8(path, encoding) as file:
        # Read one byte more than a line may have, so that a longer line is detected.
        for number, line in enumerate(iter(partial(file.readline, _LONGEST_LINE + 1), b""), start=1):
            if len(line) > _LONGEST_LINE:
                raise DataError(
                    f"Line {number} of {path} is longer than {_LONGEST_LINE >> 20} MiB, which is the limit.",
                    "Break the line into several lines, or delete it.",
                )
            if number == 1:
                check_not_utf16(str(path), line[:4])
            try:
                text = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode()
            except UnicodeDecodeError as error:
                raise make_not_utf8_error(str(path), number, line[error.start]) from None
            if text.strip():
                yield number, text


def _read_parquet(path: Path, wanted: Sequence[str], remedy: str, _encoding: str) -> Iterator[tuple[list[Any], ...]]:
    """Yield the wanted columns of a Parquet file in chunks of rows. A missing column's error ends with `remedy`."""
    with _open_parquet(path) as file:
        check_columns(file.schema_arrow.names, wanted, str(path), remedy)
        for chunk in file.iter_batches(_ROWS, columns=list(wanted)):
            yield tuple(chunk.column(name).to_pylist() for name in wanted)


@contextmanager
def _open_parquet(path: Path) -> Iterator[pyarrow.parquet.ParquetFile]:
    """Open a Parquet file, and convert errors of pyarrow in the `with` block to a DataError about the file."""
    with open_as_utf8(path) as content:
        try:
            yield pyarrow.parquet.ParquetFile(content)
        except (pa.ArrowException, *DAMAGED_PARQUET) as error:
            raise make_parquet_error(str(path), error) from None


def _read_delimited_column_names(path: Path, delimiter: str | None = None) -> list[str]:
    """Read the column names of a CSV or TSV file from its header line. With None, the delimiter is detected."""
    size = _measure_utf8_size_and_refuse_blank_file(path)
    with _open_delimited(path, size, (), (), delimiter or _find_csv_delimiter(path, ())) as header:
        return list(header.schema.names)


def _read_json_member_names(path: Path) -> list[str]:
    """Read the names of the members of the first object in a JSON Lines file."""
    for _, row in _read_json_rows(path):
        return list(row)
    raise DataError(f"{path} is empty.", "Give a file with one JSON object on each line.")


def _read_parquet_column_names(path: Path) -> list[str]:
    with _open_parquet(path) as file:
        return list(file.schema_arrow.names)


class _Readers(NamedTuple):
    """Two functions for a file format: one reads columns of a file, the other reads only the names of its columns."""

    read_columns: Callable[[Path, Sequence[str], str, str], Iterator[tuple[list[Any], ...]]]
    read_names: Callable[[Path], list[str]]


_FORMATS: Final[dict[str, _Readers]] = {
    ".csv": _Readers(_read_csv, _read_delimited_column_names),
    ".tsv": _Readers(_read_tsv, partial(_read_delimited_column_names, delimiter="\t")),
    ".jsonl": _Readers(_read_json_lines, _read_json_member_names),
    ".ndjson": _Readers(_read_json_lines, _read_json_member_names),
    ".parquet": _Readers(_read_parquet, _read_parquet_column_names),
    ".txt": _Readers(_read_fasttext, lambda _: list(_FASTTEXT)),
}
# The suffixes of files that can be read.
SUFFIXES: Final = tuple(_FORMATS)


def _find_readers(path: Path) -> _Readers:
    """Return the functions that read the format of a file, which the suffix of its name decides.

    Raises:
        DataError: the suffix is unknown.
    """
    found = _FORMATS.get(path.suffix.lower())
    if found is None:
        raise DataError(
            f"The suffix of {path} is not that of a known file format.",
            f"Give a file whose name ends in one of: {', '.join(SUFFIXES)}.",
        )
    return found
