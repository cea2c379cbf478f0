"""The rule for `F.embedding_bag`, which ONNX does not have."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_export.tracing.trace_session import TraceSession, decline_call, rule


@rule("embedding_bag")
def rewrite_embedding_bag_as_reduction(
    _: TraceSession,
    input: Any,  # noqa: A002 - torch's name
    weight: Any,
    offsets: Any = None,
    max_norm: Any = None,
    norm_type: Any = 2.0,
    scale_grad_by_freq: Any = False,
    mode: Any = "mean",
    sparse: Any = False,
    per_sample_weights: Any = None,
    include_last_offset: Any = False,
    padding_idx: Any = None,
) -> Any:
    """Rewrite `F.embedding_bag` as the sum, mean or maximum of the vectors of each bag. A bag without ids, or with
    padding ids only, gives zeros."""
    del norm_type, scale_grad_by_freq, sparse
    if max_norm is not None or mode not in {"sum", "mean", "max"} or not isinstance(weight, Tensor):
        return decline_call("max_norm is given, or the mode is unknown")
    rows = torch.nn.functional.embedding(input, weight)
    counted = torch.ones_like(input, dtype=torch.bool)
    if padding_idx is not None:
        counted = input != (padding_idx if padding_idx >= 0 else weight.shape[0] + padding_idx)
    if input.dim() == 1:
        # One axis of ids, split at the offsets: each bag goes over all ids, and counts only its own.
        if offsets is None:
            return decline_call("the ids have one axis, but offsets are not given")
        starts = offsets[:-1] if include_last_offset else offsets
        bag = (torch.arange(input.shape[0])[None] >= starts[:, None]).sum(0) - 1
        counted = counted[None] & (bag[None] == torch.arange(starts.shape[0])[:, None])
        rows = rows[None]
    if mode == "max":
        largest = rows.masked_fill(~counted.unsqueeze(-1), -math.inf).amax(1)
        return torch.where(counted.any(1, keepdim=True), largest, torch.zeros((), dtype=rows.dtype))
    mask = counted.to(rows.dtype)
    if per_sample_weights is not None:
        # Not a product of both: a row that does not count may have the weight NaN.
        mask = torch.where(counted, per_sample_weights, torch.zeros((), dtype=rows.dtype))
    total = (mask @ rows[0]) if input.dim() == 1 else (rows * mask.unsqueeze(-1)).sum(1)
    return total if mode == "sum" else total / mask.sum(1, keepdim=True).clamp(min=1)


EMBEDDING_BAGS: Final = (rewrite_embedding_bag_as_reduction,)
