"""Turn a traced module whose loops ran a few iterations into a module for any number of iterations.

A bundle's graph has no Loop or Scan. So a loop is taken apart. First, its iterations are matched with each other
(`iteration_matching`), which shows one iteration and the states that it passes to the next. Then the states that depend
on each other become a recurrent layer, a running sum or maximum, or a tensor that is filled step by step
(`loop_state_plans`, `cell_recognition`). All else is computed for all iterations at once, as more rows of the batch,
since rows are independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from pocketrnn_export.intake.wrappers_for_trace import cut_to_width
from pocketrnn_export.torch_internals import read_size_expression
from pocketrnn_export.tracing.layers.recurrence import OPERATOR
from pocketrnn_export.tracing.loops.graph_of_unrolled_loops import TracedGraph
from pocketrnn_export.tracing.loops.iteration_matching import (
    TYPICAL,
    MatchedLoop,
    compute_node_value,
    find_tensor_overload,
    read_number_or_expression,
    read_step_index,
)
from pocketrnn_export.tracing.loops.loop_state_plans import plan_states_without_loop
from pocketrnn_export.tracing.operators_right_for_every_size import KEEP, STACKED
from pocketrnn_export.tracing.python_semantics.loops_cut_to_few_iterations import ITERATIONS
from pocketrnn_export.tracing.trace_session import Loop


def make_module_with_layers_in_place_of_loops(
    program: torch.export.ExportedProgram, loops: Sequence[Loop], width: int | None = None
) -> nn.Module:
    """Make a module that computes the same as a traced program, but with layers, sums and maxima in place of loops, for
    any number of iterations.

    Args:
        program: the program, whose loops ran a few iterations.
        loops: the loops, in the order in which they ran.
        width: the number of tokens of every text, if it is fixed.

    Raises:
        NotALayer: a loop cannot be computed by layers, sums and maxima, or for all iterations at once.
    """
    traced = TracedGraph(program)
    return _RerolledModule(traced, [MatchedLoop(traced, i, loop) for i, loop in enumerate(loops)], width)


class _RerolledModule(nn.Module):
    """A traced module with loops for any number of iterations: forward computes their results by layers, sums and
    maxima.

    Args:
        traced: the graph, in which each loop has a few iterations.
        loops: the loops of the graph, not matched yet.
        width: the number of tokens of every text, if it is fixed.
    """

    def __init__(self, traced: TracedGraph, loops: Sequence[MatchedLoop], width: int | None) -> None:
        super().__init__()
        self.traced, self.loops, self.width = traced, loops, width
        for node, name in traced.state.items():
            _add_buffer(self, name, traced.values[node])
        # The nodes of a last iteration, each with its node in the typical iteration.
        self.finals: dict[Node, tuple[MatchedLoop, Node]] = {}
        self.order = _match_loops_and_list_nodes_outside(self)
        taken: set[str] = set()
        self.plans = {loop.number: plan_states_without_loop(loop, taken) for loop in loops}
        dtype = next((buffer.dtype for buffer in self.buffers() if buffer.is_floating_point()), torch.float32)
        for plan in self.plans.values():
            for layer, name, _ in plan.layers.values():
                for kind, value in (("w", layer.w), ("r", layer.r), ("b", layer.b.reshape(1, -1))):
                    _add_buffer(self, f"{name}.onnx_{kind}_0", value.to(dtype))

    # The arguments have names, since torch.export treats `*inputs` as one tuple.
    def forward(
        self, tokens: Tensor, second: Tensor | None = None, third: Tensor | None = None, fourth: Tensor | None = None
    ) -> Any:
        """Return the output of the traced module for the same inputs."""
        given = [cut_to_width(tokens, self.width), *(more for more in (second, third, fourth) if more is not None)]
        return _RerolledRun(self, given).compute_outputs()


def _add_buffer(module: nn.Module, name: str, value: Tensor) -> None:
    """Add a buffer with a dotted name, such as `rnn.onnx_w_0`, to a module, and the submodules that the name
    requires."""
    *path, last = name.split(".")
    for part in path:
        if not hasattr(module, part):
            setattr(module, part, nn.Module())
        module = getattr(module, part)
    module.register_buffer(last, value)


def _match_loops_and_list_nodes_outside(module: _RerolledModule) -> list[Node]:
    """Match the iterations of all loops: find out which of their nodes correspond to each other. Return the nodes
    outside of loops on which the output depends, in the order of the graph.

    Raises:
        NotALayer: the iterations of a loop do not match, or the output depends on a single iteration in the middle.
    """
    needed: set[Node] = set()
    todo = [node for node in module.traced.outputs if isinstance(node, Node)]
    while True:
        while todo:
            node = todo.pop()
            if node in needed or node in module.finals:
                continue
            loop = next((one for one in module.loops if one.find_iteration_of_call(node) is not None), None)
            iteration = None if loop is None else loop.find_iteration_of_call(node)
            if loop is not None and iteration == ITERATIONS - 1:
                module.finals[node] = (loop, loop.match_and_find_typical_node(node))
            elif loop is not None and iteration != 0:
                raise loop.make_refusal(
                    "code after the loop uses the result of a single iteration that is neither the first nor the last"
                )
            elif node.target is KEEP:
                needed.add(node)
                todo.append(node.args[0])  # type: ignore[arg-type]
            elif node.target is STACKED:
                needed.add(node)
                module.loops[node.args[3]].match_nodes(tuple(node.args[0]))  # type: ignore[arg-type, index]
            else:
                needed.add(node)
                todo += node.all_input_nodes
        for loop in module.loops:
            loop.find_missing_nodes_of_states()
            outside = {source for ref in loop.partners for source in ref.all_input_nodes}
            outside = {node for node in outside if node not in loop.partners and node not in loop.states}
            outside |= {state.first for state in loop.states.values()}
            for nodes in loop.partners.values():
                first = nodes[0]
                if first is not None and isinstance(read_step_index(first), Node):
                    outside.add(read_step_index(first))
            # Uses of other loops' iterations are refused above.
            todo += [node for node in outside if node not in needed and node not in module.finals]
        if not todo:
            return [node for node in module.traced.nodes if node in needed]


class _RerolledRun:
    """One call of a `_RerolledModule`, which keeps the values of nodes that it has computed.

    Args:
        module: the module.
        inputs: the inputs of the call.
    """

    def __init__(self, module: _RerolledModule, inputs: Sequence[Tensor]) -> None:
        self.module = module
        self.values: dict[Node, Any] = dict(zip(module.traced.inputs, inputs, strict=True))
        self.sequences: dict[Node, Tensor] = {}
        self.last: dict[Node, Any] = {}

    def compute_outputs(self) -> Any:
        # Compute in the order of the graph, so that a long chain of operations does not become a deep recursion.
        """Return the output of the module: one value, or a tuple of several."""
        for node in self.module.order:
            self.compute_value(node)
        found = [self.compute_value(node) for node in self.module.traced.outputs]
        return found[0] if len(found) == 1 else tuple(found)

    def compute_value(self, node: Node) -> Any:
        """Return the value of a node outside of loops. For a node of a loop's last iteration, return its value at the
        end of the loop."""
        if node not in self.values:
            if node in self.module.traced.state:
                found = self.module.get_buffer(self.module.traced.state[node])
            elif node in self.module.finals:
                found = self.compute_value_in_last_iteration(*self.module.finals[node])
            elif node.target is KEEP:
                found = self.compute_value(node.args[0])  # type: ignore[arg-type]
            elif node.target is STACKED:
                given: Any = node.args
                values, _, axis, loop, flipped = given
                sequence = self.compute_all_iterations(self.module.loops[loop], values[TYPICAL])
                found = (sequence.flip(0) if flipped else sequence).movedim(0, axis)
            else:
                found = compute_node_value(node, self.compute_value)
            self.values[node] = found
        return self.values[node]

    def compute_value_in_last_iteration(self, loop: MatchedLoop, node: Node) -> Any:
        """Return the value that a node of a loop's typical iteration, which stands for all, has in the last
        iteration."""
        if node not in self.last:
            plan = self.module.plans[loop.number]
            if node in loop.states:
                found: Any = self.compute_all_iterations(loop, node).select(0, -1)
            elif node in plan.layers:
                self._run_layer_and_keep_states(loop, node)
                found = self.last[node]
            elif node in plan.filled:
                found = self._compute_filled_tensor(loop, plan.filled[node])
            elif node in plan.summed:
                terms = _AllIterations(self, loop, plan.summed[node], zero=True).compute_all_iterations(node)
                # A sum of integers is of 64 bits, and those of fewer wrap around.
                found = (terms.sum(0) + self._compute_state_before_loop(loop, plan.summed[node])).to(terms.dtype)
            elif node in plan.greatest:
                terms = _AllIterations(self, loop, plan.greatest[node]).compute_all_iterations(node)
                found = torch.maximum(terms.amax(0), self._compute_state_before_loop(loop, plan.greatest[node]))
            elif loop.reads_other_step_in_each_iteration(node) or node in loop.numbered:
                found = self.compute_all_iterations(loop, node).select(0, -1)
            elif node in loop.partners:
                found = compute_node_value(node, lambda source: self.compute_value_in_last_iteration(loop, source))
            else:
                found = self.compute_value(node)
            self.last[node] = found
        return self.last[node]

    def _compute_state_before_loop(self, loop: MatchedLoop, before: Node) -> Any:
        """Return the value of a state before the first iteration. `before` is the node that holds it before the typical
        iteration."""
        return self.compute_value(loop.states[before].first)

    def compute_all_iterations(self, loop: MatchedLoop, node: Node) -> Tensor:
        """Return the values that a node of a loop's typical iteration has in all iterations, [iterations, ...].

        Raises:
            NotALayer: the node is a cell state, a running sum or maximum, or a filled tensor.
        """
        if node not in self.sequences:
            plan = self.module.plans[loop.number]
            if node in loop.states:
                after = loop.states[node].after
                assert after is not None  # noqa: S101 - the loop is complete
                earlier = self.compute_all_iterations(loop, after)
                first = self._compute_state_before_loop(loop, node).unsqueeze(0)
                found = torch.cat([first, earlier])[:-1]
            elif node in plan.layers:
                self._run_layer_and_keep_states(loop, node)
                if node not in self.sequences:
                    raise loop.make_refusal(
                        "each step uses the cell state of an LSTM, but ONNX's LSTM returns only the last cell state"
                    )
                found = self.sequences[node]
            elif node in plan.filled or node in plan.summed or node in plan.greatest:
                raise loop.make_refusal(
                    "an iteration uses the results collected so far, but only code after the loop may use them"
                )
            elif loop.reads_other_step_in_each_iteration(node):
                found = self._read_steps_in_order(loop, node)
            else:
                found = _AllIterations(self, loop).compute_all_iterations(node)
            self.sequences[node] = found
        return self.sequences[node]

    def count_iterations(self, loop: MatchedLoop) -> Any:
        """Return the number of iterations of a loop: how many steps of a tensor the loop reads.

        Raises:
            NotALayer: the loop does not read the steps of a tensor.
        """
        for node in loop.partners:
            if loop.reads_other_step_in_each_iteration(node):
                return self.compute_all_iterations(loop, node).shape[0]
        raise loop.make_refusal("no operation in the loop reads the steps of the text one by one, as x[:, t] does")

    def _read_steps_in_order(self, loop: MatchedLoop, node: Node) -> Tensor:
        """Return the steps of a tensor that a node reads in all iterations, [iterations, ...], in the order of the
        iterations."""
        first = loop.partners[node][0]
        assert first is not None  # noqa: S101 - only the last may be missing
        given: Any = first.args
        source, axis, index = given
        size, start = read_size_expression(source.meta["val"].shape[axis]), read_number_or_expression(index)
        moved: Tensor = self.compute_value(source).movedim(axis, 0)
        if loop.find_step_direction(node) < 0:
            moved, start = moved.flip(0), size - 1 - start
        missing = size - read_size_expression(loop.loop.count) - start
        if any(getattr(n, "free_symbols", ()) or n < 0 for n in (start, missing)):
            raise loop.make_refusal(
                "the loop must read from a fixed step of the text, such as the first, to a fixed number of steps "
                "before the end"
            )
        return moved[int(start) : moved.shape[0] - int(missing)] if start or missing else moved

    def _compute_filled_tensor(self, loop: MatchedLoop, put: Node) -> Tensor:
        """Return a tensor after each iteration of a loop has written one step into it. `put` is the node that
        writes."""
        first = loop.partners[put][0]
        assert first is not None  # noqa: S101 - only the last may be missing
        given: Any = (*put.args[:3], first.args[3])
        tensor, value, axis, index = given
        size, start = read_size_expression(tensor.meta["val"].shape[axis]), read_number_or_expression(index)
        backward = loop.find_step_direction(put) < 0
        if (size - 1 - start if backward else start) != 0 or read_size_expression(loop.loop.count) != size:
            raise loop.make_refusal("the loop writes only some steps of a tensor, but must write all")
        sequence = self.compute_all_iterations(loop, value)
        return (sequence.flip(0) if backward else sequence).movedim(0, axis)

    def _run_layer_and_keep_states(self, loop: MatchedLoop, node: Node) -> None:
        """Run the recurrent layer that computes a state. Keep its hidden states in all iterations, and its final
        states. `node` holds the state after the typical iteration."""
        layer, name, mask = self.module.plans[loop.number].layers[node]
        rows = self.compute_value(self.module.traced.inputs[0]).shape[0]
        acts = None if mask is None else self._compute_layer_input_in_all_iterations(loop, mask).squeeze(2) != 0
        inputs = [self._compute_layer_input_in_all_iterations(loop, source) for source in layer.sources]
        initial = []
        for before, _ in layer.states:
            state = loop.states[before]
            zero = before in self.module.plans[loop.number].zeros
            initial.append(
                None
                if zero
                else self._reshape_state_to_batch_and_hidden(
                    loop, state.before, self.compute_value(state.first), rows
                ).unsqueeze(0)
            )
        if any(state is not None for state in initial):
            hidden = layer.r.shape[2]
            like = inputs[0]
            initial = [like.new_zeros(1, rows, hidden) if state is None else state for state in initial]
        of = {kind: self.module.get_buffer(f"{name}.onnx_{kind}_0") for kind in "wrb"}
        x = torch.cat(inputs, dim=2) if len(inputs) > 1 else inputs[0]
        h0, c0 = initial[0], initial[1] if len(initial) > 1 else None
        if acts is None:
            outputs, *finals = OPERATOR(x, of["w"], of["r"], of["b"], None, h0, c0, layer.mode)
        else:
            outputs, finals = _run_masked_layer(acts, x, (of["w"], of["r"], of["b"]), h0, c0, layer.mode)
        after = layer.states[0][1]
        self.sequences[after] = self._reshape_state_like_node(loop, after, outputs, has_iterations_axis=True)
        for (_, after), final in zip(layer.states, finals, strict=False):
            self.last[after] = self._reshape_state_like_node(loop, after, final.squeeze(0), has_iterations_axis=False)

    def _compute_layer_input_in_all_iterations(self, loop: MatchedLoop, source: Node) -> Tensor:
        """Return the values in all iterations of a node that a layer reads, an input or a mask: [iterations, batch,
        features]."""
        if source in loop.partners or source in loop.states:
            sequence = self.compute_all_iterations(loop, source)
        else:
            value = self.compute_value(source)
            sequence = value.unsqueeze(0).expand(self.count_iterations(loop), *value.shape)
        axis = self.module.traced.find_batch_axis(source)
        if axis is None:
            return sequence.reshape(sequence.shape[0], 1, -1)
        moved = sequence.movedim(axis + 1, 1)
        return moved if moved.dim() == 3 else moved.flatten(2) if moved.dim() > 3 else moved.unsqueeze(2)

    def _reshape_state_to_batch_and_hidden(self, loop: MatchedLoop, like: Node, value: Tensor, rows: Any) -> Tensor:
        """Return a state in the shape [batch, hidden].

        Args:
            loop: the loop, for the error.
            like: a node whose value has the shape of the state; its batch axis is known.
            value: the state.
            rows: the batch size.
        """
        axis = self.module.traced.find_batch_axis(like)
        if axis is None:
            return value.reshape(1, -1)
        value = value.expand(_compute_shape_with_rows(loop, like, rows))
        moved = value.movedim(axis, 0)
        return moved if moved.dim() == 2 else moved.flatten(1) if moved.dim() > 2 else moved.unsqueeze(1)

    def _reshape_state_like_node(
        self, loop: MatchedLoop, node: Node, value: Tensor, *, has_iterations_axis: bool
    ) -> Tensor:
        """Return a state [batch, hidden] in the shape of a node's value. With `has_iterations_axis`, reshape states
        [iterations, batch, hidden], and keep the first axis."""
        axis = self.module.traced.find_batch_axis(node)
        shape = _compute_shape_with_rows(loop, node, None)
        before = list(value.shape[: int(has_iterations_axis)])
        if axis is None:
            return value.reshape(*before, *shape)
        rest = [size for i, size in enumerate(shape) if i != axis]
        value = value if len(rest) == 1 else value.reshape(*before, value.shape[-2], *rest)
        return value.movedim(int(has_iterations_axis), int(has_iterations_axis) + axis)


def _run_masked_layer(
    acting_rows: Tensor,
    x: Tensor,
    weights: tuple[Tensor, Tensor, Tensor],
    h0: Tensor | None,
    c0: Tensor | None,
    mode: str,
) -> tuple[Tensor, list[Tensor]]:
    """Run a recurrent layer in which a row keeps its state at some steps. Return the hidden states after each step, and
    the list of final states.

    The other steps of a row are moved to its start, so that the operator runs a row of a shorter length. A step that is
    left out may stand in the middle of a text, if the mask is computed from the ids.

    Args:
        acting_rows: bool [iterations, batch], False where a row keeps its state.
        x: the input, [iterations, batch, features].
        weights: w, r and b of `pocketrnn::recurrence`.
        h0, c0: the initial states, [1, batch, hidden], or None for zeros.
        mode: the mode of `pocketrnn::recurrence`, such as "GRU".
    """
    iterations, rows, features = x.shape
    counts = acting_rows.to(torch.int64).cumsum(0)
    place = torch.where(acting_rows, counts - 1, iterations).unsqueeze(2)
    moved = x.new_zeros(iterations + 1, rows, features).scatter(0, place.expand(iterations, rows, features), x)[
        :iterations
    ]
    total = counts.select(0, -1)
    outputs, *finals = OPERATOR(moved, *weights, total.clamp(min=1), h0, c0, mode)
    hidden = outputs.shape[2]
    first = x.new_zeros(1, rows, hidden) if h0 is None else h0
    states = torch.cat([first, outputs]).gather(0, counts.unsqueeze(2).expand(iterations, rows, hidden))
    # A row that never acts keeps its initial state.
    began = [first, x.new_zeros(1, rows, hidden) if c0 is None else c0]
    acted = (total > 0).reshape(1, -1, 1)
    return states, [torch.where(acted, final, before) for final, before in zip(finals, began, strict=True)]


def _compute_shape_with_rows(loop: MatchedLoop, node: Node, rows: Any) -> list[Any]:
    """Return the shape of a node's value with `rows` as its batch size.

    Raises:
        NotALayer: the shape depends on the number of tokens.
    """
    axis = loop.traced.find_batch_axis(node)
    shape = [rows if i == axis else size for i, size in enumerate(node.meta["val"].shape)]
    if any(isinstance(size, torch.SymInt) and i != axis for i, size in enumerate(shape)):
        raise loop.make_refusal(
            "the loop passes to the next iteration a value whose shape depends on the number of tokens"
        )
    return shape


class _AllIterations:
    """Computes the values of nodes for all iterations of a loop at once, as rows of one large batch.

    Args:
        run: a function that computes the values outside of the loop, and the states that layers compute.
        loop: the loop.
        fixed_state: a state, as the node before an iteration, that is treated as unchanged in all iterations; or None.
        zero: whether the fixed state is 0 instead of its value before the loop.
    """

    def __init__(
        self, run: _RerolledRun, loop: MatchedLoop, fixed_state: Node | None = None, *, zero: bool = False
    ) -> None:
        self.run, self.loop, self.fixed_state, self.zero = run, loop, fixed_state, zero
        self.iterations = run.count_iterations(loop)
        self.rows = run.compute_value(run.module.traced.inputs[0]).shape[0]
        self.values: dict[Node, Any] = {}

    def compute_all_iterations(self, node: Node) -> Tensor:
        """Return the values of a node in all iterations, [iterations, ...]."""
        value: Tensor = self._compute_for_all_iterations(node)
        axis = self._require_batch_axis(node)
        parted: Tensor = value.unflatten(axis, (self.iterations, self.rows))  # type: ignore[no-untyped-call]
        return parted.movedim(axis, 0)

    def compute_values_as_merged_batch(self, node: Node) -> Any:
        """Return the values of a node in all iterations, as rows of one batch. Each is computed once."""
        if node not in self.values:
            self.values[node] = self._compute_uncached_values_as_merged_batch(node)
        return self.values[node]

    def _compute_uncached_values_as_merged_batch(self, node: Node) -> Any:
        """Return the values of a node in all iterations, as rows of one batch. For a node outside the loop, each
        iteration has the same value."""
        plan = self.run.module.plans[self.loop.number]
        if node is self.fixed_state:
            if self.zero:
                return torch.zeros(
                    _compute_shape_with_rows(self.loop, node, self.iterations * self.rows),
                    dtype=node.meta["val"].dtype,
                )
            shape = _compute_shape_with_rows(self.loop, node, self.rows)
            first = self.run.compute_value(self.loop.states[node].first).expand(shape)
            return self._merge_iterations_into_batch(node, first.unsqueeze(0).expand(self.iterations, *shape))
        if (
            node in self.loop.states
            or node in plan.layers
            or self.loop.reads_other_step_in_each_iteration(node)
            or node in plan.summed
        ):
            return self._merge_iterations_into_batch(node, self.run.compute_all_iterations(self.loop, node))
        if node in self.loop.partners:
            return self._compute_for_all_iterations(node)
        found = node.meta.get("val")
        if isinstance(found, torch.SymInt):
            return self._compute_size_in_merged_batch(node, found)
        value = self.run.compute_value(node)
        axis = self.loop.traced.find_batch_axis(node) if isinstance(found, Tensor) else None
        if axis is None:
            return value
        return self._merge_iterations_into_batch(node, value.unsqueeze(0).expand(self.iterations, *value.shape))

    def _compute_for_all_iterations(self, node: Node) -> Any:
        """Compute the value of a node for all iterations at once, as rows of one batch. If the node computes with the
        loop's counter, each row gets its own number."""
        if node not in self.loop.numbered:
            return compute_node_value(node, self.compute_values_as_merged_batch)
        first, step = self.loop.numbered[node]
        value = self.compute_values_as_merged_batch(node.args[0])  # type: ignore[arg-type]
        axis = self.loop.traced.find_batch_axis(node.args[0])  # type: ignore[arg-type]
        if axis is None:
            raise self.loop.make_refusal(
                "the loop computes with its counter (such as `i`) and a tensor that has no axis for the texts of a "
                "batch"
            )
        numbers = first + step * torch.arange(self.iterations)
        if not value.is_floating_point():
            # A number of Python takes the type of a tensor of integers, which may wrap around.
            numbers = numbers.to(torch.result_type(value, first))
        numbers = numbers.unsqueeze(1).expand(self.iterations, self.rows).flatten()
        shape = [self.iterations * self.rows if i == axis else 1 for i in range(value.dim())]
        return find_tensor_overload(node)(value, numbers.reshape(shape))

    def _require_batch_axis(self, node: Node) -> int:
        """Return the index of the batch axis of a node's value.

        Raises:
            NotALayer: the value has no batch axis, so it cannot hold one row for each iteration.
        """
        axis = self.loop.traced.find_batch_axis(node)
        if axis is None:
            raise self.loop.make_refusal("each iteration computes a value that has no axis for the texts of a batch")
        return axis

    def _merge_iterations_into_batch(self, node: Node, sequence: Tensor) -> Tensor:
        """Return the values of a node in all iterations, [iterations, ...], as rows of one batch."""
        axis = self._require_batch_axis(node)
        return sequence.movedim(0, axis).flatten(axis, axis + 1)

    def _compute_size_in_merged_batch(self, node: Node, size: torch.SymInt) -> Any:
        """Return a size in the batch that holds the rows of all iterations.

        Raises:
            NotALayer: the size is computed from the batch size, such as `2 * x.size(0)`.
        """
        expression = read_size_expression(size)
        if expression == self.loop.traced.batch:
            return self.iterations * self.rows
        if self.loop.traced.batch in expression.free_symbols:
            raise self.loop.make_refusal("an iteration computes with the batch size, such as x.size(0)")
        return self.run.compute_value(node)
