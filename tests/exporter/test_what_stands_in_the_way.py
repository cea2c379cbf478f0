"""A module that cannot be exported as it is: the sentence names its line, and what to write there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pocketrnn import Classifier
from pocketrnn.errors import ExportError, LimitError
from pocketrnn_export import export


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.gru = nn.Embedding(40, 6, padding_idx=0), nn.GRU(6, 5, batch_first=True)
        self.fc = nn.Linear(5, 2)

    def steps(self, tokens: Tensor) -> Tensor:
        return self.gru(self.embedding(tokens))[0]  # type: ignore[no-any-return]


class CountsInBytes(Encoder):
    def forward(self, tokens: Tensor) -> Any:
        places = torch.ones_like(tokens, dtype=torch.uint8).cumsum(1, dtype=torch.uint8)
        return self.fc((self.steps(tokens) * (places > 1).unsqueeze(2)).sum(1))


class Stretched(Encoder):
    def forward(self, tokens: Tensor) -> Any:
        return self.fc(functional.interpolate(self.steps(tokens)[:, None], size=(4, 5))[:, 0].mean(1))


class Autocast(Encoder):
    def forward(self, tokens: Tensor) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.fc(self.steps(tokens).float().mean(1) * 30)


class AutocastInside(Encoder):
    def forward(self, tokens: Tensor) -> Any:
        steps = self.steps(tokens).mean(1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.fc(steps)
        return logits.float()


class MixesTexts(Encoder):
    def forward(self, tokens: Tensor) -> Any:
        last = self.steps(tokens)[:, -1]
        return self.fc(last - last.mean(0))


class TakesPlaces(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(600, 6)

    def forward(self, tokens: Tensor, positions: Tensor) -> Any:
        return self.fc(self.gru(self.embedding(tokens) + self.places(positions))[0].mean(1))


class TakesTheLastPlace(Encoder):
    def forward(self, tokens: Tensor, last: Tensor) -> Any:
        return self.fc(self.steps(tokens)[torch.arange(len(tokens)), last])


class LoudTextsByTheMean(nn.Module):
    def forward(self, steps: Tensor) -> Tensor:
        return steps.mean(1) if bool(steps.sum() > 50) else steps[:, -1]


class AsksInTorchScript(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.pool = torch.jit.script(LoudTextsByTheMean())

    def forward(self, tokens: Tensor) -> Any:
        return self.fc(self.pool(self.steps(tokens)))


class DropsHardlyEver(Encoder):
    def forward(self, tokens: Tensor) -> Any:
        return self.fc(functional.dropout(self.steps(tokens)[:, -1], 1e-9))


class HalvesItsStates(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.fc = self.fc.half()

    def forward(self, tokens: Tensor) -> Any:
        return self.fc(self.steps(tokens)[:, -1].half())


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (HalvesItsStates, r"test_what_stands_in_the_way\.py:\d+: .*float32.*weight\.dtype"),
        (AsksInTorchScript, r"test_what_stands_in_the_way\.py:\d+: `return self\.fc\(self\.pool"),
        pytest.param(DropsHardlyEver, r"'Dropout'.*random.*training=self\.training", marks=pytest.mark.slow),
        (TakesPlaces, r'module\(tokens, torch\.arange\(tokens\.size\(1\)\)\.expand_as\(tokens\)\)"'),
        (TakesTheLastPlace, r"module\(tokens, lengths - 1\)"),
        (CountsInBytes, r"CumSum of uint8.*cumsum\(1, dtype=torch\.uint8\).*float32 or int64"),
        (Stretched, r"'Resize'.*F\.interpolate"),
        (AutocastInside, r"16 bits, .*: `(with torch\.autocast|logits = self\.fc).*enabled=self\.training"),
        pytest.param(Autocast, r"bfloat16.*torch\.autocast", marks=pytest.mark.slow),
        pytest.param(MixesTexts, r"beside other texts.*one_text=True", marks=pytest.mark.slow),
    ],
)
def test_the_cause_and_the_remedy_are_named(kind: type[nn.Module], named: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    with pytest.raises(ExportError, match=named):
        export(kind(), tmp_path / "b", labels=["a", "b"], vocabulary=["<pad>", "<unk>", *map(str, range(38))])


class Spread(Encoder):
    def forward(self, tokens: Tensor) -> Any:
        return self.fc(self.steps(tokens).std(1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:std")
def test_a_text_too_short_for_a_finite_answer_is_beyond_a_limit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Spread().eval()
    words = ["<pad>", "<unk>", *(f"w{i}" for i in range(38))]
    made = export(module, tmp_path / "b", labels=["a", "b"], vocabulary=words, torchscript=False)
    assert made.graph.limits is not None
    assert made.graph.limits.min_tokens == 2
    classifier = Classifier.load(tmp_path / "b")
    expected = module(torch.tensor([[3, 4, 5]])).softmax(1).detach()
    torch.testing.assert_close(torch.tensor(classifier.predict_proba(["w1 w2 w3"])), expected, check_dtype=False)
    with pytest.raises(LimitError):
        classifier.predict(["w1"])
