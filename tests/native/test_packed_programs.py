"""Programs of modules as people write them: the engine gives the logits of onnxruntime, or the module is refused."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import test_all_configurations as family
import torch
import user_modules
from onnx import TensorProto, helper, numpy_helper
from packing_tools import graph_of, logits_of, packed_graph
from shared_results import made_once
from slow_case_sampling import mostly_slow
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pocketrnn.bundle.manifest import Graph
from pocketrnn.engines.text_embedding_output import add_graph_output, find_last_layer_input
from pocketrnn.errors import ExportError, InputError
from pocketrnn_export.comparing.float64_graph import make_float64_onnx_run
from pocketrnn_export.forms.packed_file.graph_to_program import translate_graph_into_program
from pocketrnn_export.forms.weight_quantization import Storage, quantize_graph
from pocketrnn_native import Packed

LABELS = ("a", "b", "c", "d")
LENGTHS = (1, 2, 3, 4, 5, 8, 17, 33, 64, 257)
SOURCE = Path(__file__).parents[2] / "runtime" / "native" / "src"
# The module that the engine does not take: it slices at a length.
REFUSED = {user_modules.BranchesOnValues: "Slice"}
# Weights are multiplied by one another in them, which is done once, in single precision.
FOLDED = (user_modules.Projected, user_modules.ProjectedFromLearnedStates)
PACKED = [kind for kind in user_modules.EXPORTED if kind not in REFUSED]


def made(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind()


def vocabulary_of(size: int) -> tuple[str, ...]:
    return ("<unk>", "<pad>", *(f"w{i}" for i in range(size - 2)))


def rows_of(graph: Graph) -> list[np.ndarray]:
    generator = np.random.default_rng(1)
    return [generator.integers(0, graph.embedding_rows, length) for length in LENGTHS]


def assert_engine_answers_as_onnxruntime(content: bytes, graph: Graph, vocabulary: tuple[str, ...]) -> None:
    engine = Packed(packed_graph(content, graph, vocabulary, LABELS))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    texts = [" ".join(vocabulary[i] for i in ids if i > 1) for ids in rows_of(graph)]
    together, statuses = np.empty((len(texts), len(LABELS)), np.float32), np.empty(len(texts), np.uint8)
    engine.logits_of_texts(texts, together, statuses)
    # Where several texts are read at a time, sums may be rounded in another place.
    np.testing.assert_allclose(together, [engine.logits(text) for text in texts], atol=1e-6, rtol=1e-6)
    assert not statuses.any()
    wide = with_last_layers_input(content)
    numbers = engine.embedding_size()
    # A graph without a single last layer has none in the program, which has one wherever a bundle gives its rows.
    assert not numbers if wide is None else numbers or len(wide.get_outputs()[1].shape) != 2
    for ids in rows_of(graph):
        feed = {"tokens": ids[None], "lengths": np.array([len(ids)])}
        given = {name: feed[name] for name in graph.inputs}
        expected = session.run(["logits"], given)[0][0]
        np.testing.assert_allclose(logits_of(engine, ids), expected, atol=1e-5, rtol=1e-5)
        if wide is not None and numbers:
            embedding = np.empty(numbers, np.float32)
            engine.embeddings_of_ids(ids.astype(np.int32), np.array([len(ids)]), embedding, np.empty(1, np.uint8))
            np.testing.assert_allclose(embedding, wide.run(None, given)[1].flatten(), atol=1e-5, rtol=1e-5)


def with_last_layers_input(content: bytes) -> onnxruntime.InferenceSession | None:
    """The graph with the numbers before its last linear layer as a second output; None if it has no such layer."""
    try:
        name = find_last_layer_input(content, Path("model.onnx"))
    except InputError:
        return None
    return onnxruntime.InferenceSession(add_graph_output(content, name), providers=["CPUExecutionProvider"])


def test_nearly_all_modules_as_people_write_them_can_be_packed() -> None:
    assert len(PACKED) >= len(user_modules.EXPORTED) * 26 / 29


# In the fast suite, the next one and that of operations pack modules.
@pytest.mark.slow
@pytest.mark.parametrize("kind", PACKED, ids=lambda kind: kind.__name__)
def test_a_packed_module_answers_as_onnxruntime_does(kind: type[nn.Module]) -> None:
    assert_engine_answers_as_onnxruntime(*graph_of_kind(kind), vocabulary_of(user_modules.WORDS))


@pytest.mark.slow
@pytest.mark.parametrize("configuration", mostly_slow(family.CONFIGURATIONS, 99), ids=family.named)
def test_every_configuration_is_packed(configuration: tuple[str, int, bool, bool, str]) -> None:
    content, graph = graph_of(family.classifier(*configuration), tuple(family.VOCABULARY), LABELS)
    assert_engine_answers_as_onnxruntime(content, graph, tuple(family.VOCABULARY))


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(REFUSED), ids=lambda kind: kind.__name__)
def test_what_the_engine_cannot_do_is_refused_by_the_operators_name_and_place(kind: type[nn.Module]) -> None:
    content, graph = graph_of_kind(kind)
    with pytest.raises(ExportError, match=rf"operator {REFUSED[kind]} .*at node_\w+:"):
        translate_graph_into_program(content, graph)


class _CrossedMatrices(nn.Module):
    """Four matrices by four others: the axes [4, 1] and [1, 4] make sixteen."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.fc = nn.Embedding(user_modules.WORDS, 8), nn.Linear(16, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        heads = self.embedding(tokens).unflatten(2, (4, 2)).transpose(1, 2)
        columns = heads.mean(2)[:, None, :, :, None]
        return self.fc((heads[:, :, None] @ columns).squeeze(4).amax(3).flatten(1))  # type: ignore[no-any-return]


