"""A traced module whose loops ran a few turns, with each loop put back for any number of turns.

ONNX's Loop and Scan have no part in a bundle. So a loop must be taken apart: the turns are matched with each other,
which gives one turn and what it hands to the next; what is handed round in a ring is a recurrent layer
(`pocketrnn_export.tracing.cells` says which), a running sum or maximum, or a tensor that is filled step by step; and
everything else is computed for all turns at once, as more rows of the batch, since each row stands alone.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sympy
import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.utils import _pytree as pytree

from pocketrnn_export.tracing.cells import NotALayer, RecurrentLayer, Ring, layer_of
from pocketrnn_export.tracing.recurrence import OPERATOR
from pocketrnn_export.tracing.turns import KEEP, PUT, STACKED, STEP, TURN, TURNS, Loop

__all__ = ["rolled"]

# The turn that stands for all: not the first, whose state is given, nor the last, where what nobody uses is left out.
_TURN: Final = TURNS - 2
_INDEX: Final = {STEP: 2, PUT: 3}


def rolled(program: torch.export.ExportedProgram, loops: Sequence[Loop]) -> nn.Module:
    """A module that computes what a traced one did, without its loops.

    Args:
        program: traced with `in_turns`.
        loops: those that ran.

    Raises:
        NotALayer: a loop is no recurrent layer, or is not understood.
    """
    functional = program.run_decompositions(dict(_CELLS))
    return _Rolled(functional, [_MatchedLoop(functional, number, loop) for number, loop in enumerate(loops)])


def _lstm_cell(x: Tensor, hx: Sequence[Tensor], w: Tensor, r: Tensor, b: Any = None, c: Any = None) -> Any:
    gates = nn.functional.linear(x, w, b) + nn.functional.linear(hx[0], r, c)
    i, f, g, o = gates.chunk(4, 1)
    cell = torch.sigmoid(f) * hx[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


def _gru_cell(x: Tensor, h: Tensor, w: Tensor, r: Tensor, b: Any = None, c: Any = None) -> Any:
    given, kept = nn.functional.linear(x, w, b).chunk(3, 1), nn.functional.linear(h, r, c).chunk(3, 1)
    reset, update = torch.sigmoid(given[0] + kept[0]), torch.sigmoid(given[1] + kept[1])
    new = torch.tanh(given[2] + reset * kept[2])
    return (h - new) * update + new


def _rnn_cell(activation: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    def cell(x: Tensor, h: Tensor, w: Tensor, r: Tensor, b: Any = None, c: Any = None) -> Any:
        return activation(nn.functional.linear(x, w, b) + nn.functional.linear(h, r, c))

    return cell


def _one_step_layer(x: Tensor, w: Tensor, r: Tensor, b: Any, lengths: Any, h0: Any, c0: Any, mode: str) -> Any:
    """`pocketrnn::recurrence` over one step, as a module that steps its layer calls it; any other as it is."""
    one_step = isinstance(x.shape[0], int) and x.shape[0] == 1
    if not one_step or lengths is not None or len(r) != 1 or h0 is None or (mode == "LSTM" and c0 is None):
        return NotImplemented
    given, kept = (None, None) if b is None else b[0].chunk(2)
    inputs, h = nn.functional.linear(x[0], w[0], given), h0[0]
    if mode == "GRU":
        z, reset, new = inputs.chunk(3, 1)
        kept_z, kept_reset, kept_new = nn.functional.linear(h, r[0], kept).chunk(3, 1)
        update = torch.sigmoid(z + kept_z)
        h = (1 - update) * torch.tanh(new + torch.sigmoid(reset + kept_reset) * kept_new) + update * h
        return h[None], h[None], h[None].clone()
    gates = inputs + nn.functional.linear(h, r[0], kept)
    if mode != "LSTM":
        h = torch.tanh(gates) if mode == "RNN_TANH" else torch.relu(gates)
        return h[None], h[None], h[None].clone()
    i, o, f, g = gates.chunk(4, 1)
    cell = torch.sigmoid(f) * c0[0] + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(cell)
    return h[None], h[None], cell[None]


# What the cells of torch compute (documented with nn.LSTMCell, nn.GRUCell and nn.RNNCell), by their operators.
_CELLS: Final[Mapping[Any, Callable[..., Any]]] = {
    torch.ops.aten.lstm_cell.default: _lstm_cell,
    torch.ops.aten.gru_cell.default: _gru_cell,
    torch.ops.aten.rnn_tanh_cell.default: _rnn_cell(torch.tanh),
    torch.ops.aten.rnn_relu_cell.default: _rnn_cell(torch.relu),
    OPERATOR: _one_step_layer,
}


@dataclass(eq=False)
class _State:
    """What a turn hands to the next: in the turn that stands for all, the node before and, once known, after it."""

    before: Node
    first: Node
    after: Node | None = None


class _MatchedLoop:
    """One loop: its turn that stands for all, and what it hands on."""

    def __init__(self, program: torch.export.ExportedProgram, number: int, loop: Loop) -> None:
        self.number, self.loop = number, loop
        self.partners: dict[Node, tuple[Node | None, ...]] = {}
        self.states: dict[Node, _State] = {}
        # What computes with a number that the turns count: that of the first turn, and 1 or -1.
        self.numbered: dict[Node, tuple[int, int]] = {}
        self._turn: dict[Node, int | None] = {}
        self._marked: list[list[Node]] = [[] for _ in range(TURNS)]
        for node in program.graph.nodes:
            mark = (node.meta.get("custom") or {}).get(TURN)
            if mark is not None and mark[0] == number:
                self._turn[node] = mark[1]
                self._marked[mark[1]].append(node)

    def turn(self, node: Node) -> int | None:
        """The turn that a node belongs to; of a later one, the last turn that it hangs on; None before the loop."""
        if node not in self._turn:
            turns = [self.turn(source) for source in node.all_input_nodes]
            self._turn[node] = max((turn for turn in turns if turn is not None), default=None)
        return self._turn[node]

    def ran(self, node: Node) -> int | None:
        """The turn that a node was called in."""
        mark = (node.meta.get("custom") or {}).get(TURN)
        return mark[1] if mark is not None and mark[0] == self.number else None

    def refused(self, why: str) -> NotALayer:
        return NotALayer(why, self.number)

    def of_last(self, last: Node) -> Node:
        """The node of the turn that stands for all that is what `last` is in the last turn."""
        for ref, nodes in self.partners.items():
            if nodes[-1] is last:
                return ref
        rank = [n for n in self._marked[-1] if _kind(n) == _kind(last)].index(last)
        alike = [[n for n in nodes if _kind(n) == _kind(last)] for nodes in self._marked[:-1]]
        # Of the last turn, what nobody uses is left out, so that fewer may stand before it there.
        failed: NotALayer | None = None
        for i in range(rank, len(alike[_TURN])):
            try:
                self.match((*(nodes[i] for nodes in alike), last))
                return alike[_TURN][i]
            except IndexError:
                break
            except NotALayer as error:
                failed = failed or error
        raise failed or self.refused("its turns differ")

    def match(self, nodes: tuple[Node | None, ...]) -> None:
        """Take nodes, one a turn, for what one node is in each; `partners` keeps them.

        Raises:
            NotALayer: they are not.
        """
        todo, new = [nodes], {}
        while todo:
            nodes = todo.pop()
            ref = nodes[_TURN]
            assert ref is not None  # noqa: S101 - only the last may be missing
            known = new.get(ref, self.partners.get(ref))
            if known is not None and known[:-1] == nodes[:-1] and nodes[-1] in (None, known[-1]):
                continue
            if known is not None and (known[:-1] != nodes[:-1] or known[-1] is not None):
                raise self.refused("its turns differ")
            new[ref] = nodes
            todo += self._matched_arguments([n for n in nodes if n is not None])
        self.partners.update(new)

    def _matched_arguments(self, nodes: Sequence[Node]) -> Iterator[tuple[Node | None, ...]]:
        flat = [pytree.tree_flatten((n.args, n.kwargs)) for n in nodes]
        if len({n.target for n in nodes}) > 1 or any(spec != flat[0][1] for _, spec in flat[1:]):
            raise self.refused("does not do the same in each turn")
        index = _index_of(nodes[0])
        for leaves in zip(*(leaves for leaves, _ in flat), strict=True):
            if index is not None and leaves == tuple(_index_of(n) for n in nodes):
                _direction([_number(leaf) for leaf in leaves], self)
            elif not any(isinstance(leaf, Node) for leaf in leaves):
                if any(leaf != leaves[0] for leaf in leaves):
                    self._count(nodes, leaves)
            elif not all(isinstance(leaf, Node) for leaf in leaves):
                raise self.refused("does not do the same in each turn")
            elif any(leaf is not leaves[0] for leaf in leaves):
                found = self._matched(leaves)
                if found is not None:
                    yield found

    def _count(self, nodes: Sequence[Node], leaves: Sequence[Any]) -> None:
        """Take note of an operation with the number of the step, such as `lengths > t`."""
        ref, of_tensors = nodes[_TURN], _of_tensors(nodes[_TURN])
        if (
            of_tensors is None
            or not all(type(leaf) is int for leaf in leaves)
            or leaves != tuple(n.args[1] for n in nodes)
        ):
            raise self.refused("computes with the number of the step")
        self.numbered[ref] = (leaves[0], _direction(leaves, self))

    def _matched(self, leaves: Sequence[Node]) -> tuple[Node | None, ...] | None:
        turns = [self.turn(leaf) for leaf in leaves]
        padded = (*leaves, *[None] * (TURNS - len(leaves)))
        if turns == list(range(len(turns))):
            return padded
        if turns[1:] != list(range(len(turns) - 1)) or turns[0] not in (None, 0):
            raise self.refused("its turns differ")
        before = leaves[_TURN]
        state = self.states.setdefault(before, _State(before, leaves[0]))
        if len(leaves) < TURNS or state.after is not None:
            return None
        state.after = leaves[-1]
        return (*leaves[1:], None)

    def complete(self) -> None:
        """Find what each state is after the turn, where the last turn did not show it."""
        while missing := [state for state in self.states.values() if state.after is None]:
            state = missing[0]
            earlier = self._marked[_TURN - 1]
            rank = [n for n in earlier if _kind(n) == _kind(state.before)].index(state.before)
            alike = [[n for n in nodes if _kind(n) == _kind(state.before)] for nodes in self._marked]
            try:
                found = tuple(nodes[rank] for nodes in alike[: TURNS - 1])
            except IndexError:
                raise self.refused("its turns differ") from None
            self.match((*found, None))
            state.after = found[_TURN]


def _kind(node: Node) -> Any:
    if node.target is operator.getitem:
        return node.target, node.args[0].target, node.args[1]  # type: ignore[union-attr]
    return node.target


def _index_of(node: Node) -> Any:
    position = _INDEX.get(node.target)  # type: ignore[arg-type]
    return None if position is None else node.args[position]


def _of_tensors(node: Node) -> Any:
    """The operator on two tensors of one on a tensor and a number; None where a node's is no such."""
    packet = getattr(node.target, "overloadpacket", None)
    if getattr(node.target, "_overloadname", "") not in ("Scalar", "Tensor") or packet is None:
        return None
    return packet.Tensor if "Tensor" in packet.overloads() and not node.kwargs and len(node.args) == 2 else None


