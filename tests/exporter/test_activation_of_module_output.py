"""The answering code shows that a module's output, which is a softmax already, goes into another one."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from pocketrnn.commands.cli import main
from pocketrnn_export.commands.proposed_options import propose_to_take_output_for_logits
from pocketrnn_export.commands.settings_found_in_code import log_activation_after_module
from pocketrnn_export.intake.module_name_with_arguments import parse_module_name
from pocketrnn_export.source_code.activation_of_module_output import find_activation_applied_to_output
from pocketrnn_export.vocabularies.owner_texts_and_answers import OwnersText

MODEL = """
import torch
from torch import nn
import torch.nn.functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.gru = nn.Embedding(9, 4), nn.GRU(4, 4)
        self.fc, self.act = nn.Linear(4, 3), nn.Softmax(dim=1)
        self.end = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())

    def forward(self, x):
        states = self.gru(self.embedding(x))[0]
        gates = torch.sigmoid(states)
        out = self.fc(states[:, -1])
"""
ENDS = {
    "layer": "        return self.act(out)\n",
    "function": "        out = F.softmax(out, dim=1)\n        return out.squeeze(0), states\n",
    "sequential": "        return self.end(states[:, -1])\n",
    "logits": "        return out\n",
    "logarithms": "        return F.log_softmax(out, dim=1)\n",
}
API = "import torch\nfrom model import Net\n"


def find(folder: Path, end: str, code: str, **files: str) -> str:
    """Return the code that applies an activation to the output of a module; empty if there is none."""
    (folder / "model.py").write_text(MODEL.replace("self.fc, self.act = nn.Linear(4, 3), nn.Softmax(dim=1)",
        "self.fc = nn.Linear(4, 3)\n        self.act = nn.Softmax(dim=1)") + ENDS[end])  # fmt: skip
    (folder / "api.py").write_text(API + code)
    for name, content in files.items():
        (folder / f"{name}.py").write_text(content)
    found = find_activation_applied_to_output(folder / "model.py", "Net")
    return "" if found is None else f"{found.place.rpartition('/')[2]}: {found.code}"


@pytest.mark.parametrize("end", ["layer", "function", "sequential"])
@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("def predict(x):\n  model = Net()\n  out = model(x)\n  return torch.softmax(out, dim=1)",
         "api.py, line 6: torch.softmax(out, dim=1)"),
        ("def predict(x):\n  lstm = Net().eval()\n  return lstm(x).softmax(-1)", "api.py, line 5: lstm(x).softmax(-1)"),
        ("class Service:\n  def predict(self, x):\n    return self.net(x)[0].sigmoid().item()",
         "api.py, line 5: self.net(x)[0].sigmoid()"),
        ("m = Net()\ndef run(x):\n  return m.forward(x)\ndef predict(x):\n  scores = run(x)\n"
         "  return torch.nn.Softmax(dim=-1)(scores.cpu())", "api.py, line 8: torch.nn.Softmax(dim=-1)(scores.cpu())"),
        ("def to_shares(y):\n  return torch.log_softmax(y, 1).exp()\ndef predict(model, x):\n  y, _ = model(x)\n"
         "  return to_shares(y)", "api.py, line 4: torch.log_softmax(y, 1)"),
    ],
)  # fmt: skip
def test_an_activation_of_the_output_of_a_module_that_ends_with_one_is_found(
    end: str, code: str, found: str, tmp_path: Path
) -> None:
    assert find(tmp_path, end, code) == found


@pytest.mark.parametrize(
    "code",
    [
        "def predict(x):\n  return model(x).argmax()",
        "def predict(x):\n  return f'{100 * model(x).max():.2f}%'",
        "def predict(x):\n  out = model(x)\n  weights = torch.softmax(x, 1)\n  return out, weights",
        "def predict(x):\n  return torch.exp(model(x))",
        "def predict(x):\n  out = model(x)\n  return torch.softmax(out.log(), 1)",
        # The second of several outputs.
        "def predict(x):\n  return torch.softmax(model(x)[1], 1)",
        "def predict(x):\n  return torch.softmax(model(x)[-1], 1)",
        "def train(x):\n  return torch.softmax(model(x), 1)\ndef predict(x):\n  return model(x)",
        # Another module, in the same file.
        "from other import Other\nmodel = Net()\nother_model = Other()\n"
        "def predict(x):\n  return model(x), torch.softmax(other_model(x), 1)",
    ],
)
def test_other_code_is_not_taken_for_an_activation_of_the_output(code: str, tmp_path: Path) -> None:
    other = "from torch import nn\nclass Other(nn.Module):\n  def forward(self, x):\n    return x"
    assert not find(tmp_path, "layer", code, other=other)


@pytest.mark.parametrize("end", ["logits", "logarithms"])
def test_an_activation_of_logits_asks_for_nothing(end: str, tmp_path: Path) -> None:
    assert not find(tmp_path, end, "def predict(x):\n  return torch.softmax(model(x), 1)")


def test_an_activation_in_a_function_of_another_file_is_found(tmp_path: Path) -> None:
    code = "from shares import to_shares\ndef predict(x):\n  y = model(x)\n  return to_shares(y)"
    shares = "import torch\ndef to_shares(y):\n  return torch.softmax(y, -1)"
    assert find(tmp_path, "layer", code, shares=shares) == "shares.py, line 3: torch.softmax(y, -1)"


def test_code_of_another_module_shows_nothing(tmp_path: Path) -> None:
    code = "def predict(x):\n  return torch.softmax(model(x), 1)"
    other = f"import torch\nfrom elsewhere import Bert\nmodel = Bert()\n{code}"
    assert not find(tmp_path, "layer", "", other=other)
    assert find(tmp_path, "layer", "", web=f"import torch\nfrom api import model\n{code}") == (
        "web.py, line 4: torch.softmax(model(x), 1)"
    )


SOFTMAX = "def predict(x):\n  return torch.softmax(model(x), 1)"


@pytest.mark.parametrize(
    ("code", "answers", "is_proposed"),
    [
        (SOFTMAX, "", True),
        (SOFTMAX, "a film,good,0.55\nan oil,bad,0.41", True),
        # A second softmax over three labels gives at most 0.576.
        (SOFTMAX, "a film,good,0.55\nan oil,bad,0.81", False),
        ("def predict(x):\n  return model(x)", "a film,good,0.55", False),
    ],
)
def test_code_proposes_logits_unless_answers_contradict(
    code: str, answers: str, is_proposed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    find(Path(), "layer", code)
    if answers:
        Path("answers.csv").write_text(f"text,label,probability\n{answers}\n")
    options = {"gives": None, "head": (), "multi_label": False}
    said = propose_to_take_output_for_logits(parse_module_name("model.py:Net"), options, "bad,fair,good")
    assert bool(said) == is_proposed
    assert all("api.py, line 4" in one and "--gives logits" in one for one in said)


@pytest.mark.parametrize(
    ("answer", "gives", "is_noted"),
    [
        (None, None, True),
        ("good", None, True),
        (0.93, None, False),
        ({"good": 0.9}, None, False),
        (None, "logits", False),
    ],
)
def test_a_note_says_that_code_applies_one_more_activation(
    answer: object, gives: str | None, is_noted: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    find(tmp_path, "layer", SOFTMAX)
    options = {"gives": gives, "head": ()}
    named = parse_module_name(f"{tmp_path / 'model.py'}:Net")
    changes = log_activation_after_module(named, options, [OwnersText("a film", answer=answer)])
    assert changes == ({"gives": "logits"} if is_noted else {})
    assert [one.message.count("api.py, line 4") for one in caplog.records] == [1] * is_noted


def test_a_refusal_of_unclear_numbers_has_the_line_that_code_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.gru, self.fc = nn.Embedding(9, 4), nn.GRU(4, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return torch.sigmoid(self.fc(self.gru(self.embedding(x))[0][:, -1]))

def predict(x):
    return torch.softmax(Net()(x), 1)
"""
    Path("model.py").write_text(code)
    Path("words.txt").write_text("\n".join(f"w{i}" for i in range(9)))
    line = "export model.py:Net --random-weights --vocabulary words.txt --labels bad,fair,good -o made"
    shown = CliRunner().invoke(main, shlex.split(line))
    assert shown.exit_code != 0
    assert "sigmoid of each label" in shown.stderr
    assert shown.stderr.rstrip().endswith("--gives logits")
