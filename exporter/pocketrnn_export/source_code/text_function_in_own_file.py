"""Find what a method reads of its object, and write a function or method of a file, with the code that it needs, as a
file of its own. No file is run."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from pocketrnn_export.source_code.changed_and_needed_names import list_changed_names
from pocketrnn_export.source_code.files_near_module import find_imported_file
from pocketrnn_export.source_code.import_statements import Import, list_imported_modules
from pocketrnn_export.source_code.notebook import read_python_cells
from pocketrnn_export.source_code.parts_of_functions_and_classes import (
    Function,
    find_first_parameter_name,
    find_methods,
)
from pocketrnn_export.source_code.splitting_part_of_function import WRITTEN_NAME, list_file_statements_that_code_needs

# How a function of a text alone is called.
PLAIN_CALL = "{}(text)"
_MADE_NAME = "_made"
_CALLED_NAME = "_called"


class _ReadParts(NamedTuple):
    """The parts of its object that a method reads: the methods that it calls, and attributes, each with a line that
    reads it."""

    methods: Mapping[str, Function]
    attributes: Mapping[str, int]


def list_read_attributes(path: Path, class_name: str, method: str) -> dict[str, int] | None:
    """Return the attributes of its object that a method reads, each with the first line that reads it. Methods that it
    calls are included. Return None if this is not known, for example because the method passes the object itself to a
    function.

    Args:
        path: the file of the class.
        class_name: the class. Its base classes must be in the same file.
        method: the method.

    Example:
        >>> list_read_attributes(Path("text.py"), "Processor", "encode")
        {'stoi': 12, 'max_length': 14}
    """
    statements = _list_statements(path)
    classes = _list_class_and_its_bases(statements, class_name)
    found = _find_read_parts(classes, [method]) if classes else None
    return None if found is None else dict(found.attributes)


def write_text_function(
    path: Path,
    name: str,
    method: str = "",
    arguments: str = "",
    attributes: Mapping[str, Any] = MappingProxyType({}),
    *,
    calls_init: bool = True,
    method_arguments: str = "",
    call: str = PLAIN_CALL,
) -> str | None:
    """Copy an owner's function or method, with the code that it needs, to a file of its own, as the function `words`.
    Return this file's code. Return None if the function needs code that is not found, another file near it, or PyTorch.

    Args:
        path: the file.
        name: the function or the class.
        method: the method; empty for a function, and for an object that is itself called.
        arguments: the arguments of the class or, for a function, its arguments beside the text, as code.
        attributes: plain values to set as attributes of the object.
        calls_init: whether to make the object by its `__init__`, and not from `attributes` alone.
        method_arguments: the method's arguments beside the text, as code.
        call: the call as code, with {} for the function, such as {}([text])[0].

    Example:
        >>> print(write_text_function(Path("text.py"), "Processor", "cut", "", {"most": 60}, calls_init=False))
        class Processor:
        ...
        _made = Processor.__new__(Processor)
        _made.most = 60
        words = _made.cut
    """
    statements = _list_statements(path)
    called, made = f"{name}{f'.{method}' * bool(method)}", list[ast.stmt]()
    if any(isinstance(one, ast.ClassDef) and one.name == name for one in statements):
        called = called.replace(name, _MADE_NAME, 1)
        classes = _list_class_and_its_bases(statements, name)
        given = arguments if calls_init else None
        made = _write_object(classes, method or "__call__", given, attributes) if classes else []
        if not made:
            return None
        arguments = method_arguments
    if arguments:
        called = f"functools.partial({called}, {arguments})"
        made = [*ast.parse("import functools").body, *made]
    helpers = list_file_statements_that_code_needs([*made, *ast.parse(called).body], statements, path)
    if helpers is None or any(_needs_file_or_torch(one, path) for one in helpers):
        return None
    written = [*helpers, *made]
    if called != WRITTEN_NAME or call != PLAIN_CALL:
        # Other code there may call a function of this name.
        if any(WRITTEN_NAME in list_changed_names(one) for one in written):
            return None
        lines = f"{_CALLED_NAME} = {called}\ndef {WRITTEN_NAME}(text):\n    return {call.format(_CALLED_NAME)}"
        written += ast.parse(lines if call != PLAIN_CALL else f"{WRITTEN_NAME} = {called}").body
    return ast.unparse(ast.Module(written, [])) + "\n"


def _list_statements(path: Path) -> list[ast.stmt]:
    return [one for cell in read_python_cells(path) for one in cell.statements]


def _list_class_and_its_bases(statements: Sequence[ast.stmt], name: str) -> list[ast.ClassDef]:
    """Return a class and its base classes. Return an empty list if one of them is not among the statements."""
    classes = {one.name: one for one in statements if isinstance(one, ast.ClassDef)}
    found: list[ast.ClassDef] = []
    waiting = [name]
    while waiting:
        if (one := classes.get(waiting.pop(0))) is None or one.keywords:
            return []
        if one not in found:
            found.append(one)
            waiting += [base for base in map(ast.unparse, one.bases) if base != "object"]
    return found


def _find_read_parts(classes: Sequence[ast.ClassDef], methods: Sequence[str]) -> _ReadParts | None:
    """Return the methods and attributes of their object that some methods of a class use. Return None if this is not
    known."""
    held: dict[str, Function] = {}
    for method in (one for definition in classes for one in find_methods(definition)):
        held.setdefault(method.name, method)
    found, attributes, waiting = dict[str, Function](), dict[str, int](), [*methods]
    while waiting:
        if (name := waiting.pop(0)) in found:
            continue
        if name not in held:
            return None
        function = found[name] = held[name]
        own = "" if "staticmethod" in map(ast.unparse, function.decorator_list) else find_first_parameter_name(function)
        nodes = [*ast.walk(function)]
        read = [node for node in nodes if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == own]
        names = [node.id for node in nodes if isinstance(node, ast.Name)]
        if len(read) < names.count(own) or "super" in names:
            return None
        waiting += [node.attr for node in read if node.attr in held]
        for node in read:
            if node.attr not in held and isinstance(node.ctx, ast.Load):
                attributes.setdefault(node.attr, node.lineno)
    return _ReadParts(found, attributes)


def _write_object(
    classes: Sequence[ast.ClassDef], method: str, arguments: str | None, attributes: Mapping[str, Any]
) -> list[ast.stmt]:
    """Return statements that define a class with only the methods that `method` needs, and make an object of it. If
    `arguments` is None, the object is made from `attributes`, without a call of `__init__`. Return an empty list if an
    attribute is missing, or if it is not known what the method reads."""
    name, calls_init = classes[0].name, arguments is not None
    calls_init = calls_init and any(find_methods(one, "__init__") for one in classes)
    parts = _find_read_parts(classes, [method, *["__init__"] * calls_init])
    plain = [one for part in classes[::-1] for one in part.body if not isinstance(one, Function | ast.Expr)]
    of_class = {name for one in plain for name in list_changed_names(one)}
    if parts is None or (arguments is None and parts.attributes.keys() - attributes.keys() - of_class):
        return []
    lines = [f"{_MADE_NAME} = {f'{name}.__new__({name})' if arguments is None else f'{name}({arguments})'}"]
    lines += [f"{_MADE_NAME}.{one} = {attributes[one]!r}" for one in parts.attributes if one in attributes]
    written: ast.stmt = ast.ClassDef(name, [], [], [*plain, *parts.methods.values()], classes[0].decorator_list)
    return [written, *ast.parse("\n".join(lines)).body]


def _needs_file_or_torch(node: ast.stmt, path: Path) -> bool:
    """Return whether a statement imports PyTorch, or a Python file near the file `path`."""
    modules = list_imported_modules(node) if isinstance(node, Import) else ()
    return any(
        one.startswith(".") or one.partition(".")[0] == "torch" or find_imported_file(path, one) is not None
        for one in modules
    )
