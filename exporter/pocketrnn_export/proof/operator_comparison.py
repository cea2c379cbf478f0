"""Compare each operator of a program with the graph's nodes for it, on numbers that few texts produce.

A rare text may send numbers to an operator that random texts never do, behind a gate that is closed for nearly all. So
each operator runs alone, in PyTorch and in onnxruntime, on chosen numbers: small and large, integer and negative ones.
If the graph has no value with an operator's name, since nodes were fused, several operators run together.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from pocketrnn_export.comparing.module_and_graph_as_functions import open_session
from pocketrnn_export.intake.user_code_lines_for_messages import describe_user_line_of_node
from pocketrnn_export.proof.every_size_comparison import AnswersDifferError
from pocketrnn_export.proof.program_runs_and_nodes import NodeValues

# The limit of processor time; the operators of an ordinary module take a fifth of it.
_SECONDS: Final = 4.0
# The most operators that run together.
_MOST_TOGETHER: Final = 24
# About this many numbers of each kind are given to an operator.
_NUMBERS: Final = 120
_MOST_DRAWS: Final = 24
_LARGEST: Final = 200_000
# Other checks compare operators that index or sort, and recurrent layers. An empty tensor has whatever the memory held.
_PICKS: Final = (
    "arg", "embedding", "empty", "gather", "index", "masked_select", "multinomial", "nonzero", "one_hot", "pocketrnn",
    "scatter", "sort", "topk", "unique",
)  # fmt: skip
_SPECIAL: Final = (
    0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, 2.0, -2.0, 2.5, 3.0, -3.0, 7.0, 12.0, -12.0, 45.0, 100.0, -100.0,
)  # fmt: skip
_WHOLE: Final = (0, 1, 2, 3, 5, 8, 21, 40, 100, 129, 200, 255, -1, -2, -7, -128)
_FAR: Final = (*_WHOLE, 1_000, 65_537, 1_000_003, -70_000, 20_000_001)
# By kind of numbers: the standard deviation of floats, the integers, and the share of True among bools.
_SPREADS: Final = (1.0, 1.0, 20.0, 0.05)
_OF_KIND: Final = (tuple(range(10)), _WHOLE, _FAR, tuple(range(-40, 300)))
_TRUE: Final = (0.5, 0.1, 0.9, 0.5)
# The relative tolerance by type; `_ROUNDINGS` allows for float64 operators that compute in float32.
_NEAR: Final = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-10}
_ROUNDINGS: Final = 100
# Operators that add up products, or only move numbers. Each sum may be rounded by this share of the sum of the absolute
# terms, whatever their order: a layer of weights up to 20 gave -3.892325 and -3.892468, of terms up to 2,000.
_SUMS: Final = frozenset(
    {"add", "addmm", "baddbmm", "bmm", "clone", "conv1d", "conv2d", "expand", "linear", "matmul", "mean", "mm",
     "permute", "reshape", "squeeze", "sum", "t", "transpose", "unsqueeze", "view"}
)  # fmt: skip
_OF_TERMS: Final = 1e-6


@dataclass(frozen=True)
class _OperatorGroup:
    """Some operators of a program that are run together.

    Attributes:
        nodes: the operators, in their order.
        given: the nodes whose results these operators read. Random numbers replace the results.
    """

    nodes: tuple[Node, ...]
    given: tuple[Node, ...]

    @property
    def last(self) -> Node:
        """The last operator, whose result is compared."""
        return self.nodes[-1]


@dataclass(frozen=True)
class _GraphCutout:
    """The nodes of a graph that compute the result of a group of operators.

    Attributes:
        nodes: the nodes, in their order.
        fed: the values, by name, from which these nodes read only the sizes.
        weights: the weights that they read.
        read: the names of the group's given values that these nodes read.
    """

    nodes: list[onnx.NodeProto]
    fed: dict[str, Tensor]
    weights: list[onnx.TensorProto]
    read: set[str]


def refuse_operators_that_differ_in_onnx(
    program: torch.export.ExportedProgram, content: bytes, inputs: tuple[Tensor, ...], names: Sequence[str]
) -> None:
    """Run each operator of a program alone, in PyTorch and by the ONNX graph's nodes for it, and raise an
    AnswersDifferError if the numbers differ by more than rounding.

    Args:
        program: the program from which the graph was made, operator by operator.
        content: the bytes of the ONNX file; the graph's values have the names of the program's nodes.
        inputs: some inputs, as the module takes them.
        names: the names of the graph's inputs, in the same order.
    """
    run = NodeValues(program)
    values = run(inputs)
    if not values:
        return
    specs = program.graph_signature.input_specs
    taken = [spec.arg.name for spec in specs if spec.kind == InputKind.USER_INPUT]
    graph = _Graph(content, dict(zip(names, inputs, strict=True)), dict(zip(taken, names, strict=True)), values)
    graph.equal = _give_one_number_to_nodes_that_compute_the_same(program.graph.nodes)
    order = {node: place for place, node in enumerate(program.graph.nodes)}
    started, seen = time.process_time(), set[str]()
    for node in order:
        if time.process_time() - started > _SECONDS:
            return
        found = _find_smallest_operator_group_in_graph(node, values, graph, frozenset(taken), order)
        if found is None or (key := _make_key_of_what_group_computes(found[0], values)) in seen:
            continue
        seen.add(key)
        _refuse_differing_group(*found, values, graph, run)


def _refuse_differing_group(
    group: _OperatorGroup, cut: _GraphCutout, values: Mapping[Node, Any], graph: _Graph, run: NodeValues
) -> None:
    """Run a group of operators in PyTorch, and the graph's nodes for this group in onnxruntime, on difficult numbers,
    and compare the results.

    Args:
        cut: the graph's nodes that compute the same.
        values: the values of the program's nodes in a run, for types and shapes.
        graph: the ONNX graph.
        run: a function that runs operators of the program in PyTorch.

    Raises:
        AnswersDifferError: a number differs by more than rounding.
    """
    run_cutout = graph.make_run_of_cutout(group, cut)
    if run_cutout is None:
        return
    for draw in draw_difficult_numbers([values[node] for node in group.given]):
        given = dict(zip(group.given, draw, strict=True))
        expected = _compute_pytorch_result(group, values, given, run)
        if expected is None:
            continue
        try:
            found = run_cutout({graph.find_value_name(node): value for node, value in given.items()})
        # Engines raise exceptions of many classes. The run of the whole graph reports an operator that is missing.
        except Exception:
            return
        exact = terms = None
        if expected.dtype == np.float32:
            wide = {node: _convert_to_float64(value) for node, value in given.items()}
            exact = _compute_pytorch_result(group, values, wide, run)
            terms = _sum_absolute_terms(group, values, wide, run)
        if (place := find_first_wrong_number(found, expected, exact, draw, terms)) is not None:
            line = describe_user_line_of_node(group.last)
            name = str(group.last.target).partition(".")[2].partition(".")[0].strip("_")
            raise AnswersDifferError(
                f"`{name}` computes other numbers in ONNX than in PyTorch{line and f', at {line}'}: for some "
                f"inputs {float(found.ravel()[place]):.7g} in ONNX, but {float(expected.ravel()[place]):.7g} in "
                "PyTorch.",
                "Use other operations of torch on that line, or convert its inputs to float32 first.",
            )


def find_first_wrong_number(
    found: np.ndarray[Any, Any],
    expected: np.ndarray[Any, Any],
    expected_in_float64: np.ndarray[Any, Any] | None,
    inputs: Sequence[Any],
    sums_of_absolute_terms: np.ndarray[Any, Any] | None = None,
) -> int | None:
    """Return the flat index of the first number in `found` that differs from `expected` by more than rounding. Return
    None if there is no such number, and if the shapes or the kinds of numbers (integers, floats) differ.

    Args:
        found: ONNX's numbers.
        expected: PyTorch's numbers.
        expected_in_float64: PyTorch's numbers computed in double precision: more difference is allowed where these
            show a larger rounding error.
        inputs: the tensors that the numbers were computed from: larger inputs allow more difference.
        sums_of_absolute_terms: for numbers that are sums, the sum of the absolute values of the terms of each: larger
            sums allow more difference.
    """
    if found.shape != expected.shape or found.dtype.kind != expected.dtype.kind:
        return None
    if expected.dtype.kind in "iub":
        differ = found != expected
    else:
        wanted, given = expected.astype(np.float64), found.astype(np.float64)
        near = _NEAR[expected.dtype.name]
        sizes = [float(value.abs().max()) for value in inputs if value.is_floating_point() and value.numel()]
        allowed = near * (np.maximum(1.0, np.abs(wanted)) + 0.1 * max(sizes, default=0.0))
        if expected_in_float64 is not None and expected_in_float64.shape == expected.shape:
            with np.errstate(all="ignore"):
                off = np.nan_to_num(np.abs(expected_in_float64.astype(np.float64) - wanted), posinf=0.0)
            # A number may happen to have no rounding error; so the median error is allowed everywhere.
            allowed = allowed + _ROUNDINGS * np.maximum(off, np.median(off) if off.size else 0.0)
        if sums_of_absolute_terms is not None and sums_of_absolute_terms.shape == expected.shape:
            allowed = allowed + _OF_TERMS * np.nan_to_num(sums_of_absolute_terms)
        with np.errstate(all="ignore"):
            # Where PyTorch's number is not finite, any number passes.
            differ = np.isfinite(wanted) & ~(np.abs(given - wanted) <= allowed)
    return int(differ.ravel().argmax()) if differ.any() else None


def _find_smallest_operator_group_in_graph(
    node: Node,
    values: Mapping[Node, Any],
    graph: _Graph,
    program_input_names: frozenset[str],
    order: Mapping[Node, int],
) -> tuple[_OperatorGroup, _GraphCutout] | None:
    """Return the smallest group of the program's operators that ends with `node` and whose inputs are all values of the
    ONNX graph, and the graph's nodes that compute this group. Return None if there is no such group.

    Args:
        node: the last operator of the group.
        values: the values of the program's nodes in a run.
        graph: the ONNX graph.
        program_input_names: the names of the program's inputs.
        order: the position of each node in the program.
    """
    # A value that the group computes cannot be its input, too: the graph has one node for operators that compute the
    # same.
    known = graph.names
    equal = graph.equal
    while (
        group := _find_operators_back_to_values_of_graph(node, values, known, program_input_names, order)
    ) is not None and (cut := graph.cut_out_group(group)) is not None:
        made = {equal[one] for one in group.nodes}
        twice = {one.name for one in group.given if equal[one] in made}
        if not twice and cut.read == {graph.find_value_name(one) for one in group.given}:
            return group, cut
        if not (further := known & (twice or {one.name for one in group.given})):
            return None
        known -= further
    return None


def _give_one_number_to_nodes_that_compute_the_same(nodes: Iterable[Node]) -> dict[Node, int]:
    """Return a dict from each node to a number that is the same for nodes that call the same operator with the same
    arguments, and different for all others."""
    numbers, known = dict[Node, int](), dict[str, int]()
    for node in nodes:
        read = torch.fx.node.map_arg((node.args, node.kwargs), lambda one: f"value {numbers[one]}")
        key = f"{node.target} {read}" if node.op == "call_function" else node.name
        numbers[node] = known.setdefault(key, len(known))
    return numbers


def _find_operators_back_to_values_of_graph(
    node: Node,
    values: Mapping[Node, Any],
    graph_value_names: frozenset[str],
    program_input_names: frozenset[str],
    order: Mapping[Node, int],
) -> _OperatorGroup | None:
    """Return the group of operators that ends with `node` and goes back to the nearest values that the ONNX graph has,
    too. Return None if these operators cannot run alone.

    Args:
        node: the last operator of the group.
        values: the values of the program's nodes in a run.
        graph_value_names: the names of the values that may be inputs of the group.
        program_input_names: the names of the program's inputs.
        order: the position of each node in the program.
    """
    if node.op != "call_function" or node.name not in graph_value_names or not _is_comparable_tensor(values.get(node)):
        return None
    nodes, given, left = [node], list[Node](), [node]
    while left:
        for before in left.pop().all_input_nodes:
            value = values.get(before)
            is_weight = before.op == "placeholder" and before.name not in program_input_names
            if before in nodes or before in given or is_weight or isinstance(value, int | float | bool):
                continue
            if (
                before.name in graph_value_names | program_input_names
                and _is_comparable_tensor(value)
                and not _is_made_from_bools(before, values)
            ):
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
    return _OperatorGroup(tuple(sorted(nodes, key=order.__getitem__)), tuple(given))


def _is_made_from_bools(node: Node, values: Mapping[Node, Any]) -> bool:
    """Return whether a node converts bools to numbers, so that its value contains only 0 and 1. `values` are the values
    of the program's nodes in a run."""
    made_of = [values.get(one) for one in node.all_input_nodes]
    return (
        values[node].dtype != torch.bool
        and bool(made_of)
        and all(isinstance(one, Tensor) and one.dtype == torch.bool for one in made_of)
    )


