"""`embed` returns the input of the last linear layer for every text."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import bundle_maker
import numpy as np
import onnx
import pytest
from onnx import helper

from pocketrnn import Classifier
from pocketrnn.bundle.manifest import Limits
from pocketrnn.engines.text_embedding_output import add_graph_output, find_last_layer_input
from pocketrnn.errors import InputError, LimitError, TextError
from pocketrnn.text import TextRules

TEXTS = ["oil prices", "the team wins the cup game !", "", "NASA's space probe", "oil"]


def last_layer(bundle: Path, embeddings: np.ndarray) -> np.ndarray:
    """The last linear layer of a bundle, [texts, features] -> [texts, labels]."""
    graph = onnx.load(bundle / "model.onnx").graph
    linear, bias = (
        next(onnx.numpy_helper.to_array(one) for one in graph.initializer if one.name == name)
        for name in ("linear", "bias")
    )
    return embeddings @ (linear if len(linear) == embeddings.shape[1] else linear.T) + bias  # type: ignore[no-any-return]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_last_layer_makes_the_logits_of_them(padded: Path, threads: int) -> None:
    classifier = Classifier.load(padded, threads=threads)
    many = TEXTS * 300
    embeddings = classifier.embed(many)
    assert (embeddings.dtype, len(embeddings)) == (np.float32, len(many))
    np.testing.assert_allclose(last_layer(padded, embeddings), classifier.logits(many), atol=1e-5)
    alone = np.concatenate([classifier.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, embeddings[: len(TEXTS)], atol=1e-6)
    tokens = [text.split() for text in ("oil prices", "the team")]
    np.testing.assert_array_equal(classifier.embed(tokens), classifier.embed([" ".join(one) for one in tokens]))


def test_no_text_has_no_numbers(padded: Path) -> None:
    assert Classifier.load(padded).embed([]).shape == (0, 0)


def test_what_is_no_text_or_beyond_the_limits_is_refused_or_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = bundle_maker.make(
        tmp_path / "bundle", limits=Limits(min_tokens=2, max_tokens=9), texts=("the oil",),
        rules=TextRules(tokenizer="whitespace"),
    )  # fmt: skip
    classifier = Classifier.load(bundle)
    with pytest.raises(LimitError, match="position 1"):
        classifier.embed(["the oil", "oil"])
    with pytest.raises(TextError):
        classifier.embed(["the oil", None])  # type: ignore[list-item]
    with caplog.at_level(logging.WARNING, "pocketrnn"):
        found = classifier.embed(["oil", "the oil", None], on_error="skip")  # type: ignore[list-item]
    (record,) = caplog.records
    assert re.search(r"\bsmall .*\b2 items .*tokens$", record.message)
    assert np.isnan(found).all(1).tolist() == [True, False, True]
    np.testing.assert_array_equal(found[1:2], classifier.embed(["the oil"]))
    assert classifier.embed(["oil"], on_error="skip").shape == (1, 0)


def model(*nodes: onnx.NodeProto, constants: Sequence[str] = ("w", "b", "t")) -> bytes:
    initializers = [helper.make_tensor(name, onnx.TensorProto.FLOAT, [1], [1.0]) for name in constants]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [None, 3])],
        initializers,
    )  # fmt: skip
    return helper.make_model(graph).SerializeToString()  # type: ignore[no-any-return]


node = helper.make_node


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Tanh", ["x"], ["h"]), node("Gemm", ["h", "w", "b"], ["logits"])],
        [node("Tanh", ["x"], ["h"]), node("MatMul", ["h", "w"], ["m"]), node("Add", ["b", "m"], ["logits"])],
        [node("Tanh", ["x"], ["h"]), node("Gemm", ["h", "w", "b"], ["l"]), node("Div", ["l", "t"], ["s"]),
         node("LogSoftmax", ["s"], ["logits"])],
        [node("Cast", ["w"], ["v"], to=1), node("Tanh", ["x"], ["h"]), node("MatMul", ["h", "v"], ["logits"])],
    ],
)  # fmt: skip
def test_the_layer_is_found_behind_what_is_done_to_its_answer(nodes: list[onnx.NodeProto]) -> None:
    content = model(*nodes)
    assert find_last_layer_input(content, Path("model.onnx")) == "h"
    # The added output is one of the graph for every reader of protobuf.
    assert [one.name for one in onnx.ModelProto.FromString(add_graph_output(content, "h")).graph.output] == [
        "logits",
        "h",
    ]


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Tanh", ["x"], ["logits"])],
        [node("MatMul", ["x", "x"], ["logits"])],
        [node("Gemm", ["w", "x", "b"], ["logits"])],
        [node("MatMul", ["x", "w"], ["a"]), node("MatMul", ["x", "t"], ["c"]), node("Add", ["a", "c"], ["logits"])],
    ],
)
def test_without_a_last_layer_that_is_said(nodes: list[onnx.NodeProto]) -> None:
    with pytest.raises(InputError, match=r"model\.onnx .*cannot give embeddings"):
        find_last_layer_input(model(*nodes), Path("model.onnx"))


VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.mark.parametrize(
    "bundle", sorted(path.parent for path in VECTORS.glob("*/classifier.json")), ids=lambda path: path.name
)
def test_a_packed_file_gives_the_numbers_of_its_bundle(
    bundle: Path, tmp_path: Path, packed_bundle: Callable[[Path], bytes]
) -> None:
    (tmp_path / "c.prnn").write_bytes(packed_bundle(bundle))
    whole, packed = Classifier.load(bundle), Classifier.load(tmp_path / "c.prnn", threads=2)
    texts = [example.text for example in whole.manifest.examples] * 9
    try:
        expected = whole.embed(texts)
    except InputError:
        with pytest.raises(InputError, match="cannot give embeddings"):
            packed.embed(texts)
        return
    found = packed.embed(texts)
    assert (found.dtype, found.shape) == (np.float32, expected.shape)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_packed_file_without_a_last_layer_says_so(tmp_path: Path, packed_bundle: Callable[[Path], bytes]) -> None:
    def change(proto: onnx.ModelProto) -> None:
        """Logits that are added up of two: the linear layer's, and their own tangent."""
        (last,) = (node for node in proto.graph.node if "logits" in node.output)
        last.output[0] = "linear_logits"
        proto.graph.node.append(helper.make_node("Tanh", ["linear_logits"], ["bent"]))
        proto.graph.node.append(helper.make_node("Add", ["linear_logits", "bent"], ["logits"]))

    bundle = bundle_maker.make(tmp_path / "bundle", change_graph=change, stream=False)
    (tmp_path / "c.prnn").write_bytes(packed_bundle(bundle))
    for classifier in (Classifier.load(bundle), Classifier.load(tmp_path / "c.prnn")):
        with pytest.raises(InputError, match="cannot give embeddings"):
            classifier.embed(["oil"])
