"""Weights as training scripts save them: inside of checkpoints, under prefixes, beside what is not read."""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric.utilities.data import AttributeDict
from torch import nn

from pocketrnn.errors import InputError
from pocketrnn_export.intake.checks_of_module_made_again import refuse_random_construction
from pocketrnn_export.intake.module_file import load_module
from pocketrnn_export.intake.module_name_with_arguments import parse_module_name
from pocketrnn_export.intake.weights_file import load_weights, read_weights
from pocketrnn_export.vocabularies.checkpoint_file import list_weight_names

MODEL = """
from torch import nn
class Net(nn.Module):
    def __init__(self, words, kind, *, dim=2):
        super().__init__()
        self.kind = kind
"""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.fc = nn.Linear(3, 2)


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = Net()


def state() -> dict[str, torch.Tensor]:
    return Net().state_dict()


def under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def lightning(hyper_parameters: Any) -> dict[str, Any]:
    """A checkpoint as lightning 2 writes it."""
    return {
        "epoch": 3, "global_step": 40, "pytorch-lightning_version": "2.1.0",
        "state_dict": {**under("model.", state()), "criterion.weight": torch.ones(2), "val_acc.right": torch.zeros(1)},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": collections.Counter()}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best": np.float64(0.3), "path": Path("a")}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}],
        "hparams_name": "kwargs", "hyper_parameters": hyper_parameters,
    }  # fmt: skip


SAVED: dict[str, Any] = {
    "state_dict": {"state_dict": state(), "epoch": 3},
    "model_state_dict": {"model_state_dict": state(), "optimizer_state_dict": {"state": {}, "param_groups": []}},
    "model": {"model": state()},
    "a name of its own": {"epoch": 3, "my_best": state(), "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
    "nested twice": {"state_dict": {"model": state()}},
    "module.": under("module.", state()),
    "_orig_mod.module.": under("_orig_mod.module.", state()),
    "model.": under("model.", state()),
    "net.encoder.": under("net.encoder.", state()),
    "lightning": lightning(AttributeDict(words=5, dim=3, lr=0.1, tags=["a"])),
    "lightning with a Namespace": lightning(argparse.Namespace(words=5, dim=3)),
    "numpy numbers": {"state_dict": state(), "best": np.float32(0.5), "args": argparse.Namespace(words=5)},
    "a defaultdict": {"state_dict": state(), "history": collections.defaultdict(list, loss=[0.5])},
    "ordered": collections.OrderedDict(state()),
}


@pytest.mark.parametrize("name", SAVED)
def test_weights_are_found_in_whatever_a_training_script_saved(name: str, tmp_path: Path) -> None:
    torch.save(SAVED[name], tmp_path / "w.ckpt")
    module, original = Net(), dict(_flat(SAVED[name]))
    load_weights(module, read_weights(tmp_path / "w.ckpt"))
    for key, tensor in module.state_dict().items():
        assert any(other.endswith(key) and torch.equal(tensor, value) for other, value in original.items())


def _flat(saved: Any) -> list[tuple[str, torch.Tensor]]:
    found = []
    for name, value in saved.items():
        if isinstance(value, torch.Tensor):
            found.append((str(name), value))
        elif isinstance(value, dict):
            found += _flat(value)
    return found


def test_a_prefix_that_is_taken_off_or_put_before_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(SAVED["lightning"], tmp_path / "w.ckpt")
    load_weights(Net(), read_weights(tmp_path / "w.ckpt"))
    assert re.search(r"prefix model\. is removed .* criterion\.weight, val_acc\.right", caplog.text)
    torch.save(state(), tmp_path / "w.pt")
    load_weights(Outer(), read_weights(tmp_path / "w.pt"))
    assert "the prefix model. is added to the names" in caplog.text


def test_what_else_a_checkpoint_holds_is_named_and_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(SAVED["lightning with a Namespace"], tmp_path / "w.ckpt")
    weights = read_weights(tmp_path / "w.ckpt")
    assert weights.arguments == {"words": 5, "dim": 3}
    assert re.search(r"w\.ckpt .*not imported: argparse\.Namespace", caplog.text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fc.bias": None, "fc.weight": None}, "holds no fc.weight, fc.bias, which the module has."),
        (
            {"extra.a": torch.ones(1), "extra.b": torch.ones(1)},
            "holds extra.a, extra.b, which the module does not have.",
        ),
        ({"fc.bias": None, "head.bias": torch.ones(2)}, "holds no fc.bias, which the module has; "),
        ({"fc.bias": torch.ones(4), "fc.weight": torch.ones(4, 3)}, "fc.weight is [4, 3] in"),
        (
            {"embedding.weight": torch.ones(9, 3)},
            "begins with: embedding.weight [9, 3], fc.weight [2, 3], fc.bias [2].",
        ),
        ({f"a{i}": torch.ones(1) for i in range(9)}, "holds a0, a1, a2 and 6 more, which the module does not have."),
    ],
)
def test_names_and_shapes_that_do_not_fit_are_listed(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in {**state(), **change}.items() if tensor is not None}
    torch.save(under("model.", tensors), tmp_path / "w.pt")
    with pytest.raises(InputError) as caught:
        load_weights(Net(), read_weights(tmp_path / "w.pt"))
    assert said.replace("begins with: ", "") in str(caught.value).replace("model.", "").replace("begins with: ", "")


