"""Recognize the recurrent layer that an iteration of a loop computes, from the values that the iteration gives.

People write an LSTM in many ways: as `nn.LSTMCell`, with four `nn.Linear`, with one product for all gates, with
`torch.cat([x, h], 1)` or without. All of them compute the same. So an iteration is run in double precision, with states
and inputs of our choice:

- the argument of each sigmoid and tanh is affine in the input and the state: unit vectors give the weights, exactly;
- the gates are found by trying: the sigmoids and tanhs with `c' = f * c + i * g` and `h' = o * tanh(c')` for random
  states are an LSTM's, and likewise for a GRU.

Every equation is checked at random points to 1e-9, and the whole step at others that are up to 1e8 times as large,
where a clamp of the state or of a gate shows. Numbers do not show a gate that few texts open, such as
`relu(1 - 100 * (x - 9.81) ** 2)`: so a step may have only the layer's own sigmoids, tanhs and relus. The proof compares
the exported graph with the module itself.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.fx import Node

from pocketrnn_export.tracing.layers.recurrence import compute_recurrent_step

# The scales of the numbers at which a step is checked: a state may be clamped to 3, as in ELMo, or to 40.
SCALES: Final = (1.0, 5.0, 50.0, 1e4, 1e8)

_aten: Final = torch.ops.aten
_SIGMOID: Final = frozenset({_aten.sigmoid.default})
_TANH: Final = frozenset({_aten.tanh.default})
# The functions of gates.
GATES: Final = _SIGMOID | _TANH
_RELU: Final = frozenset({_aten.relu.default})
# The nonlinear operators of a layer's step, besides products.
BENT: Final = GATES | _RELU | {_aten.maximum.default, _aten.max.other}
_ROWS: Final = 7
_NEAR: Final = 1e-9

Change = Callable[[Tensor], Tensor]


class NotALayer(Exception):  # noqa: N818 - it is a finding, which becomes an ExportError with a line
    """A loop cannot become a recurrent layer. The message is the reason, as the end of a sentence: "the loop cannot
    become a recurrent layer: ...".

    Args:
        why: the reason.
        loop: the index of the loop in the trace; None if the caller adds it.
    """

    def __init__(self, why: str, loop: int | None = None) -> None:
        super().__init__(why)
        self.loop = loop


@dataclass(frozen=True)
class StateCycle:
    """States of a loop that an iteration computes from each other, such as the hidden state and the cell state of an
    LSTM.

    Attributes:
        states: for each state, the node that holds it before the iteration, and the node that holds it afterwards.
        sources: the inputs of the iteration: nodes outside the cycle that differ between iterations or between texts.
        nodes: the nodes that depend on the states, in the order of the graph, and the nonlinear operators that do not.
        run: a function that takes the nodes to compute, the values of the states and sources by node, float64 [rows,
            features] each, and functions by node; returns the values of the nodes, [rows, features] each. A function
            changes the value of its node for all nodes that depend on it.
        sizes: the number of features of each state and source, by node.
    """

    states: tuple[tuple[Node, Node], ...]
    sources: tuple[Node, ...]
    nodes: tuple[Node, ...]
    run: Callable[[Sequence[Node], Mapping[Node, Tensor], Mapping[Node, Change]], Mapping[Node, Tensor]]
    sizes: Mapping[Node, int]


@dataclass(frozen=True)
class RecurrentLayer:
    """A recurrent layer in one direction, as `pocketrnn::recurrence` computes it.

    Attributes:
        mode: the mode of that operator, such as "GRU".
        states: the hidden state, and for an LSTM also the cell state; each as the nodes that hold it before and after
            an iteration.
        sources: the nodes that, concatenated in this order, are the layer's input.
        w: input weights, float64 [1, gates * hidden, features], gates in ONNX's order.
        r: recurrent weights, float64 [1, gates * hidden, hidden].
        b: float64 [2, gates * hidden]: the biases of the input, and those of the recurrence.
    """

    mode: str
    states: tuple[tuple[Node, Node], ...]
    sources: tuple[Node, ...]
    w: Tensor
    r: Tensor
    b: Tensor


@dataclass(frozen=True)
class _Affine:
    """An affine function, `features @ weight + bias`, of the features of one iteration: the layer's inputs,
    concatenated, and then the hidden state.

    Attributes:
        weight: float64 [features, hidden].
        bias: float64 [hidden].
    """

    weight: Tensor
    bias: Tensor

    def __neg__(self) -> _Affine:
        return _Affine(-self.weight, -self.bias)


@dataclass(frozen=True)
class _Gate:
    """A part of the value of a sigmoid or tanh, with as many features as a state.

    Attributes:
        node: the sigmoid or tanh, whose value may consist of several parts.
        part: the index of the part.
        flipped: whether the gate is 1 minus the part, as `1 - z` in a GRU.
    """

    node: Node
    part: int
    flipped: bool = False


def read_full_and_short_operator_name(node: Node) -> tuple[str, str]:
    """Return the name of a node's operator with its overload and without: ("add.Tensor", "add")."""
    whole = str(getattr(node.target, "__name__", ""))
    return whole, whole.partition(".")[0]


