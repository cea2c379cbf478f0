"""Format text so that a terminal can show it safely."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["align_columns", "escape_line", "format_nested_members"]


def escape_line(text: str) -> str:
    """Escape every character of `text` that would break a line or a table, or control the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def align_columns(rows: Sequence[Sequence[str]], *, left: int | None = None) -> list[str]:
    """Align rows of cells as lines. Columns have equal widths in all lines, with two spaces between them.

    Args:
        rows: the cells, the same number in every row.
        left: how many columns are left-aligned; those after them, which hold numbers, are right-aligned. None for all.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    first = len(widths) if left is None else left
    return [
        "  ".join(
            cell.ljust(width) if i < first else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def format_nested_members(members: Mapping[str, Any], indent: str = "  ") -> Iterator[str]:
    """Format the members of an object as lines; inner objects are indented."""
    for name, value in members.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{escape_line(name)}:"
            yield from format_nested_members(value, indent + "  ")
        else:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{indent}{escape_line(name)}: {escape_line(shown)}"
