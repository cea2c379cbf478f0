"""Read facts from a single piece of a user's code: an import, a class, an expression."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence, Set

_MAKE_NEW = frozenset({"defaultdict", "deque", "dict", "float", "int", "len", "list", "set", "str", "zeros", "ones"})

Import = ast.Import | ast.ImportFrom
Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.Lambda


def list_imported_names(node: Import) -> Iterator[tuple[str, str]]:
    """Yield each name that an import defines, with its full name: `np` and `numpy` for `import numpy as np`."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, f"{'.' * node.level}{node.module or ''}.{alias.name}"
        elif alias.asname:
            yield alias.asname, alias.name
        else:
            top = alias.name.split(".")[0]
            yield top, top


def find_imported_module(node: Import) -> str:
    """Return the module that an import of one name loads: `a.b` for `from a.b import c` and for `import a.b`."""
    return node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name


def list_imported_modules(node: Import) -> set[str]:
    """Return the modules that an import may load, and their parent modules: `a` and `a.b` for `from a import b`."""
    found = {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        above = "." * node.level + (node.module or "")
        found = {above, *(f"{above}{'.' * (not above.endswith('.'))}{name}" for name in found)}
    return found


def list_arguments(node: ast.Call) -> list[ast.expr]:
    """Return all arguments of a call, positional and named."""
    return [*node.args, *(keyword.value for keyword in node.keywords)]


def strip_decorator_call(decorator: ast.expr) -> ast.expr:
    """Return the function of a decorator without its arguments: `f` for `@f` and for `@f(3)`."""
    return decorator.func if isinstance(decorator, ast.Call) else decorator


def list_annotations(node: Definition) -> list[ast.expr]:
    """Return the annotations of a function's parameters and of its result."""
    every = [part.annotation for part in ast.iter_child_nodes(node.args) if isinstance(part, ast.arg)]
    return [part for part in (*every, getattr(node, "returns", None)) if part is not None]


def find_defaults(node: Definition) -> dict[str, ast.expr]:
    """Return a dict from each parameter of a function that has a default to the code of its default."""
    given = node.args
    positional = [*given.posonlyargs, *given.args]
    last = positional[len(positional) - len(given.defaults) :]
    by_name = zip([*last, *given.kwonlyargs], [*given.defaults, *given.kw_defaults], strict=True)
    return {parameter.arg: default for parameter, default in by_name if default is not None}


def list_head_expressions(node: ast.stmt) -> list[ast.expr]:
    """Return the expressions that Python evaluates when it defines a class or function. Other statements have none."""
    if isinstance(node, ast.ClassDef):
        return [*node.bases, *(keyword.value for keyword in node.keywords), *node.decorator_list]
    if isinstance(node, Function):
        return [*find_defaults(node).values(), *list_annotations(node), *node.decorator_list]
    return []


def find_methods(node: ast.ClassDef, *names: str) -> list[Function]:
    """Return the methods of a class with one of the names. Without names, return all methods."""
    return [part for part in node.body if isinstance(part, Function) and (part.name in names or not names)]


def find_first_parameter_name(function: Definition) -> str:
    """Return the name of a function's first parameter. Return an empty string for a function without parameters."""
    return next((one.arg for one in (*function.args.posonlyargs, *function.args.args)), "")


def takes_class(method: Function) -> bool:
    """Return whether the first argument of a method is the class and not an object."""
    return method.name in ("__new__", "__class_getitem__") or any(
        ast.unparse(one).endswith("classmethod") for one in method.decorator_list
    )


def reads_own_state(node: ast.ClassDef) -> bool:
    """Return whether a module's forward reads an attribute that forward also assigns. The answer of such a module
    depends on earlier calls, including calls in training. An attribute that forward only assigns, such as attention
    for a plot, changes no answer.
    """
    waiting, methods = ["forward", "__call__"], set[str]()
    read, assigned = set[str](), set[str]()
    while waiting:
        name = waiting.pop()
        if name in methods:
            continue
        methods.add(name)
        for part in (p for p in ast.walk(node) if isinstance(p, ast.FunctionDef) and p.name == name):
            own = find_first_parameter_name(part)
            for inner in ast.walk(part):
                if isinstance(inner, ast.AugAssign) and isinstance(inner.target, ast.Attribute):
                    read.add(inner.target.attr)
                if isinstance(inner, ast.Attribute) and getattr(inner.value, "id", None) == own:
                    (assigned if isinstance(inner.ctx, ast.Store) else read).add(inner.attr)
                    waiting.append(inner.attr)
    return bool(read & assigned)


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


def may_return_self(method: Function) -> bool:
    """Return whether a method may return its own object, or a part of its object."""
    own = find_first_parameter_name(method)
    for part in ast.walk(method):
        value = part.value if isinstance(part, ast.Return | ast.Yield | ast.YieldFrom) else None
        for one in [value, *getattr(value, "elts", ())]:
            while isinstance(one, ast.Attribute | ast.Subscript):
                one = one.value
            if isinstance(one, ast.Name) and one.id == own:
                return True
    return False


def find_only_new_names(node: ast.AST) -> set[str]:
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
