"""The attributes of a module, given back after a run that assigns them: `self.hidden = ...` in forward."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from pocketrnn_export.tracing.torch_internals import MODULE_TABLES

__all__ = ["attributes_kept"]


@contextlib.contextmanager
def attributes_kept(module: nn.Module) -> Iterator[None]:
    """Undo what the block assigns to attributes of a module and of its layers, also to their tables of parameters,
    buffers and layers. What it writes into a tensor stays.

    Example:
        >>> with attributes_kept(module):
        ...     module(tokens)
    """
    tables = [
        table
        for layer in module.modules()
        if not isinstance(layer, torch.jit.ScriptModule)
        for table in (vars(layer), *(vars(layer)[name] for name in MODULE_TABLES))
    ]
    before = [dict(table) for table in tables]
    try:
        yield
    finally:
        for table, entries in zip(tables, before, strict=True):
            # By identity: to compare two tables of positions would be a step of a trace.
            if [*map(id, table.values())] != [*map(id, entries.values())] or [*table] != [*entries]:
                table.clear()
                table.update(entries)
