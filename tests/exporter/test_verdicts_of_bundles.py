"""Two verdicts, on the graph and on the text rules; the whole chain of a proof; and whose texts are inside."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from click.testing import CliRunner, Result

from pocketrnn import Classifier, TextInput, verify
from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.commands.cli import main
from pocketrnn.errors import InputError
from pocketrnn.proof_comparison_chain import group_comparisons_into_links
from pocketrnn.text import TextRules
from pocketrnn.verdicts import LOGGER, TextVerdict, describe_graph_proof, read_text_verdict
from pocketrnn.verification_page import proof_page
from pocketrnn_export import bundle_export, export
from pocketrnn_export.commands.lines_after_export import describe_empty_texts, describe_torchscript
from pocketrnn_export.compression import CompressedBundle, compress
from pocketrnn_export.forms.weight_quantization import Storage
from pocketrnn_export.mobile_profile import write_mobile_bundle
from pocketrnn_export.packing import pack

pytestmark = pytest.mark.usefixtures("scant_proofs")
WORDS = ["<unk>", "<pad>", *(f"w{i}" for i in range(40))]
LABELS = ["no", "yes"]
PRIVATE = "w3 w4 my w5 secret"
CHAIN = [
    ("pytorch, float64", "onnx, float64"),
    ("pytorch", "onnx"),
    ("pytorch", "onnx as written"),
    ("pytorch", "as given"),
    ("pytorch", "runtime"),
    ("alone", "together"),
    ("onnx", "rounded weights"),
    ("rounded weights, float64", "compressed, float64"),
    ("rounded weights", "compressed"),
    ("rounded weights", "compressed as written"),
    ("rounded weights", "runtime"),
    ("alone", "together"),
]


class Net(torch.nn.Module):
    """Large enough that its weights are stored in fewer bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(len(WORDS), 16)
        self.gru = torch.nn.GRU(16, 8, batch_first=True)
        self.fc = torch.nn.Linear(8, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.fc(self.gru(self.embedding(tokens))[0].max(dim=1).values)  # type: ignore[no-any-return]


def net() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net()


def exported(path: Path, **more: Any) -> Manifest:
    return export(net(), path, labels=LABELS, vocabulary=WORDS, torchscript=False, **more)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture(scope="module")
def told() -> list[logging.LogRecord]:
    """The log records about the bundle when it is written."""
    return []


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, told: list[logging.LogRecord]) -> Path:
    path, log, listener = tmp_path_factory.mktemp("verdicts") / "bundle", logging.getLogger(LOGGER), logging.Handler()
    listener.emit = told.append  # type: ignore[method-assign]
    log.addHandler(listener)
    log.setLevel(logging.INFO)
    try:
        exported(path, example_texts=[PRIVATE, "w1 w2"])
    finally:
        log.setLevel(logging.NOTSET)
        log.removeHandler(listener)
    return path


@pytest.fixture(scope="module")
def made_small(bundle: Path) -> CompressedBundle:
    return compress(bundle, bundle.parent / "small")


@pytest.fixture(scope="module")
def small(bundle: Path, made_small: CompressedBundle) -> Path:
    assert made_small.steps
    return bundle.parent / "small"


def links(manifest: Manifest) -> list[tuple[str, str]]:
    return [
        (link.line.reference, link.line.candidate) for link in group_comparisons_into_links(manifest.parity.comparisons)
    ]


def test_only_of_the_graph_is_said_that_it_is_proven(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = manifests.read_manifest(bundle)
    assert describe_graph_proof(manifest) == "proven equal to the PyTorch module."
    assert read_text_verdict(manifest) == TextVerdict()
    shown = run("inspect", bundle).stdout
    assert "Graph: proven equal" in shown
    assert "Text rules: not compared" in shown
    assert "--pairs" in shown
    assert json.loads(run("inspect", "--json", bundle).stdout)["verdicts"]["text_rules"] == {"verdict": "not compared"}
    page = proof_page(verify(bundle))
    assert '<p class="open"><strong>The text rules:</strong> not compared' in page
    assert "nothing was compared" in page


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        # A text that stands twice, and one without an id, add nothing.
        (
            {"example_ids": [("w1 w2", [3, 4]), ("w1 w2", [3, 4]), ("w7", [9]), ("", [])]},
            TextVerdict("compared", 2, unknown_words=False),
        ),
        ({"example_ids": [("", [])]}, TextVerdict()),
        # Besides, texts are made of the vocabulary.
        (
            {"tokenizer": str.split, "example_texts": ["w1 w2", "w3", "w3"]},
            TextVerdict("compared", 310, "tokens", unknown_words=False),
        ),
        # How the owner's code splits the string was not compared.
        ({"tokenizer": str.strip}, TextVerdict("compared", 309, "strings", unknown_words=False)),
        # Nobody can claim a comparison that was not made; that the rules are those of training can only be stated.
        ({"provenance": {"text_rules": {"verdict": "compared", "texts": 9, "by": "ids"}}}, TextVerdict()),
        ({"provenance": {"text_rules": {"verdict": "trained"}}}, TextVerdict("trained")),
    ],
)
@pytest.mark.slow
def test_the_text_rules_have_a_verdict_of_their_own(
    given: dict[str, Any], verdict: TextVerdict, tmp_path: Path
) -> None:
    assert read_text_verdict(exported(tmp_path / "bundle", **given)) == verdict


