"""Find the attributes in which a module keeps a state between calls, and write a call that resets this state."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import ModuleFacts
from pocketrnn_export.intake.run_that_undoes_assignments import undo_assignments
from pocketrnn_export.intake.user_code_lines_for_messages import run_user_call
from pocketrnn_export.module_runs.attribute_changes import ChangedAttribute, find_attributes_changed_by_run
from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu


def find_changed_attributes(facts: ModuleFacts, line: str) -> list[ChangedAttribute]:
    """Return the attributes that every call changes. Attributes that `line`, the call, sets itself are left out."""
    call, batch = facts.compile(line), facts.draw_batch(facts.trial_rows, facts.trial_widths[-1][-1])

    def run_module() -> None:
        with torch.no_grad(), run_quietly_on_cpu():
            run_user_call(call, facts.module, *(value.clone() for value in batch))

    with undo_assignments(facts.module):
        found = find_attributes_changed_by_run(run_module, facts.module)
    return [kept for kept in found if not _is_set_in_line(kept, line)]


def advise_on_kept_state(changed: Sequence[ChangedAttribute], line: str) -> str:
    """Return advice for a module that keeps a state between calls. If it is known how to reset the state, the advice
    contains a call that does so."""
    names = " and ".join(kept.name for kept in changed)
    changes = f"Each call changes the module's {names}: in eval mode, change nothing on which a later answer depends."
    # A weight is not a state that could be reset for each call.
    if changed and all(isinstance(kept.before, nn.Parameter) for kept in changed):
        return f"{changes} Compute with the new value instead of writing it: F.linear(x, torch.renorm(weight, ...))."
    states = [kept for kept in changed if not isinstance(kept.before, nn.Parameter)]
    made = [_write_state_reset(kept) for kept in states if not _is_set_in_line(kept, line)]
    if not made or not all(made):
        return changes
    line = "; ".join([*made, line])
    return f'{changes} Or set it at each call, as after training: --call "{line}", in Python call=.'


def _is_set_in_line(kept: ChangedAttribute, line: str) -> bool:
    """Return whether the line of a call sets the attribute."""
    return any(f"module.{kept.name}{begin}" in line for begin in (" = ", ".zero_()", ".clear()"))


def _write_state_reset(kept: ChangedAttribute) -> str:
    """Return code that resets a state before a call. A tensor becomes zeros; any other value becomes its value before
    the first call. Return an empty string if this cannot be written as code."""
    name = f"module.{kept.name}"
    if isinstance(kept.after, list | deque) and kept.after is kept.before:
        return "" if kept.after else f"{name}.clear()"
    if isinstance(kept.after, Tensor) and isinstance(kept.before, Tensor):
        return f"{name}.zero_()"
    if isinstance(kept.before, tuple) and all(isinstance(state, Tensor) for state in kept.before):
        return f"{name} = tuple(map(torch.zeros_like, {name}))"
    return f"{name} = {kept.before!r}" if kept.is_number or kept.before is None else ""
