"""Give a notebook the names that Jupyter gives it: `__name__` is `__main__`, and `__file__` is missing.

Here its code runs in a module with its own name, so that its classes can be found later.
"""

from __future__ import annotations

import ast
import copy
import sys
from collections.abc import Container, Iterator, Set
from contextlib import contextmanager
from types import ModuleType
from typing import Final

_DOC: Final = "Automatically created module for IPython interactive environment"
# Names and packages by which code checks whether it runs in Jupyter, and by whom; and names with other uses, too.
_OF_JUPYTER: Final = frozenset(
    {"IPython", "__IPYTHON__", "_ih", "_oh", "get_ipython", "google.colab", "ipykernel", "ipykernel_launcher"}
)
_ALSO: Final = frozenset({"In", "Out", "_", "exit", "quit"})
# The other names that Python gives a file; they count only as strings in a look-up.
_OF_FILES: Final = frozenset({"__file__", "__name__", "__package__", "__spec__"})
_HOLD_NAMES: Final = ("dir()", "globals()", "globals().keys()", "locals()", "locals().keys()", "vars()")

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
    """Return whether a statement checks that its code runs in Jupyter. Names in `defined`, which the notebook defines
    itself, do not count."""
    also = {name for name in _ALSO if name not in defined}
    for part in ast.walk(statement):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value in _OF_JUPYTER:
            return True
        if isinstance(part, ast.Name) and part.id in _OF_JUPYTER | {"In", "Out"} and part.id not in defined:
            return True
        if isinstance(part, ast.Compare):
            held = getattr(part.left, "value", "") in also and ast.unparse(part.comparators[0]) in _HOLD_NAMES
            if held or _compares_with_main(part):
                return True
        if _looks_up_names_as_strings(part, also | _OF_FILES):
            return True
        if isinstance(part, ast.Import) and any(alias.name in _OF_JUPYTER for alias in part.names):
            return not isinstance(statement, ast.Import)
        # The module of a class, and the name of a loaded module.
        if isinstance(part, ast.Attribute) and part.attr == "__module__":
            return True
        if isinstance(part, ast.Attribute) and part.attr == "__name__" and "sys.modules" in ast.unparse(part.value):
            return True
    return False


def _looks_up_names_as_strings(part: ast.AST, names: Set[str]) -> bool:
    """Return whether a call or subscript looks up a name as a string, as in `globals().get("In")`."""
    if not isinstance(part, ast.Call | ast.Subscript) or _is_name_variable(part):
        return False
    asked = ast.unparse(part.func if isinstance(part, ast.Call) else part.value)
    texts = part.args if isinstance(part, ast.Call) else [part.slice]
    of_names = asked.startswith(("globals()", "locals()", "vars()")) or "__globals__" in asked or asked == "getattr"
    return of_names and any(isinstance(one, ast.Constant) and one.value in names for one in texts)


def _compares_with_main(part: ast.Compare) -> bool:
    """Return whether code compares `__main__` with any other value than `__name__`."""
    compared = (part.left, *part.comparators)
    says = any(isinstance(one, ast.Constant) and one.value == "__main__" for one in compared)
    return says and not any(map(_is_name_variable, compared))


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
        asked = getattr(node.func, "attr", getattr(node.func, "id", ""))
        asks_for_itself = asked in _ASK_FOR_A_FILE or ast.unparse(node.func).endswith("modules.get")
        return node if asks_for_itself else self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        is_it = node.id == "__name__" and isinstance(node.ctx, ast.Load)
        return ast.copy_location(ast.Constant("__main__"), node) if is_it else node
