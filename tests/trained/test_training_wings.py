"""The parts of training: only commands know click or a terminal, no imports run in a circle, functions fit a screen."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pocketrnn_training

PACKAGE = Path(pocketrnn_training.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def name_of(path: Path) -> str:
    return ".".join(("pocketrnn_training", *path.relative_to(PACKAGE).with_suffix("").parts))


def imports_of(path: Path) -> set[str]:
    """The modules that a file imports, also under TYPE_CHECKING and inside of functions, and the names from them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("path", [f for f in FILES if f.parent.name != "commands"], ids=name_of)
def test_only_commands_know_click_or_a_terminal(path: Path) -> None:
    for name in imports_of(path):
        assert name.partition(".")[0] not in ("click", "rich", "pocketrnn_export")
        assert "commands" not in name.split(".")


def test_no_imports_run_in_a_circle() -> None:
    names = {name_of(path) for path in FILES}
    order = TopologicalSorter({name_of(path): imports_of(path) & names for path in FILES}).static_order()
    assert set(order) == names


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_function_fits_a_screen(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name