def _number(value: Any) -> Any:
    """A number, or a size as torch's expression."""
    found = value.meta["val"] if isinstance(value, Node) else value
    return found.node.expr if isinstance(found, torch.SymInt) else found


def _direction(numbers: Sequence[Any], loop: _MatchedLoop) -> int:
    """By how much a position moves a turn: 1, -1, or 0."""
    steps = {later - earlier for earlier, later in zip(numbers, numbers[1:], strict=False)}
    if len(steps) != 1 or (step := steps.pop()) not in (-1, 0, 1):
        raise loop.refused("takes neither each step of the text nor each backwards")
    return int(step)


@dataclass(eq=False)
class _Plan:
    """How the states of a loop are computed for all turns.

    Attributes:
        layers: the recurrent layers, by what each of their states is after a turn, with their names; and the mask
            where a turn does something for some rows only.
        filled: tensors that are filled step by step, by what they are after a turn: the node that puts.
        summed, greatest: running sums and maxima, by what they are after a turn: what they are before.
        zeros: the states of layers, before a turn, that are zeros at first.
    """

    layers: dict[Node, tuple[RecurrentLayer, str, Node | None]] = field(default_factory=dict)
    filled: dict[Node, Node] = field(default_factory=dict)
    summed: dict[Node, Node] = field(default_factory=dict)
    greatest: dict[Node, Node] = field(default_factory=dict)
    zeros: set[Node] = field(default_factory=set)


