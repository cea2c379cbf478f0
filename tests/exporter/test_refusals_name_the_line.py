"""A module that cannot be exported as it is: the sentence names its line, and what to write there."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from slow_case_sampling import mostly_slow
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


class TakesBags(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bags, self.fc = nn.EmbeddingBag(40, 8), nn.Linear(8, 2)

    def forward(self, text: Tensor, offsets: Tensor) -> Any:
        return self.fc(self.bags(text, offsets))


class AsksForNoNumber(Encoder):
    def forward(self, tokens: Tensor) -> Any:
        state = self.steps(tokens)[:, -1]
        if torch.isnan(state).any():
            state = torch.zeros_like(state)
        return self.fc(state)


class ChoosesByCond(Encoder):
    def forward(self, tokens: Tensor) -> Any:
        state = self.steps(tokens)[:, -1]
        return self.fc(torch.cond((tokens == 3).any(), lambda one: -one, lambda one: one * 1, (state,)))


class LooksInArrays(Encoder):
    def forward(self, tokens: Tensor) -> Any:
        state, array = self.steps(tokens)[:, -1], tokens.numpy()
        found = ((array > 3) & (array < 5)).any(1)
        return self.fc(torch.where(torch.from_numpy(found)[:, None], -state, state))


class LooksInLists(Encoder):
    def forward(self, tokens: Tensor) -> Any:
        row = tokens[0].tolist()
        return self.fc(self.steps(tokens)[:, -1] * (1 + row.index(row[0])))


class CountsBytes(Encoder):
    def forward(self, tokens: Tensor) -> Any:
        state = self.steps(tokens)[:, -1]
        return self.fc(-state if 12000 < tokens.nbytes < 12400 else state)


class TakesWaves(Encoder):
    def forward(self, tokens: Tensor) -> Any:
        return self.fc(torch.fft.fft(self.steps(tokens)[:, -1]).real)


class KeepsASparseTensor(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.kept = torch.eye(5).to_sparse()

    def forward(self, tokens: Tensor) -> Any:
        return self.fc(self.steps(tokens)[:, -1] @ self.kept.to_dense())


class DrawsForRareTexts(Encoder):
    def forward(self, tokens: Tensor) -> Any:
        state = self.steps(tokens)[:, -1]
        return self.fc(torch.where(tokens[:, :1] == 3, functional.dropout(state, 0.5), state))


class DrawsAnewForRareTexts(Encoder):
    def forward(self, tokens: Tensor) -> Any:
        state = self.steps(tokens)[:, -1]
        noise = torch.from_numpy(np.random.default_rng().normal(size=5)).float()
        return self.fc(torch.where(tokens[:, :1] == 3, state + noise, state))


class DrawsBySeed(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.drawn = torch.Generator()

    def forward(self, tokens: Tensor) -> Any:
        self.drawn.manual_seed(4)
        return self.fc(self.steps(tokens)[:, -1] + torch.randn(5, generator=self.drawn))


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (TakesBags, r"offsets.*, offsets=None.*module\(tokens, None\)"),
        pytest.param(AsksForNoNumber, r"line\.py:\d+: `if torch\.isnan.*torch\.nan_to_num", marks=pytest.mark.slow),
        pytest.param(
            ChoosesByCond, r"torch\.cond at test_refusals_name_the_line.*torch\.where", marks=pytest.mark.slow
        ),
        pytest.param(LooksInArrays, r"line\.py:\d+: `found = .*NumPy.*torch\.where", marks=pytest.mark.slow),
        pytest.param(LooksInLists, r"line\.py:\d+: `return self.*row\.index", marks=pytest.mark.slow),
        pytest.param(CountsBytes, r"line\.py:\d+: `return self.*nbytes.*element_size", marks=pytest.mark.slow),
        pytest.param(TakesWaves, r"'DFT'.*line\.py:\d+: `return self.*torch\.eye\(n\)", marks=pytest.mark.slow),
        (KeepsASparseTensor, r"kept.*sparse.*kept\.to_dense\(\)"),
        (DrawsForRareTexts, r"random numbers.*line\.py:\d+: `.*functional\.dropout"),
        pytest.param(DrawsAnewForRareTexts, r"random numbers.*: `noise = .*default_rng\(\)", marks=pytest.mark.slow),
        pytest.param(DrawsBySeed, r"torch\.Generator.*: `.*torch\.randn.*buffer", marks=pytest.mark.slow),
        pytest.param(
            HalvesItsStates, r"test_refusals_name_the_line\.py:\d+: .*float32.*weight\.dtype", marks=pytest.mark.slow
        ),
        pytest.param(
            AsksInTorchScript,
            r"test_refusals_name_the_line\.py:\d+: `return self\.fc\(self\.pool",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            DropsHardlyEver,
            r"'Dropout'.*name_the_line\.py:\d+: `.*dropout.*random.*training=self\.training",
            marks=pytest.mark.slow,
        ),
        (TakesPlaces, r'module\(tokens, torch\.arange\(tokens\.size\(1\)\)\.expand_as\(tokens\)\)"'),
        (TakesTheLastPlace, r"module\(tokens, lengths - 1\)"),
        pytest.param(
            CountsInBytes, r"CumSum of uint8.*cumsum\(1, dtype=torch\.uint8\).*float32 or int64", marks=pytest.mark.slow
        ),
        pytest.param(Stretched, r"'Resize'.*F\.interpolate", marks=pytest.mark.slow),
        pytest.param(
            AutocastInside,
            r"16 bits, .*: `(with torch\.autocast|logits = self\.fc).*enabled=self\.training",
            marks=pytest.mark.slow,
        ),
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


class BeginsInStates(nn.Module):
    """States for 64 texts, in whatever holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(40, 6), nn.LSTM(6, 5, batch_first=True)
        self.fc = nn.Linear(5, 2)
        self.make()

    def make(self) -> None:
        self.h0, self.c0 = torch.randn(1, 64, 5), torch.randn(1, 64, 5)

    def begin(self) -> Any:
        return self.h0, self.c0

    def forward(self, tokens: Tensor) -> Any:
        return self.fc(self.lstm(self.embedding(tokens), self.begin())[0][:, -1])


