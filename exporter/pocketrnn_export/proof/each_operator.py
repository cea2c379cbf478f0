"""Each operator of a program beside the nodes that the graph has for it, on numbers that few texts may show.

A rare text may send numbers to an operator that no drawn text does, behind a gate that is closed for nearly all. So
each operator runs alone, in PyTorch and in onnxruntime, on numbers of its own: small and large ones, whole and negative
ones. Where the graph has no value of an operator's name, since its nodes were joined with others, these run together.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor
from torch.export.graph_signature import InputKind
from torch.fx import Node

from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.comparing import session_of
from pocketrnn_export.intake.user_frames import line_of_node
from pocketrnn_export.proof.every_size import OtherAnswersError
from pocketrnn_export.proof.pytorch_run import ValuesOfNodes

__all__ = ["apart", "hostile_numbers", "refuse_other_numbers"]

# Processor time, which the operators of an ordinary module take a fifth of.
_SECONDS: Final = 4.0
# More operators are not run together.
_MOST_TOGETHER: Final = 24
# About so many numbers of each kind go through an operator.
_NUMBERS: Final = 120
_MOST_DRAWS: Final = 24
_LARGEST: Final = 200_000
# Operators that pick by places or order equal numbers are compared by other checks; so are recurrent layers.
_PICKS: Final = (
    "arg", "embedding", "gather", "index", "masked_select", "multinomial", "nonzero", "one_hot", "pocketrnn", "scatter",
    "sort", "topk", "unique",
)  # fmt: skip
_SPECIAL: Final = (
    0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, 2.0, -2.0, 2.5, 3.0, -3.0, 7.0, 12.0, -12.0, 45.0, 100.0, -100.0,
)  # fmt: skip
_WHOLE: Final = (0, 1, 2, 3, 5, 8, 21, 40, 100, 129, 200, 255, -1, -2, -7, -128)
_FAR: Final = (*_WHOLE, 1_000, 65_537, 1_000_003, -70_000, 20_000_001)
# By kind of numbers: the spread of floats, the whole numbers, and how many truths are true.
_SPREADS: Final = (1.0, 1.0, 20.0, 0.05)
_OF_KIND: Final = (tuple(range(10)), _WHOLE, _FAR, tuple(range(-40, 300)))
_TRUE: Final = (0.5, 0.1, 0.9, 0.5)
# By type, beside the numbers' own size; an operator of doubles may be computed in float32.
_NEAR: Final = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-10}
_ROUNDINGS: Final = 100


@dataclass(frozen=True)
class _Part:
    """Operators that run together.

    Attributes:
        nodes: all of them, in their order.
        given: those before them, whose results are replaced by other numbers.
    """

    nodes: tuple[Node, ...]
    given: tuple[Node, ...]

    @property
    def last(self) -> Node:
        """The operator whose result is compared."""
        return self.nodes[-1]


@dataclass(frozen=True)
class _Cut:
    """The nodes of a graph that stand for a part.

    Attributes:
        nodes: these, in their order.
        fed: values whose sizes alone they ask for, by name.
        weights: that they read.
        read: the names of the given values that they read.
    """

    nodes: list[onnx.NodeProto]
    fed: dict[str, Tensor]
    weights: list[onnx.TensorProto]
    read: set[str]


def refuse_other_numbers(
    program: torch.export.ExportedProgram, content: bytes, inputs: tuple[Tensor, ...], names: Sequence[str]
) -> None:
    """Refuse a graph of which the nodes of an operator give other numbers than the operator does.

    Args:
        program: as the graph was made of it, operator by operator.
        content: the graph's ONNX file, whose values have the operators' names.
        inputs: some inputs, as the module takes them.
        names: of the graph's inputs.

    Raises:
        OtherAnswersError: there is such an operator; names its line.
    """
    run = ValuesOfNodes(program)
    values = run(inputs)
    if not values:
        return
    specs = program.graph_signature.input_specs
    taken = [spec.arg.name for spec in specs if spec.kind == InputKind.USER_INPUT]
    graph = _Graph(content, dict(zip(names, inputs, strict=True)), dict(zip(taken, names, strict=True)), values)
    order = {node: place for place, node in enumerate(program.graph.nodes)}
    started, seen = time.process_time(), set[str]()
    for node in order:
        if time.process_time() - started > _SECONDS:
            return
        found = _whole_part_of(node, values, graph, frozenset(taken), order)
        if found is None or (key := _key(found[0], values)) in seen:
            continue
        seen.add(key)
        _compare(*found, values, graph, run)


def _compare(part: _Part, cut: _Cut, values: Mapping[Node, Any], graph: _Graph, run: ValuesOfNodes) -> None:
    session = graph.session(part, cut)
    if session is None:
        return
    for draw in hostile_numbers([values[node] for node in part.given]):
        given = dict(zip(part.given, draw, strict=True))
        expected = _result(part, values, given, run)
        if expected is None:
            continue
        try:
            found = session({graph.name_of(node): value for node, value in given.items()})
        # An engine's errors share no base. An operator that onnxruntime has not is told where the whole graph is run.
        except Exception:
            return
        exact = None
        if expected.dtype == np.float32:
            exact = _result(part, values, {node: _doubled(value) for node, value in given.items()}, run)
        if (place := apart(found, expected, exact, draw)) is not None:
            line = line_of_node(part.last)
            name = str(part.last.target).partition(".")[2].partition(".")[0].strip("_")
            raise OtherAnswersError(
                f"`{name}` computes other numbers in ONNX than in PyTorch{line and f', at {line}'}: for some "
                f"{float(found.ravel()[place]):.7g} in place of {float(expected.ravel()[place]):.7g}.",
                "Write that line by other operations of torch, or in float32.",
            )


def apart(
    found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], exact: np.ndarray[Any, Any] | None, draw: Sequence[Any]
) -> int | None:
    """The place of a number that differs by more than rounding; None where there is none.

    Args:
        found, expected: what is compared.
        exact: the expected numbers in double precision, which show how much they are rounded.
        draw: the numbers that they were made of.

    Example:
        >>> apart(np.float32([1, 2]), np.float32([1, 3]), None, [])
        1
    """
    if found.shape != expected.shape or found.dtype.kind != expected.dtype.kind:
        return None
    if expected.dtype.kind in "iub":
        differ = found != expected
    else:
        wanted, given = expected.astype(np.float64), found.astype(np.float64)
        near = _NEAR[expected.dtype.name]
        sizes = [float(value.abs().max()) for value in draw if value.is_floating_point() and value.numel()]
        allowed = near * (np.maximum(1.0, np.abs(wanted)) + 0.1 * max(sizes, default=0.0))
        if exact is not None and exact.shape == expected.shape:
            with np.errstate(all="ignore"):
                off = np.nan_to_num(np.abs(exact.astype(np.float64) - wanted), posinf=0.0)
            # A number that happens to be rounded to the exact one does not show how much such numbers are rounded.
            allowed = allowed + _ROUNDINGS * np.maximum(off, np.median(off) if off.size else 0.0)
        with np.errstate(all="ignore"):
            # Where PyTorch has no finite number, any is as good here.
            differ = np.isfinite(wanted) & ~(np.abs(given - wanted) <= allowed)
    return int(differ.ravel().argmax()) if differ.any() else None


def _whole_part_of(
    node: Node, values: Mapping[Node, Any], graph: _Graph, taken: frozenset[str], order: Mapping[Node, int]
) -> tuple[_Part, _Cut] | None:
    """The operators that end with one, and the graph's nodes for them, which read all that is given.

    Two operators that compute the same are one in the graph: numbers given for one of them are the other's, too.
    """
    known = graph.names
    while (part := _part_of(node, values, known, taken, order)) is not None and (cut := graph.cut(part)) is not None:
        if cut.read == {graph.name_of(one) for one in part.given}:
            return part, cut
        if not (further := known & {one.name for one in part.given}):
            return None
        known -= further
    return None


def _part_of(
    node: Node, values: Mapping[Node, Any], known: frozenset[str], taken: frozenset[str], order: Mapping[Node, int]
) -> _Part | None:
    """The operators that end with one whose result the graph has, back to those before whose results it has too."""
    if node.op != "call_function" or node.name not in known or not _is_compared(values.get(node)):
        return None
    nodes, given, left = [node], list[Node](), [node]
    while left:
        for before in left.pop().all_input_nodes:
            value = values.get(before)
            is_weight = before.op == "placeholder" and before.name not in taken
            if before in nodes or before in given or is_weight or isinstance(value, int | float | bool):
                continue
            if before.name in known | taken and _is_compared(value) and not _is_mask(before, values):
                given.append(before)
            elif before.op != "call_function":
                return None
            else:
                nodes.append(before)
                left.append(before)
            if len(nodes) > _MOST_TOGETHER:
                return None
    if not given or any(word in str(one.target) for one in nodes for word in _PICKS):
        return None
    return _Part(tuple(sorted(nodes, key=order.__getitem__)), tuple(given))


def _is_mask(node: Node, values: Mapping[Node, Any]) -> bool:
    """Whether a value is of 0 and 1 only: numbers made of truths."""
    made_of = [values.get(one) for one in node.all_input_nodes]
    return (
        values[node].dtype != torch.bool
        and bool(made_of)
        and all(isinstance(one, Tensor) and one.dtype == torch.bool for one in made_of)
    )


def _is_compared(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() <= _LARGEST and not value.is_complex() and value.numel() > 0


def _key(part: _Part, values: Mapping[Node, Any]) -> str:
    """A text that is the same for parts that are alike."""
    places = {node: f"given {place}" for place, node in enumerate(part.given)}
    places |= {node: f"made {place}" for place, node in enumerate(part.nodes)}

    def shown(node: Node) -> str:
        value = values.get(node)
        if node in places:
            return places[node]
        return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else repr(value)

    calls = [(str(node.target), str(torch.fx.node.map_arg((node.args, node.kwargs), shown))) for node in part.nodes]
    return str((calls, [(values[node].dtype, values[node].dim()) for node in part.given]))


def _result(
    part: _Part, values: Mapping[Node, Any], given: Mapping[Node, Tensor], run: ValuesOfNodes
) -> np.ndarray[Any, Any] | None:
    """The answer of PyTorch to other numbers; None where it fails."""
    made: dict[Node, Any] = {}

    def value_of(node: Node) -> Any:
        found = made[node] if node in made else given.get(node, values[node])
        return found.clone() if isinstance(found, Tensor) else found

    try:
        with torch.no_grad():
            for node in part.nodes:
                args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), value_of)
                made[node] = run.call_function(node.target, args, kwargs)
        answer = made[part.last]
        return answer.numpy() if isinstance(answer, Tensor) else None
    # An operator may refuse such numbers, by errors of many classes.
    except Exception:
        return None


def _doubled(value: Tensor) -> Tensor:
    return value.double() if value.dtype == torch.float32 else value


def hostile_numbers(
    values: Sequence[Tensor], more: Sequence[tuple[Sequence[float], Sequence[int]]] = (), draws: int = _MOST_DRAWS
) -> Iterator[list[Tensor]]:
    """Other numbers of the same types and sizes, the same in every run.

    Args:
        values: what has these types and sizes.
        more: further kinds of numbers: floats, and whole ones.
        draws: the most of each kind.

    Example:
        >>> [drawn.item() for (drawn,) in hostile_numbers([torch.zeros(1, dtype=torch.int32)])][:3]
        [8, 6, 5]
    """
    generator = np.random.default_rng(0)

    def drawn(value: Tensor, kind: int) -> Tensor:
        shape = tuple(value.shape)
        floats, whole = more[kind - len(_SPREADS)] if kind >= len(_SPREADS) else (_SPECIAL, _OF_KIND[kind])
        if value.dtype == torch.bool:
            return torch.from_numpy(np.asarray(generator.random(shape) < _TRUE[kind % len(_TRUE)]))
        if not value.is_floating_point():
            lowest = torch.iinfo(value.dtype).min
            made = torch.from_numpy(np.asarray(generator.choice(np.array(whole), shape)))
            return (made.abs() if lowest == 0 else made).to(value.dtype)
        if kind == 1 or kind >= len(_SPREADS):
            numbers = np.asarray(generator.choice(np.array(floats), shape))
        else:
            numbers = generator.normal(size=shape) * _SPREADS[kind]
        return torch.from_numpy(np.asarray(numbers)).to(value.dtype)

    most = max(value.numel() for value in values)
    for kind in range(len(_SPREADS) + len(more)):
        for _ in range(min(draws, 1 + _NUMBERS // most)):
            yield [drawn(value, kind) for value in values]


class _Graph:
    """The values of an ONNX file by their names, and parts of it that run alone."""

    def __init__(
        self, content: bytes, inputs: Mapping[str, Tensor], taken: Mapping[str, str], values: Mapping[Node, Any]
    ) -> None:
        self._model = onnx.load_from_string(content)
        graph = self._model.graph
        self._makers = {name: node for node in graph.node for name in node.output if name}
        self._weights = {weight.name: weight for weight in graph.initializer}
        self._taken = taken
        self._known = {node.name: value for node, value in values.items() if isinstance(value, Tensor)} | dict(inputs)
        self.names = frozenset(self._makers)

    def name_of(self, node: Node) -> str:
        """The name of a node's value in the graph."""
        return self._taken.get(node.name, node.name)

    def cut(self, part: _Part) -> _Cut | None:
        """The nodes from the given values to the last one; None where these are not all that they depend on."""
        by_name = {self.name_of(node) for node in part.given}
        nodes, fed, weights = dict[int, onnx.NodeProto](), dict[str, Tensor](), dict[str, onnx.TensorProto]()
        left, read = [(part.last.name, False)], set[str]()
        while left:
            name, of_shape = left.pop()
            if name in by_name:
                read.add(name)
            if name in by_name or name in fed or name in weights:
                continue
            if name in self._weights:
                weights[name] = self._weights[name]
                continue
            if of_shape and name in self._known:
                # Only its sizes are asked for.
                fed[name] = self._known[name]
                continue
            maker = self._makers.get(name)
            if maker is None or any(a.type == onnx.AttributeProto.GRAPH for a in maker.attribute):
                return None
            nodes[id(maker)] = maker
            left += [(one, maker.op_type == "Shape") for one in maker.input if one]
        return _Cut([node for node in self._model.graph.node if id(node) in nodes], fed, list(weights.values()), read)

    def session(self, part: _Part, cut: _Cut) -> Any:
        """Runs the nodes of a part; None where onnxruntime has none of that kind."""
        fed = cut.fed | {self.name_of(node): self._known[node.name] for node in part.given}
        alone = helper.make_model(
            helper.make_graph(
                cut.nodes,
                "part",
                [_info(name, value) for name, value in fed.items()],
                [_info(part.last.name, self._known[part.last.name])],
                cut.weights,
            ),
            opset_imports=self._model.opset_import,
            ir_version=self._model.ir_version,
        )
        try:
            session = session_of(alone.SerializeToString(), optimized=False)
        except ExportError:
            return None

        def run(given: Mapping[str, Tensor]) -> Any:
            return session.run(None, {name: given.get(name, value).numpy() for name, value in fed.items()})[0]

        return run


def _info(name: str, value: Tensor) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(str(value.dtype).removeprefix("torch.")))
    return helper.make_tensor_value_info(name, kind, [None] * value.dim())
