"""Packed taggers by the engine as WebAssembly, in Node: the tags of Python, with places by UTF-16 unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from web_node import Node

from pocketrnn import Classifier
from pocketrnn.tags import Tags

ROOT = Path(__file__).parents[2]
PACKED = ROOT / "tests" / "vectors" / "packed"
FILES = ("tags", "tags-characters", "tags-subwords")
TEXTS: list[str | list[str]] = [
    "Ada lives in New York.",
    "",
    "\U0001f600 cafe\u0301 ada\u0301, \U0001f469\u200d\U0001f467 Ada's \u0130\u0130n \U0001f600\U0001f600 york",
    "a\ud800 in \udc00 new\ud83d",
    "ada lives in new york and lives in new york and lives in new york",
]
GIVEN: list[str | list[str]] = [*TEXTS, ["a", "\U0001f600"], []]


def units(text: str | list[str], place: int) -> int:
    """A place by code point as one by UTF-16 unit."""
    return place if isinstance(text, list) else len(text[:place].encode("utf-16-le", "surrogatepass")) // 2


def check(found: dict[str, Any], expected: Tags, text: str | list[str]) -> None:
    assert found["text"] == text
    rows = [[tag[name] for name in ("token", "label", "start", "end")] for tag in found["tags"]]
    assert rows == [[t.token, t.label, units(text, t.start), units(text, t.end)] for t in expected]
    probabilities = [tag["probability"] for tag in found["tags"]]
    np.testing.assert_allclose(probabilities, [tag.probability for tag in expected], atol=1e-5)
    untagged = [[one["token"], one["start"], one["end"]] for one in found["untagged"]]
    assert untagged == [[token, units(text, a), units(text, b)] for token, a, b in expected.untagged]
    spans = [[span[name] for name in ("label", "start", "end", "text")] for span in found["spans"]]
    assert spans == [[s.label, units(text, s.start), units(text, s.end), s.text] for s in expected.spans]


def test_tags_and_spans_are_those_of_python(wasm: Path, node: Node) -> None:
    engines = ("pocketrnn.wasm", "pocketrnn-plain.wasm")
    cases = [{"file": str(PACKED / f"{name}.prnn"), "wasm": str(wasm / engine), "texts": GIVEN}
             for name in FILES for engine in engines]  # fmt: skip
    for case, answer in zip(cases, node("tags_in_node.mjs", cases), strict=True):
        classifier = Classifier.load(case["file"])
        assert answer["verified"] <= classifier.manifest.parity.tolerance
        for text, found in zip(GIVEN, answer["tags"], strict=True):
            check(found, classifier.tag(text), text)
        assert answer["together"] == answer["tags"][:1]
        for said in (answer["whole"]["said"], answer["labels"]["said"]):
            assert "tag()" in said, said


def test_what_cannot_be_tagged_is_refused_by_name(wasm: Path, node: Node) -> None:
    cases = [
        {"file": str(PACKED / "words.prnn"), "wasm": str(wasm / "pocketrnn.wasm"), "texts": ["the team"]},
        {"file": str(PACKED / "tags-subwords.prnn"), "wasm": str(wasm / "pocketrnn.wasm"), "texts": ["a\u00a0b", 7]},
    ]
    words, tags = node("tags_in_node.mjs", cases)
    assert "classify()" in words["tags"][0]["said"]
    assert "list of its tokens" in tags["tags"][0]["said"]
    assert "number" in tags["tags"][1]["said"]
    assert words["whole"]["label"] == Classifier.load(PACKED / "words.prnn").classify("w1").label


@pytest.mark.parametrize(
    "labels",
    [
        ["B-PER", "I-PER", "O", "I-LOC", "B-LOC", "B-LOC"],
        ["S_A", "B_A", "E_A", "E_A", "O", "U_A", "L_A", "M_B"],
        ["NOUN", "NOUN", "[PAD]", "o", "VERB", "VERB", "<pad>"],
    ],
)
def test_spans_of_javascript_are_those_of_python(node: Node, labels: list[str]) -> None:
    from pocketrnn.tags import Tag, spans_of

    words = [f"w{i}" for i in range(len(labels))]
    tags = [Tag(word, label, 0.5, i, i + 1) for i, (word, label) in enumerate(zip(words, labels, strict=True))]
    given = [{"label": tag.label, "start": tag.start, "end": tag.end} for tag in tags]
    found = node("spans_in_node.mjs", {"tags": given, "text": words})
    assert [[s["label"], s["start"], s["end"], s["text"]] for s in found] == [
        [span.label, span.start, span.end, span.text] for span in spans_of(tags, words)
    ]
