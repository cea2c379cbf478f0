"""The checks that all readers of labelled or unlabelled rows share, and the errors for faulty files."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from pocketrnn.errors import DataError, did_you_mean, first_line, short_repr

__all__ = [
    "DAMAGED_PARQUET",
    "SAVE_AS_UTF8",
    "check_columns",
    "check_same_labels",
    "find_delimiter",
    "header_line_remedy",
    "list_first_names",
    "parquet_error",
    "parse_json_object",
]

# The delimiters of CSV files, the most common first.
_MARKS: Final = (",", ";", "\t", "|")
SAVE_AS_UTF8: Final = "Name its encoding with --encoding, such as cp1252 or utf-16, or save it as UTF-8."


def list_first_names(names: Sequence[str]) -> str:
    """List the first ten names, and how many more there are, for a message; empty for no names.

    Example:
        >>> list_first_names(["text", "label"])
        "'text', 'label'"
    """
    # Without a header line the names are a row's fields, which may be long.
    first = ", ".join(short_repr(name, 40) for name in names[:10])
    return first if len(names) <= 10 else f"{first} and {len(names) - 10} more"


def check_same_labels(
    given: Sequence[str],
    wanted: Sequence[str],
    what: str = "The data has other labels than the classifier",
    remedy: str = "Read it with the classifier's labels.",
) -> None:
    """Check that rows have the expected labels, in the same order.

    Args:
        given: the labels of the rows.
        wanted: the expected labels.
        what: what is wrong where they differ; the message lists both after it.
        remedy: what to do then, one sentence.

    Raises:
        DataError: the labels differ.

    Example:
        >>> check_same_labels(("no", "yes"), ("no", "yes"))
    """
    if tuple(given) != tuple(wanted):
        raise DataError(f"{what}: {list_first_names(given)}, not {list_first_names(wanted)}.", remedy)


def check_columns(present: Sequence[str], wanted: Sequence[str], name: str, remedy: str, header: str = "") -> None:
    """Check that a file has each wanted column exactly once.

    Args:
        present: the columns of the file.
        wanted: the columns it must have.
        name: the file, for the error.
        remedy: what to do if a column is missing.
        header: a further remedy where no name is similar, since the file may lack a header line: `header_line_remedy`.

    Raises:
        DataError: a wanted column is missing, or the file has it twice.
    """
    times = Counter(present)
    for column in wanted:
        if not times[column]:
            # More similar than for files: in a file without a header line, these names are parts of texts.
            near = did_you_mean(column, present, least=0.75)
            said = f"{near} {remedy}" if near else f"{remedy} {header}".rstrip()
            raise DataError(
                f"{name} has no column {column!r}; its columns are {list_first_names(present) or 'none'}.", said
            )
        if times[column] > 1:
            raise DataError(f"{name} has the column {column!r} twice.", "Give every column a name of its own.")


def find_delimiter(header: str, wanted: Sequence[str]) -> str:
    """Find the delimiter of a CSV file: a comma, or another one that spreadsheets of many countries write.

    Args:
        header: the first line of the file.
        wanted: the columns that it should have. The result is the first delimiter with which it has them all, or else
            the one that gives most columns.

    Example:
        >>> find_delimiter("id;text;label", ["text"]), find_delimiter("a;b", ["a;b"])
        (';', ',')
    """
    columns = {mark: next(csv.reader([header], delimiter=mark), []) for mark in _MARKS}
    having = (mark for mark in _MARKS if set(wanted) <= set(columns[mark]))
    return (next(having, None) if wanted else None) or max(_MARKS, key=lambda mark: len(columns[mark]))


def header_line_remedy(wanted: Sequence[str], delimiter: str) -> str:
    """The remedy for a CSV or TSV file that lacks its header line.

    Example:
        >>> header_line_remedy(("text", "label"), ",")
        "If the first line is a row already, put a header line before it: 'text,label'."
    """
    return f"If the first line is a row already, put a header line before it: {delimiter.join(wanted)!r}."


def parse_json_object(line: str) -> dict[str, Any]:
    """Parse a line as a JSON object.

    Raises:
        ValueError: the line is not one. The message is the end of a sentence whose subject is the line.

    Example:
        >>> parse_json_object('{"text": "Oil prices rise"}')
        {'text': 'Oil prices rise'}
        >>> parse_json_object("7")
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


# Errors that pyarrow raises for a damaged file, beside its own: for names that are not UTF-8, or impossible sizes.
DAMAGED_PARQUET: Final = (OSError, ValueError, LookupError, ArithmeticError, MemoryError, NotImplementedError)


def parquet_error(name: str, error: BaseException) -> DataError:
    """The error for a file that pyarrow cannot read as Parquet.

    Args:
        name: the file.
        error: pyarrow's error.
    """
    return DataError(f"{name} cannot be read as Parquet: {first_line(error)}.", "Check the file.")
