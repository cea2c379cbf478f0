"""A program that holds nothing to decompose is converted as it is: the graph is the one of the decomposed program."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

import idiom_modules
import onnx
import pytest
import torch
import user_modules
from slow_case_sampling import mostly_slow
from torch import nn

from pocketrnn.errors import ExportError
from pocketrnn_export.forms.onnx import onnx_conversion
from pocketrnn_export.forms.onnx.onnx_conversion import convert_program, name_graph_inputs
from pocketrnn_export.tracing.module_trace import TracedProgram, trace_program
from pocketrnn_export.tracing.sizes.size_question_log import TraceLog

INPUTS = (torch.tensor([[2, 3, 4, 5, 6], [7, 2, 4, 1, 1], [3, 3, 5, 1, 1]]), torch.tensor([5, 3, 3]))
MODULES = [
    kind
    for file in (user_modules, idiom_modules)
    for name, kind in vars(file).items()
    if inspect.isclass(kind) and issubclass(kind, nn.Module) and kind.__module__ == file.__name__ and name[0] != "_"
    if "forward" in vars(kind) and not issubclass(kind, nn.RNNBase)
]


def trace(kind: type[nn.Module]) -> tuple[TracedProgram, Any]:
    inputs = INPUTS[: len(inspect.signature(kind.forward).parameters) - 1]
    # A conversion changes a program, so each has its own.
    return trace_program(kind().eval(), inputs, None, TraceLog()), name_graph_inputs(inputs)


def describe_graph(content: bytes) -> tuple[Any, ...]:
    """A graph without the names of its values."""
    graph = onnx.load_from_string(content).graph
    names = {one.name: f"input {place}" for place, one in enumerate(graph.input)}
    for weight in graph.initializer:
        names[weight.name] = f"{weight.dims} {weight.data_type} {weight.raw_data!r}"
    nodes = []
    for node in graph.node:
        for output in node.output:
            names.setdefault(output, f"value {len(names)}")
        attributes = sorted((one.name, one.SerializeToString()) for one in node.attribute)
        nodes.append((node.op_type, [names.get(one, "") for one in (*node.input, *node.output)], attributes))
    return nodes, [names[one.name] for one in graph.output]


@pytest.mark.parametrize("kind", mostly_slow(MODULES, 80))
def test_the_graph_is_that_of_the_decomposed_program(kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    try:
        traced, names = trace(kind)
        found = describe_graph(convert_program(traced, {}, names).content)
    except ExportError:
        pytest.skip("it asks about a size, or is called in another way")
    monkeypatch.setattr(onnx_conversion, "decompose_where_needed", contextlib.nullcontext)
    torch.manual_seed(0)
    assert found == describe_graph(convert_program(*trace(kind)[:1], {}, names).content)


class TakesInput(user_modules.CellState):
    """A copy of a graph renames an argument that is called as one of Python's functions."""

    def forward(self, input: Any, max: Any) -> Any:  # noqa: A002 - as owners write it
        return super().forward(input, max)


def test_an_argument_may_be_called_as_one_of_pythons_functions() -> None:
    traced, names = trace(TakesInput)
    program = convert_program(traced, {}, names)
    assert [one.name for one in onnx.load_from_string(program.content).graph.input] == list(names)


class CutsInTwo(user_modules.CellState):
    """`chunk` has another form after a decomposition."""

    def forward(self, tokens: Any, lens: Any) -> Any:
        left, right = super().forward(tokens, lens).chunk(2, 1)
        return torch.cat([right, left], 1)


@pytest.mark.slow
def test_only_a_program_with_an_operator_to_decompose_is_decomposed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    shipped = torch.export.ExportedProgram.run_decompositions

    def decompose(program: Any, *given: Any, **more: Any) -> Any:
        seen.append(program)
        return shipped(program, *given, **more)

    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", decompose)
    for kind in (user_modules.PackedLastState, user_modules.CellState, user_modules.MaskedAttention):
        traced, names = trace(kind)
        convert_program(traced, {}, names)
    assert not seen
    traced, names = trace(CutsInTwo)
    convert_program(traced, {}, names)
    assert len(seen) == 1
