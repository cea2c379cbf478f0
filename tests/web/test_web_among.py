"""Some labels of a packed file alone in JavaScript, as in Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from packing_tools import packed_bundle
from web_node import Node

from pocketrnn import Classifier

WORDS = Path(__file__).parents[1] / "vectors" / "words"
TEXTS = ["the cup game", "The team wins the cup game!", "", "NASA's space probe"]


def test_the_answers_are_those_of_the_chosen_labels_alone(node: Node, wasm: Path, tmp_path: Path) -> None:
    path = tmp_path / "words.prnn"
    path.write_bytes(packed_bundle(WORDS))
    classifier = Classifier.load(path)
    first, second, *_, last = classifier.labels
    among = [[last, first], [f"-{second}"]]
    wrong = [["other"], [], first, [first, f"-{first}"], [f"-{first}x"]]
    question = {"file": str(path), "wasm": str(wasm / "pocketrnn.wasm"), "texts": TEXTS, "among": among, "wrong": wrong}
    answer = node("among_in_node.mjs", question)
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
