"""A text that holds an id which its graph takes for padding is answered in any company as it is alone."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import bundle_maker
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_case_sampling import examples, mostly_slow

from pocketrnn import Classifier, verify
from pocketrnn.benchmark import bench
from pocketrnn.bundle.manifest import Manifest, describe_padding_effect
from pocketrnn.classifier import compute_logits_of_batches, compute_logits_of_engine_input
from pocketrnn.commands.cli import main
from pocketrnn.engines.batching import divide_into_runs, mark_texts_with_ids
from pocketrnn.errors import InputError
from pocketrnn.text import TextRules

WORDS = ("<unk>", "<pad>", *bundle_maker.WORDS[1:10])
# The words of a text: known words, the padding's word, an unknown word.
TOKENS = st.sampled_from(["the", "wall", "st", "back", "<pad>", "<pad>", "unheard"])
TEXTS = st.lists(st.lists(TOKENS, max_size=12).map(" ".join), min_size=1, max_size=24)
RULES = {
    "padding 1": TextRules(tokenizer="whitespace", padding_id=1),
    "unknown words too": TextRules(tokenizer="whitespace", unknown_id=1, empty_id=1, padding_id=1),
    "padded on the left": TextRules(tokenizer="whitespace", padding_id=1, min_width=6, pad_side="left"),
    "of one width": TextRules(tokenizer="whitespace", padding_id=1, min_width=5, max_width=5),
    "characters": TextRules(tokenizer="characters", unknown_id=1, empty_id=1, padding_id=1, max_tokens=9),
}


def made(folder: Path, padding: Sequence[int], alone: tuple[int, ...], rules: TextRules, lengths: bool) -> Path:
    return bundle_maker.make(
        folder,
        rules=rules,
        lengths=lengths,
        # The id past the end of a row is 1.
        padding=lengths and 1 not in padding,
        vocabulary=WORDS,
        texts=("the wall", "<pad> the", "unheard", "", "the <pad> wall st"),
        change_graph=partial(bundle_maker.counting, padding=padding),
        change=lambda manifest: bundle_maker.with_graph(manifest, alone=alone),
    )


@pytest.fixture(scope="module", params=[True, False], ids=["of several lengths", "of one length"])
def counting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose graph counts the padding inside of texts, and which says so."""
    folder = tmp_path_factory.mktemp("counting") / "b"
    return made(folder, [1], (1,), RULES["unknown words too"], lengths=request.param)


def alone(classifier: Classifier, texts: Sequence[str]) -> np.ndarray:
    return np.concatenate([classifier.logits([text]) for text in texts])


def test_the_graph_of_these_tests_answers_by_the_neighbours(counting: Path) -> None:
    classifier = Classifier.load(counting)
    shared = Classifier.load(counting)
    shared._engine._manifest = bundle_maker.with_graph(shared.manifest, alone=())  # type: ignore[attr-defined]
    texts = ["the <pad> wall", "the wall st"]
    assert np.abs(shared.logits(texts) - alone(classifier, texts)).max() > 0.1
    np.testing.assert_allclose(classifier.logits(texts), alone(classifier, texts), atol=1e-6)


@pytest.mark.parametrize(
    "case", mostly_slow(list(itertools.product(RULES, (True, False))), 3), ids="{0[0]}-{0[1]}".format
)
def test_a_text_is_answered_in_any_company_as_alone(case: tuple[str, bool], tmp_path: Path) -> None:
    rules, lengths = RULES[case[0]], case[1]
    folders = [
        made(tmp_path / "padding", [1], (1,), rules, lengths),
        made(tmp_path / "others", [2, 4], (2, 4), rules, lengths),
    ]
    classifiers = [Classifier.load(folder, max_batch_tokens=64) for folder in folders]
    assert [verify(folder).name for folder in folders] == ["small", "small"]

    @settings(max_examples=examples(12, 40), deadline=None)
    @given(st.sampled_from(classifiers), TEXTS)
    def answered(classifier: Classifier, texts: list[str]) -> None:
        np.testing.assert_allclose(classifier.logits(texts), alone(classifier, texts), atol=2e-6)

    answered()


