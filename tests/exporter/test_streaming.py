"""Step graphs: what they answer after any part of a text, and who gets one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import user_modules
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling import examples

from pocketrnn import Classifier, verify
from pocketrnn.bundle import manifest
from pocketrnn.commands.cli import main
from pocketrnn.errors import ExportError, ParityError
from pocketrnn.text import TextRules
from pocketrnn_export import export
from pocketrnn_export.compression import compress
from pocketrnn_export.forms import step
from pocketrnn_training import checkpoint
from pocketrnn_training.architecture import Architecture, RecurrentClassifier

WORDS = 60
VOCABULARY = ["<unk>", "<pad>", *(f"w{i}" for i in range(WORDS - 2))]
LABELS = ("World", "Sports", "Business", "Sci/Tech")
RULES = TextRules(unknown_id=0, empty_id=0, padding_id=1)
# Texts are compared with their prefixes here; what a proof finds is tested in test_exact_proof.py.
pytestmark = pytest.mark.usefixtures("short_proofs")


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
    """Both kinds of state, one and two layers, with lengths and without; the last one compressed."""
    folder = tmp_path_factory.mktemp("streaming")
    made = [
        exported(classifier_of("lstm", 2, "max"), folder / "lstm"),
        exported(classifier_of("gru", 1, "mean", packed=False), folder / "gru"),
    ]
    compress(made[0], folder / "small")
    return [*made, folder / "small"]


@pytest.fixture(scope="module")
def classifiers(bundles: list[Path]) -> list[Classifier]:
    return [Classifier.load(bundle) for bundle in bundles]


@settings(deadline=None, max_examples=examples(30, 1000))
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
        comparisons = manifest.read(bundle).parity.comparisons
        compared = {(c.candidate, c.inputs): c.largest_difference for c in comparisons if "st" in c.candidate}
        for inputs in ("shapes", "drawn shapes", "texts"):
            assert compared["step graph, 1 token each", inputs] <= 1e-5
        assert compared["runtime, as a stream", "texts"] <= 1e-5
        assert verify(bundle).replays[-1].how == "each as a stream"


def test_a_compressed_bundles_step_graph_is_smaller_too(bundles: list[Path]) -> None:
    original, small = ((bundle / "model.step.onnx").stat().st_size for bundle in (bundles[0], bundles[-1]))
    assert small < original


def test_a_step_graph_that_answers_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = step._Step.forward

    def forgets_its_state(self: Any, tokens: torch.Tensor, state: torch.Tensor) -> Any:
        return whole(self, tokens, state * 0.5)

    monkeypatch.setattr(step._Step, "forward", forgets_its_state)
    with pytest.raises(ParityError, match="step graph"):
        exported(classifier_of("gru", 1, "last"), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "rules", "reason"),
    [
        (lambda: classifier_of("gru", 1, "max", both=True), RULES, "reads from both ends"),
        (lambda: classifier_of("gru", 1, "max"), TextRules(ngrams=2, padding_id=1), "in the middle"),
        (user_modules.PackedLastState, RULES, "A PackedLastState cannot be exported for streaming"),
    ],
)
def test_who_cannot_stream_is_told_why(module: Any, rules: TextRules, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=reason):
        exported(module(), tmp_path / "b", rules=rules)
    assert list(tmp_path.iterdir()) == []


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
