"""Run a sort with equal values in reverse order, to find out whether answers change. PyTorch leaves the order of equal
values undefined."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_export.torch_internals import FunctionMode
from pocketrnn_export.tracing.trace_session import Call

# The operators whose order of equal values is undefined, with the position of their axis argument.
ORDERS: Final = {"sort": 1, "argsort": 1, "topk": 2}


def find_sort_operators(program: torch.export.ExportedProgram) -> list[str]:
    """Return the names of a program's operators that sort values, or that select them by their order or frequency.
    PyTorch leaves undefined which of several equal values these operators take first."""
    names = {str(node.target).removeprefix("aten.").split(".")[0] for node in program.graph.nodes}
    return sorted(names & {*ORDERS, "kthvalue", "median", "mode"})


def run_with_reversed_ties(run: Callable[[tuple[Tensor, ...]], Any], inputs: tuple[Tensor, ...]) -> Any:
    """Run a function on inputs, and return its result. Meanwhile, sorts return equal values in reverse order, so a
    result that differs from that of a usual run depends on this order."""
    with _ReversedTies():
        return run(inputs)


class _ReversedTies(FunctionMode):
    """A torch function mode in which `sort`, `argsort` and `topk` return equal values in reverse order."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call = Call(func, args, kwargs or {}).call_with_positional_input
        return call_with_reversed_ties(func, call.name, call.args, call.kwargs)


def call_with_reversed_ties(func: Callable[..., Any], name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return the result of a call of a torch function. If the function, by its name, is `sort`, `argsort` or `topk`,
    and the call is not stable, equal values are in reverse order."""
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