def recognize_recurrent_layer(cycle: StateCycle) -> RecurrentLayer:
    """Return the recurrent layer, such as a GRU, that computes the same states as one iteration of a loop.

    Args:
        cycle: the states that the iteration computes from each other, and a function that runs the iteration.

    Raises:
        NotALayer: the iteration does not compute the states as a recurrent layer of ONNX does.
    """
    failed: list[NotALayer] = []
    if len({cycle.sizes[before] for before, _ in cycle.states}) == 1 and len(cycle.states) <= 2:
        one = len(cycle.states) == 1
        for states in (cycle.states,) if one else (cycle.states, cycle.states[::-1]):
            iteration = _Iteration(cycle, states)
            for find in (_find_rnn, _find_gru, _find_linear_gru) if one else (_find_lstm,):
                try:
                    found = find(iteration)
                    if found is not None:
                        _refuse_states_that_differ_from_layer(cycle, found)
                        return found
                except NotALayer as error:
                    failed.append(error)
    raise [*failed, NotALayer("the states are not computed as in an RNN, GRU or LSTM of ONNX")][0]


def _refuse_states_that_differ_from_layer(cycle: StateCycle, layer: RecurrentLayer) -> None:
    """Raise NotALayer if an iteration of a loop and a recurrent layer compute different states from random inputs and
    states. Numbers of each size in `SCALES` are tried, since an iteration may clamp large ones."""
    for scale in SCALES:
        if not _computes_states_of_layer(cycle, layer, scale):
            raise NotALayer(
                f"the states are nearly those of the PyTorch layer {layer.mode}, but differ for inputs of about "
                f"{scale:g}"
            )


def _computes_states_of_layer(cycle: StateCycle, layer: RecurrentLayer, scale: float) -> bool:
    """Return whether an iteration of a loop computes the same states as a recurrent layer, from random inputs and
    states that are multiplied by `scale`."""
    generator = torch.Generator().manual_seed(13)

    def draw_feature_numbers(node: Node) -> Tensor:
        return scale * torch.randn(_ROWS, cycle.sizes[node], generator=generator, dtype=torch.float64)

    given = {node: draw_feature_numbers(node) for node in (*layer.sources, *(before for before, _ in layer.states))}
    x = torch.cat([given[node] for node in layer.sources], dim=1)
    before = [given[state] for state, _ in layer.states]
    expected = compute_recurrent_step(x, before[0], before[-1], layer.w[0], layer.r[0], layer.b.flatten(), layer.mode)
    real = cycle.run([after for _, after in layer.states], given, {})
    return all(
        real[after].shape == one.shape and bool(((real[after] - one).abs() <= _NEAR * (scale + one.abs())).all())
        for (_, after), one in zip(layer.states, expected, strict=False)
    )


