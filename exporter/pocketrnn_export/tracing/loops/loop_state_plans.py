"""Find the states that a loop passes from iteration to iteration, and the kind of each: a recurrent layer, a running
sum, a running maximum, or a tensor that the loop fills."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
from torch import Tensor
from torch.fx import Node

from pocketrnn_export.tracing.loops.cell_recognition import (
    BENT,
    GATES,
    SCALES,
    NotALayer,
    RecurrentLayer,
    StateCycle,
    read_full_and_short_operator_name,
    recognize_layer,
)
from pocketrnn_export.tracing.loops.iteration_matching import (
    LoopState,
    MatchedLoop,
    compute_node_value,
    convert_floats_to_float64,
    list_upstream_nodes,
)
from pocketrnn_export.tracing.operators_right_for_every_size import PUT


@dataclass(eq=False)
class StatePlan:
    """How the states of a loop are computed without the loop: by which layer, running sum, running maximum or filled
    tensor.

    Attributes:
        layers: the recurrent layers with their names, by the node of each state after an iteration; and the mask, if an
            iteration changes only some rows.
        filled: the tensors that are filled step by step: from the node after an iteration to the node that writes.
        summed, greatest: the running sums and maxima: from the node after an iteration to the node before it.
        zeros: the states of layers, as nodes before an iteration, that start as zeros.
    """

    layers: dict[Node, tuple[RecurrentLayer, str, Node | None]] = field(default_factory=dict)
    filled: dict[Node, Node] = field(default_factory=dict)
    summed: dict[Node, Node] = field(default_factory=dict)
    greatest: dict[Node, Node] = field(default_factory=dict)
    zeros: set[Node] = field(default_factory=set)


def plan_states(loop: MatchedLoop, taken_layer_names: set[str]) -> StatePlan:
    """Find for each state of a loop the layer, running sum, running maximum or filled tensor that computes it without
    the loop.

    Args:
        loop: the loop, matched.
        taken_layer_names: the names of the layers of all loops, to which those of this one are added.

    Raises:
        NotALayer: a state is of no known kind.
    """
    plan = StatePlan()
    # The cycles are the strongly connected components, in topological order. graphlib does not find components, and a
    # loop has only a few states.
    reached = {state.before: _find_states_read_by(loop, state.after) for state in loop.states.values()}
    left = list(loop.states.values())
    while left:
        # First the cycles that depend on no other remaining cycle.
        cycle = min(
            ([other for other in left if other.before in reached[s.before] and s.before in reached[other.before]] or [s]
             for s in left),
            key=lambda r: len({n for s in r for n in reached[s.before]} & {s.before for s in left}) - len(r),
        )  # fmt: skip
        left = [state for state in left if state not in cycle]
        if any(state.before in reached[state.before] for state in cycle):
            _plan_cycle(loop, cycle, plan, taken_layer_names)
    return plan


def _find_states_read_by(loop: MatchedLoop, node: Node | None) -> set[Node]:
    """Return the states of a loop on which a node of an iteration depends, each as its node before the iteration."""
    assert node is not None  # noqa: S101 - the loop is complete
    return {
        n
        for n in list_upstream_nodes([node], lambda n: n in loop.partners and n not in loop.states)
        if n in loop.states
    }


def _plan_cycle(loop: MatchedLoop, cycle: Sequence[LoopState], plan: StatePlan, taken_layer_names: set[str]) -> None:
    """Add to the plan what computes `cycle`, the states that an iteration computes from each other: a filled tensor, a
    running sum or maximum, or a layer. `taken_layer_names` contains the names of the layers of all loops."""
    befores = {state.before for state in cycle}
    if len(cycle) == 1:
        before, after = cycle[0].before, cycle[0].after
        assert after is not None  # noqa: S101 - the loop is complete
        put = after.args[1] if after.target is torch.ops.aten.copy.default else after
        if isinstance(put, Node) and put.target is PUT and put.args[0] is before:
            plan.filled[after] = put
            return
    afters = [state.after for state in cycle if state.after is not None]
    dependent = _find_dependent_nodes(loop, befores, afters)
    near = [n for node in dependent for n in node.all_input_nodes if n not in dependent and n not in befores]
    direct_sources = list(dict.fromkeys(filter(loop.differs_between_texts, near)))
    if len(cycle) == 1 and _add_running_reduction(loop, cycle, direct_sources, dependent, plan):
        return
    failed: list[NotALayer] = []
    for mask in (None, *_list_possible_masks(loop, direct_sources, dependent)):
        read = direct_sources if mask is None else [n for n in direct_sources if not loop.depends_on(n, mask)]
        for sources in _list_source_choices(loop, read):
            if not sources or not all(map(_is_floating, (*sources, *befores))):
                continue
            if mask is not None and not _mask_keeps_states(loop, cycle, sources, dependent, mask):
                continue
            try:
                _refuse_other_operators(loop, sources, dependent, mask)
                layer = recognize_layer(_make_state_cycle(loop, cycle, sources, dependent, mask))
            except NotALayer as error:
                failed.append(NotALayer(str(error), loop.number))
                continue
            name = _choose_layer_name(loop, dependent, taken_layer_names)
            taken_layer_names.add(name)
            plan.layers |= {after: (layer, name, mask) for _, after in layer.states}
            plan.zeros |= {before for before, _ in layer.states if _starts_as_zeros(loop, loop.states[before].first)}
            return
    named = [error for error in failed if "`" in str(error)]
    raise [*named, *failed, loop.make_refusal("the states are not computed as in an RNN, GRU or LSTM that ONNX has")][0]


# The operators that only move numbers, and those of sums and products. With the sigmoids, tanhs and relus of layers,
# they are the only operators between a layer's inputs and its states. Random numbers do not show another operator in
# an iteration, such as a comparison with 9999.
_MOVES: Final = frozenset({
    "_to_copy", "_unsafe_view", "alias", "chunk", "clone", "contiguous", "copy", "detach", "expand", "expand_as",
    "flatten", "getitem", "lift_fresh_copy", "movedim", "permute", "repeat", "reshape", "select", "slice", "split",
    "split_with_sizes", "squeeze", "step", "swapaxes", "t", "to", "transpose", "type_as", "unbind", "unflatten",
    "unsqueeze", "view", "view_as",
})  # fmt: skip
_SUMS: Final = frozenset({"add", "cat", "concat", "hstack", "neg", "rsub", "stack", "sub", "subtract", "sum", "vstack"})
_PRODUCTS: Final = frozenset({
    "addcmul", "addmm", "addmv", "baddbmm", "bmm", "div", "dot", "einsum", "lerp", "linear", "matmul", "mm", "mul",
    "multiply", "mv", "outer", "tensordot",
})  # fmt: skip
_CONSTANTS: Final = frozenset({"full_like", "new_full", "new_ones", "new_zeros", "ones_like", "zeros_like"})
_OF_LAYERS: Final = _MOVES | _SUMS | _PRODUCTS | _CONSTANTS | {"max.other", "maximum", "relu", "sigmoid", "tanh"}


def _refuse_other_operators(
    loop: MatchedLoop, sources: Sequence[Node], dependent: Sequence[Node], mask: Node | None
) -> None:
    """Raise NotALayer if an iteration has an operator that recurrent layers do not have, unless the operator only
    computes `mask`, which marks the rows that the iteration changes."""
    given = {*sources, *([] if mask is None else [mask])}
    for node in _list_nodes_back_to(loop, dependent, given):
        if not loop.differs_between_texts(node):
            continue
        whole, name = read_full_and_short_operator_name(node)
        asks = node.args[0] if name == "where" and isinstance(node.args[0], Node) else node
        # A quotient is nearly 0 if its divisor is large, which random numbers may not show.
        divides = name == "div" and isinstance(node.args[1], Node) and loop.differs_between_texts(node.args[1])
        if (
            divides or _converts_floats_to_integers(node) or not {name, whole} & _OF_LAYERS
        ) and not _depends_on_mask_alone(loop, mask, asks):
            raise NotALayer(f"each step also computes `{name}`, which recurrent layers do not")


def _converts_floats_to_integers(node: Node) -> bool:
    """Return whether a node converts floats to integers or bools. The effect of such a node cannot be seen from a run
    on random floats."""
    value = node.meta.get("val")
    return (
        isinstance(value, Tensor)
        and not value.is_floating_point()
        and any(isinstance(n.meta.get("val"), Tensor) and _is_floating(n) for n in node.all_input_nodes)
    )


def _depends_on_mask_alone(loop: MatchedLoop, mask: Node | None, node: Node) -> bool:
    """Return whether a value in an iteration depends on the mask, and on nothing else that differs between texts."""
    if mask is None:
        return False
    read = list_upstream_nodes([node], lambda n: n in loop.partners and n is not mask)
    return not any(
        n is not mask
        and (n in loop.states or n in loop.traced.inputs or loop.moves_by_step(n) or n not in loop.partners)
        and loop.differs_between_texts(n)
        for n in read
    )  # fmt: skip


def _list_possible_masks(loop: MatchedLoop, direct_sources: Sequence[Node], dependent: Sequence[Node]) -> list[Node]:
    """Return the nodes that may be the mask of the rows that an iteration changes, with one number for each row. Bools
    come first. A combined mask, such as `(v != 0) & (n < 400)`, comes before its parts."""

    def has_one_number_per_row(node: Node) -> bool:
        return (
            node in loop.partners
            and isinstance(node.meta.get("val"), Tensor)
            and loop.traced.find_batch_axis(node) is not None
            and torch.Size(loop.traced.compute_shape_for_5_tokens(node, 1)).numel() == 1
        )

    found = {
        node for node in list_upstream_nodes(direct_sources, has_one_number_per_row) if has_one_number_per_row(node)
    }
    ordered = [node for node in dependent[0].graph.nodes if node in found]
    truths = [node for node in ordered if node.meta["val"].dtype == torch.bool]
    return [*reversed(truths), *(node for node in ordered if node not in truths)]


def _mask_keeps_states(
    loop: MatchedLoop,
    cycle: Sequence[LoopState],
    sources: Sequence[Node],
    dependent: Sequence[Node],
    mask: Node,
) -> bool:
    """Return whether an iteration keeps all states where the mask of its rows is 0, and does the same for all other
    numbers in the mask."""
    off = _make_state_cycle(loop, cycle, sources, dependent, mask, mask_value=0.0)
    generator = torch.Generator().manual_seed(3)
    leaves = [*sources, *(before for before, _ in off.states)]
    given = {n: torch.randn(5, off.sizes[n], generator=generator, dtype=torch.float64) for n in leaves}

    def compute_states_after(value: float) -> list[Tensor]:
        run = _make_state_cycle(loop, cycle, sources, dependent, mask, mask_value=value)
        found = run.run([new for _, new in off.states], given, {})
        return [found[new] for _, new in off.states]

    if not all(
        torch.equal(one, given[old]) for one, (old, _) in zip(compute_states_after(0.0), off.states, strict=True)
    ):
        return False
    acts = compute_states_after(1.0)
    others = () if _is_zero_or_one(mask) else (0.3, 2.0, -1.0)
    return all(
        torch.equal(one, other)
        for value in others
        for one, other in zip(acts, compute_states_after(value), strict=True)
    )


# The operators that keep bools, or 0 and 1, as such.
_KEEPS_TRUTHS: Final = ("_to_copy", "alias", "clone", "expand", "getitem", "mul", "permute", "select", "slice", "split",
                        "squeeze", "step", "transpose", "unsqueeze", "view")  # fmt: skip


def _is_zero_or_one(node: Node) -> bool:
    """Return whether a value is always 0 or 1, because it is computed from bools."""
    value = node.meta.get("val")
    if isinstance(value, Tensor) and value.dtype == torch.bool:
        return True
    made_of = [n for n in node.all_input_nodes if isinstance(n.meta.get("val"), Tensor | list | tuple)]
    return (
        read_full_and_short_operator_name(node)[1] in _KEEPS_TRUTHS
        and bool(made_of)
        and all(map(_is_zero_or_one, made_of))
    )


def _find_dependent_nodes(loop: MatchedLoop, befores: set[Node], afters: Sequence[Node]) -> list[Node]:
    """Return the nodes that compute the states after an iteration from the states before it, in the graph's order."""
    above = {node for node in list_upstream_nodes(afters, lambda n: n in loop.partners) if node in loop.partners}
    found: list[Node] = []
    for node in afters[0].graph.nodes:
        if node in above and any(source in befores or source in found for source in node.all_input_nodes):
            found.append(node)
    return found


