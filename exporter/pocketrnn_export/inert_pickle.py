"""Objects of scikit-learn out of their pickles, as attributes and arrays; nothing in a file is executed.

A pickle is a small program: it names classes and functions, and calls them. Here each name is one of a few stand-ins,
which hold what they are given; a name or an instruction beyond these ends the reading. The formats: Python's
`pickletools`, and https://joblib.readthedocs.io/en/stable/persistence.html.

`vocabularies/torchtext_vocab.py` reads pickles that hold no arrays.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import numpy as np

__all__ = ["Held", "NotReadError", "held_in"]

# A scaler takes some 100, labels a few for each.
_MOST_INSTRUCTIONS: Final = 2_000_000
# Instructions, by their names in `pickletools`: those that give what stands behind them, or a constant.
_VALUES: Final = {
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "NONE")),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8")),
    **dict.fromkeys(("BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")),
    **{"NEWTRUE": True, "NEWFALSE": False},
}
_PUTS: Final = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
_GETS: Final = frozenset({"GET", "BINGET", "LONG_BINGET"})
_CONTAINERS: Final[Mapping[str, Callable[[], Any]]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_TUPLES: Final = {"TUPLE": None, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING: Final = frozenset({"PROTO", "FRAME", "STOP"})
_DTYPE: Final = re.compile(r"[|<>=]?(?:[biuf]\d{1,2}|\?|O8?|[US]\d{1,7})")


class NotReadError(ValueError):
    """A pickle names or does something that is not executed."""


class Held:
    """An object of a pickle, as its attributes; its class has the name only, and is not imported."""

    def __init__(self, *_: Any) -> None:
        pass

    def set(self, state: Any, _reader: _Reader) -> None:
        """Take the state that the pickle gives it."""
        if isinstance(state, Mapping):
            self.__dict__.update(state)


def held_in(content: bytes, classes: Collection[str]) -> Any:
    """The contents of a pickle from `pickle.dump` or `joblib.dump`: plain values, arrays, and objects of these classes.

    Args:
        content: the bytes of the file.
        classes: the names of the classes of scikit-learn that may be in it; each object becomes a `Held`.

    Returns:
        plain values; arrays of numpy, those of objects too, if these are plain.

    Raises:
        NotReadError: it names something else.
        Exception: whatever damaged bytes become: ValueError, EOFError, IndexError, and others.

    Example:
        >>> held_in(Path("scaler.pkl").read_bytes(), ["StandardScaler"]).mean_
        array([0.5])
    """
    return _without_stand_ins(_Reader(io.BytesIO(content), classes).load())


class _Dtype(Held):
    """The type of an array's items."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise NotReadError("a type of numpy that is neither a number nor a string")
        self.dtype = np.dtype(code)

    def set(self, state: Any, _reader: _Reader) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array(Held):
    """An array of numpy."""

    array: Any = None

    def set(self, state: Any, _reader: _Reader) -> None:
        _, shape, dtype, in_columns, items = state
        self.array = _array(items, shape, dtype, "F" if in_columns else "C")


class _FromBytes(Held):
    """An array of numpy, as protocol 5 has it."""

    def __init__(self, items: Any = b"", dtype: Any = None, shape: Any = (), order: Any = "C") -> None:
        self.array = _array(items, shape, dtype, order)


class _Wrapper(Held):
    """joblib's description of an array, whose numbers follow it in the file."""

    array: Any = None

    def set(self, state: Any, reader: _Reader) -> None:
        shape, dtype, order = state["shape"], state["dtype"], state["order"]
        if not isinstance(dtype, _Dtype):
            raise NotReadError("an array of no type")
        if dtype.dtype.hasobject:
            self.array = _Reader(reader.file, reader.classes).load().array
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            (padding,) = reader.file.read(1)
            reader.file.read(padding)
        content = reader.file.read(_count(shape) * dtype.dtype.itemsize)
        self.array = _array(content, shape, dtype, order)


class _Scalar(Held):
    """One number of numpy."""

    def __init__(self, dtype: Any = None, content: Any = b"") -> None:
        self.array = _array(content, (1,), dtype, "C")[0]


class _Encoded(Held):
    """The call with which pickles of Python 2's protocol make bytes."""

    def __init__(self, text: Any = "", *_: Any) -> None:
        self.array = str(text).encode("latin1")


_STAND_INS: Final[Mapping[str, type[Held]]] = {
    "numpy.dtype": _Dtype,
    "numpy.ndarray": Held,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,
    "numpy.core.multiarray.scalar": _Scalar,
    "numpy._core.multiarray.scalar": _Scalar,
    "numpy.core.numeric._frombuffer": _FromBytes,
    "numpy._core.numeric._frombuffer": _FromBytes,
    "joblib.numpy_pickle.NumpyArrayWrapper": _Wrapper,
    "_codecs.encode": _Encoded,
}


