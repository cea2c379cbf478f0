"""The sigmoid or softmax with which a module makes probabilities of its logits, found so that it can be left out.
Whether a module makes probabilities is seen in `call_discovery/probabilities.py`.

A bundle's graph gives logits, and its reader makes probabilities of them. So the last sigmoid or softmax of `forward`
is passed over: while the module runs, the call at that line gives back what it was given. That this is the right call
is shown, not assumed: the activation of what then comes out must be what the module itself gives.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import torch
from torch import Tensor

from pocketrnn_export.intake.user_frames import frames_of_call
from pocketrnn_export.torch_internals import FunctionMode

__all__ = ["ActivationCall", "CallsSeen", "Passing", "activated"]

# The activations that a module may end in, by the name of torch's function. exp stands behind log_softmax.
_KINDS: Final = frozenset({"sigmoid", "sigmoid_", "special_expit", "softmax", "special_softmax", "exp", "exp_"})


@dataclass(frozen=True)
class ActivationCall:
    """One call of an activation in a module's code.

    Attributes:
        function: the name of torch's function: `sigmoid`, `softmax`, `exp`.
        site: the lines of code that lead to the call.
        occurrence: which of the calls from there, from 0.
        line: where a reader finds it: `model.py:31`.
    """

    function: str
    site: tuple[tuple[CodeType, int], ...]
    occurrence: int
    line: str


class CallsSeen(FunctionMode):
    """While it is entered, notes the calls of activations.

    Args:
        made: is called with the number of a call and what it gives.

    Attributes:
        calls: each call's name, site, occurrence and line, in order.
    """

    def __init__(self, made: Callable[[int, Tensor], None]) -> None:
        super().__init__()
        self._made = made
        self.calls: list[ActivationCall] = []
        self._occurrences: Counter[Any] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        name = _name(func)
        result = func(*args, **(kwargs or {}))
        if name in _KINDS:
            site, line = _site(sys._getframe(1))
            self._made(len(self.calls), result)
            self.calls.append(ActivationCall(name, site, self._occurrences[name, site], line))
            self._occurrences[name, site] += 1
        return result


class Passing(FunctionMode):
    """While it is entered, one call of an activation gives back what it was given.

    Args:
        call: which; None for none.
        instead: from what the activation makes to what the call gives back in place of what it was given.
    """

    def __init__(self, call: ActivationCall | None, instead: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self._call = call
        self._occurrences = 0
        self._instead = instead

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        if self._call is not None and _name(func) == self._call.function:
            site, _ = _site(sys._getframe(1))
            if site == self._call.site:
                self._occurrences += 1
                if self._occurrences == self._call.occurrence + 1:
                    if self._instead is not None:
                        return self._instead(func(*args, **(kwargs or {})))
                    return args[0] if args else (kwargs or {})["input"]
        return func(*args, **(kwargs or {}))


def activated(kind: str, logits: Tensor) -> Tensor:
    """The probabilities that a bundle's reader makes of logits [..., classes].

    Example:
        >>> activated("softmax", torch.zeros(1, 2))
        tensor([[0.5000, 0.5000]])
    """
    return torch.sigmoid(logits) if kind == "sigmoid" else torch.softmax(logits, dim=-1)


def _name(func: Any) -> str:
    return str(getattr(func, "__name__", "")).split(".")[0]


def _site(frame: FrameType | None) -> tuple[tuple[tuple[CodeType, int], ...], str]:
    frames = list(frames_of_call(frame))
    line = f"{Path(frames[0].f_code.co_filename).name}:{frames[0].f_lineno}" if frames else "forward"
    return tuple((each.f_code, each.f_lasti) for each in frames), line
