"""The browser runtime refuses damaged bundles and hostile ones. onnxruntime-web is replaced by a stand-in here."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import bundle_maker
import pytest
from web_node import Node, in_base64, list_bundle_files

from pocketrnn.bundle.packed_file import assemble_packed_file, encode_compact_json
from pocketrnn.errors import BundleError
from pocketrnn.graph_check.graph_contents import OPERATORS

VECTORS = Path(__file__).parents[1] / "vectors"
REFUSED = VECTORS / "refused"

pytestmark = pytest.mark.usefixtures("wasm")
Document = dict[str, Any]


def with_document(rules: bytes, change: Callable[[Document], None], least: int | None = None) -> bytes:
    """A file of text rules with right sums, whatever its document says; and the fewest ids of a text."""
    table = struct.unpack_from("<18I", rules, 128)
    sections = [rules[at : at + size] for at, size in zip(table[::2], table[1::2], strict=True)]
    document = json.loads(sections[0])
    change(document)
    words = struct.unpack_from("<12I", rules, 64)
    words = words if least is None else (*words[:3], least, *words[4:])
    return assemble_packed_file(words, [encode_compact_json(document), *sections[1:]])


def setting(path: str, value: object) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        *parents, last = path.split("/")
        for name in parents:
            document = document[int(name)] if isinstance(document, list) else document[name]
        document[last] = value

    return change


# Changes of the document, and a word of the message about each.
FAULTS: dict[str, tuple[Callable[[Document], None], str]] = {
    "no labels": (lambda document: document.pop("labels"), "labels"),
    "other labels": (setting("labels", ["a", "b", "c", "d"]), "contradicts itself"),
    "an unknown activation": (setting("activation", "tanh"), "activation"),
    "another activation": (setting("activation", "sigmoid"), "contradicts itself"),
    "a tokenizer that is none": (setting("text/tokenizer", 1), "text is"),
    "a padding that is no id": (setting("text/padding_id", 0.5), "text is"),
    "a file outside the folder": (setting("graph/file", "../model.onnx"), "graph is"),
    "a hidden file": (setting("graph/file", ".model.onnx"), "graph is"),
    "a file that is not there": (setting("graph/file", "program"), "program was not given"),
    "a digest that is none": (setting("graph/sha256", "0"), "graph is"),
    "another graph": (setting("graph/sha256", "0" * 64), "changed after it was made"),
    "inputs in another order": (setting("graph/inputs", ["lengths", "tokens"]), "graph is"),
    "other inputs": (setting("graph/inputs", ["tokens"]), "text.prnn says tokens"),
    "padding that is no truth value": (setting("graph/padding", 1), "graph is"),
    "a batch of two": (setting("graph/batch", 2), "graph is"),
    "texts alone by no ids": (setting("graph/alone", ["a"]), "graph is"),
    "a batch of none": (setting("graph/limits", {"max_batch": 0}), "graph is"),
    "no graph": (setting("graph", None), "graph is"),
    "an example without logits": (setting("examples/0/logits", None), "examples is"),
    "no tolerance": (setting("parity/tolerance", -1), "parity is"),
    "labels of tokens": (setting("labels_of", "tokens"), "a label for each token"),
    "a threshold above one": (setting("thresholds", [2, 0, 0, 0]), "thresholds is"),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a bundle."""
    return list_bundle_files(bundle_maker.make(tmp_path_factory.mktemp("web") / "good"))


def loaded(
    node: Node, bundles: Sequence[Mapping[str, bytes]], *, classes: int = 4, subtle: bool = True
) -> list[str | None]:
    asked = [{"files": in_base64(files), "inputs": ["tokens", "lengths"], "classes": classes} for files in bundles]
    answer: list[str | None] = node("load_in_node.mjs", {"bundles": asked, "subtle": subtle})
    return answer


def test_what_is_wrong_is_refused_and_said(node: Node, good: dict[str, bytes]) -> None:
    bundles = [{**good, "text.prnn": with_document(good["text.prnn"], change)} for change, _ in FAULTS.values()]
    for (name, (_, sentence)), said in zip(FAULTS.items(), loaded(node, bundles), strict=True):
        assert said is not None, f"{name}: not refused"
        assert said.startswith("BundleError: "), (name, said)
        assert sentence in said, (name, said)


@pytest.mark.parametrize("subtle", [True, False])
def test_every_changed_byte_is_noticed(node: Node, good: dict[str, bytes], subtle: bool) -> None:
    same = {**good, "text.prnn": with_document(good["text.prnn"], lambda _: None)}
    assert same == good
    changed = []
    for name, content in good.items():
        for i in range(0, len(content), 97):
            # The sha256 of text.prnn is asked by verify(); its sums when it is opened.
            if name == "text.prnn" and 32 <= i < 64:
                continue
            changed.append({**good, name: content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :]})
    answers = loaded(node, [good, *changed], subtle=subtle)
    assert answers[0] is None
    assert [i for i, said in enumerate(answers[1:]) if said is None or not said.startswith("BundleError: ")] == []


def test_what_is_no_file_of_text_rules_is_refused(node: Node, good: dict[str, bytes]) -> None:
    packed = (VECTORS / "packed" / "words.prnn").read_bytes()
    numbers = (VECTORS / "packed" / "numbers-plain.prnn").read_bytes()
    long = with_document(good["text.prnn"], lambda _: None, least=2**30)
    contents = [b"", b"{}", (VECTORS / "words" / "classifier.json").read_bytes(), packed, numbers, long]
    for said in loaded(node, [{**good, "text.prnn": content} for content in contents]):
        assert said is not None
        assert said.startswith("BundleError: ")
    (missing,) = loaded(node, [{name: content for name, content in good.items() if name != "text.prnn"}])
    assert missing is not None
    assert "text.prnn was not given" in missing


def test_what_must_be_refused_is(node: Node) -> None:
    """Bundles with a right classifier.json; of the others there are no text rules."""
    vectors = [json.loads(line) for line in (REFUSED / "refused.jsonl").read_text(encoding="ascii").splitlines()]
    bundles, expected = [], []
    for vector in vectors:
        try:
            bundles.append(list_bundle_files(REFUSED / vector["bundle"]))
        except BundleError:
            continue
        expected.append(vector)
    assert len(expected) > 30
    unlike = [
        (vector, said)
        for vector, said in zip(expected, loaded(node, bundles, classes=2), strict=True)
        if said is None or not said.startswith("BundleError: ") or vector["said"] not in said
    ]
    assert unlike == []


def test_the_digest_function_for_pages_without_crypto_is_sha256(node: Node) -> None:
    draw = random.Random(0)
    contents = [draw.randbytes(size) for size in [*range(200), 1000, 65536]]
    digests = node("sha256_in_node.mjs", [base64.b64encode(content).decode() for content in contents])
    assert digests == [hashlib.sha256(content).hexdigest() for content in contents]


def test_the_operators_of_all_readers_are_the_same() -> None:
    root = Path(__file__).parents[2]
    script = (root / "runtime" / "web" / "graph_check.js").read_text(encoding="utf-8")
    named = script.partition("const OPERATORS = new Set(")[2].partition(".trim()")[0]
    assert set(named.split()) - {"`"} == OPERATORS
    program = (root / "examples" / "cpp" / "classify.cpp").read_text(encoding="utf-8")
    listed = program.partition("operators = {")[2].partition("};")[0]
    assert set(listed.replace('"', " ").replace(",", " ").split()) == OPERATORS
