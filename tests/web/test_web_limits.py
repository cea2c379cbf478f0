"""The browser runtime keeps to a bundle's limits. onnxruntime-web is replaced by a stand-in here."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from web_node import Node

BUNDLE = Path(__file__).parents[1] / "vectors" / "limits"


def test_texts_beyond_the_limits_are_refused_and_runs_keep_to_them(node: Node) -> None:
    beyond = [json.loads(line) for line in (BUNDLE / "beyond.jsonl").read_text(encoding="ascii").splitlines()]
    files = {
        name: base64.b64encode((BUNDLE / name).read_bytes()).decode() for name in ("classifier.json", "model.onnx")
    }
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
