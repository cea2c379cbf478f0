"""Words or pieces, and what each part weighs: what folds choose, where they do, and that a run tells of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from training_data import QUICK, easy_texts, write_csv

from pocketrnn.commands.cli import main
from pocketrnn_training.candidates import comparison
from pocketrnn_training.candidates.comparison import may_compare
from pocketrnn_training.loop.training_loop import TrainingState
from pocketrnn_training.preparation.task import Beside
from pocketrnn_training.rows.data import LabelledTexts
from pocketrnn_training.settings.text_settings import TextSettings
from pocketrnn_training.texts.part_weights import Candidate, candidates_of, fitted_weights, told_by_folds
from pocketrnn_training.training import train

COMPARED = replace(QUICK, compare=None, epochs=2, vocabulary_size=None)


def drawn_logits(rows: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of which the first know the class and the second are noise; and the class."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, rows)
    return np.eye(3)[targets] + rng.standard_normal((rows, 3)), rng.standard_normal((rows, 3)), targets


def test_a_part_that_knows_nothing_weighs_nothing() -> None:
    knows, noise, targets = drawn_logits()
    found = fitted_weights(knows, noise, targets)
    assert found.recurrent == pytest.approx(1.0, abs=0.2)
    assert abs(found.linear) < 0.1
    other = fitted_weights(noise, knows, targets)
    assert (other.linear, other.recurrent) == pytest.approx((found.recurrent, found.linear), abs=1e-3)
    misled = np.random.default_rng(1).standard_normal(knows.shape) - np.eye(3)[targets]
    assert fitted_weights(knows, misled, targets).linear == 0


def test_parts_that_are_always_right_have_weights_too() -> None:
    targets = np.arange(30) % 3
    found = fitted_weights(np.eye(3)[targets], np.eye(3)[targets], targets)
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
    assert not may_compare(easy_texts(rows), settings, Beside())
    assert may_compare(easy_texts(200), COMPARED, Beside())
    assert not may_compare(easy_texts(200), COMPARED, Beside(word_vectors=Path("vectors.txt")))


def inflected(rows: int) -> LabelledTexts:
    """Texts of one word each with a stem that tells the class and an ending that is hardly ever the same."""
    rng = np.random.default_rng(0)
    targets = np.arange(rows) % 2
    stems = ["sol" if target else "mar" for target in targets]
    texts = [f"so {stem}{''.join(rng.choice(list('abcdefgh'), 6))}" for stem in stems]
    return LabelledTexts(texts, targets, ("moon", "sun"), "inflected")


def test_the_way_that_knows_the_rows_is_taken_and_the_checkpoint_tells_of_both() -> None:
    said: list[str] = []
    made = train(inflected(160), COMPARED, report=lambda event: said.append(getattr(event, "text", "")))
    best, other = candidates_of(made.data)
    assert (best.tokenizer, other.tokenizer) == ("bpe", "basic_english")
    assert made.training["tokenizer"] == "bpe"
    assert best.loss < other.loss
    assert best.rows == made.data["training_rows"]
    assert (made.metrics["recurrent"], made.metrics["linear"]) == (best.recurrent_weight, best.linear_weight)
    assert told_by_folds(made.data) == best
    assert any(best.reached in text for text in said)


def test_after_two_folds_the_likelier_way_goes_on_alone_where_rows_are_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparison, "_ENOUGH_ROWS", 100)
    best, other = candidates_of(train(inflected(160), replace(COMPARED, epochs=1)).data)
    assert (best.folds, other.folds) == (4, 2)
    assert best.rows > other.rows


def test_a_named_way_is_weighed_alone_and_one_that_cannot_be_trained_is_left_out() -> None:
    named = replace(COMPARED, tokenizer="whitespace", epochs=1)
    assert [one.tokenizer for one in candidates_of(train(easy_texts(100), named).data)] == ["whitespace"]
    whole = inflected(100)
    unspaced = replace(whole, texts=[text.replace(" ", "") for text in whole.texts])
    (alone,) = candidates_of(train(unspaced, replace(COMPARED, epochs=1, min_freq=2)).data)
    assert alone.tokenizer == "bpe"


def test_a_resumed_run_compares_nothing_anew_and_ends_as_it_would_have(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, states = replace(COMPARED, final_fit=True), list[TrainingState]()
    whole = train(easy_texts(100), settings, keep=states.append)
    monkeypatch.setattr("pocketrnn_training.training.compared", None)
    resumed = train(easy_texts(100), settings, resume=states[0])
    assert resumed.metrics == whole.metrics
    for name, tensor in whole.module.state_dict().items():
        assert (resumed.module.state_dict()[name] == tensor).all()


def test_of_few_validation_rows_the_command_and_the_report_tell_what_folds_say(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "rows.csv", easy_texts(120))
    small = ["--epochs", "1", "--hidden-dim", "8", "--embedding-dim", "8", "--device", "cpu", "--no-final-fit"]
    ended = CliRunner().invoke(main, ["train", str(data), "-o", str(tmp_path / "c"), *small])
    assert ended.exit_code == 0
    assert "by 4 folds" in ended.stdout
    assert "by the same folds" in ended.stderr
    report = (tmp_path / "c" / "report.md").read_text()
    assert "## What was compared" in report
    assert "| bpe |" in report


def test_a_candidate_is_read_as_it_was_written() -> None:
    one = Candidate("bpe", 0.4, 1.9, 3271, 4, 0.714, 0.011, 0.77, 0.69, 0.71)
    assert one.weights.total(1.0, 10.0) == pytest.approx(19.4)
    assert told_by_folds({"validation_rows": 200, "candidates": []}) is None
