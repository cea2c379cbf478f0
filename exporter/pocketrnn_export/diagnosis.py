"""Explain why a proof failed: add to its error the line or the operation at which the exported program first differs
from the module, and find out whether one of pocketrnn's own rules is wrong. This code runs only after a failure, so
no answer depends on it."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, FrameType
from typing import Any, Final, TypeVar

import onnx
import torch
from torch import Tensor, nn

from pocketrnn.errors import PocketRNNError
from pocketrnn_export.bundle_proof import FormsDifferError
from pocketrnn_export.comparing.float64_proof import DOUBLE_TOLERANCE, measure_agreement_in_double_precision
from pocketrnn_export.intake.user_code_lines_for_messages import (
    describe_line,
    describe_user_line_if_known,
    is_installed_file,
    is_user_file,
    trace_frames,
)
from pocketrnn_export.module_runs.complete_deep_copy import copy_without_comparison
from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu
from pocketrnn_export.progress import filter_log_records
from pocketrnn_export.proof.every_size_comparison import AnswersDifferError
from pocketrnn_export.tracing.used_and_left_out_rules import leave_out_rule, record_rules_used


@contextlib.contextmanager
def add_first_difference_to_error() -> Iterator[None]:
    """If the block raises an error of the proof, add to its message the place where the exported program first differs
    from the module.

    Raises:
        AnswersDifferError: the error of the block, with the place.
        FormsDifferError: the error of the block, with the place.
    """
    try:
        yield
    except AnswersDifferError as error:
        raise _add_branching_line(error) from error.__cause__
    except FormsDifferError as error:
        raise _add_first_differing_operation(error) from error.__cause__


def _add_branching_line(error: AnswersDifferError) -> AnswersDifferError:
    """Return the error with the line of forward at which the module takes different branches for the inputs of the
    error. Return the error unchanged if there is no such line."""
    if error.module is None or not error.inputs:
        return error
    odd, *others = error.inputs
    line = find_branching_line(error.module, odd, others)
    return AnswersDifferError(f"{error.problem.rstrip('.')}: {line}.", error.remedy) if line else error


def _add_first_differing_operation(error: FormsDifferError) -> FormsDifferError:
    """Add to an error of the proof the operation at which the graph first differs from the module. If this operation is
    not found and the graph contains CumSum, add advice on `cumsum`. Return the new error, or the given one if there is
    nothing to add."""
    form = next((form for form in error.forms if form.float64_run is not None), None)
    answers = error.answers
    if form is None or form.float64_run is None or answers is None or answers.reference.departs is None:
        return error
    run = form.float64_run()
    known = [
        exact
        for kind in answers.kinds
        for exact in answers.compute_exact_answers_of_kind(kind, one_row=form.one_row) or ()
    ]
    for exact in sorted(known, key=lambda exact: exact.case.tokens.size):
        with contextlib.suppress(PocketRNNError):
            if measure_agreement_in_double_precision(run, [exact]).largest_difference > DOUBLE_TOLERANCE:
                found = answers.reference.departs(form.content, exact.case, describe_user_line_if_known)
                if not found:
                    break
                says = f"{error.problem.rstrip()} The graph first differs from the module in the result of {found}."
                return FormsDifferError(says, error.remedy)
    if any(node.op_type == "CumSum" for node in onnx.load_from_string(form.content).graph.node):
        return FormsDifferError(
            error.problem,
            f"{error.remedy} If forward calls cumsum on floats, write x.cumsum(1, dtype=torch.float64).to(x.dtype): "
            "onnxruntime sums in float32, but PyTorch in double precision.",
        )
    return error


# --- Branching line ---
# Find the line of a module's code at which some inputs take another branch than other inputs.

Inputs = tuple[Tensor, ...]
# The jumps from one instruction of a function to the next one that runs, each with the line of the first instruction.
_Jumps = dict[tuple[CodeType, int, int], str]
_BEFORE_FIRST: Final = -1


def find_branching_line(module: nn.Module, odd: Inputs, others: Sequence[Inputs]) -> str:
    """Find the line at which forward takes another branch for the inputs `odd` than for the inputs `others`.

    Args:
        module: in eval mode, on the CPU; copies of it are run.
        odd: the inputs that take another branch, tensors [batch, ...].
        others: inputs of other sizes, or with other values.

    Returns:
        a description of this line for an error message; empty if all inputs take the same branches.
    """
    own, all_jumps = _list_executed_jumps(module, odd), [_list_executed_jumps(module, other) for other in others]
    usual = {jump for jumps in all_jumps for jump in jumps}
    alone = (line for jump, line in own.items() if jump not in usual)
    left_out = (
        line for jump, line in all_jumps[0].items() if jump not in own and all(jump in jumps for jumps in all_jumps)
    )
    return next(alone, "") or next(left_out, "")


def _list_executed_jumps(module: nn.Module, inputs: Inputs) -> _Jumps:
    """Call the module with the inputs. Return the jumps between instructions of the user's code that were made, each
    with its line, in the order in which they were first made."""
    found: _Jumps = {}
    copied = copy_without_comparison(module)
    # A user's module may raise anything: its jumps end there.
    with torch.no_grad(), run_quietly_on_cpu(), contextlib.suppress(Exception), _record_first_runs_of_jumps(found):
        copied(*inputs)
    return found


def _record_first_runs_of_jumps(found: _Jumps) -> contextlib.AbstractContextManager[None]:
    """While the block runs, add each jump between instructions of the user's code to the dict `found`, with its line,
    when the jump is made for the first time."""

    def trace_call(frame: FrameType, _event: str, _: Any) -> Any:
        file = frame.f_code.co_filename
        if is_installed_file(file) or not is_user_file(file):
            return None
        last, line = _BEFORE_FIRST, frame.f_lineno

        def trace_line(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal last, line
            if event == "opcode":
                found.setdefault((frame.f_code, last, frame.f_lasti), describe_line(frame, line))
                last, line = frame.f_lasti, frame.f_lineno
            return trace_line

        # Python 3.13 only traces the instructions of a frame that has its trace function already.
        frame.f_trace, frame.f_trace_opcodes = trace_line, True
        return trace_line

    # Python 3.12 only traces instructions if a frame has asked for it before the trace begins.
    sys._getframe().f_trace_opcodes = True
    return trace_frames(trace_call)


# --- Faulty trace rules ---
# Find out whether a refusal is pocketrnn's own fault: export again, each time without one of the used rules.

_log = logging.getLogger(__name__)
_Made = TypeVar("_Made")
# After this processor time, the search does not try another rule. An export of an ordinary module takes 5 s.
SECONDS = 60.0


def export_without_faulty_rules(make: Callable[[], _Made]) -> _Made:
    """Export a module. If the proof refuses the result, repeat the export, each time without one of pocketrnn's own
    rewriting rules, since one of them may be wrong for this module. Return the first result that passes the proof.

    A rule rewrites a call of torch in a trace, or writes an operator in ONNX. A warning names the faulty rule.

    Args:
        make: exports the module, and returns its result.

    Raises:
        AnswersDifferError: a program gives other answers than the module, whichever rule is left out.
        FormsDifferError: a graph gives other answers than the module, whichever rule is left out.
    """
    told = set[str]()

    def collect_message(record: logging.LogRecord) -> bool:
        told.add(record.getMessage())
        return True

    with record_rules_used() as used, filter_log_records(collect_message):
        try:
            return make()
        except (AnswersDifferError, FormsDifferError) as error:
            refusal = error
    until = time.process_time() + SECONDS
    for name in used:
        if time.process_time() > until:
            break
        # An export without a rule that it needs may raise anything.
        with contextlib.suppress(Exception):
            # The first export has already logged the other messages.
            with leave_out_rule(name), filter_log_records(lambda record: record.getMessage() not in told):
                made = make()
            _log.warning(
                "%s, a rule of pocketrnn, is wrong for this module: the proof fails with this rule. The bundle was "
                "made without this rule and passed the full proof. Please report the module",
                name,
            )
            return made
    raise refusal
