"""The function that answers a raw text is taken for the tokenizer, also if the module looks up the tokens itself."""

import ast
from pathlib import Path
from typing import Any

import pytest

from pocketrnn_export.commands.proposed_options import propose_tokenizer_function
from pocketrnn_export.source_code.splitting_part_of_function import write_tokenizer_of_function

NET = """\
import pickle
import torch
from torch import nn

class Speller(nn.Module):
    def __init__(self):
        super().__init__()
        self.letters = pickle.load(open("letters.pkl", "rb"))
        self.rnn = nn.GRU(9, 9)

    def forward(self, words):
        ids = []
        for one in words:
            for letter in one:
                ids.append(self.letters.get(letter, 0))
        return self.rnn(torch.eye(9)[ids])[0].sum(0)
"""
ANSWER = """\
from nets.speller import Speller

NAMES = ["ham", "spam"]
model = Speller()

def drop_short(words):
    return [one for one in words if len(one) > 2]

def judge(message):
    kept = drop_short(message.upper().split())
    if not kept:
        return "ham"
    logits = model(kept)
    label = NAMES[logits.softmax(-1).argmax().item()]
    return label
"""
TRAIN = """\
import ast
from nets.speller import Speller

def tokenize(cell):
    return ast.literal_eval(cell)

def run(rows):
    for row in rows:
        loss = Speller()(tokenize(row)).sum()
        loss.backward()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for folder in ("nets", "site"):
        Path(folder).mkdir()
    Path("nets/speller.py").write_text(NET)
    Path("nets/learn.py").write_text(TRAIN)
    Path("site/answer.py").write_text(ANSWER)
    return tmp_path


@pytest.mark.usefixtures("here")
def test_the_tokens_of_an_answering_function_are_those_that_forward_looks_up() -> None:
    written = write_tokenizer_of_function(Path("site/answer.py"), "judge", module_file=Path("nets/speller.py"))
    assert written is not None
    names: dict[str, Any] = {}
    exec(compile(ast.parse(written.code), "words.py", "exec"), names)  # noqa: S102
    assert names["words"]("to buy two") == [*"BUYTWO"]
    assert written.unknown is not None
    assert written.unknown[0] == 0


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("is_followed", [True, False])
def test_code_that_answers_texts_is_nearer_than_code_that_trains(*, is_followed: bool) -> None:
    if not is_followed:
        Path("site/answer.py").write_text(ANSWER.replace("model(kept)", "run_all(model, kept)"))
    found = propose_tokenizer_function(Path("nets/speller.py"))
    assert found is not None
    assert found.option == f"{Path('site/answer.py')}:judge"


@pytest.mark.usefixtures("here")
def test_a_function_beside_the_answering_code_that_splits_texts_stays_the_first() -> None:
    Path("nets/learn.py").unlink()
    Path("site/answer.py").write_text(ANSWER.replace("model(kept)", "run_all(model, kept)"))
    Path("site/cut.py").write_text("def tokenize(text):\n    return text.split()\n")
    found = propose_tokenizer_function(Path("nets/speller.py"))
    assert found is not None
    assert found.option == f"{Path('site/cut.py')}:tokenize"
