"""Small real bundles, made with numpy and onnx alone: the tests of the runtime need no PyTorch.

The golden logits come from the LSTM written out in numpy below, not from onnxruntime: a test that compares with
them can fail.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pocketrnn.bundle.manifest import (
    Comparison,
    Example,
    Graph,
    Limits,
    Manifest,
    Parity,
    StepGraph,
    TorchScript,
    encode_manifest,
    make_input_digest_metadata,
)
from pocketrnn.bundle.output_kinds import LabelOutput, TagOutput, build_output
from pocketrnn.text import TextRules
from pocketrnn.text.features_beside_text import FEATURE_INPUTS, Features, separate_features_from_ids
from pocketrnn.text.pairs import PAIR_INPUTS
from pocketrnn.text.text_input import FeatureInput, PairInput, TextInput

Floats = NDArray[np.float32]

LABELS = ("World", "Sports", "Business", "Sci/Tech")
WORDS = (
    "<unk>", "the", "wall", "st", ".", "bears", "claw", "back", "into", "black", "(", ")", "'", "s", ",", "!", "?",
    "oil", "prices", "team", "wins", "game", "cup", "space", "nasa", "probe", "software", "war", "peace", "talks",
)  # fmt: skip
TEXTS = (
    "Wall St. Bears Claw Back Into the Black",
    "NASA's space probe",
    "The team wins the cup game!",
    "war, peace (talks) and something else altogether?",
    "",
    "oil",
)
TORCHSCRIPT_BYTES = b"stands for a TorchScript file, which the runtime never opens"


@dataclass(frozen=True)
class Weights:
    """An embedding, one LSTM layer with the gates in ONNX's order (i, o, f, c), and a linear layer."""

    embedding: Floats
    w: Floats
    r: Floats
    b: Floats
    linear: Floats
    bias: Floats

    @property
    def hidden(self) -> int:
        return self.r.shape[2]


def weights(rows: int, *, embedding: int = 5, hidden: int = 4, classes: int = 4, seed: int = 0) -> Weights:
    random = np.random.default_rng(seed)

    def some(*shape: int) -> Floats:
        return random.normal(0, 0.7, shape).astype(np.float32)

    return Weights(
        some(rows, embedding),
        some(1, 4 * hidden, embedding),
        some(1, 4 * hidden, hidden),
        some(1, 8 * hidden),
        some(hidden, classes),
        some(classes),
    )


def reference_logits(model: Weights, ids: Sequence[int]) -> Floats:
    """One text's logits in float64, from the equations of the ONNX operator LSTM; shape [classes]."""
    w, r = model.w[0].astype(np.float64), model.r[0].astype(np.float64)
    bias = model.b[0, : 4 * model.hidden].astype(np.float64) + model.b[0, 4 * model.hidden :]
    h = c = np.zeros(model.hidden)
    for i in ids:
        gates = w @ model.embedding[i] + r @ h + bias
        sigmoid = 1 / (1 + np.exp(-gates[: 3 * model.hidden]))
        entry, output, forget = np.split(sigmoid, 3)
        c = forget * c + entry * np.tanh(gates[3 * model.hidden :])
        h = output * np.tanh(c)
    return (h @ model.linear + model.bias).astype(np.float32)


def _constants(model: Weights) -> dict[str, np.ndarray]:
    return {
        "embedding": model.embedding,
        "w": model.w,
        "r": model.r,
        "b": model.b,
        "linear": model.linear,
        "bias": model.bias,
        "axis": np.array([0], np.int64),
    }


