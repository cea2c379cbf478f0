"""Match the nodes of a traced loop's iterations with each other, and find the states that an iteration passes to the
next iteration."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sympy
import torch
from torch import Tensor, nn
from torch.export.graph_signature import OutputKind
from torch.fx import Node

from pocketrnn_export.torch_internals import (
    cache_known_operators,
    flatten_tree,
    read_overload_name,
    read_size_expression,
)
from pocketrnn_export.tracing.layers.recurrence import OPERATOR, compute_step
from pocketrnn_export.tracing.loops.cell_recognition import GATES, NotALayer
from pocketrnn_export.tracing.python_semantics.few_iteration_loops import ITERATION, ITERATIONS
from pocketrnn_export.tracing.session import Loop
from pocketrnn_export.tracing.trace_operators import PUT, STEP

# The iteration that represents all of them. It is not the first, whose state is the initial one, and not the last,
# whose states are not passed on.
TYPICAL: Final = ITERATIONS - 2
# The index of the position among the arguments of the operators that read or write a step.
_INDEX: Final[dict[Any, int]] = {STEP: 2, PUT: 3}


def _compute_lstm_cell(x: Tensor, hx: Sequence[Tensor], w: Tensor, r: Tensor, b: Any = None, c: Any = None) -> Any:
    gates = nn.functional.linear(x, w, b) + nn.functional.linear(hx[0], r, c)
    i, f, g, o = gates.chunk(4, 1)
    cell = torch.sigmoid(f) * hx[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


def _compute_gru_cell(x: Tensor, h: Tensor, w: Tensor, r: Tensor, b: Any = None, c: Any = None) -> Any:
    given, kept = nn.functional.linear(x, w, b).chunk(3, 1), nn.functional.linear(h, r, c).chunk(3, 1)
    reset, update = torch.sigmoid(given[0] + kept[0]), torch.sigmoid(given[1] + kept[1])
    new = torch.tanh(given[2] + reset * kept[2])
    return (h - new) * update + new


def _make_rnn_cell(activation: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    def compute_cell(x: Tensor, h: Tensor, w: Tensor, r: Tensor, b: Any = None, c: Any = None) -> Any:
        return activation(nn.functional.linear(x, w, b) + nn.functional.linear(h, r, c))

    return compute_cell


def _run_one_step_layer(x: Tensor, w: Tensor, r: Tensor, b: Any, lengths: Any, h0: Any, c0: Any, mode: str) -> Any:
    """Run `pocketrnn::recurrence` over one step. Return `NotImplemented` for other calls."""
    single = isinstance(x.shape[0], int) and x.shape[0] == 1
    if not single or lengths is not None or len(r) != 1 or h0 is None or (mode == "LSTM" and c0 is None):
        return NotImplemented
    before = h0[0] if c0 is None else c0[0]
    h, c = compute_step(x[0], h0[0], before, w[0], r[0], None if b is None else b[0], mode)
    return h[None], h[None], c[None] if mode == "LSTM" else h[None].clone()


# The equations of torch's cells (see nn.LSTMCell, nn.GRUCell and nn.RNNCell), by operator.
_CELLS: Final[Mapping[Any, Callable[..., Any]]] = {
    torch.ops.aten.lstm_cell.default: _compute_lstm_cell,
    torch.ops.aten.gru_cell.default: _compute_gru_cell,
    torch.ops.aten.rnn_tanh_cell.default: _make_rnn_cell(torch.tanh),
    torch.ops.aten.rnn_relu_cell.default: _make_rnn_cell(torch.relu),
    OPERATOR: _run_one_step_layer,
}


class TracedGraph:
    """The graph of a traced module whose loops ran a few iterations.

    Attributes:
        nodes: the nodes of its graph, in order.
        state: the names of the parameters, buffers and constants, by their nodes; `values` are their values.
        inputs, outputs: the nodes of the module's inputs and outputs.
        batch: the batch size as torch's expression; None if it is a plain 1.
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
        _join_equal_views(graph)
        _read_parts_of_stacks(graph)
        _move_step_selection_before_functions(graph)
        self.nodes: list[Node] = list(graph.nodes)
        given = [node for node in self.nodes if node.op == "placeholder"]
        self.state = {node: named[node.name] for node in given if node.name in named}
        known = {**functional.constants, **functional.state_dict}
        self.values: dict[Node, Tensor] = {node: known[name].detach() for node, name in self.state.items()}
        _join_equal_constants(self.values, [n for n in given if n.name in signature.inputs_to_lifted_tensor_constants])
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

    def compute_shape(self, node: Node, batch: int) -> list[int]:
        """Return the shape of a node's value for this batch size and 5 tokens."""
        return [self.compute_size(size, batch) for size in node.meta["val"].shape]

    def compute_size(self, size: Any, batch: int) -> int:
        """Return a size as a plain number, for this batch size and 5 tokens."""
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


