"""Write rows with their answers as CSV, TSV, JSON Lines or Parquet."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, Final

from pocketrnn.errors import OutputError, first_line, require_module
from pocketrnn.tables.file_kinds import DELIMITERS, Kind
from pocketrnn.tables.row_batches import (
    BATCH_ROWS,
    BLANK,
    LABEL_SEPARATOR,
    WRITE_PARQUET,
    ArrowRows,
    Column,
    CsvRows,
    JsonRows,
    RowBatch,
)

__all__ = ["Answered", "write_rows"]

# The size at which a Parquet row group ends, in rows or bytes; it is held in memory until it is written.
_GROUP_ROWS: Final = 1 << 16
_GROUP_BYTES: Final = 1 << 26
_ONE_TYPE: Final = "Give the values of a column one type, or write JSON Lines: --output-format jsonl."

Answered = Iterator[tuple[RowBatch, Sequence[Column]]]


def write_rows(stream: IO[bytes], kind: Kind, answered: Answered, text_column: str, *, flush: bool) -> None:
    """Write rows with their answers, batch by batch. The new columns follow the columns of the rows.

    Args:
        answered: the batches, each with its new columns. All batches have the same new columns.
        text_column: the name of the column of texts, which is written if there are no rows.
        flush: whether to flush the stream after every batch, as for pipes.

    Raises:
        OutputError: a row cannot be written in this format.
        MissingExtraError: the file is Parquet, and pyarrow is not installed.
    """
    if kind == "parquet":
        _write_parquet(stream, answered, text_column)
        return
    for some in _format_json_lines(answered) if kind == "jsonl" else _format_delimited(answered, kind, text_column):
        # A lone surrogate, which a JSON escape can contain, cannot be encoded as UTF-8.
        stream.write(some.encode("utf-8", "backslashreplace"))
        if flush:
            stream.flush()


def _format_json_lines(answered: Answered) -> Iterator[str]:
    """Yield the lines of each batch as JSON Lines, with the answers as further members of each object."""
    for batch, answers in answered:
        ends = map("".join, zip(*map(_format_json_members, answers), strict=True))
        lines = (
            batch.rows.lines
            if isinstance(batch.rows, JsonRows)
            else [_encode_json(row) for row in batch.rows.make_dicts()]
        )
        yield "".join([_append_json_members(line, end) for line, end in zip(lines, ends, strict=True)])


def _format_json_members(column: Column) -> list[str]:
    """Format each value of a column of answers as a further member of a JSON object, with a comma in front: `, "label":
    "Sports"`."""
    start = f", {json.dumps(column.name, ensure_ascii=False)}: "
    # There are few labels, so each is written as JSON once.
    texts: dict[Any, str] = {None: f"{start}null"}
    if column.is_list:
        return [start + json.dumps(value, ensure_ascii=False) for value in column.values]
    if not column.is_number:
        texts |= {value: start + json.dumps(value, ensure_ascii=False) for value in set(column.values) - {None}}
        return [texts[value] for value in column.values]
    return [texts.get(value) or f"{start}{value}" for value in column.values]


def _append_json_members(line: str, members: str) -> str:
    """Add members to the JSON object of a line, and end the line. `members` begins with a comma and a space."""
    head = line[:-1]
    return f"{head}{members}}}\n" if head.rstrip(BLANK) != "{" else f"{{{members[2:]}}}\n"


def _encode_json(row: Mapping[str, Any]) -> str:
    """Encode a row as a JSON object. Values that JSON lacks become null, such as NaN, or text, such as a date."""
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False, default=_convert_value_to_text)
    except ValueError:
        return json.dumps(replace_values_that_json_lacks(row), ensure_ascii=False, allow_nan=False)


def _convert_value_to_text(value: Any) -> Any:
    """Convert a value that JSON lacks, such as a date, to text; raise an OutputError for bytes."""
    if isinstance(value, bytes):
        raise OutputError("JSON and CSV cannot store a column of bytes.", WRITE_PARQUET)
    return str(value)


def replace_values_that_json_lacks(value: Any) -> Any:
    """Return a value in which NaN and infinities are replaced by None, and other values that JSON lacks, such as dates,
    by text. Raise an OutputError for bytes."""
    if isinstance(value, dict):
        return {str(name): replace_values_that_json_lacks(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [replace_values_that_json_lacks(member) for member in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else _convert_value_to_text(value)


def _format_delimited(answered: Answered, kind: Kind, text_column: str) -> Iterator[str]:
    """Yield the header of a CSV or TSV file, and then the lines of each batch, with the answers as further columns."""
    names: list[str] | None = None
    delimiter = DELIMITERS[kind]
    for batch, answers in answered:
        if isinstance(batch.rows, CsvRows):
            # A spreadsheet that wrote semicolons also reads them.
            delimiter = batch.rows.delimiter if kind == "csv" and batch.rows.delimiter != "\t" else delimiter
            rows = batch.rows.rows
            first, names = names is None, list(batch.rows.names)
        else:
            first = names is None
            if names is None:
                names = _list_column_names_of_batch(batch, text_column)
            rows = [_format_row_cells(row, names) for row in batch.rows.make_dicts()]
        if first:
            yield _format_csv([[*names, *(column.name for column in answers)]], delimiter)
        cells = zip(*map(_format_answer_cells, answers), strict=True)
        yield _format_csv([[*row, *more] for row, more in zip(rows, cells, strict=True)], delimiter)


def _format_answer_cells(column: Column) -> list[Any]:
    """Return the cells of a column of answers; several labels of a row are joined with `|`."""
    if not column.is_list:
        return column.values
    return [None if value is None else LABEL_SEPARATOR.join(map(str, value)) for value in column.values]


def _list_column_names_of_batch(batch: RowBatch, text_column: str) -> list[str]:
    """Return the names of a batch's columns; for JSON Lines, the members of the first row, or `text_column` if there
    are no rows."""
    if isinstance(batch.rows, ArrowRows):
        return list(batch.rows.batch.schema.names)
    rows = batch.rows.make_dicts()
    return list(rows[0]) if rows else [text_column]


def _format_row_cells(row: Mapping[str, Any], names: list[str]) -> list[Any]:
    """Return the cells of a row in the order of the columns `names`. Raise an OutputError if the row has another
    member."""
    if not row.keys() <= set(names):
        other = next(name for name in row if name not in names)
        raise OutputError(
            f"A row has the member {other!r}, but the first row lacks this member, and a CSV file has only the columns "
            "of its first row.",
            "Write JSON Lines instead: --output-format jsonl.",
        )
    return [_format_cell(row.get(name)) for name in names]


def _format_cell(value: Any) -> Any:
    """Convert a value to a CSV cell: a list or an object to JSON, True to "true", a date to text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (dict, list)):
        return _encode_json(value)  # type: ignore[arg-type]
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, (int, float)) else _convert_value_to_text(value)


