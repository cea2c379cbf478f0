"""Which statements of a file may change what a slice of it runs, by the names that they mention.

A name that is given the value of another one stands for the same object, and whoever mentions a function is taken to
call it. Nothing is followed further than that: what may change a name is run, or told.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

from pocketrnn_export.source_code.code_facts import (
    Function,
    Import,
    arguments_of,
    gives_itself,
    is_flat,
    is_plain,
    keeps_state,
    methods_of,
)
from pocketrnn_export.source_code.known_code import (
    ALIVE,
    FRESH_BUILTINS,
    HARMLESS_METHODS,
    HOLDING_BUILTINS,
    LEAVE_ALONE,
    REACH_ANYTHING,
    READING,
    RUN_BY_A_PICKLE,
    SETS_STATE,
    SWITCHES,
    UNPICKLE,
    keeps_something,
)
from pocketrnn_export.source_code.mentions import Mentions
from pocketrnn_export.source_code.statements import Statement

__all__ = ["ANY", "FileBeside", "Touched", "TouchedNames"]

# Kinds of names, by what gives them a value.
_PLAIN, _FLAT, _OBJECT, _CODE, _OF_FILE, _ALIVE = "plain", "flat", "object", "code", "of a file beside", "alive"
# Stands for any package.
ANY: Final = "*"


@dataclass
class FileBeside:
    """The facts of a file beside; packages and files are named by the first part of their names.

    Attributes:
        imports: itself, what it imports, and what the files beside it import that it imports.
        changes: what importing it may change; `ANY` where that may be anything.
        changes_later: what using one of its functions or classes may change, itself among it.
    """

    imports: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    changes_later: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Touched:
    """The changes that a statement may make: names that are run, and objects of what is asked for."""

    names: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    anything: str = ""

    def __bool__(self) -> bool:
        return bool(self.names or self.made or self.anything)


class TouchedNames:
    """The effects of a file's statements on names.

    Args:
        statements: all of them.
        beside: what tells of the files beside it among some modules.
    """

    def __init__(self, statements: Sequence[Statement], beside: Callable[[Iterable[str]], FileBeside]) -> None:
        self._all, self._beside = statements, beside
        self._binding: dict[str, list[Statement]] = {}
        self._holding: dict[str, list[Statement]] = {}
        self._imports: dict[str, str] = {}
        for statement in statements:
            for name in statement.binds:
                self._binding.setdefault(name, []).append(statement)
            for name in {*statement.binds, *map(_top, statement.now.writes)}:
                self._holding.setdefault(name, []).append(statement)
            self._imports.update(statement.now.imports | statement.later.imports)
        self._code: dict[str, Mentions] = {}
        classes = [one.node for one in statements if isinstance(one.node, ast.ClassDef)]
        self._unpickled = any(methods_of(node, *RUN_BY_A_PICKLE) for node in classes)
        # Methods of the file that may give a part of their object.
        self._giving = {one.name for node in classes for one in methods_of(node) if gives_itself(one)}
        self._kinds = self._kinds_of_names()
        self.totals = {one.index: self._total(one) for one in statements}
        alive = {name for name, kind in self._kinds.items() if kind == _ALIVE}
        alive |= {_top(name) for s in statements for name in s.now.writes if _is_alive(getattr(s.node, "value", None))}
        self._alive = self.with_aliases(alive)
        self.binding: dict[str, list[Statement]] = {}
        for statement in statements:
            for name in () if statement.alone else statement.binds | self.totals[statement.index].binds:
                self.binding.setdefault(name, []).append(statement)

    # --- what is known of names

    def _kinds_of_names(self) -> dict[str, str]:
        plain: set[str] = set()
        kinds: dict[str, str] = {}
        set_by_functions = {name for s in self._all for name in s.now.binds | s.later.binds}
        for name, given in ((n, g) for s in self._all for n in s.binds if (g := self._binding[n]) and n not in kinds):
            nodes = [one.node for one in given]
            values = [getattr(node, "value", None) for node in nodes]
            simple = all(map(_is_simple, nodes))
            if any(isinstance(node, ast.ClassDef | Function) for node in nodes):
                kinds[name] = _ALIVE if any(map(self._keeps_something, nodes)) else _CODE
            elif all(isinstance(node, Import) for node in nodes):
                beside = self._beside(one for given_by in given for one in given_by.now.modules)
                kinds[name] = _OF_FILE if beside.imports else _CODE
            elif any(map(_is_alive, values)):
                kinds[name] = _ALIVE
            elif name in set_by_functions:
                kinds[name] = _OBJECT
            elif simple and all(is_plain(value, plain) for value in values):
                kinds[name] = _PLAIN
                plain.add(name)
            else:
                kinds[name] = _FLAT if simple and all(is_flat(value, plain) for value in values) else _OBJECT
        return kinds

    def _keeps_something(self, node: ast.stmt) -> bool:
        decorators = getattr(node, "decorator_list", ())
        return any(keeps_something(ast.unparse(one.func if isinstance(one, ast.Call) else one)) for one in decorators)

    def _total(self, statement: Statement) -> Mentions:
        """The effects of a statement and of the functions that it mentions, and of those that these mention."""
        total = Mentions()
        total.add(statement.now)
        if not isinstance(statement.node, ast.ClassDef | Function) or _runs_itself(statement.node):
            total.add(statement.later)
        for name in {_top(name) for name in total.loads}:
            total.add(self._code_of(name))
        for called in total.through:
            top, last = _top(called), called.split(".")[-1]
            if top not in self._imports or last.startswith(("get", "current")):
                total.writes |= {top} | {name for name, to, _ in self._code_of(top).hands if not to}
        return total

    def _code_of(self, name: str) -> Mentions:
        """The effects of the functions that a name stands for, or that its object holds."""
        if name not in self._code:
            self._code[name] = total = Mentions()
            waiting, seen = [name], set[str]()
            while waiting:
                one = waiting.pop()
                if one in seen:
                    continue
                seen.add(one)
                for statement in self._holding.get(one, ()):
                    total.add(statement.later)
                    if isinstance(statement.node, ast.ClassDef | Function):
                        waiting += map(_top, statement.now.loads)
                    for done in (statement.now, statement.later):
                        waiting += [source for target, source, *_ in done.aliases if target == one]
                        waiting += [_top(source) for target, source in done.made if target == one]
                    waiting += map(_top, statement.later.loads)
        return self._code[name]

    def is_code(self, name: str) -> bool:
        """Whether a name stands for a function, a class or a package."""
        return self._kinds.get(name) == _CODE

    def is_object(self, name: str) -> bool:
        """Whether a name stands for what may be changed."""
        return self._kinds.get(name) not in (_CODE, _PLAIN)

    def of_stars(self, packages: Set[str]) -> set[str]:
        """The names that may come from `from file import *`, where that file is among some."""
        stars = [s for s in self._all if s.is_star and {one.split(".")[0] for one in s.now.modules} & packages]
        if not stars:
            return set()
        mentioned = {_top(name) for s in self._all for name in s.now.loads | s.now.writes}
        return {name for name in mentioned if name not in self._binding and not hasattr(builtins, name)}

    def dotted(self, name: str) -> str:
        """The name in a package that a name stands for, `torch.nn` of `nn`; else the name itself."""
        top, *rest = name.split(".", 1)
        return ".".join([self._imports.get(top, top), *rest])

    # --- what a statement may change

    def changes_directly(self, statement: Statement, name: str) -> bool:
        """Whether a statement itself, and no function that it calls, may change what a name stands for."""
        done = statement.now
        of_file = any(self._class_of(one) for one in self._binding.get(name, ()))
        unknown = {method for of, method in done.methods if _top(of) == name and of_file}
        return name in map(_top, done.writes) or any(self._method_changes(method) for method in unknown)

    def _class_of(self, statement: Statement) -> ast.ClassDef | None:
        """The class of which a statement makes an object: `Net` of `model = Net()`."""
        value = getattr(statement.node, "value", None)
        called = getattr(value.func, "id", "") if isinstance(value, ast.Call) else ""
        nodes = [one.node for one in self._binding.get(called, ())]
        return next((node for node in reversed(nodes) if isinstance(node, ast.ClassDef)), None)

    def _method_changes(self, method: str) -> bool:
        """Whether a method may change its object, by all methods of the file that are called so."""
        found = [one for s in self._all if isinstance(s.node, ast.ClassDef) for one in methods_of(s.node, method)]
        if not found:
            return True
        return any(
            isinstance(part, ast.Attribute) and not isinstance(part.ctx, ast.Load)
            for one in found
            for part in ast.walk(one)
        )

    def touched_by(
        self, statement: Statement, objects: Set[str], code: Set[str], parts: Set[str], models: Set[str]
    ) -> Touched:
        """The names among some that a statement may change.

        Args:
            statement: one that is not run.
            objects: names that stand for objects.
            code: names that stand for functions, classes, packages.
            parts: names that stand for objects of classes that are run.
            models: names that stand for objects of what is asked for, whose weights come later.
        """
        total = self.totals[statement.index]
        written = {_top(name) for name in total.writes if not self.dotted(name).startswith(SWITCHES)}
        weights = {_top(name) for name in total.weights}
        found = set()
        for name in objects - models:
            of_file = self._kinds.get(name, _OF_FILE) == _OF_FILE
            if name in self._alive and name in total.loads:
                found.add(name)
            called = name in total.calls or any(
                _top(of) == name and self._method_changes(method) for of, method in total.methods
            )
            if name in written | weights or self._handed(total, name) or (called and not of_file):
                found.add(name)
        for name in code:
            if name in written or (total.sets_given and any(one == name for one, _, part in total.hands if not part)):
                found.add(name)
        found |= {name for name in parts - objects - models if self._is_changed(name, total, written)}
        made = {name for name in models if self._is_changed(name, total, written)}
        return Touched(tuple(sorted(found)), tuple(sorted(made)), self._anything(total))

    def _is_changed(self, name: str, total: Mentions, written: Set[str]) -> bool:
        """Whether something else of a module may be changed than its weights."""
        handed = {to for one, to, _ in total.hands if one == name}
        return (
            name in written
            or (total.sets_given and bool(handed))
            or any(map(self._is_unknown, handed))
            or any(
                of == name and method not in HARMLESS_METHODS and self._method_changes(method)
                for of, method in total.methods
            )
            or (name in total.calls and self._keeps_state(name))
        )

    def _handed(self, total: Mentions, name: str) -> bool:
        """Whether an object is given to code that may change it."""
        for one, call, part in total.hands:
            to = _top(call)
            if one != name or (part and self._kinds.get(name) == _FLAT) or self.dotted(call) in READING:
                continue
            if not to or (self._kinds.get(to) == _CODE and to not in self._imports):
                if total.writes_given:
                    return True
            elif not (part and to in self._imports):
                return True
        return False

    def _is_unknown(self, to: str) -> bool:
        """Whether nothing is known of a function to which a module is given."""
        package, to = self.dotted(to).split(".")[0], _top(to)
        if to in self._imports:
            return package not in LEAVE_ALONE
        if to in self._binding:
            given = (s.now.loads for s in self._binding[to])
            return any(one in self._imports and self._is_unknown(one) for loads in given for one in loads)
        return False

    def _keeps_state(self, name: str) -> bool:
        known = (self._class_of(one) for one in self._binding.get(name, ()))
        return any(keeps_state(one) for one in known if one is not None)

    def packages_changed(self, statement: Statement, own: str, *, later: bool = False) -> set[str]:
        """The packages and files that a statement of a file changes, or its functions when they are called.

        Args:
            statement: the statement.
            own: the file.
            later: ask about the functions.
        """
        total = statement.later if later else self.totals[statement.index]
        if self._anything(total):
            return {ANY}
        used = self._beside(self.modules_of(total.loads))
        written = {_top(name) for name in total.writes | total.weights}
        if total.writes_given:
            written |= {name for name, *_ in total.hands if self._kinds.get(name) != _PLAIN}
        imported = {self.dotted(name).split(".")[0] for name in written if name in self._imports}
        return imported | used.changes_later | ({own} if written - set(self._imports) else set())

    def modules_of(self, names: Iterable[str]) -> set[str]:
        """The modules from which some names are imported."""
        tops = {name for name in map(_top, names) if not hasattr(builtins, name) or name in self._binding}
        given = (one for name in tops for one in self._binding.get(name, self._binding.get("*", ())))
        return {module for one in given if one.is_import for module in one.now.modules}

    def packages_touched(self, statement: Statement, packages: Set[str]) -> set[str]:
        """The packages and files, of some, that a statement may change by none of their names."""
        total = self.totals[statement.index]
        used = self._beside(self.modules_of(total.loads))
        changed = self._beside(total.modules).changes | used.changes_later
        for dotted in map(self.dotted, total.writes):
            if dotted.startswith("sys.path"):
                changed |= {"sys.path"}
            elif not dotted.startswith(SWITCHES):
                changed.add(dotted.split(".")[0])
        called = {self.dotted(name) for name in total.loads}
        changed |= {name.split(".")[0] for name in called if name.startswith(SETS_STATE)}
        if "os.chdir" in called and self._beside(packages).imports:
            changed |= {"sys.path"}
        return {"any package"} if ANY in changed else changed & packages

    def _anything(self, total: Mentions) -> str:
        mentioned = {self.dotted(name) for name in total.loads | total.writes} | set(total.imports.values())
        if total.anything or (self._unpickled and UNPICKLE & mentioned):
            return total.anything or "a pickle"
        return next((one for one in sorted(mentioned) if one.startswith(REACH_ANYTHING)), "")

    # --- what else stands for the same

    def with_aliases(self, names: Iterable[str], *, makers: Set[str] = frozenset()) -> set[str]:
        """Some names, and those that are given their objects, or what functions make that are called `makers`."""
        found = set(names)
        while True:
            before = len(found)
            for statement in self._all:
                done = self.totals[statement.index]
                given = {target for target, name, to, part in done.aliases
                         if self._hands_on(name, found, part=part) and self._keeps(to, part=part)}  # fmt: skip
                given |= {target for target, name, to, part in done.mixes
                          if self._hands_on(name, found, part=part) and self._mixes(to)}  # fmt: skip
                given |= {target for target, name in done.made if self._gives_on(name, found, makers)}
                found |= {one for one in given if self._kinds.get(one) != _PLAIN and one not in self._imports}
            if len(found) == before:
                return found

    def _hands_on(self, name: str, found: Set[str], *, part: bool) -> bool:
        return name in found and not (part and self._kinds.get(name) in (_FLAT, _CODE))

    def _keeps(self, called: str, *, part: bool) -> bool:
        """Whether what a call gives may be, or hold, what it is given; a part of it, or the whole."""
        if not called or called == "()":
            return True
        top, last = _top(called), called.split(".")[-1]
        if top in self._imports:
            return self.dotted(called) not in READING and (
                last[:1].isupper() or (not part and not self._is_unknown(called))
            )
        nodes = [one.node for one in self._binding.get(top, ())]
        if any(isinstance(node, Function) for node in nodes):
            return self._code_of(top).returns_given
        return True

    def _mixes(self, called: str) -> bool:
        """Whether a function of the file may put what it is given into something else that it is given."""
        return called in self._binding and called not in self._imports and self._code_of(called).writes_given

    def _gives_on(self, called: str, found: Set[str], makers: Set[str]) -> bool:
        """Whether a function may give what some names stand for, or what others make."""
        name, _, method = called.partition(".")
        if method:
            return name in makers or (name in found and method in self._giving)
        nodes = [one.node for one in self._binding.get(called, ())]
        if not any(isinstance(node, ast.ClassDef | Function) or isinstance(getattr(node, "value", None), ast.Lambda)
                   for node in nodes):  # fmt: skip
            return False
        code = self._code_of(called)
        handed = any(self._hands_on(name, found, part=part) for name, to, part in code.hands if not to)
        return handed or called in makers or bool(code.calls & makers)


def _runs_itself(node: ast.stmt) -> bool:
    """Whether it is an Enum, whose methods run while it is made."""
    return isinstance(node, ast.ClassDef) and any("Enum" in ast.unparse(base) for base in node.bases)


def _is_alive(node: ast.AST | None) -> bool:
    """Whether a value, or something in it, is another thing after it was read, as an iterator is."""
    if isinstance(node, ast.Call):
        called = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if called in ALIVE or called in FRESH_BUILTINS | HOLDING_BUILTINS:
            # `list(zip(a, b))` has read it.
            return called in ALIVE
        return any(map(_is_alive, arguments_of(node)))
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp):
        return any(_is_alive(getattr(node, part, None)) for part in ("elt", "value"))
    return isinstance(node, ast.GeneratorExp) or any(map(_is_alive, ast.iter_child_nodes(node) if node else ()))


def _is_simple(node: ast.stmt) -> bool:
    """Whether it gives one name, or several, the value that is written there."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and all(
        isinstance(t, ast.Name) for t in targets
    )


def _top(name: str) -> str:
    return name.split(".", 1)[0]