def _join_equal_views(graph: torch.fx.Graph) -> None:
    """Merge nodes that are equal views of one tensor. A layer that runs one step has its output and its state as two
    views, and only the state goes into the next iteration. Two reads of a step in one iteration become one node,
    too."""
    known: dict[tuple[Any, str, str], Node] = {}
    for node in list(graph.nodes):
        if node.op == "call_function" and (node.target in _VIEWS or node.target is STEP) and not node.kwargs:
            iteration = repr(node.meta.get("custom")) if node.target is STEP else ""
            first = known.setdefault((node.target, repr(node.args), iteration), node)
            if first is not node:
                node.replace_all_uses_with(first)


def _read_parts_of_stacks(graph: torch.fx.Graph) -> None:
    """Rewrite `torch.stack([h, c])[1]` as `c`. An iteration may stack the states of several layers."""
    for node in list(graph.nodes):
        if node.target is not torch.ops.aten.select.int or node.args[0].target is not torch.ops.aten.stack.default:
            continue
        stacked, axis, index = node.args
        parts, along = stacked.args[0], stacked.args[1] if len(stacked.args) > 1 else 0
        if type(index) is int and (axis - along) % stacked.meta["val"].dim() == 0:
            node.replace_all_uses_with(parts[index])


def _join_equal_constants(values: Mapping[Node, Tensor], constants: Sequence[Node]) -> None:
    """Replace equal constants, and their copies, by one constant. An iteration with `torch.tensor([1.0, 2.0])` makes a
    new constant each time. This is safe because nothing writes into a tensor of a functional graph."""
    known: dict[tuple[Any, ...], Node] = {}
    for node in constants:
        value = values[node]
        first = known.setdefault((value.dtype, value.shape, tuple(value.flatten().tolist())), node)
        if first is not node:
            node.replace_all_uses_with(first)
        # It belongs to no iteration.
        node.meta["custom"] = {k: v for k, v in (node.meta.get("custom") or {}).items() if k != ITERATION}
    for node in known.values():
        for copy in [user for user in node.users if user.target is torch.ops.aten.clone.default]:
            copy.replace_all_uses_with(node)


def _move_step_selection_before_functions(graph: torch.fx.Graph) -> None:
    """Rewrite `sigmoid(x)[:, t]` as `sigmoid(x[:, t])`, as for the gates of quasi-recurrent cells."""
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


@dataclass(eq=False)
class LoopState:
    """A state that an iteration passes on: the typical iteration's node before it and, once known, after it."""

    before: Node
    first: Node
    after: Node | None = None


