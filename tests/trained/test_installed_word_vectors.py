"""Word vectors that are installed: for which rows they are tried, and that folds take them where they help."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from training_data import QUICK, write_csv

from pocketrnn.commands.cli import main
from pocketrnn_training.candidates.candidate import read_candidates
from pocketrnn_training.measures.evaluation import evaluate
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.texts import installed_vectors
from pocketrnn_training.texts.word_vectors import read_vectors, write_table
from pocketrnn_training.training import train
from pocketrnn_training.training_events import Notice, StageNotice

ROOT = Path(__file__).parents[2]
WORDS = ROOT / "trained" / "words"
COMPARED = replace(QUICK, compare=None, epochs=1, vocabulary_size=None, embedding_dim=None, tokenizer="basic_english")
ENGLISH = ["Where is the nearest station?", "It was the best film of the year.", "My parcel has not come yet."]
GERMAN = ["Wo ist der nächste Bahnhof?", "Das war der beste Film des Jahres.", "Mein Paket ist noch nicht da."]
# As they were imported: the tests of training go without (conftest.py).
vectors_for = installed_vectors.find_installed_vectors


# Their letters say nothing of their places.
NAMES = [f"{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in np.random.default_rng(2).permutation(600).tolist()]


def drawn_words(rows: int, seed: int = 0) -> LabelledTexts:
    """Texts of a word that few others have, of the even places of `NAMES` or of the odd ones."""
    rng = np.random.default_rng(seed)
    targets = np.arange(rows) % 2
    texts = [
        f"so {NAMES[2 * i + target]}" for i, target in zip(rng.integers(0, 300, rows), targets.tolist(), strict=True)
    ]
    return LabelledTexts(texts, targets, ("even", "odd"), "drawn")


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table that says of which half a word is, in place of the one that is installed."""
    values = np.random.default_rng(1).standard_normal((600, 6)) * 0.3
    values[:, 0] = np.where(np.arange(600) % 2, 1, -1)
    write_table(tmp_path / "en.npz", NAMES, values)
    monkeypatch.setattr(installed_vectors, "find_installed_vectors", lambda _texts, _report: tmp_path / "en.npz")
    return tmp_path / "en.npz"


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (ENGLISH * 40, "en"),
        (GERMAN * 40, "de"),
        (ENGLISH * 40 + GERMAN * 8, "en"),
        (ENGLISH * 40 + GERMAN * 20, None),
        (ENGLISH[:1], "en"),
    ],
)
def test_the_language_is_that_of_four_fifths_of_the_rows(texts: list[str], language: str | None) -> None:
    assert installed_vectors.detect_language(texts) == language


def test_vectors_are_for_rows_of_their_language_and_where_they_are_missing_a_notice_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[Notice] = []
    monkeypatch.setattr(installed_vectors, "find_installed_vector_tables", lambda: {"en": Path("en.npz")})
    assert vectors_for(GERMAN, said.append) is None
    assert said == []
    assert vectors_for(ENGLISH, said.append) == Path("en.npz")
    assert "--no-vectors" in said[0].text
    monkeypatch.setattr(installed_vectors, "find_installed_vector_tables", dict)
    assert vectors_for(ENGLISH, said.append) is None
    assert "trained/words" in said[1].text
    assert not isinstance(said[1], StageNotice)


def test_the_distribution_holds_a_small_table_of_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(WORDS)
    found = installed_vectors.find_installed_vector_tables()
    assert list(found) == ["en"]
    vectors = read_vectors(found["en"], ("the", "station"), 100_000)
    assert vectors.values.shape == (30_000, 64)
    near = vectors.make_token_vectors(30_000)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    words = ("the", "station", *vectors.added)
    like_station = [words[i] for i in np.argsort(-near @ near[1])[1:8]]
    assert "stations" in like_station
    assert sum(path.stat().st_size for path in WORDS.rglob("*") if path.suffix != ".pyc") < 2_500_000


def test_nothing_is_found_where_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed_vectors, "find_spec", lambda _name: None)
    assert installed_vectors.find_installed_vector_tables() == {}


def test_folds_take_vectors_that_help_and_words_that_no_row_has_are_known(table: Path) -> None:
    made = train(drawn_words(160), COMPARED)
    best, *others = read_candidates(made.data)
    assert best.vectors == "en.npz"
    assert {other.vectors for other in others} == {"en.npz", None}
    assert all(best.accuracy > 0.9 > other.accuracy for other in others if other.vectors is None)
    assert made.data["word_vectors"]["source"] == "en.npz"
    assert len(made.vocabulary) == 602
    assert evaluate(made, drawn_words(200, seed=5)).accuracy > 0.95
    assert read_vectors(table, made.vocabulary).values.shape == (600, 6)


@pytest.mark.parametrize("change", [{"shipped_vectors": False}, {"embedding_dim": 8}, {"compare": False}])
def test_vectors_are_not_tried_where_they_are_left_out_or_do_not_suit(table: Path, change: dict[str, object]) -> None:
    made = train(drawn_words(120), replace(COMPARED, **change))  # type: ignore[arg-type]
    assert {one.vectors for one in read_candidates(made.data)} <= {None}
    assert made.data["word_vectors"] is None


def test_vectors_that_say_nothing_of_the_rows_are_not_taken(table: Path) -> None:
    rng = np.random.default_rng(3)
    write_table(table, NAMES, rng.standard_normal((600, 6)))
    words = [("sol", "mar")[target] for target in drawn_words(160).targets.tolist()]
    data = drawn_words(160)
    known = replace(data, texts=[f"{word} {text}" for word, text in zip(words, data.texts, strict=True)])
    made = train(known, COMPARED)
    assert read_candidates(made.data)[0].vectors is None
    assert made.data["word_vectors"] is None


def test_a_file_that_is_given_is_the_only_one_that_is_tried(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = table.with_name("given.npz")
    given.write_bytes(table.read_bytes())
    monkeypatch.setattr(installed_vectors, "find_installed_vectors", None)
    made = train(drawn_words(120), COMPARED, word_vectors=given)
    assert {one.vectors for one in read_candidates(made.data)} == {"given.npz"}


@pytest.mark.slow
def test_the_command_leaves_them_out_and_its_report_names_them(table: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "rows.csv", drawn_words(160))
    common = ["train", str(data), "--epochs", "1", "--hidden-dim", "8", "--device", "cpu"]
    ended = CliRunner().invoke(main, [*common, "-o", str(tmp_path / "with"), "--tokenizer", "basic_english"])
    assert ended.exit_code == 0
    assert "word vectors" in ended.stderr
    assert "en.npz | linear |" in (tmp_path / "with" / "report.md").read_text()
    ended = CliRunner().invoke(main, [*common, "-o", str(tmp_path / "without"), "--no-vectors"])
    assert ended.exit_code == 0
    assert "en.npz" not in (tmp_path / "without" / "report.md").read_text()
