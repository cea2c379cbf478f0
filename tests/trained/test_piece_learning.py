"""Pieces of words: how they are learnt, and drawn anew in every epoch."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from slow_case_sampling import mostly_slow
from training_data import QUICK, easy_texts, write_csv

from pocketrnn import Classifier
from pocketrnn.commands.cli import main
from pocketrnn.errors import CheckpointError, DataError, InputError
from pocketrnn.text import SubwordRules, TextEncoder
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.preparation.prepared_data import OtherSources
from pocketrnn_training.preparation.text_preparation import prepare_texts
from pocketrnn_training.rows.encoded_rows import EncodedTexts
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.settings.text_settings import TextSettings
from pocketrnn_training.texts.piece_learning import RowWords, learn_pieces
from pocketrnn_training.training import train
from pocketrnn_training.training_events import Notice

TEXTS = ["Lower, lowest!", "low slow  lowly", "новый новее", "新しい本 新しい", "", " \n", "<unk> <pad> \ud800", "☃"]
RULES, PIECES = learn_pieces(TEXTS, 60, min_freq=1, max_tokens=12)
ANY_TEXTS = st.lists(st.one_of(st.sampled_from(TEXTS), st.text(max_size=30)), min_size=1, max_size=6)
BPE = replace(QUICK, tokenizer="bpe", vocabulary_size=60)


def spelt(row: list[int], pieces: tuple[str, ...] = PIECES) -> str:
    return "".join(pieces[i] for i in row)


def rows_of(texts: EncodedTexts) -> list[list[int]]:
    return [texts.ids[a:b].tolist() for a, b in zip(texts.offsets, texts.offsets[1:], strict=False)]


def test_pieces_are_the_merges_of_the_texts_and_the_same_ones_each_time() -> None:
    assert learn_pieces(["low lower", "lowest"], 20, min_freq=2, max_tokens=None)[1] == (
        *("<unk>", "<pad>", "e", "l", "o", "w", "▁", "lo", "▁lo", "▁low", "▁lowe"),
    )
    assert learn_pieces(TEXTS, 60, min_freq=1, max_tokens=12) == (RULES, PIECES)
    assert len(PIECES) <= 60


@given(ANY_TEXTS)
def test_rows_without_dropout_are_those_of_the_text_rules(texts: list[str]) -> None:
    made = RowWords.from_texts(texts, RULES, PIECES).encode_rows_as_pieces()
    asked = EncodedTexts.from_texts(texts, TextEncoder(RULES, PIECES))
    assert rows_of(made) == rows_of(asked)
    assert made.ids.dtype == asked.ids.dtype


@given(ANY_TEXTS, st.integers(0, 99))
def test_drawn_pieces_spell_the_same_text_and_follow_from_the_seed(texts: list[str], seed: int) -> None:
    rules = replace(RULES, max_tokens=None)
    words = RowWords.from_texts(texts, rules, PIECES)
    drawn = rows_of(words.draw_pieces_with_word_starts(0.5, seed)[0])
    assert list(map(spelt, drawn)) == list(map(spelt, rows_of(words.encode_rows_as_pieces())))
    assert drawn == rows_of(words.draw_pieces_with_word_starts(0.5, seed)[0])


def test_pieces_differ_from_epoch_to_epoch_and_are_cut_to_the_most_that_are_read() -> None:
    words = RowWords.from_texts(["lower lowest slow", ""] * 20, RULES, PIECES)
    drawn = [words.draw_pieces_with_word_starts(0.5, seed)[0] for seed in range(3)]
    assert len({tuple(texts.ids.tolist()) for texts in drawn}) == 3
    assert max(texts.lengths.max() for texts in drawn) == RULES.max_tokens
    assert all(row == [RULES.empty_id] for texts in drawn for row in rows_of(texts)[1::2])


def test_of_a_large_alphabet_the_most_frequent_half_of_the_vocabulary_is_kept() -> None:
    rules, pieces = learn_pieces(["aaa bbb cc d ef", "ab ab ab"], 10, min_freq=1, max_tokens=None)
    assert pieces[:7] == ("<unk>", "<pad>", "a", "b", "c", "▁", "▁a")
    assert len(pieces) == 10
    # The characters before and after an unknown one are not neighbours.
    assert spelt(TextEncoder(rules, pieces).encode("adb"), pieces) == "▁a<unk>b"


@pytest.mark.slow
def test_a_text_of_a_megabyte_without_spaces_is_learnt_from_its_beginning() -> None:
    rules, pieces = learn_pieces(["ab" * 500_000, "abc"], 20, min_freq=1, max_tokens=8)
    words = RowWords.from_texts(["ab" * 500_000], rules, pieces)
    assert words.draw_pieces_with_word_starts(0.1, 0)[0].lengths.tolist() == [8]


@pytest.mark.parametrize("texts", [[""], ["", " \n\t"], ["abc"]])
def test_nothing_to_learn_from_is_refused(texts: list[str]) -> None:
    with pytest.raises(DataError):
        learn_pieces(texts, 100, min_freq=2, max_tokens=None)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"tokenizer": "whitespace", "vocabulary_size": 100}, "vocabulary_size"),
        ({"tokenizer": "bpe", "vocabulary_size": 7}, "vocabulary_size"),
        ({"tokenizer": "bpe", "ngrams": 2}, "ngrams"),
        ({"tokenizer": "bpe", "piece_dropout": 1.0}, "piece_dropout"),
        ({"tokenizer": "external"}, "tokenizer"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_name(change: dict[str, object], names: str) -> None:
    with pytest.raises(InputError, match=names):
        TextSettings(**change)  # type: ignore[arg-type]


def test_pieces_come_from_the_training_rows_alone() -> None:
    data = LabelledTexts(["low lower", "lowest slow"] * 4, np.array([0, 1] * 4), ("a", "b"), "rows")
    other = LabelledTexts(["zzzz zzzz", "lower"], np.array([0, 1]), ("a", "b"), "other rows")
    task = prepare_texts(data, other, BPE, lambda _: None)[0]
    assert not any("z" in piece for piece in task.vocabulary)
    assert task.validation_rows.values[: task.validation_rows.offsets[1]].tolist().count(0) == 2


def test_a_piece_that_is_a_word_starts_from_its_vector(tmp_path: Path) -> None:
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("low 1 2\nest 3 4\nlower 5 6\n")
    data = LabelledTexts(["low lower", "lowest low"] * 4, np.array([0, 1] * 4), ("a", "b"), "rows")
    task = prepare_texts(
        data, None, replace(BPE, embedding_dim=None), lambda _: None, other_sources=OtherSources(word_vectors=vectors)
    )[0]
    assert task.vectors is not None
    found = {task.vocabulary[i]: row.tolist() for i, row in zip(task.vectors.ids, task.vectors.values, strict=True)}
    assert found == {"▁low": [1, 2], "▁lower": [5, 6]}
    assert len(task.vocabulary) == task.architecture.vocabulary_size


def test_a_checkpoint_of_pieces_without_a_linear_part_is_read_back(tmp_path: Path) -> None:
    made = train(easy_texts(60), replace(BPE, epochs=1, linear=False), examples=())
    checkpoints.write(made, tmp_path / "made")
    document = json.loads((tmp_path / "made" / "config.json").read_text())
    read = checkpoints.read(tmp_path / "made")
    assert (read.rules, read.vocabulary, read.examples) == (made.rules, made.vocabulary, made.examples)
    assert isinstance(read.rules, SubwordRules)
    assert "▁" not in "".join(read.examples)
    changes: list[dict[str, object]] = [
        {"version": 2},
        {"text": document["text"] | {"unknown": 1}},
        {"text": document["text"] | {"model": {"kind": "bpe", "merges": [2, 99]}}},
    ]
    for change in changes:
        (tmp_path / "made" / "config.json").write_text(json.dumps(document | change))
        with pytest.raises(CheckpointError):
            checkpoints.read(tmp_path / "made")


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(tmp_path / "rows.csv", easy_texts(30))
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    command = ["train", str(tmp_path / "rows.csv"), "-o", str(tmp_path / "made"), "--tokenizer", "bpe"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1
    assert "tokenizers" in done.stderr
    assert "[train]" in done.stderr
    assert isinstance(done.exception, SystemExit)


@pytest.mark.slow
def test_a_classifier_of_pieces_goes_from_rows_to_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(Path("rows.csv"), easy_texts())
    size = [
        "--hidden-dim",
        "8",
        "--embedding-dim",
        "8",
        "--epochs",
        "3",
        "--learning-rate",
        "0.03",
        "--batch-size",
        "16",
    ]
    commands = [
        ["train", "rows.csv", "-o", "made", "--tokenizer", "bpe", "--vocabulary-size", "200", *size, "--export", "out"],
        ["evaluate", "made", "rows.csv"],
        ["compress", "made", "-o", "small"],
        ["pack", "out", "-o", "out.prnn"],
        ["verify", "out"],
    ]
    for command in commands:
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
    texts = ["noise3 cat1 noise4", "dog2", "an elk0, misspelt nois", ""]
    bundle, packed = Classifier.load("out"), Classifier.load("out.prnn")
    made = checkpoints.read(Path("made"))
    assert bundle.manifest.text.rules == made.rules
    np.testing.assert_allclose(packed.predict_proba(texts), bundle.predict_proba(texts), atol=1e-5)
    assert [part.text for part in bundle.explain(texts[0]).fragments] == texts[0].split()


def unspaced(rows: int) -> LabelledTexts:
    """Texts without spaces, of which hardly one word comes twice."""
    rng = np.random.default_rng(0)
    targets = np.arange(rows) % 2
    texts = ["".join(rng.choice(list("山川田木" if target else "日月火水"), 8)) for target in targets]
    return LabelledTexts(texts, targets, ("days", "land"), "unspaced")


def test_where_words_do_not_do_texts_are_cut_into_pieces_and_it_is_said() -> None:
    said: list[str] = []
    nothing_named = TextSettings(epochs=1, hidden_dim=8, embedding_dim=8, device="cpu", final_fit=False)
    made = train(unspaced(60), nothing_named, report=lambda event: said.append(getattr(event, "text", "")))
    assert made.rules.tokenizer == "subwords"
    assert made.training["tokenizer"] == "bpe"
    assert any("--tokenizer bpe" in text for text in said)
    for named in ({"tokenizer": "whitespace", "min_freq": 1}, {"ngrams": 2, "min_freq": 1}):
        assert train(unspaced(60), replace(nothing_named, **named)).rules.tokenizer != "subwords"
    assert train(easy_texts(60), nothing_named).training["tokenizer"] == "basic_english"


def inflected(rows: int) -> LabelledTexts:
    """Texts of common words and of one with a stem that tells the class and an ending that is hardly ever the same."""
    rng = np.random.default_rng(0)
    targets = np.arange(rows) % 2
    stems = ["sol" if target else "mar" for target in targets]
    texts = [f"so {rng.choice(list('xyz'))} it is {stem}{''.join(rng.choice(list('abcde'), 4))} now" for stem in stems]
    return LabelledTexts(texts, targets, ("moon", "sun"), "inflected")


@pytest.mark.parametrize("named", mostly_slow([{}, {"linear": False}, {"max_vocabulary": 500}, {"spelling": True}], 2))
def test_words_and_pieces_are_compared_by_their_linear_parts_where_nothing_of_words_is_named(
    named: dict[str, Any],
) -> None:
    said: list[str] = []
    small = TextSettings(epochs=1, hidden_dim=8, embedding_dim=8, device="cpu", final_fit=False, compare=False)
    settings = replace(small, **named)
    made = train(inflected(300), settings, report=lambda event: said.append(getattr(event, "text", "")))
    assert made.training["tokenizer"] == ("basic_english" if named else "bpe")
    assert any("linear model of pieces" in text for text in said) == (not named)


def test_beside_word_vectors_pieces_are_taken_where_their_linear_part_is_better_by_more_than_chance(
    tmp_path: Path,
) -> None:
    # Stack Overflow's titles were right in 2.2 points less with GloVe than without, since vectors meant words.
    file = tmp_path / "vectors.txt"
    file.write_text("so 9 8 7 6\nit -9 -8 -7 -6\ncat0 1 1 1 1\n")
    settings = TextSettings(epochs=1, hidden_dim=8, device="cpu", final_fit=False, learning_rate=1e-9, compare=False)
    made = train(inflected(300), settings, word_vectors=file)
    assert made.training["tokenizer"] == "bpe"
    start = made.module.embedding.weight[made.vocabulary.index("\u2581so")]
    assert start.tolist() == pytest.approx([9, 8, 7, 6], abs=1e-3)
    assert train(easy_texts(60), settings, word_vectors=file).training["tokenizer"] == "basic_english"
    file.write_text("so 9 8 7 6\nit one two three four\n")
    said: list[str] = []
    with pytest.raises(DataError, match="Line 2"):
        train(inflected(300), settings, word_vectors=file, report=lambda event: said.append(getattr(event, "text", "")))
    assert not any("pieces" in text for text in said)


def test_empty_texts_are_no_unknown_words() -> None:
    data = easy_texts(60)
    with_empty = replace(data, texts=[text if i % 2 else "" for i, text in enumerate(data.texts)])
    made = train(with_empty, TextSettings(epochs=1, hidden_dim=8, embedding_dim=8, device="cpu", final_fit=False))
    assert made.training["tokenizer"] == "basic_english"


def test_a_size_of_a_vocabulary_of_pieces_asks_for_pieces() -> None:
    made = train(easy_texts(60), replace(QUICK, vocabulary_size=50, epochs=1))
    assert made.rules.tokenizer == "subwords"
    assert len(made.vocabulary) <= 50


def test_no_text_at_all_is_refused_as_with_words() -> None:
    data = LabelledTexts(["", " "] * 4, np.array([0, 1] * 4), ("a", "b"), "empty")
    with pytest.raises(DataError, match="token"):
        train(data, TextSettings())


@pytest.mark.parametrize(
    ("choices", "named"),
    [
        ({"tokenizer": "bpe", "max_vocabulary": 500}, "vocabulary_size"),
        ({"vocabulary_size": 500, "max_vocabulary": None}, "vocabulary_size"),
        ({"tokenizer": "whitespace", "piece_dropout": 0.2}, "bpe"),
    ],
)
def test_choices_of_the_other_kind_of_token_are_refused(choices: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError) as refused:
        train(easy_texts(60), replace(QUICK, **choices))
    assert named in refused.value.remedy


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"vocabulary_size": 60}, "pieces of words, at most 60"),
        ({"piece_dropout": 0.2}, "--tokenizer bpe splits them into pieces"),
    ],
)
def test_what_the_choice_of_tokens_makes_of_other_choices_is_said(choices: dict[str, Any], said: str) -> None:
    told: list[str] = []
    train(
        easy_texts(60),
        replace(QUICK, epochs=1, **choices),
        report=lambda event: told.append(event.text) if isinstance(event, Notice) else None,
    )
    assert any(said in text for text in told), told
