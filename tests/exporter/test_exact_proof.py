"""The proof in two precisions: right graphs agree in float64, wrong ones do not; float32 is compared in spreads."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import user_modules
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from shared_results import made_once
from slow_case_sampling import mostly_slow
from torch import nn
from torch.nn import functional

from pocketrnn.errors import ExportError, ParityError
from pocketrnn_export.comparing.answer_spread_by_rounding import (
    DRAWS,
    ExactAnswer,
    compute_exact_answers,
    make_perturbed_graph_runs,
    make_perturbed_module_runs,
)
from pocketrnn_export.comparing.float64_graph import (
    convert_model_to_float64,
    make_float64_onnx_run,
    make_function_of_float64_model,
)
from pocketrnn_export.comparing.float64_module import make_float64_copy, make_float64_module_run
from pocketrnn_export.comparing.float64_operators import OPERATORS
from pocketrnn_export.comparing.float64_proof import (
    SPREADS,
    DistanceToExactAnswer,
    compute_rounding_tolerance,
    find_difference_beyond_rounding,
    measure_agreement_in_double_precision,
    measure_distance_to_exact_answer,
    prove_graph_of_module_in_double_precision,
)
from pocketrnn_export.comparing.logit_comparison import Reference, measure_difference
from pocketrnn_export.comparing.module_and_graph_as_functions import make_module_run, make_onnx_run
from pocketrnn_export.comparing.proof_inputs import (
    Case,
    Run,
    make_cases_for_grid_of_shapes,
    make_cases_of_random_shapes,
    split_cases_into_single_rows,
)
from pocketrnn_export.forms.edge_profile_graph import trace_edge_graph
from pocketrnn_export.forms.onnx.onnx_form import retrace_in_float64, trace_onnx_graph
from pocketrnn_export.forms.torchscript_form import trace_torchscript as torchscript
from pocketrnn_export.forms.weight_quantization import Storage, quantize_graph
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule, prepare_module
from pocketrnn_export.proof.case_selection import make_cases_that_contain_every_id
from pocketrnn_export.proof.reference_answers_on_demand import ReferenceAnswers

# The proof of a graph is asked by itself.
pytestmark = pytest.mark.usefixtures("scant_proofs")
IDS, CLASSES = user_modules.WORDS, user_modules.CLASSES
Change = Callable[[onnx.ModelProto], None]


class Numbers(nn.Module):
    """Numbers that float32 does not have: in forward, in PyTorch's own functions, in tensors that forward makes."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(IDS, 12)
        self.gru = nn.GRU(12, 10, batch_first=True)
        self.out = nn.Linear(10, CLASSES)
        self.offset = torch.linspace(0, 1, 10)  # no buffer: `.double()` does not reach it

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        start = torch.zeros(1, x.shape[0], 10, dtype=torch.float32)
        h = functional.selu(functional.gelu(self.gru(self.emb(x), start)[0].sum(1) * 0.1)).clamp(min=-0.3) + self.offset
        h = h + functional.leaky_relu(lengths.float().log().unsqueeze(1) * torch.full((10,), -0.3)) / 0.7
        return self.out(h + functional.hardsigmoid(torch.tensor([0.7]) * h) + (lengths / 3).unsqueeze(1))


