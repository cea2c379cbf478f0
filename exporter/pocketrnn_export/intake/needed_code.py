"""Which statements of a file define a name and what it needs. Only these are run: no training, no reading of files.

A notebook is run from top to bottom by its owner, for an hour. Of it a class needs some imports, constants, functions
and other classes. They are found by the names that are used: in a class, by those methods that a forward pass can
reach. A statement that is needed is run only if it defines something: an import, a function, a class, or an assignment
whose calls are known to read and train nothing. What else is needed is refused by name.
"""

from __future__ import annotations

import ast
import builtins
import symtable
import warnings
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Final

from pocketrnn.errors import InputError
from pocketrnn_export.intake.notebook import Cell

__all__ = ["Statement", "calls_passed_over", "defined_names", "needed_statements"]

_BUILTINS: Final = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__"}
# Builtins that a top-level assignment may call: they make values of values.
_PURE_BUILTINS: Final = frozenset({
    "abs", "all", "any", "bool", "bytes", "chr", "classmethod", "complex",
    "dict", "divmod", "enumerate", "filter", "float", "format", "frozenset", "getattr", "hasattr", "hash", "hex",
    "int", "isinstance", "issubclass", "iter", "len", "list", "map", "max", "min", "next", "object", "ord", "pow",
    "print", "property", "range", "repr", "reversed", "round", "set", "slice", "sorted", "staticmethod", "str",
    "sum", "super", "tuple", "type", "zip",
})  # fmt: skip
# Packages whose functions and classes a top-level assignment may call, but for those that read or write.
_PURE_PACKAGES: Final = frozenset({
    "abc", "argparse", "collections", "copy", "dataclasses", "datetime", "easydict", "enum", "functools",
    "itertools", "logging", "math", "numpy", "operator", "pathlib", "random", "re", "string", "time", "torch",
    "types", "typing", "warnings",
})  # fmt: skip
_READING: Final = frozenset({
    "Popen", "backward", "download", "eval", "exec", "fit", "from_file", "fromfile", "genfromtxt", "get_data",
    "glob", "hub", "input", "iterdir", "load", "load_state_dict_from_url", "load_url", "loads", "loadtxt", "memmap",
    "open", "parse_args", "parse_known_args", "read", "read_bytes", "read_csv", "read_json", "read_text",
    "readlines", "rglob", "save", "savez", "step", "system", "train_model", "urlopen", "urlretrieve", "write_bytes",
    "write_text",
})  # fmt: skip
# Methods of strings, containers, tensors and modules that make a value of a value.
_PURE_METHODS: Final = frozenset({
    "bool", "clone", "copy", "count", "cpu", "cuda", "decode", "detach", "device_count", "dim", "double", "encode",
    "endswith", "eval", "find", "float", "format", "get", "half", "index", "int", "is_available", "item", "items",
    "join", "keys", "long", "lower", "lstrip", "most_common", "named_parameters", "numel", "numpy", "parameters",
    "replace", "reshape", "rsplit", "rstrip", "size", "split", "splitlines", "squeeze", "startswith", "strip",
    "title", "to", "tolist", "union", "unsqueeze", "upper", "values", "view",
})  # fmt: skip
# Methods that change their object as its owner means it; and those of modules and tables that leave a definition alone.
_CHANGING_METHODS: Final = frozenset({
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "remove", "reverse", "setdefault",
    "sort", "update",
})  # fmt: skip
_HARMLESS_METHODS: Final = frozenset({
    "apply", "children", "close", "cpu", "cuda", "describe", "double", "eval", "flatten_parameters", "float", "half",
    "head", "info", "load_state_dict", "modules", "named_parameters", "parameters", "requires_grad_", "share_memory",
    "show", "state_dict", "to", "train", "zero_grad",
})  # fmt: skip
# Functions that change nothing that they are given.
_HARMLESS_FUNCTIONS: Final = frozenset({"display", "len", "print", "summary", "type"})
# How the methods begin that something else than the class's own code may call.
_CALLED_FROM_OUTSIDE: Final = ("__", "forward", "init")
_Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, eq=False)
class Statement:
    """A top-level statement.

    Attributes:
        index: its position among all statements.
        cell: where it stands.
        node: its syntax tree.
        binds: the names that it gives a value.
        changes: the names whose values it changes, by an attribute or an item.
        calls_on: the names whose values a method may change that it calls, as in `words.append(1)`.
    """

    index: int
    cell: Cell
    node: ast.stmt
    binds: frozenset[str]
    changes: frozenset[str]
    calls_on: frozenset[str]

    @property
    def where(self) -> str:
        """The cell; in a Python file, the line."""
        return self.cell.name or f"line {self.node.lineno}"

    @property
    def title(self) -> str:
        """What it is called in messages: `class RNN`, `import torch`, or how it begins."""
        if isinstance(self.node, ast.ClassDef):
            return f"class {self.node.name}"
        if isinstance(self.node, _Definition):
            return f"def {self.node.name}"
        first = ast.unparse(self.node).split("\n", 1)[0]
        return first if len(first) <= 60 else f"{first[:57]}..."


