"""Step graphs: what they answer after any part of a text, and who gets one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import user_modules
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_case_sampling import SLOW_TOO, examples, mostly_slow

from pocketrnn import Classifier, verify
from pocketrnn.bundle import manifest
from pocketrnn.commands.cli import main
from pocketrnn.errors import ExportError, ParityError
from pocketrnn.text import TextRules
from pocketrnn_export import export
from pocketrnn_export.comparing.module_and_graph_as_functions import open_session
from pocketrnn_export.compression import compress
from pocketrnn_export.forms import step_graph_that_continues_from_state
from pocketrnn_export.forms.onnx.onnx_form import trace_onnx_graph
from pocketrnn_export.forms.step_graph_conversion import convert_to_step_graph
from pocketrnn_export.forms.weight_quantization import Storage
from pocketrnn_training.classifiers import checkpoint
from pocketrnn_training.classifiers.architecture import Architecture
from pocketrnn_training.classifiers.recurrent_classifiers import RecurrentClassifier

WORDS = 60
VOCABULARY = ["<unk>", "<pad>", *(f"w{i}" for i in range(WORDS - 2))]
LABELS = ("World", "Sports", "Business", "Sci/Tech")
RULES = TextRules(unknown_id=0, empty_id=0, padding_id=1)
# Texts are compared with their prefixes here; what a proof finds is tested in test_exact_proof.py.
pytestmark = pytest.mark.usefixtures("scant_proofs")


def classifier_of(
    cell: str, layers: int, pooling: str, *, packed: bool = True, both: bool = False
) -> RecurrentClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = RecurrentClassifier(Architecture(cell, WORDS, 8, 6, layers, both, 0.2, pooling, packed, len(LABELS), 1))
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
    return made


def exported(module: torch.nn.Module, path: Path, **more: Any) -> Path:
    described: dict[str, Any] = {"labels": LABELS, "vocabulary": VOCABULARY, "rules": RULES, "torchscript": False}
    if isinstance(module, RecurrentClassifier):
        described["lengths"] = module.architecture.packed
    export(module, path, **{**described, "streaming": True, **more})
    return path


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A state of two parts; the same compressed, in one step, which is proven once; and, where slow tests run too, of
    two layers, without lengths and with them, and a GRU that pads. With lengths, an export takes twice as long."""
    folder = tmp_path_factory.mktemp("streaming")
    layers = 2 if SLOW_TOO in os.environ else 1
    made = [exported(classifier_of("lstm", layers, "max", packed=False), folder / "lstm")]
    if SLOW_TOO in os.environ:
        made.append(exported(classifier_of("lstm", 2, "max"), folder / "packed"))
        made.append(exported(classifier_of("gru", 1, "mean", packed=False), folder / "gru"))
    compress(made[0], folder / "small", storage=Storage(weights="float32"))
    return [*made, folder / "small"]


@pytest.fixture(scope="module")
def classifiers(bundles: list[Path]) -> list[Classifier]:
    return [Classifier.load(bundle) for bundle in bundles]


@pytest.mark.slow
@settings(deadline=None, max_examples=examples(10, 1000))
@given(st.data())
def test_a_text_in_chunks_is_answered_as_its_prefixes(classifiers: list[Classifier], data: st.DataObject) -> None:
    classifier = data.draw(st.sampled_from(classifiers))
    chunks = data.draw(st.lists(st.sampled_from([*VOCABULARY[2:], " ", ". ", "w", "1", "unheard "]), max_size=30))
    stream, so_far = classifier.stream(), ""
    for chunk in chunks:
        so_far += chunk
        np.testing.assert_allclose(stream.logits(chunk), classifier.logits([so_far])[0], atol=1e-5)


