"""The texts that scripts/gather_languages takes for rows, and those that scripts/train_languages draws from rows."""

from __future__ import annotations

import gzip
import json
import math
import random
import re
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pocketrnn import Classifier
from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
from pocketrnn_training import LabelledTexts

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
    [
        ("deu", "de"),
        ("pt-br", "pt"),
        ("no", "nb"),
        ("nn-NO", "nn"),
        ("bos", "bs"),
        ("fij", "und"),
        ("nds", "und"),
        ("sh", None),
        ("be-tarask", None),
        ("fao", None),
        ("oc", None),
    ],
)
def test_a_code_of_a_language_is_one_of_ours_a_far_one_or_left_out(
    gather: dict[str, Any], code: str, label: str | None
) -> None:
    assert gather["get_label"](code) == label


def test_what_stands_in_messages_for_something_else_is_taken_out(gather: dict[str, Any]) -> None:
    messages = ["<b>Datei</b> $1 wurde gelöscht. Mehr unter [[Special:Log|Logbuch]].", "{0} von {1}", "a = b"]
    found = [row.text for raw in gather["make_interface_rows"]("de", messages) if (row := gather["clean_row"](raw))]
    assert found == ["Datei wurde gelöscht.", "Mehr unter Logbuch.", "von"]


def test_a_row_in_another_script_or_of_no_letters_is_dropped(gather: dict[str, Any]) -> None:
    row, cleaned = gather["Row"], gather["clean_row"]
    assert cleaned(row("ru", "text", 1, "Open the file")) is None
    assert cleaned(row("ru", "text", 1, "Откройте файл README сейчас")).text == "Откройте файл README сейчас"
    assert cleaned(row("de", "word", 1, "zwei Wörter")) is None
    assert cleaned(row("sr", "text", 1, "Dobar dan")).text == "Dobar dan"


def test_rows_of_test_data_and_treebanks_for_non_commercial_use_are_left_out(tmp_path: Path) -> None:
    treebank = "# text = Das ist ein Satz.\n1\tDas\n\n# text = Noch ein Satz.\n"
    free = {"README.md": "License: CC BY-SA 4.0\n", "de_free-ud-test.conllu": treebank}
    sorbian = {"hsb_free-ud-test.conllu": "# text = To bě srjedź meje.\n", "README.md": free["README.md"]}
    faroese = {"fo_free-ud-test.conllu": "# text = Hetta er føroyskt.\n", "README.md": free["README.md"]}
    repository(tmp_path / UD / "UD_German-Free", free)
    repository(tmp_path / UD / "UD_Upper_Sorbian-Free", sorbian)
    repository(tmp_path / UD / "UD_Faroese-Free", faroese)
    repository(tmp_path / UD / "UD_German-NC", {**free, "README.md": "License: CC BY-NC 4.0\n"})
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
    assert (tmp_path / "out" / "treebanks.tsv").read_text() == (
        "de\ttext\t1\tDas ist ein Satz.\nund\ttext\t1\tTo bě srjedź meje.\n"
    )
    about = json.loads((tmp_path / "out" / "sources.json").read_text())["treebanks"]
    assert (about["texts"], about["also_in_test_data"]) == (2, 1)


def test_neighbours_draw_from_the_sources_that_all_of_them_have(train: dict[str, Any]) -> None:
    drawn = train["Drawn"]("id", random.Random(0))
    drawn.texts["ntrex"], drawn.texts["common_voice"] = ["berita"] * 2000, ["bicara"] * 6000

    def share_of_speech(neighbours: list[dict[str, int]]) -> float:
        drawn.prepare_drawing(neighbours)
        weights = dict(zip(drawn.sources, drawn.source_weights, strict=True))
        return float(weights["common_voice"] / sum(weights.values()))

    alone, beside = share_of_speech([]), share_of_speech([{"ntrex": 2000, "common_voice": 16}])
    assert beside < alone / 2


def test_serbian_is_read_in_both_alphabets(train: dict[str, Any]) -> None:
    drawn = train["Drawn"]("sr", random.Random(0))
    drawn.texts["ntrex"] = ["Његова љубав, џеп и ћуприја"]
    drawn.prepare_drawing([])
    rows = [drawn.row() for _ in range(400)]
    latin = [row for row in rows if row.isascii() or any(c in "džćlj" for c in row)]
    assert 0.3 < len(latin) / len(rows) < 0.5
    assert "njegova ljubav" in " ".join(latin)


