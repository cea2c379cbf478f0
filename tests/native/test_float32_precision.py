"""Packed files of modules that compute in other floats than float32, or whole numbers beyond 32 bits: each answer is
the graph's, or there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import packed_precision_modules as zoo
import pytest
import torch
from onnx import TensorProto, helper
from packed_size_modules import LABELS, WORDS, made
from packing_tools import graph_of, packed_graph
from slow_case_sampling import mostly_slow
from torch import nn

import pocketrnn_native
from pocketrnn import Classifier
from pocketrnn.bundle.manifest import Graph, StepGraph
from pocketrnn.engines.native import NativeEngine
from pocketrnn.errors import ExportError, LimitError
from pocketrnn_export.forms.packed_file.graph_to_program import translate_graph_into_program
from pocketrnn_export.forms.packed_file.packed_forms import make_packed_run, make_packed_step_run
from pocketrnn_native._engine import LARGE, EngineError

VOCABULARY = ("<unk>", "<pad>", *(f"w{i}" for i in range(2, WORDS)))


@pytest.mark.parametrize("kind", mostly_slow(zoo.REFUSED, 20, first=16), ids=lambda kind: kind.__name__)
def test_what_the_last_digit_of_other_floats_decides_is_refused(kind: type[nn.Module]) -> None:
    content, graph = graph_of(made(kind), VOCABULARY, LABELS)
    with pytest.raises(ExportError, match=r"at node.*(float16|float32|16,777,216).*in whole numbers.*onnxruntime"):
        translate_graph_into_program(content, graph)


@pytest.mark.slow
def test_a_bound_of_whole_numbers_beyond_32_bits_is_refused() -> None:
    content, graph = graph_of(made(zoo.ClampsFromThreeBillionOn), VOCABULARY, LABELS)
    with pytest.raises(ExportError, match=r"Clip.*2,147,483,647"):
        translate_graph_into_program(content, graph)


@pytest.mark.parametrize("kind", mostly_slow(zoo.PACKED, 9, first=8), ids=lambda kind: kind.__name__)
def test_what_float32_stands_for_answers_as_the_module_does(kind: type[nn.Module], tmp_path: Path) -> None:
    module = made(kind)
    content, graph = graph_of(module, VOCABULARY, LABELS)
    path = tmp_path / "packed.prnn"
    path.write_bytes(packed_graph(content, graph, VOCABULARY, LABELS))
    engine, generator = NativeEngine(path), np.random.default_rng(3)
    for length in (1, 2, 3, 17, 50, 100, 2_047, 2_049):
        ids = generator.integers(0, WORDS, length)
        with torch.no_grad():
            expected = module(torch.from_numpy(ids)[None]).numpy()
        found, refused = engine.logits(ids, np.array([length]))
        assert not refused
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4, err_msg=f"{length} tokens")


# The root of what the words of a text sum up to, as a whole number: 2 for `fair`, and for the others none of 32 bits.
WORTHS = {"<unk>": 0.0, "<pad>": 0.0, "fair": 4.0, "huge": 1e20, "odd": -1.0}


def graph_of_roots(*, is_step: bool) -> bytes:
    worths = np.array([[one, one] for one in WORTHS.values()], np.float32)
    nodes = [
        helper.make_node("Gather", ["worths", "tokens"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "one"], ["own"], keepdims=0),
        *([helper.make_node("Add", ["own", "state"], ["new_state"])] if is_step else []),
        helper.make_node("Sqrt", ["new_state" if is_step else "own"], ["root"]),
        helper.make_node("Cast", ["root"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Cast", ["whole"], ["logits"], to=TensorProto.FLOAT),
    ]
    states = [helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", 2])] if is_step else []
    new = [helper.make_tensor_value_info("new_state", TensorProto.FLOAT, ["batch", 2])] if is_step else []
    graph = helper.make_graph(
        nodes, "roots",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", "sequence"]), *states],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2]), *new],
        [onnx.numpy_helper.from_array(worths, "worths"), onnx.numpy_helper.from_array(np.array([1]), "one")],
    )  # fmt: skip
    content: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10
    ).SerializeToString()
    return content


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    entry = Graph("model.onnx", "0" * 64, 17, ("tokens",), embedding_rows=len(WORTHS), padding=False)
    step = graph_of_roots(is_step=True), StepGraph("step.onnx", "0" * 64, 2)
    path = tmp_path_factory.mktemp("roots") / "roots.prnn"
    path.write_bytes(packed_graph(graph_of_roots(is_step=False), entry, (*WORTHS,), LABELS, step))
    return path


@pytest.mark.parametrize("word", ["huge", "odd"])
def test_a_text_that_leads_to_no_whole_number_of_32_bits_has_no_answer(roots: Path, word: str) -> None:
    classifier = Classifier.load(roots)
    assert classifier.logits(["fair", "fair fair fair fair"]).tolist() == [[2, 2], [4, 4]]
    with pytest.raises(LimitError, match=r"32 bits.*the bundle"):
        classifier.classify(word)
    with pytest.raises(LimitError, match=r"position 1 .*32 bits.*on_error='skip'"):
        classifier.predict(["fair", word])
    assert np.isnan(classifier.logits(["fair", word, "fair"], on_error="skip")[:, 0]).tolist() == [False, True, False]
    with pytest.raises(EngineError) as refused:
        pocketrnn_native.Classifier.load(roots).classify(word)
    assert refused.value.args[0] == LARGE


def test_a_stream_that_leads_to_no_whole_number_of_32_bits_stays_as_it_was(roots: Path) -> None:
    stream, alone = Classifier.load(roots).stream(), pocketrnn_native.Classifier.load(roots).stream()
    stream.push("fair fair fair ")
    alone.push("fair fair fair ")
    with pytest.raises(LimitError, match="32 bits"):
        stream.push("huge ")
    with pytest.raises(EngineError):
        alone.push("huge ")
    assert stream.logits("fair").tolist() == list(alone.logits("fair")) == [4, 4]


def test_a_row_of_the_proof_that_a_packed_file_refuses_is_not_answered(roots: Path) -> None:
    ids, lengths = np.array([[2, 2], [2, 3]]), np.array([2, 2])
    for run in (make_packed_run(roots), make_packed_step_run(roots, chunk_count=None)):
        assert run(ids[:1], lengths[:1]).tolist() == [[2, 2]]
        with pytest.raises(ExportError, match=r"32 bits.*[cC]lamp.*onnxruntime"):
            run(ids, lengths)