class _Rolled(nn.Module):
    """A traced module with its loops put back: forward walks its graph, and computes what its loops give."""

    def __init__(self, program: torch.export.ExportedProgram, loops: Sequence[_MatchedLoop]) -> None:
        super().__init__()
        signature = program.graph_signature
        kept = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        constants = dict(signature.inputs_to_lifted_tensor_constants)
        self.state: dict[Node, str] = {}
        self.inputs: list[Node] = []
        for node in program.graph.nodes:
            if node.op != "placeholder":
                continue
            name = kept.get(node.name) or constants.get(node.name)
            if name is None:
                self.inputs.append(node)
                continue
            value = program.state_dict[name] if name in program.state_dict else program.constants[name]
            self.state[node] = name
            _add_buffer(self, name, value.detach())
        self.loops = loops
        output = program.graph.find_nodes(op="output")[0]
        given = [spec.kind == torch.export.graph_signature.OutputKind.USER_OUTPUT for spec in signature.output_specs]
        self.outputs = [node for node, wanted in zip(output.args[0], given, strict=True) if wanted]
        self.finals: dict[Node, tuple[_MatchedLoop, Node]] = {}
        self.needed = _needed(self)
        self.order = [node for node in program.graph.nodes if node in self.needed]
        batch = self.inputs[0].meta["val"].shape[0]
        self.batch = batch.node.expr if isinstance(batch, torch.SymInt) else None
        self.plans = {loop.number: _plan(self, loop) for loop in loops}

    def loop_of(self, node: Node) -> _MatchedLoop | None:
        return next((loop for loop in self.loops if loop.ran(node) is not None), None)

    def forward(self, tokens: Tensor, second: Tensor | None = None) -> Any:
        """What the traced module gives, of as many inputs."""
        return _Run(self, [tokens] if second is None else [tokens, second]).outputs()


def _add_buffer(module: nn.Module, name: str, value: Tensor) -> None:
    *path, last = name.split(".")
    for part in path:
        if not hasattr(module, part):
            setattr(module, part, nn.Module())
        module = getattr(module, part)
    module.register_buffer(last, value)


def _buffer(module: nn.Module, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part)
    return module


def _needed(module: _Rolled) -> set[Node]:
    """The nodes that are computed as they stand; the turns of the loops are matched on the way.

    Raises:
        NotALayer: the turns of a loop differ.
    """
    needed: set[Node] = set()
    todo = [node for node in module.outputs if isinstance(node, Node)]
    while True:
        while todo:
            node = todo.pop()
            if node in needed or node in module.finals:
                continue
            loop = module.loop_of(node)
            turn = None if loop is None else loop.ran(node)
            if loop is not None and turn == TURNS - 1:
                module.finals[node] = (loop, loop.of_last(node))
            elif loop is not None and turn != 0:
                raise loop.refused("what some of its turns give is used beside what all give")
            elif node.target is KEEP:
                needed.add(node)
                todo.append(node.args[0])  # type: ignore[arg-type]
            elif node.target is STACKED:
                needed.add(node)
                module.loops[node.args[3]].match(tuple(node.args[0]))  # type: ignore[arg-type, index]
            else:
                needed.add(node)
                todo += node.all_input_nodes
        for loop in module.loops:
            loop.complete()
            outside = {source for ref in loop.partners for source in ref.all_input_nodes}
            outside = {node for node in outside if node not in loop.partners and node not in loop.states}
            outside |= {state.first for state in loop.states.values()}
            for ref, nodes in loop.partners.items():
                if _index_of(ref) is not None and isinstance(_index_of(nodes[0]), Node):
                    outside.add(_index_of(nodes[0]))
            # What turns use of other loops' turns has no end here: it is refused above.
            todo += [node for node in outside if node not in needed and node not in module.finals]
        if not todo:
            return needed


def _plan(module: _Rolled, loop: _MatchedLoop) -> _Plan:
    plan = _Plan()
    reached = {state.before: _reached(loop, state.after) for state in loop.states.values()}
    left = list(loop.states.values())
    while left:
        # Those first that hang on no other ring of those left.
        ring = min(
            ([other for other in left if other.before in reached[s.before] and s.before in reached[other.before]] or [s]
             for s in left),
            key=lambda r: len({n for s in r for n in reached[s.before]} & {s.before for s in left}) - len(r),
        )  # fmt: skip
        left = [state for state in left if state not in ring]
        if any(state.before in reached[state.before] for state in ring):
            _plan_ring(module, loop, ring, plan)
    return plan


