"""The README's and the help's own lines are run as they stand, and every command is documented."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pandas
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner

from pocketrnn.commands.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CORPUS = (ROOT / "docs" / "scoring-a-corpus.md").read_text(encoding="utf-8")
COMMANDS = {name: main.get_command(click.Context(main), name) for name in main.list_commands(click.Context(main))}
MODEL = """
from torch import nn

class Classifier(nn.Module):
    def __init__(self, words=5, dim=16, hidden=8, classes=2):
        super().__init__()
        self.embedding = nn.Embedding(words, dim)
        self.gru = nn.GRU(dim, hidden, batch_first=True)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, tokens):
        return self.fc(self.gru(self.embedding(tokens))[1][-1])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the README's command lines name."""
    monkeypatch.chdir(tmp_path)
    rows = ["good film,positive", "bad film,negative", "a good one,positive", "a bad one,negative"] * 10
    for name in ("reviews.csv", "test.csv"):
        Path(name).write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    Path("probabilities.csv").write_text("\n".join(["negative,positive", *["0.1,0.9", "0.8,0.2"] * 20]) + "\n")
    Path("headlines.txt").write_text("NASA probe nears Saturn\nOil prices rise again\n", encoding="utf-8")
    Path("headlines.csv").write_text("text,source\nNASA probe nears Saturn,wire\n", encoding="utf-8")
    Path("headlines.jsonl").write_text('{"headline": "Oil prices rise again"}\n', encoding="utf-8")
    Path("vocab.txt").write_text("<unk>\n<pad>\ngood\nbad\nfilm\n", encoding="utf-8")
    Path("model.py").write_text(MODEL, encoding="utf-8")
    cells = [{"cell_type": "code", "source": MODEL}, {"cell_type": "code", "source": "open('not run')"}]
    Path("notebook.ipynb").write_text(json.dumps({"nbformat": 4, "cells": cells}), encoding="utf-8")
    words = ["<unk>", "<pad>", "good", "bad", "film"]
    Path("word2idx.json").write_text(json.dumps({"word2idx": {word: i for i, word in enumerate(words)}}))
    Path("labels.json").write_text('["no", "yes"]')
    Path("pairs.jsonl").write_text('{"text": "A good film", "ids": [0, 2, 4]}\n')
    scope: dict[str, type[torch.nn.Module]] = {}
    exec(MODEL, scope)  # noqa: S102 - our own text, above
    torch.save(scope["Classifier"]().state_dict(), "weights.pt")
    safetensors.torch.save_file(scope["Classifier"]().state_dict(), "weights.safetensors")
    return tmp_path


def run_line(line: str) -> None:
    command, _, redirected = line.partition(" < ")
    arguments = shlex.split(command)
    assert arguments[0] == "pocketrnn"
    given = Path(redirected.strip()).read_bytes() if redirected else None
    result = CliRunner().invoke(main, arguments[1:], input=given)
    assert result.exit_code == 0, f"{line}\n{result.output}"


def test_the_readmes_command_lines_run_in_their_order(folder: Path) -> None:
    lines = re.findall(r"^\$ (pocketrnn .*)$", README, re.MULTILINE)
    assert len(lines) > 5
    for line in lines:
        run_line(line)


def test_the_command_line_of_the_page_on_files_runs(folder: Path) -> None:
    page = (ROOT / "docs" / "your-files.md").read_text(encoding="utf-8").replace("\\\n", "")
    lines = re.findall(r"^\$ (pocketrnn .*)$", page, re.MULTILINE)
    assert len(lines) == 1
    run_line(lines[0])


def test_the_readmes_python_runs(folder: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 2
    scope: dict[str, object] = {}
    for block in blocks:
        exec(block, scope)  # noqa: S102 - the README's own lines
    assert (folder / "mood" / "classifier.json").is_file()


def test_the_function_for_spark_answers_frames_of_pandas_as_one_process_does() -> None:
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", CORPUS, re.DOTALL) if "def classified" in b]
    scope: dict[str, Any] = {}
    exec(block, scope)  # noqa: S102 - the page's own lines
    texts = [f"Oil prices rise {i}" if i % 3 else f"The team wins {i}" for i in range(40)]
    frames = [pandas.DataFrame({"id": range(i, i + 10), "text": texts[i : i + 10]}) for i in range(0, 40, 10)]
    frames.insert(1, frames[0].iloc[:0])
    frames.append(pandas.DataFrame({"id": [40], "text": [None]}))
    together = pandas.concat(list(scope["classified"](iter(frames))))
    assert together["id"].tolist() == list(range(41))
    assert together["label"].tolist() == [*scope["loaded"]("ag_news").predict(texts), None]
    assert together["probability"].isna().tolist() == [False] * 40 + [True]


@pytest.mark.parametrize("name", ["classify", "verify", "inspect"])
def test_the_examples_in_the_runtimes_help_run(name: str, folder: Path) -> None:
    lines = [line.strip() for line in (COMMANDS[name].help or "").splitlines() if line.strip().startswith("pocketrnn ")]
    assert lines
    for line in lines:
        run_line(line)


def test_every_command_and_option_has_help() -> None:
    assert set(COMMANDS) == {
        "bench",
        "classify",
        "compress",
        "evaluate",
        "export",
        "import-vocab",
        "inspect",
        "pack",
        "train",
        "verify",
    }
    for name, command in COMMANDS.items():
        assert command is not None
        assert command.help, name
        assert "Examples:" in command.help, name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"


def test_the_readme_names_every_command() -> None:
    for name in COMMANDS:
        assert f"pocketrnn {name}" in README, name


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")), ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
