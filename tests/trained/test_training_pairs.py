"""Training of classifiers of two texts: their files, the module, the run, the bundle that is made of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from click.testing import CliRunner, Result
from training_data import CHOICES, SMALL

from pocketrnn import Classifier
from pocketrnn.commands.cli import main
from pocketrnn.errors import CheckpointError, DataError, InputError
from pocketrnn.text.pairs import PairEncoder
from pocketrnn_export import export_trained
from pocketrnn_training import LabelledPairs, PairSettings, evaluate, fit, read_checkpoint, read_pairs, train
from pocketrnn_training.baselines.linear_baseline import PairBaseline, fit_linear_baseline
from pocketrnn_training.classifiers.checkpoint import write
from pocketrnn_training.classifiers.recurrent_classifiers import PairClassifier, build_classifier
from pocketrnn_training.measures.evaluation import compute_checkpoint_logits
from pocketrnn_training.preparation.batch_augmentation import WordDropout
from pocketrnn_training.preparation.text_preparation import prepare_texts
from pocketrnn_training.rows import text_files
from pocketrnn_training.rows.labelled_rows import assign_folds
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.rows.table_files import read_columns
from pocketrnn_training.settings.text_settings import TextSettings
from pocketrnn_training.texts import installed_vectors
from pocketrnn_training.texts.word_vectors import write_table
from pocketrnn_training.training import TrainingState

QUICK = PairSettings(**{name: value for name, value in CHOICES.items() if name != "compare"})
COLUMNS = ("--text-column", "premise", "--second-text-column", "hypothesis")
OPTIONS = (
    *("--epochs", "6", "--hidden-dim", "8", "--embedding-dim", "8", "--batch-size", "16", "--learning-rate", "0.03"),
    *("--min-freq", "1", "--no-final-fit", "--dropout", "0.1", "--device", "cpu"),
)
WHO, DOES = ("dog", "cat", "man", "car", "bird"), ("runs", "sleeps", "eats")


def easy_pairs(rows: int = 160, seed: int = 0) -> LabelledPairs:
    """Pairs whose words after the first are the same, or not."""
    rng = np.random.default_rng(seed)
    targets = rng.permutation(np.arange(rows) % 2)
    pairs = []
    for target in targets.tolist():
        who, other = rng.choice(WHO, 2, replace=False)
        does = rng.choice(DOES)
        pairs.append((f"a {who} {does}", f"the {other if target else who} {does}"))
    first, second = map(list, zip(*pairs, strict=True))
    return LabelledPairs(first, targets, ("same", "other"), "easy", second_texts=second)


def write_rows(path: Path, data: LabelledPairs, *more: str) -> Path:
    rows = zip(data.texts, data.second_texts, data.targets.tolist(), strict=True)
    lines = [f"{first},{second},{data.labels[target]}" for first, second, target in rows]
    path.write_text("\n".join(["premise,hypothesis,label", *lines, *more]) + "\n")
    return path


def run(*arguments: str | Path, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == exit_code, result.output
    return result


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of a run, and its checkpoint."""
    folder = tmp_path_factory.mktemp("pairs")
    write_rows(folder / "pairs.csv", easy_pairs())
    write_rows(folder / "test.csv", easy_pairs(60, seed=1))
    run("train", folder / "pairs.csv", "-o", folder / "pairs", *COLUMNS, *OPTIONS)
    return folder


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_files_of_pairs_are_read_in_all_formats(tmp_path: Path, suffix: str) -> None:
    rows = [("A dog runs", "It moves", "yes"), ("A cat", "", "no")]
    table = [dict(zip(("premise", "hypothesis", "label"), row, strict=True)) for row in rows]
    path = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist(table), path)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    else:
        between = "\t" if suffix == "tsv" else ","
        path.write_text("\n".join(between.join(row) for row in [("premise", "hypothesis", "label"), *rows]) + "\n")
    data = read_pairs([path], text_column="premise", second_text_column="hypothesis")
    assert data.inputs == [("A dog runs", "It moves"), ("A cat", "")]
    assert [data.labels[target] for target in data.targets] == ["yes", "no"]
    assert data.rows(np.array([1])).inputs == [("A cat", "")]
    assert data.format_row(0) == "A dog runs | It moves"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"premise": "a", "label": "x"}', r"'hypothesis'.* --second-text-column"),
        ('{"premise": "a", "hypothesis": null, "label": "x"}', r"Row 1 .*'hypothesis'"),
        ('{"premise": "a", "hypothesis": "b", "label": null}', r"Row 1 .*'label'"),
    ],
)
def test_a_row_without_a_second_text_or_a_label_is_refused(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "rows.jsonl").write_text(text + "\n")
    with pytest.raises(DataError) as refused:
        read_pairs([tmp_path / "rows.jsonl"], text_column="premise", second_text_column="hypothesis", labels=("x", "y"))
    assert re.search(named, str(refused.value)), refused.value


