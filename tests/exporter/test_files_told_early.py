"""Files that are missing, labels and functions of the owner's code: all of them are told at once."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from pocketrnn.commands.cli import main
from pocketrnn.errors import InputError
from pocketrnn_export.commands import export as command
from pocketrnn_export.commands.proposed_options import read_labels

CODE = """
raise SystemExit("nothing of this is run")
LABELS = ["no", "other"]
LABELS: list[str] = ["bad", "good"]
INDICES = {"good": 1, "bad": 0}
NAMES = {1: "good", 0: "bad"}
MADE = sorted(set(LABELS))
GAPS = {"bad": 0, "good": 2}
TWICE = {"bad": 0, "good": 0}

def startup():
    global LATER
    LATER = ("bad", "good")

def words(text, stop): ...
def alone(text, stop=()): ...
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("api.py").write_text(CODE)
    cells = [{"cell_type": "code", "source": "LABELS = ['bad', 'good']"}]
    Path("api.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4}))
    Path("vocab.json").write_text('["<pad>", "oil"]')
    Path("net.pt").write_bytes(b"")
    return tmp_path


def export(*arguments: str) -> Result:
    usual = {"--weights": "net.pt", "--vocabulary": "vocab.json", "--labels": "bad,good"}
    given = [part for name, value in usual.items() if name not in arguments for part in (name, value)]
    return CliRunner().invoke(main, ["export", "api.py:Net", *given, *arguments, "-o", "out"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--labels", "lables.txt"), "lables.txt does not exist"),
        (("--labels", "other.py:LABELS"), "other.py is not a file"),
        (("--labels", "api.py:NOTHING"), "no line NOTHING ="),
        (("--labels", "api.py:MADE"), "MADE in api.py"),
        (("--weights", "nett.pt"), "nett.pt is not a file.*net.pt"),
        (("--texts", "texts.txt"), "texts.txt cannot be read"),
        (("--characters", "chars.json"), "chars.json cannot be read"),
        (("--tokenizer", "api.py:words"), r"api.py:words takes text, stop, but.*api.py:words\(stop=...\)"),
    ],
)
def test_what_is_missing_is_named(arguments: tuple[str, ...], said: str, folder: Path) -> None:
    result = export(*arguments)
    assert result.exit_code == 2, result.output
    assert re.search(said, result.stderr), result.stderr


def test_what_is_missing_is_told_beside_a_module_that_cannot_be_made(folder: Path) -> None:
    lines = export("--labels", "lables.txt").stderr.splitlines()
    at = lines.index("Error: There are 2 problems.")
    assert [line[:3] for line in lines[at + 1 : at + 3]] == ["(1)", "(2)"]


def test_a_module_below_the_named_folder_is_proposed(folder: Path) -> None:
    Path("app/net").mkdir(parents=True)
    Path("app/net/model.py").write_text("")
    for source in ("app/model.py", "app/model.py:Net", "nowhere/model.py"):
        said = CliRunner().invoke(main, ["export", source, "-o", "out"]).stderr
        assert "Did you mean app/net/model.py?" in said.replace(f"{folder}/", "")
    # It is not known which of several is meant.
    Path("app/other").mkdir()
    Path("app/other/model.py").write_text("")
    assert "Did you mean" not in CliRunner().invoke(main, ["export", "app/model.py", "-o", "out"]).stderr


def test_a_file_of_labels_is_no_vocabulary(folder: Path) -> None:
    Path("net.py").write_text(
        "from torch import nn\nFILE = 'words.json'\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.embedding = nn.Embedding(40, 2)\n        self.fc = nn.Linear(2, 2)\n"
        "    def forward(self, x):\n        return self.fc(self.embedding(x).mean(1))\n"
    )
    weights = {"embedding.weight": torch.zeros(40, 2), "fc.weight": torch.zeros(2, 2), "fc.bias": torch.zeros(2)}
    torch.save(weights, "net.pt")
    Path("words.json").write_text(json.dumps([f"w{i}" for i in range(40)]))
    Path("labels.json").write_text('["good", "bad"]')
    given = ["--weights", "net.pt", "--vocabulary", "labels.json", "--labels", "bad,good"]
    said = CliRunner().invoke(main, ["export", "net.py:Net", *given, "-o", "out"]).stderr
    assert "labels.json has only 2 words" in said
    assert "net.pt has 40 rows" in said
    assert "Write: pocketrnn export net.py:Net -o out --weights net.pt --vocabulary words.json" in said


@pytest.mark.parametrize("tokenizer", ["api.py:alone", 'api.py:words(stop=["the"])', "api.py:elsewhere"])
def test_a_function_of_a_text_alone_goes_on_to_pytorch(
    tokenizer: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> None:
        raise AssertionError("PyTorch is loaded")

    monkeypatch.setattr(command, "_load_pytorch", load)
    assert "PyTorch is loaded" in export("--tokenizer", tokenizer).stderr


@pytest.mark.parametrize("name", ["LABELS", "INDICES", "NAMES", "LATER"])
def test_labels_are_read_out_of_code(name: str, folder: Path) -> None:
    assert read_labels(f"api.py:{name}") == ["bad", "good"]


def test_labels_are_read_out_of_a_notebook_and_as_before(folder: Path) -> None:
    assert read_labels("api.ipynb:LABELS") == ["bad", "good"]
    assert read_labels("a.py:b,c") == ["a.py:b", "c"]
    for name in ("GAPS", "TWICE"):
        with pytest.raises(InputError, match=rf"{name} in api"):
            read_labels(f"api.py:{name}")