def test_missing_arguments_are_refused_with_all_that_is_known_of_them(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    torch.save(SAVED["lightning"], tmp_path / "w.ckpt")
    named = parse_module_name(f"{tmp_path / 'model.py'}:Net")
    assert named is not None
    with pytest.raises(InputError) as caught:
        load_module(named, read_weights(tmp_path / "w.ckpt"))
    said = str(caught.value)
    assert "Net(words, kind, *, dim=2)" in said
    assert "needs kind, but" in said
    assert "shows words=5." in said
    assert "holds model.embedding: 5 rows of 3; model.fc: 3 to 2" in said
    assert "It was made with: words=5, dim=3, lr=0.1" in said
    assert "model.py:Net(words=5, kind=...)" in said


class Whole(Outer):
    """Has a part that is used twice, and buffers, of which one is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 2, num_layers=2, bidirectional=True)
        self.heads = nn.ModuleList([nn.Sequential(nn.Linear(4, 2, bias=False), nn.Dropout()), nn.BatchNorm1d(2)])
        self.again, self.layers, self.max_len = self.heads[0], 2, 64
        self.register_buffer("scale", torch.ones(2))
        self.register_buffer("mask", torch.ones(3), persistent=False)


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: {"epoch": 3, "model": one}, nn.DataParallel])
def test_the_tensors_of_a_whole_module_are_read_and_none_of_its_code_is_run(
    wrap: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, path = Whole(), tmp_path / "w.pt"
    torch.save(wrap(module), path)
    monkeypatch.setattr(nn.Module, "__setstate__", lambda *_: pytest.fail("a module was made"))
    weights = read_weights(path)
    expected = module.state_dict()
    assert weights.tensors.keys() == expected.keys()
    assert all(torch.equal(weights.tensors[name], tensor) for name, tensor in expected.items())
    assert {"layers": 2, "max_len": 64} in weights.settings.values()
    assert {name.removeprefix("module.") for name in list_weight_names(path)} >= {*expected}


@pytest.mark.parametrize(
    "saved",
    [
        {"student": state(), "teacher": state()},
        {"epoch": 3},
        {"state_dict": {}},
        {"state_dict": {"w": 3}},
        [state()],
        argparse.Namespace(weights=state()),
        {"state_dict": {3: torch.ones(1)}},
    ],
    ids=["two models", "no tensor", "empty", "a number", "a list", "an object", "a name that is no string"],
)
def test_what_is_no_single_set_of_weights_is_refused(saved: Any, tmp_path: Path) -> None:
    torch.save(saved, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"torch\.save\(module\.state_dict\(\)") as caught:
        read_weights(tmp_path / "w.pt")
    assert "\n" not in str(caught.value)


class Calls:
    """Calls a function if it is ever unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.of = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.of


@pytest.mark.parametrize("where", ["beside", "as a tensor", "as hyper-parameters", "as a name", "as the whole"])
def test_nothing_beside_the_weights_is_ever_run(where: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for call in (Calls(Path.touch, mark), Calls(os.mkdir, str(mark)), Calls(exec, f"open({str(mark)!r}, 'w')"),
                 Calls(getattr, "a", "b"), Calls(io.open, str(mark), "w"), Calls(torch.load, str(mark))):  # fmt: skip
        torch.save(
            {
                "beside": {"state_dict": state(), "callbacks": call},
                "as a tensor": {"state_dict": {**state(), "x": call}},
                "as hyper-parameters": {"state_dict": state(), "hyper_parameters": call},
                "as a name": {"state_dict": state(), "x": {(call,): 1}},
                "as the whole": call,
            }[where],
            tmp_path / "w.pt",
        )
        with contextlib.suppress(InputError):
            assert read_weights(tmp_path / "w.pt").tensors.keys() == state().keys()
        assert not mark.exists()


def test_many_foreign_classes_are_refused_and_not_looked_up_one_by_one(tmp_path: Path) -> None:
    content = io.BytesIO()
    torch.save({"a": torch.ones(1)}, content)
    names = b"".join(b"cforeign\nName%d\n" % i for i in range(1000))
    torch.save({"a": torch.ones(1)}, tmp_path / "w.pt")
    with zipfile.ZipFile(content) as archive, zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_STORED) as made:
        for entry in archive.namelist():
            data = archive.read(entry)
            made.writestr(entry, data[:2] + names + data[2:] if entry.endswith("data.pkl") else data)
    with pytest.raises(InputError, match=r"w\.pt .*foreign\.Name0.*\b997\b"):
        read_weights(tmp_path / "w.pt")


def test_the_names_that_torch_reads_are_as_before(tmp_path: Path) -> None:
    torch.save(SAVED["lightning with a Namespace"], tmp_path / "w.ckpt")
    before = set(torch.serialization.get_safe_globals())
    read_weights(tmp_path / "w.ckpt")
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError, match="Unsupported global"):
        torch.load(tmp_path / "w.ckpt", weights_only=True)


