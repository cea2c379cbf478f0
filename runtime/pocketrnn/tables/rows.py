"""Files of rows - CSV, TSV, JSON Lines, Parquet: their kinds, and their rows a batch at a time.

`table_reader` reads them and `table_writer` writes them. Where both files are of one kind, a row is written as its file
held it: a line of JSON gets two more members and keeps its other bytes, a Parquet column keeps its type. CSV and JSON
Lines need the standard library only. Parquet needs pyarrow, which is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pocketrnn.errors import DataError, InputError, OutputError, first_line
from pocketrnn.text.checked_texts import OnError

if TYPE_CHECKING:
    import pyarrow

__all__ = [
    "BATCH_ROWS",
    "BLANK",
    "DELIMITERS",
    "ENDINGS",
    "KINDS",
    "LABEL_SEPARATOR",
    "ArrowRows",
    "Column",
    "CsvRows",
    "JsonRows",
    "Kind",
    "RowBatch",
    "RowSource",
    "kind_of",
]

Kind = Literal["csv", "tsv", "jsonl", "parquet"]
KINDS: Final[tuple[Kind, ...]] = ("csv", "tsv", "jsonl", "parquet")
ENDINGS: Final[Mapping[str, Kind]] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
DELIMITERS: Final[Mapping[str, str]] = {"csv": ",", "tsv": "\t"}
# The separator of the labels of one text, in CSV and on a line.
LABEL_SEPARATOR: Final = "|"
# The white space of JSON.
BLANK: Final = " \t\r\n"
# A batch has at most so many rows.
BATCH_ROWS: Final = 4096


@dataclass(frozen=True)
class CsvRows:
    """Rows of a CSV or TSV file.

    Attributes:
        names: the columns.
        rows: the fields of each row, as many as there are columns.
        delimiter: what stood between the fields.
    """

    names: Sequence[str]
    rows: list[list[str]]
    delimiter: str = ","

    def objects(self) -> list[dict[str, Any]]:
        """Each row as a value for each column."""
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class JsonRows:
    """Rows of a JSON Lines file.

    Attributes:
        lines: each line, without the white space around it.
        parsed: the object that each line holds.
    """

    lines: list[str]
    parsed: list[dict[str, Any]]

    def objects(self) -> list[dict[str, Any]]:
        """Each row as a value for each column."""
        return self.parsed


@dataclass(frozen=True)
class ArrowRows:
    """Rows of a Parquet file."""

    batch: pyarrow.RecordBatch

    def objects(self) -> list[dict[str, Any]]:
        """Each row as a value for each column.

        Raises:
            OutputError: a column holds bytes that are not UTF-8, or a value that Python has no form for: a date after
                the year 9999, an unknown time zone.
        """
        names = self.batch.schema.names
        columns = [_python_values(name, column) for name, column in zip(names, self.batch.columns, strict=True)]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _python_values(name: str, column: pyarrow.Array) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        raise OutputError(f"The column {name!r} holds bytes that are not UTF-8.", "Write Parquet.") from None
    # pyarrow's own errors are among these two, and so are those for a time zone that is not known.
    except (ArithmeticError, LookupError, ValueError) as error:
        raise OutputError(
            f"The column {name!r} holds a value of type {column.type} that JSON and CSV have no form for: "
            f"{first_line(error)}.",
            "Write Parquet.",
        ) from None
    return values


@dataclass(frozen=True)
class RowBatch:
    """Some rows that follow each other.

    Attributes:
        texts: one text for each row, or a pair of two; an empty text where the row has none.
        without_text: the indices of the rows that have none.
        rows: the rows as their file holds them.
        read: how much of `RowSource.size` has been read.
    """

    texts: list[Any]
    without_text: list[int]
    rows: CsvRows | JsonRows | ArrowRows
    read: int


@dataclass(frozen=True)
class Column:
    """A column that is added to a batch: one value for each row, or None.

    Attributes:
        name: its name.
        values: strings or floats, or tuples of these.
        is_number: whether they are floats.
        is_list: whether they are tuples: of several labels. In CSV they stand between separators.
    """

    name: str
    values: list[Any]
    is_number: bool
    is_list: bool = False


@dataclass
class RowSource:
    """A file of rows that is being read, and what was met in it so far.

    Attributes:
        name: the file, for errors.
        kind: what kind of file it is.
        size: bytes, or rows if it is Parquet; None where that is not known beforehand.
        rows: how many rows have been read.
        left_out: how many of them could not be read, and are in no batch.
        without_text: how many of them are in a batch and have no text.
        without_answer: how many of them are in a batch and have a text that the classifier cannot take.
        first_fault: what was wrong with the first of those.
        on_error: `raise` refuses a row that has no text or cannot be read; `skip` keeps the first without a text, and
            leaves the second out. A row whose text the classifier cannot take is refused or kept as one without a text.
    """

    name: str
    kind: Kind
    size: int | None = None
    rows: int = 0
    left_out: int = 0
    without_text: int = 0
    without_answer: int = 0
    first_fault: str | None = None
    on_error: OnError = "raise"

    def no_text(self, row: int, what: str) -> None:
        """Count a row without a text.

        Args:
            row: its number, from 1.
            what: what is wrong, as the end of a sentence.

        Raises:
            DataError: such rows are refused.
        """
        self._fault(row, what, "Fill it, or skip such rows with --on-error skip.")
        self.without_text += 1

    def leave_out(self, row: int, what: str) -> None:
        """Count a row that cannot be read; arguments and error as for `no_text`."""
        self._fault(row, what, "Correct it, or leave such rows out with --on-error skip.")
        self.left_out += 1

    def _fault(self, row: int, what: str, remedy: str) -> None:
        problem = f"Row {row} of {self.name} {what}."
        if self.on_error == "raise":
            raise DataError(problem, remedy)
        self.first_fault = self.first_fault or problem


def kind_of(name: str, stated: str | None, option: str) -> Kind:
    """The kind of a file: as stated, else by the end of its name.

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
