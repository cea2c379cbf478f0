"""`notebook.ipynb:name`: what defines the name is run, and nothing else."""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from notebook_maker import CELLS, cell, notebook, notebook_3

from pocketrnn import Classifier
from pocketrnn.commands.cli import main
from pocketrnn.errors import ExportError, InputError
from pocketrnn_export.intake.checks_of_module_made_again import refuse_random_construction
from pocketrnn_export.intake.module_file import load_module
from pocketrnn_export.intake.module_name_with_arguments import ModuleName, parse_module_name
from pocketrnn_export.source_code.needed_code import find_needed_statements
from pocketrnn_export.source_code.notebook import Cell, read_notebook, read_python_cells


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def named(given: str, *values: str) -> ModuleName:
    found = parse_module_name(given, values)
    assert found is not None
    return found


@pytest.mark.parametrize("write", [notebook, notebook_3])
def test_only_what_the_class_needs_is_run_and_that_is_told(
    write: Callable[[Path], Path], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = write(folder / "notebook.ipynb")
    module = load_module(named("notebook.ipynb:Classifier(9, classes=3)"))
    assert module(torch.zeros(2, 5, dtype=torch.int64)).shape == (2, 3)
    assert list(folder.iterdir()) == [path]
    assert "of notebook.ipynb that Classifier needs" in caplog.text
    assert "cell 1: from torch import nn; cell 3: DIM = 4; cell 4: def head; cell 5: " in caplog.text


def test_an_instance_and_a_function_are_found_in_a_notebook(folder: Path) -> None:
    notebook(folder / "notebook.ipynb")
    assert load_module(named("notebook.ipynb:small")).embedding.num_embeddings == 9  # type: ignore[union-attr]
    assert not (folder / "ran").exists()
    assert load_module(named("notebook.ipynb:build(7)")).embedding.num_embeddings == 7  # type: ignore[union-attr]


# In the fast suite, its parts are tested: the module and its notes above, the weights in test_saved_weights.py, the
# vocabulary and labels in test_vocabulary.py and test_labels.py, the command with a module's file in
# test_owners_pipeline.py.
@pytest.mark.slow
def test_a_notebook_becomes_a_bundle_in_one_command(folder: Path) -> None:
    notebook(folder / "notebook.ipynb")
    (folder / "vocab.json").write_text('{"word2idx": {"<unk>": 0, "<pad>": 1, "oil": 2, "gas": 3}}')
    (folder / "labels.json").write_text('{"no": 0, "yes": 1}')
    module = load_module(named("notebook.ipynb:Classifier(4)"))
    torch.save({"state_dict": {f"model.{name}": value for name, value in module.state_dict().items()}}, "w.ckpt")
    arguments = ["export", "notebook.ipynb:Classifier(4)", "--weights", "w.ckpt", "--vocabulary", "vocab.json",
                 "--labels", "labels.json", "-o", "b", "--no-torchscript"]  # fmt: skip
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert re.search(r"Classifier needs is run \(.*\): cell 1:", result.stderr)
    assert "the prefix model. is removed" in result.stderr
    assert "basic_english is used" in result.stderr
    with torch.no_grad():
        expected = module.eval()(torch.tensor([[2, 3, 0]])).numpy()
    bundle = Classifier.load(folder / "b")
    assert bundle.labels == ("no", "yes")
    assert abs(bundle.logits(["Oil gas rises"]) - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model", ("model needs LAYERS, which cell 3 makes by `LAYERS = len(train_data)`", "that statement calls pd",
                   "--set LAYERS=VALUE")),
        ("train_data", ("train_data is the object that cell 3 makes by", "calls pd.read_csv",
                        "Name a class with its arguments")),
        ("loss", ("cell 8 makes by `for epoch in range(10):`", "it loops")),
        ("moved", ("moved needs LAYERS, which cell 3 makes by",)),
        ("clasifier", ("defines no clasifier", "Did you mean Classifier?", "It defines: Classifier, head, build, ")),
        ("DIM", ("DIM in notebook.ipynb raises TypeError",)),
        ("head", ("head(dim, classes) in notebook.ipynb needs dim and classes, but",
                  "'notebook.ipynb:head(dim=..., classes=...)'")),
    ],
)  # fmt: skip
def test_what_is_not_run_is_named_with_its_cell_and_what_to_do(name: str, said: tuple[str, ...], folder: Path) -> None:
    path = notebook(folder / "notebook.ipynb")
    with pytest.raises((InputError, ExportError)) as caught:
        load_module(named(f"notebook.ipynb:{name}"))
    assert all(words in str(caught.value) for words in said), caught.value
    assert list(folder.iterdir()) == [path]


