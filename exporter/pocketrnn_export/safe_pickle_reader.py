"""Read pickles of scikit-learn's objects and of checkpoints without executing them.

Those of torchtext are read in `pickled_vocabulary.py`.

A pickle is a small program: it names classes and functions, and calls them. `PickleReader` follows the program but
calls nothing: each name is one of a few stand-ins, which store their arguments; another name or instruction is an
error. Limits on instructions and containers bound time and memory. The formats: Python's `pickletools` (protocols 0 to
5), and https://joblib.readthedocs.io/en/stable/persistence.html. PyTorch reads weights by a loop of its own for
the same reason (`torch/_weights_only_unpickler.py`).
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
import warnings
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Final

import numpy as np

# How deep arrays are searched in dicts and objects.
_DEEPEST: Final = 5
# The first object in a file of `torch.save`'s older form.
TORCH_MAGIC: Final = 0x1950A86A20F9469CFC6C
# A scaler needs some 100 instructions, labels a few for each.
_MOST_INSTRUCTIONS: Final = 2_000_000
# So many bytes of copied strings or objects count as an instruction: a short program can copy a long one often.
_BYTES_OF_INSTRUCTION: Final = 100
_DTYPE: Final = re.compile(r"[|<>=]?(?:[biuf]\d{1,2}|\?|O8?|[US]\d{1,7})")

# The bytes of a length or a number that follows an instruction, least significant first.
_TEXTS: Final = {pickle.BINUNICODE[0]: 4, pickle.SHORT_BINUNICODE[0]: 1, pickle.BINUNICODE8[0]: 8}
_UNSIGNED: Final = {pickle.BININT1[0]: 1, pickle.BININT2[0]: 2}
_PUTS: Final = {pickle.BINPUT[0]: 1, pickle.LONG_BINPUT[0]: 4}
_GETS: Final = {pickle.BINGET[0]: 1, pickle.LONG_BINGET[0]: 4}
_RARE: Final = {ord(instruction.code): instruction for instruction in pickletools.opcodes}
# Instructions by their names in `pickletools`.
_CONSTANTS: Final = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES: Final = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "TUPLE": None}
_WITH_ARGUMENT: Final = frozenset({"PUT", "GET", "PROTO", "FRAME", "GLOBAL"})
_NUMBERS: Final = frozenset({"BININT", "INT", "LONG", "LONG1", "FLOAT", "BINFLOAT"})


class UnsupportedPickleError(ValueError):
    """A pickle contains a name or an instruction that is not supported. The message is a noun phrase that names it,
    such as "the pickle instruction DUP"; the callers make a sentence with the file's name."""