class BeginsInBuffers(BeginsInStates):
    def make(self) -> None:
        self.register_buffer("h0", torch.randn(1, 64, 5))
        self.register_buffer("c0", torch.randn(1, 64, 5))


class BeginsInOneOfThem(BeginsInStates):
    def make(self) -> None:
        self.h0, self.c0 = torch.zeros(1, 64, 5), torch.randn(1, 64, 5)


class BeginsInATuple(BeginsInStates):
    def make(self) -> None:
        self.hidden = (torch.randn(1, 64, 5), torch.randn(1, 64, 5))

    def begin(self) -> Any:
        return self.hidden


class BeginsInAList(BeginsInStates):
    def make(self) -> None:
        self.hidden = [torch.randn(1, 64, 5), torch.randn(1, 64, 5)]

    def begin(self) -> Any:
        return tuple(self.hidden)


class BeginsInADict(BeginsInStates):
    def make(self) -> None:
        self.states = {"h": torch.randn(1, 64, 5), "c": torch.randn(1, 64, 5)}

    def begin(self) -> Any:
        return self.states["h"], self.states["c"]


class BeginsBelow(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([BeginsInStates()])

    def forward(self, tokens: Tensor) -> Any:
        return self.parts[0](tokens)


class TwoSizesOfStates(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.second, self.fc = nn.GRU(5, 7, batch_first=True), nn.Linear(7, 2)
        self.h1, self.h2 = torch.randn(1, 64, 5), torch.randn(1, 64, 7)

    def forward(self, tokens: Tensor) -> Any:
        return self.fc(self.second(self.gru(self.embedding(tokens), self.h1)[0], self.h2)[0][:, -1])


class BeginsACell(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.h0, self.c0 = nn.LSTMCell(6, 5), torch.randn(64, 5), torch.randn(64, 5)

    def forward(self, tokens: Tensor) -> Any:
        h, c = self.h0, self.c0
        for step in self.embedding(tokens).unbind(1):
            h, c = self.cell(step, (h, c))
        return self.fc(h)


class BeginsByHand(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.step, self.h0 = nn.Linear(11, 5), torch.randn(64, 5)

    def forward(self, tokens: Tensor) -> Any:
        h = self.h0
        for step in self.embedding(tokens).unbind(1):
            h = torch.tanh(self.step(torch.cat([step, h], 1)))
        return self.fc(h)


class TwoFixedNumbers(BeginsInStates):
    def make(self) -> None:
        self.rows = self.texts = 64

    def begin(self) -> Any:
        return torch.zeros(1, self.rows, 5), torch.zeros(1, self.texts, 5)


class FixedNumberOfItsClass(BeginsInStates):
    batch_size = 64

    def make(self) -> None:
        pass

    def begin(self) -> Any:
        return torch.zeros(1, self.batch_size, 5), torch.zeros(1, self.batch_size, 5)


class FillsAList(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.calls, self.seen = 0, []

    def forward(self, tokens: Tensor) -> Any:
        self.calls += 1
        self.seen.append(self.steps(tokens).mean((0, 1), keepdim=True))
        return self.fc(self.steps(tokens)[:, -1] * self.calls + torch.cat(self.seen).sum() * 0.01)


class KeepsBoth(BeginsInStates):
    def make(self) -> None:
        self.register_buffer("h", torch.zeros(1, 1, 5))
        self.register_buffer("c", torch.zeros(1, 1, 5))

    def forward(self, tokens: Tensor) -> Any:
        begin = [state.expand(1, len(tokens), 5).contiguous() for state in (self.h, self.c)]
        steps, (h, c) = self.lstm(self.embedding(tokens), tuple(begin))
        self.h, self.c = h[:, :1], c[:, :1]
        return self.fc(steps[:, -1])


WORDS = ["<pad>", "<unk>", *map(str, range(38))]
BEGINNING = [
    BeginsInStates, BeginsInBuffers, BeginsInOneOfThem, BeginsInATuple, BeginsInAList, BeginsInADict, BeginsBelow,
    TwoSizesOfStates, BeginsACell, BeginsByHand, TwoFixedNumbers, KeepsBoth,
    FixedNumberOfItsClass,
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("short_proofs_in_one_test")
@pytest.mark.parametrize("kind", mostly_slow(BEGINNING, 15))
def test_the_line_that_is_proposed_names_all_states_and_exports(kind: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = kind()
    with pytest.raises(ExportError) as caught:
        export(module, tmp_path / "b", labels=["a", "b"], vocabulary=WORDS, torchscript=False)
    (line,) = re.findall(r'--call "(.*?)"', str(caught.value))
    export(module, tmp_path / "b", labels=["a", "b"], vocabulary=WORDS, torchscript=False, call=line)


def test_a_list_that_calls_fill_is_named_beside_their_count(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"calls and seen"):
        export(FillsAList(), tmp_path / "b", labels=["a", "b"], vocabulary=WORDS)


class LongKernel(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(5, 5, 30)

    def forward(self, tokens: Tensor) -> Any:
        return self.fc(self.conv(self.steps(tokens).transpose(1, 2)).amax(2))


def test_the_width_that_a_kernel_needs_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r'"min_width": 30'):
        export(LongKernel(), tmp_path / "b", labels=["a", "b"], vocabulary=WORDS)


class LearntStates(BeginsInStates):
    def make(self) -> None:
        self.h0, self.c0 = (nn.Parameter(torch.randn(1, 64, 5)) for _ in range(2))


def test_states_that_are_weights_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"module\.h0 and module\.c0 .* 64 .*\[1, 1, 5\]"):
        export(LearntStates(), tmp_path / "b", labels=["a", "b"], vocabulary=WORDS)


class FailsAtOnce(Encoder):
    def forward(self, tokens: Tensor) -> Any:
        return self.fc(self.steps(tokens).reshape(64, -1))


class AsksForAnything(Encoder):
    def forward(self, tokens: Tensor, window: Tensor) -> Any:
        return self.fc(self.steps(tokens)[:, window.long().sum() + 100])


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow([FailsAtOnce, AsksForAnything], 2))
def test_no_line_is_proposed_that_does_not_run(kind: type[nn.Module], tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        export(kind(), tmp_path / "b", labels=["a", "b"], vocabulary=WORDS)
    assert "module(tokens, ...)" not in str(caught.value)


class Draws(Encoder):
    """Random numbers by torch's own generator."""

    def noise(self, steps: Tensor) -> Any:
        return functional.dropout(steps, 0.5)  # drawn

    def forward(self, tokens: Tensor) -> Any:
        return self.fc(self.noise(self.steps(tokens)).mean(1)) + 0 * torch.ones(2)


class DrawsByPython(Draws):
    def noise(self, steps: Tensor) -> Any:
        first = steps * 2
        return first * random.random()  # drawn


class DrawsByNumpy(Draws):
    def noise(self, steps: Tensor) -> Any:
        return steps * float(np.random.rand())  # drawn


class DrawsByItsOwn(Draws):
    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator()

    def noise(self, steps: Tensor) -> Any:
        return steps + torch.randn(steps.shape, generator=self.generator)  # drawn


class DrawsByItsOwnOfNumpy(Draws):
    def __init__(self) -> None:
        super().__init__()
        self.generator = np.random.default_rng(0)

    def noise(self, steps: Tensor) -> Any:
        return steps + float(self.generator.normal())  # drawn


class DrawsAfterACall(Draws):
    def noise(self, steps: Tensor) -> Any:
        return steps

    def forward(self, tokens: Tensor) -> Any:
        return self.fc(self.noise(self.steps(tokens)).mean(1) + torch.rand(5))  # drawn


@pytest.mark.parametrize(
    "kind",
    mostly_slow([Draws, DrawsByPython, DrawsByNumpy, DrawsByItsOwn, DrawsByItsOwnOfNumpy, DrawsAfterACall], 6, first=3),
)
def test_the_line_that_draws_random_numbers_is_named(kind: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    with pytest.raises(
        ExportError, match=r"test_refusals_name_the_line\.py:\d+: `.*# drawn`.*self\.training"
    ) as caught:
        export(kind(), tmp_path / "b", labels=["a", "b"], vocabulary=WORDS)
    assert "module.hidden = None" not in str(caught.value)