def test_the_proof_covers_the_step_graph_and_verify_replays_it(bundles: list[Path]) -> None:
    for bundle in bundles:
        comparisons = manifest.read_manifest(bundle).parity.comparisons
        compared = {(c.candidate, c.inputs): c.largest_difference for c in comparisons if "st" in c.candidate}
        for inputs in ("shapes", "drawn shapes", "texts"):
            assert compared["step graph, 1 token each", inputs] <= 1e-5
        assert compared["runtime, as a stream", "texts"] <= 1e-5
        assert verify(bundle).replays[-1].how == "each as a stream"


@pytest.mark.slow
@pytest.mark.parametrize("cell", mostly_slow(["gru", "qrnn"], 2))
def test_a_graph_with_lengths_is_made_into_a_step_graph_that_answers_as_its_module(cell: str) -> None:
    module = classifier_of(cell, 1, "max").eval()
    example = (torch.ones(2, 5, dtype=torch.int64), torch.tensor([5, 3]))
    content, size = convert_to_step_graph(trace_onnx_graph(module, example, {}).content)
    session, state, tokens = open_session(content), np.zeros((3, size), np.float32), torch.randint(2, WORDS, (3, 7))
    for start, end in ((0, 1), (1, 4), (4, 7)):
        given, state = session.run(None, {"tokens": tokens[:, start:end].numpy(), "state": state})
        with torch.no_grad():
            expected = module(tokens[:, :end], torch.full((3,), end)).numpy()
        np.testing.assert_allclose(given, expected, atol=1e-6)