class PickleReader:
    """Follows the instructions of the pickles in `content`, one by one, without executing code. Subclasses define which
    stand-ins replace classes, calls and objects.

    Attributes:
        values: the names of the instructions that push their argument onto the stack.
        file: `content` as a file. Its position is after the instruction that is followed now, so that an array whose
            numbers come next in the file can be read from it.
    """

    values: ClassVar[frozenset[str]] = _NUMBERS | {"UNICODE"}

    def __init__(self, content: bytes, most_instructions: int, most_containers: int) -> None:
        self.content, self.file, self.position = content, io.BytesIO(content), 0
        self.instructions = self.containers = 0
        self._most_instructions, self._most_containers = most_instructions, most_containers

    def read_next_object(self) -> Any:
        """Follow the instructions of the next pickle, and return its object.

        Raises:
            UnsupportedPickleError: the pickle has another instruction, or is too large.
            EOFError: the pickle has no end.
            Exception: the pickle is damaged: IndexError, KeyError, ValueError or struct.error.
        """
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        # The codes of a token - a text, or a number, and its index in the memo - are handled here, without further
        # calls.
        content, size, memo = self.content, len(self.content), self.memo
        at = self.position
        while at < size:
            code = content[at]
            at += 1
            self.instructions += 1
            if self.instructions > self._most_instructions:
                raise UnsupportedPickleError(f"more than {self._most_instructions:,} pickle instructions")
            if code in _TEXTS:
                start = at + _TEXTS[code]
                # A length beyond the end is noticed when the loop ends, before the truncated text is used.
                at = start + int.from_bytes(content[at:start], "little")
                self.stack.append(str(content[start:at], "utf-8", "surrogatepass"))
            elif code in _PUTS:
                start, at = at, at + _PUTS[code]
                memo[int.from_bytes(content[start:at], "little")] = self.stack[-1]
            elif code == pickle.MEMOIZE[0]:
                memo[len(memo)] = self.stack[-1]
            elif code in _GETS:
                start, at = at, at + _GETS[code]
                self.stack.append(memo[int.from_bytes(content[start:at], "little")])
            elif code in _UNSIGNED:
                start, at = at, at + _UNSIGNED[code]
                self.stack.append(int.from_bytes(content[start:at], "little"))
            elif code == pickle.STOP[0]:
                self.position = at
                return self.stack.pop()
            elif code in _RARE:
                self.file.seek(at)
                name, kind = _RARE[code].name, _RARE[code].arg
                if kind is not None and name not in self.values | _WITH_ARGUMENT:
                    raise UnsupportedPickleError(f"the pickle instruction {name}")
                # A string with an unknown escape, as of a damaged file, gives a DeprecationWarning.
                with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                    argument = None if kind is None else kind.reader(self.file)
                self._run_rare_instruction(name, argument)
                at = self.file.tell()
            else:
                raise UnsupportedPickleError(f"the unknown pickle instruction 0x{code:02x}")
        raise EOFError("the pickle ends too early")

    def _run_rare_instruction(self, name: str, argument: Any) -> None:
        """Follow an instruction that `read_next_object` does not handle itself, by its name in `pickletools`."""
        stack = self.stack
        if name in self.values:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "PUT":
            self.memo[argument] = stack[-1]
        elif name == "GET":
            stack.append(self.memo[argument])
        elif name == "MARK":
            self._count_container()
            self.outer.append(stack)
            self.stack = []
        elif name in ("APPEND", "APPENDS"):
            items = self.pop_items(1 if name == "APPEND" else None)
            self.add_items(self.stack[-1], items)
        elif name == "ADDITEMS":
            self.add_items(self.stack[-1], self.pop_items(None))
        elif name in ("SETITEM", "SETITEMS"):
            items = self.pop_items(2 if name == "SETITEM" else None)
            self.set_items(self.stack[-1], items)
        elif name == "PROTO":
            if argument > pickle.HIGHEST_PROTOCOL:
                raise UnsupportedPickleError(f"the unknown pickle protocol {argument}")
        elif name != "FRAME":
            self._count_container()
            # It may replace the stack.
            made = self.make_object(name, argument)
            self.stack.append(made)

    def make_object(self, name: str, argument: Any) -> Any:
        """Run an instruction that makes an object. Return a tuple, list or dict, or a stand-in for any other object."""
        if name in _TUPLES:
            return tuple(self.pop_items(_TUPLES[name]))
        if name in ("EMPTY_LIST", "LIST"):
            return [] if name == "EMPTY_LIST" else self.pop_items(None)
        if name in ("EMPTY_DICT", "DICT"):
            made: dict[Any, Any] = {}
            self.set_items(made, [] if name == "EMPTY_DICT" else self.pop_items(None))
            return made
        if name in ("GLOBAL", "STACK_GLOBAL"):
            parts = argument.rsplit(" ", 1) if name == "GLOBAL" else self.pop_items(2)
            return self.make_class_or_function_stand_in(*(require_type(part, str) for part in parts))
        if name in ("REDUCE", "NEWOBJ"):
            called, arguments = self.pop_items(2)
            return self.make_call_result_stand_in(called, require_type(arguments, tuple))
        if name == "BUILD":
            made, state = self.pop_items(2)
            self.set_state(made, state)
            return made
        raise UnsupportedPickleError(f"the pickle instruction {name}")

    def make_class_or_function_stand_in(self, module: str, name: str) -> Any:
        """Make the stand-in for a class or a function."""
        raise NotImplementedError

    def make_call_result_stand_in(self, called: Any, arguments: tuple[Any, ...]) -> Any:
        """Make the stand-in for the result of a call."""
        raise NotImplementedError

    def set_state(self, made: Any, state: Any) -> None:
        """Set the attributes of the stand-in `made` to the state that the pickle stores for the object."""
        raise NotImplementedError

    def add_items(self, target: Any, items: list[Any]) -> None:
        """Add items to a list."""
        require_type(target, list).extend(items)

    def set_items(self, target: Any, items: list[Any]) -> None:
        """Set items of a dict. `items` has keys and values in turn: key, value, key, value, ..."""
        require_type(target, dict).update(zip(items[::2], items[1::2], strict=True))

    def pop_items(self, count: int | None) -> list[Any]:
        """Remove the last `count` items of the stack, and return them. If `count` is None, do so with all items since
        the last mark."""
        if count is None:
            items, self.stack = self.stack, self.outer.pop()
            return items
        if len(self.stack) < count:
            raise IndexError("the pickle takes more items from its stack than it has put there")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def _count_container(self) -> None:
        """Count a container or object that the pickle makes. Raise an UnsupportedPickleError if there are too many."""
        self.containers += 1
        if self.containers > self._most_containers:
            raise UnsupportedPickleError(f"more than {self._most_containers:,} containers and objects")


