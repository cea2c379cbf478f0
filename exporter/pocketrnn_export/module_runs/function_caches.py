"""The caches of functions that a module may call: `@functools.lru_cache def decay(n): ...`.

They outlive a run. A tensor that one has kept in single precision would be taken up by the next run in double
precision, and the other way round. They are their owner's, whose later answers may depend on what they keep: none is
emptied, and what is not to be kept goes into others.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any, Final

from torch import nn

from pocketrnn_export.torch_internals import methods_replaced

__all__ = ["CACHED", "caches_of", "entries_replaced", "with_fresh_caches"]

# The class of what functools.lru_cache and functools.cache make.
CACHED: Final[type] = type(functools.lru_cache(lambda: None))

# A class, or the names of a layer or file; the name of a function with a cache; the function.
Place = tuple[Any, str, Any]


def caches_of(module: nn.Module) -> list[Place]:
    """The functions with a cache that a module's layers and classes hold, or that the files of these name; each with
    where it stands.

    Example:
        >>> [name for _, name, _ in caches_of(module)]
        ['decay']
    """
    layers, kinds = list(module.modules()), dict[type, None]()
    for layer in layers:
        kinds |= dict.fromkeys(
            kind
            for kind in type(layer).__mro__
            if kind.__module__.partition(".")[0] not in ("torch", "builtins", "pocketrnn_export")
        )
    tables = [(names, names) for names in map(vars, layers)] + [(kind, dict(vars(kind))) for kind in kinds]
    functions = [value for _, names in tables for value in names.values() if isinstance(value, FunctionType)]
    files = {id(function.__globals__): function.__globals__ for function in functions}
    for names in list(files.values()):
        for part in names.values():
            if isinstance(part, ModuleType) and not _is_installed(part):
                files[id(vars(part))] = vars(part)
    tables += [(names, names) for names in files.values()]
    return [
        (holder, name, value)
        for holder, names in tables
        for name, value in list(names.items())
        if isinstance(value, CACHED)
    ]


@contextlib.contextmanager
def with_fresh_caches(places: Iterable[Place]) -> Iterator[None]:
    """While the block runs, functions keep what they gave in other caches, which are empty at first.

    Args:
        places: what `caches_of` gave.

    Example:
        >>> with with_fresh_caches(caches_of(module)):
        ...     answer = module(tokens)
    """
    fresh: dict[int, Any] = {}
    methods: dict[Any, Any] = {}
    entries: list[Place] = []
    for holder, name, cached in places:
        again = fresh.setdefault(id(cached), functools.lru_cache(**cached.cache_parameters())(cached.__wrapped__))
        if isinstance(holder, type):
            methods[holder, name] = again
        else:
            entries.append((holder, name, again))
    with entries_replaced(entries), methods_replaced(methods):
        yield


@contextlib.contextmanager
def entries_replaced(changes: Iterable[Place]) -> Iterator[None]:
    """While the block runs, dicts have other values under some names; a name that one did not have is taken out again.

    Args:
        changes: (dict, name, the value meanwhile), each name of a dict once.
    """
    missing: Any = object()
    shipped: list[Place] = []
    try:
        for names, name, value in changes:
            shipped.append((names, name, names.get(name, missing)))
            names[name] = value
        yield
    finally:
        for names, name, value in shipped:
            names[name] = value
            if value is missing:
                del names[name]


def _is_installed(module: ModuleType) -> bool:
    file = str(getattr(module, "__file__", ""))
    return "site-packages" in file or module.__name__.partition(".")[0] in ("torch", "numpy")