def _is_comparable_tensor(value: Any) -> bool:
    """Return whether a value is a tensor of 1 to 200,000 real numbers; larger tensors take too long to compare."""
    return isinstance(value, Tensor) and value.numel() <= _LARGEST and not value.is_complex() and value.numel() > 0


def _make_key_of_what_group_computes(group: _OperatorGroup, values: Mapping[Node, Any]) -> str:
    """Return a string that is equal for two groups of operators that compute the same, even at other places of the
    program, so that only one of them is compared. `values` are the values of the program's nodes in a run."""
    places = {node: f"given {place}" for place, node in enumerate(group.given)}
    places |= {node: f"made {place}" for place, node in enumerate(group.nodes)}

    def describe_node(node: Node) -> str:
        value = values.get(node)
        if node in places:
            return places[node]
        return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else repr(value)

    calls = [
        (str(node.target), str(torch.fx.node.map_arg((node.args, node.kwargs), describe_node))) for node in group.nodes
    ]
    return str((calls, [(values[node].dtype, values[node].dim()) for node in group.given]))


def _compute_pytorch_result(
    group: _OperatorGroup, values: Mapping[Node, Any], replaced_values: Mapping[Node, Tensor], run: NodeValues
) -> np.ndarray[Any, Any] | None:
    """Run a group of operators in PyTorch. Return the result of its last operator, or None if an operator fails.

    Args:
        values: the values of the program's nodes in a run.
        replaced_values: other numbers for some nodes, used in place of those in `values`.
        run: a function that runs operators of the program.
    """
    made: dict[Node, Any] = {}

    def find_node_value(node: Node) -> Any:
        found = made[node] if node in made else replaced_values.get(node, values[node])
        return found.clone() if isinstance(found, Tensor) else found

    try:
        with torch.no_grad():
            for node in group.nodes:
                args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), find_node_value)
                made[node] = run.call_function(node.target, args, kwargs)
        answer = made[group.last]
        return answer.numpy() if isinstance(answer, Tensor) else None
    # An operator may refuse such numbers by exceptions of many classes.
    except Exception:
        return None


