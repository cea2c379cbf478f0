"""Run a module, and undo what the call assigns: the attributes of its layers, and the batch sizes in its file and in
objects of settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from pocketrnn_export.intake.batch_sizes_in_globals_and_settings import find_batch_sizes_in_globals_and_settings
from pocketrnn_export.module_runs.attribute_changes import restore_attributes
from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu


@contextlib.contextmanager
def undo_assignments(module: nn.Module) -> Iterator[None]:
    """After the block, undo the assignments that were made in it to attributes of a module and its layers, and to the
    globals and settings from which these read batch sizes."""
    layers = [layer for layer in module.modules() if not isinstance(layer, torch.jit.ScriptModule)]
    found = [one for layer in layers for one in find_batch_sizes_in_globals_and_settings(layer)]
    sizes = [(one.names, one.name, one.names[one.name]) for one in found]
    try:
        with restore_attributes(module):
            yield
    finally:
        for names, name, size in sizes:
            names[name] = size


@contextlib.contextmanager
def run_quietly_and_undo_assignments(module: nn.Module) -> Iterator[None]:
    """Run the block on the CPU, without gradients and without output. Then undo the assignments of all calls of the
    module in the block."""
    with torch.no_grad(), run_quietly_on_cpu(), undo_assignments(module):
        yield
