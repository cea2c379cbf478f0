"""Sizes that Python takes for plain numbers while a module is traced: an index, a key, a text.

A size of a trace is an object of PyTorch's that computes and compares as a number does. `table[n]`, `{77: "x"}.get(n)`,
`math.isqrt(n)`, `str(n)` and `(a, b)[n % 2]` want the number itself. Each of these is a question, "is it this number?",
and the one who traces answers it. So every method of `int`, `float` and `bool` that asks for a plain number, or that
PyTorch's class does not have, is given to the three classes for as long as a trace lasts.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Final

import torch

from pocketrnn_export.torch_internals import methods_replaced
from pocketrnn_export.tracing.python_semantics.arrays import TracedArray

__all__ = ["PLAIN", "plain_numbers"]

# A question about a size from this file counts as its caller's: see `intake/user_frames.py`.
ASKS_FOR_ITS_CALLER: Final = True
# The methods of PyTorch's classes that give a number of the example or the name of a symbol.
_TAKEN: Final = ("__index__", "__int__", "__float__", "__hash__", "__repr__", "__str__", "__format__", "__trunc__",
                 "__round__", "as_integer_ratio", "is_integer", "hex")  # fmt: skip
# The methods that compute with a size and give a size.
_COMPUTED: Final = frozenset({"__trunc__", "__round__", "as_integer_ratio"})
# The type that a size has for Python.
PLAIN: Final[dict[type, type[Any]]] = {torch.SymInt: int, torch.SymFloat: float, torch.SymBool: bool}
# The methods that no instance is asked for.
_OF_CLASSES: Final = frozenset(
    {"__new__", "__init__", "__class__", "__doc__", "__getattribute__", "__getnewargs__", "__init_subclass__",
     "__subclasshook__", "__dir__", "__sizeof__", "__reduce__", "__reduce_ex__", "__getformat__", "__setattr__",
     "__delattr__", "__getstate__", "from_bytes", "fromhex", "from_number"}
)  # fmt: skip


def plain_numbers(number: Callable[[Any, FrameType, str], Any]) -> contextlib.AbstractContextManager[None]:
    """While the block runs, methods of sizes that want a plain number ask `number` for it.

    Args:
        number: of (size, frame that the method was called from, name of the method) the plain number; None for what the
            class does by itself.

    Example:
        >>> with plain_numbers(lambda size, frame, method: 7):
        ...     [10, 20, 30, 40, 50, 60, 70, 80][size]
        80
    """
    stand_ins = {
        (kind, name): _stand_in(name, plain, getattr(kind, name, None), number)
        for kind, plain in PLAIN.items()
        for name in _names(kind, plain)
    }
    return methods_replaced(stand_ins)


def _names(kind: type, plain: type) -> list[str]:
    taken = [name for name in _TAKEN if hasattr(plain, name) and name not in _COMPUTED]
    if kind is torch.SymBool:
        # The numbers 0 and 1 compute; a truth of PyTorch's has a few of the operators.
        return [name for name in dir(plain) if name not in _OF_CLASSES | {"__bool__", "__and__", "__or__", "__rand__",
                "__ror__", "__eq__", "__ne__"}]  # fmt: skip
    missing = (name for name in dir(plain) if name not in dir(kind) and name not in _OF_CLASSES)
    return [*taken, *missing, *_SYMBOLIC, *(_REPEATS if kind is torch.SymInt else ())]


def _stand_in(name: str, plain: type, shipped: Any, number: Callable[..., Any]) -> Any:
    if name in _SYMBOLIC and plain is not bool:
        return _SYMBOLIC[name]
    if name in _REPEATS and plain is int:
        return lambda size, other: _repeated(other, size) if type(other) in (list, tuple) else shipped(size, other)
    of_plain = getattr(plain, name)

    def method(size: Any, *others: Any) -> Any:
        value = number(size, sys._getframe(1), name)
        if value is None and shipped is not None:
            return shipped(size, *others)
        value = plain(size) if value is None else value
        return of_plain(value, *(_plain(other) for other in others)) if callable(of_plain) else getattr(value, name)

    return method if callable(of_plain) else property(method)


def _repeated(numbers: Sequence[Any], times: Any) -> Any:
    """`[n] * batch`, the lengths of texts that are all alike; what holds something else is repeated by Python."""
    if not numbers or not all(type(n) in (int, torch.SymInt) for n in numbers):
        return NotImplemented
    return TracedArray(torch.cat([torch.full((1,), n, dtype=torch.int64) for n in numbers]).repeat(times))


def _plain(other: Any) -> Any:
    """The other operand, which may be a size too."""
    return PLAIN[type(other)](other) if type(other) in PLAIN else other


_REPEATS: Final = ("__mul__", "__rmul__")
# Methods that a size can get by its other operators.
_SYMBOLIC: Final[dict[str, Any]] = {
    "__divmod__": lambda size, other: (size // other, size % other),
    "__rdivmod__": lambda size, other: (other // size, other % size),
    "__invert__": lambda size: -size - 1,
    "conjugate": lambda size: size,
    "real": property(lambda size: size),
}