class FewNumbers(nn.Module):
    """Such numbers in few operations: `Numbers` takes 2 s to trace."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.out = nn.Embedding(IDS, 4), nn.Linear(4, CLASSES)
        self.offset = torch.linspace(0, 1, 4)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        h = self.emb(x).sum(1) * torch.full((4,), -0.3) + self.offset * torch.tensor([0.7])
        return self.out(h) + (lengths / 3).unsqueeze(1)


class WrongNumber(FewNumbers):
    """Its factor depends on who runs it: in a trace, which it detects, it differs by 1e-6."""

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return super().forward(x, lengths) * (0.300001 if torch._C._len_torch_dispatch_stack() else 0.3)


def source(kind: type[nn.Module], seed: int = 0) -> ExportableModule:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return prepare_module(
            kind(), lengths=None, ids=IDS, padding_id=user_modules.PAD, classes=CLASSES, multi_label=False
        )


def example(*, takes_lengths: bool) -> tuple[torch.Tensor, ...]:
    tokens, lengths = torch.zeros(3, 7, dtype=torch.int64), torch.tensor([7, 5, 3])
    tokens[torch.arange(7) >= lengths[:, None]] = user_modules.PAD
    return (tokens, lengths) if takes_lengths else (tokens,)


def traced(module: nn.Module, *, takes_lengths: bool) -> bytes:
    return trace_onnx_graph(module, example(takes_lengths=takes_lengths), {}).content


def choose_cases_for_text_rules(*, ragged: bool) -> list[Case]:
    # Some of the exporter's own, the largest among them: each is run in double precision four times.
    return [
        *make_cases_for_grid_of_shapes(IDS, user_modules.PAD, ragged=ragged)[1::3],
        *make_cases_of_random_shapes(IDS, user_modules.PAD, ragged=ragged)[:4],
    ]


@made_once
def proven(kind: type[nn.Module]) -> tuple[ExportableModule, bytes, list[ExactAnswer]]:
    """A user module, its graph and its exact answers, with the spread of two draws."""
    made = source(kind)
    lengths = {"takes_lengths": made.takes_lengths}
    moved = make_perturbed_module_runs(made.reference, **lengths, draws=2)
    answers = compute_exact_answers(
        make_float64_module_run(made.reference, **lengths),
        moved,
        choose_cases_for_text_rules(ragged=made.takes_lengths),
    )
    return made, traced(made.module, **lengths), answers


def verdict(kind: type[nn.Module], change: Change | None = None, *, few: bool = False) -> Any:
    """The proof's verdict on a module and its graph, changed or not. With `few`, on the smallest cases only: all of
    them take 2 s."""
    made, content, exact = proven(kind)
    if few:
        exact = sorted(exact, key=lambda answer: answer.case.tokens.size)[:6]
    if change is not None:
        model = onnx.load_from_string(content)
        change(model)
        content = model.SerializeToString()
    return prove_graph_of_module_in_double_precision(
        made.reference,
        content,
        exact,
        takes_lengths=made.takes_lengths,
        every_id=() if few else make_cases_that_contain_every_id(IDS),
        retrace=lambda _: traced_in_float64(kind),
    )


def measure_distances(name: str, run: Run, exact: Sequence[ExactAnswer]) -> list[DistanceToExactAnswer]:
    return [measure_distance_to_exact_answer(name, one, run(one.case.tokens, one.case.lengths)) for one in exact]


@made_once
def traced_in_float64(kind: type[nn.Module]) -> bytes:
    made, _, _ = proven(kind)
    given = example(takes_lengths=made.takes_lengths)
    return retrace_in_float64(
        make_float64_copy(made.reference), given, {}, trace_onnx_graph(made.module, given, {})
    ).content


# Those with a graph for a batch, which `proven` asks for.
IN_BATCHES = [kind for kind in user_modules.EXPORTED if kind is not user_modules.OneTextAtATime]


# In the fast suite, the proof of every export holds it.
@pytest.mark.slow
@pytest.mark.parametrize("kind", [*IN_BATCHES, Numbers], ids=lambda kind: kind.__name__)
def test_a_right_graph_agrees_in_float64_and_its_float32_answers_are_near(kind: type[nn.Module]) -> None:
    made, content, exact = proven(kind)
    found = verdict(kind)
    assert found.largest_difference < 1e-10
    assert found.rows > 100
    for run in (
        make_module_run(made.reference, takes_lengths=made.takes_lengths),
        make_onnx_run(content, optimized=True),
    ):
        assert all(n.passes for n in measure_distances("form", run, exact))


@pytest.mark.slow
def test_numbers_that_float32_lacks_are_compared_before_their_rounding() -> None:
    assert not verdict(user_modules.PackedLastState, few=True).numbers_rounded
    assert verdict(Numbers, few=True).numbers_rounded


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "relative"),
    [
        pytest.param(Numbers, 1e-3, marks=pytest.mark.slow),
        pytest.param(Numbers, 1e-6, marks=pytest.mark.slow),
        (FewNumbers, 1e-6),
    ],
)
def test_a_wrong_number_in_a_graph_of_unrepresentable_numbers_is_found(kind: type[nn.Module], relative: float) -> None:
    _, content, _ = proven(kind)
    assert verdict(kind, few=True).numbers_rounded
    numbers = [t.name for t in onnx.load_from_string(content).graph.initializer if t.data_type == TensorProto.FLOAT]
    assert len(numbers) > 5
    for name in numbers:

        def change(model: onnx.ModelProto, name: str = name) -> None:
            changed(model, name, lambda number: number * np.float32(1 + relative))

        with pytest.raises(ParityError, match=r"a different graph \(.* its (number|attribute)"):
            verdict(kind, change, few=True)


@pytest.mark.slow
def test_a_number_that_tracing_gets_wrong_is_found() -> None:
    with pytest.raises(ParityError, match=r"also differs .* by \d"):
        verdict(WrongNumber, few=True)


def changed(model: onnx.ModelProto, name: str, change: Callable[[Any], Any]) -> None:
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(numpy_helper.to_array(tensor).copy())), name))


def recurrent(model: onnx.ModelProto) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type in {"RNN", "LSTM", "GRU"})


def gates_swapped(model: onnx.ModelProto) -> None:
    changed(model, recurrent(model).input[1], lambda w: np.roll(w, w.shape[1] // 4, axis=1))


def bias_dropped(model: onnx.ModelProto) -> None:
    recurrent(model).input[3] = ""


def read_backwards(model: onnx.ModelProto) -> None:
    for attribute in recurrent(model).attribute:
        if attribute.name == "direction":
            attribute.s = b"reverse"


def lengths_ignored(model: onnx.ModelProto) -> None:
    recurrent(model).input[4] = ""


def reset_gate_before(model: onnx.ModelProto) -> None:
    for attribute in recurrent(model).attribute:
        if attribute.name == "linear_before_reset":
            attribute.i = 0


def one_weight_off(model: onnx.ModelProto) -> None:
    def off(weights: Any) -> Any:
        weights[0, 7, 3] += 1e-3
        return weights

    changed(model, recurrent(model).input[2], off)


def one_row_off(model: onnx.ModelProto) -> None:
    def off(table: Any) -> Any:
        table[31] += 1e-3
        return table

    (table,) = [node.input[0] for node in model.graph.node if node.op_type == "Gather" and "tokens" in node.input]
    changed(model, table, off)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        pytest.param(user_modules.PackedLastState, gates_swapped, marks=pytest.mark.slow),
        pytest.param(user_modules.PackedLastState, bias_dropped, marks=pytest.mark.slow),
        pytest.param(user_modules.PackedLastState, read_backwards, marks=pytest.mark.slow),
        pytest.param(user_modules.PackedLastState, lengths_ignored, marks=pytest.mark.slow),
        pytest.param(user_modules.TimeMajorSorted, reset_gate_before, marks=pytest.mark.slow),
        pytest.param(user_modules.PackedLastState, one_weight_off, marks=pytest.mark.slow),
        (user_modules.PackedLastState, one_row_off),
        pytest.param(user_modules.WordDropout, one_weight_off, marks=pytest.mark.slow),
        pytest.param(Numbers, one_weight_off, marks=pytest.mark.slow),
        pytest.param(Numbers, one_row_off, marks=pytest.mark.slow),
    ],
)
def test_a_defect_in_a_graph_is_found(kind: type[nn.Module], change: Change) -> None:
    with pytest.raises(ParityError, match="double precision"):
        verdict(kind, change)


def test_every_id_stands_in_some_case() -> None:
    for ids in (1, 2, 3, 60, 7_000, 400_000):
        cases = make_cases_that_contain_every_id(ids)
        assert set(range(ids)) == {int(i) for case in cases for i in np.unique(case.tokens)}
        assert all((case.lengths == case.tokens.shape[1]).all() for case in cases)
    assert {case.tokens.shape for case in make_cases_that_contain_every_id(10, batch=1)} == {(1, 3)}


def test_an_embedding_row_that_only_the_cases_of_every_id_read_is_found() -> None:
    made, content, exact = proven(user_modules.PackedLastState)
    unread = [ExactAnswer(e.case, e.logits, e.spread) for e in exact if 31 not in e.case.tokens]
    model = onnx.load_from_string(content)
    one_row_off(model)
    wrong = model.SerializeToString()
    assert (
        prove_graph_of_module_in_double_precision(made.reference, wrong, unread, takes_lengths=True).largest_difference
        < 1e-10
    )
    with pytest.raises(ParityError, match=r"\b0 .*\b59\b"):
        prove_graph_of_module_in_double_precision(
            made.reference, wrong, unread, takes_lengths=True, every_id=make_cases_that_contain_every_id(IDS)
        )


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        (user_modules.PackedLastState, "int8"),
        pytest.param(user_modules.MaskedAttention, "int8", marks=pytest.mark.slow),
        pytest.param(user_modules.MaskedAttention, "float16", marks=pytest.mark.slow),
    ],
)
def test_weights_that_are_stored_small_count_as_what_they_stand_for(kind: type[nn.Module], stored: str) -> None:
    _, content, exact = proven(kind)
    storage = Storage(stored, stored)
    small = quantize_graph(content, storage, {})
    rounded = make_float64_onnx_run(small.rounded)
    answers = compute_exact_answers(rounded, make_perturbed_graph_runs(small.rounded, draws=2), [e.case for e in exact])
    found = measure_agreement_in_double_precision(make_float64_onnx_run(small.content), answers)
    assert found.largest_difference < 1e-14
    runs = [make_onnx_run(small.content, optimized=optimized) for optimized in (True, False)]
    assert all(n.passes for run in runs for n in measure_distances("form", run, answers))


@pytest.mark.slow
def test_a_graph_of_an_old_opset_that_takes_one_text_is_computed_too() -> None:
    made, _, exact = proven(user_modules.MaskedAttention)
    graph, opset = trace_edge_graph(made.module, {}, takes_lengths=True)
    assert opset < 18
    rows = split_cases_into_single_rows(e.case for e in exact[:8])
    reference = make_float64_module_run(made.reference, takes_lengths=True)
    answers = [ExactAnswer(case, reference(case.tokens, case.lengths), np.ones(1)) for case in rows]
    assert (
        measure_agreement_in_double_precision(make_float64_onnx_run(graph.content), answers).largest_difference < 1e-14
    )


RECURRENT = {"RNN": (nn.RNN, 1), "LSTM": (nn.LSTM, 4), "GRU": (nn.GRU, 3)}


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("states", [False, True], ids=["zeros", "states"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("operator", RECURRENT)
def test_a_recurrent_operator_computes_what_onnxruntime_does(
    operator: str, direction: str, states: bool, layout: int
) -> None:
    gates, directions = RECURRENT[operator][1], 2 if direction == "bidirectional" else 1
    generator = np.random.default_rng(3)
    steps, batch, features, hidden = 6, 5, 4, 3
    feeds = {
        "x": generator.normal(size=(steps, batch, features)),
        "w": generator.normal(size=(directions, gates * hidden, features)),
        "r": generator.normal(size=(directions, gates * hidden, hidden)),
        "b": generator.normal(size=(directions, 2 * gates * hidden)),
        "lengths": np.array([2, 6, 1, 6, 4], np.int32),
    }
    kept = ["h"] + ["c"] * (operator == "LSTM")
    if states:
        feeds |= {name: generator.normal(size=(directions, batch, hidden)) for name in kept}
    feeds = {name: value if value.dtype == np.int32 else value.astype(np.float32) for name, value in feeds.items()}
    if layout:
        feeds["x"] = feeds["x"].swapaxes(0, 1)
        feeds |= {name: feeds[name].swapaxes(0, 1) for name in kept if states}
    attributes = {"hidden_size": hidden, "direction": direction, "layout": layout}
    for reset_before in (0, 1) if operator == "GRU" else (0,):
        if operator == "GRU":
            attributes["linear_before_reset"] = reset_before
        if operator == "RNN":
            attributes["activations"] = ["Relu", "Tanh"][:directions]
        outputs = ["y", *(f"last_{name}" for name in kept)]
        node = helper.make_node(operator, list(feeds), outputs, **attributes)
        given = computed(node, feeds)
        transposed = [v.swapaxes(0, 1) if layout and k in {"x", "h", "c"} else v for k, v in feeds.items()]
        plain = helper.make_node(operator, list(feeds), outputs, **{**attributes, "layout": 0})
        expected = by_onnxruntime(plain, dict(zip(feeds, transposed, strict=True)))
        if layout:
            expected = [expected[0].transpose(2, 0, 1, 3), *(e.swapaxes(0, 1) for e in expected[1:])]
        for a, b in zip(given, expected, strict=True):
            assert a.dtype == np.float64
            np.testing.assert_allclose(a, b, atol=2e-6)


def model_of(node: onnx.NodeProto, feeds: dict[str, Any]) -> onnx.ModelProto:
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in feeds.items()
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in node.output]
    graph = helper.make_graph([node], "one", values, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def computed(node: onnx.NodeProto, feeds: dict[str, Any]) -> list[Any]:
    evaluate = make_function_of_float64_model(convert_model_to_float64(model_of(node, feeds)))
    return evaluate({k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in feeds.items()})


def by_onnxruntime(node: onnx.NodeProto, feeds: dict[str, Any]) -> list[Any]:
    session = onnxruntime.InferenceSession(
        model_of(node, feeds).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feeds))


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes"),
    [
        ("Erf", {"x": np.linspace(-3, 3, 41, dtype=np.float32)}, {}),
        ("GatherElements", {"x": np.arange(700, dtype=np.float32).reshape(7, 100),
                            "i": np.array([[5], [-1], [99], [0], [70], [64], [-100]])}, {"axis": 1}),
        ("ScatterElements", {"x": np.zeros((3, 4), np.float32), "i": np.array([[1, -1], [0, 2]]),
                             "u": np.array([[1, 2], [3, 4]], np.float32)}, {"axis": 1}),
        ("ScatterElements", {"x": np.ones((3, 4), np.float32), "i": np.array([[1, 1], [0, 0]]),
                             "u": np.array([[1, 2], [3, 4]], np.float32)}, {"axis": 0, "reduction": "add"}),
        ("ScatterND", {"x": np.zeros((3, 4), np.float32), "i": np.array([[2, -1], [0, 1]]),
                       "u": np.array([1, 2], np.float32)}, {}),
        ("GatherND", {"x": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "i": np.array([[-1, 0], [0, 2]])}, {}),
        ("GatherND", {"x": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "i": np.array([[[1], [2]], [[0], [-1]]])},
         {"batch_dims": 1}),
        ("LayerNormalization", {"x": np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32),
                                "s": np.ones(8, np.float32)}, {}),
        ("Softmax", {"x": np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)}, {"axis": 0}),
        # Its softmax has a 0, and the logarithm of that is no answer.
        ("LogSoftmax", {"x": np.array([[0.5, -900, 3], [-np.inf, 1, 2]], np.float32)}, {"axis": 1}),
        ("TopK", {"x": np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32), "k": np.array([3])}, {}),
        ("CumSum", {"x": np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32), "a": np.array(1)}, {}),
    ],
)  # fmt: skip
def test_an_operator_computes_in_float64_what_onnxruntime_does(
    operator: str, inputs: dict[str, Any], attributes: dict[str, Any]
) -> None:
    outputs = ["y", "z"] if operator == "TopK" else ["y"]
    node = helper.make_node(operator, list(inputs), outputs, **attributes)
    given = computed(node, inputs)[0]
    assert given.dtype == np.float64
    model = model_of(node, inputs)
    if operator == "TopK":
        model.graph.output[1].type.tensor_type.elem_type = TensorProto.INT64
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(given, session.run(None, inputs)[0], atol=2e-6)
    if operator in {"Erf", "LayerNormalization", "Softmax", "LogSoftmax"}:
        exact = {
            "Erf": torch.erf,
            "LayerNormalization": lambda x: functional.layer_norm(x, (8,), eps=float(np.float32(1e-5))),
            "Softmax": lambda x: x.softmax(0),
            "LogSoftmax": lambda x: x.log_softmax(1),
        }[operator](torch.from_numpy(inputs["x"]).double())
        np.testing.assert_allclose(given, exact.numpy(), atol=1e-15)


def test_control_flow_is_computed_in_float64_inside_too() -> None:
    third = numpy_helper.from_array(np.array([1 / 3], np.float32), "third")

    def body(name: str, operator: str) -> onnx.GraphProto:
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
        return helper.make_graph([helper.make_node(operator, ["x", "third"], [name])], name, [], [output], [third])

    node = helper.make_node("If", ["c"], ["y"], then_branch=body("a", "Mul"), else_branch=body("b", "Add"))
    feeds = {"c": np.array(True), "x": np.array([1 / 7], np.float32)}
    (given,) = computed(node, feeds)
    assert given.dtype == np.float64
    assert given[0] == float(np.float32(1 / 7)) * float(np.float32(1 / 3))


def test_an_output_that_nothing_uses_is_no_input_of_an_operator_that_leaves_one_out() -> None:
    generator = np.random.default_rng(0)
    weights = {name: generator.normal(size=(1, 12, 3)).astype(np.float32) for name in ("w", "r")}
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["", "h", "c"], hidden_size=3),
        helper.make_node("LSTM", ["x", "w", "r", "", "", "h", "c"], ["y", "", "last"], hidden_size=3),
    ]
    x, last = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "last"))
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "two", [x], [last], tensors),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    inputs = generator.normal(size=(5, 2, 3)).astype(np.float32)
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": inputs})[0]
    given = make_function_of_float64_model(convert_model_to_float64(model))({"x": inputs.astype(np.float64)})[0]
    np.testing.assert_allclose(given, expected, atol=1e-6)


def test_an_operator_that_is_not_known_in_float64_is_named() -> None:
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=2, clip=3.0)
    x = np.ones((1, 1, 2), np.float32)
    with pytest.raises(ExportError, match=r"LSTM.*clip"):
        computed(node, {"x": x, "w": np.ones((1, 8, 2), np.float32), "r": np.ones((1, 8, 2), np.float32)})


def test_another_thread_computes_in_float32_while_one_is_in_float64() -> None:
    inside, seen = threading.Event(), []

    class Waits(user_modules.PackedLastState):
        def forward(self, text: torch.Tensor, text_lengths: torch.Tensor) -> torch.Tensor:
            inside.set()
            watcher.join()
            return super().forward(text, text_lengths)

    def watch() -> None:
        inside.wait()
        seen.append((torch.zeros(1).dtype, torch.get_default_dtype(), torch.ones(1, dtype=torch.float64).float().dtype))

    module = Waits().eval()
    watcher = threading.Thread(target=watch)
    # The thread starts before forward waits for it, which must not be copied with the module.
    watcher.start()
    logits = make_float64_module_run(module, takes_lengths=True)(np.ones((1, 2), np.int64), np.array([2]))
    assert logits.dtype == np.float64
    assert seen == [(torch.float32,) * 3]
    assert next(module.parameters()).dtype == torch.float32


def test_numbers_that_go_through_numpy_keep_double_precision() -> None:
    class ByNumpy(nn.Linear):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return torch.Tensor(super().forward(ids / 7).detach().numpy()[:, -1:])

    module = ByNumpy(3, 2).eval()
    ids = np.arange(6).reshape(2, 3)
    exact = ids / 7 @ module.weight.detach().double().numpy().T + module.bias.detach().double().numpy()
    answers = make_float64_module_run(module, takes_lengths=False)(ids, np.array([3, 3]))
    np.testing.assert_allclose(answers, exact[:, -1:], rtol=1e-14)
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("layer", [nn.RMSNorm(4), nn.RMSNorm(4, elementwise_affine=False)])
def test_the_least_divisor_that_a_layer_takes_of_the_type_is_that_of_float32(layer: nn.Module) -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = layer

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.norm(ids * torch.tensor(1e-4))

    ids = np.array([[1, -2, 3, 0]])
    given = ids * float(np.float32(1e-4))
    answers = make_float64_module_run(Small().eval(), takes_lengths=False)(ids, np.array([4]))
    exact = given / np.sqrt((given**2).mean() + float(np.finfo(np.float32).eps))
    np.testing.assert_allclose(answers, exact, rtol=1e-12)


def test_a_torchscript_module_says_that_it_has_no_double_precision() -> None:
    made = source(user_modules.PackedLastState)
    script = torchscript(made.module, example(takes_lengths=True))[1]
    with pytest.raises(ExportError, match=r"TorchScript .*double precision"):
        make_float64_module_run(script, takes_lengths=True)


@pytest.mark.slow
def test_two_graphs_that_differ_by_more_than_rounding_are_told_apart() -> None:
    made, content, _ = proven(user_modules.MaskedAttention)
    double = traced(make_float64_copy(made.module), takes_lengths=True)
    assert find_difference_beyond_rounding(content, double) is None

    def after(change: Change) -> str | None:
        model = onnx.load_from_string(content)
        change(model)
        return find_difference_beyond_rounding(model.SerializeToString(), double)

    assert "number" in str(after(one_weight_off))
    assert "attribute" in str(after(lambda m: setattr(m.graph.node[-1].attribute[0], "f", 0.5)))
    assert "input" in str(after(lambda m: m.graph.node[-1].input.__setitem__(0, m.graph.node[0].output[0])))
    assert "nodes" in str(after(lambda m: m.graph.node.pop()))


class MadeInFloat32(nn.Module):
    """A mask of float32 beside numbers of the module's own precision, and a least number for them."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.fc = nn.Embedding(IDS, 4), nn.Linear(4, CLASSES)

    def forward(self, x: torch.Tensor) -> Any:
        states, n = self.emb(x), x.size(1)
        scores = states @ states.transpose(1, 2) + torch.full((n, n), -1e9).to(states.dtype)
        return self.fc(functional.normalize((scores.softmax(2) @ states)[:, -1], p=1))


