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
    """Find the functions under `functools.lru_cache` or `functools.cache` that a module may call: in its layers, their
    classes, and the user's files. Return a tuple for each function: the class or dict that holds the function, its name
    there, and the function."""
    kinds, files = list_user_classes_and_globals(module)
    tables: list[tuple[Any, dict[str, Any]]] = [(names, names) for names in (*map(vars, module.modules()), *files)]
    tables += [(kind, dict(vars(kind))) for kind in kinds]
    return [
        (holder, name, value)
        for holder, names in tables
        for name, value in list(names.items())
        if isinstance(unwrap_static_or_class_method(value), CACHED)
    ]


def unwrap_static_or_class_method(value: Any) -> Any:
    """Return the function inside a `staticmethod` or `classmethod` object. Return any other value unchanged."""
    return value.__func__ if isinstance(value, staticmethod | classmethod) else value


def wrap_as_static_or_class_method_like(value: Any, function: Any) -> Any:
    """Return `function` as a `staticmethod` or `classmethod` object if `value` is such an object. Otherwise, return
    `function` unchanged."""
    return type(value)(function) if isinstance(value, staticmethod | classmethod) else function


def list_user_classes_and_globals(module: nn.Module) -> tuple[list[type], list[dict[str, Any]]]:
    """Return two lists: the classes of a module's layers, without PyTorch's classes; and the dicts of globals of the
    user's files. These are the files that define the layers' functions, and the files that they import, without
    installed packages."""
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
    """While the block runs, give cached functions new, empty caches, so that they do not return results of other runs.
    An entry of `caches` is a tuple of the class or dict that holds a function, the function's name there, and the
    function."""
    fresh: dict[int, Any] = {}
    methods: dict[Any, Any] = {}
    entries: list[Entry] = []
    for holder, name, value in caches:
        cached = unwrap_static_or_class_method(value)
        again = fresh.setdefault(id(cached), functools.lru_cache(**cached.cache_parameters())(cached.__wrapped__))
        if isinstance(holder, type):
            methods[holder, name] = wrap_as_static_or_class_method_like(value, again)
        else:
            entries.append((holder, name, again))
    with replace_dict_values(entries), replace_methods(methods):
        yield


def _is_installed(module: ModuleType) -> bool:
    file = str(getattr(module, "__file__", ""))
    return "site-packages" in file or module.__name__.partition(".")[0] in ("torch", "numpy")
