"""Names of Python, numpy and PyTorch that a module's own code finds changed while it is traced.

`len(x)` has to be an int for Python, and so has what `int(...)` and `range(...)` give; `torch.FloatTensor(n, 5)` reads
numbers out of its arguments. None of them asks a tensor or a size what it wants. So the globals of the user's files,
and no others, get names of their own for as long as a trace lasts: PyTorch, this package and other threads' modules
keep what they have.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import math
import sys
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from pocketrnn_export.module_runs.function_caches import entries_replaced
from pocketrnn_export.torch_internals import TRACED_TENSORS, methods_replaced, scripted_from, sym_int
from pocketrnn_export.tracing.python_semantics import math_of_sizes
from pocketrnn_export.tracing.python_semantics.arrays import TracedArray, number_of, unwrapped
from pocketrnn_export.tracing.python_semantics.caches import without_cache
from pocketrnn_export.tracing.python_semantics.hidden_trace import HIDDEN
from pocketrnn_export.tracing.python_semantics.loop_unroll import Slices, positions
from pocketrnn_export.tracing.python_semantics.sizes_as_plain_numbers import PLAIN
from pocketrnn_export.tracing.python_semantics.users_globals import globals_of
from pocketrnn_export.tracing.session import TraceSession, current, scripting
from pocketrnn_export.tracing.sizes.printed_sizes import is_output_read

__all__ = ["filled", "globals_patched", "shipped_types"]

# A question about a size from this file counts as its caller's: see `intake/user_frames.py`.
ASKS_FOR_ITS_CALLER: Final = True
_DTYPES: Final = {
    "FloatTensor": torch.float32,
    "Tensor": torch.float32,
    "DoubleTensor": torch.float64,
    "HalfTensor": torch.float16,
    "LongTensor": torch.int64,
    "IntTensor": torch.int32,
    "ShortTensor": torch.int16,
    "ByteTensor": torch.uint8,
    "BoolTensor": torch.bool,
}


@contextlib.contextmanager
def globals_patched(session: TraceSession) -> Iterator[None]:
    """While the block runs, the files that the code of the session's module is in see the stand-ins; all is restored
    after."""
    changed = [(names, name, value) for names in globals_of(session.module) for name, value in _seen_in(names).items()]
    shipped_get = functools.singledispatchmethod.__get__
    dispatching = {(functools.singledispatchmethod, "__get__"): _dispatched_method(shipped_get)}
    with entries_replaced(changed), methods_replaced(dispatching):
        yield


def _seen_in(names: dict[str, Any]) -> dict[str, Any]:
    """The stand-ins that a file of the user's sees, by the names that it knows them by."""
    new = {name: value for name, value in _BUILTINS.items() if name not in names}
    for name, value in names.items():
        stand_in = _BY_OBJECT.get(id(value))
        if stand_in is not None and stand_in[0] is value:
            new[name] = stand_in[1]
        elif (function := without_cache(value) or scripted_from(value)) is not None:
            new[name] = function
        elif isinstance(value, FunctionType) and callable(dispatch := getattr(value, "dispatch", None)):
            new[name] = _dispatched(value, dispatch)
    return new


def _len(value: Any) -> Any:
    value = unwrapped(value)
    if isinstance(value, Slices):
        return value.x.shape[value.axis]
    return value.shape[0] if current() is not None and isinstance(value, Tensor) and value.dim() else len(value)


def _int(*args: Any) -> Any:
    if current() is not None and len(args) == 1:
        value = unwrapped(args[0])
        if isinstance(value, torch.SymInt):
            return value
        if isinstance(value, torch.SymFloat):
            return sym_int(value)
        if isinstance(value, Tensor) and value.numel() == 1 and not value.is_floating_point():
            return number_of(value)
    return int(*args)


def _list(*args: Any) -> Any:
    if current() is not None and len(args) == 1:
        if isinstance(args[0], TracedArray):
            return args[0]
        if _is_array(args[0]):
            return TracedArray(args[0])
    return list(*args)


def _is_array(value: Any) -> bool:
    """Whether a tensor holds a number for each row: whole numbers on one axis, of a size that is not fixed."""
    return (
        isinstance(value, Tensor)
        and value.dim() == 1
        and not value.is_floating_point()
        and not isinstance(value.shape[0], int)
    )


def _of_one(shipped: Callable[..., Any], method: str) -> Callable[..., Any]:
    """`max(lengths)` and its like, of a tensor or an array by its own method."""

    @functools.wraps(shipped)
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        if current() is not None and len(args) == 1 and not kwargs:
            value = unwrapped(args[0])
            if isinstance(value, Tensor) and value.dim() == 1 and not isinstance(value.shape[0], int):
                return number_of(getattr(value, method)())
        return shipped(*args, **kwargs)

    return stand_in


def _sorted(values: Any, **kwargs: Any) -> Any:
    array = unwrapped(values)
    if current() is not None and _is_array(array) and kwargs.get("key") is None:
        return TracedArray(array.sort(descending=bool(kwargs.get("reverse")))[0])
    return sorted(values, **kwargs)


