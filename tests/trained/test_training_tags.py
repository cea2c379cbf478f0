"""Training of taggers: their files, the run, the bundle that is made of it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from pocketrnn import Classifier
from pocketrnn.commands.cli import main
from pocketrnn.errors import DataError
from pocketrnn_export import export_trained
from pocketrnn_export.checkpoint_export import make_export_arguments_from_checkpoint
from pocketrnn_export.packing import pack
from pocketrnn_training import evaluate, fit, read_checkpoint, train
from pocketrnn_training.classifiers.recurrent_classifiers import CrfLayer
from pocketrnn_training.measures.evaluation import predict_tag_targets
from pocketrnn_training.measures.span_scores import SpanScores
from pocketrnn_training.preparation.prepared_data import IGNORED, OtherSources, Task
from pocketrnn_training.preparation.tag_preparation import prepare_tags
from pocketrnn_training.rows.conll_files import read_tagged
from pocketrnn_training.rows.tagged_sentences import TaggedSentences
from pocketrnn_training.settings.tag_settings import TagSettings
from pocketrnn_training.texts.piece_learning import MARK
from pocketrnn_training.texts.sentences_as_piece_ids import encode_sentences_with_word_starts
from pocketrnn_training.training import TrainingState

CONLLU = """\
# sent_id = 1
# text = vom Haus
1-2\tvom\t_\t_\t_\t_\t_\t_\t_\t_
1\tvon\tvon\tADP\t_\t_\t_\t_\t_\t_
2\tdem\tder\tDET\t_\t_\t_\t_\t_\t_
3\t10 000\tH\tNUM\t_\t_\t_\t_\t_\t_
3.1\tghost\tg\tVERB\t_\t_\t_\t_\t_\t_

