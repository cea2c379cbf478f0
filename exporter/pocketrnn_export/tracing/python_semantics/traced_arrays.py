"""Stand-ins for lengths that forward uses as numpy arrays, lists or numbers. Each stand-in contains a tensor of the
trace.

`lengths.cpu().numpy()`, `lengths.tolist()` and `lengths.max().item()` take values out of a graph, which would freeze
those of the example. In a trace, the first two give a `TracedArray`, which holds a tensor. The third is known without
the values: a graph is run with a width that equals the longest of the lengths, so the number is the width; see
`pocketrnn_export.tracing.trace_session`.
"""

from __future__ import annotations

import contextlib
import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.user_code_lines_for_messages import describe_user_line, is_user_frame
from pocketrnn_export.torch_internals import HASH_OF_TENSOR, TRACED_TENSORS, read_tensor_values, replace_methods
from pocketrnn_export.tracing.sizes.size_question_log import UntraceableError
from pocketrnn_export.tracing.trace_session import find_current_session, is_torchscript_trace


class TracedArray:
    """A stand-in for a numpy array or a list of numbers in user code. It holds a tensor of the trace."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        return func(*unwrap_arrays(args), **unwrap_arrays(kwargs or {}))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        del types
        method = getattr(self, func.__name__, None)
        if method is None or args[0] is not self:
            raise _make_error_for_values_given_away(f"np.{func.__name__}")
        return method(*args[1:], **kwargs)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **_: Any) -> Any:
        function = _UFUNCS.get(ufunc.__name__)
        if function is None or method != "__call__":
            raise _make_error_for_values_given_away(f"np.{ufunc.__name__}")
        return TracedArray(function(*unwrap_arrays(inputs)))

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise _make_error_for_values_given_away("numpy")

    @property
    def shape(self) -> Any:
        """The tensor's shape, with symbolic sizes."""
        return self.tensor.shape

    @property
    def size(self) -> Any:
        """The number of elements."""
        return self.tensor.numel()

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.tensor.dim()

    @property
    def dtype(self) -> Any:
        """The tensor's dtype, as a torch.dtype."""
        return self.tensor.dtype

    def __getitem__(self, index: Any) -> Any:
        backwards = isinstance(index, slice) and index.step == -1 and (index.start, index.stop) == (None, None)
        taken = self.tensor.flip(0) if backwards else self.tensor[unwrap_arrays(index)]
        return TracedArray(taken) if taken.dim() else replace_largest_length_by_width(taken)

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self.tensor.shape[0], int):
            return iter(
                [
                    replace_largest_length_by_width(one) if not one.dim() else TracedArray(one)
                    for one in self.tensor.unbind(0)
                ]
            )
        if is_torchscript_trace():
            return iter(read_tensor_values(self.tensor))
        raise _make_error_for_values_given_away("a loop in Python")

    def amax(self, axis: Any = None, **_: Any) -> Any:
        """Return the largest number or, with `axis`, the largest numbers along the axis."""
        return (
            replace_largest_length_by_width(self.tensor.max()) if axis is None else TracedArray(self.tensor.amax(axis))
        )

    max = amax

    def amin(self, axis: Any = None, **_: Any) -> Any:
        """Return the smallest number or, with `axis`, the smallest numbers along the axis."""
        return (
            replace_largest_length_by_width(self.tensor.min()) if axis is None else TracedArray(self.tensor.amin(axis))
        )

    min = amin

    def sum(self, axis: Any = None, **_: Any) -> Any:
        """Return the sum of all numbers or, with `axis`, the sums along the axis."""
        return self.tensor.sum() if axis is None else TracedArray(self.tensor.sum(axis))

    def argsort(self, axis: int = -1, kind: Any = None, order: Any = None, **_: Any) -> TracedArray:
        """Return the indices that sort the numbers."""
        del kind, order
        return TracedArray(self.tensor.argsort(axis))

    def sort(self, axis: int = -1, kind: Any = None, order: Any = None, **_: Any) -> TracedArray:
        """Return the sorted numbers as a new array, as `np.sort` does."""
        del kind, order
        return TracedArray(self.tensor.sort(axis)[0])

    def flip(self, axis: Any = None) -> TracedArray:
        """Return the numbers in reverse order along an axis, by default the first."""
        return TracedArray(self.tensor.flip(0 if axis is None else axis))

    def flipud(self) -> TracedArray:
        """Return the numbers in reverse order along the first axis."""
        return self.flip(0)

    def reshape(self, *shape: Any, **_: Any) -> TracedArray:
        """Return the same numbers in another shape."""
        return TracedArray(self.tensor.reshape(*shape))

    def astype(self, kind: Any, **_: Any) -> TracedArray:
        """Return the numbers as floats or integers, in the default type of torch for the kind of `kind`."""
        name = getattr(kind, "__name__", str(kind))
        return TracedArray(self.tensor.float() if "float" in name else self.tensor.long())

    def copy(self, *_: Any, **__: Any) -> TracedArray:
        """Return an array with the same numbers."""
        return TracedArray(self.tensor)

    ascontiguousarray = copy

    def tolist(self) -> TracedArray:
        """Return this array: in a trace it also stands for a list."""
        return self

    def item(self) -> Any:
        """Return the only number of the array."""
        return replace_largest_length_by_width(self.tensor)


