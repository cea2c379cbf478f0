"""Classifiers that cut long texts before a recurrent layer that forgets all but the last steps: only a word over which
the layer holds its state shows what was cut."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Over the word HELD the layers keep their state; over all others they forget it.
WORDS, CLASSES, SIZE, HELD = 50, 3, 12, 5
# So long are texts of which something is cut.
LONG = 400


class Base(nn.Module):
    """A layer whose gate stays open over HELD, as one that was trained to ignore that word."""

    def __init__(self, layer: type[nn.Module] = nn.GRU) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(WORDS, SIZE), layer(SIZE, SIZE, batch_first=True)
        self.fc = nn.Linear(SIZE, CLASSES)
        gates = {nn.GRU: slice(SIZE, 2 * SIZE), nn.LSTM: slice(SIZE, 2 * SIZE)}[layer]
        with torch.no_grad():
            self.embedding.weight[HELD] = 0
            self.embedding.weight[HELD, 0] = 3
            self.rnn.weight_ih_l0[gates, 0] = 6
            if layer is nn.LSTM:
                self.rnn.weight_ih_l0[:SIZE, 0] = -6

    def last(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(self.embedding(x))[0][:, -1]) * 3


class LastSteps(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(x[:, -LONG:])


class LastStepsOfLSTM(LastSteps):
    def __init__(self) -> None:
        super().__init__(nn.LSTM)


class LastStepsIfLong(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(x[:, -LONG:] if x.size(1) > LONG else x)


class WithoutTheFirst(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(x if x.size(1) < LONG else x[:, 50:])


class EverySecond(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(x if x.size(1) <= LONG else x[:, ::2])


class BothEnds(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(x if x.size(1) <= LONG else torch.cat([x[:, : LONG // 2], x[:, -LONG // 2 :]], 1))


class FirstState(Base):
    """A first state that was learnt is left out for long texts."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.linspace(-1, 1, SIZE))

    def forward(self, x: Tensor) -> Tensor:
        state = self.first.expand(1, len(x), -1).contiguous()
        outputs, _ = self.rnn(self.embedding(x), state * float(x.size(1) < LONG))
        return self.fc(outputs[:, -1]) * 3


FORGET = (LastSteps, LastStepsOfLSTM, LastStepsIfLong, WithoutTheFirst, EverySecond, BothEnds, FirstState)
