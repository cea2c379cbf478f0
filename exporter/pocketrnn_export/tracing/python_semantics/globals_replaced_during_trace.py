"""Replace names of Python, numpy and PyTorch in the files of a module's user code during a trace.

For Python, `len(x)` must be an int, and so must be the results of `int(...)` and `range(...)`;
`torch.FloatTensor(n, 5)` reads numbers from its arguments. Tensors and sizes cannot override these. So only the globals
of the user's files are replaced for the time of a trace: PyTorch, this package and the modules of other threads keep
theirs.
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

from pocketrnn_export.module_runs.temporary_dict_values import replace_dict_values
from pocketrnn_export.torch_internals import TRACED_TENSORS, replace_methods, sym_int, unwrap_scripted_function
from pocketrnn_export.tracing.python_semantics import size_arithmetic
from pocketrnn_export.tracing.python_semantics.loops_cut_to_few_iterations import (
    Slices,
    find_stacked_loop,
    make_range_stand_in,
)
from pocketrnn_export.tracing.python_semantics.size_keyed_caches import unwrap_cached_function
from pocketrnn_export.tracing.python_semantics.sizes_as_plain_numbers import PLAIN
from pocketrnn_export.tracing.python_semantics.trace_hidden_from_user_code import HIDDEN
from pocketrnn_export.tracing.python_semantics.traced_arrays import (
    TracedArray,
    replace_largest_length_by_width,
    unwrap_arrays,
)
from pocketrnn_export.tracing.python_semantics.user_files_and_globals import find_users_globals
from pocketrnn_export.tracing.sizes.printed_sizes import may_user_code_read_printed_output
from pocketrnn_export.tracing.trace_session import TraceSession, find_current_session, is_torchscript_trace

# A question about a size from this file counts as its caller's: see `intake/user_code_lines_for_messages.py`.
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
def replace_globals_of_user_files(session: TraceSession) -> Iterator[None]:
    """While the block runs, replace builtins, old types of torch and other names in the user's files, such as `len` and
    `torch.FloatTensor`, by stand-ins that a trace can follow."""
    changed = [
        (names, name, value)
        for names in find_users_globals(session.module)
        for name, value in _make_stand_ins_for_globals(names).items()
    ]
    shipped_get = functools.singledispatchmethod.__get__
    dispatching = {(functools.singledispatchmethod, "__get__"): _make_dispatch_method_stand_in(shipped_get)}
    with replace_dict_values(changed), replace_methods(dispatching):
        yield


def _make_stand_ins_for_globals(globals_of_file: dict[str, Any]) -> dict[str, Any]:
    """Return the stand-ins for the globals of one user file, by name. Globals without a stand-in are left out."""
    new = {name: value for name, value in _BUILTINS.items() if name not in globals_of_file}
    for name, value in globals_of_file.items():
        stand_in = _BY_OBJECT.get(id(value))
        if stand_in is not None and stand_in[0] is value:
            new[name] = stand_in[1]
        elif (function := unwrap_cached_function(value) or unwrap_scripted_function(value)) is not None:
            new[name] = function
        elif isinstance(value, FunctionType) and callable(dispatch := getattr(value, "dispatch", None)):
            new[name] = _make_dispatch_stand_in(value, dispatch)
    return new


def _compute_len_in_trace(value: Any) -> Any:
    """Return `len(value)` in a trace, where it may be a symbolic size: that of a tensor, or the number of iterations of
    the loop that filled a list. Python's `len` can only return an int."""
    value = unwrap_arrays(value)
    if isinstance(value, Slices):
        return value.x.shape[value.axis]
    session = find_current_session()
    if session is not None and isinstance(value, Tensor) and value.dim():
        return value.shape[0]
    loop = None if session is None else _find_finished_loop_that_filled_list(session, value)
    return len(value) if session is None or loop is None else session.loops[loop].count


def _find_finished_loop_that_filled_list(session: TraceSession, values: Any) -> int | None:
    """Return the index of the loop whose iterations each appended one result to a list. Return None if there is none,
    or if the loop still runs."""
    found = find_stacked_loop(session, values)
    return None if found is None or found.number in {number for number, _ in session.running} else found.number


def _compute_sum_in_trace(*args: Any, **kwargs: Any) -> Any:
    """Return `sum(...)` in a trace. For a list that a loop filled, the sum contains the results of all iterations, and
    not only of the few that the trace runs."""
    session = find_current_session()
    if session is not None and args and _find_finished_loop_that_filled_list(session, args[0]) is not None:
        total = torch.stack(args[0]).sum(0)
        more = [*args[1:], *kwargs.values()]
        return total + more[0] if more else total
    return _SUM(*args, **kwargs)


