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

from pocketrnn_export.intake.user_code_lines_for_messages import UNKNOWN_LINE, describe_user_line_of_node
from pocketrnn_export.torch_internals import (
    find_custom_operator_function,
    list_aliased_arguments,
    list_written_arguments,
    read_size_expression,
)
from pocketrnn_export.tracing.module_trace import TracedProgram

# Maps inputs as the module takes them to logits, an array [batch, classes]; may raise anything.
Answers = Callable[[tuple[Tensor, ...]], Any]


@dataclass(frozen=True)
class RunnableProgram:
    """A program as a function that can be compared with its module.

    Attributes:
        run: a function that computes the logits from the module's inputs.
        ids: the number of ids that it takes; None if that is not known.
    """

    run: Answers
    ids: int | None = None


def make_runnable_program(traced: TracedProgram, weights: Mapping[str, Tensor] | None = None) -> RunnableProgram:
    """Make a function that runs a traced program in PyTorch, operator by operator, without its assertions about sizes.
    The given `weights` replace the program's weights of the same names."""
    program = traced.program
    kinds = [spec.kind for spec in program.graph_signature.output_specs]
    forward = functools.cache(lambda: _make_function_without_size_assertions(program.graph_module))

    def run_program(inputs: tuple[Tensor, ...]) -> Any:
        with torch.no_grad():
            answers = forward()(*_list_graph_arguments(program, inputs, weights or {}))
        return answers[kinds.index(OutputKind.USER_OUTPUT)].numpy()

    return RunnableProgram(run_program)


class NodeValues(torch.fx.Interpreter):
    """Computes the value of each node of a program in PyTorch. Assertions about sizes are left out, since an exported
    graph does not contain them."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__(program.graph_module, garbage_collect_values=False)
        self._program = program

    def __call__(self, inputs: tuple[Tensor, ...]) -> dict[torch.fx.Node, Any]:
        """Return a dict from each node to its value for the module's inputs. The dict is empty if a node fails."""

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
    """Return the arguments of a program's graph in order: its weights and the module's inputs. The given `weights`
    replace the program's own of the same names."""
    given, known = iter(inputs), {**program.constants, **program.state_dict, **weights}
    specs = program.graph_signature.input_specs
    return [next(given) if spec.kind == InputKind.USER_INPUT else known[str(spec.target)] for spec in specs]


def _make_function_without_size_assertions(module: torch.fx.GraphModule) -> Callable[..., Any]:
    """Return a function that runs a graph module's graph without its assertions about sizes, which an exported graph
    does not contain, and without torch's dispatcher for the operators of this project. Running the graph node by node
    instead would take 1.5 times as long for a small classifier."""
    graph = torch.fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    for node in reversed(graph.nodes):
        if "_assert" in str(node.target):
            graph.erase_node(node)
        else:
            node.target = find_custom_operator_function(node.target, "pocketrnn")
    # A call of the module itself would print the code when it fails.
    return torch.fx.GraphModule(module, graph).forward


def compute_answer_or_none(run: Callable[..., Any], *inputs: Any) -> Any:
    """Call `run`, a module or a program as a function, with some inputs. Return its answer as an array, or None if the
    call raises an error."""
    try:
        answer = run(*inputs)
    # A user's module, or an engine, may raise anything.
    except Exception:
        return None
    answer = answer[0] if isinstance(answer, tuple) else answer
    return answer.numpy() if isinstance(answer, Tensor) else answer


# --- Nodes: their operators and lines, which of them the answer needs, and their batch axes ---


def find_batch_symbols(program: torch.export.ExportedProgram) -> set[Any]:
    """Return the symbols that stand for the batch size in the shapes of a program's inputs; an empty set for a fixed
    batch size."""
    inputs = set(program.graph_signature.user_inputs)
    values = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in inputs]
    return {read_size_expression(value.shape[0]) for value in values if isinstance(value.shape[0], torch.SymInt)}


def find_numbers_tested_for_equality(program: torch.export.ExportedProgram) -> list[int]:
    """Return the integers, 0 or larger, with which a program compares values by `==` or `!=`, such as 1 for
    `x != 1`."""
    asked = [node for node in program.graph.nodes if read_operator_name(node) in ("eq", "ne")]
    return [
        arg for node in asked for arg in node.args if isinstance(arg, int) and not isinstance(arg, bool) and arg >= 0
    ]


def select_nodes_needed_for_outputs(program: torch.export.ExportedProgram) -> list[Node]:
    """Return the nodes on which a program's answer depends, in the program's order. Nodes that write in place into the
    value of such a node, or into a view of it, are included."""
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
    """Return the axes of a node's value whose size depends on the batch size, that is, contains one of
    `batch_symbols`."""
    sizes = list(node.meta["val"].shape)
    return [
        i
        for i, n in enumerate(sizes)
        if isinstance(n, torch.SymInt) and batch_symbols & read_size_expression(n).free_symbols
    ]


def read_operator_name(node: Node) -> str:
    """Return the name of the operator or function that a node calls, without its overload: "add" for
    `aten.add.Tensor`."""
    if node.target is operator.getitem:
        return "getitem"
    packet = getattr(node.target, "overloadpacket", node.target)
    return str(getattr(packet, "__name__", packet))


def describe_first_known_line_of_nodes(*nodes: Node) -> str:
    """Return the description of a line of user code for error messages: the line that made the first of these nodes
    whose line is known. If none is known, the description says so."""
    return next(filter(None, map(describe_user_line_of_node, nodes)), UNKNOWN_LINE)