class _Range(TracedArray):
    """`range(len(x))` as an index; as a loop it is what it was."""

    def __init__(self, *ends: Any) -> None:
        super().__init__(torch.arange(*ends))
        self.ends = ends

    def __iter__(self) -> Iterator[int]:
        return iter(range(*self.ends))


def _range(*args: Any) -> Any:
    numbers = [number_of(unwrapped(n)) for n in args]
    if current() is None or not any(isinstance(n, torch.SymInt | Tensor) for n in numbers):
        return range(*args)
    return positions(*numbers) if any(isinstance(n, torch.SymInt) for n in numbers) else _Range(*numbers)


def _isinstance(value: Any, kinds: Any) -> bool:
    """A size is what a plain number is: `isinstance(n, numbers.Integral)`."""
    if current() is not None and type(value) in PLAIN:
        return isinstance(value, kinds) or isinstance(PLAIN[type(value)](), kinds)
    return isinstance(value, kinds)


def _dispatched(shipped: Callable[..., Any], chosen: Callable[[type], Callable[..., Any]]) -> Callable[..., Any]:
    """A function of `functools.singledispatch`, which looks at the class of its first argument: `chosen` is what it
    runs for a class."""

    @functools.wraps(shipped)
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        if current() is not None and args and type(args[0]) in PLAIN:
            return chosen(PLAIN[type(args[0])])(*args, **kwargs)
        return shipped(*args, **kwargs)

    return stand_in


def _dispatched_method(shipped: Callable[..., Any]) -> Callable[..., Any]:
    """A method of `functools.singledispatchmethod`, in the same way."""

    def get(self: Any, instance: Any, kind: Any = None) -> Callable[..., Any]:
        method = shipped(self, instance, kind)
        return _dispatched(method, lambda plain: self.dispatcher.dispatch(plain).__get__(instance, kind))

    return get


@functools.wraps(print)
def _print(*args: Any, **kwargs: Any) -> None:
    """`print`: nothing, but where forward may read it back."""
    if is_output_read() or kwargs.get("file") not in (None, sys.stdout, sys.stderr):
        builtins.print(*args, **kwargs)  # noqa: T201 - it is forward that prints


def _class_like(shipped: Any, call: Callable[..., Any]) -> Any:
    """A name that is called as `call` and is otherwise a class, for `isinstance` and `issubclass`."""

    class Meta(type):
        # `case int(n)` binds this attribute of what it matches.
        __match_args__ = ("real",) if shipped in (int, float) else ()

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            return call(*args, **kwargs)

        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, (shipped, _LIKE.get(shipped, ())))

        def __subclasscheck__(cls, other: type) -> bool:
            return issubclass(other, shipped)

        def __getattr__(cls, name: str) -> Any:
            return getattr(shipped, name)

        def __eq__(cls, other: object) -> bool:
            return other is cls or other is shipped

        def __hash__(cls) -> int:
            return hash(shipped)

        def __getitem__(cls, item: Any) -> Any:
            return shipped[item]

        def __or__(cls, other: Any) -> Any:
            return shipped | other

    stand_in = Meta(getattr(shipped, "__name__", str(shipped)), (), {})
    _SHIPPED[id(stand_in)] = (stand_in, shipped)
    return stand_in


# The class that a trace uses in place of a class.
_LIKE: Final[dict[Any, Any]] = {list: TracedArray, int: torch.SymInt}
# Stand-ins for types, by their id, with what they stand for.
_SHIPPED: Final[dict[int, tuple[Any, Any]]] = {}


def shipped_types(value: Any) -> Any:
    """An argument with the types that stand-ins stand for in their stead: `dtype=int`, `.type(torch.LongTensor)`."""
    if isinstance(value, type) and id(value) in _SHIPPED:
        return _SHIPPED[id(value)][1]
    if type(value) in (list, tuple):
        return type(value)(shipped_types(item) for item in value)
    return value


def filled(dtype: torch.dtype, args: tuple[Any, ...]) -> Any:
    """`torch.FloatTensor(...)` and `x.new(...)` with sizes, numbers or a tensor. With sizes it is zeros, since the
    numbers in new memory mean nothing."""
    args = unwrapped(args)
    if len(args) == 1 and isinstance(args[0], Tensor) and (args[0].dim() or not scripting()):
        return args[0].to(dtype)
    if len(args) == 1 and isinstance(args[0], np.ndarray):
        return torch.from_numpy(args[0]).to(dtype)
    if len(args) == 1 and isinstance(args[0], list | tuple) and not isinstance(args[0], torch.Size):
        return torch.tensor(list(args[0]), dtype=dtype)
    sizes = args[0] if len(args) == 1 and isinstance(args[0], torch.Size) else args
    return torch.zeros([number_of(n) for n in sizes or (0,)], dtype=dtype)


