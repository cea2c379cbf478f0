"""The caches of functions that a module may call: `@functools.lru_cache def decay(n): ...`.

They outlive a run. A tensor that one has kept in single precision would be taken up by the next run in double
precision, and the other way round.
"""

from __future__ import annotations

import functools
from types import FunctionType, ModuleType
from typing import Any, Final

from torch import nn

__all__ = ["CACHED", "caches_of"]

# The class of what functools.lru_cache and functools.cache make.
CACHED: Final[type] = type(functools.lru_cache(lambda: None))


def caches_of(module: nn.Module) -> list[Any]:
    """The functions with a cache that a module's layers and classes hold, or that the files of these name.

    Example:
        >>> for cached in caches_of(module):
        ...     cached.cache_clear()
    """
    holders: dict[int, dict[str, Any]] = {}
    for layer in module.modules():
        holders[id(layer)] = vars(layer)
        for kind in type(layer).__mro__:
            if kind.__module__.partition(".")[0] not in ("torch", "builtins", "pocketrnn_export"):
                holders[id(kind)] = dict(vars(kind))
    functions = [value for holder in holders.values() for value in holder.values() if isinstance(value, FunctionType)]
    for names in {id(function.__globals__): function.__globals__ for function in functions}.values():
        holders[id(names)] = names
        for part in names.values():
            if isinstance(part, ModuleType) and not _is_installed(part):
                holders[id(part)] = vars(part)
    values = [value for holder in holders.values() for value in list(holder.values()) if isinstance(value, CACHED)]
    return list({id(value): value for value in values}.values())


def _is_installed(module: ModuleType) -> bool:
    file = str(getattr(module, "__file__", ""))
    return "site-packages" in file or module.__name__.partition(".")[0] in ("torch", "numpy")