def _reached(loop: _MatchedLoop, node: Node | None) -> set[Node]:
    """The states before a turn that a node of it hangs on."""
    assert node is not None  # noqa: S101 - the loop is complete
    found, todo, seen = set(), [node], set()
    while todo:
        node = todo.pop()
        if node in loop.states:
            found.add(node)
        elif node in loop.partners and node not in seen:
            seen.add(node)
            todo += node.all_input_nodes
    return found


def _plan_ring(module: _Rolled, loop: _MatchedLoop, ring: Sequence[_State], plan: _Plan) -> None:
    """Add to the plan what a ring of states is.

    Raises:
        NotALayer: it is nothing that is known.
    """
    befores = {state.before for state in ring}
    if len(ring) == 1:
        before, after = ring[0].before, ring[0].after
        assert after is not None  # noqa: S101 - the loop is complete
        put = after.args[1] if after.target is torch.ops.aten.copy.default else after
        if isinstance(put, Node) and put.target is PUT and put.args[0] is before:
            plan.filled[after] = put
            return
    afters = [state.after for state in ring if state.after is not None]
    hanging = _hanging(loop, befores, afters)
    near = _near_sources(module, loop, hanging, befores)
    failed: NotALayer | None = None
    for mask in (None, *_masks(module, loop, near, hanging)):
        read = near if mask is None else [n for n in near if not _hangs_on(loop, n, mask)]
        for sources in _sources(module, loop, read):
            ring_of = _ring(module, loop, ring, sources, hanging, mask)
            if ring_of is None or mask is not None and not _holds(module, loop, ring, sources, hanging, mask):
                continue
            try:
                if mask is None and len(ring) == 1 and _add_running(ring_of, plan):
                    return
                layer = layer_of(ring_of)
            except NotALayer as error:
                failed = failed or NotALayer(str(error), loop.number)
                continue
            _add_layer(module, loop, layer, hanging, plan, mask)
            return
    raise failed or loop.refused("what it hands on is computed as by no RNN, GRU or LSTM that ONNX has")


def _add_layer(
    module: _Rolled,
    loop: _MatchedLoop,
    layer: RecurrentLayer,
    hanging: Sequence[Node],
    plan: _Plan,
    mask: Node | None,
) -> None:
    name = _name(module, hanging)
    for kind, value in (("w", layer.w), ("r", layer.r), ("b", layer.b.reshape(1, -1))):
        _add_buffer(module, f"{name}.onnx_{kind}_0", value.to(_dtype(module)))
    for before, after in layer.states:
        plan.layers[after] = (layer, name, mask)
        if _is_zero(module, loop, loop.states[before].first):
            plan.zeros.add(before)


def _masks(module: _Rolled, loop: _MatchedLoop, near: Sequence[Node], hanging: Sequence[Node]) -> list[Node]:
    """What may tell the rows for which a turn does something from those whose state it keeps: one number a row."""
    found: set[Node] = set()
    todo = list(near)
    while todo:
        node = todo.pop()
        value = node.meta.get("val")
        if (
            node in found
            or node not in loop.partners
            or not isinstance(value, Tensor)
            or _batch_axis(module, node) is None
        ):
            continue
        if torch.Size(_shape(module, node, 1)).numel() == 1:
            found.add(node)
            todo += node.all_input_nodes
    return [node for node in hanging[0].graph.nodes if node in found]


def _hangs_on(loop: _MatchedLoop, node: Node, other: Node) -> bool:
    todo, seen = [node], set()
    while todo:
        node = todo.pop()
        if node is other:
            return True
        if node in loop.partners and node not in seen:
            seen.add(node)
            todo += node.all_input_nodes
    return False


def _holds(
    module: _Rolled,
    loop: _MatchedLoop,
    ring: Sequence[_State],
    sources: Sequence[Node],
    hanging: Sequence[Node],
    mask: Node,
) -> bool:
    """Whether a turn keeps all states where a mask is 0."""
    off = _ring(module, loop, ring, sources, hanging, mask, on=False)
    if off is None:
        return False
    generator = torch.Generator().manual_seed(3)
    leaves = [*sources, *(before for before, _ in off.states)]
    given = {n: torch.randn(5, off.sizes[n], generator=generator, dtype=torch.float64) for n in leaves}
    after = off.run([after for _, after in off.states], given, {})
    return all(torch.equal(after[new], given[old]) for old, new in off.states)


def _hanging(loop: _MatchedLoop, befores: set[Node], afters: Sequence[Node]) -> list[Node]:
    """What hangs on states before a turn, among what the states after it hang on; in the order of the graph."""
    above, todo = set(), list(afters)
    while todo:
        node = todo.pop()
        if node in loop.partners and node not in above:
            above.add(node)
            todo += node.all_input_nodes
    found: list[Node] = []
    for node in afters[0].graph.nodes:
        if node in above and any(source in befores or source in found for source in node.all_input_nodes):
            found.append(node)
    return found


def _near_sources(module: _Rolled, loop: _MatchedLoop, hanging: Sequence[Node], befores: set[Node]) -> list[Node]:
    """What a ring reads beside its states, as it comes to it."""
    near = [n for node in hanging for n in node.all_input_nodes if n not in hanging and n not in befores]
    return list(dict.fromkeys(n for n in near if _is_data(module, loop, n)))