def defined_names(cells: Iterable[Cell]) -> list[str]:
    """What the statements of some cells define, each once: first the classes, then functions, then variables.

    Example:
        >>> defined_names(cells)
        ['RNN', 'train', 'model']
    """
    statements = [s for s in _statements(cells) if not isinstance(s.node, ast.Import | ast.ImportFrom)]
    statements.sort(
        key=lambda s: 0 if isinstance(s.node, ast.ClassDef) else 1 if isinstance(s.node, _Definition) else 2
    )
    return list(dict.fromkeys(name for statement in statements for name in sorted(statement.binds)))


def needed_statements(cells: Sequence[Cell], wanted: Iterable[str], path: str, given: Set[str]) -> list[Statement]:
    """The statements that define some names and what these need, in the order in which they are to be run.

    Where a name has several definitions, the one that stands before its use counts; for what a function uses when it is
    called, the last one, as after the whole notebook has run.

    Args:
        cells: all code.
        wanted: the names.
        path: what the file is called in messages.
        given: names that have a value already; their statements are not needed.

    Raises:
        InputError: a statement that is needed would train, read a file, download or loop; the message names it.

    Example:
        >>> [statement.title for statement in needed_statements(cells, ["RNN"], "notebook.ipynb", frozenset())]
        ['import torch', 'class RNN']
    """
    try:
        search = _Search(list(_statements(cells)), path, given)
        # Which methods are reached hangs on the code that is needed, and the other way round.
        while True:
            known = len(search.attributes)
            search.forget()
            for name in wanted:
                search.want(name)
            if len(search.attributes) == known:
                break
        return search.in_order()
    except RecursionError:
        raise InputError(f"{path} holds code that is nested too deep.", "Copy the class to a Python file.") from None


def calls_passed_over(cells: Iterable[Cell], needed: Iterable[Statement]) -> list[Statement]:
    """Calls that are not run, though they name something that is: they may change it.

    Example:
        >>> [statement.title for statement in calls_passed_over(cells, needed)]
        ["setattr(config, 'pool', 'max')"]
    """
    run = list(needed)
    indices = {statement.index for statement in run}
    known = {
        name
        for statement in run
        if not isinstance(statement.node, ast.Import | ast.ImportFrom)
        for name in statement.binds
    }
    found = []
    for statement in _statements(cells):
        call = statement.node.value if isinstance(statement.node, ast.Expr) else None
        if statement.index in indices or not isinstance(call, ast.Call):
            continue
        function = call.func
        if isinstance(function, ast.Name) and function.id in _HARMLESS_FUNCTIONS:
            continue
        if isinstance(function, ast.Attribute) and function.attr in _HARMLESS_METHODS:
            continue
        if known & {part.id for part in ast.walk(call) if isinstance(part, ast.Name)}:
            found.append(statement)
    return found


