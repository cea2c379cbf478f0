"""Learning from a teacher: what its answers may be, what is refused, and what a student makes of them."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from click.testing import CliRunner, Result
from training_data import LABELS, QUICK, easy_texts, noting, write_csv

from pocketrnn.commands.cli import main
from pocketrnn.errors import BundleError, DataError, InputError
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.measures.evaluation import evaluate
from pocketrnn_training.preparation.distillation import (
    TeacherBatch,
    TeacherTargets,
    compute_summed_student_loss,
    make_teacher_targets,
)
from pocketrnn_training.preparation.teacher_reader import read_teacher
from pocketrnn_training.rows.data_source import DataSource
from pocketrnn_training.rows.labelled_rows import UNLABELLED
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.rows.teacher_answers import TeacherAnswers, average_teacher_answers
from pocketrnn_training.rows.text_files import read_files, with_unlabelled
from pocketrnn_training.settings.text_settings import TextSettings
from pocketrnn_training.training import TrainingState, train
from pocketrnn_training.training_events import Epoch, Notice, Progress
from pocketrnn_training.training_run import TrainingRun

TEXTS = ["a cat", "a dog", "an elk", "another cat"]
DATA = LabelledTexts(TEXTS, np.array([0, 1, 2, 0]), LABELS, "four")
PROBABILITIES = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.0, 0.25, 0.75], [0.6, 0.3, 0.1]]
QUICKLY = replace(QUICK, epochs=2)


def sure(data: LabelledTexts, share: float = 0.9) -> npt.NDArray[np.float64]:
    """The probabilities of a teacher that is always right."""
    rest = (1 - share) / (len(data.labels) - 1)
    return np.where(np.arange(len(data.labels)) == data.targets[:, None], share, rest)


def without_labels(data: LabelledTexts, every: int = 2) -> LabelledTexts:
    targets = data.targets.copy()
    targets[::every] = UNLABELLED
    return replace(data, targets=targets)


# Files


def table(values: list[list[Any]], layout: str) -> dict[str, list[Any]]:
    if layout == "columns":
        # In another order than the labels.
        return {label: [row[i] for row in values] for i, label in reversed(list(enumerate(LABELS)))}
    return {layout: [None if row[0] is None else row for row in values]}


def write_table(folder: Path, suffix: str, columns: dict[str, list[Any]]) -> Path:
    path = folder / f"answers{suffix}"
    rows = list(zip(*columns.values(), strict=True))
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pa.table(columns), path)
    elif suffix in (".jsonl", ".ndjson"):
        path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",")
            writer.writerow(columns)
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"])
@pytest.mark.parametrize("layout", ["columns", "probabilities", "logits"])
def test_every_kind_of_file_gives_the_same_answers(tmp_path: Path, suffix: str, layout: str) -> None:
    values: list[list[Any]] = [*PROBABILITIES[:3], [None, None, None]]
    values[2] = [0.05, 0.2, 0.75]
    if layout == "logits":
        values[:3] = [[math.log(p) + 3 for p in row] for row in values[:3]]
    answers = read_teacher([write_table(tmp_path, suffix, table(values, layout))], DATA)
    assert answers.answered.tolist() == [True, True, True, False]
    expected = [*PROBABILITIES[:2], [0.05, 0.2, 0.75], [0, 0, 0]]
    np.testing.assert_allclose(answers.probabilities(np.arange(4)), expected, atol=1e-6)
    assert answers.likeliest_classes().tolist() == [0, 1, 2, -1]
    assert answers.sources == (f"answers{suffix}",)


def test_columns_of_logits_are_told_by_the_option(tmp_path: Path) -> None:
    path = write_table(tmp_path, ".csv", table([[2.0, 0.0, 0.0], [0.0, 1, 0], [0, 0, 0], [700, 0, 1e4]], "columns"))
    with pytest.raises(DataError, match=r"Row 1 of .* holds the probability 2, .*--teacher-logits"):
        read_teacher([path], DATA)
    answers = read_teacher([path], DATA, logits=True)
    np.testing.assert_allclose(answers.values[0], np.exp([2, 0, 0]) / np.exp([2, 0, 0]).sum(), rtol=1e-6)
    assert answers.values[3].tolist() == [0, 0, 1]


def test_columns_of_the_data_itself_are_a_teacher(tmp_path: Path) -> None:
    columns = {"text": TEXTS, "label": ["cat", "", "elk", "cat"], **table(PROBABILITIES, "columns")}
    path = write_table(tmp_path, ".csv", columns)
    data = read_files([path], blank_labels=True, labels=LABELS)
    assert data.targets.tolist() == [0, UNLABELLED, 2, 0]
    np.testing.assert_allclose(read_teacher([path], data).values, PROBABILITIES, atol=1e-7)


def test_rounded_probabilities_are_made_to_sum_to_1(tmp_path: Path) -> None:
    path = write_table(tmp_path, ".csv", table([[0.333, 0.333, 0.333]] * 4, "columns"))
    np.testing.assert_allclose(read_teacher([path], DATA).values.sum(axis=1), 1, atol=1e-6)


def changed(row: int, column: int, value: Any) -> list[list[Any]]:
    values: list[list[Any]] = [list(row) for row in PROBABILITIES]
    values[row][column] = value
    return values


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (PROBABILITIES[:3], "3 rows, .*data has 4"),
        ([*PROBABILITIES, PROBABILITIES[0]], "5 rows, .*data has 4"),
        (changed(1, 0, math.nan), "Row 2 of .* holds nan"),
        (changed(1, 0, math.inf), "Row 2 of .* holds inf"),
        (changed(2, 1, None), "Row 3 .*column 'dog'"),
        (changed(2, 1, -0.1), "Row 3 of .* holds the probability -0.1"),
        (changed(0, 0, 0.7), "Row 1 of .* sum to 0.9, not to 1"),
        (changed(0, 0, 1e308), r"Row 1 of .* holds the probability 1e\+308"),
        ([[0.0, 0.0, 0.0]] * 4, "Row 1 of .* sum to 0"),
        ([[None, None, None]] * 4, r"answers\.\w+ are empty"),
    ],
)
def test_answers_that_are_none_are_refused(tmp_path: Path, suffix: str, values: list[list[Any]], message: str) -> None:
    path = write_table(tmp_path, suffix, table(values, "columns"))
    with pytest.raises(DataError, match=message) as caught:
        read_teacher([path], DATA)
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"cat": [1.0], "dog": [0.0]}, "the label 'elk'"),
        ({"x": [1.0], "y": [0.0], "z": [0.0]}, "the label 'cat'. .*'x', 'y', 'z'"),
        ({"cat": [1.0], "dog": [0.0], "elk": [0.0], "fox": [0.0]}, "the column 'fox', .*only the labels"),
        ({"probabilities": [[1.0, 0.0, 0.0]], "logits": [[1.0, 0.0, 0.0]]}, "for the label"),
        ({"probabilities": [[0.5, 0.5]]}, "Row 1 of .* 3 numbers"),
        ({"probabilities": ["cat"]}, "Row 1 of .* 3 numbers"),
        ({"probabilities": [[1.0, 0.0, True]]}, "Row 1 of .* has True"),
        ({"probabilities": [[1.0, 0.0, [0.0]]]}, "column 'probabilities', but"),
        ({"probabilities": [[10**400, 0, 0]]}, "column 'probabilities', but"),
        ({"probabilities": [{"cat": 1.0}]}, "3 numbers"),
        ({"cat": ["much"], "dog": [0.0], "elk": [0.0]}, "'much' .*column 'cat'"),
        ({"text": ["a dog"], "cat": [1.0], "dog": [0.0], "elk": [0.0]}, "Row 1 of .* text 'a dog'.* 'a cat'"),
    ],
)
def test_files_of_other_things_are_refused(tmp_path: Path, columns: dict[str, list[Any]], message: str) -> None:
    path = write_table(tmp_path, ".jsonl", {name: values * 4 for name, values in columns.items()})
    with pytest.raises(DataError, match=message):
        read_teacher([path], DATA)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"cat,dog,elk\n\xff,0,0\n"),
        ("a.csv", b"cat,dog,elk\n1,0\n"),
        ("a.csv", b"cat,cat,dog,elk\n1,0,0,0\n"),
        ("a.csv", b""),
        ("a.csv", b"probabilities\n" + b'"' + b"[" * 100_000 + b'"\n'),
        ("a.jsonl", b""),
        ("a.jsonl", b"[1, 0, 0]\n"),
        ("a.jsonl", b'{"cat": 1, "dog": 0}\n'),
        ("a.parquet", b"PAR1 no parquet PAR1"),
        ("a.parquet", b""),
    ],
)
def test_broken_files_are_refused_in_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_teacher([path], DATA)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_teacher_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"answers\.parquet .*not exist"):
        read_teacher([tmp_path / "answers.parquet"], DATA)
    with pytest.raises(BundleError):
        read_teacher([tmp_path / "nothing"], DATA)
    with pytest.raises(DataError, match="`sources` is empty"):
        read_teacher([], DATA)


# Answers in memory


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.5, 0.5], "exactly two axes"),
        ([["a", "b"]], "exactly two axes"),
        ([[0.5, 0.5], [1.0]], "exactly two axes"),
        ([[0.5, math.nan]], "Row 1 .*holds nan"),
    ],
)
def test_arrays_that_are_no_answers_are_refused(values: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        TeacherAnswers.of(values)


def test_what_is_answered_is_one_truth_a_row() -> None:
    with pytest.raises(DataError, match=r"answered` .*shape \[1\] .*shape \[2\]"):
        TeacherAnswers.of([[0.5, 0.5]] * 2, answered=[True])
    answers = TeacherAnswers.of([[math.nan, math.nan], [0.5, 0.5]], answered=[False, True])
    assert answers.probabilities(np.array([1, 0, 1])).tolist() == [[0.5, 0.5], [0, 0], [0.5, 0.5]]


def test_the_mean_of_teachers_is_of_those_that_answer_a_row() -> None:
    one = TeacherAnswers.of([[0.9, 0.1], [0.5, 0.5], [0, 0]], answered=[True, True, False], sources=("one",))
    two = TeacherAnswers.of([[0, 0], [0.1, 0.9], [0, 0]], answered=[False, True, False], sources=("two",))
    mean = average_teacher_answers([one, two])
    np.testing.assert_allclose(mean.probabilities(np.arange(3)), [[0.9, 0.1], [0.3, 0.7], [0, 0]], atol=1e-7)
    assert mean.answered.tolist() == [True, True, False]
    assert mean.sources == ("one", "two")


@pytest.mark.parametrize("shape", [(3, 3), (4, 2)])
def test_answers_of_other_rows_or_classes_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="the data has 4 rows and 3 labels"):
        train(DATA, QUICK, teacher=TeacherAnswers.of(np.full(shape, 1 / shape[1])))


# The loss


def softmax(values: list[float]) -> list[float]:
    total = sum(map(math.exp, values))
    return [math.exp(value) / total for value in values]


def test_the_loss_by_hand() -> None:
    logits, weights = [1.0, 0.0], [1.0, 3.0]
    answer = TeacherAnswers.of([[0.9, 0.1], [0.9, 0.1], [0, 0]], answered=[True, True, False])
    # Both, an answer alone, a label alone.
    teaching = TeacherTargets.from_answers(answer, np.array([True, False, True]), answer_weight=0.25, temperature=2.0)
    assert teaching.label_share.tolist() == [0.75, 0.0, 1.0]
    soft = [math.sqrt(0.9), math.sqrt(0.1)]
    soft = [value / sum(soft) for value in soft]
    student = softmax([value / 2 for value in logits])
    of_answer = 4 * sum(w * q * math.log(q / p) for w, q, p in zip(weights, soft, student, strict=True))
    of_label = -math.log(softmax(logits)[1]) * weights[1]
    for row, expected in enumerate([0.75 * of_label + 0.25 * of_answer, of_answer, of_label]):
        loss = compute_summed_student_loss(
            torch.tensor([logits]),
            torch.tensor([1]),
            teaching.select_teacher_batch(np.array([row]), torch.device("cpu")),
            torch.tensor(weights),
        )
        assert loss.item() == pytest.approx(expected, rel=1e-5)
    mean_weight = soft[0] * weights[0] + soft[1] * weights[1]
    row_weights = teaching.row_weights(np.arange(3), np.array([1, 1, 1]), np.array(weights, np.float32))
    np.testing.assert_allclose(row_weights, [0.75 * 3 + 0.25 * mean_weight, mean_weight, 3], rtol=1e-6)


def test_the_loss_is_0_where_the_student_answers_as_the_teacher() -> None:
    logits = torch.tensor([[0.3, -1.0, 2.0]])
    lesson = TeacherBatch((logits / 3).softmax(dim=1), torch.zeros(1), 3.0)
    assert compute_summed_student_loss(logits, torch.tensor([0]), lesson, torch.ones(3)).item() == pytest.approx(
        0, abs=1e-5
    )


def test_a_sure_teacher_at_temperature_1_is_the_labels() -> None:
    logits, targets, weights = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0]), torch.tensor([1.0, 2.0, 3.0])
    lesson = TeacherBatch(torch.nn.functional.one_hot(targets, 3).float(), torch.full((5,), 0.4), 1.0)
    torch.testing.assert_close(
        compute_summed_student_loss(logits, targets, lesson, weights),
        compute_summed_student_loss(logits, targets, None, weights),
    )


# Texts without labels


@pytest.mark.slow
def test_a_student_learns_from_texts_without_labels() -> None:
    data, test = easy_texts(480), easy_texts(240, seed=1)
    few = replace(data, targets=np.where(np.arange(480) < 30, data.targets, UNLABELLED))
    settings = replace(QUICK, epochs=6, linear=False)
    taught = train(few, settings, teacher=TeacherAnswers.of(sure(data)))
    alone = train(data.rows(np.arange(30)), settings)
    assert evaluate(taught, test).accuracy > evaluate(alone, test).accuracy + 0.1
    assert taught.data["teacher"] == {
        "sources": ["an array"],
        "answered_rows": taught.data["training_rows"],
        "unlabelled_rows": 450,
        "training_accuracy": 1.0,
        "validation_accuracy": 1.0,
    }


@pytest.mark.parametrize("class_weights", [pytest.param("none", marks=pytest.mark.slow), "balanced"])
def test_a_student_learns_where_no_row_has_a_label(class_weights: str) -> None:
    data, held_out = easy_texts(180), easy_texts(60, seed=1)
    unlabelled, teacher = without_labels(data, every=1), TeacherAnswers.of(sure(data))
    settings = replace(QUICK, epochs=4, class_weights=class_weights)
    taught = train(unlabelled, settings, teacher=teacher, validation=held_out)
    assert taught.metrics["validation_accuracy"] > 0.5
    with pytest.raises(DataError, match=r"No row .*--validation"):
        train(unlabelled, settings, teacher=teacher)


def test_rows_without_label_and_answer_are_refused() -> None:
    data = without_labels(easy_texts(60))
    with pytest.raises(DataError, match=r"\b30 training rows .*row 1\b"):
        train(data, QUICK)
    teacher = TeacherAnswers.of(sure(easy_texts(60)), answered=np.arange(60) >= 10)
    with pytest.raises(DataError, match=r"\b5 training rows .*teacher"):
        train(data, QUICK, teacher=teacher)


def test_rows_without_a_label_are_never_held_out() -> None:
    data = without_labels(easy_texts(120))
    training, validation = data.split(None, TextSettings())
    assert (validation.targets >= 0).all()
    assert (training.targets == UNLABELLED).sum() == 60
    assert len(training) + len(validation) == 120


@pytest.mark.parametrize("given", [False, True])
def test_a_text_without_a_label_that_is_validated_with_is_not_learnt(given: bool) -> None:
    data = easy_texts(60)
    twice = LabelledTexts(
        [*data.texts, *data.texts], np.concatenate((data.targets, np.full(60, UNLABELLED))), LABELS, "twice"
    )
    training, validation = twice.split(data.rows(np.arange(6)) if given else None, TextSettings())
    assert len(validation) == 6
    assert not {*validation.texts} & {t for t, c in zip(training.texts, training.targets, strict=True) if c < 0}
    assert len(training) == (114 if given else 108)


def test_notices_and_class_weights_count_labelled_rows_only() -> None:
    data = easy_texts(120)
    twice = LabelledTexts(
        [*data.texts, *data.texts], np.concatenate((data.targets, np.full(120, UNLABELLED))), LABELS, "twice"
    )
    notices: list[str] = []
    settings = replace(QUICK, epochs=1, class_weights="balanced")
    train(twice, settings, teacher=TeacherAnswers.of(np.tile(sure(data), (2, 1))), report=noting(notices))
    assert not [text for text in notices if "several labels" in text]
    assert any("and 108 rows have no label; it is right in 100.0% of the training rows" in text for text in notices)


def test_empty_labels_are_refused_without_a_teacher(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("label,text\ncat,a\n,b\ndog,c\n")
    with pytest.raises(DataError, match=r"Row 2 of .*a\.csv .*'label'"):
        read_files([path])
    (tmp_path / "b.jsonl").write_text('{"text": "a", "label": null}\n{"text": "b", "label": ""}\n')
    with pytest.raises(DataError, match=r"No row .*b\.jsonl"):
        read_files([tmp_path / "b.jsonl"], blank_labels=True)
    assert read_files([tmp_path / "b.jsonl"], blank_labels=True, labels=LABELS).targets.tolist() == [-1, -1]


def test_rows_without_a_label_measure_nothing() -> None:
    data, bare = easy_texts(60), without_labels(easy_texts(60, seed=1))
    teacher = TeacherAnswers.of(sure(data))
    with pytest.raises(DataError, match=r"\b30 validation rows .*row 1\b"):
        train(data, QUICK, teacher=teacher, validation=bare)
    with pytest.raises(DataError, match=r"\b30 rows .*row 1\b"):
        evaluate(train(data, replace(QUICK, epochs=1), teacher=teacher), bare)


def test_files_of_texts_follow_the_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\none,unread\ntwo,\n")
    (tmp_path / "b.jsonl").write_text('{"text": "three"}\n')
    data = with_unlabelled(DATA, [tmp_path / "a.csv", tmp_path / "b.jsonl"])
    assert list(data.texts) == [*TEXTS, "one", "two", "three"]
    assert data.targets.tolist() == [0, 1, 2, 0, -1, -1, -1]
    assert data.source == "four, a.csv, b.jsonl"
    (tmp_path / "c.jsonl").write_text('{"text": "ok"}\n{"text": null}\n')
    with pytest.raises(DataError, match=r"Row 2 of .*c\.jsonl .*'text'"):
        with_unlabelled(DATA, [tmp_path / "c.jsonl"])


def test_without_a_teacher_nothing_is_different() -> None:
    assert make_teacher_targets(DATA, 0.5, 2.0) is None
    checkpoint = train(easy_texts(60), replace(QUICK, epochs=1))
    other = train(easy_texts(60), replace(QUICK, epochs=1, teacher_weight=0.1, teacher_temperature=5.0))
    assert "teacher" not in checkpoint.data
    assert torch.equal(checkpoint.module.embedding.weight, other.module.embedding.weight)


@pytest.mark.parametrize("change", [{"teacher_weight": -0.1}, {"teacher_weight": 1.1}, {"teacher_temperature": 0.5}])
@pytest.mark.parametrize("nan", [False, True])
def test_weights_and_temperatures_out_of_range_are_refused(change: dict[str, float], nan: bool) -> None:
    with pytest.raises(InputError, match="teacher_"):
        TextSettings(**(dict.fromkeys(change, math.nan) if nan else change))  # type: ignore[arg-type]


# Whole runs


def test_a_resumed_run_gives_the_bytes_of_one_in_one_piece(tmp_path: Path) -> None:
    data, states = easy_texts(60), list[TrainingState]()
    teacher = TeacherAnswers.of(sure(data, 0.7), answered=np.arange(60) % 5 != 1)
    few = without_labels(data, every=5)
    whole = train(few, QUICKLY, name="s", teacher=teacher, keep=states.append)
    resumed = train(few, QUICKLY, name="s", teacher=teacher, resume=states[0])
    for name, checkpoint in (("whole", whole), ("resumed", resumed)):
        checkpoints.write(checkpoint, tmp_path / name)
    for file in ("weights.safetensors", "config.json"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "resumed" / file).read_bytes()
    for other in (TeacherAnswers.of(sure(data, 0.8), answered=np.arange(60) % 5 != 1), TeacherAnswers.of(sure(data))):
        with pytest.raises(InputError, match="other data"):
            train(few, QUICKLY, name="s", teacher=other, resume=states[0])


# test_training_runs.py tests two processes without a teacher in the fast suite.
@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one() -> None:
    data = without_labels(easy_texts(125), every=3)
    teacher = TeacherAnswers.of(sure(easy_texts(125), 0.8), answered=np.arange(125) % 2 == 0)
    data = replace(data, targets=np.where(teacher.answered, data.targets, easy_texts(125).targets))

    def curve(settings: TextSettings) -> list[float]:
        losses: list[float] = []

        def note(event: Progress | Epoch | Notice) -> None:
            if isinstance(event, Progress):
                losses.append(event.loss)

        train(data, settings, teacher=teacher, report=note)
        return losses

    settings = replace(QUICK, dropout=0.0, word_dropout=0.0, epochs=2, report_every=50, class_weights="balanced")
    one, two = curve(settings), curve(replace(settings, processes=2, batch_size=8))
    assert len(one) == len(two) > 3
    np.testing.assert_allclose(two, one, rtol=1e-4)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "reviews.csv", easy_texts(60))
    more = easy_texts(30, seed=2)
    (tmp_path / "more.csv").write_text("\n".join(["text", *more.texts]) + "\n")
    values = np.concatenate((sure(easy_texts(60)), sure(more)))
    columns = {label: values[:, i].tolist() for i, label in enumerate(LABELS)}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "answers.parquet")
    return tmp_path


OPTIONS = [
    *("--hidden-dim", "8", "--embedding-dim", "8", "--batch-size", "16", "--learning-rate", "0.03"),
    *("--epochs", "2", "--min-freq", "1", "--device", "cpu"),
]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_the_command_learns_from_a_file_and_from_texts_without_labels(folder: Path) -> None:
    result = run(
        *("train", "reviews.csv", "-o", "small", *OPTIONS, "--teacher", str(folder / "answers.parquet")),
        *("--unlabelled", "more.csv", "--teacher-weight", "0.5", "--teacher-temperature", "1.5"),
    )
    assert result.exit_code == 0, result.output
    small = checkpoints.read(Path("small"))
    assert small.data["teacher"]["sources"] == ["answers.parquet"]
    assert small.data["teacher"]["unlabelled_rows"] == 30
    assert (small.training["teacher_weight"], small.training["teacher_temperature"]) == (0.5, 1.5)
    assert str(folder) not in Path("small/config.json").read_text()
    assert "The teacher answers 84 of 84 training rows, and 30 rows have no label" in result.stderr
    assert "The teacher answers 84 of 84 training rows" in Path("small/report.md").read_text()


@pytest.mark.slow
def test_checkpoints_are_teachers_and_several_are_averaged(folder: Path) -> None:
    data = read_files([folder / "reviews.csv"])
    # The labels of the second are in another order.
    turned = replace(data, labels=LABELS[::-1], targets=2 - data.targets)
    for name, rows in (("one", data), ("two", turned)):
        checkpoints.write(train(rows, replace(QUICK, epochs=12), name=name), folder / name)
    one, two = (read_teacher([folder / name], data) for name in ("one", "two"))
    both = read_teacher([folder / "one", folder / "two"], data)
    np.testing.assert_allclose(both.values, (one.values + two.values) / 2, atol=1e-6)
    assert (one.likeliest_classes() == data.targets).mean() > 0.5
    assert (two.likeliest_classes() == data.targets).mean() > 0.5
    source = DataSource((str(folder / "reviews.csv"),))
    student = TrainingRun(source, folder / "student", QUICKLY, teachers=(folder / "one", folder / "two")).train()
    assert student.data["teacher"]["sources"] == ["one", "two"]


def test_a_bundle_is_a_teacher_for_its_labels_only() -> None:
    texts = ["Oil prices rise again", "Striker scores twice in cup final"]
    news = LabelledTexts(texts, np.array([0, 2]), ("Business", "Sci/Tech", "Sports", "World"), "news")
    assert read_teacher(["ag_news"], news).likeliest_classes().tolist() == [0, 2]
    with pytest.raises(DataError, match=r"The teacher ag_news has the labels .* 'cat', 'dog', 'elk'"):
        read_teacher(["ag_news"], DATA)


def test_texts_without_labels_need_a_teacher(folder: Path) -> None:
    result = run("train", "reviews.csv", "-o", "small", *OPTIONS, "--unlabelled", "more.csv")
    assert result.exit_code == 2
    assert "Name a teacher with --teacher" in result.stderr
    assert not (folder / "small").exists()


def test_a_warm_teacher_is_not_taken_for_a_run_that_diverges() -> None:
    data, notices = easy_texts(60), list[str]()
    settings = replace(QUICK, epochs=1, teacher_weight=1.0, teacher_temperature=4.0, learning_rate=1e-6)
    train(data, settings, teacher=TeacherAnswers.of(sure(data, 1.0)), report=noting(notices))
    assert not [text for text in notices if "diverged" in text]


def test_answers_that_do_not_fit_are_refused_before_the_folder_is_made(folder: Path) -> None:
    result = run("train", "reviews.csv", "-o", "small", *OPTIONS, "--teacher", "answers.parquet")
    assert result.exit_code == 2
    assert "answers.parquet has 90 rows, but the data has 60" in result.stderr
    assert not (folder / "small").exists()