@pytest.mark.slow
def test_what_forward_makes_in_float32_is_the_same_in_both_graphs() -> None:
    module = MadeInFloat32().eval()
    made = trace_onnx_graph(module, example(takes_lengths=False), {})
    double = retrace_in_float64(make_float64_copy(module), example(takes_lengths=False), {}, made).content
    assert find_difference_beyond_rounding(made.content, double) is None
    model = onnx.load_from_string(made.content)
    model.graph.node.pop()
    assert "nodes" in str(find_difference_beyond_rounding(model.SerializeToString(), double))


@pytest.mark.parametrize(("number", "same"), [(0.0, True), (1.0, False)])
def test_zeros_that_a_node_does_not_state_are_those_that_another_states(number: float, same: bool) -> None:
    def filled(kind: int, **stated: onnx.TensorProto) -> bytes:
        node = onnx.helper.make_node("ConstantOfShape", ["shape"], ["out"], **stated)
        given = onnx.helper.make_tensor_value_info("shape", onnx.TensorProto.INT64, [1])
        out = onnx.helper.make_tensor_value_info("out", kind, None)
        return onnx.helper.make_model(onnx.helper.make_graph([node], "zeros", [given], [out])).SerializeToString()

    value = onnx.helper.make_tensor("value", onnx.TensorProto.DOUBLE, [1], [number])
    double = filled(onnx.TensorProto.DOUBLE, value=value)
    assert (find_difference_beyond_rounding(filled(onnx.TensorProto.FLOAT), double) is None) is same


