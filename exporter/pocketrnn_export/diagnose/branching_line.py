"""Find the line of a module's code at which some inputs take another branch than other inputs."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import CodeType, FrameType
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.intake.user_frames import describe_line, is_installed_file, is_user_file, trace_frames
from pocketrnn_export.module_runs.complete_copy import copy_complete_copy
from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu

Inputs = tuple[Tensor, ...]
# The steps from one instruction of a function to the next, each with the line of the first instruction.
_Way = dict[tuple[CodeType, int, int], str]
_BEGIN: Final = -1


def find_branching_line(module: nn.Module, odd: Inputs, others: Sequence[Inputs]) -> str:
    """Find the line at which forward takes another branch for the inputs `odd` than for the inputs `others`.

    Args:
        module: in eval mode, on the CPU; copies of it are run.
        odd: the inputs that take another branch, tensors [batch, ...].
        others: inputs of other sizes, or with other values.

    Returns:
        the line of the branch, as an error shows it; empty if all inputs take the same branches.
    """
    own, ways = _list_executed_jumps(module, odd), [_list_executed_jumps(module, other) for other in others]
    usual = {step for way in ways for step in way}
    alone = (line for step, line in own.items() if step not in usual)
    left_out = (line for step, line in ways[0].items() if step not in own and all(step in way for way in ways))
    return next(alone, "") or next(left_out, "")


def _list_executed_jumps(module: nn.Module, inputs: Inputs) -> _Way:
    """Return the jumps between instructions of the user's code in a call, in the order of their first run."""
    found: _Way = {}
    copied = copy_complete_copy(module)
    # A user's module may raise anything: its steps end there.
    with torch.no_grad(), run_quietly_on_cpu(), contextlib.suppress(Exception), _record_steps(found):
        copied(*inputs)
    return found


def _record_steps(found: _Way) -> contextlib.AbstractContextManager[None]:
    def trace_call(frame: FrameType, _event: str, _: Any) -> Any:
        file = frame.f_code.co_filename
        if is_installed_file(file) or not is_user_file(file):
            return None
        frame.f_trace_opcodes = True
        last, line = _BEGIN, frame.f_lineno

        def trace_line(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal last, line
            if event == "opcode":
                found.setdefault((frame.f_code, last, frame.f_lasti), describe_line(frame, line))
                last, line = frame.f_lasti, frame.f_lineno
            return trace_line

        return trace_line

    return trace_frames(trace_call)
