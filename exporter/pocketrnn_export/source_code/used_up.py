"""Whether a value may be another one after it was read, as an iterator is."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from pocketrnn_export.source_code.code_facts import arguments_of
from pocketrnn_export.source_code.file_objects import FileObjects
from pocketrnn_export.source_code.known_code import ITERATING_METHODS, LEAVE_ALONE, is_used_up
from pocketrnn_export.source_code.scope import Scope

__all__ = ["may_be_used_up"]


def may_be_used_up(node: ast.AST | None, scope: Scope, file: FileObjects, depth: int = 0) -> bool:
    """Whether a value may be another one after it was read, or hold one that is.

    Args:
        node: the value.
        scope: where it stands.
        file: what is known of the file. What is found of its functions and classes is kept there.
        depth: in how many values it stands.

    Example:
        >>> may_be_used_up(ast.parse("zip(a, b)", mode="eval").body, scope, file)
        True
    """

    def any_of(parts: Iterable[ast.AST | None]) -> bool:
        return any(may_be_used_up(part, scope, file, depth + 1) for part in parts)

    if depth > 6 or isinstance(node, ast.GeneratorExp):
        return True
    if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict | ast.IfExp | ast.BoolOp | ast.Starred):
        return any_of(ast.iter_child_nodes(node))
    if isinstance(node, ast.ListComp | ast.NamedExpr | ast.DictComp | ast.Return | ast.Assign | ast.Yield):
        return isinstance(node, ast.Yield) or any_of([getattr(node, "elt", getattr(node, "value", None))])
    if not isinstance(node, ast.Call):
        return False
    code = scope.function(node.func) or file.classes.named(node.func)
    if code is not None:
        if code not in file.gives_used_up:
            # It may call itself.
            file.gives_used_up[code] = False
            kept = ast.Assign if isinstance(code, ast.ClassDef) else ast.Return | ast.Yield
            file.gives_used_up[code] = any_of(part for part in ast.walk(code) if isinstance(part, kept))
        return file.gives_used_up[code] or any_of(arguments_of(node))
    dotted = scope.dotted(node.func)
    if dotted is None and isinstance(node.func, ast.Name):
        dotted = f"builtins.{node.func.id}"
    if dotted is None:
        return getattr(node.func, "attr", "") in ITERATING_METHODS
    package = dotted.split(".")[0]
    holds = package in ("contextlib", "functools", "types") or package not in LEAVE_ALONE
    return is_used_up(dotted) or (holds and any_of(arguments_of(node)))
