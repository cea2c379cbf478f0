"""Find the statements of a file that a name needs. Only these statements are run; none of them trains or reads
files.

Its owner runs a notebook from top to bottom, for an hour. A class needs only some imports, constants, functions and
other classes. They are found by the names that it uses; in a class, only methods that a forward pass can reach count.
A statement that may change any of these, by the names that it mentions (`changes_of_needed_code.py`), is needed too. A
needed statement is run only if it defines or changes something: an import, a function, a class, or an assignment or
call that is known not to read or train. Others are refused by name, or reported in a note.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import itertools
import re
import symtable
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.changes_of_needed_code import ChangeFinder, ImportableFiles, Needed
from pocketrnn_export.source_code.harmless_statements import HarmlessStatements
from pocketrnn_export.source_code.notebook import Cell, checks_for_jupyter, depends_on_dunder_name
from pocketrnn_export.source_code.syntax_tree_parts import (
    Function,
    Import,
    list_head_expressions,
    list_imported_modules,
    list_read_names,
)
from pocketrnn_export.source_code.top_level_statements import (
    Statement,
    find_bound_names,
    is_deleted_at_end,
    list_top_level_statements,
    make_symbol_table,
)

_BUILTINS: Final = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__"}
# The beginnings of the names of methods that other code than the class's own may call.
_CALLED_FROM_OUTSIDE: Final = ("__", "forward", "init")
_Compound = ast.If | ast.For | ast.AsyncFor | ast.While | ast.With | ast.AsyncWith | ast.Try | ast.Match


def list_defined_names(cells: Iterable[Cell]) -> list[str]:
    """List the names that the cells define: first the classes, then the functions, then the variables."""
    statements = [s for s in list_top_level_statements(cells) if not s.is_import]
    statements.sort(key=lambda s: 0 if isinstance(s.node, ast.ClassDef) else 1 if isinstance(s.node, Function) else 2)
    return list(dict.fromkeys(name for statement in statements for name in sorted(statement.binds)))


@dataclass(frozen=True)
class NeededCode:
    """The statements of a file that have to run to define some names.

    Attributes:
        statements: the statements that define the names, and all statements that these need, in the order in which to
            run them.
        notes: notes for the user on statements that are not run, although they may change a needed object.
        alone: the notes that concern code under `if __name__ == "__main__"`.
        asks: the statements among `statements` that test whether they run in Jupyter, or whether the file is run
            directly.
    """

    statements: tuple[Statement, ...]
    notes: tuple[str, ...]
    alone: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()


def find_needed_statements(
    cells: Sequence[Cell],
    wanted: Iterable[str],
    path: str,
    names_with_value: Set[str],
    likely_values: Mapping[str, str] | None = None,
    called_methods: Iterable[str] = (),
) -> NeededCode:
    """Find the statements of a file or notebook that have to run to define some wanted names. Statements that may later
    change a needed object are included, or noted if they are not safe to run.

    If a name has several definitions, the last definition before its use is taken. For a name inside a function, it is
    the last definition in the file, as after a run of the whole notebook.

    Args:
        cells: all the code.
        wanted: the names to define.
        path: the path of the file, for messages.
        names_with_value: names that already have a value. Their statements are not needed.
        likely_values: proposed values of names, as code, for the error message.
        called_methods: the methods, besides `forward`, that the caller will call on the objects.

    Raises:
        InputError: a needed statement would train, read a file, download or loop. The message names the statement.
    """
    try:
        search = _NeededSearch(cells, path, names_with_value, likely_values or {})
        search.attributes |= {*called_methods}
        wanted = list(wanted)
        # The reachable methods depend on the needed code, and the other way round.
        while True:
            known = len(search.attributes)
            search.clear_taken_statements()
            for name in wanted:
                search.collect_statements_of_wanted_name(name)
            search.collect_changing_statements()
            if len(search.attributes) == known:
                break
        return search.collect_needed_code()
    except RecursionError:
        raise InputError(
            f"The code in {path} is nested too deeply to be analysed.",
            "Copy the class of the module to a Python file of its own, and export from that file.",
        ) from None


def list_statements_that_check_dunder_name(cells: Iterable[Cell]) -> list[str]:
    """List the statements that depend on `__name__`, each with its line. They act differently if their file is run
    directly and not imported."""
    return [
        f"{s.cell_and_line}: `{s.title}`"
        for s in list_top_level_statements(cells)
        if not s.alone and depends_on_dunder_name(s.node)
    ]


def _note_unordered_cells(search: _NeededSearch, run: Sequence[Statement]) -> Iterator[str]:
    """Yield a note on each name whose value depends on the order in which the cells ran, if the owner did not run them
    from top to bottom."""
    for name in sorted({name for s in run if not s.is_import for name in search.find_all_bound_names(s)}):
        first = [s for s in search.find_binding_statements(name) if not s.is_import]
        changing = [s for s in run if search.names.may_change_directly(s, name)]
        cells = list(dict.fromkeys(s.cell for s in sorted({*first, *changing}, key=lambda s: s.index)))
        counts = [cell.count for cell in cells if cell.count is not None]
        if counts and (counts != sorted(counts) or len(counts) < len(cells)):
            said = ", ".join(f"{c.name}{' (never)' if c.count is None else ''}" for c in cells)
            yield f"The cells that set {name} were not run from top to bottom: {said}"


# The calls by which code reads a file, in a reason why a statement is not run.
_READS: Final = re.compile(
    r"^opens |\b(open|load|loads|read_\w+|loadtxt|genfromtxt|DictReader|reader)\b, which may read"
)


class NeededNamesError(InputError):
    """The wanted code needs names, and the statements that define these names are not safe to run.

    Args:
        problem: the sentence that says what is wrong.
        remedy: the sentence that says what the user can do.
        made_by: the code that defines each of these names.
        made_from: the same for names that are computed from other names whose values are not known, either.
        likely: proposed values that fit the weights, as code, by the name or a part of it, such as `LABEL.vocab`.
    """

    def __init__(
        self,
        problem: str,
        remedy: str,
        made_by: Mapping[str, str],
        made_from: Mapping[str, str],
        likely: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(problem, remedy)
        self.made_by, self.made_from, self.likely = dict(made_by), dict(made_from), dict(likely)


class _NotRunError(Exception):
    """The statement that defines or changes a name is not run, since it is unsafe or needs an unsafe statement (the
    `root`)."""

    def __init__(self, name: str, statement: Statement, root: Statement, reason: str, *, makes: bool) -> None:
        super().__init__(name)
        self.makes = makes
        self.name = name
        self.statement = statement
        self.root = root
        self.reason = reason

    @property
    def full_reason(self) -> str:
        """The end of a sentence for a message: how the statement defines or changes the name, and why it is not run."""
        because = f"needs `{self.root.title}` of {self.root.cell_or_line}, and that statement {self.reason}"
        because = self.reason if self.root is self.statement else because
        verb = "makes" if self.makes else "changes"
        line = f" in line {self.statement.node.lineno}" if self.statement.cell.name else ""
        made = f"{self.statement.cell_or_line} {verb} by `{self.statement.title}`{line}"
        return f"{made}. That statement is not run: it {because}"


class _NeededSearch:
    """Collects the statements that the wanted names need."""

    def __init__(self, cells: Sequence[Cell], path: str, given: Set[str], likely: Mapping[str, str]) -> None:
        self.path = path
        self._cells = cells
        self.given = given
        self._likely = likely
        self.attributes: set[str] = set()
        self.taken: set[int] = set()
        self.order: list[Statement] = []
        self.unresolved: set[str] = set()
        # The statements that are not run, each with the names that it may change; no names if it may change any.
        self.notes: dict[int, tuple[str, ...]] = {}
        self._wanted: set[str] = set()
        self._not_run: dict[int, _NotRunError] = {}
        self._in_order = True
        self._all = list_top_level_statements(cells)
        self._beside = ImportableFiles(Path(path).parent)
        self.names = ChangeFinder(self._all, self._beside.merge_facts)
        self._harmless = HarmlessStatements(self._all, self.names.binding)

    def clear_taken_statements(self) -> None:
        """Forget the collected statements. The names of the methods that may be called are kept."""
        for found in (self.taken, self.order, self.unresolved, self.notes):
            found.clear()

    def find_binding_statements(self, name: str) -> list[Statement]:
        """Return the statements that define a name."""
        return self.names.binding.get(name, [])

    def find_all_bound_names(self, statement: Statement) -> frozenset[str]:
        """Return the names that a statement defines, itself or through a function that the statement calls."""
        return statement.binds | self.names.totals[statement.index].binds

    def collect_statements_of_wanted_name(self, name: str) -> None:
        """Collect all statements that a name given by the user needs. Raise an InputError if one of these is not safe
        to run."""
        self._wanted.add(name)
        try:
            self._collect_binding_statements(name, None, asked_by=None)
        except _NotRunError as error:
            raise InputError(
                f"{self.path}: {name} is the object that {error.full_reason}.",
                f"Name a class with its arguments, as in {self.path}:Model(8000), or a function that returns the "
                "module.",
            ) from None

    def _collect_binding_statements(self, name: str, before_index: int | None, asked_by: Statement | None) -> None:
        """Collect the statements that define `name`.

        Args:
            before_index: the index of the statement that uses the name, so that only earlier definitions are found;
                None to find all definitions.
            asked_by: the statement that uses the name; None if the user asks for it.
        """
        if name in self.given:
            return
        binding = self.names.binding.get(name)
        if binding is None:
            if name not in _BUILTINS:
                self.unresolved.add(name)
            return
        end = len(self._all) if before_index is None else before_index
        if name in _BUILTINS and is_deleted_at_end(name, self._all[:end]):
            return
        earlier = [statement for statement in binding if statement.index < end]
        if not earlier:
            # Its owner ran the cells in another order.
            self._in_order = False
        last = earlier[-1] if earlier else binding[0]
        if _is_import_without_alias(last):
            # `import a.b` and `import a.c` bind the same name, and both are needed.
            chosen = list({ast.unparse(s.node): s for s in reversed(binding) if _is_import_without_alias(s)}.values())
        else:
            chosen = _find_last_sure_bindings(name, earlier) if earlier else [last]
            # The wanted module gets its weights later: the changes by its training are not needed.
            if asked_by is not None and not last.is_import:
                between = [s for s in self._all[last.index + 1 : end] if not s.alone and s not in chosen]
                chosen = [*chosen, *(s for s in between if self.names.may_change_directly(s, name))]
        for statement in chosen:
            self._collect_statement(statement, name, wanted=asked_by is None)

    def collect_changing_statements(self) -> None:
        """Collect the statements that may change the collected code. For each statement that is not safe to run, add a
        note."""
        tried: set[int] = set()
        while True:
            run = {statement.index for statement in self.order}
            needed = self.names.find_names_needed_by(self.order, self._wanted)
            found = {s: self._find_changed_names(s, needed) for s in self._all if s.index not in run | tried}
            for statement, names in found.items():
                if names is not None and statement.index not in self.taken:
                    self._collect_or_note_statement(statement, names, needed)
                if names is not None:
                    tried.add(statement.index)
            if not any(names is not None for names in found.values()):
                return

    def _find_changed_names(self, statement: Statement, needed: Needed) -> tuple[str, ...] | None:
        """Return the names of the collected code that a statement may change. Return an empty tuple if it may change
        any of them, and None if it changes none."""
        if statement.is_star or (not statement.alone and self.names.may_change_anything(statement)):
            return ()
        names = self.names.find_changed_names(statement, needed)
        if statement.alone:
            bound = sorted(find_bound_names(statement.node) & needed.bound)
            names = bound or [name for name in names if name in needed.names | needed.packages]
        return tuple(names) or None

    def _collect_or_note_statement(self, statement: Statement, names: tuple[str, ...], needed: Needed) -> None:
        """Collect a statement that may change the collected code. If it is not safe to run, add a note instead.

        Args:
            names: the names that the statement may change; empty for any.
        """
        before = set(self.taken), list(self.order), set(self.unresolved), self._in_order
        # A change of objects of the wanted class is run only if the objects themselves are wanted.
        may_be_run = not statement.alone and (statement.is_star or bool({*names} - (needed.models - self._wanted)))
        try:
            if may_be_run:
                self._collect_statement(statement, ", ".join(names), wanted=False)
                more = [one for one in self.order if one not in before[1]]
                may_be_run = all(_can_be_imported(one.node) for one in more) and (
                    self.unresolved <= before[2] or any(one.is_star for one in self._all)
                )
        except (_NotRunError, InputError):
            may_be_run = False
        if not may_be_run:
            self.taken, self.order, self.unresolved, self._in_order = before
            self.notes[statement.index] = names

    def collect_needed_code(self) -> NeededCode:
        """Return the collected statements with their notes."""
        run = self.order_taken_statements()
        alone = tuple(self._describe_notes(index for index in self.notes if self._all[index].alone))
        notes = (*self._describe_notes(self.notes), *self._note_written_files(run), *_note_unordered_cells(self, run))
        return NeededCode(tuple(run), notes, alone, tuple(self._find_environment_checks(run)))

    def _describe_notes(self, indices: Iterable[int]) -> Iterator[str]:
        """Yield notes on statements that are not run. Statements that mention the same names share a note.

        Args:
            indices: the positions of these statements in the file.
        """
        alike: dict[tuple[str, ...], list[Statement]] = {}
        for index in indices:
            alike.setdefault(self.notes[index], []).append(self._all[index])
        for names, statements in alike.items():
            first, *others = sorted(statements, key=lambda s: s.index)
            one = not others
            does = f"mention{'s' * one} {', '.join(names)}" if names else "may change any name"
            places = f"{first.cell_and_line} (`{first.title}`)"
            for cell, lines in itertools.groupby(others, key=lambda s: s.cell.name):
                said = ", ".join(s.lines for s in lines)
                places += f", {cell}, line{'s' * (not said.isdigit())} {said}" if cell else f", {said}"
            yield f"{places}, {does}"

    def _note_written_files(self, run: Sequence[Statement]) -> Iterator[str]:
        """Yield a note on each imported Python file that a cell of the notebook may write. The export imports the file
        as it now is on disk."""
        modules = {module for s in run if s.cell.name for module in s.now.modules | s.later.modules}
        read = {module.split(".")[0] for module in modules} | self._beside.merge_facts(modules).imports
        for name in sorted(read):
            folder = Path(self.path).parent
            if (folder / f"{name}.py").is_file() or (folder / name).is_dir():
                written = re.compile(rf"\b{re.escape(name)}(?:\.py\b|/)")
                found = [cell.name for cell in self._cells if written.search(cell.whole)]
                if found:
                    yield f"{', '.join(found)} may write {name}, but the export uses the file that is on the disk now"

    def _find_environment_checks(self, run: Sequence[Statement]) -> Iterator[str]:
        """Yield the statements that test whether they run in Jupyter, or whether the file is run directly, among the
        statements `run`."""
        looked_at = {s.index: s for s in run}
        for statement in [self._all[i] for i in self.notes]:
            used = (
                one
                for name in self._find_names_used_now_and_in_calls(statement)[0]
                for one in self.find_binding_statements(name)
            )
            looked_at |= {one.index: one for one in (statement, *used)}
        for _, statement in sorted(looked_at.items()):
            if statement.cell.name:
                asks = statement in run and checks_for_jupyter(statement.node, self.names.binding)
            else:
                asks = not statement.alone and depends_on_dunder_name(statement.node)
            if asks:
                yield f"{statement.cell_and_line}: `{statement.title}`"

    def order_taken_statements(self) -> list[Statement]:
        """Return the collected statements in the order in which they have to run."""
        taken = sorted(self.order, key=lambda s: s.index) if self._in_order else list(self.order)
        if self.unresolved:
            # A name that no statement binds may come from a star import.
            taken = [*(s for s in self._all if s.is_star and s not in taken), *taken]
        return taken

    def _collect_statement(self, statement: Statement, name: str, *, wanted: bool) -> None:
        """Collect a statement and all statements that it needs. Raise an error if one of them is not safe to run.

        Args:
            name: the name for which the statement is needed.
            wanted: whether the user asks for this name.
        """
        if statement.index in self._not_run:
            before = self._not_run[statement.index]
            raise _NotRunError(
                name, statement, before.root, before.reason, makes=name in self.find_all_bound_names(statement)
            )
        if statement.index in self.taken:
            return
        self.taken.add(statement.index)
        reason = self._harmless.explain_why_statement_is_unsafe(statement)
        names = (set(), set()) if reason else self._find_names_used_now_and_in_calls(statement)
        failed = []
        for used, at in [(n, statement.index) for n in sorted(names[0])] + [(n, None) for n in sorted(names[1])]:
            if at is None and statement not in self.order:
                self.order.append(statement)
            try:
                # In `model = model.to(device)`, the first model is asked for too.
                self._collect_binding_statements(used, at, None if wanted and used == name else statement)
            except _NotRunError as error:
                failed.append(error)
        if statement not in self.order:
            self.order.append(statement)
        if failed and (wanted or isinstance(statement.node, ast.ClassDef | Function)):
            whose = name if wanted else min(statement.binds)
            settings = " ".join(self._make_setting_option(error.name) for error in failed)
            fits = any(self._find_part_with_likely_value(error.name) in self._likely for error in failed)
            fit = " (which fits the weights)" if fits else ""
            remedy = f"Give plain values on the command line, {settings}{fit}, or set them in the file."
            if not fits and isinstance(statement.node, Function) and any(_READS.search(one.reason) for one in failed):
                # A table of a file is longer than an option.
                remedy = (
                    f"Copy {whose}, and the lines that make {' and '.join(error.name for error in failed)}, to a "
                    "Python file of their own: without a loop or `with` outside of functions it is run whole, so that "
                    "these lines read their file."
                )
            if isinstance(statement.node, Function) and not fits:
                decorating = {one.id for part in statement.node.decorator_list for one in ast.walk(part)
                              if isinstance(one, ast.Name)}  # fmt: skip
                # A route of a web service: no value of `app` makes a function of a text of it.
                if decorating and all(error.name in decorating for error in failed):
                    remedy = (
                        f"It only decorates {whose}. Copy the lines of {whose} that make tokens or ids of a text to a "
                        "function in a Python file of its own, without the decorator, and name that: file.py:encode."
                    )
            code: tuple[dict[str, str], dict[str, str]] = ({}, {})
            for one in failed:
                code[one.root is not one.statement][one.name] = ast.unparse(one.statement.node)
            parts = [self._find_part_with_likely_value(one.name) for one in failed]
            raise NeededNamesError(
                f"{self.path}: {whose} needs {failed[0].name}, which {failed[0].full_reason}.",
                remedy,
                *code,
                {part: self._likely[part] for part in parts if part in self._likely},
            )
        if reason or failed:
            root, reason = (statement, reason) if reason else (failed[0].root, failed[0].reason)
            makes = name in self.find_all_bound_names(statement)
            self._not_run[statement.index] = _NotRunError(name, statement, root, reason, makes=makes)
            raise self._not_run[statement.index]

    def _make_setting_option(self, name: str) -> str:
        """Return the command-line option, such as `--set NAME=...`, with which the user sets the value of a name."""
        name = self._find_part_with_likely_value(name)
        setting = f"{name}={self._likely.get(name, 'VALUE')}"
        return f'--set "{setting}"' if "(" in setting else f"--set {setting}"

    def _find_part_with_likely_value(self, name: str) -> str:
        """Return `name.part`, such as `config.size`, if exactly one part of the name, and not the name itself, has a
        proposed value. Else return the name."""
        parts = [one for one in self._likely if one.startswith(f"{name}.")]
        return parts[0] if name not in self._likely and len(parts) == 1 else name

    def _find_names_used_now_and_in_calls(self, statement: Statement) -> tuple[set[str], set[str]]:
        """Return two sets of global names: those that a statement uses when it runs, and those that its functions use
        when they are called."""
        now: set[str] = set()
        later: set[str] = set()
        live: list[ast.AST] = [statement.node]

        def visit_table(table: symtable.SymbolTable, names: set[str], top: bool) -> None:
            for symbol in table.get_symbols():
                if symbol.is_referenced() and (top or symbol.is_global()):
                    names.add(symbol.get_name())
            for child in table.get_children():
                kind, title = str(child.get_type()), child.get_name()
                if kind == "function" and title not in ("listcomp", "setcomp", "dictcomp", "genexpr", "lambda"):
                    if str(table.get_type()) != "class" or self._may_forward_call(title):
                        visit_table(child, later, False)
                else:
                    visit_table(child, names, False)

        visit_table(make_symbol_table(statement.node), now, True)
        if isinstance(statement.node, ast.AugAssign) and isinstance(statement.node.target, ast.Name):
            now.add(statement.node.target.id)
        if isinstance(statement.node, ast.Delete):
            now |= {target.id for target in statement.node.targets if isinstance(target, ast.Name)}
        if isinstance(statement.node, ast.ClassDef):
            live = [
                part
                for part in statement.node.body
                if not isinstance(part, Function) or self._may_forward_call(part.name)
            ]
        self.attributes |= {n.attr for part in live for n in ast.walk(part) if isinstance(n, ast.Attribute)}
        # Not needed: a class's own name in its methods, as in super(RNN, self), and names that the statement binds.
        own = statement.binds if isinstance(statement.node, ast.ClassDef | Function | ast.If | ast.Try) else set()
        # `class Net(Net)` uses an earlier class of that name.
        return now - (own - _find_names_in_head(statement.node)), later - own

    def _may_forward_call(self, method: str) -> bool:
        """Return whether a forward may call a method with this name."""
        return method.startswith(_CALLED_FROM_OUTSIDE) or method in self.attributes


def _is_import_without_alias(statement: Statement) -> bool:
    return isinstance(statement.node, ast.Import) and statement.node.names[0].asname is None


def _can_be_imported(node: ast.stmt) -> bool:
    """Return whether the packages of an import are installed. Relative imports are not checked."""
    for module in list_imported_modules(node) if isinstance(node, Import) else ():
        try:
            if not module.startswith(".") and importlib.util.find_spec(module.split(".")[0]) is None:
                return False
        except (ImportError, ValueError):
            return False
    return True


def _find_last_sure_bindings(name: str, binding: Sequence[Statement]) -> list[Statement]:
    """Return the last statement that certainly defines a name, and the statements after it that may define the name.

    Args:
        binding: the statements that may define the name, in order.
    """
    chosen: list[Statement] = []
    for statement in reversed(binding):
        chosen.insert(0, statement)
        if _surely_binds(statement.node, name):
            break
    return chosen


def _surely_binds(node: ast.stmt, name: str) -> bool:
    """Return whether a statement defines a name in every case, as an `if` does that defines it in both branches."""

    def binds_in_all_blocks(*blocks: Sequence[ast.stmt]) -> bool:
        return all(any(_surely_binds(part, name) for part in block) for block in blocks)

    if isinstance(node, ast.If):
        return binds_in_all_blocks(node.body, node.orelse)
    if isinstance(node, ast.Try):
        return binds_in_all_blocks(node.finalbody) or binds_in_all_blocks(
            [*node.body, *node.orelse], *(h.body for h in node.handlers)
        )
    if isinstance(node, ast.With | ast.AsyncWith):
        return binds_in_all_blocks(node.body)
    return not isinstance(node, _Compound | ast.Expr | ast.AugAssign) and name in find_bound_names(node)


def _find_names_in_head(node: ast.stmt) -> set[str]:
    """Return the names that Python reads when it defines a class or function, such as base classes."""
    return {name for head in list_head_expressions(node) for name in list_read_names(head)}
