"""Cross-validation: each row measured by a classifier that has not seen it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from training_data import CHOICES, QUICK, easy_texts, write_csv

from pocketrnn.commands.cli import main
from pocketrnn.errors import DataError, InputError
from pocketrnn_training import cross_validate, cross_validation, fit
from pocketrnn_training import training_run as runs
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.cross_validation import CrossValidation, Fold, assign_folds, cross_validate_rows
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.rows.text_files import read_files
from pocketrnn_training.settings.text_settings import TextSettings
from pocketrnn_training.training import train

SMALL = ("--hidden-dim", "8", "--embedding-dim", "8", "--epochs", "1", "--min-freq", "1", "--no-final-fit")


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=8, max_size=60), st.integers(2, 5))
def test_classes_are_spread_evenly_and_equal_texts_stay_together(rows: list[tuple[int, int]], count: int) -> None:
    # A text that occurs twice has one class.
    texts = [f"{label} {text}" for label, text in rows]
    data = LabelledTexts(texts, np.array([label for label, _ in rows]), ("a", "b", "c", "d"), "rows")
    if len(set(texts)) < count:
        with pytest.raises(DataError, match="different rows"):
            assign_folds(data, count, np.random.default_rng(0))
        return
    found = assign_folds(data, count, np.random.default_rng(0))
    assert found.min() >= 0
    assert {len({fold for text, fold in zip(texts, found, strict=True) if text == one}) for one in texts} == {1}
    for label in range(4):
        different = {(text, fold) for text, fold in zip(texts, found, strict=True) if text.startswith(f"{label} ")}
        sizes = np.bincount([fold for _, fold in different], minlength=count)
        assert sizes.max() - sizes.min() <= 1


def test_labels_of_several_are_spread_too() -> None:
    marks = np.random.default_rng(0).random((200, 4)) < np.array([0.5, 0.3, 0.1, 0.05])
    data = LabelledTexts([f"t{i}" for i in range(200)], marks, tuple("abcd"), "rows")
    found = assign_folds(data, 5, np.random.default_rng(0))
    for label in range(4):
        sizes = np.bincount(found[marks[:, label]], minlength=5)
        assert sizes.max() - sizes.min() <= max(2, marks[:, label].sum() / 10)


def test_each_row_is_measured_by_a_classifier_that_was_trained_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    data, seen = easy_texts(60), []
    real = cross_validation.train

    def watched(others: LabelledTexts, *arguments: object, **more: object) -> object:
        seen.append(set(others.texts))
        return real(others, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(cross_validation, "train", watched)
    result = cross_validate_rows(data, replace(QUICK, epochs=1), 3)
    assert [fold.rows for fold in result.folds] == [20, 20, 20]
    assert all(any(text not in others for others in seen) for text in data.texts)
    assert {sum(text in others for others in seen) for text in data.texts} == {2}
    assert result.linear_scores is not None
    # The easy rows are told apart by one word.
    assert result.linear_scores.mean() > 0.9


def test_the_mean_and_the_spread_are_those_of_the_folds() -> None:
    result = CrossValidation(tuple(Fold(2, a, a, a, a / 2) for a in (0.5, 0.9, 1.0)), several_labels=False)
    assert result.mean == pytest.approx(0.8)
    assert result.deviation == pytest.approx(np.std([0.5, 0.9, 1.0], ddof=1))
    assert result.summary == "accuracy 80.0% ± 26.5% of 6 rows, by 3 folds; the linear model 40.0% ± 13.2%."
    assert result.metrics == {"folds": 3, "folds_accuracy": result.mean, "folds_accuracy_deviation": result.deviation}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["train", *arguments])


def test_the_command_says_how_long_measures_and_keeps_the_classifier_of_all_rows(tmp_path: Path) -> None:
    rows = str(write_csv(tmp_path / "rows.csv", easy_texts(60)))
    done = run(rows, "-o", str(tmp_path / "c"), *SMALL, "--folds", "2")
    assert done.exit_code == 0, done.output
    assert "2 folds take" in done.stderr
    assert "2 folds of all 60 rows follow, about 0:0" in done.stderr
    assert "Fold 2 of 2: accuracy" in done.stderr
    assert "Cross-validation: accuracy" in done.stdout
    report = (tmp_path / "c/report.md").read_text()
    assert "| fold | rows | accuracy | mean F1 | linear model |" in report
    kept = checkpoints.read(tmp_path / "c")
    assert kept.metrics["folds"] == 2
    settings = TextSettings(hidden_dim=8, embedding_dim=8, epochs=1, min_freq=1, final_fit=False)
    plain = train(read_files([Path(rows)]), settings).module.state_dict()
    assert all(tensor.equal(plain[name]) for name, tensor in kept.module.state_dict().items())
    for arguments, said in (
        (("--folds", "1"), "1 is not in the range x>=2"),
        (("--folds", "90"), "There are 90 folds, but only 60 different rows"),
        (("--folds", "2", "--validation", rows), "Leave out --validation or --folds."),
        (("--folds", "2", "--teacher", rows), "Leave out --teacher or --folds."),
    ):
        refused = run(rows, "-o", str(tmp_path / "e"), *arguments)
        assert refused.exit_code == 2, refused.output
        assert said in refused.stderr


def test_folds_that_are_interrupted_begin_anew_and_the_classifier_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = str(write_csv(tmp_path / "rows.csv", easy_texts(60)))
    arguments = (rows, "-o", str(tmp_path / "c"), *SMALL, "--folds", "2")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(runs, "cross_validate_rows", interrupted)
        stopped = run(*arguments)
    assert stopped.exit_code != 0
    assert "same command and --resume." in stopped.stderr
    before = checkpoints.read(tmp_path / "c").module.state_dict()
    done = run(*arguments, "--resume")
    assert done.exit_code == 0, done.output
    assert "2 folds of all 60 rows follow. If they" in done.stderr
    kept = checkpoints.read(tmp_path / "c")
    assert kept.metrics["folds"] == 2
    assert all(tensor.equal(before[name]) for name, tensor in kept.module.state_dict().items())


@pytest.mark.slow
def test_from_python_it_gives_the_scores_and_keeps_nothing() -> None:
    data = easy_texts(30)
    names = [data.labels[target] for target in data.targets]
    result = cross_validate(data.texts, names, 2, **CHOICES | {"epochs": 1})
    assert result.scores.shape == (2,)
    again = cross_validate(data.texts, names, 2, **CHOICES | {"epochs": 1})
    assert result == again
    several = cross_validate(data.texts, [[name] for name in names], 2, **CHOICES | {"epochs": 1})
    assert "micro F1" in several.summary
    sequences = [np.random.default_rng(i).normal(i % 2, 1, (6, 1)) for i in range(12)]
    of_numbers = cross_validate(sequences, [i % 2 for i in range(12)], 2, channels=1, epochs=1, hidden_dim=4)
    assert of_numbers.linear_scores is not None
    with pytest.raises(InputError, match="folds is 1"):
        cross_validate(data.texts, names, 1)
    assert fit(data.texts, names, **CHOICES | {"epochs": 1}).checkpoint.metrics.get("folds") is None
