"""The optimizer of graphs compares constants as they are: `x + 1e-10` is not `x`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from torch import nn

from pocketrnn_export import export
from pocketrnn_export.comparing.first_operation_not_in_graph import find_first_operation_missing_in_graph
from pocketrnn_export.comparing.float64_module import make_float64_copy
from pocketrnn_export.comparing.module_and_graph_as_functions import open_session
from pocketrnn_export.forms.onnx.exact_optimizer import (
    REWRITE_RULES,
    compute_constants_with_rounding_of_pytorch,
    optimize_exactly,
)
from pocketrnn_export.forms.onnx.nan_propagation import add_nan_guards_for_any_input
from pocketrnn_export.forms.onnx.onnx_form import trace_onnx_graph
from pocketrnn_export.intake.user_code_lines_for_messages import describe_user_line

pytestmark = pytest.mark.usefixtures("scant_proofs")
NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}


def graph_of(operator: str, number: float, kind: ir.DataType, *, first: bool, initializer: bool) -> ir.Model:
    x = ir.Value(name="x", type=ir.TensorType(kind), shape=ir.Shape([3]))
    tensor = ir.tensor(np.array(number, kind.numpy()), name="number")
    nodes = []
    if initializer:
        value = ir.Value(name="number", const_value=tensor, type=ir.TensorType(kind), shape=ir.Shape([]))
    else:
        nodes.append(ir.node("Constant", [], attributes={"value": tensor}))
        value = nodes[0].outputs[0]
    nodes.append(ir.node(operator, [value, x] if first else [x, value]))
    # A graph's only node would keep its output's name.
    nodes.append(ir.node("Neg", [nodes[-1].outputs[0]]))
    nodes[-1].outputs[0].name = "y"
    graph = ir.Graph([x], nodes[-1].outputs, nodes=nodes, opset_imports={"": 18})
    if initializer:
        graph.initializers["number"] = value
    return ir.Model(graph, ir_version=10)


@given(
    operator=st.sampled_from(sorted(NEUTRAL)),
    number=st.one_of(
        st.sampled_from([0.0, 1.0, 1e-10, -3e-9, 1e-8, 1e-12, 1 + 1e-6, 1 - 1e-9, 1.000009, 5e-324]),
        st.floats(-2, 2, allow_nan=False),
    ),
    kind=st.sampled_from([ir.DataType.FLOAT, ir.DataType.DOUBLE]),
    first=st.booleans(),
    initializer=st.booleans(),
)
def test_only_the_very_constant_is_left_out(
    operator: str, number: float, kind: ir.DataType, first: bool, initializer: bool
) -> None:
    model = graph_of(operator, number, kind, first=first, initializer=initializer)
    optimize_exactly(model)
    commutes = operator in {"Add", "Mul"} or not first
    gone = bool(kind.numpy().type(number) == NEUTRAL[operator]) and commutes
    assert [node.op_type for node in model.graph] == ([] if gone else [operator]) + ["Neg"]


def test_no_rule_compares_a_float_within_a_tolerance() -> None:
    found = []
    for rule in REWRITE_RULES:
        pattern: Any = rule._target_pattern
        for node in pattern:
            for value in node.inputs:
                if hasattr(value, "_abs_tol") and (value._abs_tol or value._rel_tol):
                    numbers = value.value if isinstance(value.value, list) else [value.value]
                    found += [number for number in numbers if type(number) is not int]
                    # Shapes and indices: whole numbers, which no tolerance of 1e-5 takes for one another.
                    assert rule.name in {"SqueezeReshape1d", "ScatterAllDynamic"}
    assert found == []


def constant_graph(*steps: tuple[str, list[float]]) -> ir.Model:
    """x * f(numbers), whose steps are operators on what the step before gave and on further numbers."""
    nodes: list[ir.Node] = []
    value: ir.Value | None = None
    for operator, numbers in steps:
        inputs = [] if value is None else [value]
        if numbers:
            tensor = ir.tensor(np.array(numbers, np.float32))
            nodes.append(ir.node("Constant", [], attributes={"value": tensor}))
            inputs.append(nodes[-1].outputs[0])
        nodes.append(ir.node(operator, inputs))
        value = nodes[-1].outputs[0]
        value.dtype, value.name = ir.DataType.FLOAT, f"{operator}{len(nodes)}"
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([3]))
    nodes.append(ir.node("Mul", [x, value]))
    nodes[-1].outputs[0].name, nodes[-1].outputs[0].dtype = "y", ir.DataType.FLOAT
    return ir.Model(ir.Graph([x], nodes[-1].outputs, nodes=nodes, opset_imports={"": 18}), ir_version=10)


@example(numbers=[0.0, 0.0, 5.815391540527344], factor=-1.4375, functions=["Sigmoid"])
@example(numbers=[0.0, 0.0, -3.0], factor=-2.0, functions=["Exp", "Sigmoid"])
@given(
    numbers=st.lists(st.floats(-8, 8, width=32), min_size=3, max_size=3),
    factor=st.floats(-2, 2, width=32),
    # No exp of an exp, which is beyond float32.
    functions=st.lists(st.sampled_from(["Exp", "Sin", "Tanh", "Sigmoid"]), min_size=1, max_size=3, unique=True),
)
def test_constants_of_exponentials_and_sines_are_rounded_once_and_others_each_time(
    numbers: list[float], factor: float, functions: list[str]
) -> None:
    exact = np.array(numbers, np.float64) * factor
    # Without an exponential or a sine, numbers are rounded after each operation, as PyTorch rounds them.
    each = not {"Exp", "Sin"} & {*functions}
    of = {"Exp": np.exp, "Sin": np.sin, "Tanh": np.tanh, "Sigmoid": lambda v: 1 / (1 + np.exp(-v))}
    for name in functions:
        exact = of[name](exact.astype(np.float32).astype(np.float64) if each else exact)
    rounded = exact.astype(np.float32)
    model = constant_graph(("Identity", numbers), ("Mul", [factor]), *((name, []) for name in functions))
    optimize_exactly(model)
    assert [node.op_type for node in model.graph] == ["Mul"]
    (folded,) = [value.const_value for value in model.graph.initializers.values() if value.const_value is not None]
    # numpy's exp and Python's are one float64 number apart at most, which may tip a tie of float32.
    np.testing.assert_allclose(folded.numpy(), rounded, rtol=2**-23)
    assert folded.dtype == ir.DataType.FLOAT


class Thresholds(nn.Module):
    """The share of some words against thresholds that forward makes, and a mask that is a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.levels = nn.Embedding(60, 6), nn.Embedding(103, 6)
        self.rnn, self.fc = nn.GRU(6, 6, batch_first=True), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        share = (x > 30).float().mean(1, keepdim=True)
        level = (share >= 1 - torch.arange(1, 10) / 10).sum(1)
        for bounds in (torch.linspace(0, 1, 101), torch.arange(0, 1, 0.01), torch.logspace(-2, 0, 50)):
            level = (level + torch.bucketize(share[:, 0], bounds, right=True)) % 103
        bounds = 1 - torch.arange(1, 10) / 10
        level = level + (share >= torch.stack([bounds, bounds * 0.5]).amax(0)).sum(1)
        level = (level + (torch.relu(share - bounds) != 0).sum(1)) % 103
        mask = (torch.arange(1, 7) / 10 * 1.5 > 0.45).float()
        return self.fc((self.rnn(self.embedding(x))[0].mean(1) + self.levels(level)) * (mask + 1))


