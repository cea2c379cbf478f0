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
from pocketrnn_export.tracing.python_semantics.loops_cut_to_few_iterations import ITERATION, ITERATIONS
from pocketrnn_export.tracing.trace_session import Loop

# The iteration that represents all of them. It is not the first, whose state is the initial one, and not the last,
# whose states are not passed on.
TYPICAL: Final = ITERATIONS - 2
# The index of the position among the arguments of the operators that read or write a step.
_INDEX: Final[dict[Any, int]] = {STEP: 2, PUT: 3}


@dataclass(eq=False)
class LoopState:
    """A value that each iteration of a loop passes to the next one.

    All iterations must compute the same, so that one of the traced iterations, the typical one, stands for all.

    Attributes:
        before: the node that holds the value before the typical iteration.
        first: the node that holds the value before the first iteration.
        after: the node that holds the value after the typical iteration; None while it is not known.
    """

    before: Node
    first: Node
    after: Node | None = None


class MatchedLoop:
    """One loop of a traced graph, whose iterations are matched with each other: the nodes of one typical iteration
    stand for those of all.

    Args:
        traced: the graph.
        number: the index of the loop in the trace.
        loop: the number of iterations and the line of the loop.

    Attributes:
        partners: for each matched node of the typical iteration, the corresponding nodes of all iterations, in order.
        states: the values that an iteration passes to the next one, by the node before the typical iteration.
        numbered: the nodes that compute with the loop's counter: its value in the first iteration, and its change, 1 or
            -1.
    """

    def __init__(self, traced: TracedGraph, number: int, loop: Loop) -> None:
        self.traced, self.number, self.loop = traced, number, loop
        self.partners: dict[Node, tuple[Node | None, ...]] = {}
        self.states: dict[Node, LoopState] = {}
        self.numbered: dict[Node, tuple[int, int]] = {}
        self._iteration: dict[Node, int | None] = {}
        self._marked: list[list[Node]] = [[] for _ in range(ITERATIONS)]
        for node in traced.nodes:
            if (iteration := self.find_iteration_of_call(node)) is not None:
                self._iteration[node] = iteration
                self._marked[iteration].append(node)

    def find_own_or_latest_iteration(self, node: Node) -> int | None:
        """Return the number of the iteration in which a node is computed. For a node after the loop, return the last
        iteration on which the node depends. For a node before the loop, return None."""
        if node not in self._iteration:
            iterations = [self.find_own_or_latest_iteration(source) for source in node.all_input_nodes]
            self._iteration[node] = max((n for n in iterations if n is not None), default=None)
        return self._iteration[node]

    def find_iteration_of_call(self, node: Node) -> int | None:
        """Return the number of the iteration in which a node was called, or None for a node outside the loop."""
        mark = (node.meta.get("custom") or {}).get(ITERATION)
        return mark[1] if mark is not None and mark[0] == self.number else None

    def make_refusal(self, why: str) -> NotALayer:
        """Return the exception for this loop with the reason `why`, a clause such as "its iterations differ"."""
        return NotALayer(why, self.number)

    def match_and_find_typical_node(self, node_of_last_iteration: Node) -> Node:
        """Return the node of the typical iteration that corresponds to a node of the last iteration. If it is not known
        yet, match the nodes of the iterations first.

        Raises:
            NotALayer: the iterations do not match.
        """
        for ref, nodes in self.partners.items():
            if nodes[-1] is node_of_last_iteration:
                return ref
        rank, alike = self._find_position_among_nodes_of_same_operator(node_of_last_iteration, -1)
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
        raise failed or self.make_refusal(
            "the iterations differ: all of them, the last one included, must compute the same values"
        )

    def _find_position_among_nodes_of_same_operator(self, node: Node, iteration: int) -> tuple[int, list[list[Node]]]:
        """Return two values: the index of a node among the nodes of its iteration that call the same operator, and a
        list of the nodes with this operator for each iteration."""
        alike = [
            [n for n in nodes if _make_key_of_operator(n) == _make_key_of_operator(node)] for nodes in self._marked
        ]
        return alike[iteration].index(node), alike

    def match_nodes(self, nodes: tuple[Node | None, ...]) -> None:
        """Record in `partners` that these nodes, one from each iteration, correspond to each other, and so do the nodes
        from which they are computed. The node of the last iteration is None if the graph does not contain it.

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
                raise self.make_refusal("the iterations differ: each must call the same operators in the same order")
            new[ref] = nodes
            todo += self._match_arguments([n for n in nodes if n is not None])
        self.partners.update(new)

    def _match_arguments(self, nodes: Sequence[Node]) -> Iterator[tuple[Node | None, ...]]:
        """Yield the arguments of corresponding nodes that must correspond to each other: for each argument that differs
        between the iterations, the nodes that compute it, one from each iteration.

        Raises:
            NotALayer: the nodes call different operators, or an argument that is not a node differs, such as a number.
        """
        flat = [flatten_tree((n.args, n.kwargs)) for n in nodes]
        if len({n.target for n in nodes}) > 1 or any(spec != flat[0][1] for _, spec in flat[1:]):
            raise self.make_refusal("the loop does not call the same operators in each iteration")
        index = read_step_index(nodes[0])
        for leaves in zip(*(leaves for leaves, _ in flat), strict=True):
            if index is not None and leaves == tuple(read_step_index(n) for n in nodes):
                find_position_direction([read_number_or_expression(leaf) for leaf in leaves], self)
            elif not any(isinstance(leaf, Node) for leaf in leaves):
                if any(leaf != leaves[0] for leaf in leaves):
                    self._record_operation_with_loop_counter(nodes, leaves)
            elif not all(isinstance(leaf, Node) for leaf in leaves):
                raise self.make_refusal("an operator gets a tensor in one iteration and a plain number in another")
            elif any(leaf is not leaves[0] for leaf in leaves):
                found = self._find_nodes_matched_as_arguments(leaves)
                if found is not None:
                    yield found

    def _record_operation_with_loop_counter(self, nodes: Sequence[Node], arguments: Sequence[Any]) -> None:
        """Record in `numbered` corresponding nodes that compute with the loop's counter, such as `lengths > t`.

        Args:
            nodes: the nodes, one from each iteration.
            arguments: the argument of each node that differs between them.

        Raises:
            NotALayer: the operator does not take a tensor and then this number, or the number does not change by 1 or
                -1.
        """
        typical = nodes[TYPICAL]
        plain = find_tensor_overload(typical) is not None and all(type(leaf) is int for leaf in arguments)
        if not plain or tuple(arguments) != tuple(n.args[1] for n in nodes):
            raise self.make_refusal("the loop computes with its counter, such as `i` in `for i in range(steps)`")
        self.numbered[typical] = (arguments[0], find_position_direction(arguments, self))

    def _find_nodes_matched_as_arguments(self, arguments: Sequence[Node]) -> tuple[Node | None, ...] | None:
        """Return the nodes that correspond to each other because they are the same argument of corresponding nodes, one
        from each iteration. Return None if they are already matched.

        If each iteration reads the argument from the iteration before it, record the argument as a state of the loop.
        """
        iterations = [self.find_own_or_latest_iteration(leaf) for leaf in arguments]
        padded = (*arguments, *[None] * (ITERATIONS - len(arguments)))
        if iterations == list(range(len(iterations))):
            return padded
        if iterations[1:] != list(range(len(iterations) - 1)) or iterations[0] not in (None, 0):
            raise self.make_refusal(
                "the iterations differ: each may use only its own values and those of the iteration before it"
            )
        before = arguments[TYPICAL]
        state = self.states.setdefault(before, LoopState(before, arguments[0]))
        if len(arguments) < ITERATIONS or state.after is not None:
            return None
        state.after = arguments[-1]
        return (*arguments[1:], None)

    def find_missing_nodes_of_states(self) -> None:
        """Find for each state the node that holds it after the typical iteration, if the match of the last iteration
        did not show this node.

        Raises:
            NotALayer: the iterations do not match.
        """
        while missing := [state for state in self.states.values() if state.after is None]:
            state = missing[0]
            rank, alike = self._find_position_among_nodes_of_same_operator(state.before, TYPICAL - 1)
            try:
                found = tuple(nodes[rank] for nodes in alike[:-1])
            except IndexError:
                raise self.make_refusal(
                    "the iterations differ: each must compute all states, such as h and c"
                ) from None
            self.match_nodes((*found, None))
            state.after = found[TYPICAL]

    def reads_other_step_in_each_iteration(self, node: Node) -> bool:
        """Return whether a node reads a different step of a tensor in each iteration, as `x[:, t]` does."""
        return node.target is STEP and node in self.partners and self.find_step_direction(node) != 0

    def find_step_direction(self, node: Node) -> int:
        """Return by how much the position that a node reads or writes changes from one iteration to the next: 1, -1, or
        0 for a fixed position."""
        return find_position_direction(
            [read_number_or_expression(read_step_index(n)) for n in self.partners[node] if n is not None], self
        )

    def differs_between_texts(self, node: Node) -> bool:
        """Return whether the value of a node depends on the ids or on a state of the loop, and not only on sizes and
        weights."""

        def has_numbers(n: Node) -> bool:
            return isinstance(n.meta.get("val"), (Tensor, tuple, list))

        given = (*self.traced.inputs, *self.states)
        return any(source in given for source in list_upstream_nodes([node], has_numbers) if has_numbers(source))

    def depends_on(self, node: Node, other: Node) -> bool:
        """Return whether a node depends on another node of the same iteration, other than through the new value of a
        state."""
        afters = {state.after for state in self.states.values()}
        return any(
            source is other for source in list_upstream_nodes([node], lambda n: n in self.partners and n not in afters)
        )


def list_upstream_nodes(nodes: Iterable[Node], passes_through: Callable[[Node], bool]) -> Iterator[Node]:
    """Yield the given nodes and the nodes from which they are computed, each once. Go on from a node to its arguments
    only if `passes_through` is true for it."""
    todo, seen = list(nodes), set()
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += node.all_input_nodes if passes_through(node) else ()
            yield node


def _make_key_of_operator(node: Node) -> Any:
    """Return a key that is equal for two nodes that call the same operator. For `getitem`, it contains the index and
    the operator whose result is indexed."""
    if node.target is operator.getitem:
        return node.target, node.args[0].target, node.args[1]  # type: ignore[union-attr]
    return node.target


def read_step_index(node: Node) -> Any:
    """Return the position at which a node reads or writes a step: a number, or the node that computes it. Return None
    for a node that is neither `pocketrnn::step` nor `pocketrnn::put`."""
    position = _INDEX.get(node.target)
    return None if position is None else node.args[position]


def find_tensor_overload(node: Node) -> Any:
    """Return the overload of a node's operator that takes two tensors, for a node that calls it with a tensor and a
    number: `gt.Tensor` for `gt.Scalar`. Return None for other nodes."""
    packet = getattr(node.target, "overloadpacket", None)
    if read_overload_name(node.target) not in ("Scalar", "Tensor") or packet is None:
        return None
    return packet.Tensor if "Tensor" in packet.overloads() and not node.kwargs and len(node.args) == 2 else None


def read_number_or_expression(value: Any) -> Any:
    """Return the value of an argument, or of the node that computes it. For a symbolic size, return its SymPy
    expression."""
    found = value.meta["val"] if isinstance(value, Node) else value
    return read_size_expression(found) if isinstance(found, torch.SymInt) else found


def find_position_direction(numbers: Sequence[Any], loop: MatchedLoop) -> int:
    """Return by how much a position changes from one iteration to the next: 1, -1 or 0.

    Args:
        numbers: the position in each iteration, as numbers or SymPy expressions.
        loop: the loop, for the error.

    Raises:
        NotALayer: the position changes otherwise.
    """
    steps = {later - earlier for earlier, later in itertools.pairwise(numbers)}
    if len(steps) != 1 or (step := steps.pop()) not in (-1, 0, 1):
        raise loop.make_refusal(
            "the loop does not read each step of the text in order, as x[:, t] does, forwards or backwards"
        )
    return int(step)


def convert_floats_to_float64(value: Any) -> Any:
    """Return a tensor of floats in float64. Return other values unchanged."""
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def compute_node_value(node: Node, find_value: Callable[[Node], Any], *, in_float64: bool = False) -> Any:
    """Return the value of a node, computed from its arguments.

    Args:
        find_value: a function that returns the value of a node that is an argument.
        in_float64: whether to compute in float64.
    """
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
