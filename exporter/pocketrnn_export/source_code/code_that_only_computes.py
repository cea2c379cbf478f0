"""Write a function that splits texts with the code that it needs, if this code only computes values: run, it changes
nothing outside itself and reads no files, but the data of NLTK."""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from pocketrnn_export.source_code.changed_and_needed_names import list_changed_names
from pocketrnn_export.source_code.import_statements import Import, list_imported_names
from pocketrnn_export.source_code.known_function_effects import PURE_METHODS, REACH_ANY
from pocketrnn_export.source_code.splitting_part_of_function import write_tokenizer_of_function
from pocketrnn_export.source_code.text_function_in_own_file import list_read_attributes, write_text_function
from pocketrnn_export.vocabularies.words_as_vocabulary_object import is_vocabulary_name

# Modules whose functions only compute. The stop words of NLTK are data.
_COMPUTING_MODULES: Final = (
    "__future__", "collections", "functools", "html", "itertools", "math", "nltk.corpus", "re", "regex", "string",
    "typing", "unicodedata",
)  # fmt: skip
_OTHER_BUILTINS: Final = REACH_ANY | {"breakpoint", "exit", "getattr", "help", "input", "open", "quit"}
_METHODS_OF_STRINGS: Final = {name for kind in (str, list, set, dict, tuple) for name in dir(kind) if name[0] != "_"}
_METHODS: Final = PURE_METHODS | _METHODS_OF_STRINGS | {
    *("finditer", "findall", "from_iterable", "fullmatch", "group", "match", "search", "sub", "subn", "words"),
}  # fmt: skip


def write_computing_text_function(file: Path, name: str) -> str | None:
    """Copy an owner's function that splits texts to a file of its own, as the function `words`, if it is safe to run.
    Return the file's code; None if it is not found, or if it may do more than compute, such as read a file.

    Args:
        file: the file of the function.
        name: the function, or Class.method.
    """
    held, _, method = name.rpartition(".")
    written = None if held else write_tokenizer_of_function(file, name)
    code = None if written is None else written.code
    if code is None:
        read = list_read_attributes(file, held, method) if held else {}
        attributes: dict[str, Any] = {attribute: {} for attribute in read or () if is_vocabulary_name(attribute)}
        code = write_text_function(file, held or name, method if held else "", "", attributes, calls_init=False)
    return code if code is not None and _only_computes(code) else None


def _only_computes(code: str) -> bool:
    """Return whether code does nothing but compute. It may import only modules that compute, and call only these, its
    own functions, harmless builtins, and methods of strings, lists and patterns. It must not have a `while` loop, which
    may not end."""
    tree = ast.parse(code)
    known = {name for one in tree.body for name in list_changed_names(one)}
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, Import):
            for name, full_name in list_imported_names(node):
                if not any(f"{full_name}.".startswith(f"{one}.") for one in _COMPUTING_MODULES):
                    return False
                if _is_other_module(full_name):
                    return False
                imported.add(name)
    known |= {one.arg for one in ast.walk(tree) if isinstance(one, ast.arg)} | imported
    known |= {one.id for one in ast.walk(tree) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.While) or (isinstance(node, ast.Attribute) and node.attr.startswith("_")):
            return False
        if isinstance(node, ast.Name) and node.id not in known and node.id in (*_OTHER_BUILTINS, "__builtins__"):
            return False
        if isinstance(node, ast.Name) and node.id not in known and not hasattr(builtins, node.id):
            return False
        # `typing.contextlib.os.system` reaches any code through the imports of a module.
        if isinstance(node, ast.Attribute) and isinstance(inner := node.value, ast.Attribute):
            of_module = _find_root_name(inner) in imported
            if of_module and node.attr not in _METHODS:
                return False
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in imported:
            if any(_is_other_module(f"{one}.{node.attr}") for one in _COMPUTING_MODULES):
                return False
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = node.func
            of_module = isinstance(called.value, ast.Name) and called.value.id in imported
            if not of_module and called.attr not in _METHODS:
                return False
    return True


def _find_root_name(node: ast.AST) -> str:
    """Return the name `a` of `a.b.c`; an empty string for another expression."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_other_module(full_name: str) -> bool:
    """Return whether a name of a module of the standard library is a module that may do more than compute, such as
    `typing.sys`."""
    module, _, name = full_name.rpartition(".")
    if full_name in _COMPUTING_MODULES or module.partition(".")[0] not in sys.stdlib_module_names:
        return False
    return isinstance(getattr(importlib.import_module(module), name, None), ModuleType)