class MatchedLoop:
    """One loop: its typical iteration, which stands for all, and the states that an iteration passes on."""

    def __init__(self, traced: TracedGraph, number: int, loop: Loop) -> None:
        self.traced, self.number, self.loop = traced, number, loop
        self.partners: dict[Node, tuple[Node | None, ...]] = {}
        self.states: dict[Node, LoopState] = {}
        # The nodes that compute with the number of the step: its value in the first iteration, and its change, 1 or -1.
        self.numbered: dict[Node, tuple[int, int]] = {}
        self._iteration: dict[Node, int | None] = {}
        self._marked: list[list[Node]] = [[] for _ in range(ITERATIONS)]
        for node in traced.nodes:
            if (iteration := self.find_called_iteration(node)) is not None:
                self._iteration[node] = iteration
                self._marked[iteration].append(node)

    def find_iteration(self, node: Node) -> int | None:
        """Return the iteration to which a node belongs. For a node after the loop, return the last iteration that the
        node depends on. For a node before the loop, return None."""
        if node not in self._iteration:
            iterations = [self.find_iteration(source) for source in node.all_input_nodes]
            self._iteration[node] = max((n for n in iterations if n is not None), default=None)
        return self._iteration[node]

    def find_called_iteration(self, node: Node) -> int | None:
        """Return the iteration in which a node was called, or None for a node outside the loop."""
        mark = (node.meta.get("custom") or {}).get(ITERATION)
        return mark[1] if mark is not None and mark[0] == self.number else None

    def make_refusal(self, why: str) -> NotALayer:
        return NotALayer(why, self.number)

    def find_typical_node(self, last: Node) -> Node:
        """Return the node of the typical iteration that corresponds to a node of the last iteration. Match the two
        first."""
        for ref, nodes in self.partners.items():
            if nodes[-1] is last:
                return ref
        rank, alike = self._find_matching_nodes(last, -1)
        # Unused nodes of the last iteration are dropped, so fewer nodes may come before it there.
        failed: NotALayer | None = None
        for i in range(rank, len(alike[TYPICAL])):
            try:
                self.match_nodes((*(nodes[i] for nodes in alike[:-1]), last))
                return alike[TYPICAL][i]
            except IndexError:
                break
            except NotALayer as error:
                failed = failed or error
        raise failed or self.make_refusal("the iterations differ")

    def _find_matching_nodes(self, node: Node, iteration: int) -> tuple[int, list[list[Node]]]:
        """Return each iteration's nodes with a node's operator, and the node's index among them."""
        alike = [[n for n in nodes if _find_node_kind(n) == _find_node_kind(node)] for nodes in self._marked]
        return alike[iteration].index(node), alike

    def match_nodes(self, nodes: tuple[Node | None, ...]) -> None:
        """Match nodes, one from each iteration, and all nodes before them. `partners` stores the matches.

        Raises:
            NotALayer: the nodes do not match.
        """
        new: dict[Node, tuple[Node | None, ...]] = {}
        todo = [nodes]
        while todo:
            nodes = todo.pop()
            ref = nodes[TYPICAL]
            assert ref is not None  # noqa: S101 - only the last may be missing
            known = new.get(ref, self.partners.get(ref))
            if known is not None and known[:-1] == nodes[:-1] and nodes[-1] in (None, known[-1]):
                continue
            if known is not None and (known[:-1] != nodes[:-1] or known[-1] is not None):
                raise self.make_refusal("the iterations differ")
            new[ref] = nodes
            todo += self._match_arguments([n for n in nodes if n is not None])
        self.partners.update(new)

    def _match_arguments(self, nodes: Sequence[Node]) -> Iterator[tuple[Node | None, ...]]:
        """Yield the arguments of matched nodes that are nodes to match. Refuse nodes that differ in other arguments."""
        flat = [flatten_tree((n.args, n.kwargs)) for n in nodes]
        if len({n.target for n in nodes}) > 1 or any(spec != flat[0][1] for _, spec in flat[1:]):
            raise self.make_refusal("the loop does not do the same in each iteration")
        index = read_step_index(nodes[0])
        for leaves in zip(*(leaves for leaves, _ in flat), strict=True):
            if index is not None and leaves == tuple(read_step_index(n) for n in nodes):
                find_position_direction([read_number_or_expression(leaf) for leaf in leaves], self)
            elif not any(isinstance(leaf, Node) for leaf in leaves):
                if any(leaf != leaves[0] for leaf in leaves):
                    self._record_counted_operation(nodes, leaves)
            elif not all(isinstance(leaf, Node) for leaf in leaves):
                raise self.make_refusal("the loop does not do the same in each iteration")
            elif any(leaf is not leaves[0] for leaf in leaves):
                found = self._match_leaves(leaves)
                if found is not None:
                    yield found

    def _record_counted_operation(self, nodes: Sequence[Node], leaves: Sequence[Any]) -> None:
        """Record an operation with the number of the step, such as `lengths > t`."""
        typical = nodes[TYPICAL]
        plain = find_tensor_overload(typical) is not None and all(type(leaf) is int for leaf in leaves)
        if not plain or tuple(leaves) != tuple(n.args[1] for n in nodes):
            raise self.make_refusal("the loop computes with the number of the step")
        self.numbered[typical] = (leaves[0], find_position_direction(leaves, self))

    def _match_leaves(self, leaves: Sequence[Node]) -> tuple[Node | None, ...] | None:
        """Return one argument of each iteration as nodes to match, or None. If the argument comes from the iteration
        before, record it as a state, and return the nodes after the iterations."""
        iterations = [self.find_iteration(leaf) for leaf in leaves]
        padded = (*leaves, *[None] * (ITERATIONS - len(leaves)))
        if iterations == list(range(len(iterations))):
            return padded
        if iterations[1:] != list(range(len(iterations) - 1)) or iterations[0] not in (None, 0):
            raise self.make_refusal("the iterations differ")
        before = leaves[TYPICAL]
        state = self.states.setdefault(before, LoopState(before, leaves[0]))
        if len(leaves) < ITERATIONS or state.after is not None:
            return None
        state.after = leaves[-1]
        return (*leaves[1:], None)

    def complete_states(self) -> None:
        """Find the node after the iteration for each state, where the last iteration does not show this node."""
        while missing := [state for state in self.states.values() if state.after is None]:
            state = missing[0]
            rank, alike = self._find_matching_nodes(state.before, TYPICAL - 1)
            try:
                found = tuple(nodes[rank] for nodes in alike[:-1])
            except IndexError:
                raise self.make_refusal("the iterations differ") from None
            self.match_nodes((*found, None))
            state.after = found[TYPICAL]

    def moves_by_step(self, node: Node) -> bool:
        """Return whether a node reads a different step of a tensor in each iteration."""
        return node.target is STEP and node in self.partners and self.find_direction(node) != 0

    def find_direction(self, node: Node) -> int:
        """Return how the position of a node's step changes in each iteration: 1, -1 or 0."""
        return find_position_direction(
            [read_number_or_expression(read_step_index(n)) for n in self.partners[node] if n is not None], self
        )

    def differs_between_texts(self, node: Node) -> bool:
        """Return whether a value depends on the ids or on a state, and not only on sizes."""

        def has_numbers(n: Node) -> bool:
            return isinstance(n.meta.get("val"), (Tensor, tuple, list))

        given = (*self.traced.inputs, *self.states)
        return any(source in given for source in list_upstream_nodes([node], has_numbers) if has_numbers(source))

    def depends_on(self, node: Node, other: Node) -> bool:
        """Return whether a node depends on another node of its iteration. A state's new value does not count."""
        afters = {state.after for state in self.states.values()}
        return any(
            source is other for source in list_upstream_nodes([node], lambda n: n in self.partners and n not in afters)
        )


