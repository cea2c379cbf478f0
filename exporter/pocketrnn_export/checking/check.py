"""`check`: find out whether an exported file gives the same answers as its module."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.bundle.manifest import Comparison, Limits
from pocketrnn.errors import InputError, PocketRNNError
from pocketrnn.text import TextRules
from pocketrnn_export.checking.answer_comparison import ComparedFile, Outcome
from pocketrnn_export.checking.axis_roles import UncallableModuleError
from pocketrnn_export.checking.call_discovery import find_call
from pocketrnn_export.checking.call_recording import (
    ModuleCall,
    ModuleWithSignature,
    RecordedCall,
    draw_case,
    record_call,
    record_inputs,
)
from pocketrnn_export.checking.correct_sizes import (
    ANY,
    NO_PADDING,
    TO_LONGEST,
    WIDER,
    Bounds,
    ComparedSize,
    find_right_sizes,
)
from pocketrnn_export.checking.exported_file import Array, CheckedFile, find_missing_matrices, open_file
from pocketrnn_export.checking.input_output_matching import make_feeds, match_inputs, match_outputs
from pocketrnn_export.checking.missing_activation import find_activation, gives_probabilities
from pocketrnn_export.checking.shortest_failing_input import find_shortest_input
from pocketrnn_export.checking.verdict import Verdict
from pocketrnn_export.comparing.cases import Case, make_boundary_cases, make_one_row_cases
from pocketrnn_export.comparing.logit_comparison import summarize_differences
from pocketrnn_export.export_run import lock_exports
from pocketrnn_export.forms.onnx.onnx_graph import find_small_integers
from pocketrnn_export.intake.call_discovery.module_facts import list_forward_parameters
from pocketrnn_export.intake.calling_convention import Call
from pocketrnn_export.intake.export_copy import copy_for_export
from pocketrnn_export.intake.random_draws import find_drawing_line
from pocketrnn_export.module_runs.state_restoration import restore_random_state
from pocketrnn_export.progress import log_item_progress, show_progress
from pocketrnn_export.proof import every_size
from pocketrnn_export.proof.chosen_cases import make_cases_for_rules
from pocketrnn_export.proof.largest_embeddings import find_ids_of_extreme_vectors

__all__ = ["check", "check_files"]

_log = logging.getLogger(__name__)
# Every batch and every length up to these is compared; then sizes around the whole numbers in module and file.
_EVERY_BATCH: Final = 16
_EVERY_LENGTH: Final = 48
_MOST_ASKED: Final = 1_100
_MOST_BOUNDS: Final = 60
# The processor time for the cases: after it, no further case is compared.
SECONDS: Final = 120.0
_ALONE: Final = 2
# The batches in which one input has half the steps of another; and the steps of an ordinary one.
_UNEQUAL_SIZES: Final = ((1, 2), (2, 3), (1, 4), (2, 9), (4, 12), (2, 33))
_ORDINARY_STEPS: Final = 7
# The names of outputs with a number for each class.
_OF_CLASSES: Final = re.compile("logit|prob|class|label|softmax", re.IGNORECASE)
_FIX_SIZES: Final = (
    "If it takes one size only, write that into it: python -m onnxruntime.tools.make_dynamic_shape_fixed "
    "--input_name NAME --input_shape 1,576 FILE NEW_FILE."
)


def check(
    module: nn.Module,
    file: str | Path,
    *,
    inputs: Mapping[str, str] | None = None,
    call: str | Call | None = None,
    ids: int | None = None,
    padding_id: int | None = None,
    channels: int | None = None,
    progress: bool = True,
) -> Verdict:
    """Find out whether a file answers as the module does that it was made of, whoever exported it.

    Both are asked on the cases of the proof of `export`: a grid of shapes, drawn shapes, hazards, every id; at every
    small batch and length, and on both sides of each number that the module or the file holds. Nothing is promised of
    what was not looked at.

    Args:
        module: the module; it is copied, not changed.
        file: an ONNX file, a TorchScript file or a .pt2 of torch.export. TorchScript and .pt2 hold code, which is run.
        inputs: the module's inputs, each with the file's by its name, where names, types and axes do not say it.
        call: how the module is called, where that is not found out: a line of `module`, `tokens` or `samples`, and
            `lengths`, or a function of these.
        ids: how many token ids there are; by default the rows of the table in which they are looked up.
        padding_id: the id past a row's length; by default the one of the module's table, else 0.
        channels: how many numbers a step has, where `call` takes `samples`, [batch, time, channels].
        progress: as for `export`.

    Returns:
        the verdict, also where the two cannot be compared.

    Example:
        >>> check(module, "theirs.onnx").lines[0]
        'Right for every size looked at: theirs.onnx answers as Net does.'
    """
    told = _CallOptions(inputs or {}, call, ids, padding_id, channels)
    with lock_exports(), show_progress(progress), restore_random_state():
        try:
            return _compare_with_module(module, open_file(file), told)
        except PocketRNNError as error:
            return Verdict(str(file), "not comparable", f"{error.problem} {error.remedy}")


def check_files(
    before: str | Path,
    after: str | Path,
    *,
    inputs: Mapping[str, str] | None = None,
    ids: int | None = None,
    max_changed: float = 0.0,
    progress: bool = True,
) -> Verdict:
    """Compare two files: one before and one after a graph optimiser or a quantisation.

    Args:
        before: an ONNX file, or a .pt2, which says what it takes.
        after: what was made of it.
        inputs, ids, progress: as for `check`.
        max_changed: the share of rows whose label may change, where the two answer at the same sizes; for numbers that
            may be values, how far they may be apart, as a part of the largest. Numbers are classes where they are
            probabilities, or where their output's name says so (`logits`).

    Returns:
        the verdict: `right` where they differ by rounding, or by no more than allowed; else `changed`.

    Example:
        >>> check_files("model.onnx", "model.int8.onnx", max_changed=0.01).labels_changed
        0.0023
    """
    with lock_exports(), show_progress(progress), restore_random_state():
        try:
            verdict = _compare_with_module(
                _wrap_file(open_file(before)), open_file(after), _CallOptions(inputs or {}, ids=ids)
            )
        except UncallableModuleError:
            said = f"{before} runs on none of the sizes that were tried. {_FIX_SIZES}"
            return Verdict(str(after), "not comparable", said)
        except PocketRNNError as error:
            return Verdict(str(after), "not comparable", f"{error.problem} {error.remedy}")
    changed = max((line.largest_difference for line in verdict.comparisons), default=math.inf)
    if verdict.kind != "wrong" or math.isinf(changed):
        return verdict
    parts = [f"{after} differs from {before} by up to {changed:.3g}"]
    if verdict.activation:
        parts = [f"{verdict.activation}; after that they differ by up to {changed:.3g}"]
    if verdict.numbers_changed:
        parts.append(f"numbers that may be values by up to {verdict.numbers_changed:.2%} of the largest")
    if verdict.labels_changed or not verdict.numbers_changed:
        parts.append(f"and the label of {verdict.labels_changed:.2%} of the rows changes")
    allowed = max(verdict.labels_changed, verdict.numbers_changed) <= max_changed and not verdict.activation
    return replace(verdict, kind="right" if allowed else "changed", reason=f"{', '.join(parts)}.")


class _RunOfFile:
    """Runs a file on tensors; deepcopy of the module that holds it does not copy it."""

    def __init__(self, file: CheckedFile) -> None:
        self.file = file

    def __call__(self, *tensors: Tensor) -> dict[str, Tensor]:
        answers = self.file.run([tensor.numpy() for tensor in tensors])
        names = [port.name for port in self.file.outputs] or [str(number) for number in range(len(answers))]
        return {name: torch.from_numpy(np.asarray(answer)) for name, answer in zip(names, answers, strict=True)}

    def __deepcopy__(self, _memory: dict[int, Any]) -> _RunOfFile:
        return self


def _wrap_file(file: CheckedFile) -> ModuleWithSignature:
    """Return a module whose forward takes the file's inputs and runs the file.

    Raises:
        InputError: the file does not declare the axes of its inputs.
    """
    if any(port.axes is None for port in file.inputs):
        raise InputError(
            f"{file.path} does not say what it takes.", "Give the module: pocketrnn check model.py:Net --onnx FILE."
        )
    return ModuleWithSignature(_RunOfFile(file), [port.name for port in file.inputs])


@dataclass(frozen=True)
class _CallOptions:
    """The arguments of `check` about how the module is called."""

    inputs: Mapping[str, str]
    call: str | Call | None = None
    ids: int | None = None
    padding_id: int | None = None
    channels: int | None = None


def _compare_with_module(module: nn.Module, file: CheckedFile, told: _CallOptions) -> Verdict:
    _log.info("Finding out how the module is called")
    own, name = _prepare_module(module)
    first = module.run.file if isinstance(module, ModuleWithSignature) else file
    called = find_call(
        own,
        first,
        call=told.call,
        ids=told.ids,
        padding_id=told.padding_id,
        channels=told.channels,
        inputs=told.inputs,
    )
    called = replace(called, in_doubles=not isinstance(own, ModuleWithSignature), name=name)
    cases = [draw_case(called, *size) for size in called.sizes]
    calls = [record_call(called, case) for case in cases]
    if not calls[0].outputs:
        raise InputError("The module's answer holds no tensor.", "Give a module whose forward returns tensors.")
    fed = match_inputs(file, calls, told.inputs, called.sizes)
    beside = _pair_outputs(ComparedFile(called, file, fed, ()), calls)
    _refuse_random_answers(called, beside, cases[0], calls[0])
    fixed = _find_declared_sizes(beside, calls)
    with _round_weights(own, file):
        outcomes = _compare_cases(beside, _collect_cases(called, file, fixed))
        if not outcomes:
            raise InputError(f"{name} answers none of the batches.", "Say how it is called: --call LINE, or call=.")
        bounds = _find_bounds_of_right_sizes(beside, outcomes)
        if bounds is not None and bounds != fixed:
            # Is it right for all ids of these sizes, too?
            inside = _list_outcomes(beside, _select_cases_within_bounds(called, bounds)["these sizes"])
            outcomes["these sizes"] = [*outcomes.get("these sizes", ()), *inside]
            bounds = bounds if all(outcome.is_same for outcome in inside) else None
        verdict = _compare_unequal_lengths(beside, calls, _make_verdict(beside, outcomes, bounds))
    if isinstance(module, ModuleWithSignature):
        return verdict
    if file.is_half_precision:
        verdict = _report_rounding(beside, outcomes, verdict)
    return replace(verdict, called=called.line)


def _pair_outputs(beside: ComparedFile, calls: Sequence[RecordedCall]) -> ComparedFile:
    """Pair the outputs, by a call that both sides answer.

    Raises:
        InputError: the file fails on each of the calls, or no outputs match.
    """
    file, name = beside.file, beside.called.name
    asked = [(call, beside.run_file(call)) for call in calls]
    call, said = next(((call, said) for call, said in asked if not isinstance(said, str)), asked[0])
    answers = None if isinstance(said, str) else said
    if answers is None and not file.outputs:
        raise InputError(
            f"{file.path} fails on each first call that {name} answers: {said}.",
            "Say which input is which, or how the module is called: --input parameter=input, --call LINE.",
        )
    outputs = match_outputs(file, answers, call.outputs)
    activations = {
        own: found
        for number, own in (outputs if answers is not None else ())
        if answers is not None and (found := find_activation(call.outputs[own], answers[number])) is not None
    }
    classes = _find_outputs_with_classes(calls)
    values = {own for own, array in calls[0].outputs.items() if array.dtype.kind == "f"}
    values -= {own for own in classes if _OF_CLASSES.search(own) or gives_probabilities(calls[0].outputs[own])}
    values -= {own for own, (_, activation) in activations.items() if own in classes}
    return replace(
        beside,
        outputs=outputs,
        largest=_find_largest_numbers(calls),
        classes=classes,
        values=frozenset(values),
        activations=activations,
    )


@contextlib.contextmanager
def _round_weights(module: nn.Module, file: CheckedFile) -> Iterator[None]:
    """While the block runs, the module has its weights in half precision if the file has them so: then the file is as
    exact as its own precision."""
    kept: list[tuple[Tensor, Tensor]] = []
    if file.is_half_precision and not isinstance(module, ModuleWithSignature):
        named = {name: w for name, w in module.state_dict().items() if w.dtype == torch.float32}
        matrices = {name: w.numpy() for name, w in named.items() if w.dim() > 1 and w.numel() > 1}
        as_they_are = matrices.keys() - set(find_missing_matrices(file, matrices))
        kept = [(tensor, tensor.clone()) for name, tensor in named.items() if name not in as_they_are]
    with torch.no_grad():
        for tensor, _ in kept:
            tensor.copy_(tensor.half().float())
        try:
            yield
        finally:
            for tensor, original in kept:
                tensor.copy_(original)


def _report_rounding(beside: ComparedFile, outcomes: Mapping[str, Sequence[Outcome]], verdict: Verdict) -> Verdict:
    """Report how far a file in half precision is from the module itself, if its answers are as near as half precision
    allows."""
    if verdict.kind not in ("right", "some sizes"):
        note = "The file is in half precision: it was compared with the module whose weights are rounded so."
        return replace(verdict, notes=(*verdict.notes, note))
    apart = {
        inputs: [replace(one, difference=beside.measure_case(one.case)) for one in some if one.is_same]
        for inputs, some in outcomes.items()
    }
    lines = _summarize_outcomes(verdict.name, {inputs: some for inputs, some in apart.items() if some})
    verdict = replace(verdict, comparisons=lines)
    largest = max(line.largest_difference for line in lines)
    said = f"is in half precision: its answers are up to {largest:.2g} apart from {verdict.name}'s, as rounding allows"
    if verdict.labels_changed and verdict.kind == "right":
        reason = f"{verdict.file} {said}, but the label of {verdict.labels_changed:.2%} of the rows changes."
        return replace(verdict, kind="changed", reason=reason)
    return replace(verdict, notes=(*verdict.notes, f"The file {said}."))


def _find_largest_numbers(calls: Sequence[RecordedCall]) -> dict[str, float]:
    return {
        name: max(float(np.abs(np.nan_to_num(call.outputs[name].astype(float))).max(initial=0.0)) for call in calls)
        for name in calls[0].outputs
        if all(name in call.outputs for call in calls)
    }


def _find_outputs_with_classes(calls: Sequence[RecordedCall]) -> frozenset[str]:
    """Return the outputs of several numbers, as many for every batch and length: one for each class."""
    return frozenset(
        name
        for name, first in calls[0].outputs.items()
        if first.dtype.kind == "f" and first.ndim > 1 and first.shape[-1] > 1
        if all(name in call.outputs and call.outputs[name].shape[-1:] == first.shape[-1:] for call in calls)
    )


def _prepare_module(module: nn.Module) -> tuple[nn.Module, str]:
    """Return a module that can have hooks, and its name."""
    if isinstance(module, ModuleWithSignature):
        return module, module.run.file.path.name
    own = copy_for_export(module)
    if isinstance(own, torch.jit.ScriptModule):
        return ModuleWithSignature(own, [parameter.name for parameter in list_forward_parameters(own)]), str(
            own.original_name
        )
    return own, type(own).__name__


def _refuse_random_answers(called: ModuleCall, beside: ComparedFile, case: Case, first: RecordedCall) -> None:
    again = record_call(called, case)
    if not _are_equal(list(first.outputs.values()), list(again.outputs.values())):
        line = find_drawing_line(called.module, lambda: record_call(called, case))
        raise InputError(
            f"The module answers otherwise each time{': ' * bool(line)}{line}.",
            "Take the random numbers out of forward, as eval() does with dropout.",
        )
    one, other = beside.run_file(first), beside.run_file(first)
    if not isinstance(one, str) and not isinstance(other, str) and not _are_equal(one, other):
        raise InputError(f"{beside.file.path} answers otherwise each time.", "Export it in eval mode.")


def _are_equal(one: Sequence[Array], other: Sequence[Array]) -> bool:
    return all(np.allclose(a, b, atol=1e-5, equal_nan=True) for a, b in zip(one, other, strict=True) if a.dtype != bool)


def _find_declared_sizes(beside: ComparedFile, calls: Sequence[RecordedCall]) -> Bounds:
    """Return the sizes of the batch and the sequence that the file declares as fixed."""
    sizes = beside.called.sizes
    if beside.called.one_row:
        ((rows, steps),) = sizes
        return Bounds((rows, rows), (steps, steps))
    found: dict[str, tuple[int, int]] = {}
    for fed in beside.fed:
        for declared, axis in fed.declared:
            of_calls = [call.inputs[fed.name].shape[axis] for call in calls]
            for place, role in enumerate(("rows", "steps")):
                if isinstance(declared, int) and of_calls == [size[place] for size in sizes]:
                    found[role] = (declared, declared)
    return Bounds(found.get("rows", ANY), found.get("steps", ANY))


def _collect_cases(called: ModuleCall, file: CheckedFile, fixed: Bounds) -> dict[str, list[Case]]:
    """Return the cases by kind: those of the proof of `export`, and every small batch and length."""
    if called.one_row:
        return _select_cases_within_bounds(called, fixed)
    ids, padding_id, ragged = called.ids, called.padding_id, called.ragged
    steps = [(2, n) for n in range(1, min(_EVERY_LENGTH, every_size.MOST_TOKENS) + 1)]
    rows = [(n, 5) for n in range(1, min(_EVERY_BATCH, every_size.MOST_TEXTS) + 1)]
    sweep = [*steps, *((1, n) for n in range(1, 13)), *rows]
    cases = {"every small size": make_boundary_cases(sweep, ids, padding_id, ragged=False)}
    if ragged:
        uneven = make_boundary_cases([(3, n) for n in (2, 5, 9, 21)], ids, padding_id, ragged=True)
        even = make_boundary_cases([(1, 4), (2, 6)], ids, padding_id, ragged=False)
        cases["uneven rows"] = uneven
        cases["padded wider"] = [_widen_case(case, 1 + 2 * n, padding_id) for n, case in enumerate([*even, *uneven])]
    if fixed != Bounds():
        return {**_select_cases_within_bounds(called, fixed), **cases}
    proof = _make_proof_cases(called, None, _list_boundary_sizes(called.module, file))
    few = [
        row
        for some in (proof["shapes"], proof["drawn shapes"])
        for case in some
        for row in make_one_row_cases([case])[:_ALONE]
    ]
    return {**cases, **proof, "rows alone": few}


def _make_proof_cases(
    called: ModuleCall, limits: Limits | None, bounds: Iterable[tuple[int, int]] = ()
) -> dict[str, list[Case]]:
    most = called.ids - 1
    rules = TextRules("external", unknown_id=min(1, most), empty_id=min(1, most), padding_id=called.padding_id)
    one_row = limits is not None and limits.max_batch == 1
    loud = [] if called.samples is not None else find_ids_of_extreme_vectors(called.module, called.ids)
    return make_cases_for_rules(
        rules, ids=called.ids, ragged=called.ragged, limits=limits, bounds=bounds, one_row=one_row, loud=loud[:12]
    )


def _select_cases_within_bounds(called: ModuleCall, bounds: Bounds) -> dict[str, list[Case]]:
    """Return the proof's cases with sizes inside the bounds."""
    (least_rows, most_rows), (least, most) = bounds.rows, bounds.steps
    limits = Limits(max_batch=most_rows, min_tokens=least, max_tokens=most)
    found = [case for some in _make_proof_cases(called, limits).values() for case in some]
    if least_rows > 1:
        found = [_repeat_rows(case, least_rows) for case in found if len(case.lengths) < least_rows] + [
            case for case in found if len(case.lengths) >= least_rows
        ]
    if called.ragged:
        # The proof's rows have at least as many tokens as the least width; here they are padded to that width.
        sizes = itertools.product({least_rows, most_rows or 3}, {least, most or least + 9})
        found += [case for rows, steps in sizes for case in _draw_padded_cases(called, rows, steps)]
    return {"these sizes": [case for case in found if _classify_padding(case) <= bounds.padding]}


