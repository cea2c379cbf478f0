"""CONTRIBUTING's list of the files that an export passes through."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pocketrnn_export
from pocketrnn_export import export

pytestmark = pytest.mark.usefixtures("short_proofs")

EXPORTER = Path(pocketrnn_export.__file__).parent
CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"


class AsksForTheLength(nn.Module):
    """A question about a size, so that several programs are compared."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 4)
        self.rnn = nn.GRU(4, 4, batch_first=True)
        self.fc = nn.Linear(4, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        states = self.rnn(self.embedding(tokens))[0]
        logits: Tensor = self.fc(states.mean(1) if tokens.size(1) > 3 else states.amax(1))
        return logits


def files_entered(module: nn.Module, path: Path) -> set[str]:
    entered: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            entered.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        export(
            module.eval(),
            path,
            labels=["bad", "good"],
            vocabulary=["<pad>", "<unk>", *(f"w{i}" for i in range(10))],
            torchscript=False,
        )
    finally:
        sys.setprofile(None)
    return {str(Path(name).relative_to(EXPORTER)) for name in entered if Path(name).is_relative_to(EXPORTER)}


def named_in_contributing() -> list[str]:
    section = CONTRIBUTING.read_text(encoding="utf-8").split("## `export` from top to bottom")[1].split("\n## ")[0]
    return re.findall(r"^\d+\. `([\w/]+\.py)`", section, re.MULTILINE)


def test_contributing_names_fifteen_files_that_are_there() -> None:
    named = named_in_contributing()
    assert len(named) == len(set(named)) == 15
    assert all((EXPORTER / name).is_file() for name in named)


# A profiler sees each call, which takes ten times as long.
@pytest.mark.slow
def test_an_export_passes_through_the_files_that_contributing_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    assert not set(named_in_contributing()) - files_entered(AsksForTheLength(), tmp_path / "bundle")
