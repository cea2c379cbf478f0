"""Read the rows of a CSV, TSV, JSON Lines or Parquet file, a batch at a time."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, Final

from pocketrnn.errors import DataError, TextError, find_file_error_reason, require_module, short_repr
from pocketrnn.tables.column_and_label_checks import (
    DAMAGED_PARQUET,
    SAVE_AS_UTF8,
    check_columns,
    list_first_names,
    make_parquet_error,
    parse_json_object,
)
from pocketrnn.tables.csv_delimiter import find_delimiter, write_header_line_remedy
from pocketrnn.tables.file_kinds import DELIMITERS, Kind
from pocketrnn.tables.row_batches import (
    BATCH_ROWS,
    BLANK,
    ArrowRows,
    CsvRows,
    JsonRows,
    RowBatch,
    RowSource,
)
from pocketrnn.tables.whole_lines import LONGEST_LINE, join_into_whole_lines
from pocketrnn.text.features_beside_text import (
    Features,
    encode_values,
    make_example_values,
    parse_feature_values_from_strings,
)

if TYPE_CHECKING:
    import pyarrow

__all__ = ["OtherColumnsError", "add_features", "add_second_texts", "read_batches"]

# The largest chunk that is read, in bytes, and the most chunks in a batch, so that long rows do not fill the memory.
_CHUNK: Final = 1 << 20
_BATCH_CHUNKS: Final = 4
# Without a limit, an unclosed quotation mark would make the rest of a CSV file one field.
_LARGEST_FIELD: Final = 1 << 26
_NAMES_TEXTS: Final = re.compile(
    r"(?i)\w*(text|sentence|review|comment|tweet|content|message|headline|question|document|utterance)\w*"
)


def read_batches(
    stream: IO[bytes], source: RowSource, text_column: str, *, live: bool, added: Sequence[str] = ()
) -> Iterator[RowBatch]:
    """Yield the rows of a file in batches. There is at least one batch, which may be empty.

    Args:
        stream: the file's bytes. A Parquet file is read from its end, so its stream must allow seeking.
        live: whether to yield the rows that have arrived at once, without waiting for a full batch, as for pipes.
        added: the names of the columns that will be added, which the file must not have yet.

    Raises:
        DataError: the file has another format, lacks the column of texts or has an added one already; or a row is
            faulty and `source.on_error` is `raise`.
        MissingExtraError: the file is Parquet, and pyarrow is not installed.
    """
    if source.kind == "parquet":
        return _read_parquet(stream, source, text_column, added)
    chunks = _LineChunks(stream, live)
    if source.kind == "jsonl":
        return _read_json_lines(chunks, source, text_column, added)
    return _read_delimited(chunks, source, text_column, added)


def add_second_texts(batches: Iterable[RowBatch], source: RowSource, column: str) -> Iterator[RowBatch]:
    """Turn the texts of batches into pairs, with second texts from another column.

    Args:
        source: the file, which counts the rows without a second text, too.

    Raises:
        DataError: the column is missing; or a row has no text in it and `source.on_error` is `raise`.
    """
    for batch in batches:
        values = _list_column_values(batch.rows, column, source, source.name_columns)
        without, first = set(batch.without_text), source.rows - len(values) + 1
        for index, value in enumerate(values):
            if isinstance(value, str) or index in without:
                continue
            without.add(index)
            if isinstance(batch.rows, JsonRows):
                _count_or_refuse_object_without_text(source, first + index, batch.rows.make_dicts()[index], column)
            else:
                source.count_or_refuse_row_without_text(first + index, f"has no text in {column!r}")
        pairs = [
            (text, value if isinstance(value, str) else "") for text, value in zip(batch.texts, values, strict=True)
        ]
        yield replace(batch, texts=pairs, without_text=sorted(without))


def add_features(batches: Iterable[RowBatch], source: RowSource, features: Features) -> Iterator[RowBatch]:
    """Turn the texts of batches into texts with features. The values of a feature come from the column with its name.

    Args:
        source: the file, which counts the rows without usable features, too.

    Raises:
        DataError: a column is missing; or a row has a missing or impossible feature and `source.on_error` is `raise`.
    """
    names = [name for name, _ in features]
    remedy = f"A row has a column for each feature: {', '.join(names)}."
    for batch in batches:
        columns = [_list_column_values(batch.rows, name, source, remedy) for name in names]
        without, first = set(batch.without_text), source.rows - len(batch.texts) + 1
        texts: list[Any] = []
        for index, (text, values) in enumerate(zip(batch.texts, zip(*columns, strict=True), strict=True)):
            given = dict(zip(names, values, strict=True))
            given = parse_feature_values_from_strings(features, given) if isinstance(batch.rows, CsvRows) else given
            try:
                encode_values(features, given, "")
            except TextError as error:
                given = make_example_values(features)
                if index not in without:
                    source.count_or_refuse_row_without_feature(first + index, error.problem.strip().removesuffix("."))
                without.add(index)
            texts.append((text, given))
        yield replace(batch, texts=texts, without_text=sorted(without))


def _list_column_values(rows: CsvRows | JsonRows | ArrowRows, column: str, source: RowSource, remedy: str) -> list[Any]:
    """Return the values of a column, one for each row. Raise a DataError with `remedy` if the file lacks the column. A
    JSON object without the member gives None."""
    if isinstance(rows, JsonRows):
        return [row.get(column) for row in rows.make_dicts()]
    names = rows.names if isinstance(rows, CsvRows) else rows.batch.schema.names
    if column not in names:
        raise DataError(f"{source.name} has no column {column!r}; its columns are {list_first_names(names)}.", remedy)
    if isinstance(rows, CsvRows):
        index = names.index(column)
        return [row[index] for row in rows.rows]
    return _list_arrow_values(rows.batch.column(column))


class OtherColumnsError(DataError):
    """The file already has a column with the name of a new column, or its texts seem to be in another column than
    expected.

    Attributes:
        taken: the names of the file's columns, if the file has one of the added columns; else empty.
        text_column: the column that seems to hold the texts, if it has another name than expected; else empty.
    """

    taken: Collection[str] = ()
    text_column: str = ""


def _refuse_taken_columns(names: Collection[str], added: Sequence[str], source: RowSource) -> None:
    """Raise an OtherColumnsError if a file with the columns `names` already has one of the columns that are to be
    added."""
    for name in added:
        if name in names:
            error = OtherColumnsError(
                f"{source.name} has a column {name!r} already, so that no new column can have this name.",
                "Give the new columns other names with --label-column and --probability-column.",
            )
            error.taken = names
            raise error


def _refuse_text_column_of_other_name(
    names: Sequence[str], text_column: str, added: Sequence[str], source: RowSource
) -> None:
    """Raise an OtherColumnsError if a file lacks the column of texts, but exactly one of its columns has a name such as
    `review` or `sentence`."""
    named = [one for one in names if _NAMES_TEXTS.fullmatch(one)]
    if text_column not in names and len(named) == 1:
        error = OtherColumnsError(
            f"{source.name} has no column {text_column!r}; its columns are {list_first_names(names)}.",
            f"Did you mean {named[0]}? {source.name_columns}",
        )
        error.text_column, error.taken = named[0], names if {*names} & {*added} else ()
        raise error


def _check_column_names(names: Sequence[str], text_column: str, added: Sequence[str], source: RowSource) -> None:
    """Raise a DataError unless a file has the column of texts, has no column twice, and has none of the columns that
    are to be added."""
    _refuse_text_column_of_other_name(names, text_column, added, source)
    header = ""
    if source.kind in DELIMITERS:
        # It is unknown which of a row's fields is the text, unless the file has one column.
        others = [f"column_{number}" for number in range(2, len(names) + 1)][:3]
        header = write_header_line_remedy((text_column, *others), DELIMITERS[source.kind])
    check_columns(names, (text_column, *names), source.name, source.name_columns, header)
    _refuse_taken_columns(names, added, source)


@dataclass(frozen=True)
class _LineChunk:
    """Some complete lines of a file, each with its line end.

    Attributes:
        lines: the lines; bytes that are not UTF-8 are replaced by U+FFFD.
        not_utf8: the numbers of the lines that are not UTF-8. The first line of the file has the number 1.
    """

    lines: io.StringIO
    not_utf8: frozenset[int]


class _LineChunks:
    """Divides a UTF-8 stream of bytes into chunks of complete lines.

    Attributes:
        read: how many bytes were read.
    """

    def __init__(self, stream: IO[bytes], live: bool) -> None:
        self._stream = stream
        self._live = live
        self._lines = io.StringIO()
        self._end = 0
        self._in_batch = 0
        self.read = 0

    def start_batch(self) -> None:
        """Begin a new batch: count its chunks from 0."""
        self._in_batch = 0

    def is_batch_complete(self, rows: int) -> bool:
        """Return whether a batch of `rows` rows is complete: it is large enough; or, for a live stream, it has all
        lines that have arrived."""
        if rows >= BATCH_ROWS or self._in_batch >= _BATCH_CHUNKS:
            return True
        return self._live and self._lines.tell() == self._end

    def __iter__(self) -> Iterator[_LineChunk]:
        first = 1
        for whole in join_into_whole_lines(self._read_chunks(), _make_long_line_error):
            self._in_batch += 1
            # A file from Windows may begin with a byte order mark.
            encoding = "utf-8-sig" if first == 1 else "utf-8"
            try:
                text, not_utf8 = whole.decode(encoding), frozenset[int]()
            except UnicodeDecodeError:
                text, not_utf8 = (
                    whole.decode(encoding, "replace"),
                    frozenset(number for number, line in enumerate(io.BytesIO(whole), first) if not _is_utf8(line)),
                )
            # Not str.splitlines: it takes U+2028 and other characters for line ends.
            self._lines, self._end = io.StringIO(text, newline="\n"), len(text)
            yield _LineChunk(self._lines, not_utf8)
            first += whole.count(b"\n")

    def _read_chunks(self) -> Iterator[bytes]:
        """Yield the bytes of the stream as they arrive; raise a DataError if it cannot be read."""
        try:
            while chunk := self._stream.read1(_CHUNK):  # type: ignore[attr-defined]
                self.read += len(chunk)
                yield chunk
        except OSError as error:
            raise DataError(
                f"The input cannot be read: {find_file_error_reason(error)}.", "Check the file and the disk."
            ) from None


def _make_long_line_error() -> DataError:
    """Make the error for a line that is longer than 256 MiB."""
    return DataError(f"The input has a line of more than {LONGEST_LINE >> 20} MiB.", "Give one row in each line.")


def _is_utf8(line: bytes) -> bool:
    """Return whether a line is valid UTF-8."""
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


@contextlib.contextmanager
def _allow_large_fields() -> Iterator[None]:
    # The csv module has one limit for the whole process: 131,072 characters, unless it is set.
    """Let the csv module accept fields of up to 64 MiB while the block runs."""
    before = csv.field_size_limit(_LARGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


class _DelimitedRows:
    """The rows of a CSV or TSV file, with the number of the last line that was read, and the numbers of lines that are
    not UTF-8."""

    def __init__(self, chunks: _LineChunks, kind: Kind, wanted: Sequence[str]) -> None:
        self._chunks = chunks
        self.not_utf8: set[int] = set()
        lines = self._iterate_lines()
        first: list[str] = []
        while kind == "csv" and not "".join(first).strip() and (line := next(lines, None)) is not None:
            first.append(line)
        with _allow_large_fields():
            self.delimiter = find_delimiter("".join(first).strip(), wanted) if first else DELIMITERS[kind]
        # strict: an open quotation mark at the end is an error, not a field.
        self.reader = csv.reader(chain(first, lines), delimiter=self.delimiter, strict=True)

    def _iterate_lines(self) -> Iterator[str]:
        """Yield the lines of all chunks, and collect the numbers of those that are not UTF-8."""
        for chunk in self._chunks:
            self.not_utf8 |= chunk.not_utf8
            yield from chunk.lines

    def had_line_not_utf8_since_last_call(self) -> bool:
        """Return whether a line up to the end of the last row was not UTF-8. Only the lines since the last call of this
        method count."""
        ended = {number for number in self.not_utf8 if number <= self.reader.line_num}
        self.not_utf8 -= ended
        return bool(ended)


def _read_delimited(
    chunks: _LineChunks, source: RowSource, text_column: str, added: Sequence[str]
) -> Iterator[RowBatch]:
    """Yield the rows of a CSV or TSV file, given as chunks of its lines, in batches. Count the rows in `source`."""
    rows = _DelimitedRows(chunks, source.kind, (text_column,))
    names = _read_header(rows, source)
    _check_column_names(names, text_column, added, source)
    width, index = len(names), names.index(text_column)
    not_utf8 = rows.not_utf8
    kept: list[list[str]] = []
    given = False
    while True:
        try:
            # The limit is raised only while the file is read, not while the consumer of the batches works.
            with _allow_large_fields():
                for row in rows.reader:
                    if len(row) == width and not not_utf8:
                        kept.append(row)
                    elif row:
                        _append_valid_row(row, kept, width, rows, source)
                    if chunks.is_batch_complete(len(kept)):
                        break
                else:
                    break
        except csv.Error as error:
            _count_unparsable_row_left_out(len(kept), error, rows, source)
            continue
        source.rows += len(kept)
        yield RowBatch([row[index] for row in kept], [], CsvRows(names, kept, rows.delimiter), chunks.read)
        kept, given = [], True
        chunks.start_batch()
    source.rows += len(kept)
    if kept or not given:
        yield RowBatch([row[index] for row in kept], [], CsvRows(names, kept, rows.delimiter), chunks.read)


def _read_header(rows: _DelimitedRows, source: RowSource) -> list[str]:
    """Read the names of the columns from the first row of a CSV or TSV file that is not empty."""
    try:
        with _allow_large_fields():
            names = next((row for row in rows.reader if row), None)
    except csv.Error as error:
        raise DataError(
            f"The header line of {source.name} is not valid CSV: {error}.", "Correct the header line."
        ) from None
    if names is None:
        raise DataError(f"{source.name} is empty.", "Give a file with a header line.")
    if rows.had_line_not_utf8_since_last_call():
        raise DataError(f"The header line of {source.name} is not UTF-8.", SAVE_AS_UTF8)
    return names


def _append_valid_row(
    row: list[str], kept: list[list[str]], width: int, rows: _DelimitedRows, source: RowSource
) -> None:
    """Append a row to `kept`. If the row is not UTF-8 or does not have `width` fields, leave it out and count it, or
    raise a DataError if `source.on_error` is `raise`."""
    if rows.had_line_not_utf8_since_last_call():
        what = "is not UTF-8"
    elif len(row) != width:
        what = f"has {len(row)} fields where the header has {width}"
    else:
        kept.append(row)
        return
    _count_row_left_out(len(kept), f"(line {rows.reader.line_num}) {what}", source)


def _count_unparsable_row_left_out(rows_before: int, error: csv.Error, rows: _DelimitedRows, source: RowSource) -> None:
    """Count a row that the csv module could not parse as left out; raise a DataError if `source.on_error` is `raise`.

    Args:
        rows_before: how many rows the batch has before it, which `source` has not counted yet.
    """
    rows.had_line_not_utf8_since_last_call()
    what = str(error).partition(" - ")[0]
    if what.startswith("field larger"):
        what = f"a field is longer than {_LARGEST_FIELD:,} characters; is a quotation mark not closed?"
    _count_row_left_out(rows_before, f"(line {rows.reader.line_num}) cannot be read: {what.removesuffix('.')}", source)


def _count_row_left_out(rows_before: int, fault: str, source: RowSource) -> None:
    """Count a row as left out; raise a DataError if `source.on_error` is `raise`.

    Args:
        rows_before: how many rows the batch has before it, which `source` has not counted yet.
        fault: what is wrong, as the end of a sentence about the row.
    """
    source.count_or_refuse_unreadable_row(source.rows + rows_before + 1, fault)
    source.rows += 1


def _iterate_stripped_lines(chunks: _LineChunks) -> Iterator[tuple[int, str, bool]]:
    """Yield for each line its number from 1, the line without white space around it, and whether the line is UTF-8."""
    number = 0
    for chunk in chunks:
        for line in chunk.lines:
            number += 1
            yield number, line.strip(BLANK), number not in chunk.not_utf8


def _read_json_lines(
    chunks: _LineChunks, source: RowSource, text_column: str, added: Sequence[str]
) -> Iterator[RowBatch]:
    """Yield the rows of a JSON Lines file, given as chunks of its lines, in batches. Count the rows in `source`."""
    texts: list[str] = []
    lines: list[str] = []
    parsed: list[dict[str, Any]] = []
    without: list[int] = []
    given = False
    for number, line, is_utf8 in _iterate_stripped_lines(chunks):
        try:
            row = _parse_object_or_empty_line(line, is_utf8)
        except ValueError as error:
            row = None
            _count_row_left_out(len(lines), f"(line {number}) {error}", source)
        if row is not None:
            _refuse_taken_columns(row, added, source)
            text = row.get(text_column)
            if not isinstance(text, str):
                without.append(len(lines))
                _count_or_refuse_object_without_text(source, source.rows + len(lines) + 1, row, text_column)
                text = ""
            texts.append(text)
            lines.append(line)
            parsed.append(row)
        if chunks.is_batch_complete(len(lines)):
            source.rows += len(lines)
            yield RowBatch(texts, without, JsonRows(lines, parsed), chunks.read)
            texts, lines, parsed, without, given = [], [], [], [], True
            chunks.start_batch()
    source.rows += len(lines)
    if lines or not given:
        yield RowBatch(texts, without, JsonRows(lines, parsed), chunks.read)


def _parse_object_or_empty_line(line: str, is_utf8: bool) -> dict[str, Any] | None:
    """Parse the JSON object of a line; return None for an empty line.

    Raises:
        ValueError: the line is not UTF-8 or not a JSON object. The message is the end of a sentence: "is not UTF-8".
    """
    if not is_utf8:
        raise ValueError("is not UTF-8")
    return parse_json_object(line) if line else None


def _count_or_refuse_object_without_text(source: RowSource, number: int, row: Mapping[str, Any], column: str) -> None:
    """Count a JSON object that has no text in a column; raise a DataError if `source.on_error` is `raise`. The message
    says what the object has there."""
    value = row.get(column)
    if column not in row:
        what = f"has no {column!r}; it has {list_first_names(list(row)) or 'nothing'}"
    elif value is None:
        what = f"has nothing in {column!r}"
    else:
        what = f"has {short_repr(value, 40)} in {column!r}, not text"
    source.count_or_refuse_row_without_text(number, what, has_column=column in row)


def _read_parquet(stream: IO[bytes], source: RowSource, text_column: str, added: Sequence[str]) -> Iterator[RowBatch]:
    """Yield the rows of a Parquet file in batches, and count them in `source`."""
    parquet, arrow = require_module("pyarrow.parquet", "parquet"), require_module("pyarrow", "parquet")
    try:
        # Without pre_buffer a row group is read column by column as it is needed, not fetched whole.
        file = parquet.ParquetFile(stream, pre_buffer=False)
        schema = file.schema_arrow
        _check_column_names(schema.names, text_column, added, source)
        kind = schema.field(text_column).type
        if arrow.types.is_dictionary(kind):
            kind = kind.value_type
        if not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind) or kind == arrow.string_view()):
            raise DataError(
                f"The column {text_column!r} of {source.name} holds {kind}, not text.",
                source.name_columns,
            )
        source.size = file.metadata.num_rows
        given = False
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            given = True
            yield _make_batch_from_arrow_and_count_rows(batch, source, text_column)
        if not given:
            yield _make_batch_from_arrow_and_count_rows(arrow.RecordBatch.from_pylist([], schema), source, text_column)
    except (arrow.ArrowException, *DAMAGED_PARQUET) as error:
        raise make_parquet_error(source.name, error) from None


def _make_batch_from_arrow_and_count_rows(batch: pyarrow.RecordBatch, source: RowSource, text_column: str) -> RowBatch:
    """Make a batch from a record batch of pyarrow. Count its rows in `source`, and those without a text."""
    column = batch.column(text_column)
    first = source.rows + 1
    source.rows += len(column)
    texts = _list_arrow_values(column)
    without = [index for index, text in enumerate(texts) if not isinstance(text, str)]
    for index in without:
        what = "has nothing" if texts[index] is None else "has bytes that are not UTF-8"
        source.count_or_refuse_row_without_text(first + index, f"{what} in {text_column!r}")
        texts[index] = ""
    return RowBatch(texts, without, ArrowRows(batch), source.rows)


def _list_arrow_values(column: pyarrow.Array) -> list[Any]:
    """Return the values of a pyarrow column as Python objects; b"" for a string that is not UTF-8."""

    def decode_value_or_empty_bytes(value: Any) -> Any:
        try:
            return value.as_py()
        except UnicodeDecodeError:
            return b""

    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        return [decode_value_or_empty_bytes(value) for value in column]
    return values
