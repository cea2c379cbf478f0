"""`classify --tokenizer file.py:function` splits texts by the user's function."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pocketrnn import Classifier, classifier
from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
from pocketrnn.commands.cli import main
from pocketrnn.commands.tokenizer_function import find_tokenizer_function_beside_bundle, load_tokenizer_function
from pocketrnn.errors import InputError
from pocketrnn.text.encoder import TextEncoder
from pocketrnn.text.rules import TextRules
from pocketrnn.text.text_row_encoder import TextRowEncoder

SPLIT = """
from cleaning_beside import clean

def words(text):
    return clean(text).split()

def ids(text):
    return [3, 4]

number = 3

def end(text):
    exit()

def count(text):
    return len(text)

class Splitter:
    def words(self, text):
        return words(text)

splitter = Splitter()
"""


@pytest.fixture
def split(tmp_path: Path) -> Path:
    (tmp_path / "cleaning_beside.py").write_text("def clean(text):\n    return text.lower()\n")
    path = tmp_path / "split_texts.py"
    path.write_text(SPLIT)
    return path


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("words", ["stocks", "rise"]),
        ("ids", [3, 4]),
        ("Splitter.words", ["stocks", "rise"]),
        ("splitter.words", ["stocks", "rise"]),
    ],
)
def test_texts_are_split_by_the_function(name: str, given: list[str] | list[int], split: Path) -> None:
    command = ["classify", "-b", "ag_news", "--tokenizer", f"{split}:{name}", "Stocks RISE"]
    result = CliRunner().invoke(main, command, catch_exceptions=False)
    assert result.exit_code == 0
    answer = Classifier.load("ag_news").classify(given)
    assert result.stdout.startswith(f"{answer.label}\t{answer.probability:.4f}\tStocks RISE")


@pytest.mark.parametrize("library", ["tokenize", "wave"])
def test_a_file_that_is_named_like_a_library_does_not_hide_it(library: str, split: Path) -> None:
    named = split.rename(split.parent / f"{library}.py")
    assert load_tokenizer_function(f"{named}:words")("Stocks") == ["stocks"]
    assert not hasattr(importlib.import_module(library), "words")
    assert sys.path.index(str(split.parent)) == len(sys.path) - 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("words", "FILE.PY:FUNCTION"),
        ("nowhere.py:words", "nowhere.py"),
        ("split_texts.py:number", "number"),
        ("split_texts.py:absent", "absent"),
        ("broken.py:words", "KeyError"),
        ("split_texts.py:end", "line 13 of split_texts.py"),
        ("split_texts.py:count", "returns an int for 'Stocks'"),
    ],
)
def test_what_is_no_function_is_refused_by_name(
    given: str, said: str, split: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(split.parent)
    Path("broken.py").write_text("{}['x']")
    result = CliRunner().invoke(main, ["classify", "-b", "ag_news", "--tokenizer", given, "Stocks"])
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_name_that_is_not_complete_leads_to_the_function_of_a_written_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = Path("my_mine_words.py")
    written.write_text("def cut(text):\n    return text.split()\n\nwords = cut\n")
    assert find_tokenizer_function_beside_bundle(Path("my-mine.bundle")) == "my_mine_words.py:words"
    assert find_tokenizer_function_beside_bundle(Path("other")) == ""
    with pytest.raises(InputError, match=r"my_mine_words\.py:words"):
        load_tokenizer_function("my_mine_words.py")
    with pytest.raises(InputError, match=r"mean my_mine_words\.py"):
        load_tokenizer_function("words.py:words")


def test_texts_that_a_written_function_splits_are_refused_with_the_whole_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(find_or_download_bundle("ag_news"), "mine")
    monkeypatch.setattr(classifier, "can_split_texts", lambda _: False)
    Path("mine_words.py").write_text("def words(text):\n    return text.split()\n")
    result = CliRunner().invoke(main, ["classify", "-b", "mine", "a text"], catch_exceptions=False)
    assert result.exit_code == 2
    assert "--tokenizer mine_words.py:words" in result.stderr.splitlines()[-1]


def test_a_missing_bundle_is_told_before_a_missing_function(tmp_path: Path) -> None:
    command = ["classify", "-b", str(tmp_path / "none"), "--tokenizer", f"{tmp_path}/none.py:words", "a text"]
    result = CliRunner().invoke(main, command, catch_exceptions=False)
    assert result.exit_code == 2
    assert str(tmp_path / "none") in result.stderr
    assert "none.py" not in result.stderr


def test_a_misspelt_function_leads_to_those_of_the_file(split: Path) -> None:
    with pytest.raises(InputError, match="no function word") as refused:
        load_tokenizer_function(f"{split}:word")
    assert f"{split}:words?" in refused.value.remedy


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("STOP = open('stop.json').read()\ndef words(text):\n    return text.split()\n", "stop.json"),
        ("def words(text):\n    return open('data/stop.json').read().split()\n", "data/stop.json"),
        ("import cut_helpers\ndef words(text):\n    return text.split()\n", "cut_helpers.py"),
        (
            "def words(text):\n    try:\n        return open('stop.json').read().split()\n"
            "    except OSError:\n        raise ValueError('not set up')\n",
            "stop.json",
        ),
    ],
)
def test_a_file_that_was_not_copied_with_the_function_is_named(
    code: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cut.py").write_text(code)
    with pytest.raises(InputError) as refused:
        Classifier.load("ag_news", tokenizer=load_tokenizer_function("cut.py:words")).predict(["a text"])
    assert refused.value.remedy.startswith(f"Copy {Path(named).name} ")
    assert named in refused.value.remedy


def test_a_bundle_that_does_not_split_texts_names_the_files_of_the_function_of_its_export() -> None:
    encoder = TextEncoder(TextRules(tokenizer="external"), ["<unk>", "a"])
    rows = TextRowEncoder("mine", encoder, 2, files=["cut.py", "stop.json"])
    with pytest.raises(InputError, match=r"cut\.py and stop\.json"):
        rows.encode_text("a text")
