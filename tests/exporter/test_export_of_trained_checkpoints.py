"""Checkpoints of `pocketrnn_training`, exported from Python."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from slow_case_sampling import SLOW_TOO

from pocketrnn import Classifier
from pocketrnn.commands.cli import main
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn_export import export_trained
from pocketrnn_export.compression import compress
from pocketrnn_export.packing import pack
from pocketrnn_training import evaluate, fit
from pocketrnn_training.rows.labelled_sequences import Recording, make_labelled_sequences

pytestmark = pytest.mark.usefixtures("scant_proofs")
TEXTS = ["so good", "so bad", "a good film", "a bad film"] * 8


@pytest.mark.slow
def test_a_classifier_that_was_fitted_in_python_is_exported_with_its_answers(tmp_path: Path) -> None:
    fitted = fit(TEXTS, ["good", "bad"] * 16, epochs=1, hidden_dim=8, embedding_dim=8, final_fit=False, device="cpu")
    manifest = export_trained(fitted, tmp_path / "reviews", name="films", torchscript=False)
    bundle = Classifier.load(tmp_path / "reviews")
    assert (manifest.name, bundle.name, bundle.labels) == ("films", "films", fitted.labels)
    assert bundle.predict(TEXTS) == fitted.predict(TEXTS)
    assert np.abs(bundle.predict_proba(TEXTS) - fitted.predict_proba(TEXTS)).max() < 1e-5
    # With its linear part.
    assert fitted.checkpoint.training["linear"]
    pack(tmp_path / "reviews", tmp_path / "reviews.prnn")
    packed = Classifier.load(tmp_path / "reviews.prnn")
    assert np.abs(packed.predict_proba([*TEXTS, "good"]) - fitted.predict_proba([*TEXTS, "good"])).max() < 1e-5
    export_trained(fitted.checkpoint, tmp_path / "reviews", examples=False, torchscript=False, force=True)
    assert not {example.text for example in Classifier.load(tmp_path / "reviews").manifest.examples} & set(TEXTS)


@pytest.mark.slow
def test_a_quasi_recurrent_classifier_is_exported_and_packed_and_streams(tmp_path: Path) -> None:
    fitted = fit(
        TEXTS, ["good", "bad"] * 16, epochs=1, hidden_dim=8, embedding_dim=8, final_fit=False, device="cpu",
        cell="qrnn", bidirectional=False, tokenizer="basic_english",
    )  # fmt: skip
    export_trained(fitted, tmp_path / "reviews", torchscript=False, streaming=True)
    pack(tmp_path / "reviews", tmp_path / "reviews.prnn", streaming=True)
    made = {"reviews": 1e-5, "reviews.prnn": 1e-5}
    # As every layer's: tests/exporter/test_compression.py.
    if SLOW_TOO in os.environ:
        compress(tmp_path / "reviews", tmp_path / "small")
        made["small"] = 0.02
    wanted = fitted.predict_proba(TEXTS)
    for name, limit in made.items():
        classifier = Classifier.load(tmp_path / name)
        assert np.abs(classifier.predict_proba(TEXTS) - wanted).max() < limit
        stream, text = classifier.stream(), "a bad film so good"
        for cut in range(0, len(text), 3):
            logits = stream.logits(text[cut : cut + 3])
            np.testing.assert_allclose(logits, classifier.logits([text[: cut + 3]])[0], atol=1e-5)


@pytest.mark.slow
def test_a_classifier_of_numbers_that_was_trained_is_exported_and_packed_with_its_scale_and_its_answers(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    sequences = [50 + rng.normal(size=(steps, 2)) + [[0, 3 * (steps % 2)]] for steps in range(4, 24)]
    fitted = fit(
        sequences, [len(sequence) % 2 for sequence in sequences], channels=["ax", "ay"], epochs=1, epoch_size=32,
        hidden_dim=4, filters=3, convolution=3, final_fit=False, numbers={"window": 6, "hop": 3, "rate": 50.0},
    )  # fmt: skip
    fitted.save(tmp_path / "c")
    made = CliRunner().invoke(main, ["export", str(tmp_path / "c"), "-o", str(tmp_path / "steps")])
    assert made.exit_code == 0, made.output
    assert "Numbers: scaled as in training" in made.output
    bundle = Classifier.load(tmp_path / "steps")
    rules = fitted.checkpoint.rules
    assert isinstance(rules, NumberInput)
    assert (bundle.manifest.numbers, rules.window, rules.hop, rules.rate) == (rules, 6, 3, 50.0)
    pack(tmp_path / "steps", tmp_path / "steps.prnn")
    packed = Classifier.load(tmp_path / "steps.prnn")
    wanted = fitted.predict_proba(sequences)
    assert np.abs(bundle.predict_proba(sequences) - wanted).max() < 1e-5
    assert np.abs(packed.predict_proba(sequences) - wanted).max() < 1e-5
    data = make_labelled_sequences(
        [Recording("walk", sequences[-1], "1")], replace(rules, mean=None, scale=None), fitted.labels, "one"
    )
    assert evaluate(bundle, data) == evaluate(packed, data) == evaluate(fitted.checkpoint, data)
    assert data.lengths.tolist() == [6] * 6
    for command, said in (
        (["compress", str(tmp_path / "c")], "only classifiers of texts are compressed"),
        (["export", str(tmp_path / "c"), "--streaming"], "Leave streaming out"),
        (["export", str(tmp_path / "c"), "--channels", "2"], "states its channels"),
    ):
        refused = CliRunner().invoke(main, [*command, "-o", str(tmp_path / "d")])
        assert (refused.exit_code, said in refused.output) == (2, True), refused.output