def test_what_two_neighbours_say_alike_is_dropped(train: dict[str, Any]) -> None:
    languages = {label: train["Drawn"](label, random.Random(0)) for label in train["LABELS"]}
    languages["hr"].texts["firefox"] = ["Otvori datoteku", "Spremi točno"]
    languages["bs"].texts["mediawiki"] = ["otvori datoteku", "Sačuvaj tačno"]
    languages["de"].texts["firefox"] = ["Otvori datoteku"]
    train["remove_shared_rows"](languages)
    kept = {label: list(languages[label].texts.values()) for label in ("hr", "bs", "de")}
    assert kept == {"hr": [["Spremi točno"]], "bs": [["Sačuvaj tačno"]], "de": [["Otvori datoteku"]]}


def test_a_row_of_foreign_words_of_marks_or_of_a_short_word_is_drawn_again(train: dict[str, Any]) -> None:
    languages = {label: train["Drawn"](label, random.Random(0)) for label in ("en", "st", "und")}
    languages["en"].words = {f"word{number}": 1.0 for number in range(train["LONG_LIST"])} | {"hello": 900.0, "at": 9.0}
    languages["st"].texts["mediawiki"] = ["Hello, lumela bohle", "Lumela ntate", "lumela, ke teng"]
    short = train["remove_foreign_words"](languages)
    assert set(short) == {"en\tat"}
    assert "hello" in languages["en"].frequent
    assert set(languages["st"].words) == {"lumela"}
    texts = ("Lumela", "Hello lumela", "Hello!", "ke", "?!", "12.5 %")
    assert [languages["st"].is_own(text) for text in texts] == [True, True, False, False, False, False]


def test_a_word_that_much_more_is_typed_of_once_its_accents_are_off_is_foreign(train: dict[str, Any]) -> None:
    languages = {label: train["Drawn"](label, random.Random(0)) for label in ("es", "eo", "und")}
    fillers = {f"word{number}": 1.0 for number in range(train["LONG_LIST"])}
    languages["es"].words = fillers | {"estás": 900.0, "bueno": 900.0}
    languages["eo"].words = {f"vorto{number}": 1.0 for number in range(train["LONG_LIST"])} | {"estas": 30.0}
    languages["eo"].words |= {"bueno": 500.0}
    train["remove_foreign_words"](languages)
    foreign = [languages["eo"].foreign(word) for word in ("estas", "bueno", "vorto1")]
    assert foreign == [True, True, False]
    assert not languages["es"].foreign("estás")


def test_what_is_typed_without_care_is_drawn_by_how_much_is_typed_and_half_of_it_bare(train: dict[str, Any]) -> None:
    languages = {label: train["Drawn"](label, random.Random(0)) for label in ("es", "eo", "ja", "und")}
    for drawn in languages.values():
        drawn.careless = {"dónde": 1.0, "estás": 1.0}
        drawn.texts["ntrex"] = ["¿Dónde estás tú y qué es eso?"]
        drawn.prepare_drawing([])
    rejected = {train["make_key"]("estas donde")}
    rows = list(train["draw_careless_rows"](languages, 2000, rejected, random.Random(0)))
    assert {whole for _, _, whole in rows} == {""}
    assert {text for _, text, _ in rows} >= {"donde", "dónde", "donde estas", "estás dónde"}
    assert "estas donde" not in {text for _, text, _ in rows}
    counts = Counter(label for label, _, _ in rows)
    assert set(counts) == {"es", "eo"}
    assert counts["es"] > 3 * counts["eo"]


