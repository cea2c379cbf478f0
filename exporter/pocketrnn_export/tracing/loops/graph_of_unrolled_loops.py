"""The graph of a traced module whose loops ran a few iterations, simplified so that its iterations can be matched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import sympy
import torch
from torch import Tensor, nn
from torch.export.graph_signature import OutputKind
from torch.fx import Node

from pocketrnn_export.torch_internals import cache_known_operators, read_size_expression
from pocketrnn_export.tracing.layers.memoryless_layers import STEP_EQUATIONS, StepEquations
from pocketrnn_export.tracing.layers.recurrence import OPERATOR, compute_recurrent_step
from pocketrnn_export.tracing.loops.cell_recognition import GATES
from pocketrnn_export.tracing.operators_right_for_every_size import STEP
from pocketrnn_export.tracing.python_semantics.loops_cut_to_few_iterations import ITERATION


def _make_function_in_place_of_cell(compute_states: StepEquations) -> Callable[..., Any]:
    """Return a function with the arguments and the result of `torch.lstm_cell`, `torch.gru_cell` or a similar one,
    which computes the cell by basic operators.

    Args:
        compute_states: the equations of one step of the cell.
    """

    def compute_cell(x: Tensor, hx: Any, w: Tensor, r: Tensor, b: Any = None, c: Any = None) -> Any:
        states = [hx] if isinstance(hx, Tensor) else list(hx)
        new = compute_states(nn.functional.linear(x, w, b), nn.functional.linear(states[0], r, c), states)
        return new[0] if isinstance(hx, Tensor) else tuple(new)

    return compute_cell


def _compute_recurrence_operator_of_one_step(
    x: Tensor, w: Tensor, r: Tensor, b: Any, lengths: Any, h0: Any, c0: Any, mode: str
) -> Any:
    """Compute the operator `pocketrnn::recurrence` by basic operators if it runs one step in one direction, as a cell
    does. Return `NotImplemented` for several steps or directions, with `lengths`, or without an initial state."""
    single = isinstance(x.shape[0], int) and x.shape[0] == 1
    if not single or lengths is not None or len(r) != 1 or h0 is None or (mode == "LSTM" and c0 is None):
        return NotImplemented
    before = h0[0] if c0 is None else c0[0]
    h, c = compute_recurrent_step(x[0], h0[0], before, w[0], r[0], None if b is None else b[0], mode)
    return h[None], h[None], c[None] if mode == "LSTM" else h[None].clone()


# The functions that replace torch's cells (see nn.LSTMCell, nn.GRUCell and nn.RNNCell), by operator.
_CELLS: Final[Mapping[Any, Callable[..., Any]]] = {
    torch.ops.aten.lstm_cell.default: _make_function_in_place_of_cell(STEP_EQUATIONS[torch.lstm]),
    torch.ops.aten.gru_cell.default: _make_function_in_place_of_cell(STEP_EQUATIONS[torch.gru]),
    torch.ops.aten.rnn_tanh_cell.default: _make_function_in_place_of_cell(STEP_EQUATIONS[torch.rnn_tanh]),
    torch.ops.aten.rnn_relu_cell.default: _make_function_in_place_of_cell(STEP_EQUATIONS[torch.rnn_relu]),
    OPERATOR: _compute_recurrence_operator_of_one_step,
}


class TracedGraph:
    """The simplified graph of a traced module whose loops ran a few iterations.

    Args:
        program: the program of torch.export.

    Attributes:
        nodes: the nodes of the graph, in order.
        state: the names of the parameters, buffers and constants, by their nodes.
        values: the values of these nodes.
        inputs, outputs: the nodes of the module's inputs and outputs.
        batch: the batch size as a SymPy expression; None if it is a plain 1.
    """

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        with cache_known_operators():
            functional = program.run_decompositions(dict(_CELLS))
        signature, graph = functional.graph_signature, functional.graph
        named = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        _merge_equal_views(graph)
        _replace_selections_from_stacks(graph)
        _move_step_selection_before_gates(graph)
        self.nodes: list[Node] = list(graph.nodes)
        given = [node for node in self.nodes if node.op == "placeholder"]
        self.state = {node: named[node.name] for node in given if node.name in named}
        known = {**functional.constants, **functional.state_dict}
        self.values: dict[Node, Tensor] = {node: known[name].detach() for node, name in self.state.items()}
        _merge_equal_constants(self.values, [n for n in given if n.name in signature.inputs_to_lifted_tensor_constants])
        self.inputs = [node for node in given if node.name not in named]
        kinds = [spec.kind for spec in signature.output_specs]
        results: Any = self.nodes[-1].args[0]
        self.outputs = [n for n, kind in zip(results, kinds, strict=True) if kind == OutputKind.USER_OUTPUT]
        batch = self.inputs[0].meta["val"].shape[0]
        self.batch = read_size_expression(batch) if isinstance(batch, torch.SymInt) else None

    def find_batch_axis(self, node: Node) -> int | None:
        """Return the index of the batch axis of a node's value, or None unless there is exactly one."""
        sizes = list(node.meta["val"].shape)
        axes = [i for i, n in enumerate(sizes) if isinstance(n, torch.SymInt) and read_size_expression(n) == self.batch]
        return axes[0] if len(axes) == 1 else None

    def compute_shape_for_5_tokens(self, node: Node, batch: int) -> list[int]:
        """Return the shape that a node's value has for a batch of `batch` texts of 5 tokens each."""
        return [self.compute_size_for_5_tokens(size, batch) for size in node.meta["val"].shape]

    def compute_size_for_5_tokens(self, size: Any, batch: int) -> int:
        """Return the plain number that a size has for a batch of `batch` texts of 5 tokens each."""
        if not isinstance(size, torch.SymInt):
            return int(size)
        expression = read_size_expression(size)
        chosen = {s: sympy.Integer(batch if s == self.batch else 5) for s in expression.free_symbols}
        return int(expression.xreplace(chosen))


