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
    recognize_recurrent_layer,
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
    """How the states of a loop are computed without the loop: by layers, running sums, running maxima or filled
    tensors.

    Attributes:
        layers: by the node of each state after an iteration, the recurrent layer that computes the state, the layer's
            name, and the mask of the rows that an iteration changes, or None if it changes all rows.
        filled: the tensors into which each iteration writes one step: from the node after an iteration to the node that
            writes.
        summed, greatest: the running sums and maxima: from the node after an iteration to the node before it.
        zeros: the states of layers, as nodes before an iteration, that are zeros before the loop.
    """

    layers: dict[Node, tuple[RecurrentLayer, str, Node | None]] = field(default_factory=dict)
    filled: dict[Node, Node] = field(default_factory=dict)
    summed: dict[Node, Node] = field(default_factory=dict)
    greatest: dict[Node, Node] = field(default_factory=dict)
    zeros: set[Node] = field(default_factory=set)


def plan_states_without_loop(loop: MatchedLoop, taken_layer_names: set[str]) -> StatePlan:
    """Find for each state of a loop the layer, running sum, running maximum or filled tensor that computes it without
    the loop.

    Args:
        loop: the loop, whose iterations are matched.
        taken_layer_names: the names of all layers so far. The names of this loop's layers are added.

    Raises:
        NotALayer: a state is computed in another way.
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
            _add_cycle_to_plan(loop, cycle, plan, taken_layer_names)
    return plan


def _find_states_read_by(loop: MatchedLoop, node: Node | None) -> set[Node]:
    """Return the states of a loop on which a node depends, each as the node that holds the state before the
    iteration."""
    assert node is not None  # noqa: S101 - the loop is complete
    return {
        n
        for n in list_upstream_nodes([node], lambda n: n in loop.partners and n not in loop.states)
        if n in loop.states
    }


def _add_cycle_to_plan(
    loop: MatchedLoop, cycle: Sequence[LoopState], plan: StatePlan, taken_layer_names: set[str]
) -> None:
    """Add to a plan what computes some states without the loop: a filled tensor, a running sum or maximum, or a layer.

    Args:
        loop: the loop, whose iterations are matched.
        cycle: states that an iteration computes from each other.
        plan: the plan to add to.
        taken_layer_names: the names of all layers so far. The name of a new layer is added.

    Raises:
        NotALayer: the states are computed in another way.
    """
    befores = {state.before for state in cycle}
    if len(cycle) == 1:
        before, after = cycle[0].before, cycle[0].after
        assert after is not None  # noqa: S101 - the loop is complete
        put = after.args[1] if after.target is torch.ops.aten.copy.default else after
        if isinstance(put, Node) and put.target is PUT and put.args[0] is before:
            plan.filled[after] = put
            return
    afters = [state.after for state in cycle if state.after is not None]
    dependent = _find_nodes_between_states(loop, befores, afters)
    near = [n for node in dependent for n in node.all_input_nodes if n not in dependent and n not in befores]
    direct_sources = list(dict.fromkeys(filter(loop.differs_between_texts, near)))
    if len(cycle) == 1 and _add_running_sum_or_maximum(loop, cycle, direct_sources, dependent, plan):
        return
    failed: list[NotALayer] = []
    for mask in (None, *_list_possible_row_masks(loop, direct_sources, dependent)):
        read = direct_sources if mask is None else [n for n in direct_sources if not loop.depends_on(n, mask)]
        for sources in _list_possible_layer_inputs(loop, read):
            if not sources or not all(map(_is_floating, (*sources, *befores))):
                continue
            if mask is not None and not _is_mask_that_keeps_states(loop, cycle, sources, dependent, mask):
                continue
            try:
                _refuse_operators_that_layers_lack(loop, sources, dependent, mask)
                layer = recognize_recurrent_layer(_make_state_cycle(loop, cycle, sources, dependent, mask))
            except NotALayer as error:
                failed.append(NotALayer(str(error), loop.number))
                continue
            name = _choose_layer_name(loop, dependent, taken_layer_names)
            taken_layer_names.add(name)
            plan.layers |= {after: (layer, name, mask) for _, after in layer.states}
            plan.zeros |= {before for before, _ in layer.states if _starts_as_zeros(loop, loop.states[before].first)}
            return
    named = [error for error in failed if "`" in str(error)]
    raise [*named, *failed, loop.make_refusal("the states are not computed as in an RNN, GRU or LSTM of ONNX")][0]


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


def _refuse_operators_that_layers_lack(
    loop: MatchedLoop, sources: Sequence[Node], dependent: Sequence[Node], mask: Node | None
) -> None:
    """Raise NotALayer if an iteration has an operator that recurrent layers do not have.

    Args:
        loop: the loop, whose iterations are matched.
        sources: the inputs of the layer, which are computed before it.
        dependent: the nodes that compute the new states from the old states.
        mask: the mask of the rows that the iteration changes, or None. Its own computation may have any operator.
    """
    given = {*sources, *([] if mask is None else [mask])}
    for node in _list_nodes_back_to_end_nodes(loop, dependent, given):
        if not loop.differs_between_texts(node):
            continue
        whole, name = read_full_and_short_operator_name(node)
        asks = node.args[0] if name == "where" and isinstance(node.args[0], Node) else node
        # A quotient is nearly 0 if its divisor is large, which random numbers may not show.
        divides = name == "div" and isinstance(node.args[1], Node) and loop.differs_between_texts(node.args[1])
        if (
            divides or _converts_floats_to_integers(node) or not {name, whole} & _OF_LAYERS
        ) and not _differs_between_texts_by_mask_alone(loop, mask, asks):
            raise NotALayer(f"each iteration also computes `{name}`, which is not a part of an RNN, GRU or LSTM")


def _converts_floats_to_integers(node: Node) -> bool:
    """Return whether a node converts floats to integers or bools. Runs on random floats may not show what such a node
    does."""
    value = node.meta.get("val")
    return (
        isinstance(value, Tensor)
        and not value.is_floating_point()
        and any(isinstance(n.meta.get("val"), Tensor) and _is_floating(n) for n in node.all_input_nodes)
    )


def _differs_between_texts_by_mask_alone(loop: MatchedLoop, mask: Node | None, node: Node) -> bool:
    """Return whether the value of a node depends on the mask, and on nothing else that differs between texts. Without a
    mask, return False."""
    if mask is None:
        return False
    read = list_upstream_nodes([node], lambda n: n in loop.partners and n is not mask)
    return not any(
        n is not mask
        and (
            n in loop.states
            or n in loop.traced.inputs
            or loop.reads_other_step_in_each_iteration(n)
            or n not in loop.partners
        )
        and loop.differs_between_texts(n)
        for n in read
    )  # fmt: skip


def _list_possible_row_masks(
    loop: MatchedLoop, direct_sources: Sequence[Node], dependent: Sequence[Node]
) -> list[Node]:
    """Return the nodes that may be the mask of the rows whose states an iteration changes. They have one number for
    each row. Bools come first; a combined mask, such as `(v != 0) & (n < 400)`, comes before its parts.

    Args:
        loop: the loop, whose iterations are matched.
        direct_sources: the nodes among whose inputs the mask is searched.
        dependent: the nodes that compute the new states from the old states.
    """

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


def _is_mask_that_keeps_states(
    loop: MatchedLoop,
    cycle: Sequence[LoopState],
    sources: Sequence[Node],
    dependent: Sequence[Node],
    mask: Node,
) -> bool:
    """Return whether an iteration keeps all states of the rows for which a mask is 0, and does the same for all other
    values of the mask.

    Args:
        loop: the loop, whose iterations are matched.
        cycle: the states that the iteration computes from each other.
        sources: the inputs of the iteration.
        dependent: the nodes that compute the new states from the old states.
        mask: the node that may be the mask.
    """
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
    """Return whether the value of a node is always 0 or 1, because it is computed from bools."""
    value = node.meta.get("val")
    if isinstance(value, Tensor) and value.dtype == torch.bool:
        return True
    made_of = [n for n in node.all_input_nodes if isinstance(n.meta.get("val"), Tensor | list | tuple)]
    return (
        read_full_and_short_operator_name(node)[1] in _KEEPS_TRUTHS
        and bool(made_of)
        and all(map(_is_zero_or_one, made_of))
    )


def _find_nodes_between_states(loop: MatchedLoop, befores: set[Node], afters: Sequence[Node]) -> list[Node]:
    """Return the nodes that compute the states after an iteration, `afters`, from those before it, `befores`, in the
    order of the graph."""
    above = {node for node in list_upstream_nodes(afters, lambda n: n in loop.partners) if node in loop.partners}
    found: list[Node] = []
    for node in afters[0].graph.nodes:
        if node in above and any(source in befores or source in found for source in node.all_input_nodes):
            found.append(node)
    return found


def _list_possible_layer_inputs(loop: MatchedLoop, direct_sources: Sequence[Node]) -> Iterator[tuple[Node, ...]]:
    """Yield up to four lists of nodes, each of which may be the inputs of a recurrent layer in an iteration: the inputs
    of products and gates; the inputs of products; the nodes that the states are computed from directly; the values of
    the text.

    A difference or quotient is computed before the layer if possible, since float32 weights of the layer would lose
    digits of an x as in `(x - 392000) / 50`.

    Args:
        loop: the loop, whose iterations are matched.
        direct_sources: the nodes that the states are computed from directly.
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
            is_leaf = node not in loop.partners or loop.reads_other_step_in_each_iteration(node) or node in loop.states
            is_leaf = is_leaf or any(node is state.after for state in loop.states.values())
            if is_leaf or (
                through is not None and not (node.target in through and _does_more_than_shift_input(loop, node))
            ):
                found.append(node)
            else:
                todo += [n for n in node.all_input_nodes[::-1] if loop.differs_between_texts(n)]
        if found not in tried and all(isinstance(n.meta["val"], Tensor) for n in found):
            tried.append(found)
            yield tuple(found)