def _convert_to_int_in_trace(*args: Any) -> Any:
    """Return `int(...)` in a trace, where a symbolic size stays symbolic, and the largest length becomes the padded
    width."""
    if find_current_session() is not None and len(args) == 1:
        value = unwrap_arrays(args[0])
        if isinstance(value, torch.SymInt):
            return value
        if isinstance(value, torch.SymFloat):
            return sym_int(value)
        if isinstance(value, Tensor) and value.numel() == 1 and not value.is_floating_point():
            return replace_largest_length_by_width(value)
    return int(*args)


def _convert_to_list_in_trace(*args: Any) -> Any:
    """Return `list(...)` in a trace. A tensor or array of lengths becomes a `TracedArray`, a stand-in that holds the
    tensor."""
    if find_current_session() is not None and len(args) == 1:
        if isinstance(args[0], TracedArray):
            return args[0]
        if _has_one_integer_per_row(args[0]):
            return TracedArray(args[0])
    return list(*args)


def _has_one_integer_per_row(value: Any) -> bool:
    """Return whether a value is a tensor of integers [n], where n is a symbolic size, as lengths are."""
    return (
        isinstance(value, Tensor)
        and value.dim() == 1
        and not value.is_floating_point()
        and not isinstance(value.shape[0], int)
    )


def _make_reduction_stand_in(shipped: Callable[..., Any], method_name: str) -> Callable[..., Any]:
    """Return a stand-in for a function such as `max` or `all` that, for a tensor or array with one axis, calls a method
    of the tensor.

    Args:
        shipped: the function, which is called for other values.
        method_name: the name of the tensor's method.
    """

    @functools.wraps(shipped)
    def reduce_values(*args: Any, **kwargs: Any) -> Any:
        if find_current_session() is not None and len(args) == 1 and not kwargs:
            value = unwrap_arrays(args[0])
            if isinstance(value, Tensor) and value.dim() == 1 and not isinstance(value.shape[0], int):
                return replace_largest_length_by_width(getattr(value, method_name)())
        return shipped(*args, **kwargs)

    return reduce_values


_SUM: Final = _make_reduction_stand_in(builtins.sum, "sum")


def _sort_in_trace(values: Any, **kwargs: Any) -> Any:
    """Return `sorted(...)` in a trace, where lengths are sorted as a tensor."""
    array = unwrap_arrays(values)
    if find_current_session() is not None and _has_one_integer_per_row(array) and kwargs.get("key") is None:
        return TracedArray(array.sort(descending=bool(kwargs.get("reverse")))[0])
    return sorted(values, **kwargs)


class _RangeInTrace(TracedArray):
    """A stand-in for a `range` whose end is a tensor. As an index it is a tensor; a loop over it runs as usual."""

    def __init__(self, *ends: Any) -> None:
        super().__init__(torch.arange(*ends))
        self.ends = ends

    def __iter__(self) -> Iterator[int]:
        return iter(range(*self.ends))


def _make_range_in_trace(*args: Any) -> Any:
    """Return `range(...)` in a trace. If an argument is a symbolic size or a tensor, the range has symbolic
    positions."""
    numbers = [replace_largest_length_by_width(unwrap_arrays(n)) for n in args]
    if find_current_session() is None or not any(isinstance(n, torch.SymInt | Tensor) for n in numbers):
        return range(*args)
    return (
        make_range_stand_in(*numbers) if any(isinstance(n, torch.SymInt) for n in numbers) else _RangeInTrace(*numbers)
    )


def _test_isinstance_in_trace(value: Any, kinds: Any) -> bool:
    """Return `isinstance(value, kinds)` in a trace, where a symbolic size counts as an int, a float or a bool."""
    if find_current_session() is not None and type(value) in PLAIN:
        return isinstance(value, kinds) or isinstance(PLAIN[type(value)](), kinds)
    return isinstance(value, kinds)


def _make_dispatch_stand_in(
    shipped: Callable[..., Any], find_function_of_class: Callable[[type], Callable[..., Any]]
) -> Callable[..., Any]:
    """Return a stand-in for a `functools.singledispatch` function that treats a symbolic size as an int, a float or a
    bool.

    Args:
        shipped: the function.
        find_function_of_class: a function that returns the implementation for a class.
    """

    @functools.wraps(shipped)
    def dispatch_call(*args: Any, **kwargs: Any) -> Any:
        if find_current_session() is not None and args and type(args[0]) in PLAIN:
            return find_function_of_class(PLAIN[type(args[0])])(*args, **kwargs)
        return shipped(*args, **kwargs)

    return dispatch_call


