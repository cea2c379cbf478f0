"""Find the first operation of forward whose result a graph does not compute.

The module runs in double precision, and each tensor that it makes is searched among the graph's values: the same
numbers, in any shape and order. The search goes back from the answer, along tensors that the graph does not have, to
the first operation whose inputs the graph has and whose output it does not have.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from pocketrnn_export.comparing.float64_graph import convert_model_to_float64
from pocketrnn_export.comparing.float64_operators import OPERATORS
from pocketrnn_export.module_runs.quiet_cpu_run import compute_answer
from pocketrnn_export.module_runs.tensors_in_values import list_tensors_in
from pocketrnn_export.torch_internals import FunctionMode, count_in_place_writes

# Finds the line of the user's code that a frame was called from; empty if there is none.
LineFinder = Callable[[FrameType | None], str]

_NEAR: Final = 1e-11
# The most numbers in a tensor that is searched, so that a search does not take long.
_LARGEST: Final = 2_000_000
_OF_SIZES: Final = frozenset({"Shape", "Size"})


@dataclass(frozen=True)
class _Step:
    """One call of a torch function in forward: its name, line, inputs and outputs."""

    name: str
    line: str
    taken: tuple[Tensor, ...]
    given: tuple[Tensor, ...]


@dataclass(frozen=True)
class DifferingOperation:
    """The first operation of forward at which a graph differs from its module.

    Attributes:
        operation: the torch function whose result the graph does not compute; if the graph computes all results of
            forward and then more, the last torch function of forward.
        line: the line of forward that calls the torch function.
        node: the first node of the graph with the same inputs and a result that does not occur in forward; empty if
            there is none.
        is_behind: whether the graph computes all results of forward, so that `node` comes after the last operation.
    """

    operation: str
    line: str
    node: str = ""
    is_behind: bool = False

    def __str__(self) -> str:
        return f"`{self.operation}` at {self.line}"

    @property
    def sentence(self) -> str:
        """A sentence for a message that names the operation, its line in forward and its node in the graph."""
        if self.is_behind:
            return f"The file has all results of forward, and computes more after {self}: the node {self.node}."
        node = f"; in the graph it is the node {self.node}" if self.node else ""
        return f"The first operation whose result the file lacks is {self}{node}."


def find_first_operation_missing_in_graph(
    module: Callable[..., Any],
    content: bytes,
    inputs: Sequence[npt.NDArray[np.int64]],
    find_line: LineFinder,
    *,
    given: Mapping[str, npt.NDArray[Any]] | None = None,
) -> DifferingOperation | None:
    """Find the first operation of forward whose result a graph does not compute; or, if the graph computes all of them
    and then more, the last operation of forward. Return None if no operation can be found.

    Args:
        module: the module in double precision.
        content: the graph's ONNX file.
        inputs: a batch to which module and graph give different answers: tokens, and lengths if the module takes them.
        find_line: returns the line of user code that a stack frame was called from.
        given: the graph's inputs by name, if they are not `inputs` in this order.
    """
    steps: list[_Step] = []
    try:
        with _CallRecorder(steps, find_line):
            answer = compute_answer(module, [torch.from_numpy(value) for value in inputs])
        model = convert_model_to_float64(onnx.load_from_string(content))
        named = dict(zip([value.name for value in model.graph.input], inputs, strict=False))
        made = _compute_graph_values(model, named if given is None else given)
    # A user's module and the evaluator may raise anything: then nothing is found.
    except Exception:
        return None
    values = _group_by_size(made.values())
    makers = {id(tensor): step for step in steps for tensor in step.given}
    seen: set[int] = set()
    step = makers.get(id(answer))
    while step is not None and not step.line and len(step.taken) == 1:
        # The call that joins the outputs of forward does not belong to forward.
        step = makers.get(id(step.taken[0]))
    if (
        step is not None
        and step.line
        and all(_is_in_graph_values_or_unsearchable(values, tensor) for tensor in step.given)
    ):
        behind = _find_first_node_with_other_result(model, made, replace(step, taken=step.given), steps)
        return DifferingOperation(step.name, step.line, behind, is_behind=True) if behind else None
    while step is not None and id(step) not in seen:
        seen.add(id(step))
        missing = [
            t
            for t in step.taken
            if id(t) in makers and id(makers[id(t)]) not in seen and not _is_in_graph_values_or_unsearchable(values, t)
        ]
        if not missing:
            return (
                DifferingOperation(step.name, step.line, _find_first_node_with_other_result(model, made, step, steps))
                if step.line
                else None
            )
        step = makers[id(missing[0])]
    return None


def _find_first_node_with_other_result(
    model: onnx.ModelProto, graph_values: Mapping[str, _Sorted], step: _Step, steps: Sequence[_Step]
) -> str:
    """Return the name of the graph's first node that reads an input of the call `step` in forward, but whose result
    does not occur in forward. Return "" if there is no such node.

    Args:
        model: the graph.
        graph_values: a dict from the name of each value of the graph to its numbers, flat and sorted.
        step: the call.
        steps: all calls in forward.
    """
    given = {id(tensor) for one in steps for tensor in one.given}
    taken = _group_by_size(_sort_numbers(tensor) for tensor in step.taken if id(tensor) in given and tensor.numel() > 1)
    forward = _group_by_size(
        _sort_numbers(tensor) for one in steps for tensor in (*one.taken, *one.given) if _can_search_tensor(tensor)
    )
    for node in model.graph.node:
        outputs = [graph_values[name] for name in node.output if name in graph_values]
        takes = any(_contains_numbers(taken, graph_values[name]) for name in node.input if name in graph_values)
        if (
            takes
            and outputs
            and node.op_type not in _OF_SIZES
            and not any(_contains_numbers(forward, value) for value in outputs)
        ):
            return f"{node.name or node.output[0]} ({node.op_type})"
    return ""


class _CallRecorder(FunctionMode):
    """A torch function mode that appends each call that makes a tensor to `steps`, with the line that `find_line`
    gives."""

    def __init__(self, steps: list[_Step], find_line: LineFinder) -> None:
        super().__init__()
        self.steps, self.place = steps, find_line

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        taken = tuple(list_tensors_in((args, kwargs)))
        before = {id(tensor): count_in_place_writes(tensor) for tensor in taken}
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").strip("_")
        # A dropout in eval mode returns its input, so it makes no tensor.
        given = tuple(
            tensor for tensor in list_tensors_in(result) if before.get(id(tensor)) != count_in_place_writes(tensor)
        )
        if name not in {"get", "set"} and given:
            self.steps.append(_Step(name, self.place(sys._getframe(1)), taken, given))
        return result


# The numbers of a tensor, flat and sorted.
_Sorted = npt.NDArray[np.float64]


def _compute_graph_values(model: onnx.ModelProto, inputs: Mapping[str, Any]) -> dict[str, _Sorted]:
    """Run a graph on a batch. Return a dict from the name of each value to its numbers, flat and sorted."""
    with np.errstate(all="ignore"):
        evaluator = ReferenceEvaluator(model, new_ops=list(OPERATORS))
        made = dict(evaluator.run(None, dict(inputs), intermediate=True))
    made |= {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {
        name: np.sort(value.astype(np.float64), axis=None)
        for name, value in made.items()
        if isinstance(value, np.ndarray) and value.size <= _LARGEST and value.dtype.kind in "fiub"
    }


def _group_by_size(values: Iterable[_Sorted]) -> dict[int, list[_Sorted]]:
    found: dict[int, list[_Sorted]] = defaultdict(list)
    for value in values:
        found[value.size].append(value)
    return found


def _is_in_graph_values_or_unsearchable(values: Mapping[int, list[_Sorted]], tensor: Tensor) -> bool:
    """Return whether a graph computes the numbers of a tensor. Also return True for a tensor that is not compared with
    the graph's values, since it is large, sparse or not real."""
    return not _can_search_tensor(tensor) or _contains_numbers(values, _sort_numbers(tensor))


def _can_search_tensor(tensor: Tensor) -> bool:
    """Return whether a tensor can be compared with the values of a graph: it is strided, real and not large."""
    odd = tensor.layout != torch.strided or tensor.is_nested or tensor.is_complex()
    return not odd and tensor.numel() <= _LARGEST


def _sort_numbers(tensor: Tensor) -> _Sorted:
    return np.sort(tensor.detach().double().numpy(), axis=None)


def _contains_numbers(values: Mapping[int, list[_Sorted]], wanted: _Sorted) -> bool:
    return any(
        np.allclose(wanted, value, rtol=_NEAR, atol=_NEAR, equal_nan=True) for value in values.get(wanted.size, ())
    )
