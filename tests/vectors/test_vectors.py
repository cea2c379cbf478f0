"""The Python runtime answers the language-neutral test vectors as they say."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketrnn import Classifier, verify
from pocketrnn.errors import BundleError, InputError, LimitError
from pocketrnn.text import Keep, Lowercase, Replace, ReplaceRuns, TextEncoder

HERE = Path(__file__).parent
BUNDLES = sorted(path.parent for path in HERE.glob("*/classifier.json"))
REFUSED = HERE / "refused"
EXTERNAL = HERE / "external" / "words"
FILES = ("vectors.jsonl", "unicode-14.jsonl", "surrogates.jsonl")


def vectors_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_the_vectors_are_answered_as_they_say(bundle: Path, file: str) -> None:
    if file == "unicode-14.jsonl" and unicodedata.unidata_version != "14.0.0":
        pytest.skip(f"this Python has Unicode {unicodedata.unidata_version}; the format's is 14.0, that of Python 3.11")
    classifier, vectors = Classifier.load(bundle), vectors_in(bundle / file)
    texts = [vector["text"] for vector in vectors]
    encoder = TextEncoder(classifier.manifest.text.rules, classifier.manifest.text.vocabulary)
    assert [encoder.tokens(text) for text in texts] == [vector["tokens"] for vector in vectors]
    assert [classifier.encode(text) for text in texts] == [vector["ids"] for vector in vectors]
    expected = np.array([vector["logits"] for vector in vectors])
    np.testing.assert_allclose(classifier.logits(texts), expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(np.concatenate([classifier.logits([t]) for t in texts]), expected, atol=1e-5, rtol=0)
    probabilities = [vector["probabilities"] for vector in vectors]
    np.testing.assert_allclose(classifier.predict_proba(texts), probabilities, atol=1e-5, rtol=0)
    assert classifier.predict(texts) == [vector["label"] for vector in vectors]


def test_texts_that_are_split_already_are_answered_as_the_vectors_say() -> None:
    vectors = vectors_in(EXTERNAL / "vectors.jsonl")
    for classifier in (Classifier.load(EXTERNAL), Classifier.load(EXTERNAL, tokenizer=json.loads)):
        texts = [vector["text"] for vector in vectors]
        given = texts if classifier._tokenizer is None else list(map(json.dumps, texts))
        assert [classifier.encode(text) for text in given] == [vector["ids"] for vector in vectors]
        expected = [vector["logits"] for vector in vectors]
        np.testing.assert_allclose(classifier.logits(given), expected, atol=1e-5, rtol=0)
        assert [classifier.classify(text).label for text in given] == [vector["label"] for vector in vectors]
    assert verify(EXTERNAL).name == "words"


@pytest.mark.parametrize("vector", vectors_in(EXTERNAL / "refused.jsonl"), ids=lambda vector: str(vector["text"])[:20])
def test_what_is_no_text_of_a_bundle_that_splits_none_is_refused(vector: dict[str, Any]) -> None:
    classifier = Classifier.load(EXTERNAL)
    for ask in (classifier.classify, classifier.encode, lambda text: classifier.predict([["the"], text])):
        with pytest.raises(InputError, match=vector["said"]):
            ask(vector["text"])


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_the_vectors_bundles_verify(bundle: Path) -> None:
    assert verify(bundle).name == bundle.name


@pytest.mark.parametrize("vector", vectors_in(REFUSED / "refused.jsonl"), ids=lambda vector: vector["bundle"])
def test_what_must_be_refused_is(vector: dict[str, str]) -> None:
    with pytest.raises(BundleError) as caught:
        Classifier.load(REFUSED / vector["bundle"])
    assert vector["said"] in str(caught.value)


@pytest.mark.parametrize("bundle", [bundle for bundle in BUNDLES if (bundle / "beyond.jsonl").exists()], ids=str)
def test_the_texts_beyond_a_bundles_limits_are_refused(bundle: Path) -> None:
    classifier, vectors = Classifier.load(bundle), vectors_in(bundle / "beyond.jsonl")
    expected = {"limits": {"at least 2", "at most 9"}, "real-token": {"holds no known word"}}
    assert {vector["said"] for vector in vectors} == expected[bundle.name]
    for vector in vectors:
        assert classifier.encode(vector["text"]) == vector["ids"]
        with pytest.raises(LimitError, match=vector["said"]):
            classifier.classify(vector["text"])
        with pytest.raises(LimitError, match=vector["said"]):
            classifier.logits([vector["text"]])


def test_every_folder_of_refused_bundles_is_listed() -> None:
    listed = {vector["bundle"] for vector in vectors_in(REFUSED / "refused.jsonl")}
    assert listed == {path.name for path in REFUSED.iterdir() if path.is_dir()}


def test_the_vectors_hold_every_rule_and_stay_small() -> None:
    manifests = [Classifier.load(bundle).manifest for bundle in BUNDLES]
    assert {a.text.rules.tokenizer for a in manifests} == {"basic_english", "whitespace", "characters", "space"}
    assert {type(step) for a in manifests for step in a.text.rules.steps} == {Replace, Keep, Lowercase, ReplaceRuns}
    assert {(a.text.rules.cut_side, a.text.rules.pad_side) for a in manifests} >= {("left", "left"), ("right", "right")}
    assert {(a.text.rules.first_id is None, a.text.rules.last_id is None) for a in manifests} >= {
        (False, False),
        (True, False),
    }
    assert {a.output.activation for a in manifests} == {"softmax", "sigmoid"}
    assert {a.graph.inputs for a in manifests} == {("tokens",), ("tokens", "lengths")}
    assert {a.text.rules.unknown_id is None for a in manifests} == {False, True}
    assert {a.text.rules.lowercase for a in manifests} == {False, True}
    assert len({a.text.rules.ngrams for a in manifests}) == 3
    assert sum(path.stat().st_size for bundle in BUNDLES for path in bundle.iterdir()) < 270_000
