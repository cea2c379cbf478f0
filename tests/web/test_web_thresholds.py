"""Labels by their thresholds in JavaScript, as in Python: the reader of bundles and that of packed files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bundle_maker
import numpy as np
import pytest
from web_node import Node, in_base64, list_bundle_files

from pocketrnn import Classifier
from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.output_kinds import build_output
from pocketrnn.predictions_from_logits import Answers

WORDS = Path(__file__).parents[1] / "vectors" / "words"
TEXTS = ["the cup game", "The team wins the cup game!", "", "unheard-of", "NASA's space probe"]


def make_two_labels(folder: Path) -> Path:
    """Make a bundle with two labels whose thresholds add up to 1 and lie between texts of the same likeliest label."""
    labels = ("ham", "spam")
    ordered = np.sort(Classifier.load(bundle_maker.make(folder, labels=labels)).predict_proba(TEXTS)[:, 1])
    second = next(float(pair.mean().round(6)) for pair in np.stack([ordered[:-1], ordered[1:]], 1)
                  if pair[0] + 1e-4 < pair[1] and (pair[0] - 0.5) * (pair[1] - 0.5) > 0)  # fmt: skip
    changed = bundle_maker.with_output(manifests.read_manifest(folder), "softmax", (1 - second, second))
    (folder / "classifier.json").write_bytes(manifests.encode_manifest(changed))
    return folder


@pytest.fixture(params=["softmax", "sigmoid", "two"])
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    if request.param == "two":
        return make_two_labels(folder)
    folder.mkdir()
    (folder / "model.onnx").write_bytes((WORDS / "model.onnx").read_bytes())
    # Some of the texts reach them, and some do not.
    answers = replace(Answers.from_manifest(manifests.read_manifest(WORDS)), activation=request.param)
    probabilities = answers.probabilities(Classifier.load(WORDS).logits(TEXTS))
    largest = probabilities.max(1) if request.param == "softmax" else probabilities
    thresholds = tuple(np.broadcast_to(np.median(largest, axis=0), 4).round(4).tolist())
    changed = replace(manifests.read_manifest(WORDS), output=build_output(answers.labels, request.param, thresholds))
    (folder / "classifier.json").write_bytes(manifests.encode_manifest(changed))
    return folder


@pytest.mark.usefixtures("wasm")
def test_a_bundle_gives_the_labels_that_reach_their_thresholds(node: Node, bundle: Path) -> None:
    classifier = Classifier.load(bundle)
    answer = node(
        "thresholds_in_node.mjs",
        {
            "files": in_base64(list_bundle_files(bundle)),
            "texts": TEXTS,
            "logits": [classifier.logits([text])[0].tolist() for text in TEXTS],
        },
    )
    assert answer["thresholds"] == list(classifier.thresholds or ())
    assert answer["given"] == [list(labels) for labels in classifier.predict_labels(TEXTS)]
    assert answer["from"] == [list(labels) for labels in classifier.predict_labels(TEXTS, 0.3)]
    assert len({len(labels) for labels in answer["given"]}) > 1 or len(classifier.labels) == 2


def test_a_packed_file_keeps_them(node: Node, wasm: Path, bundle: Path, tmp_path: Path) -> None:
    from packing_tools import packed_bundle

    path = tmp_path / "words.prnn"
    path.write_bytes(packed_bundle(bundle))
    packed = Classifier.load(path)
    assert packed.thresholds == Classifier.load(bundle).thresholds
    question = {"file": str(path), "wasm": str(wasm / "pocketrnn.wasm"), "texts": TEXTS}
    (answer,) = node("native_engine_in_node.mjs", [question])
    assert answer["thresholds"] == list(packed.thresholds or ())
    assert answer["given"] == [list(labels) for labels in packed.predict_labels(TEXTS)]
    assert answer["from"] == [list(labels) for labels in packed.predict_labels(TEXTS, 0.3)]