def test_rows_that_the_teacher_is_surely_wrong_of_are_drawn_again(
    train: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, shared, unsure, right = (("es", text, text) for text in ("dónde", "hotel", "queda", "banco"))
    rows = [known, shared, unsure, right] * 30 + [("eo", "hotel", "hotel"), ("eo", "estas", "estas")] * 30
    # The labels and probabilities of a teacher that takes all Spanish but "banco" for Esperanto.
    said = {"dónde": [0.9, 0.1], "hotel": [0.9, 0.1], "queda": [0.45, 0.4], "banco": [0.1, 0.9], "estas": [0.9, 0.1]}
    teacher = SimpleNamespace(labels=("eo", "es"), predict_proba=lambda texts: np.array([said[text] for text in texts]))
    monkeypatch.setitem(train["select_wrong_rows"].__globals__, "Classifier", SimpleNamespace(load=lambda _: teacher))
    assert set(train["select_wrong_rows"](rows, "teacher")) == {known}


def test_what_readers_typed_is_neither_a_row_nor_in_the_list_of_first_words(
    train: dict[str, Any], gather: dict[str, Any], tmp_path: Path
) -> None:
    key = gather["make_key"]
    texts = [line.split("\t")[1] for line in train["TYPED_TEXTS"].read_text(encoding="utf-8").splitlines()]
    assert not {key(text) for text in texts} & {key(row.text) for row in gather["first_words"](tmp_path)}
    assert {key("donde estas"), key("wo bist du")} <= train["read_typed_keys"]()
    assert key("?!") not in train["read_typed_keys"]()


def test_texts_of_other_languages_with_the_words_of_one_of_ours_are_not_far(train: dict[str, Any]) -> None:
    languages = {label: train["Drawn"](label, random.Random(0)) for label in train["LABELS"]}
    languages["ca"].words = dict.fromkeys(("tothom", "dret", "llibertat"), 1.0)
    languages["und"].texts["rights"] = ["Tothom té dret", "Tamurt n Leqbayel", "བོད་སྐད་"]
    assert train["select_far_texts"](languages) == {"rights": ["Tamurt n Leqbayel"]}


def test_a_disguised_text_is_in_none_of_our_languages(train: dict[str, Any]) -> None:
    languages = {label: train["Drawn"](label, random.Random(0)) for label in train["LABELS"]}
    text = "the quick brown fox jumps over the lazy dog"
    for drawn in languages.values():
        drawn.texts["ntrex"] = [text]
        drawn.known = frozenset(text.split())
        drawn.prepare_drawing([])
    for number in range(40):
        words = train["split_words"](train["draw_disguised_text"](languages, random.Random(number)))
        assert sum(word in text.split() for word in words) <= train["MOST_SHARED"] * len(words)


def test_rows_that_a_teacher_is_wrong_of_or_has_no_text_of_are_not_taught_by_it(train: dict[str, Any]) -> None:
    labels = train["LABELS"]
    texts = ["Where is the station?", "3.14159 / 2024-11-05 = 77%", "Where is the station?", ""]
    targets = np.array([labels.index(label) for label in ("en", "und", "de", "de")])
    data = LabelledTexts(["", *texts[1:3], "wo bist du"], targets, labels, "written here")
    assert train["make_teacher_answers"](data, texts, ["languages"]).answered.tolist() == [True, True, False, False]


def test_the_teacher_reads_rows_with_their_accents(train: dict[str, Any]) -> None:
    whole, bare = "Où est la fenêtre ?", "Ou est la fenetre ?"
    labels = train["LABELS"]
    data = LabelledTexts([bare], np.array([labels.index("fr")]), labels, "written here")
    answers = train["make_teacher_answers"](data, [whole], ["languages"])
    np.testing.assert_allclose(answers.values, Classifier.load("languages").predict_proba([whole]), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("Où est-il né? ñ Ça", "Ou est-il ne? n Ca"),
        ("Łódź, świeżo", "Lodz, swiezo"),
        ("ığdır İyi", "igdir Iyi"),
        ("Ærø straße", "Aero strasse"),
        ("Đà Nẵng ở đâu", "Da Nang o dau"),
        ("ọ̀la e\u0301", "ola e"),
        ("καλημέρα Ώρα", "καλημερα Ωρα"),
        ("ёлка й ї ў", "елка й ї ў"),
        ("السَّلامُ أين ئ", "السلام اين ئ"),
        ("שָׁלוֹם", "שלום"),
        ("हिन्दी が 한국", "हिन्दी が 한국"),
    ],
)
def test_accents_that_people_leave_off_are_left_off_and_other_letters_stay(
    train: dict[str, Any], text: str, bare: str
) -> None:
    assert train["remove_accents"](text) == bare


def test_rows_are_drawn_with_and_without_accents_and_never_of_the_test_data(
    train: dict[str, Any], gather: dict[str, Any]
) -> None:
    draw, rows = random.Random(0), [("de", "Schöne Grüße"), ("fr", "élève")] * 400
    typed = set(train["make_typed_rows"](rows, {gather["make_key"]("eleve")}, draw))
    german = {text for label, text, whole in typed if label == "de" and whole == "Schöne Grüße"}
    assert german == {
        *("Schöne Grüße", "Schone Grusse", "Schoene Gruesse"),
        *("SCHÖNE GRÜSSE", "SCHONE GRUSSE", "SCHOENE GRUESSE"),
    }
    assert {text for label, text, _ in typed if label == "fr"} == {"élève", "ÉLÈVE"}


def test_validation_rows_with_accents_are_measured_without_them() -> None:
    evaluate = runpy.run_path(str(ROOT / "scripts" / "evaluate_languages"))
    texts = {"fr": "Où est la fenêtre de ma chambre ?", "de": "Die grüne Tür", "en": "no accents here"}
    rows: dict[str, list[str]] = {"label": [], "kind": [], "text": []}
    for label, text in texts.items():
        for kind in ("sentence", "pair", "word"):
            for column, value in (("label", label), ("kind", kind), ("text", text)):
                rows[column].append(value)
    table = evaluate["measure_without_accents"](
        Classifier.load("languages"), rows, lambda text: text if text.isascii() else ""
    )
    # An empty text is `und` with 0.99; English has no accents to lose.
    assert table.splitlines()[0] == "| 2 sentences | 100.0 % | 0.0 % | 100.0 % | 100 %; 0.0 % |"


