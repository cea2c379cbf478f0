"""Arguments that were not given are those of the calls in the class's own file, before its defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pocketrnn_export.intake.module_file import load_module
from pocketrnn_export.intake.module_name_with_arguments import parse_module_name
from pocketrnn_export.intake.weights_file import read_weights

MODEL = """
from torch import nn


class Net(nn.Module):
    def __init__(self, words, dim=4, layers=1, pool="last", first=False, dropout=0.5):
        super().__init__()
        self.pool, self.first = pool, first
        self.embedding = nn.Embedding(words, dim)
        self.parts = nn.ModuleList(nn.Linear(dim, dim) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(MODEL, names)  # noqa: S102 - a test's own code
    torch.save(names["Net"](9).state_dict(), "net.pt")
    return tmp_path


def load(code: str, source: str = "Net", weights: str = "net.pt") -> Any:
    Path("model.py").write_text(f"{MODEL}\n\n{code}\n")
    named = parse_module_name(f"model.py:{source}")
    assert named is not None
    return load_module(named, read_weights(Path(weights)) if weights else None)


def test_a_literal_of_the_only_call_in_a_notebook_is_taken_and_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cells = [MODEL, "model = Net(len(table), 4, 1, 'max', True)"]
    notebook = {"cells": [{"cell_type": "code", "source": source} for source in cells]}
    (folder / "n.ipynb").write_text(json.dumps(notebook))
    named = parse_module_name("n.ipynb:Net")
    assert named is not None
    made: Any = load_module(named, read_weights(Path("net.pt")))
    assert (made.pool, made.first) == ("max", True)
    assert 'pool="max", first=True, as cell 2 calls it' in caplog.text


@pytest.mark.parametrize(
    "code",
    [
        "def main():\n    return Net(5, pool='max').cuda()",
        "if __name__ == '__main__':\n    model = nn.DataParallel(Net(5, 4, 1, 'max'))",
        "one = lambda: Net(5, pool='max')\ntwo = lambda: Net(6, 4, pool='max', **{})",
    ],
)
def test_literals_of_a_python_file_are_taken_wherever_it_calls_the_class(code: str) -> None:
    assert load(code).pool == "max"
    assert load(code, "Net(9)", "").pool == "max"
    assert load(code, "Net(9, pool='mean')").pool == "mean"


@pytest.mark.parametrize(
    ("calls", "told"),
    [
        (["Net(5, pool='max')", "Net(5, pool='mean')"], "lines 14, 15 call it with 'max', 'mean'"),
        (["Net(5, pool='max')", "Net(5)"], "lines 14, 15 call it with 'max', nothing"),
        (["Net(5, pool='last')", "Net(5, pool='max')"], "lines 14, 15 call it with 'last', 'max'"),
        (["Net(5, pool=POOL)"], "line 14 calls it with POOL"),
        (["Net(5, 4, 1, *rest, first=False)"], "line 14 calls it with an unpacked argument"),
        (["Net(5, first=False, **config)"], "line 14 calls it with an unpacked argument"),
    ],
)
def test_other_calls_leave_the_default_and_are_named(
    calls: list[str], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert load("\n".join(f"def make_{i}(): return {call}" for i, call in enumerate(calls))).pool == "last"
    assert f'pool="last" ({told})' in caplog.text


def test_a_call_that_leaves_a_parameter_out_confirms_its_default(caplog: pytest.LogCaptureFixture) -> None:
    assert load("def make(): return Net(5, first=False)").pool == "last"
    assert "default" not in caplog.text


def test_without_a_call_the_defaults_that_weights_do_not_show_are_told(caplog: pytest.LogCaptureFixture) -> None:
    load("")
    assert 'left at their defaults: pool="last", first=False' in caplog.text
    assert "give them in SOURCE, Net(pool=..., first=...); else" in caplog.text


def test_only_calls_of_the_last_definition_that_fit_it_count() -> None:
    old = "class Net(nn.Module):\n    def __init__(self, pool): pass\n\n\nold = lambda: Net('max')"
    assert load(f"{old}\n{MODEL}").pool == "last"
    assert load("def make(): return Net(5, 4, 1, 'max', True, 0.5, 7)").pool == "last"


def test_a_call_that_the_weights_contradict_is_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    made = load("def make(): return Net(5, 8, layers=3, pool='max')")
    assert (made.embedding.embedding_dim, len(made.parts), made.pool) == (4, 1, "max")
    assert "layers=1 (line 14 calls it with 3)" in caplog.text


def test_a_literal_is_taken_for_an_argument_that_has_no_default(folder: Path) -> None:
    code = (
        "class Sub(nn.Module):\n    def __init__(self, pool):\n        super().__init__()\n        self.pool = pool\n"
    )
    torch.save({}, folder / "none.pt")
    assert load(f"{code}\ndef make(): return Sub('max')", "Sub", "").pool == "max"


@pytest.mark.parametrize(("stated", "pool"), [("max", "max"), ("mean", "last"), ("last", "last")])
def test_a_checkpoint_that_says_something_else_is_not_overruled(stated: str, pool: str) -> None:
    torch.save({"state_dict": torch.load("net.pt"), "config": {"pool": stated}}, "said.ckpt")
    assert load("def make(): return Net(5, pool='max')", "Net", "said.ckpt").pool == pool


def test_the_arguments_of_a_function_are_found_in_the_same_way() -> None:
    made = load("def make(pool='last'): return Net(9, pool=pool)\n\n\ndef main(): return make('max')", "make")
    assert isinstance(made, nn.Module)
    assert made.pool == "max"
