"""A class that takes an object of settings is made with the settings of the checkpoint or of the owner's files."""

from __future__ import annotations

import itertools
import runpy
import textwrap
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

from pocketrnn_export.intake.missing_constructor_arguments import MissingArgumentsError
from pocketrnn_export.intake.module_file import load_module
from pocketrnn_export.intake.module_name_with_arguments import parse_module_name
from pocketrnn_export.intake.weights_file import load_weights, read_weights

NETS = """
from __future__ import annotations
from dataclasses import dataclass
from torch import nn

@dataclass
class Config:
    words: int
    dim: int = 8
    pool: str = "last"

class Typed(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.emb = nn.Embedding(config.words, config.dim)

class Items(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.config = cfg
        self.emb = nn.Embedding(cfg["words"], cfg.get("dim", 3))
        self.pool = self.config["pool"]

class Args(nn.Module):
    def __init__(self, args, words):
        super().__init__()
        self.config = args
        self.emb = nn.Embedding(words, args.dim)
        self.pool = args.pool

class Held(nn.Module):
    def __init__(self, args, words):
        super().__init__()
        self.dim = args["dim"]
        heads = args["heads"]
        wide = args["wide"]
        wide *= 2
        self.config = args
        self.emb = nn.Embedding(words, self.dim)
        self.lstm = nn.LSTM(self.dim, heads)
        self.out = nn.Linear(heads, wide)

class Whole(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.inner = Items(config)
        self.config = config

class Plain(nn.Module):
    def __init__(self, words, dim, pool):
        super().__init__()
        self.emb = nn.Embedding(words, dim)
        self.pool = pool
"""
TRAIN = """
import argparse
from nets import Args, Plain
parser = argparse.ArgumentParser()
parser.add_argument("--dim", "-d", type=int, default=7)
parser.add_argument("--pool-kind", dest="pool", default="mean")
parser.add_argument("--quick", action="store_true")
args = parser.parse_args()
model = Plain(5, args.dim, pool=args.pool)
"""
SETTINGS = {"words": 5, "dim": 6, "pool": "mean"}


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)
    return runpy.run_path("nets.py")


def load(name: str, saved: dict[str, Any]) -> Any:
    torch.save(saved, "w.pt")
    named = parse_module_name(f"nets.py:{name}")
    assert named is not None
    weights = read_weights(Path("w.pt"))
    module = load_module(named, weights)
    load_weights(module, weights)
    return module


# Only a dict of the argument's name is taken for what a class passes on whole.
@pytest.mark.parametrize(
    ("name", "place"),
    [("Whole", "config"), *itertools.product(["Typed", "Items"], ["config", "model_args", "config.model"])],
)
def test_settings_in_a_checkpoint_make_the_object(
    name: str, place: str, names: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    made = names[name](names["Config"](**SETTINGS) if name == "Typed" else SETTINGS)
    inner = {place.split(".")[-1]: SETTINGS, "train": {"rate": 0.1}}
    saved = {"state_dict": made.state_dict(), "epoch": 3, **({"config": inner} if "." in place else inner)}
    loaded = load(name, saved).config
    assert (loaded["pool"] if isinstance(loaded, dict) else loaded.pool) == "mean"
    assert f"w.pt says in {place}" in caplog.text


def test_a_pickled_namespace_and_a_dict_of_plain_arguments_are_read(names: dict[str, Any]) -> None:
    args = names["Args"](Namespace(**SETTINGS), 5)
    assert load("Args", {"model": args.state_dict(), "args": Namespace(**SETTINGS)}).config.pool == "mean"
    plain = names["Plain"](**SETTINGS)
    assert load("Plain", {"model": plain.state_dict(), "model_args": SETTINGS}).pool == "mean"
    assert load("Plain", {"model": plain.state_dict(), **SETTINGS}).pool == "mean"


def test_words_of_a_vocabulary_and_states_of_an_optimizer_are_no_settings(names: dict[str, Any]) -> None:
    plain = names["Plain"](**SETTINGS)
    saved = {"model": plain.state_dict(), "word2idx": {"pool": 1}, "optimizer_state": {"pool": 2}}
    with pytest.raises(MissingArgumentsError, match="pool"):
        load("Plain", saved)


@pytest.mark.parametrize("name", ["Args", "Plain"])
def test_the_defaults_of_a_command_line_are_taken_where_the_weights_do_not_show_others(
    name: str, names: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    Path("train.py").write_text(TRAIN)
    made = names["Args"](Namespace(**SETTINGS), 5) if name == "Args" else names["Plain"](**SETTINGS)
    loaded = load(name, made.state_dict())
    assert loaded.pool == "mean"
    assert loaded.emb.embedding_dim == 6
    assert "train.py" in caplog.text


def test_settings_that_attributes_and_local_names_hold_are_those_of_the_weights(
    names: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    options = "".join(f"p.add_argument('--{name}', type=int, default={n})\n" for name, n in
                      {"dim": 400, "heads": 256, "wide": 2, "drop_rate": 1}.items())  # fmt: skip
    Path("train.py").write_text(f"import argparse\np = argparse.ArgumentParser()\n{options}")
    state = names["Held"]({"dim": 6, "heads": 3, "wide": 2}, 5).state_dict()
    assert load("Held", state).config == {"dim": 6, "heads": 3, "wide": 2, "drop_rate": 1}
    assert "another wide," in caplog.text


def test_a_missing_setting_is_asked_for_with_the_whole_object_as_code(names: dict[str, Any]) -> None:
    state = names["Args"](Namespace(**SETTINGS), 5).state_dict()
    with pytest.raises(MissingArgumentsError) as caught:
        load("Args", state)
    assert caught.value.source == "nets.py:Args(args=SimpleNamespace(dim=6, pool=...), words=5)"
    assert load('Args(args=SimpleNamespace(dim=6, pool="max"), words=5)', state).pool == "max"
    assert load("Typed", names["Typed"](names["Config"](5)).state_dict()).config.pool == "last"


GLOBAL = """
import argparse
from torch import nn

class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(5, args.dim)

class Global(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.fc, self.pool = Layer(), nn.Linear(args.dim, args.classes), args.pool

{made}
"""
PARSER = """
parser = argparse.ArgumentParser()
parser.add_argument("--dim", type=int, default=8)
parser.add_argument("--classes", type=int, default=2)
parser.add_argument("--pool", default="mean")
parser.add_argument("--data"{required})
args = parser.parse_args()
"""


@pytest.mark.parametrize("made", ["here", "behind main", "with a missing option", "in another file"])
def test_a_global_object_of_settings_is_made_where_a_run_of_the_file_makes_it_not(
    made: str, names: dict[str, Any]
) -> None:
    code = PARSER.format(required=", required=True" if made == "with a missing option" else "")
    if made == "behind main":
        code = "if __name__ == '__main__':\n" + textwrap.indent(code, "    ")
    if made == "in another file":
        Path("run_it.py").write_text(f"import argparse\n{code}")
        code = ""
    Path("nets.py").write_text(GLOBAL.format(made=code) if made != "here" else GLOBAL.format(made="") + code)
    state = {"layer.emb.weight": torch.zeros(5, 6), "fc.weight": torch.zeros(2, 6), "fc.bias": torch.zeros(2)}
    assert names
    loaded = load("Global", state)
    assert (loaded.fc.in_features, loaded.layer.emb.embedding_dim, loaded.pool) == (6, 6, "mean")