def _sources(module: _Rolled, loop: _MatchedLoop, near: Sequence[Node]) -> Iterator[tuple[Node, ...]]:
    """What a ring reads beside its states: as the text gives it; or else as what is affine in it; or as it comes."""
    tried: list[list[Node]] = []
    for through in (None, _AFFINE, frozenset()):
        found: list[Node] = []
        todo, seen = near[::-1], set()
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            is_leaf = node not in loop.partners or _moves(loop, node) or node in loop.states
            is_leaf = is_leaf or any(node is state.after for state in loop.states.values())
            if is_leaf or (through is not None and node.target not in through):
                found.append(node)
            else:
                todo += [n for n in node.all_input_nodes[::-1] if _is_data(module, loop, n)]
        if found not in tried and all(isinstance(n.meta["val"], Tensor) for n in found):
            tried.append(found)
            yield tuple(found)


# What may stand between a layer's input and its gates, beside sums of both.
_AFFINE: Final = frozenset(
    {operator.getitem, *(getattr(torch.ops.aten, name).default for name in
     ("linear", "mm", "matmul", "addmm", "cat", "view", "reshape", "unsqueeze", "permute", "t", "expand", "clone")),
     torch.ops.aten.add.Tensor, torch.ops.aten.split.Tensor, torch.ops.aten.chunk.default,
     torch.ops.aten.slice.Tensor, torch.ops.aten.squeeze.dim, torch.ops.aten.transpose.int}
)  # fmt: skip


def _moves(loop: _MatchedLoop, node: Node) -> bool:
    """Whether a node takes another step of a tensor in every turn."""
    nodes = loop.partners.get(node)
    if node.target is not STEP or nodes is None:
        return False
    return _direction([_number(_index_of(n)) for n in nodes if n is not None], loop) != 0


def _is_data(module: _Rolled, loop: _MatchedLoop, node: Node) -> bool:
    """Whether a value differs from text to text: it hangs on the ids or a state, and on more than their sizes."""
    if not isinstance(node.meta.get("val"), (Tensor, tuple, list)):
        return False
    todo, seen = [node], set()
    while todo:
        node = todo.pop()
        if node in module.inputs or node in loop.states:
            return True
        if node not in seen:
            seen.add(node)
            todo += [n for n in node.all_input_nodes if isinstance(n.meta.get("val"), (Tensor, tuple, list))]
    return False


def _dtype(module: nn.Module) -> torch.dtype:
    return next((b.dtype for b in module.buffers() if b.is_floating_point()), torch.float32)


def _name(module: _Rolled, hanging: Sequence[Node]) -> str:
    """The path of a module whose weights a ring uses, for the layer's name."""
    paths = [module.state[n].split(".")[:-1] for node in hanging for n in node.all_input_nodes if n in module.state]
    shared: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    base = ".".join(shared) or "recurrence"
    names = {name for name, _ in module.named_buffers()}
    number = next(i for i in range(1, 1000) if f"{_numbered(base, i)}.onnx_w_0" not in names)
    return _numbered(base, number)


def _numbered(base: str, number: int) -> str:
    return base if number == 1 else f"{base}_{number}"


def _add_running(ring: Ring, plan: _Plan) -> bool:
    """Add a ring of one state to the plan if it is a running sum or maximum."""
    ((before, after),) = ring.states
    if ring.sizes[before] == 0:
        return False
    generator = torch.Generator().manual_seed(5)
    given = {n: torch.randn(5, ring.sizes[n], generator=generator, dtype=torch.float64) for n in ring.sources}
    state = torch.randn(5, ring.sizes[before], generator=generator, dtype=torch.float64)
    real = ring.run([after], {**given, before: state}, {})[after]
    without = ring.run([after], {**given, before: torch.zeros_like(state)}, {})[after]
    lowest = ring.run([after], {**given, before: torch.full_like(state, -1e30)}, {})[after]
    if real.shape != state.shape:
        return False
    if bool(((real - state - without).abs() < 1e-9).all()):
        plan.summed[after] = before
        return True
    if bool((lowest > -1e29).all()) and torch.equal(real, torch.maximum(state, lowest)):
        plan.greatest[after] = before
        return True
    return False


def _ring(
    module: _Rolled,
    loop: _MatchedLoop,
    ring: Sequence[_State],
    sources: Sequence[Node],
    hanging: Sequence[Node],
    mask: Node | None = None,
    *,
    on: bool = True,
) -> Ring | None:
    """A ring that can be run on numbers, with its mask on or off; None where it reads other numbers than floats."""
    states = tuple((state.before, state.after) for state in ring if state.after is not None)
    leaves = [*sources, *(before for before, _ in states)]
    if any(not n.meta["val"].is_floating_point() for n in leaves):
        return None
    sizes = {n: int(torch.Size(_shape(module, n, 1)).numel()) for n in leaves}
    batched = all(_batch_axis(module, n) is not None for n in leaves)

    def run(
        nodes: Sequence[Node], given: Mapping[Node, Tensor], changes: Mapping[Node, Callable[[Tensor], Tensor]]
    ) -> Mapping[Node, Tensor]:
        rows = len(next(iter(given.values())))
        if batched:
            return _Numbers(module, loop, rows, given, changes, mask, on=on).flat(nodes)
        each = [
            _Numbers(module, loop, 1, {n: value[i : i + 1] for n, value in given.items()}, changes, mask, on=on).flat(
                nodes
            )
            for i in range(rows)
        ]
        return {n: torch.cat([one[n] for one in each]) for n in nodes}

    return Ring(states, tuple(sources), tuple(hanging), run, sizes)


def _shape(module: _Rolled, node: Node, batch: Any, *, tokens: int = 5) -> list[Any]:
    """The shape of a node's value for a batch of our choice."""
    return [_size(module, size, batch, tokens) for size in node.meta["val"].shape]


