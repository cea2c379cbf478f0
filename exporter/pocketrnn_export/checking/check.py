"""`check`: whether a file that somebody exported answers as its module does."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.bundle.manifest import Comparison, Limits
from pocketrnn.errors import InputError, PocketRNNError
from pocketrnn.text import TextRules
from pocketrnn_export.checking.axis_roles import UncallableError
from pocketrnn_export.checking.beside import Beside, Outcome
from pocketrnn_export.checking.calls import called_for
from pocketrnn_export.checking.exchange import Called, Exchange, Signed, case_of, exchange
from pocketrnn_export.checking.mapping import mapped_inputs, mapped_outputs
from pocketrnn_export.checking.other_file import Array, OtherFile, lacking_matrices, open_file
from pocketrnn_export.checking.shortest import shown_by
from pocketrnn_export.checking.sizes import ANY, Bounds, Looked, right_sizes
from pocketrnn_export.checking.verdict import Verdict
from pocketrnn_export.comparing.cases import Case, bound_cases, each_row
from pocketrnn_export.comparing.comparing import summary
from pocketrnn_export.forms.onnx.onnx_graph import whole_numbers_of
from pocketrnn_export.intake.call_discovery.module_facts import parameters_of
from pocketrnn_export.intake.convention import Call
from pocketrnn_export.intake.export_copy import copied_for_export
from pocketrnn_export.intake.random_draws import drawing_line
from pocketrnn_export.module_runs.untouched import random_state_kept
from pocketrnn_export.one_export import one_export_at_a_time
from pocketrnn_export.progress import each, told_on_stderr
from pocketrnn_export.proof import every_size
from pocketrnn_export.proof.chosen_cases import cases_for
from pocketrnn_export.proof.loud_ids import loud_ids

__all__ = ["check", "check_files"]

_log = logging.getLogger(__name__)
# Batches and lengths that are all looked at; and numbers of the module and the file, on both sides of each.
_EVERY_BATCH: Final = 16
_EVERY_LENGTH: Final = 48
_MOST_ASKED: Final = 1_100
_MOST_BOUNDS: Final = 60
# Processor time for the cases, after which no further ones are looked at.
SECONDS: Final = 120.0
_ALONE: Final = 2
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
    told = _Told(inputs or {}, call, ids, padding_id, channels)
    with one_export_at_a_time(), told_on_stderr(progress), random_state_kept():
        try:
            return _checked(module, open_file(file), told)
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
        max_changed: the share of rows whose label may change, where the two answer at the same sizes.

    Returns:
        the verdict: `right` where they differ by rounding, or by no more labels than allowed; else `changed`.

    Example:
        >>> check_files("model.onnx", "model.int8.onnx", max_changed=0.01).labels_changed
        0.0023
    """
    with one_export_at_a_time(), told_on_stderr(progress), random_state_kept():
        try:
            verdict = _checked(_as_module(open_file(before)), open_file(after), _Told(inputs or {}, ids=ids))
        except UncallableError:
            said = f"{before} runs on none of the sizes that were tried. {_FIX_SIZES}"
            return Verdict(str(after), "not comparable", said)
        except PocketRNNError as error:
            return Verdict(str(after), "not comparable", f"{error.problem} {error.remedy}")
    if verdict.kind != "wrong" or verdict.sizes or math.isinf(verdict.shown.difference if verdict.shown else 0.0):
        return verdict
    changed = max(line.largest_difference for line in verdict.comparisons)
    reason = (
        f"{after} differs from {before} by up to {changed:.3g}, and the label of {verdict.labels_changed:.2%} of "
        "the rows changes."
    )
    return replace(verdict, kind="right" if verdict.labels_changed <= max_changed else "changed", reason=reason)


class _RunOfFile:
    """A run of a file on tensors, which is not copied with the module that it is in."""

    def __init__(self, file: OtherFile) -> None:
        self.file = file

    def __call__(self, *tensors: Tensor) -> dict[str, Tensor]:
        answers = self.file.run([tensor.numpy() for tensor in tensors])
        names = [port.name for port in self.file.outputs] or [str(number) for number in range(len(answers))]
        return {name: torch.from_numpy(np.asarray(answer)) for name, answer in zip(names, answers, strict=True)}

    def __deepcopy__(self, _memory: dict[int, Any]) -> _RunOfFile:
        return self


def _as_module(file: OtherFile) -> Signed:
    """A file as a module whose forward takes what the file does.

    Raises:
        InputError: the file does not say what it takes.
    """
    if any(port.axes is None for port in file.inputs):
        raise InputError(
            f"{file.path} does not say what it takes.", "Give the module: pocketrnn check model.py:Net --onnx FILE."
        )
    return Signed(_RunOfFile(file), [port.name for port in file.inputs])


