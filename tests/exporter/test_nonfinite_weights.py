"""Weights that are not finite: 0 in the bundle where no answer reads them, else refused by their name."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pocketrnn.classifier import Classifier
from pocketrnn.errors import ExportError
from pocketrnn_export import export

WORDS = ["<pad>", "<unk>", *(f"w{i}" for i in range(10))]
pytestmark = pytest.mark.usefixtures("short_proofs")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 6)
        self.gru = nn.GRU(6, 4, batch_first=True)
        self.out = nn.Linear(4, 3)
        self.unused = nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.gru(self.embedding(tokens))[1][0])


@pytest.mark.slow
def test_weights_that_no_answer_reads_are_0_in_the_bundle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = Net().eval()
    with torch.no_grad():
        module.embedding.weight[15] = torch.nan
        module.unused.weight[1, 2] = -torch.inf
    export(module, tmp_path / "b", vocabulary=WORDS, labels=["a", "b", "c"], torchscript=False)
    told = next(one.getMessage() for one in caplog.records if one.levelno == logging.WARNING and "finite" in one.msg)
    assert "embedding.weight (in 1 of its 20 rows, from 0: 15)" in told
    assert "unused.weight (in 1 of its 3 rows, from 0: 1)" in told
    assert torch.isnan(module.embedding.weight[15]).all()
    ids = torch.tensor([[3, 4, 11]])
    assert Classifier.load(tmp_path / "b").logits(["w1 w2 w9"])[0] == pytest.approx(module(ids)[0].tolist(), abs=1e-5)


@pytest.mark.parametrize("number", [torch.nan, pytest.param(torch.inf, marks=pytest.mark.slow)])
def test_a_weight_that_answers_read_is_refused(number: float, tmp_path: Path) -> None:
    module = Net().eval()
    with torch.no_grad():
        module.embedding.weight[7, 2] = number
    with pytest.raises(ExportError, match=r"embedding\.weight .*: 7\)"):
        export(module, tmp_path / "b", vocabulary=WORDS, labels=["a", "b", "c"], torchscript=False)


def test_a_number_that_is_not_finite_is_refused_by_its_name(tmp_path: Path) -> None:
    module = Net().eval()
    module.register_parameter("scale", nn.Parameter(torch.tensor(torch.nan)))
    module.forward = lambda tokens: Net.forward(module, tokens) * module.scale  # type: ignore[method-assign]
    with pytest.raises(ExportError, match=r"scale .*: 0\)"):
        export(module, tmp_path / "b", vocabulary=WORDS, labels=["a", "b", "c"], torchscript=False)


class OfLastToken(Net):
    """Reads a weight of the last token only."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Embedding(20, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens) + torch.tanh(self.last(tokens[:, -1]))


def test_a_weight_that_few_answers_read_is_refused_by_its_name(tmp_path: Path) -> None:
    module = OfLastToken().eval()
    with torch.no_grad():
        module.last.weight[7] = torch.inf
    with pytest.raises(ExportError, match=r"last\.weight .*: 7\)"):
        export(module, tmp_path / "b", vocabulary=WORDS, labels=["a", "b", "c"], torchscript=False)
