"""`nn.TransformerEncoder` and its layer, traced as they answer where gradients are not recorded.

There PyTorch runs another code, the "fast path", which no trace can follow. It differs from the code that is traced in
what it makes of masks: a mask of numbers, which is added to the scores elsewhere, is taken for one of truths; and what
`src_key_padding_mask` hides comes out of an encoder as zeros, where a text's padding is at its end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pocketrnn_export.tracing.session import TraceSession, current
from pocketrnn_export.tracing.torch_internals import encoder_layer_goes_fast, methods_replaced

__all__ = ["encoders_traced"]


@contextlib.contextmanager
def encoders_traced(_: TraceSession) -> Iterator[None]:
    """While the block runs, encoders of a thread that traces answer as the fast path does."""
    forwards = {
        (nn.TransformerEncoder, "forward"): _encoder(nn.TransformerEncoder.forward),
        (nn.TransformerEncoderLayer, "forward"): _layer(nn.TransformerEncoderLayer.forward),
    }
    with methods_replaced(forwards):
        yield


def _encoder(shipped: Callable[..., Any]) -> Callable[..., Any]:
    def forward(
        self: nn.TransformerEncoder,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Any:
        nested = getattr(self, "use_nested_tensor", False) and not self.layers[0].training and src.dim() == 3
        if current() is None or mask is not None or src_key_padding_mask is None or not (nested and _allowed()):
            return shipped(self, src, mask, src_key_padding_mask, is_causal)
        padding = _truths(src_key_padding_mask)
        # Of a batch, PyTorch asks whether the padding of all texts is at their ends; a text alone decides for itself.
        aligned = ~(padding[:, :-1] & ~padding[:, 1:]).any(1)
        out = src
        for layer in self.layers:
            out = layer(out, src_key_padding_mask=padding)
        out = out.masked_fill((padding & aligned.unsqueeze(1)).unsqueeze(2), 0.0)
        return out if self.norm is None else self.norm(out)

    return forward


def _layer(shipped: Callable[..., Any]) -> Callable[..., Any]:
    def forward(
        self: nn.TransformerEncoderLayer,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Any:
        if current() is not None and src.dim() == 3 and _allowed() and encoder_layer_goes_fast(self):
            src_mask = None if src_mask is None else _truths(src_mask)
            src_key_padding_mask = None if src_key_padding_mask is None else _truths(src_key_padding_mask)
        return shipped(self, src, src_mask, src_key_padding_mask, is_causal)

    return forward


def _allowed() -> bool:
    return torch.backends.mha.get_fastpath_enabled() and not torch.is_autocast_enabled()


def _truths(mask: Tensor) -> Tensor:
    return mask if mask.dtype == torch.bool else mask != 0
