"""Give the plain number where Python needs one for a size in a trace: as an index, as a key, or in a string.

A size of a trace is a PyTorch object that computes and compares like a number. `table[n]`, `{77: "x"}.get(n)`,
`math.isqrt(n)`, `str(n)` and `(a, b)[n % 2]` need the number itself. Each of these is a condition, "is it this
number?", which the trace answers. So the three size classes get, for the time of a trace, every method of `int`,
`float` and `bool` that needs a plain number or that PyTorch's class does not have.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Final

import torch

from pocketrnn_export.torch_internals import replace_methods
from pocketrnn_export.tracing.python_semantics.traced_arrays import TracedArray

# A question about a size from this file counts as its caller's: see `intake/user_code_lines_for_messages.py`.
ASKS_FOR_ITS_CALLER: Final = True
# The methods of PyTorch's classes that return a number of the example or the name of a symbol.
_TAKEN: Final = ("__index__", "__int__", "__float__", "__hash__", "__repr__", "__str__", "__format__", "__trunc__",
                 "__round__", "as_integer_ratio", "is_integer", "hex")  # fmt: skip
# The methods that compute a size from a size.
_COMPUTED: Final = frozenset({"__trunc__", "__round__", "as_integer_ratio"})
# The type that a size has for Python.
PLAIN: Final[dict[type, type[Any]]] = {torch.SymInt: int, torch.SymFloat: float, torch.SymBool: bool}
# The methods that are not called on an instance.
_OF_CLASSES: Final = frozenset(
    {"__new__", "__init__", "__class__", "__doc__", "__getattribute__", "__getnewargs__", "__init_subclass__",
     "__subclasshook__", "__dir__", "__sizeof__", "__reduce__", "__reduce_ex__", "__getformat__", "__setattr__",
     "__delattr__", "__getstate__", "from_bytes", "fromhex", "from_number"}
)  # fmt: skip


def replace_methods_that_need_plain_numbers(
    find_number: Callable[[Any, FrameType, str], Any],
) -> contextlib.AbstractContextManager[None]:
    """While the block runs, the methods of symbolic sizes that need a plain number, such as `__index__`, call
    `find_number` to get it.

    Args:
        find_number: a function that takes the size, the frame that called the method, and the method's name. Returns
            the plain number, or None to use the method of torch.
    """
    stand_ins = {
        (kind, name): _make_method_of_size(name, plain, getattr(kind, name, None), find_number)
        for kind, plain in PLAIN.items()
        for name in _list_methods_to_replace(kind, plain)
    }
    return replace_methods(stand_ins)


def _list_methods_to_replace(kind: type, plain: type) -> list[str]:
    """Return the names of the methods of a class of sizes that are replaced by those of the plain type.

    Args:
        kind: torch.SymInt, torch.SymFloat or torch.SymBool.
        plain: int, float or bool.
    """
    taken = [name for name in _TAKEN if hasattr(plain, name) and name not in _COMPUTED]
    if kind is torch.SymBool:
        # Python's bools compute as 0 and 1; PyTorch's symbolic bools have only a few operators.
        return [name for name in dir(plain) if name not in _OF_CLASSES | {"__bool__", "__and__", "__or__", "__rand__",
                "__ror__", "__eq__", "__ne__"}]  # fmt: skip
    missing = (name for name in dir(plain) if name not in dir(kind) and name not in _OF_CLASSES)
    return [*taken, *missing, *_SYMBOLIC, *(_REPEATS if kind is torch.SymInt else ())]


def _make_method_of_size(name: str, plain: type, shipped: Any, find_number: Callable[..., Any]) -> Any:
    """Return a method or property for a class of sizes that computes with the plain number of the size.

    Args:
        name: the method's name, such as `__index__`.
        plain: the plain type, int, float or bool, whose method with this name is called.
        shipped: the method of torch's class, or None.
        find_number: a function that takes the size, the frame that called the method, and the method's name. Returns
            the plain number, or None to call `shipped`.
    """
    if name in _SYMBOLIC and plain is not bool:
        return _SYMBOLIC[name]
    if name in _REPEATS and plain is int:
        return lambda size, other: (
            _repeat_sizes_as_tensor(other, size) if type(other) in (list, tuple) else shipped(size, other)
        )
    of_plain = getattr(plain, name)

    def call_method(size: Any, *others: Any) -> Any:
        value = find_number(size, sys._getframe(1), name)
        if value is None and shipped is not None:
            return shipped(size, *others)
        value = plain(size) if value is None else value
        if not callable(of_plain):
            return getattr(value, name)
        made = of_plain(value, *(PLAIN[type(other)](other) if type(other) in PLAIN else other for other in others))
        # (n > 20) * 0.5: Python asks the fraction next, which does not know the size.
        fractions = [other for other in others if isinstance(other, float)]
        return getattr(float, name)(float(value), *fractions) if made is NotImplemented and fractions else made

    return call_method if callable(of_plain) else property(call_method)


def _repeat_sizes_as_tensor(numbers: Sequence[Any], times: Any) -> Any:
    """Return `numbers * times` as a tensor: a module makes the lengths of equally long texts by `[n] * batch`. Return
    `NotImplemented` if the list has other items than sizes and integers."""
    if not numbers or not all(type(n) in (int, torch.SymInt) for n in numbers):
        return NotImplemented
    return TracedArray(torch.cat([torch.full((1,), n, dtype=torch.int64) for n in numbers]).repeat(times))


_REPEATS: Final = ("__mul__", "__rmul__")
# Methods that a size can get by its other operators.
_SYMBOLIC: Final[dict[str, Any]] = {
    "__divmod__": lambda size, other: (size // other, size % other),
    "__rdivmod__": lambda size, other: (other // size, other % size),
    "__invert__": lambda size: -size - 1,
    "conjugate": lambda size: size,
    "real": property(lambda size: size),
}