def test_an_answer_is_measured_in_spreads() -> None:
    case = Case("one", np.zeros((2, 1), np.int64), np.ones(2, np.int64))
    exact = ExactAnswer(case, np.array([[0.5, 0.4999999], [3.0, -1.0]]), np.array([1e-6, 1e-7]))
    near = measure_distance_to_exact_answer("form", exact, np.array([[0.5 - 2e-6, 0.4999999], [3.0, -1.0]], np.float32))
    assert near.spreads == pytest.approx(2, abs=0.1)
    assert near.labels_differing == 1
    assert near.passes
    assert not measure_distance_to_exact_answer(
        "form", exact, np.array([[0.5, 0.4999999], [3.0, -1.0 + 1e-4]], np.float32)
    ).passes
    for wrong in (np.full((2, 2), np.nan), np.full((2, 2), np.inf), np.zeros((2, 3)), np.zeros((1, 2))):
        assert measure_distance_to_exact_answer("form", exact, wrong.astype(np.float32)).spreads == math.inf
    infinite = ExactAnswer(case, np.array([[0.5, -np.inf], [3.0, -1.0]]), np.array([1e-6, 1e-7]))
    assert measure_distance_to_exact_answer("form", infinite, infinite.logits.astype(np.float32)).spreads < 1


class Asks(nn.Module):
    """Asks whether numbers that it holds are what they are: the zeros of a mask, a threshold, infinities."""

    def __init__(self, ask: str) -> None:
        super().__init__()
        self.ask = ask
        self.emb = nn.Embedding(9, 2)
        self.register_buffer("mask", torch.tensor([1.0, 0.0, 1.0] * 3))
        self.register_buffer("least", torch.tensor(0.5))
        self.register_buffer("score", torch.tensor([0.0, math.inf, -math.inf] * 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = self.emb(x).mean(1)
        if self.ask == "zero":
            weight = self.mask[x].unsqueeze(-1)
            return torch.nan_to_num((self.emb(x) * weight / weight).amin(1), nan=-1.0)
        if self.ask == "whole":
            return mean + (self.mask[x] == 1).sum(1, keepdim=True)
        if self.ask == "threshold":
            return mean + (self.mask[x].mean(1, keepdim=True) >= self.least)
        return mean + torch.isinf(self.score[x]).sum(1, keepdim=True)


@pytest.mark.parametrize("ask", mostly_slow(["zero", "whole", "threshold", "infinity"], 4, first=2))
def test_numbers_that_are_meant_as_they_are_spread_nothing(ask: str) -> None:
    module = Asks(ask).eval()
    case = Case("two", np.array([[0, 1, 3, 4], [1, 2, 1, 2]]), np.full(2, 4))
    run = make_float64_module_run(module, takes_lengths=False)
    (exact,) = compute_exact_answers(run, make_perturbed_module_runs(module, takes_lengths=False), [case])
    assert exact.spread.max() < 1e-6
    graph = trace_onnx_graph(module, (torch.zeros(2, 3, dtype=torch.int64),), {}).content
    (exact,) = compute_exact_answers(make_float64_onnx_run(graph), make_perturbed_graph_runs(graph), [case])
    assert exact.spread.max() < 1e-6


def test_no_form_is_far_where_the_reference_is_near() -> None:
    case = Case("one", np.zeros((2, 1), np.int64), np.ones(2, np.int64))
    exact = ExactAnswer(case, np.array([[0.5, 0.2], [300.0, -1.0]]), np.array([1.0, 1.0]))
    near = exact.logits.astype(np.float32)
    rounded = near + np.array([[0.0, 3e-5], [0.0, 0.0]], np.float32)
    for form, spreads in (([[0.5, 0.22], [300.0, -1.0]], math.inf), ([[0.5, 0.2], [301.0, -1.0]], 1)):
        given = np.array(form, np.float32)
        assert measure_difference("form", "one", near, given, exact).spreads == pytest.approx(spreads, abs=1)
    # The reference itself is not near: what is far may be rounding.
    assert measure_difference("form", "one", rounded, near + np.float32(0.1), exact).spreads == math.inf
    alone = ExactAnswer(case, exact.logits[:1], exact.spread[:1])
    assert measure_difference("form", "one", rounded[:1], near[:1] + np.float32(0.1), alone).spreads < 1


@pytest.mark.parametrize(("rows_alone", "batches_differ", "runs"), [(1, 0, 24), (0, 0, 60), (1, 1, 78)])
def test_rounding_moves_texts_of_equal_length_in_one_batch(rows_alone: int, batches_differ: int, runs: int) -> None:
    done = []

    def run(tokens: Any, _lengths: Any) -> Any:
        done.append(len(tokens))
        return tokens[:, :2] * 0.0 + float(batches_differ and len(tokens) > 1)

    texts = [Case(str(i), np.full((1, 3 + i % 2), i), np.array([3 + i % 2])) for i in range(6)]
    reference = Reference("pytorch", run, run, lambda: iter([run] * DRAWS))
    assert ReferenceAnswers(reference, {"texts": texts}, rows_alone=bool(rows_alone)).tolerance == 1e-5
    assert len(done) == runs


def test_the_tolerance_of_a_bundle_comes_from_the_spread() -> None:
    case = Case("one", np.zeros((1, 1), np.int64), np.ones(1, np.int64))

    def of(spread: float) -> float:
        return compute_rounding_tolerance([ExactAnswer(case, np.zeros((1, 2)), np.array([spread]))])

    assert of(1e-9) == 1e-5
    assert of(1.01e-4 / (2 * SPREADS)) == 2e-4
    assert of(1.0) == 1e-2


class CachedPositions(nn.Module):
    """A table of positions that forward grows, in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.rnn, self.out = nn.Embedding(60, 8), nn.GRU(8, 8, batch_first=True), nn.Linear(8, 4)
        self.table: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> Any:
        steps = x.size(1)
        if self.table is None or self.table.size(0) < steps:
            rates = torch.exp(torch.arange(0, 8, 2).float() * (-math.log(10000.0) / 8))
            angles = torch.arange(steps).float()[:, None] * rates
            table = torch.zeros(steps, 8)
            table[:, 0::2], table[:, 1::2] = angles.sin(), angles.cos()
            self.table = table
        return self.out(self.rnn(self.emb(x) + self.table[:steps])[0].mean(1))


@pytest.mark.slow
def test_a_cache_that_forward_fills_is_filled_again_in_double_precision() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = CachedPositions().eval()
    found = prepare_module(module, lengths=None, ids=60, padding_id=1, classes=4, multi_label=False)
    tokens, lengths = np.full((2, 40), 5), np.full(2, 40)
    found.make_reference().run(np.full((1, 300), 5), np.array([300]))
    assert module.table is None
    in_doubles = make_float64_module_run(found.reference, takes_lengths=False)(tokens, lengths)
    graph = trace_onnx_graph(make_float64_copy(found.module), found.example, {})
    np.testing.assert_allclose(make_float64_onnx_run(graph.content)(tokens, lengths), in_doubles, rtol=0, atol=1e-12)


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"pads": (1, 2)},
        {"strides": (2,), "dilations": (2,), "pads": (2, 1)},
        {"auto_pad": "SAME_UPPER", "strides": (2,)},
        {"auto_pad": "SAME_LOWER"},
        {"auto_pad": "VALID"},
        {"group": 2},
    ],
    ids=str,
)
def test_convolutions_in_double_precision_are_those_of_the_evaluator_that_sums_place_by_place(
    attributes: dict[str, Any], axes: int
) -> None:
    each = {
        name: [*value[:1] * axes, *value[1:] * axes] if isinstance(value, tuple) else value
        for name, value in attributes.items()
    }
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], **each)
    inputs = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in "xwb"]
    output = helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)
    model = helper.make_model(
        helper.make_graph([node], "g", inputs, [output]), opset_imports=[helper.make_opsetid("", 18)]
    )
    generator = np.random.default_rng(0)
    shapes = {"x": (2, 4, *(9,) * axes), "w": (6, 4 // attributes.get("group", 1), *(3,) * axes), "b": (6,)}
    given = {name: generator.normal(size=shape) for name, shape in shapes.items()}
    given["x"].flags.writeable = False
    (expected,) = ReferenceEvaluator(model).run(None, given)
    (found,) = ReferenceEvaluator(model, new_ops=list(OPERATORS)).run(None, given)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("ceil_mode", "axes"),
    [(0, 2), (1, 1), pytest.param(0, 1, marks=pytest.mark.slow), pytest.param(1, 2, marks=pytest.mark.slow)],
)
def test_pools_in_double_precision_are_those_of_onnxruntime(ceil_mode: int, axes: int) -> None:
    generator = np.random.default_rng(0)
    for size, step, apart, pad, length in itertools.product((1, 2, 3), (1, 2, 3), (1, 2), (0, 1), (5, 6, 7, 8)):
        if 2 * pad > size or (size - 1) * apart + 1 > length + 2 * pad:
            continue
        node = helper.make_node(
            "MaxPool", ["x"], ["y"], kernel_shape=[size] * axes, strides=[step] * axes, dilations=[apart] * axes,
            pads=[pad] * 2 * axes, ceil_mode=ceil_mode,
        )  # fmt: skip
        values = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in "xy"]
        graph = helper.make_graph([node], "g", values[:1], values[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        given = {"x": generator.normal(size=(2, 3, *(length,) * axes))}
        (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, given)
        (found,) = ReferenceEvaluator(model, new_ops=list(OPERATORS)).run(None, given)
        np.testing.assert_array_equal(found, expected)
