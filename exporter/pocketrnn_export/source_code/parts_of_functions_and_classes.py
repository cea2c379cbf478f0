"""Read the parts of a function or class in a user's code: its defaults, annotations, decorators, methods and first
parameter. Read the last name of an expression, too."""

from __future__ import annotations

import ast

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.Lambda


def read_last_name(node: ast.AST) -> str:
    """Return the last name of an expression: NAME for `NAME`, `self.NAME` and `module.NAME`. Return an empty string for
    other code."""
    return node.attr if isinstance(node, ast.Attribute) else str(getattr(node, "id", ""))


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


def takes_class_as_first_argument(method: Function) -> bool:
    """Return whether the first argument of a method is the class and not an object."""
    return method.name in ("__new__", "__class_getitem__") or any(
        ast.unparse(one).endswith("classmethod") for one in method.decorator_list
    )
