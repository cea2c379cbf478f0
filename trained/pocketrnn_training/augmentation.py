"""Sequences of numbers changed at random while a classifier learns from them (Um et al. 2017).

https://arxiv.org/abs/1706.00527: "Data augmentation of wearable sensor data". Numbers are those of the module's scale,
where each channel has a mean of 0 and a deviation of 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["augmented"]


def augmented(samples: Tensor, lengths: Tensor, *, jitter: float, scaling: float, time_masking: float) -> Tensor:
    """A batch with noise, at another scale, and with a stretch of zeros in each row; drawn from torch's generator.

    Args:
        samples: float32 [batch, time, channels].
        lengths: int64 [batch].
        jitter: the deviation of the noise that is added to each number.
        scaling: the deviation of the factor by which each channel of a row is multiplied.
        time_masking: the largest share of a row's steps that become zeros.

    Returns:
        float32 [batch, time, channels]; after the end of a row, zeros.
    """
    steps = torch.arange(samples.size(1), device=samples.device)
    if jitter:
        samples = samples + jitter * torch.randn_like(samples)
    if scaling:
        factors = torch.randn(samples.size(0), 1, samples.size(2), device=samples.device)
        samples = samples * (1 + scaling * factors)
    hidden = steps >= lengths.unsqueeze(1)
    if time_masking:
        share, place = torch.rand(2, len(lengths), device=samples.device)
        width = (share * time_masking * lengths).long()
        start = (place * (lengths - width + 1)).long()
        hidden |= (steps >= start.unsqueeze(1)) & (steps < (start + width).unsqueeze(1))
    return samples.masked_fill(hidden.unsqueeze(2), 0.0)
