"""Read objects of scikit-learn from their pickles, as attributes and arrays, without executing the file.

A pickle is a small program: it names classes and functions, and calls them. Here each name is one of a few stand-ins,
which store their arguments; another name or instruction is an error. The formats: Python's `pickletools`, and
https://joblib.readthedocs.io/en/stable/persistence.html.

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

__all__ = ["PickledObject", "UnsupportedPickleError", "read_pickle"]

# A scaler needs some 100 instructions, labels a few for each.
_MOST_INSTRUCTIONS: Final = 2_000_000
# Instructions, by their names in `pickletools`, that push their argument, or a constant.
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


class UnsupportedPickleError(ValueError):
    """A pickle has a name or an instruction that is not supported."""


class PickledObject:
    """An object of a pickle with its attributes; its class has only the name, and is not imported."""

    def __init__(self, *_: Any) -> None:
        pass

    def set(self, state: Any, _reader: _PickleReader) -> None:
        """Set the object's state from the pickle."""
        if isinstance(state, Mapping):
            self.__dict__.update(state)


def read_pickle(content: bytes, classes: Collection[str]) -> Any:
    """Read a pickle from `pickle.dump` or `joblib.dump`: plain values, arrays, and objects of these classes.

    Args:
        content: the bytes of the file.
        classes: the names of the scikit-learn classes that may be in it; each object becomes a `PickledObject`.

    Returns:
        plain values; numpy arrays, also of objects, if these are plain values.

    Raises:
        UnsupportedPickleError: it names something else.
        Exception: the bytes are damaged: ValueError, EOFError, IndexError, and others.

    Example:
        >>> read_pickle(Path("scaler.pkl").read_bytes(), ["StandardScaler"]).mean_
        array([0.5])
    """
    return _unwrap_stand_ins(_PickleReader(io.BytesIO(content), classes).load())


class _Dtype(PickledObject):
    """The type of an array's items."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise UnsupportedPickleError("a type of numpy that is neither a number nor a string")
        self.dtype = np.dtype(code)

    def set(self, state: Any, _reader: _PickleReader) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array(PickledObject):
    """An array of numpy."""

    array: Any = None

    def set(self, state: Any, _reader: _PickleReader) -> None:
        _, shape, dtype, in_columns, items = state
        self.array = _make_array(items, shape, dtype, "F" if in_columns else "C")


class _BufferArray(PickledObject):
    """An array of numpy in the form of protocol 5."""

    def __init__(self, items: Any = b"", dtype: Any = None, shape: Any = (), order: Any = "C") -> None:
        self.array = _make_array(items, shape, dtype, order)


class _JoblibArray(PickledObject):
    """joblib's description of an array; the array's numbers follow it in the file."""

    array: Any = None

    def set(self, state: Any, reader: _PickleReader) -> None:
        shape, dtype, order = state["shape"], state["dtype"], state["order"]
        if not isinstance(dtype, _Dtype):
            raise UnsupportedPickleError("an array of no type")
        if dtype.dtype.hasobject:
            self.array = _PickleReader(reader.file, reader.classes).load().array
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            (padding,) = reader.file.read(1)
            reader.file.read(padding)
        content = reader.file.read(_count_elements(shape) * dtype.dtype.itemsize)
        self.array = _make_array(content, shape, dtype, order)


class _Scalar(PickledObject):
    """One number of numpy."""

    def __init__(self, dtype: Any = None, content: Any = b"") -> None:
        self.array = _make_array(content, (1,), dtype, "C")[0]


class _EncodedBytes(PickledObject):
    """The bytes that pickles of Python 2's protocol make by a call of `_codecs.encode`."""

    def __init__(self, text: Any = "", *_: Any) -> None:
        self.array = str(text).encode("latin1")


_STAND_INS: Final[Mapping[str, type[PickledObject]]] = {
    "numpy.dtype": _Dtype,
    "numpy.ndarray": PickledObject,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,
    "numpy.core.multiarray.scalar": _Scalar,
    "numpy._core.multiarray.scalar": _Scalar,
    "numpy.core.numeric._frombuffer": _BufferArray,
    "numpy._core.numeric._frombuffer": _BufferArray,
    "joblib.numpy_pickle.NumpyArrayWrapper": _JoblibArray,
    "_codecs.encode": _EncodedBytes,
}


def _count_elements(shape: Any) -> int:
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise UnsupportedPickleError("an array without a shape")
    return math.prod(shape)


