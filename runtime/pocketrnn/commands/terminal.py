"""Text as a terminal may be shown it."""

from __future__ import annotations

__all__ = ["one_line"]


def one_line(text: str) -> str:
    """`text` with everything escaped that would break a line or a table, or command the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
