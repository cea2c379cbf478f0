"""A traced program as PyTorch runs it: its answers, and what each of its nodes computes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.export.graph_signature import InputKind, OutputKind

from pocketrnn_export.proof.every_size import answer_if_any
from pocketrnn_export.tracing.trace import TracedProgram

__all__ = ["Runnable", "ValuesOfNodes", "run_in_pytorch"]


@dataclass(frozen=True)
class Runnable:
    """A program as it is run to be judged.

    Attributes:
        run: of inputs as the module takes them, the logits as an array [batch, classes]; may raise anything.
        ids: how many ids it takes; None where that is not known.
    """

    run: Callable[[tuple[Tensor, ...]], Any]
    ids: int | None = None


def run_in_pytorch(traced: TracedProgram, weights: Mapping[str, Tensor] | None = None) -> Runnable:
    """A program as PyTorch runs it, operator by operator, without the checks that it is restricted by.

    Args:
        traced: the program.
        weights: by name, in place of its own.

    Example:
        >>> run_in_pytorch(traced).run((tokens, lengths)).shape
        (3, 4)
    """
    program = traced.program
    kinds = [spec.kind for spec in program.graph_signature.output_specs]
    forward = functools.cache(lambda: _without_checks(program.graph_module))

    def run(inputs: tuple[Tensor, ...]) -> Any:
        with torch.no_grad():
            answers = forward()(*_arguments(program, inputs, weights or {}))
        return answers[kinds.index(OutputKind.USER_OUTPUT)].numpy()

    return Runnable(run)


class ValuesOfNodes(torch.fx.Interpreter):
    """The value of each node of a program. Its assertions about sizes are left out: no form has them."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__(program.graph_module, garbage_collect_values=False)
        self._program = program

    def __call__(self, inputs: tuple[Tensor, ...]) -> dict[torch.fx.Node, Any]:
        """The values for what the module takes; none where a node fails."""

        def run(*inputs: Tensor) -> Any:
            with torch.no_grad():
                return self.run(*_arguments(self._program, inputs, {}))

        return {} if answer_if_any(run, *inputs) is None else dict(self.env)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        return None if "_assert" in str(target) else super().call_function(target, args, kwargs)


def _arguments(
    program: torch.export.ExportedProgram, inputs: tuple[Tensor, ...], weights: Mapping[str, Tensor]
) -> list[Any]:
    """The inputs of a program's graph, with the weights, for the module's inputs."""
    given, known = iter(inputs), {**program.constants, **program.state_dict, **weights}
    specs = program.graph_signature.input_specs
    return [next(given) if spec.kind == InputKind.USER_INPUT else known[str(spec.target)] for spec in specs]


def _without_checks(module: torch.fx.GraphModule) -> Callable[..., Any]:
    """The code of a graph without what it asserts of sizes, which is not part of any form. An interpreter of the nodes
    takes half as long again for a small classifier, which is asked at hundreds of sizes."""
    graph = torch.fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    for node in reversed(graph.nodes):
        if "_assert" in str(node.target):
            graph.erase_node(node)
    # Not by calling the module, which prints the code of what fails.
    return torch.fx.GraphModule(module, graph).forward
