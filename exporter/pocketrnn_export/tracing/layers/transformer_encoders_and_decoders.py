"""Trace `nn.TransformerEncoder`, its layers and `nn.TransformerDecoder` with the answers that PyTorch gives without
gradients.

Without gradients, encoders run other code, the "fast path", which a trace cannot follow. It treats masks differently
from the traced code: a mask of numbers, which is usually added to the scores, is read as bools; and the steps that
`src_key_padding_mask` hides are zeros in the encoder's output, if a text's padding is at its end.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.torch_internals import replace_methods, uses_encoder_fast_path
from pocketrnn_export.tracing.trace_session import TraceSession, find_current_session

# The number of arguments of a decoder before `tgt_is_causal`, `self` included.
_BEFORE_CAUSAL: Final = 7


def make_transformers_answer_as_fast_path(_: TraceSession) -> contextlib.AbstractContextManager[None]:
    """While the block runs, transformer encoders in the tracing thread answer as PyTorch's fast path does: it reads
    masks as bools, and sets padding to zeros. Encoders and decoders do not test whether their masks are causal."""
    forwards: dict[tuple[type[nn.Module], str], Callable[..., Any]] = {
        (nn.TransformerEncoder, "forward"): _make_encoder_forward_with_zeroed_padding(nn.TransformerEncoder.forward),
        (nn.TransformerDecoder, "forward"): _make_decoder_forward_without_causal_test(nn.TransformerDecoder.forward),
        (nn.TransformerEncoderLayer, "forward"): _make_layer_forward_with_bool_masks(
            nn.TransformerEncoderLayer.forward
        ),
    }
    return replace_methods(forwards)


def _make_encoder_forward_with_zeroed_padding(shipped: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `forward` of an encoder that sets the output at padding at the end of a text to zeros, as PyTorch's fast
    path does. Where the fast path does not apply, it calls `shipped`, PyTorch's own `forward`."""

    def forward(
        self: nn.TransformerEncoder,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Any:
        nested = getattr(self, "use_nested_tensor", False) and not self.layers[0].training and src.dim() == 3
        if (
            find_current_session() is None
            or mask is not None
            or src_key_padding_mask is None
            or not (nested and _is_fast_path_allowed())
        ):
            return shipped(self, src, mask, src_key_padding_mask, _replace_causal_none_by_false(is_causal))
        padding = _convert_to_bool_mask(src_key_padding_mask)
        # PyTorch checks whether the padding of all texts in a batch is at their ends; here each text is checked alone.
        aligned = ~(padding[:, :-1] & ~padding[:, 1:]).any(1)
        out = src
        for layer in self.layers:
            out = layer(out, src_key_padding_mask=padding)
        out = out.masked_fill((padding & aligned.unsqueeze(1)).unsqueeze(2), 0.0)
        return out if self.norm is None else self.norm(out)

    return forward


def _make_decoder_forward_without_causal_test(shipped: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `forward` of a decoder that calls `shipped`, PyTorch's own `forward`, with `tgt_is_causal` False instead
    of None."""

    @functools.wraps(shipped)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if find_current_session() is not None and len(args) <= _BEFORE_CAUSAL:
            kwargs["tgt_is_causal"] = _replace_causal_none_by_false(kwargs.get("tgt_is_causal"))
        return shipped(*args, **kwargs)

    return forward


def _replace_causal_none_by_false(is_causal: bool | None) -> bool | None:
    """Return False for None in a trace, else the given `is_causal`. For None, PyTorch would compare the mask with a
    causal mask, and run another kernel if they are equal. The mask itself gives the same result."""
    return False if find_current_session() is not None and is_causal is None else is_causal


def _make_layer_forward_with_bool_masks(shipped: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `forward` of an encoder layer that converts masks to bools, as PyTorch's fast path does, and then calls
    `shipped`, PyTorch's own `forward`."""

    def forward(
        self: nn.TransformerEncoderLayer,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Any:
        if (
            find_current_session() is not None
            and src.dim() == 3
            and _is_fast_path_allowed()
            and uses_encoder_fast_path(self)
        ):
            src_mask = None if src_mask is None else _convert_to_bool_mask(src_mask)
            src_key_padding_mask = None if src_key_padding_mask is None else _convert_to_bool_mask(src_key_padding_mask)
            # The fast path uses the mask itself and ignores `is_causal`.
            is_causal = False
        return shipped(self, src, src_mask, src_key_padding_mask, is_causal)

    return forward


def _is_fast_path_allowed() -> bool:
    """Return whether PyTorch's settings allow the fast path of encoders: it is enabled, and autocast is off."""
    return torch.backends.mha.get_fastpath_enabled() and not torch.is_autocast_enabled()


def _convert_to_bool_mask(mask: Tensor) -> Tensor:
    """Return a mask as bools: True where a mask of numbers is not 0."""
    return mask if mask.dtype == torch.bool else mask != 0
