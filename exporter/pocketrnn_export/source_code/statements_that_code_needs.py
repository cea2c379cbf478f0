"""List the statements of a file that some new code needs: imports, functions, classes and constants. No file is run."""

from __future__ import annotations

import ast
import builtins
import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.code_and_data_files_near_module import find_file_loaded_by_from_import
from pocketrnn_export.source_code.notebook import read_python_statements
from pocketrnn_export.source_code.syntax_tree_parts import Function, Import, list_changed_names, list_needed_names

_BUILTINS: Final = frozenset(dir(builtins))
_KEPT: Final = Import | Function | ast.ClassDef | ast.Assign | ast.AnnAssign
# Methods that complete an object after it is made.
_COMPLETING: Final = (
    *("add", "append", "discard", "extend", "remove", "update"),
    *("add_pipe", "add_special_case", "add_word", "load_userdict", "set_dictionary"),
)


def list_file_statements_that_code_needs(
    made: Sequence[ast.stmt], statements: Sequence[ast.stmt], path: Path
) -> list[ast.stmt] | None:
    """Return the imports, functions, classes and constants of a file that some new code needs, in the order of the
    file. An import from one of the owner's files near it is replaced by the imported code. Return None if a needed name
    is not defined, or is defined by another kind of statement.

    Args:
        made: the new code.
        statements: the statements of the file.
    """
    names = [name for one in made for name in list_needed_names(one)]
    own = {name for one in made for name in list_changed_names(one)}
    found = _list_needed_statements(names, own, statements, path)
    # Two files may give a name different meanings.
    makers = [(name, ast.unparse(one)) for one in found or () for name in list_changed_names(one)]
    if found is not None and len({*makers}) > len({name for name, _ in makers}):
        found = _list_needed_statements(names, own, statements, None)
    return found


def slice_statements(
    names: Collection[str], statements: Sequence[ast.stmt], *, in_order: bool = False
) -> tuple[list[ast.stmt], set[str]]:
    """Find the statements that define or change some names, and the statements that these need. Return all of these
    statements, and all names that they need.

    Args:
        statements: the statements to choose from, in order.
        in_order: whether a statement needs only changes that come before it. Otherwise it needs all changes, since an
            object may be changed later through another name. A function may be called after all statements.
    """
    at_end, more = set[str](), {*names}
    kept, needed = list[ast.stmt](), set[str]()
    while more != at_end:
        at_end, kept, needed = more, [], {*more}
        for one in reversed(statements):
            if needed & list_changed_names(one):
                kept.insert(0, one)
                needed |= list_needed_names(one)
        late = [one for one in kept if not in_order or isinstance(one, Function | ast.ClassDef)]
        more = at_end.union(*map(list_needed_names, late))
    return kept, needed


def _list_needed_statements(
    names: Collection[str], own: Collection[str], statements: Sequence[ast.stmt], path: Path | None
) -> list[ast.stmt] | None:
    """Return the statements that define some names, and the statements that these need. Return None if a name is not
    defined by a function, class, import or constant.

    Args:
        own: names that are not looked up.
        path: the file of the statements. If it is given, an import from one of the owner's files near it is replaced by
            the imported code.
    """
    # nltk.download() and nltk.data.path are about where its data is.
    usual = [one for one in statements if isinstance(one, Import) or list_changed_names(one) != {"nltk"}]
    usual = [one for one in usual if not list_changed_names(one) <= {*own}]
    kept, needed = slice_statements({*names} - {*own}, usual)
    defined = {name for one in kept for name in list_changed_names(one)}
    if needed - defined - _BUILTINS - {*own} or not all(
        isinstance(one, _KEPT) or _is_method_call_that_may_change_object(one) for one in kept
    ):
        return None
    near: dict[str, ast.stmt] = {}
    copied: set[str] = set()
    for name in [*dict.fromkeys(name for one in kept for name in sorted(list_changed_names(one) & needed))]:
        makers = [one for one in kept if name in list_changed_names(one)]
        if path is not None and (found := _list_imported_statements(name, makers, path)) is not None:
            near |= {ast.unparse(one): one for one in found}
            copied.add(name)
    return [*near.values(), *(one for one in kept if not list_changed_names(one) & needed <= copied)]


def _list_imported_statements(name: str, makers: Sequence[ast.stmt], path: Path) -> list[ast.stmt] | None:
    """Return the statements that define an imported name in the owner's file from which it is imported, and the
    statements that these need. Return None if the name is not imported from such a file, or the file does not define
    it.

    Args:
        makers: the statements that define the name in the importing file.
        path: the importing file.
    """
    if len(makers) != 1 or not isinstance(node := makers[0], ast.ImportFrom):
        return None
    original = next(one.name for one in node.names if (one.asname or one.name) == name)
    if original == "*" or (file := find_file_loaded_by_from_import(path, node)) is None or not node.module:
        return None
    found: list[ast.stmt] | None = None
    with contextlib.suppress(InputError):
        there = read_python_statements(file)
        found = _list_needed_statements([original], (), there, file)
    renamed = ast.parse(f"{name} = {original}").body if name != original else []
    return None if found is None else [*found, *renamed]


def _is_method_call_that_may_change_object(node: ast.stmt) -> bool:
    """Return whether a statement is only a method call that may change an object, such as
    `stop_words.update(others)`."""
    called = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
    return isinstance(called, ast.Attribute) and called.attr in _COMPLETING
