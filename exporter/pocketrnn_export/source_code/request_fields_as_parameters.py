"""Make parameters of what a function reads from a web request, so that its other lines can be taken alone. No file is
run."""

from __future__ import annotations

import ast
import copy
from typing import Final

from pocketrnn_export.source_code.parts_of_functions_and_classes import Function

REQUEST: Final = "request"


def take_request_fields_as_parameters(function: Function) -> tuple[Function, list[str]]:
    """Return a copy of a function in which each field of a web request is a parameter, and the names of these
    parameters. If it reads no fields, return the function itself and an empty list.

    Args:
        function: a function that answers a web request, such as a page of Flask.

    Example:
        >>> page = ast.parse("def page(): return split(request.form['title'])").body[0]
        >>> ast.unparse(take_request_fields_as_parameters(page)[0])
        "def page(title):\\n    return split(title)"
    """
    records = {
        node.targets[0].id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if _reads_request(node.value) and _find_key(node.value, {REQUEST}) is None
    }
    made = copy.deepcopy(function)
    replace = _ReplaceFields({REQUEST, *records})
    for one in made.body:
        replace.visit(one)
    held = {one.arg for one in ast.walk(function.args) if isinstance(one, ast.arg)}
    fields = [*dict.fromkeys(replace.found.values())]
    if not fields or held & {*fields, REQUEST}:
        return function, []
    made.args.kwonlyargs += [ast.arg(one) for one in fields]
    made.args.kw_defaults += [None] * len(fields)
    return ast.fix_missing_locations(made), fields


class _ReplaceFields(ast.NodeTransformer):
    """Replace `request.form["title"]`, or the same of an object made of the request, by a name."""

    def __init__(self, roots: set[str]) -> None:
        self._roots, self.found = roots, dict[str, str]()

    def visit(self, node: ast.AST) -> ast.AST:
        if (key := _find_key(node, self._roots)) is None:
            return self.generic_visit(node)
        name = key if key.isidentifier() else f"field_{key}"
        self.found[key] = name
        return ast.copy_location(ast.Name(name, ast.Load()), node)


def _find_key(node: ast.AST, roots: set[str]) -> str | None:
    """Return the field that an expression reads of a web request: "title" for `request.form["title"]` and
    `request.form.get("title")`. `roots` has the names that hold the request or its data. Return None for another
    expression."""
    key: ast.AST | None = None
    root: ast.AST = node
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        root, key = node.value, node.slice
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get" and node.args:
        root, key = node.func.value, node.args[0]
    while isinstance(root, ast.Attribute | ast.Call):
        root = root.func if isinstance(root, ast.Call) else root.value
    is_field = isinstance(key, ast.Constant) and isinstance(root, ast.Name) and root.id in roots
    name = str(key.value) if is_field and isinstance(key, ast.Constant) else ""
    return name if f"field_{name}".isidentifier() and name else None


def _reads_request(node: ast.AST) -> bool:
    return any(isinstance(one, ast.Name) and one.id == REQUEST for one in ast.walk(node))
