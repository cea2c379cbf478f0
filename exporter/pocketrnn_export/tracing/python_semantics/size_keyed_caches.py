"""Bypass the caches of forward that have sizes as keys. A trace fills empty caches, whose keys are symbolic sizes.

`if n not in self.masks: self.masks[n] = ...` needs a plain number as a key, which would be a condition for each number;
and `functools.lru_cache` would keep a trace's tensors for later runs. So while a module is traced, its empty dicts take
symbolic sizes as keys, and cached functions run without their cache. That a cache does not change answers was checked
before (`pocketrnn_export.intake.state_between_calls`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from pocketrnn_export.module_runs.function_caches import (
    CACHED,
    unwrap_static_or_class_method,
    wrap_as_static_or_class_method_like,
)
from pocketrnn_export.module_runs.temporary_dict_values import replace_dict_values
from pocketrnn_export.torch_internals import read_size_expression, replace_methods
from pocketrnn_export.tracing.trace_session import TraceSession


def unwrap_cached_function(value: Any) -> Any:
    """Return the function that is wrapped by `functools.lru_cache`, or None for any other value."""
    return value.__wrapped__ if isinstance(value, CACHED) else None  # type: ignore[attr-defined]


@contextlib.contextmanager
def bypass_caches_keyed_by_sizes(session: TraceSession) -> Iterator[None]:
    """While the block runs, caches of a module accept symbolic sizes: its empty dicts take them as keys, and its
    methods and functions under `functools.lru_cache` run without the cache."""
    kinds = {kind for layer in session.module.modules() for kind in type(layer).__mro__}
    methods = {
        (kind, name): wrap_as_static_or_class_method_like(value, function)
        for kind in kinds
        for name, value in list(vars(kind).items())
        if (function := unwrap_cached_function(unwrap_static_or_class_method(value))) is not None
    }
    kept = [
        (vars(layer), name, stand_in)
        for layer in session.module.modules()
        if not isinstance(layer, torch.jit.ScriptModule)
        for name, value in vars(layer).items()
        if (stand_in := _make_stand_in_without_cache(layer, name, value)) is not None
    ]
    with replace_dict_values(kept), replace_methods(methods):
        yield


def _make_stand_in_without_cache(layer: nn.Module, name: str, value: Any) -> Any:
    """Return a stand-in for an attribute of a layer: for an empty dict, a dict that takes symbolic sizes as keys; for a
    cached function, the function itself. Return None for other attributes."""
    if name.startswith("_") and name in vars(nn.Module()):
        return None
    if type(value) is dict and not value:
        return _SizeKeyedDict()
    function = unwrap_cached_function(value)
    # A cached method in the layer's attributes is bound to the original of this copied layer, so bind it again.
    bound = getattr(function, "__func__", None)
    return bound.__get__(layer) if bound is not None else function


class _SizeKeyedDict(dict[Any, Any]):
    """A dict that accepts symbolic sizes as keys. Two sizes with the same expression are the same key."""

    def __contains__(self, key: object) -> bool:
        return super().__contains__(_make_dict_key(key))

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(_make_dict_key(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_make_dict_key(key), value)

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(_make_dict_key(key))

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_make_dict_key(key), default)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        return super().setdefault(_make_dict_key(key), default)

    def pop(self, key: Any, *default: Any) -> Any:
        return super().pop(_make_dict_key(key), *default)


def _make_dict_key(key: Any) -> Any:
    """Return a key in which symbolic sizes, also those in tuples, are replaced by their expressions."""
    if isinstance(key, torch.SymInt | torch.SymFloat | torch.SymBool):
        return "size", str(read_size_expression(key))
    if isinstance(key, tuple):
        return tuple(map(_make_dict_key, key))
    return key
