"""Format text so that a terminal can show it safely."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["align_columns", "escape_line", "format_nested_members"]


def escape_line(text: str) -> str:
    """Escape the characters of a text that would break its line or control the terminal, such as line breaks."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def align_columns(rows: Sequence[Sequence[str]], *, left_aligned: int | None = None) -> list[str]:
    """Format rows of cells as lines in which the columns have equal widths, with two spaces between them.

    Args:
        rows: the cells, the same number in every row.
        left_aligned: how many columns are left-aligned, counted from the first; the others, which hold numbers, are
            right-aligned. None for all.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    first = len(widths) if left_aligned is None else left_aligned
    return [
        "  ".join(
            cell.ljust(width) if i < first else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def format_nested_members(members: Mapping[str, Any], indent: str = "  ") -> Iterator[str]:
    """Yield the members of an object as lines "name: value". The members of inner objects follow, indented further."""
    for name, value in members.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{escape_line(name)}:"
            yield from format_nested_members(value, indent + "  ")
        else:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{indent}{escape_line(name)}: {escape_line(shown)}"
