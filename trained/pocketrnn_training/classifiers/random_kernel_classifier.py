"""A classifier of sequences of numbers without recurrence.

Its features are the shares of steps at which random kernels respond.

Dempster, Schmidt and Webb, "MiniRocket: a very fast (almost) deterministic transform for time series classification",
2021, https://arxiv.org/abs/2012.08791: convolutions by kernels of nine steps, of which three weigh 2 and six -1; for
each the share of steps at which it is above a threshold; a linear model. Here a kernel counts a step by a ramp around
its threshold and not by a comparison, so that rounding changes an answer only a little.

Where rows differ in size, each is divided by its own deviation first. This loses its deviation and its mean, which are
features beside the shares, by ramps too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.errors import InputError

__all__ = [
    "BANK",
    "KERNEL_STEPS",
    "SIZE_RAMPS",
    "KernelArchitecture",
    "KernelClassifier",
    "choose_dilation_of_each_kernel_bank",
    "standardize_and_measure_channels",
]

# The kernels of one dilation and one sum of channels: few, so that a microcontroller can hold their responses to a row.
BANK: Final = 42
KERNEL_STEPS: Final = 9
# The number of ramps for the deviation of a channel, and for its mean.
SIZE_RAMPS: Final = 8
# The deviation of all rows is about 1. A row is scaled up at most by the inverse of this.
_LEAST_SIZE: Final = 1e-3
_LARGEST_DIM: Final = 65_536
# How many dilations there are at most; the largest lets a kernel span a row of the median length.
_DILATIONS: Final = 12


@dataclass(frozen=True)
class KernelArchitecture:
    """The sizes of the weights of a classifier of random kernels, which never reads padding.

    Attributes:
        channels: how many numbers a step has.
        dilations: for each bank of `BANK` (42) kernels, its dilation in steps, as in `nn.Conv1d`.
        classes: the number of logits.
        own_scale: whether each channel of each row is first scaled to mean 0 and standard deviation 1.

    Raises:
        InputError: a value is out of its range.
    """

    # The value that pads the rows of a batch; and whether each row is read by its length.
    padding_value: ClassVar[float] = 0.0
    packed: ClassVar[bool] = True

    channels: int
    dilations: tuple[int, ...]
    classes: int
    own_scale: bool = False

    def __post_init__(self) -> None:
        # As JSON has them: a list, perhaps of 1.0.
        object.__setattr__(self, "dilations", tuple(map(int, self.dilations)))
        if not 1 <= len(self.dilations) <= _LARGEST_DIM or not all(1 <= d <= _LARGEST_DIM for d in self.dilations):
            raise InputError(
                f"`dilations` is {self.dilations!r:.80}, but it must hold 1 to {_LARGEST_DIM} whole numbers from 1 to "
                f"{_LARGEST_DIM}.",
                "Give one dilation for each bank of kernels, such as (1, 2, 4).",
            )
        if not 1 <= self.channels <= _LARGEST_DIM:
            raise InputError(
                f"`channels` is {self.channels}, but it must be from 1 to {_LARGEST_DIM}.",
                "Give the number of numbers in each step.",
            )
        if self.classes < 2:
            raise InputError(f"`classes` is {self.classes}, but it must be 2 or more.", "Give the number of classes.")

    @property
    def kernels(self) -> int:
        """The number of kernels of all banks together."""
        return BANK * len(self.dilations)

    @property
    def features(self) -> int:
        """The number of input features of the linear layer."""
        return self.kernels + (2 * SIZE_RAMPS * self.channels if self.own_scale else 0)

    @property
    def summary(self) -> str:
        """The kernels, in words for a report."""
        plural = "" if self.channels == 1 else "s"
        scale = ", each row divided by its own deviation" if self.own_scale else ""
        return (
            f"{self.kernels:,} random kernels of {KERNEL_STEPS} steps, {min(self.dilations)} to {max(self.dilations)} "
            f"apart, and a linear layer, {self.channels} channel{plural}{scale}, {self.classes} classes"
        )


class KernelClassifier(nn.Module):
    """A linear layer over features of random convolution kernels: the mean of each output, clamped to 0 to 1.

    If there are several channels, each bank of kernels reads a sum of some of them. The weights of the linear layer are
    fitted in closed form (`pocketrnn_training.candidates.fit_without_epochs`), not by gradient steps.
    """

    def __init__(self, architecture: KernelArchitecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.sums = nn.Conv1d(a.channels, len(a.dilations), 1, bias=False) if a.channels > 1 else None
        self.banks = nn.ModuleList(
            nn.Conv1d(1, BANK, KERNEL_STEPS, dilation=d, padding=KERNEL_STEPS // 2 * d) for d in a.dilations
        )
        self.size_rates: nn.Parameter | None = None
        if a.own_scale:
            self.size_rates = nn.Parameter(torch.ones(SIZE_RAMPS, 2 * a.channels))
            self.size_offsets = nn.Parameter(torch.zeros(SIZE_RAMPS, 2 * a.channels))
        # The mean of each feature on the training rows. It is subtracted, so that the sums of the linear layer stay
        # small and are rounded less.
        self.means = nn.Parameter(torch.zeros(a.features))
        self.fc = nn.Linear(a.features, a.classes)

    def forward(self, samples: Tensor, lengths: Tensor) -> Tensor:
        """Compute the logits of a batch.

        Args:
            samples: float32 [batch, time, channels].
            lengths: int64 [batch], each from 1 to time.

        Returns:
            float32 [batch, classes].
        """
        logits: Tensor = self.fc(self.shares(samples, lengths) - self.means)
        return logits

    def shares(self, samples: Tensor, lengths: Tensor) -> Tensor:
        """Compute the features of each row: for each kernel, the mean of its output, clamped to 0 to 1, over the steps.

        With `own_scale`, features made of the row's deviations and means follow. All features are from 0 to 1.

        Args:
            samples: float32 [batch, time, channels].
            lengths: int64 [batch], the number of steps of each row.

        Returns:
            float32 [batch, features].
        """
        steps = torch.arange(samples.size(1), device=samples.device)
        after = (steps >= lengths.unsqueeze(1)).unsqueeze(1)
        read = samples.transpose(1, 2).masked_fill(after, 0.0)
        sizes: list[Tensor] = []
        if self.size_rates is not None:
            read, size = standardize_and_measure_channels(read, after, lengths)
            sizes.append((size.unsqueeze(1) * self.size_rates + self.size_offsets).clamp(0.0, 1.0).flatten(1))
        if self.sums is not None:
            read = self.sums(read)
        found = []
        for i, bank in enumerate(self.banks):
            responses = bank(read if self.sums is None else read[:, i : i + 1]).clamp(0.0, 1.0)
            found.append(responses.masked_fill(after, 0.0).sum(dim=2) / lengths.unsqueeze(1))
        return torch.cat(found + sizes, dim=1)


def standardize_and_measure_channels(samples: Tensor, is_padding: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Scale each channel of each row to mean 0 and deviation 1; also return its deviation and mean before.

    Args:
        samples: float32 [batch, channels, time].
        is_padding: bool [batch, 1, time], the steps after the end of a row.
        lengths: int64 [batch].

    Returns:
        The scaled samples, float32 [batch, channels, time], 0 after the end of a row; and float32
        [batch, 2 * channels]: the deviations of the channels, then their means.
    """
    count = lengths.view(-1, 1, 1)
    # Relative to the first step: a row that never changes then gives exactly 0, not the rounding error of its mean.
    first = samples[:, :, :1]
    moved = (samples - first).masked_fill(is_padding, 0.0)
    mean = moved.sum(dim=2, keepdim=True) / count
    centred = (moved - mean).masked_fill(is_padding, 0.0)
    size = (centred.square().sum(dim=2, keepdim=True) / count + _LEAST_SIZE**2).sqrt()
    return centred / size, torch.cat((size, first + mean), dim=1).squeeze(2)


def choose_dilation_of_each_kernel_bank(kernel_count: int, typical_steps: int) -> tuple[int, ...]:
    """Choose a dilation for each bank of 42 random kernels, `kernel_count` kernels in all; return them, ascending.

    The dilations grow from 1 by about equal factors, up to the one at which a kernel of nine values spans
    `typical_steps` steps.
    """
    most = max(1.0, (typical_steps - 1) / (KERNEL_STEPS - 1))
    found = sorted({int(d) for d in most ** np.linspace(0, 1, _DILATIONS)})
    return tuple(sorted(found[i % len(found)] for i in range(-(-kernel_count // BANK))))