def _make_operator_method(function: Callable[..., Any], *, reflected: bool = False) -> Callable[..., Any]:
    """Return the method of `TracedArray` for an operator of Python.

    Args:
        function: the operator, such as `operator.add`.
        reflected: whether the operands are swapped, as in `__radd__`.
    """

    def apply_operation(self: TracedArray, *others: Any) -> TracedArray:
        values = [self.tensor, *unwrap_arrays(others)]
        return TracedArray(function(*reversed(values)) if reflected else function(*values))

    return apply_operation


for _name in ("neg", "add", "sub", "mul", "truediv", "floordiv", "mod", "lt", "le", "gt", "ge", "eq", "ne"):
    setattr(TracedArray, f"__{_name}__", _make_operator_method(getattr(operator, _name)))
    if _name in {"add", "sub", "mul", "truediv", "floordiv"}:
        setattr(TracedArray, f"__r{_name}__", _make_operator_method(getattr(operator, _name), reflected=True))

_UFUNCS: Final[dict[str, Callable[..., Any]]] = {
    "negative": torch.neg,
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "maximum": lambda a, b: torch.maximum(torch.as_tensor(a), torch.as_tensor(b)),
    "minimum": lambda a, b: torch.minimum(torch.as_tensor(a), torch.as_tensor(b)),
    "less": operator.lt,
    "greater": operator.gt,
    "equal": operator.eq,
}


def unwrap_arrays(value: Any) -> Any:
    """Return an argument in which each `TracedArray` is replaced by its tensor, also in lists, tuples and dicts."""
    if isinstance(value, TracedArray):
        return value.tensor
    if type(value) in (list, tuple):
        return type(value)(unwrap_arrays(item) for item in value)
    if type(value) is dict:
        return {name: unwrap_arrays(item) for name, item in value.items()}
    return value


def replace_largest_length_by_width(value: Any) -> Any:
    """Return the padded width of the batch, a symbolic size, for a tensor that is known to equal it, such as
    `lengths.max()`. Return other values unchanged."""
    session = find_current_session()
    fact = None if session is None else session.facts.find_fact(value)
    return value if fact is None or fact.width is None or fact.lengths != "longest" else fact.width


def refuse_traced_numbers_as_dict_keys(_: object) -> contextlib.AbstractContextManager[None]:
    """While the block runs, raise an UntraceableError if user code looks up a number of the trace in a dict or a set,
    as in `d[x[0, 0].item()]`. In a trace this number is a tensor, which the dict does not contain."""

    def refuse_hash(value: Tensor) -> int:
        frame = sys._getframe(1)
        if (
            isinstance(value, TRACED_TENSORS)
            and not value.dim()
            and is_user_frame(frame)
            and not is_torchscript_trace()
        ):
            raise UntraceableError(
                f"The module uses a value of its input as a key of a dict or a set, {describe_user_line(frame)}, so "
                "the exported graph would use the entry of one text for all texts.",
                "Make the dict or set a tensor with one number for each token id, and read it with table[tokens] or an "
                "nn.Embedding.",
            )
        return HASH_OF_TENSOR(value)

    return replace_methods({(Tensor, "__hash__"): refuse_hash})


def _make_error_for_values_given_away(receiver: str) -> ExportError:
    """Return the error for user code that passes values of a tensor to numpy or to a loop in Python. `receiver` names
    the function or the loop."""
    return UntraceableError(
        f"The module passes values of its input to {receiver}, {describe_user_line(sys._getframe(1))}, so the exported "
        "graph would use the values of one text for all texts.",
        "Compute with tensors. Lengths and masks can be tensors in pack_padded_sequence, torch.where and indexing, as "
        "in out[torch.arange(len(lengths)), lengths - 1].",
    )
