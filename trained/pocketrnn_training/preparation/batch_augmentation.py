"""Augment the batches of training at random: make words unknown, or add noise to sequences of numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Augmentation", "Changes", "WordDropout"]


@dataclass(frozen=True)
class WordDropout:
    """Word dropout: random tokens of a batch become unknown (Iyyer et al. 2015).

    Attributes:
        share: the share of tokens that become unknown.
        unknown_id: the id of an unknown token.
        padding_id: the id of padding, which stays as it is.
    """

    share: float
    unknown_id: int
    padding_id: int

    def augment_batch(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return a training batch in which random tokens are replaced with the unknown token, int64 [batch, sequence].

        Padding is not replaced. `lengths` is not used.
        """
        dropped = torch.rand(inputs.shape, device=inputs.device) < self.share
        # The mark between two texts is negative, and stays, too.
        return inputs.masked_fill(dropped & (inputs != self.padding_id) & (inputs >= 0), self.unknown_id)


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training sequences: noise, another scale, and zeros in a stretch of each row.

    Um et al. 2017, "Data augmentation of wearable sensor data", https://arxiv.org/abs/1706.00527. The numbers are at
    the module's scale, where each channel has a mean of 0 and a deviation of 1.

    Attributes:
        jitter: the deviation of the noise that is added to each number.
        scaling: the deviation of the factor by which each channel of a row is multiplied.
        time_masking: the largest share of a row's steps that become zeros, in one stretch.
    """

    jitter: float
    scaling: float
    time_masking: float

    def augment_batch(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the samples of a training batch with random changes, float32 [batch, time, channels].

        Args:
            inputs: float32 [batch, time, channels].
            lengths: int64 [batch]; must not be None. The result is zero after the end of a row.
        """
        assert lengths is not None  # noqa: S101 - of sequences of numbers they are always given
        samples, steps = inputs, torch.arange(inputs.size(1), device=inputs.device)
        if self.jitter:
            samples = samples + self.jitter * torch.randn_like(samples)
        if self.scaling:
            factors = torch.randn(samples.size(0), 1, samples.size(2), device=samples.device)
            samples = samples * (1 + self.scaling * factors)
        hidden = steps >= lengths.unsqueeze(1)
        if self.time_masking:
            share, place = torch.rand(2, len(lengths), device=samples.device)
            width = (share * self.time_masking * lengths).long()
            start = (place * (lengths - width + 1)).long()
            hidden |= (steps >= start.unsqueeze(1)) & (steps < (start + width).unsqueeze(1))
        return samples.masked_fill(hidden.unsqueeze(2), 0.0)


# How a batch is changed.
Changes = WordDropout | Augmentation
