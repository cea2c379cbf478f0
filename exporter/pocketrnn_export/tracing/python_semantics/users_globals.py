"""The globals of the files that a module's own code is in."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final

from torch import nn

from pocketrnn_export.intake.user_frames import is_users_file, source_of
from pocketrnn_export.torch_internals import scripted_from
from pocketrnn_export.tracing.python_semantics.caches import without_cache

__all__ = ["compares_identity", "files_of", "globals_of"]

_OWN: Final = f"{Path(__file__).parents[2]}{os.sep}"

_NOT_USERS: Final = frozenset(sys.stdlib_module_names - {"__main__"}) | {
    "torch", "torchvision", "torchtext", "torchgen", "numpy", "scipy", "pandas", "sklearn", "onnx", "onnxruntime",
    "onnxscript", "pocketrnn", "pocketrnn_export", "pytest", "hypothesis",
}  # fmt: skip


def globals_of(module: nn.Module) -> list[dict[str, Any]]:
    """The globals of the code of a module's classes and of what these files take from other files of the user's."""
    found: dict[int, dict[str, Any]] = {}
    roots: set[str] = set()
    waiting: list[dict[str, Any]] = []
    for layer in module.modules():
        functions: list[Any] = []
        for kind in type(layer).__mro__:
            if _root(kind.__module__) not in _NOT_USERS:
                roots.add(_root(kind.__module__))
                functions += vars(kind).values()
        kept = list(vars(layer).values())
        # A function that calls the module stands in a dataclass of its wrapper's.
        kept += [part for value in kept if dataclasses.is_dataclass(value) for part in vars(value).values()]
        functions += [value for value in kept if isinstance(value, FunctionType | MethodType | functools.partial)]
        waiting += [names for names in map(_globals_in, functions) if names is not None]
    while waiting:
        names = waiting.pop()
        if id(names) in found or _root(str(names.get("__name__"))) in _NOT_USERS:
            continue
        found[id(names)] = names
        waiting += _imported([*names.values(), *_imported_within(names)], roots)
    return list(found.values())


def files_of(module: nn.Module) -> set[str]:
    """The files of the user's that a module's code is in: of its classes, and of what these files take from others."""
    files = {str(names.get("__file__") or "") for names in globals_of(module)}
    for layer in module.modules():
        for kind in type(layer).__mro__:
            files |= {code.co_filename for value in vars(kind).values() if (code := getattr(value, "__code__", None))}
    # The code that runs the operators of TorchScript counts as the user's, but is written here.
    return {file for file in files if file and is_users_file(file) and not file.startswith(_OWN)}


def compares_identity(module: nn.Module) -> bool:
    """Whether the code of a module may ask which object a number is: `n is special`, `id(n)`, `operator.is_`.

    Python keeps one object for each number to 256, so that such a comparison holds in a run; a size of a trace is an
    object of its own.

    Example:
        >>> compares_identity(nn.GRU(8, 8))
        False
    """
    return any(map(_compares_identity, files_of(module)))


@functools.lru_cache(maxsize=256)
def _compares_identity(file: str) -> bool:
    tree = source_of(file)
    return tree is None or any(
        (isinstance(node, ast.Name) and node.id in ("id", "is_", "is_not"))
        or (isinstance(node, ast.Attribute) and node.attr in ("is_", "is_not"))
        or (isinstance(node, ast.Compare) and _is_of_objects(node))
        for node in ast.walk(tree)
    )


def _is_of_objects(node: ast.Compare) -> bool:
    """Whether two values that are not constants are compared by `is`."""
    pairs = zip(node.ops, [node.left, *node.comparators], node.comparators, strict=False)
    return any(
        isinstance(operator, ast.Is | ast.IsNot) and not any(isinstance(one, ast.Constant) for one in operands)
        for operator, *operands in pairs
    )


def _imported_within(names: dict[str, Any]) -> list[ModuleType]:
    """The modules of Python that functions of a file import when they run, and that have been imported by now."""
    package = str(names.get("__package__") or "")
    found = []
    for level, module, parts in _imports_in(str(names.get("__file__") or "")):
        try:
            name = importlib.util.resolve_name(f"{'.' * level}{module}", package) if level else module
        except (ImportError, ValueError):
            continue
        known = (sys.modules.get(one) for one in (name, *(f"{name}.{part}" for part in parts)))
        found += [one for one in known if one is not None]
    return found


@functools.lru_cache(maxsize=256)
def _imports_in(file: str) -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """The imports in the functions of a file: the dots before the name, the name, and the names taken from it."""
    tree = source_of(file)
    functions = [] if tree is None else [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    found: list[tuple[int, str, tuple[str, ...]]] = []
    for node in (node for function in functions for node in ast.walk(function)):
        if isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
        if isinstance(node, ast.Import):
            found += [(0, alias.name, ()) for alias in node.names]
    return tuple(dict.fromkeys(found))


def _globals_in(value: Any) -> dict[str, Any] | None:
    while isinstance(value, functools.partial | staticmethod | classmethod | MethodType):
        value = value.func if isinstance(value, functools.partial) else value.__func__
    if isinstance(value, property):
        value = value.fget
    value = getattr(value, "__wrapped__", value)
    return value.__globals__ if isinstance(value, FunctionType) else None


def _imported(values: Iterable[Any], roots: set[str]) -> list[dict[str, Any]]:
    """The globals behind functions, classes and modules that a user's file names."""
    found = []
    for value in list(values):
        value = without_cache(value) or scripted_from(value) or value
        if isinstance(value, FunctionType):
            names: dict[str, Any] | None = value.__globals__
        elif isinstance(value, ModuleType):
            names = vars(value)
        elif isinstance(value, type):
            names = vars(sys.modules.get(value.__module__, ModuleType("")))
        else:
            continue
        file, root = (names or {}).get("__file__"), _root(str((names or {}).get("__name__")))
        if names and file and root not in _NOT_USERS and (root in roots or "site-packages" not in Path(file).parts):
            found.append(names)
    return found


def _root(name: str) -> str:
    return name.partition(".")[0]
