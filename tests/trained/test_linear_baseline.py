"""The linear model that a report is compared with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training_data import QUICK, answer_rows, easy_texts

from pocketrnn_training.baselines import linear_baseline as baselines
from pocketrnn_training.baselines.linear_baseline import LinearBaseline, fit_linear_baseline
from pocketrnn_training.report import run_report as report
from pocketrnn_training.rows.labelled_rows import UNLABELLED
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.training import TrainingState, train

WORDS = ("rain", "wind", "goal", "match")


def rows(targets: list[int], texts: list[str]) -> LabelledTexts:
    return LabelledTexts(texts, np.array(targets), ("weather", "sport"), "rows of a test")


def drawn(count: int) -> LabelledTexts:
    targets = [i % 2 for i in range(count)]
    return rows(targets, [f"the {WORDS[2 * target + i // 2 % 2]} of the day" for i, target in enumerate(targets)])


def test_it_learns_from_labelled_rows_and_is_measured_on_the_validation_rows() -> None:
    training = drawn(40)
    assert fit_linear_baseline(training, drawn(10)) == LinearBaseline(1.0, 40)
    wrong = rows([1, 0, 1, 0], ["rain", "goal", "a match", "wind"])
    assert fit_linear_baseline(training, wrong) == LinearBaseline(0.5, 40)
    without = training.targets.copy()
    without[::5] = UNLABELLED
    assert fit_linear_baseline(replace(training, targets=without), drawn(10)) == LinearBaseline(1.0, 32)


def test_of_many_rows_a_part_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MOST_ROWS", 40)
    found = fit_linear_baseline(drawn(90), drawn(10))
    assert found is not None
    assert found.rows == 40


@pytest.mark.parametrize(
    "training",
    [
        rows([0, 0, UNLABELLED], ["rain", "wind", "goal"]),
        rows([0, 1], ["", " "]),
        rows([0, 1], ["\ud800", "\udfff"]),
    ],
)
def test_where_there_is_nothing_to_learn_there_is_no_such_model(training: LabelledTexts) -> None:
    assert fit_linear_baseline(training, drawn(4)) is None


@pytest.mark.parametrize("text", ["a" * 1_000_000, "\u732b" * 50, "\x00\x01", "e\u0301 \u0130"])
def test_any_text_is_measured(text: str) -> None:
    training = drawn(8)
    assert fit_linear_baseline(replace(training, texts=[*training.texts[:-1], text]), rows([0], [text])) is not None


@pytest.mark.parametrize(("accuracy", "better"), [pytest.param(0.0, False, marks=pytest.mark.slow), (1.0, True)])
def test_the_report_says_what_it_reaches_and_where_it_is_better(tmp_path: Path, accuracy: float, better: bool) -> None:
    states: list[TrainingState] = []
    train(easy_texts(60), replace(QUICK, epochs=1), keep=states.append)
    validation = easy_texts(60)
    answers = answer_rows(states[-1].best, validation)
    answers.probabilities[:, 0] = 2
    others = report.OtherResults(baseline=LinearBaseline(accuracy, 1234))
    report.write_report(tmp_path, states[-1].best, states[-1].history, validation, answers, others)
    written = (tmp_path / report.REPORT).read_text(encoding="utf-8")
    assert "1,234 training rows" in written
    assert f"**{accuracy:.2%}**" in written
    assert ("It is better here" in written) == better


def test_of_very_many_classes_there_is_no_linear_model_and_nothing_is_warned_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = LabelledTexts([f"word{i}" for i in range(40)], np.arange(40) % 30, tuple(f"c{i}" for i in range(30)), "many")
    found = fit_linear_baseline(many, many)
    assert found is not None
    monkeypatch.setattr(baselines, "_MOST_NUMBERS", 100)
    assert fit_linear_baseline(many, many) is None
