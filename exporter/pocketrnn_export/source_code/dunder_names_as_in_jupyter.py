"""Give a notebook the names that Jupyter gives it: `__name__` is `__main__`, and `__file__` is missing.

Here its code runs in a module with its own name, so that its classes can be found later.
"""

from __future__ import annotations

import ast
import copy
import sys
from collections.abc import Container, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final

from pocketrnn_export.source_code.parts_of_functions_and_classes import read_last_name

_DOC: Final = "Automatically created module for IPython interactive environment"
# Names, strings, packages and attributes by which code checks whether it runs in Jupyter, and by whom.
_OF_JUPYTER: Final = frozenset({
    "IPython", "In", "Out", "__IPYTHON__", "__globals__", "__main__", "__module__", "_ih", "_oh", "get_ipython",
    "google.colab", "ipykernel", "ipykernel_launcher",
})  # fmt: skip
_LOOK_UPS: Final = ("dir()", "globals()", "locals()", "vars()")
# Functions by which a file looks up itself, or something named after it.
_ASK_FOR_A_FILE: Final = frozenset({"__import__", "find_spec", "getLogger", "import_module", "reload"})


@contextmanager
def pretend_jupyter(file: ModuleType) -> Iterator[None]:
    """While the block runs, a notebook is the module `__main__` and has no `__file__`, as in Jupyter."""
    main, path = sys.modules["__main__"], file.__file__
    sys.modules["__main__"], file.__doc__ = file, _DOC
    del file.__file__
    try:
        yield
    finally:
        sys.modules["__main__"], file.__file__ = main, path


def checks_for_jupyter(statement: ast.stmt, defined: Container[str]) -> bool:
    """Return whether a statement may check that its code runs in Jupyter. Names in `defined`, which the notebook
    defines itself, do not count."""
    parts = [] if isinstance(statement, ast.Import) else [*ast.walk(statement)]
    of_jupyter = _OF_JUPYTER - ({"__main__"} if any(map(_is_name_variable, parts)) else set())
    for part in parts:
        value = part.value if isinstance(part, ast.Constant) else ""
        names = {value if isinstance(value, str) else "", getattr(part, "attr", ""), getattr(part, "name", "")}
        name = getattr(part, "id", "")
        if names & of_jupyter or (name in of_jupyter and name not in defined):
            return True
        if isinstance(part, ast.Call) and ast.unparse(part) in _LOOK_UPS:
            return True
    return False


def _is_name_variable(node: ast.AST) -> bool:
    return getattr(node, "id", "") == "__name__" or ast.unparse(node) == "globals()['__name__']"


def replace_dunder_name_by_main(statement: ast.stmt) -> ast.stmt:
    """Return a copy of a statement with "__main__" in place of `__name__`. `__name__` stays where the code looks up its
    own file, as in `sys.modules[__name__]`."""
    return _NameReplacer().visit(copy.deepcopy(statement))  # type: ignore[no-any-return]


def depends_on_dunder_name(statement: ast.stmt) -> bool:
    """Return whether a statement may depend on the value of `__name__`, which is "__main__" only if the file is run
    directly."""
    return ast.dump(replace_dunder_name_by_main(statement)) != ast.dump(statement)


class _NameReplacer(ast.NodeTransformer):
    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if _is_name_variable(node):
            return self.visit_Name(ast.copy_location(ast.Name("__name__", node.ctx), node))
        if ast.unparse(node.value).endswith("modules"):
            return node
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        asked = read_last_name(node.func)
        asks_for_itself = asked in _ASK_FOR_A_FILE or ast.unparse(node.func).endswith("modules.get")
        return node if asks_for_itself else self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        is_it = node.id == "__name__" and isinstance(node.ctx, ast.Load)
        return ast.copy_location(ast.Constant("__main__"), node) if is_it else node
