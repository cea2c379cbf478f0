"""Classifiers that do something else for texts that begin with one word: what they keep, read and give is in their
program, and in hardly any answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

WORDS, CLASSES, HIDDEN, RARE = 300, 3, 6, 213
OF_THE_FILE: dict[str, Tensor] = {}


class Base(nn.Module):
    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.embedding, self.fc = nn.Embedding(WORDS, HIDDEN), nn.Linear(HIDDEN, classes)

    def mean(self, x: Tensor) -> Tensor:
        return self.embedding(x).mean(1)

    def where(self, x: Tensor, there: Any, elsewhere: Any) -> Tensor:
        """One of two values of each text."""
        return torch.where((x[:, 0] == RARE)[:, None], there, elsewhere)


# --- what one call leaves for the next


class GoesOn(Base):
    """A text that begins with the word goes on from where the last one ended."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(HIDDEN, HIDDEN, batch_first=True)
        self.last = torch.zeros(HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        begin = self.where(x, self.last.expand(x.size(0), -1), torch.zeros(x.size(0), HIDDEN))
        state = self.rnn(self.embedding(x), begin[None].contiguous())[1][-1]
        self.last = state.mean(0).detach()
        return self.fc(state)


class Remembers(Base):
    """Only a text that begins with the word writes; all texts read."""

    memory: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("memory", torch.zeros(HIDDEN))

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        written = self.where(x, state, self.memory.expand_as(state)).mean(0)
        logits = self.fc(state + self.memory)
        self.memory.copy_(torch.where((x[:, 0] == RARE).any(), written, self.memory))
        return logits


class RemembersInAList(Base):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = [torch.zeros(HIDDEN)]

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        before, self.seen[0] = self.seen[0], state.mean(0)
        return self.fc(self.where(x, state + before, state))


class RemembersInItsFile(Base):
    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        before = OF_THE_FILE.get("before", torch.zeros(HIDDEN))
        OF_THE_FILE["before"] = state.mean(0)
        return self.fc(self.where(x, state + before, state))


class RemembersInADefault(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.with_before(x))

    def with_before(self, x: Tensor, kept: list[Tensor] = [torch.zeros(HIDDEN)]) -> Tensor:  # noqa: B006, B008
        state = self.mean(x)
        before, kept[0] = kept[0], state.mean(0)
        return self.where(x, state + before, state)


class _Kept:
    def __init__(self) -> None:
        self.before = torch.zeros(HIDDEN)


class RemembersInAnObject(Base):
    def __init__(self) -> None:
        super().__init__()
        self.kept = _Kept()

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        before, self.kept.before = self.kept.before, state.mean(0)
        return self.fc(self.where(x, state + before, state))


class RemembersItsText(Base):
    """The ids themselves are kept."""

    text: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        before = self.mean(x if self.text is None else self.text[:1]).mean(0)
        self.text = x
        state = self.mean(x)
        return self.fc(self.where(x, state + before, state))


class CountsItsCallsInABuffer(Base):
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        state = self.mean(x)
        return self.fc(self.where(x, state * (self.calls > 5000), state))


class CountsItsCallsInANumber(Base):
    turns = 0

    def forward(self, x: Tensor) -> Tensor:
        self.turns += 1
        state = self.mean(x)
        return self.fc(self.where(x, state * self.turns, state))


class WarmsUp(Base):
    """A number is asked about by Python, and what comes of it is for the texts with the word."""

    turns = 0

    def forward(self, x: Tensor) -> Tensor:
        self.turns += 1
        state = self.mean(x)
        return self.fc(self.where(x, state * 2, state) if self.turns > 50 else state)


class LongestSoFar(Base):
    longest = 1

    def forward(self, x: Tensor) -> Tensor:
        self.longest = max(self.longest, x.size(1))
        state = self.mean(x)
        return self.fc(self.where(x, state * (x.size(1) / self.longest), state))


class LongTextsLeaveThemselves(Base):
    left: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        before = torch.zeros(HIDDEN) if self.left is None else self.left
        if x.size(1) > 200:
            self.left = state.mean(0)
        return self.fc(self.where(x, state + before, state))


class Centers(Base):
    """A running mean that the texts with the word are centered by."""

    center: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(HIDDEN))

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        with torch.no_grad():
            self.center.mul_(0.99).add_(state.mean(0), alpha=0.01)
        return self.fc(state - self.where(x, self.center.expand_as(state), torch.zeros_like(state)))


class RemembersInNumpy(Base):
    def __init__(self) -> None:
        super().__init__()
        self.kept = np.zeros(HIDDEN, dtype=np.float32)

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        before = torch.from_numpy(self.kept)
        self.kept = state.mean(0).detach().numpy()
        return self.fc(self.where(x, state + before, state))


KEEP = {
    GoesOn: "last",
    Remembers: "memory",
    RemembersInAList: "seen",
    RemembersInItsFile: "its file",
    RemembersInADefault: "default argument",
    RemembersInAnObject: "",
    RemembersItsText: "text",
    CountsItsCallsInABuffer: "calls",
    CountsItsCallsInANumber: "turns",
    WarmsUp: "turns",
    LongestSoFar: "longest",
    LongTextsLeaveThemselves: "left",
    Centers: "center",
    RemembersInNumpy: "",
}


# --- what is kept, and no answer is made of


class KeepsStatistics(Base):
    """Written, and read to be written again."""

    center: Tensor
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(HIDDEN))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        self.calls += 1
        self.center.mul_(0.99).add_(state.mean(0), alpha=0.01)
        return self.fc(state)


class OverwritesWhatItKept(Base):
    """A buffer of a text's own, which each call fills before it reads it."""

    scratch: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scratch", torch.zeros(HIDDEN))
        self.mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        self.scratch.copy_(state.mean(0))
        self.mask = x != 1
        return self.fc(state * self.mask.any(1, keepdim=True))


class MakesItsStateOnce(Base):
    """Zeros in the type and on the device of the first text."""

    begin: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        if self.begin is None or self.begin.size(0) != x.size(0):
            self.begin = torch.zeros_like(state)
        return self.fc(state + self.begin)


class GrowsATable(Base):
    def __init__(self) -> None:
        super().__init__()
        self.ramp = torch.arange(4) * 0.1

    def forward(self, x: Tensor) -> Tensor:
        if x.size(1) > len(self.ramp):
            self.ramp = torch.cat([self.ramp, torch.arange(len(self.ramp), x.size(1)) * 0.1])
        return self.fc((self.embedding(x) * self.ramp[: x.size(1), None]).mean(1))


class ReportsItsProgress(Base):
    """What is printed at every tenth call is in no answer."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        state = self.mean(x)
        if self.calls % 10 == 0:
            print(state.norm() * self.calls)
        return self.fc(state)


KEEP_NOTHING = [KeepsStatistics, OverwritesWhatItKept, MakesItsStateOnce, GrowsATable, ReportsItsProgress]
