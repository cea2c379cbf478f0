"""The last lines of an export, and the lengths, ids and losses in the owner's code that they name."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner, Result
from module_sources import make_net

from pocketrnn import Classifier
from pocketrnn.commands.cli import main
from pocketrnn.commands.standard_streams import print_at_end_if_command_runs
from pocketrnn.text import SubwordRules, TextRules
from pocketrnn.text.subword_rules import WordPiece
from pocketrnn.verdicts import LOGGER
from pocketrnn_export import export as export_in_python
from pocketrnn_export.commands.settings_found_in_code import (
    _make_options_for_length_and_unknown_id,
    log_owner_hints_and_list_corrections,
    print_uncompared_steps_and_kept_notes,
)
from pocketrnn_export.intake.module_name_with_arguments import parse_module_name
from pocketrnn_export.source_code.sigmoid_or_softmax_in_code import find_activations_in_code
from pocketrnn_export.source_code.text_settings_in_code import (
    find_settings_that_rules_lack,
    list_hints_on_text_rules_in_code,
    list_text_lengths_in_settings_beside,
)
from pocketrnn_export.vocabularies.checkpoint_text_settings import is_name_of_text_length

pytestmark = pytest.mark.usefixtures("scant_proofs")
ABOUT = ("padding", "softmax", "output", "lengths", "splitting", "first id", "words", "")
WORDS = {"oil": 1, "film": 2, "good": 3, "bad": 4}
API = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, words=5, dim=6):
        super().__init__()
        self.embedding = nn.Embedding(words, dim)
        self.gru = nn.GRU(dim, dim, batch_first=True)
        self.fc = nn.Linear(dim, 3)

    def forward(self, x):
        return self.fc(self.gru(self.embedding(x))[0][:, -1])

def split(text):
    return text.lower().split()

def ask(model, words, text):
    row = [words.get(w, 0) for w in split(text)]
    max_len = 7
    row = (row + [0] * max_len)[:max_len]
    return torch.sigmoid(model(torch.tensor([row])))
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("max_len = 30", "max_len=30"),
        ("MAX_SEQUENCE_LENGTH: int = 30", "MAX_SEQUENCE_LENGTH=30"),
        ("def pad(row, *, seq_len=30): ...", "seq_len=30"),
        ("class A:\n  def cut(self, rows, maxlen=30): ...", "maxlen=30"),
        ("rows = pad_sequences(rows, maxlen=30)", "maxlen=30"),
        ("config = {'max_length': 30}", "max_length=30"),
        ("parser.add_argument('-m', '--max-len', type=int, default=30)", "max_len=30"),
        ("self.fixed_length = 30", "fixed_length=30"),
        ("MAX_LEN = 5", ""),
        ("max_words = 30\nembedding_length = 30\nmax_epochs = 30\nlength = 30\nmax_word_len = 30", ""),
        ("max_len = max(map(len, rows))\nmax_len = 30.5\nmax_len = True", ""),
        ("max_len = 3000000", ""),
        ("vocab = build_vocab_from_iterator(cut(rows), max_tokens=10000)", ""),
        ("max_tokens = 10000\nv = tf.keras.layers.TextVectorization(max_tokens=max_tokens)", ""),
        ("vocab = build_vocab_from_iterator(cut(rows, max_len=30), max_tokens=10000)", "max_len=30"),
        # The table of positions of a module that the export compares; and a function of the same class that cuts texts.
        ("class P:\n  def __init__(self, maxlen=30): ...\n  def forward(self, x): ...", ""),
        ("class P:\n  def __init__(self): P.table(9)\n  def forward(self, x): ...\n  def table(n, maxlen=30): ...", ""),
        ("class P:\n  def forward(self, x): ...\n  def encode(self, text, maxlen=30): ...", "maxlen=30"),
    ],
)
def test_the_lengths_in_code_are_named(code: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "api.py"
    path.write_text(code + "\n")
    found = " ".join(list_hints_on_text_rules_in_code([path, path], longest=9))
    assert (f"says {said}" in found and found.count("--max-tokens 30") == 1) if said else not found
    assert list_hints_on_text_rules_in_code([path], longest=None) == []


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("row = [words.get(w, 0) for w in text]", 0),
        ("row = list(self.words.get(w, 3) for w in text)", 3),
        ("row = [words[w] if w in words else 4 for w in text]", 4),
        ("UNK = 5\nrow = [words.get(w, UNK) for w in text]", 5),
        ("for w in text:\n    try:\n        row.append(vocab[w])\n    except KeyError:\n        row.append(6)", 6),
        ("def look_up(w):\n    if w in self.vocab:\n        return self.vocab[w]\n    else:\n        return 2", 2),
        ("counts[w] = counts.get(w, 0) + 1", None),
        ("def read(name):\n    return settings.get(name, 0)", None),
        ("row = [words.get(w, unknown) for w in text]", None),
        ("n = 3\nn += 1\nrow = [words.get(w, n) for w in text]", None),
        ("n = 3\nfor n, w in enumerate(text):\n    ids.append(vocab.get(w, n))", None),
        ("row = [words[w] if w in others else 4 for w in text]", None),
    ],
)
def test_the_id_of_unknown_words_in_code_is_named(code: str, number: int | None, tmp_path: Path) -> None:
    path = tmp_path / "api.py"
    path.write_text(code + "\n")
    found = list_hints_on_text_rules_in_code([path], longest=None, unknown_id=None)
    assert [f'"unknown_id": {number}' in one for one in found] == [True] * (number is not None)
    assert list_hints_on_text_rules_in_code([path], longest=None, unknown_id=number) == []
    path.write_text(f"max_len = 30\n{code}\n")
    # A length and an id are one note, whose option has both.
    (both,) = list_hints_on_text_rules_in_code([path], longest=0, unknown_id=None)
    assert (f'"unknown_id": {number}, "min_width": 30' in both) == (number is not None)


def test_a_loss_of_single_labels_is_named_before_a_sigmoid_and_a_gate_is_not(tmp_path: Path) -> None:
    path = tmp_path / "api.py"
    path.write_text("class A(nn.Module):\n  def forward(self, x):\n    return torch.sigmoid(x)\n")
    assert find_activations_in_code([path]).list_hints(multi_label=False) == []
    document = {"cells": [], "nbformat": 4}
    sources = [path.read_text(), "p = model(x).sigmoid()", "import torch\nloss = nn.BCEWithLogitsLoss()"]
    document["cells"] = [{"cell_type": "code", "source": source} for source in sources]
    notebook = tmp_path / "a.ipynb"
    notebook.write_text(json.dumps(document))
    (said,) = find_activations_in_code([notebook]).list_hints(multi_label=False)
    assert "cell 3, line 2, says 'nn.BCEWithLogitsLoss()'" in said
    assert "--multi-label" in said
    assert list_hints_on_text_rules_in_code([notebook], longest=None) == []


@pytest.mark.parametrize(
    ("code", "is_sure", "words"),
    [
        ("p = torch.sigmoid(model(x))", True, "line 1, says 'torch.sigmoid(model(x))'"),
        ("p = torch.sigmoid(model(x))\nloss = nn.CrossEntropyLoss()", False, "doubt"),
        ("p = softmax(model(x))", False, ""),
    ],
)
def test_code_shows_several_labels_of_a_text_or_a_doubt(code: str, is_sure: bool, words: str, tmp_path: Path) -> None:
    (tmp_path / "api.py").write_text(code)
    found = find_activations_in_code([tmp_path / "api.py"])
    assert found.are_of_several == is_sure
    assert words in found.sentence
    assert bool(found.sentence) == bool(words)
    # The converse: several labels are asked for, and the code has only a softmax.
    assert bool(found.list_hints(multi_label=True)) == (not words)


@pytest.mark.parametrize(
    ("call", "padded", "marks"),
    [
        ('tok(text, padding="max_length", truncation=True, max_length=64)', "right", 2),
        ("tok.encode(text, truncation=True, max_length=64)", "", 2),
        ('tok(text, padding="max_length", truncation=True, max_length=64, add_special_tokens=False)', "right", 0),
        ("tok(text)[:max_length]", "", 0),
    ],
)
def test_a_length_of_a_tokenizer_of_a_library_counts_the_marks(
    call: str, padded: str, marks: int, tmp_path: Path
) -> None:
    path = tmp_path / "api.py"
    path.write_text(f"def predict(text, max_length=64):\n    return {call}\n")
    rules = SubwordRules(WordPiece(), unknown_id=0, first_ids=(1,), last_ids=(2,))
    found = find_settings_that_rules_lack([path], longest=0)
    assert (found.pad_side, found.count_marks_of_rules(rules)) == (padded, marks)
    assert found.count_marks_of_rules(TextRules(first_id=1, last_id=2)) == 0
    (said,) = list_hints_on_text_rules_in_code([path], longest=0, of_tokenizer=rules)
    assert f"--max-tokens {64 - marks}" in said
    assert ('"min_width": 64, "max_tokens": 62' in said) == bool(marks)
    options: dict[str, Any] = {"rules": None, "tokenizer": "tokenizer", "pairs": None, "max_tokens": None}
    changes = _make_options_for_length_and_unknown_id(found, options, {}, rules)
    width = {"min_width": 64, **({"max_tokens": 62} if marks else {"max_width": 64})}
    assert (json.loads(str(changes["rules"])) if padded else changes) == (
        width if padded else {"max_tokens": str(64 - marks)}
    )


def test_files_that_are_imported_from_the_same_folder_are_read_once_deep(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("MAX_LEN = 30\nimport other\n")
    (tmp_path / "other.py").write_text("text_len = 40\n")
    (tmp_path / "api.py").write_text("from config import MAX_LEN\nimport numpy\n")
    (said,) = list_hints_on_text_rules_in_code([tmp_path / "api.py"], longest=0)
    assert "config.py, line 1, says MAX_LEN=30" in said


def test_a_default_of_a_function_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("\n\ndef pad(\n    row,\n    max_len=30,\n): ...\n")
    (said,) = list_hints_on_text_rules_in_code([path], longest=9)
    assert "line 5, says max_len=30" in said


def test_names_of_lengths() -> None:
    names = ["max_len", "MAXLEN", "sequence_length", "max_sent_len", "pad_length", "max_tokens", "max_text_length"]
    assert all(map(is_name_of_text_length, names))
    assert not any(
        map(is_name_of_text_length, ["len", "tokens", "max", "hidden_length", "max_words", "min_len", "max_word_len"])
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("api.py").write_text(API)
    torch.save(make_net(API).state_dict(), "net.pt")
    Path("vocab.json").write_text(json.dumps(WORDS))
    return tmp_path


def export(*arguments: str) -> Result:
    given = ["--weights", "net.pt", "--vocabulary", "vocab.json", "--labels", "a,b,c", "--tokenizer", "api.py:split"]
    return CliRunner().invoke(main, ["export", "api.py:Net", *given, *arguments, "-o", "out", "--no-torchscript"])


@pytest.mark.slow
def test_the_last_lines_of_an_export_say_what_was_not_compared_and_what_the_file_says(folder: Path) -> None:
    result = export()
    assert result.exit_code == 0, result.output
    last = result.output[result.output.index("Text rules: ") :]
    for said in (
        "reads all tokens of a text",
        "Unknown words, not compared: dropped",
        "Padding, not compared: none",
    ):
        assert said in last
    for said in ("says max_len=7", "'[words.get(w, 0) for w in split(text)]'", "'torch.sigmoid(", "--multi-label"):
        assert said in last
    # Both at once, to copy; and beside what is given.
    assert """--rules '{"unknown_id": 0, "min_width": 7, "max_width": 7}'""" in last
    result = export("--rules", '{"first_id": 2}', "--force")
    assert """--rules '{"first_id": 2, "unknown_id": 0, "min_width": 7, "max_width": 7}'""" in result.stderr


@pytest.mark.slow
def test_python_is_told_the_same(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = importlib.util.spec_from_file_location("api_of_hints", folder / "api.py")
    assert spec is not None
    assert spec.loader is not None
    api = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = api
    spec.loader.exec_module(api)
    given: dict[str, Any] = {"labels": ["a", "b", "c"], "vocabulary": WORDS, "torchscript": False, "force": True}
    for rules, is_told in ((None, True), (TextRules("whitespace", unknown_id=0, min_width=7, max_width=7), False)):
        caplog.clear()
        export_in_python(api.Net(), "told", tokenizer=api.split, rules=rules, multi_label=not is_told, **given)
        (record,) = [one for one in caplog.records if one.name == LOGGER]
        for said in (
            "Unknown words, not compared: given" if rules else "Unknown words, not compared: dropped",
            "Long texts",
        ):
            assert said in record.getMessage()
        for said in ("says max_len=7", '"min_width": 7', "'torch.sigmoid(", "--multi-label"):
            assert (said in record.getMessage()) == is_told
    del sys.modules[spec.name]


@pytest.mark.slow
def test_unknown_words_in_texts_with_answers_are_compared(folder: Path) -> None:
    rules = {"unknown_id": 0, "min_width": 7, "max_width": 7}
    assert export("--rules", json.dumps(rules), "--multi-label").exit_code == 0
    for texts, is_named in ((["oil good film", "good x bad"], False), (["oil good film", "good bad"], True)):
        numbers = Classifier.load("out").predict_proba(texts)
        pairs = [{"text": text, "probabilities": row.tolist()} for text, row in zip(texts, numbers, strict=True)]
        Path("pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
        result = export("--rules", json.dumps(rules), "--multi-label", "--pairs", "pairs.jsonl", "--force")
        assert result.exit_code == 0, result.output
        assert ("Unknown words, not compared" in result.stderr) == is_named


@pytest.mark.slow
def test_widths_and_the_unknown_id_stand_beside_a_function_whose_code_gives_the_rest(folder: Path) -> None:
    rules = {"unknown_id": 0, "min_width": 7, "max_width": 7}
    result = export("--rules", json.dumps(rules), "--multi-label")
    assert result.exit_code == 0, result.output
    last = result.output[result.output.index("Text rules: ") :]
    assert "Long texts, not compared: the first 7" in last
    assert "says max_len" not in last
    assert "seems to give" not in last
    assert 'Classifier.load("out").predict_labels(texts, 0.5)' in result.stdout
    assert "--multi-label" not in last
    names: dict[str, object] = {}
    exec(API, names)  # noqa: S102 - above
    model = names["Net"]()  # type: ignore[operator]
    model.load_state_dict(torch.load("net.pt"))
    model.eval()
    for text in ("Oil good x film", "good " * 9 + "oil", "", "y"):
        with torch.no_grad():
            expected = names["ask"](model, WORDS, text)  # type: ignore[operator]
        assert Classifier.load("out").predict_proba([text])[0] == pytest.approx(expected[0].tolist(), abs=1e-5)


@pytest.mark.slow
def test_widths_beside_a_function_are_compared_with_the_ids_of_pairs(folder: Path) -> None:
    rules = {"unknown_id": 0, "min_width": 7, "max_width": 7}
    known: dict[str, int] = json.loads(Path("vocab.json").read_text())
    texts = ["Oil good x film", "good " * 9 + "oil", "film"]
    for last, code in ((0, 0), (1, 2)):
        rows = [[known.get(word, 0) for word in text.lower().split()] for text in texts]
        pairs = [{"text": t, "ids": [*(row + [0] * 7)[:6], row[-1] if last else (row + [0] * 7)[6]]}
                 for t, row in zip(texts, rows, strict=True)]  # fmt: skip
        Path("pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
        result = export("--rules", json.dumps(rules), "--multi-label", "--pairs", "pairs.jsonl", "--force")
        assert result.exit_code == code, result.output
        assert ("pipeline on 3 texts: the same ids" in result.output) == (code == 0)


@pytest.mark.slow
def test_pairs_that_are_longer_than_a_length_show_that_nothing_is_cut(folder: Path) -> None:
    texts = ["oil good film", "good bad " * 4, "film"]
    pairs = [{"text": text, "ids": [WORDS[word] for word in text.split()]} for text in texts]
    Path("pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    result = export("--pairs", "pairs.jsonl", "--multi-label")
    assert result.exit_code == 0, result.output
    assert "says max_len" not in result.stderr
    assert "Unknown words, not compared: dropped" in result.stderr
    Path("pairs.jsonl").write_text(json.dumps(pairs[0]) + "\n" + json.dumps(pairs[2]) + "\n")
    result = export("--pairs", "pairs.jsonl", "--multi-label", "--force")
    assert "says max_len=7" in result.stderr


@pytest.mark.parametrize(
    ("code", "side"),
    [
        ("ids = ids[:LENGTH] + [pad] * (LENGTH - len(ids))", "right"),
        ("ids = (ids + [0] * max_len)[:max_len]", "right"),
        ("ids += [pad] * missing", "right"),
        ("ids.extend([0] * (n - len(ids)))", "right"),
        ("while len(ids) < n: ids.append(0)", "right"),
        ("rows[i, :len(ids)] = ids", "right"),
        ("rows = pad_sequences(rows, n, padding='post')", "right"),
        ("ids = [0] * missing + ids", "left"),
        ("rows[i, -len(ids):] = np.array(ids)[:n]", "left"),
        ("rows = sequence.pad_sequences(rows, maxlen=n)", "left"),
        ("ids = ids[:LENGTH]; total = 3 * (LENGTH - len(ids)); zeros = [0] * 7", ""),
        ("rows[0] = ids[:n]; more = ids + [0] * 7; del rows[:len(ids)]; make([0] * n)", ""),
    ],
)
def test_code_that_pads_to_a_length_is_told_from_code_that_only_cuts(tmp_path: Path, code: str, side: str) -> None:
    (tmp_path / "a.py").write_text(code)
    assert find_settings_that_rules_lack([tmp_path / "a.py"], longest=0).pad_side == side


def test_a_length_that_was_saved_with_the_weights_comes_before_those_in_code(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"max_length": 60, "rate": 0.5, "seq_len": 12.5}')
    (tmp_path / "settings.yaml").write_text("max_len: 60\nseed: 42\n")
    (tmp_path / "a.py").write_text("max_len = 100\nmaxlen = 60\nids = [0] * missing + ids")
    saved = list_text_lengths_in_settings_beside(tmp_path / "best.pt", 0)
    assert [(one.name, one.value) for one in saved] == [("max_length", 60), ("max_len", 60)]
    found = find_settings_that_rules_lack([tmp_path / "a.py"], longest=0, lengths=saved)
    assert {one.value for one in found.lengths} == {60}
    assert '"pad_side": "left"' in " ".join(list_hints_on_text_rules_in_code([tmp_path / "a.py"], longest=0))
    assert list_text_lengths_in_settings_beside(tmp_path / "best.pt", None) == []


@pytest.mark.parametrize(
    ("code", "sides"),
    [
        ("ids = ids[:max_len] + [pad] * (max_len - len(ids))", ("right", "right")),
        ("ids = (ids + [0] * max_len)[:max_len]", ("right", "right")),
        ("ids += [pad] * (max_len - len(ids))", ("right", "right")),
        ("ids = [0] * (args.max_len - len(ids)) + ids[-args.max_len:]", ("left", "left")),
        ("ids = [0] * (max_len - len(ids)) + ids[:max_len]", ("left", "right")),
        ("ids = pad_sequences(ids, maxlen=9)", ("left", "left")),
        ("ids = pad_sequences(ids, maxlen=9, padding='post', truncating='post')", ("right", "right")),
        ("ids = ids[-max_len:]", ("", "left")),
        ("ids = ids[:LENGTH]; total = 3 * (LENGTH - len(ids)); zeros = [0] * 7", ("", "right")),
    ],
)
def test_the_sides_on_which_code_pads_and_cuts_are_found(tmp_path: Path, code: str, sides: tuple[str, str]) -> None:
    (tmp_path / "a.py").write_text(code)
    found = find_settings_that_rules_lack([tmp_path / "a.py"], longest=0)
    assert (found.pad_side, found.cut_side) == sides


@pytest.mark.slow
def test_the_next_line_pads_texts_where_the_owners_code_does(folder: Path) -> None:
    result = export()
    assert result.exit_code == 0, result.output
    last = shlex.split(result.stdout.splitlines()[-1])
    rules = json.loads(last[last.index("--rules") + 1])
    assert (rules["min_width"], rules["max_width"]) == (7, 7)
    assert "--max-tokens" not in last


@pytest.mark.slow
def test_the_next_line_is_the_corrected_export_and_answers_as_the_owner_does(folder: Path) -> None:
    Path("api.py").write_text(
        API.split("def ask")[0]
        + "max_len = 3\n\ndef pad(rows, length=3): ...\n\nids = [words.get(w, 0) for w in row]\n"
    )
    held = {"state_dict": torch.load("net.pt"), "config": {"max_length": 3}}
    torch.save(held, "net.pt")
    result = export()
    assert result.exit_code == 0, result.output
    notes = result.stderr.splitlines()
    assert "Long texts, not compared" not in result.stderr
    # Once, with all places.
    (at,) = [i for i, line in enumerate(notes) if "max_len" in line]
    assert "net.pt says max_length=3 and api.py, line " in notes[at]
    assert result.stderr.count("give --max-tokens 3") == 1
    assert result.stderr.count("changes by up to") <= 1
    # The notes come before the last line.
    last = result.stdout.splitlines()[-1]
    assert result.output.splitlines()[-1] == last
    assert last.startswith("Next: pocketrnn export api.py:Net ")
    again = CliRunner().invoke(main, shlex.split(last)[2:])
    assert again.exit_code == 0, again.output
    assert again.stdout.splitlines()[-1].startswith("Next: pocketrnn classify")
    assert Classifier.load("out").encode("oil x film good bad") == [1, 0, 2]


@pytest.mark.slow
def test_several_lengths_are_decided_by_pairs(folder: Path) -> None:
    Path("api.py").write_text(API + "\ntext_len = 40\n")
    result = export()
    assert result.exit_code == 0, result.output
    assert "--pairs FILE" in result.stdout.splitlines()[-1]


@pytest.mark.slow
def test_a_function_that_gives_ids_from_the_tokens_is_named(folder: Path) -> None:
    Path("api.py").write_text(
        API.split("def ask")[0]
        + "def encode(text, vocab, most=4):\n    return [vocab.get(w, 0) for w in split(text)[:most]]\n\n"
        "def count(texts):\n    return [len(split(text)) for text in texts]\n"
    )
    result = export()
    assert result.exit_code == 0, result.output
    assert "--tokenizer api.py:encode gives ids" in result.stderr
    last = result.stdout.splitlines()[-1]
    again = CliRunner().invoke(main, shlex.split(last)[2:])
    assert again.exit_code == 0, again.output
    assert Classifier.load("out").encode("oil x film good bad") == [1, 0, 2, 3]


@pytest.mark.slow
def test_a_sigmoid_of_one_number_is_not_taken_for_several_labels(folder: Path) -> None:
    code = API.replace("nn.Linear(dim, 3)", "nn.Linear(dim, 1)") + "\nloss = nn.BCEWithLogitsLoss()\n"
    Path("api.py").write_text(code)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - above
    torch.save(names["Net"]().state_dict(), "net.pt")
    result = export("--labels", "no,yes")
    assert result.exit_code == 0, result.output
    assert "--multi-label" not in result.stderr


@pytest.mark.parametrize(
    ("left_out", "facts"),
    [
        ([], {}),
        (["padding"], {"is_answered": True}),
        (["softmax"], {"one_number": True}),
        (["output"], {"gives_probabilities": False}),
        (["lengths"], {"rules": TextRules(max_tokens=3, unknown_id=1)}),
        (["splitting"], {"has_answers_beside": True}),
        (["first id"], {"rules": TextRules(unknown_id=0)}),
        (["padding", "words"], {"is_answered": True, "rules": TextRules("characters", unknown_id=1)}),
    ],
)
def test_notes_that_the_bundle_or_the_next_command_settles_are_left_out(
    left_out: list[str], facts: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with click.Context(click.Command("export")):
        for about in ABOUT:
            print_at_end_if_command_runs(f"on {about}: the bundle reads all tokens of a text", about)
        known = {
            "one_number": False,
            "gives_probabilities": True,
            "is_answered": False,
            "has_answers_beside": False,
            "rules": TextRules(unknown_id=1),
            **facts,
        }
        # A note on a length that code names says more than that no long text was compared.
        steps = ["Long texts, not compared: all tokens are read."] * ("lengths" not in left_out)
        print_uncompared_steps_and_kept_notes(steps, **known)
    told = [about for about in ABOUT if about not in left_out]
    assert capsys.readouterr().err.splitlines() == [
        f"on {about}: the bundle reads all tokens of a text" for about in told
    ]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("[vocab.get(one, 0) for one in text]", "encode_text.*characters.*split.*whitespace.*--pairs"),
        ("[vocab.get(one, 2) for one in text.split()]", "encode_text.*2.*0"),
        ("[vocab.get(one, 0) for one in text.split()]", ""),
    ],
)
def test_a_function_that_makes_other_ids_than_that_of_the_tokenizer_is_named_without_answers(
    lines: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.py").write_text(f"def encode_text(text, vocab):\n    return {lines}\n")
    Path("split.py").write_text("def split(text):\n    return text.split()\n")
    options = dict.fromkeys(
        ["rules", "weights", "vocabulary", "labels_of", "multi_label", "head", "max_tokens", "pairs"]
    )
    text = {
        "rules": TextRules("whitespace", lowercase=False, unknown_id=0),
        "vocabulary": ["<pad>", "oil", "film"],
        "example_ids": [],
    }
    named = parse_module_name("other.py:Net")
    log_owner_hints_and_list_corrections(named, {**options, "tokenizer": "split.py:split"}, text)
    told = [one for one in caplog.messages if "other ids" in one]
    assert len(told) == bool(said)
    assert re.search(said, "".join(told))
    assert "stop.txt" not in caplog.text


def test_a_file_of_stop_words_is_named_without_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("class Net:\n    def forward(self, ids): ...\nSTOP = 'stop.txt'\n")
    Path("stop.txt").write_text("the\nof\n")
    options = dict.fromkeys(
        ["rules", "weights", "vocabulary", "labels_of", "multi_label", "head", "max_tokens", "pairs", "tokenizer"]
    )
    text = {"rules": TextRules(), "vocabulary": ["<pad>", "oil"], "example_ids": []}
    named = parse_module_name("net.py:Net")
    for rules, told in ((None, True), ('{"tokenizer": "whitespace"}', False)):
        log_owner_hints_and_list_corrections(named, {**options, "rules": rules}, text)
        assert ("stop.txt seems to hold words that your code leaves out" in caplog.text) == told
        caplog.clear()
