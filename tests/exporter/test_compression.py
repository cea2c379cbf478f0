"""Smaller bundles: the same function with rounded weights, refused where that costs too much."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
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
from slow_case_sampling import examples

import pocketrnn_export.compression
from pocketrnn import Classifier, verify
from pocketrnn.bundle import manifest
from pocketrnn.commands.cli import main
from pocketrnn.errors import CompressionError, InputError, ParityError
from pocketrnn.text import TextRules
from pocketrnn_export import export
from pocketrnn_export.compression import compress
from pocketrnn_export.forms.weight_quantization import QuantizedGraphs, Storage, quantize_graph
from pocketrnn_training.classifiers import checkpoint
from pocketrnn_training.classifiers.architecture import Architecture
from pocketrnn_training.classifiers.recurrent_classifiers import RecurrentClassifier
from pocketrnn_training.rows.labelled_texts import LabelledTexts

WORDS = 60
VOCABULARY = ["<unk>", "<pad>", *(f"w{i}" for i in range(WORDS - 2))]
LABELS = ("World", "Sports", "Business", "Sci/Tech")
# test_exact_proof.py tests the findings of proofs.
pytestmark = pytest.mark.usefixtures("scant_proofs")


def exported(module: torch.nn.Module, path: Path, **more: Any) -> Path:
    export(module, path, **{"labels": LABELS, "vocabulary": VOCABULARY, "torchscript": False, **more})
    return path


def seeded(make: Any, *arguments: Any) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make(*arguments)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GRU, made so that its answers depend on its words."""
    made = RecurrentClassifier(Architecture("gru", WORDS, 12, 10, 1, False, 0.0, "last", True, len(LABELS), 1))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.6)
    return exported(made, tmp_path_factory.mktemp("compression") / "bundle", lengths=True, name="news")


@pytest.fixture(scope="module")
def data(bundle: Path) -> LabelledTexts:
    """Texts with the labels that the bundle itself gives them."""
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(VOCABULARY[2:], random.integers(1, 12))) for _ in range(200)]
    targets = Classifier.load(bundle).logits(texts).argmax(1)
    return LabelledTexts(texts, targets, LABELS, "made up")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "stored"),
    [
        (user_modules.PackedLastState, "int8"),
        (user_modules.PackedLastState, "float16"),
        (user_modules.MaskedAttention, "int8"),
        (user_modules.EmbeddingOfCharactersAndPositions, "int8"),
    ],
)
def test_other_peoples_modules_are_stored_smaller_and_proven(made: Any, stored: str, tmp_path: Path) -> None:
    original = exported(seeded(made), tmp_path / "original")
    smaller = compress(original, tmp_path / "small", storage=Storage(stored, stored))
    assert (tmp_path / "small" / "model.onnx").stat().st_size < (original / "model.onnx").stat().st_size
    assert max(c.largest_difference for c in smaller.manifest.parity.comparisons if not c.measures_rounding) <= 1e-5
    assert verify(tmp_path / "small").files == ("classifier.json", "model.onnx")
    texts = ["w1 w2 w3", "w40 unheard w5 w9"]
    np.testing.assert_allclose(
        Classifier.load(tmp_path / "small").logits(texts), Classifier.load(original).logits(texts), atol=0.05
    )


@pytest.mark.slow
def test_what_is_stored_is_int8_and_only_standard_operators_bring_it_back(bundle: Path, tmp_path: Path) -> None:
    compress(bundle, tmp_path / "small")
    model = onnx.load(tmp_path / "small" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert kinds["embedding.weight"] == kinds["rnn.layer0.w"] == kinds["rnn.layer0.r"] == onnx.TensorProto.INT8
    assert {domain.domain for domain in model.opset_import} <= {"", "pkg.onnxscript.torch_lib.common"}
    assert {node.domain for node in model.graph.node} == {""}


@pytest.mark.slow
def test_a_lone_smaller_graph_says_what_it_belongs_to(bundle: Path, tmp_path: Path) -> None:
    made = compress(bundle, tmp_path / "small", storage=Storage(rows=30), name="tiny").manifest
    metadata = {p.key: p.value for p in onnx.load(tmp_path / "small" / "model.onnx").metadata_props}
    assert metadata["pocketrnn.name"] == made.name == "tiny"
    assert manifest.make_input_digest_metadata(made.labels, made.input).items() <= metadata.items()


@settings(deadline=None, max_examples=examples(12, 60))
@given(
    numbers=st.lists(st.floats(-1e4, 1e4, width=32), min_size=300, max_size=300),
    stored=st.sampled_from(["int8", "float16"]),
)
def test_rounded_weights_lie_within_half_a_step_and_the_graph_gives_just_these(
    numbers: list[float], stored: str
) -> None:
    table = np.array(numbers, np.float32).reshape(30, 10)
    node = onnx.helper.make_node("Gather", ["table", "tokens"], ["logits"])
    ids = onnx.helper.make_tensor_value_info("tokens", onnx.TensorProto.INT64, ["rows"])
    rows = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["rows", 10])
    out = onnx.helper.make_node("Identity", ["looked_up"], ["logits"])
    node.output[0] = "looked_up"
    graph = onnx.helper.make_graph([node, out], "g", [ids], [rows], [onnx.numpy_helper.from_array(table, "table")])
    content = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    small = quantize_graph(content.SerializeToString(), Storage(stored, stored), {})
    given = run(small.content)
    np.testing.assert_array_equal(given, run(small.rounded))
    step = np.abs(table).max(1, keepdims=True) / 127 if stored == "int8" else np.abs(table) / 1024 + 1e-7
    assert (np.abs(given - table) <= step * 0.5001 + 1e-12).all()