def _does_more_than_shift_input(loop: MatchedLoop, node: Node) -> bool:
    """Return False for a sum of an input of the layer and a constant. Return True for any other node, such as the sum
    of a product and a bias."""
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
    """Return an unused name for a layer: the path of the module whose weights the nodes `dependent` use, or else
    "recurrence". A number is added if the name is taken."""
    names = loop.traced.state
    paths = [names[n].split(".")[:-1] for node in dependent for n in node.all_input_nodes if n in names]
    shared: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    base = ".".join(shared) or "recurrence"
    return next(name for name in (base, *(f"{base}_{i}" for i in range(2, 1000))) if name not in taken_layer_names)


def _add_running_sum_or_maximum(
    loop: MatchedLoop,
    cycle: Sequence[LoopState],
    direct_sources: Sequence[Node],
    dependent: Sequence[Node],
    plan: StatePlan,
) -> bool:
    """Return whether a state is a running sum or a running maximum. If it is, add it to the plan.

    Args:
        loop: the loop, whose iterations are matched.
        cycle: a list of this one state.
        direct_sources: the inputs of the iteration.
        dependent: the nodes that compute the new state from the old state.
        plan: the plan to add to.
    """
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
    kinds = {_test_for_running_sum_or_maximum(numbers, before, after, scale) for scale in SCALES}
    if adds and kinds == {"sum"}:
        plan.summed[after] = before
    elif not adds and kinds == {"maximum"}:
        plan.greatest[after] = before
    return after in plan.summed or after in plan.greatest


