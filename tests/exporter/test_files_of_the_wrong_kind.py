"""A line to copy never repeats a file, labels or a name that its message refuses, if the right one is known."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from pocketrnn.commands.cli import main
from pocketrnn_export.commands.proposed_options import make_placeholder_labels

pytestmark = pytest.mark.usefixtures("scant_proofs")
CODE = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(25, 4)
        self.gru = nn.GRU(4, 4, batch_first=True)
        self.fc = nn.Linear(4, 2)
    def forward(self, x):
        return self.fc(self.gru(self.embedding(x))[0][:, -1])
class Texts:
    def encode(self, text):
        return text.split()
def load():
    return torch.load("net.pt"), open("words.txt")
"""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(25, 4)
        self.gru = nn.GRU(4, 4, batch_first=True)
        self.fc = nn.Linear(4, 2)


STATE = Net().state_dict()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module with its weights, vocabulary and answers, and a file of other texts."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(CODE)
    torch.save(STATE, "net.pt")
    Path("words.txt").write_text("".join(f"w{number}\n" for number in range(25)))
    Path("answers.csv").write_text("text,label\nw1 w2,bad\nw3,good\n")
    Path("other.yml").write_text('["w1 w2: a", "w3"]\n')
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("option", "given", "right"),
    [
        ("--weights", "other.yml", "net.pt"),
        ("--weights", "wrong/net.pt", "net.pt"),
        ("--weights", "words.txt", "net.pt"),
        ("--vocabulary", "net.pt", "words.txt"),
        ("--vocabulary", "wrong/words.txt", "words.txt"),
        ("--pairs", "other.yml", "answers.csv"),
        ("--pairs", "net.pt", "answers.csv"),
        ("--pairs", "wrong/answers.csv", "answers.csv"),
        ("--labels", "neg,pos", "bad,good"),
        ("--labels", "a,b,c", "bad,good"),
    ],
)
def test_the_right_file_takes_the_place_of_a_refused_one(option: str, given: str, right: str) -> None:
    options = {"--weights": "net.pt", "--vocabulary": "words.txt", "--labels": "bad,good", "--pairs": "answers.csv"}
    line = [word for pair in {**options, option: given}.items() for word in pair]
    result = CliRunner().invoke(main, ["export", "net.py:Net", *line])
    assert result.exit_code == 2
    written = shlex.split(result.output.partition("Write: ")[2].splitlines()[0])
    assert written[written.index(option) + 1] == right


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_labels_are_as_many_as_the_outputs_if_their_number_is_known() -> None:
    Path("answers.csv").unlink()
    options = ["--weights", "net.pt", "--vocabulary", "words.txt"]
    result = CliRunner().invoke(main, ["export", "net.py:Net", *options])
    assert re.search(r"--labels LABEL0,LABEL1\s", result.output.partition("Write: ")[2])
    result = CliRunner().invoke(main, ["export", "net.py:Net", *options, "--labels", "a,b,c"])
    assert result.exit_code == 1
    assert re.search(r"--labels LABEL0,LABEL1\s", result.output.partition("Write: ")[2])
    # A copy of them is no answer.
    result = CliRunner().invoke(main, ["export", "net.py:Net", *options, "--labels", make_placeholder_labels(2)])
    assert result.exit_code == 2
    assert "LABEL0,LABEL1 stands in place" in result.output


@pytest.mark.usefixtures("folder")
def test_a_method_is_named_with_its_class() -> None:
    options = ["--weights", "net.pt", "--vocabulary", "words.txt", "--labels", "bad,good", "--tokenizer"]
    assert "Texts.encode?" in CliRunner().invoke(main, ["export", "net.py:Net", *options, "net.py:encode"]).output
