"""List the top-level statements of a file or notebook, with the names that each statement defines and mentions."""

from __future__ import annotations

import ast
import symtable
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pocketrnn_export.source_code.names_and_object_flow import FileNames, Mentions, collect_mentions_now_and_in_calls
from pocketrnn_export.source_code.notebook import Cell
from pocketrnn_export.source_code.syntax_tree_parts import (
    Definition,
    Function,
    Import,
    find_defaults,
    find_methods,
    list_annotations,
    list_assigned_names,
    list_head_expressions,
    list_imported_names,
    list_parameters,
)


@dataclass(frozen=True, eq=False)
class Statement:
    """A top-level statement of a file or notebook.

    Attributes:
        index: its position among all statements.
        cell: the cell that contains it.
        node: its syntax tree.
        binds: the names that it defines.
        now: the names that it mentions in code that runs with it.
        later: the names that its functions mention, which run when they are called.
        alone: whether it runs only if the file is run directly, under `if __name__ == "__main__"`.
    """

    index: int
    cell: Cell
    node: ast.stmt
    binds: frozenset[str]
    now: Mentions
    later: Mentions
    alone: bool = False

    @property
    def cell_or_line(self) -> str:
        """The name of the statement's cell, for a message; in a Python file, its line."""
        return self.cell.name or f"line {self.node.lineno}"

    @property
    def cell_and_line(self) -> str:
        """The name of the statement's cell and its line, for a message; in a Python file, only the line."""
        return f"{self.cell.name}, line {self.node.lineno}" if self.cell.name else self.cell_or_line

    @property
    def lines(self) -> str:
        """The line numbers of the statement: `3-5` in a cell, `lines 3-5` in a Python file."""
        last = self.node.end_lineno or self.node.lineno
        lines = f"{self.node.lineno}-{last}" if last > self.node.lineno else f"{last}"
        return lines if self.cell.name else f"line{'s' * ('-' in lines)} {lines}"

    @property
    def is_import(self) -> bool:
        """Whether the statement imports something."""
        return isinstance(self.node, Import)

    @property
    def is_star(self) -> bool:
        """Whether the statement is `from package import *`. The names that it defines are unknown."""
        return self.binds == {"*"}

    @property
    def title(self) -> str:
        """The statement's name in messages: `class RNN`, `import torch`, or its first words."""
        if isinstance(self.node, ast.ClassDef):
            return f"class {self.node.name}"
        if isinstance(self.node, Function):
            return f"def {self.node.name}"
        first = ast.unparse(self.node).split("\n", 1)[0]
        return first if len(first) <= 60 else f"{first[:57]}..."


def list_top_level_statements(cells: Iterable[Cell]) -> list[Statement]:
    """Return the top-level statements of the cells, with the names that each defines and mentions."""
    parts = [
        (cell, part, alone)
        for cell in cells
        for node in cell.statements
        for part, alone in _split_statement_and_mark_main_parts(node, cell)
    ]
    names = collect_imported_and_defined_names(part for _, part, _ in parts)
    return [
        Statement(
            i,
            cell,
            part,
            frozenset() if alone else find_bound_names(part),
            *collect_mentions_now_and_in_calls(part, names),
            alone,
        )
        for i, (cell, part, alone) in enumerate(parts)
    ]


def collect_imported_and_defined_names(statements: Iterable[ast.stmt]) -> FileNames:
    """Return the names that statements of a file define or import, imports inside functions included."""
    nodes = [*statements]
    parts = [part for node in nodes for part in ast.walk(node)]
    classes = [part for part in parts if isinstance(part, ast.ClassDef)]
    functions = [node for node in nodes if isinstance(node, Function | ast.ClassDef)]
    count = Counter(node.name for node in functions)
    methods: dict[str, bool] = {}
    shared: dict[str, set[str]] = {}
    for node in classes:
        for method in find_methods(node):
            sets = any(isinstance(part, ast.Attribute) and not isinstance(part.ctx, ast.Load)
                       for part in ast.walk(method))  # fmt: skip
            methods[method.name] = sets or methods.get(method.name, False)
        for line in node.body:
            for name in list_assigned_names(line) if isinstance(line, ast.Assign) else ():
                shared.setdefault(name, set()).add(node.name)
    return FileNames(
        {name: full for one in parts if isinstance(one, Import) for name, full in list_imported_names(one)},
        {node.name: _list_given_parameters(node) if count[node.name] == 1 else [] for node in functions},
        {node.name for node in classes},
        methods,
        shared,
    )