1\t#\t#\tSYM\t_\t_\t_\t_\t_\t_
"""


def written(folder: Path, text: str | bytes, name: str = "tags.conll") -> tuple[Path]:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return (path,)


def test_conll_u_gives_forms_and_upos_without_ranges_and_empty_nodes(tmp_path: Path) -> None:
    data = read_tagged(written(tmp_path, CONLLU, "a.conllu"))
    assert data.sentences == [("von", "dem", "10 000"), ("#",)]
    assert [data.labels[i] for i in data.targets] == ["ADP", "DET", "NUM", "SYM"]
    assert data.format_row(2) == "von dem [10 000]"
    assert len(data.rows(data.targets[:1] * 0 + 1).targets) == 1


@pytest.mark.parametrize(
    ("text", "sentences", "labels"),
    [
        ("# a comment\nAda\tB\n# \tO\n\t\n\nin\tO", [("Ada", "# "), ("in",)], "BOO"),
        ("\ufeffAda NNP B\r\nin IN O\r\n\r\n# id one two\r\n# X O\r\n", [("Ada", "in"), ("#",)], "BOO"),
        ("-DOCSTART- -X- O\n\nAda NNP B\nin IN O\n", [("Ada", "in")], "BO"),
        ("New\u00a0York\tB\na\u2028b\tO\n", [("New\u00a0York", "a\u2028b")], "BO"),
    ],
    ids=["tabs", "spaces", "documents", "other white space"],
)
def test_columns_give_the_first_and_the_last(
    tmp_path: Path, text: str, sentences: list[tuple[str, ...]], labels: str
) -> None:
    data = read_tagged(written(tmp_path, text))
    assert data.sentences == sentences
    assert [data.labels[i] for i in data.targets] == list(labels)


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("a.conll", "Ada B\nin\n", "a.conll:2 .*1 column .*must have 2, as line 1"),
        ("a.conll", "Ada\tB\nin\tP\tO\n", "a.conll:2 .*3 columns"),
        ("a.conll", "word\n", "a.conll:1 .*'word'"),
        ("a.conll", "Ada\t\n", "a.conll:1 .*label"),
        ("a.conll", "\tO\nAda\tB\n", "a.conll:1 .*word"),
        ("a.conll", "", "a.conll"),
        ("a.conll", "# only this\n\n", "a.conll"),
        ("a.conll", "Ada O\nin O\n", "a.conll .*'O'"),
        ("a.conll", b"Ada B\nM\xfcller O\n", "line 2 .*0xfc"),
        ("a.conll", "Ada B\n".encode("utf-16"), "utf-16"),
        ("a.conllu", "1\tAda\tPROPN\n", "a.conllu:1 .*3 columns.* 10"),
        ("a.conllu", CONLLU.replace("2\tdem", "4\tdem"), "a.conllu:5 .*'4'.* 2, "),
        ("a.conllu", CONLLU.replace("\n\n1\t#", "\n1\t#"), "a.conllu:8 .*'1'.* 4, "),
        ("a.conllu", CONLLU.replace("1\tvon", "x\tvon"), "a.conllu:4 .*'x'"),
        ("a.conllu", CONLLU.replace("DET", "_"), "a.conllu:5 .*UPOS"),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_line(tmp_path: Path, name: str, text: str | bytes, named: str) -> None:
    with pytest.raises(DataError, match=named):
        read_tagged(written(tmp_path, text, name))


def test_a_missing_file_and_a_label_of_another_classifier_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.conll"):
        read_tagged((tmp_path / "none.conll",))
    with pytest.raises(DataError, match=r"tags.conll:2 .*'X'.*'B', 'O'"):
        read_tagged(written(tmp_path, "Ada B\nin X\n"), ("B", "O"))


def test_different_sentences_are_held_out(tmp_path: Path) -> None:
    data = read_tagged(written(tmp_path, "a B\n\nb O\n\n" * 5))
    training, held_out = data.split(None, TagSettings())
    assert not set(training.sentences) & set(held_out.sentences)
    assert len(training) + len(held_out) == len(data)
    with pytest.raises(DataError, match=r"tags\.conll .*--validation"):
        read_tagged(written(tmp_path, "a B\nb O\n")).split(None, TagSettings())


NAMES = ["Ada", "Émile", "Zoë", "O'Neil", "Ng"]
TOWNS = [["Berlin"], ["New", "York"], ["Köln"]]
SMALL = [
    "--epochs",
    "10",
    "--batch-size",
    "4",
    "--hidden-dim",
    "12",
    "--embedding-dim",
    "12",
    "--vocabulary-size",
    "60",
    "--dropout",
    "0",
]
QUICK = ["--labels-of", "tokens", "--device", "cpu", "--learning-rate", "0.02", *SMALL]


def people(count: int = 60) -> str:
    """Sentences of who lives where, in columns."""
    lines = []
    for i in range(count):
        town = TOWNS[i % 3]
        words = [(NAMES[i % 5], "B-PER"), ("lives" if i % 2 else "works", "O"), ("in", "O")]
        words += [(word, "I-LOC" if j else "B-LOC") for j, word in enumerate(town)]
        lines += [f"{word} {label}" for word, label in [*words, (".", "O")]] + [""]
    return "\n".join(lines)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of a run, and its checkpoint."""
    folder = tmp_path_factory.mktemp("tags")
    written(folder, people(), "people.conll")
    written(folder, people(7), "test.conll")
    made = run("train", str(folder / "people.conll"), "-o", str(folder / "people"), *QUICK)
    assert made.exit_code == 0, made.output
    assert "of spans" in made.output
    return folder


def test_a_tagger_is_trained_and_evaluated_by_its_spans(trained: Path) -> None:
    checkpoint = read_checkpoint(trained / "people")
    assert checkpoint.labels == ("B-LOC", "B-PER", "I-LOC", "O")
    assert checkpoint.training["metric"] == "f1"
    assert checkpoint.crf is not None
    assert make_export_arguments_from_checkpoint(checkpoint)[1]["crf"] == checkpoint.crf
    found = json.loads(run("evaluate", str(trained / "people"), str(trained / "test.conll"), "--json").output)
    assert found["rows"] == 37
    assert found["spans"]["all"]["spans"] == 14
    assert found["spans"]["all"]["f1"] > 0.9
    said = run("evaluate", str(trained / "people"), str(trained / "test.conll")).output
    assert all(what in said for what in ("true spans", "LOC", "PER", "of 37 words"))
    report = (trained / "people" / "report.md").read_text(encoding="utf-8")
    assert "## Spans" in report


