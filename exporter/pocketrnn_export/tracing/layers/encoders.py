"""`nn.TransformerEncoder` and its layer, traced as they answer where gradients are not recorded.

There PyTorch runs another code, the "fast path", which no trace can follow. It differs from the code that is traced in
what it makes of masks: a mask of numbers, which is added to the scores elsewhere, is taken for one of truths; and what
`src_key_padding_mask` hides comes out of an encoder as zeros, where a text's padding is at its end.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.torch_internals import encoder_layer_goes_fast, methods_replaced
from pocketrnn_export.tracing.session import TraceSession, current

__all__ = ["encoders_traced"]

# The arguments of a decoder before `tgt_is_causal`, itself among them.
_BEFORE_CAUSAL: Final = 7


def encoders_traced(_: TraceSession) -> contextlib.AbstractContextManager[None]:
    """While the block runs, encoders of a thread that traces answer as the fast path does."""
    forwards: dict[tuple[type[nn.Module], str], Callable[..., Any]] = {
        (nn.TransformerEncoder, "forward"): _encoder(nn.TransformerEncoder.forward),
        (nn.TransformerDecoder, "forward"): _decoder(nn.TransformerDecoder.forward),
        (nn.TransformerEncoderLayer, "forward"): _layer(nn.TransformerEncoderLayer.forward),
    }
    return methods_replaced(forwards)


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
            return shipped(self, src, mask, src_key_padding_mask, _asks_no_mask(is_causal))
        padding = _truths(src_key_padding_mask)
        # PyTorch asks whether the padding of all texts of a batch is at their ends; here each text decides for itself.
        aligned = ~(padding[:, :-1] & ~padding[:, 1:]).any(1)
        out = src
        for layer in self.layers:
            out = layer(out, src_key_padding_mask=padding)
        out = out.masked_fill((padding & aligned.unsqueeze(1)).unsqueeze(2), 0.0)
        return out if self.norm is None else self.norm(out)

    return forward


def _decoder(shipped: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(shipped)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if current() is not None and len(args) <= _BEFORE_CAUSAL:
            kwargs["tgt_is_causal"] = _asks_no_mask(kwargs.get("tgt_is_causal"))
        return shipped(*args, **kwargs)

    return forward


def _asks_no_mask(is_causal: bool | None) -> bool | None:
    """Whether a mask is known to be causal. Where nobody says, PyTorch compares the mask with a causal one, and runs
    another kernel where they are equal; the mask itself gives the same."""
    return False if current() is not None and is_causal is None else is_causal


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
            # The fast path takes the mask that it is given, whatever is said of it.
            is_causal = False
        return shipped(self, src, src_mask, src_key_padding_mask, is_causal)

    return forward


def _allowed() -> bool:
    return torch.backends.mha.get_fastpath_enabled() and not torch.is_autocast_enabled()


def _truths(mask: Tensor) -> Tensor:
    return mask if mask.dtype == torch.bool else mask != 0
