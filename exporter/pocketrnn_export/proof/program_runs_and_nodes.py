"""Run a traced program in PyTorch, for its answers or for the value of each of its nodes, and read its nodes."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Node

from pocketrnn_export.intake.user_frames import UNKNOWN_LINE, describe_user_line_of_node
from pocketrnn_export.torch_internals import list_aliased_arguments, list_written_arguments, read_size_expression
from pocketrnn_export.tracing.module_trace import TracedProgram

# Maps inputs as the module takes them to logits, an array [batch, classes]; may raise anything.
Answers = Callable[[tuple[Tensor, ...]], Any]


@dataclass(frozen=True)
class RunnableProgram:
    """A program as a function that can be compared with its module.

    Attributes:
        run: computes the logits from the module's inputs.
        ids: the number of ids that it takes; None if that is not known.
    """

    run: Answers
    ids: int | None = None


def make_runnable_program(traced: TracedProgram, weights: Mapping[str, Tensor] | None = None) -> RunnableProgram:
    """Make a function that runs a program in PyTorch, operator by operator, without assertions about sizes. The given
    weights replace the program's weights of the same names."""
    program = traced.program
    kinds = [spec.kind for spec in program.graph_signature.output_specs]
    forward = functools.cache(lambda: _remove_size_assertions(program.graph_module))

    def run_program(inputs: tuple[Tensor, ...]) -> Any:
        with torch.no_grad():
            answers = forward()(*_list_graph_arguments(program, inputs, weights or {}))
        return answers[kinds.index(OutputKind.USER_OUTPUT)].numpy()

    return RunnableProgram(run_program)


class NodeValues(torch.fx.Interpreter):
    """Computes the value of each node of a program, without the assertions about sizes, which no form has."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__(program.graph_module, garbage_collect_values=False)
        self._program = program

    def __call__(self, inputs: tuple[Tensor, ...]) -> dict[torch.fx.Node, Any]:
        """Return the value of each node for the module's inputs. The dict is empty if a node fails."""

        def run_interpreter(*inputs: Tensor) -> Any:
            with torch.no_grad():
                return self.run(*_list_graph_arguments(self._program, inputs, {}))

        return {} if compute_answer_or_none(run_interpreter, *inputs) is None else dict(self.env)

    def run_node(self, n: torch.fx.Node) -> Any:
        """Compute the value of a node. Unlike torch's interpreter, keep no record of the node for error messages."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        return getattr(self, n.op)(n.target, args, kwargs)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        return None if "_assert" in str(target) else super().call_function(target, args, kwargs)


def _list_graph_arguments(
    program: torch.export.ExportedProgram, inputs: tuple[Tensor, ...], weights: Mapping[str, Tensor]
) -> list[Any]:
    """Return the arguments of a program's graph in order: the weights, and the module's inputs."""
    given, known = iter(inputs), {**program.constants, **program.state_dict, **weights}
    specs = program.graph_signature.input_specs
    return [next(given) if spec.kind == InputKind.USER_INPUT else known[str(spec.target)] for spec in specs]


def _remove_size_assertions(module: torch.fx.GraphModule) -> Callable[..., Any]:
    """Return a graph as a function without its assertions about sizes, which the forms do not have. For a small
    classifier, which runs at hundreds of sizes, interpreting the nodes would take 1.5 times as long."""
    graph = torch.fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    for node in reversed(graph.nodes):
        if "_assert" in str(node.target):
            graph.erase_node(node)
    # A call of the module itself would print the code when it fails.
    return torch.fx.GraphModule(module, graph).forward


def compute_answer_or_none(run: Callable[..., Any], *inputs: Any) -> Any:
    """Return the answer of a run as an array, or None if the run fails.

    A comparison skips inputs for which the module gives None. If they are among the cases of the proof, the proof
    refuses the module.
    """
    try:
        answer = run(*inputs)
    # A user's module, or an engine, may raise anything.
    except Exception:
        return None
    answer = answer[0] if isinstance(answer, tuple) else answer
    return answer.numpy() if isinstance(answer, Tensor) else answer


# --- Nodes: their operators and lines, which of them the answer needs, and their batch axes ---


def find_batch_symbols(program: torch.export.ExportedProgram) -> set[Any]:
    """Return the symbols of the batch size, one for each input; an empty set for a fixed batch size."""
    inputs = set(program.graph_signature.user_inputs)
    values = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in inputs]
    return {read_size_expression(value.shape[0]) for value in values if isinstance(value.shape[0], torch.SymInt)}


def find_numbers_tested_for_equality(program: torch.export.ExportedProgram) -> list[int]:
    """Return the integers from 0 on that a program tests for equality, as in `x != 1`."""
    asked = [node for node in program.graph.nodes if read_operator_name(node) in ("eq", "ne")]
    return [
        arg for node in asked for arg in node.args if isinstance(arg, int) and not isinstance(arg, bool) and arg >= 0
    ]


def find_needed_nodes(program: torch.export.ExportedProgram) -> list[Node]:
    """Return the nodes on which the answer depends, in order. Writes into views of these nodes count, too."""
    memory: dict[Node, Node] = {}
    writes: dict[Node, list[Node]] = {}
    for node in program.graph.nodes:
        shared = list_aliased_arguments(node.target, node.args, node.kwargs) if node.op == "call_function" else []
        memory[node] = next((memory[one] for one in shared if isinstance(one, Node)), node)
        if shared and list_written_arguments(node.target, node.args, node.kwargs):
            writes.setdefault(memory[node], []).append(node)
    needed: set[Node] = set()
    waiting = [node for node in program.graph.nodes if node.op == "output"]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += [*node.all_input_nodes, *writes.get(memory[node], ())]
    return [node for node in program.graph.nodes if node in needed]


def find_batch_axes(node: Node, batch_symbols: set[Any]) -> list[int]:
    """Return the axes of a node's value whose size depends on the batch size."""
    sizes = list(node.meta["val"].shape)
    return [
        i
        for i, n in enumerate(sizes)
        if isinstance(n, torch.SymInt) and batch_symbols & read_size_expression(n).free_symbols
    ]


def read_operator_name(node: Node) -> str:
    """Return the name of the operator or function that a node calls, without its overload."""
    if node.target is operator.getitem:
        return "getitem"
    packet = getattr(node.target, "overloadpacket", node.target)
    return str(getattr(packet, "__name__", packet))


def describe_node_line(*nodes: Node) -> str:
    """Describe the line of the user's code that made the first of these nodes whose line is known."""
    return next(filter(None, map(describe_user_line_of_node, nodes)), UNKNOWN_LINE)