def _count(shape: Any) -> int:
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise NotReadError("an array of no shape")
    return math.prod(shape)


def _array(items: Any, shape: Any, dtype: Any, order: Any) -> Any:
    """An array of bytes, or of a list of objects; numpy's own reader believes the shape of a list."""
    count, kind = _count(shape), dtype.dtype if isinstance(dtype, _Dtype) else None
    items = items.array if isinstance(items, _Encoded) else items
    if kind is None or order not in ("C", "F"):
        raise NotReadError("an array of no type")
    if kind.hasobject:
        if type(items) is not list or len(items) != count or not set(map(type, items)) <= {str, int, float, dict}:
            raise NotReadError("an array of objects that are not strings or numbers")
        array = np.empty(count, object)
        array[:] = items
    elif isinstance(items, bytes | bytearray) and len(items) == count * kind.itemsize and items:
        array = np.frombuffer(items, kind, count)
    else:
        raise NotReadError("an array of another size than it says")
    return array.reshape(shape, order=order)


class _Reader:
    """Follows a pickle, which is read as far as it is asked only: joblib's arrays stand behind their descriptions."""

    def __init__(self, file: io.BytesIO, classes: Collection[str]) -> None:
        self.file = file
        self.classes = classes
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        for number, (instruction, argument, _) in enumerate(pickletools.genops(self.file)):
            if number >= _MOST_INSTRUCTIONS:
                raise NotReadError(f"more than {_MOST_INSTRUCTIONS:,} instructions")
            self._follow(instruction.name, argument)
        return self.stack.pop()

    def _follow(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _VALUES:
            stack.append(_VALUES[name] if argument is None else argument)
        elif name in _PUTS:
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif name in _GETS:
            stack.append(self.memo[argument])
        elif name in _CONTAINERS:
            stack.append(_CONTAINERS[name]())
        elif name == "MARK":
            self.below.append(stack)
            self.stack = []
        elif name in _TUPLES:
            items = self._popped(_TUPLES[name])
            self.stack.append(tuple(items))
        elif name in ("APPEND", "APPENDS", "LIST"):
            items = self._popped(1 if name == "APPEND" else None)
            if name == "LIST":
                self.stack.append([])
            _expected(self.stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS", "DICT"):
            items = self._popped(2 if name == "SETITEM" else None)
            if name == "DICT":
                self.stack.append({})
            _expected(self.stack[-1], dict).update(zip(items[::2], items[1::2], strict=True))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            module, _, of_module = (argument or " ".join(map(str, self._popped(2)))).rpartition(" ")
            stack.append(self._class(module, of_module))
        elif name in ("REDUCE", "NEWOBJ"):
            called, arguments = self._popped(2)
            stack.append(_call_class(called, _expected(arguments, tuple)))
        elif name == "BUILD":
            (state,) = self._popped(1)
            if not isinstance(stack[-1], Held):
                raise NotReadError("attributes of what is not an object")
            stack[-1].set(state, self)
        elif name not in _NOTHING:
            raise NotReadError(f"the instruction {name}")

    def _popped(self, count: int | None) -> list[Any]:
        """The last items; without a count, those since the last mark."""
        if count is None:
            items, self.stack = self.stack, self.below.pop()
            return items
        if len(self.stack) < count:
            raise IndexError("the stack is too short")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def _class(self, module: str, name: str) -> type[Held]:
        if name in self.classes and module.startswith("sklearn."):
            return type(name, (Held,), {})
        if (found := _STAND_INS.get(f"{module}.{name}")) is None:
            raise NotReadError(f"{module}.{name}"[:80])
        return found


def _expected(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"a {type(value).__name__} where a {kind.__name__} is needed")
    return value


def _call_class(called: Any, arguments: tuple[Any, ...]) -> Any:
    if not isinstance(called, type):
        raise NotReadError("a call of what is not a class")
    made = called(*arguments)
    return made.array if isinstance(made, _Scalar | _FromBytes) else made


def _without_stand_ins(value: Any, depth: int = 0) -> Any:
    """The same with arrays of numpy for what stands for them: at the top, in an object of the file, or in a dict."""
    if isinstance(value, _Array | _Wrapper | _Encoded):
        return value.array
    if isinstance(value, Held) and depth < 2:
        value.__dict__.update({name: _without_stand_ins(held, depth + 1) for name, held in vars(value).items()})
    if isinstance(value, dict) and depth < 2:
        return {name: _without_stand_ins(held, depth + 1) for name, held in value.items()}
    return value