def test_long_sentences_of_treebanks_are_right_in_the_mean_of_their_languages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate = runpy.run_path(str(ROOT / "scripts" / "evaluate_languages"))
    repository(tmp_path / "UD_German-Long", {"de_long-ud-test.conllu": "# text = Eins\n1\tEins\n\n# text = Zwei\n"})
    repository(tmp_path / "UD_Basque-Long", {"eu_long-ud-test.conllu": "# text = Bat bi hiru\n# text = Lau\n" * 2})
    said = {"Eins": "de", "Zwei": "und", "Bat bi hiru": "eu", "Lau": "fi"}
    evaluate["print_long_sentences"](tmp_path, [evaluate["System"]("one", 1, lambda text: (said[text], 0.9))])
    shown = capsys.readouterr().out
    assert "6 sentences of 6 characters in 2 languages" in shown
    assert "| one | 50.0 % | 25.0 % |" in shown


def test_romanised_messages_and_texts_are_counted_as_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = runpy.run_path(str(ROOT / "scripts" / "evaluate_languages"))
    messages = {"a": "Naapa jaawe hae", "b": "Log ke nai dekhawa jaae sake hae", "@metadata": {}}
    data = tmp_path / "deb" / "usr" / "i18n"
    data.mkdir(parents=True)
    (data / "hif-latn.json").write_text(json.dumps(messages))
    (data / "de.json").write_text(json.dumps({"a": "Das ist eine Nachricht"}))
    (tmp_path / "deb" / "DEBIAN").mkdir()
    about = "Package: mediawiki\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n"
    (tmp_path / "deb" / "DEBIAN" / "control").write_text(about)
    (tmp_path / "packages").mkdir()
    package = tmp_path / "packages" / "mediawiki_1.deb"
    subprocess.run(["dpkg-deb", "--build", tmp_path / "deb", package], check=True, capture_output=True)
    monkeypatch.setattr(evaluate["importlib"].util, "find_spec", lambda _: None)
    answer = {"Naapa jaawe hae": ("und", 0.9)}
    evaluate["print_romanised_answers"](
        tmp_path, [evaluate["System"]("one", 1, lambda text: answer.get(text, ("fi", 0.7)))]
    )
    assert "| one | 2 messages in 1 languages | 50.0 % | 50.0 % |" in capsys.readouterr().out


def test_the_functions_that_one_script_takes_of_another_are_there(
    train: dict[str, Any], gather: dict[str, Any]
) -> None:
    for name in ("train_languages", "evaluate_languages"):
        code = (ROOT / "scripts" / name).read_text(encoding="utf-8")
        taken = re.findall(r"""\b(train|gather|GATHERED)\[["'](\w+)["']\]""", code)
        assert len(taken) > 5
        assert [part for whose, part in taken if part not in (train if whose == "train" else gather)] == []


def test_long_texts_are_learnt_without_a_teacher(train: dict[str, Any]) -> None:
    short, long = "Wo ist der Bahnhof?", "Wo ist der Bahnhof, von dem am Abend die Züge in den Süden fahren?"
    labels = train["LABELS"]
    data = LabelledTexts([short, long, short], np.array([labels.index("de")] * 3), labels, "written here")
    answers = train["make_teacher_answers"](data, [short, long, ""], ["languages"])
    assert answers.places.tolist() == [0, -1, -1]