def _list_source_choices(loop: MatchedLoop, direct_sources: Sequence[Node]) -> Iterator[tuple[Node, ...]]:
    """Yield up to four different lists of nodes that may be the inputs of a recurrent layer in an iteration: the inputs
    of products and gates; the inputs of products; the nodes that the states are computed from directly; the values of
    the text.

    A difference or quotient is computed before the layer if possible. As a part of the layer's weights,
    `(x - 392000) / 50` would lose digits of x.
    """
    tried: list[list[Node]] = []
    for through in (_AFFINE | GATES, _AFFINE, frozenset(), None):
        found: list[Node] = []
        todo, seen = list(direct_sources[::-1]), set()
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            is_leaf = node not in loop.partners or loop.moves_by_step(node) or node in loop.states
            is_leaf = is_leaf or any(node is state.after for state in loop.states.values())
            if is_leaf or (
                through is not None and not (node.target in through and _is_other_than_shift_of_input(loop, node))
            ):
                found.append(node)
            else:
                todo += [n for n in node.all_input_nodes[::-1] if loop.differs_between_texts(n)]
        if found not in tried and all(isinstance(n.meta["val"], Tensor) for n in found):
            tried.append(found)
            yield tuple(found)


def _is_other_than_shift_of_input(loop: MatchedLoop, node: Node) -> bool:
    """Return whether a node does more than shift an input of the layer by a constant. This is False only for a sum of
    such an input and a constant, and True for other sums, such as of a product and a bias."""
    if node.target is not torch.ops.aten.add.Tensor:
        return True
    of_text = [n for n in node.all_input_nodes if loop.differs_between_texts(n)]
    return len(of_text) > 1 or read_full_and_short_operator_name(of_text[0])[1] in _PRODUCTS - {
        "mul",
        "multiply",
        "div",
    }


