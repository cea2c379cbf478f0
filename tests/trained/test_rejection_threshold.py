"""Below the rejection threshold, a text gets none of the labels."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from training_data import CHOICES, QUICK, easy_texts, write_csv

from pocketrnn import Classifier
from pocketrnn.commands.cli import main
from pocketrnn.errors import DataError, InputError
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.fit_with_scikit_learn_interface import FittedClassifier, fit
from pocketrnn_training.measures.evaluation import evaluate
from pocketrnn_training.measures.thresholds import (
    find_separating_threshold,
    find_threshold_that_share_of_right_answers_reaches,
)
from pocketrnn_training.rows.labelled_texts import LabelledTexts, separate_outside_rows
from pocketrnn_training.settings.text_settings import TextSettings
from pocketrnn_training.training import train


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), min_size=1, max_size=30), st.floats(0.01, 1))
def test_the_share_of_right_answers_reaches_it_and_no_more_than_needed(
    answers: list[tuple[int, bool]], share: float
) -> None:
    likeliest = np.array([0.5 + percent / 200 for percent, _ in answers])
    probabilities = np.c_[likeliest, 1 - likeliest]
    targets = np.array([0 if is_right else 1 for _, is_right in answers])
    right = likeliest[probabilities.argmax(axis=1) == targets]
    threshold = find_threshold_that_share_of_right_answers_reaches(share, probabilities, targets)
    if not len(right):
        assert threshold == 0
        return
    assert (right >= threshold).mean() >= share
    assert (right > threshold + 1e-3).mean() < share


# That a threshold is kept, and leaves texts without a label, is held by the next test.
@pytest.mark.slow
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


@pytest.mark.slow
def test_rows_that_are_outside_choose_the_threshold_and_are_not_trained_on(tmp_path: Path) -> None:
    data = easy_texts(180)
    reading = separate_outside_rows(data, "elk")
    assert (reading.labels, len(reading), len(reading.outside)) == (("cat", "dog"), 120, 60)
    settings = replace(QUICK, epochs=6)
    best = train(reading, settings)
    plain = train(replace(reading, outside=()), settings)
    assert all(map(torch.equal, best.module.state_dict().values(), plain.module.state_dict().values()))
    assert plain.thresholds is None
    assert best.thresholds is not None
    assert best.metrics["right_above_threshold"] > 0.8
    assert best.metrics["outside_above_threshold"] < 0.3
    # Rows that were not seen are parted as well.
    fresh = separate_outside_rows(easy_texts(200, seed=3), "elk")
    found = evaluate(best, fresh)
    assert found.outside is not None
    assert found.outside.rows == 66
    assert found.outside.none > 0.7
    assert found.outside.right > 0.7
    # A share that is asked for decides alone.
    asked = train(reading, replace(settings, none_of_these=1.0, epochs=1))
    assert asked.metrics["right_above_threshold"] == 1.0
    assert 0 <= asked.metrics["outside_above_threshold"] <= 1
    checkpoints.write(best, tmp_path / "c")
    assert checkpoints.read(tmp_path / "c").metrics == best.metrics
    with pytest.raises(DataError, match=r"no threshold.*--outside"):
        evaluate(plain, fresh)


@given(
    st.lists(st.integers(0, 100), min_size=1, max_size=20),
    st.lists(st.tuples(st.integers(0, 100), st.booleans()), min_size=1, max_size=20),
)
def test_no_other_threshold_parts_them_better(outside: list[int], answers: list[tuple[int, bool]]) -> None:
    def two(percents: list[int]) -> Any:
        likeliest = np.array([0.5 + percent / 200 for percent in percents])
        return np.c_[likeliest, 1 - likeliest]

    probabilities, others = two([percent for percent, _ in answers]), two(outside)
    targets = np.array([0 if is_right else 1 for _, is_right in answers])
    right = (probabilities.argmax(axis=1) == targets) * probabilities.max(axis=1)

    def worth(threshold: float) -> float:
        return float((right >= max(threshold, 1e-9)).mean() + (others.max(axis=1) < threshold).mean())

    found = worth(find_separating_threshold(others, probabilities, targets))
    assert all(found >= worth(threshold) - 1e-9 for threshold in (step / 400 for step in range(401)))


@pytest.mark.usefixtures("scant_proofs")
def test_the_commands_and_fit_take_the_label_that_is_outside(tmp_path: Path) -> None:
    data = easy_texts(90)
    rows = write_csv(tmp_path / "rows.csv", data)
    checkpoint = tmp_path / "c"

    def run(command: str, *arguments: str) -> Result:
        return CliRunner().invoke(main, [command, *arguments])

    small = ("--hidden-dim", "8", "--embedding-dim", "8", "--epochs", "1", "--min-freq", "1", "--no-final-fit")
    made = run("train", str(rows), "-o", str(checkpoint), *small, "--outside", "elk")
    assert made.exit_code == 0, made.output
    assert "30 rows of none" in (checkpoint / "report.md").read_text()
    shown = run("evaluate", str(checkpoint), str(rows), "--outside", "elk")
    assert shown.exit_code == 0, shown.output
    assert re.search(r"[\d.]+% of 30 rows .*given none", shown.stdout)
    for arguments, said in (
        ((str(rows), "--outside", "emu"), "--outside is 'emu', but rows.csv has only the labels"),
        ((str(rows), "--outside", ""), "the value is empty"),
        ((str(rows), "--outside", "elk", "--multi-label"), "cannot be used together with several labels"),
        ((str(rows), "--outside", "elk", "--teacher", "t.csv"), "--teacher cannot be used with --outside"),
        (("ag_news", "--outside", "World"), "your own files"),
    ):
        refused = run("train", *arguments, "-o", str(tmp_path / "d"))
        assert refused.exit_code == 2, refused.output
        assert said in refused.stderr
    names = [data.labels[target] for target in data.targets]
    fitted = fit(data.texts, names, outside="elk", validation=(data.texts[:9], names[:9]), **CHOICES | {"epochs": 1})
    assert fitted.labels == ("cat", "dog")
    assert fitted.classes_.tolist() == ["cat", "dog"]
    assert fitted.checkpoint.data["outside_rows"] == 33
    with pytest.raises(InputError, match=r"'emu', .*'cat', 'dog', 'elk'"):
        fit(data.texts, names, outside="emu")


def test_without_it_nothing_is_kept_and_several_labels_have_their_own() -> None:
    assert train(easy_texts(60), replace(QUICK, epochs=1)).thresholds is None
    marks = np.random.default_rng(0).random((40, 2)) < 0.5
    several = LabelledTexts([f"t{i}" for i in range(40)], marks, ("a", "b"), "several")
    with pytest.raises(InputError, match="--none-of-these"):
        train(several, replace(QUICK, none_of_these=0.9))
    for share in (0.0, 1.5, -1):
        with pytest.raises(InputError, match="none_of_these"):
            TextSettings(none_of_these=share)


@pytest.mark.slow
@pytest.mark.usefixtures("scant_proofs")
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
