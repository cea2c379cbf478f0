"""The first operation of forward whose result the graph does not have.

The module runs in double precision, and every tensor that it makes is looked for among the graph's values: the same
numbers, in whatever shape and order. From the answer back, along what the graph has not, the first operation is found
of which the graph has all that it takes and not what it gives.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from pocketrnn_export.torch_internals import FunctionMode, writes_to

__all__ = ["Departure", "Place", "departure"]

# Finds the user's line that a frame was called from; empty where there is none.
Place = Callable[[FrameType | None], str]

_NEAR: Final = 1e-11
# Numbers in one tensor that is looked for, so that no search takes long.
_LARGEST: Final = 2_000_000
_OF_SIZES: Final = frozenset({"Shape", "Size"})


@dataclass(frozen=True)
class _Step:
    """One call of forward's: its name and line, what it took, and what it gave."""

    name: str
    line: str
    taken: tuple[Tensor, ...]
    given: tuple[Tensor, ...]


@dataclass(frozen=True)
class Departure:
    """Where a graph departs from its module.

    Attributes:
        operation: the function of torch, as forward calls it.
        line: the line of forward.
        node: the first node of the graph that takes what the operation takes and gives numbers that forward has not;
            empty where there is none.
    """

    operation: str
    line: str
    node: str = ""

    def __str__(self) -> str:
        return f"`{self.operation}` at {self.line}"

    @property
    def with_node(self) -> str:
        """The operation, its line and the node, for a sentence."""
        return f"{self}; in the graph it is the node {self.node}" if self.node else str(self)


def departure(
    module: Callable[..., Any],
    content: bytes,
    inputs: Sequence[npt.NDArray[np.int64]],
    place: Place,
    *,
    given: Mapping[str, npt.NDArray[Any]] | None = None,
) -> Departure | None:
    """The operation at which a graph departs from its module; None where it cannot be found.

    Args:
        module: that computes in double precision.
        content: the graph's ONNX file.
        inputs: a batch that the two answer differently: tokens, and lengths where the module takes them.
        place: shows the line of a frame.
        given: what the graph takes, by name, where that is not `inputs` in their order.

    Example:
        >>> str(departure(module, content, [tokens], lambda frame: "model.py:12: `a / b`"))  # doctest: +SKIP
        '`div` at model.py:12: `a / b`'
    """
    steps: list[_Step] = []
    try:
        with _Noted(steps, place):
            answer = answer_of(module, [torch.from_numpy(value) for value in inputs])
        model = in_float64(onnx.load_from_string(content))
        named = dict(zip([value.name for value in model.graph.input], inputs, strict=False))
        made = _made(model, named if given is None else given)
    # Whatever a user's module raises while it is watched, and the evaluator: nothing is found then.
    except Exception:
        return None
    values = _by_size(made.values())
    makers = {id(tensor): step for step in steps for tensor in step.given}
    seen: set[int] = set()
    step = makers.get(id(answer))
    while step is not None and id(step) not in seen:
        seen.add(id(step))
        missing = [t for t in step.taken if id(t) in makers and id(makers[id(t)]) not in seen and not _has(values, t)]
        if not missing:
            return Departure(step.name, step.line, _node(model, made, step, steps)) if step.line else None
        step = makers[id(missing[0])]
    return None


def _node(model: onnx.ModelProto, made: Mapping[str, _Sorted], step: _Step, steps: Sequence[_Step]) -> str:
    """The first node that takes what a step takes, beside weights, and gives what no step gives."""
    given = {id(tensor) for one in steps for tensor in one.given}
    taken = _by_size(_sorted(tensor) for tensor in step.taken if id(tensor) in given and tensor.numel() > 1)
    forward = _by_size(
        _sorted(tensor) for one in steps for tensor in (*one.taken, *one.given) if _is_looked_for(tensor)
    )
    for node in model.graph.node:
        outputs = [made[name] for name in node.output if name in made]
        takes = any(_is_among(taken, made[name]) for name in node.input if name in made)
        if (
            takes
            and outputs
            and node.op_type not in _OF_SIZES
            and not any(_is_among(forward, value) for value in outputs)
        ):
            return f"{node.name or node.output[0]} ({node.op_type})"
    return ""


class _Noted(FunctionMode):
    def __init__(self, steps: list[_Step], place: Place) -> None:
        super().__init__()
        self.steps, self.place = steps, place

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        taken = tuple(tensors_in((args, tuple((kwargs or {}).values()))))
        before = {id(tensor): writes_to(tensor) for tensor in taken}
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").strip("_")
        # A dropout that drops nothing gives what it takes, and has made nothing.
        given = tuple(tensor for tensor in tensors_in(result) if before.get(id(tensor)) != writes_to(tensor))
        if name not in {"get", "set"} and given:
            self.steps.append(_Step(name, self.place(sys._getframe(1)), taken, given))
        return result


# The numbers of a tensor, flat and sorted.
_Sorted = npt.NDArray[np.float64]


def _made(model: onnx.ModelProto, inputs: Mapping[str, Any]) -> dict[str, _Sorted]:
    """All numbers that a graph makes on a batch, by name."""
    with np.errstate(all="ignore"):
        evaluator = ReferenceEvaluator(model, new_ops=list(OPERATORS))
        made = dict(evaluator.run(None, dict(inputs), intermediate=True))
    made |= {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {
        name: np.sort(value.astype(np.float64), axis=None)
        for name, value in made.items()
        if isinstance(value, np.ndarray) and value.size <= _LARGEST and value.dtype.kind in "fiub"
    }


def _by_size(values: Iterable[_Sorted]) -> dict[int, list[_Sorted]]:
    found: dict[int, list[_Sorted]] = defaultdict(list)
    for value in values:
        found[value.size].append(value)
    return found


def _has(values: Mapping[int, list[_Sorted]], tensor: Tensor) -> bool:
    """Whether a graph has a tensor's numbers; one that is not looked for counts as had."""
    return not _is_looked_for(tensor) or _is_among(values, _sorted(tensor))


def _is_looked_for(tensor: Tensor) -> bool:
    odd = tensor.layout != torch.strided or tensor.is_nested or tensor.is_complex()
    return not odd and tensor.numel() <= _LARGEST


def _sorted(tensor: Tensor) -> _Sorted:
    return np.sort(tensor.detach().double().numpy(), axis=None)


def _is_among(values: Mapping[int, list[_Sorted]], wanted: _Sorted) -> bool:
    return any(
        np.allclose(wanted, value, rtol=_NEAR, atol=_NEAR, equal_nan=True) for value in values.get(wanted.size, ())
    )
