"""The line of a module's code where some inputs take another branch than the others."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import CodeType, FrameType
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.intake.user_frames import frames_followed, is_installed_file, is_users_file, place_of
from pocketrnn_export.module_runs.cpu_run import quietly_on_cpu
from pocketrnn_export.module_runs.whole_copy import copied_again

__all__ = ["branching_line"]

Inputs = tuple[Tensor, ...]
# A step of a function from one instruction to the next, with the line of the first.
_Way = dict[tuple[CodeType, int, int], str]
_BEGIN: Final = -1


def branching_line(module: nn.Module, odd: Inputs, others: Sequence[Inputs]) -> str:
    """Find the line after which forward does for some inputs what it does for none of the others.

    Args:
        module: in eval mode, on the CPU; copies of it are run.
        odd: what it takes, tensors [batch, ...].
        others: the same of other sizes, or with other values.

    Returns:
        the line, as an error shows it: that which decides, where two ways part. Empty where there is one way only.

    Example:
        >>> branching_line(module, (torch.zeros(1, 77, dtype=torch.int64),), [(torch.zeros(1, 7, dtype=torch.int64),)])
        'model.py:12: `if n is SPECIAL:`'
    """
    own, ways = _way(module, odd), [_way(module, other) for other in others]
    usual = {step for way in ways for step in way}
    alone = (line for step, line in own.items() if step not in usual)
    left_out = (line for step, line in ways[0].items() if step not in own and all(step in way for way in ways))
    return next(alone, "") or next(left_out, "")


def _way(module: nn.Module, inputs: Inputs) -> _Way:
    """The steps that the user's code takes, in the order of their first times."""
    found: _Way = {}
    copied = copied_again(module)
    # Whatever a user's module raises: its way ends there.
    with torch.no_grad(), quietly_on_cpu(), contextlib.suppress(Exception), _steps_noted(found):
        copied(*inputs)
    return found


def _steps_noted(found: _Way) -> contextlib.AbstractContextManager[None]:
    def enter(frame: FrameType, _event: str, _: Any) -> Any:
        file = frame.f_code.co_filename
        if is_installed_file(file) or not is_users_file(file):
            return None
        frame.f_trace_opcodes = True
        last, line = _BEGIN, frame.f_lineno

        def look(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal last, line
            if event == "opcode":
                found.setdefault((frame.f_code, last, frame.f_lasti), place_of(frame, line))
                last, line = frame.f_lasti, frame.f_lineno
            return look

        return look

    return frames_followed(enter)
