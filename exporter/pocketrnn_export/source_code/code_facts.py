"""Facts of a piece of a user's code, without following its calls: an import, a class, an expression."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence, Set

__all__ = [
    "Definition",
    "Function",
    "Import",
    "annotations_of",
    "arguments_of",
    "decorating",
    "defaults_of",
    "first_parameter",
    "head_of",
    "imported_names",
    "is_flat",
    "is_given_its_class",
    "is_plain",
    "is_weight",
    "keeps_state",
    "methods_of",
    "module_of",
    "modules_of_import",
]

_MAKE_NEW = frozenset({"defaultdict", "deque", "dict", "float", "int", "len", "list", "set", "str", "zeros", "ones"})

Import = ast.Import | ast.ImportFrom
Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.Lambda


def imported_names(node: Import) -> Iterator[tuple[str, str]]:
    """The names that an import binds, each with what it stands for: `np` and `numpy` of `import numpy as np`."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, f"{'.' * node.level}{node.module or ''}.{alias.name}"
        elif alias.asname:
            yield alias.asname, alias.name
        else:
            top = alias.name.split(".")[0]
            yield top, top


def module_of(node: Import) -> str:
    """The module that an import of one name is of: a.b of `from a.b import c`, and of `import a.b`."""
    return node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name


def modules_of_import(node: Import) -> set[str]:
    """The modules that an import may import, with those above them: of `from a import b`, a and a.b."""
    found = {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        above = "." * node.level + (node.module or "")
        found = {above, *(f"{above}{'.' * (not above.endswith('.'))}{name}" for name in found)}
    return found


def arguments_of(node: ast.Call) -> list[ast.expr]:
    """All that a call gives, by position and by name."""
    return [*node.args, *(keyword.value for keyword in node.keywords)]


def decorating(decorator: ast.expr) -> ast.expr:
    """`f` of `@f` and of `@f(3)`."""
    return decorator.func if isinstance(decorator, ast.Call) else decorator


def annotations_of(node: Definition) -> list[ast.expr]:
    """The annotations of a function's parameters and of what it gives."""
    every = [part.annotation for part in ast.iter_child_nodes(node.args) if isinstance(part, ast.arg)]
    return [part for part in (*every, getattr(node, "returns", None)) if part is not None]


def defaults_of(node: Definition) -> dict[str, ast.expr]:
    """The parameters of a function that have a default, with it."""
    given = node.args
    positional = [*given.posonlyargs, *given.args]
    last = positional[len(positional) - len(given.defaults) :]
    by_name = zip([*last, *given.kwonlyargs], [*given.defaults, *given.kw_defaults], strict=True)
    return {parameter.arg: default for parameter, default in by_name if default is not None}


def head_of(node: ast.stmt) -> list[ast.expr]:
    """The parts of a class or function that run where the statement stands, before there is one; else nothing."""
    if isinstance(node, ast.ClassDef):
        return [*node.bases, *(keyword.value for keyword in node.keywords), *node.decorator_list]
    if isinstance(node, Function):
        return [*defaults_of(node).values(), *annotations_of(node), *node.decorator_list]
    return []


def methods_of(node: ast.ClassDef, *names: str) -> list[Function]:
    """The functions in a class that have one of some names; all without names."""
    return [part for part in node.body if isinstance(part, Function) and (part.name in names or not names)]


def first_parameter(function: Definition) -> str:
    """The name of a function's first parameter; empty without one."""
    return next((one.arg for one in (*function.args.posonlyargs, *function.args.args)), "")


def is_given_its_class(method: Function) -> bool:
    """Whether a method is given its class, and not an object of it."""
    return method.name in ("__new__", "__class_getitem__") or any(
        ast.unparse(one).endswith("classmethod") for one in method.decorator_list
    )


def keeps_state(node: ast.ClassDef) -> bool:
    """Whether a module's forward assigns to an attribute that it reads, too: it answers as the calls before left
    it, those of its training among them. One that it only assigns, such as attention to show, changes nothing."""
    waiting, methods = ["forward", "__call__"], set[str]()
    read, assigned = set[str](), set[str]()
    while waiting:
        name = waiting.pop()
        if name in methods:
            continue
        methods.add(name)
        for part in (p for p in ast.walk(node) if isinstance(p, ast.FunctionDef) and p.name == name):
            own = first_parameter(part)
            for inner in ast.walk(part):
                if isinstance(inner, ast.AugAssign) and isinstance(inner.target, ast.Attribute):
                    read.add(inner.target.attr)
                if isinstance(inner, ast.Attribute) and getattr(inner.value, "id", None) == own:
                    (assigned if isinstance(inner.ctx, ast.Store) else read).add(inner.attr)
                    waiting.append(inner.attr)
    return bool(read & assigned)


def is_plain(node: ast.AST | None, names: Set[str]) -> bool:
    """Whether an expression gives a number, a string or the like, by what is written there; so do some names."""
    if isinstance(node, ast.Constant | ast.Compare | ast.JoinedStr):
        return True
    if isinstance(node, ast.Name):
        return node.id in names
    if isinstance(node, ast.UnaryOp):
        return is_plain(node.operand, names)
    if isinstance(node, ast.IfExp):
        return is_plain(node.body, names) and is_plain(node.orelse, names)
    if isinstance(node, ast.BinOp):
        return is_plain(node.left, names) and is_plain(node.right, names)
    made = ("bool", "device", "float", "int", "is_available", "len", "round", "str")
    return isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in made


def is_flat(node: ast.expr | None, names: Set[str]) -> bool:
    """Whether an expression gives a list, a dict or a namespace of nothing but numbers, strings and the like."""
    if isinstance(node, ast.Call):
        made = getattr(node.func, "id", getattr(node.func, "attr", ""))
        values: Sequence[ast.expr] = [keyword.value for keyword in node.keywords if keyword.arg]
        is_one = made in ("dict", "Namespace", "SimpleNamespace") and len(values) == len(arguments_of(node))
    else:
        is_one = isinstance(node, ast.Dict | ast.List | ast.Tuple | ast.Set)
        values = node.values if isinstance(node, ast.Dict) else getattr(node, "elts", [])
        is_one = is_one and (not isinstance(node, ast.Dict) or None not in node.keys)
    return is_one and all(is_plain(value, names) for value in values)


def is_weight(node: ast.expr) -> bool:
    """Whether it is something in a weight, or a weight of a layer, by its name."""
    parts = []
    while isinstance(node, ast.Attribute | ast.Subscript):
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
        node = node.value
    inner, last = parts[1:], parts[:1]
    return bool({"data", "weight", "bias", "grad"} & set(inner) or {"grad", "requires_grad"} & set(last)) or (
        len(parts) > 1 and bool({"data", "weight", "bias"} & set(last))
    )


def gives_itself(method: Function) -> bool:
    """Whether what a method gives may be its object, or a part of it."""
    own = first_parameter(method)
    for part in ast.walk(method):
        value = part.value if isinstance(part, ast.Return | ast.Yield | ast.YieldFrom) else None
        for one in [value, *getattr(value, "elts", ())]:
            while isinstance(one, ast.Attribute | ast.Subscript):
                one = one.value
            if isinstance(one, ast.Name) and one.id == own:
                return True
    return False


def only_new(node: ast.AST) -> set[str]:
    """The names, and the attributes as `.count`, to which some code gives nothing but new lists, layers, numbers."""
    new: dict[str, bool] = {}

    def given(target: ast.expr | None, value: ast.expr | None) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            values = value.elts if isinstance(value, ast.Tuple) else [None] * len(target.elts)
            for one, part in zip(target.elts, values, strict=False):
                given(one, part)
        elif isinstance(target, ast.Name | ast.Attribute):
            name = target.id if isinstance(target, ast.Name) else f".{target.attr}"
            new[name] = new.get(name, True) and _is_new(value)

    for part in ast.walk(node):
        if isinstance(part, ast.Assign):
            for target in part.targets:
                given(target, part.value)
        elif isinstance(part, ast.AnnAssign | ast.AugAssign):
            given(part.target, part.value)
        elif isinstance(part, ast.For | ast.comprehension):
            given(part.target, None)
        elif isinstance(part, ast.withitem):
            given(part.optional_vars, None)
    return {name for name, is_new in new.items() if is_new}


def _is_new(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func).split(".")[-1]
        return name[:1].isupper() or name in _MAKE_NEW
    return isinstance(
        node,
        ast.BinOp | ast.Constant | ast.Dict | ast.DictComp | ast.JoinedStr | ast.List | ast.ListComp | ast.Set
        | ast.SetComp,
    )  # fmt: skip
