"""Wrap a called module for the trace: with features, with two texts, or for texts of a fixed width."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pocketrnn.text.features_beside_text import Features
from pocketrnn_export.comparing.proof_inputs import Widths
from pocketrnn_export.intake.calling_convention import CallAdapter, Convention
from pocketrnn_export.intake.character_pair_and_feature_calls import PairCall


def wrap_for_trace(called: nn.Module, convention: Convention, widths: Widths) -> nn.Module:
    """Return a module whose forward has the inputs of the exported graph. It is a wrapper of `called`, or `called`
    itself if this takes one text of any width."""
    if convention.has_two_texts:
        assert isinstance(called, CallAdapter)  # noqa: S101 - no usual line names two texts
        return TwoTextModule(called)
    if convention.features:
        assert isinstance(called, CallAdapter)  # noqa: S101 - no usual line names features
        return (PackedFeatureModule if convention.takes_lengths else FeatureModule)(called, widths.fixed)
    return called if widths.fixed is None else FixedWidthModule(called, widths.fixed)


class FeatureModule(nn.Module):
    """A module of texts with features, in the form that is traced. It takes ids and the numbers of the features,
    float32 [batch, features], and gives logits [batch, classes].

    Args:
        called: the module with its convention, whose function is a `FeatureCall`.
        width: the number of tokens of every text, if it is always the same, so that the trace takes it for a constant.
    """

    def __init__(self, called: CallAdapter, width: int | None = None) -> None:
        super().__init__()
        self.called = called
        self.width = width

    def forward(self, tokens: Tensor, features: Tensor) -> Tensor:
        """Return the logits of texts from their tokens and features. The module takes no lengths."""
        return self.compute_logits_with_features(tokens, None, features)

    def compute_logits_with_features(self, tokens: Tensor, lengths: Tensor | None, features: Tensor) -> Tensor:
        """Return the logits of texts from their tokens, lengths and features. `lengths` is None for a module that takes
        no lengths."""
        return self.called.call_with_features(cut_to_width(tokens, self.width), lengths, features)

    @property
    def features(self) -> Features:
        """The names and kinds of the features that the module takes in addition to a text."""
        return self.called.convention.features


class PackedFeatureModule(FeatureModule):
    """A `FeatureModule` that also takes lengths. The checks recognize the inputs by their names."""

    def forward(self, tokens: Tensor, lengths: Tensor, features: Tensor) -> Tensor:  # type: ignore[override]
        """Return the logits of texts from their tokens, lengths and features."""
        return self.compute_logits_with_features(tokens, lengths, features)


class TwoTextModule(nn.Module):
    """A module of two texts, in the form that is traced. It takes the ids of both texts, and their lengths if it
    needs them, and gives logits [batch, classes].

    Args:
        called: the module with its convention, whose function is a `PairCall`.
    """

    def __init__(self, called: CallAdapter) -> None:
        super().__init__()
        self.called = called

    # Separate parameters: torch.export treats `*lengths` as a tuple when it is given dynamic shapes.
    def forward(
        self, first: Tensor, second: Tensor, lengths: Tensor | None = None, second_lengths: Tensor | None = None
    ) -> Tensor:
        """Return the logits of pairs of texts. If lengths are None, each length is the width of the batch."""
        function = self.called.convention.function
        assert isinstance(function, PairCall)  # noqa: S101 - whoever made this has asked
        given = first, second, *map(_fill_lengths, (first, second), (lengths, second_lengths))
        return self.called.call_and_read_logits(
            lambda module, _tokens, _lengths: function.wrapped(module, *given), first, given[2]
        )


def _fill_lengths(tokens: Tensor, lengths: Tensor | None) -> Tensor:
    """Return `lengths`. If they are None, return the width of the batch for each text."""
    return torch.full((tokens.shape[0],), tokens.shape[1], dtype=torch.int64) if lengths is None else lengths


class FixedWidthModule(nn.Module):
    """A module whose texts all have the same number of tokens. A trace treats this number as a constant."""

    def __init__(self, module: nn.Module, width: int) -> None:
        super().__init__()
        self.module = module
        self.width: int | None = width

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits [batch, classes] for tokens [batch, width]."""
        tokens = cut_to_width(tokens, self.width)
        # Separate parameters: torch.export treats `*lengths` as a tuple when it is given dynamic shapes.
        logits: Tensor = self.module(tokens) if lengths is None else self.module(tokens, lengths)
        return logits


def cut_to_width(tokens: Tensor, width: int | None) -> Tensor:
    """Select the first `width` tokens of each row, which are all of them, so that a trace treats the width as a
    constant. If `width` is None, return the tokens unchanged."""
    return tokens if width is None else tokens.index_select(1, torch.arange(width))


def free_width(module: nn.Module) -> int | None:
    """Remove the fixed width from a module that was wrapped for the trace, so that it takes texts of any width. Return
    the width, or None if there was none."""
    for layer in module.modules():
        if isinstance(layer, FixedWidthModule | FeatureModule) and layer.width is not None:
            width, layer.width = layer.width, None
            return width
    return None