class _Iteration:
    """One iteration of a loop, with the values of its nodes for random inputs and states.

    A gate in this class is a sigmoid or tanh with as many features as a state, or a part of a wider sigmoid or tanh
    with so many features.

    Args:
        cycle: the states that the iteration computes from each other.
        states: the same states, with the one that is tried as the hidden state first.
    """

    def __init__(self, cycle: StateCycle, states: tuple[tuple[Node, Node], ...]) -> None:
        self.cycle, self.states = cycle, states
        self.hidden = cycle.sizes[states[0][0]]
        self.widths = [cycle.sizes[source] for source in cycle.sources] + [self.hidden]
        generator = torch.Generator().manual_seed(11)
        self.features = torch.randn(_ROWS, sum(self.widths), generator=generator, dtype=torch.float64)
        self.cell = torch.randn(_ROWS, self.hidden, generator=generator, dtype=torch.float64)
        self.values = self.compute_node_values(self.features, [*cycle.nodes])

    @functools.cached_property
    def probes(self) -> Tensor:
        """The features at which an affine function shows its bias and its weight: a row of zeros, and then the unit
        vectors; float64 [1 + features, features]."""
        return torch.cat([torch.zeros_like(self.features[:1]), torch.eye(sum(self.widths), dtype=torch.float64)])

    def compute_node_values(
        self, features: Tensor, nodes: Sequence[Node], changes: Mapping[Node, Change] | None = None
    ) -> Mapping[Node, Tensor]:
        """Return the values of nodes, by node, for the given features of the iteration.

        Args:
            features: [rows, features], the inputs of the iteration, followed by the hidden state.
            nodes: the nodes to compute.
            changes: functions that change the values of some nodes, by node, for all nodes that depend on them.
        """
        parts = torch.split(features, self.widths, dim=1)
        given = dict(zip([*self.cycle.sources, self.states[0][0]], parts, strict=True))
        for before, _ in self.states[1:]:
            # All rows share one cell state, since it is not an input of a gate: a gate that reads it is not affine.
            given[before] = self.cell if len(features) == _ROWS else self.cell[:1].expand(len(features), -1)
        return self.cycle.run(nodes, given, changes or {})

    def _takes_gate_input(self, node: Node, gate_inputs: Sequence[Tensor]) -> bool:
        """Return whether the input of a node, such as a sigmoid, equals one of the tensors `gate_inputs`, or its
        negative. If the input is as wide as several states, each part of it must equal one.

        Inputs are compared and not results, since two different sigmoids may both be 1 for all random numbers.
        """
        if len(node.all_input_nodes) != 1:
            return False
        value = self._compute_node_input(node)
        parts = torch.split(value, self.hidden, dim=1) if value.shape[1] % self.hidden == 0 else ()
        return bool(parts) and all(any(_is_near(part, v) or _is_near(part, -v) for v in gate_inputs) for part in parts)

    def get_state_after_iteration(self, state: int = 0) -> Tensor:
        """Return the value after the iteration of the state with this index in `states`."""
        return self.values[self.states[state][1]]

    def list_gates(self, operators: frozenset[Any], *, with_flipped: bool = False) -> list[_Gate]:
        """Return the gates whose operator is among `operators`, such as the sigmoids. If `with_flipped`, also return 1
        minus each of them."""
        found = []
        for node in self.cycle.nodes:
            if node.target in operators:
                parts, rest = divmod(self.values[node].shape[1], self.hidden)
                found += [_Gate(node, part) for part in range(parts)] if not rest else []
        return [*found, *(_Gate(gate.node, gate.part, True) for gate in found)] if with_flipped else found

    def compute_gate_value(self, gate: _Gate) -> Tensor:
        """Return the value of a gate for the random features, [rows, hidden]."""
        value = self.slice_gate_part(self.values[gate.node], gate)
        return 1 - value if gate.flipped else value

    def slice_gate_part(self, values: Tensor, gate: _Gate) -> Tensor:
        """Return the columns of a node's values that belong to a gate."""
        return values[:, gate.part * self.hidden : (gate.part + 1) * self.hidden]

    def fit_gate_argument(self, gate: _Gate, changes: Mapping[Node, Change] | None = None) -> _Affine | None:
        """Return the argument of a gate's sigmoid or tanh as an affine function of the inputs and the hidden state.
        Return None if it is not affine. `changes` has functions that change the values of some nodes first."""
        return self.fit_affine_value(gate.node.all_input_nodes[0], gate, changes)

    def fit_affine_value(
        self, source: Node, gate: _Gate, changes: Mapping[Node, Change] | None = None
    ) -> _Affine | None:
        """Return the value of a node as an affine function of the inputs and the hidden state. Return None if it is not
        affine.

        Args:
            source: the node.
            gate: selects the columns of the value, and negates the function if it is flipped.
            changes: functions that change the values of some nodes first, by node.
        """
        values = self.slice_gate_part(self.compute_node_values(self.probes, [source], changes)[source], gate)
        found = _Affine(values[1:] - values[0], values[0])
        real = self.slice_gate_part(self.compute_node_values(self.features, [source], changes)[source], gate)
        if not _is_near(real, self.features @ found.weight + found.bias):
            return None
        return -found if gate.flipped else found

    def compute_gate_input(self, gate: _Gate) -> Tensor:
        """Return the argument of a gate's sigmoid or tanh for the random features, [rows, hidden]."""
        return self.slice_gate_part(self._compute_node_input(gate.node), gate)

    def _compute_node_input(self, node: Node) -> Tensor:
        """Return the value of a node's first argument for the random features."""
        source = node.all_input_nodes[0]
        return self.compute_node_values(self.features, [source])[source]

    def make_layer(
        self, mode: str, gates: Sequence[_Affine], gate_inputs: Sequence[Tensor], recurrent_bias: Tensor | None = None
    ) -> RecurrentLayer:
        """Return a recurrent layer whose gates have these affine functions as their arguments.

        Args:
            mode: the mode of `pocketrnn::recurrence`, such as "GRU".
            gates: the argument of each gate, in ONNX's order of the gates.
            gate_inputs: the values that enter the sigmoids, tanhs and relus of such a layer.
            recurrent_bias: the bias of the recurrence; by default, what float32 rounds off the bias of the input.

        Raises:
            NotALayer: the iteration has a nonlinear operator with another input.
        """
        for node in self.cycle.nodes:
            if node.target in BENT and not self._takes_gate_input(node, gate_inputs):
                name = read_full_and_short_operator_name(node)[1]
                raise NotALayer(f"each iteration also computes `{name}`, which is not a part of an RNN, GRU or LSTM")
        weight = torch.cat([gate.weight for gate in gates], dim=1).t()
        bias = torch.cat([gate.bias for gate in gates])
        rest = bias - bias.float().double() if recurrent_bias is None else recurrent_bias
        given = bias - rest if recurrent_bias is None else bias
        inputs = weight.shape[1] - self.hidden
        return RecurrentLayer(
            mode, self.states, self.cycle.sources, weight[None, :, :inputs], weight[None, :, inputs:],
            torch.stack([given, rest]),
        )  # fmt: skip


