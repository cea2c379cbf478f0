"""Layers whose states nothing multiplies: their packed program, which the engine answers as onnxruntime does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from packing_tools import graph_of, logits_of, packed_graph
from shared_results import made_once
from slow_case_sampling import mostly_slow
from test_packed_programs import assert_engine_answers_as_onnxruntime, vocabulary_of
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pocketrnn.bundle.manifest import Graph
from pocketrnn.bundle.packed_enums import Layer, Storage
from pocketrnn_export.forms.packed_file.conversion_to_integer_products import convert_products_to_integers
from pocketrnn_export.forms.packed_file.graph_to_program import translate_graph_into_program
from pocketrnn_export.forms.packed_file.previous_step_folded_into_layer import fold_previous_step_into_layers
from pocketrnn_export.forms.packed_file.program import FLOAT, NONE, Op, Program
from pocketrnn_export.forms.packed_file.size_dependent_values import Size
from pocketrnn_export.forms.weight_quantization import Storage as Stored
from pocketrnn_export.forms.weight_quantization import quantize_graph
from pocketrnn_native import Packed

WORDS, LABELS = 40, ("a", "b", "c", "d")
LAYERS = {"gru": nn.GRU, "lstm": nn.LSTM, "tanh": nn.RNN, "relu": nn.RNN}


def padded(x: Tensor) -> Tensor:
    return torch.cat([x, pad(x, (0, 0, 1, 0))[:, :-1]], 2)


def zeros_in_front(x: Tensor) -> Tensor:
    return torch.cat([torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1), x], 2)


class Cell(nn.Module):
    """Layers without recurrent weights behind a window of two steps, or behind none, that are read by their lengths."""

    def __init__(
        self, kind: str, window: Callable[[Tensor], Tensor] | None, hidden: int, layers: int = 1, *, both: bool = True
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 12)
        options = {"nonlinearity": "relu"} if kind == "relu" else {}
        width = 12 if window is None else 24
        self.rnn = LAYERS[kind](width, hidden, layers, batch_first=True, bidirectional=both, **options)
        with torch.no_grad():
            for name, weights in self.rnn.named_parameters():
                if name.startswith("weight_hh"):
                    weights.zero_()
                elif window is not None and name.startswith("bias_hh"):
                    weights[2 * hidden :].zero_()
        self.fc = nn.Linear(hidden * (1 + both), len(LABELS))
        self.window = window

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        steps = self.embedding(tokens)
        if self.window is not None:
            steps = self.window(steps)
        packed = pack_padded_sequence(steps, lengths, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        mask = torch.arange(out.shape[1]) < lengths[:, None]
        return self.fc(out.masked_fill(~mask[:, :, None], -torch.inf).amax(1))


CASES = {
    "a window": (("gru", padded, 8, 2), {}),
    "a window, the step before in front": (("gru", zeros_in_front, 20), {"both": False}),
    "no window, reset gates": (("gru", None, 8), {}),
    "lstm": (("lstm", None, 8), {}),
    "tanh": (("tanh", None, 8), {}),
    "relu": (("relu", None, 8), {"both": False}),
}


@made_once
def graph_of_case(name: str) -> tuple[bytes, Graph]:
    arguments, options = CASES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Cell(*arguments, **options)  # type: ignore[arg-type]
    return graph_of(module, vocabulary_of(WORDS), LABELS)


def layers_of(program: Program) -> list[Op]:
    return [op for op in program.ops if op.name == "recurrent"]


def weights_of(program: Program, op: Op) -> list[tuple[int, ...] | None]:
    """The shapes of a layer's weights: of its inputs, and in the place of those of its states."""
    values = [value for place, value in enumerate(op.words[-8:]) if place % 4 < 2]
    return [None if value == NONE else program.values[value].constant.shape for value in values]  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_slow(list(CASES), 6, first=4))
def test_the_engine_answers_as_onnxruntime_does(name: str) -> None:
    assert_engine_answers_as_onnxruntime(*graph_of_case(name), vocabulary_of(WORDS))


@pytest.mark.slow
def test_a_window_is_read_in_one_step_and_the_next_and_nothing_is_copied() -> None:
    program = translate_graph_into_program(*graph_of_case("a window")).program
    assert [op.name for op in program.ops] == ["lookup", "recurrent", "recurrent", "reduce", "linear"]
    first, second = layers_of(program)
    assert first.words[0] == second.words[0] == Layer.FORGET
    assert first.operands[0] == program.ops[0].operands[2]
    assert weights_of(program, first) == [(12, 16)] * 4
    assert weights_of(program, second) == [(16, 16), None] * 2


@pytest.mark.slow
def test_the_order_of_the_steps_in_a_window_may_be_either() -> None:
    # The graph holds the layer twice, and chooses between both by the sizes of the batch.
    layers = layers_of(translate_graph_into_program(*graph_of_case("a window, the step before in front")).program)
    assert {(layer.words[0], layer.words[2]) for layer in layers} == {(Layer.FORGET, 12)}


