"""Find the functions of a file: its own, those that it imports from files near it, and the methods of a class. These
are converted to functions, so that a part of one can be copied without its object. No file is run."""

from __future__ import annotations

import ast
import contextlib
import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.code_and_data_files_near_module import find_file_loaded_by_from_import
from pocketrnn_export.source_code.notebook import read_python_statements
from pocketrnn_export.source_code.syntax_tree_parts import (
    Function,
    find_first_parameter_name,
    find_methods,
    list_needed_names,
)
from pocketrnn_export.source_code.values_of_call_arguments import find_attribute_values


def find_functions(statements: Sequence[ast.stmt], path: Path | None = None) -> dict[str, Function]:
    """Return the functions of a file by their names, also those made by a lambda, as in `cut = lambda text:
    text.split()`.

    Args:
        statements: the statements of the file.
        path: the path of the file. If it is given, functions that the file imports from the owner's files near it are
            included.
    """
    imported = {} if path is None else find_imported_functions(statements, path)
    found = {name: function for name, (_, function) in imported.items()}
    return found | {one.name: one for one in map(_convert_lambda_to_function, statements) if isinstance(one, Function)}


def find_imported_functions(statements: Sequence[ast.stmt], path: Path) -> dict[str, tuple[Path, Function]]:
    """Return the functions that a file imports from the owner's files near it, by the names in the importing file. Each
    function comes with the file that defines it. Imports from a file that cannot be read are left out."""
    found: dict[str, tuple[Path, Function]] = {}
    for node in statements:
        if not isinstance(node, ast.ImportFrom) or (file := find_file_loaded_by_from_import(path, node)) is None:
            continue
        with contextlib.suppress(InputError):
            there = find_functions(read_python_statements(file))
            found |= {one.asname or one.name: (file, there[one.name]) for one in node.names if one.name in there}
    return found


def _convert_lambda_to_function(node: ast.stmt) -> ast.stmt:
    """Return `def name(text): ...` for `name = lambda text: ...`. Return another statement unchanged."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda() as made):
            written: ast.stmt = ast.FunctionDef(name, made.args, [ast.Return(made.body)], [])
            return ast.fix_missing_locations(ast.copy_location(written, node))
    return node


def read_statements_with_methods_as_functions(path: Path, name: str) -> tuple[list[ast.stmt], str]:
    """Return the statements of a file, and the name of a function in them. For `Class.method`, a function for each
    method of the class is added, and the returned name is that of the function for `method`.

    Args:
        name: the function, or Class.method.
    """
    statements = read_python_statements(path)
    held, _, method = name.rpartition(".")
    if not held:
        return statements, name
    values = find_attribute_values(path, held, _list_read_attributes(statements, held))
    return convert_methods_to_functions(statements, held, values), _name_function_of_method(held, method)


def convert_methods_to_functions(
    statements: Sequence[ast.stmt], class_name: str, values: Mapping[str, Any] = MappingProxyType({})
) -> list[ast.stmt]:
    """Return the statements of a file, followed by a function for each method of a class. A call such as
    `self.clean(text)` becomes a call of the function for `clean`. Each attribute that `__init__` computes without its
    arguments, such as a lemmatizer, becomes a constant before the functions.

    Args:
        statements: the statements of a file.
        values: the plain values of attributes that the code of the class does not show.

    Example:
        >>> code = "class Service:\\n    def cut(self, text):\\n        return self.clean(text).split()"
        >>> ast.unparse(convert_methods_to_functions(ast.parse(code).body, "Service")[-1])
        'def cut_of_Service(text):\\n    return clean_of_Service(text).split()'
    """
    found = [one for one in statements if isinstance(one, ast.ClassDef) and one.name == class_name]
    if not found:
        return [*statements]
    methods = find_methods(found[-1])
    plain = {name: ast.parse(repr(value), mode="eval").body for name, value in values.items()}
    attributes = plain | _find_attributes_set_once(found[-1], methods)
    names = {one: _name_function_of_method(class_name, one) for one in (*(each.name for each in methods), *attributes)}
    replace = _ReplaceOwnNames(names)
    made: list[ast.stmt] = [
        ast.Assign([ast.Name(names[name], ast.Store())], replace.replace_in({"self", class_name}, value))
        for name, value in attributes.items()
    ]
    for method in methods:
        function = copy.deepcopy(method)
        function.name = names[method.name]
        is_static = "staticmethod" in map(ast.unparse, method.decorator_list)
        own = "" if is_static else find_first_parameter_name(method)
        if own:
            held = function.args.posonlyargs or function.args.args
            del held[0]
        function.decorator_list = []
        made.append(replace.replace_in({own, class_name} - {""}, function))
    return [*statements, *map(ast.fix_missing_locations, made)]


def _name_function_of_method(class_name: str, method: str) -> str:
    """Return the name of the function that replaces a method: `cut_of_Service` for the method `cut` of `Service`."""
    return f"{method}_of_{class_name}"


def _list_read_attributes(statements: Sequence[ast.stmt], class_name: str) -> list[str]:
    """List the attributes of `self` that the methods of a class read."""
    found = [one for one in statements if isinstance(one, ast.ClassDef) and one.name == class_name]
    nodes = [node for one in found for method in find_methods(one) for node in ast.walk(method)]
    read = [node for node in nodes if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "self"]
    return [*dict.fromkeys(node.attr for node in read)]


def _find_attributes_set_once(definition: ast.ClassDef, methods: Sequence[Function]) -> dict[str, ast.expr]:
    """Return the code of the values of those attributes that a class sets exactly once. An attribute is found if the
    class body sets it, or if `__init__` sets it and the value uses no argument or local variable of a method."""
    found = {
        target.id: copy.deepcopy(one.value) for one in definition.body if isinstance(one, ast.Assign)
        for target in one.targets if isinstance(target, ast.Name)
    }  # fmt: skip
    counts = Counter([*found])
    for method in methods:
        own = find_first_parameter_name(method)
        inner = {one.arg for one in ast.walk(method.args) if isinstance(one, ast.arg)} - {own}
        inner |= {one.id for one in ast.walk(method) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
        for node in ast.walk(method):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == own:
                counts[node.attr] += isinstance(node.ctx, ast.Store)
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and method.name == "__init__":
                target = node.targets[0]
                is_plain = not inner & list_needed_names(ast.Expr(node.value))
                if isinstance(target, ast.Attribute) and getattr(target.value, "id", "") == own and is_plain:
                    found[target.attr] = copy.deepcopy(node.value)
    return {name: value for name, value in found.items() if counts[name] == 1}


class _ReplaceOwnNames(ast.NodeTransformer):
    """Replace `self.clean` and `Service.clean` by the name of the function or constant for `clean`."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._owners, self._names = set[str](), names

    def replace_in(self, owners: set[str], node: ast.AST) -> Any:
        """Return code with `clean_of_Service` in place of `self.clean`, and the same for other attributes.

        Args:
            owners: the names of the object and of the class, such as `self` and `Service`.
            node: the code. It is changed.
        """
        self._owners = owners
        return self.visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if getattr(node.value, "id", "") in self._owners and node.attr in self._names:
            return ast.copy_location(ast.Name(self._names[node.attr], node.ctx), node)
        return self.generic_visit(node)