# The affine operators that may be between a layer's input and its gates.
_AFFINE: Final = frozenset(
    {operator.getitem, *(getattr(torch.ops.aten, name).default for name in
     ("linear", "mm", "matmul", "addmm", "cat", "view", "reshape", "unsqueeze", "permute", "t", "expand", "clone")),
     torch.ops.aten.add.Tensor, torch.ops.aten.split.Tensor, torch.ops.aten.chunk.default,
     torch.ops.aten.slice.Tensor, torch.ops.aten.squeeze.dim, torch.ops.aten.transpose.int}
)  # fmt: skip


def _choose_layer_name(loop: MatchedLoop, dependent: Sequence[Node], taken_layer_names: set[str]) -> str:
    """Return an unused name for a layer: the path of the module whose weights the nodes `dependent` use."""
    names = loop.traced.state
    paths = [names[n].split(".")[:-1] for node in dependent for n in node.all_input_nodes if n in names]
    shared: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    base = ".".join(shared) or "recurrence"
    return next(name for name in (base, *(f"{base}_{i}" for i in range(2, 1000))) if name not in taken_layer_names)


def _add_running_reduction(
    loop: MatchedLoop,
    cycle: Sequence[LoopState],
    direct_sources: Sequence[Node],
    dependent: Sequence[Node],
    plan: StatePlan,
) -> bool:
    """If `cycle` is a single state that holds a running sum or maximum, add it to the plan. Return whether it was
    added."""
    if not all(isinstance(node.meta["val"], Tensor) for node in direct_sources):
        return False
    numbers = _make_state_cycle(loop, cycle, direct_sources, dependent)
    ((before, after),) = numbers.states
    of_state = {before, *dependent}
    adds = all(_is_linear_in_state(loop, node, of_state) for node in dependent)
    if numbers.sizes[before] == 0 or not (
        adds or all(_is_maximum_move_or_choice(node, of_state) for node in dependent)
    ):
        return False
    kinds = {_find_reduction_kind(numbers, before, after, scale) for scale in SCALES}
    if adds and kinds == {"sum"}:
        plan.summed[after] = before
    elif not adds and kinds == {"maximum"}:
        plan.greatest[after] = before
    return after in plan.summed or after in plan.greatest


