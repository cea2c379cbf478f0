"""`check`: compare an exported file with its module, and give a verdict."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.errors import InputError, PocketRNNError
from pocketrnn_export.checking.answer_comparison import ComparedFile, Outcome, compare_cases
from pocketrnn_export.checking.calls_by_axis_roles import UncallableModuleError
from pocketrnn_export.checking.cases_to_compare import (
    classify_padding,
    collect_cases_to_compare,
    draw_cases_of_reshape_sizes,
    draw_cases_that_reshape_regroups,
    make_cases_within_bounds,
)
from pocketrnn_export.checking.exported_file import Array, CheckedFile, find_missing_matrices, open_checked_file
from pocketrnn_export.checking.forward_call_recording import (
    ModuleCall,
    RecordedCall,
    can_run_on_size,
    draw_case,
    gives_same_answers_again,
    record_call,
)
from pocketrnn_export.checking.input_output_matching import match_inputs, match_outputs
from pocketrnn_export.checking.masks_of_beginnings_and_unequal_lengths import (
    compare_with_reversed_masks,
    compare_with_unequal_lengths,
)
from pocketrnn_export.checking.missing_activation import are_probabilities, find_missing_activation
from pocketrnn_export.checking.module_call_for_file_inputs import ModuleWithSignature, find_how_to_call_module
from pocketrnn_export.checking.sizes_with_correct_answers import (
    ANY,
    Bounds,
    ComparedSize,
    find_simplest_bounds_of_right_sizes,
)
from pocketrnn_export.checking.verdict import Verdict
from pocketrnn_export.checking.verdict_from_outcomes import make_verdict, report_half_precision_rounding
from pocketrnn_export.comparing.proof_inputs import Case
from pocketrnn_export.export_lock_and_exceptions import run_one_export_on_one_core
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import list_forward_parameters
from pocketrnn_export.intake.compiled_call_line import Call
from pocketrnn_export.intake.module_copy_for_export import copy_for_export
from pocketrnn_export.intake.user_code_lines_for_messages import find_random_draw_line
from pocketrnn_export.module_runs.state_restoration import keep_module_unchanged, restore_random_state
from pocketrnn_export.progress import log_item_progress, show_progress

_log = logging.getLogger(__name__)
# The processor time for the cases: after it, no further case is compared.
SECONDS: Final = 120.0
# The same for the further cases of a file that fails on some.
_MORE_SECONDS: Final = 20.0
# The names of outputs with a number for each class.
_OF_CLASSES: Final = re.compile("logit|prob|class|label|softmax", re.IGNORECASE)
_FIX_SIZES: Final = (
    "If it takes one size only, declare that size in it: python -m onnxruntime.tools.make_dynamic_shape_fixed "
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
    """Compare an exported file with the module that it was made from: do both give the same answers?

    Both are run on the cases with which `export` proves a bundle, such as random shapes and every id; at every small
    batch and length; and at sizes around each whole number in the module or the file. The verdict covers these cases
    only.

    Args:
        module: the module; it is copied, not changed.
        file: an ONNX file, a TorchScript file or a .pt2 file of torch.export. The latter two hold code, which is run.
        inputs: a map from names of the module's inputs to names of the file's inputs. It is needed only if names, types
            and axes do not show which inputs belong together.
        call: how the module is called, if `check` does not find out: a line of Python with `module`, `tokens` or
            `samples`, and `lengths`; or a function of these.
        ids: how many token ids there are; by default, the number of rows of the module's embedding.
        padding_id: the id that fills a row after its last token; by default the `padding_idx` of the module's
            embedding, or 0.
        channels: how many numbers a step has, if `call` takes `samples` [batch, time, channels].
        progress: whether to print progress on standard error, as `export` does.

    Returns:
        the verdict, also if the two cannot be compared.

    Example:
        >>> check(module, "theirs.onnx").lines[0]
        'Right for every size looked at: theirs.onnx answers as Net does.'
    """
    options = _CallOptions(inputs or {}, call, ids, padding_id, channels)
    with run_one_export_on_one_core(), show_progress(progress), restore_random_state():
        try:
            with keep_module_unchanged(module):
                return _compare_with_module(module, open_checked_file(file), options)
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
    """Compare two exported files, such as those before and after a graph optimiser or a quantisation.

    Args:
        before: an ONNX file or a .pt2 file, since these declare the shapes of their inputs.
        after: the file that was made from `before`.
        inputs, ids, progress: as for `check`.
        max_changed: the largest share of rows whose label may change. For an output that does not show scores of
            classes by its numbers (probabilities) or its name (such as `logits`), it is instead the largest change of a
            number, as a share of the largest number.

    Returns:
        the verdict: `right` if the files differ only by rounding, or by no more than allowed; else `changed`.

    Example:
        >>> check_files("model.onnx", "model.int8.onnx", max_changed=0.01).labels_changed
        0.0023
    """
    with run_one_export_on_one_core(), show_progress(progress), restore_random_state():
        try:
            verdict = _compare_with_module(
                _wrap_file_as_module(open_checked_file(before)),
                open_checked_file(after),
                _CallOptions(inputs or {}, ids=ids),
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
        parts = [f"{verdict.activation}; with it on both sides, the answers differ by up to {changed:.3g}"]
    if verdict.numbers_changed:
        parts.append(f"numbers that may be values by up to {verdict.numbers_changed:.2%} of the largest")
    if verdict.labels_changed or not verdict.numbers_changed:
        parts.append(f"and the label of {verdict.labels_changed:.2%} of the rows changes")
    allowed = max(verdict.labels_changed, verdict.numbers_changed) <= max_changed and not verdict.activation
    return replace(verdict, kind="right" if allowed else "changed", reason=f"{', '.join(parts)}.")


class _FileRunner:
    """Runs a file on tensors. If a module that holds this object is copied by deepcopy, the copy shares the object."""

    def __init__(self, file: CheckedFile) -> None:
        self.file = file

    def __call__(self, *tensors: Tensor) -> dict[str, Tensor]:
        answers = self.file.run([tensor.numpy() for tensor in tensors])
        names = [port.name for port in self.file.outputs] or [str(number) for number in range(len(answers))]
        return {name: torch.from_numpy(np.asarray(answer)) for name, answer in zip(names, answers, strict=True)}

    def __deepcopy__(self, _memory: dict[int, Any]) -> _FileRunner:
        return self


def _wrap_file_as_module(file: CheckedFile) -> ModuleWithSignature:
    """Make a module whose forward takes the inputs of an exported file by name, and runs the file on them.

    Raises:
        InputError: the file does not say what shape its inputs have.
    """
    if any(port.axes is None for port in file.inputs):
        raise InputError(
            f"{file.path} does not say what shape its inputs have, so that no batch can be made for it.",
            "Give the module, too: pocketrnn check model.py:Net --onnx FILE.",
        )
    return ModuleWithSignature(_FileRunner(file), [port.name for port in file.inputs])


@dataclass(frozen=True)
class _CallOptions:
    """The arguments of `check` that say how the module is called, and which inputs it has."""

    inputs: Mapping[str, str]
    call: str | Call | None = None
    ids: int | None = None
    padding_id: int | None = None
    channels: int | None = None


def _compare_with_module(module: nn.Module, file: CheckedFile, options: _CallOptions) -> Verdict:
    """Find out how a module is called, compare a file with the module on all cases, and return the verdict.

    Args:
        module: the module, or another file that was wrapped as a module.
        options: what the user says about how the module is called.

    Raises:
        InputError: the two cannot be compared.
    """
    _log.info("Finding out how the module is called")
    own, name = _copy_and_name_module(module)
    first = module.run.file if isinstance(module, ModuleWithSignature) else file
    called = find_how_to_call_module(
        own,
        first,
        call=options.call,
        ids=options.ids,
        padding_id=options.padding_id,
        channels=options.channels,
        inputs=options.inputs,
    )
    called = replace(called, in_doubles=not isinstance(own, ModuleWithSignature), name=name)
    cases = [draw_case(called, *size) for size in called.sizes]
    calls = [record_call(called, case) for case in cases]
    if not calls[0].outputs:
        raise InputError(
            "The module's forward returns a value without a tensor in it, so there is nothing to compare.",
            "Return a tensor from forward, or a tuple, list or dict of tensors.",
        )
    fed = match_inputs(file, calls, options.inputs, called.sizes)
    compared = _pair_outputs_of_file_and_module(ComparedFile(called, file, fed, ()), calls)
    _refuse_random_answers(called, compared, cases[0], calls[0])
    fixed = _find_fixed_sizes(compared, calls)
    with _round_weights_if_file_is_half_precision(own, file):
        outcomes = _compare_cases(compared, collect_cases_to_compare(called, file, fixed))
        if not outcomes:
            raise InputError(
                f"{name} raises an error for each batch that was tried, so there is nothing to compare.",
                "Say how the module is called: --call LINE, or call= in Python.",
            )
        outcomes |= _compare_more_cases_after_failures(compared, outcomes, fixed)
        bounds = _find_bounds_of_right_sizes(compared, outcomes)
        if bounds is not None and bounds != fixed:
            # Is it right for all ids of these sizes, too?
            inside = compare_cases(compared, make_cases_within_bounds(called, bounds)["these sizes"])
            outcomes["these sizes"] = [*outcomes.get("these sizes", ()), *inside]
            bounds = bounds if all(outcome.is_same for outcome in inside) else None
        verdict = compare_with_unequal_lengths(compared, calls, make_verdict(compared, outcomes, bounds))
        verdict = compare_with_reversed_masks(compared, verdict)
    if isinstance(module, ModuleWithSignature):
        return verdict
    if file.is_half_precision:
        verdict = report_half_precision_rounding(compared, outcomes, verdict)
    if not gives_same_answers_again(called, cases[0]):
        note = f"{name} keeps a state that changes later answers: it was restored to its first state before each call."
        verdict = replace(verdict, notes=(*verdict.notes, note))
    return replace(verdict, called=called.line)


def _pair_outputs_of_file_and_module(compared: ComparedFile, calls: Sequence[RecordedCall]) -> ComparedFile:
    """Find out which output of the file belongs to which output of the module, by a call that both answer. Return
    `compared` with these pairs, and with facts about the module's outputs, such as their largest numbers.

    Raises:
        InputError: the file fails on each of the calls, or no outputs match.
    """
    file, name = compared.file, compared.called.name
    asked = [(call, compared.run_file(call)) for call in calls]
    call, said = next(((call, said) for call, said in asked if not isinstance(said, str)), asked[0])
    answers = None if isinstance(said, str) else said
    if answers is None and not file.outputs:
        raise InputError(
            f"{name} answers each input that was tried, but {file.path} fails on all of them: {said}.",
            "Say which input of the file belongs to which parameter of forward: --input PARAMETER=INPUT. Or say "
            "how the module is called: --call LINE.",
        )
    outputs = match_outputs(file, answers, call.outputs)
    activations = {
        own: found
        for number, own in (outputs if answers is not None else ())
        if answers is not None and (found := find_missing_activation(call.outputs[own], answers[number])) is not None
    }
    classes = _find_outputs_with_classes(calls)
    values = {own for own, array in calls[0].outputs.items() if array.dtype.kind == "f"}
    values -= {own for own in classes if _OF_CLASSES.search(own) or are_probabilities(calls[0].outputs[own])}
    values -= {own for own, (_, activation) in activations.items() if own in classes}
    return replace(
        compared,
        outputs=outputs,
        largest=_find_largest_numbers(calls),
        scales=_compute_scales_of_outputs(calls, classes, activations),
        classes=classes,
        values=frozenset(values),
        activations=activations,
    )


@contextlib.contextmanager
def _round_weights_if_file_is_half_precision(module: nn.Module, file: CheckedFile) -> Iterator[None]:
    """While the block runs, round the module's weights to half precision if the file stores weights in half precision,
    or computes in it."""
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


def _find_largest_numbers(calls: Sequence[RecordedCall]) -> dict[str, float]:
    """Return a dict from the name of each output of the module to its largest absolute number in all recorded calls."""
    return {
        name: max(float(np.abs(np.nan_to_num(call.outputs[name].astype(float))).max(initial=0.0)) for call in calls)
        for name in calls[0].outputs
        if all(name in call.outputs for call in calls)
    }


def _compute_scales_of_outputs(
    calls: Sequence[RecordedCall], scaled_by_column: Collection[str], unscaled: Collection[str]
) -> dict[str, Array]:
    """Find the smallest scale of all float outputs of the module. Return a dict from the name of each output with
    larger numbers to an array that says how many times larger they are than that scale.

    Args:
        scaled_by_column: the outputs that get a scale for each column; all others get one scale.
        unscaled: the outputs that are left out.
    """
    found: dict[str, Array] = {}
    for name, array in calls[0].outputs.items():
        if array.dtype.kind != "f" or name in unscaled:
            continue
        shape = (-1, array.shape[-1]) if name in scaled_by_column else (-1, 1)
        numbers = np.concatenate([np.abs(call.outputs[name]).reshape(shape) for call in calls if name in call.outputs])
        found[name] = numbers.max(0, initial=1.0, where=np.isfinite(numbers)).astype(np.float64)
    least = min((float(scale.min()) for scale in found.values()), default=1.0)
    return {name: scale / least for name, scale in found.items() if scale.max() > least}


def _find_outputs_with_classes(calls: Sequence[RecordedCall]) -> frozenset[str]:
    """Return the names of the outputs that may hold a number for each class: floats whose last axis has the same size,
    above 1, in all recorded calls."""
    return frozenset(
        name
        for name, first in calls[0].outputs.items()
        if first.dtype.kind == "f" and first.ndim > 1 and first.shape[-1] > 1
        if all(name in call.outputs and call.outputs[name].shape[-1:] == first.shape[-1:] for call in calls)
    )


def _copy_and_name_module(module: nn.Module) -> tuple[nn.Module, str]:
    """Return a copy of a module, and the module's name. A copy of TorchScript is wrapped in a Python module, which
    supports hooks. For a module that runs an exported file, return the module itself and the file's name."""
    if isinstance(module, ModuleWithSignature):
        return module, module.run.file.path.name
    own = copy_for_export(module)
    if isinstance(own, torch.jit.ScriptModule):
        return ModuleWithSignature(own, [parameter.name for parameter in list_forward_parameters(own)]), str(
            own.original_name
        )
    return own, type(own).__name__


