"""Graphs for small engines and for onnxruntime's own format: the same answers, and what they do without."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import user_modules
from click.testing import CliRunner

from pocketrnn import Classifier, verify
from pocketrnn.bundle import manifest
from pocketrnn.classifier import read_graph_metadata
from pocketrnn.commands.cli import main
from pocketrnn.errors import ExportError, InputError, MissingExtraError, ParityError
from pocketrnn.text import TextRules
from pocketrnn_export import export
from pocketrnn_export.compression import compress
from pocketrnn_export.mobile_profile import write_mobile_bundle
from pocketrnn_training.classifiers import checkpoint
from pocketrnn_training.classifiers.architecture import Architecture
from pocketrnn_training.classifiers.recurrent_classifiers import RecurrentClassifier

pytestmark = pytest.mark.usefixtures("scant_proofs")
WORDS = 60
VOCABULARY = ["<unk>", "<pad>", *(f"w{i}" for i in range(WORDS - 2))]
LABELS = ("World", "Sports", "Business", "Sci/Tech")
RULES = TextRules(unknown_id=0, empty_id=0, padding_id=1)
TEXTS = ["w1 w2 w3", "", "w40 unheard w5 w9", "w7"]


def exported(module: torch.nn.Module, path: Path, **more: Any) -> Path:
    described: dict[str, Any] = {"labels": LABELS, "vocabulary": VOCABULARY, "rules": RULES, "torchscript": False}
    export(module, path, **{**described, **more})
    return path


def classifier_of(cell: str, pooling: str, *, both: bool) -> RecurrentClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RecurrentClassifier(
            Architecture(cell, WORDS, 12, 10, 1, both, 0.2, pooling, True, len(LABELS), 1)
        ).eval()


def written(folder: Path, module: RecurrentClassifier) -> Path:
    made = checkpoint.Checkpoint(
        "news", module.architecture, RULES, LABELS, tuple(VOCABULARY), module, {}, {}, ("w1 w2",), {}
    )
    checkpoint.write(made, folder)
    return folder


def run(*line: str) -> Any:
    return CliRunner().invoke(main, line)


@pytest.mark.slow
def test_edge_graphs_take_one_text_and_no_lengths_and_hold_no_control_flow(tmp_path: Path) -> None:
    pytest.importorskip("tract")
    source = written(tmp_path / "checkpoint", classifier_of("gru", "max", both=True))
    result = run("export", str(source), "-o", str(tmp_path / "edge"), "--profile", "edge")
    assert result.exit_code == 0, result.output
    model = onnx.load(tmp_path / "edge" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["tokens"]
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert (shape[0].dim_value, shape[1].dim_param) == (1, "sequence")
    assert not {node.op_type for node in model.graph.node} & {"If", "Loop", "Scan"}
    gru = next(node for node in model.graph.node if node.op_type == "GRU")
    assert len(gru.input) < 5 or not gru.input[4]
    described = manifest.read_manifest(tmp_path / "edge")
    assert described.graph.opset == model.opset_import[0].version < 18
    assert (described.graph.batch, described.graph.padding, described.torchscript) == (1, False, None)
    on_tract = [c for c in described.parity.comparisons if c.candidate == "tract"]
    assert {c.inputs for c in on_tract} == {"shapes", "drawn shapes", "hazards", "every id", "texts"}
    assert "of one text" in run("inspect", str(tmp_path / "edge")).output
    edge = Classifier.load(tmp_path / "edge")
    module = checkpoint.read(source).module.eval()
    for text in TEXTS:
        ids = torch.tensor([edge.encode(text)])
        with torch.no_grad():
            expected = module(ids, torch.tensor([ids.shape[1]])).numpy()
        np.testing.assert_allclose(edge.logits([text]), expected, atol=1e-5)


@pytest.mark.slow
def test_an_edge_bundle_can_be_compressed_and_is_proven_on_tract_again(tmp_path: Path) -> None:
    pytest.importorskip("tract")
    exported(user_modules.MaskedAttention(), tmp_path / "edge", edge=True, rules=None)
    made = compress(tmp_path / "edge", tmp_path / "small").manifest
    assert made.graph.batch == 1
    assert "tract" in {c.candidate for c in made.parity.comparisons}
    assert verify(tmp_path / "small").files == ("classifier.json", "model.onnx")


@pytest.mark.slow
def test_what_tract_cannot_open_or_run_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tract")
    with pytest.raises(ExportError, match=r"tract .*cannot open"):
        exported(user_modules.SortsByHand(), tmp_path / "edge", edge=True)
    with pytest.raises(ParityError, match="tract fails"):
        exported(user_modules.GathersLast(), tmp_path / "edge", edge=True)
    assert list(tmp_path.iterdir()) == []


def test_without_tract_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = importlib.import_module

    def without_tract(name: str, package: str | None = None) -> Any:
        if name == "tract":
            raise ModuleNotFoundError("No module named 'tract'", name="tract")
        return imported(name, package)

    monkeypatch.setattr(importlib, "import_module", without_tract)
    with pytest.raises(MissingExtraError, match=r"\[edge\]"):
        exported(user_modules.PackedLastState(), tmp_path / "edge", edge=True)


def test_edge_and_what_it_does_without_exclude_each_other(tmp_path: Path) -> None:
    for more in ({"torchscript": True}, {"streaming": True}):
        module = classifier_of("gru", "last", both=False)
        with pytest.raises(InputError, match="torchscript=False and streaming=False"):
            exported(module, tmp_path / "edge", edge=True, lengths=True, **more)


@pytest.mark.slow
def test_mobile_bundles_hold_onnxruntimes_format_and_its_list_of_operators(tmp_path: Path) -> None:
    source = written(tmp_path / "checkpoint", classifier_of("lstm", "mean", both=False))
    line = ["export", str(source), "-o", str(tmp_path / "mobile"), "--profile", "mobile", "--compress", "--streaming"]
    result = run(*line)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "mobile").iterdir()) == [
        "classifier.json",
        "model.ort",
        "model.step.ort",
        "required_operators.config",
    ]
    assert (tmp_path / "mobile" / "model.ort").read_bytes()[4:8] == b"ORTM"
    operators = (tmp_path / "mobile" / "required_operators.config").read_text(encoding="utf-8")
    assert "LSTM" in operators
    assert "#" not in operators
    assert verify(tmp_path / "mobile").replays[-1].how == "each as a stream"
    described = manifest.read_manifest(tmp_path / "mobile")
    assert {("compressed", "ort"), ("compressed", "step graph, 3 chunks"), ("rounded weights", "compressed")} <= {
        (c.reference, c.candidate) for c in described.parity.comparisons
    }
    assert read_graph_metadata(Classifier.load(tmp_path / "mobile"))["pocketrnn.name"] == "news"
    for again in (compress, write_mobile_bundle):
        with pytest.raises(InputError, match=r"an ONNX file|compressed already"):
            again(tmp_path / "mobile", tmp_path / "again")


# The modules with operators that tract lacks, and a loop that cannot become a layer.
REFUSED_FOR_TRACT = {
    "SortsByHand": "Topk",
    "GathersLast": "GatherElements",
    "IndexesLast": "cannot open the graph",
    "BranchesOnValues": "Pad",
    "StepsACell": "torch.export cannot trace",
}


@pytest.mark.slow
def test_tract_takes_all_modules_as_people_write_them_but_those_with_an_operation_that_it_has_not(
    tmp_path: Path,
) -> None:
    pytest.importorskip("tract")
    refused = {}
    for name, made in vars(user_modules).items():
        if not isinstance(made, type) or made.__module__ != "user_modules" or issubclass(made, torch.nn.LSTM):
            continue
        if name.startswith("_"):
            continue
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module = made()
        try:
            exported(module, tmp_path / name, edge=True)
        except (ExportError, ParityError) as error:
            refused[name] = str(error)
    assert refused.keys() == REFUSED_FOR_TRACT.keys()
    assert all(REFUSED_FOR_TRACT[name] in said for name, said in refused.items()), refused
