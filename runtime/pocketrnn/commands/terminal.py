"""Text as a terminal may be shown it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["aligned", "one_line", "outline"]


def one_line(text: str) -> str:
    """`text` with everything escaped that would break a line or a table, or command the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def aligned(rows: Sequence[Sequence[str]], *, left: int | None = None) -> list[str]:
    """Rows as lines of columns of one width, two spaces apart.

    Args:
        rows: cells, as many in every row.
        left: how many columns stand to the left; those after them, which hold numbers, to the right. None for all.

    Example:
        >>> aligned([("class", "rows"), ("World", "9")], left=1)
        ['class  rows', 'World     9']
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


def outline(members: Mapping[str, Any], indent: str = "  ") -> Iterator[str]:
    """The members of an object as lines, those within objects further to the right.

    Example:
        >>> list(outline({"versions": {"torch": "2.13"}}))
        ['  versions:', '    torch: 2.13']
    """
    for name, value in members.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{one_line(name)}:"
            yield from outline(value, indent + "  ")
        else:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{indent}{one_line(name)}: {one_line(shown)}"
