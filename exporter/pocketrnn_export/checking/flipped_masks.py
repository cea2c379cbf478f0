"""Compare a file with its module on masks that hide the beginning of a row. Most masks hide the end."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn_export.checking.answer_comparison import ComparedFile, compare_cases
from pocketrnn_export.checking.forward_call_recording import draw_case, record_inputs
from pocketrnn_export.checking.verdict import Verdict
from pocketrnn_export.checking.verdict_from_outcomes import limit_verdict_to_inputs, make_verdict, summarize_outcomes
from pocketrnn_export.intake.compiled_call_line import Call

_SIZES: Final = ((2, 5), (3, 9), (1, 4), (4, 12))


def compare_with_flipped_masks(compared: ComparedFile, verdict: Verdict) -> Verdict:
    """Compare file and module again, with each mask reversed along all its axes, so that it hides the beginning of the
    rows. Return the verdict on all cases."""
    called = compared.called
    if verdict.kind not in ("right", "some sizes") or not called.ragged or called.one_row:
        return verdict
    cases = [draw_case(called, *size, ragged=True) for size in (*called.sizes, *_SIZES)]
    # Where the file fails or differs on masks as they are, the verdict says so already.
    cases = [one.case for one in compare_cases(compared, cases) if one.is_same]
    flipped = replace(compared, called=replace(called, function=_flip_masks(called.function)))
    cases = [
        case
        for case in cases
        if any(
            not np.array_equal(value, other)
            for value, other in zip(
                record_inputs(called, case).values(), record_inputs(flipped.called, case).values(), strict=True
            )
        )
    ]
    outcomes = compare_cases(flipped, cases)
    if not outcomes:
        return verdict
    of_flipped = make_verdict(flipped, {"masks flipped": outcomes}, None)
    if not of_flipped.is_right:
        reason = f"{verdict.file} fails on masks that hide the beginning of rows, but {verdict.name} answers."
        return limit_verdict_to_inputs(verdict, of_flipped, "masks that hide the end of rows", reason)
    lines = summarize_outcomes(verdict.name, {"masks flipped": outcomes})
    return replace(verdict, comparisons=(*verdict.comparisons, *lines))


def _flip_masks(function: Call) -> Call:
    """Return a call that does the same as `function`, but reverses the masks of forward along all axes."""

    def flip_mask_inputs(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        bound = inspect.signature(layer.forward).bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            if isinstance(value, Tensor) and (value.dtype == torch.bool or "mask" in name.lower()):
                bound.arguments[name] = value.flip(tuple(range(value.dim())))
        return bound.args, bound.kwargs

    def call_with_flipped_masks(module: nn.Module, tokens: Tensor, lengths: Tensor) -> Any:
        # Before the hook that records the inputs.
        hook = module.register_forward_pre_hook(flip_mask_inputs, with_kwargs=True, prepend=True)
        try:
            return function(module, tokens, lengths)
        finally:
            hook.remove()

    return call_with_flipped_masks