def _refuse_random_answers(called: ModuleCall, compared: ComparedFile, case: Case, first_call: RecordedCall) -> None:
    """Raise an InputError if the module, or the file, gives another answer to the same inputs when it runs again.

    Args:
        case: the inputs.
        first_call: a recorded call of the module on these inputs.
    """
    again = record_call(called, case)
    if not _are_near(list(first_call.outputs.values()), list(again.outputs.values())):
        line = find_random_draw_line(called.module, lambda: record_call(called, case))
        raise InputError(
            f"The module gives another answer to the same input at each call{': ' * bool(line)}{line}.",
            "In forward, draw random numbers only if self.training is true, as nn.Dropout does.",
        )
    one, other = compared.run_file(first_call), compared.run_file(first_call)
    if not isinstance(one, str) and not isinstance(other, str) and not _are_near(one, other):
        raise InputError(
            f"{compared.file.path} gives another answer to the same input at each run.",
            "Export the module again in eval mode: call module.eval() before.",
        )


def _are_near(one: Sequence[Array], other: Sequence[Array]) -> bool:
    return all(np.allclose(a, b, atol=1e-5, equal_nan=True) for a, b in zip(one, other, strict=True) if a.dtype != bool)


def _find_fixed_sizes(compared: ComparedFile, calls: Sequence[RecordedCall]) -> Bounds:
    """Return the numbers of rows and steps for which the file can be compared with its module. They are bounded by
    sizes that the file declares as fixed, and by a number of steps if the module runs only on that one. `calls` are
    recorded calls of different sizes."""
    sizes = compared.called.sizes
    if compared.called.one_row:
        ((rows, steps),) = sizes
        return Bounds((rows, rows), (steps, steps))
    found: dict[str, tuple[int, int]] = {}
    for fed in compared.fed:
        for declared, axis in fed.declared_sizes:
            of_calls = [call.inputs[fed.name].shape[axis] for call in calls]
            for place, role in enumerate(("rows", "steps")):
                if isinstance(declared, int) and of_calls == [size[place] for size in sizes]:
                    found[role] = (declared, declared)
    ((rows, steps), *others) = sizes
    if all(size[1] == steps for size in others) and not any(
        can_run_on_size(compared.called, rows, near, ragged=False) for near in (steps - 1, steps + 1)
    ):
        found["steps"] = (steps, steps)
    return Bounds(found.get("rows", ANY), found.get("steps", ANY))