def _is_linear_in_state(loop: MatchedLoop, node: Node, of_state: Collection[Node]) -> bool:
    """Return whether the value of a node is linear in a state, with a factor that is the same for all texts. `of_state`
    contains the node of the state and the nodes that depend on it."""
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
    not depend on the state. `of_state` contains the node of the state and the nodes that depend on it."""
    whole, name = read_full_and_short_operator_name(node)
    if name == "where":
        return node.args[0] not in of_state
    return (name in _MOVES and not _converts_floats_to_integers(node)) or name == "maximum" or whole == "max.other"


def _test_for_running_sum_or_maximum(
    cycle: StateCycle, before: Node, after: Node, scale: float
) -> Literal["sum", "maximum", ""]:
    """Return what an iteration does with its state, by a run on random numbers: "sum" if it adds something to the
    state, "maximum" if it takes the maximum of the state and something, else "".

    Args:
        cycle: the state with the function that runs the iteration.
        before, after: the nodes that hold the state before and after the iteration.
        scale: the size of the random numbers.
    """
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
    """Return some states of a loop as a `StateCycle`, whose nodes can be computed for given numbers.

    Args:
        loop: the loop, whose iterations are matched.
        cycle: the states.
        sources: the inputs of the iteration.
        dependent: the nodes that compute the new states from the old states.
        mask: the mask of the rows that the iteration changes, or None.
        mask_value: the number with which the mask is filled.
    """
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
        found = [values.compute_values_as_rows_of_features(nodes) for values in each]
        return {n: torch.cat([one[n] for one in found]) for n in found[0]}

    nodes = (*dependent, *_find_nonlinear_nodes_without_state(loop, sources, dependent, mask))
    return StateCycle(states, tuple(sources), nodes, run_cycle, sizes)


def _find_nonlinear_nodes_without_state(
    loop: MatchedLoop, sources: Sequence[Node], dependent: Sequence[Node], mask: Node | None
) -> list[Node]:
    """Return the nonlinear operators of an iteration that are computed from its inputs alone, and not from a state.
    Leave out operators that depend only on the mask."""
    given = (*sources, *([] if mask is None else [mask]))
    found = {
        n for n in _list_nodes_back_to_end_nodes(loop, dependent, given) if n.target in BENT and n not in dependent
    }
    return [
        n
        for n in dependent[0].graph.nodes
        if n in found and loop.differs_between_texts(n) and not _differs_between_texts_by_mask_alone(loop, mask, n)
    ]


def _list_nodes_back_to_end_nodes(
    loop: MatchedLoop, nodes: Sequence[Node], end_nodes: Collection[Node]
) -> Iterator[Node]:
    """Yield `nodes` of an iteration, and the nodes of the iteration from which they are computed. `end_nodes`, and the
    nodes before them, are left out."""
    read = list_upstream_nodes(nodes, lambda n: n in loop.partners and n not in end_nodes)
    return (n for n in read if n in loop.partners and n not in end_nodes)


class _IterationValues:
    """The values of the nodes of one iteration in float64, computed for given values of its states and inputs.

    Args:
        loop: the loop, whose iterations are matched.
        rows: the number of texts.
        given: the values of states and inputs, by node, [rows, features] each.
        changes: functions that change the values of some nodes, by node, for all nodes that depend on them.
        mask: the mask of the rows that the iteration changes, or None.
        mask_value: the number with which the mask is filled.
    """

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

    def compute_values_as_rows_of_features(self, nodes: Sequence[Node]) -> Mapping[Node, Tensor]:
        """Return the values of nodes, by node, as [rows, features]. Leave out nodes outside the iteration, and values
        that do not have this form."""
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
        """Return the value of a node. If `changes` has a function for the node, return the value after this function.

        Raises:
            NotALayer: the value depends on an input or a state that is not among the given ones.
        """
        if node in self.values:
            return self.values[node]
        found = node.meta.get("val")
        if isinstance(found, torch.SymInt):
            value: Any = self.loop.traced.compute_size_for_5_tokens(found, self.rows)
        elif node in self.loop.traced.values:
            value = convert_floats_to_float64(self.loop.traced.values[node])
        elif (
            node in self.loop.traced.inputs
            or node in self.loop.states
            or self.loop.reads_other_step_in_each_iteration(node)
        ):
            raise NotALayer(
                "an iteration uses more than its own step of the text and the states of the iteration before it",
                self.loop.number,
            )
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
    """Return whether the value of a node is a tensor of floats."""
    return bool(node.meta["val"].is_floating_point())


def _starts_as_zeros(loop: MatchedLoop, node: Node) -> bool:
    """Return whether a node, the value of a state before the loop, contains only zeros for every text."""
    if loop.differs_between_texts(node):
        return False
    value = _IterationValues(loop, 2, {}, {}).compute_value(node)
    return isinstance(value, Tensor) and not bool(value.any())