def _statements(cells: Iterable[Cell]) -> Iterator[Statement]:
    index = 0
    for cell in cells:
        for node in cell.statements:
            for part in _parts(node):
                yield Statement(index, cell, part, _bound(part), _changed(part), _called_on(part))
                index += 1


def _parts(node: ast.stmt) -> Iterator[ast.stmt]:
    """The statement; of an import of several names, one for each. What is for running the file alone is left out."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            part: ast.stmt = (
                ast.Import([alias])
                if isinstance(node, ast.Import)
                else ast.ImportFrom(node.module, [alias], node.level)
            )
            yield ast.copy_location(part, node)
    elif not (
        isinstance(node, ast.If) and "__name__" in {n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)}
    ):
        yield node


def _run_at_once(node: ast.AST) -> Iterator[ast.AST]:
    """What of a statement runs when it is met: all but the bodies of functions, and decorators, which only register."""
    yield node
    if isinstance(node, _Definition | ast.Lambda):
        children: Iterable[ast.AST | None] = [*node.args.defaults, *node.args.kw_defaults]
    elif isinstance(node, ast.ClassDef):
        children = [*node.bases, *node.keywords, *node.body]
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        if child is not None:
            yield from _run_at_once(child)


def _bound(node: ast.stmt) -> frozenset[str]:
    if isinstance(node, ast.ClassDef | _Definition):
        return frozenset({node.name})
    if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
        return frozenset({"*"})
    if isinstance(node, ast.AugAssign | ast.Expr):
        return frozenset()
    return frozenset(s.get_name() for s in _table(node).get_symbols() if s.is_assigned() or s.is_imported())


def _table(node: ast.stmt) -> symtable.SymbolTable:
    """Which names of a statement are whose, as Python's compiler sees it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return symtable.symtable(ast.unparse(node), "statement", "exec")


def _changed(node: ast.stmt) -> frozenset[str]:
    """The names whose values get an attribute or an item, or are added to."""
    roots = set()
    for part in _run_at_once(node):
        for target in part.targets if isinstance(part, ast.Assign | ast.Delete) else [getattr(part, "target", None)]:
            whole = isinstance(target, ast.Name) and not isinstance(part, ast.AugAssign)
            if target is not None and not whole and (root := _root(target)):
                roots.add(root)
    return frozenset(roots)


def _called_on(node: ast.stmt) -> frozenset[str]:
    """The names on which methods are called for what these do, and not for what they return."""
    return frozenset(
        root
        for part in _run_at_once(node)
        if isinstance(part, ast.Expr)
        and isinstance(part.value, ast.Call)
        and isinstance(part.value.func, ast.Attribute)
        and part.value.func.attr not in _HARMLESS_METHODS
        and (root := _root(part.value.func))
    )


def _root(node: ast.AST) -> str:
    """The name that a chain of attributes and items begins with; empty for weights, which are loaded later."""
    attributes = set()
    while isinstance(node, ast.Attribute | ast.Subscript):
        attributes.add(node.attr if isinstance(node, ast.Attribute) else "")
        node = node.value
    return node.id if isinstance(node, ast.Name) and not {"data", "weight", "bias"} & attributes else ""


class _NotRunError(Exception):
    """A name whose statement is not run: it, or one that it needs (`root`), does more than to define something."""

    def __init__(self, name: str, statement: Statement, root: Statement, reason: str) -> None:
        super().__init__(name)
        self.name = name
        self.statement = statement
        self.root = root
        self.reason = reason

    @property
    def told(self) -> str:
        because = f"needs `{self.root.title}` of {self.root.where}, which {self.reason}"
        because = self.reason if self.root is self.statement else because
        verb = "makes" if self.name in self.statement.binds else "changes"
        return f"{self.statement.where} {verb} by `{self.statement.title}`, and that is not run: it {because}"


