"""Compare the values that a module computes in forward with the values of a program that was traced for other sizes,
and record the operators by which a module makes choices.

Where forward asks about a size, a program of one branch may give the module's answers for the sizes of another branch
to all texts that are tried, since a gate hides what only a few texts read: `torch.where(has_phrase, x[:, :9].mean(1) if
n > 9 else x.amax(1), usual)`. The values that the gate hides tell the branches apart: a program that is right for both
computes all values that the module computes.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from pocketrnn_export.intake.user_code_lines_for_messages import is_user_frame, list_call_frames
from pocketrnn_export.module_runs.complete_deep_copy import copy_without_comparison
from pocketrnn_export.module_runs.quiet_cpu_run import compute_answer
from pocketrnn_export.module_runs.tensors_in_values import list_tensors_in
from pocketrnn_export.proof.program_runs_and_nodes import NodeValues
from pocketrnn_export.torch_internals import DispatchMode, read_memory_address
from pocketrnn_export.tracing.module_trace import TracedProgram
from pocketrnn_export.tracing.sizes.right_program_for_each_size import Choice

# A file, a line of forward in it, the name of an operator that the line runs, and whether the place means the inputs of
# the operator (True) or its results (False).
_Place = tuple[str, int, str, bool]
# The size of a value, its norm, and its product with fixed random numbers.
_Digest = tuple[int, float, float]
# How far two products may be apart, of the norm: rounding is some 1e-6.
_NEAR: Final = 1e-3
# Rounding leaves no more of two equal numbers, one less the other.
_NOTHING: Final = 1e-6
# The most numbers in a value that is looked at.
_LARGEST: Final = 1 << 20
_Inputs = tuple[Tensor, ...]


class ForwardValues:
    """Compares the values that a module computes with the values of its programs.

    Args:
        module: in eval mode, on the CPU; copies of it are run.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._own: dict[int, tuple[TracedProgram, dict[_Place, bool]]] = {}

    def are_computed_by_program(self, traced: TracedProgram, inputs_of_trace: _Inputs, inputs: _Inputs) -> bool:
        """Return whether a program computes each value that the module's forward computes for `inputs`. An operator
        with several operands, such as `torch.where`, must also get the same operands. If the module or the program
        fails, return True.

        Args:
            inputs_of_trace: inputs of the sizes that the program was traced for. If the program lacks the values of a
                line of forward even for these, the trace has rewritten this line, and it is ignored.
            inputs: inputs of other sizes.
        """
        # A user's module may raise anything.
        try:
            if id(traced) not in self._own:
                self._own[id(traced)] = traced, _find_values_missing_in_program(self._module, traced, inputs_of_trace)
            found = _find_values_missing_in_program(self._module, traced, inputs)
        except Exception:
            return True
        before = self._own[id(traced)][1]
        # PyTorch runs other operators of a layer for one text, on a line whose values are not the program's anyway.
        rewritten = {(file, line) for (file, line, _, reads), lacks in before.items() if lacks and not reads}
        # The operands of an operator of this branch only, such as x[:, 0] for a mean of one step, tell nothing.
        return not any(
            lacks and not before.get((file, line, operator, reads), reads or (file, line) in rewritten)
            for (file, line, operator, reads), lacks in found.items()
        )


def _find_values_missing_in_program(module: nn.Module, traced: TracedProgram, inputs: _Inputs) -> dict[_Place, bool]:
    """Run a module and its program on the same inputs, and look for each value of forward among the program's values.

    Return a dict with a bool for each operator of forward: the key (file, line, operator, False) tells whether the
    program lacks one of the operator's results. For an operator with several operands, the key (file, line, operator,
    True) tells whether the program lacks an operator of this name with the same operands.
    """
    values = NodeValues(traced.program)(inputs)
    made = _digest_values([*values.values(), *_sort_operands_of_argsort(values)])
    known, operands = _group_by_key([(one[0], one) for one in made]), _group_by_key(_list_operands_of_nodes(values))
    recorder = _ValueRecorder()
    with recorder:
        compute_answer(copy_without_comparison(module), inputs)
    found: dict[_Place, bool] = {}
    for (file, line), operator, result, given in recorder.found:
        name = _name_operator(operator)
        missing = any(not any(_are_digests_near(one, other) for other in known.get(one[0], ())) for one in result)
        found[file, line, name, False] = found.get((file, line, name, False), False) or missing
        if len(given) > 1:
            alike = operands.get((name, *(one[0] for one in given)), ())
            missing = not any(all(map(_are_digests_near, given, other)) for other in alike)
            found[file, line, name, True] = found.get((file, line, name, True), False) or missing
    return found


def _sort_operands_of_argsort(values: Mapping[torch.fx.Node, Any]) -> list[Tensor]:
    """Return, for each `argsort` in a program, its operand in sorted order. A module that calls `sort` computes these
    values, but its program, which keeps only the order, does not. `values` are those of the program's nodes."""
    return [
        torch.sort(
            values[cast("torch.fx.Node", node.args[0])], *cast("Any", node.args[1:]), **cast("Any", node.kwargs)
        )[0]
        for node in values
        if node.op == "call_function" and _name_operator(node.target) == "argsort"
    ]


