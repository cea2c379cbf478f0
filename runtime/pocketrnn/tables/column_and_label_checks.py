"""The checks that all readers of rows share: of columns, labels and JSON objects; and the errors for faulty files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from pocketrnn.errors import DataError, first_line, short_repr, suggest_similar_name

__all__ = [
    "DAMAGED_PARQUET",
    "SAVE_AS_UTF8",
    "check_columns",
    "check_same_labels",
    "list_first_names",
    "make_parquet_error",
    "parse_json_object",
]

SAVE_AS_UTF8: Final = "Name its encoding with --encoding, such as cp1252 or utf-16, or save it as UTF-8."


def list_first_names(names: Sequence[str]) -> str:
    """Join the first ten names with commas for a message, and say how many more there are; an empty string without
    names."""
    # Without a header line the names are a row's fields, which may be long.
    first = ", ".join(short_repr(name, 40) for name in names[:10])
    return first if len(names) <= 10 else f"{first} and {len(names) - 10} more"


def check_same_labels(
    given: Sequence[str],
    wanted: Sequence[str],
    problem: str = "The data has other labels than the classifier",
    remedy: str = "Read the data with the classifier's labels.",
) -> None:
    """Check that rows have the expected labels, in the same order.

    Args:
        problem: the beginning of the message if the labels differ; both lists of labels follow it.
        remedy: what to do then, as a sentence.

    Raises:
        DataError: the labels differ.
    """
    if tuple(given) != tuple(wanted):
        raise DataError(f"{problem}: {list_first_names(given)} in place of {list_first_names(wanted)}.", remedy)


def check_columns(
    present: Sequence[str], wanted: Sequence[str], file_name: str, remedy: str, header_remedy: str = ""
) -> None:
    """Check that a file has each wanted column exactly once.

    Args:
        remedy: what to do if a column is missing, as a sentence.
        header_remedy: a further sentence if no name is similar to the missing one, since the file may lack a header
            line; see `write_header_line_remedy`.

    Raises:
        DataError: a wanted column is missing, or the file has it twice.
    """
    times = Counter(present)
    for column in wanted:
        if not times[column]:
            # More similar than for files: in a file without a header line, these names are parts of texts.
            near = suggest_similar_name(column, present, least=0.75)
            said = f"{near} {remedy}" if near else f"{remedy} {header_remedy}".rstrip()
            raise DataError(
                f"{file_name} has no column {column!r}; its columns are {list_first_names(present) or 'none'}.", said
            )
        if times[column] > 1:
            raise DataError(f"{file_name} has the column {column!r} twice.", "Give each column a different name.")


def parse_json_object(line: str) -> dict[str, Any]:
    """Parse a line as a JSON object.

    Raises:
        ValueError: the line is not a JSON object. The message is the end of a sentence that begins with the line: "is
            not JSON".
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


def make_parquet_error(file_name: str, error: BaseException) -> DataError:
    """Make the error for a file that pyarrow cannot read as Parquet, from pyarrow's error."""
    return DataError(f"{file_name} cannot be read as Parquet: {first_line(error)}.", "Check that it is complete.")
