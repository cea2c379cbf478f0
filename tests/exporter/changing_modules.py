"""Modules whose runs change them: their statistics, states, counters, tables, or lists of their file.

`KINDS` has them all. Each takes ids, or with `of_numbers` sequences of six numbers a step.
"""

from __future__ import annotations

import random
import warnings
from collections import deque
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

CALLS: list[int] = []
SETTINGS = {"calls": 0}


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding: nn.Module = nn.Embedding(12, 6)
        self.lstm = nn.LSTM(6, 5, batch_first=True)
        self.fc = nn.Linear(5, 3)

    def embed(self, x: Tensor) -> Tensor:
        return self.embedding(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(self.embed(x))[0][:, -1])


class BatchNorm(Base):
    """A batch norm over the channels of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def embed(self, x: Tensor) -> Tensor:
        return self.norm(super().embed(x).transpose(1, 2)).transpose(1, 2)


class Dropout(Base):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def embed(self, x: Tensor) -> Tensor:
        return self.drop(super().embed(x))


class KeptHidden(Base):
    """The hidden state of the last call is kept, and not read."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: Any = None

    def forward(self, x: Tensor) -> Tensor:
        out, self.hidden = self.lstm(self.embed(x))
        return self.fc(out[:, -1])


class Counter(Base):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.log: list[int] = []
        self.seen: dict[str, Any] = {}
        self.recent: deque[int] = deque(maxlen=4)
        self.register_buffer("steps", torch.zeros(1, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.log.append(len(x))
        self.recent.append(len(x))
        self.seen["mean"] = x.float().mean()
        self.steps += 1
        return super().forward(x)


class CountsInItsFile(Base):
    def forward(self, x: Tensor) -> Tensor:
        CALLS.append(len(x))
        SETTINGS["calls"] += 1
        return super().forward(x)


class OwnRunningMean(Base):
    """A running mean of own make, which moves while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))

    def embed(self, x: Tensor) -> Tensor:
        made = super().embed(x)
        if self.training:
            with torch.no_grad():
                self.mean.mul_(0.9).add_(0.1 * made.mean((0, 1)))
        return made - self.mean


class MeanThatAlwaysMoves(Base):
    """A running mean that moves in eval mode, and that no answer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))

    def embed(self, x: Tensor) -> Tensor:
        made = super().embed(x)
        self.mean = 0.9 * self.mean + 0.1 * made.detach().mean((0, 1))
        return made


class LazyBuffer(Base):
    """A table that the first call makes, from a set seed."""

    def embed(self, x: Tensor) -> Tensor:
        if not hasattr(self, "scale"):
            self.register_buffer("scale", torch.linspace(0.5, 1.5, 6))
        return super().embed(x) * self.scale


class LazyPositions(Base):
    """A table of positions that grows with the longest text."""

    def __init__(self) -> None:
        super().__init__()
        self.table: Any = None

    def embed(self, x: Tensor) -> Tensor:
        if self.table is None or len(self.table) < x.shape[1]:
            self.table = torch.sin(torch.arange(x.shape[1])[:, None] / torch.arange(1, 7))
        return super().embed(x) + self.table[: x.shape[1]]


class OldSpectralNorm(Base):
    def __init__(self) -> None:
        super().__init__()
        self.fc = spectral_norm(nn.Linear(5, 3))


class NewSpectralNorm(Base):
    def __init__(self) -> None:
        super().__init__()
        self.fc = parametrizations.spectral_norm(nn.Linear(5, 3))


class OldWeightNorm(Base):
    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own: it is deprecated, and still met.
            self.fc = weight_norm(nn.Linear(5, 3))


class NewWeightNorm(Base):
    def __init__(self) -> None:
        super().__init__()
        self.fc = parametrizations.weight_norm(nn.Linear(5, 3))


class Lazy(Base):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.LazyLinear(3)
        self.fc(torch.zeros(1, 5))


class Ema(Base):
    """Averages of the weights, kept in a dict: eval mode answers by them, and training mode moves them."""

    def __init__(self) -> None:
        super().__init__()
        self.shadow = {"weight": self.fc.weight.detach().clone() * 0.9}

    def forward(self, x: Tensor) -> Tensor:
        out = self.lstm(self.embed(x))[0][:, -1]
        if self.training:
            self.shadow["weight"].mul_(0.99).add_(0.01 * self.fc.weight.detach())
            return self.fc(out)
        return out @ self.shadow["weight"].T + self.fc.bias


class MaxNorm(Base):
    """The look-up itself scales the rows of the table, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 6, max_norm=1.0)


class HalfFrozen(Base):
    """Some layers in eval mode and frozen, others in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(5)
        self.embedding.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(self.lstm(self.embed(x))[0][:, -1]))

    def train(self, mode: bool = True) -> HalfFrozen:
        super().train(mode)
        self.embedding.eval()
        return self


class Hooked(Base):
    """Hooks that write down what they see."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.fc.register_forward_hook(lambda _m, _i, out: self.seen.append(out.shape))
        self.lstm.register_forward_pre_hook(lambda _m, given: self.seen.append(given[0].shape))


class DrawsWhileTraining(Base):
    def embed(self, x: Tensor) -> Tensor:
        made = super().embed(x)
        if self.training:
            made = made + 0.1 * torch.randn_like(made) + random.random() + np.random.rand()
        return made


class CollectsMeanInTraining(Base):
    """Statistics of the states in a plain list and a plain tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.numbers = torch.zeros(5), 1

    def forward(self, x: Tensor) -> Tensor:
        out = self.lstm(self.embed(x))[0][:, -1]
        if self.training:
            self.mean, self.numbers = self.mean + out.detach().mean(0), self.numbers + 1
        return self.fc(out - self.mean / self.numbers)


class SetsTheWorld(Base):
    """Sets switches of the whole process in forward."""

    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        return super().forward(x)


class NoGradLeft(Base):
    """Freezes itself in forward, and zeroes the row of padding."""

    def forward(self, x: Tensor) -> Tensor:
        self.fc.weight.requires_grad_(False)
        with torch.no_grad():
            self.embedding.weight[0].zero_()
        return super().forward(x)


def of_numbers(kind: type[Base]) -> type[Base]:
    """The same module of sequences of numbers: a linear layer is in the place of the table."""

    class OfNumbers(kind):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Linear(6, 6)

    return OfNumbers


KINDS = [BatchNorm, *(kind for kind in Base.__subclasses__() if kind is not BatchNorm)]