def _draw_padded_cases(called: ModuleCall, rows: int, steps: int) -> list[Case]:
    """Draw a case of rows of decreasing lengths, of increasing ones, and of rows shorter than the batch is wide."""
    drawn = draw_case(called, rows, steps, ragged=True)
    lengths = -(-drawn.lengths // 2)
    shorter = np.where(np.arange(steps) < lengths[:, None], drawn.tokens, called.padding_id)
    return [
        drawn,
        Case(f"{drawn.name}, turned", drawn.tokens[::-1].copy(), drawn.lengths[::-1].copy()),
        Case(f"{drawn.name}, shorter", shorter, lengths),
    ]


def _classify_padding(case: Case) -> int:
    width, longest = case.tokens.shape[1], case.lengths.max()
    return WIDER if longest < width else TO_LONGEST if case.lengths.min() < width else NO_PADDING


def _widen_case(case: Case, columns: int, padding_id: int) -> Case:
    """Return the case with columns of padding at its end, as in batches that are all padded to one width."""
    tokens = np.pad(case.tokens, ((0, 0), (0, columns)), constant_values=padding_id)
    return Case(f"{case.name}, padded to {tokens.shape[1]}", tokens, case.lengths)


def _repeat_rows(case: Case, rows: int) -> Case:
    places = np.arange(rows) % len(case.lengths)
    return Case(f"{case.name}, {rows} rows", case.tokens[places], case.lengths[places])


def _list_boundary_sizes(module: nn.Module, file: CheckedFile) -> list[tuple[int, int]]:
    """Return the sizes just below, at and above each whole number in the module's layers, its code and the file."""
    numbers = [] if file.model is None else find_small_integers(file.model.SerializeToString())
    for layer in module.modules():
        held = [value for value in vars(layer).values() if type(value) is int]
        code = getattr(getattr(type(layer), "forward", None), "__code__", None)
        if code is not None and not type(layer).__module__.startswith("torch."):
            held += [value for value in code.co_consts if type(value) is int]
        numbers += [near for value in held for near in (value - 1, value, value + 1)]
    asked = sorted({number for number in numbers if _EVERY_LENGTH < number <= _MOST_ASKED})
    step = max(1, math.ceil(len(asked) / _MOST_BOUNDS))
    return [(2, number) for number in asked[::step]]


def _compare_cases(beside: ComparedFile, cases: Mapping[str, Sequence[Case]]) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    started = time.process_time()
    for inputs, some in cases.items():
        found[inputs] = []
        for case in log_item_progress(some, f"Comparing {beside.file.path.name} on {inputs}"):
            if time.process_time() - started > SECONDS:
                break
            found[inputs] += _list_outcomes(beside, [case])
    return {inputs: some for inputs, some in found.items() if some}


def _list_outcomes(beside: ComparedFile, cases: Iterable[Case]) -> Iterable[Outcome]:
    return [outcome for case in cases if (outcome := beside.compare_case(case)) is not None]


def _find_bounds_of_right_sizes(beside: ComparedFile, outcomes: Mapping[str, Sequence[Outcome]]) -> Bounds | None:
    looked = [
        ComparedSize(len(one.case.lengths), one.case.tokens.shape[1], _classify_padding(one.case), one.is_same)
        for some in outcomes.values()
        for one in some
    ]

    def asked(rows: int, steps: int) -> bool:
        outcome = beside.compare_case(draw_case(beside.called, rows, steps, ragged=False))
        return outcome is not None and outcome.is_same

    return find_right_sizes(looked, asked)


def _make_verdict(beside: ComparedFile, outcomes: Mapping[str, Sequence[Outcome]], bounds: Bounds | None) -> Verdict:
    every = [outcome for some in outcomes.values() for outcome in some]
    file, name, unit = beside.file, beside.called.name, beside.called.unit
    shapes = _describe_other_shapes(every)
    verdict = Verdict(
        str(file.path), "right", f"{file.path} answers as {name} does{', in another shape' * bool(shapes)}.",
        name=name,
        inputs={fed.port.name: fed.name for fed in beside.fed},
        outputs={_name_output_of_file(file, number): own for number, own in beside.outputs},
        comparisons=_summarize_outcomes(name, outcomes),
        numbers_changed=max((one.numbers_off for one in every), default=0.0),
        looked_at=_describe_sizes(every, unit),
        notes=(*_describe_transposed_inputs(beside), *_describe_uncompared_outputs(beside), *shapes),
    )  # fmt: skip
    wrong = [outcome for outcome in every if not outcome.is_same]
    if beside.activations:
        return _report_activation(beside, every, replace(verdict, kind="wrong"))
    if not wrong:
        exact, reason, off = beside.compare_in_doubles(every)
        verdict = replace(verdict, float64_difference=exact, notes=(*verdict.notes, *filter(None, [reason])))
        if off is None:
            return _report_one_row(beside, every, verdict)
        wrong = [off]
    differing = [outcome for outcome in wrong if not outcome.error]
    shown, case = find_shortest_input(beside, differing or wrong)
    verdict = replace(verdict, sizes="" if bounds is None else bounds.said(unit or "tokens"), shown=shown)
    if len(wrong) == len(every) and not differing:
        reason = f"{file.path} fails on each of {len(every)} batches that {name} answers: {wrong[0].error}."
        return replace(verdict, kind="not comparable", reason=reason)
    if not differing:
        reason = f"{file.path} fails on {len(wrong)} of {len(every)} batches, where {name} answers."
        return _report_one_row(beside, every, replace(verdict, kind="some sizes", reason=reason))
    verdict = replace(verdict, kind="wrong", reason=f"{file.path} gives other answers than {name}.")
    notes, has_weights = _describe_weights(beside)
    return replace(
        verdict, notes=(*notes, *verdict.notes), departs=_find_differing_operation(beside, case) if has_weights else ""
    )


def _compare_unequal_lengths(beside: ComparedFile, calls: Sequence[RecordedCall], verdict: Verdict) -> Verdict:
    """Compare the two where one input is half as long as the others, and return the verdict on all: one on inputs of
    equal length says nothing of these. A file that names their axes alike is not asked."""
    if verdict.kind not in ("right", "some sizes") or beside.called.one_row:
        return verdict
    unequal, alike = _list_unequal_inputs(beside, calls)
    sizes = [*beside.called.sizes, *_UNEQUAL_SIZES]
    cases = [draw_case(beside.called, *size, ragged=False) for size in sizes if size[1] > 1]
    # Where the file fails on equal lengths, the verdict says so already.
    cases = [one.case for one in _list_outcomes(beside, cases if unequal else ()) if one.is_same]
    found = {name: (asked, list(_list_outcomes(asked, cases))) for name, asked in unequal.items()}
    found = {name: (asked, outcomes) for name, (asked, outcomes) in found.items() if outcomes}
    for name, (asked, outcomes) in found.items():
        of_unequal = _make_verdict(asked, {f"{name} shorter": outcomes}, None)
        if not of_unequal.is_right:
            return _join_unequal_verdict(verdict, of_unequal, name)
    kinds = {f"{name} shorter": outcomes for name, (_, outcomes) in found.items()}
    count = sum(map(len, kinds.values()))
    notes = [f"In {count} more batches one of {', '.join(found)} is shorter than the others."] if count else []
    if alike and not found:
        notes = [f"The inputs {', '.join(alike)} had the same length in each run: unequal lengths were not looked at."]
    lines = (*verdict.comparisons, *_summarize_outcomes(verdict.name, kinds))
    return replace(verdict, comparisons=lines, notes=(*verdict.notes, *notes))


def _list_unequal_inputs(
    beside: ComparedFile, calls: Sequence[RecordedCall]
) -> tuple[dict[str, ComparedFile], list[str]]:
    """Return the inputs that may be shorter than the others, each with the comparison in which it is so; and the inputs
    with a sequence that the module takes so, or that the file gives different names."""
    called = beside.called
    size = max(called.sizes, key=lambda size: -abs(size[1] - _ORDINARY_STEPS))
    full = record_call(called, draw_case(called, *size, ragged=False)).inputs
    fed = {one.name: one for one in beside.fed}
    steps = [size[1] for size in called.sizes]
    named = {
        one.name: declared
        for one in beside.fed
        for declared, axis in one.declared
        if isinstance(declared, str) and [call.inputs[one.name].shape[axis] for call in calls] == steps
    }
    places: dict[str, tuple[ComparedFile, int]] = {}
    for function in called.unequal:
        asked = replace(beside, called=replace(called, function=function))
        with contextlib.suppress(Exception, SystemExit):
            cut = record_call(asked.called, draw_case(called, *size, ragged=False)).inputs
            name = next(name for name in fed if cut[name].shape != full[name].shape)
            pairs = zip(cut[name].shape, full[name].shape, strict=True)
            places[name] = asked, next(axis for axis, (one, other) in enumerate(pairs) if one != other)
    axes = {
        name: next((said for said, of in fed[name].declared if of == axis), None) for name, (_, axis) in places.items()
    }
    unequal = {
        name: asked for name, (asked, _) in places.items() if axes[name] is None or set(axes.values()) != {axes[name]}
    }
    return unequal, list(places) or (list(named) if len(set(named.values())) > 1 else [])


def _join_unequal_verdict(verdict: Verdict, of_unequal: Verdict, name: str) -> Verdict:
    """Return the verdict on a file that is right only where its inputs have one length."""
    sizes = f"inputs of equal length{f' and {verdict.sizes}' * bool(verdict.sizes)}"
    joined = replace(
        of_unequal,
        sizes=sizes,
        looked_at=verdict.looked_at,
        comparisons=(*verdict.comparisons, *of_unequal.comparisons),
        numbers_changed=max(verdict.numbers_changed, of_unequal.numbers_changed),
    )
    if of_unequal.kind == "wrong":
        return joined
    reason = f"{verdict.file} fails where {name} is shorter than another input, and {verdict.name} answers."
    return replace(joined, kind="some sizes", reason=reason)


def _report_activation(beside: ComparedFile, every: Sequence[Outcome], verdict: Verdict) -> Verdict:
    """Say that one side has an activation at its end, and whether the answers are the same after it."""
    side, activation = next(iter(beside.activations.values()))
    more, plain = (beside.file.path, beside.called.name) if side == "module" else (beside.called.name, beside.file.path)
    said = f"{more} gives the {activation.name} of the numbers that {plain} gives"
    as_given = replace(beside, activations={})
    case = min((one.case for one in every), key=lambda case: int(case.tokens.size))
    found = as_given.compare_case(case)
    shown = None if found is None else find_shortest_input(as_given, [found])[0]
    same = all(outcome.is_same for outcome in every)
    departs = _find_differing_operation(as_given, case) if same and side == "module" else ""
    reason = f"{said}; {'the answers are the same after it' if same else 'they differ after it, too'}."
    return replace(verdict, reason=reason, shown=shown, departs=departs, activation=said)


def _report_one_row(beside: ComparedFile, every: Sequence[Outcome], verdict: Verdict) -> Verdict:
    """Report that a file is right for batches of one row only, where the module was not run on larger ones."""
    called, file = beside.called, beside.file
    if any(len(outcome.case.lengths) > 1 for outcome in every):
        return verdict
    first = called.sizes[0]
    if called.one_row:
        given = record_call(called, draw_case(called, *first)).inputs
        limited = all(1 in array.shape for array in given.values())
    else:
        given = record_inputs(called, draw_case(called, 2, first[1]))
        takes_one = any(declared == 1 for fed in beside.fed for declared, _ in fed.declared)
        limited = isinstance(file.ask(make_feeds(beside.fed, given)), str) if given else takes_one
    if not limited:
        return verdict
    sizes = f"batch 1 only{f' and {verdict.sizes}' * bool(verdict.sizes)}"
    if verdict.kind != "right":
        return replace(verdict, sizes=sizes)
    reason = f"{file.path} answers as {called.name} does for one row, and neither was seen to take more."
    return replace(verdict, kind="some sizes", sizes=sizes, reason=reason)


def _summarize_outcomes(name: str, outcomes: Mapping[str, Sequence[Outcome]]) -> tuple[Comparison, ...]:
    return tuple(
        summarize_differences(
            [one.difference for one in some],
            reference=name,
            inputs=inputs,
            rows=sum(len(one.case.lengths) for one in some),
        ).line
        for inputs, some in outcomes.items()
    )


def _describe_weights(beside: ComparedFile) -> tuple[list[str], bool]:
    """Return a note if the file lacks matrices of the module; the note says whether the file may hold some of them."""
    matrices = {name: w.numpy() for name, w in beside.called.module.named_parameters() if w.dim() > 1 and w.numel() > 1}
    lacking = find_missing_matrices(beside.file, matrices)
    if not lacking:
        return [], True
    if len(lacking) == len(matrices):
        said = "The file holds none of the module's matrices: it was made with other weights, or of rounded ones."
        return [said], False
    held = f"The file holds {len(matrices) - len(lacking)} of the module's {len(matrices)} matrices"
    return [f"{held}, and {lacking[0]} is not among them: it may be made with other weights."], True


def _describe_sizes(outcomes: Sequence[Outcome], unit: str) -> str:
    shapes = np.array([outcome.case.tokens.shape for outcome in outcomes])
    (least_rows, least), (most_rows, most) = shapes.min(0), shapes.max(0)
    rows = _format_range(least_rows, most_rows, "rows")
    if not unit:
        return f"Looked at {len(outcomes)} batches, of {rows}."
    return f"Looked at {len(outcomes)} batches, of {rows} and of {_format_range(least, most, unit)} a row."


def _format_range(least: int, most: int, unit: str) -> str:
    if least < most:
        return f"{least:,} to {most:,} {unit}"
    return f"{most:,} {unit if most > 1 else unit.removesuffix('s')}"


def _find_differing_operation(beside: ComparedFile, shown: Case) -> str:
    """Find where file and module depart: on an ordinary batch if possible, as a mean of one token is also its sum."""
    ordinary = beside.compare_case(draw_case(beside.called, *beside.called.sizes[0]))
    return beside.departs(shown if ordinary is None or ordinary.is_same or ordinary.error else ordinary.case)


def _name_output_of_file(file: CheckedFile, number: int) -> str:
    return file.outputs[number].name if number < len(file.outputs) else str(number)


def _describe_other_shapes(outcomes: Iterable[Outcome]) -> list[str]:
    odd = next((outcome for outcome in outcomes if outcome.shapes), None)
    if odd is None:
        return []
    return [f"To a batch of {len(odd.case.lengths)} the file gives {odd.shapes}: the numbers are compared."]


def _describe_transposed_inputs(beside: ComparedFile) -> list[str]:
    turned = {fed.port.name: ", ".join(map(str, fed.order)) for fed in beside.fed if fed.order is not None}
    return [
        f"The file's input {name} is given the module's with its axes in the order {o}." for name, o in turned.items()
    ]


def _describe_uncompared_outputs(beside: ComparedFile) -> list[str]:
    numbers, names = ({pair[place] for pair in beside.outputs} for place in (0, 1))
    left = [port.name for number, port in enumerate(beside.file.outputs) if number not in numbers]
    lacking = [name for name in beside.largest if name not in names]
    of_both = ((left, "of the file"), (lacking, f"of {beside.called.name}, which the file lacks"))
    return [
        f"Not compared: the output{'s' * (len(some) > 1)} {', '.join(some)} {whose}." for some, whose in of_both if some
    ]