def _size(module: _Rolled, size: Any, batch: int, tokens: int) -> int:
    if not isinstance(size, torch.SymInt):
        return int(size)
    expression = size.node.expr
    chosen = {s: sympy.Integer(batch if s == module.batch else tokens) for s in expression.free_symbols}
    return int(expression.xreplace(chosen))


def _batch_axis(module: _Rolled, node: Node) -> int | None:
    value = node.meta["val"]
    axes = [
        i for i, size in enumerate(value.shape) if isinstance(size, torch.SymInt) and size.node.expr == module.batch
    ]
    return axes[0] if len(axes) == 1 else None


class _Numbers:
    """One turn of a loop in double precision, for states and sources that are given."""

    def __init__(
        self,
        module: _Rolled,
        loop: _MatchedLoop,
        rows: int,
        given: Mapping[Node, Tensor],
        changes: Mapping[Node, Callable[[Tensor], Tensor]],
        mask: Node | None = None,
        *,
        on: bool = True,
    ) -> None:
        self.module, self.loop, self.rows, self.changes = module, loop, rows, changes
        self.values: dict[Node, Any] = {}
        if mask is not None:
            value = torch.full(_shape(module, mask, rows), int(on), dtype=mask.meta["val"].dtype)
            self.values[mask] = _in_doubles(value)
        for node, value in given.items():
            axis = _batch_axis(module, node)
            shape = _shape(module, node, rows)
            if axis is None:
                self.values[node] = value.reshape(shape)
            else:
                rest = [size for i, size in enumerate(shape) if i != axis]
                self.values[node] = value.reshape(rows, *rest).movedim(0, axis)

    def flat(self, nodes: Sequence[Node]) -> Mapping[Node, Tensor]:
        result = {}
        for node in nodes:
            value = self.value(node)
            if not isinstance(value, Tensor) or node.target not in _WITH_ROWS and node not in self.loop.partners:
                continue
            axis = _batch_axis(self.module, node)
            moved = value if axis is None else value.movedim(axis, 0)
            if moved.numel() % self.rows == 0:
                result[node] = moved.reshape(self.rows, -1)
        return result

    def value(self, node: Node) -> Any:
        if node in self.values:
            return self.values[node]
        found = node.meta.get("val")
        if isinstance(found, torch.SymInt):
            value: Any = _size(self.module, found, self.rows, 5)
        elif node in self.module.state:
            value = _in_doubles(_buffer(self.module, self.module.state[node]))
        elif node in self.module.inputs or node in self.loop.states or _moves(self.loop, node):
            raise NotALayer("it reads the text in a way that is not understood", self.loop.number)
        else:
            value = _called(node, self.value, doubles=True)
        if node in self.changes:
            axis = _batch_axis(self.module, node)
            moved = value if axis is None else value.movedim(axis, 0)
            changed = self.changes[node](moved.reshape(self.rows, -1)).reshape(moved.shape)
            value = changed if axis is None else changed.movedim(0, axis)
        self.values[node] = value
        return value


_WITH_ROWS: Final = frozenset({STEP})


