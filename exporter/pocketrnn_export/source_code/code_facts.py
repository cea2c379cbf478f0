"""What a piece of a user's code says by itself, without following what it calls: an import, a class, an expression."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence, Set

from pocketrnn_export.source_code.known_code import GIVE_THEMSELVES

__all__ = [
    "Definition",
    "Function",
    "Import",
    "annotations_of",
    "arguments_of",
    "decorating",
    "defaults_of",
    "first_parameter",
    "hands_out_its_class",
    "head_of",
    "imported_names",
    "is_flat",
    "is_given_its_class",
    "is_made_for_each",
    "is_plain",
    "is_weight",
    "keeps_state",
    "methods_of",
    "module_of",
    "modules_of_import",
    "needs_no_call",
    "root_name",
    "shares_its_attributes",
    "whose_class",
    "without_moves",
]

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


def whose_class(node: ast.expr) -> ast.expr | None:
    """x of `x.__class__` and `type(x)`; None for anything else."""
    if isinstance(node, ast.Call):
        return node.args[0] if getattr(node.func, "id", "") == "type" and len(node.args) == 1 else None
    return node.value if isinstance(node, ast.Attribute) and node.attr == "__class__" else None


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
    """What of a class or function runs where the statement stands, before there is one; else nothing."""
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


def shares_its_attributes(node: ast.ClassDef) -> bool:
    """Whether an object of a class may have the attributes of others: its `__dict__` is another object's, or one that a
    default of a function keeps."""
    for method in methods_of(node):
        given = method.args
        plain = {a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, [given.kwarg]))}
        if any(not isinstance(one, ast.Constant) for one in defaults_of(method).values()):
            plain = {first_parameter(method)}
        for part in ast.walk(method):
            if isinstance(part, ast.Call) and "__dict__" in {getattr(a, "value", None) for a in part.args[:-1]}:
                # As in object.__setattr__(self, "__dict__", shared).
                return True
            if not isinstance(part, ast.Assign | ast.AnnAssign):
                continue
            targets = part.targets if isinstance(part, ast.Assign) else [part.target]
            if any(isinstance(inner, ast.Attribute) and inner.attr == "__dict__" for inner in targets):
                own = isinstance(part.value, ast.Name) and part.value.id in plain
                if not own and not isinstance(part.value, ast.Call | ast.Dict):
                    return True
    return False


def needs_no_call(method: Function) -> bool:
    """Whether something else than a call of its name runs a method."""
    if method.name.startswith("__") and method.name.endswith("__"):
        return True
    return any(
        ast.unparse(one).endswith(("property", ".setter", ".deleter", ".getter")) for one in method.decorator_list
    )


def hands_out_its_class(node: ast.ClassDef) -> bool:
    """Whether a special method of a class, such as `__iter__` or `__getattr__`, reads a value of its body that may be
    changed: who has a new object may then have that value, by no name and no call that is written."""
    shared = {
        target.id
        for part in node.body
        if isinstance(part, ast.Assign | ast.AnnAssign) and not is_plain(part.value, frozenset())
        for target in (part.targets if isinstance(part, ast.Assign) else [part.target])
        if isinstance(target, ast.Name)
    }
    return any(
        isinstance(inner, ast.Attribute) and inner.attr in shared
        for part in methods_of(node)
        if re.fullmatch("__(?!init__|new__|repr__|str__|len__).*__", part.name)
        for inner in ast.walk(part)
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


def is_made_for_each(node: ast.expr) -> bool:
    """Whether a value in a class is plain, or one that each object gets by itself, as `field(default_factory=list)`."""
    called = node.func if isinstance(node, ast.Call) else node
    name = getattr(called, "id", getattr(called, "attr", ""))
    return is_plain(node, frozenset()) or (isinstance(node, ast.Call) and name in ("field", "Field", "attrib", "ib"))


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


def without_moves(node: ast.Call) -> ast.Call:
    """`Net()` of `Net().to(device).eval()`: these methods of a module give the module itself."""
    while isinstance(node.func, ast.Attribute) and node.func.attr in GIVE_THEMSELVES:
        if not isinstance(node.func.value, ast.Call):
            break
        node = node.func.value
    return node


def root_name(node: ast.AST) -> str | None:
    """`a` of `a.b[0]()`; None of what begins with no name."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None
