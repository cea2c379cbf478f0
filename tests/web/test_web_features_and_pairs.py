"""Packed files that take something beside a text by the engine as WebAssembly, in Node: the answers of Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from web_node import Node

from pocketrnn import Classifier

PACKED = Path(__file__).parents[1] / "vectors" / "packed"
VALUES: dict[str, Any] = {"price": 9.5, "kind": "na\u00efve", "user": "ada", "stars": 4}
ENGINES = ("pocketrnn.wasm", "pocketrnn-plain.wasm")


def ask(name: str, items: list[Any], refused: list[Any], wasm: Path, node: Node) -> list[dict[str, Any]]:
    cases = [
        {"file": str(PACKED / f"{name}.prnn"), "wasm": str(wasm / engine), "items": items, "refused": refused}
        for engine in ENGINES
    ]
    answers: list[dict[str, Any]] = node("features_and_pairs_in_node.mjs", cases)
    return answers


def test_texts_with_features_are_answered_as_in_python(wasm: Path, node: Node) -> None:
    texts = ["Oil prices rise.", "", "na\u00efve \U0001f600 oil", "the " * 200]
    items = [
        [text, {**VALUES, "price": i * 7.25, "user": [17, "eve", "nobody", "17"][i]}] for i, text in enumerate(texts)
    ]
    wrong: dict[str, Any] = {
        "features": "oil",
        "price": ["oil", {**VALUES, "price": "3"}],
        "stars": ["oil", {name: value for name, value in VALUES.items() if name != "stars"}],
        "colour": ["oil", {**VALUES, "colour": 1}],
        "song": ["oil", {**VALUES, "kind": "song"}],
        "float32": ["oil", {**VALUES, "price": 1e300}],
        "kind": ["oil", {**VALUES, "kind": 0.5}],
    }
    classifier = Classifier.load(PACKED / "features.prnn")
    given = [tuple(item) for item in items]
    for answer in ask("features", items, list(wrong.values()), wasm, node):
        assert answer["verified"] <= classifier.manifest.parity.tolerance
        assert answer["beside"].startswith("price, kind, user, stars")
        assert answer["takes"] == [True] * len(items)
        assert answer["ids"] == [[one for one in classifier.encode(item) if one >= 0] for item in given]
        assert answer["alone"] == [[label] for label in classifier.predict(given)]
        np.testing.assert_allclose(answer["logits"], classifier.logits(given), atol=1e-5)
        for said, name in zip(answer["said"], wrong, strict=True):
            assert said.startswith("InputError"), said
            assert name in said


def test_each_of_several_heads_answers_a_text_with_its_features_as_in_python(wasm: Path, node: Node) -> None:
    item = ["Oil prices rise.", {**VALUES, "price": 7.25}]
    classifier = Classifier.load(PACKED / "features-heads.prnn")
    cases = [
        {"file": str(PACKED / "features-heads.prnn"), "wasm": str(wasm / engine), "items": [item], "refused": ["oil"]}
        for engine in ENGINES
    ]
    for answer in node("features_and_pairs_in_node.mjs", cases):
        np.testing.assert_allclose(answer["logits"], classifier.logits([tuple(item)]), atol=1e-5)
        assert answer["alone"] == [classifier.predict([tuple(item)])]
        assert answer["said"][0].startswith("InputError")


def test_pairs_are_answered_as_in_python(wasm: Path, node: Node) -> None:
    pairs = [
        ("Oil prices rise.", "the cup"),
        ("", "na\u00efve \U0001f600"),
        ("a\ud800", ""),
        ("the " * 300, "oil " * 90),
    ]
    classifier = Classifier.load(PACKED / "pairs.prnn")
    for answer in ask("pairs", [*map(list, pairs)], ["oil", ["oil"], ["oil", 3], ["oil", {"stars": 1}]], wasm, node):
        assert answer["verified"] <= classifier.manifest.parity.tolerance
        assert answer["beside"] == "two texts"
        assert answer["takes"] == [True] * len(pairs)
        rows = [[*first, -2, *second] for first, second in answer["ids"]]
        assert rows == [classifier.encode(pair) for pair in pairs]
        assert answer["alone"] == [[label] for label in classifier.predict(pairs)]
        np.testing.assert_allclose(answer["logits"], classifier.logits(pairs), atol=1e-5)
        for said in answer["said"]:
            assert said.startswith("InputError"), said
            assert "two texts" in said
