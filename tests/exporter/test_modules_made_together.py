"""Answering code that makes several modules leaves open which of them is exported, and all of them are named."""

import re
from pathlib import Path

import click
import pytest
import torch
from torch import nn

from pocketrnn_export.commands.source_without_module_name import complete_source
from pocketrnn_export.option_corrections_error import OptionCorrectionsError

NET = """\
from torch import nn
class {name}(nn.Module):
    def __init__(self):
        super().__init__()
        self.{layer} = nn.GRU({width}, {width})
    def forward(self, rows):
        return self.{layer}(rows)[0]
"""
SERVE = """\
from nets.by_letter import ByLetter
from nets.by_word import ByWord

# def load_nets():
#     return ByLetter()

def load_nets():
    return Both(ByWord(), ByLetter())

def predict(text):
    return load_nets()(text)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("nets").mkdir()
    for name, layer, width in (("ByLetter", "letters", 3), ("ByWord", "words", 5)):
        file = Path("nets", re.sub(r"(?<=y)", "_", name, count=1).lower()).with_suffix(".py")
        file.write_text(NET.format(name=name, layer=layer, width=width))
        torch.save(nn.ModuleDict({layer: nn.GRU(width, width)}).state_dict(), f"{name}.pt")
    Path("serve.py").write_text(SERVE)
    return tmp_path


def complete(source: str, weights: str | None = None) -> str:
    with click.Context(click.Command("export")) as context:
        context.params = {"weights": None if weights is None else Path(weights), "source": source}
        return complete_source(source)


@pytest.mark.usefixtures("here")
def test_modules_that_are_made_together_are_all_named_and_the_one_made_most_often_first() -> None:
    with pytest.raises(OptionCorrectionsError, match="several modules") as refusal:
        complete(".")
    assert refusal.value.changes["source"] == f"{Path('nets/by_letter.py')}:ByLetter"
    assert f"{Path('nets/by_word.py')}:ByWord" in str(refusal.value)


@pytest.mark.usefixtures("here")
def test_given_weights_decide_between_modules_that_are_made_together() -> None:
    assert complete(".", "ByWord.pt") == f"{Path('nets/by_word.py')}:ByWord"


@pytest.mark.usefixtures("here")
def test_a_module_that_answering_code_makes_alone_is_taken() -> None:
    Path("serve.py").write_text(SERVE.replace("Both(ByWord(), ByLetter())", "ByWord()"))
    assert complete(".") == f"{Path('nets/by_word.py')}:ByWord"