def run(content: bytes) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"tokens": np.arange(30)})[0]


@pytest.mark.slow
@settings(deadline=None, max_examples=examples(12, 40))
@given(st.lists(st.sampled_from([*VOCABULARY[2:], "unheard"]), max_size=12))
def test_words_that_were_cut_are_unknown_words(cut: tuple[Classifier, Classifier], words: list[str]) -> None:
    original, small = cut
    kept = [word if word in VOCABULARY[:30] else "unheard" for word in words]
    assert small.encode(" ".join(words)) == original.encode(" ".join(kept))
    np.testing.assert_allclose(small.logits([" ".join(words)]), original.logits([" ".join(kept)]), atol=1e-5)


@pytest.fixture(scope="module")
def cut(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Classifier, Classifier]:
    path = tmp_path_factory.mktemp("cut") / "small"
    compress(bundle, path, storage=Storage("float32", "float32", 30))
    return Classifier.load(bundle), Classifier.load(path)


@pytest.mark.slow
def test_the_steps_are_measured_and_the_last_is_what_was_written(
    bundle: Path, data: LabelledTexts, tmp_path: Path
) -> None:
    made = compress(bundle, tmp_path / "small", storage=Storage(rows=50), data=data)
    assert [step.name for step in made.steps] == [
        "original", "the first 50 words", "and embedding in int8", "and other weights in int8",
    ]  # fmt: skip
    assert made.steps[0].accuracy == made.steps[0].agreement == 1.0
    assert made.steps[-1].size == sum(p.stat().st_size for p in (tmp_path / "small").iterdir())
    right = Classifier.load(tmp_path / "small").logits(data.texts).argmax(1) == data.targets
    assert made.steps[-1].accuracy == right.mean()
    told = manifest.read_manifest(tmp_path / "small").provenance["compression"]
    assert told["accuracy"] == right.mean()
    assert told["data"] == {"source": "made up", "rows": 200}