@pytest.mark.slow
def test_a_constant_that_a_comparison_meets_is_that_of_float32() -> None:
    torch.manual_seed(0)
    module = Thresholds().eval()
    session = open_session(trace_onnx_graph(module, (torch.randint(2, 40, (3, 7)),), {}).content)
    for above, count in [(i, 10) for i in range(11)] + [(i, 100) for i in range(0, 100, 3)]:
        ids = torch.tensor([[40] * above + [3] * (count - above)])
        with torch.no_grad():
            np.testing.assert_allclose(session.run(None, {"tokens": ids.numpy()})[0], module(ids), atol=1e-5)


class LookedUp(nn.Module):
    """Words looked up by an index, each with the characters of a table beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.characters = nn.Embedding(60, 6), nn.Embedding(20, 4)
        self.register_buffer("spelling", torch.randint(0, 20, (60, 7)))
        self.rnn, self.fc = nn.GRU(10, 6, batch_first=True), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spelt = self.characters(self.spelling[x]).mean(2)
        return self.fc(self.rnn(torch.cat([self.embedding.weight[x], spelt], 2))[0].mean(1))


def test_a_table_that_is_indexed_is_looked_up() -> None:
    torch.manual_seed(0)
    module = LookedUp().eval()
    graph = trace_onnx_graph(module, (torch.randint(2, 40, (3, 7)),), {})
    assert graph.embedding_rows == 60
    ids = torch.randint(0, 60, (4, 9))
    with torch.no_grad():
        given = open_session(graph.content).run(None, {"tokens": ids.numpy()})[0]
        np.testing.assert_allclose(given, module(ids), atol=1e-5)


def test_parts_of_a_constant_may_have_several_shapes() -> None:
    model = constant_graph(("Identity", [1.0, 2.0, 3.0]))
    parts = ir.node("SplitToSequence", [model.graph[1].outputs[0], ir.Value(name="sizes")], name="parts")
    model.graph.initializers["sizes"] = parts.inputs[1]  # type: ignore[assignment]
    parts.inputs[1].const_value = ir.tensor(np.array([1, 2]))  # type: ignore[union-attr]
    model.graph.insert_after(model.graph[1], parts)
    assert set(compute_constants_with_rounding_of_pytorch(model)) == {"Identity2"}


class Frequencies(nn.Module):
    """Positions whose frequencies forward computes: constants of the graph, which it multiplies by up to 3,000."""

    def __init__(self, power: bool = False) -> None:
        super().__init__()
        self.power = power
        self.embedding = nn.Embedding(60, 12)
        self.rnn = nn.GRU(12, 10, batch_first=True)
        self.fc = nn.Linear(10, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        even = torch.arange(0, 12, 2).float()
        rates = 1 / torch.pow(10000.0, even / 12) if self.power else torch.exp(even * -(math.log(10000.0) / 12))
        angles = torch.arange(x.size(1)).unsqueeze(1) * rates
        positions = torch.cat([angles.sin(), angles.cos()], 1)
        return self.fc(self.rnn(self.embedding(x) + positions)[0].mean(1))


@pytest.mark.slow
@pytest.mark.parametrize("power", [False, True])
def test_frequencies_that_forward_computes_are_proven(power: bool, tmp_path: Path) -> None:
    vocabulary = ["<unk>", "<pad>", *(f"w{i}" for i in range(58))]
    given = {"labels": list("abcd"), "vocabulary": vocabulary, "torchscript": False}
    export(Frequencies(power), tmp_path / "bundle", **given)


class _Embedded(nn.Module):
    number: ClassVar[float] = 1e-10

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn, self.fc = nn.Embedding(40, 8), nn.GRU(8, 8, batch_first=True), nn.Linear(8, 3)
        self.register_buffer("small", torch.tensor(3e-9))
        self.gain = nn.Parameter(torch.tensor(1.000004))


class Attention(_Embedded):
    """The attention of many notebooks; here the sum of the weights is small, so that the 1e-10 counts."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, _ = self.rnn(self.embedding(x))
        a = torch.exp(torch.tanh(h.sum(-1))) * 1e-3
        a = a / (torch.sum(a, 1, keepdim=True) + 1e-10)
        return self.fc((h * a.unsqueeze(-1)).sum(1))


