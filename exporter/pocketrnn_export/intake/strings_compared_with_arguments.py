"""Find the strings with which a class's code compares an argument. A message proposes them as values of the
argument."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_RECURRENT = ("LSTM", "GRU", "RNN")


def list_strings_compared_with_argument(definition: ast.ClassDef, argument: str) -> list[str]:
    """Return the strings with which a class's code compares an argument, or among which it looks up the argument.

    An attribute that is given the argument counts as the argument. If the code looks the argument up in torch.nn, the
    strings are the names of recurrent layers.
    """
    names = {argument}
    for node in ast.walk(definition):
        if isinstance(node, ast.Assign) and _write_without_method_call(node.value) == argument:
            names.update(ast.unparse(target) for target in node.targets)
    found = [value for node in ast.walk(definition) for value in _list_strings_compared_by(node, names)]
    return list(dict.fromkeys(found))


def _write_without_method_call(node: ast.expr) -> str:
    """Return the code of an expression without a method call at its end, such as `.lower()`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args:
        node = node.func.value
    return ast.unparse(node)


def _list_strings_compared_by(node: ast.AST, names: set[str]) -> Iterator[str]:
    """Yield the strings with which one expression or statement compares the argument."""
    match node:
        case ast.Compare():
            sides = [node.left, *node.comparators]
            if any(_write_without_method_call(side) in names for side in sides):
                yield from (part for side in sides for part in _list_strings(side))
        case ast.Subscript(value=ast.Dict() as table, slice=key) if _write_without_method_call(key) in names:
            yield from _list_strings(table)
        case ast.Call(func=ast.Attribute(value=ast.Dict() as table, attr="get"), args=[key, *_]):
            yield from _list_strings(table) if _write_without_method_call(key) in names else ()
        case ast.Call(func=ast.Name(id="getattr"), args=[owner, key, *_]) if _write_without_method_call(key) in names:
            yield from _RECURRENT if ast.unparse(owner) in ("nn", "torch.nn") else ()
        case ast.Match(subject=subject, cases=cases) if _write_without_method_call(subject) in names:
            values = (
                inner.value for case in cases for inner in ast.walk(case.pattern) if isinstance(inner, ast.MatchValue)
            )
            yield from (part for value in values for part in _list_strings(value))


def _list_strings(node: ast.expr) -> Iterator[str]:
    """Yield the strings in an expression: a string, or the items of a list, a tuple or a set, or the keys of a dict."""
    match node:
        case ast.Constant(value=str() as value):
            yield value
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts) | ast.Dict(keys=parts):
            yield from (value for part in parts if part is not None for value in _list_strings(part))
