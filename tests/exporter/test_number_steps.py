"""Sequences of numbers read on from a carried state: what a step is made of, what is refused, and the whole way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import number_modules
import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn import Classifier
from pocketrnn.bundle.manifest import Limits, Manifest, read_manifest
from pocketrnn.errors import BundleError, ExportError, InputError
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn_export import export
from pocketrnn_export.forms.step_graph_conversion import convert_to_step_graph
from pocketrnn_export.numbers.step_graph_of_number_classifier import refuse_rules_that_cannot_stream
from pocketrnn_export.packing import pack

HIDDEN, CHANNELS = 4, 3
GENERATOR = np.random.default_rng(0)
WEIGHTS = {
    "W": GENERATOR.normal(0, 0.5, (1, 3 * HIDDEN, CHANNELS)),
    "R": GENERATOR.normal(0, 0.5, (1, 3 * HIDDEN, HIDDEN)),
    "B": GENERATOR.normal(0, 0.5, (1, 6 * HIDDEN)),
    "w": GENERATOR.normal(0, 0.5, (CHANNELS, CHANNELS)),
    "fc": GENERATOR.normal(0, 0.5, (HIDDEN, 2)),
    "kernel": np.ones((CHANNELS, CHANNELS, 3)),
    "start": np.ones((1, 1, HIDDEN)),
    "zeros": np.zeros((1, 1, HIDDEN)),
}
WHOLE = {"one": np.array([1]), "last": np.array(-1), "first": np.array(0), "zero": np.array([0])}
TO_TIME = ("Transpose", ["samples"], ["x"], {"perm": [1, 0, 2]})
LAYER = ("GRU", ["x", "W", "R", "B"], ["y", "h"], {"hidden_size": HIDDEN, "linear_before_reset": 1})
OUTPUTS = ("Squeeze", ["y", "one"], ["outputs"], {})
LAST = ("Gather", ["outputs", "last"], ["row"], {"axis": 0})
ANSWER = ("MatMul", ["row", "fc"], ["logits"], {})
BEFORE = [
    ("MatMul", ["samples", "w"], ["m"], {}),
    ("Relu", ["m"], ["r"], {}),
    ("Transpose", ["r"], ["x"], {"perm": [1, 0, 2]}),
]
Node = tuple[str, list[str], list[str], dict[str, Any]]


def graph(*nodes: Node) -> bytes:
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in WEIGHTS.items()]
    tensors += [numpy_helper.from_array(value, name) for name, value in WHOLE.items()]
    made = helper.make_graph(
        [helper.make_node(kind, inputs, outputs, **more) for kind, inputs, outputs, more in nodes], "numbers",
        [helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["batch", "time", CHANNELS])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])], tensors,
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def begun_with(state: str) -> Node:
    return ("GRU", ["x", "W", "R", "B", "", state], ["y", "h"], {"hidden_size": HIDDEN, "linear_before_reset": 1})


READ_ON = {
    "the last step": (TO_TIME, LAYER, OUTPUTS, LAST, ANSWER),
    "the last state": (TO_TIME, LAYER, ("Gather", ["h", "first"], ["row"], {"axis": 0}), ANSWER),
    "a layer before": (*BEFORE, LAYER, OUTPUTS, LAST, ANSWER),
    "states of zeros": (TO_TIME, ("Identity", ["zeros"], ["z"], {}), begun_with("z"), OUTPUTS, LAST, ANSWER),
    "the mean": (TO_TIME, LAYER, OUTPUTS, ("Transpose", ["outputs"], ["o"], {"perm": [1, 0, 2]}),
                 ("ReduceMean", ["o", "one"], ["row"], {"keepdims": 0}), ANSWER),
}  # fmt: skip


@pytest.mark.parametrize("name", mostly_slow(READ_ON, 4))
def test_a_graph_read_step_by_step_answers_as_it_does_to_the_whole(name: str) -> None:
    content = graph(*READ_ON[name])
    step, size = convert_to_step_graph(content)
    whole, stepped = (onnxruntime.InferenceSession(file) for file in (content, step))
    samples = np.random.default_rng(1).normal(size=(1, 9, CHANNELS)).astype(np.float32)
    state = np.zeros((1, size), np.float32)
    for end in range(1, 10):
        logits, state = stepped.run(["logits", "new_state"], {"samples": samples[:, end - 1 : end], "state": state})
        np.testing.assert_allclose(logits, whole.run(None, {"samples": samples[:, :end]})[0], atol=1e-6)


BOTH = ("GRU", ["x", "W", "R", "B"], ["y", "h"], {"hidden_size": HIDDEN, "direction": "bidirectional"})
ACROSS = ("Transpose", ["samples"], ["across"], {"perm": [0, 2, 1]})
REFUSED = {
    "reads from both ends": (TO_TIME, BOTH, OUTPUTS, LAST, ANSWER),
    "several steps": (ACROSS, ("Conv", ["across", "kernel"], ["c"], {"pads": [1, 1]}),
                                       ("Transpose", ["c"], ["x"], {"perm": [2, 0, 1]}), LAYER, OUTPUTS, LAST, ANSWER),
    "start from zeros": (TO_TIME, begun_with("start"), OUTPUTS, LAST, ANSWER),
    "Softmax": (TO_TIME, LAYER, OUTPUTS, ("Softmax", ["outputs"], ["s"], {"axis": 0}),
                ("Gather", ["s", "last"], ["row"], {"axis": 0}), ANSWER),
    "Gather": (TO_TIME, LAYER, OUTPUTS, ("Gather", ["outputs", "first"], ["row"], {"axis": 0}), ANSWER),
    "read all steps": (("Identity", ["samples"], ["x"], {}), LAYER, OUTPUTS, LAST, ANSWER),
}  # fmt: skip


@pytest.mark.parametrize("said", mostly_slow(REFUSED, 3))
def test_a_graph_that_cannot_read_on_is_refused_with_the_reason(said: str) -> None:
    with pytest.raises(ExportError, match=said) as error:
        convert_to_step_graph(graph(*REFUSED[said]))
    assert "a recording arrives" in error.value.problem
    assert "stream(window=...)" in error.value.remedy


@pytest.mark.parametrize(
    ("rules", "limits", "said"),
    [
        (NumberInput(("x",), window=8), None, "windows of 8 steps"),
        (NumberInput(("x",), steps=8), None, "has 8 steps"),
        (NumberInput(("x",)), Limits(min_tokens=3), "at least 3 steps"),
    ],
)
def test_rules_of_windows_and_lengths_carry_no_state(rules: NumberInput, limits: Limits | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        refuse_rules_that_cannot_stream(rules, limits)
    refuse_rules_that_cannot_stream(NumberInput(("x",)), Limits(max_tokens=300))


class Gestures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(number_modules.CHANNELS, 6, batch_first=True)
        self.fc = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x)[1][-1])  # type: ignore[no-any-return]


@pytest.mark.slow
def test_an_exported_state_is_carried_in_onnxruntime_and_packed(tmp_path: Path, short_proofs_in_one_test: None) -> None:
    torch.manual_seed(0)
    bundle, path = tmp_path / "gestures", tmp_path / "gestures.prnn"
    made: Any = export(
        Gestures(), bundle, channels=["x", "y", "z"], labels=["rest", "tap"], scale=[2.0] * 3, streaming=True
    )
    lines = [(line.reference, line.candidate, line.inputs) for line in made.parity.comparisons]
    assert ("pytorch", "step graph, 1 step each", "all cases") in lines
    packed: Manifest = pack(bundle, path)  # type: ignore[assignment]
    assert packed.stream is not None
    assert packed.stream.state_size == 6
    lines = [(line.reference, line.candidate, line.inputs) for line in packed.parity.comparisons]
    assert ("onnx on samples", "packed, in place step, 1 step each", "all cases") in lines
    assert ("step graph", "packed step", "sequences") in lines
    recording = np.random.default_rng(2).normal(size=(40, 3))
    for opened in (bundle, path):
        classifier: Any = Classifier.load(opened)
        stream = classifier.stream()
        for end in range(1, 41):
            (window,) = stream.push(recording[end - 1])
            expected = classifier.classify(recording[:end])
            assert window.answer.label == expected.label
            assert window.answer.probability == pytest.approx(expected.probability, abs=1e-5)
    content = (bundle / "model.step.onnx").read_bytes()
    (bundle / "model.step.onnx").write_bytes(content[:-1])
    with pytest.raises(BundleError):
        Classifier.load(bundle).stream()
    assert read_manifest(bundle).stream == made.stream