HOLDS_MORE = """
import numpy as np
import torch
from torch import nn

class Holds(nn.Module):
    def __init__(self, kind="nothing"):
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.gru = nn.GRU(4, 3, batch_first=True)
        self.fc = nn.Linear(3, 2)
        if kind == "list":
            self.extra = [nn.Linear(3, 3)]
        if kind == "attribute":
            self.h0 = torch.randn(1, 1, 3)
        if kind == "buffer":
            self.register_buffer("h0", torch.randn(1, 1, 3), persistent=False)

    def forward(self, x):
        return self.fc(self.gru(self.embedding(x))[1][-1])

def seeded():
    np.random.seed(42)
    made = Holds()
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.from_numpy(np.random.randn(*p.shape)))
    return made
"""


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        pytest.param("list", "extra[0].weight", marks=pytest.mark.slow),
        ("attribute", "h0"),
        pytest.param("buffer", "h0", marks=pytest.mark.slow),
    ],
)
def test_random_numbers_that_no_weights_hold_are_refused(kind: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(HOLDS_MORE)
    module = load_module(parse_module_name(f"{tmp_path}/model.py:Holds"))
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    weights = read_weights(tmp_path / "weights.pt")
    for given in ("nothing", kind):
        name = parse_module_name(f'{tmp_path}/model.py:Holds("{given}")')
        assert name is not None
        module = load_module(name)
        load_weights(module, weights)
        if given == "nothing":
            refuse_random_construction(name, module, weights)
        else:
            with pytest.raises(InputError, match=rf"{re.escape(named)}\b.*weights\.pt "):
                refuse_random_construction(name, module, weights)


def test_a_seed_of_numpys_in_the_file_hides_no_random_weights(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(HOLDS_MORE)
    name = parse_module_name(f"{tmp_path}/model.py:seeded")
    assert name is not None
    with pytest.raises(InputError, match="has random weights"):
        refuse_random_construction(name, load_module(name))


TABLE_IN_A_LOOP = """
from torch import nn
table = {}
for word in open("corpus.txt").read().split():
    table[word] = len(table)
class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(len(table), 3)
        self.rnn = nn.LSTM(3, STATE)
class Sized(nn.Module):
    def __init__(self, words, state, pool="last", device=None, classes=2):
        super().__init__()
        classes = classes + 0
        self.embedding = nn.Embedding(words, 3)
        self.rnn = nn.GRU(3, hidden_size=state)
        self.fc = nn.Linear(state, classes)
sized = Sized(len(table), STATE, pool="max", device=DEVICE)
unpacked = Sized(*SIZES)
STATE = DEVICE = SIZES = table["state"]
"""
SIZED = {"embedding.weight": (41, 3), "rnn.weight_ih_l0": (15, 3), "fc.weight": (2, 5)}


@pytest.mark.parametrize(
    ("name", "shapes", "says", "says_not"),
    [
        (
            "Small",
            {"embedding.weight": (41, 3), "rnn.weight_ih_l0": (20, 3)},
            ["--set STATE=5", '--set "table=torch.zeros(41)"', "fits the weights"],
            ["VALUE"],
        ),
        # Two weights have that name: nothing is said of it.
        ("Small", {"a.embedding.weight": (41, 3), "b.embedding.weight": (9, 3)}, ["table=VALUE"], ["fits"]),
        ("sized", SIZED, ["n.py:Sized(words=41, state=5, pool='\"'\"'max'\"'\"', device=None)"], ["classes="]),
        ("unpacked", SIZED, ["--set"], ["Or name"]),
    ],
)
def test_a_refusal_says_the_sizes_that_the_weights_have(
    name: str, shapes: dict[str, tuple[int, ...]], says: list[str], says_not: list[str], tmp_path: Path
) -> None:
    (tmp_path / "n.py").write_text(TABLE_IN_A_LOOP)
    torch.save({key: torch.zeros(shape) for key, shape in shapes.items()}, tmp_path / "w.pt")
    named = parse_module_name(f"{tmp_path / 'n.py'}:{name}")
    assert named is not None
    with pytest.raises(InputError) as caught:
        load_module(named, read_weights(tmp_path / "w.pt"))
    assert all(words in str(caught.value) for words in says), caught.value
    assert not any(words in str(caught.value) for words in says_not), caught.value


def test_arguments_that_are_missing_are_taken_from_the_sizes_of_the_weights(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "n.py").write_text(TABLE_IN_A_LOOP)
    torch.save({key: torch.zeros(shape) for key, shape in SIZED.items()}, tmp_path / "w.pt")
    named = parse_module_name(f"{tmp_path / 'n.py'}:Sized")
    assert named is not None
    load_module(named, read_weights(tmp_path / "w.pt"))
    assert "words=41, state=5" in caplog.text
