"""Find the user's files that contain a module's code, and their globals."""

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

from pocketrnn_export.intake.user_code_lines_for_messages import is_user_file, parse_file
from pocketrnn_export.torch_internals import unwrap_scripted_function
from pocketrnn_export.tracing.python_semantics.size_keyed_caches import unwrap_cached_function

# The number of leading dots of an import, the module, and the names that are imported from it.
_Import = tuple[int, str, tuple[str, ...]]
_OWN: Final = f"{Path(__file__).parents[2]}{os.sep}"

_NOT_USERS: Final = frozenset(sys.stdlib_module_names - {"__main__"}) | {
    "torch", "torchvision", "torchtext", "torchgen", "numpy", "scipy", "pandas", "sklearn", "onnx", "onnxruntime",
    "onnxscript", "pocketrnn", "pocketrnn_export", "pytest", "hypothesis",
}  # fmt: skip


def find_users_globals(module: nn.Module) -> list[dict[str, Any]]:
    """Return the globals of the user's files with a module's code: the files that define its classes and the functions
    in its attributes, and the user's files that these import."""
    found: dict[int, dict[str, Any]] = {}
    roots: set[str] = set()
    waiting: list[dict[str, Any]] = []
    for layer in module.modules():
        functions: list[Any] = []
        for kind in type(layer).__mro__:
            if _read_root_package(kind.__module__) not in _NOT_USERS:
                roots.add(_read_root_package(kind.__module__))
                functions += vars(kind).values()
        kept, opened = list(vars(layer).values()), set[int]()
        # A wrapper may hold the function that calls the module in a dataclass: for two texts, in one inside another.
        for value in kept:
            if dataclasses.is_dataclass(value) and not isinstance(value, type) and id(value) not in opened:
                opened.add(id(value))
                kept += [getattr(value, part.name, None) for part in dataclasses.fields(value)]
        functions += [value for value in kept if isinstance(value, FunctionType | MethodType | functools.partial)]
        waiting += [names for names in map(_read_function_globals, functions) if names is not None]
    while waiting:
        names = waiting.pop()
        if id(names) in found or _read_root_package(str(names.get("__name__"))) in _NOT_USERS:
            continue
        found[id(names)] = names
        waiting += _find_imported_globals([*names.values(), *_find_modules_imported_in_functions(names)], roots)
    return list(found.values())


def find_users_files(module: nn.Module) -> set[str]:
    """Return the paths of the user's files with a module's code: the files of its classes, and the user's files that
    these import."""
    files = {str(names.get("__file__") or "") for names in find_users_globals(module)}
    for layer in module.modules():
        for kind in type(layer).__mro__:
            files |= {code.co_filename for value in vars(kind).values() if (code := getattr(value, "__code__", None))}
    # The code that runs TorchScript operators counts as the user's, but is in this package.
    return {file for file in files if file and is_user_file(file) and not file.startswith(_OWN)}


def _find_modules_imported_in_functions(names: dict[str, Any]) -> list[ModuleType]:
    """Return the Python modules that a file imports inside its functions, if they are already imported. `names` are the
    globals of the file."""
    package = str(names.get("__package__") or "")
    found = []
    for level, module, parts in _find_imports_inside_functions(str(names.get("__file__") or "")):
        try:
            name = importlib.util.resolve_name(f"{'.' * level}{module}", package) if level else module
        except (ImportError, ValueError):
            continue
        known = (sys.modules.get(one) for one in (name, *(f"{name}.{part}" for part in parts)))
        found += [one for one in known if one is not None]
    return found


@functools.lru_cache(maxsize=256)
def _find_imports_inside_functions(file: str) -> tuple[_Import, ...]:
    """Return the imports inside the functions of a file: for each the number of leading dots, the module, and the names
    that are imported from it."""
    tree = parse_file(file)
    functions = [] if tree is None else [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    found: list[_Import] = []
    for node in (node for function in functions for node in ast.walk(function)):
        if isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
        if isinstance(node, ast.Import):
            found += [(0, alias.name, ()) for alias in node.names]
    return tuple(dict.fromkeys(found))


def _read_function_globals(value: Any) -> dict[str, Any] | None:
    """Return the globals with which the code of a function, a method, a property or a wrapped function runs. Return
    None for other values."""
    while isinstance(value, functools.partial | staticmethod | classmethod | MethodType):
        value = value.func if isinstance(value, functools.partial) else value.__func__
    if isinstance(value, property):
        value = value.fget
    value = getattr(value, "__wrapped__", value)
    return value.__globals__ if isinstance(value, FunctionType) else None


def _find_imported_globals(values: Iterable[Any], roots: set[str]) -> list[dict[str, Any]]:
    """Return the globals of the user's files that define some functions, classes and Python modules.

    Args:
        values: the functions, classes and Python modules; other values are ignored.
        roots: the packages of the module's classes, which count as the user's even if they are installed.
    """
    found = []
    for value in list(values):
        value = unwrap_cached_function(value) or unwrap_scripted_function(value) or value
        if isinstance(value, FunctionType):
            names: dict[str, Any] | None = value.__globals__
        elif isinstance(value, ModuleType):
            names = vars(value)
        elif isinstance(value, type):
            names = vars(sys.modules.get(value.__module__, ModuleType("")))
        else:
            continue
        file, root = (names or {}).get("__file__"), _read_root_package(str((names or {}).get("__name__")))
        if names and file and root not in _NOT_USERS and (root in roots or "site-packages" not in Path(file).parts):
            found.append(names)
    return found


def _read_root_package(name: str) -> str:
    """Return the first part of a dotted name: "a" for "a.b.c"."""
    return name.partition(".")[0]
