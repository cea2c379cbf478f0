"""Files of rows - CSV, TSV, JSON Lines, Parquet - read and written a batch at a time, nothing of a row lost.

What is written keeps a row as its file held it where both are of one kind: a line of JSON gets two more members and is
else the same bytes, a Parquet column keeps its type. CSV and JSON Lines need the standard library only; pyarrow, which
Parquet needs, is imported when it is asked for.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal

from pocketrnn.errors import DataError, InputError, OutputError, require
from pocketrnn.incoming import OnError

if TYPE_CHECKING:
    import pyarrow

__all__ = ["ENDINGS", "KINDS", "Batch", "Column", "Kind", "Source", "kind_of", "read", "write"]

Kind = Literal["csv", "tsv", "jsonl", "parquet"]
KINDS: Final[tuple[Kind, ...]] = ("csv", "tsv", "jsonl", "parquet")
ENDINGS: Final[Mapping[str, Kind]] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}

# A batch ends after so many rows, or so many pieces of the file, whichever comes first: long rows do not add up.
_ROWS: Final = 4096
_PIECE: Final = 1 << 20
_PIECES: Final = 4
# In a CSV file, a quotation mark that is never closed would else take the rest of the file as one field.
_LARGEST_FIELD: Final = 1 << 26
# Parquet's row groups, each of which is held until it is written.
_GROUP_ROWS: Final = 1 << 16
_GROUP_BYTES: Final = 1 << 26
_DELIMITERS: Final[Mapping[str, str]] = {"csv": ",", "tsv": "\t"}
_BLANK: Final = " \t\r\n"
_LEAVE_OUT: Final = "Correct it, or leave such rows out with --on-error skip."


@dataclass(frozen=True)
class _Fields:
    """Rows of a CSV file, a list of strings each."""

    names: Sequence[str]
    rows: list[list[str]]

    def objects(self) -> list[dict[str, Any]]:
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class _Lines:
    """Rows of a JSON Lines file: each line without what surrounds it, and the object that it is."""

    lines: list[str]
    parsed: list[dict[str, Any]]

    def objects(self) -> list[dict[str, Any]]:
        return self.parsed


@dataclass(frozen=True)
class _Columns:
    """Rows of a Parquet file."""

    batch: pyarrow.RecordBatch

    def objects(self) -> list[dict[str, Any]]:
        try:
            rows: list[dict[str, Any]] = self.batch.to_pylist()
        except UnicodeDecodeError:
            raise OutputError("A column holds bytes that are not UTF-8.", "Write Parquet.") from None
        return rows


@dataclass(frozen=True)
class Batch:
    """Some rows that follow each other.

    Attributes:
        texts: a text a row; an empty one where the row holds none.
        without_text: the places of those rows.
        rows: the rows as their file holds them.
        read: how much of `Source.size` has been read.
    """

    texts: list[str]
    without_text: list[int]
    rows: _Fields | _Lines | _Columns
    read: int


@dataclass
class Source:
    """A file of rows that is being read.

    Attributes:
        name: what it is called in errors.
        kind: what it is.
        size: its bytes, or its rows if it is Parquet; None where that is not known beforehand.
        rows: how many rows have been read.
        left_out: how many of them could not be read, and stand in no batch.
        without_text: how many of them stand in a batch and hold no text.
        first_fault: what was wrong with the first of those.
    """

    name: str
    kind: Kind
    size: int | None = None
    rows: int = 0
    left_out: int = 0
    without_text: int = 0
    first_fault: str | None = None
    _on_error: OnError = field(default="raise", repr=False)

    def fault(self, row: int, what: str, *, unreadable: bool) -> None:
        """Raise what is wrong with a row, or count it.

        Raises:
            DataError: faults are not to be skipped.
        """
        problem = f"Row {row} of {self.name} {what}."
        if self._on_error == "raise":
            raise DataError(problem, _LEAVE_OUT if unreadable else "Fill it, or pass over it with --on-error skip.")
        self.left_out += unreadable
        self.without_text += not unreadable
        self.first_fault = self.first_fault or problem


def kind_of(name: str, stated: str | None, option: str) -> Kind:
    """What kind of file this is: as stated, else by the end of its name.

    Args:
        name: the file's name; `-` for a standard stream.
        stated: one of KINDS, or None.
        option: the option that states it, for the error.

    Raises:
        InputError: nothing is stated, and the name does not tell.
    """
    if stated is not None:
        return stated  # type: ignore[return-value]
    found = ENDINGS.get(Path(name).suffix.lower())
    if found is None:
        what = f"The name {name}" if name != "-" else f"Standard {option.removeprefix('--').removesuffix('-format')}"
        raise InputError(
            f"{what} does not tell what kind of file it is.",
            f"Use a name that ends in one of {', '.join(ENDINGS)}, or say {option} {'|'.join(KINDS)}.",
        )
    return found


def read(
    stream: IO[bytes],
    source: Source,
    text_column: str,
    *,
    on_error: OnError,
    live: bool,
    added: Sequence[str] = (),
) -> Iterator[Batch]:
    """The rows, batch by batch; at least one batch, which may be empty.

    Args:
        stream: the file's bytes. Parquet is read from its end, so that its stream must be one that can be sought in.
        source: what it is; counts the rows.
        text_column: the name of the column with the texts.
        on_error: `raise` refuses a row that holds no text or cannot be read; `skip` gives the first without a text,
            and leaves the second out.
        live: give what has arrived at once, without waiting for a whole batch: for pipes.
        added: names that the rows must not have yet.

    Raises:
        DataError: the file is not what it is said to be or has not that column, or a row is refused.
        MissingExtraError: it is Parquet, and pyarrow is not installed.
    """
    source._on_error = on_error
    if source.kind == "parquet":
        return _read_parquet(stream, source, text_column, added)
    if source.kind == "jsonl":
        return _read_json_lines(_Pieces(stream, live), source, text_column, added)
    return _read_delimited(_Pieces(stream, live), source, text_column, added)


def _check_free(names: Collection[str], added: Sequence[str], source: Source) -> None:
    for name in added:
        if name in names:
            raise DataError(
                f"{source.name} has a column {name!r} already.",
                "Name the new ones with --label-column and --probability-column.",
            )


class _Pieces:
    """The lines of a byte stream in UTF-8, read a piece at a time, each with its end.

    Attributes:
        number: the line that was given last, from 1.
        is_utf8: whether that line is.
        begun: how many pieces were read since `start_batch`.
        read: how many bytes were read.
    """

    def __init__(self, stream: IO[bytes], live: bool) -> None:
        self._stream = stream
        self._live = live
        self._buffer = io.StringIO()
        self._end = 0
        self.number = 0
        self.is_utf8 = True
        self.begun = 0
        self.read = 0

    def start_batch(self) -> None:
        """Count pieces from here."""
        self.begun = 0

    def is_batch_full(self, rows: int) -> bool:
        """Whether `rows` rows are enough for a batch, before more is waited for."""
        if rows >= _ROWS or self.begun >= _PIECES:
            return True
        return self._live and self._buffer.tell() == self._end

    def lines(self) -> Iterator[str]:
        for whole in self._whole_lines():
            self.begun += 1
            try:
                # A file from Windows may begin with a byte order mark.
                text = whole.decode("utf-8" if self.number else "utf-8-sig")
            except UnicodeDecodeError:
                yield from self._one_by_one(whole)
                continue
            # Not str.splitlines: it takes U+2028 and other characters for line ends.
            self._buffer, self._end = io.StringIO(text, newline="\n"), len(text)
            for line in self._buffer:
                self.number += 1
                yield line

    def _one_by_one(self, whole: bytes) -> Iterator[str]:
        """The same where a line is not UTF-8; which one, `is_utf8` tells while it is the last that was given."""
        self._buffer, self._end = io.StringIO(), 0
        for line in io.BytesIO(whole):
            encoding = "utf-8" if self.number else "utf-8-sig"
            self.number += 1
            try:
                yield line.decode(encoding)
            except UnicodeDecodeError:
                self.is_utf8 = False
                yield line.decode(encoding, "replace")

    def _piece(self) -> bytes:
        try:
            piece: bytes = self._stream.read1(_PIECE)  # type: ignore[attr-defined]
        except OSError as error:
            raise DataError(f"The input cannot be read: {error.strerror or error}.", "Check the input.") from None
        return piece

    def _whole_lines(self) -> Iterator[bytes]:
        begun: list[bytes] = []
        while piece := self._piece():
            self.read += len(piece)
            whole, newline, rest = piece.rpartition(b"\n")
            if not newline:
                begun.append(piece)
                continue
            yield b"".join([*begun, whole, newline])
            begun = [rest] if rest else []
        if begun:
            yield b"".join(begun)


def _check_names(names: Sequence[str], text_column: str, added: Sequence[str], source: Source) -> None:
    if text_column not in names:
        shown = ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        raise DataError(
            f"{source.name} has no column {text_column!r}; its columns are {shown or 'none'}.",
            "Name the column with the texts with --text-column.",
        )
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise DataError(f"{source.name} has the column {twice!r} twice.", "Give every column a name of its own.")
    _check_free(names, added, source)


@contextlib.contextmanager
def _large_fields() -> Iterator[None]:
    # The csv module's only limit is one for the whole process: 131,072 characters, unless it is set.
    before = csv.field_size_limit(_LARGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_delimited(pieces: _Pieces, source: Source, text_column: str, added: Sequence[str]) -> Iterator[Batch]:
    # strict: an open quotation mark at the end is an error, not a field.
    rows = csv.reader(pieces.lines(), delimiter=_DELIMITERS[source.kind], strict=True)
    names = _header(rows, pieces, source)
    _check_names(names, text_column, added, source)
    width, place = len(names), names.index(text_column)
    kept: list[list[str]] = []
    given = False
    while True:
        try:
            # The limit is raised only while the file is read, not while whoever takes the batches works.
            with _large_fields():
                for row in rows:
                    if len(row) == width and pieces.is_utf8:
                        kept.append(row)
                    elif row or not pieces.is_utf8:
                        _refuse_row(len(kept), row, width, pieces, source)
                    if pieces.is_batch_full(len(kept)):
                        break
                else:
                    break
        except csv.Error as error:
            _refuse_csv(len(kept), error, pieces, source)
            continue
        source.rows += len(kept)
        yield Batch([row[place] for row in kept], [], _Fields(names, kept), pieces.read)
        kept, given = [], True
        pieces.start_batch()
    source.rows += len(kept)
    if kept or not given:
        yield Batch([row[place] for row in kept], [], _Fields(names, kept), pieces.read)


def _header(rows: Iterator[list[str]], pieces: _Pieces, source: Source) -> list[str]:
    try:
        with _large_fields():
            names = next((row for row in rows if row), None)
    except csv.Error as error:
        raise DataError(f"The header line of {source.name} cannot be read: {error}.", "Correct it.") from None
    if names is None:
        raise DataError(f"{source.name} is empty.", "Give a file with a header line.")
    if not pieces.is_utf8:
        raise DataError(f"The header line of {source.name} is not UTF-8.", "Save the file as UTF-8.")
    return names


def _refuse_row(before: int, row: list[str], width: int, pieces: _Pieces, source: Source) -> None:
    what = f"has {len(row)} fields where the header has {width}" if pieces.is_utf8 else "is not UTF-8"
    pieces.is_utf8 = True
    _left_out(before, f"(line {pieces.number}) {what}", source)


def _refuse_csv(before: int, error: csv.Error, pieces: _Pieces, source: Source) -> None:
    pieces.is_utf8 = True
    what = str(error).partition(" - ")[0]
    if what.startswith("field larger"):
        what = f"a field is longer than {_LARGEST_FIELD:,} characters; is a quotation mark not closed?"
    _left_out(before, f"(line {pieces.number}) cannot be read: {what.removesuffix('.')}", source)


def _left_out(before: int, what: str, source: Source) -> None:
    """A row that follows `before` others of its batch, which are not counted yet, cannot be read."""
    source.fault(source.rows + before + 1, what, unreadable=True)
    source.rows += 1


def _read_json_lines(pieces: _Pieces, source: Source, text_column: str, added: Sequence[str]) -> Iterator[Batch]:
    texts: list[str] = []
    lines: list[str] = []
    parsed: list[dict[str, Any]] = []
    without: list[int] = []
    given = False
    for raw in pieces.lines():
        line = raw.strip(_BLANK)
        if line:
            row = _parsed(line, len(lines), pieces, source)
            if row is not None:
                _check_free(row, added, source)
                text = row.get(text_column)
                if not isinstance(text, str):
                    without.append(len(lines))
                    source.fault(source.rows + len(lines) + 1, _no_text(row, text_column), unreadable=False)
                    text = ""
                texts.append(text)
                lines.append(line)
                parsed.append(row)
        if pieces.is_batch_full(len(lines)):
            source.rows += len(lines)
            yield Batch(texts, without, _Lines(lines, parsed), pieces.read)
            texts, lines, parsed, without, given = [], [], [], [], True
            pieces.start_batch()
    source.rows += len(lines)
    if lines or not given:
        yield Batch(texts, without, _Lines(lines, parsed), pieces.read)


def _parsed(line: str, before: int, pieces: _Pieces, source: Source) -> dict[str, Any] | None:
    """The object that a line is; None if it is none and may be left out."""
    what = "is not UTF-8"
    if pieces.is_utf8:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            what = f"is not JSON: {error}"
        else:
            if isinstance(row, dict):
                return row
            what = "is not a JSON object"
    pieces.is_utf8 = True
    _left_out(before, f"(line {pieces.number}) {what}", source)
    return None


def _no_text(row: Mapping[str, Any], text_column: str) -> str:
    if text_column not in row:
        return f"has no {text_column!r}"
    value = row[text_column]
    return f"has nothing in {text_column!r}" if value is None else f"has {value!r:.40} in {text_column!r}, not text"


def _read_parquet(stream: IO[bytes], source: Source, text_column: str, added: Sequence[str]) -> Iterator[Batch]:
    parquet, arrow = require("pyarrow.parquet", "parquet"), require("pyarrow", "parquet")
    try:
        # Without pre_buffer a row group is read column by column as it is needed, not fetched whole.
        file = parquet.ParquetFile(stream, pre_buffer=False)
        schema = file.schema_arrow
        _check_names(schema.names, text_column, added, source)
        kind = schema.field(text_column).type
        if arrow.types.is_dictionary(kind):
            kind = kind.value_type
        if not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind) or kind == arrow.string_view()):
            raise DataError(
                f"The column {text_column!r} of {source.name} holds {kind}, not text.",
                "Name the column with the texts with --text-column.",
            )
        source.size = file.metadata.num_rows
        given = False
        for batch in file.iter_batches(batch_size=_ROWS):
            given = True
            yield _from_arrow(batch, source, text_column)
        if not given:
            yield _from_arrow(arrow.RecordBatch.from_pylist([], schema), source, text_column)
    except (arrow.ArrowException, OSError) as error:
        raise DataError(
            f"{source.name} cannot be read as Parquet: {str(error).splitlines()[0]}.", "Check the file."
        ) from None


def _from_arrow(batch: pyarrow.RecordBatch, source: Source, text_column: str) -> Batch:
    column = batch.column(text_column)
    first = source.rows + 1
    source.rows += len(column)
    try:
        texts = column.to_pylist()
    except UnicodeDecodeError:
        texts = [_decoded(value) for value in column]
    without = [place for place, text in enumerate(texts) if not isinstance(text, str)]
    for place in without:
        what = "has nothing" if texts[place] is None else "has bytes that are not UTF-8"
        source.fault(first + place, f"{what} in {text_column!r}", unreadable=False)
        texts[place] = ""
    return Batch(texts, without, _Columns(batch), source.rows)


def _decoded(value: Any) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return b""


@dataclass(frozen=True)
class Column:
    """What is added to a batch: a value a row, strings or floats, or None.

    Attributes:
        name: its name.
        values: the values.
        is_number: whether they are floats.
    """

    name: str
    values: list[Any]
    is_number: bool


Answered = Iterator[tuple[Batch, Sequence[Column]]]


def write(stream: IO[bytes], kind: Kind, answered: Answered, text_column: str, *, flush: bool) -> None:
    """Write rows with what was answered, in further columns, as they come.

    Args:
        stream: where to.
        kind: what to write.
        answered: batches, and for each the further columns, the same ones for all.
        text_column: what the column of the texts is called, for a file without any row.
        flush: after every batch: for pipes.

    Raises:
        OutputError: a row does not fit this kind of file.
        MissingExtraError: it is Parquet, and pyarrow is not installed.
    """
    if kind == "parquet":
        _write_parquet(stream, answered, text_column)
        return
    lines: Callable[[Answered], Iterator[str]]
    if kind == "jsonl":
        lines = _as_json_lines
    else:
        delimiter = _DELIMITERS[kind]
        lines = lambda given: _as_delimited(given, delimiter, text_column)  # noqa: E731
    for some in lines(answered):
        # Half a surrogate pair, which a JSON escape can bring, has no UTF-8 form.
        stream.write(some.encode("utf-8", "backslashreplace"))
        if flush:
            stream.flush()


def _as_json_lines(answered: Answered) -> Iterator[str]:
    for batch, answers in answered:
        ends = map("".join, zip(*map(_members, answers), strict=True))
        lines = batch.rows.lines if isinstance(batch.rows, _Lines) else [_json(row) for row in batch.rows.objects()]
        yield "".join([_joined(line, end) for line, end in zip(lines, ends, strict=True)])


def _members(column: Column) -> list[str]:
    """What each row's object gets at its end."""
    start = f", {json.dumps(column.name, ensure_ascii=False)}: "
    # The same few labels come again and again.
    texts: dict[Any, str] = {None: f"{start}null"}
    if not column.is_number:
        texts |= {value: start + json.dumps(value, ensure_ascii=False) for value in set(column.values) - {None}}
        return [texts[value] for value in column.values]
    return [texts.get(value) or f"{start}{value}" for value in column.values]


