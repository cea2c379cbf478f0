"""Match the nodes of a traced loop's iterations with each other, and find the states that an iteration passes to the
next iteration."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.fx import Node

from pocketrnn_export.torch_internals import flatten_tree, read_overload_name, read_size_expression
from pocketrnn_export.tracing.loops.cell_recognition import NotALayer
from pocketrnn_export.tracing.loops.graph_of_unrolled_loops import TracedGraph
from pocketrnn_export.tracing.operators_right_for_every_size import PUT, STEP
from pocketrnn_export.tracing.python_semantics.few_iteration_loops import ITERATION, ITERATIONS
from pocketrnn_export.tracing.session import Loop

# The iteration that represents all of them. It is not the first, whose state is the initial one, and not the last,
# whose states are not passed on.
TYPICAL: Final = ITERATIONS - 2
# The index of the position among the arguments of the operators that read or write a step.
_INDEX: Final[dict[Any, int]] = {STEP: 2, PUT: 3}


@dataclass(eq=False)
class LoopState:
    """A value that each iteration of a loop passes to the following one: its node before the typical iteration, which
    stands for all, and its node after this iteration, once it is matched."""

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
            if (iteration := self.find_iteration_of_call(node)) is not None:
                self._iteration[node] = iteration
                self._marked[iteration].append(node)

    def find_own_or_latest_iteration(self, node: Node) -> int | None:
        """Return the number of the iteration that computes a node. For a node after the loop, return the last iteration
        that the node depends on. For a node before the loop, return None."""
        if node not in self._iteration:
            iterations = [self.find_own_or_latest_iteration(source) for source in node.all_input_nodes]
            self._iteration[node] = max((n for n in iterations if n is not None), default=None)
        return self._iteration[node]

    def find_iteration_of_call(self, node: Node) -> int | None:
        """Return the iteration in which a node was called, or None for a node outside the loop."""
        mark = (node.meta.get("custom") or {}).get(ITERATION)
        return mark[1] if mark is not None and mark[0] == self.number else None

    def make_refusal(self, why: str) -> NotALayer:
        return NotALayer(why, self.number)

    def match_and_find_typical_node(self, node_of_last_iteration: Node) -> Node:
        """Return the node of the typical iteration, which stands for all, that corresponds to a node of the last
        iteration. If it is not known yet, find it by matching the iterations."""
        for ref, nodes in self.partners.items():
            if nodes[-1] is node_of_last_iteration:
                return ref
        rank, alike = self._find_rank_and_nodes_of_same_operator(node_of_last_iteration, -1)
        # Unused nodes of the last iteration are dropped, so fewer nodes may come before it there.
        failed: NotALayer | None = None
        for i in range(rank, len(alike[TYPICAL])):
            try:
                self.match_nodes((*(nodes[i] for nodes in alike[:-1]), node_of_last_iteration))
                return alike[TYPICAL][i]
            except IndexError:
                break
            except NotALayer as error:
                failed = failed or error
        raise failed or self.make_refusal("the iterations differ")

    def _find_rank_and_nodes_of_same_operator(self, node: Node, iteration: int) -> tuple[int, list[list[Node]]]:
        """Return the index of a node among the nodes of its iteration that have its operator, and the list of such
        nodes of each iteration."""
        alike = [[n for n in nodes if _find_node_kind(n) == _find_node_kind(node)] for nodes in self._marked]
        return alike[iteration].index(node), alike

    def match_nodes(self, nodes: tuple[Node | None, ...]) -> None:
        """Record in `partners` that these nodes, one from each iteration, correspond to each other, and so do the nodes
        from which they are computed.

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
        """Yield the nodes that corresponding nodes have as arguments, one from each iteration, where they differ. Raise
        NotALayer for corresponding nodes that differ in other arguments, such as numbers."""
        flat = [flatten_tree((n.args, n.kwargs)) for n in nodes]
        if len({n.target for n in nodes}) > 1 or any(spec != flat[0][1] for _, spec in flat[1:]):
            raise self.make_refusal("the loop does not do the same in each iteration")
        index = read_step_index(nodes[0])
        for leaves in zip(*(leaves for leaves, _ in flat), strict=True):
            if index is not None and leaves == tuple(read_step_index(n) for n in nodes):
                find_position_direction([read_number_or_expression(leaf) for leaf in leaves], self)
            elif not any(isinstance(leaf, Node) for leaf in leaves):
                if any(leaf != leaves[0] for leaf in leaves):
                    self._record_operation_with_step_number(nodes, leaves)
            elif not all(isinstance(leaf, Node) for leaf in leaves):
                raise self.make_refusal("the loop does not do the same in each iteration")
            elif any(leaf is not leaves[0] for leaf in leaves):
                found = self._match_argument_nodes(leaves)
                if found is not None:
                    yield found

    def _record_operation_with_step_number(self, nodes: Sequence[Node], arguments: Sequence[Any]) -> None:
        """Record corresponding nodes that compute with the number of the iteration, such as `lengths > t`. Raise
        NotALayer for other nodes whose numbers differ between iterations."""
        typical = nodes[TYPICAL]
        plain = find_tensor_overload(typical) is not None and all(type(leaf) is int for leaf in arguments)
        if not plain or tuple(arguments) != tuple(n.args[1] for n in nodes):
            raise self.make_refusal("the loop computes with the number of the step")
        self.numbered[typical] = (arguments[0], find_position_direction(arguments, self))

    def _match_argument_nodes(self, arguments: Sequence[Node]) -> tuple[Node | None, ...] | None:
        """Find the nodes that must correspond to each other because `arguments`, one from each iteration, are the same
        argument of corresponding nodes. Return one node for each iteration, or None if they are already known.

        If an iteration reads the argument from the iteration before it, record the argument as a state of the loop.
        """
        iterations = [self.find_own_or_latest_iteration(leaf) for leaf in arguments]
        padded = (*arguments, *[None] * (ITERATIONS - len(arguments)))
        if iterations == list(range(len(iterations))):
            return padded
        if iterations[1:] != list(range(len(iterations) - 1)) or iterations[0] not in (None, 0):
            raise self.make_refusal("the iterations differ")
        before = arguments[TYPICAL]
        state = self.states.setdefault(before, LoopState(before, arguments[0]))
        if len(arguments) < ITERATIONS or state.after is not None:
            return None
        state.after = arguments[-1]
        return (*arguments[1:], None)

    def complete_states(self) -> None:
        """Complete the states of the loop, the values that an iteration passes to the next one. If the last iteration
        did not show which node of the typical iteration computes a state, find it here."""
        while missing := [state for state in self.states.values() if state.after is None]:
            state = missing[0]
            rank, alike = self._find_rank_and_nodes_of_same_operator(state.before, TYPICAL - 1)
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
        """Return by how much the position of the step that a node reads or writes changes from one iteration to the
        next: 1, -1, or 0 for a node without a step."""
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
        """Return whether a node depends on another node of its iteration, except through the new value of a state."""
        afters = {state.after for state in self.states.values()}
        return any(
            source is other for source in list_upstream_nodes([node], lambda n: n in self.partners and n not in afters)
        )


