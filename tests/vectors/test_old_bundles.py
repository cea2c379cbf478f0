"""Bundles that earlier commits wrote are loaded, verified and answered as their modules answered then.

Nothing in tests/vectors/version-1 is ever written anew: see make_bundles.py there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketrnn import Classifier, verify
from pocketrnn.verdicts import graph_sentence, text_verdict

FOLDER = Path(__file__).parent / "version-1"
COMMITS = sorted(path.name for path in FOLDER.iterdir() if path.is_dir() and path.name != "__pycache__")
BUNDLES = sorted(path.parent for path in FOLDER.glob("*/*/classifier.json"))
ANSWERED = sorted(FOLDER.glob("*/*.jsonl"))
PACKED = sorted(FOLDER.glob("*/*.prnn"))


def in_words(path: Path) -> str:
    return str(path.relative_to(FOLDER))


def answers_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def check_answers(classifier: Classifier, answers: list[dict[str, Any]]) -> None:
    texts = [answer["text"] for answer in answers]
    assert [classifier.encode(text) for text in texts] == [answer["ids"] for answer in answers]
    expected = np.array([answer["logits"] for answer in answers])
    np.testing.assert_allclose(classifier.logits(texts), expected, atol=1e-5, rtol=0)
    assert classifier.predict(texts) == [answer["label"] for answer in answers]
    assert [classifier.classify(text).label for text in texts] == [answer["label"] for answer in answers]


def test_no_old_bundle_is_missing() -> None:
    # Whoever finds this failing has deleted a promise.
    assert COMMITS == ["2311c61", "8de3e54", "f18bdf7", "fd5966a"]
    assert (len(BUNDLES), len(ANSWERED), len(PACKED)) == (21, 12, 2)


@pytest.mark.parametrize("bundle", BUNDLES, ids=in_words)
def test_an_old_bundle_is_of_version_1_and_verifies(bundle: Path) -> None:
    assert json.loads((bundle / "classifier.json").read_bytes())["version"] == 1
    assert verify(bundle).name == Classifier.load(bundle).name


@pytest.mark.parametrize("answered", ANSWERED, ids=in_words)
def test_an_old_bundle_answers_as_its_module_did(answered: Path) -> None:
    check_answers(Classifier.load(answered.with_suffix("")), answers_in(answered))


@pytest.mark.parametrize("bundle", BUNDLES, ids=in_words)
def test_of_an_old_bundle_nothing_is_said_that_it_does_not_say(bundle: Path) -> None:
    manifest = Classifier.load(bundle).manifest
    assert text_verdict(manifest).kind == "not compared"
    assert ("of the module itself" in graph_sentence(manifest)) == (bundle.name == "packed-lstm-int8")


@pytest.mark.parametrize("bundle", sorted(FOLDER.glob("*/streaming")), ids=in_words)
def test_an_old_bundle_still_streams(bundle: Path) -> None:
    classifier = Classifier.load(bundle)
    stream = classifier.stream()
    stream.push("Oil pri")
    pushed = stream.push("ces rise.")
    whole = classifier.classify("Oil prices rise.")
    assert pushed.label == whole.label
    assert abs(pushed.probability - whole.probability) < 1e-5


@pytest.mark.parametrize("packed", PACKED, ids=in_words)
def test_an_old_packed_file_answers_as_its_module_did(packed: Path) -> None:
    pytest.importorskip("pocketrnn_native._engine")
    check_answers(Classifier.load(packed), answers_in(packed.with_suffix(".jsonl")))
