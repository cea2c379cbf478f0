"""`pocketrnn export file.py:name`: the user's code, weights and vocabulary become a bundle in one command."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner, Result

from pocketrnn import Classifier
from pocketrnn.bundle import manifest
from pocketrnn.commands.cli import main
from pocketrnn.errors import ExportError, InputError
from pocketrnn_export.intake.module_file import load_module
from pocketrnn_export.intake.module_name_with_arguments import parse_module_name
from pocketrnn_export.intake.weights_file import load_weights, read_weights
from pocketrnn_export.source_code.needed_code import find_needed_statements
from pocketrnn_export.source_code.notebook import read_python_file

pytestmark = pytest.mark.usefixtures("scant_proofs")
# Written by a real torchtext 0.18; its make.py says how.
FIXTURES = Path(__file__).parents[1] / "fixtures" / "torchtext018"

MODEL = """
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

raise_on_import = False

class NewsClassifier(nn.Module):
    def __init__(self, words, dim=64, hidden=32, classes=4):
        super().__init__()
        self.embedding = nn.Embedding(words, dim)
        self.rnn = nn.LSTM(dim, hidden, batch_first=True)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, text, lengths):
        packed = pack_padded_sequence(self.embedding(text), lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (hidden, _) = self.rnn(packed)
        return self.fc(hidden[-1])

def small():
    return NewsClassifier(words=5, dim=5, hidden=3)

ready = small()
number = 3

def broken(layers=2):
    if layers:
        raise RuntimeError("\x1b[1;31mno such luck\x1b[0m")
    return small()
"""


CALLS = """

def first_of(module, tokens, lengths):
    return module(tokens, lengths)[:, :2] * SCALE

def all_of(module, tokens, lengths):
    return module(tokens, lengths) * SCALE

SCALE = 1
"""
ENDS_AS_A_SCRIPT = "\nfor epoch in range(3):\n    raise SystemExit\n"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    # A word more than there are labels: a number for each id is refused as that of a next token.
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    (tmp_path / "vocab.txt").write_text("<unk>\n<pad>\noil\nwins\nrise\n")
    return path


# A class with arguments is exported in the fast suite below; a function is called by those of its weights.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["NewsClassifier(5, hidden=3)", "small", "ready", "NewsClassifier(words=5)"])
def test_a_module_a_function_and_a_class_with_arguments_are_exported(model: Path, tmp_path: Path, name: str) -> None:
    result = run(
        "export", f"{model}:{name}", "--vocabulary", tmp_path / "vocab.txt",
        "--labels", "World,Sports, Business,Sci/Tech", "-o", tmp_path / "b", "--random-weights", "--no-torchscript",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    read = manifest.read_manifest(tmp_path / "b")
    assert read.labels == ("World", "Sports", "Business", "Sci/Tech")
    assert read.text.vocabulary == ("<unk>", "<pad>", "oil", "wins", "rise")
    assert (read.text.rules.unknown_id, read.text.rules.padding_id) == (0, 1)


SAVED = ["w.safetensors", "w.pt", "nested.pt", "parallel.pt", "compiled.pt", "legacy.pt"]


def saved(file: str, state: dict[str, torch.Tensor], folder: Path) -> Path:
    """Weights as people save them."""
    path = folder / file
    if file == "w.safetensors":
        safetensors.torch.save_file(state, path)
    elif file == "nested.pt":
        torch.save({"epoch": 3, "model_state_dict": state, "optimizer": {"lr": 0.1}}, path)
    elif file == "parallel.pt":
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    elif file == "compiled.pt":
        torch.save({f"_orig_mod.{name}": tensor for name, tensor in state.items()}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=file != "legacy.pt")
    return path


@pytest.mark.parametrize("file", SAVED)
def test_weights_are_read_however_they_were_saved(model: Path, tmp_path: Path, file: str) -> None:
    state = {
        name: tensor.clone() for name, tensor in load_module(parse_module_name(f"{model}:small")).state_dict().items()
    }
    weights, other = read_weights(saved(file, state, tmp_path)), load_module(parse_module_name(f"{model}:small"))
    assert all(torch.equal(weights.tensors[name], state[name]) for name in state)
    load_weights(other, weights)
    assert all(torch.equal(tensor, state[name]) for name, tensor in other.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("file", SAVED)
def test_weights_that_were_read_are_what_is_exported(model: Path, tmp_path: Path, file: str) -> None:
    trained = load_module(parse_module_name(f"{model}:small"))
    state = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    result = run(
        "export", f"{model}:small", "--weights", saved(file, state, tmp_path),
        "--vocabulary", tmp_path / "vocab.txt", "--labels", "a,b,c,d", "-o", tmp_path / "b", "--no-torchscript",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    with torch.no_grad():
        expected = trained.eval()(torch.tensor([[2, 3]]), torch.tensor([2])).numpy()
    np.testing.assert_allclose(Classifier.load(tmp_path / "b").logits(["oil wins"]), expected, atol=1e-5)


class Canary:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.write_text, (self.path, "executed"))


def test_a_hostile_pickle_is_refused_unexecuted(tmp_path: Path) -> None:
    canary = tmp_path / "executed"
    torch.save({"w": Canary(canary)}, tmp_path / "hostile.pt")
    (tmp_path / "hostile.pkl").write_bytes(pickle.dumps(Canary(canary)))
    for file in ("hostile.pt", "hostile.pkl"):
        with pytest.raises(InputError):
            read_weights(tmp_path / file)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "file of weights"),
        (b"PK\x03\x04 cut off", "file of weights"),
        (b"\x80\x02}q\x00.", "file of weights"),
        (b"text", "file of weights"),
    ],
)
def test_a_damaged_file_of_weights_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=problem):
        read_weights(path)


@pytest.mark.parametrize(
    ("name", "weights", "status", "said"),
    [
        ("{model}:Nothing", None, 2, "defines no Nothing. It defines: NewsClassifier, small, ready, broken."),
        ("{model}:number", None, 1, "raises TypeError"),
        ("{model}:broken", None, 1, "raises RuntimeError: no such luck"),
        ("{model}:NewsClassifier(size=4)", None, 2, "(words, dim=64, hidden=32, classes=4)"),
        ("{model}:NewsClassifier(open('x'))", None, 2, "The arguments use the name open, but"),
        ("{model}:NewsClassifier(**{{'words': 4}})", None, 2, "are not plain values"),
        ("{model}:small", "complex.pt", 2, "The weight fc.bias is"),
        ("{model}:small", "meta.pt", 2, "The weight fc.bias is"),
        ("missing.py:small", None, 2, "missing.py is not a file"),
        ("{model}:small", "missing.pt", 2, "missing.pt is not a file"),
        ("{model}:small", "other.pt", 2, "fc.bias is [9] in"),
        ("{model}:small", "fewer.pt", 2, "holds no fc.bias, which the module has"),
        ("{model}:small", "more.pt", 2, "holds further, which the module does not have"),
        ("{model}:small", "copy.pt", 2, "is a TorchScript file"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(
    model: Path, tmp_path: Path, name: str, weights: str | None, status: int, said: str
) -> None:
    state = load_module(parse_module_name(f"{model}:small")).state_dict()
    torch.save({**state, "fc.bias": torch.zeros(9)}, tmp_path / "other.pt")
    torch.save({**state, "fc.bias": torch.zeros(4, dtype=torch.complex64)}, tmp_path / "complex.pt")
    torch.save({**state, "fc.bias": torch.zeros(4, device="meta")}, tmp_path / "meta.pt")
    torch.save({n: t for n, t in state.items() if n != "fc.bias"}, tmp_path / "fewer.pt")
    torch.save({**state, "further": torch.zeros(1)}, tmp_path / "more.pt")
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "copy.pt")
    given = ["--weights", tmp_path / weights] if weights else []
    result = run(
        "export", name.format(model=model), *given, "--vocabulary", tmp_path / "vocab.txt", "--labels", "a,b,c,d",
        "-o", tmp_path / "b",
    )  # fmt: skip
    assert result.exit_code == status, result.output
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "b").exists()


def test_a_file_with_an_error_in_it_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def f(:\n")
    with pytest.raises(ExportError, match=r"bad\.py.*SyntaxError"):
        load_module(parse_module_name(f"{tmp_path / 'bad.py'}:f"))


def test_a_file_may_import_what_lies_beside_it(model: Path, tmp_path: Path) -> None:
    (tmp_path / "sizes_of_it.py").write_text("WORDS = 4\n")
    (tmp_path / "main.py").write_text(
        "from sizes_of_it import WORDS\nfrom torch import nn\nmade = nn.Sequential(nn.Embedding(WORDS, 2))\n"
    )
    assert isinstance(load_module(parse_module_name(f"{tmp_path / 'main.py'}:made")), torch.nn.Sequential)


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_a_notebooks_weights_vocabulary_of_torchtext_and_call_move_in_one_command(model: Path, tmp_path: Path) -> None:
    model.write_text(MODEL + CALLS + ENDS_AS_A_SCRIPT)
    result = run(
        "export", f"{model}:NewsClassifier(153, 16, 12, 3)", "--weights", FIXTURES / "packed_lstm_state_dict.pt",
        "--vocabulary", FIXTURES / "vocab_specials.pth", "--labels", "weather, sport,kitchen",
        "--call", "all_of", "-o", tmp_path / "b",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    read = manifest.read_manifest(tmp_path / "b")
    assert read.provenance["call"] == "all_of(module, tokens, lengths)"
    assert read.labels == ("weather", "sport", "kitchen")
    expected = json.loads((FIXTURES / "packed_lstm_expected.json").read_text(encoding="utf-8"))
    rows = expected["expected"]
    assert len(rows) == 19
    logits = Classifier.load(tmp_path / "b").logits([row["text"] for row in rows])
    np.testing.assert_allclose(logits, [row["logits"] for row in rows], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("ends_as_a_script", [False, True])
def test_a_function_of_the_file_says_how_the_module_is_called(
    model: Path, tmp_path: Path, ends_as_a_script: bool
) -> None:
    model.write_text(MODEL + CALLS + ENDS_AS_A_SCRIPT * ends_as_a_script)
    result = run(
        "export", f"{model}:small", "--vocabulary", tmp_path / "vocab.txt", "--labels", "World, Sports",
        "--call", "first_of", "-o", tmp_path / "b", "--random-weights", "--no-torchscript",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    read = manifest.read_manifest(tmp_path / "b")
    assert read.provenance["call"] == "first_of(module, tokens, lengths)"
    assert read.labels == ("World", "Sports")
    assert read.text.vocabulary == ("<unk>", "<pad>", "oil", "wins", "rise")
    assert (read.text.rules.unknown_id, read.text.rules.padding_id) == (0, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [("first_off", "defines no first_off. Did you mean first_of?"), ("SCALE", "SCALE in .* is not a function")],
)
def test_a_function_that_the_file_has_not_is_refused(model: Path, tmp_path: Path, call: str, message: str) -> None:
    model.write_text(MODEL + CALLS)
    result = run(
        "export", f"{model}:small", "--vocabulary", tmp_path / "vocab.txt", "--labels", "World,Sports",
        "--call", call, "-o", tmp_path / "b", "--random-weights",
    )  # fmt: skip
    assert result.exit_code == 2, result.output
    assert re.search(message, " ".join(result.output.split()))


@pytest.mark.parametrize(
    ("lines", "noted"),
    [
        ("for batch in loader:\n        break", False),
        ("size = len(loader)\n    size.sort()\n    print(size)", False),
        ("Net.scale = 2", True),
        ("CONFIG['scale'] = 2", True),
        ("configure(3)", True),
        ("SHARED.update(scale=2)", True),
    ],
)
def test_code_that_only_a_run_of_the_file_reaches_is_noted_if_it_changes_what_the_module_needs(
    lines: str, noted: bool, tmp_path: Path
) -> None:
    (tmp_path / "words.py").write_text("SHARED = {}\ndef make(x):\n    SHARED[x] = 1\n")
    (tmp_path / "settings.py").write_text("SIZE = []\ndef configure(x):\n    SIZE.append(x)\n")
    file = tmp_path / "net.py"
    file.write_text(
        "from words import *\nfrom settings import configure, SIZE\nCONFIG = {'scale': 1}\n"
        "class Net(nn.Module):\n    def forward(self, ids, size):\n        return ids * CONFIG['scale'], SIZE, SHARED\n"
        f"if __name__ == '__main__':\n    {lines}\n"
    )
    found = find_needed_statements([read_python_file(file)], ["Net"], str(file), set())
    assert bool(found.alone) == noted, found.alone