def list_upstream_nodes(nodes: Iterable[Node], passes_through: Callable[[Node], bool]) -> Iterator[Node]:
    """Yield nodes and all nodes before them, each once, through the nodes for which `passes_through` is true."""
    todo, seen = list(nodes), set()
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += node.all_input_nodes if passes_through(node) else ()
            yield node


def _find_node_kind(node: Node) -> Any:
    """Return a value that is equal for two nodes if they call the same operator or, for `getitem`, take the same output
    of the same operator."""
    if node.target is operator.getitem:
        return node.target, node.args[0].target, node.args[1]  # type: ignore[union-attr]
    return node.target


def read_step_index(node: Node) -> Any:
    """Return the position at which a node reads or writes a step. This is a number, or a node that computes it. Return
    None for nodes that do neither."""
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
    """Return the change of a position from one iteration to the next: 1, -1, or 0. Raise NotALayer for other
    changes."""
    steps = {later - earlier for earlier, later in itertools.pairwise(numbers)}
    if len(steps) != 1 or (step := steps.pop()) not in (-1, 0, 1):
        raise loop.make_refusal("the loop does not read each step of the text, forwards or backwards")
    return int(step)


def convert_floats_to_float64(value: Any) -> Any:
    """Return a tensor of floats in double precision. Return other values unchanged."""
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def compute_node_value(node: Node, find_value: Callable[[Node], Any], *, in_float64: bool = False) -> Any:
    """Compute a node's value from its arguments, which `find_value` gives; if `in_float64`, in double precision."""
    mapped: Any = torch.fx.node.map_arg((node.args, dict(node.kwargs)), find_value)
    args, kwargs = mapped[0], dict(mapped[1])
    if in_float64 and kwargs.get("dtype") == torch.float32:
        kwargs["dtype"] = torch.float64
    if node.target is STEP:
        return args[0].select(args[1], args[2])
    if node.target is PUT:
        return args[0].select_scatter(args[1], args[2], args[3])
    result = node.target(*args, **kwargs)  # type: ignore[operator]
    return convert_floats_to_float64(result) if in_float64 else result
