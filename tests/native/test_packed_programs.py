"""Programs of modules as people write them: the engine gives the logits of onnxruntime, or the module is refused."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import test_all_configurations as family
import torch
import user_modules
from packing_tools import graph_of, logits_of, packed_graph
from sampling import mostly_slow
from torch import nn

from pocketrnn.errors import ExportError
from pocketrnn.manifest import Graph
from pocketrnn_export.forms.packed import program_of
from pocketrnn_export.proof.float64_graph import float64_run_of_onnx
from pocketrnn_native import Packed

LABELS = ("a", "b", "c", "d")
LENGTHS = (1, 2, 3, 4, 5, 8, 17, 33, 64, 257)
SOURCE = Path(__file__).parents[2] / "runtime" / "native" / "src"
# What the engine does not take: a cut at a length, and positions that are sines of a table made anew for each length.
REFUSED = {user_modules.BranchesOnValues: "Slice", user_modules.EmbeddingOfCharactersAndPositions: "Add"}
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


def check_packed(content: bytes, graph: Graph, vocabulary: tuple[str, ...]) -> None:
    engine = Packed(packed_graph(content, graph, vocabulary, LABELS))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    texts = [" ".join(vocabulary[i] for i in ids if i > 1) for ids in rows_of(graph)]
    together, statuses = np.empty((len(texts), len(LABELS)), np.float32), np.empty(len(texts), np.uint8)
    engine.logits_of_texts(texts, together, statuses)
    # Where several texts are read at a time, sums may be rounded in another place.
    np.testing.assert_allclose(together, [engine.logits(text) for text in texts], atol=1e-6, rtol=1e-6)
    assert not statuses.any()
    for ids in rows_of(graph):
        feed = {"tokens": ids[None], "lengths": np.array([len(ids)])}
        expected = session.run(["logits"], {name: feed[name] for name in graph.inputs})[0][0]
        np.testing.assert_allclose(logits_of(engine, ids), expected, atol=1e-5, rtol=1e-5)


def test_nearly_all_modules_as_people_write_them_can_be_packed() -> None:
    assert len(PACKED) >= len(user_modules.EXPORTED) * 26 / 29


@pytest.mark.parametrize("kind", mostly_slow(PACKED, 6), ids=lambda kind: kind.__name__)
def test_a_packed_module_answers_as_onnxruntime_does(kind: type[nn.Module]) -> None:
    vocabulary = vocabulary_of(user_modules.WORDS)
    content, graph = graph_of(made(kind), vocabulary, LABELS)
    check_packed(content, graph, vocabulary)


@pytest.mark.parametrize("configuration", mostly_slow(family.CONFIGURATIONS, 12), ids=family.named)
def test_every_configuration_is_packed(configuration: tuple[str, int, bool, bool, str]) -> None:
    content, graph = graph_of(family.classifier(*configuration), tuple(family.VOCABULARY), LABELS)
    check_packed(content, graph, tuple(family.VOCABULARY))


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_what_the_engine_cannot_do_is_refused_by_the_operators_name_and_place(kind: type[nn.Module]) -> None:
    content, graph = graph_of(made(kind), vocabulary_of(user_modules.WORDS), LABELS)
    with pytest.raises(ExportError, match=f"The operator {REFUSED[kind]} cannot be packed, at "):
        program_of(content, graph)


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
        parts = [many.amax(2), many.mean(2), torch.log_softmax(many, 1).sum(2), mixed, many.norm(dim=2)]
        return self.fc(torch.cat(parts, dim=1))


def test_operations_on_numbers_axes_and_planes_answer_as_onnxruntime_does() -> None:
    vocabulary = vocabulary_of(50)
    content, graph = graph_of(made(_Numbers), vocabulary, LABELS)
    check_packed(content, graph, vocabulary)


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


@pytest.mark.parametrize("kind", mostly_slow(IN_DOUBLE, 6), ids=lambda kind: kind.__name__)
def test_in_double_precision_a_packed_module_agrees_to_1e_10(kind: type[nn.Module], in_double: ctypes.CDLL) -> None:
    size = 50 if kind is _Numbers else user_modules.WORDS
    content, graph = graph_of(made(kind), vocabulary_of(size), LABELS)
    exact = float64_run_of_onnx(content)
    packed = packed_graph(content, graph, vocabulary_of(size), LABELS)
    for ids in rows_of(graph)[:-1]:
        expected = exact(ids[None], np.array([len(ids)]))[0]
        np.testing.assert_allclose(logits_in_double(in_double, packed, ids), expected, atol=1e-10, rtol=1e-10)