def list_upstream_nodes(nodes: Iterable[Node], entered: Callable[[Node], bool]) -> Iterator[Node]:
    """Yield nodes and all nodes before them, each once, through the nodes for which `entered` is true."""
    todo, seen = list(nodes), set()
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += node.all_input_nodes if entered(node) else ()
            yield node


def _find_node_kind(node: Node) -> Any:
    """Return a value that is equal for two nodes with one operator, or with one output of one operator."""
    if node.target is operator.getitem:
        return node.target, node.args[0].target, node.args[1]  # type: ignore[union-attr]
    return node.target


def read_step_index(node: Node) -> Any:
    """Return the position at which a node reads or writes a step, a number or a node; None for other nodes."""
    position = _INDEX.get(node.target)
    return None if position is None else node.args[position]


def find_tensor_overload(node: Node) -> Any:
    """Return the two-tensor overload of an operator that takes a tensor and a number, or None."""
    packet = getattr(node.target, "overloadpacket", None)
    if read_overload_name(node.target) not in ("Scalar", "Tensor") or packet is None:
        return None
    return packet.Tensor if "Tensor" in packet.overloads() and not node.kwargs and len(node.args) == 2 else None


def read_number_or_expression(value: Any) -> Any:
    """Return the number that an argument or a node stands for. For a traced size, return its SymPy expression."""
    found = value.meta["val"] if isinstance(value, Node) else value
    return read_size_expression(found) if isinstance(found, torch.SymInt) else found


def find_position_direction(numbers: Sequence[Any], loop: MatchedLoop) -> int:
    """Return the change of a position from one iteration to the next: 1, -1, or 0. Refuse other changes."""
    steps = {later - earlier for earlier, later in itertools.pairwise(numbers)}
    if len(steps) != 1 or (step := steps.pop()) not in (-1, 0, 1):
        raise loop.make_refusal("the loop does not read each step of the text, forwards or backwards")
    return int(step)


def convert_floats_to_float64(value: Any) -> Any:
    """Return a tensor of floats in double precision. Return other values unchanged."""
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def compute_node_value(node: Node, value: Callable[[Node], Any], *, doubles: bool = False) -> Any:
    """Compute a node's value from its arguments, which `value` gives; if `doubles`, in double precision."""
    mapped: Any = torch.fx.node.map_arg((node.args, dict(node.kwargs)), value)
    args, kwargs = mapped[0], dict(mapped[1])
    if doubles and kwargs.get("dtype") == torch.float32:
        kwargs["dtype"] = torch.float64
    if node.target is STEP:
        return args[0].select(args[1], args[2])
    if node.target is PUT:
        return args[0].select_scatter(args[1], args[2], args[3])
    result = node.target(*args, **kwargs)  # type: ignore[operator]
    return convert_floats_to_float64(result) if doubles else result
