"""Find the line of a module's code at which some inputs take another branch than other inputs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from types import CodeType, FrameType
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.intake.user_frames import describe_line, is_installed_file, is_user_file, trace_frames
from pocketrnn_export.module_runs.complete_copy import copy_without_comparison
from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu

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
        the line of the branch, as an error shows it; empty if all inputs take the same branches.
    """
    own, all_jumps = _list_executed_jumps(module, odd), [_list_executed_jumps(module, other) for other in others]
    usual = {jump for jumps in all_jumps for jump in jumps}
    alone = (line for jump, line in own.items() if jump not in usual)
    left_out = (
        line for jump, line in all_jumps[0].items() if jump not in own and all(jump in jumps for jumps in all_jumps)
    )
    return next(alone, "") or next(left_out, "")


def _list_executed_jumps(module: nn.Module, inputs: Inputs) -> _Jumps:
    """Call the module on the inputs, and return the jumps between instructions of the user's code, in the order in
    which each ran first."""
    found: _Jumps = {}
    copied = copy_without_comparison(module)
    # A user's module may raise anything: its jumps end there.
    with torch.no_grad(), run_quietly_on_cpu(), contextlib.suppress(Exception), _record_jumps(found):
        copied(*inputs)
    return found


def _record_jumps(found: _Jumps) -> contextlib.AbstractContextManager[None]:
    """While the block runs, add each jump of the user's code to `found`, with its line, when it runs for the first
    time."""

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