def test_what_training_does_to_the_module_that_is_asked_for_is_not_needed(folder: Path) -> None:
    training = "for i in range(3):\n    model.learn(open('x'))\nmodel.fit('x')\nmodel.fc.weight.copy_(3)"
    notebook(folder / "n.ipynb", ["from torch import nn\nmodel = nn.Linear(1, 1)\nmodel.found = 3", training])
    assert load_module(named("n.ipynb:model")).found == 3


def test_a_script_does_not_begin_to_train(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    script = (
        "from torch import nn\nsize = 3\nNet = lambda: nn.Linear(size, 1)\nfor i in range(3):\n    open('x', 'w')\n"
    )
    (folder / "train.py").write_text(script)
    assert load_module(named("train.py:Net")).weight.shape == (1, 3)
    assert not (folder / "x").exists()
    assert "line 1: from torch import nn; line 2: size = 3; line 3: Net = lambda" in caplog.text


def test_a_value_that_is_given_stands_in_for_its_statement(folder: Path) -> None:
    notebook(folder / "notebook.ipynb")
    assert load_module(named("notebook.ipynb:model", "LAYERS=12")).embedding.num_embeddings == 12  # type: ignore[union-attr]
    assert load_module(named("notebook.ipynb:model", "LAYERS=torch.ones(3).numel()")).embedding.num_embeddings == 3  # type: ignore[union-attr]
    for wrong in ("LAYERS", "=3", "LAYERS=[x for x in y]", "1x=3", "LAYERS="):
        with pytest.raises(InputError, match="--set vocab_size=8000"):
            named("notebook.ipynb:model", wrong)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        # The value that stands before the use, as the owner ran it; for what runs later, the last.
        (["size = 3", "def made(n=size):\n    return n, size", "size = 5"], (3, 5)),
        (["size = 3\nsize += 4", "def made():\n    return size"], 7),
        (["class Config:\n    size = 3", "Config.size = 8", "def made():\n    return Config.size"], 8),
        (["sizes = {}\nsizes['a'] = 2\nsizes.update(b=3)", "def made():\n    return sizes"], {"a": 2, "b": 3}),
        (["sizes = [4]\nsizes.append(2)\nsizes.sort()", "def made():\n    return sizes"], [2, 4]),
        (
            [
                "def register(f):\n    return f\nclass R:\n    pass\nR.add = staticmethod(lambda n: register)",
                "@R.add('x')\ndef made():\n    return 3",
            ],
            3,
        ),
        (
            ["try:\n    import not_there\nexcept ImportError:\n    not_there = 4", "def made():\n    return not_there"],
            4,
        ),
        (["if __name__ == '__main__':\n    open('x')\n    size = 3", "def made(size=2):\n    return size"], 2),
        (["from math import *", "def made():\n    return floor(2.5)"], 2),
        (["import os.path\nimport os", "def made():\n    return os.path.join('a', 'b')"], "a/b"),
        (["def made():\n    return twice(3)", "def twice(n):\n    return 2 * n"], 6),
        (["a = twice(3)\ndef made():\n    return a", "def twice(n):\n    return 2 * n"], 6),
        (
            ["x = [i for i in range(3)]", "for i in open('x'): pass", "def made():\n    return [i for i in x]"],
            [0, 1, 2],
        ),
        (["@staticmethod\ndef made(): return 3\nmade = made.__func__"], 3),
        (["text = '''\n%matplotlib\n!ls'''\ndef made():\n    return text.split()"], ["%matplotlib", "!ls"]),
        (["n = 3\nn?\nfiles = !ls\nif n:\n    %time\ndef made():\n    return n"], 3),
        (["def made() -> Undefined:\n    return 3", "from __future__ import annotations"], 3),
    ],
)
def test_names_have_the_values_that_the_notebook_gave_them(sources: list[str], expected: Any, folder: Path) -> None:
    sources = [
        *sources,
        "from torch import nn\ndef build():\n    m = nn.Linear(1, 1)\n    m.found = made()\n    return m",
    ]
    notebook(folder / "n.ipynb", sources)
    assert load_module(named("n.ipynb:build")).found == expected


