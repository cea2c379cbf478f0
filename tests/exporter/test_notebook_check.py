"""`--run-notebook`: the module that the slice makes answers as the one that the whole notebook makes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from notebook_maker import notebook

from pocketrnn.commands.cli import main
from pocketrnn.errors import InputError
from pocketrnn_export.intake.checks_of_module_made_again import refuse_other_answers_after_all_cells
from pocketrnn_export.intake.module_file import load_module
from pocketrnn_export.intake.module_name_with_arguments import parse_module_name

NET = """class Net(nn.Module):
    def __init__(self, words):
        super().__init__()
        self.embedding = nn.Embedding(words + config.get("more", 0), 3)
    def forward(self, tokens):
        found = self.embedding(tokens)
        return found.amax(1) if config["pool"] == "max" else found.mean(1)
"""
FIRST = "from pathlib import Path\nimport torch\nfrom torch import nn\nconfig = {'pool': 'mean'}"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(folder: Path, *cells: str, name: str = "Net(5)", seconds: float = 60) -> None:
    notebook(folder / "n.ipynb", [FIRST, NET, *cells])
    named = parse_module_name(f"n.ipynb:{name}")
    assert named is not None
    refuse_other_answers_after_all_cells(named, load_module(named), None, seconds)


def test_all_cells_are_run_apart_and_the_answers_are_the_same(folder: Path) -> None:
    training = (
        "model = Net(5)\nfor _ in range(3):\n    nn.init.normal_(model.embedding.weight)\nopen('ran', 'w').close()"
    )
    check(folder, f"%matplotlib inline\nfiles = !ls\n{training}")
    assert (folder / "ran").exists()
    check(folder, training, name="model")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("def tune():\n    config['pool'] = open('pool', 'w') and 'max'\ntune()", r"n\.ipynb:Net\b.*--set"),
        ("for _ in range(1):\n    missing()", r"cell 3 of n\.ipynb .*missing"),
        ("import os\nfor _ in range(1):\n    os._exit(0)", r"n\.ipynb ends the process"),
        ("def tune():\n    config['more'] = open('more', 'w').write('ab')\ntune()", r"n\.ipynb:Net\b.*state_dict"),
    ],
)  # fmt: skip
def test_what_the_whole_notebook_does_otherwise_is_refused(cell: str, said: str, folder: Path) -> None:
    with pytest.raises(InputError) as refused:
        check(folder, cell)
    assert re.search(said, str(refused.value))


def test_cells_that_take_too_long_are_ended(folder: Path) -> None:
    with pytest.raises(InputError, match=r"1 seconds.*--run-notebook"):
        check(folder, "import time\nfor _ in range(100):\n    time.sleep(1)", seconds=1)


def test_only_a_notebook_has_cells_to_run(folder: Path) -> None:
    (folder / "m.py").write_text(f"{FIRST}\n{NET}")
    (folder / "v.txt").write_text("<unk>\n<pad>\n")
    arguments = ["export", "m.py:Net(2)", "--run-notebook", "9", "--random-weights", "--vocabulary", "v.txt"]
    result = CliRunner().invoke(main, [*arguments, "--labels", "a,b,c", "-o", "b"])
    assert result.exit_code == 2
    assert "m.py" in result.output
    assert "--run-notebook" in result.output