class _Search:
    """What is needed so far.

    Args:
        statements: all of them.
        path: what the file is called in messages.
        given: names that need no statement.
    """

    def __init__(self, statements: list[Statement], path: str, given: Set[str]) -> None:
        self.path = path
        self.given = given
        self.attributes: set[str] = set()
        self.taken: set[int] = set()
        self.order: list[Statement] = []
        self.unresolved: set[str] = set()
        self._not_run: dict[int, _NotRunError] = {}
        self._in_order = True
        self._all = statements
        self._binding: dict[str, list[Statement]] = {}
        self._changing: dict[str, list[Statement]] = {}
        for statement in statements:
            for name in statement.binds:
                self._binding.setdefault(name, []).append(statement)
            for name in statement.changes | statement.calls_on:
                self._changing.setdefault(name, []).append(statement)

    def forget(self) -> None:
        """Begin anew, with the methods known that are reached."""
        for found in (self.taken, self.order, self.unresolved):
            found.clear()

    def want(self, name: str) -> None:
        """Take all that a name needs that the user has asked for."""
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
        binding = self._binding.get(name)
        if binding is None:
            if name not in _BUILTINS:
                self.unresolved.add(name)
            return
        end = len(self._all) if before is None else before
        earlier = [statement for statement in binding if statement.index < end]
        if not earlier:
            # Its owner ran the cells in another order.
            self._in_order = False
        last = earlier[-1] if earlier else binding[0]
        if _plain_import(last):
            # `import a.b` and `import a.c` bind the same name, and both are needed.
            chosen = list({ast.unparse(s.node): s for s in reversed(binding) if _plain_import(s)}.values())
        else:
            # What is set in an imported package, such as a switch of torch.backends, is none of the file's definitions.
            changing = [] if _is_import(last) else self._changing.get(name, [])
            later = [s for s in changing if last.index < s.index < end]
            # The module that is asked for gets its weights later: what a training did to it is not needed.
            chosen = [last, *(s for s in later if asked_by is not None or name in s.changes)]
        for statement in chosen:
            self._take(statement, name, wanted=asked_by is None)

    def in_order(self) -> list[Statement]:
        """What was taken, as it is to be run."""
        taken = sorted(self.order, key=lambda s: s.index) if self._in_order else list(self.order)
        if self.unresolved:
            # A name that nothing binds may come from one of these.
            stars = [s for s in self._all if isinstance(s.node, ast.ImportFrom) and s.binds == {"*"}]
            taken = [*stars, *(s for s in taken if s not in stars)]
        return taken

    def _take(self, statement: Statement, name: str, *, wanted: bool) -> None:
        if statement.index in self._not_run:
            before = self._not_run[statement.index]
            raise _NotRunError(name, statement, before.root, before.reason)
        if statement.index in self.taken:
            return
        self.taken.add(statement.index)
        reason = self._why_not(statement.node, set())
        names = (set(), set()) if reason else self._names(statement)
        failed = []
        for used, at in [(n, statement.index) for n in sorted(names[0])] + [(n, None) for n in sorted(names[1])]:
            if at is None and statement not in self.order:
                self.order.append(statement)
            try:
                # Of `model = model.to(device)`, the first model is what is asked for too.
                self._require(used, at, None if wanted and used == name else statement)
            except _NotRunError as error:
                failed.append(error)
        if statement not in self.order:
            self.order.append(statement)
        if failed and (wanted or isinstance(statement.node, ast.ClassDef | _Definition)):
            whose = name if wanted else min(statement.binds)
            settings = " ".join(f"--set {error.name}=VALUE" for error in failed)
            raise InputError(
                f"{self.path}: {whose} needs {failed[0].name}, which {failed[0].told}.",
                f"Give plain values on the command line, {settings}, or set them in the file.",
            )
        if reason or failed:
            root, reason = (statement, reason) if reason else (failed[0].root, failed[0].reason)
            self._not_run[statement.index] = _NotRunError(name, statement, root, reason)
            raise self._not_run[statement.index]

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

        visit(_table(statement.node), now, True)
        if isinstance(statement.node, ast.ClassDef):
            live = [
                part for part in statement.node.body if not isinstance(part, _Definition) or self._is_live(part.name)
            ]
        self.attributes |= {n.attr for part in live for n in ast.walk(part) if isinstance(n, ast.Attribute)}
        # A class's own name in its methods, as in super(RNN, self), and what the statement makes itself.
        own = statement.binds if isinstance(statement.node, ast.ClassDef | _Definition | ast.If | ast.Try) else set()
        return now - own, later - own

    def _is_live(self, method: str) -> bool:
        return method.startswith(_CALLED_FROM_OUTSIDE) or method in self.attributes

    def _why_not(self, node: ast.stmt, seen: set[str]) -> str:
        """Why a statement is not run; empty if it may be."""
        for part in _run_at_once(node):
            if isinstance(part, ast.For | ast.AsyncFor | ast.While):
                return "loops"
            if isinstance(part, ast.With | ast.AsyncWith | ast.Await):
                return "opens something"
            if isinstance(part, ast.Call) and (name := self._not_pure(part.func, seen)):
                return f"calls {name}, and that may read, download or train"
        return ""

    def _not_pure(self, called: ast.expr, seen: set[str]) -> str:
        """The name of a called function that may do more than to make a value; empty if it does not."""
        parts: list[str] = []
        root: ast.AST = called
        while isinstance(root, ast.Attribute):
            parts.append(root.attr)
            root = root.value
        name = ".".join([*([root.id] if isinstance(root, ast.Name) else []), *reversed(parts)])
        if not isinstance(root, ast.Name):
            # A method of a value, or the call of what a call gave.
            return name if parts and parts[0] not in _PURE_METHODS else ""
        binding = self._binding.get(root.id, [])
        imported = next((s.node for s in reversed(binding) if isinstance(s.node, ast.Import | ast.ImportFrom)), None)
        if imported is not None:
            module = imported.module or "" if isinstance(imported, ast.ImportFrom) else imported.names[0].name
            names = {*module.split("."), imported.names[0].name, *parts}
            pure = (module.split(".")[0] in _PURE_PACKAGES and not names & _READING) or name == "os.path.join"
            return "" if pure else name
        if parts:
            return "" if parts[0] in _PURE_METHODS | _CHANGING_METHODS else name
        definition = next((s.node for s in reversed(binding) if isinstance(s.node, ast.ClassDef | _Definition)), None)
        if isinstance(definition, ast.ClassDef | _Definition):
            return "" if self._reads_nothing(definition, seen) else name
        return "" if not binding and name in _PURE_BUILTINS else name

    def _reads_nothing(self, definition: ast.ClassDef | _Definition, seen: set[str]) -> bool:
        """Whether a function of the file, or the making of an object, calls nothing that reads or trains, by names."""
        seen.add(definition.name)
        bodies = [definition] if isinstance(definition, _Definition) else _making(definition)
        for part in (node for body in bodies for node in ast.walk(body)):
            if not isinstance(part, ast.Call):
                continue
            called = part.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in _READING:
                return False
            own = [s.node for s in self._binding.get(name, ()) if isinstance(s.node, ast.ClassDef | _Definition)]
            if own and name not in seen and not self._reads_nothing(own[-1], seen):
                return False
        return True


def _plain_import(statement: Statement) -> bool:
    return isinstance(statement.node, ast.Import) and statement.node.names[0].asname is None


def _making(definition: ast.ClassDef) -> list[ast.stmt]:
    """The methods of a class that run when an object is made."""
    names = ("__init__", "__new__", "__post_init__", "__init_subclass__")
    return [part for part in definition.body if isinstance(part, _Definition) and part.name in names]


def _is_import(statement: Statement) -> bool:
    return isinstance(statement.node, ast.Import | ast.ImportFrom)