def test_every_way_to_ask_gives_the_answer_to_the_text_alone(counting: Path, tmp_path: Path) -> None:
    classifier = Classifier.load(counting, threads=2)
    texts = ["the <pad> wall", "the wall st", "unheard", "<pad>", "back unheard the", "", "the wall <pad>"] * 40
    expected = alone(classifier, texts[:7])
    probabilities = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
    labels = [classifier.labels[row.argmax()] for row in expected] * 40
    assert classifier.predict(iter(texts)) == labels
    assert [answer and answer.label for answer in classifier.classify_all(texts)] == labels
    np.testing.assert_allclose(classifier.predict_proba(texts)[-7:], probabilities, atol=1e-6)
    np.testing.assert_allclose(
        np.concatenate(list(compute_logits_of_batches(classifier, [texts[:3], [], texts[3:7]]))), expected, atol=1e-6
    )
    ids = [classifier.encode(text) for text in texts[:7]]
    np.testing.assert_allclose(compute_logits_of_engine_input(classifier, ids), expected, atol=1e-6)
    table = io.StringIO()
    csv.writer(table).writerows([["text"], *([text] for text in texts)])
    (tmp_path / "rows.csv").write_text(table.getvalue())
    given = ["classify", "--bundle", counting, "--input", tmp_path / "rows.csv", "--output", tmp_path / "out.csv"]
    result = CliRunner().invoke(main, [str(argument) for argument in given])
    assert result.exit_code == 0, result.output
    with (tmp_path / "out.csv").open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == labels
    assert len(bench(counting, texts[:7], rounds=1)) == 4
    for name in ("rounds", "threads"):
        with pytest.raises(InputError, match=name):
            bench(counting, texts[:7], **{name: 0})


def test_rows_of_a_data_set_are_answered_as_alone(counting: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pocketrnn.ray_data import add_answer_columns

    classifier, texts = Classifier.load(counting), ["the <pad> wall", "the wall st", "unheard", "<pad>"]
    answered = add_answer_columns(arrow.table({"text": texts}), classifier, ("text", "label", "probability"), "raise")
    expected = [classifier.classify(text) for text in texts]
    assert answered.column("label").to_pylist() == [one.label for one in expected]
    np.testing.assert_allclose(answered.column("probability").to_numpy(), [one.probability for one in expected], 1e-6)


def test_texts_share_runs_where_the_graph_is_said_not_to_look(tmp_path: Path) -> None:
    rules, shapes = RULES["of one width"], {}
    for name, stated in (("padding", (1,)), ("free", ())):
        folder = bundle_maker.make(
            tmp_path / name,
            rules=rules,
            vocabulary=WORDS,
            change=lambda manifest, stated=stated: bundle_maker.with_graph(manifest, alone=stated),
        )
        classifier = Classifier.load(folder)
        seen: list[int] = []
        run = classifier._engine._compute_logits_of_run  # type: ignore[attr-defined]
        classifier._engine._compute_logits_of_run = lambda tokens, lengths, run=run, seen=seen: (
            seen.append(len(tokens))
            or run(  # type: ignore[attr-defined]
                tokens, lengths
            )
        )
        classifier.logits(["the wall"] * 6)
        shapes[name] = seen
    assert shapes == {"padding": [1] * 6, "free": [6]}


@settings(max_examples=examples(75, 300), deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=200), st.booleans(), st.integers(1, 500))
def test_texts_that_are_said_to_run_alone_do_and_the_rest_as_without_them(
    texts: list[tuple[int, bool]], padding: bool, most: int
) -> None:
    lengths, by_themselves = np.array([n for n, _ in texts], np.int64), np.array([one for _, one in texts], bool)
    made = [run.tolist() for run in divide_into_runs(lengths, padding=padding, max_tokens=most, alone=by_themselves)]
    assert sorted(place for run in made for place in run) == list(range(len(texts)))
    assert all(len(run) == 1 for run in made if by_themselves[run].any())
    rest = np.flatnonzero(~by_themselves)
    expected = [rest[run].tolist() for run in divide_into_runs(lengths[rest], padding=padding, max_tokens=most)]
    assert [run for run in made if not by_themselves[run].any()] == expected


