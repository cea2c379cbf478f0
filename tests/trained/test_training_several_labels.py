"""Texts with any number of labels: read, trained, measured, kept, exported."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from slow_case_sampling import mostly_slow
from training_data import CHOICES, QUICK, noting

from pocketrnn import Classifier
from pocketrnn.commands.cli import main
from pocketrnn.errors import CheckpointError, DataError, InputError
from pocketrnn_training import fit, run_folder
from pocketrnn_training.baselines.linear_baseline import fit_linear_baseline
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.fit_with_scikit_learn_interface import FittedClassifier
from pocketrnn_training.measures.evaluation import evaluate
from pocketrnn_training.measures.logit_measures import (
    compute_macro_or_best_micro_f1,
    compute_mean_loss,
    find_best_threshold_and_its_f1,
    mark_rows_classified_correctly,
)
from pocketrnn_training.measures.thresholds import choose_thresholds, predict_cross_fitted_labels
from pocketrnn_training.rows.labelled_rows import split_rows
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.rows.text_files import parse_labels_of_text, read_files
from pocketrnn_training.training import TrainingState, train

LABELS = ("long", "loud", "sad")
LONGER = replace(QUICK, epochs=12)
OPTIONS = (
    "--hidden-dim",
    "8",
    "--embedding-dim",
    "8",
    "--batch-size",
    "16",
    "--learning-rate",
    "0.03",
    "--epochs",
    "3",
)


def tagged_texts(rows: int = 160, seed: int = 0) -> LabelledTexts:
    """Texts of some words of noise and a word for each of their labels, of which there are 0 to 3."""
    rng = np.random.default_rng(seed)
    targets = rng.random((rows, 3)) < (0.5, 0.3, 0.2)
    texts = []
    for row in targets:
        words = [f"noise{i}" for i in rng.integers(0, 20, rng.integers(1, 9))]
        words += [f"{label}{rng.integers(0, 2)}" for label, applies in zip(LABELS, row, strict=True) if applies]
        texts.append(" ".join(rng.permutation(words)))
    return LabelledTexts(texts, targets, LABELS, "tagged")


def names_of(data: LabelledTexts) -> list[list[str]]:
    return [[label for label, applies in zip(data.labels, row, strict=True) if applies] for row in data.targets]


def write(path: Path, data: LabelledTexts) -> Path:
    rows = [{"text": text, "label": names} for text, names in zip(data.texts, names_of(data), strict=True)]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *((row["text"], "|".join(row["label"])) for row in rows)])
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


# Reading


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_lists_and_separated_strings_are_read_alike(tmp_path: Path, ending: str) -> None:
    data = tagged_texts(30)
    read = read_files([write(tmp_path / f"tags{ending}", data)], multi_label=True)
    assert read.labels == LABELS
    assert list(read.texts) == list(data.texts)
    assert (read.targets == data.targets).all()
    assert read.several_labels


@pytest.mark.parametrize(
    ("value", "labels"),
    [
        ("a|b", ["a", "b"]),
        (" a | b ", ["a", "b"]),
        ("a||a|", ["a"]),
        ("", []),
        ([], []),
        (["a|b", "c"], ["a|b", "c"]),
        (["a", "a", 7], ["a", "7"]),
        (7, ["7"]),
        (None, None),
        (True, None),
        (1.5, None),
        ([None], None),
        ([""], None),
        ({"a": 1}, None),
        ([["a"]], None),
    ],
)
def test_what_a_value_says_of_labels(value: Any, labels: list[str] | None) -> None:
    assert parse_labels_of_text(value) == labels


def test_another_separator_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,label\nx,"a; b"\ny,b\n')
    read = read_files([tmp_path / "a.csv"], multi_label=True, label_separator=";")
    assert read.labels == ("a", "b")
    assert read.targets.tolist() == [[True, True], [False, True]]


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (['{"text": "x", "label": null}'], "Row 1"),
        (['{"text": "x", "label": ["a", "b"]}', '{"text": "y", "label": [1.5]}'], "Row 2"),
        (['{"text": "x", "label": {"a": 1}}'], "Row 1"),
        (['{"text": "x", "label": []}'], "no label"),
        (['{"text": "x", "label": ["a"]}'], "only label is 'a'"),
        (['{"text": null, "label": ["a"]}'], "Row 1"),
        ([], "no rows"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused_by_their_row(tmp_path: Path, lines: list[str], named: str) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=named):
        read_files([tmp_path / "a.jsonl"], multi_label=True)


def test_labels_that_the_classifier_does_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'loud'"):
        read_files([write(tmp_path / "a.jsonl", tagged_texts(20))], multi_label=True, labels=("long", "sad"))


def test_lists_without_the_option_say_which_option_is_meant(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        read_files([write(tmp_path / "a.jsonl", tagged_texts(20))])
    assert "--multi-label" in refused.value.remedy


# Parts


@given(
    st.integers(2, 60).flatmap(
        lambda rows: st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=rows, max_size=rows)
    ),
    st.sampled_from([0.1, 0.3, 0.7]),
    st.integers(0, 3),
)
def test_each_part_has_a_row_of_every_label_that_has_two(marks: list[list[bool]], share: float, seed: int) -> None:
    targets = np.array(marks)
    data = LabelledTexts([f"t{i}" for i in range(len(marks))], targets, ("a", "b", "c", "d"), "drawn")
    try:
        first, second = split_rows(data, share, np.random.default_rng(seed))
    except DataError:
        assert not (targets.sum(axis=0) > 1).any() or len(marks) < 4
        return
    assert sorted([*first, *second]) == list(range(len(marks)))
    of_all = data.counts()
    assert (data.counts(first)[of_all > 0] > 0).all()
    again = split_rows(data, share, np.random.default_rng(seed))
    assert (again[0] == first).all()


def test_validation_rows_of_one_label_each_are_refused_beside_rows_of_several() -> None:
    data = tagged_texts(20)
    one = LabelledTexts(["a", "b"], np.array([0, 1]), data.labels, "one")
    with pytest.raises(DataError, match="one label") as refused:
        data.split(one, QUICK)
    assert "multi_label=True" in refused.value.remedy


def test_the_share_of_each_label_is_about_what_was_asked_for() -> None:
    data = tagged_texts(1000)
    _, second = split_rows(data, 0.2, np.random.default_rng(0))
    assert len(second) == pytest.approx(200, abs=40)
    assert data.counts(second) / data.counts() == pytest.approx(np.full(3, 0.2), abs=0.04)


def test_no_validation_text_is_trained_on_where_that_can_be() -> None:
    data = tagged_texts(200)
    copies = replace(data, texts=["the same text"] * 20 + list(data.texts[20:]))
    training, held_out = copies.split(None, replace(QUICK, validation_share=0.3))
    assert "the same text" not in list(held_out.texts)
    assert len(training) + len(held_out) == 200


# Measures and thresholds


def test_measures_are_those_of_scikit_learn_and_torch() -> None:
    rng = np.random.default_rng(0)
    logits, targets = torch.from_numpy(rng.normal(size=(50, 4))).float(), torch.from_numpy(rng.random((50, 4)) < 0.3)
    assert compute_mean_loss(logits, targets) == pytest.approx(
        4 * torch.nn.BCEWithLogitsLoss()(logits, targets.float()).item(), rel=1e-5
    )
    assert mark_rows_classified_correctly(logits, targets).tolist() == ((logits > 0) == targets).all(dim=1).tolist()
    probabilities = torch.sigmoid(logits).numpy().astype(float)
    best = max(f1_score(targets, probabilities >= t, average="micro") for t in np.unique(probabilities))
    assert compute_macro_or_best_micro_f1(logits, targets) == pytest.approx(best)
    classes = torch.from_numpy(rng.integers(0, 4, 50))
    assert compute_macro_or_best_micro_f1(logits, classes) == pytest.approx(
        f1_score(classes, logits.argmax(dim=1), average="macro", labels=range(4), zero_division=0)
    )


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=12))
def test_no_other_threshold_has_a_higher_f1(answers: list[tuple[float, bool]]) -> None:
    probabilities, right = np.array([p for p, _ in answers]), np.array([r for _, r in answers])
    threshold, f1 = find_best_threshold_and_its_f1(probabilities, right)
    assert 0 <= threshold <= 1

    def at(least: float) -> float:
        return float(f1_score(right, probabilities >= least, zero_division=0.0))

    if right.any() and f1:
        assert at(threshold) == pytest.approx(f1)
        assert f1 >= max(at(t) for t in {*probabilities.tolist()} - {0.0} or {1.0}) - 1e-12


def test_a_rare_label_is_given_from_near_the_threshold_of_all_on() -> None:
    rng = np.random.default_rng(0)
    targets = np.zeros((400, 2), dtype=bool)
    targets[:200, 0], targets[200:202, 1] = True, True
    probabilities = np.where(targets, 0.6, 0.2) + rng.normal(0, 0.01, targets.shape)
    probabilities[200:202, 1] = 0.95
    often, rarely = choose_thresholds(probabilities, targets)
    of_all, _ = find_best_threshold_and_its_f1(probabilities.ravel(), targets.ravel())
    assert abs(rarely - of_all) < 0.1
    assert 0.2 < often < 0.6
    assert (predict_cross_fitted_labels(probabilities, targets) == targets).mean() > 0.99


def test_thresholds_without_any_label_are_a_half() -> None:
    assert choose_thresholds(np.full((3, 2), 0.1), np.zeros((3, 2), dtype=bool)) == (0.5, 0.5)


# Training


@pytest.fixture(scope="module")
def fitted() -> FittedClassifier:
    data = tagged_texts()
    return fit(data.texts, names_of(data), **{**CHOICES, "epochs": 8})


def test_each_label_is_learnt_and_has_a_threshold(fitted: FittedClassifier) -> None:
    best = fitted.checkpoint
    assert best.activation == "sigmoid"
    assert best.thresholds is not None
    assert all(0 < threshold < 1 for threshold in best.thresholds)
    result = evaluate(best, tagged_texts(100, seed=1))
    assert result.micro_f1 > 0.9
    assert result.confusion == ()
    assert best.metrics["validation_micro_f1"] > 0.8
    assert best.training["metric"] == "f1"
    assert best.training["label_smoothing"] == 0


@pytest.mark.slow
def test_a_run_of_several_labels_is_resumed_to_the_same_weights(tmp_path: Path) -> None:
    states: list[TrainingState] = []
    train(tagged_texts(240), LONGER, keep=states.append)
    run_folder.write_epoch(states[2], tmp_path / "c", force=False)
    best = train(tagged_texts(240), LONGER, resume=run_folder.read_state(tmp_path / "c"))
    for name, tensor in states[-1].best.module.state_dict().items():
        assert tensor.equal(best.module.state_dict()[name]), name
    assert best.thresholds == states[-1].best.thresholds


@pytest.mark.parametrize(
    "change", mostly_slow([{"final_fit": True}, {"adversarial": 0.2}, {"packed": False}, {"label_smoothing": 0.1}], 2)
)
def test_the_other_ways_to_train_take_several_labels(change: dict[str, Any]) -> None:
    best = train(tagged_texts(60), replace(QUICK, epochs=1, **change))
    assert best.activation == "sigmoid"


def test_a_checkpoint_keeps_what_makes_it_one_of_several_labels(fitted: FittedClassifier, tmp_path: Path) -> None:
    best = fitted.checkpoint
    checkpoints.write(best, tmp_path / "c")
    document = json.loads((tmp_path / "c/config.json").read_text())
    read = checkpoints.read(tmp_path / "c")
    assert (read.activation, read.thresholds) == (best.activation, best.thresholds)
    with pytest.raises(CheckpointError, match="1 thresholds, but 3 labels"):
        replace(best, thresholds=(0.5,))
    (tmp_path / "c/config.json").write_text(json.dumps(document | {"activation": "tanh"}))
    with pytest.raises(CheckpointError, match="tanh"):
        checkpoints.read(tmp_path / "c")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (replace(tagged_texts(60), targets=np.eye(3, dtype=bool)[np.arange(60) % 3]), "No training row has several"),
        (
            LabelledTexts(["a", "b", "c", "d"] * 9, np.arange(36) % 4, ("sad", "sad|long", "x", "y"), "rows"),
            "--multi-label",
        ),
        (
            replace(tagged_texts(60), texts=["same"] * 30 + list(tagged_texts(60).texts[30:])),
            "labelled in several ways",
        ),
        (
            replace(tagged_texts(60), targets=np.c_[tagged_texts(60).targets[:, :2], np.arange(60) == 7]),
            "no validation row is left",
        ),
    ],
    ids=["one label each", "joined", "conflicts", "a label once"],
)
def test_what_is_odd_about_labels_is_said(data: LabelledTexts, said: str) -> None:
    notices: list[str] = []
    train(data, replace(QUICK, epochs=1), report=noting(notices))
    assert any(said in notice for notice in notices), notices


def test_class_weights_and_teachers_are_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Class weights"):
        train(tagged_texts(60), replace(QUICK, class_weights="balanced"))
    rows = write(tmp_path / "rows.jsonl", tagged_texts(60))
    (tmp_path / "t.csv").write_text("long,loud,sad\n" + "0.2,0.3,0.5\n" * 60)
    refused = run("train", rows, "-o", tmp_path / "c", "--multi-label", "--teacher", tmp_path / "t.csv")
    assert refused.exit_code == 2
    assert "--teacher" in refused.stderr


def test_the_linear_model_is_one_for_each_label() -> None:
    found = fit_linear_baseline(tagged_texts(), tagged_texts(60, seed=1))
    assert found is not None
    assert found.micro_f1 is not None
    assert found.micro_f1 > 0.8
    assert "micro F1" in found.summary


# The commands


@pytest.mark.slow
@pytest.mark.usefixtures("scant_proofs")
@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_train_evaluate_export_and_classify_speak_of_several_labels(tmp_path: Path, ending: str) -> None:
    rows, more = (
        write(tmp_path / f"rows{ending}", tagged_texts()),
        write(tmp_path / f"more{ending}", tagged_texts(60, 1)),
    )
    folder, bundle = tmp_path / "tags.checkpoint", tmp_path / "tags"
    trained = run("train", rows, "-o", folder, "--multi-label", "--min-freq", 1, *OPTIONS, "--export", bundle)
    assert trained.exit_code == 0, trained.output
    assert "micro F1" in trained.stdout
    report = (folder / "report.md").read_text()
    assert "micro F1" in report
    assert "| label | threshold |" in report
    assert not (folder / "confusion.png").exists()
    classifier, checkpoint = Classifier.load(bundle), checkpoints.read(folder)
    assert classifier.manifest.output.activation == "sigmoid"
    assert classifier.thresholds == checkpoint.thresholds
    figures = []
    for source in (folder, bundle):
        shown = run("evaluate", source, more)
        assert shown.exit_code == 0, shown.output
        assert "micro F1" in shown.stdout
        assert "Confusion" not in shown.stdout
        figures.append(json.loads(run("evaluate", "--json", source, more).stdout))
    assert figures[0] == figures[1]
    text = "noise1 long0 sad1"
    (line,) = run("classify", "-b", bundle, text).stdout.splitlines()
    assert set(filter(None, line.split("\t")[0].split("|"))) == set(classifier.predict_labels([text])[0])
    assert run("evaluate", bundle, more, "--label-separator", "").exit_code == 2


def test_ag_news_has_one_label_a_text(tmp_path: Path) -> None:
    refused = run("train", "ag_news", "-o", tmp_path / "c", "--multi-label")
    assert refused.exit_code == 2
    assert "ag_news" in refused.stderr


# From Python


def test_fit_takes_lists_and_gives_labels(fitted: FittedClassifier) -> None:
    data = tagged_texts()
    given = fitted.predict_labels(data.texts)
    assert fitted.evaluate(data.texts, names_of(data)).micro_f1 > 0.9
    assert np.mean([set(some) == set(names) for some, names in zip(given, names_of(data), strict=True)]) == (
        pytest.approx(fitted.score(data.texts, names_of(data)))
    )
    assert fitted.predict_labels(data.texts[:2], 1.0) == [(), ()]


def test_fit_takes_a_table_of_indicators() -> None:
    import pandas as pd

    data = tagged_texts(80)
    fitted = fit(data.texts, data.targets.astype(int), **{**CHOICES, "epochs": 1})
    assert fitted.labels == ("0", "1", "2")
    assert all(type(label) is int for labels in fitted.predict_labels(data.texts) for label in labels)
    named = fit(data.texts, pd.DataFrame(data.targets, columns=list(LABELS)), **{**CHOICES, "epochs": 1})
    assert named.labels == LABELS


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        ([["a"], "b", ["a", "b"]], "position 1"),
        ([["a"], None, ["b"]], "position 1"),
        ([["a"], ["a"], []], "only label"),
        ([["a"], [1.5], ["b"]], "position 1"),
        (np.array([[0, 2], [1, 0], [0, 1]]), "must all be 0 or 1"),
    ],
)
def test_lists_that_are_no_labels_are_refused(labels: Any, named: str) -> None:
    with pytest.raises(DataError, match=named):
        fit(["x", "y", "z"], labels, **CHOICES)