def _format_csv(rows: list[list[Any]], delimiter: str) -> str:
    """Format rows of cells as lines of CSV, in quotation marks where they are needed."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    if "\r" in (written := text.getvalue()):
        # Before Python 3.13 the csv module writes a carriage return without quotes, which readers refuse.
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
        written = text.getvalue()
    return written


class _DiscardableSink(io.RawIOBase):
    """A stream that writes to another one until `is_given_up` is set, and then discards its data. A ParquetWriter
    writes its footer when it is closed, even after an error."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.is_given_up = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data) if self.is_given_up else self._stream.write(data)


def _write_parquet(stream: IO[bytes], answered: Answered, text_column: str) -> None:
    """Write all batches as one Parquet file, in row groups of limited size. After an error, no further bytes are
    written."""
    parquet, arrow = require_module("pyarrow.parquet", "parquet"), require_module("pyarrow", "parquet")
    writer = None
    sink = _DiscardableSink(stream)
    waiting: list[Any] = []
    try:
        for batch, answers in answered:
            schema = None if writer is None else writer.schema
            table = _make_arrow_table(arrow, batch, answers, schema, text_column)
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
            f"The rows cannot be written as Parquet: {first_line(error)}.",
            _ONE_TYPE,
        ) from None


def _make_arrow_table(
    arrow: Any, batch: RowBatch, answers: Sequence[Column], earlier_schema: Any, text_column: str
) -> Any:
    """Make the pyarrow table of a batch with its new columns.

    Args:
        earlier_schema: the schema of the earlier batches with their new columns; None for the first batch.
        text_column: the name of the column of texts, which the table gets if there are no rows.
    """
    if isinstance(batch.rows, ArrowRows):
        table = arrow.Table.from_batches([batch.rows.batch])
    elif isinstance(batch.rows, CsvRows):
        columns = zip(*batch.rows.rows, strict=True) if batch.rows.rows else [()] * len(batch.rows.names)
        table = arrow.table([arrow.array(column, arrow.string()) for column in columns], names=batch.rows.names)
    else:
        rows = batch.rows.make_dicts()
        before = (
            None
            if earlier_schema is None
            else arrow.schema([earlier_schema.field(i) for i in range(len(earlier_schema) - len(answers))])
        )
        if before is not None and (other := {name for row in rows for name in row} - set(before.names)):
            raise OutputError(
                f"A row has the member {min(other)!r}, but the first {BATCH_ROWS:,} rows lack this member, and a "
                "Parquet file has only the columns of these rows.",
                "Write JSON Lines instead: --output-format jsonl.",
            )
        if not rows and before is None:
            before = arrow.schema([(text_column, arrow.string())])
        table = _convert_json_rows_to_table(arrow, rows, before)
    for column in answers:
        kind = arrow.float64() if column.is_number else arrow.string()
        kind = arrow.list_(kind) if column.is_list else kind
        table = table.append_column(column.name, arrow.array(column.values, kind))
    return table


