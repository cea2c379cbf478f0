"""What the statements of a file do to values that exist already: names, objects, packages. Nothing is run.

Each statement is followed as it would run (`following.py`), with what is known of the file so far (`file_objects.py`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from pocketrnn_export.source_code.code_facts import Function, Import, imported_names, is_flat, is_plain
from pocketrnn_export.source_code.file_objects import Effects, FileObjects
from pocketrnn_export.source_code.following import Following
from pocketrnn_export.source_code.object_numbers import NONE
from pocketrnn_export.source_code.statement_findings import TooMuchError

__all__ = ["Effects", "effects_of"]


def effects_of(statements: Iterable[tuple[int, ast.stmt, frozenset[str]]]) -> dict[int, Effects]:
    """The effects of statements that are run one after the other.

    Args:
        statements: each with its number and the names that it binds.

    Example:
        >>> first, second = ast.parse("c = {}\nc[1] = 2").body
        >>> effects_of([(0, first, frozenset({"c"})), (1, second, frozenset())])[1].changes
        {0}
    """
    file = FileObjects()
    return {index: _met(file, index, node, binds) for index, node, binds in statements}


def _met(file: FileObjects, index: int, node: ast.stmt, binds: frozenset[str]) -> Effects:
    following = Following(file, index, node.value if isinstance(node, ast.Expr) else None)
    try:
        following.statement(node, file.names, top=True)
        following.run_what_is_reached()
    except TooMuchError:
        following.effects.anything = "it calls more than can be followed"
    value = following.given_to_names
    plain = {name for name, held in file.names.objects.items() if not held}
    for name in binds:
        compound = isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.Try | ast.AugAssign)
        before = file.names.objects.get(name, NONE) if compound else NONE
        # Nothing can change a number or a string, whoever holds it.
        own = NONE if is_plain(getattr(node, "value", None), plain) else frozenset({index})
        file.names.objects[name] = before | value.get(name, NONE) | own
    for name in following.effects.sets:
        file.names.objects[name] = file.names.objects.get(name, NONE) | {index}
    # What a statement puts into an object, that object may run too.
    for changed in {index, *following.effects.changes, *following.effects.may_change}:
        file.code.setdefault(changed, {}).update(following.reached)
    if isinstance(node, Import | ast.ClassDef | Function):
        file.definitions.add(index)
    for kind in following.belongs:
        kind.add(index)
    if isinstance(node, ast.Assign) and len(binds) == 1 and is_flat(node.value, plain):
        file.flat |= {(name, frozenset({index})) for name in binds}
    file.put(following.bound, following.loaded)
    file.packages_loaded[index] = following.packages_loaded
    _changes_of_packages(file, index, node, following)
    file.makes[index] = following.effects.makes
    return following.effects


def _changes_of_packages(file: FileObjects, index: int, node: ast.stmt, following: Following) -> None:
    """Who changes what an import gave its name, or what a package gave of its own, changes the package."""
    effects = following.effects
    for changed in effects.changes | effects.may_change:
        if package := file.of_package.get(changed):
            effects.packages.add(package)
    if isinstance(node, Import):
        file.of_package[index] = next(iter(imported_names(node)))[1]
    elif following.gives_its_own:
        file.of_package[index] = following.gives_its_own
