"""Classifiers that compute with tokens in double or half precision, which the engine of packed files has not, or with
whole numbers that are made of tokens.

Each takes tokens [batch, sequence]. Its name says what it does.
"""

from __future__ import annotations

import torch
from packed_size_modules import LABELS, WORDS
from torch import Tensor, nn

__all__ = ["PACKED", "REFUSED", "ClampsFromThreeBillionOn"]

BUCKETS = 101


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(WORDS, 8)
        self.rnn = nn.GRU(8, 6, batch_first=True)
        self.buckets = nn.Embedding(BUCKETS, 6)
        self.out = nn.Linear(6, len(LABELS))

    def states(self, tokens: Tensor) -> Tensor:
        states: Tensor = self.rnn(self.emb(tokens))[0]
        return states

    def masked(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return self.out((self.states(tokens) * mask.float().unsqueeze(2)).sum(1))


class PercentInDouble(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        share = (tokens == 5).double().mean(1)
        return self.out(self.states(tokens).mean(1) + self.buckets((share * 100).long()))


class FloorOfPercentInDouble(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        share = torch.floor((tokens > 1).double().mean(1, keepdim=True) * 100) / 100
        return self.out(self.states(tokens).mean(1) + share.float())


class MoreThanTwoThirdsInDouble(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        share = (tokens > 20).double().mean(1, keepdim=True)
        return self.out(self.states(tokens).mean(1) + (share > 2 / 3).float())


class RunningShareInDouble(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        share = (tokens > 1).double().cumsum(1) / torch.arange(1, tokens.size(1) + 1).double()
        return self.masked(tokens, share >= 0.9)


class ShareInDoubleAsFloat(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        share = ((tokens == 5).double().mean(1) * 3).float()
        return self.out(self.states(tokens).mean(1) + self.buckets(torch.round(share * 30).long()))


class SumOfStatesInDoubleBucketed(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        total = self.states(tokens).double().sum((1, 2)).sigmoid()
        return self.out(self.buckets((total * 100).long()))


class LargestSumInDouble(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        states = self.states(tokens)
        place = states.double().sum(2).cumsum(1).argmax(1)
        return self.masked(tokens, torch.arange(tokens.size(1))[None] == place[:, None])


class PairsInDouble(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        keys = tokens[:, :-1].double() * 1_000_003 + tokens[:, 1:].double()
        same = (keys.unsqueeze(1) == keys.unsqueeze(2)).float().mean((1, 2))
        return self.out(self.states(tokens).mean(1) + same.unsqueeze(1))


class OddsInDouble(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        odds = torch.exp(self.states(tokens).sum((1, 2)).double())
        return self.out(self.states(tokens).mean(1) + torch.log1p(odds).float().unsqueeze(1))


class SpreadInDouble(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        states = self.states(tokens).double()
        spread = ((states * states).mean(1) - states.mean(1) * states.mean(1)).clamp(min=0).sqrt()
        return self.out(spread.float())


class TinyNumberInDouble(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        share = (tokens == 5).double().mean(1, keepdim=True)
        return self.out(self.states(tokens).mean(1) + torch.log(share + 1e-60).float())


class SineOfALargeNumberInDouble(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        count = (tokens == 5).sum(1, keepdim=True).double()
        return self.out(self.states(tokens).mean(1) + torch.sin(count * 12345678.9).float())


class AddsAndTakesAwayInDouble(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        large = (tokens == 5).sum(1, keepdim=True).double() * 2.0**40
        return self.out(((large + self.states(tokens)[:, -1].double()) - large).float())


class WholeNumbersThatCancelInDouble(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        large = (tokens == 5).sum(1, keepdim=True).double() * 2.0**30
        return self.out(self.states(tokens).mean(1) + ((large + 1.0) - large).float())


class MultipliesWhatMeansLeaveInDouble(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        states = self.states(tokens).double()
        left = states.mean(1) - states.sum(1) / tokens.size(1)
        return self.out(self.states(tokens).mean(1) + (left * 1e7).float())


class MultipliesItAfterTheCast(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        states = self.states(tokens).double()
        left = (states.mean(1) - states.sum(1) / tokens.size(1)).float()
        return self.out(self.states(tokens).mean(1) + left * 1e7)


class LargeStatesInDouble(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        states = self.states(tokens)[:, -1] * 300.0 * 300.0
        return self.out(((states.double() + self.states(tokens).mean(1).double()) - states.double()).float())


class ClampsFromThreeBillionOn(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        large = torch.where(tokens == 5, tokens.clamp(min=3_000_000_000), tokens)
        return self.out(self.states(tokens).mean(1) + large.float().mean(1, keepdim=True) * 1e-9)


class StatesInHalf(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.states(tokens).half().float().mean(1))


class MeanInDouble(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        mask = (tokens > 1).double()
        total = (self.states(tokens).double() * mask.unsqueeze(2)).sum(1)
        return self.out((total / mask.sum(1, keepdim=True).clamp(min=1)).float())


class LastByACountInDouble(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        places = (tokens > 1).double().cumsum(1)
        return self.masked(tokens, places == places[:, -1:])


class LogOfACountInDouble(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        count = (tokens > 1).sum(1, keepdim=True).double() + 1
        return self.out(self.states(tokens).mean(1) * (torch.log(count) / torch.sqrt(count)).float())


class MaskInHalf(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        return self.masked(tokens, (tokens > 1).half())


class RemaindersOfSums(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        sums = ((tokens - 20) * 31).sum(1)
        half = torch.div(sums, 2, rounding_mode="floor")
        found = self.buckets(sums % 97) + self.buckets(half.remainder(89)) + self.buckets(sums.fmod(50) + 50)
        return self.out(self.states(tokens).mean(1) + found)


class LastStepByItsPlace(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        count = (tokens > 1).sum(1).clamp(min=1)
        return self.out(self.states(tokens)[torch.arange(len(tokens)), count - 1])


class LastStepByGather(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        places = ((tokens > 1).sum(1).clamp(min=1) - 1).view(-1, 1, 1).expand(-1, 1, self.rnn.hidden_size)
        return self.out(self.states(tokens).gather(1, places).squeeze(1))


class WordsByGather(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        largest = tokens.argmax(1, keepdim=True)
        return self.out(self.states(tokens).mean(1) + self.emb(tokens.gather(1, largest))[:, 0, :6])


class PowerInDouble(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        count = (tokens > 1).sum(1, keepdim=True).double()
        return self.out(self.states(tokens).mean(1) * torch.log1p(torch.pow(1.5, count)).float())


class ThreeOfTenWords(_Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        most = (tokens > 20).sum(1, keepdim=True) >= tokens.size(1) * 0.3
        return self.out(self.states(tokens).mean(1) + most.float())


class HeldAboveItsMost(_Recurrent):
    """Where the least number is above the largest, PyTorch gives the largest."""

    def forward(self, tokens: Tensor) -> Tensor:
        states = self.states(tokens)
        return self.out(states[:, -1] + states[:, 0].clamp(0.2, -0.1))


REFUSED = (
    ThreeOfTenWords, PercentInDouble, MoreThanTwoThirdsInDouble, SpreadInDouble, FloorOfPercentInDouble,
    RunningShareInDouble, ShareInDoubleAsFloat, SumOfStatesInDoubleBucketed, LargestSumInDouble, PairsInDouble,
    OddsInDouble, TinyNumberInDouble, SineOfALargeNumberInDouble, AddsAndTakesAwayInDouble,
    WholeNumbersThatCancelInDouble, MultipliesWhatMeansLeaveInDouble, MultipliesItAfterTheCast, LargeStatesInDouble,
    StatesInHalf, PowerInDouble,
)  # fmt: skip
# float32 gives the answers of these, or the same whole numbers.
PACKED = (
    HeldAboveItsMost, LastByACountInDouble, RemaindersOfSums, LastStepByItsPlace, LastStepByGather, MeanInDouble,
    LogOfACountInDouble, MaskInHalf, WordsByGather,
)  # fmt: skip
