"""Compare the torch operators of the owner's own module with the operators of the copy that is traced.

A copy is another object: `self is MODEL`, `SETTINGS[self.fc]` and a `WeakKeyDictionary` by layers do not find it. A
scripted function is traced as its Python original, where `torch.jit.is_scripting()` is false and helpers are those of
today; a cached function is traced as it computes today. The answers may show this only on rare texts, but the operators
always do: both programs are recorded, before any rule of a trace, and must be equal.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.proof_inputs import Case
from pocketrnn_export.comparing.torch_threads import lift_one_thread_limit
from pocketrnn_export.intake.exported_copy_comparison import OwnersModule
from pocketrnn_export.intake.float32_conversion import convert_to_float32, read_dtypes_other_than_float32
from pocketrnn_export.intake.module_copy_for_export import copy_module
from pocketrnn_export.intake.user_code_lines_for_messages import UNKNOWN_LINE, describe_user_line
from pocketrnn_export.module_runs.operator_recording import (
    OperatorRecorder,
    Program,
    find_first_different_operator,
    normalize_program_with_positions,
)
from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu, set_eval_mode
from pocketrnn_export.module_runs.state_restoration import restore_module, restore_random_state
from pocketrnn_export.module_runs.temporary_dict_values import Entry, replace_dict_values
from pocketrnn_export.proof.scripted_functions_as_python import list_replacements_of_global_functions
from pocketrnn_export.torch_internals import replace_methods, unwrap_scripted_function
from pocketrnn_export.tracing.python_semantics.size_keyed_caches import unwrap_cached_function

_TEXT: Final = "text"


class _LineRecorder(OperatorRecorder):  # type: ignore[no-untyped-call]
    """Records operators, each with the line of the user's code that calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def _add_step(self, step: Any) -> int:
        self.lines.append(describe_user_line(sys._getframe()))
        return super()._add_step(step)


class _RecordedProgram:
    """The operators that a run of a module recorded, in order, and the line of user code that called each."""

    def __init__(self, program: Program, lines: Sequence[str]) -> None:
        self.program, self.lines = program, lines

    def make_normal_form(self) -> _RecordedProgram:
        """Return the recorded operators in a form in which a run by Python and a run by TorchScript are equal."""
        program, places = normalize_program_with_positions(self.program)
        return _RecordedProgram(program, [self.lines[place] for place in places])

    def get_operator_name_at_index(self, index: int) -> str:
        """Return the name of the operator at this index of the record, such as "add". Return "no further operator" if
        the record is shorter."""
        return self.program[index][0].partition(".")[0] if index < len(self.program) else "no further operator"

    def describe_line(self, index: int) -> str:
        """Return the line of user code that calls the operator at this index of the record. If the record is shorter,
        return the line of its last operator."""
        return self.lines[min(index, len(self.lines) - 1)] if self.lines else UNKNOWN_LINE