class _StepBeforeLast(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn = torch.nn.Embedding(WORDS, 4), torch.nn.GRU(4, 4, batch_first=True)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.rnn(self.embedding(tokens))[0]
        return outputs[:, -2]


class _ProductsOfStates(torch.nn.Module):
    """Each state beside those of all other words, the later ones too."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn = torch.nn.Embedding(WORDS, 4), torch.nn.GRU(4, 4, batch_first=True)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.rnn(self.embedding(tokens))[0]
        return (states + torch.tanh(states @ states.transpose(1, 2)) @ states)[:, -1]


class _MeanOfWords(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(WORDS, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        words: torch.Tensor = self.embedding(tokens)
        return words.mean(dim=1)


@pytest.mark.parametrize(
    ("module", "named"),
    [
        pytest.param(classifier_of("gru", 1, "max", packed=False, both=True), "both ends", marks=pytest.mark.slow),
        pytest.param(_StepBeforeLast(), "cannot continue", marks=pytest.mark.slow),
        pytest.param(user_modules.EncoderStates(), "from zeros", marks=pytest.mark.slow),
        pytest.param(_ProductsOfStates(), r"MatMul \w+ cannot continue", marks=pytest.mark.slow),
        (_MeanOfWords(), "no recurrent layer"),
    ],
    ids=["bidirectional", "the step before the last", "another layer's state", "products", "no recurrent layer"],
)
def test_a_graph_that_cannot_go_on_from_a_state_is_refused(module: torch.nn.Module, named: str) -> None:
    example = (torch.ones(2, 5, dtype=torch.int64),)
    with pytest.raises(ExportError, match=named):
        convert_to_step_graph(trace_onnx_graph(module.eval(), example, {}).content)


def test_a_graph_that_reads_from_both_ends_is_refused(bundles: list[Path]) -> None:
    model = onnx.load(bundles[0] / "model.onnx")
    layer = next(node for node in model.graph.node if node.op_type == "LSTM")
    layer.attribute.append(onnx.helper.make_attribute("direction", "bidirectional"))
    with pytest.raises(ExportError, match="both ends"):
        convert_to_step_graph(model.SerializeToString())


def test_a_compressed_bundles_step_graph_is_smaller_too(bundles: list[Path]) -> None:
    original, small = ((bundle / "model.step.onnx").stat().st_size for bundle in (bundles[0], bundles[-1]))
    assert small < original


@pytest.mark.slow
def test_a_step_graph_that_answers_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgets_its_state(content: bytes, *, most: int | None = None) -> tuple[bytes, int]:
        content, size = convert_to_step_graph(content, most=most)
        model = onnx.load_from_string(content)
        half = onnx.helper.make_tensor("half", onnx.TensorProto.FLOAT, [1], [0.5])
        model.graph.initializer.append(half)
        (split,) = (node for node in model.graph.node if "state" in node.input)
        split.input[0] = "halved"
        model.graph.node.insert(0, onnx.helper.make_node("Mul", ["state", "half"], ["halved"]))
        return model.SerializeToString(), size

    monkeypatch.setattr(step_graph_that_continues_from_state, "convert_to_step_graph", forgets_its_state)
    with pytest.raises(ParityError, match="step graph"):
        exported(classifier_of("gru", 1, "last"), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "rules", "reason"),
    [
        (lambda: classifier_of("gru", 1, "max", both=True), RULES, "from both ends"),
        (lambda: classifier_of("gru", 1, "max"), TextRules(ngrams=2, padding_id=1), "in the middle"),
        pytest.param(user_modules.AttentionFromTokens, RULES, "cannot continue", marks=pytest.mark.slow),
        pytest.param(user_modules.ConvolutionFirst, RULES, "several words", marks=pytest.mark.slow),
        pytest.param(user_modules.MeanOverPadding, RULES, "step graph", marks=pytest.mark.slow),
        pytest.param(lambda: ReadsTheEnd(WORDS), RULES, "cannot continue", marks=pytest.mark.slow),
    ],
)
def test_who_cannot_stream_is_told_why(module: Any, rules: TextRules, reason: str, tmp_path: Path) -> None:
    with pytest.raises((ExportError, ParityError), match=reason):
        exported(module(), tmp_path / "b", rules=rules)
    assert list(tmp_path.iterdir()) == []


class Windowed(torch.nn.Module):
    """A layer that reads each word with the one before it, of somebody else."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.embedding, self.norm = torch.nn.Embedding(words, 8), torch.nn.LayerNorm(8)
        self.rnn, self.fc = torch.nn.GRU(16, 6, batch_first=True), torch.nn.Linear(6, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        steps = torch.relu(self.norm(self.embedding(tokens)))
        before = torch.nn.functional.pad(steps, (0, 0, 1, 0))[:, :-1]
        logits: torch.Tensor = self.fc(self.rnn(torch.cat([steps, before], 2))[0].amax(1))
        return logits


class ReadsTheEnd(Windowed):
    """It reads the last 20 words of a long text: those that come later move them."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return super().forward(tokens[:, -20:])


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: Windowed(WORDS),
        user_modules.PackedLastState,
        user_modules.ZerosByHand,
        user_modules.GathersLast,
        user_modules.IndexesLast,
    ],
)
def test_a_module_of_somebody_else_answers_while_a_text_arrives(make: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier = Classifier.load(exported(make(), tmp_path / "b"))
    stream, so_far = classifier.stream(), ""
    for chunk in ("w1 ", "w2 w3 w", "4 unheard ", "w1 " * 30, "w7"):
        so_far += chunk
        np.testing.assert_allclose(stream.logits(chunk), classifier.logits([so_far])[0], atol=1e-5)


@pytest.mark.slow
def test_the_command_exports_checkpoints_for_streaming(tmp_path: Path) -> None:
    for both in (False, True):
        module = classifier_of("gru", 1, "max", both=both).eval()
        made = checkpoint.Checkpoint(
            "news", module.architecture, RULES, LABELS, tuple(VOCABULARY), module, {}, {}, ("w1 w2",), {}
        )
        checkpoint.write(made, tmp_path / "checkpoint", force=True)
        line = [
            "export",
            "--streaming",
            "--no-torchscript",
            str(tmp_path / "checkpoint"),
            "-o",
            str(tmp_path / f"b{both}"),
        ]
        result = CliRunner().invoke(main, line)
        assert result.exit_code == int(both), result.output
    assert "both ends" in result.output
    result = CliRunner().invoke(main, ["inspect", str(tmp_path / "bFalse")])
    assert "model.step.onnx" in result.output
    assert "a state of 13 numbers" in result.output