def copied(program: Program, source: int, target: int, rows: Size, columns: int, *places: Size | int) -> None:
    """Copy rows of so many columns, from a place and by a stride to a place and by a stride."""
    one, zero = (0, 1), (0, 0)
    start, stride, to, to_stride = (place if isinstance(place, tuple) else (0, place) for place in places)
    sizes = [one, one, one, rows, (0, columns)]
    program.add_operation(
        "copy", [source, target], *sizes, start, zero, zero, zero, stride, one, to, zero, zero, zero, to_stride, one
    )


def test_a_step_begins_its_window_with_what_the_state_holds_of_the_last_one() -> None:
    program = Program(state_size=20)
    columns, hidden, tokens = 12, 8, (1, 0)
    x, shifted = program.add_value(FLOAT, [tokens, (0, columns)]), program.add_value(FLOAT, [(1, 1), (0, columns)])
    both, h0 = program.add_value(FLOAT, [tokens, (0, 2 * columns)]), program.add_value(FLOAT, [(0, hidden)])
    states = program.add_value(FLOAT, [tokens, (0, hidden)])
    table = program.add_constant(np.ones((WORDS, columns), np.float32), is_table=True)
    program.add_operation("lookup", [table, 0, x])
    copied(program, 1, shifted, (0, 1), columns, 0, 0, 0, 0)
    copied(program, x, shifted, tokens, columns, 0, columns, columns, columns)
    copied(program, x, both, tokens, columns, 0, columns, 0, 2 * columns)
    copied(program, shifted, both, tokens, columns, 0, columns, columns, 2 * columns)
    copied(program, 1, h0, (0, 1), hidden, columns, 0, 0, 0)
    matrix = np.arange(2 * columns * 16, dtype=np.float32).reshape(2 * columns, 16)
    weights = [program.add_constant(matrix), NONE, program.add_constant(np.ones(16, np.float32)), *[NONE] * 5]
    operands = [both, h0, NONE, states, NONE, NONE]
    program.add_operation("recurrent", operands, Layer.FORGET, 1, 2 * columns, hidden, tokens, weights=weights)
    program.outputs.append(states)
    fold_previous_step_into_layers(program)
    assert [op.name for op in program.ops] == ["lookup", "copy", "copy", "recurrent"]
    (layer,) = layers_of(program)
    assert layer.operands[0] == program.ops[0].operands[2]
    assert layer.operands[2] == program.ops[2].operands[1]
    first, before = (program.values[value].constant for value in layer.words[-8:-6])
    assert first is not None
    assert before is not None
    assert (first[0, 0], before[0, 0]) == (0, 12 * 16)


@pytest.mark.slow
def test_reset_gates_that_count_keep_a_gru_and_its_zeros_are_left_out() -> None:
    program = translate_graph_into_program(*graph_of_case("no window, reset gates")).program
    (layer,) = layers_of(program)
    assert layer.words[0] == Layer.GRU
    assert weights_of(program, layer) == [(12, 24), None] * 2


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param("a window", marks=pytest.mark.slow), "no window, reset gates"])
def test_ready_products_and_weights_in_place_change_no_answer(name: str) -> None:
    content, graph = graph_of_case(name)
    packed = packed_graph(content, graph, vocabulary_of(WORDS), LABELS)
    ids = np.random.default_rng(2).integers(0, WORDS, 300)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    feed = {"tokens": ids[None], "lengths": np.array([len(ids)])}
    expected = session.run(["logits"], {given: feed[given] for given in graph.inputs})[0][0]
    # None ready, some words, all; read where they lie.
    for opened in (Packed(packed), Packed(packed, 6000), Packed(packed, 1 << 20), Packed(packed, 0, True)):
        np.testing.assert_allclose(logits_of(opened, ids), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_halves_of_a_matrix_of_bytes_are_stored_in_bytes() -> None:
    content, graph = graph_of_case("a window")
    small = quantize_graph(content, Stored("int8", "int8"), {}).content
    values = np.frombuffer(
        translate_graph_into_program(small, graph).program.encode_sections().values, np.uint32
    ).reshape(-1, 13)
    storages = values[values[:, 1] == NONE][:, 2]
    # Four halves of the first layer, two matrices of the second, the table.
    assert (storages == Storage.BYTES_BY_COLUMN).sum() >= 6


def test_a_window_is_multiplied_in_integers() -> None:
    content, graph = graph_of_case("a window")
    form = convert_products_to_integers(translate_graph_into_program(content, graph).program)
    assert form.matrices == 6
    assert "recurrent" not in form.left
    packed = packed_graph(content, graph, vocabulary_of(WORDS), LABELS, integers=True)
    exact = Packed(packed_graph(content, graph, vocabulary_of(WORDS), LABELS))
    ids = np.random.default_rng(2).integers(0, WORDS, 100)
    answers = [logits_of(opened, ids) for opened in (Packed(packed), Packed(packed, 1 << 20), Packed(packed, 0, True))]
    np.testing.assert_allclose(answers, [logits_of(exact, ids)] * 3, atol=0.1)
    np.testing.assert_allclose(answers, [answers[0]] * 3, atol=1e-5)