@dataclass(frozen=True)
class _Told:
    """The arguments of `check` about how the module is called."""

    inputs: Mapping[str, str]
    call: str | Call | None = None
    ids: int | None = None
    padding_id: int | None = None
    channels: int | None = None


def _checked(module: nn.Module, file: OtherFile, told: _Told) -> Verdict:
    _log.info("Finding out how the module is called")
    own, name = _prepared(module)
    first = module.run.file if isinstance(module, Signed) else file
    called = called_for(own, first, call=told.call, ids=told.ids, padding_id=told.padding_id, channels=told.channels)
    called = replace(called, in_doubles=not isinstance(own, Signed), name=name)
    cases = [case_of(called, *size) for size in called.sizes]
    calls = [exchange(called, case) for case in cases]
    if not calls[0].outputs:
        raise InputError("The module's answer holds no tensor.", "Give a module whose forward returns tensors.")
    fed = mapped_inputs(file, calls, told.inputs)
    beside = Beside(called, file, fed, ())
    outputs = mapped_outputs(file, beside.answers_of_file(calls[0]), calls[0].outputs)
    beside = replace(beside, outputs=outputs)
    _refuse_random(called, beside, cases[0], calls[0])
    fixed = _declared_sizes(beside, calls)
    outcomes = _looked_at(beside, _cases(called, file, fixed))
    if not outcomes:
        raise InputError(f"{name} answers none of the batches.", "Say how it is called: --call LINE, or call=.")
    bounds = _right_sizes(beside, outcomes)
    if bounds is not None and bounds != fixed:
        # Is it right for all ids of these sizes, too?
        inside = _outcomes(beside, _inside(called, bounds)["these sizes"])
        outcomes["these sizes"] = [*outcomes.get("these sizes", ()), *inside]
        bounds = bounds if all(outcome.is_same for outcome in inside) else None
    verdict = _verdict(beside, outcomes, bounds)
    return replace(verdict, called="" if isinstance(module, Signed) else called.line)


def _prepared(module: nn.Module) -> tuple[nn.Module, str]:
    """A module that is called with hooks, and its name."""
    if isinstance(module, Signed):
        return module, module.run.file.path.name
    own = copied_for_export(module)
    if isinstance(own, torch.jit.ScriptModule):
        return Signed(own, [parameter.name for parameter in parameters_of(own)]), str(own.original_name)
    return own, type(own).__name__


def _refuse_random(called: Called, beside: Beside, case: Case, first: Exchange) -> None:
    again = exchange(called, case)
    if not _equal(list(first.outputs.values()), list(again.outputs.values())):
        line = drawing_line(called.module, lambda: exchange(called, case))
        raise InputError(
            f"The module answers otherwise each time{': ' * bool(line)}{line}.",
            "Take the random numbers out of forward, as eval() does with dropout.",
        )
    one, other = beside.answers_of_file(first), beside.answers_of_file(first)
    if one is not None and other is not None and not _equal(one, other):
        raise InputError(f"{beside.file.path} answers otherwise each time.", "Export it in eval mode.")


def _equal(one: Sequence[Array], other: Sequence[Array]) -> bool:
    return all(np.allclose(a, b, atol=1e-5, equal_nan=True) for a, b in zip(one, other, strict=True) if a.dtype != bool)


def _declared_sizes(beside: Beside, calls: Sequence[Exchange]) -> Bounds:
    """The sizes that a file declares as fixed: of the batch and of the sequence."""
    sizes = beside.called.sizes
    if beside.called.one_row:
        ((rows, steps),) = sizes
        return Bounds((rows, rows), (steps, steps))
    found: dict[str, tuple[int, int]] = {}
    for fed in beside.fed:
        axes = range(len(fed.port.axes or ())) if fed.order is None else fed.order
        for declared, axis in zip(fed.port.axes or (), axes, strict=True):
            of_calls = [call.inputs[fed.name].shape[axis] for call in calls]
            for place, role in enumerate(("rows", "steps")):
                if isinstance(declared, int) and of_calls == [size[place] for size in sizes]:
                    found[role] = (declared, declared)
    return Bounds(found.get("rows", ANY), found.get("steps", ANY))


