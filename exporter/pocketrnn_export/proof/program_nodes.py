"""Read the nodes of a traced program: their operators and lines, which of them the answer needs, and their batch
axes."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Node

from pocketrnn_export.intake.user_frames import UNKNOWN_LINE, describe_user_line_of_node
from pocketrnn_export.torch_internals import list_aliased_arguments, list_written_arguments, read_size_expression


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
