"""A threshold below which a text is none of the labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from training_data import QUICK, easy_texts, write_csv

from pocketrnn import Classifier
from pocketrnn.commands.cli import main
from pocketrnn.errors import InputError
from pocketrnn_training import checkpoint as checkpoints
from pocketrnn_training.data import LabelledTexts
from pocketrnn_training.fitting import FittedClassifier
from pocketrnn_training.settings import Settings
from pocketrnn_training.thresholds import reached_by
from pocketrnn_training.training import train


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), min_size=1, max_size=30), st.floats(0.01, 1))
def test_the_share_of_right_answers_reaches_it_and_no_more_than_needed(
    answers: list[tuple[int, bool]], share: float
) -> None:
    likeliest = np.array([0.5 + percent / 200 for percent, _ in answers])
    probabilities = np.c_[likeliest, 1 - likeliest]
    targets = np.array([0 if is_right else 1 for _, is_right in answers])
    right = likeliest[probabilities.argmax(axis=1) == targets]
    threshold = reached_by(share, probabilities, targets)
    if not len(right):
        assert threshold == 0
        return
    assert (right >= threshold).mean() >= share
    assert (right > threshold + 1e-3).mean() < share


def test_texts_of_a_class_that_was_left_out_are_given_no_label_more_often() -> None:
    data = easy_texts(400)
    known = data.targets < 2
    texts = [text for text, is_known in zip(data.texts, known, strict=True) if is_known]
    left_out = LabelledTexts(texts, data.targets[known], data.labels[:2], "two of three")
    best = train(left_out, replace(QUICK, epochs=8, none_of_these=0.95))
    assert best.thresholds is not None
    assert len(set(best.thresholds)) == 1
    assert best.metrics["right_above_threshold"] >= 0.95
    fresh = easy_texts(200, seed=3)
    answers = FittedClassifier(best, {label: label for label in best.labels}).predict_labels(fresh.texts)
    none = np.array([not labels for labels in answers])
    assert none[fresh.targets < 2].mean() < 0.25
    assert none[fresh.targets == 2].mean() > 0.5


def test_without_it_nothing_is_kept_and_several_labels_have_their_own() -> None:
    assert train(easy_texts(60), replace(QUICK, epochs=1)).thresholds is None
    marks = np.random.default_rng(0).random((40, 2)) < 0.5
    several = LabelledTexts([f"t{i}" for i in range(40)], marks, ("a", "b"), "several")
    with pytest.raises(InputError, match="each label has a threshold"):
        train(several, replace(QUICK, none_of_these=0.9))
    for share in (0.0, 1.5, -1):
        with pytest.raises(InputError, match="none_of_these"):
            Settings(none_of_these=share)


@pytest.mark.usefixtures("short_proofs")
def test_the_bundle_and_the_report_have_it(tmp_path: Path) -> None:
    rows = write_csv(tmp_path / "rows.csv", easy_texts(120))
    small = ("--hidden-dim", "8", "--embedding-dim", "8", "--epochs", "1", "--min-freq", "1", "--none-of-these", "0.9")
    made = CliRunner().invoke(
        main, ["train", str(rows), "-q", "-o", str(tmp_path / "c"), *small, "--export", str(tmp_path / "b")]
    )
    assert made.exit_code == 0, made.output
    assert "epoch 1 " not in made.stderr
    assert Classifier.load(tmp_path / "b").thresholds == checkpoints.read(tmp_path / "c").thresholds
    assert "None of these: below the probability" in (tmp_path / "c/report.md").read_text()