def _cases(called: Called, file: OtherFile, fixed: Bounds) -> dict[str, list[Case]]:
    """The cases by kind: those of a proof, and every small batch and length."""
    if called.one_row:
        return _inside(called, fixed)
    ids, padding_id, ragged = called.ids, called.padding_id, called.ragged
    steps = [(2, n) for n in range(1, min(_EVERY_LENGTH, every_size.MOST_TOKENS) + 1)]
    rows = [(n, 5) for n in range(1, min(_EVERY_BATCH, every_size.MOST_TEXTS) + 1)]
    sweep = [*steps, *((1, n) for n in range(1, 13)), *rows]
    cases = {"every small size": bound_cases(sweep, ids, padding_id, ragged=False)}
    if ragged:
        cases["uneven rows"] = bound_cases([(3, n) for n in (2, 5, 9, 21)], ids, padding_id, ragged=True)
    if fixed != Bounds():
        return {**_inside(called, fixed), **cases}
    proof = _proof_cases(called, None, _asked_sizes(called.module, file))
    few = [
        row for some in (proof["shapes"], proof["drawn shapes"]) for case in some for row in each_row([case])[:_ALONE]
    ]
    return {**cases, **proof, "rows alone": few}


def _proof_cases(
    called: Called, limits: Limits | None, bounds: Iterable[tuple[int, int]] = ()
) -> dict[str, list[Case]]:
    most = called.ids - 1
    rules = TextRules("external", unknown_id=min(1, most), empty_id=min(1, most), padding_id=called.padding_id)
    one_row = limits is not None and limits.max_batch == 1
    loud = [] if called.samples is not None else loud_ids(called.module, called.ids)
    return cases_for(
        rules, ids=called.ids, ragged=called.ragged, limits=limits, bounds=bounds, one_row=one_row, loud=loud[:12]
    )


def _inside(called: Called, bounds: Bounds) -> dict[str, list[Case]]:
    """The cases of a proof, brought to some sizes."""
    (least_rows, most_rows), (least, most) = bounds.rows, bounds.steps
    limits = Limits(max_batch=most_rows, min_tokens=least, max_tokens=most)
    found = [case for some in _proof_cases(called, limits).values() for case in some]
    if least_rows > 1:
        found = [_of_rows(case, least_rows) for case in found if len(case.lengths) < least_rows] + [
            case for case in found if len(case.lengths) >= least_rows
        ]
    if bounds.even:
        found = [case for case in found if len(set(case.lengths.tolist())) == 1]
    return {"these sizes": found}


def _of_rows(case: Case, rows: int) -> Case:
    places = np.arange(rows) % len(case.lengths)
    return Case(f"{case.name}, {rows} rows", case.tokens[places], case.lengths[places])


def _asked_sizes(module: nn.Module, file: OtherFile) -> list[tuple[int, int]]:
    """Sizes on both sides of the whole numbers that a module's layers and code, and the file, hold."""
    numbers = [] if file.model is None else whole_numbers_of(file.model.SerializeToString())
    for layer in module.modules():
        held = [value for value in vars(layer).values() if type(value) is int]
        code = getattr(getattr(type(layer), "forward", None), "__code__", None)
        if code is not None and not type(layer).__module__.startswith("torch."):
            held += [value for value in code.co_consts if type(value) is int]
        numbers += [near for value in held for near in (value - 1, value, value + 1)]
    asked = sorted({number for number in numbers if _EVERY_LENGTH < number <= _MOST_ASKED})
    step = max(1, math.ceil(len(asked) / _MOST_BOUNDS))
    return [(2, number) for number in asked[::step]]


def _looked_at(beside: Beside, cases: Mapping[str, Sequence[Case]]) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    started = time.process_time()
    for inputs, some in cases.items():
        found[inputs] = []
        for case in each(some, f"Comparing {beside.file.path.name} on {inputs}"):
            if time.process_time() - started > SECONDS:
                break
            found[inputs] += _outcomes(beside, [case])
    return {inputs: some for inputs, some in found.items() if some}


def _outcomes(beside: Beside, cases: Iterable[Case]) -> Iterable[Outcome]:
    return [outcome for case in cases if (outcome := beside.outcome(case)) is not None]


def _right_sizes(beside: Beside, outcomes: Mapping[str, Sequence[Outcome]]) -> Bounds | None:
    looked = [
        Looked(len(one.case.lengths), one.case.tokens.shape[1], len(set(one.case.lengths.tolist())) > 1, one.is_same)
        for some in outcomes.values()
        for one in some
    ]

    def asked(rows: int, steps: int) -> bool:
        outcome = beside.outcome(case_of(beside.called, rows, steps, ragged=False))
        return outcome is not None and outcome.is_same

    return right_sizes(looked, asked)