@pytest.mark.slow
@pytest.mark.usefixtures("scant_proofs")
def test_the_bundle_and_the_packed_file_tag_as_the_checkpoint_does(trained: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(trained / "people")
    export_trained(checkpoint, tmp_path / "people", torchscript=False)
    pack(tmp_path / "people", tmp_path / "people.prnn")
    data = read_tagged((trained / "people.conll",))
    unseen = [("Zoë", "😀", "Adas", "lives-in", "Ko\u0308ln", "don't"), ("漢字",)]
    asked = TaggedSentences([*data.sentences, *unseen], np.zeros(len(data.targets) + 7, np.int64), data.labels, "all")
    own = predict_tag_targets(checkpoint, asked).tolist()
    for name in ("people", "people.prnn"):
        classifier = Classifier.load(tmp_path / name)
        assert predict_tag_targets(classifier, asked).tolist() == own
        # Running text: marks of punctuation are words of their own, and places are those of the text as it is.
        text = "😀 Ada lives in New York."
        tags = classifier.tag(text)
        assert [tag.token for tag in tags] == ["😀", "Ada", "lives", "in", "New", "York", "."]
        assert all(text[tag.start : tag.end] == tag.token for tag in tags)
    packed = run("evaluate", str(tmp_path / "people.prnn"), str(trained / "test.conll"))
    assert "true spans" in packed.output
    assert evaluate(Classifier.load(tmp_path / "people"), data).spans == evaluate(checkpoint, data).spans


def test_words_that_the_rules_cut_have_their_label_at_the_first_piece(tmp_path: Path) -> None:
    data = read_tagged(written(tmp_path, "can't A\nx B\n\nx B\nx-y-z A\n\n" * 4))
    settings = TagSettings(vocabulary_size=12, piece_dropout=0.5)
    task, _ = prepare_tags(data, data, settings, lambda _: None, other_sources=OtherSources())
    for drawn in (task, task.draw_epoch(np.random.SeedSequence(1))):
        assert drawn.step_targets is not None
        assert drawn.step_targets.offsets.tolist() == drawn.rows.offsets.tolist()
        asked = drawn.step_targets.ids != IGNORED
        assert drawn.step_targets.ids[asked].tolist() == data.targets.tolist()
        firsts = [task.vocabulary[i] for i in drawn.rows.values[asked]]
        assert {piece[0] for piece in firsts} == {MARK}
    # The runtime makes the same ids of a list of words.
    encoded, steps = encode_sentences_with_word_starts(data.sentences, task.rules, task.vocabulary)
    assert encoded.ids.tolist() == task.rows.values.tolist()
    assert steps.tolist() == np.flatnonzero(task.step_targets.ids != IGNORED).tolist()


@pytest.mark.parametrize("words", [[3, 1], [1], [2, 4]])
def test_the_loss_of_a_crf_is_that_of_the_right_order_among_all(words: list[int]) -> None:
    generator = torch.Generator().manual_seed(len(words))
    layer = CrfLayer(3)
    for scores in layer.parameters():
        scores.data = torch.randn(scores.shape, generator=generator)
    logits = torch.randn(len(words), 6, 3, generator=generator)
    targets, expected = torch.full((len(words), 6), IGNORED), 0.0
    for i, count in enumerate(words):
        # Steps without a target stand between the words, and behind them.
        places = torch.randperm(6, generator=generator)[:count].sort().values
        targets[i, places] = torch.randint(3, (count,), generator=generator)
        row = logits[i, places].numpy()
        sums = [layer.crf.score(row, np.array(order)) for order in itertools.product(range(3), repeat=count)]
        expected += float(np.logaddexp.reduce(sums)) - layer.crf.score(row, targets[i, places].numpy())
    assert layer.compute_summed_loss(logits, targets).item() == pytest.approx(expected, abs=1e-4)


def test_what_a_crf_answers_has_the_decoded_label_as_the_likeliest() -> None:
    layer = CrfLayer(3)
    layer.transitions.data = 3 * torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    logits, words = torch.randn(400, 3, generator=torch.Generator().manual_seed(1)), np.full(100, 4)
    answers = layer.decode_words_as_log_probabilities(logits, words)
    parts = np.split(logits.numpy(), np.arange(4, 400, 4))
    assert answers.argmax(1).tolist() == [label for part in parts for label in layer.crf.decode_labels(part)]
    likeliest = np.concatenate([layer.crf.probabilities(part) for part in parts])
    np.testing.assert_allclose(answers.exp().sort(1).values, np.sort(likeliest, axis=1), atol=1e-6)
    assert (answers.argmax(1).numpy() != likeliest.argmax(1)).any()


def prepared(folder: Path, text: str, **options: Any) -> Task:
    data = read_tagged(written(folder, text))
    settings = TagSettings(vocabulary_size=20, **options)
    return prepare_tags(data, data, settings, lambda _: None, other_sources=OtherSources())[0]


def test_spans_have_a_crf_that_rules_out_what_no_sentence_has(tmp_path: Path) -> None:
    spans = "a O\nb B-X\na I-X\n\n" * 4
    task = prepared(tmp_path, spans)
    assert task.architecture.crf
    assert task.ruled_out is not None
    # B-X, I-X, O: nothing but a B-X and an I-X stands before an I-X.
    assert task.ruled_out.tolist() == [[False, i in (0, 3), False] for i in range(4)]
    begun = prepared(tmp_path, spans + "b I-X\na O\n\n").ruled_out
    assert begun is not None
    assert begun[:, 1].tolist() == [False, False, False, True]
    for without in (
        prepared(tmp_path, "a N\nb V\n\n" * 4),
        prepared(tmp_path, spans, label_smoothing=0.1),
        prepared(tmp_path, spans, class_weights="balanced"),
    ):
        assert (without.architecture.crf, without.ruled_out) == (False, None)


def test_an_interrupted_run_of_a_tagger_resumes_with_the_same_weights(trained: Path) -> None:
    data, states = read_tagged((trained / "people.conll",)), list[TrainingState]()
    settings = TagSettings(epochs=3, hidden_dim=6, embedding_dim=6, vocabulary_size=60, device="cpu", final_fit=False)
    whole = train(data, settings, keep=states.append)
    again = train(data, settings, resume=states[0])
    assert torch.equal(whole.module.fc.weight, again.module.fc.weight)
    assert torch.equal(whole.module.crf.transitions, again.module.crf.transitions)
    assert whole.metrics == again.metrics


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--tokenizer", "whitespace"], "tokenizer"),
        (["--pooling", "mean"], "pooling"),
        (["--folds", "3"], "--folds"),
        (["--text-column", "body"], "--text-column"),
        (["--multi-label"], "--multi-label"),
        (["--none-of-these", "0.9"], "--none-of-these"),
        (["--from", "people"], "from"),
    ],
)
def test_options_of_other_rows_are_refused(trained: Path, tmp_path: Path, options: list[str], named: str) -> None:
    options = [str(trained / option) if option == "people" else option for option in options]
    refused = run("train", str(trained / "people.conll"), "-o", str(tmp_path / "x"), *QUICK, *options)
    assert refused.exit_code == 2, refused.output
    assert named in refused.output


def test_rows_of_another_kind_are_refused(trained: Path, tmp_path: Path) -> None:
    texts = fit(["so good", "so bad"] * 10, ["good", "bad"] * 10, epochs=1, min_freq=1, compare=False)
    with pytest.raises(DataError, match=r"labels to rows, .*labels of words"):
        evaluate(texts.checkpoint, read_tagged((trained / "test.conll",)))
    written(tmp_path, "text,label\nAda,O\n", "rows.csv")
    assert run("evaluate", str(trained / "people"), str(tmp_path / "rows.csv")).exit_code == 2


def test_spans_are_counted_as_conlleval_counts_them() -> None:
    labels, words = ("O", "B-X", "I-X", "B-Y"), np.array([3, 2])
    # True: X from 0 to 2, and Y. Given: X of one word, and X at 1 in place of Y, then nothing.
    scores = SpanScores.from_predictions(labels, words, np.array([1, 2, 0, 3, 0]), np.array([1, 0, 0, 3, 2]))
    assert (scores.all.spans, scores.all.precision, scores.all.recall) == (2, 1 / 3, 0.5)
    assert [(one.label, one.f1) for one in scores.labels] == [("X", 0.0), ("Y", 1.0)]