def test_each_file_of_pairs_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write_rows(tmp_path / f"{i}.csv", easy_pairs(4)) for i in range(2)]
    read: list[Path] = []

    def count(path: Path, *more: Any, **options: Any) -> Any:
        read.append(path)
        return read_columns(path, *more, **options)

    monkeypatch.setattr(text_files, "read_columns", count)
    data = read_pairs(paths, text_column="premise", second_text_column="hypothesis")
    assert (read, len(data), len(data.second_texts)) == (paths, 8, 8)


def test_rows_of_a_label_outside_the_classes_stay_pairs(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.csv", easy_pairs(4), "so,so,none", ",so,")
    data = read_pairs(
        [path], text_column="premise", second_text_column="hypothesis", outside="none", drop_unlabelled=True
    )
    assert (len(data), data.outside) == (4, [("so", "so")])


def test_pairs_of_one_first_text_are_trained_on_or_held_out_together() -> None:
    rng = np.random.default_rng(0)
    first = [f"premise {i // 3}" for i in range(90)]
    targets = np.concatenate([rng.permutation(3) for _ in range(30)])
    data = LabelledPairs(first, targets, ("x", "y", "z"), "rows", second_texts=[f"so {i}" for i in range(90)])
    training, held_out = data.split(None, QUICK)
    assert not {*training.texts} & {*held_out.texts}
    assert (len(training), len(held_out)) == (81, 9)
    assert held_out.counts().tolist() == [3, 3, 3]
    folds = assign_folds(data, 3, rng)
    assert all(len(np.unique(folds[data.groups == group])) == 1 for group in range(30))


def test_pairs_of_one_question_are_held_out_one_by_one() -> None:
    data = easy_pairs(40)
    data = replace(data, texts=["the question"] * 40, second_texts=[f"answer {i}" for i in range(40)])
    training, held_out = data.split(None, QUICK)
    assert (len(training), len(held_out)) == (36, 4)


def test_equal_pairs_are_copies_and_pairs_that_differ_in_one_text_are_not() -> None:
    data = LabelledPairs(["a", "a", "a"], np.zeros(3, np.int64), ("x", "y"), "rows", second_texts=["b", "b", "c"])
    assert np.unique(data.hashes).size == 2
    assert data.hashes[0] == data.hashes[1]


@pytest.mark.parametrize("tokenizer", ["basic_english", "bpe"])
def test_training_makes_the_ids_that_the_runtime_makes(tokenizer: str) -> None:
    data = easy_pairs(40)
    settings = replace(QUICK, tokenizer=tokenizer, vocabulary_size=40 if tokenizer == "bpe" else None)
    task, _ = prepare_texts(data, data, settings, lambda _: None)
    encoder = PairEncoder(task.rules, task.vocabulary)  # type: ignore[arg-type]
    expected = [number for pair in data.inputs for number in encoder.encode(pair)]
    assert task.rows.values.tolist() == task.validation_rows.values.tolist() == expected
    drawn = task.draw_epoch(np.random.SeedSequence(1)).rows
    assert (np.add.reduceat(drawn.values < 0, drawn.offsets[:-1]) == 1).all()
    assert len(drawn.offsets) == 41
    assert (drawn.values.tolist() == expected) == (tokenizer != "bpe")


def test_dropped_words_leave_the_mark_between_the_texts() -> None:
    rows = torch.tensor([[5, 6, -2, 7, 1]]).expand(50, 5)
    changed = WordDropout(0.9, 0, 1).augment_batch(rows, None)
    assert (changed == 0).any()
    assert (changed[:, 2] == -2).all()
    assert (changed[:, 4] == 1).all()


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("cell", ["gru", "lstm", "qrnn"])
def test_a_pair_is_answered_by_itself_whatever_stands_beside_it(cell: str, pooling: str) -> None:
    torch.manual_seed(0)
    module = build_classifier(replace(SMALL, two_texts=True, bidirectional=True, cell=cell, pooling=pooling)).eval()
    assert isinstance(module, PairClassifier)
    torch.nn.init.normal_(module.in_other)
    rows, lengths = torch.tensor([[5, 7, 3, -2, 4, 7], [3, -2, 6, 2, 1, 1]]), torch.tensor([6, 4])
    together = module(rows, lengths)
    alone = torch.cat([module(rows[:1], lengths[:1]), module(rows[1:, :4], lengths[1:])])
    texts = (torch.tensor([[3, 1]]), torch.tensor([[6, 2, 1]]), torch.tensor([1]), torch.tensor([2]))
    assert torch.allclose(together, alone, atol=1e-6)
    assert torch.allclose(together[1:], module.compare(*texts), atol=1e-6)
    # Training computes the layers in another way.
    assert torch.allclose(together, module.train()(rows, lengths), atol=1e-6)


def test_a_token_that_the_other_text_has_is_told_from_one_that_it_lacks() -> None:
    torch.manual_seed(0)
    module = build_classifier(replace(SMALL, two_texts=True)).eval()
    assert isinstance(module, PairClassifier)
    with torch.no_grad():
        module.in_other[1] = 1.0
    one = torch.tensor([1])
    with_it, without = ((torch.tensor([[5]]), torch.tensor([[i, 5]]), one, one) for i in (5, 6))
    # The 5 after the end of the second text does not count.
    texts = [
        module._compute_pooled_states_beside_other(first, a, second, b) for first, second, a, b in (with_it, without)
    ]
    assert not torch.allclose(*texts)
    module.in_other.data.zero_()
    texts = [
        module._compute_pooled_states_beside_other(first, a, second, b) for first, second, a, b in (with_it, without)
    ]
    assert torch.allclose(*texts)


@pytest.mark.parametrize("change", [{"packed": False}, {"pooling": "none"}, {"pairs": 8}])
def test_a_shape_that_two_texts_cannot_have_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="pairs of texts"):
        replace(SMALL, two_texts=True, **change)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_run_is_trained_measured_and_evaluated_with_its_columns(trained: Path) -> None:
    checkpoint = read_checkpoint(trained / "pairs")
    assert checkpoint.two_texts
    assert checkpoint.data["columns"] == {"text_column": "premise", "second_text_column": "hypothesis"}
    assert checkpoint.metrics["validation_accuracy"] > 0.9
    assert all(isinstance(first, str) and isinstance(second, str) for first, second in checkpoint.examples)
    found = json.loads(run("evaluate", trained / "pairs", trained / "test.csv", "--json").output)
    assert found["rows"] == 60
    assert found["accuracy"] > 0.9
    report = (trained / "pairs" / "report.md").read_text(encoding="utf-8")
    assert "two texts" in report
    assert "the words that both have" in report
    # Three words in each text.
    assert re.search(r"tokens of both texts \| rows .*\n.*\n\| 6 \| \d+ \|", report)