def _is_linear_in_state(loop: MatchedLoop, node: Node, of_state: Collection[Node]) -> bool:
    """Return whether a node's value is linear in the state, with a factor that does not depend on the text."""
    name = read_full_and_short_operator_name(node)[1]
    if _converts_floats_to_integers(node):
        return False
    if name in _MOVES or name in _SUMS:
        return True
    others = [n for n in node.all_input_nodes if n not in of_state]
    if name == "where":
        return node.args[0] not in of_state
    if name in ("addcmul", "addmm", "addmv", "baddbmm") and not any(n in of_state for n in node.args[1:]):
        return True
    several = len(others) < len(node.all_input_nodes) - 1
    return name in _PRODUCTS and not several and not any(map(loop.differs_between_texts, others))


def _is_maximum_move_or_choice(node: Node, of_state: Collection[Node]) -> bool:
    """Return whether a node takes the larger of two values, only moves numbers, or is a `where` whose condition does
    not depend on the state."""
    whole, name = read_full_and_short_operator_name(node)
    if name == "where":
        return node.args[0] not in of_state
    return (name in _MOVES and not _converts_floats_to_integers(node)) or name == "maximum" or whole == "max.other"


def _find_reduction_kind(cycle: StateCycle, before: Node, after: Node, scale: float) -> Literal["sum", "maximum", ""]:
    """Run an iteration on random numbers. Return "sum" if it adds something to its state, "maximum" if it takes the
    maximum of the state and something, else ""."""
    generator = torch.Generator().manual_seed(5)

    def draw_feature_numbers(node: Node) -> Tensor:
        dtype = node.meta["val"].dtype
        numbers = torch.randn(5, cycle.sizes[node], generator=generator, dtype=torch.float64)
        # Bools are 0 and 1, whatever the scale.
        return numbers > 0 if dtype == torch.bool else convert_floats_to_float64((scale * numbers).to(dtype))

    given, state = {n: draw_feature_numbers(n) for n in cycle.sources}, draw_feature_numbers(before)
    real = cycle.run([after], {**given, before: state}, {})[after]
    without = cycle.run([after], {**given, before: torch.zeros_like(state)}, {})[after]
    least = -1e30 if state.is_floating_point() else torch.iinfo(state.dtype).min // 2
    lowest = cycle.run([after], {**given, before: torch.full_like(state, least)}, {})[after]
    if real.shape != state.shape or state.dtype == torch.bool:
        return ""
    if bool(((real - state - without).abs() < 1e-9 * scale).all()):
        return "sum"
    return "maximum" if torch.equal(real, torch.maximum(state, lowest)) else ""