def require_type(value: Any, kind: type) -> Any:
    """Return the value if its type is exactly `kind`. Otherwise, raise a ValueError."""
    if type(value) is not kind:
        raise ValueError(f"the pickle has a {type(value).__name__} where a {kind.__name__} is needed")
    return value


class PickledObject:
    """An object in a pickle, with its attributes. Its class is only a name, and is not imported."""

    def __init__(self, *_: Any) -> None:
        pass

    def take_state(self, state: Any, _reader: ObjectReader) -> None:
        """Set the attributes of the stand-in to the state that the pickle stores for its object."""
        if isinstance(state, Mapping):
            self.__dict__.update(state)


def read_pickle(content: bytes, classes: Collection[str]) -> Any:
    """Read a pickle of `pickle.dump` or `joblib.dump`. It may hold plain values, arrays, and objects of the given
    classes.

    Args:
        content: the bytes of the file.
        classes: the names of the scikit-learn classes that may be in it; each object becomes a `PickledObject`.

    Returns:
        plain values; numpy arrays, also of objects, if these are plain values.

    Raises:
        UnsupportedPickleError: the pickle names another class or a function.
        Exception: the bytes are damaged: ValueError, EOFError, IndexError, and others.
    """
    return unwrap_stand_ins(ObjectReader(content, classes).read_next_object())


def read_checkpoint(content: bytes) -> Any:
    """Read the pickle of a checkpoint. No class is imported, and nothing is called.

    The result has plain values and numpy arrays. A `PickledObject`, which has only attributes, replaces every other
    object, such as a tensor.

    Args:
        content: the bytes of the pickle; those of a file of `torch.save`'s older form are several pickles in a row.

    Raises:
        Exception: the bytes are damaged.

    Example:
        >>> read_checkpoint(pickle.dumps({"labels": ["no", "yes"], "epoch": 3}))["labels"]
        ['no', 'yes']
    """
    reader = _CheckpointReader(content, ())
    root = reader.read_next_object()
    if type(root) is int and root == TORCH_MAGIC:
        # The protocol, and byte order and sizes of the machine.
        reader.read_next_object()
        reader.read_next_object()
        root = reader.read_next_object()
    return unwrap_stand_ins(root)


