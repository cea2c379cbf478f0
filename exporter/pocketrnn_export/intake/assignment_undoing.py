"""Undo what a call of a module assigns: the attributes of its layers, and the batch sizes in its file and in objects of
settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from pocketrnn_export.intake.batch_sizes_outside_layers import find_batch_sizes_in_globals_and_settings
from pocketrnn_export.module_runs.attribute_changes import restore_attributes


@contextlib.contextmanager
def undo_assignments(module: nn.Module) -> Iterator[None]:
    """After the block, restore the attributes of a module and its layers, and the batch sizes outside of these."""
    layers = [layer for layer in module.modules() if not isinstance(layer, torch.jit.ScriptModule)]
    found = [one for layer in layers for one in find_batch_sizes_in_globals_and_settings(layer)]
    sizes = [(one.names, one.name, one.names[one.name]) for one in found]
    try:
        with restore_attributes(module):
            yield
    finally:
        for names, name, size in sizes:
            names[name] = size