@pytest.mark.slow
def test_more_loss_than_allowed_is_refused_and_leaves_nothing(
    bundle: Path, data: LabelledTexts, tmp_path: Path
) -> None:
    with pytest.raises(CompressionError, match=r"0\.2"):
        compress(bundle, tmp_path / "small", storage=Storage(rows=3), data=data, max_loss=0.2)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_answers_otherwise_is_not_written(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(content: bytes, storage: Storage, metadata: dict[str, str]) -> QuantizedGraphs:
        small = quantize_graph(content, storage, metadata)
        return QuantizedGraphs(small.content, content)

    monkeypatch.setattr(pocketrnn_export.compression, "quantize_graph", wrong)
    with pytest.raises(ParityError):
        compress(bundle, tmp_path / "small")
    assert list(tmp_path.iterdir()) == []


class Tied(torch.nn.Module):
    """The embedding's table is also what a later layer multiplies by, in one of two ways."""

    def __init__(self, *, linear: bool) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(WORDS, 12)
        self.gru = torch.nn.GRU(12, 12, batch_first=True)
        self.words = torch.nn.Linear(12, WORDS)
        self.words.weight = self.embedding.weight
        self.fc = torch.nn.Linear(WORDS, len(LABELS))
        self.linear = linear

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        last = self.gru(self.embedding(tokens))[1][-1]
        words = self.words(last) if self.linear else (last.unsqueeze(1) * self.embedding.weight).sum(2)
        return self.fc(words)  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("linear", [False, True])
def test_a_table_with_two_uses_is_stored_smaller_but_not_cut(linear: bool, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        original = exported(Tied(linear=linear), tmp_path / "original")
    assert compress(original, tmp_path / "small").manifest.text.vocabulary == tuple(VOCABULARY)
    with pytest.raises(InputError, match=r"words\.weight .*vocabulary"):
        compress(original, tmp_path / "cut", storage=Storage(rows=30))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"storage": Storage(rows=60)}, "is 60, .* has 60"),
        ({"storage": Storage(rows=1)}, "token id 1,"),
        ({"storage": Storage("int4")}, "'int4'"),
        ({"storage": Storage("float32", "float32")}, "the same"),
        ({"max_loss": 0.2}, "`max_loss` is 0.2"),
    ],
)
def test_unusable_arguments_are_named(bundle: Path, tmp_path: Path, changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        compress(bundle, tmp_path / "small", **changed)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_data_of_other_labels_and_a_second_compression_are_refused(
    bundle: Path, data: LabelledTexts, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"other labels .*" + re.escape(str(list(LABELS[::-1]))[1:-1])):
        compress(bundle, tmp_path / "small", data=replace(data, labels=LABELS[::-1]))
    compress(bundle, tmp_path / "small")
    with pytest.raises(InputError, match=r"\bnews\b.*compressed already"):
        compress(tmp_path / "small", tmp_path / "smaller")


@pytest.mark.slow
def test_numbers_beyond_float16_are_refused(tmp_path: Path) -> None:
    module = seeded(user_modules.PackedLastState)
    with torch.no_grad():
        module.embedding.weight[3, 0] = 1e6
    original = exported(module, tmp_path / "original", tolerance=1e-3)
    with pytest.raises(InputError, match=r"beyond 65504"):
        compress(original, tmp_path / "small", storage=Storage("float16"))


@pytest.fixture
def rows(data: LabelledTexts, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "dev.csv"
    lines = [f"{text},{LABELS[target]}" for text, target in zip(data.texts, data.targets, strict=True)]
    path.write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    yield path
    path.unlink()


def test_the_command_prints_its_steps_and_exits_with_1_where_too_much_is_lost(
    bundle: Path, rows: Path, tmp_path: Path
) -> None:
    line = ["compress", str(bundle), "--data", str(rows), "-o", str(tmp_path / "small")]
    # One step each: each is a proof.
    cut = ["--words", "3", "--embedding", "float32", "--weights", "float32"]
    result = CliRunner().invoke(main, [*line, *cut, "--max-loss", "0.2"])
    assert result.exit_code == 1, result.output
    assert "| the first 3 words |" in result.output
    assert not (tmp_path / "small").exists()
    rounded = ["--embedding", "float16", "--weights", "float32", "--name", "tiny"]
    result = CliRunner().invoke(main, [*line, *rounded, "--max-loss", "1"])
    assert result.exit_code == 0, result.output
    assert "| embedding in float16 |" in result.output
    assert manifest.read_manifest(tmp_path / "small").name == "tiny"


@pytest.mark.slow
def test_checkpoints_are_exported_and_compressed(tmp_path: Path) -> None:
    architecture = Architecture("lstm", WORDS, 12, 10, 1, False, 0.0, "mean", True, len(LABELS), 1)
    made = checkpoint.Checkpoint(
        "news", architecture, TextRules(unknown_id=0, empty_id=0, padding_id=1), LABELS, tuple(VOCABULARY),
        seeded(RecurrentClassifier, architecture).eval(), {}, {}, ("w1 w2",), {},  # type: ignore[arg-type]
    )  # fmt: skip
    checkpoint.write(made, tmp_path / "checkpoint")
    runner = CliRunner()
    for command in (["compress"], ["export", "--compress"]):
        line = [*command, str(tmp_path / "checkpoint"), "-o", str(tmp_path / "small"), "--force"]
        result = runner.invoke(main, line)
        assert result.exit_code == 0, result.output
        document = json.loads((tmp_path / "small" / "classifier.json").read_bytes())
        assert document["provenance"]["compression"]["weights"] == "int8"
        assert "torchscript" not in document
        assert document["name"] == "news"
    # Before the export, which takes long.
    result = runner.invoke(
        main, ["compress", str(tmp_path / "checkpoint"), "-o", str(tmp_path / "b"), "--words", "5000"]
    )
    assert result.exit_code == 2
    assert re.fullmatch(rf"Error: 5000 .*\b{WORDS}\. .*\b{WORDS - 1}\.\n", result.stderr), result.stderr
    result = runner.invoke(main, ["export", str(tmp_path / "checkpoint"), "-o", str(tmp_path / "b"), "--max-loss", "1"])
    assert result.exit_code == 2
    assert "--compress" in result.output


@pytest.mark.slow
def test_of_several_labels_the_sets_that_are_given_are_compared(tmp_path: Path) -> None:
    module = seeded(user_modules.PackedLastState)
    thresholds = (0.5, 0.4, 0.6, 0.5)
    original = exported(module, tmp_path / "original", multi_label=True, thresholds=thresholds)
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(VOCABULARY[2:], random.integers(1, 12))) for _ in range(200)]
    before = Classifier.load(original).predict_labels(texts)
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\n" + "".join(f"{t},{'|'.join(g)}\n" for t, g in zip(texts, before, strict=True)))
    line = ["compress", str(original), "-o", str(tmp_path / "small"), "--data", str(rows), "--max-loss", "99"]
    result = CliRunner().invoke(main, [*line, "--words", "45", "--embedding", "float32", "--weights", "float32"])
    assert result.exit_code == 0, result.output
    told = manifest.read_manifest(tmp_path / "small").provenance["compression"]
    after = Classifier.load(tmp_path / "small").predict_labels(texts)
    same = np.mean([a == b for a, b in zip(before, after, strict=True)])
    assert 0 < same < 1
    assert (told["accuracy_before"], told["accuracy"]) == (1.0, same)
    assert told["label_agreement"] == pytest.approx(same, abs=0.05)