def _joined(line: str, end: str) -> str:
    head = line[:-1]
    return f"{head}{end}}}\n" if head.rstrip(_BLANK) != "{" else f"{{{end[2:]}}}\n"


def _json(row: Mapping[str, Any]) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        return json.dumps(_without_nan(row), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    """What JSON has no form for: a date, a decimal number, bytes."""
    if isinstance(value, bytes):
        raise OutputError("A column of bytes has no form in JSON or CSV.", "Write Parquet.")
    return str(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _without_nan(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(member) for member in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else _plain(value)


def _as_delimited(answered: Answered, delimiter: str, text_column: str) -> Iterator[str]:
    names: list[str] | None = None
    for batch, answers in answered:
        if isinstance(batch.rows, _Fields):
            rows = batch.rows.rows
            first, names = names is None, list(batch.rows.names)
        else:
            first = names is None
            if names is None:
                names = _first_names(batch, text_column)
            rows = [_cells(row, names) for row in batch.rows.objects()]
        if first:
            yield _csv([[*names, *(column.name for column in answers)]], delimiter)
        cells = zip(*(column.values for column in answers), strict=True)
        yield _csv([[*row, *more] for row, more in zip(rows, cells, strict=True)], delimiter)


def _first_names(batch: Batch, text_column: str) -> list[str]:
    if isinstance(batch.rows, _Columns):
        return list(batch.rows.batch.schema.names)
    rows = batch.rows.objects()
    return list(rows[0]) if rows else [text_column]


def _cells(row: Mapping[str, Any], names: list[str]) -> list[Any]:
    if not row.keys() <= set(names):
        other = next(name for name in row if name not in names)
        raise OutputError(
            f"A row has {other!r}, which the first row has not; CSV takes its columns from that.",
            "Write JSON Lines: --output-format jsonl.",
        )
    return [_cell(row.get(name)) for name in names]


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (dict, list)):
        return _json(value)  # type: ignore[arg-type]
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, (int, float)) else _plain(value)


def _csv(rows: list[list[Any]], delimiter: str) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    if "\r" in (written := text.getvalue()):
        # Before Python 3.13 the module leaves a carriage return without quotes, which no reader takes back.
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
        written = text.getvalue()
    return written


class _Sink(io.RawIOBase):
    """A stream that can be given up: a ParquetWriter writes its footer when it goes, whatever became of its file."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.is_given_up = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data) if self.is_given_up else self._stream.write(data)


def _write_parquet(stream: IO[bytes], answered: Answered, text_column: str) -> None:
    parquet, arrow = require("pyarrow.parquet", "parquet"), require("pyarrow", "parquet")
    writer = None
    sink = _Sink(stream)
    waiting: list[Any] = []
    try:
        for batch, answers in answered:
            schema = None if writer is None else writer.schema
            table = _as_arrow(arrow, batch, answers, schema, text_column)
            if writer is None:
                writer = parquet.ParquetWriter(sink, table.schema)
            waiting.append(table)
            if sum(map(len, waiting)) >= _GROUP_ROWS or sum(table.nbytes for table in waiting) >= _GROUP_BYTES:
                writer.write_table(arrow.concat_tables(waiting))
                waiting = []
        if writer is not None:
            if waiting:
                writer.write_table(arrow.concat_tables(waiting))
            writer.close()
    except BaseException as error:
        sink.is_given_up = True
        if writer is not None:
            writer.close()
        if not isinstance(error, arrow.ArrowException):
            raise
        raise OutputError(
            f"The rows cannot be written as Parquet: {str(error).splitlines()[0]}.",
            "A column must be of one type; else write JSON Lines: --output-format jsonl.",
        ) from None


def _as_arrow(arrow: Any, batch: Batch, answers: Sequence[Column], schema: Any, text_column: str) -> Any:
    if isinstance(batch.rows, _Columns):
        table = arrow.Table.from_batches([batch.rows.batch])
    elif isinstance(batch.rows, _Fields):
        columns = zip(*batch.rows.rows, strict=True) if batch.rows.rows else [()] * len(batch.rows.names)
        table = arrow.table([arrow.array(column, arrow.string()) for column in columns], names=batch.rows.names)
    else:
        rows = batch.rows.objects()
        before = None if schema is None else arrow.schema([schema.field(i) for i in range(len(schema) - len(answers))])
        if before is not None and (other := {name for row in rows for name in row} - set(before.names)):
            raise OutputError(
                f"A row has {min(other)!r}, which the first {_ROWS:,} rows have not; Parquet takes its columns from "
                "those.",
                "Write JSON Lines: --output-format jsonl.",
            )
        if not rows and before is None:
            before = arrow.schema([(text_column, arrow.string())])
        names = list(dict.fromkeys(name for row in rows for name in row))
        filled = [{name: row.get(name) for name in names} for row in rows] if before is None else rows
        table = arrow.Table.from_pylist(filled, before)
    for column in answers:
        kind = arrow.float64() if column.is_number else arrow.string()
        table = table.append_column(column.name, arrow.array(column.values, kind))
    return table