def _make_dispatch_method_stand_in(shipped: Callable[..., Any]) -> Callable[..., Any]:
    """Return a stand-in for `functools.singledispatchmethod.__get__`, which is `shipped`. Its methods treat a symbolic
    size as an int, a float or a bool."""

    def dispatch_method(self: Any, instance: Any, kind: Any = None) -> Callable[..., Any]:
        method = shipped(self, instance, kind)
        return _make_dispatch_stand_in(method, lambda plain: self.dispatcher.dispatch(plain).__get__(instance, kind))

    return dispatch_method


@functools.wraps(print)
def _print_in_trace(*args: Any, **kwargs: Any) -> None:
    """Print nothing in a trace, unless forward writes to a file of its own or may read the output."""
    if may_user_code_read_printed_output() or kwargs.get("file") not in (None, sys.stdout, sys.stderr):
        builtins.print(*args, **kwargs)  # noqa: T201 - it is forward that prints


def _make_class_stand_in(shipped: Any, call: Callable[..., Any]) -> Any:
    """Return a stand-in for a class such as `int`: a call of it runs `call`, and `isinstance` and `issubclass` test for
    the class, `shipped`."""

    class Meta(type):
        # `case int(n)` binds this attribute of the matched object.
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


def replace_stand_ins_for_types(value: Any) -> Any:
    """Return an argument in which stand-ins for types are replaced by the types, as for `dtype=int` or
    `.type(torch.LongTensor)` in user code."""
    if isinstance(value, type) and id(value) in _SHIPPED:
        return _SHIPPED[id(value)][1]
    if type(value) in (list, tuple):
        return type(value)(replace_stand_ins_for_types(item) for item in value)
    return value


def make_tensor_of_sizes_or_numbers(dtype: torch.dtype, args: tuple[Any, ...]) -> Any:
    """Return what `torch.FloatTensor(...)` or `x.new(...)` returns: zeros of the given sizes, or a tensor of the given
    numbers. `args` may contain symbolic sizes."""
    args = unwrap_arrays(args)
    if len(args) == 1 and isinstance(args[0], Tensor) and (args[0].dim() or not is_torchscript_trace()):
        return args[0].to(dtype)
    if len(args) == 1 and isinstance(args[0], np.ndarray):
        return torch.from_numpy(args[0]).to(dtype)
    if len(args) == 1 and isinstance(args[0], list | tuple) and not isinstance(args[0], torch.Size):
        return torch.tensor(list(args[0]), dtype=dtype)
    sizes = args[0] if len(args) == 1 and isinstance(args[0], torch.Size) else args
    return torch.zeros([replace_largest_length_by_width(n) for n in sizes or (0,)], dtype=dtype)


def _find_type_in_trace(*args: Any, **kwargs: Any) -> Any:
    """Return `type(...)` in a trace. For a tensor or a value with a stand-in class, return the class that the user's
    file knows, such as its `int` for a symbolic size."""
    if len(args) != 1 or kwargs:
        return type(*args, **kwargs)
    kind = type(args[0])
    if issubclass(kind, TRACED_TENSORS):
        return _LEGACY["Tensor"]
    named = next((shipped for shipped, like in _LIKE.items() if kind is like or kind is shipped), None)
    return kind if named is None else _BUILTINS[named.__name__]


def _make_stand_in_for_old_tensor_type(name: str, shipped: Any) -> Any:
    """Return a stand-in for an old tensor type, such as `torch.FloatTensor`, which also takes symbolic sizes.

    Args:
        name: the type's name, a key of `_DTYPES`.
        shipped: torch's type.
    """

    def make_tensor(*args: Any, **kwargs: Any) -> Any:
        return (
            make_tensor_of_sizes_or_numbers(_DTYPES[name], args)
            if find_current_session() is not None and not kwargs
            else shipped(*args, **kwargs)
        )

    return _make_class_stand_in(shipped, make_tensor)


def _make_variable_in_trace(*args: Any, **kwargs: Any) -> Any:
    """Return the tensor itself, detached, in place of `torch.autograd.Variable(tensor)` in a trace."""
    if find_current_session() is not None and args:
        data = unwrap_arrays(args[0])
        return data.detach() if isinstance(data, Tensor) else data
    return torch.autograd.Variable(*args, **kwargs)


def _make_tensor_from_array_in_trace(array: Any) -> Any:
    """Return `torch.from_numpy(array)`, or the tensor of a `TracedArray`."""
    return array.tensor if isinstance(array, TracedArray) else torch.from_numpy(array)