class _Dtype(PickledObject):
    """The type of an array's items."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise UnsupportedPickleError("a numpy array whose items are neither numbers nor strings")
        self.dtype = np.dtype(code)

    def take_state(self, state: Any, _reader: ObjectReader) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array(PickledObject):
    """A numpy array."""

    array: Any = None

    def take_state(self, state: Any, _reader: ObjectReader) -> None:
        _, shape, dtype, in_columns, items = state
        self.array = _make_array(items, shape, dtype, "F" if in_columns else "C")


class _BufferArray(PickledObject):
    """A numpy array, stored as protocol 5 stores it."""

    def __init__(self, items: Any = b"", dtype: Any = None, shape: Any = (), order: Any = "C") -> None:
        self.array = _make_array(items, shape, dtype, order)


class _JoblibArray(PickledObject):
    """joblib's description of an array. The numbers of the array follow in the file."""

    array: Any = None

    def take_state(self, state: Any, reader: ObjectReader) -> None:
        shape, dtype, order = state["shape"], state["dtype"], state["order"]
        if not isinstance(dtype, _Dtype):
            raise UnsupportedPickleError("a numpy array whose dtype is missing")
        if dtype.dtype.hasobject:
            inner = ObjectReader(reader.content, reader.classes)
            inner.position = reader.file.tell()
            self.array = inner.read_next_object().array
            reader.file.seek(inner.position)
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            (padding,) = reader.file.read(1)
            reader.file.read(padding)
        content = reader.file.read(_count_elements(shape) * dtype.dtype.itemsize)
        self.array = _make_array(content, shape, dtype, order)


class _Scalar(PickledObject):
    """A single numpy number."""

    def __init__(self, dtype: Any = None, content: Any = b"") -> None:
        self.array = _make_array(content, (1,), dtype, "C")[0]


class _EncodedBytes(PickledObject):
    """Bytes in a pickle of Python 2's protocol, which makes bytes by a call of `_codecs.encode`."""

    def __init__(self, text: Any = "", *_: Any) -> None:
        self.array = str(text).encode("latin1")


