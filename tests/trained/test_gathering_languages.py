"""What scripts/gather_languages takes for a row, and what scripts/train_languages draws from rows."""

from __future__ import annotations

import json
import random
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.zoo import bundle_folder

ROOT = Path(__file__).parents[2]
GATHER = ROOT / "scripts" / "gather_languages"
UD = "git/UniversalDependencies"


@pytest.fixture(scope="module")
def gather() -> dict[str, Any]:
    return runpy.run_path(str(GATHER))


@pytest.fixture(scope="module")
def train() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "train_languages"))


def repository(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", folder, *command], check=True)


@pytest.mark.parametrize(
    ("code", "label"),
    [("deu", "de"), ("pt-br", "pt"), ("no", "nb"), ("nn-NO", "nn"), ("bos", "bs"), ("fij", "und"), ("nds", None)],
)
def test_a_code_of_a_language_is_one_of_ours_a_far_one_or_left_out(
    gather: dict[str, Any], code: str, label: str | None
) -> None:
    assert gather["label_of"](code) == label


def test_what_stands_in_messages_for_something_else_is_taken_out(gather: dict[str, Any]) -> None:
    messages = ["<b>Datei</b> $1 wurde gelöscht. Mehr unter [[Special:Log|Logbuch]].", "{0} von {1}", "a = b"]
    found = [row.text for raw in gather["interface"]("de", messages) if (row := gather["cleaned"](raw))]
    assert found == ["Datei wurde gelöscht.", "Mehr unter Logbuch.", "von"]


def test_a_row_in_another_script_or_of_no_letters_is_dropped(gather: dict[str, Any]) -> None:
    row, cleaned = gather["Row"], gather["cleaned"]
    assert cleaned(row("ru", "text", 1, "Open the file")) is None
    assert cleaned(row("ru", "text", 1, "Откройте файл README сейчас")).text == "Откройте файл README сейчас"
    assert cleaned(row("de", "word", 1, "zwei Wörter")) is None
    assert cleaned(row("sr", "text", 1, "Dobar dan")).text == "Dobar dan"


def test_rows_of_test_data_and_treebanks_for_non_commercial_use_are_left_out(tmp_path: Path) -> None:
    treebank = "# text = Das ist ein Satz.\n1\tDas\n\n# text = Noch ein Satz.\n"
    repository(tmp_path / UD / "UD_German-Free", {"README.md": "License: CC BY-SA 4.0\n", "a.conllu": treebank})
    repository(tmp_path / UD / "UD_German-NC", {"README.md": "License: CC BY-NC 4.0\n", "a.conllu": treebank})
    repository(tmp_path / "lingua", {"language-testdata/sentences/de.txt": "noch ein satz\n"})
    command = [
        sys.executable,
        GATHER,
        tmp_path,
        tmp_path / "out",
        "--reject",
        tmp_path / "lingua",
        "--only",
        "treebanks",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "UD_German-NC is left out" in done.stderr
    assert (tmp_path / "out" / "treebanks.tsv").read_text() == "de\ttext\t1\tDas ist ein Satz.\n"
    about = json.loads((tmp_path / "out" / "sources.json").read_text())["treebanks"]
    assert (about["texts"], about["also_in_test_data"]) == (1, 1)


def test_neighbours_draw_from_the_sources_that_all_of_them_have(train: dict[str, Any]) -> None:
    drawn = train["Drawn"]("id", random.Random(0))
    drawn.texts["ntrex"], drawn.texts["common_voice"] = ["berita"] * 2000, ["bicara"] * 6000

    def share_of_speech(neighbours: list[dict[str, int]]) -> float:
        drawn.ready(neighbours)
        weights = dict(zip(drawn.sources, drawn.source_weights, strict=True))
        return float(weights["common_voice"] / sum(weights.values()))

    alone, beside = share_of_speech([]), share_of_speech([{"ntrex": 2000, "common_voice": 16}])
    assert beside < alone / 2


def test_serbian_is_read_in_both_alphabets(train: dict[str, Any]) -> None:
    drawn = train["Drawn"]("sr", random.Random(0))
    drawn.texts["ntrex"] = ["Његова љубав, џеп и ћуприја"]
    drawn.ready([])
    rows = [drawn.row() for _ in range(400)]
    latin = [row for row in rows if row.isascii() or any(c in "džćlj" for c in row)]
    assert 0.3 < len(latin) / len(rows) < 0.5
    assert "njegova ljubav" in " ".join(latin)


def test_what_two_neighbours_say_alike_is_dropped(train: dict[str, Any]) -> None:
    languages = {label: train["Drawn"](label, random.Random(0)) for label in train["LABELS"]}
    languages["hr"].texts["firefox"] = ["Otvori datoteku", "Spremi točno"]
    languages["bs"].texts["mediawiki"] = ["otvori datoteku", "Sačuvaj tačno"]
    languages["de"].texts["firefox"] = ["Otvori datoteku"]
    train["same_rows_removed"](languages)
    kept = {label: list(languages[label].texts.values()) for label in ("hr", "bs", "de")}
    assert kept == {"hr": [["Spremi točno"]], "bs": [["Sačuvaj tačno"]], "de": [["Otvori datoteku"]]}


def test_a_row_of_foreign_words_of_marks_or_of_a_short_word_is_drawn_again(train: dict[str, Any]) -> None:
    languages = {label: train["Drawn"](label, random.Random(0)) for label in ("en", "st", "und")}
    languages["en"].words = {f"word{number}": 1.0 for number in range(train["LONG_LIST"])} | {"hello": 900.0, "at": 9.0}
    languages["st"].texts["mediawiki"] = ["Hello, lumela bohle", "Lumela ntate", "lumela, ke teng"]
    short = train["foreign_words_removed"](languages)
    assert set(short) == {"en\tat"}
    assert "hello" in languages["en"].frequent
    assert set(languages["st"].words) == {"lumela"}
    texts = ("Lumela", "Hello lumela", "Hello!", "ke", "?!", "12.5 %")
    assert [languages["st"].is_own(text) for text in texts] == [True, True, False, False, False, False]


def test_texts_of_other_languages_with_the_words_of_one_of_ours_are_not_far(train: dict[str, Any]) -> None:
    languages = {label: train["Drawn"](label, random.Random(0)) for label in train["LABELS"]}
    languages["ca"].words = dict.fromkeys(("tothom", "dret", "llibertat"), 1.0)
    languages["und"].texts["rights"] = ["Tothom té dret", "Tamurt n Leqbayel", "བོད་སྐད་"]
    assert train["far_texts"](languages) == {"rights": ["Tamurt n Leqbayel"]}


def test_a_training_goes_on_from_the_weights_of_the_bundle(train: dict[str, Any]) -> None:
    folder = bundle_folder("languages")
    manifest = manifests.read(folder)
    module = train["checkpoint_of"](folder, train["SETTINGS"]).module
    for example in manifest.examples[::8]:
        with torch.inference_mode():
            logits = module(torch.tensor([example.ids]), torch.tensor([len(example.ids)]))
        torch.testing.assert_close(logits[0], torch.tensor(example.logits), rtol=0, atol=1e-4)


def test_texts_in_a_script_of_no_language_teach_nothing(train: dict[str, Any]) -> None:
    known = train["in_known_script"]
    assert [known(text) for text in ("tyrkiske språk", "ትግርኛ", "བོད་སྐད་", "ᏣᎳᎩ", "ދިވެހި")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_parts_of_texts_are_of_as_many_words_as_asked(train: dict[str, Any]) -> None:
    draw = random.Random(0)
    text = "The quick brown fox jumps over the lazy dog."
    for words in (1, 2, 5):
        part = train["part_of"](text, "en", words, draw)
        assert len(part.split()) == words
        assert part in text
    assert (
        train["part_of"]("委員会は来週報告書を公表する予定です", "ja", 2, draw)
        in "委員会は来週報告書を公表する予定です"
    )
    assert train["without_accents"]("Où est-il né? ñ й") == "Ou est-il ne? n й"


def test_rows_are_drawn_by_letters_and_never_of_the_test_data(train: dict[str, Any], gather: dict[str, Any]) -> None:
    draw = random.Random(0)
    languages = {label: train["Drawn"](label, draw) for label in train["LABELS"]}
    for label, drawn in languages.items():
        drawn.texts["ntrex"] = [f"{label} one two three four", f"{label} five"]
        drawn.ready([])
    rejected = {gather["key_of"]("two three")}
    rows = list(train["training_rows"](languages, {}, 40, rejected, draw))
    counts = {label: sum(language == label for language, _ in rows) for label in train["LABELS"]}
    assert set(counts) == set(train["LABELS"])
    assert all(30 < count <= 40 for label, count in counts.items() if train["row_share"](label) == 1)
    assert min(counts["fr"], counts["ru"], counts["sr"], counts["ar"]) > 30
    assert counts["el"] <= 8
    assert counts["ja"] <= 16
    assert counts["und"] > 60
    assert not [text for _, text in rows if gather["key_of"](text) in rejected]
