"""Find and replace the caches of functions that a module may call: `@functools.lru_cache def decay(n): ...`.

These caches outlive a run. The next run in double precision would reuse a tensor that was cached in single precision,
and the other way round. The caches belong to the owner, whose later answers may depend on their contents. So they are
not cleared: runs of an export use other caches.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any, Final

from torch import nn

from pocketrnn_export.module_runs.temporary_dict_values import Entry, replace_dict_values
from pocketrnn_export.torch_internals import replace_methods

# The class of functions under functools.lru_cache and functools.cache.
CACHED: Final[type] = type(functools.lru_cache(lambda: None))


def find_cached_functions(module: nn.Module) -> list[Entry]:
    """Find the functions with a cache that a module may call: in its layers, their classes, and the user's files.
    Return for each function the class or dict that holds it, its name there, and the function."""
    kinds, files = list_user_tables(module)
    tables: list[tuple[Any, dict[str, Any]]] = [(names, names) for names in (*map(vars, module.modules()), *files)]
    tables += [(kind, dict(vars(kind))) for kind in kinds]
    return [
        (holder, name, value)
        for holder, names in tables
        for name, value in list(names.items())
        if isinstance(get_function_of_method(value), CACHED)
    ]


def get_function_of_method(value: Any) -> Any:
    """Return the function in a static method or class method; return any other value unchanged."""
    return value.__func__ if isinstance(value, staticmethod | classmethod) else value


def replace_function_of_method(value: Any, function: Any) -> Any:
    """Return a function as a static method or class method if `value` is one; else return the function."""
    return type(value)(function) if isinstance(value, staticmethod | classmethod) else function


def list_user_tables(module: nn.Module) -> tuple[list[type], list[dict[str, Any]]]:
    """List the classes of a module's layers that are not PyTorch's; and the globals of the files with the layers'
    functions, and of the files that these import and that are not installed."""
    layers, kinds = list(module.modules()), dict[type, None]()
    for layer in layers:
        kinds |= dict.fromkeys(
            kind
            for kind in type(layer).__mro__
            if kind.__module__.partition(".")[0] not in ("torch", "builtins", "pocketrnn_export")
        )
    tables = [*map(vars, layers), *(dict(vars(kind)) for kind in kinds)]
    functions = [value for names in tables for value in names.values() if isinstance(value, FunctionType)]
    files = {id(function.__globals__): function.__globals__ for function in functions}
    for names in list(files.values()):
        for part in names.values():
            if isinstance(part, ModuleType) and not _is_installed(part):
                files[id(vars(part))] = vars(part)
    return list(kinds), list(files.values())


@contextlib.contextmanager
def use_fresh_caches(caches: Iterable[Entry]) -> Iterator[None]:
    """While the block runs, the functions in `caches` have new, empty caches, so that they do not return results of
    other runs."""
    fresh: dict[int, Any] = {}
    methods: dict[Any, Any] = {}
    entries: list[Entry] = []
    for holder, name, value in caches:
        cached = get_function_of_method(value)
        again = fresh.setdefault(id(cached), functools.lru_cache(**cached.cache_parameters())(cached.__wrapped__))
        if isinstance(holder, type):
            methods[holder, name] = replace_function_of_method(value, again)
        else:
            entries.append((holder, name, again))
    with replace_dict_values(entries), replace_methods(methods):
        yield


def _is_installed(module: ModuleType) -> bool:
    file = str(getattr(module, "__file__", ""))
    return "site-packages" in file or module.__name__.partition(".")[0] in ("torch", "numpy")
