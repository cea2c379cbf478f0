"""The files that `export` writes, and its errors for bad arguments."""

from __future__ import annotations

import errno
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import user_modules
from click.testing import CliRunner, Result

import pocketrnn_export.bundle_writer
from pocketrnn import Classifier
from pocketrnn.bundle import manifest
from pocketrnn.commands.cli import main
from pocketrnn.errors import ExportError, InputError, OutputError, ParityError
from pocketrnn.text import TextRules
from pocketrnn_export import export
from pocketrnn_training.classifiers import checkpoint
from pocketrnn_training.classifiers.architecture import Architecture
from pocketrnn_training.classifiers.recurrent_classifiers import RecurrentClassifier

pytestmark = pytest.mark.usefixtures("scant_proofs")
VOCABULARY = ["<unk>", "<pad>", *(f"w{i}" for i in range(user_modules.WORDS - 2))]
LABELS = ["World", "Sports", "Business", "Sci/Tech"]


def seeded() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return user_modules.PackedLastState()


@pytest.fixture
def module() -> torch.nn.Module:
    return seeded()


def exported(module: torch.nn.Module, path: Path, **more: Any) -> manifest.Manifest:
    return export(module, path, **{"labels": LABELS, "vocabulary": VOCABULARY, "torchscript": False, **more})


