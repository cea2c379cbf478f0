"""The browser runtime takes texts that are split already, as tokens or ids; a stand-in is its onnxruntime-web."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from web_node import Node, in_base64, list_bundle_files

from pocketrnn import Classifier
from pocketrnn.bundle.packed_file import encode_packed_text_rules
from pocketrnn.errors import InputError

pytestmark = pytest.mark.usefixtures("wasm")

VECTORS = Path(__file__).parents[1] / "vectors"
EXTERNAL = VECTORS / "external" / "words"


def asked(node: Node, bundle: Path, texts: list[Any], refused: list[Any]) -> Any:
    return node(
        "pretokenized_in_node.mjs",
        {"files": in_base64(list_bundle_files(bundle)), "classes": 4, "texts": texts, "refused": refused},
    )


def lines_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EXTERNAL / name).read_text(encoding="ascii").splitlines()]


def test_the_vectors_of_texts_that_are_split_already_are_answered_as_they_say(node: Node) -> None:
    vectors, refused = lines_of("vectors.jsonl"), lines_of("refused.jsonl")
    answer = asked(node, EXTERNAL, [v["text"] for v in vectors], [v["text"] for v in refused])
    assert answer["ids"] == answer["run"] == [vector["ids"] for vector in vectors]
    assert answer["typed"] == vectors[0]["ids"]
    for vector, (alone, second) in zip(refused, answer["said"], strict=True):
        # The message for a value that is not a list differs here.
        said = "must be a string" if vector["said"] == "is not" else vector["said"]
        for each in (alone, second):
            assert each is not None, vector
            assert each.startswith("InputError: "), vector
            assert said in each, vector
    # The stand-in answers with zeros: what is missed is the label, not the ids.
    assert "other token ids" not in answer["verified"]


@pytest.mark.parametrize("name", ["cased", "padded", "keras"])
def test_bundles_that_split_texts_take_lists_as_python_does(node: Node, name: str) -> None:
    classifier = Classifier.load(VECTORS / name)
    texts: list[Any] = [
        ["the", "cup"],
        [],
        ["A", "x y z".replace(" ", "")],
        classifier.encode("the cup"),
        ["the", "the"],
    ]
    texts = [text for text in texts if not is_refused(classifier, text)]
    refused = [["the cup is here now"], ["", "the  team wins"], [-1], [10**6]]
    assert all(is_refused(classifier, text) for text in refused)
    answer = asked(node, VECTORS / name, texts, refused)
    assert answer["ids"] == [classifier.encode(text) for text in texts]
    assert all(each and each.startswith("InputError") for pair in answer["said"] for each in pair)


def is_refused(classifier: Classifier, text: Any) -> bool:
    try:
        classifier.encode(text)
    except InputError:
        return True
    return False


def test_subwords_become_the_ids_of_the_engine(node: Node) -> None:
    path, model = VECTORS / "packed" / "subwords-wordpiece.prnn", (VECTORS / "words" / "model.onnx").read_bytes()
    classifier = Classifier.load(path)
    manifest = classifier.manifest
    graph = replace(manifest.graph, file="model.onnx", sha256=hashlib.sha256(model).hexdigest())
    files = {"text.prnn": encode_packed_text_rules(replace(manifest, graph=graph)), "model.onnx": model}
    lines = path.with_suffix(".jsonl").read_text(encoding="ascii").splitlines()
    vectors = [json.loads(line) for line in lines]
    tokens = [manifest.text.vocabulary[-1], "unheard-of"]
    question = {
        "files": in_base64(files),
        "classes": len(manifest.labels),
        "texts": [*(vector["text"] for vector in vectors), tokens],
        "refused": [],
    }
    expected = [*(vector["ids"] for vector in vectors), classifier.encode(tokens)]
    assert node("pretokenized_in_node.mjs", question)["ids"] == expected
