"""Find the fixed batch sizes that a layer reads from a global of its file, or from an object of settings."""

from __future__ import annotations

import dis
import functools
import re
from types import FunctionType
from typing import Any, Final, NamedTuple

import torch
from torch import nn

# The names of a batch size.
BATCH_SIZE: Final = re.compile(r"^_?(batch_?(size|len)?|bsz?)$", re.IGNORECASE)


class OutsideBatchSize(NamedTuple):
    """A fixed batch size outside of the attributes of a layer: the code that reads it from the layer, the dict that
    holds it, and its key there."""

    code: str
    names: dict[Any, Any]
    name: Any


def find_batch_sizes_in_globals_and_settings(layer: nn.Module) -> list[OutsideBatchSize]:
    """Find the fixed batch sizes that a layer reads from a global of its file, or from a settings object that it holds,
    such as `args`."""
    found: list[OutsideBatchSize] = []
    forward = getattr(getattr(layer, "forward", None), "__func__", None)
    if isinstance(forward, FunctionType):
        names = forward.__globals__
        found += [
            OutsideBatchSize(f".forward.__globals__[{name!r}]", names, name)
            for name in _list_batch_size_names(type(layer).__mro__, forward)
            if type(names.get(name)) is int
        ]
    for name, value in vars(layer).items():
        held = (
            value if isinstance(value, dict) else None if isinstance(value, type) else getattr(value, "__dict__", None)
        )
        if isinstance(held, dict) and not name.startswith("_") and not isinstance(value, nn.Module | torch.Tensor):
            found += [
                OutsideBatchSize(f".{name}[{key!r}]" if held is value else f".{name}.{key}", held, key)
                for key, size in held.items()
                if isinstance(key, str) and BATCH_SIZE.search(key) and type(size) is int
            ]
    return found


@functools.lru_cache(maxsize=1024)
def _list_batch_size_names(bases: tuple[type, ...], forward: FunctionType) -> tuple[str, ...]:
    """Return the names of globals in forward's file that look like a batch size and that methods of the classes `bases`
    read. The results are cached, since the search for a call asks for them in every trial."""
    methods = [
        one
        for base in bases
        for one in vars(base).values()
        if isinstance(one, FunctionType) and one.__globals__ is forward.__globals__
    ]
    read = {
        one.argval for method in methods for one in dis.get_instructions(method.__code__) if one.opname == "LOAD_GLOBAL"
    }
    return tuple(name for name in sorted(read) if BATCH_SIZE.search(name))
