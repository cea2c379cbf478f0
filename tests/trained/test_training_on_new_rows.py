"""`--from` continues the training of a classifier on new rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from slow_case_sampling import mostly_slow
from training_data import CHOICES, LABELS, QUICK, easy_texts, noting, write_csv

from pocketrnn.commands.cli import main
from pocketrnn.errors import DataError, InputError
from pocketrnn_training import fit, run_folder
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.classifiers.checkpoint import Checkpoint
from pocketrnn_training.classifiers.linear_classifier import LINEAR
from pocketrnn_training.measures.evaluation import evaluate
from pocketrnn_training.preparation.continued_training import (
    StartingCheckpoint,
    add_checkpoint_labels,
    make_settings_from_checkpoint,
)
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.settings.text_settings import TextSettings
from pocketrnn_training.training import TrainingState, train


def newer_texts(rows: int = 120, seed: int = 5) -> LabelledTexts:
    """Texts of one class that the older ones have, and of one that is new, with words that are new."""
    older = easy_texts(rows, seed)
    texts = [
        text.replace("cat0", "kitten").replace("dog", "fox") if target < 2 else text
        for text, target in zip(older.texts, older.targets, strict=True)
    ]
    keep = older.targets < 2
    return LabelledTexts(
        [text for text, kept in zip(texts, keep, strict=True) if kept], older.targets[keep], ("cat", "fox"), "newer"
    )


@pytest.fixture(scope="module")
def before() -> Checkpoint:
    return train(easy_texts(120), replace(QUICK, epochs=3), name="animals")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_words_and_labels_that_are_new_get_rows_and_the_others_stay(before: Checkpoint) -> None:
    data = add_checkpoint_labels(before, newer_texts())
    assert data.labels == (*LABELS, "fox")
    assert [data.labels[target] for target in data.targets] == [
        newer_texts().labels[target] for target in newer_texts().targets
    ]
    start = StartingCheckpoint.from_checkpoint(before, data.texts, QUICK)
    old = len(before.vocabulary)
    assert start.vocabulary[:old] == before.vocabulary
    assert set(start.vocabulary[old:]) == {"kitten", "fox0", "fox1", "fox2"}
    weights, state = start.make_weights(data, seed=0), before.module.state_dict()
    assert weights["embedding.weight"][:old].equal(state["embedding.weight"])
    assert weights["fc.weight"][:3].equal(state["fc.weight"])
    assert weights["fc.bias"].tolist() == [*state["fc.bias"].tolist(), 0.0]
    fitted_anew = {name for name in state if name.startswith(LINEAR)}
    for name in state.keys() - fitted_anew - {"embedding.weight", "fc.weight", "fc.bias"}:
        assert weights[name].equal(state[name]), name
    with torch.random.fork_rng():
        assert start.make_weights(data, seed=0)["embedding.weight"].equal(weights["embedding.weight"])


@pytest.mark.parametrize(("max_vocabulary", "words"), [(None, 4), (10_000, 4), (3, 0)])
def test_new_words_keep_to_the_largest_vocabulary(before: Checkpoint, max_vocabulary: int | None, words: int) -> None:
    start = StartingCheckpoint.from_checkpoint(
        before, newer_texts().texts, replace(QUICK, max_vocabulary=max_vocabulary)
    )
    assert len(start.vocabulary) == len(before.vocabulary) + words
    rare = StartingCheckpoint.from_checkpoint(before, ["unheard"], replace(QUICK, min_freq=2))
    assert rare.vocabulary == before.vocabulary


@pytest.mark.slow
def test_it_learns_the_new_label_and_with_the_old_rows_keeps_the_old_ones(before: Checkpoint) -> None:
    newer, older = newer_texts(240), easy_texts(seed=7)
    both = LabelledTexts(
        [*newer.texts, *easy_texts().texts],
        np.concatenate([np.array([0, 3])[newer.targets], easy_texts().targets]),
        (*LABELS, "fox"),
        "both",
    )
    said: list[str] = []
    after = train(
        both,
        replace(QUICK, epochs=6),
        before=before,
        report=noting(said),
    )
    assert any("4 new words and 1 new labels ('fox')" in text for text in said), said
    assert after.data["from"]["name"] == "animals"
    fresh = add_checkpoint_labels(after, newer_texts(120, seed=9))
    assert evaluate(after, fresh).accuracy > 0.9
    assert evaluate(after, replace(older, labels=after.labels)).accuracy > 0.9


def test_labels_without_a_row_stay_and_are_told(before: Checkpoint) -> None:
    said: list[str] = []
    after = train(
        newer_texts(),
        replace(QUICK, epochs=1),
        before=before,
        report=noting(said),
    )
    assert after.labels == (*LABELS, "fox")
    assert any("No row has 'dog', 'elk'" in text and "forgets" in text for text in said), said


@pytest.mark.parametrize(
    "change", mostly_slow([{"final_fit": True}, {"tokenizer": "bpe", "vocabulary_size": 60}, {"packed": False}], 3)
)
def test_a_run_that_goes_on_is_resumed_to_the_same_weights(tmp_path: Path, change: dict[str, Any]) -> None:
    first = train(easy_texts(60), replace(QUICK, epochs=1, **change))
    settings = replace(QUICK, epochs=2, **{n: v for n, v in change.items() if n != "vocabulary_size"})
    states: list[TrainingState] = []
    whole = train(newer_texts(90), settings, before=first, keep=states.append)
    run_folder.write_epoch(states[0], tmp_path / "c", force=False)
    resumed = train(newer_texts(90), settings, before=first, resume=run_folder.read_state(tmp_path / "c"))
    for name, tensor in whole.module.state_dict().items():
        assert tensor.equal(resumed.module.state_dict()[name]), name
    with pytest.raises(InputError, match="other data"):
        train(newer_texts(90), settings, before=whole, resume=states[0])


@pytest.mark.parametrize(
    "change", [{"hidden_dim": 16}, {"cell": "lstm"}, {"tokenizer": "whitespace"}, {"ngrams": 2}, {"max_tokens": 5}]
)
def test_another_shape_or_tokenizer_is_refused(before: Checkpoint, change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        make_settings_from_checkpoint(before, replace(QUICK, **change))
    assert make_settings_from_checkpoint(before, TextSettings()).hidden_dim == 8


def test_word_vectors_and_several_labels_beside_one_are_refused(before: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Word vectors"):
        train(newer_texts(), QUICK, before=before, word_vectors=tmp_path / "glove.txt")
    several = replace(newer_texts(), targets=np.eye(2, dtype=bool)[newer_texts().targets])
    with pytest.raises(DataError, match="one label") as refused:
        train(several, QUICK, before=before)
    assert "--multi-label" in refused.value.remedy


def test_several_labels_go_on_too() -> None:
    def tagged(names: tuple[str, ...]) -> LabelledTexts:
        marks = np.random.default_rng(0).random((80, len(names))) < 0.4
        texts = [" ".join(["a", *(name for name, one in zip(names, row, strict=True) if one)]) for row in marks]
        return LabelledTexts(texts, marks, names, "tagged")

    first = train(tagged(("long", "sad")), replace(QUICK, epochs=1))
    after = train(tagged(("loud", "sad")), replace(QUICK, epochs=1), before=first)
    assert after.labels == ("long", "sad", "loud")
    assert after.activation == "sigmoid"
    assert len(after.thresholds or ()) == 3


def test_the_command_goes_on_and_says_so(tmp_path: Path) -> None:
    rows, more = write_csv(tmp_path / "rows.csv", easy_texts(90)), write_csv(tmp_path / "more.csv", newer_texts(90))
    quick = ("--epochs", 1, "--min-freq", 1, "--no-final-fit")
    small = ("--hidden-dim", 8, "--embedding-dim", 8, *quick)
    assert run("train", rows, "-o", tmp_path / "old", *small).exit_code == 0
    went_on = run("train", more, "-o", tmp_path / "new", "--from", tmp_path / "old", *quick)
    assert went_on.exit_code == 0, went_on.output
    assert "goes on from old" in went_on.stderr
    assert checkpoints.read(tmp_path / "new").labels == (*LABELS, "fox")
    assert "goes on from old" in (tmp_path / "new/report.md").read_text()
    refused = run("train", more, "-o", tmp_path / "other", "--from", tmp_path / "old", "--hidden-dim", 16)
    assert refused.exit_code == 2
    assert "the value of this checkpoint, 8" in refused.stderr
    assert run("train", more, "-o", tmp_path / "other", "--from", tmp_path / "absent").exit_code == 2


def test_fit_goes_on_from_what_it_gave() -> None:
    first = fit(["so good", "so bad"] * 10, [1, 0] * 10, **CHOICES)
    after = fit(["so odd", "so bad"] * 10, [2, 0] * 10, before=first, **CHOICES)
    assert after.labels == ("0", "1", "2")
    assert after.classes_.tolist() == [0, 1, 2]
    assert fit(["so odd", "so bad"] * 10, ["2", "0"] * 10, before=first.checkpoint, **CHOICES).labels == ("0", "1", "2")