# The operators that are only views of a tensor.
_VIEWS: Final = frozenset(
    {torch.ops.aten.unsqueeze.default, torch.ops.aten.squeeze.dim, torch.ops.aten.select.int,
     torch.ops.aten.transpose.int, torch.ops.aten.permute.default, torch.ops.aten.view.default}
)  # fmt: skip


def _merge_equal_views(graph: torch.fx.Graph) -> None:
    """Merge nodes that are equal views of one tensor, and nodes that read the same step in one iteration.

    A layer that runs one step has its output and its state as two views of one tensor, but the next iteration reads
    only the state.
    """
    known: dict[tuple[Any, str, str], Node] = {}
    for node in list(graph.nodes):
        if node.op == "call_function" and (node.target in _VIEWS or node.target is STEP) and not node.kwargs:
            iteration = repr(node.meta.get("custom")) if node.target is STEP else ""
            first = known.setdefault((node.target, repr(node.args), iteration), node)
            if first is not node:
                node.replace_all_uses_with(first)


def _replace_selections_from_stacks(graph: torch.fx.Graph) -> None:
    """Rewrite `torch.stack([h, c])[1]` as `c`. An iteration may stack the states of several layers."""
    for node in list(graph.nodes):
        if node.target is not torch.ops.aten.select.int or node.args[0].target is not torch.ops.aten.stack.default:
            continue
        stacked, axis, index = node.args
        parts, along = stacked.args[0], stacked.args[1] if len(stacked.args) > 1 else 0
        if type(index) is int and (axis - along) % stacked.meta["val"].dim() == 0:
            node.replace_all_uses_with(parts[index])


def _merge_equal_constants(values: Mapping[Node, Tensor], constants: Sequence[Node]) -> None:
    """Replace constants that have equal values, and copies of these constants, by one constant. An iteration with
    `torch.tensor([1.0, 2.0])` makes a new constant each time. Nothing writes into a tensor of a functional graph, so
    they stay equal.

    Args:
        values: the values of the constants, by node.
        constants: the nodes of the constants.
    """
    known: dict[tuple[Any, ...], Node] = {}
    for node in constants:
        value = values[node]
        first = known.setdefault((value.dtype, value.shape, tuple(value.flatten().tolist())), node)
        if first is not node:
            node.replace_all_uses_with(first)
        # A constant belongs to no iteration.
        node.meta["custom"] = {k: v for k, v in (node.meta.get("custom") or {}).items() if k != ITERATION}
    for node in known.values():
        for copy in [user for user in node.users if user.target is torch.ops.aten.clone.default]:
            copy.replace_all_uses_with(node)


def _move_step_selection_before_gates(graph: torch.fx.Graph) -> None:
    """Rewrite `sigmoid(x)[:, t]` as `sigmoid(x[:, t])`, also for tanh: a quasi-recurrent cell computes its gates for
    all steps before the loop."""
    for node in list(graph.nodes):
        while node.target is STEP and node.args[0].op == "call_function" and node.args[0].target in GATES:
            function = node.args[0]
            with graph.inserting_before(node):
                step = graph.call_function(STEP, (function.args[0], *node.args[1:]))
                made = graph.call_function(function.target, (step,))
            step.meta, made.meta = dict(node.meta), dict(node.meta)
            node.replace_all_uses_with(made)
            graph.erase_node(node)
            node = step