def _make_numpy_stand_in(name: str) -> Callable[..., Any]:
    """Return a stand-in for the function of numpy with this name that, in a trace, also takes tensors."""
    shipped = getattr(np, name)

    @functools.wraps(shipped)
    def call_array_function(value: Any, *args: Any, **kwargs: Any) -> Any:
        if find_current_session() is not None and isinstance(value, Tensor | TracedArray):
            array = TracedArray(unwrap_arrays(value))
            if name in {"array", "asarray", "ascontiguousarray"}:
                kind = kwargs.get("dtype", args[0] if args else None)
                return array if kind is None else array.astype(kind)
            return getattr(array, name)(*args, **kwargs)
        return shipped(value, *args, **kwargs)

    return call_array_function


def _make_numpy_arange_in_trace(*args: Any, **kwargs: Any) -> Any:
    """Return `np.arange(...)` in a trace, where its numbers may be symbolic sizes, as in `np.arange(len(x))`."""
    if (
        find_current_session() is not None
        and any(isinstance(n, torch.SymInt | Tensor) for n in unwrap_arrays(args))
        and not kwargs
    ):
        return TracedArray(torch.arange(*map(replace_largest_length_by_width, unwrap_arrays(args))))
    return np.arange(*args, **kwargs)


def _set_default_tensor_type(kind: Any) -> None:
    """Call `torch.set_default_tensor_type` with the type itself, since torch does not accept the stand-in for a
    type."""
    torch.set_default_tensor_type(replace_stand_ins_for_types(kind))


class _StandInModule(ModuleType):
    """A stand-in for a Python module in which some names are replaced.

    Args:
        shipped: the Python module.
        names: the replaced names, with their new values.
    """

    def __init__(self, shipped: ModuleType, names: dict[str, Any]) -> None:
        super().__init__(shipped.__name__)
        self.__dict__.update(names)
        self.__dict__["_shipped"] = shipped

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_shipped"], name)


_LEGACY: Final = {name: _make_stand_in_for_old_tensor_type(name, getattr(torch, name)) for name in _DTYPES}
_CUDA: Final = _StandInModule(torch.cuda, {name: _LEGACY[name] for name in _DTYPES if name != "Tensor"})
_VARIABLE: Final = _make_class_stand_in(torch.autograd.Variable, _make_variable_in_trace)
_AUTOGRAD: Final = _StandInModule(torch.autograd, {"Variable": _VARIABLE})
_TORCH: Final = _StandInModule(
    torch,
    {
        **_LEGACY,
        "cuda": _CUDA,
        "autograd": _AUTOGRAD,
        "from_numpy": _make_tensor_from_array_in_trace,
        "set_default_tensor_type": _set_default_tensor_type,
    },
)
_ARRAYS: Final = ("array", "asarray", "ascontiguousarray", "argsort", "sort", "max", "min", "amax", "flip", "sum")
_NUMPY: Final = _StandInModule(
    np,
    {
        "arange": _make_numpy_arange_in_trace,
        **size_arithmetic.NUMPY,
        **{name: _make_numpy_stand_in(name) for name in _ARRAYS},
    },
)
_MATH: Final = _StandInModule(math, size_arithmetic.MATH)
_BUILTINS: Final[dict[str, Any]] = {
    "len": _compute_len_in_trace,
    "int": _make_class_stand_in(int, _convert_to_int_in_trace),
    "float": _make_class_stand_in(float, size_arithmetic.BUILTINS["float"]),
    "isinstance": _test_isinstance_in_trace,
    "divmod": size_arithmetic.BUILTINS["divmod"],
    "list": _make_class_stand_in(list, _convert_to_list_in_trace),
    "type": _make_class_stand_in(type, _find_type_in_trace),
    "range": _make_range_in_trace,
    "max": _make_reduction_stand_in(size_arithmetic.BUILTINS["max"], "max"),
    "min": _make_reduction_stand_in(size_arithmetic.BUILTINS["min"], "min"),
    "sum": _compute_sum_in_trace,
    "all": _make_reduction_stand_in(builtins.all, "all"),
    "any": _make_reduction_stand_in(builtins.any, "any"),
    "sorted": _sort_in_trace,
    "print": _print_in_trace,
}
_BY_OBJECT: Final[dict[int, tuple[Any, Any]]] = {
    id(shipped): (shipped, stand_in)
    for shipped, stand_in in (
        (torch, _TORCH),
        (torch.cuda, _CUDA),
        (torch.autograd, _AUTOGRAD),
        (torch.autograd.Variable, _VARIABLE),
        (torch.from_numpy, _make_tensor_from_array_in_trace),
        (torch.set_default_tensor_type, _set_default_tensor_type),
        (np, _NUMPY),
        (math, _MATH),
        *((getattr(math, name), stand_in) for name, stand_in in size_arithmetic.MATH.items()),
        *((getattr(torch, name), stand_in) for name, stand_in in _LEGACY.items()),
        *HIDDEN,
    )
}