def test_folds_measure_pairs_too(trained: Path, tmp_path: Path) -> None:
    made = run("train", trained / "test.csv", "-o", tmp_path / "x", *COLUMNS, *OPTIONS, "--folds", "2", "--epochs", "1")
    assert "Cross-validation" in made.output


def test_no_examples_makes_pairs_of_words(trained: Path, tmp_path: Path) -> None:
    run("train", trained / "test.csv", "-o", tmp_path / "x", *COLUMNS, *OPTIONS, "--no-examples", "--epochs", "1")
    checkpoint = read_checkpoint(tmp_path / "x")
    assert {word for pair in checkpoint.examples for text in pair for word in text.split()} <= {*checkpoint.vocabulary}


def test_training_goes_on_from_a_checkpoint_of_two_texts(trained: Path, tmp_path: Path) -> None:
    more = write_rows(tmp_path / "more.csv", easy_pairs(30, seed=3), "a wolf runs,the wolf runs,third")
    run(
        "train",
        more,
        "-o",
        tmp_path / "more",
        *COLUMNS,
        "--from",
        trained / "pairs",
        "--epochs",
        "1",
        "--min-freq",
        "1",
    )
    checkpoint = read_checkpoint(tmp_path / "more")
    assert checkpoint.labels == ("other", "same", "third")
    assert "wolf" in checkpoint.vocabulary
    one = tmp_path / "one.csv"
    one.write_text("text,label\n" + "so good,same\nso bad,other\n" * 20)
    said = run("train", one, "-o", tmp_path / "x", "--from", trained / "pairs", exit_code=2).output
    assert "--second-text-column" in said