@pytest.fixture(scope="module")
def old_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle named `old` that nobody changes."""
    path = tmp_path_factory.mktemp("bundles") / "old"
    texts = ["w1 w2 w3", "w4 unheard w5"]
    export(seeded(), path, labels=LABELS, vocabulary=VOCABULARY, name="old", example_texts=texts)
    return path


@pytest.fixture(scope="module")
def new_bundle(old_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, manifest.Manifest]:
    """A multi-label bundle named `new` in the place of a copy of the old one."""
    path = tmp_path_factory.mktemp("bundles") / "replaced"
    shutil.copytree(old_bundle, path)
    return path, exported(seeded(), path, name="new", multi_label=True, force=True)


def test_a_bundle_holds_three_files_the_third_of_which_runs_in_plain_torch(
    module: torch.nn.Module, old_bundle: Path
) -> None:
    assert sorted(p.name for p in old_bundle.iterdir()) == ["classifier.json", "model.onnx", "model.torchscript.pt"]
    copy = torch.jit.load(old_bundle / "model.torchscript.pt")
    tokens, lengths = torch.tensor([[5, 9, 2, 1], [7, 3, 8, 4]]), torch.tensor([3, 4])
    torch.testing.assert_close(copy(tokens, lengths), module.eval()(tokens, lengths))


def test_a_lone_graph_says_what_it_is_and_names_its_axes(old_bundle: Path) -> None:
    written = manifest.read_manifest(old_bundle)
    model = onnx.load(old_bundle / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    metadata = {p.key: p.value for p in model.metadata_props}
    assert metadata == {
        "pocketrnn.version": "1",
        "pocketrnn.name": "old",
        "pocketrnn.labels": json.dumps(LABELS),
        **manifest.make_input_digest_metadata(written.labels, written.input),
    }
    shapes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    assert shapes == {"tokens": ["batch", "sequence"], "lengths": ["batch"]}
    assert [d.dim_param or d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == ["batch", 4]


def assert_small_and_discreet(bundle: Path, most_nodes: int) -> None:
    content = (bundle / "model.onnx").read_bytes()
    nodes = onnx.load_from_string(content).graph.node
    assert len(nodes) <= most_nodes
    assert not {node.op_type for node in nodes} & {"Split", "If", "Loop", "Scan", "SequenceAt"}
    assert str(Path(__file__).parent).encode() not in content
    assert b"stack_trace" not in content


def test_a_graph_is_small_and_tells_nothing_of_the_machine_it_was_made_on(old_bundle: Path) -> None:
    assert_small_and_discreet(old_bundle, 10)


@pytest.mark.slow
def test_a_graph_of_stacked_layers_is_small_and_tells_nothing_of_the_machine_it_was_made_on(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stacked = RecurrentClassifier(_architecture(cell="gru", layers=2, bidirectional=True))
    exported(stacked, tmp_path / "two")
    assert_small_and_discreet(tmp_path / "two", 20)


@pytest.mark.slow
def test_a_graphs_file_is_as_large_as_its_weights(tmp_path: Path) -> None:
    module = RecurrentClassifier(_architecture(vocabulary_size=8_000, embedding_dim=64, hidden_dim=32))
    exported(module, tmp_path / "b", vocabulary=[f"w{i}" for i in range(8_000)], lengths=True)
    weights = sum(p.numel() * 4 for p in module.parameters())
    assert (tmp_path / "b" / "model.onnx").stat().st_size <= 1.02 * weights


def test_golden_examples_are_what_pytorch_answers(module: torch.nn.Module, old_bundle: Path) -> None:
    written = manifest.read_manifest(old_bundle)
    assert [e.text for e in written.examples[:2]] == ["w1 w2 w3", "w4 unheard w5"]
    assert "" in [e.text for e in written.examples]
    for example in written.examples:
        expected = module.eval()(torch.tensor([example.ids]), torch.tensor([len(example.ids)]))[0]
        torch.testing.assert_close(torch.tensor(example.logits), expected)


@pytest.mark.slow
def test_without_an_unknown_token_unknown_words_are_dropped(module: torch.nn.Module, tmp_path: Path) -> None:
    vocabulary = [f"w{i}" for i in range(user_modules.WORDS)]
    exported(module, tmp_path / "b", vocabulary=vocabulary)
    classifier = Classifier.load(tmp_path / "b")
    assert classifier.encode("w3 unheard w5") == [3, 5]
    assert classifier.encode("unheard of") == [0]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"labels": "abcd"}, "labels.*one string"),
        ({"labels": ["a", "b", "", "d"]}, "'' in it"),
        ({"labels": ["a", "b", "b", "c"]}, "label 'b' is given 2"),
        ({"labels": ["a"]}, "at least 2"),
        ({"name": ""}, "is empty"),
        ({"name": "w\udcff"}, "cannot be printed"),
        ({"tolerance": float("nan")}, "`tolerance` is nan"),
        ({"report": "no such folder/report.json"}, "folder/report.json"),
        ({"vocabulary": []}, "no token"),
        ({"vocabulary": ["a", "a"]}, "twice"),
        ({"tokenizer": "spacy"}, "tokenizer 'spacy' is unknown"),
        ({"example_texts": "one text"}, "list of strings"),
        ({"example_texts": [b"bytes"]}, "only strings"),
    ],
)
def test_unusable_arguments_are_named(
    module: torch.nn.Module, tmp_path: Path, changed: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        exported(module, tmp_path / "b", **changed)
    assert list(tmp_path.iterdir()) == []


def test_a_padding_id_beyond_the_embedding_is_refused(module: torch.nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"\bids .*\b60\b"):
        exported(module, tmp_path / "b", rules=TextRules(padding_id=60))


@pytest.mark.slow
def test_an_existing_folder_is_kept_unless_forced(
    module: torch.nn.Module, old_bundle: Path, new_bundle: tuple[Path, manifest.Manifest], tmp_path: Path
) -> None:
    shutil.copytree(old_bundle, tmp_path / "b")
    with pytest.raises(OutputError, match="exists already"):
        exported(module, tmp_path / "b", name="new")
    assert manifest.read_manifest(tmp_path / "b").name == "old"
    path, written = new_bundle
    assert manifest.read_manifest(path) == written
    assert written.name == "new"
    assert sorted(p.name for p in path.iterdir()) == ["classifier.json", "model.onnx"], "no TorchScript"


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OutputError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
@pytest.mark.slow
def test_a_full_disk_or_ctrl_c_in_the_middle_leaves_the_old_bundle(
    module: torch.nn.Module,
    old_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    seen: type[BaseException],
) -> None:
    shutil.copytree(old_bundle, tmp_path / "b")

    def fails(*_: object) -> None:
        raise raised

    monkeypatch.setattr(pocketrnn_export.bundle_writer, "encode_manifest", fails)
    with pytest.raises(seen):
        exported(module, tmp_path / "b", name="new", force=True)
    assert manifest.read_manifest(tmp_path / "b").name == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


@pytest.mark.slow
@pytest.mark.usefixtures("whole_proofs")
def test_the_report_holds_every_case_also_where_the_proof_fails(module: torch.nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ParityError):
        exported(module, tmp_path / "b", tolerance=0.0, report=tmp_path / "report.json")
    document = json.loads((tmp_path / "report.json").read_text())
    on_shapes = document["comparisons"][0]
    assert len(on_shapes["each"]) == on_shapes["cases"] == 20
    assert {"candidate", "case", "largest", "labels_differing", "spreads"} == set(on_shapes["each"][0])


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the point is a Python that TorchScript supports")
def test_python_3_14_is_told_to_leave_torchscript_out(
    module: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 14))
    with pytest.raises(InputError, match="--no-torchscript"):
        export(module, tmp_path / "b", labels=LABELS, vocabulary=VOCABULARY, torchscript=True)
    assert export(module, tmp_path / "b", labels=LABELS, vocabulary=VOCABULARY).torchscript is None


class SingleLogit(torch.nn.Module):
    """One logit a text, with or without an axis of its own."""

    def __init__(self, *, flat: bool) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(user_modules.WORDS, 8)
        self.gru = torch.nn.GRU(8, 6, batch_first=True)
        self.fc = torch.nn.Linear(6, 1)
        self.flat = flat

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logit: torch.Tensor = self.fc(self.gru(self.embedding(tokens))[1][-1])
        return logit.squeeze(1) if self.flat else logit


@pytest.mark.slow
@pytest.mark.parametrize("flat", [False, True])
def test_a_single_logit_becomes_two_classes_with_the_probabilities_of_its_sigmoid(flat: bool, tmp_path: Path) -> None:
    module = SingleLogit(flat=flat).eval()
    exported(module, tmp_path / "b", labels=["ham", "spam"])
    classifier = Classifier.load(tmp_path / "b")
    ids = classifier.encode("w1 w2 w3")
    with torch.no_grad():
        spam = torch.sigmoid(module(torch.tensor([ids]))).item()
    assert classifier.predict_proba(["w1 w2 w3"])[0] == pytest.approx([1 - spam, spam], abs=1e-6)


@pytest.mark.slow
def test_labels_of_a_multi_label_classifier_have_probabilities_of_their_own(
    new_bundle: tuple[Path, manifest.Manifest],
) -> None:
    path, written = new_bundle
    assert written.output.activation == "sigmoid"
    classifier = Classifier.load(path)
    texts = ["w1 w2 w3", "w4", "w9 w8 w7 w6 w5"]
    expected = torch.sigmoid(torch.from_numpy(classifier.logits(texts))).numpy()
    assert classifier.predict_proba(texts) == pytest.approx(expected, abs=1e-6)
    for threshold in (0.0, 0.5, 0.55, 1.0):
        assert classifier.predict_labels(texts, threshold) == [
            tuple(label for label, p in zip(LABELS, row, strict=True) if p >= threshold) for row in expected
        ]
    best = classifier.classify(texts[0], top=4)
    assert best.top == tuple(sorted(best.top, key=lambda pair: -pair[1]))
    assert dict(best.top) == pytest.approx(dict(zip(LABELS, expected[0].tolist(), strict=True)), abs=1e-6)
    lines = run("classify", "-b", path, "--threshold", "0.5", "--json", *texts).stdout.splitlines()
    assert [tuple(sorted(pair["label"] for pair in json.loads(line)["top"])) for line in lines] == [
        tuple(sorted(labels)) for labels in classifier.predict_labels(texts)
    ]


def _architecture(**more: Any) -> Architecture:
    chosen = {
        "cell": "lstm", "vocabulary_size": len(VOCABULARY), "embedding_dim": 16, "hidden_dim": 12, "layers": 1,
        "bidirectional": False, "dropout": 0.0, "pooling": "last", "packed": True, "classes": 4, "padding_id": 1,
    }  # fmt: skip
    return Architecture(**{**chosen, **more})


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    architecture = _architecture()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        untrained = RecurrentClassifier(architecture).eval()
    checkpoint.write(
        checkpoint.Checkpoint(
            name="news",
            architecture=architecture,
            rules=TextRules(padding_id=1),
            labels=tuple(LABELS),
            vocabulary=tuple(VOCABULARY),
            module=untrained,
            metrics={"accuracy": 0.25},
            data={"source": "made up", "rows": 4},
            examples=("w1 w2", "w3"),
            training={},
        ),
        tmp_path / "checkpoint",
    )
    return tmp_path / "checkpoint"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


# The fast suite exports a checkpoint by the command in test_export_of_trained_checkpoints.py; the next test is refused.
@pytest.mark.slow
def test_the_command_exports_a_checkpoint_and_prints_the_proof_with_texts_of_a_file(
    trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "texts").write_text("w5 w6\nw7 w8 w9\n", encoding="utf-8")
    result = run("export", trained, "-o", tmp_path / "b", "--texts", tmp_path / "texts", "--no-torchscript")
    assert result.exit_code == 0, result.output
    assert "Text rules:" in result.stdout
    assert "Graph: proven equal to the PyTorch module." in result.stdout
    assert "Tracing the module for ONNX ..." in result.stderr
    read = manifest.read_manifest(tmp_path / "b")
    assert read.name == "news"
    assert read.provenance["data"] == {"source": "made up", "rows": 4}
    assert [e.text for e in read.examples[:2]] == ["w5 w6", "w7 w8 w9"]
    assert run("verify", tmp_path / "b").exit_code == 0


@pytest.mark.slow
def test_the_command_exits_3_and_writes_nothing_where_parity_is_broken(trained: Path, tmp_path: Path) -> None:
    result = run("export", trained, "-o", tmp_path / "b", "--tolerance", "0", "--no-torchscript")
    assert result.exit_code == 3
    assert re.search(r"batch \d+ x sequence \d+", result.stderr)
    assert "of the size of rounding" in result.stderr
    assert "PyTorch itself is" in result.stderr
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["nothing"], 2, "nothing does not exist. Give an existing file or folder: a folder"),
        (["{latin1}"], 2, "latin1 is neither the code of a module nor a complete TorchScript file. Name"),
        (["{code}"], 2, "module.py defines no module, that is, no class with a forward. Name the object or function"),
        (["{trained}x"], 2, "does not exist. Did you mean"),
        (["{trained}", "--labels", "a,b"], 2, "It already contains the values of --labels"),
        (["{trained}", "--texts", "no.txt"], 2, "no.txt cannot be read"),
        (["{trained}", "--texts", "{latin1}"], 2, "is not UTF-8 text"),
        (["{trained}/.."], 2, "holds no config.json"),
        (["{trained}", "--tolerance", "-1"], 2, "Invalid value"),
        (["{trained}", "--report", "."], 2, "cannot be written"),
        (["model.py:f", "--vocabulary", "v.txt", "--labels", "1," * 200], 2, "model.py is not a file"),
    ],
)
def test_wrong_usage_of_the_command_is_one_clear_error(
    trained: Path, tmp_path: Path, arguments: list[str], status: int, said: str
) -> None:
    (tmp_path / "latin1").write_bytes("caf\xe9\n".encode("latin-1"))
    (tmp_path / "module.py").touch()
    filled = [a.format(trained=trained, latin1=tmp_path / "latin1", code=tmp_path / "module.py") for a in arguments]
    result = run("export", *filled, "-o", tmp_path / "b")
    assert result.exit_code == status
    assert said in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "b").exists()


def test_a_checkpoint_with_a_changed_byte_is_refused(trained: Path, tmp_path: Path) -> None:
    weights = trained / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    result = run("export", trained, "-o", tmp_path / "b")
    assert result.exit_code == 2
    assert "weights.safetensors" in result.stderr