def _sum_absolute_terms(
    group: _OperatorGroup, values: Mapping[Node, Any], replaced_values: Mapping[Node, Tensor], run: NodeValues
) -> np.ndarray[Any, Any] | None:
    """Compute, for each number in the result of a group of operators, the sum of the absolute values of the products
    that the number adds up. Return None if the group has operators other than sums of products.

    Args:
        values: the values of the program's nodes in a run.
        replaced_values: other numbers for some nodes, used in place of those in `values`.
        run: a function that runs operators of the program.
    """
    names = {str(node.target).partition(".")[2].partition(".")[0].strip("_") for node in group.nodes}
    if not names <= _SUMS:
        return None
    read = {one for node in group.nodes for one in node.all_input_nodes if one not in group.nodes}
    floats = {one: replaced_values.get(one, values[one]) for one in read}
    sizes = {
        one: _convert_to_float64(value).abs()
        for one, value in floats.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    return _compute_pytorch_result(group, values, sizes, run)


def _convert_to_float64(value: Tensor) -> Tensor:
    return value.double() if value.dtype == torch.float32 else value


def draw_difficult_numbers(
    values: Sequence[Tensor],
    further_kinds: Sequence[tuple[Sequence[float], Sequence[int]]] = (),
    most_draws_per_kind: int = _MOST_DRAWS,
) -> Iterator[list[Tensor]]:
    """Yield lists of tensors, one of the type and shape of each value, with numbers that are difficult for operators.

    All calls with equal arguments draw the same numbers.

    Args:
        values: tensors; the yielded tensors have their types and shapes.
        further_kinds: more sets of numbers to draw from, each a pair: the floats and the integers.
        most_draws_per_kind: the most lists that are yielded for each set of numbers.
    """
    generator = np.random.default_rng(0)

    def draw_numbers_like(value: Tensor, kind: int) -> Tensor:
        shape = tuple(value.shape)
        floats, whole = further_kinds[kind - len(_SPREADS)] if kind >= len(_SPREADS) else (_SPECIAL, _OF_KIND[kind])
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
    for kind in range(len(_SPREADS) + len(further_kinds)):
        for _ in range(min(most_draws_per_kind, 1 + _NUMBERS // most)):
            yield [draw_numbers_like(value, kind) for value in values]


class _Graph:
    """An ONNX graph whose values can be found by name. Parts of it can run alone."""

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
        self.equal: Mapping[Node, int] = {}

    def find_value_name(self, node: Node) -> str:
        """Return the name in the ONNX graph of the value of a program's node."""
        return self._taken.get(node.name, node.name)

    def cut_out_group(self, group: _OperatorGroup) -> _GraphCutout | None:
        """Return the ONNX graph's nodes that compute the last value of a group of operators from the group's inputs.
        Return None if these nodes need other inputs of the graph, or if one of them is a branch or a loop."""
        by_name = {self.find_value_name(node) for node in group.given}
        nodes, fed, weights = dict[int, onnx.NodeProto](), dict[str, Tensor](), dict[str, onnx.TensorProto]()
        left, read = [(group.last.name, False)], set[str]()
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
                # Only its sizes are read.
                fed[name] = self._known[name]
                continue
            maker = self._makers.get(name)
            if maker is None or any(a.type == onnx.AttributeProto.GRAPH for a in maker.attribute):
                return None
            nodes[id(maker)] = maker
            left += [(one, maker.op_type == "Shape") for one in maker.input if one]
        return _GraphCutout(
            [node for node in self._model.graph.node if id(node) in nodes], fed, list(weights.values()), read
        )

    def make_run_of_cutout(self, group: _OperatorGroup, cut: _GraphCutout) -> Any:
        """Return a function that runs in onnxruntime the nodes that were cut out for a group. It takes a dict of values
        by name, and returns the group's last value. Return None if onnxruntime does not support the nodes."""
        fed = cut.fed | {self.find_value_name(node): self._known[node.name] for node in group.given}
        alone = helper.make_model(
            helper.make_graph(
                cut.nodes,
                "part",
                [_make_value_info(name, value) for name, value in fed.items()],
                [_make_value_info(group.last.name, self._known[group.last.name])],
                cut.weights,
            ),
            opset_imports=self._model.opset_import,
            ir_version=self._model.ir_version,
        )
        try:
            session = open_session(alone.SerializeToString(), optimized=False)
        except ExportError:
            return None

        def run_nodes(given: Mapping[str, Tensor]) -> Any:
            return session.run(None, {name: given.get(name, value).numpy() for name, value in fed.items()})[0]

        return run_nodes


def _make_value_info(name: str, value: Tensor) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(str(value.dtype).removeprefix("torch.")))
    return helper.make_tensor_value_info(name, kind, [None] * value.dim())
