"""The class and the weights that the owner's answering code uses are proposed first."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from pocketrnn.commands.cli import main
from pocketrnn_export.commands.proposed_options import propose_pairs, propose_vocabulary, propose_weights
from pocketrnn_export.source_code.answering_code import (
    find_class_that_answering_code_instantiates,
    find_first_module_that_answering_code_instantiates,
)

MODULES = """
import os, torch
from torch import nn
class First(nn.Module):
    def __init__(self, rows, width):
        super().__init__()
        self.embedding = nn.Embedding(rows, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.fc = nn.Linear(width, 2)
    def forward(self, x):
        return self.fc(self.gru(self.embedding(x))[0][:, -1])
class Third(nn.Module):
    def __init__(self, rows, width):
        super().__init__()
        self.embedding = nn.Embedding(rows, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.fc = nn.Linear(width, 2)
    def forward(self, x):
        return self.fc(self.gru(self.embedding(x))[0].mean(1))
def train_model():
    return First(9, 4), Third(9, 4)
"""
PREDICT = """
def load(folder, name="best_acc.pt"):
    model = Third(9, 4)
    model.load_state_dict(torch.load(os.path.join(folder, name)))
    return model
def predict_texts(texts):
    return load("saved")(texts)
"""


class First(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(25, 4)
        self.gru = nn.GRU(4, 4, batch_first=True)
        self.fc = nn.Linear(4, 2)


MODULE = First()


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("def train():\n    A()\n    B()\ndef predict_texts(texts):\n    return B()(texts)", "predict_texts makes B"),
        ("def load():\n    return B()\ndef predict(text):\n    return load()(text)\nA()\nB()", "load makes B"),
        ("def predict(m, t): ...\ndef train_net():\n    A()\ndef main():\n    predict(B(), 1)", "main makes B"),
        (
            "def load():\n    return B()\ndef predict(m, t): ...\n"
            "def ask(t):\n    return predict(m, t)\nm = load()\n_ = A()",
            "load makes B",
        ),
        ("class Predictor:\n    def __init__(self):\n        self.net = B()\nx = A()", "Predictor makes B"),
        ("def test():\n    A()\ndef train():\n    B()", "train makes B"),
        ("def test():\n    A()\n    B()", None),
        # A layer of another module is no classifier.
        ("class Both:\n    def forward(self, x):\n        return A()(x)\n    def predict(self): ...\n", None),
    ],
)
def test_class_that_answers_is_preferred(code: str, found: str | None, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(f"class A: ...\nclass B: ...\n{code}\n")
    chosen = find_class_that_answering_code_instantiates(tmp_path / "net.py", ["A", "B"])
    assert (chosen is None) == (found is None), chosen
    if chosen is not None and found is not None:
        assert chosen.name == "B"
        assert chosen.sentence.startswith(f"{found} ({tmp_path / 'net.py'}, line ")


@pytest.mark.parametrize(
    ("code", "file", "others"),
    [
        ("def predict(x):\n    net.load_state_dict(torch.load(P / 'b.pt'))\ntorch.save(net, 'a.pt')", "b.pt", 0),
        ("BEST = 'b.pt'\nOLD = 'a.pt'\ndef predict(x):\n    path = join(P, BEST)\n    torch.load(path)", "b.pt", 0),
        ("def load(p):\n    torch.load(p)\ndef predict(x):\n    load(f'{P}/b.pt')\nload('a.pt')", "b.pt", 0),
        ("def predict(m, x): ...\ndef main():\n    predict(torch.load('b.pt'), 1)\nLAST = 'a.pt'", "b.pt", 0),
        ("class Predictor:\n    def __init__(self, path='b.pt'):\n        torch.load(path)\nOLD = 'a.pt'", "b.pt", 0),
        (
            "add_argument('--net-file', default='b.pt')\ndef predict(x):\n    torch.load(args.net_file)\n'a.pt'",
            "b.pt",
            0,
        ),
        ("def predict(x):\n    torch.load('b.pt' if exists('b.pt') else 'a.pt')", "b.pt", 1),
        ("OLD = 'b.pt'\nNEW = 'a.pt'", "b.pt", 1),
        ("torch.save(net, 'a.pt')\ntorch.save(net, 'b.pt')", "b.pt", 0),
        # A training that goes on, and then saves what the code below answers with.
        ("def predict(x): ...\ntry: load('a.pt')\nexcept: 1\nsave(net, 'b.pt')\npredict(1)", "b.pt", 0),
        ("def predict(x): ...\nload('b.pt')\nsave(predict(1), 'answers.pt')\n'a.pt'", "b.pt", 0),
        # The checkpoints of a loop are not what is kept in the end.
        ("for e in range(9):\n    save(net, 'a.pt')\nload('b.pt')", "b.pt", 0),
        ("save(net, 'b.pt')\nfor e in range(9):\n    save(net, 'a.pt')", "b.pt", 0),
    ],
)
def test_weights_that_answer_are_preferred(code: str, file: str, others: int, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(code)
    for name in ("a.pt", "b.pt"):
        torch.save({"fc.weight": torch.zeros(2, 3), "fc.bias": torch.zeros(2)}, tmp_path / name)
    found = propose_weights(tmp_path / "net.py")
    assert found is not None
    assert (found.path.name, len(found.others)) == (file, others)


def test_other_weights_of_the_same_shapes_are_told(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("def predict(x):\n    load('b.pt')\n'a.pt'")
    for name, shape in {"a.pt": (2, 3), "b.pt": (2, 3), "c.pt": (2, 3), "d.pt": (2, 4)}.items():
        torch.save({"fc.weight": torch.full(shape, ord(name[0]) // 98), "fc.bias": torch.ones(2)}, tmp_path / name)
    found = propose_weights(tmp_path / "net.py")
    # The numbers of c.pt are those of b.pt.
    assert found is not None
    assert (found.path.name, found.others, [one.name for one in found.alike]) == ("b.pt", (), ["a.pt"])
    assert f"{tmp_path / 'a.pt'} has tensors" in found.description


def test_weights_of_another_module_are_left_out(tmp_path: Path) -> None:
    net = "class Net:\n    def __init__(self):\n        self.fc = 1\n    def forward(self, x): ...\n"
    (tmp_path / "net.py").write_text(f"{net}def predict(x):\n    torch.load('a.pt')\n    torch.load('b.pt')\n")
    torch.save({"cnn.weight": torch.zeros(2, 3), "fc.bias": torch.zeros(2)}, tmp_path / "a.pt")
    torch.save({"fc.weight": torch.zeros(2, 3), "fc.bias": torch.zeros(2)}, tmp_path / "b.pt")
    found = propose_weights(tmp_path / "net.py")
    assert found is not None
    assert (found.path.name, found.others) == ("b.pt", ())


def test_line_to_write_has_the_class_and_weights_that_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(f"{MODULES}{PREDICT}OLD = 'best_loss.pt'\n")
    gru = torch.nn.GRU(4, 4)
    weights = {"embedding.weight": torch.zeros(9, 4), "fc.weight": torch.zeros(2, 4), "fc.bias": torch.zeros(2)}
    weights |= {f"gru.{name}": tensor for name, tensor in gru.state_dict().items()}
    for name in ("best_acc.pt", "best_loss.pt"):
        torch.save(weights, name)
    # It is taken at once, and proposed the same for what is no code.
    said = CliRunner().invoke(main, ["export", "net.py", "-o", "mine"]).stderr
    assert "taken as net.py:Third, which load makes (net.py, line " in said
    assert "modules are net.py:First." in said
    assert "Write: pocketrnn export net.py:Third -o mine --weights best_acc.pt" in said
    for source in (".", "best_acc.pt"):
        said = CliRunner().invoke(main, ["export", source, "-o", "mine"]).stderr
        assert ("taken as net.py:Third, which load makes" if source == "." else "load makes Third (net.py, ") in said
        assert "Write: pocketrnn export net.py:Third -o mine" in said
    # Answering code that makes both leaves the choice to the user.
    Path("net.py").write_text(f"{MODULES}{PREDICT}    First(9, 4)\n")
    said = CliRunner().invoke(main, ["export", "net.py", "-o", "mine"]).stderr
    assert "Write: pocketrnn export net.py:First -o mine --weights " in said
    Path("net.py").write_text(f"{MODULES}{PREDICT}OLD = 'best_loss.pt'\n")
    Path("words.json").write_text('["a", "b", "c", "d", "e", "f", "g", "h", "i"]')
    # With random weights and with sizes that only the weights show, the line has the weights and no dots to fill in.
    for code in (MODULES + PREDICT, MODULES):
        Path("net.py").write_text(code.replace("(9, 4)", "(9, 4)" if PREDICT in code else "(a, b)") + "'best_acc.pt'\n")
        arguments = ["export", "net.py:Third", "-o", "mine", "--vocabulary", "words.json", "--labels", "x,y"]
        refused = CliRunner().invoke(main, arguments)
        assert refused.exit_code == 2, refused.output
        assert "..." not in refused.stderr.partition("Write: ")[2]
        assert "--weights best_acc.pt" in refused.stderr


@pytest.mark.parametrize("names", [("net.pt", "net.pt"), ("old.pt", "new.pt"), ("new.pt", "old.pt")])
@pytest.mark.parametrize("folder", ["v1", "v2"])
def test_files_beside_the_code_come_before_those_of_another_version(
    folder: str, names: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(names, 1):
        beside = Path(f"v{number}")
        beside.mkdir()
        code = f"model = First(25, 4)\nmodel.load_state_dict(torch.load({name!r}))\nopen('words.txt')\n"
        (beside / "net.py").write_text(f"{MODULES}def predict(text):\n    return model(text)\n{code}")
        torch.save(MODULE.state_dict(), beside / name)
        (beside / "words.txt").write_text("".join(f"{beside}{one}\n" for one in range(25)))
        (beside / "answers.csv").write_text(f"text,label\na,{beside}\nb,z\n")
    file = Path(folder, "net.py")
    weights = propose_weights(file, "First")
    assert weights is not None
    assert weights.path == Path(folder, names[folder == "v2"])
    assert weights.place_in_code.startswith(str(file))
    vocabulary = propose_vocabulary(file, weights.path)
    assert vocabulary is not None
    assert vocabulary.path == Path(folder, "words.txt")
    pairs = propose_pairs([], file, multi_label=False)
    assert pairs is not None
    assert pairs.file == str(Path(folder, "answers.csv"))


@pytest.mark.parametrize(("code", "module"), [(MODULES, "run.py"), ("import torch\nfrom net import First\n", "net.py")])
def test_the_one_of_several_equal_classes_that_answers_is_named(
    code: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("learn.py", "net.py"):
        Path(file).write_text(MODULES)
    Path("run.py").write_text(f"{code}def predict(text):\n    return First(9, 4)(text)\n")
    found = find_first_module_that_answering_code_instantiates(
        ["learn.py:First", "net.py:First", *["run.py:First"] * (code == MODULES)]
    )
    assert found is not None
    assert found[0] == f"{module}:First"
    assert found[1].place.startswith("run.py")
