"""Some labels of a packed file alone in JavaScript, as in Python."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from packing_tools import packed_bundle
from web_node import Node

from pocketrnn import Classifier
from pocketrnn.bundle import manifest as manifests

WORDS = Path(__file__).parents[1] / "vectors" / "words"
TEXTS = ["the cup game", "The team wins the cup game!", "", "NASA's space probe"]


def test_the_answers_are_those_of_the_chosen_labels_alone(node: Node, wasm: Path, tmp_path: Path) -> None:
    path, bundle = tmp_path / "words.prnn", tmp_path / "words"
    shutil.copytree(WORDS, bundle)
    manifest = manifests.read_manifest(bundle)
    web = {manifest.labels[0]: 1, manifest.labels[1]: 40}
    named = replace(manifest, output=replace(manifest.output, priors={"web": web}))
    (bundle / manifests.CLASSIFIER_JSON).write_bytes(manifests.encode_manifest(named))
    path.write_bytes(packed_bundle(bundle))
    classifier = Classifier.load(path)
    first, second, *_, last = classifier.labels
    among = [[last, first], [f"-{second}"]]
    wrong = [["other"], [], first, [first, f"-{first}"], [f"-{first}x"]]
    question = {"file": str(path), "wasm": str(wasm / "pocketrnn.wasm"), "texts": TEXTS, "among": among, "wrong": wrong}
    priors, wrong_priors = ["web", {last: 3, second: 0}], ["wbe", {"other": 1}, {}, {first: -1}]
    question |= {"priors": priors, "wrongPriors": wrong_priors}
    answer = node("label_subset_in_node.mjs", question)
    for labels, given in zip(among, answer["answers"], strict=True):
        some = classifier.among(labels)
        assert given["labels"] == some.predict(TEXTS)
        expected = [some.classify(text, 2) for text in TEXTS]
        assert [[one["label"] for one in row["top"]] for row in given["alone"]] == [
            [label for label, _ in one.top] for one in expected
        ]
        kept = [classifier.labels.index(label) for label in some.labels]
        probabilities = np.array(
            [list(row.values()) if isinstance(row, dict) else row for row in given["probabilities"]]
        )
        np.testing.assert_allclose(probabilities[:, kept], some.predict_proba(TEXTS), atol=1e-6)
        assert np.delete(probabilities, kept, axis=1).max() == 0
    assert ["InputError" in said for said in answer["refused"]] == [True] * len(wrong)
    assert "other" in answer["refused"][0]
    for prior, given in zip(priors, answer["weighed"], strict=True):
        expecting = Classifier.load(path, prior=prior)
        np.testing.assert_allclose(np.array(given["probabilities"]), expecting.predict_proba(TEXTS), atol=1e-6)
        some = [expecting.classify(text, 2, among=among[0]) for text in TEXTS]
        labels = [[one["label"] for one in row["top"]] for row in given["alone"]]
        assert labels == [[label for label, _ in one.top] for one in some]
    assert ["InputError" in said for said in answer["noPriors"]] == [True] * len(wrong_priors)
    assert "wbe" in answer["noPriors"][0]
    assert "web" in answer["noPriors"][0]
