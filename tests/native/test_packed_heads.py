"""Packed files with several heads: the engine's own package answers by head, as pocketrnn's Classifier does."""

from __future__ import annotations

from pathlib import Path

import pytest
from input_output_vectors import HEADS, TEXTS
from refused_packed import File

import pocketrnn_native
from pocketrnn import Classifier
from pocketrnn.bundle.packed_enums import Section
from pocketrnn.errors import BundleError
from pocketrnn_native import EngineError, _engine

FILE = Path(__file__).parents[1] / "vectors" / "packed" / "heads.prnn"
MOOD = "m\u00f3od"


def test_the_package_of_the_engine_answers_by_head_as_the_runtime(
    alone: pocketrnn_native.Classifier, runtime: Classifier
) -> None:
    assert alone.heads == runtime.heads == tuple(HEADS.heads)
    assert alone.labels == runtime.labels
    for text in TEXTS:
        found, expected = alone.classify(text, 3), runtime.classify(text, 3)
        for name in alone.heads:
            assert [label for label, _ in found[name].top] == [label for label, _ in expected[name].top]
            assert found[name].probability == pytest.approx(expected[name].probability, abs=1e-6)
    assert alone.predict(TEXTS) == runtime.predict(TEXTS)
    assert alone.predict_labels(TEXTS) == runtime.predict_labels(TEXTS)
    assert alone.predict_labels(TEXTS, 0.45) == runtime.predict_labels(TEXTS, 0.45)
    rows, arrays = alone.predict_proba(TEXTS), runtime.predict_proba(TEXTS)
    for name in alone.heads:
        assert [one for row in rows[name] for one in row] == pytest.approx(arrays[name].ravel().tolist(), abs=1e-6)


def test_a_head_answers_as_a_classifier_of_its_labels(alone: pocketrnn_native.Classifier, runtime: Classifier) -> None:
    mood, expected = alone.head(MOOD), runtime.head(MOOD)
    assert (mood.heads, mood.labels, mood.thresholds) == ((), expected.labels, expected.thresholds)
    assert (alone.thresholds, alone.head("topic").thresholds) == (None, None)
    assert mood.predict(TEXTS) == expected.predict(TEXTS)
    assert mood.predict_labels(TEXTS) == expected.predict_labels(TEXTS)
    assert mood.predict_proba(TEXTS)[0] == pytest.approx(expected.predict_proba(TEXTS)[0].tolist(), abs=1e-6)
    assert mood.classify(TEXTS[0], 2).top[0][0] == expected.classify(TEXTS[0], 2).top[0][0]
    for refused in (
        lambda: alone.classify("oil", 4),
        lambda: mood.classify("oil", 3),
        lambda: alone.head("mood"),
        lambda: mood.head("topic"),
    ):
        with pytest.raises(ValueError, match=r"number of labels|topic|one set"):
            refused()
    with pytest.raises(EngineError) as error:
        alone.stream()
    assert error.value.args[0] == _engine.NO_STREAM


def test_heads_that_contradict_the_document_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "contradicts.prnn"
    file = File(bytearray(FILE.read_bytes()))
    at = file.section(Section.HEADS)
    file.put(at + 4, 2, 0, 3, 1)
    file.make_sums_fit()
    path.write_bytes(file.content)
    with pytest.raises(BundleError):
        Classifier.load(path)
