"""Lengths as numpy arrays, lists and numbers, while a module is traced: tensors still, in another shape.

`lengths.cpu().numpy()`, `lengths.tolist()` and `lengths.max().item()` take values out of a graph, which would freeze
those of the example. While tracing, the first two give a `TracedArray`, which stays a tensor inside. The third is known
without a look at the values: a graph is run with a width that is the longest of the lengths, so that the number is the
width: see `pocketrnn_export.tracing.facts`.
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
from pocketrnn_export.intake.user_frames import is_users, users_line
from pocketrnn_export.torch_internals import HASH_OF_TENSOR, TRACED_TENSORS, methods_replaced, values_of
from pocketrnn_export.tracing.session import current, scripting
from pocketrnn_export.tracing.sizes.questions import UntraceableError

__all__ = ["TracedArray", "hashes_of_numbers_refused", "number_of", "unwrapped"]


class TracedArray:
    """A tensor that the module takes for a numpy array or for a list of numbers."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        return func(*unwrapped(args), **unwrapped(kwargs or {}))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        del types
        method = getattr(self, func.__name__, None)
        if method is None or args[0] is not self:
            raise _frozen(f"np.{func.__name__}")
        return method(*args[1:], **kwargs)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **_: Any) -> Any:
        function = _UFUNCS.get(ufunc.__name__)
        if function is None or method != "__call__":
            raise _frozen(f"np.{ufunc.__name__}")
        return TracedArray(function(*unwrapped(inputs)))

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise _frozen("numpy")

    @property
    def shape(self) -> Any:
        """As a tensor has it, with sizes that stay unknown."""
        return self.tensor.shape

    @property
    def size(self) -> Any:
        """How many numbers there are."""
        return self.tensor.numel()

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return self.tensor.dim()

    @property
    def dtype(self) -> Any:
        """As a tensor has it: torch's."""
        return self.tensor.dtype

    def __getitem__(self, index: Any) -> Any:
        backwards = isinstance(index, slice) and index.step == -1 and (index.start, index.stop) == (None, None)
        taken = self.tensor.flip(0) if backwards else self.tensor[unwrapped(index)]
        return TracedArray(taken) if taken.dim() else number_of(taken)

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self.tensor.shape[0], int):
            return iter([number_of(one) if not one.dim() else TracedArray(one) for one in self.tensor.unbind(0)])
        if scripting():
            return iter(values_of(self.tensor))
        raise _frozen("a loop in Python")

    def amax(self, axis: Any = None, **_: Any) -> Any:
        """The largest number."""
        return number_of(self.tensor.max()) if axis is None else TracedArray(self.tensor.amax(axis))

    max = amax

    def amin(self, axis: Any = None, **_: Any) -> Any:
        """The smallest number."""
        return number_of(self.tensor.min()) if axis is None else TracedArray(self.tensor.amin(axis))

    min = amin

    def sum(self, axis: Any = None, **_: Any) -> Any:
        """The sum of all numbers."""
        return self.tensor.sum() if axis is None else TracedArray(self.tensor.sum(axis))

    def argsort(self, axis: int = -1, kind: Any = None, order: Any = None, **_: Any) -> TracedArray:
        """The order that sorts the numbers."""
        del kind, order
        return TracedArray(self.tensor.argsort(axis))

    def sort(self, axis: int = -1, kind: Any = None, order: Any = None, **_: Any) -> TracedArray:
        """The numbers, sorted: of `np.sort`, which gives new ones."""
        del kind, order
        return TracedArray(self.tensor.sort(axis)[0])

    def flip(self, axis: Any = None) -> TracedArray:
        """The numbers in the opposite order."""
        return TracedArray(self.tensor.flip(0 if axis is None else axis))

    def reshape(self, *shape: Any, **_: Any) -> TracedArray:
        """In another shape."""
        return TracedArray(self.tensor.reshape(*shape))

    def astype(self, kind: Any, **_: Any) -> TracedArray:
        """As floats or as whole numbers."""
        name = getattr(kind, "__name__", str(kind))
        return TracedArray(self.tensor.float() if "float" in name else self.tensor.long())

    def copy(self, *_: Any, **__: Any) -> TracedArray:
        """The same numbers."""
        return TracedArray(self.tensor)

    ascontiguousarray = copy

    def tolist(self) -> TracedArray:
        """The same numbers."""
        return self

    def item(self) -> Any:
        """The only number."""
        return number_of(self.tensor)


def _operation(function: Callable[..., Any], *, reflected: bool = False) -> Callable[..., Any]:
    def operation(self: TracedArray, *others: Any) -> TracedArray:
        values = [self.tensor, *unwrapped(others)]
        return TracedArray(function(*reversed(values)) if reflected else function(*values))

    return operation


for _name in ("neg", "add", "sub", "mul", "truediv", "floordiv", "mod", "lt", "le", "gt", "ge", "eq", "ne"):
    setattr(TracedArray, f"__{_name}__", _operation(getattr(operator, _name)))
    if _name in {"add", "sub", "mul", "truediv", "floordiv"}:
        setattr(TracedArray, f"__r{_name}__", _operation(getattr(operator, _name), reflected=True))

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


def unwrapped(value: Any) -> Any:
    """An argument with the tensors of `TracedArray`s in their stead."""
    if isinstance(value, TracedArray):
        return value.tensor
    if type(value) in (list, tuple):
        return type(value)(unwrapped(item) for item in value)
    if type(value) is dict:
        return {name: unwrapped(item) for name, item in value.items()}
    return value


def number_of(value: Any) -> Any:
    """`value.item()` of a tensor that holds one number: the width where it is that, else the tensor, which computes as
    a number does. Anything else as it is."""
    session = current()
    fact = None if session is None else session.facts.of(value)
    return value if fact is None or fact.width is None or fact.lengths != "longest" else fact.width


def hashes_of_numbers_refused(_: object) -> contextlib.AbstractContextManager[None]:
    """While the block runs, the user's code looks up no number of a trace in a table: `table[x[0, 0].item()]`.

    Where it runs, that is a number; in a trace it is a tensor, which no table holds.
    """

    def refusing(value: Tensor) -> int:
        frame = sys._getframe(1)
        if isinstance(value, TRACED_TENSORS) and not value.dim() and is_users(frame) and not scripting():
            raise UntraceableError(
                f"The module looks a value of its input up in a table, {users_line(frame)}, which a traced graph would "
                "freeze.",
                "Keep the table as a tensor of one number for each id, and take them by table[tokens], or by an "
                "nn.Embedding.",
            )
        return HASH_OF_TENSOR(value)

    return methods_replaced({(Tensor, "__hash__"): refusing})


def _frozen(what: str) -> ExportError:
    return UntraceableError(
        f"The module gives values of its input to {what}, {users_line(sys._getframe(1))}, which a traced graph would "
        "freeze.",
        "Compute with tensors: lengths and masks stay tensors in pack_padded_sequence, torch.where and indexing, such "
        "as out[torch.arange(len(lengths)), lengths - 1].",
    )
