"""Read parts of a user's code by its syntax alone: the names that a statement changes or needs, the imports of a
statement, and a function's or class's defaults, annotations, decorators, methods and first parameter."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.Lambda


def read_last_name(node: ast.AST) -> str:
    """Return the last name of an expression: NAME for `NAME`, `self.NAME` and `module.NAME`. Return an empty string for
    other code."""
    return node.attr if isinstance(node, ast.Attribute) else str(getattr(node, "id", ""))


def strip_decorator_call(decorator: ast.expr) -> ast.expr:
    """Return a decorator without its arguments: `f` for `@f` and for `@f(3)`."""
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
    """Return the expressions that Python evaluates when it defines a class or function: decorators, defaults,
    annotations and base classes. Return an empty list for another statement."""
    if isinstance(node, ast.ClassDef):
        return [*node.bases, *(keyword.value for keyword in node.keywords), *node.decorator_list]
    if isinstance(node, Function):
        return [*find_defaults(node).values(), *list_annotations(node), *node.decorator_list]
    return []


def find_methods(node: ast.ClassDef, *names: str) -> list[Function]:
    """Return the methods of a class that have one of `names`; without names, all methods."""
    return [part for part in node.body if isinstance(part, Function) and (part.name in names or not names)]


def list_parameters(function: Definition) -> list[str]:
    """Return the names of a function's parameters. Those that may be given by position come first."""
    return [*list_positional_parameters(function), *(one.arg for one in function.args.kwonlyargs)]


def list_positional_parameters(function: Definition, *, required: bool = False) -> list[str]:
    """Return the names of the parameters that may be given by position.

    Args:
        required: whether to leave out parameters with a default.
    """
    names = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
    return names[: len(names) - len(function.args.defaults)] if required else names


def find_keyword_arguments(call: ast.Call) -> dict[str, ast.expr]:
    """Return the code of each keyword argument of a call, by its name. The names in `**more` are not known and are left
    out."""
    return {one.arg: one.value for one in call.keywords if one.arg}


def list_assignments(nodes: Iterable[ast.AST]) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield each assignment target among some syntax nodes, such as `x` or `self.x`, with the code of its value."""
    for node in nodes:
        if isinstance(node, ast.Assign):
            yield from ((target, node.value) for target in node.targets)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield node.target, node.value


def list_read_names(node: ast.AST) -> set[str]:
    """Return the names that a piece of code reads."""
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}


def list_assigned_names(node: ast.AST) -> set[str]:
    """Return the names to which a piece of code assigns, also in a loop or a comprehension."""
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}


def find_first_parameter_name(function: Definition) -> str:
    """Return the name of a function's first parameter. Return an empty string for a function without parameters."""
    return next(iter(list_positional_parameters(function)), "")


def takes_class_as_first_argument(method: Function) -> bool:
    """Return whether the first argument of a method is the class and not an object, as in a classmethod."""
    return method.name in ("__new__", "__class_getitem__") or any(
        ast.unparse(one).endswith("classmethod") for one in method.decorator_list
    )


_Compound: Final = ast.For | ast.While | ast.If | ast.With | ast.Try | ast.ClassDef | Function


def list_changed_names(node: ast.stmt) -> set[str]:
    """Return the names that a statement binds, and the names of objects that it may change by a method call or an
    assignment to an index."""
    if isinstance(node, Import):
        return {one.asname or one.name.partition(".")[0] for one in node.names}
    if isinstance(node, Function | ast.ClassDef):
        return {node.name}
    found: set[str] = set()
    for part in ast.walk(node):
        changed: ast.AST | None = None
        if isinstance(part, ast.Name | ast.Subscript | ast.Attribute) and isinstance(part.ctx, ast.Store | ast.Del):
            changed = part
        elif (
            isinstance(part, ast.Expr)
            and isinstance(part.value, ast.Call)
            and isinstance(part.value.func, ast.Attribute)
        ):
            changed = part.value.func.value
        while isinstance(changed, ast.Subscript | ast.Attribute):
            changed = changed.value
        found |= {changed.id} if isinstance(changed, ast.Name) else set()
    return found


def list_needed_names(node: ast.stmt) -> set[str]:
    """Return the names that a statement reads and does not bind itself before."""
    inner = (
        [node] if isinstance(node, _Compound) else [one for one in ast.walk(node) if isinstance(one, ast.comprehension)]
    )
    own = {name for part in inner for name in list_assigned_names(part)}
    own |= {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)}
    own |= {one.name for one in ast.walk(node) if isinstance(one, ast.ExceptHandler) and one.name}
    # Such as `import random` in a function.
    own |= {name for one in ast.walk(node) if isinstance(one, Import) for name in list_changed_names(one)}
    own |= {one.name for one in ast.walk(node) if isinstance(one, Function) and one is not node}
    return list_read_names(node) - own


Import = ast.Import | ast.ImportFrom


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


def rename_name_of_file(statements: Sequence[ast.stmt], name: str, new_name: str) -> list[ast.stmt]:
    """Return the statements of a file with `new_name` in place of a top-level name that they bind, so that new code may
    bind `name`. Parameters and attributes with this name stay. Return the statements themselves if none of them binds
    the name.

    Args:
        name: the old name.
        new_name: the name that replaces it.

    Example:
        >>> made = rename_name_of_file(ast.parse("def words(text): ...\nwords('a')").body, "words", "split")
        >>> ast.unparse(made[1])
        "split('a')"
    """
    if not any(name in list_changed_names(one) for one in statements):
        return [*statements]
    rename = _RenameName(name, new_name)
    return [rename.visit(copy.deepcopy(one)) for one in statements]


class _RenameName(ast.NodeTransformer):
    """Replace a variable's name. Functions with a parameter of this name, and attributes of classes, stay unchanged."""

    def __init__(self, name: str, new_name: str) -> None:
        self._name, self._new_name = name, new_name

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, Definition) and self._name in list_parameters(node):
            return node
        field = {ast.Name: "id", ast.alias: "asname"}.get(type(node), "name")
        bound = getattr(node, field, "") or getattr(node, "name", "")
        if bound == self._name:
            setattr(node, field, self._new_name)
        if not isinstance(node, ast.ClassDef):
            return self.generic_visit(node)
        for part in (one for one in node.body if self._name not in list_changed_names(one)):
            self.visit(part)
        return node