@pytest.mark.parametrize(
    "source",
    [
        "size = open('x').read()",
        "size = len(open('x').read())",
        "import pathlib\nsize = pathlib.Path('x').read_text()",
        "import torch\nsize = torch.load('x')",
        "from torch import load\nsize = load('x')",
        "import numpy as np\nsize = np.loadtxt('x')",
        "import torch\nsize = torch.hub.load('a', 'b')",
        "def read():\n    return open('x')\nsize = read()",
        "def read():\n    return open('x')\ndef around():\n    return read()\nsize = around()",
        "class Data:\n    def __init__(self):\n        self.x = open('x')\nsize = Data()",
        "import urllib.request\nsize = urllib.request.urlopen('x')",
        "import nltk\nsize = nltk.download('x')",
        "import argparse\nsize = argparse.ArgumentParser().parse_args()",
        "with open('x') as f:\n    size = f",
        "if True:\n    size = eval('3')",
        "size = [open(x) for x in 'ab']",
        "size = (lambda: 3)()\nsize = __import__('os').system('touch x')",
        "data = {}\ndata['x'] = open('x')\nsize = data",
        "while True:\n    size = 3\n    break",
        "size = {}\nfor word in open('x'):\n    size[word] = len(size)",
        "size = []\nwith open('x') as f:\n    size.extend(f)",
        pytest.param("size = []\nfor i in range(3):\n    if i:\n        size += [i]", marks=pytest.mark.slow),
        "size = []\nsize.extend(open('x'))",
        "class V:\n    n = 0\nsize = V()\nsize.build(open('x'))",
        "class V:\n    n = 0\nsize = V()\nsize.build_vocab('x')",
    ],
)
def test_a_statement_that_may_read_or_train_is_refused_and_not_run(source: str, folder: Path) -> None:
    path = notebook(folder / "n.ipynb", [source, "def build():\n    return size"])
    with pytest.raises(InputError, match=r"build.*size"):
        load_module(named("n.ipynb:build"))
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "no cells of code"),
        ("3", "no cells of code"),
        ("{}", "no cells of code"),
        ('{"cells": 3}', "no cells of code"),
        ('{"cells": [3, {"cell_type": "code"}, {"cell_type": "markdown"}]}', "defines no Net"),
        ('{"worksheets": [3, {"cells": [{"cell_type": "code", "input": {"a": 1}}]}]}', "defines no Net"),
        (json.dumps({"cells": [cell("class Net(")]}), "not Python 3 are not read: cell 1."),
        (json.dumps({"cells": [cell("class Net:\n    print 'Python 2'")]}), "not Python 3 are not read: cell 1."),
        (json.dumps({"cells": [cell("%%")]}), "defines no Net"),
        (json.dumps({"cells": [cell("Net = " + "(" * 5000 + ")" * 5000)]}), "not Python 3"),
        (json.dumps({"cells": [cell("Net\0 = 3")]}), "not Python 3"),
        (json.dumps({"cells": [cell("def Net(n, n): pass")]}), "not Python 3"),
        (json.dumps({"cells": [cell("x <- 3")], "metadata": {"kernelspec": {"language": "R"}}}), "in the language 'R'"),
        ('{"cells": [], "metadata": {"x": NaN}}', "no cells of code"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_what_is_no_notebook_is_refused_in_a_sentence(content: str | bytes, said: str, folder: Path) -> None:
    (folder / "n.ipynb").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        load_module(named("n.ipynb:Net"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cell_is_named_by_its_place_among_all_cells_and_by_the_number_that_jupyter_shows(folder: Path) -> None:
    text = {"cell_type": "markdown", "metadata": {}, "source": "# a title"}
    cells = [text, cell("a = 1", execution_count=7), text, cell("b = 2"), cell("print 'Python 2'", execution_count=9)]
    document = {"nbformat": 4, "metadata": {}, "cells": cells}
    (folder / "n.ipynb").write_text(json.dumps(document))
    (folder / "old.ipynb").write_text(
        json.dumps({"nbformat": 3, "worksheets": [{"cells": cells[:2]}, {"cells": cells}]})
    )
    first, second = read_python_cells(folder / "n.ipynb")
    assert first.describe_place(Path("n.ipynb"), first.statements[0]) == "n.ipynb, cell 2 [7], line 1"
    assert (second.name, read_notebook(folder / "n.ipynb")[1]) == ("cell 4", ["cell 5 [9]"])
    assert [one.name for one in read_python_cells(folder / "old.ipynb")] == ["cell 2 [7]", "cell 4 [7]", "cell 6"]


PASSED_ON = """
df = read('a.csv')
df['text'] = df['text'].apply(clean)
FIELD = Field(tokenize=clean)
FIELD.build(df)
for row in df:
    FIELD.read(row)
df.plot().show()
"""


@pytest.mark.parametrize(
    ("clean", "later", "is_noted"),
    [
        ("def clean(text):\n    return text.lower()", "", False),
        ("def clean(text, most=3):\n    return [word for word in text.split() if word in STOP][:most]", "", False),
        ("def clean(text, seen=[]):\n    seen.append(text)\n    return seen", "", True),
        ("@keep\ndef clean(text):\n    return text.lower()", "", True),
        ("def clean(text):\n    return text[:clean.most]", "other = clean\nread(other).most = 3", True),
        ("def clean(text):\n    return text.lower()", "for one in FIELD:\n    one.__code__ = None", True),
    ],
)
def test_what_a_function_is_given_to_is_noted_only_if_the_function_can_be_changed_there(
    clean: str, later: str, is_noted: bool
) -> None:
    sources = [f"STOP = ['a']\ndef keep(f):\n    return f\n{clean}", PASSED_ON, later]
    cells = [
        Cell(f"cell {number}", "n.ipynb", source, tuple(ast.parse(source).body))
        for number, source in enumerate(sources, 1)
    ]
    notes = find_needed_statements(cells, ["clean"], "n.ipynb", set()).notes
    assert bool(notes) == is_noted


@pytest.mark.slow
def test_a_long_chain_of_names_is_refused_or_read_and_never_kills(folder: Path) -> None:
    chain = "a0 = 1\n" + "".join(f"a{i} = a{i - 1}\n" for i in range(1, 1500))
    notebook(folder / "n.ipynb", [chain, "def build():\n    return a1499"])
    with pytest.raises(InputError):
        load_module(named("n.ipynb:build"))


def test_a_line_of_spaces_takes_no_time(folder: Path) -> None:
    notebook(folder / "n.ipynb", ["x = (\n" + " " * 200_000 + "\n" + "a " * 100_000])
    assert read_notebook(folder / "n.ipynb") == ([], ["cell 1"])


@pytest.mark.parametrize("call", ["type(", "getattr(", "size.get(", "zip(", "size" + ".get(3)" * 60 + ".get("])
def test_nested_calls_take_no_time(folder: Path, call: str) -> None:
    notebook(folder / "n.ipynb", [f"size = {{}}\nother = {call * 40}size{')' * 40}", "def build():\n    return size"])
    with pytest.raises(InputError):
        load_module(named("n.ipynb:build"))


def test_what_a_needed_statement_raises_names_its_cell(folder: Path) -> None:
    notebook(folder / "n.ipynb", ["import not_installed", "size = 1 / 0", "def build():\n    return not_installed",
                                  "def other():\n    return size"])  # fmt: skip
    with pytest.raises(ExportError, match=r"cell 1 .*n\.ipynb.*`import not_installed`.*ModuleNotFound"):
        load_module(named("n.ipynb:build"))
    with pytest.raises(ExportError, match=r"cell 2 .*n\.ipynb.*`size = 1 / 0`.*ZeroDivisionError"):
        load_module(named("n.ipynb:other"))


def test_a_traceback_shows_the_line_of_the_cell(folder: Path) -> None:
    notebook(folder / "n.ipynb", ["def helper():\n    raise RuntimeError('here')", "def build():\n    return helper()"])
    with pytest.raises(ExportError) as caught:
        load_module(named("n.ipynb:build"))
    cause = caught.value.__cause__
    assert cause is not None
    last = traceback.extract_tb(cause.__traceback__)[-1]
    assert (last.filename, last.lineno, last.line) == ("n.ipynb, cell 1", 2, "raise RuntimeError('here')")


def test_a_python_file_that_cannot_be_imported_is_read_as_a_notebook_is(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "script.py").write_text(
        "\n".join(source for source in CELLS[2:6] if "%%" not in source) + "\nimport x_y_z\n"
    )
    (folder / "whole.py").write_text(f"import torchtext_is_not_here\nfrom torch import nn\nDIM = 4\n{CELLS[3]}\n"
                                     + CELLS[4].removeprefix("%%time\n"))  # fmt: skip
    module = load_module(named("whole.py:Classifier(9)"))
    assert module(torch.zeros(2, 5, dtype=torch.int64)).shape == (2, 2)
    assert "whole.py cannot be imported; it raises ModuleNotFoundError" in caplog.text
    with pytest.raises(ExportError, match="cannot be imported"):
        load_module(named("script.py:Nothing"))


@pytest.mark.parametrize("code", ["import words_kit as kit\nnlp = kit.load('en')", "from words_kit import nlp"])
def test_a_missing_library_that_makes_what_a_tokenizer_needs_is_the_error(folder: Path, code: str) -> None:
    (folder / "split.py").write_text(f"{code}\ndef words(text):\n    return [one for one in nlp(text)]\n")
    with pytest.raises(ExportError, match=r"words_kit.*PYTHONPATH"):
        load_module(named("split.py:words"))


def test_a_relative_import_above_a_folder_that_is_no_name_is_refused_with_the_way_around_it(folder: Path) -> None:
    (folder / "my-kit").mkdir()
    (folder / "my-kit" / "parts.py").write_text("from torch import nn\n")
    (folder / "my-kit" / "model.py").write_text("from .parts import nn\ndef build():\n    return nn.Linear(1, 1)\n")
    with pytest.raises(ExportError, match=r"`from \.parts import nn`.*import build`"):
        load_module(named("my-kit/model.py:build"))


def test_random_weights_are_told_from_trained_ones(folder: Path) -> None:
    (folder / "model.py").write_text(
        "import torch\nfrom torch import nn\ntorch.manual_seed(3)\n"
        "def drawn():\n    torch.manual_seed(4)\n    return nn.Linear(3, 2)\n"
        "def loaded():\n    m = nn.Linear(3, 2)\n    m.load_state_dict(torch.load('w.pt'))\n    return m\n"
        "def half():\n    m = nn.ModuleList([loaded(), nn.Linear(1, 1)])\n    return m\n"
        "ready = nn.Linear(3, 2)\n"
    )
    torch.save(torch.nn.Linear(3, 2).state_dict(), "w.pt")
    before, seeds = torch.random.get_rng_state(), torch.manual_seed
    trained = named("model.py:loaded")
    refuse_random_construction(trained, load_module(trained))
    for name in ("drawn", "half", "ready"):
        random = named(f"model.py:{name}")
        with pytest.raises(InputError, match="--random-weights"):
            refuse_random_construction(random, load_module(random))
    assert torch.manual_seed is seeds
    torch.random.set_rng_state(before)


def test_a_file_that_parses_its_command_line_finds_its_defaults(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "model.py").write_text(
        "import argparse\nfrom torch import nn\nparser = argparse.ArgumentParser()\n"
        "parser.add_argument('--max-tokens', type=int, default=3)\nargs, _ = parser.parse_known_args()\n"
        "def made():\n    return nn.Linear(args.max_tokens, 2)\n"
    )
    given = ["pocketrnn", "export", "model.py:made", "--max-tokens", "40"]
    monkeypatch.setattr("sys.argv", given)
    assert load_module(named("model.py:made")).weight.shape == (2, 3)
    assert sys.argv is given


def test_what_a_file_does_to_other_modules_is_done_once(folder: Path) -> None:
    (folder / "model.py").write_text(
        "import os, torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"
        "own = F.relu\nF.relu = lambda x: own(x) * 2\n"
        "os.environ['OF_THE_MODEL'] = os.environ.get('OF_THE_MODEL', '') + 'a'\n"
        "def loaded():\n    m = nn.Linear(3, 2)\n    m.load_state_dict(torch.load('w.pt'))\n    return m\n"
    )
    torch.save(torch.nn.Linear(3, 2).state_dict(), "w.pt")
    own = torch.nn.functional.relu
    try:
        refuse_random_construction(named("model.py:loaded"), load_module(named("model.py:loaded")))
        assert torch.nn.functional.relu(torch.ones(1)).item() == 2
        assert os.environ["OF_THE_MODEL"] == "a"
    finally:
        torch.nn.functional.relu = own
        os.environ.pop("OF_THE_MODEL", None)


@pytest.mark.parametrize(
    ("line", "said"),
    [("os._exit(3)", "ends the process"), ("raise OSError('busy')", "OSError: busy")],
)
def test_a_file_that_cannot_be_run_twice_is_refused_in_a_sentence(folder: Path, line: str, said: str) -> None:
    (folder / "model.py").write_text(
        f"import os, torch\ndef made():\n    if os.path.exists('once'):\n        {line}\n"
        "    open('once', 'w').close()\n    return torch.nn.Linear(3, 2)\n"
    )
    with pytest.raises(InputError, match=said):
        refuse_random_construction(named("model.py:made"), load_module(named("model.py:made")))


def test_a_wrong_file_is_said_before_what_the_right_one_lacks(folder: Path) -> None:
    notebook(folder / "notebook.ipynb")
    result = CliRunner().invoke(main, ["export", "notebok.ipynb:Model", "-o", "b"])
    assert result.exit_code == 2
    assert "\n(1) notebok.ipynb is not a file. Did you mean notebook.ipynb?\n(2) " in result.stderr
    result = CliRunner().invoke(main, ["export", "notebok.py:Model", "-o", "b"])
    assert "\n(1) notebok.py is not a file. " in result.stderr


def test_arguments_may_name_and_call_what_the_file_defines(folder: Path) -> None:
    sources = ["from torch import nn", "class Config:\n    def __init__(self, n):\n        self.n = n", "big = {}"]
    sources.append("def build(config, sizes=()):\n    return nn.Linear(config.n, *sizes)")
    notebook(folder / "n.ipynb", sources)
    module = load_module(named("n.ipynb:build(Config(3), sizes=[2])"))
    assert module.weight.shape == (2, 3)
    for wrong in ("build(Nothing(3))", "build(Config.nothing)", "build(Config())"):
        with pytest.raises(InputError):
            load_module(named(f"n.ipynb:{wrong}"))
    for wrong in ("build(lambda: 3)", "build([x for x in y])", "build(1 if 2 else 3)", "build(*big)",
                  "build(Config(**big))", "build({**big})", "build(x := 3)", "build(f'{big}')"):  # fmt: skip
        with pytest.raises(InputError, match=f"{re.escape(wrong.removeprefix('build'))} .*plain values"):
            named(f"n.ipynb:{wrong}")


def test_hooks_and_attributes_that_are_set_from_outside_are_run_too(folder: Path) -> None:
    (folder / "changed.py").write_text(
        """
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
    def forward(self, x):
        return self.fc(x)

model = Net()
model.fc.register_forward_hook(lambda *_: None)
setattr(Net, "scale", 2)
print(model)
model.to("cpu")
for epoch in range(3):
    raise SystemExit
"""
    )
    module = load_module(named("changed.py:model"))
    assert module.scale == 2
    assert len(module.fc._forward_hooks) == 1  # type: ignore[union-attr, arg-type]


def test_what_is_not_run_is_told_after_the_error_and_in_short(folder: Path) -> None:
    names = ("one", "two", "three", "four")
    cells = [
        "import torch\nfrom torch import nn\n" + "\n".join(f"{name} = {{'size': 3}}" for name in names),
        *(
            f"def fill_{name}():\n    for i in open('x'):\n        {name}.update(size=int(i))\nfill_{name}()"
            for name in names
        ),
        "class Model(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.embedding = nn.Embedding(6, one['size'] + two['size'] + three['size'] + four['size'])\n"
        "    def forward(self, tokens):\n        raise ValueError('not yet')",
    ]
    notebook(folder / "n.ipynb", cells)
    (folder / "vocab.txt").write_text("<unk>\n<pad>\noil\n")
    result = CliRunner().invoke(main, ["export", "n.ipynb:Model", "--random-weights", "--vocabulary", "vocab.txt",
                                       "--labels", "a,b", "-o", "b"])  # fmt: skip
    assert result.exit_code == 1
    lines = result.output.splitlines()
    (error,) = [i for i, line in enumerate(lines) if line.startswith("Error: ") and "not yet" in line]
    (note,) = [i for i, line in enumerate(lines) if "fill_one" in line and line.startswith("Note: ")]
    assert note == error + 1 == len(lines) - 1
    assert lines[note].endswith("; and 2 more")
    assert "fill_two" in lines[note]
    assert "fill_three" not in lines[note]
