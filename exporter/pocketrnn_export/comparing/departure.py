"""Where a graph departs from its module: the first operation of forward whose numbers the graph does not have.

The module runs in double precision, and every tensor that it makes is looked for among the graph's values: the same
numbers, in whatever shape and order. From the answer back, along what the graph has not, the first operation is found
of which the graph has all that it takes and not what it gives.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from pocketrnn_export.comparing.float64_graph import in_float64
from pocketrnn_export.comparing.float64_operators import OPERATORS
from pocketrnn_export.module_runs.cpu_run import answer_of, tensors_in
from pocketrnn_export.torch_internals import FunctionMode

__all__ = ["Place", "departure"]

# Finds the user's line that a frame was called from; empty where there is none.
Place = Callable[[FrameType | None], str]

_NEAR: Final = 1e-11
# Numbers in one tensor that is looked for, so that no search takes long.
_LARGEST: Final = 2_000_000


@dataclass(frozen=True)
class _Step:
    """One call of forward's: its name and line, what it took, and what it gave."""

    name: str
    line: str
    taken: tuple[Tensor, ...]
    given: tuple[Tensor, ...]


def departure(
    module: Callable[..., Any],
    content: bytes,
    inputs: Sequence[npt.NDArray[np.int64]],
    place: Place,
) -> str:
    """The operation at which a graph departs from its module, and its line; empty where it cannot be found.

    Args:
        module: that computes in double precision.
        content: the graph's ONNX file.
        inputs: a batch that the two answer differently: tokens, and lengths where the module takes them.
        place: shows the line of a frame.

    Example:
        >>> departure(module, content, [tokens], lambda frame: "model.py:12: `a / b`")  # doctest: +SKIP
        '`div` at model.py:12: `a / b`'
    """
    steps: list[_Step] = []
    try:
        with _Noted(steps, place):
            answer = answer_of(module, [torch.from_numpy(value) for value in inputs])
        values = _values(content, inputs)
    # Whatever a user's module raises while it is watched, and the evaluator: nothing is found then.
    except Exception:
        return ""
    makers = {id(tensor): step for step in steps for tensor in step.given}
    seen: set[int] = set()
    step = makers.get(id(answer))
    while step is not None and id(step) not in seen:
        seen.add(id(step))
        missing = [t for t in step.taken if id(t) in makers and id(makers[id(t)]) not in seen and not _has(values, t)]
        if not missing:
            return f"`{step.name}` at {step.line}" if step.line else ""
        step = makers[id(missing[0])]
    return ""


class _Noted(FunctionMode):
    def __init__(self, steps: list[_Step], place: Place) -> None:
        super().__init__()
        self.steps, self.place = steps, place

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").strip("_")
        if name not in {"get", "set"}:
            taken = tuple(tensors_in((args, tuple((kwargs or {}).values()))))
            self.steps.append(_Step(name, self.place(sys._getframe(1)), taken, tuple(tensors_in(result))))
        return result


def _values(content: bytes, inputs: Sequence[Any]) -> dict[int, list[npt.NDArray[np.float64]]]:
    """All numbers that a graph makes on a batch, each tensor flat and sorted, by how many there are."""
    model = in_float64(onnx.load_from_string(content))
    names = [value.name for value in model.graph.input]
    with np.errstate(all="ignore"):
        evaluator = ReferenceEvaluator(model, new_ops=list(OPERATORS))
        made = evaluator.run(None, dict(zip(names, inputs, strict=False)), intermediate=True)
    found: dict[int, list[npt.NDArray[np.float64]]] = defaultdict(list)
    for value in [*dict(made).values(), *map(onnx.numpy_helper.to_array, model.graph.initializer)]:
        if isinstance(value, np.ndarray) and value.size <= _LARGEST and value.dtype.kind in "fiub":
            found[value.size].append(np.sort(value.astype(np.float64), axis=None))
    return found


def _has(values: dict[int, list[npt.NDArray[np.float64]]], tensor: Tensor) -> bool:
    """Whether a graph has a tensor's numbers; one that is not looked for counts as had."""
    if tensor.layout != torch.strided or tensor.is_nested or tensor.numel() > _LARGEST or tensor.is_complex():
        return True
    wanted = np.sort(tensor.detach().double().numpy(), axis=None)
    return any(np.allclose(wanted, value, rtol=_NEAR, atol=_NEAR, equal_nan=True) for value in values[wanted.size])
