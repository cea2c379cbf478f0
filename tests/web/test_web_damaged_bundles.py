"""The browser runtime refuses the bundles that Python refuses. onnxruntime-web is replaced by a stand-in here."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bundle_maker
import pytest
from sampling import examples
from web_node import Node

from pocketrnn.bundle import manifest as manifests
from pocketrnn.errors import BundleError
from pocketrnn.graph_check.allow_list import OPERATORS

REFUSED = Path(__file__).parents[1] / "vectors" / "refused"

Document = dict[str, Any]


def written(document: Document) -> bytes:
    """classifier.json with a right digest, whatever it says."""
    members = {name: value for name, value in document.items() if name != "digest"}
    head = json.dumps(members, ensure_ascii=False)[:-1].encode("utf-8", "surrogatepass")
    zeroed = head + b', "digest": "' + b"0" * 64 + b'"}'
    return zeroed[:-66] + hashlib.sha256(zeroed).hexdigest().encode() + b'"}'


def setting(path: str, value: object) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        *parents, last = path.split("/")
        for name in parents:
            document = document[int(name)] if isinstance(document, list) else document[name]
        document[last] = value

    return change


def deleting(path: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        *parents, last = path.split("/")
        for name in parents:
            document = document[name]
        del document[last]

    return change


FAULTS: dict[str, tuple[Callable[[Document], None], str]] = {
    "another format": (setting("format", "onnx"), "not a pocketrnn-classifier"),
    "a newer version": (setting("version", 2), "another release"),
    "an older version": (setting("version", 0), "another release"),
    "a version that is text": (setting("version", "1"), "not valid: version"),
    "an unknown member": (setting("prefix", "x"), "prefix"),
    "an unknown text rule": (setting("text/stemmer", "porter"), "text.stemmer"),
    "an unknown graph member": (setting("graph/device", "gpu"), "graph.device"),
    "no labels": (deleting("labels"), "labels is missing"),
    "no unknown id": (deleting("text/unknown_id"), "text.unknown_id is missing"),
    "one label": (setting("labels", ["a"]), "not valid: labels"),
    "a label twice": (setting("labels", ["a", "b", "c", "a"]), "not valid: labels"),
    "an empty label": (setting("labels", ["a", "b", "c", ""]), "not valid: labels"),
    "fewer labels than logits": (setting("labels", ["a", "b"]), "golden example"),
    "an unknown activation": (setting("activation", "tanh"), "activation"),
    "an unknown tokenizer": (setting("text/tokenizer", "spacy"), "text.tokenizer"),
    "a tokenizer named like a member of every object": (setting("text/tokenizer", "constructor"), "text.tokenizer"),
    "basic_english in its case": (setting("text/lowercase", False), "always lower-cases"),
    "ngrams 0": (setting("text/ngrams", 0), "text.ngrams"),
    "ngrams 1.5": (setting("text/ngrams", 1.5), "text.ngrams"),
    "max_tokens 0": (setting("text/max_tokens", 0), "text.max_tokens"),
    "a negative id": (setting("text/empty_id", -1), "text.empty_id"),
    "an id beyond the embedding": (setting("text/padding_id", 30), "token id 30"),
    "a file outside the folder": (setting("graph/file", "../model.onnx"), "graph.file"),
    "a hidden file": (setting("graph/file", ".model.onnx"), "graph.file"),
    "a digest that is none": (setting("graph/sha256", "0"), "graph.sha256"),
    "another graph": (setting("graph/sha256", "0" * 64), "changed after it was made"),
    "inputs in another order": (setting("graph/inputs", ["lengths", "tokens"]), "graph.inputs"),
    "padding that is no truth value": (setting("graph/padding", 1), "graph.padding"),
    "a batch of two": (setting("graph/batch", 2), "graph.batch"),
    "a vocabulary larger than the embedding": (setting("graph/embedding_rows", 5), "embedding has 5 rows"),
    "a token twice": (setting("vocabulary", ["a", "a"]), "vocabulary"),
    "a token that is no text": (setting("vocabulary", ["a", 1]), "vocabulary"),
    "no examples": (setting("examples", []), "examples"),
    "an example without ids": (setting("examples/0/ids", []), "examples"),
    "an example beyond the embedding": (setting("examples/0/ids", [99]), "golden example"),
    "a torchscript file outside": (setting("torchscript", {"file": "/x", "sha256": "0" * 64}), "torchscript"),
    "a step graph outside": (setting("stream", {"file": "../x", "sha256": "0" * 64, "state_size": 8}), "stream"),
    "a step graph that is none": (setting("stream", None), "stream"),
    "no tolerance": (setting("parity/tolerance", -1), "parity"),
    "provenance that is a list": (setting("provenance", []), "provenance"),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_maker.make(tmp_path_factory.mktemp("web") / "good")


def loaded(node: Node, good: Path, contents: list[bytes], *, subtle: bool = True) -> list[str | None]:
    graph = base64.b64encode((good / "model.onnx").read_bytes()).decode()
    bundles = [
        {
            "files": {"classifier.json": base64.b64encode(content).decode(), "model.onnx": graph},
            "inputs": ["tokens", "lengths"],
            "classes": 4,
        }
        for content in contents
    ]
    answer: list[str | None] = node("load_in_node.mjs", {"bundles": bundles, "subtle": subtle})
    return answer


def test_what_is_wrong_is_refused_and_said(node: Node, good: Path, tmp_path: Path) -> None:
    original = (good / "classifier.json").read_bytes()
    contents = []
    for change, _ in FAULTS.values():
        document = json.loads(original)
        change(document)
        contents.append(written(document))
    for (name, (_, sentence)), content, said in zip(
        FAULTS.items(), contents, loaded(node, good, contents), strict=True
    ):
        assert said is not None, f"{name}: not refused"
        assert said.startswith("BundleError: "), (name, said)
        assert sentence in said, (name, said)
        if name == "another graph":
            continue  # Python's manifest.read leaves the graph to whoever opens it
        (tmp_path / "classifier.json").write_bytes(content)
        with pytest.raises(BundleError):
            manifests.read(tmp_path)


@pytest.mark.parametrize("subtle", [True, False])
def test_every_changed_byte_is_noticed(node: Node, good: Path, subtle: bool) -> None:
    original = (good / "classifier.json").read_bytes()
    changed = [original[:i] + bytes([original[i] ^ 1]) + original[i + 1 :] for i in range(0, len(original), 29)]
    answers = loaded(node, good, [original, written(json.loads(original)), *changed], subtle=subtle)
    assert answers[:2] == [None, None]
    assert [i for i, said in enumerate(answers[2:]) if said is None or not said.startswith("BundleError: ")] == []


def test_what_is_no_classifier_json_is_refused(node: Node, good: Path) -> None:
    contents = [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"format": "pocketrnn-classifier", "version": 1}',
        b'{"format": "pocketrnn-classifier", "version": 1, "name": NaN}',
    ]
    for content, said in zip(contents, loaded(node, good, contents), strict=True):
        assert said is not None, content
        assert said.startswith("BundleError: "), content


def test_a_digest_that_is_not_last_is_refused(node: Node, good: Path) -> None:
    document = json.loads((good / "classifier.json").read_bytes())
    name = document.pop("name")
    (said,) = loaded(node, good, [json.dumps({**document, "name": name}).encode()])
    assert said is not None
    assert "does not end with its digest" in said


def test_what_must_be_refused_is(node: Node) -> None:
    vectors = [json.loads(line) for line in (REFUSED / "refused.jsonl").read_text(encoding="ascii").splitlines()]
    bundles = [
        {
            "files": {
                name: base64.b64encode((REFUSED / vector["bundle"] / name).read_bytes()).decode()
                for name in ("classifier.json", "model.onnx")
            },
            "inputs": ["tokens", "lengths"],
            "classes": 2,
        }
        for vector in vectors
    ]
    answers = node("load_in_node.mjs", {"bundles": bundles, "subtle": True})
    unlike = [
        (vector, said)
        for vector, said in zip(vectors, answers, strict=True)
        if said is None or not said.startswith("BundleError: ") or vector["said"] not in said
    ]
    assert unlike == []


HALF, BEYOND = "\ud83d", "\U0001f600"
STRINGS = ("", "a", "b", "ab", "aa", BEYOND, BEYOND * 2, "a" * 256, "a" * 257, BEYOND * 256, HALF, "\0")
NUMBERS = (0, 1, 5, 6, 9, 65536, 65537, 2**31 - 1, 2**31, -1, 1.0, 1.5, True, None, "1", [1])
STEPS = (
    {"lowercase": True}, {"lowercase": 1}, {"lowercase": False}, {"by": ""}, {}, None, "lowercase", ["a", "b"],
    {"replace": "a"}, {"replace": "a", "by": "b", "keep": ["a"]}, {"keep": "az", "by": ""}, {"keep": [], "by": ""},
    {"keep": ["az", "za"], "by": ""}, {"keep": ["abc"], "by": ""}, {"keep": [BEYOND, f"a{BEYOND}"], "by": BEYOND},
    {"keep": [f"{BEYOND}a"], "by": ""}, {"keep": [f"a{HALF}"], "by": ""}, {"keep": [""], "by": ""},
    {"keep": ["az"] * 4096, "by": "ab"}, {"keep": ["az"] * 4097, "by": ""}, {"keep": ["az"], "by": None},
    {"keep": [1], "by": ""},
)  # fmt: skip
GROWING = ("ab", "ba", "aaa", "a", "", "abab", BEYOND, f"{BEYOND}b")


def drawn_members(draw: random.Random) -> Document:
    """Members of the text rules: mostly sound ones."""

    def step() -> object:
        if draw.random() < 0.1:
            return draw.choice(STEPS)
        if draw.random() < 0.2:
            return {"replace": draw.choice(STRINGS), "by": draw.choice(STRINGS)}
        by = draw.choice(GROWING)
        kinds: list[object] = [{"replace": draw.choice(GROWING) or "b", "by": by}, {"keep": ["az"], "by": by}]
        return draw.choice([*kinds, kinds[0], {"lowercase": True}])

    members: Document = {}
    if draw.random() < 0.7:
        members["steps"] = [step() for _ in range(draw.choice([0, 1, 2, 3, 4, 5, 7]))]
    if draw.random() < 0.2:
        members["stop_words"] = draw.choice([["a"], ["", BEYOND], [], ["a", "a"], [1], "a", None])
    for name in ("first_id", "last_id", "max_width", "min_width"):
        if draw.random() < 0.2:
            members[name] = draw.choice(NUMBERS)
    for name in ("cut_side", "pad_side"):
        if draw.random() < 0.1:
            members[name] = draw.choice(["left", "right", "both", None])
    if draw.random() < 0.1:
        members["tokenizer"] = draw.choice(["space", "whitespace", "spaces", None])
    return members


def test_hostile_text_rules_are_refused_where_python_refuses_them(node: Node, good: Path, tmp_path: Path) -> None:
    draw, documents_drawn = random.Random(0), examples(150, 1500)
    documents = []
    for _ in range(documents_drawn):
        document = json.loads((good / "classifier.json").read_bytes())
        document["text"] |= drawn_members(draw)
        document["version"] = draw.choice([1, 1, 1, 1, 2, 1.0])
        # Half a surrogate pair has no UTF-8 form, but an escape.
        documents.append(json.loads(json.dumps(document)))
    contents = [written_in_ascii(document) for document in documents]
    refused = []
    for content in contents:
        (tmp_path / "classifier.json").write_bytes(content)
        try:
            manifests.read(tmp_path)
            refused.append(False)
        except BundleError:
            refused.append(True)
    answers = loaded(node, good, contents)
    unlike = [
        (document["version"], document["text"], answer, python)
        for document, answer, python in zip(documents, answers, refused, strict=True)
        if (answer is not None) != python or (answer is not None and not answer.startswith("BundleError: "))
    ]
    assert unlike[:3] == []
    assert 0.2 < sum(refused) / documents_drawn < 0.8


def written_in_ascii(document: Document) -> bytes:
    """As `written`, with escapes for all but ASCII."""
    head = json.dumps({name: value for name, value in document.items() if name != "digest"})[:-1].encode()
    zeroed = head + b', "digest": "' + b"0" * 64 + b'"}'
    return zeroed[:-66] + hashlib.sha256(zeroed).hexdigest().encode() + b'"}'


def test_the_operators_of_all_readers_are_the_same() -> None:
    root = Path(__file__).parents[2]
    script = (root / "runtime" / "web" / "pocketrnn.js").read_text(encoding="utf-8")
    named = script.partition("const OPERATORS = new Set(")[2].partition(".trim()")[0]
    assert set(named.split()) - {"`"} == OPERATORS
    program = (root / "examples" / "cpp" / "classify.cpp").read_text(encoding="utf-8")
    listed = program.partition("operators = {")[2].partition("};")[0]
    assert set(listed.replace('"', " ").replace(",", " ").split()) == OPERATORS