def _convert_json_rows_to_table(arrow: Any, rows: Sequence[Mapping[str, Any]], earlier_schema: Any) -> Any:
    """Convert JSON objects to a pyarrow table. `earlier_schema` is the schema of the earlier rows, which these rows
    must fit; None for the first rows."""
    fields = (
        {name: None for row in rows for name in row}
        if earlier_schema is None
        else {f.name: f.type for f in earlier_schema}
    )
    arrays = [
        _make_arrow_array(arrow, name, [row.get(name) for row in rows], wanted_type)
        for name, wanted_type in fields.items()
    ]
    return (
        arrow.table(arrays, names=list(fields))
        if earlier_schema is None
        else arrow.table(arrays, schema=earlier_schema)
    )


def _make_arrow_array(arrow: Any, name: str, values: list[Any], wanted_type: Any) -> Any:
    """Make the pyarrow array of the column `name`.

    Args:
        wanted_type: the type that the array must have; None if pyarrow chooses it.

    Raises:
        OutputError: the values cannot be stored, or not without a loss in `wanted_type`.
    """
    problem = None
    try:
        name.encode()
        array = arrow.array(values)
        if wanted_type is None or array.type == wanted_type:
            return array
        # With a given type, pyarrow silently cuts 1.5 to 1, and drops a member that a struct does not have.
        if _is_lossless_conversion(arrow, array.type, wanted_type):
            return arrow.array(values, wanted_type)
        problem = f"it has the type {wanted_type} in the first {BATCH_ROWS:,} rows, but {array.type} in later ones"
    except UnicodeEncodeError:
        problem = "it holds half of a surrogate pair, which has no UTF-8 form"
    except OverflowError:
        problem = "it holds a whole number beyond 2^63"
    except arrow.ArrowException as error:
        problem = first_line(error)
    raise OutputError(f"The column {name!r} cannot be written as Parquet: {problem}.", _ONE_TYPE)


def _is_lossless_conversion(arrow: Any, from_type: Any, to_type: Any) -> bool:
    """Return whether pyarrow converts values of one type to another type without a loss. Floats to integers are a loss,
    and so is a member that a struct lacks."""
    types = arrow.types
    if types.is_struct(from_type) and types.is_struct(to_type):
        return all(
            to_type.get_field_index(field.name) >= 0
            and _is_lossless_conversion(arrow, field.type, to_type.field(field.name).type)
            for field in from_type
        )
    if types.is_list(from_type) and types.is_list(to_type):
        return _is_lossless_conversion(arrow, from_type.value_type, to_type.value_type)
    return not (types.is_floating(from_type) and types.is_integer(to_type))