def _is_near(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors have the same shape, and numbers that are equal up to rounding in float64."""
    return a.shape == b.shape and bool(((a - b).abs() <= _NEAR * (1 + b.abs())).all())


def _find_rnn(iteration: _Iteration) -> RecurrentLayer | None:
    """Return the RNN that an iteration computes, or None if it does not compute one. The activation may be tanh, relu
    or a sigmoid, or there may be none."""
    for kinds, mode in ((_TANH, "RNN_TANH"), (_RELU, "RNN_RELU"), (_SIGMOID, "RNN_SIGMOID")):
        for gate in iteration.list_gates(kinds):
            if (
                _is_near(iteration.compute_gate_value(gate), iteration.get_state_after_iteration())
                and (found := iteration.fit_gate_argument(gate)) is not None
            ):
                return iteration.make_layer(mode, [found], [iteration.compute_gate_input(gate)])
    after = iteration.states[0][1]
    linear = iteration.fit_affine_value(after, _Gate(after, 0))
    return None if linear is None else iteration.make_layer("RNN_LINEAR", [linear], ())


def _find_lstm(iteration: _Iteration) -> RecurrentLayer | None:
    """Return the LSTM that an iteration computes, or None if it does not compute one."""
    new_h, new_c = iteration.get_state_after_iteration(0), iteration.get_state_after_iteration(1)
    sigmoids, tanhs = iteration.list_gates(_SIGMOID, with_flipped=True), iteration.list_gates(_TANH)
    output = next(
        (gate for gate in sigmoids if _is_near(iteration.compute_gate_value(gate) * torch.tanh(new_c), new_h)), None
    )
    if output is None:
        return None
    for forget in sigmoids:
        added = new_c - iteration.compute_gate_value(forget) * iteration.cell
        for given, proposed in itertools.product(sigmoids, tanhs):
            if _is_near(iteration.compute_gate_value(given) * iteration.compute_gate_value(proposed), added):
                gates = [iteration.fit_gate_argument(gate) for gate in (given, output, forget, proposed)]
                if all(gate is not None for gate in gates):
                    entering = [new_c, *map(iteration.compute_gate_input, (given, output, forget, proposed))]
                    return iteration.make_layer("LSTM", [gate for gate in gates if gate is not None], entering)
    return None


def _find_gru(iteration: _Iteration) -> RecurrentLayer | None:
    """Return the GRU that an iteration computes, or None if it does not compute one. Its proposed state is a tanh."""
    before = iteration.features[:, -iteration.hidden :]
    sigmoids = iteration.list_gates(_SIGMOID, with_flipped=True)
    for update, proposed in itertools.product(sigmoids, iteration.list_gates(_TANH)):
        kept = iteration.compute_gate_value(update)
        if not _is_near(
            (1 - kept) * iteration.compute_gate_value(proposed) + kept * before, iteration.get_state_after_iteration()
        ):
            continue
        z = iteration.fit_gate_argument(update)
        for reset in iteration.list_gates(_SIGMOID):
            r = iteration.fit_gate_argument(reset)
            if z is None or r is None:
                continue
            entering = [iteration.compute_gate_input(gate) for gate in (update, reset, proposed)]
            if found := _find_proposed_state_and_make_gru(iteration, z, r, reset, proposed, entering):
                return found
    return None


def _find_linear_gru(iteration: _Iteration) -> RecurrentLayer | None:
    """Return the GRU without a reset gate or a tanh that an iteration computes, or None if it does not compute one. Its
    proposed state is affine in the input alone, as in SRU (Lei et al., 2018) and minGRU (Feng et al., 2024).

    No node has to compute the proposed state: it follows from the new state and the share of the old state that is
    kept.
    """
    after, inputs = iteration.states[0][1], sum(iteration.widths) - iteration.hidden

    def compute_proposed_state(features: Tensor, update: _Gate) -> Tensor:
        values = iteration.compute_node_values(features, [after, update.node])
        kept = iteration.slice_gate_part(values[update.node], update)
        kept = 1 - kept if update.flipped else kept
        return (values[after] - kept * features[:, inputs:]) / (1 - kept)

    for update in iteration.list_gates(_SIGMOID, with_flipped=True):
        z, values = iteration.fit_gate_argument(update), compute_proposed_state(iteration.probes, update)
        new = _Affine(values[1:] - values[0], values[0])
        if z is None or bool(new.weight[inputs:].abs().max() > _NEAR):
            continue
        if _is_near(compute_proposed_state(iteration.features, update), iteration.features @ new.weight + new.bias):
            none = _Affine(torch.zeros_like(new.weight), torch.zeros_like(new.bias))
            new.weight[inputs:] = 0.0
            return iteration.make_layer("GRU_LINEAR", [z, none, new], [iteration.compute_gate_input(update)])
    return None


def _find_proposed_state_and_make_gru(
    iteration: _Iteration, z: _Affine, r: _Affine, reset: _Gate, proposed: _Gate, gate_inputs: Sequence[Tensor]
) -> RecurrentLayer | None:
    """Return a GRU with these gates, if the tanh `proposed` computes the proposed state of one, or else None. The reset
    gate is applied after the product with the state, as in PyTorch, or before it, as in the paper (Cho et al., 2014).

    Args:
        iteration: one iteration of the loop.
        z, r: the arguments of the update gate and of the reset gate.
        reset, proposed: the reset gate, and the tanh that may be the proposed state.
        gate_inputs: the values that enter the sigmoids and tanhs of such a layer.
    """

    def replace_reset_gate(number: float) -> Mapping[Node, Change]:
        def set_gate_columns(values: Tensor) -> Tensor:
            values = values.clone()
            values[:, reset.part * iteration.hidden : (reset.part + 1) * iteration.hidden] = number
            return values

        return {reset.node: set_gate_columns}

    closed = iteration.fit_gate_argument(proposed, replace_reset_gate(0.0))
    opened = iteration.fit_gate_argument(proposed, replace_reset_gate(1.0))
    if closed is None or opened is None:
        return None
    kept = _Affine(opened.weight - closed.weight, opened.bias - closed.bias)
    inputs = len(kept.weight) - iteration.hidden
    state, value = iteration.features[:, inputs:], iteration.compute_gate_value(reset)
    if bool(kept.weight[:inputs].abs().max() > _NEAR) or bool(closed.weight[inputs:].abs().max() > _NEAR):
        return None
    given = iteration.features[:, :inputs] @ closed.weight[:inputs]
    real = iteration.compute_gate_input(proposed)
    new = _Affine(torch.cat([closed.weight[:inputs], kept.weight[inputs:]]), closed.bias)
    biases = torch.cat([z.bias, r.bias])
    rest = torch.cat([biases - biases.float().double(), kept.bias])
    if _is_near(given + closed.bias + value * (state @ kept.weight[inputs:] + kept.bias), real):
        gates = [_Affine(z.weight, z.bias.float().double()), _Affine(r.weight, r.bias.float().double()), new]
        return iteration.make_layer("GRU", gates, gate_inputs, rest)
    if _is_near(given + closed.bias + kept.bias + (value * state) @ kept.weight[inputs:], real):
        return iteration.make_layer("GRU_RESET_BEFORE", [z, r, _Affine(new.weight, opened.bias)], gate_inputs)
    return None