STAND_INS: Final[Mapping[str, type[PickledObject]]] = {
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
    """Return the number of elements of an array with this shape. Raise an UnsupportedPickleError if the shape is not a
    tuple of sizes."""
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise UnsupportedPickleError("a numpy array whose shape is not a tuple of sizes")
    return math.prod(shape)


def _make_array(items: Any, shape: Any, dtype: Any, order: Any) -> Any:
    """Make a numpy array of this shape, type and order of axes from bytes, or from a list of objects. Raise an
    UnsupportedPickleError if the number of items does not fit the shape."""
    count, kind = _count_elements(shape), dtype.dtype if isinstance(dtype, _Dtype) else None
    items = items.array if isinstance(items, _EncodedBytes) else items
    if kind is None or order not in ("C", "F"):
        raise UnsupportedPickleError("a numpy array whose dtype is missing")
    if kind.hasobject:
        if type(items) is not list or len(items) != count or not set(map(type, items)) <= {str, int, float, dict}:
            raise UnsupportedPickleError("a numpy array of objects that are not strings or numbers")
        array = np.empty(count, object)
        array[:] = items
    elif isinstance(items, bytes | bytearray) and len(items) == count * kind.itemsize and items:
        array = np.frombuffer(items, kind, count)
    else:
        raise UnsupportedPickleError("a numpy array with another number of items than its shape says")
    return array.reshape(shape, order=order)


class ObjectReader(PickleReader):
    """Reads scikit-learn's objects, and numpy's arrays and numbers, as stand-ins."""

    values = PickleReader.values | {
        "LONG4", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
    }  # fmt: skip

    def __init__(self, content: bytes, classes: Collection[str]) -> None:
        super().__init__(content, _MOST_INSTRUCTIONS, _MOST_INSTRUCTIONS)
        self.classes = classes

    def make_class_or_function_stand_in(self, module: str, name: str) -> type[PickledObject]:
        if name in self.classes and module.startswith("sklearn."):
            return type(name, (PickledObject,), {})
        if (found := STAND_INS.get(f"{module}.{name}")) is None:
            raise UnsupportedPickleError(f"{module}.{name}"[:80])
        return found

    def make_call_result_stand_in(self, called: Any, arguments: tuple[Any, ...]) -> Any:
        if not isinstance(called, type):
            raise UnsupportedPickleError("a call of something that is not a class")
        made = called(*arguments)
        self._count_copied_bytes(made)
        return made.array if isinstance(made, _Scalar | _BufferArray) else made

    def set_state(self, made: Any, state: Any) -> None:
        if not isinstance(made, PickledObject):
            raise UnsupportedPickleError("attributes for a value that is not an object")
        made.take_state(state, self)
        self._count_copied_bytes(made)

    def _count_copied_bytes(self, made: Any) -> None:
        array = getattr(made, "array", None)
        if isinstance(array, np.generic) or (isinstance(array, np.ndarray) and array.dtype.hasobject):
            self.instructions += array.nbytes // _BYTES_OF_INSTRUCTION


class _CheckpointReader(ObjectReader):
    """Reads objects of any class as stand-ins that keep only the attributes of the object."""

    def make_object(self, name: str, argument: Any) -> Any:
        if name in ("EMPTY_SET", "FROZENSET"):
            if name == "FROZENSET":
                self.pop_items(None)
            return PickledObject()
        if name == "BINPERSID":
            # A tensor's numbers, which the file keeps elsewhere.
            self.pop_items(1)
            return PickledObject()
        if name == "NEWOBJ_EX":
            called, arguments, _ = self.pop_items(3)
            return self.make_call_result_stand_in(called, require_type(arguments, tuple))
        return super().make_object(name, argument)

    def make_class_or_function_stand_in(self, module: str, name: str) -> type[PickledObject]:
        found = STAND_INS.get(f"{module}.{name}")
        return type(name, (_OtherObject,), {}) if found is None else found

    def make_call_result_stand_in(self, called: Any, arguments: tuple[Any, ...]) -> Any:
        if isinstance(called, type) and called.__name__ in ("OrderedDict", "defaultdict"):
            return {}
        if isinstance(called, type) and issubclass(called, _OtherObject):
            return called()
        return super().make_call_result_stand_in(called, arguments)

    def set_state(self, made: Any, state: Any) -> None:
        # The attributes of a dict, such as the `_metadata` of a state_dict, are not kept.
        if isinstance(made, PickledObject):
            made.take_state(state, self)

    def add_items(self, target: Any, items: list[Any]) -> None:
        if type(target) is list:
            target.extend(items)

    def set_items(self, target: Any, items: list[Any]) -> None:
        if type(target) is dict:
            super().set_items(target, items)


class _OtherObject(PickledObject):
    """A stand-in for an object of an unknown class, or for the result of a function. It keeps bytes as its state, too,
    since the tokenizers of the libraries `tokenizers` and `sentencepiece` are pickled as bytes."""

    def take_state(self, state: Any, _reader: ObjectReader) -> None:
        super().take_state(state, _reader)
        if isinstance(state, bytes | _EncodedBytes):
            self.__dict__["state"] = state


def unwrap_stand_ins(value: Any, depth: int = 0, unwrapped: dict[tuple[int, int], Any] | None = None) -> Any:
    """Replace each stand-in for an array or for bytes in an unpickled value by the array or the bytes. Return the
    value.

    Dicts and objects are searched up to `_DEEPEST` levels deep. `unwrapped` holds the results so far, so that a part to
    which a hostile file refers a million times is searched only once at each level.
    """
    if isinstance(value, _Array | _JoblibArray | _EncodedBytes):
        return value.array
    if not isinstance(value, PickledObject | dict) or depth >= _DEEPEST:
        return value
    known = {} if unwrapped is None else unwrapped
    if (found := known.get((id(value), depth))) is not None:
        return found
    members = value if isinstance(value, dict) else vars(value)
    plain = known[id(value), depth] = {} if isinstance(value, dict) else value
    inner = {name: unwrap_stand_ins(held, depth + 1, known) for name, held in members.items()}
    (plain if isinstance(plain, dict) else vars(plain)).update(inner)
    return plain