class Everywhere(_Embedded):
    """A buffer, a parameter and numbers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.rnn(self.embedding(x))[0][:, -1]
        h = (h + self.small) * self.gain / (1 + 1e-6) - 2e-9
        return self.fc(torch.log(h.abs() + 1e-9)) * 1.0000003


def made(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind().eval()


# In the fast suite, the rewriting of such constants is asked above, and every export proves its graph.
@pytest.mark.slow
@pytest.mark.parametrize("kind", [Attention, Everywhere])
def test_a_module_with_small_constants_is_exported(kind: type[nn.Module], tmp_path: Path) -> None:
    module = made(kind)
    vocabulary = ["<unk>", "<pad>", *(f"w{i}" for i in range(38))]
    export(module, tmp_path / "bundle", labels=["a", "b", "c"], vocabulary=vocabulary, torchscript=False)


def test_a_refusal_of_the_proof_names_the_operation() -> None:
    content = trace_onnx_graph(made(Attention), (torch.full((3, 7), 2),), {}).content
    model = onnx.load_from_string(content)
    (small,) = (t for t in model.graph.initializer if onnx.numpy_helper.to_array(t).ravel()[:1] == np.float32(1e-10))
    small.CopyFrom(onnx.numpy_helper.from_array(np.float32(1e-3), small.name))
    found = find_first_operation_missing_in_graph(
        make_float64_copy(made(Attention)), model.SerializeToString(), [np.full((2, 5), 3)], describe_user_line
    )
    assert found is not None
    assert found.operation == "add"
    assert "1e-10" in found.line
    assert "Add" in found.node


@pytest.mark.parametrize(("operator", "attributes"), [("MaxPool", {"kernel_shape": [3]}), ("GlobalMaxPool", {})])
def test_the_maximum_of_a_window_is_pytorchs_for_nan_and_infinities(operator: str, attributes: dict[str, Any]) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, size]) for name, size in (("x", 3), ("y", 1)))
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"], **attributes)], "pool", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    numbers = np.array([[[-np.inf] * 3, [1.0, np.nan, 2.0], [0.0, 3.0, np.inf]]], np.float32)
    (found,) = open_session(add_nan_guards_for_any_input(model.SerializeToString())).run(None, {"x": numbers})
    np.testing.assert_array_equal(found.ravel(), [-np.inf, np.nan, np.inf])