def test_an_interrupted_run_of_pairs_resumes_with_the_same_weights() -> None:
    data, states = easy_pairs(60), list[TrainingState]()
    whole = train(data, QUICK, keep=states.append)
    again = train(data, QUICK, resume=states[0])
    assert torch.equal(whole.module.fc.weight, again.module.fc.weight)  # type: ignore[union-attr]
    assert whole.metrics == again.metrics


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--linear"], "linear"),
        (["--compare"], "compare"),
        (["--ngrams", "2"], "ngrams"),
        (["--padded"], "--padded"),
        (["--adversarial", "0.1"], "adversarial"),
        (["--teacher-weight", "0.5"], "--teacher-weight"),
        (["--teacher", "teacher.csv"], "A teacher"),
        (["--labels-of", "tokens", "--text-column", "text"], "--second-text-column"),
        (["--channels", "x,y"], "--second-text-column"),
        (["--second-text-column", "other"], "'other'.*--second-text-column"),
        (["--filters", "9"], "pairs of texts"),
    ],
)
def test_options_that_do_not_fit_pairs_are_refused(
    trained: Path, tmp_path: Path, options: list[str], named: str
) -> None:
    said = run("train", trained / "pairs.csv", "-o", tmp_path / "x", *COLUMNS, *options, exit_code=2).output
    assert re.search(named, " ".join(said.split())), said


def test_rows_of_ag_news_have_no_second_text(tmp_path: Path) -> None:
    said = run("train", "ag_news", "-o", tmp_path / "x", "--second-text-column", "other", exit_code=2).output
    assert "--second-text-column" in said


