"""Batches of rows of a file: their texts, the rows as they were read, the columns to add, and counts of faulty rows.

`row_reader.py` reads them and `row_writer.py` writes them. Where both files have the same kind, a row is written as it
was read: a line of JSON gets two more members and keeps its other bytes, a Parquet column keeps its type. CSV and JSON
Lines need the standard library only. Parquet needs pyarrow, which is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pocketrnn.errors import DataError, OutputError, first_line
from pocketrnn.tables.file_kinds import Kind
from pocketrnn.text.chunks_of_checked_texts import OnError

if TYPE_CHECKING:
    import pyarrow

__all__ = [
    "BATCH_ROWS",
    "BLANK",
    "LABEL_SEPARATOR",
    "WRITE_PARQUET",
    "ArrowRows",
    "Column",
    "CsvRows",
    "JsonRows",
    "RowBatch",
    "RowSource",
]

# The separator of the labels of one text, in CSV and on a line.
LABEL_SEPARATOR: Final = "|"
# The white space of JSON.
BLANK: Final = " \t\r\n"
WRITE_PARQUET: Final = "Write Parquet: --output-format parquet."
# The largest number of rows in a batch.
BATCH_ROWS: Final = 4096


@dataclass(frozen=True)
class CsvRows:
    """Rows of a CSV or TSV file.

    Attributes:
        names: the names of the columns.
        rows: the fields of each row, one for each column.
        delimiter: the character between the fields of the file.
    """

    names: Sequence[str]
    rows: list[list[str]]
    delimiter: str = ","

    def make_dicts(self) -> list[dict[str, Any]]:
        """Return each row as a dict from the names of the columns to the fields of the row."""
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class JsonRows:
    """Rows of a JSON Lines file.

    Attributes:
        lines: the line of each row, without the white space around it.
        parsed: the JSON object of each row.
    """

    lines: list[str]
    parsed: list[dict[str, Any]]

    def make_dicts(self) -> list[dict[str, Any]]:
        """Return each row as a dict from the names of its members to their values."""
        return self.parsed


@dataclass(frozen=True)
class ArrowRows:
    """Rows of a Parquet file, as a record batch of pyarrow."""

    batch: pyarrow.RecordBatch

    def make_dicts(self) -> list[dict[str, Any]]:
        """Return each row as a dict from the names of the columns to values of Python. Raise an OutputError if a column
        holds bytes that are not UTF-8, or a value that Python cannot represent, such as a date after the year 9999 or
        an unknown time zone."""
        names = self.batch.schema.names
        columns = [
            _convert_arrow_to_python(name, column) for name, column in zip(names, self.batch.columns, strict=True)
        ]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _convert_arrow_to_python(column_name: str, column: pyarrow.Array) -> list[Any]:
    """Convert the values of a pyarrow column to Python objects. Raise an OutputError for a value that Python cannot
    represent."""
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        raise OutputError(
            f"The column {column_name!r} contains bytes that are not UTF-8, which JSON and CSV cannot store.",
            WRITE_PARQUET,
        ) from None
    # pyarrow's own errors are among these two, and so are those for a time zone that is not known.
    except (ArithmeticError, LookupError, ValueError) as error:
        raise OutputError(
            f"The column {column_name!r} has a value of the type {column.type} that JSON and CSV cannot store: "
            f"{first_line(error)}.",
            WRITE_PARQUET,
        ) from None
    return values


@dataclass(frozen=True)
class RowBatch:
    """Some consecutive rows of a file, with the text of each row.

    Attributes:
        texts: for each row a text, a pair of texts, or a text with its features; an empty text if the row has none.
        without_text: the indices of the rows without a text, or without the features that the classifier needs.
        rows: the rows as they are in the file.
        read: how much of the file has been read, in the unit of `RowSource.size`.
    """

    texts: list[Any]
    without_text: list[int]
    rows: CsvRows | JsonRows | ArrowRows
    read: int


@dataclass(frozen=True)
class Column:
    """A new column for the rows of a batch: one value for each row; None for a row without an answer.

    Attributes:
        name: the name of the column.
        values: strings or floats; or tuples of these, if a row can have several labels.
        is_number: whether the values are floats, or tuples of floats.
        is_list: whether the values are tuples. CSV joins the items of a tuple with `|`.
    """

    name: str
    values: list[Any]
    is_number: bool
    is_list: bool = False


_CORRECT_OR_SKIP: Final = "Correct the row, or skip such rows with --on-error skip."


@dataclass
class RowSource:
    """A file of rows while it is read: its name and format, how many rows were read, and how many of them are faulty.

    Attributes:
        name: the file, for messages.
        kind: the format of the file.
        size: the size of the file in bytes, or in rows if it is Parquet; None if the size is not known beforehand.
        rows: how many rows have been read.
        left_out: how many of these rows could not be read, and are in no batch.
        without_text: how many of these rows have no text.
        without_feature: how many of these rows have a text, but lack a feature or have an impossible value.
        without_answer: how many of these rows have a text that the classifier cannot take.
        first_fault: the description of the first fault in these rows; None before.
        on_error: what to do with a faulty row. `raise` raises an error. `skip` leaves the row out if it cannot be read,
            and else keeps the row without an answer.
        name_columns: the remedy to show if the file has no column of texts with the expected name.
    """

    name: str
    kind: Kind
    size: int | None = None
    rows: int = 0
    left_out: int = 0
    without_text: int = 0
    without_feature: int = 0
    without_answer: int = 0
    first_fault: str | None = None
    on_error: OnError = "raise"
    name_columns: str = "Name the column with the texts with --text-column."

    def count_or_refuse_row_without_text(self, row_number: int, fault: str, *, has_column: bool = True) -> None:
        """Count a row without a text; raise an error if `on_error` is `raise`.

        Args:
            fault: what is wrong, as the end of a sentence about the row: `has no text`.
            has_column: whether the row has the column of texts.

        Raises:
            DataError: `on_error` is `raise`.
        """
        self._refuse_or_record_fault(
            row_number, fault, _CORRECT_OR_SKIP if has_column else f"{self.name_columns} {_CORRECT_OR_SKIP}"
        )
        self.without_text += 1

    def count_or_refuse_row_without_feature(self, row_number: int, fault: str) -> None:
        """Count a row with a missing or impossible feature; raise an error if `on_error` is `raise`.

        Args:
            fault: what is wrong, as the end of a sentence about the row.

        Raises:
            DataError: `on_error` is `raise`.
        """
        self._refuse_or_record_fault(row_number, fault, _CORRECT_OR_SKIP)
        self.without_feature += 1

    def count_or_refuse_unreadable_row(self, row_number: int, fault: str) -> None:
        """Count a row that cannot be read and is left out; raise an error if `on_error` is `raise`.

        Args:
            fault: what is wrong, as the end of a sentence about the row.

        Raises:
            DataError: `on_error` is `raise`.
        """
        self._refuse_or_record_fault(row_number, fault, "Correct the row, or leave such rows out with --on-error skip.")
        self.left_out += 1

    def _refuse_or_record_fault(self, row_number: int, fault: str, remedy: str) -> None:
        """Raise a DataError about a faulty row if `on_error` is `raise`; else keep its description if it is the
        first."""
        problem = f"Row {row_number} of {self.name} {fault}."
        if self.on_error == "raise":
            raise DataError(problem, remedy)
        self.first_fault = self.first_fault or problem