def _compare_cases(
    compared: ComparedFile, cases: Mapping[str, Sequence[Case]], time_limit: float = SECONDS
) -> dict[str, list[Outcome]]:
    """Compare the file with its module on the cases of each kind, until `time_limit` seconds of processor time are used
    up. Return the outcomes by kind; kinds without an outcome are left out."""
    found: dict[str, list[Outcome]] = {}
    started = time.process_time()
    for inputs, some in cases.items():
        found[inputs] = []
        for case in log_item_progress(some, f"Comparing {compared.file.path.name} on {inputs}"):
            if time.process_time() - started > time_limit:
                break
            found[inputs] += compare_cases(compared, [case])
    return {inputs: some for inputs, some in found.items() if some}


def _compare_more_cases_after_failures(
    compared: ComparedFile, outcomes: Mapping[str, Sequence[Outcome]], fixed_sizes: Bounds
) -> dict[str, list[Outcome]]:
    """If the file fails on some cases and answers all others right, compare it on further batches: of the sizes that a
    Reshape in the file expects, and of sizes with which such a Reshape may mix rows. Return the new outcomes by kind of
    case; an empty dict for any other file.

    Args:
        outcomes: the outcomes so far, by kind of case.
        fixed_sizes: the bounds that the file declares; no batch is outside of them.
    """
    every = [outcome for some in outcomes.values() for outcome in some]
    if not all(outcome.is_same or outcome.error for outcome in every) or all(outcome.is_same for outcome in every):
        return {}
    found: dict[str, list[Outcome]] = {}
    if not any(outcome.is_same for outcome in every):
        held = {"sizes that it holds": draw_cases_of_reshape_sizes(compared.called, compared.file)}
        tried = _compare_cases(compared, held, _MORE_SECONDS)
        found = {inputs: taken for inputs, some in tried.items() if (taken := [one for one in some if not one.error])}
    right = [outcome.case for outcome in itertools.chain(every, *found.values()) if outcome.is_same]
    regrouped = {"rows of other lengths": draw_cases_that_reshape_regroups(compared.called, right, fixed_sizes)}
    return found | _compare_cases(compared, regrouped, _MORE_SECONDS)


def _find_bounds_of_right_sizes(compared: ComparedFile, outcomes: Mapping[str, Sequence[Outcome]]) -> Bounds | None:
    """Return bounds on rows and steps that contain all sizes for which the file is right, and none for which it is
    wrong. Return None if there are no such bounds, or if all outcomes are right or all are wrong."""
    looked = [
        ComparedSize(len(one.case.lengths), one.case.tokens.shape[1], classify_padding(one.case), one.is_same)
        for some in outcomes.values()
        for one in some
    ]

    def is_right_at(rows: int, steps: int) -> bool:
        outcome = compared.compare_case(draw_case(compared.called, rows, steps, ragged=False))
        return outcome is not None and outcome.is_same

    return find_simplest_bounds_of_right_sizes(looked, is_right_at)