def _make_state_cycle(
    loop: MatchedLoop,
    cycle: Sequence[LoopState],
    sources: Sequence[Node],
    dependent: Sequence[Node],
    mask: Node | None = None,
    *,
    mask_value: float = 1.0,
) -> StateCycle:
    """Return some states of a loop as a `StateCycle`, whose nodes can be computed for given numbers. All elements of
    its mask are `mask_value`."""
    states = tuple((state.before, state.after) for state in cycle if state.after is not None)
    leaves = [*sources, *(before for before, _ in states)]
    sizes = {n: int(torch.Size(loop.traced.compute_shape_for_5_tokens(n, 1)).numel()) for n in leaves}
    batched = all(loop.traced.find_batch_axis(n) is not None for n in leaves)

    def run_cycle(
        nodes: Sequence[Node], given: Mapping[Node, Tensor], changes: Mapping[Node, Callable[[Tensor], Tensor]]
    ) -> Mapping[Node, Tensor]:
        rows = len(next(iter(given.values())))
        parts = [given] if batched else [{n: one[i : i + 1] for n, one in given.items()} for i in range(rows)]
        each = [
            _IterationValues(loop, rows // len(parts), part, changes, mask, mask_value=mask_value) for part in parts
        ]
        found = [values.compute_values_as_rows(nodes) for values in each]
        return {n: torch.cat([one[n] for one in found]) for n in found[0]}

    nodes = (*dependent, *_find_nonlinear_nodes_without_state(loop, sources, dependent, mask))
    return StateCycle(states, tuple(sources), nodes, run_cycle, sizes)


def _find_nonlinear_nodes_without_state(
    loop: MatchedLoop, sources: Sequence[Node], dependent: Sequence[Node], mask: Node | None
) -> list[Node]:
    """Return the nonlinear operators of an iteration that are computed from its inputs and not from a state. Operators
    that depend only on the mask are left out."""
    given = (*sources, *([] if mask is None else [mask]))
    found = {n for n in _list_nodes_back_to(loop, dependent, given) if n.target in BENT and n not in dependent}
    return [
        n
        for n in dependent[0].graph.nodes
        if n in found and loop.differs_between_texts(n) and not _depends_on_mask_alone(loop, mask, n)
    ]


def _list_nodes_back_to(loop: MatchedLoop, nodes: Sequence[Node], end_nodes: Collection[Node]) -> Iterator[Node]:
    """Yield `nodes` of an iteration and the nodes from which they are computed, back to `end_nodes`, which are left
    out."""
    read = list_upstream_nodes(nodes, lambda n: n in loop.partners and n not in end_nodes)
    return (n for n in read if n in loop.partners and n not in end_nodes)


class _IterationValues:
    """The values of one iteration of a loop in double precision, for given values of its states and of the other nodes
    that it reads."""

    def __init__(
        self,
        loop: MatchedLoop,
        rows: int,
        given: Mapping[Node, Tensor],
        changes: Mapping[Node, Callable[[Tensor], Tensor]],
        mask: Node | None = None,
        *,
        mask_value: float = 1.0,
    ) -> None:
        self.loop, self.rows, self.changes = loop, rows, changes
        self.values: dict[Node, Any] = {}
        if mask is not None:
            kept = torch.full(loop.traced.compute_shape_for_5_tokens(mask, rows), mask_value, dtype=torch.float64)
            self.values[mask] = convert_floats_to_float64(kept.to(mask.meta["val"].dtype))
        for node, numbers in given.items():
            axis = loop.traced.find_batch_axis(node)
            shape = loop.traced.compute_shape_for_5_tokens(node, rows)
            if axis is None:
                self.values[node] = numbers.reshape(shape)
            else:
                rest = [size for i, size in enumerate(shape) if i != axis]
                self.values[node] = numbers.reshape(rows, *rest).movedim(0, axis)

    def compute_values_as_rows(self, nodes: Sequence[Node]) -> Mapping[Node, Tensor]:
        """Compute the values of nodes, and return a dict from each node to its value as [rows, features]."""
        result = {}
        for node in nodes:
            value = self.compute_value(node)
            if not isinstance(value, Tensor) or node not in self.loop.partners:
                continue
            axis = self.loop.traced.find_batch_axis(node)
            moved = value if axis is None else value.movedim(axis, 0)
            if moved.numel() % self.rows == 0:
                result[node] = moved.reshape(self.rows, -1)
        return result

    def compute_value(self, node: Node) -> Any:
        """Return the value of a node, after the function that `changes` has for this node, if any."""
        if node in self.values:
            return self.values[node]
        found = node.meta.get("val")
        if isinstance(found, torch.SymInt):
            value: Any = self.loop.traced.compute_size_for_5_tokens(found, self.rows)
        elif node in self.loop.traced.values:
            value = convert_floats_to_float64(self.loop.traced.values[node])
        elif node in self.loop.traced.inputs or node in self.loop.states or self.loop.moves_by_step(node):
            raise NotALayer("the loop reads the text in a way that recurrent layers do not", self.loop.number)
        else:
            value = compute_node_value(node, self.compute_value, in_float64=True)
        if node in self.changes:
            axis = self.loop.traced.find_batch_axis(node)
            moved = value if axis is None else value.movedim(axis, 0)
            changed = self.changes[node](moved.reshape(self.rows, -1)).reshape(moved.shape)
            value = changed if axis is None else changed.movedim(0, axis)
        self.values[node] = value
        return value


def _is_floating(node: Node) -> bool:
    return bool(node.meta["val"].is_floating_point())


def _starts_as_zeros(loop: MatchedLoop, node: Node) -> bool:
    """Return whether an initial state contains only zeros."""
    if loop.differs_between_texts(node):
        return False
    value = _IterationValues(loop, 2, {}, {}).compute_value(node)
    return isinstance(value, Tensor) and not bool(value.any())