def _make_array(items: Any, shape: Any, dtype: Any, order: Any) -> Any:
    """Make an array from bytes, or from a list of objects. numpy's own reader does not check the number of these
    objects."""
    count, kind = _count_elements(shape), dtype.dtype if isinstance(dtype, _Dtype) else None
    items = items.array if isinstance(items, _EncodedBytes) else items
    if kind is None or order not in ("C", "F"):
        raise UnsupportedPickleError("an array of no type")
    if kind.hasobject:
        if type(items) is not list or len(items) != count or not set(map(type, items)) <= {str, int, float, dict}:
            raise UnsupportedPickleError("an array of objects that are not strings or numbers")
        array = np.empty(count, object)
        array[:] = items
    elif isinstance(items, bytes | bytearray) and len(items) == count * kind.itemsize and items:
        array = np.frombuffer(items, kind, count)
    else:
        raise UnsupportedPickleError("an array whose size does not fit its shape")
    return array.reshape(shape, order=order)


class _PickleReader:
    """Runs a pickle's instructions one at a time, since joblib's arrays stand in the file after their descriptions."""

    def __init__(self, file: io.BytesIO, classes: Collection[str]) -> None:
        self.file = file
        self.classes = classes
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        for number, (instruction, argument, _) in enumerate(pickletools.genops(self.file)):
            if number >= _MOST_INSTRUCTIONS:
                raise UnsupportedPickleError(f"more than {_MOST_INSTRUCTIONS:,} instructions")
            self._run_instruction(instruction.name, argument)
        return self.stack.pop()

    def _run_instruction(self, name: str, argument: Any) -> None:
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
            items = self._pop_items(_TUPLES[name])
            self.stack.append(tuple(items))
        elif name in ("APPEND", "APPENDS", "LIST"):
            items = self._pop_items(1 if name == "APPEND" else None)
            if name == "LIST":
                self.stack.append([])
            _require_type(self.stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS", "DICT"):
            items = self._pop_items(2 if name == "SETITEM" else None)
            if name == "DICT":
                self.stack.append({})
            _require_type(self.stack[-1], dict).update(zip(items[::2], items[1::2], strict=True))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            module, _, of_module = (argument or " ".join(map(str, self._pop_items(2)))).rpartition(" ")
            stack.append(self._find_class(module, of_module))
        elif name in ("REDUCE", "NEWOBJ"):
            called, arguments = self._pop_items(2)
            stack.append(_call_class(called, _require_type(arguments, tuple)))
        elif name == "BUILD":
            (state,) = self._pop_items(1)
            if not isinstance(stack[-1], PickledObject):
                raise UnsupportedPickleError("a state for something that is not an object")
            stack[-1].set(state, self)
        elif name not in _NOTHING:
            raise UnsupportedPickleError(f"the instruction {name}")

    def _pop_items(self, count: int | None) -> list[Any]:
        """Pop the last items; without a count, those since the last mark."""
        if count is None:
            items, self.stack = self.stack, self.below.pop()
            return items
        if len(self.stack) < count:
            raise IndexError("the stack is too short")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def _find_class(self, module: str, name: str) -> type[PickledObject]:
        if name in self.classes and module.startswith("sklearn."):
            return type(name, (PickledObject,), {})
        if (found := _STAND_INS.get(f"{module}.{name}")) is None:
            raise UnsupportedPickleError(f"{module}.{name}"[:80])
        return found


def _require_type(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"a {type(value).__name__} where a {kind.__name__} is needed")
    return value


def _call_class(called: Any, arguments: tuple[Any, ...]) -> Any:
    if not isinstance(called, type):
        raise UnsupportedPickleError("a call of something that is not a class")
    made = called(*arguments)
    return made.array if isinstance(made, _Scalar | _BufferArray) else made


def _unwrap_stand_ins(value: Any, depth: int = 0) -> Any:
    """Replace stand-ins for arrays by the numpy arrays: at the top, in an object of the file, or in a dict."""
    if isinstance(value, _Array | _JoblibArray | _EncodedBytes):
        return value.array
    if isinstance(value, PickledObject) and depth < 2:
        value.__dict__.update({name: _unwrap_stand_ins(held, depth + 1) for name, held in vars(value).items()})
    if isinstance(value, dict) and depth < 2:
        return {name: _unwrap_stand_ins(held, depth + 1) for name, held in value.items()}
    return value