def test_the_twin_is_measured_beside_the_shipped_form_and_alone_on_the_test_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate = runpy.run_path(str(ROOT / "scripts" / "evaluate_languages"))
    scope = evaluate["main"].__globals__
    for name in ("make_fasttext_system", "make_cld2_system", "make_cld3_system"):
        monkeypatch.setitem(scope, name, lambda: None)
    monkeypatch.setitem(scope, "make_own_system", lambda shown, *_: evaluate["System"](shown, 1, lambda _: ("de", 0.9)))
    data = {kind: {"de": ["Wo ist der Bahnhof?"]} for kind in evaluate["KINDS"]}
    monkeypatch.setitem(scope, "read_test_data", lambda _: data)
    monkeypatch.setattr(
        sys, "argv", ["evaluate_languages", "lingua", "--twin", str(find_or_download_bundle("languages"))]
    )
    evaluate["main"]()
    rows = [line.split(" | ")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    own = [row for row in rows if row in ("| **`languages`**", "| its twin")]
    assert own == ["| **`languages`**", "| its twin"] * 2 + ["| its twin"]


def test_a_run_of_another_shape_begins_with_the_embedding(train: dict[str, Any]) -> None:
    before = train["restore_checkpoint"](find_or_download_bundle("languages"))
    same = replace(train["SETTINGS"], cell=before.architecture.cell, hidden_dim=before.architecture.hidden_dim)
    assert train["start_from_checkpoint"](before, same) is before
    other = train["start_from_checkpoint"](before, replace(same, hidden_dim=8))
    assert other.architecture == replace(before.architecture, hidden_dim=8)
    assert torch.equal(other.module.embedding.weight, before.module.embedding.weight)
    assert other.module.fc.weight.shape[1] == 8


def test_the_priors_of_the_web_and_of_as_many_texts_are_written_into_a_bundle(
    train: dict[str, Any], tmp_path: Path
) -> None:
    bundle = tmp_path / "languages"
    shutil.copytree(find_or_download_bundle("languages"), bundle)
    train["write_prior"](bundle)
    prior = manifests.read_manifest(bundle).output.priors["web"]
    assert prior["en"] > prior["es"] > prior["bs"] > prior["und"]
    assert Classifier.load(bundle, prior="web").classify("Hello").label == "en"
    even = manifests.read_manifest(bundle).output.priors["even"]
    assert even["en"] < even["es"] < even["bs"] < even["und"]
    assert even["und"] / even["en"] == pytest.approx((500 / 0.3) ** train["EXPECTED_POWER"], rel=0.01)


def test_a_training_goes_on_from_the_weights_of_the_bundle(train: dict[str, Any]) -> None:
    folder = find_or_download_bundle("languages")
    manifest = manifests.read_manifest(folder)
    module = train["restore_checkpoint"](folder).module
    for example in manifest.examples[::8]:
        with torch.inference_mode():
            logits = module(torch.tensor([example.ids]), torch.tensor([len(example.ids)]))
        torch.testing.assert_close(logits[0], torch.tensor(example.logits), rtol=0, atol=1e-4)


def test_texts_in_a_script_of_no_language_teach_nothing(train: dict[str, Any]) -> None:
    known = train["is_in_known_script"]
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
        part = train["draw_part"](text, "en", words, draw)
        assert len(part.split()) == words
        assert part in text
    assert (
        train["draw_part"]("委員会は来週報告書を公表する予定です", "ja", 2, draw)
        in "委員会は来週報告書を公表する予定です"
    )


def test_rows_are_drawn_by_letters_and_never_of_the_test_data(train: dict[str, Any], gather: dict[str, Any]) -> None:
    draw = random.Random(0)
    languages = {label: train["Drawn"](label, draw) for label in train["LABELS"]}
    for label, drawn in languages.items():
        drawn.texts["ntrex"] = [f"{label} one two three four", f"{label} five"]
        drawn.prepare_drawing([])
    rejected = {gather["make_key"]("two three")}
    romanised = train["RomanisedTexts"](languages, draw)
    rows = list(train["draw_training_rows"](languages, romanised, {}, 40, 0.2, rejected, draw))
    counts = {label: sum(language == label for language, _ in rows) for label in train["LABELS"]}
    assert set(counts) == set(train["LABELS"])
    assert all(30 < count <= 40 for label, count in counts.items() if train["compute_row_share"](label) == 1)
    assert min(counts["fr"], counts["ru"], counts["sr"], counts["ar"]) > 30
    assert counts["el"] <= 8
    assert counts["ja"] <= 16
    assert counts["und"] > 60
    assert not [text for _, text in rows if gather["make_key"](text) in rejected]


def test_rows_of_the_test_data_are_known_but_for_case_and_marks_and_marks_alone_are_none(
    gather: dict[str, Any], tmp_path: Path
) -> None:
    repository(tmp_path / "lingua", {"language-testdata/single-words/de.txt": "Satz\n\n...\n"})
    assert gather["read_rejected_keys"](tmp_path / "lingua") == {gather["make_key"]("satz!")}


def test_what_people_type_first_is_of_few_words_and_without_numbers(gather: dict[str, Any]) -> None:
    said = ["Merci", "1er janvier", "  – Oui !", "x" * 41, "Да"]
    rows = [gather["clean_row"](row) for row in gather["make_first_word_rows"]("fr", said)]
    assert [row.text for row in rows if row] == ["Merci", "Oui !"]
    assert all(row.kind == "first" for row in rows if row)
    assert list(gather["make_first_word_rows"](None, said)) == list(gather["make_first_word_rows"]("und", said)) == []


def test_the_list_of_first_words_has_every_language(gather: dict[str, Any], tmp_path: Path) -> None:
    rows = list(gather["first_words"](tmp_path))
    assert {row.language for row in rows} == set(gather["NAMES"])
    assert all(gather["clean_row"](row) for row in rows)


def test_what_is_typed_in_latin_letters_is_in_no_language(gather: dict[str, Any]) -> None:
    written = dict(gather["read_written_words"](gather["ROMANISED_FIRST_WORDS"]))
    assert not [language for language in written if gather["SCRIPTS"][language] == "LATIN"]
    assert {"privet", "spasibo"} <= set(written["ru"])
    rows = [gather["clean_row"](gather["Row"]("und", "first", 1, text)) for said in written.values() for text in said]
    assert all(rows)


def test_a_translation_of_what_is_said_by_itself_is_one(gather: dict[str, Any], tmp_path: Path) -> None:
    entries = """hello
\t[b][c darkblue]~[/c][/b] [p]<interj>[/p] [i](greeting)[/i]
\t[m1]merhaba, selam [p]<m>[/p][/m]

house
\t[b][c darkblue]~[/c][/b] [p]<n>[/p] [i](building)[/i]
\t[m1]ev[/m]
"""
    folder = tmp_path / "git/open-dsl-dict/wiktionary-dict"
    repository(folder, {"dsl/oneway/x.txt": ""})
    (folder / "dsl/oneway/en-tr-enwiktionary.dsl.dz").write_bytes(gzip.compress(entries.encode("utf-16")))
    for command in (["add", "-A"], ["-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "y"]):
        subprocess.run(["git", "-C", folder, *command], check=True)
    rows = [gather["clean_row"](row) for row in gather["dictionaries"](tmp_path)]
    assert [(row.language, row.text) for row in rows] == [("tr", "merhaba"), ("tr", "selam")]


def test_a_first_word_of_several_languages_is_drawn_by_how_much_is_typed_in_each(train: dict[str, Any]) -> None:
    languages = {label: train["Drawn"](label, random.Random(0)) for label in train["LABELS"]}
    languages["en"].first.update({"Hi": 3, "Ahoy": 1})
    languages["ca"].first.update({"hi": 1, "Bon dia": 2})
    shares = train["compute_first_shares"](languages)
    assert set(shares) == {("en", "Hi"), ("en", "Ahoy"), ("ca", "Bon dia")}
    # A word of three sources is said more often than one of a single source.
    assert shares["en", "Hi"] == 9 * shares["en", "Ahoy"]
    languages["de"].first.update({"Hallo": 1})
    languages["nl"].first.update({"hallo": 1})
    shares = train["compute_first_shares"](languages)
    assert shares["de", "Hallo"] / shares["nl", "hallo"] == pytest.approx((55 / 21) ** 0.75)
    assert shares["de", "Hallo"] + shares["nl", "hallo"] == pytest.approx(55**0.5 + 21**0.5)


def test_romanised_first_words_are_none_of_another_language(train: dict[str, Any]) -> None:
    languages = {label: train["Drawn"](label, random.Random(0)) for label in ("az", "en", "sl", "und")}
    languages["az"].first.update({"Salam!": 1})
    languages["sl"].frequencies = {"kak": 1e-3, "dela": 1e-3, "privet": 1e-7}
    languages["und"].first.update(["salam", "kak", "kak dela", "privet"])
    assert train["select_romanised_first_words"](languages) == ["kak dela", "privet"]
    shares = train["compute_first_shares"](languages)
    assert shares["und", "kak dela"] == shares["und", "privet"] == train["ROMANISED_FIRST"] / 2
    assert ("und", "salam") not in shares


def test_places_stand_beside_words_of_each_language(train: dict[str, Any]) -> None:
    draw = random.Random(0)
    rows = {train["add_places"]("treinkaartje", draw) for _ in range(3000)}
    assert {"treinkaartje Utrecht", "treinkaartje new york", "paris treinkaartje"} <= rows
    assert all("treinkaartje" in row and 1 <= len(row.split()) - 1 <= 4 for row in rows)


def test_first_words_are_drawn_as_people_type_them(train: dict[str, Any]) -> None:
    draw = random.Random(0)
    rows = {train["draw_as_typed"]("Günaydın", "tr", ["Selam"], draw) for _ in range(2000)}
    assert {"Günaydın", "GÜNAYDIN", "Günaydın!!", "Günaydın haha"} <= rows
    assert any("😀" in row for row in rows)
    assert any("Selam" in row for row in rows)
    assert train["convert_to_capitals"]("iyi", "tr") == "İYİ"
    assert train["convert_to_capitals"]("καλημέρα", "el") == "ΚΑΛΗΜΕΡΑ"


def test_words_are_spelt_as_in_chats_and_other_texts_stay(train: dict[str, Any]) -> None:
    spellings, draw = train["read_chat_spellings"](train["CHAT_SPELLINGS"]), random.Random(0)
    assert set(spellings) < {*train["LABELS"]}

    def spell(language: str, text: str) -> set[str]:
        return {train["spell_as_in_chats"](text, spellings[language], draw) for _ in range(300)}

    assert {"c u l8r", "see u l8r"} <= spell("en", "See you later")
    # The end of a word, which is not a word, and letters within one.
    assert {"geliyom", "geliyorum"} == spell("tr", "geliyorum")
    assert {"karnet"} == spell("en", "karnet")
    assert {"ki"} < spell("fr", "qui")
    assert spell("de", "Bahnhof") == {"Bahnhof"}


def test_rows_of_chats_have_a_word_that_is_spelt_so_and_no_teacher(
    train: dict[str, Any], gather: dict[str, Any]
) -> None:
    languages = {label: train["Drawn"](label, random.Random(0)) for label in train["LABELS"]}
    for label, said in (("es", "te quiero mucho"), ("fr", "je sais pas")):
        drawn = languages[label]
        drawn.first[said] = 1
        drawn.careless = dict.fromkeys(said.split(), 1.0)
        drawn.texts["ntrex"] = [f"{said} hotel"] * 3
        drawn.prepare_drawing(())
    held = {gather["make_key"]("tk muxo")}
    rows = list(train["draw_chat_rows"](languages, 600, held, random.Random(0)))
    assert {label for label, _, _ in rows} == {"es", "fr"}
    assert {whole for _, _, whole in rows} == {""}
    texts = {text for _, text, _ in rows}
    assert {"tq muxo", "chepa"} <= texts
    assert not {"te quiero mucho", "je sais pas", "tk muxo"} & texts


def test_rows_of_chats_are_added_to_those_of_an_earlier_run(
    train: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, out = tmp_path / "before", tmp_path / "out"
    before.mkdir()
    out.mkdir()
    # The second is a text that readers typed.
    earlier = [("de", "Wo ist der Bahnhof", ""), ("de", "wo bist du", "")]
    for name in ("train", "validation", "unknown"):
        train["write_rows"](earlier, before / f"{name}.parquet", random.Random(0), "whole")
    said = [("en", "first", 3, "see you later")] * 2
    (tmp_path / "first_words.tsv").write_text("".join(f"{a}\t{b}\t{c}\t{d}\n" for a, b, c, d in said))
    monkeypatch.setitem(train["add_to_rows"].__globals__, "ADDED", (5, 40, 20))
    monkeypatch.setitem(train["add_to_rows"].__globals__, "prepare_languages", lambda _: None)
    monkeypatch.setitem(train["add_to_rows"].__globals__, "draw_chat_rows", lambda *_: [("en", "c u", "")] * 5)
    train["add_to_rows"](tmp_path, out, before)
    rows = train["pq"].read_table(out / "train.parquet").to_pydict()
    assert Counter(rows["label"]) == {"de": 1, "en": 45, "und": 20}
    assert "wo bist du" not in rows["text"]
    assert (out / "validation.parquet").exists()


def test_lines_of_programs_with_words_of_languages_are_in_none(train: dict[str, Any]) -> None:
    languages = {label: train["Drawn"](label, random.Random(0)) for label in train["LABELS"]}
    languages["tr"].first.update(["Merhaba"])
    words = train["read_snippet_words"](languages)
    assert {"merhaba", "hello"} <= set(words)
    lines = [form.format(*random.Random(0).choices(words, k=form.count("{}"))) for form in train["SNIPPETS"]]
    assert not any("{}" in line for line in lines)


def test_lines_for_machines_are_filled_and_of_many_kinds(train: dict[str, Any]) -> None:
    lines = {train["draw_text_for_machines"](["merhaba"], random.Random(seed)) for seed in range(4000)}
    assert len(lines) > 3500
    assert not any(sign in line for line in lines for sign in ("{}", "{n}", "{k}", "{f}", "{v}"))
    for begun in ("SELECT ", "git ", "https://", "C:\\", "INFO ", '{"'):
        assert any(line.startswith(begun) for line in lines)
    assert any("merhaba" in line for line in lines)


def test_whole_long_texts_are_rows(train: dict[str, Any], gather: dict[str, Any], tmp_path: Path) -> None:
    long, short, word = "Dies ist ein langer Satz, " * 4, "Ein kurzer Satz.", "Satz" * 20
    for source in train["LONG_FROM"]:
        (tmp_path / f"{source}.tsv").write_text("")
    tested = f"Eine Zeile der Testdaten: {long}"
    lines = f"de\ttext\t1\t{long}\nde\ttext\t1\t{short}\nde\tword\t1\t{word}\nde\ttext\t1\t{tested}\n"
    (tmp_path / "ntrex.tsv").write_text(lines)
    (tmp_path / "libreoffice.tsv").write_text(f"und\ttext\t1\tMessages of programs: {long}\n")
    rows = list(train["draw_long_rows"](tmp_path, {gather["make_key"](tested)}, random.Random(0)))
    assert rows == [("de", long, long)]


def test_romanised_texts_are_less_likely_in_each_other_language(train: dict[str, Any]) -> None:
    languages = {label: train["Drawn"](label, random.Random(0)) for label in ("en", "sl", "und")}
    languages["en"].frequencies = {"bank": 0.2, "hello": 0.1}
    languages["sl"].frequencies = {"dela": 0.01}
    languages["und"].texts["romanised"] = ["hello bank", "spasibo", "ya", "privet kak dela, drug moy dorogoy"]
    romanised = train["RomanisedTexts"](languages, random.Random(0))
    assert "romanised" not in languages["und"].texts
    rows = {romanised.row() for _ in range(400)}
    assert {"spasibo", "privet", "privet kak", "privet kak dela, drug moy dorogoy"} <= rows
    assert rows.isdisjoint({"hello bank", "hello", "bank", "ya"})
    assert romanised.is_likely("kak dela")
    languages["sl"].frequencies |= {"kak": 0.2, "dela": 0.2}
    assert not romanised.is_likely("kak dela")
    assert train["RomanisedTexts"]({"und": languages["und"]}, random.Random(0)).row() == ""


def test_texts_are_written_in_latin_letters_in_several_spellings(
    gather: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"привет": "privet", "ещё": "yeshchyo", "मैं यहाँ": "maim yahaan", "سلام": "slam"}
    uroman = SimpleNamespace(romanize_string=lambda text: said.get(text, text))
    monkeypatch.setitem(sys.modules, "uroman", SimpleNamespace(Uroman=lambda: uroman))
    monkeypatch.setitem(sys.modules, "pypinyin", SimpleNamespace(lazy_pinyin=lambda _: ["ni", "hao"]))
    cutlet = SimpleNamespace(romaji=lambda _: "Arigatou")
    monkeypatch.setitem(sys.modules, "cutlet", SimpleNamespace(Cutlet=lambda: cutlet))
    write = gather["make_romaniser"](random.Random(0))

    def spellings(language: str, text: str) -> set[str]:
        return {write(language, text) for _ in range(300)}

    assert spellings("ja", "ありがとう") == {"Arigatou", "Arigato", "arigatou", "arigato"}
    assert spellings("zh", "你好") == {"ni hao", "nihao"}
    assert {"yeshchyo", "jeshchjo", "eshchyo"} <= spellings("ru", "ещё")
    assert {"main yahaan", "main yahan"} <= spellings("hi", "मैं यहाँ")
    assert {"salam", "selam", "slam"} <= spellings("fa", "سلام")
    assert {"xara", "hara", "chara"} <= {text.replace("α", "a").replace("ρ", "r") for text in spellings("el", "χαρά")}


def test_marks_alone_have_no_word(train: dict[str, Any]) -> None:
    draw = random.Random(0)
    rows = {train["draw_marks"](draw) for _ in range(3000)}
    assert {"!!!", "...", "?!", ":-)", "!"} <= rows
    assert not [row for row in rows if train["split_words"](row) and re.search(r"[^\W\d_]{2}", row)]


def test_the_last_epoch_is_taken_and_not_the_best(train: dict[str, Any]) -> None:
    before = train["restore_checkpoint"](find_or_download_bundle("languages"))
    trained = before.module.state_dict()
    epoch = SimpleNamespace(validation_accuracy=1.0, validation_f1=1.0, validation_loss=0.1, epoch=3)
    tensors = {f"module.{name}": 3 * weight for name, weight in trained.items()}
    state = SimpleNamespace(best=before, history=[epoch], tensors=tensors)
    texts = list(train["EXAMPLES"][:8])
    labels = [before.labels.index(label) for label in ("en", "de", "fr", "es", "pt", "it", "nl", "nb")]
    validation = LabelledTexts(texts, np.array(labels), before.labels, "written here")
    last = train["make_last_checkpoint"](state, validation)
    torch.testing.assert_close(last.module.embedding.weight, 3 * trained["embedding.weight"])
    moved = last.module.fc.bias * last.metrics["temperature"] - 3 * trained["fc.bias"]
    power = train["EXPECTED_POWER"]
    expected = dict(zip(before.labels, moved.tolist(), strict=True))
    assert expected["en"] - expected["es"] == pytest.approx(power * math.log(500 / 60), abs=1e-4)
    assert expected["eo"] == pytest.approx(min(expected.values()), abs=1e-4)
    assert expected["und"] == pytest.approx(expected["eo"], abs=1e-4)
    assert last.metrics["epoch"] == 3
    # Half of the form that it came from, whose logits were divided by its temperature.
    half = train["make_last_checkpoint"](state, validation, (before, 0.5))
    torch.testing.assert_close(half.module.embedding.weight, 2 * trained["embedding.weight"])
    scale = (3 + before.metrics["temperature"]) / 2
    torch.testing.assert_close(half.module.fc.weight * half.metrics["temperature"], scale * trained["fc.weight"])
