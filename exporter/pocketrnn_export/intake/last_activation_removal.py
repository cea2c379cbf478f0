"""Remove the sigmoid or softmax that turns a module's logits into probabilities.

A bundle's graph gives logits, and its reader turns them into probabilities. So the last sigmoid or softmax of
`forward` is skipped: while the module runs, the call at that line returns its input. A comparison shows that this is
the right call: the activation of the new answer must be the module's own answer.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_export.intake.user_code_lines_for_messages import list_call_frames, write_place
from pocketrnn_export.torch_internals import FunctionMode

# How logits become probabilities: by softmax or sigmoid; or for each of several heads by one of these, with the number
# of its labels.
Activation = str | tuple[tuple[str, int], ...]

# The names of torch functions in which a module may end. exp may follow log_softmax.
_KINDS: Final = frozenset({"sigmoid", "sigmoid_", "special_expit", "softmax", "special_softmax", "exp", "exp_"})


@dataclass(frozen=True)
class ActivationCall:
    """One call of an activation in a module's code.

    Attributes:
        function: the name of torch's function: `sigmoid`, `softmax`, `exp`.
        site: the stack of code and instructions that leads to the call.
        occurrence: the index of the call among the calls from this site, from 0.
        line: the place of the call in the source: `model.py:31`, or `net.ipynb, cell 3 [2], line 31`.
    """

    function: str
    site: tuple[tuple[CodeType, int], ...]
    occurrence: int
    line: str


class ActivationRecorder(FunctionMode):
    """Records the calls of activations inside the block.

    Args:
        observe: is called with the index of a call and its result.

    Attributes:
        calls: each call's name, site, occurrence and line, in order.
    """

    def __init__(self, observe: Callable[[int, Tensor], None]) -> None:
        super().__init__()
        self._observe = observe
        self.calls: list[ActivationCall] = []
        self._occurrences: Counter[Any] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = _find_function_name(func)
        result = func(*args, **(kwargs or {}))
        if name in _KINDS:
            site, line = _find_call_stack_and_line(sys._getframe(1))
            self._observe(len(self.calls), result)
            self.calls.append(ActivationCall(name, site, self._occurrences[name, site], line))
            self._occurrences[name, site] += 1
        return result


class ActivationSkipper(FunctionMode):
    """Makes some calls of activations inside the block return their input in place of their result.

    Args:
        calls: the calls to change.
        instead: if given, these calls return this function of the activation's result, and not their input.
    """

    def __init__(self, *calls: ActivationCall, instead: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self._calls = calls
        self._functions = {call.function for call in calls}
        self._occurrences: Counter[Any] = Counter()
        self._instead = instead

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = _find_function_name(func)
        if name in self._functions:
            site, _ = _find_call_stack_and_line(sys._getframe(1))
            occurrence = self._occurrences[name, site]
            self._occurrences[name, site] += 1
            if any((name, site, occurrence) == (call.function, call.site, call.occurrence) for call in self._calls):
                if self._instead is not None:
                    return self._instead(func(*args, **(kwargs or {})))
                return args[0] if args else (kwargs or {})["input"]
        return func(*args, **(kwargs or {}))


def apply_activation(kind: Activation, logits: Tensor) -> Tensor:
    """Convert logits [..., classes] to probabilities, as the code that answers with a bundle does."""
    if not isinstance(kind, str):
        parts = torch.split(logits, [labels for _, labels in kind], dim=-1)
        return torch.cat([apply_activation(of_head, part) for (of_head, _), part in zip(kind, parts, strict=True)], -1)
    return torch.sigmoid(logits) if kind == "sigmoid" else torch.softmax(logits, dim=-1)


def _find_function_name(func: Any) -> str:
    return str(getattr(func, "__name__", "")).split(".")[0]


def _find_call_stack_and_line(frame: FrameType | None) -> tuple[tuple[tuple[CodeType, int], ...], str]:
    """Return the stack of code and instructions that leads to a call of a torch function, and the file and line of the
    call."""
    frames = list(list_call_frames(frame))
    line = write_place(Path(frames[0].f_code.co_filename).name, frames[0].f_lineno) if frames else "forward"
    return tuple((each.f_code, each.f_lasti) for each in frames), line
