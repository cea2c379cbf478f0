"""Numbers of a text that forward takes out of tensors, and what may keep them: no flow of such numbers is seen."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn_export.intake.call_discovery.module_facts import ModuleFacts
from pocketrnn_export.intake.convention import Convention
from pocketrnn_export.intake.user_frames import called_as, frames_of_call
from pocketrnn_export.module_runs.cpu_run import quietly_on_cpu
from pocketrnn_export.module_runs.kept_attributes import Kept, changed_by
from pocketrnn_export.module_runs.operations import Operations
from pocketrnn_export.module_runs.untouched import untouched
from pocketrnn_export.torch_internals import FunctionMode

__all__ = ["unseen_state"]

_TAKE_OUT: Final = frozenset({"__array__", "__float__", "__int__", "item", "numpy", "tolist"})
_PYTHONS: Final = (bool, int, float, str, list, tuple, dict, set, np.ndarray)


def unseen_state(asked: ModuleFacts, convention: Convention) -> tuple[str, ...]:
    """The note on a module that takes numbers made of words out of tensors, where it may make a state of them: the
    numbers are floats, or the module holds arrays of numpy, or changes numbers or lists of its own; else no note.

    Args:
        asked: the module, which is left as it was.
        convention: how it is called.

    Example:
        >>> unseen_state(asked, convention)
        ()
    """
    tokens, lengths = asked.batch(1 if convention.one_text else asked.rows, asked.tried_widths[-1][-1])
    operations = Operations()
    taken = _TakenOut(operations)
    operations.label("text", tokens)

    def run() -> None:
        with torch.no_grad(), quietly_on_cpu(), operations, taken:
            called_as(convention.function, asked.module, tokens, lengths)

    # A module that fails here is met again, and told, by the proof.
    with untouched(asked.module), contextlib.suppress(Exception, SystemExit):
        changed = changed_by(run, asked.module)
        if taken.floats or (taken.lines and (_holds_arrays(asked.module) or any(map(_is_pythons, changed)))):
            return (
                f"forward takes numbers out of tensors ({', '.join(taken.lines)}): what it keeps of them from one text "
                "for the next is seen where it moves the answers to the texts of the proof, and not where only a rare "
                "text changes it.",
            )
    return ()


class _TakenOut(FunctionMode):
    """While it is entered, notes where numbers made of words are taken out of tensors, and whether they are floats."""

    def __init__(self, operations: Operations) -> None:
        super().__init__()
        self._operations = operations
        self.lines: dict[str, None] = {}
        self.floats = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        if getattr(func, "__name__", "") in _TAKE_OUT and isinstance(args[0], Tensor):
            frame = next(frames_of_call(sys._getframe(1)), None)
            if frame is not None and self._operations.labels_of(args[0]):
                self.lines[f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"] = None
                self.floats = self.floats or args[0].is_floating_point()
        return func(*args, **(kwargs or {}))


def _is_pythons(kept: Kept) -> bool:
    """Whether a call changes what is not a tensor, and holds not tensors alone."""
    held = kept.after.values() if isinstance(kept.after, dict) else kept.after
    if isinstance(held, str) or not isinstance(held, Iterable):
        return isinstance(held, _PYTHONS)
    return isinstance(kept.after, _PYTHONS) and not all(isinstance(value, Tensor) for value in held)


def _holds_arrays(module: nn.Module) -> bool:
    """Whether a layer holds an array of numpy, also in a list, a dict or an object."""
    for layer in module.modules():
        for value in vars(layer).values():
            held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            if any(isinstance(one, np.ndarray) for one in (*held, *getattr(value, "__dict__", {}).values())):
                return True
    return False