def _type(*args: Any, **kwargs: Any) -> Any:
    """`type(n)`, of what a file takes for an int, a list or a tensor, as that file names it."""
    if len(args) != 1 or kwargs:
        return type(*args, **kwargs)
    kind = type(args[0])
    if issubclass(kind, TRACED_TENSORS):
        return _LEGACY["Tensor"]
    named = next((shipped for shipped, like in _LIKE.items() if kind is like or kind is shipped), None)
    return kind if named is None else _BUILTINS[named.__name__]


def _legacy(name: str, shipped: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        return filled(_DTYPES[name], args) if current() is not None and not kwargs else shipped(*args, **kwargs)

    return _class_like(shipped, call)


def _variable(*args: Any, **kwargs: Any) -> Any:
    if current() is not None and args:
        data = unwrapped(args[0])
        return data.detach() if isinstance(data, Tensor) else data
    return torch.autograd.Variable(*args, **kwargs)


def _from_numpy(array: Any) -> Any:
    return array.tensor if isinstance(array, TracedArray) else torch.from_numpy(array)


def _array_function(name: str) -> Callable[..., Any]:
    shipped = getattr(np, name)

    @functools.wraps(shipped)
    def stand_in(value: Any, *args: Any, **kwargs: Any) -> Any:
        if current() is not None and isinstance(value, Tensor | TracedArray):
            array = TracedArray(unwrapped(value))
            if name in {"array", "asarray", "ascontiguousarray"}:
                kind = kwargs.get("dtype", args[0] if args else None)
                return array if kind is None else array.astype(kind)
            return getattr(array, name)(*args, **kwargs)
        return shipped(value, *args, **kwargs)

    return stand_in


def _arange(*args: Any, **kwargs: Any) -> Any:
    """`np.arange(len(x))`."""
    if current() is not None and any(isinstance(n, torch.SymInt | Tensor) for n in unwrapped(args)) and not kwargs:
        return TracedArray(torch.arange(*map(number_of, unwrapped(args))))
    return np.arange(*args, **kwargs)


def _default_tensor_type(kind: Any) -> None:
    """`torch.set_default_tensor_type(torch.FloatTensor)` in forward: torch takes no stand-in for the type."""
    torch.set_default_tensor_type(shipped_types(kind))


class _Stand(ModuleType):
    """A module of Python with some of its names changed."""

    def __init__(self, shipped: ModuleType, names: dict[str, Any]) -> None:
        super().__init__(shipped.__name__)
        self.__dict__.update(names)
        self.__dict__["_shipped"] = shipped

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_shipped"], name)


_LEGACY: Final = {name: _legacy(name, getattr(torch, name)) for name in _DTYPES}
_CUDA: Final = _Stand(torch.cuda, {name: _LEGACY[name] for name in _DTYPES if name != "Tensor"})
_VARIABLE: Final = _class_like(torch.autograd.Variable, _variable)
_AUTOGRAD: Final = _Stand(torch.autograd, {"Variable": _VARIABLE})
_TORCH: Final = _Stand(
    torch,
    {
        **_LEGACY,
        "cuda": _CUDA,
        "autograd": _AUTOGRAD,
        "from_numpy": _from_numpy,
        "set_default_tensor_type": _default_tensor_type,
    },
)
_ARRAYS: Final = ("array", "asarray", "ascontiguousarray", "argsort", "sort", "max", "min", "amax", "flip", "sum")
_NUMPY: Final = _Stand(
    np, {"arange": _arange, **math_of_sizes.NUMPY, **{name: _array_function(name) for name in _ARRAYS}}
)
_MATH: Final = _Stand(math, math_of_sizes.MATH)
_BUILTINS: Final[dict[str, Any]] = {
    "len": _len,
    "int": _class_like(int, _int),
    "float": _class_like(float, math_of_sizes.BUILTINS["float"]),
    "isinstance": _isinstance,
    "divmod": math_of_sizes.BUILTINS["divmod"],
    "list": _class_like(list, _list),
    "type": _class_like(type, _type),
    "range": _range,
    "max": _of_one(math_of_sizes.BUILTINS["max"], "max"),
    "min": _of_one(math_of_sizes.BUILTINS["min"], "min"),
    "sum": _of_one(builtins.sum, "sum"),
    "all": _of_one(builtins.all, "all"),
    "any": _of_one(builtins.any, "any"),
    "sorted": _sorted,
    "print": _print,
}
_BY_OBJECT: Final[dict[int, tuple[Any, Any]]] = {
    id(shipped): (shipped, stand_in)
    for shipped, stand_in in (
        (torch, _TORCH),
        (torch.cuda, _CUDA),
        (torch.autograd, _AUTOGRAD),
        (torch.autograd.Variable, _VARIABLE),
        (torch.from_numpy, _from_numpy),
        (torch.set_default_tensor_type, _default_tensor_type),
        (np, _NUMPY),
        (math, _MATH),
        *((getattr(math, name), stand_in) for name, stand_in in math_of_sizes.MATH.items()),
        *((getattr(torch, name), stand_in) for name, stand_in in _LEGACY.items()),
        *HIDDEN,
    )
}
