"""Values of code points, such as replacements, that are computed when a text first has the code point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

__all__ = ["CodePointCache", "make_code_point_map"]

# A code point as a string, or its number.
_Point = TypeVar("_Point")
_Value = TypeVar("_Value")
_MOST_KEPT: Final = 1 << 14


class CodePointCache(dict[_Point, _Value]):
    """A dict that computes the value of a code point when it is looked up, and keeps the values of the first 16,384.

    Args:
        compute: returns the value of a code point.
        known: values that need not be computed.
    """

    def __init__(self, compute: Callable[[_Point], _Value], known: dict[_Point, _Value] | None = None) -> None:
        super().__init__(known or {})
        self._compute = compute

    def __missing__(self, point: _Point) -> _Value:
        value = self._compute(point)
        if len(self) < _MOST_KEPT:
            self[point] = value
        return value


def make_code_point_map(replace: Callable[[int], int | str]) -> Callable[[str], str]:
    """Make a function that replaces each code point of a text by the result of `replace`."""
    table = CodePointCache(replace)
    return lambda text: text.translate(table)
