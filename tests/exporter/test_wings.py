"""The exporter's wings: each imports only from those to its left, and no imports run in a circle."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pocketrnn_export

PACKAGE = Path(pocketrnn_export.__file__).parent
# From left to right. `bundle` is the path on which every bundle is written; `compression` and `mobile` make one of one.
WINGS = ("proof", "intake", "tracing", "forms", "bundle", "compression", "mobile", "commands")
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports_of(path: Path) -> set[str]:
    """The exporter's own modules that a file imports, also under TYPE_CHECKING and inside of functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            # `from pocketrnn_export.intake import module_file` names a module by its last word.
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    ours = {f"pocketrnn_export.{name_of(file)}": name_of(file) for file in FILES if file != path}
    return {ours[name] for name in found if name in ours}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_imports_only_from_its_own_wing_and_those_to_its_left(path: Path) -> None:
    def wing(name: str) -> int:
        return WINGS.index(name.partition(".")[0])

    wrong = {name for name in imports_of(path) if wing(name) > wing(name_of(path))}
    assert wrong == set()


def test_no_imports_run_in_a_circle() -> None:
    order = TopologicalSorter({name_of(path): imports_of(path) for path in FILES}).static_order()
    assert set(order) == {name_of(path) for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_function_fits_a_screen_or_says_why_not(path: Path) -> None:
    long = [
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and (node.end_lineno or 0) - node.lineno >= 60
        and "Long because" not in (ast.get_docstring(node) or "")
    ]
    assert long == []