@pytest.mark.parametrize(
    ("unknown", "empty", "said"), [(0, 0, "one unknown word, which has the id 0."), (None, 0, "the token '<pad>'.")]
)
def test_a_text_without_a_token_is_named_by_what_its_id_stands_for(unknown: int | None, empty: int, said: str) -> None:
    text = TextInput(TextRules(unknown_id=unknown, empty_id=empty), ("<pad>", "oil"))
    (line,) = describe_empty_texts(cast("Manifest", SimpleNamespace(text=text)))
    assert line.endswith(said)


def test_a_large_torchscript_file_is_told_with_what_it_is_for(tmp_path: Path) -> None:
    named = cast("Manifest", SimpleNamespace(torchscript=SimpleNamespace(file="model.pt")))
    (tmp_path / "model.onnx").write_bytes(bytes(2_100_000))
    for size, told in ((2_000_000, ["model.pt is 2.0 of the bundle's 4.1 MB"]), (2_000, [])):
        (tmp_path / "model.pt").write_bytes(bytes(size))
        assert [one.partition(":")[0] for one in describe_torchscript(named, tmp_path)] == told
    assert describe_torchscript(cast("Manifest", SimpleNamespace(torchscript=None)), tmp_path) == []


@pytest.mark.parametrize(("seconds", "is_large"), [(60.0, True), (1.0, False)])
def test_what_can_be_left_out_of_a_long_export_is_told_before_it_is_made(
    seconds: float, is_large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(*_: Any, **__: Any) -> Any:
        raise InputError("Stopped before the proof.", "")

    monkeypatch.setattr(bundle_export, "write_bundle", stop)
    monkeypatch.setattr(bundle_export, "estimate_proof_seconds", lambda *_, **__: seconds)
    monkeypatch.setattr(bundle_export, "_LARGE", 100 if is_large else 10_000)
    with caplog.at_level(logging.INFO, "pocketrnn_export"), pytest.raises(InputError, match="Stopped"):
        export(net(), tmp_path / "b", labels=LABELS, vocabulary=WORDS, example_ids=[("w1 w2", [3, 4])])
    told = " ".join(one.partition(" equal to PyTorch")[0] for one in caplog.messages)
    assert [option in told for option in ("--no-torchscript", "--no-examples")] == [is_large, is_large]


@pytest.mark.usefixtures("bundle")
def test_python_is_told_of_what_was_not_compared(told: list[logging.LogRecord]) -> None:
    assert [record.levelname for record in told] == ["WARNING", "INFO"]
    assert "example_ids" in told[0].getMessage()
    assert "examples=False" in told[1].getMessage()


@pytest.mark.parametrize(
    "stated",
    [None, [], "trained", {}, {"verdict": "proven"}, {"verdict": "compared"},
     {"verdict": "compared", "texts": 0, "by": "ids"}, {"verdict": "compared", "texts": True, "by": "ids"},
     {"verdict": "compared", "texts": 5, "by": ["ids"]}, {"verdict": ["trained"]}],
)  # fmt: skip
def test_whatever_an_old_or_hostile_bundle_states_is_not_compared(bundle: Path, stated: Any) -> None:
    manifest = replace(manifests.read_manifest(bundle), provenance={"text_rules": stated})
    assert read_text_verdict(manifest) == TextVerdict()
    assert read_text_verdict(replace(manifest, provenance={})) == TextVerdict()


def test_a_smaller_bundle_keeps_the_whole_chain_and_says_what_rounding_changed(small: Path) -> None:
    manifest = manifests.read_manifest(small)
    assert links(manifest) == CHAIN
    assert [line.inputs for line in manifest.parity.comparisons if line.measures_rounding][-1] == "texts"
    changed = max(line.largest_difference for line in manifest.parity.comparisons if line.measures_rounding)
    assert 1e-5 < changed < 0.1
    assert manifest.parity.tolerance < 1e-3
    assert describe_graph_proof(manifest).startswith(
        "proven equal to the PyTorch module with rounded weights. Rounding moved"
    )
    shown = run("inspect", small).stdout.split("Provenance")[0]
    assert "rounded weights (what rounding changed)  5 kinds" in shown
    assert len(shown.splitlines()) < 40
    page = proof_page(verify(small))
    assert "One link of the chain is not proven" in page
    assert f"{changed:.1e}" in page
    assert page.count("<circle") == len(manifest.parity.comparisons) + 2 * len(manifest.examples)


@pytest.mark.slow
def test_what_is_made_of_a_smaller_bundle_keeps_the_chain_too(small: Path, tmp_path: Path) -> None:
    packed = pack(small, tmp_path / "small.prnn")
    assert links(packed)[: len(CHAIN)] == CHAIN
    assert links(packed)[len(CHAIN) :] == [
        ("compressed", "packed"), ("compressed", "packed, in place"), ("compressed", "runtime"), ("alone", "together"),
    ]  # fmt: skip
    assert Classifier.load(tmp_path / "small.prnn").manifest.parity == packed.parity
    assert "onnx      " in run("inspect", tmp_path / "small.prnn").stdout
    on_phones = write_mobile_bundle(small, tmp_path / "mobile")
    assert links(on_phones)[: len(CHAIN)] == CHAIN
    assert links(on_phones)[len(CHAIN)][0] == "compressed"


def test_a_bundle_of_rounded_weights_without_its_chain_says_so(small: Path) -> None:
    manifest = manifests.read_manifest(small)
    comparisons = tuple(line for line in manifest.parity.comparisons if line.reference.startswith("rounded"))
    old = replace(manifest, parity=replace(manifest.parity, comparisons=comparisons))
    assert "the bundle says nothing about the module itself" in describe_graph_proof(old)


def test_labels_are_counted_on_texts_that_tell_something(made_small: CompressedBundle) -> None:
    """Not on the empty text, on one without a known word, or on one of which two labels are equally likely."""
    assert {(step.agreeing, step.texts) for step in made_small.steps} == {(2, 2)}
    assert made_small.manifest.provenance["compression"]["label_agreement_of"] == {
        "texts": 2,
        "source": "golden examples",
    }


@pytest.mark.slow
def test_the_command_counts_labels_on_texts_that_tell_something(bundle: Path, tmp_path: Path) -> None:
    told = run("compress", bundle, "-o", tmp_path / "again").stdout
    assert "label as the original, 2 texts" in told
    assert "| 2 of 2 |" in told
    assert "%" not in told
    assert "--data FILE" in told
    # Some weights give numbers below 0 for every text that is tried, which is asked about.
    torch.manual_seed(0)
    tie = torch.nn.Linear(8, 2)
    with torch.no_grad():
        tie.weight.copy_(tie.weight[:1].expand(2, 8))
        tie.bias.fill_(0.0)
    module = net()
    module.fc = tie
    export(module, tmp_path / "tie", labels=LABELS, vocabulary=WORDS, torchscript=False)
    assert {(step.agreeing, step.texts) for step in compress(tmp_path / "tie", tmp_path / "t").steps} == {(0, 0)}


@pytest.mark.slow
def test_given_texts_stay_out_of_a_bundle_where_that_is_asked(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert PRIVATE in (bundle / "classifier.json").read_text(encoding="utf-8")
    with caplog.at_level(logging.INFO):
        kept_out = exported(tmp_path / "made", example_ids=[(PRIVATE, [5, 6, 0, 7, 0])], examples=False)
    (told,) = [record for record in caplog.records if record.name == LOGGER]
    assert told.levelname == "INFO"
    assert "on 1 text" in told.getMessage()
    assert read_text_verdict(kept_out) == TextVerdict("compared", 1)
    assert kept_out.provenance["golden_examples"] == "made of words of the vocabulary"
    assert len(kept_out.examples) == 12
    assert "secret" not in (tmp_path / "made" / "classifier.json").read_text(encoding="utf-8")
    verify(tmp_path / "made")


@pytest.mark.slow
def test_given_texts_that_stayed_out_stay_out_of_a_smaller_bundle(tmp_path: Path) -> None:
    exported(tmp_path / "made", example_ids=[(PRIVATE, [5, 6, 0, 7, 0])], examples=False)
    compress(tmp_path / "made", tmp_path / "small", storage=Storage("int8", "float32"))
    assert "secret" not in (tmp_path / "small" / "classifier.json").read_text(encoding="utf-8")
    verify(tmp_path / "small")
