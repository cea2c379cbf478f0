"""Caches that forward keeps by a size: a trace fills them anew, and asks no size which number it is.

`if n not in self.masks: self.masks[n] = ...` wants a plain number for a key, which would be a question for each number;
and `functools.lru_cache` would keep a trace's tensors for the runs after it. So while a module is traced, its dicts
that are empty take a size for a key as it is, and functions with a cache run without it. That a cache changes no answer
was tried before (`pocketrnn_export.intake.kept_state`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from pocketrnn_export.module_runs.function_caches import CACHED, entries_replaced
from pocketrnn_export.torch_internals import expression_of, methods_replaced
from pocketrnn_export.tracing.session import TraceSession

__all__ = ["caches_aside", "without_cache"]


def without_cache(value: Any) -> Any:
    """The function that `functools.lru_cache` wraps; None for anything else.

    Example:
        >>> without_cache(functools.cache(len))
        <built-in function len>
    """
    return value.__wrapped__ if isinstance(value, CACHED) else None  # type: ignore[attr-defined]


@contextlib.contextmanager
def caches_aside(session: TraceSession) -> Iterator[None]:
    """While the block runs, the session's module has no cache: its dicts that are empty take sizes as keys, and methods
    of its classes run without theirs."""
    kinds = {kind for layer in session.module.modules() for kind in type(layer).__mro__}
    methods = {
        (kind, name): without_cache(value)
        for kind in kinds
        for name, value in list(vars(kind).items())
        if isinstance(value, CACHED)
    }
    kept = [
        (vars(layer), name, stand_in)
        for layer in session.module.modules()
        if not isinstance(layer, torch.jit.ScriptModule)
        for name, value in vars(layer).items()
        if (stand_in := _stand_in(layer, name, value)) is not None
    ]
    with entries_replaced(kept), methods_replaced(methods):
        yield


def _stand_in(layer: nn.Module, name: str, value: Any) -> Any:
    if name.startswith("_") and name in vars(nn.Module()):
        return None
    if type(value) is dict and not value:
        return _BySizes()
    function = without_cache(value)
    # A cache of the layer's own method is bound to the layer that this one is a copy of.
    bound = getattr(function, "__func__", None)
    return bound.__get__(layer) if bound is not None else function


class _BySizes(dict[Any, Any]):
    """A dict that takes sizes of a trace in its keys: two are one key where they are one expression."""

    def __contains__(self, key: object) -> bool:
        return super().__contains__(_key(key))

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(_key(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_key(key), value)

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(_key(key))

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_key(key), default)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        return super().setdefault(_key(key), default)

    def pop(self, key: Any, *default: Any) -> Any:
        return super().pop(_key(key), *default)


def _key(key: Any) -> Any:
    if isinstance(key, torch.SymInt | torch.SymFloat | torch.SymBool):
        return "size", str(expression_of(key))
    if isinstance(key, tuple):
        return tuple(map(_key, key))
    return key