def _in_doubles(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _called(node: Node, value: Callable[[Node], Any], *, doubles: bool = False) -> Any:
    """A node's value from those of its arguments."""
    args, kwargs = torch.fx.node.map_arg((node.args, dict(node.kwargs)), value)
    kwargs = dict(kwargs)
    if doubles and kwargs.get("dtype") == torch.float32:
        kwargs["dtype"] = torch.float64
    if node.target is STEP:
        return args[0].select(args[1], args[2])
    if node.target is PUT:
        return args[0].select_scatter(args[1], args[2], args[3])
    result = node.target(*args, **kwargs)  # type: ignore[operator]
    return _in_doubles(result) if doubles else result


class _Run:
    """One run of a module whose loops are put back."""

    def __init__(self, module: _Rolled, inputs: Sequence[Tensor]) -> None:
        self.module = module
        self.values: dict[Node, Any] = dict(zip(module.inputs, inputs, strict=True))
        self.sequences: dict[Node, Tensor] = {}
        self.last: dict[Node, Any] = {}

    def outputs(self) -> Any:
        # In the order of the graph, so that no chain of operations becomes a chain of calls.
        for node in self.module.order:
            self.value(node)
        found = [self.value(node) for node in self.module.outputs]
        return found[0] if len(found) == 1 else tuple(found)

    def value(self, node: Node) -> Any:
        """What a node gives; of a loop's last turn, what the loop gives in the end."""
        if node not in self.values:
            if node in self.module.state:
                found = _buffer(self.module, self.module.state[node])
            elif node in self.module.finals:
                found = self.final(*self.module.finals[node])
            elif node.target is KEEP:
                found = self.value(node.args[0])  # type: ignore[arg-type]
            elif node.target is STACKED:
                values, _, axis, number, flipped = node.args
                sequence = self.sequence(self.module.loops[number], values[_TURN])  # type: ignore[index]
                found = (sequence.flip(0) if flipped else sequence).movedim(0, axis)  # type: ignore[arg-type]
            else:
                found = _called(node, self.value)
            self.values[node] = found
        return self.values[node]

    def final(self, loop: _MatchedLoop, node: Node) -> Any:
        """What a node of a turn gives in the last turn."""
        if node not in self.last:
            plan = self.module.plans[loop.number]
            if node in loop.states:
                found: Any = self.sequence(loop, node).select(0, -1)
            elif node in plan.layers:
                self._run_layer(loop, node)
                found = self.last[node]
            elif node in plan.filled:
                found = self._filled(loop, plan.filled[node])
            elif node in plan.summed:
                found = self._without(loop, node, plan.summed[node], 0.0).sum(0) + self._first(loop, plan.summed[node])
            elif node in plan.greatest:
                terms = self._without(loop, node, plan.greatest[node], float("-inf"))
                found = torch.maximum(terms.amax(0), self._first(loop, plan.greatest[node]))
            elif _moves(loop, node) or node in loop.numbered:
                found = self.sequence(loop, node).select(0, -1)
            elif node in loop.partners:
                found = _called(node, lambda source: self.final(loop, source))
            else:
                found = self.value(node)
            self.last[node] = found
        return self.last[node]

    def _first(self, loop: _MatchedLoop, before: Node) -> Any:
        return self.value(loop.states[before].first)

    def sequence(self, loop: _MatchedLoop, node: Node) -> Tensor:
        """What a node of a turn gives in all turns, [turns, ...]."""
        if node not in self.sequences:
            plan = self.module.plans[loop.number]
            if node in loop.states:
                after = loop.states[node].after
                assert after is not None  # noqa: S101 - the loop is complete
                earlier = self.sequence(loop, after)
                first = self._first(loop, node).unsqueeze(0)
                found = torch.cat([first, earlier])[:-1]
            elif node in plan.layers:
                self._run_layer(loop, node)
                if node not in self.sequences:
                    raise loop.refused("uses the cell state of an LSTM of every step, which ONNX's LSTM does not give")
                found = self.sequences[node]
            elif node in plan.filled or node in plan.summed or node in plan.greatest:
                raise loop.refused("uses in a step what it has gathered up to there")
            elif _moves(loop, node):
                found = self._steps(loop, node)
            else:
                found = self._without(loop, node, None, 0.0)
            self.sequences[node] = found
        return self.sequences[node]

    def _without(self, loop: _MatchedLoop, node: Node, before: Node | None, number: float) -> Tensor:
        """What a node of a turn gives in all turns, with one state taken for a number."""
        return _AllTurns(self, loop, before, number).sequence(node)

    def count(self, loop: _MatchedLoop) -> Any:
        """How many turns a loop has."""
        for node in loop.partners:
            if _moves(loop, node):
                return self.sequence(loop, node).shape[0]
        raise loop.refused("does not take the steps of the text one after the other")

    def _steps(self, loop: _MatchedLoop, node: Node) -> Tensor:
        """The steps that a node takes, [turns, ...], in the order of the turns."""
        nodes = loop.partners[node]
        first = nodes[0]
        assert first is not None  # noqa: S101 - only the last may be missing
        source, axis, index = node.args[0], node.args[1], first.args[2]
        x, axis = self.value(source), int(axis)  # type: ignore[arg-type]
        size = source.meta["val"].shape[axis].node.expr  # type: ignore[union-attr]
        count, start = loop.loop.count.node.expr, _number(index)
        moved = x.movedim(axis, 0)
        if _direction([_number(_index_of(n)) for n in nodes if n is not None], loop) < 0:
            moved, start = moved.flip(0), size - 1 - start
        missing = size - count - start
        if not (start.is_integer if hasattr(start, "is_integer") else True) or not all(
            not getattr(number, "free_symbols", ()) and number >= 0 for number in (start, missing)
        ):
            raise loop.refused("takes steps of the text that are not understood")
        return moved[int(start) : moved.shape[0] - int(missing)] if start or missing else moved

    def _filled(self, loop: _MatchedLoop, put: Node) -> Tensor:
        """A tensor that every turn puts one step into."""
        nodes = loop.partners[put]
        axis, first = int(put.args[2]), nodes[0]  # type: ignore[arg-type]
        assert first is not None  # noqa: S101 - only the last may be missing
        size = put.args[0].meta["val"].shape[axis].node.expr  # type: ignore[union-attr]
        backward = _direction([_number(_index_of(n)) for n in nodes if n is not None], loop) < 0
        start = _number(first.args[3])
        if (size - 1 - start if backward else start) != 0 or loop.loop.count.node.expr != size:
            raise loop.refused("fills only some steps of a tensor")
        sequence = self.sequence(loop, put.args[1])  # type: ignore[arg-type]
        return (sequence.flip(0) if backward else sequence).movedim(0, axis)

    def _run_layer(self, loop: _MatchedLoop, node: Node) -> None:
        layer, name, mask = self.module.plans[loop.number].layers[node]
        rows = self.value(self.module.inputs[0]).shape[0]
        acts = None if mask is None else self._features(loop, mask).squeeze(2) != 0
        inputs = [self._features(loop, source) for source in layer.sources]
        initial = []
        for before, _ in layer.states:
            state = loop.states[before]
            zero = before in self.module.plans[loop.number].zeros
            initial.append(None if zero else self._rows(state.before, self.value(state.first), rows).unsqueeze(0))
        if any(state is not None for state in initial):
            hidden = layer.r.shape[2]
            like = inputs[0]
            initial = [like.new_zeros(1, rows, hidden) if state is None else state for state in initial]
        of = {kind: _buffer(self.module, f"{name}.onnx_{kind}_0") for kind in "wrb"}
        outputs, *finals = OPERATOR(
            torch.cat(inputs, dim=2) if len(inputs) > 1 else inputs[0],
            of["w"], of["r"], of["b"], None if acts is None else acts.sum(0), initial[0], initial[1] if len(initial) > 1 else None, layer.mode,
        )  # fmt: skip
        if acts is not None:
            # Past its length a row gives zeros in ONNX; here it keeps its state.
            outputs = torch.where(acts.unsqueeze(2), outputs, finals[0])
        after = layer.states[0][1]
        self.sequences[after] = self._shaped(after, outputs, leading=True)
        for (_, after), final in zip(layer.states, finals, strict=False):
            self.last[after] = self._shaped(after, final.squeeze(0), leading=False)

    def _features(self, loop: _MatchedLoop, source: Node) -> Tensor:
        """A source of a layer in all turns, [turns, batch, features]."""
        if source in loop.partners or source in loop.states:
            sequence = self.sequence(loop, source)
        else:
            value = self.value(source)
            sequence = value.unsqueeze(0).expand(self.count(loop), *value.shape)
        axis = _batch_axis(self.module, source)
        if axis is None:
            return sequence.reshape(sequence.shape[0], 1, -1)
        moved = sequence.movedim(axis + 1, 1)
        return moved if moved.dim() == 3 else moved.flatten(2) if moved.dim() > 3 else moved.unsqueeze(2)

    def _rows(self, like: Node, value: Tensor, rows: Any) -> Tensor:
        """A state as [batch, hidden]."""
        axis = _batch_axis(self.module, like)
        if axis is None:
            return value.reshape(1, -1)
        value = value.expand(_shape_with(self.module, self.module.loops[0], like, rows))
        moved = value.movedim(axis, 0)
        return moved if moved.dim() == 2 else moved.flatten(1) if moved.dim() > 2 else moved.unsqueeze(1)

    def _shaped(self, node: Node, value: Tensor, *, leading: bool) -> Tensor:
        """[batch, hidden] in the shape that a node's value has, after the turns where these lead."""
        axis = _batch_axis(self.module, node)
        shape = _shape_with(self.module, self.module.loops[0], node, None)
        before = list(value.shape[: int(leading)])
        if axis is None:
            return value.reshape(*before, *shape)
        rest = [size for i, size in enumerate(shape) if i != axis]
        value = value if len(rest) == 1 else value.reshape(*before, value.shape[-2], *rest)
        return value.movedim(int(leading), int(leading) + axis)


def _is_zero(module: _Rolled, loop: _MatchedLoop, node: Node) -> bool:
    """Whether an initial state is made of zeros."""
    if _is_data(module, loop, node):
        return False
    value = _Numbers(module, loop, 2, {}, {}).value(node)
    return isinstance(value, Tensor) and not bool(value.any())


def _shape_with(module: _Rolled, loop: _MatchedLoop, node: Node, rows: Any) -> list[Any]:
    """The shape of a node's value with `rows` for its batch. No size of the first trace has a part in the second."""
    axis = _batch_axis(module, node)
    shape = [rows if i == axis else size for i, size in enumerate(node.meta["val"].shape)]
    if any(isinstance(size, torch.SymInt) and i != axis for i, size in enumerate(shape)):
        raise loop.refused("hands on something whose shape hangs on the length of the text")
    return shape


class _AllTurns:
    """What does not go round, for all turns at once: turns and rows of the batch are one axis."""

    def __init__(self, run: _Run, loop: _MatchedLoop, before: Node | None, number: float) -> None:
        self.run, self.loop, self.before, self.number = run, loop, before, number
        self.count = run.count(loop)
        self.rows = run.value(run.module.inputs[0]).shape[0]
        self.values: dict[Node, Any] = {}

    def sequence(self, node: Node) -> Tensor:
        axis = _batch_axis(self.run.module, node)
        value = self._own(node)
        if axis is None:
            raise self.loop.refused("computes something in each step that has no rows of the batch")
        return value.unflatten(axis, (self.count, self.rows)).movedim(axis, 0)

    def value(self, node: Node) -> Any:
        if node not in self.values:
            self.values[node] = self._value(node)
        return self.values[node]

    def _value(self, node: Node) -> Any:
        plan = self.run.module.plans[self.loop.number]
        if node is self.before:
            shape = _shape_with(self.run.module, self.loop, node, self.count * self.rows)
            return torch.full(shape, self.number, dtype=node.meta["val"].dtype)
        if node in self.loop.states or node in plan.layers or _moves(self.loop, node) or node in plan.summed:
            return self._merged(node, self.run.sequence(self.loop, node))
        if node in self.loop.partners:
            return self._own(node)
        found = node.meta.get("val")
        if isinstance(found, torch.SymInt):
            return self._size(node, found)
        value = self.run.value(node)
        axis = _batch_axis(self.run.module, node) if isinstance(found, Tensor) else None
        if axis is None:
            return value
        return self._merged(node, value.unsqueeze(0).expand(self.count, *value.shape))

    def _own(self, node: Node) -> Any:
        if node not in self.loop.numbered:
            return _called(node, self.value)
        first, step = self.loop.numbered[node]
        value = self.value(node.args[0])  # type: ignore[arg-type]
        axis = _batch_axis(self.run.module, node.args[0])  # type: ignore[arg-type]
        if axis is None:
            raise self.loop.refused("computes with the number of the step")
        numbers = first + step * torch.arange(self.count)
        numbers = numbers.unsqueeze(1).expand(self.count, self.rows).flatten()
        shape = [self.count * self.rows if i == axis else 1 for i in range(value.dim())]
        return _of_tensors(node)(value, numbers.reshape(shape))

    def _merged(self, node: Node, sequence: Tensor) -> Tensor:
        axis = _batch_axis(self.run.module, node)
        if axis is None:
            raise self.loop.refused("computes something in each step that has no rows of the batch")
        return sequence.movedim(0, axis).flatten(axis, axis + 1)

    def _size(self, node: Node, size: torch.SymInt) -> Any:
        expression = size.node.expr
        if expression == self.run.module.batch:
            return self.count * self.rows
        if self.run.module.batch in expression.free_symbols:
            raise self.loop.refused("computes with the size of the batch in a step")
        return self.run.value(node)
