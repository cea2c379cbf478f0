"""The top-level statements of a file or a notebook: the names that each binds, and what else it does."""

from __future__ import annotations

import ast
import symtable
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pocketrnn_export.source_code.code_facts import (
    Definition,
    Function,
    Import,
    annotations_of,
    defaults_of,
    head_of,
    imported_names,
)
from pocketrnn_export.source_code.mentions import Mentions, mentions_of
from pocketrnn_export.source_code.notebook import Cell

__all__ = [
    "Statement",
    "bound_by",
    "is_deleted",
    "run_at_once",
    "statements_of",
    "symbols_of",
]


@dataclass(frozen=True, eq=False)
class Statement:
    """A top-level statement.

    Attributes:
        index: its position among all statements.
        cell: where it stands.
        node: its syntax tree.
        binds: the names that it gives a value.
        now: what it does with names when it is run.
        later: what the functions in it do with names when they are called.
        alone: whether it runs only where the file is run by itself.
    """

    index: int
    cell: Cell
    node: ast.stmt
    binds: frozenset[str]
    now: Mentions
    later: Mentions
    alone: bool = False

    @property
    def where(self) -> str:
        """The cell; in a Python file, the line."""
        return self.cell.name or f"line {self.node.lineno}"

    @property
    def place(self) -> str:
        """The cell and its line; in a Python file, the line."""
        return f"{self.cell.name}, line {self.node.lineno}" if self.cell.name else self.where

    @property
    def lines(self) -> str:
        """Its lines in its cell or file: `3-5`; in a file, `lines 3-5`."""
        last = self.node.end_lineno or self.node.lineno
        lines = f"{self.node.lineno}-{last}" if last > self.node.lineno else f"{last}"
        return lines if self.cell.name else f"line{'s' * ('-' in lines)} {lines}"

    @property
    def is_import(self) -> bool:
        """Whether it imports something."""
        return isinstance(self.node, Import)

    @property
    def is_star(self) -> bool:
        """Whether it is `from package import *`, and the names that this gives are not known."""
        return self.binds == {"*"}

    @property
    def title(self) -> str:
        """Its name in messages: `class RNN`, `import torch`, or how it begins."""
        if isinstance(self.node, ast.ClassDef):
            return f"class {self.node.name}"
        if isinstance(self.node, Function):
            return f"def {self.node.name}"
        first = ast.unparse(self.node).split("\n", 1)[0]
        return first if len(first) <= 60 else f"{first[:57]}..."


def statements_of(cells: Iterable[Cell]) -> list[Statement]:
    """The statements of cells."""
    parts = [(cell, part, alone) for cell in cells for node in cell.statements for part, alone in _parts(node, cell)]
    nodes = [node for _, part, _ in parts for node in ast.walk(part) if isinstance(node, Import)]
    packages = {name for node in nodes for name, _ in imported_names(node)}
    return [
        Statement(i, cell, part, frozenset() if alone else bound_by(part), *mentions_of(part, packages), alone)
        for i, (cell, part, alone) in enumerate(parts)
    ]


def _parts(node: ast.stmt, cell: Cell) -> Iterator[tuple[ast.stmt, bool]]:
    """The statement, and whether it runs only where its file is run by itself, as a notebook is.

    One for each name of an import of several.
    """
    if isinstance(node, Import):
        for alias in node.names:
            part: ast.stmt = (
                ast.Import([alias])
                if isinstance(node, ast.Import)
                else ast.ImportFrom(node.module, [alias], node.level)
            )
            yield ast.copy_location(part, node), False
    elif isinstance(node, ast.If) and "__name__" in {n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)}:
        by_itself = _is_true_by_itself(node.test)
        if cell.name and by_itself is None:
            yield node, False
            return
        first, second = (node.orelse, node.body) if by_itself is False else (node.body, node.orelse)
        yield from ((part, not cell.name or alone) for one in first for part, alone in _parts(one, cell))
        if not cell.name:
            yield from (pair for one in second for pair in _parts(one, cell))
    else:
        yield node, False


def _is_true_by_itself(test: ast.expr) -> bool | None:
    """Whether a test holds where a file is run by itself, and only there, as `__name__ == "__main__"`; False for the
    contrary; None for any other test."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq | ast.NotEq):
        return None
    sides = {getattr(side, "id", getattr(side, "value", None)) for side in (test.left, *test.comparators)}
    return isinstance(test.ops[0], ast.Eq) if sides == {"__name__", "__main__"} else None


def run_at_once(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a statement that run when it is met: not bodies of functions, nor decorators that only register."""
    yield node
    if isinstance(node, Definition):
        children: Iterable[ast.AST] = [*defaults_of(node).values(), *annotations_of(node)]
    elif isinstance(node, ast.ClassDef):
        children = [*node.bases, *node.keywords, *node.body]
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from run_at_once(child)


def bound_by(node: ast.stmt) -> frozenset[str]:
    """The names that a statement gives a value."""
    if isinstance(node, ast.ClassDef | Function):
        # `def f(n=(SIZE := 3))` gives SIZE its value.
        heads = (inner for head in head_of(node) for inner in run_at_once(head))
        return frozenset({node.name, *(n.target.id for n in heads if isinstance(n, ast.NamedExpr))})
    if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
        return frozenset({"*"})
    if isinstance(node, ast.Delete) or (isinstance(node, ast.AnnAssign) and node.value is None):
        return frozenset()
    given = {n.target.id for n in run_at_once(node) if isinstance(n, ast.NamedExpr)}
    return frozenset(s.get_name() for s in symbols_of(node).get_symbols() if s.is_assigned() or s.is_imported()) | given


def symbols_of(node: ast.stmt) -> symtable.SymbolTable:
    """Which names of a statement are whose, as Python's compiler sees it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return symtable.symtable(ast.unparse(node), "statement", "exec")


def is_deleted(name: str, statements: Sequence[Statement]) -> bool:
    """Whether the last that was done to a name is `del`: a builtin that had been hidden is one again."""
    for statement in reversed(statements):
        if isinstance(statement.node, ast.Delete) and name in {getattr(t, "id", "") for t in statement.node.targets}:
            return True
        if name in statement.binds:
            return False
    return False
