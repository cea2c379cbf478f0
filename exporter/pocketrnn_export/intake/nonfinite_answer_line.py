"""Find the line of the owner's code that makes an answer NaN or infinite."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pocketrnn_export.intake.user_frames import describe_user_line_if_known
from pocketrnn_export.module_runs.tensors_in_containers import list_tensors_in
from pocketrnn_export.torch_internals import FunctionMode


def find_nonfinite_line(run: Callable[[], object]) -> str:
    """Return the last line of the owner's code that computes NaN or infinity from finite numbers. Return an empty
    string if no line is found, as in TorchScript.

    Earlier such lines are seldom the cause: attention writes minus infinity for masked scores, and its softmax turns
    them into zeros.
    """
    watched = _NonfiniteResultMode()
    # An exception of the user's module was already reported.
    with watched, contextlib.suppress(Exception, SystemExit):
        run()
    return watched.line


class _NonfiniteResultMode(FunctionMode):
    """Records which results inside the block contain NaN or infinity.

    Attributes:
        line: the last line that computed such a result from results that have none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.line = ""
        # Kept, so that no other tensor gets the identity of one of them.
        self._infinite: dict[int, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        # `out[:, 2] = -math.inf` returns nothing.
        made = args[0] if result is None and args else result
        if isinstance(made, Tensor) and made.is_floating_point() and not bool(torch.isfinite(made).all()):
            if not any(id(value) in self._infinite for value in list_tensors_in((*args, *kwargs.values()))):
                self.line = describe_user_line_if_known(sys._getframe(1)) or self.line
            self._infinite[id(made)] = made
        return result
