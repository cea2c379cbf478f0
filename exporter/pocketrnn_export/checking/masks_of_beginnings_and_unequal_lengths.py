"""Compare a file with its module on masks that hide the beginning of a row, where most masks hide the end, and on
inputs of unequal lengths."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn_export.checking.answer_comparison import ComparedFile, compare_cases
from pocketrnn_export.checking.forward_call_recording import RecordedCall, draw_case, record_call, record_inputs
from pocketrnn_export.checking.verdict import Verdict
from pocketrnn_export.checking.verdict_from_outcomes import (
    join_verdicts_on_right_and_other_inputs,
    make_verdict,
    summarize_outcomes,
)
from pocketrnn_export.intake.compiled_call_line import Call

_SIZES: Final = ((2, 5), (3, 9), (1, 4), (4, 12))


def compare_with_reversed_masks(compared: ComparedFile, verdict: Verdict) -> Verdict:
    """Compare file and module again, with each mask reversed along all its axes, so that it hides the beginning of the
    rows. Return the verdict on these and the earlier batches together, or `verdict` unchanged if there are no such
    masks."""
    called = compared.called
    if verdict.kind not in ("right", "some sizes") or not called.ragged or called.one_row:
        return verdict
    cases = [draw_case(called, *size, ragged=True) for size in (*called.sizes, *_SIZES)]
    # Where the file fails or differs on masks as they are, the verdict says so already.
    cases = [one.case for one in compare_cases(compared, cases) if one.is_same]
    flipped = replace(compared, called=replace(called, function=_make_call_with_reversed_masks(called.function)))
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
        return join_verdicts_on_right_and_other_inputs(verdict, of_flipped, "masks that hide the end of rows", reason)
    lines = summarize_outcomes(verdict.name, {"masks flipped": outcomes})
    return replace(verdict, comparisons=(*verdict.comparisons, *lines))


def _make_call_with_reversed_masks(function: Call) -> Call:
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


# The batches in which one input has half the steps of another; and the steps of an ordinary one.
_UNEQUAL_SIZES: Final = ((1, 2), (2, 3), (1, 4), (2, 9), (4, 12), (2, 33))
_ORDINARY_STEPS: Final = 7


def compare_with_unequal_lengths(compared: ComparedFile, calls: Sequence[RecordedCall], verdict: Verdict) -> Verdict:
    """Compare file and module on batches in which one input is half as long as the others. Return the verdict on these
    and the earlier batches together. If the file declares the same name for the sequence axes of all inputs, their
    lengths must be equal, and `verdict` is returned unchanged."""
    if verdict.kind not in ("right", "some sizes") or compared.called.one_row:
        return verdict
    unequal, alike = _list_comparisons_with_a_shorter_input(compared, calls)
    sizes = [*compared.called.sizes, *_UNEQUAL_SIZES]
    cases = [draw_case(compared.called, *size, ragged=False) for size in sizes if size[1] > 1]
    # Where the file fails on equal lengths, the verdict says so already.
    cases = [one.case for one in compare_cases(compared, cases if unequal else ()) if one.is_same]
    found = {name: (asked, compare_cases(asked, cases)) for name, asked in unequal.items()}
    found = {name: (asked, outcomes) for name, (asked, outcomes) in found.items() if outcomes}
    for name, (asked, outcomes) in found.items():
        of_unequal = make_verdict(asked, {f"{name} shorter": outcomes}, None)
        if not of_unequal.is_right:
            reason = f"{verdict.file} fails where {name} is shorter than another input, but {verdict.name} answers."
            return join_verdicts_on_right_and_other_inputs(verdict, of_unequal, "inputs of equal length", reason)
    kinds = {f"{name} shorter": outcomes for name, (_, outcomes) in found.items()}
    count = sum(map(len, kinds.values()))
    notes = [f"In {count} more batches one of {', '.join(found)} is shorter than the others."] if count else []
    if alike and not found:
        notes = [f"The inputs {', '.join(alike)} had the same length in each run: unequal lengths were not looked at."]
    lines = (*verdict.comparisons, *summarize_outcomes(verdict.name, kinds))
    return replace(verdict, comparisons=lines, notes=(*verdict.notes, *notes))


class _UnequalInputs(NamedTuple):
    """A dict from the name of each input to the comparison in which this input is half as long as the others; and the
    names of all inputs that may be shorter than others."""

    comparisons: dict[str, ComparedFile]
    names: list[str]


def _list_comparisons_with_a_shorter_input(compared: ComparedFile, calls: Sequence[RecordedCall]) -> _UnequalInputs:
    """Find the inputs that may be shorter than the others. Return their names, and a dict from the name of each of them
    that the file does not declare as equally long to a copy of `compared` whose call makes this input shorter. `calls`
    are recorded calls of the module."""
    called = compared.called
    size = max(called.sizes, key=lambda size: -abs(size[1] - _ORDINARY_STEPS))
    full = record_call(called, draw_case(called, *size, ragged=False)).inputs
    fed = {one.name: one for one in compared.fed}
    steps = [size[1] for size in called.sizes]
    named = {
        one.name: declared
        for one in compared.fed
        for declared, axis in one.declared_sizes
        if isinstance(declared, str) and [call.inputs[one.name].shape[axis] for call in calls] == steps
    }
    places: dict[str, tuple[ComparedFile, int]] = {}
    for function in called.unequal:
        asked = replace(compared, called=replace(called, function=function))
        with contextlib.suppress(Exception, SystemExit):
            cut = record_call(asked.called, draw_case(called, *size, ragged=False)).inputs
            name = next(name for name in fed if cut[name].shape != full[name].shape)
            pairs = zip(cut[name].shape, full[name].shape, strict=True)
            places[name] = asked, next(axis for axis, (one, other) in enumerate(pairs) if one != other)
    axes = {
        name: next((said for said, of in fed[name].declared_sizes if of == axis), None)
        for name, (_, axis) in places.items()
    }
    if len({size for size in axes.values() if isinstance(size, int)}) > 1:
        # Each has a length of its own in every run.
        return _UnequalInputs({}, [])
    unequal = {
        name: asked for name, (asked, _) in places.items() if axes[name] is None or set(axes.values()) != {axes[name]}
    }
    return _UnequalInputs(unequal, list(places) or (list(named) if len(set(named.values())) > 1 else []))
