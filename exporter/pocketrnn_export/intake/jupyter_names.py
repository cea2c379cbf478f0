"""What a notebook is called in Jupyter: `__main__`, and it has no `__file__`.

Here its code runs in a module of its own name, as what is made there must be found later.
"""

from __future__ import annotations

import ast
import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final

__all__ = ["as_in_jupyter", "with_jupyters_name"]

# Functions by which a file asks for itself, or for what is called after it.
_ASK_FOR_A_FILE: Final = frozenset({"__import__", "find_spec", "getLogger", "import_module", "reload"})


@contextmanager
def as_in_jupyter(file: ModuleType) -> Iterator[None]:
    """While the block runs, a notebook is `__main__` for files beside it, and has no `__file__`.

    Example:
        >>> with as_in_jupyter(file):
        ...     exec(code, vars(file))
    """
    main, path = sys.modules["__main__"], file.__file__
    sys.modules["__main__"] = file
    del file.__file__
    try:
        yield
    finally:
        sys.modules["__main__"], file.__file__ = main, path


def with_jupyters_name(statement: ast.stmt) -> ast.stmt:
    """A statement that finds `__name__` to be what it is in Jupyter; but where the file asks for itself by it.

    Example:
        >>> ast.unparse(with_jupyters_name(ast.parse("x = __name__ == '__main__'").body[0]))
        "x = '__main__' == '__main__'"
    """
    return _Named().visit(copy.deepcopy(statement))  # type: ignore[no-any-return]


class _Named(ast.NodeTransformer):
    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if ast.unparse(node) == "globals()['__name__']":
            return self.visit_Name(ast.copy_location(ast.Name("__name__", node.ctx), node))
        if ast.unparse(node.value).endswith("modules"):
            return node
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        asked = getattr(node.func, "attr", getattr(node.func, "id", ""))
        asks_for_itself = asked in _ASK_FOR_A_FILE or ast.unparse(node.func).endswith("modules.get")
        return node if asks_for_itself else self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        is_it = node.id == "__name__" and isinstance(node.ctx, ast.Load)
        return ast.copy_location(ast.Constant("__main__"), node) if is_it else node
