"""The attributes of a module, given back after a run that assigns them: `self.hidden = ...` in forward."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from pocketrnn_export.tracing.torch_internals import MODULE_TABLES

__all__ = ["assigned_by", "attributes_kept"]


@contextlib.contextmanager
def attributes_kept(module: nn.Module) -> Iterator[None]:
    """Undo what the block assigns to attributes of a module and of its layers, also to their tables of parameters,
    buffers and layers. What it writes into a tensor stays.

    Example:
        >>> with attributes_kept(module):
        ...     module(tokens)
    """
    tables = _tables(module)
    before = [dict(table) for table in tables]
    try:
        yield
    finally:
        for table, entries in zip(tables, before, strict=True):
            # By identity: to compare two tables of positions would be a step of a trace.
            if _differ(table, entries):
                table.clear()
                table.update(entries)


def assigned_by(run: Callable[[], object], module: nn.Module) -> bool:
    """Whether a run of a module assigns to its attributes, as to a cache of positions; they are as before afterwards.

    Example:
        >>> assigned_by(lambda: module(tokens), module)
        False
    """
    tables = _tables(module)
    before = [dict(table) for table in tables]
    with attributes_kept(module):
        # Whatever a user's module raises is met again, and told, where it is asked.
        with contextlib.suppress(Exception, SystemExit):
            run()
        return any(map(_differ, tables, before))


def _tables(module: nn.Module) -> list[dict[str, Any]]:
    return [
        table
        for layer in module.modules()
        if not isinstance(layer, torch.jit.ScriptModule)
        for table in (vars(layer), *(vars(layer)[name] for name in MODULE_TABLES))
    ]


def _differ(table: dict[str, Any], entries: dict[str, Any]) -> bool:
    return [*map(id, table.values())] != [*map(id, entries.values())] or [*table] != [*entries]
