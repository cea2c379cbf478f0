"""The kinds of files of rows: CSV, TSV, JSON Lines and Parquet, and how the name of a file tells its kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pocketrnn.errors import InputError

__all__ = ["DELIMITERS", "ENDINGS", "KINDS", "Kind", "find_file_kind"]

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


def find_file_kind(file_name: str, stated: str | None, option: str) -> Kind:
    """Return the kind of a file: the one that the user stated, or else the one that belongs to the ending of the file's
    name.

    Args:
        file_name: the file's name; `-` for standard input or output.
        stated: the kind that the user stated; None if there is none.
        option: the option that states the kind, for the message.

    Raises:
        InputError: no kind is stated, and the ending of the name is not known.
    """
    if stated is not None:
        return stated  # type: ignore[return-value]
    found = ENDINGS.get(Path(file_name).suffix.lower())
    if found is None:
        what = (
            f"The name {file_name}"
            if file_name != "-"
            else f"Standard {option.removeprefix('--').removesuffix('-format')}"
        )
        by_lines = f" A file with a text on each line is read from standard input: < {file_name}."
        raise InputError(
            f"{what} does not show the format of the file.",
            f"Use a name that ends in one of {', '.join(ENDINGS)}, or give {option} {'|'.join(KINDS)}."
            + by_lines * (file_name != "-" and option == "--input-format"),
        )
    return found
