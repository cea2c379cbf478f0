"""Classifiers of sequences of numbers that do something else for some sizes, numbers or batches.

Each takes samples [batch, time, 3]. Its name says what it does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["NOT_PACKED", "PACKED", "REFUSED"]


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 6, batch_first=True)
        self.out = nn.Linear(6, 4)

    def last(self, samples: Tensor) -> Tensor:
        states: Tensor = self.gru(samples)[0]
        return states[:, -1]


class LastFourHundredSteps(_Recurrent):
    def forward(self, samples: Tensor) -> Tensor:
        return self.out(self.last(samples[:, -400:]))


class FirstSixHundredSteps(_Recurrent):
    def forward(self, samples: Tensor) -> Tensor:
        return self.out(self.last(samples[:, :600] if samples.size(1) > 600 else samples))


class StateOfStepSixHundred(_Recurrent):
    def forward(self, samples: Tensor) -> Tensor:
        return self.out(self.gru(samples)[0][:, min(samples.size(1), 620) - 1])


class EvenSteps(_Recurrent):
    def forward(self, samples: Tensor) -> Tensor:
        return self.out(self.last(samples[:, ::2] if samples.size(1) % 2 == 0 else samples))


class StepsThatAreNotZero(_Recurrent):
    """Padding is told by its zeros, as a loader makes it: a step of zeros inside is left out, too."""

    def forward(self, samples: Tensor) -> Tensor:
        mask = samples.abs().sum(2, keepdim=True) > 0
        return self.out((self.gru(samples)[0] * mask).sum(1) / mask.sum(1).clamp(min=1))


class AlarmOfALargeNumber(_Recurrent):
    def forward(self, samples: Tensor) -> Tensor:
        return self.out(self.last(samples) + 3 * (samples > 500).any(1).any(1, keepdim=True).float())


class BucketsInDouble(_Recurrent):
    def forward(self, samples: Tensor) -> Tensor:
        bucket = (samples[..., 0].double().mean(1) * 1000).long() % 7
        return self.out(self.last(samples) + bucket.float().unsqueeze(1) / 7)


class NoNumbersAreZero(_Recurrent):
    def forward(self, samples: Tensor) -> Tensor:
        return self.out(self.last(torch.nan_to_num(samples)))


class LaterRowsOfABatch(_Recurrent):
    def forward(self, samples: Tensor) -> Tensor:
        later = torch.arange(samples.size(0)) >= 20
        return self.out(self.last(samples) * (1 + later.float().unsqueeze(1)))


class ScaledByTheBatch(_Recurrent):
    def forward(self, samples: Tensor) -> Tensor:
        return self.out(self.last(samples / samples.abs().amax().clamp(min=1e-3)))


class GoesOnFromItsLastState(_Recurrent):
    def __init__(self) -> None:
        super().__init__()
        self.state: Tensor | None = None

    def forward(self, samples: Tensor) -> Tensor:
        kept = self.state if bool((samples[0, 0] > 2).any()) else None
        states, state = self.gru(samples, kept)
        self.state = state[:, :1].detach().expand_as(state)
        return self.out(states[:, -1])


class LargestChange(_Recurrent):
    def forward(self, samples: Tensor) -> Tensor:
        change = samples.diff(dim=1, prepend=samples[:, :1]).abs().sum(2)
        return self.out(self.gru(samples)[0][torch.arange(len(samples)), change.argmax(1)])


# A file packed of each of these answers as the module.
PACKED = (
    StateOfStepSixHundred, StepsThatAreNotZero, AlarmOfALargeNumber, LaterRowsOfABatch, LargestChange,
)  # fmt: skip
NOT_PACKED = (LastFourHundredSteps, FirstSixHundredSteps, EvenSteps, BucketsInDouble, NoNumbersAreZero)
REFUSED = (ScaledByTheBatch, GoesOnFromItsLastState)