def test_rows_of_one_text_and_classifiers_of_two_are_told_apart(trained: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(trained / "pairs")
    single = LabelledTexts(["a", "b"], np.array([0, 1]), checkpoint.labels, "rows")
    with pytest.raises(DataError, match="reads two texts"):
        evaluate(checkpoint, single)
    with pytest.raises(InputError, match="pairs of texts"):
        train(easy_pairs(), TextSettings())
    with pytest.raises(InputError, match="validation"):
        train(easy_pairs(), QUICK, validation=single)
    with pytest.raises(CheckpointError, match="pairs of texts"):
        write(replace(checkpoint, examples=("one",)), tmp_path / "x")
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\na,same\nb,other\n")
    teacher = run("train", rows, "-o", tmp_path / "y", "--teacher", trained / "pairs", exit_code=2)
    assert "reads pairs of texts" in teacher.output


def test_tuples_in_memory_are_pairs() -> None:
    data = easy_pairs(60)
    labels = [data.labels[target] for target in data.targets]
    fitted = fit(data.inputs, labels, progress=False, **{**CHOICES, "compare": None})
    assert fitted.checkpoint.two_texts
    assert fitted.predict([["a dog runs", "the dog runs"]])[0] in data.labels
    assert fitted.score(data.inputs, labels) == fitted.evaluate(data.inputs, labels).accuracy
    for wrong in (["a dog runs"], [("a", "b", "c")], [("a", None)]):
        with pytest.raises(DataError, match="position 0"):
            fitted.predict(wrong)
    with pytest.raises(DataError, match="position 1"):
        fit([("a", "b"), "c"], ["x", "y"])


def test_a_pair_can_have_several_labels() -> None:
    data = easy_pairs(60)
    labels = [["same", "short"] if target == 0 else ["short"] for target in data.targets]
    fitted = fit(data.inputs, labels, progress=False, **{**CHOICES, "compare": None})
    assert isinstance(fitted.predict_labels(data.inputs)[0], tuple)


def test_the_linear_model_knows_the_words_that_both_texts_have() -> None:
    found = fit_linear_baseline(easy_pairs(), easy_pairs(60, seed=1))
    assert isinstance(found, PairBaseline)
    assert found.accuracy > 0.9


def test_pairs_in_the_language_of_installed_vectors_start_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(tmp_path / "en.npz", [*WHO, "wolf"], np.random.default_rng(1).standard_normal((6, 5)))
    monkeypatch.setattr(installed_vectors, "find_installed_vectors", lambda _texts, _report: tmp_path / "en.npz")
    checkpoint = train(easy_pairs(40), replace(QUICK, embedding_dim=None, epochs=1))
    assert checkpoint.data["word_vectors"]["source"] == "en.npz"
    assert "wolf" in checkpoint.vocabulary
    without = train(easy_pairs(40), replace(QUICK, embedding_dim=None, epochs=1, shipped_vectors=False))
    assert without.data["word_vectors"] is None


@pytest.mark.slow
@pytest.mark.usefixtures("scant_proofs")
def test_the_bundle_answers_as_the_checkpoint_does(trained: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(trained / "pairs")
    manifest = export_trained(checkpoint, tmp_path / "bundle")
    assert manifest.has_two_texts
    data = read_pairs([trained / "test.csv"], text_column="premise", second_text_column="hypothesis")
    classifier = Classifier.load(tmp_path / "bundle")
    assert evaluate(classifier, data) == evaluate(checkpoint, data)
    said = run("evaluate", tmp_path / "bundle", trained / "test.csv").output
    assert "of 60 rows" in said


def test_a_form_that_two_texts_cannot_have_is_refused_before_the_export(trained: Path, tmp_path: Path) -> None:
    said = run("export", trained / "pairs", "-o", tmp_path / "x", "--compress", exit_code=2).output
    assert "--compress" in said
    assert "Proving" not in said


@pytest.mark.slow
def test_a_trained_classifier_of_two_texts_is_packed(trained: Path, tmp_path: Path) -> None:
    native = pytest.importorskip("pocketrnn_native")
    run("export", trained / "pairs", "-o", tmp_path / "x.prnn", "--profile", "packed")
    checkpoint, packed = read_checkpoint(trained / "pairs"), native.Classifier.load(tmp_path / "x.prnn")
    pairs = easy_pairs(20, seed=7).inputs
    expected = compute_checkpoint_logits(checkpoint, pairs).numpy().argmax(1)
    assert [answer.label for answer in map(packed.classify, pairs)] == [checkpoint.labels[i] for i in expected]


def test_lines_of_texts_for_the_proof_are_pairs_where_the_checkpoint_takes_two(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a dog\n")
    said = run("export", trained / "pairs", "-o", tmp_path / "x", "--texts", tmp_path / "texts.txt", exit_code=2).output
    assert "Line 1" in said


@pytest.mark.slow
def test_the_whole_way_from_rows_to_the_runtime_gives_equal_answers(trained: Path, tmp_path: Path) -> None:
    made = run("train", trained / "pairs.csv", "-o", tmp_path / "made", *COLUMNS, *OPTIONS, "--tokenizer", "bpe",
               "--vocabulary-size", "60", "--export", tmp_path / "bundle")  # fmt: skip
    assert '"a text" "another text"' in made.output
    checkpoint, classifier = read_checkpoint(tmp_path / "made"), Classifier.load(tmp_path / "bundle")
    pairs = [*easy_pairs(30, seed=5).inputs, ("", "a"), ("Zoë's 漢字 " * 40, "😀")]
    assert np.allclose(classifier.logits(pairs), compute_checkpoint_logits(checkpoint, pairs).numpy(), atol=1e-4)


# The GRU with its maximum is the fast test's.
@pytest.mark.slow
@pytest.mark.usefixtures("scant_proofs")
@pytest.mark.parametrize(
    "shape",
    [
        {"cell": "lstm", "pooling": "last", "bidirectional": False},
        {"cell": "qrnn", "pooling": "mean"},
        {"cell": "rnn_tanh", "layers": 2},
    ],
    ids=lambda shape: shape["cell"],
)
def test_every_shape_of_a_classifier_of_two_texts_is_exported(shape: dict[str, Any], tmp_path: Path) -> None:
    data = easy_pairs(60)
    checkpoint = train(data, replace(QUICK, epochs=1, **shape))
    export_trained(checkpoint, tmp_path / "bundle")
    given = Classifier.load(tmp_path / "bundle").logits(data.inputs)
    assert np.allclose(given, compute_checkpoint_logits(checkpoint, data.inputs).numpy(), atol=1e-5)
