"""Classifiers that ask about sizes far beyond the lengths at which a graph is observed, beside a limit of their own.

Each takes tokens [batch, sequence]. Its name says what it does.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from torch import Tensor, nn

__all__ = ["HELD_TO", "LABELS", "NOT_PACKED", "OTHER_TYPES", "PACKED", "WORDS", "made"]

WORDS, LABELS = 50, ("a", "b")
MOST = 700


class _Limited(nn.Module):
    most = MOST

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(WORDS, 8)
        self.rnn = nn.GRU(8, 6, batch_first=True)
        self.out = nn.Linear(6, len(LABELS))
        with torch.no_grad():
            self.out.weight.mul_(4)

    def states(self, tokens: Tensor) -> Tensor:
        if self.most and tokens.size(1) > self.most:
            raise ValueError("too long")
        states: Tensor = self.rnn(self.emb(tokens))[0]
        return states


class StepAt620(_Limited):
    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.states(tokens)[:, min(tokens.size(1), 620) - 1])


class NothingBetweenOneStep(_Limited):
    """Asks of neighbours, of which a text of one token has none."""

    most = 0

    def forward(self, tokens: Tensor) -> Tensor:
        states = self.states(tokens)
        same, change = tokens[:, 1:] == tokens[:, :-1], states[:, 1:] - states[:, :-1]
        found = same.any(1).float() + 2 * same.all(1).float() + same.sum(1) + change.abs().sum(1).mean(1)
        return self.out(states.mean(1) + found[:, None])


class FirstOfEvenAbove300(_Limited):
    def forward(self, tokens: Tensor) -> Tensor:
        length, states = tokens.size(1), self.states(tokens)
        return self.out(states[:, 0] if length > 300 and length % 2 == 0 else states[:, -1])


class MiddleStep(_Limited):
    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.states(tokens)[:, tokens.size(1) // 2])


class StepOfEach400(_Limited):
    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.states(tokens)[:, tokens.size(1) // 400])


class MeanOfFirst600ByAMask(_Limited):
    def forward(self, tokens: Tensor) -> Tensor:
        states = self.states(tokens)
        mask = (torch.arange(tokens.size(1)) < 600).float()[None, :, None]
        return self.out((states * mask).sum(1) / mask.sum(1))


class SumOverAtMost300(_Limited):
    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.states(tokens).sum(1) / min(tokens.size(1), 300))


class PositionsUpTo512(_Limited):
    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Embedding(512, 6)

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.size(1)).clamp(max=511)
        return self.out((self.states(tokens) + self.positions(places)).mean(1))


class AttendsBack40(_Limited):
    def forward(self, tokens: Tensor) -> Tensor:
        states = self.states(tokens)
        places = torch.arange(tokens.size(1))
        scores = states @ states.transpose(1, 2)
        scores = scores.masked_fill(places[None, :] > places[:, None] + 40, -1e9)
        return self.out((scores.softmax(-1) @ states).mean(1))


class WeighsByDistance(_Limited):
    most = 0

    def forward(self, tokens: Tensor) -> Tensor:
        states, places = self.states(tokens), torch.arange(tokens.size(1))
        distance = (places[None, :] - places[:, None]).abs()
        scores = states @ states.transpose(1, 2) - distance.float() / 8 + torch.relu(-distance + 3)
        return self.out((scores.softmax(-1) @ states).amax(1))


class HalfFrom650On(_Limited):
    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.states(tokens)[:, -1]) * (1.0 if tokens.size(1) < 650 else 0.5)


class ReadsFromTheEnd(_Limited):
    most = 0

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.states(tokens.flip(1))[:, -1:].squeeze(1) + self.states(tokens).amax(1))


class WeighsByPosition(_Limited):
    most = 0

    def forward(self, tokens: Tensor) -> Tensor:
        weights = torch.arange(1, tokens.size(1) + 1)
        return self.out((self.states(tokens) * weights[None, :, None]).sum(1) / weights.sum())


class HashesPositions(_Limited):
    most = 0

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Embedding(17, 6)

    def forward(self, tokens: Tensor) -> Tensor:
        places = (torch.arange(tokens.size(1)) * 100_003) % 17
        return self.out((self.states(tokens) + self.positions(places)).amax(1))


class PositionsInEightBits(_Limited):
    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.size(1)).to(torch.int8)
        return self.out(self.states(tokens)[:, -1] * (places[-1:] >= 0).float())


class PositionsInHalfPrecision(_Limited):
    most = 0

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.size(1)).half()
        return self.out((self.states(tokens) * (places == places.max()).float()[None, :, None]).sum(1))


class LengthsRoundedToEven(_Limited):
    """In float32 an odd number and 16,776,816 is an even one from 400 on."""

    most = 0

    def forward(self, tokens: Tensor) -> Tensor:
        length, states = torch.full((1, 1), tokens.size(1)).float(), self.states(tokens)
        return self.out(torch.where((length + 16_776_816) - 16_776_816 == length, states.mean(1), states.amax(1)))


class LengthsThatWrap(_Limited):
    most = 0

    def forward(self, tokens: Tensor) -> Tensor:
        length, states = torch.full((1, 1), tokens.size(1), dtype=torch.int32) * 700_001, self.states(tokens)
        return self.out(torch.where(length > 0, states.mean(1), states.amax(1)))


class DifferenceInDoublePrecision(_Limited):
    most = 0

    def forward(self, tokens: Tensor) -> Tensor:
        length, states = torch.full((1, 1), tokens.size(1)).double(), self.states(tokens)
        half = (length * 20_000.5 - length * 20_000).float()
        return self.out(torch.where(half == length.float() * 0.5, states.mean(1), states.amax(1)))


class FloorInDoublePrecision(_Limited):
    most = 0

    def forward(self, tokens: Tensor) -> Tensor:
        length = torch.arange(tokens.size(1), tokens.size(1) + 1, dtype=torch.float64) * 0.0012
        return self.out(self.states(tokens)[:, -1]) * (1 + (torch.floor(length) - length).float())


class CutTo600(_Limited):
    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.size(1) > MOST:
            raise ValueError("too long")
        return self.out(self.states(tokens[:, :600]).mean(1))


class Last590(_Limited):
    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.size(1) > MOST:
            raise ValueError("too long")
        return self.out(self.states(tokens[:, -590:]).mean(1))


class FirstTokensBetween600And650(_Limited):
    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.size(1) > MOST:
            raise ValueError("too long")
        return self.out(self.states(tokens[:, :600] if 600 < tokens.size(1) < 650 else tokens).mean(1))


class MeanAt613(_Limited):
    def forward(self, tokens: Tensor) -> Tensor:
        states = self.states(tokens)
        return self.out(states.mean(1) if tokens.size(1) == 613 else states[:, -1])


class EachOf500Steps(_Limited):
    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.states(tokens)[:, ::500].sum(1))


class PoolsOver500(_Limited):
    def forward(self, tokens: Tensor) -> Tensor:
        states = F.pad(self.states(tokens).transpose(1, 2), (0, 499))
        return self.out(F.max_pool1d(states, 500, 500).sum(2))


PACKED = (
    NothingBetweenOneStep, StepAt620, FirstOfEvenAbove300, MiddleStep, StepOfEach400, MeanOfFirst600ByAMask,
    SumOverAtMost300, PositionsUpTo512, AttendsBack40, ReadsFromTheEnd, WeighsByDistance, LengthsRoundedToEven,
)  # fmt: skip
# The most tokens for which their whole numbers have at most 32 bits, which the file states.
HELD_TO = {WeighsByPosition: 46_340, HashesPositions: 21_473, LengthsThatWrap: 3_067}
# The engine would decide otherwise for some number of tokens: it has neither of these types.
OTHER_TYPES = (
    PositionsInEightBits, PositionsInHalfPrecision, FloorInDoublePrecision, DifferenceInDoublePrecision,
)  # fmt: skip
# A size of theirs is no a * tokens + b up to 700 tokens; or the graph cuts texts for what holds for shorter ones.
NOT_PACKED = (
    CutTo600, Last590, FirstTokensBetween600And650, MeanAt613, EachOf500Steps, PoolsOver500, HalfFrom650On,
)  # fmt: skip


def made(kind: type[nn.Module]) -> nn.Module:
    """A module of this kind, always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind().eval()
