"""List the names that a statement may change, and those that it needs, by its syntax alone."""

from __future__ import annotations

import ast
from typing import Final

from pocketrnn_export.source_code.import_statements import Import
from pocketrnn_export.source_code.parts_of_functions_and_classes import Function

_Compound: Final = ast.For | ast.While | ast.If | ast.With | ast.Try | ast.ClassDef | Function


def list_changed_names(node: ast.stmt) -> set[str]:
    """Return the names that a statement binds, and those of objects that it may change by a method or an index."""
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
    names = [one for one in ast.walk(node) if isinstance(one, ast.Name)]
    inner = (
        [node] if isinstance(node, _Compound) else [one for one in ast.walk(node) if isinstance(one, ast.comprehension)]
    )
    own = {
        one.id
        for part in inner
        for one in ast.walk(part)
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
    }
    own |= {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)}
    own |= {one.name for one in ast.walk(node) if isinstance(one, ast.ExceptHandler) and one.name}
    # Such as `import random` in a function.
    own |= {name for one in ast.walk(node) if isinstance(one, Import) for name in list_changed_names(one)}
    own |= {one.name for one in ast.walk(node) if isinstance(one, Function) and one is not node}
    return {one.id for one in names if isinstance(one.ctx, ast.Load)} - own
