"""Watch a number that code compares, and give the opposite answer to one of the comparisons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

_ARITHMETIC: Final = ("add", "radd", "sub", "rsub", "mul", "rmul", "mod", "floordiv", "and", "rshift")
_COMPARISONS: Final = ("eq", "ne", "lt", "le", "gt", "ge")


class ComparisonFlipper:
    """Counts the comparisons of the numbers that it watches, and gives the opposite answer to one of them.

    Args:
        flipped: the number of the comparison, from 0; None for none.

    Example:
        >>> flipper = ComparisonFlipper(flipped=1)
        >>> number = flipper.watch(7)
        >>> [number > 5, (number + 1) % 4 == 0, number > 5], flipper.count
        ([True, False, True], 3)
    """

    def __init__(self, flipped: int | None = None) -> None:
        self.count = 0
        self._flipped = flipped

    def watch(self, value: int) -> int:
        """Return a number that is equal to `value` and whose comparisons are counted, also after arithmetic with it."""
        made = _WatchedNumber(value)
        made.flipper = self
        return made

    def count_and_answer(self, is_true: bool) -> bool:
        """Count a comparison, and return its answer `is_true`, or the opposite for the comparison `flipped`."""
        self.count += 1
        return is_true != (self.count - 1 == self._flipped)


class _WatchedNumber(int):
    """An integer that asks its `ComparisonFlipper` for the answer to each comparison."""

    flipper: ComparisonFlipper

    def __bool__(self) -> bool:
        return self.flipper.count_and_answer(int(self) != 0)

    __hash__ = int.__hash__


def _add_operators_to_watched_numbers() -> None:
    def make_operator(name: str) -> Callable[[Any, Any], Any]:
        of_int = getattr(int, name)

        def apply(number: _WatchedNumber, other: Any) -> Any:
            made = of_int(number, other)
            if made is NotImplemented:
                return made
            return number.flipper.count_and_answer(made) if type(made) is bool else number.flipper.watch(made)

        return apply

    for name in (f"__{part}__" for part in (*_ARITHMETIC, *_COMPARISONS)):
        setattr(_WatchedNumber, name, make_operator(name))


_add_operators_to_watched_numbers()
