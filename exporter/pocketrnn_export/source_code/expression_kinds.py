"""Recognize kinds of expressions in a user's code: numbers and strings, flat containers, weights of layers, and new
objects."""

from __future__ import annotations

import ast
from collections.abc import Sequence, Set

_MAKE_NEW = frozenset({"defaultdict", "deque", "dict", "float", "int", "len", "list", "set", "str", "zeros", "ones"})


def list_arguments(node: ast.Call) -> list[ast.expr]:
    """Return all arguments of a call, positional and named."""
    return [*node.args, *(keyword.value for keyword in node.keywords)]


def is_number_or_string_value(node: ast.AST | None, plain_names: Set[str]) -> bool:
    """Return whether an expression is certainly a number, a string or a similar value, as the variables `plain_names`
    are."""
    if isinstance(node, ast.Constant | ast.Compare | ast.JoinedStr):
        return True
    if isinstance(node, ast.Name):
        return node.id in plain_names
    if isinstance(node, ast.UnaryOp):
        return is_number_or_string_value(node.operand, plain_names)
    if isinstance(node, ast.IfExp):
        return is_number_or_string_value(node.body, plain_names) and is_number_or_string_value(node.orelse, plain_names)
    if isinstance(node, ast.BinOp):
        return is_number_or_string_value(node.left, plain_names) and is_number_or_string_value(node.right, plain_names)
    made = ("bool", "device", "float", "int", "is_available", "len", "round", "str")
    return isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in made


def is_flat_container(node: ast.expr | None, plain_names: Set[str]) -> bool:
    """Return whether an expression is a list, dict or namespace of numbers, strings and similar values only."""
    if isinstance(node, ast.Call):
        made = getattr(node.func, "id", getattr(node.func, "attr", ""))
        values: Sequence[ast.expr] = [keyword.value for keyword in node.keywords if keyword.arg]
        is_one = made in ("dict", "Namespace", "SimpleNamespace") and len(values) == len(list_arguments(node))
    else:
        is_one = isinstance(node, ast.Dict | ast.List | ast.Tuple | ast.Set)
        values = node.values if isinstance(node, ast.Dict) else getattr(node, "elts", [])
        is_one = is_one and (not isinstance(node, ast.Dict) or None not in node.keys)
    return is_one and all(is_number_or_string_value(value, plain_names) for value in values)


def is_weight_access(node: ast.expr) -> bool:
    """Return whether an expression is a layer's weight, or a part of the weight. Only attribute names are read."""
    parts = []
    while isinstance(node, ast.Attribute | ast.Subscript):
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
        node = node.value
    inner, last = parts[1:], parts[:1]
    return bool({"data", "weight", "bias", "grad"} & set(inner) or {"grad", "requires_grad"} & set(last)) or (
        len(parts) > 1 and bool({"data", "weight", "bias"} & set(last))
    )


def find_names_assigned_only_new_objects(node: ast.AST) -> set[str]:
    """Return the names, and attributes such as `.count`, to which code assigns only new lists, layers and numbers."""
    new: dict[str, bool] = {}

    def record_assignment(target: ast.expr | None, value: ast.expr | None) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            values = value.elts if isinstance(value, ast.Tuple) else [None] * len(target.elts)
            for one, part in zip(target.elts, values, strict=False):
                record_assignment(one, part)
        elif isinstance(target, ast.Name | ast.Attribute):
            name = target.id if isinstance(target, ast.Name) else f".{target.attr}"
            new[name] = new.get(name, True) and _is_new_value(value)

    for part in ast.walk(node):
        if isinstance(part, ast.Assign):
            for target in part.targets:
                record_assignment(target, part.value)
        elif isinstance(part, ast.AnnAssign | ast.AugAssign):
            record_assignment(part.target, part.value)
        elif isinstance(part, ast.For | ast.comprehension):
            record_assignment(part.target, None)
        elif isinstance(part, ast.withitem):
            record_assignment(part.optional_vars, None)
    return {name for name, is_new in new.items() if is_new}


def _is_new_value(node: ast.expr | None) -> bool:
    """Return whether an expression makes a new object: a number, a string, a container or a layer."""
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func).split(".")[-1]
        return name[:1].isupper() or name in _MAKE_NEW
    return isinstance(
        node,
        ast.BinOp | ast.Constant | ast.Dict | ast.DictComp | ast.JoinedStr | ast.List | ast.ListComp | ast.Set
        | ast.SetComp,
    )  # fmt: skip
