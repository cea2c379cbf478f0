"""Words or pieces, with a recurrent part or without: what folds choose, where they do, and that a run tells of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from training_data import QUICK, easy_texts, write_csv

from pocketrnn.commands.cli import main
from pocketrnn_training.candidates import candidate_comparison
from pocketrnn_training.candidates.candidate import Candidate, make_checkpoint_member_of_candidates, read_candidates
from pocketrnn_training.candidates.candidate_comparison import should_compare_candidates, should_measure_by_folds
from pocketrnn_training.classifiers.linear_classifier import LinearClassifier
from pocketrnn_training.loop.training_loop import TrainingState
from pocketrnn_training.measures.evaluation import evaluate
from pocketrnn_training.preparation.prepared_data import OtherSources
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.settings.text_settings import TextSettings
from pocketrnn_training.texts.weighted_sum_of_recurrent_and_linear_logits import fit_recurrent_linear_weights
from pocketrnn_training.training import train
from pocketrnn_training.training_events import Progress

COMPARED = replace(QUICK, compare=None, epochs=2, vocabulary_size=None)


def drawn_logits(rows: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of which the first know the class and the second are noise; and the class."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, rows)
    return np.eye(3)[targets] + rng.standard_normal((rows, 3)), rng.standard_normal((rows, 3)), targets


def test_a_part_that_knows_nothing_weighs_nothing() -> None:
    knows, noise, targets = drawn_logits()
    found = fit_recurrent_linear_weights(knows, noise, targets)
    assert found.recurrent == pytest.approx(1.0, abs=0.2)
    assert abs(found.linear) < 0.1
    other = fit_recurrent_linear_weights(noise, knows, targets)
    assert (other.linear, other.recurrent) == pytest.approx((found.recurrent, found.linear), abs=1e-3)
    misled = np.random.default_rng(1).standard_normal(knows.shape) - np.eye(3)[targets]
    assert fit_recurrent_linear_weights(knows, misled, targets).linear == 0


def test_parts_that_are_always_right_have_weights_too() -> None:
    targets = np.arange(30) % 3
    found = fit_recurrent_linear_weights(np.eye(3)[targets], np.eye(3)[targets], targets)
    assert 0 < found.recurrent + found.linear <= 100


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        (replace(COMPARED, compare=False), 200),
        (replace(COMPARED, linear=False), 200),
        (replace(COMPARED, max_vocabulary=500), 200),
        (replace(COMPARED, spelling=True), 200),
        (replace(COMPARED, tokenizer="characters"), 200),
        (COMPARED, 99),
        (COMPARED, 10_000),
    ],
)
def test_nothing_is_compared_where_nothing_is_to_be_chosen_or_the_rows_do_not_suit(
    settings: TextSettings, rows: int
) -> None:
    assert not should_compare_candidates(easy_texts(rows), settings, OtherSources())
    assert should_compare_candidates(easy_texts(200), COMPARED, OtherSources())
    assert should_compare_candidates(easy_texts(200), COMPARED, OtherSources(word_vectors=Path("vectors.txt")))


def inflected(rows: int) -> LabelledTexts:
    """Texts of one word each with a stem that tells the class and an ending that is hardly ever the same."""
    rng = np.random.default_rng(0)
    targets = np.arange(rows) % 2
    stems = ["sol" if target else "mar" for target in targets]
    texts = [f"so {stem}{''.join(rng.choice(list('abcdefgh'), 6))}" for stem in stems]
    return LabelledTexts(texts, targets, ("moon", "sun"), "inflected")


def ordered(rows: int) -> LabelledTexts:
    """Texts whose class is decided by which of two words comes first, with others between them: no pair tells it."""
    rng = np.random.default_rng(0)
    targets = np.arange(rows) % 2
    texts = []
    for target in targets:
        first, second = ("sun", "moon")[:: 1 if target else -1]
        between = [" ".join(f"w{i}" for i in rng.integers(0, 3, rng.integers(1, 3))) for _ in range(3)]
        texts.append(f"{between[0]} {first} {between[1]} {second} {between[2]}")
    return LabelledTexts(texts, targets, ("moon first", "sun first"), "ordered")


def test_the_way_that_knows_the_rows_is_taken_and_the_checkpoint_tells_of_all() -> None:
    said: list[str] = []
    made = train(inflected(160), COMPARED, report=lambda event: said.append(getattr(event, "text", "")))
    best, *others = read_candidates(made.data)
    assert (best.tokenizer, {other.tokenizer for other in others}) == ("bpe", {"bpe", "basic_english"})
    assert made.training["tokenizer"] == "bpe"
    assert all(best.loss < other.loss for other in others if other.tokenizer != "bpe")
    assert (made.metrics["recurrent"], made.metrics["linear"]) == (best.recurrent_weight, best.linear_weight)
    assert any(best.accuracy_summary in text for text in said)


def test_where_a_recurrent_part_brings_nothing_the_linear_part_is_the_classifier() -> None:
    events: list[object] = []
    made = train(inflected(160), COMPARED, report=events.append)
    assert read_candidates(made.data)[0].is_linear
    assert made.is_linear
    assert isinstance(made.module, LinearClassifier)
    assert {name.split(".")[0] for name in made.module.state_dict()} == {"linear"}
    assert not made.training.keys() & {"cell", "hidden_dim", "epochs"}
    assert evaluate(made, inflected(40)).accuracy == 1.0
    assert any("linear part alone" in text for text in (getattr(event, "text", "") for event in events))


@pytest.mark.slow
def test_a_recurrent_part_that_is_needed_stays_and_all_rows_are_fitted_once() -> None:
    settings = replace(COMPARED, tokenizer="basic_english", epochs=12, hidden_dim=16)
    events: list[object] = []
    made = train(ordered(200), settings, report=events.append)
    best = read_candidates(made.data)[0]
    assert not best.is_linear
    assert best.recurrent_weight > 0
    assert best.recurrent_accuracy is not None
    assert best.recurrent_accuracy > 0.8
    assert best.folds == 4
    assert evaluate(made, ordered(200)).accuracy > 0.9
    assert made.data["fitted_rows"] == made.data["validation_rows"] == 200
    read = [event.epochs for event in events if isinstance(event, Progress)]
    assert set(read) == {made.training["epochs"]} == {12}


@pytest.mark.slow
@pytest.mark.parametrize(
    "rows", [inflected(160), pytest.param(ordered(200), marks=pytest.mark.slow)], ids=["linear", "both parts"]
)
def test_few_rows_are_measured_by_the_folds_that_chose(rows: LabelledTexts) -> None:
    made = train(rows, replace(COMPARED, tokenizer="basic_english", hidden_dim=16, epochs=12))
    best = read_candidates(made.data)[0]
    assert made.measured_by_folds
    assert made.data["rows"] == made.data["validation_rows"] == len(rows)
    assert made.metrics["folds"] == best.folds == 4
    assert made.metrics["folds_accuracy"] == pytest.approx(best.accuracy)
    assert made.metrics["folds_accuracy_deviation"] == pytest.approx(best.deviation)
    assert made.metrics["validation_accuracy"] == pytest.approx(best.accuracy, abs=0.02)


def test_more_rows_are_held_out_and_so_they_are_where_they_are_to_end_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert should_measure_by_folds(easy_texts(1990), COMPARED, OtherSources())
    assert not should_measure_by_folds(easy_texts(2010), COMPARED, OtherSources())
    assert not should_measure_by_folds(easy_texts(200), replace(COMPARED, patience=3), OtherSources())
    monkeypatch.setattr(candidate_comparison, "FEW_VALIDATION_ROWS", 1)
    made = train(inflected(160), COMPARED)
    assert not made.measured_by_folds
    assert made.is_linear
    assert made.data["training_rows"] + made.data["validation_rows"] == 160


def test_a_named_way_is_weighed_alone_and_one_that_cannot_be_trained_is_left_out() -> None:
    named = replace(COMPARED, tokenizer="whitespace", epochs=1)
    assert {one.tokenizer for one in read_candidates(train(easy_texts(100), named).data)} == {"whitespace"}
    whole = inflected(100)
    unspaced = replace(whole, texts=[text.replace(" ", "") for text in whole.texts])
    found = read_candidates(train(unspaced, replace(COMPARED, epochs=1, min_freq=2)).data)
    assert {one.tokenizer for one in found} == {"bpe"}


@pytest.mark.slow
def test_a_resumed_run_compares_nothing_anew_and_ends_as_it_would_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidate_comparison, "FEW_VALIDATION_ROWS", 1)
    chosen = replace(COMPARED, tokenizer="basic_english", epochs=12, hidden_dim=16)
    settings, states = replace(chosen, final_fit=True), list[TrainingState]()
    whole = train(ordered(200), settings, keep=states.append)
    assert not whole.is_linear
    monkeypatch.setattr("pocketrnn_training.training.compare_candidates", None)
    resumed = train(ordered(200), settings, resume=states[0])
    assert resumed.metrics == whole.metrics
    for name, tensor in whole.module.state_dict().items():
        assert (resumed.module.state_dict()[name] == tensor).all()


@pytest.mark.slow
def test_the_command_and_the_report_tell_what_folds_say_and_that_the_classifier_is_linear(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "rows.csv", easy_texts(120))
    small = ["--epochs", "1", "--hidden-dim", "8", "--embedding-dim", "8", "--device", "cpu"]
    ended = CliRunner().invoke(main, ["train", str(data), "-o", str(tmp_path / "c"), *small])
    assert ended.exit_code == 0
    first, *_ = ended.stdout.splitlines()
    assert "linear model" in first
    assert "of 120 rows, by 4 folds" in first
    assert "by the same folds" in ended.stderr
    report = (tmp_path / "c" / "report.md").read_text()
    assert "of 120 rows, by 4 folds" in report
    assert "## The compared variants" in report
    assert "| bpe | linear |" in report
    again = CliRunner().invoke(main, ["train", str(data), "-o", str(tmp_path / "d"), "--from", str(tmp_path / "c")])
    assert again.exit_code == 2
    assert "linear model" in again.stderr


def test_a_candidate_is_read_as_it_was_written() -> None:
    one = Candidate("bpe", 0.4, 1.9, 3271, 4, 0.714, 0.011, 0.77, 0.69)
    assert one.weights.add_weighted_logits(1.0, 10.0) == pytest.approx(19.4)
    assert not one.is_linear
    assert read_candidates(make_checkpoint_member_of_candidates([one])) == (one,)
