"""Which statements of a file define a name and what it needs. Only these are run: no training, no reading of files.

A notebook is run from top to bottom by its owner, for an hour. A class needs some of its imports, constants, functions
and other classes. They are found by the names that are used: in a class, by those methods that a forward pass can
reach. A statement that may change any of it, by the names that it mentions (`touched_names.py`), is needed too. A
statement that is needed is run only if it defines or changes something: an import, a function, a class, an assignment
or call that is known to read and train nothing. Another one is refused by name, or told in a note.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import itertools
import re
import symtable
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.code_facts import Function, Import, head_of, modules_of_import
from pocketrnn_export.source_code.files_beside import FilesBeside
from pocketrnn_export.source_code.harmless_statements import HarmlessStatements
from pocketrnn_export.source_code.jupyter_environment import asks_for_its_name, asks_for_jupyter
from pocketrnn_export.source_code.notebook import Cell
from pocketrnn_export.source_code.statements import Statement, bound_by, is_deleted, statements_of, symbols_of
from pocketrnn_export.source_code.touched_names import Touched, TouchedNames

__all__ = ["Needed", "asking_for_their_name", "defined_names", "needed_statements"]

_BUILTINS: Final = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__"}
# How the methods begin that something else than the class's own code may call.
_CALLED_FROM_OUTSIDE: Final = ("__", "forward", "init")
_Compound = ast.If | ast.For | ast.AsyncFor | ast.While | ast.With | ast.AsyncWith | ast.Try | ast.Match


def defined_names(cells: Iterable[Cell]) -> list[str]:
    """The names that the statements of some cells define, each once: first the classes, then functions, then variables.

    Example:
        >>> defined_names(cells)
        ['RNN', 'train', 'model']
    """
    statements = [s for s in statements_of(cells) if not s.is_import]
    statements.sort(key=lambda s: 0 if isinstance(s.node, ast.ClassDef) else 1 if isinstance(s.node, Function) else 2)
    return list(dict.fromkeys(name for statement in statements for name in sorted(statement.binds)))


@dataclass(frozen=True)
class Needed:
    """The part of a file that is run.

    Attributes:
        statements: those that define some names and what these need, in the order in which they are to be run.
        notes: what is not run and may change them, each with its place.
        alone: those of the notes that are of what runs only where the file is run by itself.
        asks: what is run, and asks whether it runs in Jupyter, or of a Python file, whether that is run by itself.
    """

    statements: tuple[Statement, ...]
    notes: tuple[str, ...]
    alone: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()


def needed_statements(
    cells: Sequence[Cell],
    wanted: Iterable[str],
    path: str,
    given: Set[str],
    likely: Mapping[str, str] | None = None,
) -> Needed:
    """The statements that define some names and what these need, and those that change any of it.

    Where a name has several definitions, the one that stands before its use counts; for what a function uses when it is
    called, the last one, as after the whole notebook has run. A statement that may change any of it is run too, by
    whatever name or function or package it does so. Where it may not be run, it is noted.

    Args:
        cells: all code.
        wanted: the names.
        path: what the file is called in messages.
        given: names that have a value already; their statements are not needed.
        likely: values that names have as far as is known, for the message.

    Raises:
        InputError: a statement that is needed would train, read a file, download or loop; the message names it.

    Example:
        >>> needed = needed_statements(cells, ["RNN"], "notebook.ipynb", frozenset())
        >>> [statement.title for statement in needed.statements]
        ['import torch', 'class RNN']
    """
    try:
        search = _Search(cells, path, given, likely or {})
        wanted = list(wanted)
        # Which methods are reached depends on the code that is needed, and the other way round.
        while True:
            known = len(search.attributes)
            search.forget()
            for name in wanted:
                search.want(name)
            search.take_what_changes()
            if len(search.attributes) == known:
                break
        return search.needed()
    except RecursionError:
        raise InputError(f"{path} holds code that is nested too deep.", "Copy the class to a Python file.") from None


def asking_for_their_name(cells: Iterable[Cell]) -> list[str]:
    """The statements that may do something else where their file is run by itself, each with its place.

    Example:
        >>> asking_for_their_name([python_file(Path("train.py"))])
        ['line 8: `MAIN = __name__ == "__main__"`']
    """
    return [f"{s.place}: `{s.title}`" for s in statements_of(cells) if not s.alone and asks_for_its_name(s.node)]


def _other_orders(search: _Search, run: Sequence[Statement]) -> Iterator[str]:
    """Names whose cells were run in another order than they stand in: the last to be run gave the value."""
    for name in sorted({name for s in run if not s.is_import for name in search.gives(s)}):
        first = [s for s in search.giving(name) if not s.is_import]
        changing = [s for s in run if search.names.changes_directly(s, name)]
        cells = list(dict.fromkeys(s.cell for s in sorted({*first, *changing}, key=lambda s: s.index)))
        counts = [cell.count for cell in cells if cell.count is not None]
        if counts and (counts != sorted(counts) or len(counts) < len(cells)):
            said = ", ".join(f"{c.name} ({'never' if c.count is None else f'as number {c.count}'})" for c in cells)
            yield f"{name} has its value from cells that were run in another order than they are read: {said}"


class _NotRunError(Exception):
    """A name whose statement is not run: it, or one that it needs (`root`), does more than to define something."""

    def __init__(self, name: str, statement: Statement, root: Statement, reason: str, *, makes: bool) -> None:
        super().__init__(name)
        self.makes = makes
        self.name = name
        self.statement = statement
        self.root = root
        self.reason = reason

    @property
    def told(self) -> str:
        because = f"needs `{self.root.title}` of {self.root.where}, which {self.reason}"
        because = self.reason if self.root is self.statement else because
        verb = "makes" if self.makes else "changes"
        line = f" in line {self.statement.node.lineno}" if self.statement.cell.name else ""
        return f"{self.statement.where} {verb} by `{self.statement.title}`{line}, and that is not run: it {because}"


class _Search:
    """The statements that are needed so far, among those that `needed_statements` is given."""

    def __init__(self, cells: Sequence[Cell], path: str, given: Set[str], likely: Mapping[str, str]) -> None:
        self.path = path
        self._cells = cells
        self.given = given
        self._likely = likely
        self.attributes: set[str] = set()
        self.taken: set[int] = set()
        self.order: list[Statement] = []
        self.unresolved: set[str] = set()
        # The statements that are not run, each with the names that it may change.
        self.notes: dict[int, Touched] = {}
        self._wanted: set[str] = set()
        self._not_run: dict[int, _NotRunError] = {}
        self._in_order = True
        self._all = statements_of(cells)
        self._beside = FilesBeside(Path(path).parent)
        self.names = TouchedNames(self._all, self._beside.of)
        self._harmless = HarmlessStatements(self._all, self.names.binding)

    def forget(self) -> None:
        """Begin anew, with the methods known that are reached."""
        for found in (self.taken, self.order, self.unresolved, self.notes):
            found.clear()

    def giving(self, name: str) -> list[Statement]:
        """The statements that give a name a value."""
        return self.names.binding.get(name, [])

    def gives(self, statement: Statement) -> frozenset[str]:
        """The names that a statement gives a value, also in a function that it calls."""
        return statement.binds | self.names.totals[statement.index].binds

    def want(self, name: str) -> None:
        """Take all that a name needs that the user has asked for."""
        self._wanted.add(name)
        try:
            self._require(name, None, asked_by=None)
        except _NotRunError as error:
            raise InputError(
                f"{self.path}: {name} is what {error.told}.",
                f"Name a class with its arguments, as in {self.path}:Model(8000), or a function that makes the module.",
            ) from None

    def _require(self, name: str, before: int | None, asked_by: Statement | None) -> None:
        """Take the statements that give `name` its value, as it is at the statement `before`, or at the end."""
        if name in self.given:
            return
        binding = self.names.binding.get(name)
        if binding is None:
            if name not in _BUILTINS:
                self.unresolved.add(name)
            return
        end = len(self._all) if before is None else before
        if name in _BUILTINS and is_deleted(name, self._all[:end]):
            return
        earlier = [statement for statement in binding if statement.index < end]
        if not earlier:
            # Its owner ran the cells in another order.
            self._in_order = False
        last = earlier[-1] if earlier else binding[0]
        if _plain_import(last):
            # `import a.b` and `import a.c` bind the same name, and both are needed.
            chosen = list({ast.unparse(s.node): s for s in reversed(binding) if _plain_import(s)}.values())
        else:
            chosen = _since_it_is_certain(name, earlier) if earlier else [last]
            # The module that is asked for gets its weights later: what a training did to it is not needed.
            if asked_by is not None and not last.is_import:
                between = [s for s in self._all[last.index + 1 : end] if not s.alone and s not in chosen]
                chosen = [*chosen, *(s for s in between if self.names.changes_directly(s, name))]
        for statement in chosen:
            self._take(statement, name, wanted=asked_by is None)

    def take_what_changes(self) -> None:
        """Take what may change anything that is taken, and note what may not be run."""
        tried: set[int] = set()
        while True:
            run = {statement.index for statement in self.order}
            touched = self._touched()
            found = {s: touched(s) for s in self._all if s.index not in run | tried}
            for statement, what in found.items():
                if what and statement.index not in self.taken:
                    self._try(statement, what)
                if what:
                    tried.add(statement.index)
            if not any(found.values()):
                return

    def _touched(self) -> Callable[[Statement], Touched]:
        """The names of the part that is run so far that statements may change."""
        names = self.names
        given = {name for s in self.order for name in self.gives(s)}
        makers = {one for one in self._wanted if names.is_code(one)}
        models = names.with_aliases(self._wanted - makers, makers=makers)
        modules = {one for s in self.order for one in s.now.modules | s.later.modules}
        packages = {"builtins", "sys.path", *(one.split(".")[0] for one in modules), *self._beside.of(modules).imports}
        objects = names.with_aliases({name for name in given if names.is_object(name)} | names.of_stars(packages))
        classes = {name for s in self.order if isinstance(s.node, ast.ClassDef) for name in s.binds}
        parts = names.with_aliases(set(), makers=classes)
        code = names.with_aliases({name for name in given if names.is_code(name)})

        def touched(statement: Statement) -> Touched:
            if statement.alone:
                return Touched(
                    tuple(sorted(bound_by(statement.node) & given))
                    or names.touched_by(statement, objects, code, parts, models).names
                )
            if statement.is_star:
                return Touched(anything=statement.title)
            found = names.touched_by(statement, objects, code, parts, models)
            changed = names.packages_touched(statement, packages)
            return Touched(tuple(dict.fromkeys((*found.names, *changed))), found.made, found.anything)

        return touched

    def _try(self, statement: Statement, touched: Touched) -> None:
        """Run what may change something, if it may be run; else note it."""
        before = set(self.taken), list(self.order), set(self.unresolved), self._in_order
        may_be_run = not statement.alone and not (touched.anything and not statement.is_star)
        # A change of objects of the class that is asked for is run only where the objects are asked for.
        may_be_run = may_be_run and (bool(touched.names) or statement.is_star or bool(set(touched.made) & self._wanted))
        try:
            if may_be_run:
                self._take(statement, ", ".join(touched.names), wanted=False)
                more = [one for one in self.order if one not in before[1]]
                may_be_run = all(_is_here(one.node) for one in more) and (
                    self.unresolved <= before[2] or any(one.is_star for one in self._all)
                )
        except (_NotRunError, InputError):
            may_be_run = False
        if not may_be_run:
            self.taken, self.order, self.unresolved, self._in_order = before
            self.notes[statement.index] = touched

    def needed(self) -> Needed:
        """All that was found."""
        run = self.in_order()
        alone = tuple(self._told(index for index in self.notes if self._all[index].alone))
        notes = (*self._told(self.notes), *self._written(run), *_other_orders(self, run))
        return Needed(tuple(run), notes, alone, tuple(self._asking(run)))

    def _told(self, indices: Iterable[int]) -> Iterator[str]:
        """The notes on what is not run: one on all statements that mention the same names."""
        alike: dict[tuple[str, ...], list[Statement]] = {}
        for index in indices:
            touched = self.notes[index]
            alike.setdefault(() if touched.anything else (*touched.names, *touched.made), []).append(self._all[index])
        for names, statements in alike.items():
            first, *others = sorted(statements, key=lambda s: s.index)
            one = not others
            does = f"mention{'s' * one} {', '.join(names)}" if names else "may change any name"
            places = f"{first.place} (`{first.title}`)"
            for cell, lines in itertools.groupby(others, key=lambda s: s.cell.name):
                said = ", ".join(s.lines for s in lines)
                places += f", {cell}, line{'s' * (not said.isdigit())} {said}" if cell else f", {said}"
            yield f"{places}, {does}"

    def _written(self, run: Sequence[Statement]) -> Iterator[str]:
        """Files beside a notebook that it needs, and may write itself: what is on the disk now is taken."""
        modules = {module for s in run if s.cell.name for module in s.now.modules | s.later.modules}
        read = {module.split(".")[0] for module in modules} | self._beside.of(modules).imports
        for name in sorted(read):
            folder = Path(self.path).parent
            if (folder / f"{name}.py").is_file() or (folder / name).is_dir():
                written = re.compile(rf"\b{re.escape(name)}(?:\.py\b|/)")
                found = [cell.name for cell in self._cells if written.search(cell.whole)]
                if found:
                    yield f"{', '.join(found)} may write {name}, which is taken as it is on the disk now"

    def _asking(self, run: Sequence[Statement]) -> Iterator[str]:
        """The statements that are run and ask whether they run in Jupyter; in a Python file, also those that ask
        whether it is run by itself."""
        looked_at = {s.index: s for s in run}
        for statement in [self._all[i] for i in self.notes]:
            used = (one for name in self._names(statement)[0] for one in self.giving(name))
            looked_at |= {one.index: one for one in (statement, *used)}
        for _, statement in sorted(looked_at.items()):
            if statement.cell.name:
                asks = statement in run and asks_for_jupyter(statement.node, self.names.binding)
            else:
                asks = not statement.alone and asks_for_its_name(statement.node)
            if asks:
                yield f"{statement.place}: `{statement.title}`"

    def in_order(self) -> list[Statement]:
        """The statements that were taken, as they are to be run."""
        taken = sorted(self.order, key=lambda s: s.index) if self._in_order else list(self.order)
        if self.unresolved:
            # A name that nothing binds may come from one of these.
            taken = [*(s for s in self._all if s.is_star and s not in taken), *taken]
        return taken

    def _take(self, statement: Statement, name: str, *, wanted: bool) -> None:
        if statement.index in self._not_run:
            before = self._not_run[statement.index]
            raise _NotRunError(name, statement, before.root, before.reason, makes=name in self.gives(statement))
        if statement.index in self.taken:
            return
        self.taken.add(statement.index)
        reason = self._harmless.why_not(statement)
        names = (set(), set()) if reason else self._names(statement)
        failed = []
        for used, at in [(n, statement.index) for n in sorted(names[0])] + [(n, None) for n in sorted(names[1])]:
            if at is None and statement not in self.order:
                self.order.append(statement)
            try:
                # In `model = model.to(device)`, the first model is asked for too.
                self._require(used, at, None if wanted and used == name else statement)
            except _NotRunError as error:
                failed.append(error)
        if statement not in self.order:
            self.order.append(statement)
        if failed and (wanted or isinstance(statement.node, ast.ClassDef | Function)):
            whose = name if wanted else min(statement.binds)
            settings = " ".join(self._setting(error.name) for error in failed)
            fit = " (which fits the weights)" if any(error.name in self._likely for error in failed) else ""
            raise InputError(
                f"{self.path}: {whose} needs {failed[0].name}, which {failed[0].told}.",
                f"Give plain values on the command line, {settings}{fit}, or set them in the file.",
            )
        if reason or failed:
            root, reason = (statement, reason) if reason else (failed[0].root, failed[0].reason)
            makes = name in self.gives(statement)
            self._not_run[statement.index] = _NotRunError(name, statement, root, reason, makes=makes)
            raise self._not_run[statement.index]

    def _setting(self, name: str) -> str:
        """The option that gives a name its value."""
        setting = f"{name}={self._likely.get(name, 'VALUE')}"
        return f'--set "{setting}"' if "(" in setting else f"--set {setting}"

    def _names(self, statement: Statement) -> tuple[set[str], set[str]]:
        """The global names that a statement uses when it is run, and those that its functions use when called."""
        now: set[str] = set()
        later: set[str] = set()
        live: list[ast.AST] = [statement.node]

        def visit(table: symtable.SymbolTable, names: set[str], top: bool) -> None:
            for symbol in table.get_symbols():
                if symbol.is_referenced() and (top or symbol.is_global()):
                    names.add(symbol.get_name())
            for child in table.get_children():
                kind, title = str(child.get_type()), child.get_name()
                if kind == "function" and title not in ("listcomp", "setcomp", "dictcomp", "genexpr", "lambda"):
                    if str(table.get_type()) != "class" or self._is_live(title):
                        visit(child, later, False)
                else:
                    visit(child, names, False)

        visit(symbols_of(statement.node), now, True)
        if isinstance(statement.node, ast.AugAssign) and isinstance(statement.node.target, ast.Name):
            now.add(statement.node.target.id)
        if isinstance(statement.node, ast.Delete):
            now |= {target.id for target in statement.node.targets if isinstance(target, ast.Name)}
        if isinstance(statement.node, ast.ClassDef):
            live = [part for part in statement.node.body if not isinstance(part, Function) or self._is_live(part.name)]
        self.attributes |= {n.attr for part in live for n in ast.walk(part) if isinstance(n, ast.Attribute)}
        # A class's own name in its methods, as in super(RNN, self), and what the statement makes itself.
        own = statement.binds if isinstance(statement.node, ast.ClassDef | Function | ast.If | ast.Try) else set()
        # `class Net(Net)` begins with another class of that name.
        return now - (own - _named_before(statement.node)), later - own

    def _is_live(self, method: str) -> bool:
        return method.startswith(_CALLED_FROM_OUTSIDE) or method in self.attributes


def _plain_import(statement: Statement) -> bool:
    return isinstance(statement.node, ast.Import) and statement.node.names[0].asname is None


def _is_here(node: ast.stmt) -> bool:
    """Whether a statement imports nothing that cannot be found; of a file beside, that is seen when it is imported."""
    for module in modules_of_import(node) if isinstance(node, Import) else ():
        try:
            if not module.startswith(".") and importlib.util.find_spec(module.split(".")[0]) is None:
                return False
        except (ImportError, ValueError):
            return False
    return True


def _since_it_is_certain(name: str, binding: Sequence[Statement]) -> list[Statement]:
    """The last statements that give a name its value: with the one before them, where they may leave it as it was."""
    chosen: list[Statement] = []
    for statement in reversed(binding):
        chosen.insert(0, statement)
        if _surely_binds(statement.node, name):
            break
    return chosen


def _surely_binds(node: ast.stmt, name: str) -> bool:
    def in_all(*blocks: Sequence[ast.stmt]) -> bool:
        return all(any(_surely_binds(part, name) for part in block) for block in blocks)

    if isinstance(node, ast.If):
        return in_all(node.body, node.orelse)
    if isinstance(node, ast.Try):
        return in_all(node.finalbody) or in_all([*node.body, *node.orelse], *(h.body for h in node.handlers))
    if isinstance(node, ast.With | ast.AsyncWith):
        return in_all(node.body)
    return not isinstance(node, _Compound | ast.Expr | ast.AugAssign) and name in bound_by(node)


def _named_before(node: ast.stmt) -> set[str]:
    """The names that the head of a class or function uses."""
    loaded = (n for head in head_of(node) for n in ast.walk(head) if isinstance(n, ast.Name))
    return {n.id for n in loaded if isinstance(n.ctx, ast.Load)}