def _list_given_parameters(node: ast.stmt) -> list[str]:
    """Return the parameters that a call gives: those of a function; for a class, those of `__init__` without `self`;
    for another statement, an empty list."""
    if isinstance(node, ast.ClassDef):
        return [name for one in find_methods(node, "__init__") for name in list_parameters(one)[1:]]
    return list_parameters(node) if isinstance(node, Function) else []


def _split_statement_and_mark_main_parts(node: ast.stmt, cell: Cell) -> Iterator[tuple[ast.stmt, bool]]:
    """Yield the parts of a statement, such as single imports and the statements of an `if __name__ == "__main__"`. With
    each part, yield whether it runs only if the file is run directly."""
    if isinstance(node, Import):
        for alias in node.names:
            part: ast.stmt = (
                ast.Import([alias])
                if isinstance(node, ast.Import)
                else ast.ImportFrom(node.module, [alias], node.level)
            )
            yield ast.copy_location(part, node), False
    elif isinstance(node, ast.If) and "__name__" in {n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)}:
        by_itself = _is_test_true_for_main(node.test)
        if cell.name and by_itself is None:
            yield node, False
            return
        first, second = (node.orelse, node.body) if by_itself is False else (node.body, node.orelse)
        yield from (
            (part, not cell.name or alone)
            for one in first
            for part, alone in _split_statement_and_mark_main_parts(one, cell)
        )
        if not cell.name:
            yield from (pair for one in second for pair in _split_statement_and_mark_main_parts(one, cell))
    else:
        yield node, False


def _is_test_true_for_main(test: ast.expr) -> bool | None:
    """Return True for the condition `__name__ == "__main__"`, False for its opposite, None for another condition."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq | ast.NotEq):
        return None
    sides = {getattr(side, "id", getattr(side, "value", None)) for side in (test.left, *test.comparators)}
    return isinstance(test.ops[0], ast.Eq) if sides == {"__name__", "__main__"} else None


def walk_code_run_now(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the syntax nodes that run with a statement. Those in the bodies of functions are left out."""
    yield node
    if isinstance(node, Definition):
        children: Iterable[ast.AST] = [*find_defaults(node).values(), *list_annotations(node)]
    elif isinstance(node, ast.ClassDef):
        children = [*node.bases, *node.keywords, *node.body]
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from walk_code_run_now(child)


def find_bound_names(node: ast.stmt) -> frozenset[str]:
    """Return the names that a statement defines."""
    if isinstance(node, ast.ClassDef | Function):
        # `def f(n=(SIZE := 3))` binds SIZE.
        heads = (inner for head in list_head_expressions(node) for inner in walk_code_run_now(head))
        return frozenset({node.name, *(n.target.id for n in heads if isinstance(n, ast.NamedExpr))})
    if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
        return frozenset({"*"})
    if isinstance(node, ast.Delete) or (isinstance(node, ast.AnnAssign) and node.value is None):
        return frozenset()
    given = {n.target.id for n in walk_code_run_now(node) if isinstance(n, ast.NamedExpr)}
    return (
        frozenset(s.get_name() for s in make_symbol_table(node).get_symbols() if s.is_assigned() or s.is_imported())
        | given
    )


def make_symbol_table(node: ast.stmt) -> symtable.SymbolTable:
    """Return the symbol table of a statement, made by Python's compiler."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return symtable.symtable(ast.unparse(node), "statement", "exec")


def is_deleted_at_end(name: str, statements: Sequence[Statement]) -> bool:
    """Return whether the last statement that binds or deletes a name is `del name`. A builtin of this name is then
    visible again."""
    for statement in reversed(statements):
        if isinstance(statement.node, ast.Delete) and name in {getattr(t, "id", "") for t in statement.node.targets}:
            return True
        if name in statement.binds:
            return False
    return False
