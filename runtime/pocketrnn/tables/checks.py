"""The checks of all readers of labelled or unlabelled rows, and the messages for what is wrong with a file."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from pocketrnn.errors import DataError, did_you_mean, first_line, shown

__all__ = [
    "DAMAGED_PARQUET",
    "SAVE_AS_UTF8",
    "check_columns",
    "check_labels",
    "delimiter_of",
    "header_line",
    "json_object",
    "listed",
    "not_parquet",
]

# The delimiters of CSV files, the most usual first.
_MARKS: Final = (",", ";", "\t", "|")
SAVE_AS_UTF8: Final = "Name its encoding with --encoding, such as cp1252 or utf-16, or save it as UTF-8."


def listed(names: Sequence[str]) -> str:
    """The first ten names, and how many more there are; empty for no names.

    Example:
        >>> listed(["text", "label"])
        "'text', 'label'"
    """
    # Without a header line these are a row, whose text may be long.
    first = ", ".join(shown(name, 40) for name in names[:10])
    return first if len(names) <= 10 else f"{first} and {len(names) - 10} more"


def check_labels(
    given: Sequence[str],
    wanted: Sequence[str],
    what: str = "The data has other labels than the classifier",
    remedy: str = "Read it with the classifier's labels.",
) -> None:
    """Check that rows were read with the labels that they are used with, in the same order.

    Args:
        given: the labels of the rows.
        wanted: those that they should have.
        what: what is wrong where they differ; both follow it.
        remedy: what to do then, one sentence.

    Raises:
        DataError: they differ.

    Example:
        >>> check_labels(("no", "yes"), ("no", "yes"))
    """
    if tuple(given) != tuple(wanted):
        raise DataError(f"{what}: {listed(given)}, not {listed(wanted)}.", remedy)


def check_columns(present: Sequence[str], wanted: Sequence[str], name: str, remedy: str, header: str = "") -> None:
    """Check that a file has each wanted column exactly once.

    Args:
        present: the columns of the file.
        wanted: the columns it must have.
        name: the file, for the error.
        remedy: what to do if a column is missing.
        header: what to do besides where no name is near, so that the file may have no header line: `header_line`.

    Raises:
        DataError: a wanted column is missing, or the file has it twice.
    """
    times = Counter(present)
    for column in wanted:
        if not times[column]:
            # Nearer than for files: in a file without a header line these are parts of texts.
            near = did_you_mean(column, present, least=0.75)
            said = f"{near} {remedy}" if near else f"{remedy} {header}".rstrip()
            raise DataError(f"{name} has no column {column!r}; its columns are {listed(present) or 'none'}.", said)
        if times[column] > 1:
            raise DataError(f"{name} has the column {column!r} twice.", "Give every column a name of its own.")


def delimiter_of(header: str, wanted: Sequence[str]) -> str:
    """The delimiter of a CSV file: a comma, or what spreadsheets of many countries write in its place.

    Args:
        header: the first line of the file.
        wanted: the columns that it should have. The delimiter is the first one by which it has them all, or else the
            one that gives most columns.

    Example:
        >>> delimiter_of("id;text;label", ["text"]), delimiter_of("a;b", ["a;b"])
        (';', ',')
    """
    columns = {mark: next(csv.reader([header], delimiter=mark), []) for mark in _MARKS}
    having = (mark for mark in _MARKS if set(wanted) <= set(columns[mark]))
    return (next(having, None) if wanted else None) or max(_MARKS, key=lambda mark: len(columns[mark]))


def header_line(wanted: Sequence[str], delimiter: str) -> str:
    """The remedy for a CSV or TSV file that lacks its header line.

    Example:
        >>> header_line(("text", "label"), ",")
        "If the first line is a row already, put a header line before it: 'text,label'."
    """
    return f"If the first line is a row already, put a header line before it: {delimiter.join(wanted)!r}."


def json_object(line: str) -> dict[str, Any]:
    """The JSON object that a line holds.

    Raises:
        ValueError: the line holds none. The message is the end of a sentence that begins with the line.

    Example:
        >>> json_object('{"text": "Oil prices rise"}')
        {'text': 'Oil prices rise'}
        >>> json_object("7")
        Traceback (most recent call last):
        ValueError: is not a JSON object
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError("is not a JSON object")
    return row


# pyarrow's errors for a damaged file, beside its own: names that are not UTF-8, sizes that no memory has.
DAMAGED_PARQUET: Final = (OSError, ValueError, LookupError, ArithmeticError, MemoryError, NotImplementedError)


def not_parquet(name: str, error: BaseException) -> DataError:
    """The error for a file that pyarrow cannot read as Parquet.

    Args:
        name: the file.
        error: what pyarrow says.
    """
    return DataError(f"{name} cannot be read as Parquet: {first_line(error)}.", "Check the file.")
