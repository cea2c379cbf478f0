"""The rule for `F.interpolate` along the steps of a text."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_export.torch_internals import sym_max
from pocketrnn_export.tracing.trace_session import TraceSession, decline_call, decline_for_torchscript, rule


@rule("interpolate", decline=decline_for_torchscript)
def rewrite_interpolate_as_selected_steps(
    _session: TraceSession,
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: Any = None,
    recompute_scale_factor: Any = None,
    antialias: bool = False,
) -> Any:
    """Rewrite `F.interpolate(x, size=10)` of x [batch, channels, steps]: select a step for each new one or, in the mode
    `linear`, add two steps with weights."""
    if not isinstance(x, Tensor) or x.dim() != 3 or mode not in {"nearest", "linear"} or antialias:
        return decline_call("the input does not have three axes, or the mode is neither nearest nor linear")
    size, factor = (one[0] if isinstance(one, list | tuple) else one for one in (size, scale_factor))
    steps = x.shape[2]
    if size is None:
        if factor != int(factor):
            return decline_call("the scale factor is a fraction")
        size = steps * int(factor)
    apart = torch.full((), steps, dtype=x.dtype) / size
    if factor is not None and not recompute_scale_factor:
        apart = torch.full((), 1 / factor, dtype=x.dtype)
    place = torch.arange(size).to(x.dtype)
    if mode != "linear":
        return x.index_select(2, (place * apart).floor().to(torch.int64).clamp(max=steps - 1))
    if align_corners:
        between = torch.full((), steps - 1, dtype=x.dtype) / sym_max(size - 1, 1)
        place = place * torch.where(torch.arange(1) + size > 1, between, 0.0)
    else:
        place = ((place + 0.5) * apart - 0.5).clamp(min=0.0)
    before = place.floor().to(torch.int64).clamp(max=steps - 1)
    weight = (place - before.to(x.dtype)).clamp(min=0.0, max=1.0)
    # To as many steps as there are, PyTorch reads no neighbour, whose infinity or NaN would be multiplied by 0.
    has_neighbour = torch.full((), steps, dtype=torch.int64) != size
    after = (before + has_neighbour.to(torch.int64)).clamp(max=steps - 1)
    return x.index_select(2, before) * (1 - weight) + x.index_select(2, after) * weight


INTERPOLATION: Final = (rewrite_interpolate_as_selected_steps,)