def graph(
    model: Weights, *, lengths: bool = True, metadata: dict[str, str] | None = None, of_tokens: bool = False
) -> onnx.ModelProto:
    """The graph of `model`: tokens [batch, sequence] (and lengths [batch]) -> logits [batch, classes]; or those after
    each token, [batch, sequence, classes]."""
    constants = _constants(model)
    nodes = [
        helper.make_node("Gather", ["embedding", "tokens"], ["embedded"]),
        helper.make_node("Transpose", ["embedded"], ["x"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["x", "w", "r", "b", "lens" if lengths else ""], ["", "h"], hidden_size=model.hidden),
        helper.make_node("Squeeze", ["h", "axis"], ["last"]),
        helper.make_node("Gemm", ["last", "linear", "bias"], ["logits"]),
    ]
    if of_tokens:
        constants["axis"] = np.array([1], np.int64)
        nodes[2].output[:] = ["h"]
        nodes[4:] = [
            helper.make_node("Transpose", ["last"], ["each"], perm=[1, 0, 2]),
            helper.make_node("MatMul", ["each", "linear"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["logits"]),
        ]
    inputs = [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", "sequence"])]
    if lengths:
        nodes.insert(0, helper.make_node("Cast", ["lengths"], ["lens"], to=TensorProto.INT32))
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]))
    shape = ["batch", *(["sequence"] if of_tokens else []), model.linear.shape[1]]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)]
    made = helper.make_model(
        helper.make_graph(
            nodes, "classifier", inputs, outputs, [numpy_helper.from_array(v, n) for n, v in constants.items()]
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    helper.set_model_props(made, metadata or {})
    onnx.checker.check_model(made)
    return made


def pair_graph(model: Weights, *, lengths: bool, metadata: dict[str, str]) -> onnx.ModelProto:
    """`model` on two texts: the logits of the first, less twice those of the second."""
    made = graph(model, lengths=lengths, metadata=metadata)
    initializers = {tensor.name for tensor in made.graph.initializer}
    nodes, inputs = list(made.graph.node), list(made.graph.input)
    for node in nodes:
        again = made.graph.node.add()
        again.CopyFrom(node)
        for names in (again.input, again.output):
            names[:] = [name if not name or name in initializers else f"second_{name}" for name in names]
    del made.graph.input[:]
    for value in (inputs[0], inputs[0], *inputs[1:], *inputs[1:]):
        made.graph.input.add().CopyFrom(value)
    for value in made.graph.input[1::2] if lengths else made.graph.input[1:]:
        value.name = f"second_{value.name}"
    made.graph.input[1].type.tensor_type.shape.dim[1].dim_param = "second_sequence"
    nodes[-1].output[0] = "first_logits"
    made.graph.initializer.append(numpy_helper.from_array(np.array(-2, np.float32), "twice"))
    made.graph.node.extend([
        helper.make_node("Mul", ["second_logits", "twice"], ["taken_off"]),
        helper.make_node("Add", ["first_logits", "taken_off"], ["logits"]),
    ])  # fmt: skip
    onnx.checker.check_model(made)
    return made


def pair_logits(model: Weights, ids: Sequence[int]) -> Floats:
    """The logits of two texts, whose ids have a mark between."""
    mark = next(i for i, token in enumerate(ids) if token < 0)
    found: Floats = reference_logits(model, ids[:mark]) - 2 * reference_logits(model, ids[mark + 1 :])
    return found


def step_graph(model: Weights, metadata: dict[str, str]) -> onnx.ModelProto:
    """`model` reading on: tokens [batch, sequence] and state [batch, 2 * hidden] -> logits and new_state."""
    size = model.hidden
    constants = _constants(model) | {"sizes": np.array([size, size], np.int64)}
    nodes = [
        helper.make_node("Split", ["state", "sizes"], ["h", "c"], axis=1),
        helper.make_node("Unsqueeze", ["h", "axis"], ["h0"]),
        helper.make_node("Unsqueeze", ["c", "axis"], ["c0"]),
        helper.make_node("Gather", ["embedding", "tokens"], ["embedded"]),
        helper.make_node("Transpose", ["embedded"], ["x"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["x", "w", "r", "b", "", "h0", "c0"], ["", "h1", "c1"], hidden_size=size),
        helper.make_node("Squeeze", ["h1", "axis"], ["last"]),
        helper.make_node("Squeeze", ["c1", "axis"], ["cell"]),
        helper.make_node("Concat", ["last", "cell"], ["new_state"], axis=1),
        helper.make_node("Gemm", ["last", "linear", "bias"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", "sequence"]),
        helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", 2 * size]),
    ]
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", model.linear.shape[1]]),
        helper.make_tensor_value_info("new_state", TensorProto.FLOAT, ["batch", 2 * size]),
    ]
    initializers = [numpy_helper.from_array(v, n) for n, v in constants.items()]
    made = helper.make_model(
        helper.make_graph(nodes, "steps", inputs, outputs, initializers),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    helper.set_model_props(made, metadata)
    onnx.checker.check_model(made)
    return made


def _golden(model: Weights, ids: Sequence[int]) -> tuple[float, ...]:
    return tuple(map(float, reference_logits(model, ids)))


def _golden_of_tokens(model: Weights, ids: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    """After each token stands the state that a text has that ends there."""
    return tuple(_golden(model, ids[: i + 1]) for i in range(len(ids)))


def _golden_of_pair(model: Weights, ids: Sequence[int]) -> tuple[float, ...]:
    return tuple(map(float, pair_logits(model, ids)))


def add_features(proto: onnx.ModelProto, features: Features) -> None:
    """Add the products of the features with `feature_weights` to the logits of a graph."""
    graph_, (logits,) = proto.graph, proto.graph.output
    for node in graph_.node:
        node.output[:] = ["of_text" if name == "logits" else name for name in node.output]
    count, classes = len(features), logits.type.tensor_type.shape.dim[1].dim_value
    graph_.input.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", count]))
    graph_.initializer.append(numpy_helper.from_array(feature_weights(count, classes), "feature_weights"))
    graph_.node.append(helper.make_node("MatMul", ["features", "feature_weights"], ["of_features"]))
    graph_.node.append(helper.make_node("Add", ["of_text", "of_features"], ["logits"]))


def feature_weights(count: int, classes: int) -> NDArray[np.float32]:
    """The numbers that features are multiplied by: [features, classes]."""
    return np.random.default_rng(5).normal(size=(count, classes)).astype(np.float32)


def feature_logits(model: Weights, ids: Sequence[int]) -> NDArray[np.float32]:
    """The logits of a text with its features, as the row of ids that an encoder gives."""
    rows = separate_features_from_ids(np.array([ids]), np.array([len(ids)]))
    of_text = np.array(_golden(model, rows.tokens[0].tolist()), np.float32)
    added: NDArray[np.float32] = of_text + rows.features[0] @ feature_weights(rows.features.shape[1], len(of_text))
    return added


def _golden_with_features(model: Weights, ids: Sequence[int]) -> tuple[float, ...]:
    return tuple(map(float, feature_logits(model, ids)))


def make(
    folder: Path,
    *,
    name: str = "small",
    labels: Sequence[str] = LABELS,
    vocabulary: Sequence[str] = WORDS,
    rules: TextRules | None = None,
    lengths: bool = True,
    padding: bool | None = None,
    torchscript: bool = True,
    stream: bool = False,
    of_tokens: bool = False,
    two_texts: bool = False,
    features: Features = (),
    limits: Limits | None = None,
    texts: Sequence[str] | Sequence[tuple[str, Any]] = TEXTS,
    embedding: int = 5,
    hidden: int = 4,
    change_graph: Callable[[onnx.ModelProto], None] | None = None,
    change: Callable[[Manifest], Manifest] | None = None,
) -> Path:
    """Write a bundle whose parts fit, but for what `change_graph` and `change` do before the digests are made."""
    rules = rules or TextRules()
    given = (PairInput if two_texts else TextInput)(rules, tuple(vocabulary))
    given = FeatureInput(rules, tuple(vocabulary), features) if features else given
    model = weights(len(vocabulary), embedding=embedding, hidden=hidden, classes=len(labels))
    metadata = {
        "pocketrnn.name": name,
        "pocketrnn.labels": json.dumps(list(labels)),
        "pocketrnn.version": "1",
        **make_input_digest_metadata(tuple(labels), given),
    }
    if two_texts:
        proto = pair_graph(model, lengths=lengths, metadata=metadata)
    else:
        proto = graph(model, lengths=lengths, metadata=metadata, of_tokens=of_tokens)
    if features:
        add_features(proto, features)
    if change_graph is not None:
        change_graph(proto)
    content = proto.SerializeToString()
    steps = step_graph(model, metadata).SerializeToString()
    encoder: Any = given.encoder()
    encoded: list[tuple[Any, list[int]]] = [(text, encoder.encode(text)) for text in texts]
    golden = (
        _golden_with_features
        if features
        else _golden_of_pair
        if two_texts
        else _golden_of_tokens
        if of_tokens
        else _golden
    )
    manifest = Manifest(
        name=name,
        input=given,
        output=TagOutput(tuple(labels)) if of_tokens else LabelOutput(tuple(labels)),
        graph=Graph(
            file="model.onnx",
            sha256=hashlib.sha256(content).hexdigest(),
            opset=17,
            inputs=FEATURE_INPUTS[lengths]
            if features
            else PAIR_INPUTS[lengths]
            if two_texts
            else ("tokens", "lengths")
            if lengths
            else ("tokens",),
            padding=lengths if padding is None else padding,
            embedding_rows=len(vocabulary),
            limits=limits,
        ),
        torchscript=TorchScript("model.torchscript.pt", hashlib.sha256(TORCHSCRIPT_BYTES).hexdigest())
        if torchscript
        else None,
        stream=StepGraph("model.step.onnx", hashlib.sha256(steps).hexdigest(), 2 * hidden) if stream else None,
        examples=tuple(Example(text, tuple(ids), golden(model, ids)) for text, ids in encoded),
        parity=Parity(1e-5, (Comparison("numpy", "ONNX", "golden examples", 1, max(1, len(texts)), 1e-7, 0),)),
        provenance={"data": {"name": "made up", "licence": "none"}, "versions": {"onnx": onnx.__version__}},
    )
    if change is not None:
        manifest = change(manifest)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(content)
    if stream:
        (folder / "model.step.onnx").write_bytes(steps)
    if torchscript:
        (folder / "model.torchscript.pt").write_bytes(TORCHSCRIPT_BYTES)
    (folder / "classifier.json").write_bytes(encode_manifest(manifest))
    return folder


def bounded(proto: onnx.ModelProto, *, fewest: int, most: int) -> None:
    """Make the graph of `graph` fail on texts of fewer or more tokens, as a convolution and a table of positions do.

    The positions' rows are zeros, and what is made of the token that must be there is multiplied by 0: the logits stay.
    """
    embedding = next(t for t in proto.graph.initializer if t.name == "embedding")
    constants = {
        "positions": np.zeros((most, embedding.dims[1]), np.float32),
        "zero": np.array(0, np.int64),
        "one": np.array(1, np.int64),
        "nothing": np.array(0, np.float32),
        "last_needed": np.array([fewest - 1], np.int64),
    }
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    nodes = [
        helper.make_node("Shape", ["tokens"], ["sizes_of_tokens"]),
        helper.make_node("Gather", ["sizes_of_tokens", "one"], ["width"]),
        helper.make_node("Range", ["zero", "width", "one"], ["range"]),
        helper.make_node("Gather", ["positions", "range"], ["of_positions"]),
        helper.make_node("Gather", ["tokens", "last_needed"], ["needed"], axis=1),
        helper.make_node("Cast", ["needed"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["as_float", "nothing"], ["none"]),
    ]
    for node in reversed(nodes):
        proto.graph.node.insert(0, node)
    at = next(i for i, node in enumerate(proto.graph.node) if "embedded" in node.output)
    proto.graph.node[at].output[0] = "of_words"
    proto.graph.node.insert(at + 1, helper.make_node("Add", ["of_words", "of_positions"], ["embedded"]))
    last = next(node for node in proto.graph.node if "logits" in node.output)
    last.output[0] = "free_logits"
    proto.graph.node.append(helper.make_node("Add", ["free_logits", "none"], ["logits"]))
    onnx.checker.check_model(proto)


def needing_a_real_token(proto: onnx.ModelProto, *, padding_id: int) -> None:
    """Make the graph of `graph` fail on a text of padding only, as a module does that counts the tokens that are none.

    The number that is read at the count, and is missing for a count of 0, is multiplied by 0: the logits stay.
    """
    constants = {
        "padding": np.array(padding_id, np.int64),
        "no_tokens": np.array(0, np.int64),
        "of_a_row": np.array([1], np.int64),
        "counted_on": np.zeros(1, np.float32),
    }
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    nodes = [
        helper.make_node("Equal", ["tokens", "padding"], ["are_padding"]),
        helper.make_node("Not", ["are_padding"], ["are_real"]),
        helper.make_node("Cast", ["are_real"], ["ones"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["ones", "of_a_row"], ["count"], keepdims=1),
        helper.make_node("Equal", ["count", "no_tokens"], ["is_none"]),
        helper.make_node("Cast", ["is_none"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["counted_on", "place"], ["none"]),
    ]
    for node in reversed(nodes):
        proto.graph.node.insert(0, node)
    last = next(node for node in proto.graph.node if "logits" in node.output)
    last.output[0] = "free_logits"
    proto.graph.node.append(helper.make_node("Add", ["free_logits", "none"], ["logits"]))
    onnx.checker.check_model(proto)


def counting(proto: onnx.ModelProto, *, padding: Sequence[int]) -> None:
    """Make the graph of `graph` answer a text by its neighbours, as a module does that counts the tokens that are no
    padding and pools up to the longest of the batch: what a text has less than that is added to its logits.

    A text that holds none of these ids, in a batch of texts of its length, and every text alone, is answered as before.
    """
    constants = {
        "of_padding": np.array(padding, np.int64)[None, None],
        "last_axis": np.array([2], np.int64),
        "of_a_text": np.array([1], np.int64),
    }
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    nodes = [
        helper.make_node("Unsqueeze", ["tokens", "last_axis"], ["each_token"]),
        helper.make_node("Equal", ["each_token", "of_padding"], ["which_padding"]),
        helper.make_node("Cast", ["which_padding"], ["padding_or_0"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["padding_or_0", "last_axis"], ["padding_at"], keepdims=0),
        helper.make_node("ReduceSum", ["padding_at", "of_a_text"], ["short_by"], keepdims=1),
        helper.make_node("ReduceMin", ["short_by"], ["least_short"], keepdims=0),
        helper.make_node("Sub", ["short_by", "least_short"], ["shorter"]),
        helper.make_node("Sin", ["shorter"], ["told"]),
    ]
    for node in reversed(nodes):
        proto.graph.node.insert(0, node)
    last = next(node for node in proto.graph.node if "logits" in node.output)
    last.output[0] = "free_logits"
    # One label gets all of it, so that probabilities move too.
    proto.graph.initializer.append(numpy_helper.from_array(np.float32([[1, 0, 0, 0]]), "to_the_first"))
    proto.graph.node.append(helper.make_node("Mul", ["told", "to_the_first"], ["added"]))
    proto.graph.node.append(helper.make_node("Add", ["free_logits", "added"], ["logits"]))
    onnx.checker.check_model(proto)


def with_graph(manifest: Manifest, **changes: object) -> Manifest:
    """`manifest` with some of its graph's members changed."""
    return replace(manifest, graph=replace(manifest.graph, **changes))  # type: ignore[arg-type]


def with_output(
    manifest: Manifest, activation: str = "softmax", thresholds: tuple[float, ...] | None = None
) -> Manifest:
    """`manifest` with what its logits mean changed."""
    return replace(manifest, output=build_output(manifest.labels, activation, thresholds))