@pytest.mark.slow
def test_matrices_that_do_not_pair_one_by_one_are_refused() -> None:
    content, graph = graph_of_kind(_CrossedMatrices)
    with pytest.raises(ExportError, match=r"MatMul.*different batch axes"):
        translate_graph_into_program(content, graph)


class _CountsItself(nn.Module):
    """Packs its words by how many of the ids are no padding, wherever the padding stands."""

    layer: type[nn.RNNBase] = nn.LSTM

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(user_modules.WORDS, 8)
        self.layer_of_words = self.layer(8, 6, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(24, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        lengths = (tokens != 1).sum(1).clamp(min=1)
        packed = pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
        outputs, last = self.layer_of_words(packed)
        every = pad_packed_sequence(outputs, batch_first=True, total_length=tokens.size(1))[0]
        last = last[0] if isinstance(last, tuple) else last
        return self.fc(torch.cat([every.amax(1), last[0], last[1]], 1))  # type: ignore[no-any-return]


class _CountsForGRU(_CountsItself):
    layer = nn.GRU


class _CountsForRNN(_CountsItself):
    layer = nn.RNN


class _CountsAndSorts(_CountsItself):
    """Sorts the texts of a batch by these lengths, as before `enforce_sorted`, and puts them back."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        lengths, order = (tokens != 1).sum(1).clamp(min=1).sort(descending=True)
        packed = pack_padded_sequence(self.embedding(tokens)[order], lengths, batch_first=True)
        outputs, last = self.layer_of_words(packed)
        every = pad_packed_sequence(outputs, batch_first=True, total_length=tokens.size(1))[0]
        numbers = torch.cat([every.amax(1), last[0][0], last[0][1]], 1)
        return self.fc(numbers[order.sort()[1]])  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow([_CountsAndSorts, _CountsItself, _CountsForGRU, _CountsForRNN], 4))
def test_a_layer_reads_as_many_steps_as_forward_counts(kind: type[nn.Module]) -> None:
    content, graph = graph_of_kind(kind)
    engine = Packed(packed_graph(content, graph, vocabulary_of(user_modules.WORDS), LABELS))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(2)
    for length in (1, 2, 3, 7, 40):
        for share in (0.0, 0.3, 0.7, 1.0):
            ids = np.where(generator.random(length) < share, 1, generator.integers(2, user_modules.WORDS, length))
            expected = session.run(["logits"], {"tokens": ids[None]})[0][0]
            np.testing.assert_allclose(logits_of(engine, ids), expected, atol=1e-5, rtol=1e-5)


class _RepeatedWords(_CountsItself):
    """How many words are the one before: between the steps of a text of one word there is none to be asked."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        vectors = self.embedding(tokens)
        repeated = (vectors[:, 1:] == vectors[:, :-1]).all(2).float().sum(1, keepdim=True)
        return self.fc(torch.cat([vectors.mean(1), vectors.amax(1), vectors[:, -1]], 1) + repeated)  # type: ignore[no-any-return]


@pytest.mark.slow
def test_what_stands_between_the_steps_of_a_text_of_one_word_is_nothing() -> None:
    content, graph = graph_of_kind(_RepeatedWords)
    engine = Packed(packed_graph(content, graph, vocabulary_of(user_modules.WORDS), LABELS))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for ids in ([5], [5, 5], [5, 6, 6, 6]):
        expected = session.run(["logits"], {"tokens": np.array([ids])})[0][0]
        np.testing.assert_allclose(logits_of(engine, np.array(ids)), expected, atol=1e-5)


class _Numbers(nn.Module):
    """Most of what is computed number by number, along axes and over planes."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 6)
        self.conv = nn.Conv1d(6, 8, 3, padding=2, dilation=2, groups=2)
        self.norm = nn.BatchNorm1d(8)
        self.norm.running_mean.uniform_(-1, 1)  # type: ignore[union-attr, operator]
        self.norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
        self.fc = nn.Linear(8 * 5, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(self.embedding(tokens).transpose(1, 2)))
        many = torch.sigmoid(x) * torch.nn.functional.gelu(x) + torch.exp(-x.abs()) - torch.sqrt(x * x + 1)
        many = torch.nn.functional.elu(many) + torch.nn.functional.leaky_relu(x) + x.clamp(-0.5, 0.7)
        scores = torch.softmax(many.transpose(1, 2) @ many, dim=2)
        mixed = (many @ scores).amin(2)
        parts = [many.amax(2), many.mean(2), torch.log_softmax(many, 1).sum(2), mixed, (many**2).sum(2) ** 0.5]
        return self.fc(torch.cat(parts, dim=1))


@pytest.mark.slow
def test_operations_on_numbers_axes_and_planes_answer_as_onnxruntime_does() -> None:
    assert_engine_answers_as_onnxruntime(*graph_of_kind(_Numbers), vocabulary_of(50))


@made_once
def graph_of_kind(kind: type[nn.Module]) -> tuple[bytes, Graph]:
    return graph_of(made(kind), vocabulary_of(50 if kind is _Numbers else user_modules.WORDS), LABELS)


@pytest.fixture(scope="session")
def in_double(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The same engine, built with double arithmetic."""
    library = tmp_path_factory.mktemp("double") / "engine.so"
    subprocess.run(
        [compiler, "-std=gnu11", "-O2", "-DPRNN_DOUBLE", "-Wno-psabi", "-shared", "-fPIC", str(SOURCE / "pocketrnn.c"),
         "-o", str(library), "-lm"],
        check=True,
        timeout=300,
    )  # fmt: skip
    return ctypes.CDLL(str(library))


def logits_in_double(library: ctypes.CDLL, content: bytes, ids: np.ndarray) -> np.ndarray:
    file = np.frombuffer(content, np.uint8).copy()
    opened, size = ctypes.c_void_p(), ctypes.c_size_t(0)
    arguments = (ctypes.byref(opened), file.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(len(file)))
    library.prnn_open(*arguments, None, ctypes.byref(size))
    memory, work = ctypes.create_string_buffer(size.value), ctypes.create_string_buffer(1 << 24)
    assert library.prnn_open(*arguments, memory, ctypes.byref(size)) == 0
    row, logits, room = ids.astype(np.int32), np.empty(len(LABELS)), ctypes.c_size_t(len(work))
    status = library.prnn_logits(
        opened, row.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(len(row)),
        logits.ctypes.data_as(ctypes.c_void_p), work, ctypes.byref(room),
    )  # fmt: skip
    assert status == 0
    return logits


IN_DOUBLE = [_Numbers, *(kind for kind in PACKED if kind not in FOLDED)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", IN_DOUBLE, ids=lambda kind: kind.__name__)
def test_in_double_precision_a_packed_module_agrees_to_1e_10(kind: type[nn.Module], in_double: ctypes.CDLL) -> None:
    size = 50 if kind is _Numbers else user_modules.WORDS
    content, graph = graph_of_kind(kind)
    exact = make_float64_onnx_run(content)
    packed = packed_graph(content, graph, vocabulary_of(size), LABELS)
    for ids in rows_of(graph)[:-1]:
        expected = exact(ids[None], np.array([len(ids)]))[0]
        np.testing.assert_allclose(logits_in_double(in_double, packed, ids), expected, atol=1e-10, rtol=1e-10)


class LabelTable(nn.Module):
    """The last state compared with a table of labels: a small matrix that is read as it is."""

    def __init__(self, kind: type[nn.RNNBase], reads_table: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 64)
        self.layer = kind(64, 32, batch_first=True, bidirectional=reads_table == "both")
        size = 64 if reads_table == "both" else 32
        self.table = nn.Parameter(torch.randn(40, size))
        self.fc = nn.Linear(40, 4)
        self.reads_table = reads_table

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        if self.reads_table == "before":
            # An operation that cannot stay in place, before the layer.
            x = x + torch.softmax(x[:, :, :32] @ self.table.T, 2) @ self.table.repeat(1, 2)
        h = self.layer(x)[0][:, -1]
        if self.reads_table == "before":
            return self.fc(torch.cat([h, h[:, :8]], 1))
        return self.fc(torch.softmax((self.table @ h.T).T, 1))


# In the fast suite, the vectors of int8 are answered in place.
@pytest.mark.slow
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("reads_table", ["after", "before", "both"])
def test_opened_in_place_small_weights_answer_the_same_whatever_else_reads_them(
    kind: type[nn.RNNBase], reads_table: str
) -> None:
    # Where one small matrix cannot stay in place none does, and the blocks of every layer are sized by that.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        content, graph = graph_of(LabelTable(kind, reads_table), vocabulary_of(50), LABELS)
    for storage in ("float16", "int8"):
        small = quantize_graph(content, Storage(storage, storage), {}).content
        packed = packed_graph(small, graph, vocabulary_of(50), LABELS)
        engines = [Packed(packed), Packed(packed, in_place=True), Packed(packed, 1 << 16, in_place=True)]
        for length in (1, 3, 4, 5, 15, 16, 17, 21, 64, 200):
            ids = np.random.default_rng(length).integers(2, 50, length)
            alone, in_place, with_products = (logits_of(engine, ids) for engine in engines)
            np.testing.assert_allclose(in_place, alone, atol=2e-6, rtol=1e-6)
            np.testing.assert_allclose(with_products, alone, atol=2e-6, rtol=1e-6)
        texts = [" ".join(f"w{i}" for i in range(length)) for length in (21, 5, 40, 17)]
        together = np.empty((3, len(texts), len(LABELS)), np.float32)
        for engine, rows in zip(engines, together, strict=True):
            engine.logits_of_texts(texts, rows, np.empty(len(texts), np.uint8))
        np.testing.assert_allclose(together[1:], together[:1].repeat(2, 0), atol=2e-6, rtol=1e-6)


def _asked(operator: str, opset: int, kind: int = TensorProto.FLOAT, **attributes: object) -> tuple[bytes, Graph]:
    """A graph for one text with an operator on what was looked up for it, as numbers of a type."""
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["looked up"]),
        helper.make_node("Cast", ["looked up"], ["given"], to=kind),
        helper.make_node(operator, ["given"] * (2 if operator in TWICE else 1), ["made"], name="odd", **attributes),
        helper.make_node("Cast", ["made"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "factors"], ["logits"]),
    ]
    table = np.abs(np.random.default_rng(0).normal(size=(50, 8))).astype(np.float32)
    tensors = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.ones((1, 4), np.float32), "factors")]
    graph = helper.make_graph(
        nodes,
        "odd",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, "length"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    entry = Graph(
        file="m.onnx", sha256="0" * 64, opset=opset, inputs=("tokens",), padding=False, embedding_rows=50, batch=1
    )
    return model.SerializeToString(), entry


TWICE = ("BitShift", "Add", "Mul")
ODD = [
    ("BitShift", 17, TensorProto.UINT8, {"direction": "LEFT"}),
    ("BitShift", 17, TensorProto.UINT64, {"direction": "RIGHT"}),
    ("Abs", 17, TensorProto.UINT32, {}),
    ("Add", 17, TensorProto.UINT64, {}),
    # They wrap at 8 and 16 bits.
    ("Add", 17, TensorProto.UINT8, {}),
    ("Mul", 17, TensorProto.INT16, {}),
    ("ReduceSum", 17, TensorProto.FLOAT, {"keepdims": 7}),
    ("Elu", 17, TensorProto.FLOAT, {"alpha": float("nan")}),
    ("Softmax", 17, TensorProto.FLOAT, {"axis": 1 << 40}),
    ("NonZero", 17, TensorProto.FLOAT, {}),
]


@pytest.mark.parametrize(("operator", "opset", "kind", "attributes"), ODD, ids=lambda value: str(value))
def test_an_odd_operator_is_refused_by_its_name_and_place(
    operator: str, opset: int, kind: int, attributes: dict[str, object]
) -> None:
    with pytest.raises(ExportError) as raised:
        translate_graph_into_program(*_asked(operator, opset, kind, **attributes))
    # The Cast before it makes numbers that the engine does not have, or onnxruntime has no such operator.
    refused = re.search("The operator (.*) cannot be packed, at |cannot be run", str(raised.value))
    assert refused is not None
    assert kind != TensorProto.FLOAT or refused[1] in (operator, None)


def test_bounds_that_are_attributes_are_those_of_old_operators() -> None:
    content, graph = _asked("Clip", 9, min=0.5, max=0.75)
    assert_engine_answers_as_onnxruntime(content, graph, vocabulary_of(50))
