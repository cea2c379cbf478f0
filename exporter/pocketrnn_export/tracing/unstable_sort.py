"""Whether a module's answers depend on the order that a sort gives to equal values, which PyTorch leaves undefined."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_export.torch_internals import FunctionMode
from pocketrnn_export.tracing.session import Call

__all__ = ["ORDERS", "in_the_other_order", "orders_in", "ties_the_other_way"]

# The operators whose indices are undefined among equal values; with the position of their axis among the arguments.
ORDERS: Final = {"sort": 1, "argsort": 1, "topk": 2}


def orders_in(program: torch.export.ExportedProgram) -> list[str]:
    """The names of the operators in a traced program that put values in order."""
    names = {str(node.target).removeprefix("aten.").split(".")[0] for node in program.graph.nodes}
    return sorted(names & {*ORDERS, "kthvalue", "median", "mode"})


def ties_the_other_way(run: Callable[[tuple[Tensor, ...]], Any], inputs: tuple[Tensor, ...]) -> Any:
    """Run something that sorts, with equal values in the opposite order."""
    with _Reversed():
        return run(inputs)


class _Reversed(FunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call = Call(func, args, kwargs or {}).input_first
        return in_the_other_order(func, call.name, call.args, call.kwargs)


def in_the_other_order(func: Callable[..., Any], name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The result of a function of such a name, with equal values in the opposite order where it puts values in order.

    Example:
        >>> in_the_other_order(torch.sort, "sort", (torch.tensor([2, 2, 1]),), {}).indices
        tensor([2, 1, 0])
    """
    if name not in ORDERS or not isinstance(args[0], Tensor) or kwargs.get("stable"):
        return func(*args, **kwargs)
    position = ORDERS[name]
    axis = kwargs.get("dim", args[position] if len(args) > position else -1)
    if isinstance(axis, bool):
        return func(*args, **kwargs)
    result = func(args[0].flip(axis), *args[1:], **kwargs)
    last = args[0].shape[axis] - 1
    if isinstance(result, Tensor):
        return last - result
    values, places = result
    return type(result)((values, last - places)) if type(result) is not tuple else (values, last - places)
