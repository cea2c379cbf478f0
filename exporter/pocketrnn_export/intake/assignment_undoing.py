"""Undo what a call of a module assigns: the attributes of its layers, and global batch sizes in its file."""

from __future__ import annotations

import contextlib
import dis
import functools
import re
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any, Final

import torch
from torch import nn

from pocketrnn_export.module_runs.attribute_changes import restore_attributes

# The names of a batch size.
BATCH_SIZE: Final = re.compile(r"^_?(batch_?(size|len)?|bsz?)$", re.IGNORECASE)


@contextlib.contextmanager
def undo_assignments(module: nn.Module) -> Iterator[None]:
    """After the block, restore the attributes of a module and its layers, and the global batch sizes in its file."""
    layers = [layer for layer in module.modules() if not isinstance(layer, torch.jit.ScriptModule)]
    sizes = [(names, name, names[name]) for layer in layers for name, names in find_global_batch_sizes(layer)]
    try:
        with restore_attributes(module):
            yield
    finally:
        for names, name, size in sizes:
            names[name] = size


def find_global_batch_sizes(layer: nn.Module) -> list[tuple[str, dict[str, Any]]]:
    """Return the name of each global from which forward reads a fixed batch size, with the dict that holds the
    global."""
    forward = getattr(getattr(layer, "forward", None), "__func__", None)
    if not isinstance(forward, FunctionType):
        return []
    names = forward.__globals__
    return [(name, names) for name in _list_batch_size_names(forward.__code__) if type(names.get(name)) is int]


@functools.cache
def _list_batch_size_names(code: CodeType) -> tuple[str, ...]:
    """Return the names of the globals that code reads and whose names mean a batch size. The results are cached, since
    `dis` is slow."""
    read = {one.argval for one in dis.get_instructions(code) if one.opname == "LOAD_GLOBAL"}
    return tuple(name for name in sorted(read) if BATCH_SIZE.search(name))