@settings(max_examples=examples(75, 300), deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6), min_size=1, max_size=20),
    st.lists(st.integers(0, 9), max_size=5, unique=True),
)
def test_the_texts_that_hold_an_id_are_found(texts: list[list[int]], wanted: list[int]) -> None:
    ids, lengths = np.array([i for text in texts for i in text]), np.array(list(map(len, texts)))
    found = mark_texts_with_ids(ids, lengths, wanted)
    expected = [bool(set(text) & set(wanted)) for text in texts]
    assert (found is None and not any(expected)) or (found is not None and found.tolist() == expected)


def test_nothing_runs_alone_that_a_bundle_does_not_name(padded: Path) -> None:
    assert b'"alone"' not in (padded / "classifier.json").read_bytes()
    assert Classifier.load(padded).manifest.graph.alone == ()


def test_what_runs_alone_is_shown(tmp_path: Path) -> None:
    folder = made(tmp_path / "b", [2, 4], (2, 4), RULES["padding 1"], lengths=False)
    assert Classifier.load(folder).manifest.graph.alone == (2, 4)
    shown = CliRunner().invoke(main, ["inspect", str(folder)]).output
    assert "id 2 or 4 alone" in shown
    page = tmp_path / "proof.html"
    assert CliRunner().invoke(main, ["verify", str(folder), "--html", str(page)]).exit_code == 0
    assert "token ids 2, 4" in page.read_text()


PADDING = {"ids": 10, "texts": 9, "probability_after": 0.0712, "probability_before": 0.12}


def test_what_padding_would_change_is_shown(tmp_path: Path) -> None:
    def with_padding(manifest: Manifest) -> Manifest:
        return replace(manifest, provenance={"padding": PADDING})

    def with_width(manifest: Manifest) -> Manifest:
        rules = replace(manifest.text.rules, min_width=3, padding_id=0)
        return replace(with_padding(manifest), input=replace(manifest.text, rules=rules))

    folder = bundle_maker.make(tmp_path / "b", change=with_padding, torchscript=False)
    said = "10 ids of padding after a text would change a probability by up to 0.071, before it by up to 0.12"
    assert f"none is given; {said}" in CliRunner().invoke(main, ["inspect", str(folder)]).output
    wide = bundle_maker.make(tmp_path / "wide", change=with_width, torchscript=False)
    assert f"none beyond its width is given; {said}" in CliRunner().invoke(main, ["inspect", str(wide)]).output
    assert said in CliRunner().invoke(main, ["inspect", str(folder)]).output
    page = tmp_path / "proof.html"
    assert CliRunner().invoke(main, ["verify", str(folder), "--html", str(page)]).exit_code == 0
    assert said in page.read_text()


@pytest.mark.parametrize(
    "padding",
    [None, 3, [], {}, {"ids": "x"}, {**PADDING, "ids": 1.5}, {**PADDING, "probability_after": "<b>"}, "\x1b[31m"],
)
def test_a_provenance_that_says_something_else_of_padding_is_passed_over(padding: object) -> None:
    assert describe_padding_effect({"padding": padding}) is None


def test_a_figure_that_is_none_is_left_out() -> None:
    told = describe_padding_effect({"padding": {**PADDING, "probability_before": None}})
    assert told is not None
    assert re.findall(r"\d[\d.]*", told) == ["10", "0.071"]
    told = describe_padding_effect({"padding": {**PADDING, "ids": 300, "ids_before": 9}})
    assert told is not None
    assert re.findall(r"\d[\d.]*", told) == ["300", "0.071", "9", "0.12"]
    odd = describe_padding_effect({"padding": {**PADDING, "ids_before": "<b>"}})
    assert odd == describe_padding_effect({"padding": PADDING})