def _verdict(beside: Beside, outcomes: Mapping[str, Sequence[Outcome]], bounds: Bounds | None) -> Verdict:
    every = [outcome for some in outcomes.values() for outcome in some]
    file, name, unit = beside.file, beside.called.name, beside.called.unit
    verdict = Verdict(
        str(file.path), "right", f"{file.path} answers as {name} does.",
        name=name,
        inputs={fed.port.name: fed.name for fed in beside.fed},
        outputs={_output_name(file, number): own for number, own in beside.outputs},
        comparisons=_comparisons(name, outcomes),
        looked_at=_looked_at_sizes(every, unit),
        notes=(*_not_compared(beside), *_other_shapes(every)),
    )  # fmt: skip
    wrong = [outcome for outcome in every if not outcome.is_same]
    if not wrong:
        exact, reason, off = beside.in_double_precision(every)
        verdict = replace(verdict, float64_difference=exact, notes=(*verdict.notes, *filter(None, [reason])))
        if off is None:
            return verdict
        wrong = [off]
    differing = [outcome for outcome in wrong if not outcome.error]
    shown, case = shown_by(beside, differing or wrong)
    verdict = replace(verdict, sizes="" if bounds is None else bounds.said(unit or "tokens"), shown=shown)
    if not differing:
        reason = f"{file.path} fails on {len(wrong)} of {len(every)} batches, where {name} answers."
        return replace(verdict, kind="some sizes", reason=reason)
    verdict = replace(verdict, kind="wrong", reason=f"{file.path} gives other answers than {name}.")
    notes, has_weights = _weights_said(beside)
    return replace(verdict, notes=(*notes, *verdict.notes), departs=_departs(beside, case) if has_weights else "")


def _comparisons(name: str, outcomes: Mapping[str, Sequence[Outcome]]) -> tuple[Comparison, ...]:
    return tuple(
        summary(
            [one.difference for one in some],
            reference=name,
            inputs=inputs,
            rows=sum(len(one.case.lengths) for one in some),
        ).line
        for inputs, some in outcomes.items()
    )


def _weights_said(beside: Beside) -> tuple[list[str], bool]:
    """A note where a file lacks some of the module's matrices; and whether it holds one, or may."""
    matrices = {name: w.numpy() for name, w in beside.called.module.named_parameters() if w.dim() > 1 and w.numel() > 1}
    lacking = lacking_matrices(beside.file, matrices)
    if not lacking:
        return [], True
    if len(lacking) == len(matrices):
        said = "The file holds none of the module's matrices: it was made with other weights, or of rounded ones."
        return [said], False
    held = f"The file holds {len(matrices) - len(lacking)} of the module's {len(matrices)} matrices"
    return [f"{held}, and {lacking[0]} is not among them: it may be made with other weights."], True


def _looked_at_sizes(outcomes: Sequence[Outcome], unit: str) -> str:
    shapes = np.array([outcome.case.tokens.shape for outcome in outcomes])
    (least_rows, least), (most_rows, most) = shapes.min(0), shapes.max(0)
    rows = _counted(least_rows, most_rows, "rows")
    if not unit:
        return f"Looked at {len(outcomes)} batches, of {rows}."
    return f"Looked at {len(outcomes)} batches, of {rows} and of {_counted(least, most, unit)} a row."


def _counted(least: int, most: int, unit: str) -> str:
    if least < most:
        return f"{least:,} to {most:,} {unit}"
    return f"{most:,} {unit if most > 1 else unit.removesuffix('s')}"


def _departs(beside: Beside, shown: Case) -> str:
    """Where the two part: on an ordinary batch if they do there, since one token is its own mean, sum and last one."""
    ordinary = beside.outcome(case_of(beside.called, *beside.called.sizes[0]))
    return beside.departs(shown if ordinary is None or ordinary.is_same or ordinary.error else ordinary.case)


def _output_name(file: OtherFile, number: int) -> str:
    return file.outputs[number].name if number < len(file.outputs) else str(number)


def _other_shapes(outcomes: Iterable[Outcome]) -> list[str]:
    odd = next((outcome for outcome in outcomes if outcome.shapes), None)
    if odd is None:
        return []
    return [f"To a batch of {len(odd.case.lengths)} the file gives {odd.shapes}: the numbers are compared."]


def _not_compared(beside: Beside) -> tuple[str, ...]:
    compared = {number for number, _ in beside.outputs}
    left = [port.name for number, port in enumerate(beside.file.outputs) if number not in compared]
    return (f"Not compared: the outputs {', '.join(left)} of the file.",) if left else ()
