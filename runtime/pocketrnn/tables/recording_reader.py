"""Read recordings from CSV, TSV, JSON Lines or Parquet. A file has a column for each channel and a row for each
step."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.bundle.names_from_paths import suggest_near_file
from pocketrnn.errors import DataError, InputError, find_file_error_reason, require_module, short_repr
from pocketrnn.numbers.number_input import join_columns, mask_gaps_among_integers
from pocketrnn.tables.column_and_label_checks import check_columns
from pocketrnn.tables.csv_delimiter import find_delimiter
from pocketrnn.tables.file_kinds import DELIMITERS, Kind

__all__ = ["group_rows_by_sequence", "parse_json_constant", "read_columns", "stack_channels"]

# A file of numbers is read at once: a day with 100 samples a second of 9 channels takes some 700 MB as text.
_LARGEST: Final = 1 << 31
_DECIMAL_COMMA: Final = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")


def read_columns(file_name: str, kind: Kind, wanted: Sequence[str]) -> dict[str, Sequence[Any]]:
    """Read the wanted columns of a file; return the values of each by its name.

    Raises:
        DataError: the file cannot be read, is larger than 2 GiB, or lacks a column.
        MissingExtraError: the file is Parquet, and pyarrow is not installed.
    """
    path = Path(file_name)
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(
                f"{file_name} has {path.stat().st_size:,} bytes, but at most {_LARGEST:,} can be read at once.",
                "Divide the file into several files.",
            )
        if kind == "parquet":
            file = require_module("pyarrow.parquet", "parquet").ParquetFile(path)
            names = list(file.schema_arrow.names)
            # The other columns may be large.
            present = _read_parquet_columns(file, [column for column in wanted if column in names], file_name)
        elif kind == "jsonl":
            rows = [
                json.loads(line, parse_constant=parse_json_constant)
                for line in path.read_text("utf-8").splitlines()
                if line
            ]
            names = list(rows[0]) if rows and isinstance(rows[0], dict) else []
            present = {column: [row.get(column) for row in rows] for column in wanted if column in names}
        else:
            names, present = _read_delimited_columns(path, kind, wanted)
    except (InputError, ImportError):
        raise
    # The errors of all kinds of files: OSError, UnicodeDecodeError, csv.Error, ArrowInvalid, ValueError,
    # AttributeError.
    except Exception as error:
        near = suggest_near_file(path) if isinstance(error, FileNotFoundError) else ""
        raise DataError(
            f"{file_name} cannot be read: {find_file_error_reason(error)}.",
            near or "Check that the file exists and has the format that its name says.",
        ) from None
    check_columns(names, wanted, file_name, "Give a column for each channel, by its name.")
    return present


def stack_channels(
    columns: Mapping[str, Sequence[Any]],
    channels: Sequence[str],
    file_name: str,
    integer_scale: Sequence[float] | None = None,
) -> NDArray[Any]:
    """Join the columns of the channels to an array [time, channels]. An empty field becomes a gap.

    Args:
        columns: a map from the name of each column to its values.
        channels: the names of the columns to join, in the order of the result.
        integer_scale: for each channel the factor by which integers will be multiplied; None for 1. A gap is NaN; but
            if a factor is given, a gap among integers is a masked item, so that the integers stay integers.

    Raises:
        DataError: a field is not a number, or there are no rows.
    """
    recording = join_columns(
        [_parse_numbers(columns[channel], channel, file_name) for channel in channels], integer_scale
    )
    if not len(recording):
        raise DataError(f"{file_name} has no rows.", "Give a file with a header and one row for each time step.")
    return recording


def group_rows_by_sequence(column: Sequence[Any]) -> list[tuple[str, NDArray[np.int64]]]:
    """Group rows by the sequence that they belong to. Return the name of each sequence with the indices of its rows, in
    the order of their first rows."""
    rows: dict[str, list[int]] = {}
    for index, value in enumerate(column):
        rows.setdefault(str(value), []).append(index)
    return [(name, np.array(indices, np.int64)) for name, indices in rows.items()]


def parse_json_constant(constant: str) -> float:
    """Parse a constant that Python's `json.loads` accepts although JSON lacks it: NaN, which means a missing sample.
    Raise a ValueError if the constant is not NaN, but Infinity or -Infinity."""
    if constant == "NaN":
        return math.nan
    raise ValueError(f"{constant} is not JSON")


def _read_parquet_columns(file: Any, wanted: Sequence[str], file_name: str) -> dict[str, Sequence[Any]]:
    """Read the wanted columns of a Parquet file, some rows at a time; refuse a file whose rows take more than 2 GiB of
    memory. A file of 3 MB may have 400 million rows."""
    batches, size = [], 0
    for batch in file.iter_batches(batch_size=1 << 16, columns=list(wanted)):
        batches.append(batch)
        size += batch.nbytes
        if size > _LARGEST:
            raise DataError(
                f"The rows of {file_name} take more than {_LARGEST:,} bytes of memory, which is the limit.",
                "Divide the file into several files.",
            )
    arrow = require_module("pyarrow", "parquet")
    table = arrow.Table.from_batches(batches) if batches else file.schema_arrow.empty_table()
    # A column of integers with a gap becomes one of floats.
    columns: dict[str, Any] = {column: table[column].to_numpy(zero_copy_only=False) for column in wanted}
    for column, values in columns.items():
        if arrow.types.is_integer(table[column].type):
            columns[column] = mask_gaps_among_integers(values)
    return columns


def _read_delimited_columns(
    path: Path, kind: Kind, wanted: Sequence[str]
) -> tuple[list[str], dict[str, Sequence[Any]]]:
    """Read a CSV or TSV file. Return the names of all its columns, and the fields of the wanted columns by their
    names."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline() if kind == "csv" else ""
        file.seek(0)
        delimiter = find_delimiter(header.strip(), wanted) if header else DELIMITERS[kind]
        rows = csv.reader(file, delimiter=delimiter)
        names = next(rows, [])
        places = {column: names.index(column) for column in wanted if column in names}
        found: dict[str, Sequence[Any]] = {column: [] for column in places}
        for row in rows:
            if not row:
                continue
            if len(row) != len(names):
                raise DataError(
                    f"Line {rows.line_num} of {path} has {len(row)} fields, but the header has {len(names)}.",
                    "Give each line exactly one field for each column of the header.",
                )
            for column, place in places.items():
                field = row[place]
                # In files with semicolons as delimiters, numbers have a decimal comma.
                found[column].append(_replace_decimal_comma(field) if delimiter == ";" else field)  # type: ignore[attr-defined]
    return names, found