def refuse_copy_that_runs_other_operators(owners: OwnersModule, cases: Iterable[Case]) -> None:
    """Raise an ExportError if the copy of a module, which is traced, runs other operators than the module itself. Raise
    it also if a scripted or cached function of the module runs other operators than the plain Python function that is
    traced in its place.

    Args:
        owners: the module as its owner calls it.
        cases: batches of texts on which the module and its copy run.
    """
    for case in cases:
        inputs = [torch.from_numpy(case.tokens), *([torch.from_numpy(case.lengths)] if owners.takes_lengths else [])]
        with restore_module(owners.module), lift_one_thread_limit():
            own = _record_program(owners, owners.module, inputs)
        if own is None:
            return
        copied = copy_module(owners.module)
        _refuse_differing_programs(
            own, _record_program(owners, copied, inputs),
            "The copy of the module that is exported runs other operators than the module itself",
            "Do not look up values by the identity of the module or of a layer (`self is`, id(self), a dict or a "
            "WeakKeyDictionary with layers as keys, a method under functools.lru_cache), or by the number of "
            "threads. Store such values as attributes of the module.",
        )  # fmt: skip
        for find_replacement, what, advice in (
            (unwrap_scripted_function, "as plain Python code, which the export traces, than after torch.jit.script",
             "Remove torch.jit.script from that function and check the module's answers. Or make both versions "
             "compute the same: without torch.jit.is_scripting(), and without a helper that was redefined later."),
            (unwrap_cached_function, "without its cache, as the export traces it, than with the cache",
             "Let a cached function depend only on its arguments, and not on values that may change. Or store its "
             "result as an attribute of the module."),
        ):  # fmt: skip
            entries, methods = _find_replaceable_functions(copied, find_replacement)
            if not entries and not methods:
                continue
            # Another copy, only where it is run: copies of large weights take long.
            fresh = copy_module(owners.module)
            with replace_dict_values(entries), replace_methods(methods):
                _refuse_differing_programs(
                    own.make_normal_form(), (_record_program(owners, fresh, inputs) or own).make_normal_form(),
                    f"A function in the module's file runs other operators {what}",
                    advice,
                )  # fmt: skip


def _refuse_differing_programs(
    own: _RecordedProgram, other: _RecordedProgram | None, problem: str, advice: str
) -> None:
    """Raise an ExportError if the operators that were recorded in two runs differ.

    Args:
        own: the record of the owner's module.
        other: the other record; None, for a run that failed, is accepted.
        problem: the beginning of the error's message.
        advice: the error's sentence on what to do.
    """
    index = None if other is None else find_first_different_operator(own.program, other.program)
    if other is None or index is None:
        return
    names = own.get_operator_name_at_index(index), other.get_operator_name_at_index(index)
    apart = f"{names[0]} gets other numbers" if len(set(names)) == 1 else f"{names[1]} in place of {names[0]}"
    raise ExportError(f"{problem}: {apart}, {own.describe_line(index)}.", advice)


def _record_program(owners: OwnersModule, module: nn.Module, inputs: Sequence[Tensor]) -> _RecordedProgram | None:
    """Record the operators that a module runs on some inputs. Return None if the module fails, which another check
    reports.

    Args:
        owners: the object that calls a module as its owner does.
        module: the owner's module or a copy.
        inputs: the inputs of the module.
    """
    noted = _LineRecorder()
    inputs = [value.clone() for value in inputs]
    noted.label_tensors(_TEXT, *inputs)
    # A user's module may raise anything.
    with contextlib.suppress(Exception, SystemExit), torch.no_grad(), restore_random_state(), run_quietly_on_cpu():
        set_eval_mode(module)
        if read_dtypes_other_than_float32(module) is not None or any(
            t.device.type != "cpu" for t in module.parameters()
        ):
            convert_to_float32(module)
        with torch.jit.optimized_execution(False), noted:  # type: ignore[attr-defined]
            answer = owners.called(module)(*inputs)
        steps = noted.find_steps_that_made(answer)
        lines = [noted.lines[step] for step in noted.find_steps_needed_for_results(steps, _TEXT)]
        return _RecordedProgram(noted.extract_program(steps, _TEXT), lines)
    return None


def _find_replaceable_functions(
    module: nn.Module, find_replacement: Callable[[Any], Any]
) -> tuple[list[Entry], dict[tuple[type, str], Any]]:
    """Find the functions in a module's files and classes for which there is a replacement. Return a list of (dict of
    globals, name, replacement) for the global functions, and a dict from (class, name) to the replacement for the
    methods.

    Args:
        find_replacement: a function that returns the replacement of a value, such as the Python function of a scripted
            one, or None.
    """
    methods = {
        (kind, name): function
        for kind in {kind for layer in module.modules() for kind in type(layer).__mro__}
        for name, value in list(vars(kind).items())
        if (function := find_replacement(value)) is not None
    }
    return list_replacements_of_global_functions(module, find_replacement), methods
