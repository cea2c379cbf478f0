"""Find numbers that forward takes out of tensors, as with .item(), and may store. They cannot be followed further."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import ModuleFacts
from pocketrnn_export.intake.calling_convention import Convention
from pocketrnn_export.intake.user_frames import list_call_frames, run_user_call
from pocketrnn_export.module_runs.attribute_changes import ChangedAttribute, find_attributes_changed_by_run
from pocketrnn_export.module_runs.operator_recording import OperatorRecorder
from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu
from pocketrnn_export.module_runs.state_restoration import restore_module
from pocketrnn_export.torch_internals import FunctionMode

_TAKE_OUT: Final = frozenset({"__array__", "__float__", "__int__", "item", "numpy", "tolist"})
_PYTHONS: Final = (bool, int, float, str, list, tuple, dict, set, np.ndarray)


def note_extracted_numbers(facts: ModuleFacts, convention: Convention) -> tuple[str, ...]:
    """Run the module once. Return a note if forward takes numbers out of tensors and may keep them for later texts;
    else return an empty tuple."""
    tokens, lengths = facts.draw_batch(1 if convention.one_text else facts.trial_rows, facts.trial_batch_widths[-1][-1])
    operations = OperatorRecorder()
    taken = _ExtractedNumberRecorder(operations)
    operations.label_tensors("text", tokens)

    def run_module() -> None:
        with torch.no_grad(), run_quietly_on_cpu(), operations, taken:
            run_user_call(convention.function, facts.module, tokens, lengths)

    # A module that fails here also fails in the proof, which reports it.
    with restore_module(facts.module), contextlib.suppress(Exception, SystemExit):
        changed = find_attributes_changed_by_run(run_module, facts.module)
        if taken.floats or (
            taken.lines and (_holds_numpy_arrays(facts.module) or any(map(_has_python_value, changed)))
        ):
            return (
                f"forward takes numbers out of tensors ({', '.join(taken.lines)}): if it keeps them from one text to "
                "the next, the proof notices that only if it changes the answer to a text of the proof. A change "
                "that only a rare text causes is missed.",
            )
    return ()


class _ExtractedNumberRecorder(FunctionMode):
    """Records the lines of code that take a number out of a tensor that depends on the text, and whether a number was a
    float."""

    def __init__(self, operations: OperatorRecorder) -> None:
        super().__init__()
        self._operations = operations
        self.lines: dict[str, None] = {}
        self.floats = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _TAKE_OUT and isinstance(args[0], Tensor):
            frame = next(list_call_frames(sys._getframe(1)), None)
            if frame is not None and self._operations.find_labels(args[0]):
                self.lines[f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"] = None
                self.floats = self.floats or args[0].is_floating_point()
        return func(*args, **(kwargs or {}))


def _has_python_value(kept: ChangedAttribute) -> bool:
    """Return whether a changed attribute holds a Python value: a number, a string, or a container with more than
    tensors."""
    held = kept.after.values() if isinstance(kept.after, dict) else kept.after
    if isinstance(held, str) or not isinstance(held, Iterable):
        return isinstance(held, _PYTHONS)
    return isinstance(kept.after, _PYTHONS) and not all(isinstance(value, Tensor) for value in held)


def _holds_numpy_arrays(module: nn.Module) -> bool:
    """Return whether a layer holds a numpy array, directly or in a list, a dict or an object."""
    for layer in module.modules():
        for value in vars(layer).values():
            held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            if any(isinstance(one, np.ndarray) for one in (*held, *getattr(value, "__dict__", {}).values())):
                return True
    return False