def _list_operands_of_nodes(values: Mapping[torch.fx.Node, Any]) -> list[tuple[Any, list[_Digest]]]:
    """Return a pair for each operator of a program with several operands: a key, made of the operator's name and the
    number of elements of each operand, and the digests of the operands. `values` are those of the program's nodes; a
    digest is three numbers by which tensors are compared."""
    made = []
    for node in values:
        given = _digest_values([values[one] for one in node.all_input_nodes if one in values])
        if node.op == "call_function" and len(given) > 1:
            made.append(((_name_operator(node.target), *(one[0] for one in given)), given))
    return made


def _group_by_key(items: Iterable[tuple[Any, Any]]) -> dict[Any, list[Any]]:
    made: dict[Any, list[Any]] = {}
    for key, item in items:
        made.setdefault(key, []).append(item)
    return made


def _name_operator(operator: Any) -> str:
    return str(getattr(operator, "__name__", operator)).split(".")[0]


class _ValueRecorder(DispatchMode):  # type: ignore[no-untyped-call]
    """A torch dispatch mode that records for each operator the line of forward that calls it, its name, and digests of
    its results and inputs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[tuple[tuple[str, int], Any, list[_Digest], list[_Digest]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        read = {id(one): one for one in list_tensors_in((*args, *(kwargs or {}).values()))}
        # Before it is run: it may write in place.
        given = _digest_values([*read.values()]) if len(read) > 1 else []
        result = func(*args, **(kwargs or {}))
        frame = next(filter(is_user_frame, list_call_frames(sys._getframe(1))), None)
        if frame is not None:
            line = frame.f_code.co_filename, frame.f_lineno
            memory = {read_memory_address(one) for one in read.values()}
            # Not a view: its numbers are those that are there already.
            made = _digest_values([one for one in list_tensors_in(result) if read_memory_address(one) not in memory])
            self.found.append((line, func, made, given))
        return result


def _digest_values(values: Any) -> list[_Digest]:
    """Return a digest, three numbers by which tensors are compared, of each tensor in some values: the number of its
    elements, their norm, and their product with fixed random numbers. Complex, empty and large tensors are skipped."""
    made = []
    for value in list_tensors_in(values):
        if value.is_complex() or not 0 < value.numel() <= _LARGEST:
            continue
        numbers = torch.nan_to_num(value.detach().reshape(-1).double(), 0.5, 1e30, -1e30)
        made.append((len(numbers), float(numbers.norm()), float(numbers @ _draw_digest_weights()[: len(numbers)])))
    return made


@functools.cache
def _draw_digest_weights() -> Tensor:
    """Return the fixed random numbers, from a standard normal distribution, with which a digest multiplies the elements
    of a tensor."""
    return torch.randn(_LARGEST, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def _are_digests_near(one: _Digest, other: _Digest) -> bool:
    near = _NEAR * max(one[1], other[1]) + _NOTHING
    return abs(one[1] - other[1]) <= near and abs(one[2] - other[2]) <= near


# --- Choices ---
# Record the operators by which a module makes choices, such as a comparison or a clamp, and the weights that it
# reads.
#
# Where forward asks about a size, two programs may give equal answers to all texts that are tried, and differ for a
# rare word: one of them looks for it, or reads another table. The operators and the weights tell them apart.

_CHOOSE: Final = frozenset({
    "argmax", "argmin", "bucketize", "ceil", "clamp", "clamp_max", "clamp_min", "eq", "floor", "fmod", "gather",
    "ge", "gt", "hardtanh", "heaviside", "index_put", "isin", "isnan", "le", "lt",
    "masked_fill", "masked_scatter", "maximum", "minimum", "nan_to_num", "ne", "relu", "remainder", "round",
    "searchsorted", "sign", "threshold", "trunc", "where",
})  # fmt: skip


def record_choosing_operators_and_read_weights(module: nn.Module, inputs: tuple[Tensor, ...]) -> frozenset[Choice]:
    """Run a module, and return a set of pairs: (name, None) for each operator that makes a choice, such as a comparison
    or a clamp; (name, number) for each Python number that this operator is called with, as 3 in `x > 3`; and (weight,
    None) for the name of each weight that any operator reads.

    Raises:
        Exception: the module fails.
    """
    copied = copy_without_comparison(module)
    recorder = _ChoiceRecorder({id(one): name for name, one in (*copied.named_parameters(), *copied.named_buffers())})
    with recorder:
        compute_answer(copied, inputs)
    return frozenset(recorder.found)


class _ChoiceRecorder(DispatchMode):  # type: ignore[no-untyped-call]
    """A torch dispatch mode that records the operators that make choices, such as a comparison or a clamp, and the
    weights that any operator reads.

    Args:
        weights: the names of the weights, by the identity of each tensor.
    """

    def __init__(self, weights: Mapping[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[Choice] = set()
        self._weights = weights

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = (*args, *(kwargs or {}).values())
        self.found |= {(self._weights[id(one)], None) for one in list_tensors_in(given) if id(one) in self._weights}
        name = func.__name__.split(".")[0].removesuffix("_")
        if name in _CHOOSE:
            self.found |= {(name, None), *((name, one) for one in given if isinstance(one, int | float))}
        return func(*args, **(kwargs or {}))
