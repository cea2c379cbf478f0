"""The browser runtime keeps to a bundle's limits. onnxruntime-web is replaced by a stand-in here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from web_node import Node, in_base64, list_bundle_files

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.packed_file import encode_packed_text_rules

pytestmark = pytest.mark.usefixtures("wasm")

VECTORS = Path(__file__).parents[1] / "vectors"
BUNDLE = VECTORS / "limits"


def test_texts_beyond_the_limits_are_refused_and_runs_keep_to_them(node: Node) -> None:
    beyond = [json.loads(line) for line in (BUNDLE / "beyond.jsonl").read_text(encoding="ascii").splitlines()]
    files = in_base64(list_bundle_files(BUNDLE))
    answer = node(
        "limits_in_node.mjs",
        {
            "files": files,
            "inputs": ["tokens", "lengths"],
            "classes": 4,
            "within": ["the cup game"] * 8,
            "beyond": [vector["text"] for vector in beyond],
        },
    )
    assert answer["shapes"] == [[1, 2], [3, 3], [3, 3], [2, 3]]
    assert answer["refusedRuns"] == 0
    for vector, (taken, alone, second) in zip(beyond, answer["said"], strict=True):
        assert not taken
        size = len(vector["ids"])
        what = f"becomes {size} token id{'s' if size > 1 else ''}, but limits takes {vector['said']}."
        assert alone.startswith(f"LimitError: The text {what}")
        assert second.startswith(f"LimitError: The text at position 1 (counted from 0) {what}")
    # Each of two words is needed: without it, the text would be too short.
    assert answer["contributions"] == 0


def test_a_text_of_padding_only_is_refused_where_the_graph_needs_a_real_token(node: Node) -> None:
    bundle = VECTORS / "real-token"
    beyond = [json.loads(line) for line in (bundle / "beyond.jsonl").read_text(encoding="ascii").splitlines()]
    files = in_base64(list_bundle_files(bundle))
    answer = node(
        "limits_in_node.mjs",
        {
            "files": files,
            "inputs": ["tokens"],
            "classes": 4,
            "within": ["the cup"] * 2,
            "beyond": [vector["text"] for vector in beyond],
        },
    )
    assert answer["shapes"] == [[1, 1], [2, 3]]
    assert answer["refusedRuns"] == 0
    for taken, alone, second in answer["said"]:
        assert not taken
        what = "holds no known word besides padding, but real-token needs one."
        assert alone.startswith(f"LimitError: The text {what}")
        assert second.startswith(f"LimitError: The text at position 1 (counted from 0) {what}")
    # Each of two words can be left out: the other stays.
    assert answer["contributions"] == 2


def test_the_text_that_loading_asks_for_is_within_the_limits(node: Node) -> None:
    manifest = manifests.read_manifest(VECTORS / "real-token")
    rows = manifest.graph.embedding_rows
    # The padding's id is the highest one here.
    given = manifest.text
    changed = replace(manifest, input=replace(given, rules=replace(given.rules, padding_id=rows - 1)))
    files = in_base64({**list_bundle_files(VECTORS / "real-token"), "text.prnn": encode_packed_text_rules(changed)})
    asked = {"files": files, "inputs": ["tokens"], "classes": 4, "within": ["the cup"], "beyond": []}
    assert node("limits_in_node.mjs", asked)["tokens"] == [str(rows - 2), str(rows - 1)]
