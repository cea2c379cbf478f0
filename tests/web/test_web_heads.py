"""Packed files with several heads by the engine as WebAssembly, in Node: the answers of Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from web_node import Node

from pocketrnn import Classifier

FILE = Path(__file__).parents[1] / "vectors" / "packed" / "heads.prnn"
TEXTS = ["Oil prices rise.", "", "the cup final", "na\u00efve \U0001f600 oil"]
MOOD = "m\u00f3od"


def test_heads_are_answered_as_in_python(wasm: Path, node: Node) -> None:
    engines = ("pocketrnn.wasm", "pocketrnn-plain.wasm")
    cases = [{"file": str(FILE), "wasm": str(wasm / engine), "texts": TEXTS, "head": MOOD} for engine in engines]
    whole = Classifier.load(FILE)
    one, tolerance = whole.head(MOOD), whole.manifest.parity.tolerance
    probabilities = whole.predict_proba(TEXTS)
    for answer in node("heads_in_node.mjs", cases):
        assert (answer["heads"], answer["labels"]) == (list(whole.heads), list(whole.labels))
        assert max(answer["verified"]) <= tolerance
        assert answer["predict"] == whole.predict(TEXTS)
        assert [{name: tuple(given) for name, given in row.items()} for row in answer["given"]] == whole.predict_labels(
            TEXTS
        )
        for i, row in enumerate(answer["proba"]):
            for name in whole.heads:
                np.testing.assert_allclose(row[name], probabilities[name][i], atol=1e-5)
        for found, expected in zip(answer["classify"], whole.classify_all(TEXTS, top=2), strict=True):
            for name, prediction in expected.items():
                assert [given["label"] for given in found[name]["top"]] == [label for label, _ in prediction.top]
        assert [found["label"] for found in answer["alone"]] == one.predict(TEXTS)
        assert answer["thresholds"] == pytest.approx(one.thresholds)
        explained = one.explain(TEXTS[0])
        for found, fragment in zip(answer["contributions"], explained.fragments, strict=True):
            assert found["logOdds"] == pytest.approx(fragment.log_odds, abs=1e-4)
        named = ("topic", "3", "moods", "one set")
        for said, name in zip(answer["refused"], named, strict=True):
            assert said["said"].startswith("InputError"), said
            assert name in said["said"], said