def _replace_decimal_comma(field: str) -> str:
    """Replace the decimal comma of a number by a point; return any other field unchanged."""
    return field.replace(",", ".") if _DECIMAL_COMMA.fullmatch(field.strip()) else field


def _parse_numbers(column_values: Sequence[Any], channel: str, file_name: str) -> NDArray[Any]:
    """Parse the values of a column as numbers; an empty field is a missing sample.

    Return int64 if all numbers are integers below 2^53, with the missing samples masked; else float64, with NaN for a
    missing sample. Return an array of numbers unchanged.
    """
    if isinstance(column_values, np.ndarray) and column_values.dtype.kind in "iuf":
        return column_values
    made = []
    for row, value in enumerate(column_values):
        text = "" if value is None else str(value).strip()
        try:
            made.append(float(text) if text else math.nan)
        except ValueError:
            raise DataError(
                f"{file_name}, column {channel!r}, row {row + 1}: {short_repr(value, 30)} is not a number.",
                "Write a number, or leave the field empty if a sample is missing.",
            ) from None
    found = np.array(made)
    texts = ("" if value is None else str(value).strip() for value in column_values)
    if not all(text.lstrip("+-").isdecimal() for text in texts if text and text.lower() != "nan"):
        return found
    is_whole = len(found) > 0 and np.isfinite(found).all() and np.abs(found).max() < 2**53
    return found.astype(np.int64) if is_whole else mask_gaps_among_integers(found)
