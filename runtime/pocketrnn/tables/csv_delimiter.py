"""Find the delimiter of a CSV file in its header line, and write the remedy if that line is missing."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Final

__all__ = ["find_delimiter", "write_header_line_remedy"]

# The delimiters of CSV files, the most common first.
_MARKS: Final = (",", ";", "\t", "|")


def find_delimiter(header: str, wanted: Sequence[str]) -> str:
    """Find the delimiter of a CSV file in its header line: a comma, a semicolon, a tab or a vertical bar.

    The delimiter is the first of these with which the header has all wanted columns. If there is none, it is the one
    that gives the most columns.
    """
    columns = {mark: next(csv.reader([header], delimiter=mark), []) for mark in _MARKS}
    having = (mark for mark in _MARKS if set(wanted) <= set(columns[mark]))
    return (next(having, None) if wanted else None) or max(_MARKS, key=lambda mark: len(columns[mark]))


def write_header_line_remedy(wanted: Sequence[str], delimiter: str) -> str:
    """Return the remedy for a CSV or TSV file that seems to have no header line: a sentence with the line to put first,
    which has the wanted columns."""
    return f"If the first line is a row already, put a header line before it: {delimiter.join(wanted)!r}."
