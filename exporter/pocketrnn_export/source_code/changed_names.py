"""Find the statements of a file that may change the code that a module needs. Names show what a statement may
change.

A name that is assigned another name is the same object, and a statement that mentions a function is assumed to call it.
Nothing is followed further: a statement that may change a name is run, or reported.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

from pocketrnn_export.source_code.expression_kinds import (
    is_flat_container,
    is_number_or_string_value,
    list_arguments,
)
from pocketrnn_export.source_code.import_statements import Import
from pocketrnn_export.source_code.known_function_effects import (
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
    may_keep_state,
)
from pocketrnn_export.source_code.name_references import Mentions
from pocketrnn_export.source_code.parts_of_functions_and_classes import (
    Function,
    find_first_parameter_name,
    find_methods,
    strip_decorator_call,
)
from pocketrnn_export.source_code.top_level_statements import Statement

# Kinds of names, by the statements that bind them.
_PLAIN, _FLAT, _OBJECT, _CODE, _OF_FILE, _ALIVE = "plain", "flat", "object", "code", "of a file beside", "alive"
# Stands for any package.
ANY: Final = "*"


@dataclass
class FileFacts:
    """The packages and files that a Python file in the notebook's folder imports or may change. Only the first part
    of a dotted name is kept: `torch` for `torch.nn`.

    Attributes:
        imports: the file itself, its imports, and the imports of the imported files beside it.
        changes: the names that its import may change; `ANY` where it may change anything.
        changes_later: the names that a call of its functions or classes may change, also the file itself.
    """

    imports: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    changes_later: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class PossibleChanges:
    """The names and objects of the needed code that a statement may change.

    Attributes:
        names: the names of the code that is run.
        made: the names of objects of the wanted class.
        anything: the code by which the statement may change any object; empty without such code.
    """

    names: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    anything: str = ""

    def __bool__(self) -> bool:
        return bool(self.names or self.made or self.anything)


class ChangeFinder:
    """Finds the names that each statement of a file may change.

    Args:
        statements: all statements.
        beside: returns the facts about those of some modules that are files beside it.
    """

    def __init__(self, statements: Sequence[Statement], beside: Callable[[Iterable[str]], FileFacts]) -> None:
        self._all, self._beside = statements, beside
        self._binding: dict[str, list[Statement]] = {}
        self._holding: dict[str, list[Statement]] = {}
        self._imports: dict[str, str] = {}
        for statement in statements:
            for name in statement.binds:
                self._binding.setdefault(name, []).append(statement)
            for name in {*statement.binds, *map(_read_top_name, statement.now.writes)}:
                self._holding.setdefault(name, []).append(statement)
            self._imports.update(statement.now.imports | statement.later.imports)
        self._code: dict[str, Mentions] = {}
        classes = [one.node for one in statements if isinstance(one.node, ast.ClassDef)]
        self._unpickled = any(find_methods(node, *RUN_BY_A_PICKLE) for node in classes)
        # Methods of the file that may return a part of their object.
        self._giving = {one.name for node in classes for one in find_methods(node) if _may_return_self(one)}
        self._kinds = self._classify_names()
        self.totals = {one.index: self._collect_total_mentions(one) for one in statements}
        alive = {name for name, kind in self._kinds.items() if kind == _ALIVE}
        alive |= {
            _read_top_name(name)
            for s in statements
            for name in s.now.writes
            if _is_changed_by_reading(getattr(s.node, "value", None))
        }
        self._alive = self.add_aliases(alive)
        self.binding: dict[str, list[Statement]] = {}
        for statement in statements:
            for name in () if statement.alone else statement.binds | self.totals[statement.index].binds:
                self.binding.setdefault(name, []).append(statement)

    # --- facts about names

    def _classify_names(self) -> dict[str, str]:
        """Return a dict from each name that the file defines to its kind: plain value, flat container, other object,
        code, import of another Python file in the folder, or value that changes when it is read."""
        plain: set[str] = set()
        kinds: dict[str, str] = {}
        set_by_functions = {name for s in self._all for name in s.now.binds | s.later.binds}
        for name, given in ((n, g) for s in self._all for n in s.binds if (g := self._binding[n]) and n not in kinds):
            nodes = [one.node for one in given]
            values = [getattr(node, "value", None) for node in nodes]
            simple = all(map(_is_simple_assignment, nodes))
            if any(isinstance(node, ast.ClassDef | Function) for node in nodes):
                kinds[name] = _ALIVE if any(map(_has_stateful_decorator, nodes)) else _CODE
            elif all(isinstance(node, Import) for node in nodes):
                beside = self._beside(one for given_by in given for one in given_by.now.modules)
                kinds[name] = _OF_FILE if beside.imports else _CODE
            elif any(map(_is_changed_by_reading, values)):
                kinds[name] = _ALIVE
            elif name in set_by_functions:
                kinds[name] = _OBJECT
            elif simple and all(is_number_or_string_value(value, plain) for value in values):
                kinds[name] = _PLAIN
                plain.add(name)
            else:
                kinds[name] = _FLAT if simple and all(is_flat_container(value, plain) for value in values) else _OBJECT
        return kinds

    def _collect_total_mentions(self, statement: Statement) -> Mentions:
        """Return the names that a statement mentions, and the names in the functions that the statement mentions."""
        total = Mentions()
        total.add(statement.now)
        if not isinstance(statement.node, ast.ClassDef | Function) or _is_enum(statement.node):
            total.add(statement.later)
        for name in {_read_top_name(name) for name in total.loads}:
            total.add(self._collect_mentions_of_functions(name))
        for called in total.through:
            top, last = _read_top_name(called), called.split(".")[-1]
            if top not in self._imports or last.startswith(("get", "current")):
                total.writes |= {top} | {
                    name for name, to, _ in self._collect_mentions_of_functions(top).hands if not to
                }
        return total

    def _collect_mentions_of_functions(self, name: str) -> Mentions:
        """Return the names in the functions that `name` refers to, or that the object of this name holds."""
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
                        waiting += map(_read_top_name, statement.now.loads)
                    for done in (statement.now, statement.later):
                        waiting += [source for target, source, *_ in done.aliases if target == one]
                        waiting += [_read_top_name(source) for target, source in done.made if target == one]
                    waiting += map(_read_top_name, statement.later.loads)
        return self._code[name]

    def is_code_name(self, name: str) -> bool:
        """Return whether a name refers to a function, a class or a package."""
        return self._kinds.get(name) == _CODE

    def is_changeable(self, name: str) -> bool:
        """Return whether a name refers to an object that may be changed."""
        return self._kinds.get(name) not in (_CODE, _PLAIN)

    def list_names_from_stars(self, packages: Set[str]) -> set[str]:
        """Return the names that the file does not define, if `from package import *` may define them for one of the
        packages."""
        stars = [s for s in self._all if s.is_star and {one.split(".")[0] for one in s.now.modules} & packages]
        if not stars:
            return set()
        mentioned = {_read_top_name(name) for s in self._all for name in s.now.loads | s.now.writes}
        return {name for name in mentioned if name not in self._binding and not hasattr(builtins, name)}

    def find_full_name(self, name: str) -> str:
        """Return the full name of an imported name: `torch.nn` for `nn`. Another name is returned unchanged."""
        top, *rest = name.split(".", 1)
        return ".".join([self._imports.get(top, top), *rest])

    # --- changes by a statement

    def may_change_directly(self, statement: Statement, name: str) -> bool:
        """Return whether a statement may change the object of a name. Functions that the statement calls are not
        considered."""
        done = statement.now
        of_file = any(self._find_made_class(one) for one in self._binding.get(name, ()))
        unknown = {method for of, method in done.methods if _read_top_name(of) == name and of_file}
        return name in map(_read_top_name, done.writes) or any(
            self._may_method_change_object(method) for method in unknown
        )

    def _find_made_class(self, statement: Statement) -> ast.ClassDef | None:
        """Return the class of the object that a statement creates: `Net` for `model = Net()`."""
        value = getattr(statement.node, "value", None)
        called = getattr(value.func, "id", "") if isinstance(value, ast.Call) else ""
        nodes = [one.node for one in self._binding.get(called, ())]
        return next((node for node in reversed(nodes) if isinstance(node, ast.ClassDef)), None)

    def _may_method_change_object(self, method: str) -> bool:
        """Return whether a method with this name may change its object. All methods of the file with this name are
        considered."""
        found = [one for s in self._all if isinstance(s.node, ast.ClassDef) for one in find_methods(s.node, method)]
        if not found:
            return True
        return any(
            isinstance(part, ast.Attribute) and not isinstance(part.ctx, ast.Load)
            for one in found
            for part in ast.walk(one)
        )

    def find_changes(
        self,
        statement: Statement,
        object_names: Set[str],
        code_names: Set[str],
        part_names: Set[str],
        wanted_modules: Set[str],
    ) -> PossibleChanges:
        """Return the names that a statement may change.

        Args:
            statement: a statement that is not run.
            object_names: names of objects.
            code_names: names of functions, classes, packages.
            part_names: names of objects of classes that are run.
            wanted_modules: names of objects of the wanted class, whose weights are loaded later.
        """
        total = self.totals[statement.index]
        written = {_read_top_name(name) for name in total.writes if not self.find_full_name(name).startswith(SWITCHES)}
        weights = {_read_top_name(name) for name in total.weights}
        found = set()
        for name in object_names - wanted_modules:
            of_file = self._kinds.get(name, _OF_FILE) == _OF_FILE
            if name in self._alive and name in total.loads:
                found.add(name)
            called = name in total.calls or any(
                _read_top_name(of) == name and self._may_method_change_object(method) for of, method in total.methods
            )
            if name in written | weights or self._is_passed_to_changer(total, name) or (called and not of_file):
                found.add(name)
        for name in code_names:
            if name in written or (total.sets_given and any(one == name for one, _, part in total.hands if not part)):
                found.add(name)
        found |= {
            name
            for name in part_names - object_names - wanted_modules
            if self._may_change_more_than_weights(name, total, written)
        }
        made = {name for name in wanted_modules if self._may_change_more_than_weights(name, total, written)}
        return PossibleChanges(tuple(sorted(found)), tuple(sorted(made)), self._find_code_of_unlimited_change(total))

    def _may_change_more_than_weights(self, name: str, total: Mentions, written: Set[str]) -> bool:
        """Return whether a statement may change more of a user's module than the weights."""
        handed = {to for one, to, _ in total.hands if one == name}
        return (
            name in written
            or (total.sets_given and bool(handed))
            or any(map(self._is_function_of_unknown_code, handed))
            or any(
                of == name and method not in HARMLESS_METHODS and self._may_method_change_object(method)
                for of, method in total.methods
            )
            or (name in total.calls and self._has_stateful_forward(name))
        )

    def _is_passed_to_changer(self, total: Mentions, name: str) -> bool:
        """Return whether a statement passes an object to a function that may change the object."""
        for one, call, part in total.hands:
            to = _read_top_name(call)
            if one != name or (part and self._kinds.get(name) == _FLAT) or self.find_full_name(call) in READING:
                continue
            if not to or (self._kinds.get(to) == _CODE and to not in self._imports):
                if total.writes_given:
                    return True
            elif not (part and to in self._imports):
                return True
        return False

    def _is_function_of_unknown_code(self, called: str) -> bool:
        """Return whether the function `called`, which receives a module as argument, has unknown code."""
        package, called = self.find_full_name(called).split(".")[0], _read_top_name(called)
        if called in self._imports:
            return package not in LEAVE_ALONE
        if called in self._binding:
            given = (s.now.loads for s in self._binding[called])
            return any(
                one in self._imports and self._is_function_of_unknown_code(one) for loads in given for one in loads
            )
        return False

    def _has_stateful_forward(self, name: str) -> bool:
        """Return whether a name refers to a module whose forward keeps a state between calls."""
        known = (self._find_made_class(one) for one in self._binding.get(name, ()))
        return any(_reads_own_state(one) for one in known if one is not None)

    def find_changed_packages(self, statement: Statement, file_name: str, *, in_later_calls: bool = False) -> set[str]:
        """Return the packages and files that a statement of the file `file_name` may change. With `in_later_calls`,
        return those that a call of a function in the statement may change."""
        total = statement.later if in_later_calls else self.totals[statement.index]
        if self._find_code_of_unlimited_change(total):
            return {ANY}
        used = self._beside(self.find_source_modules(total.loads))
        written = {_read_top_name(name) for name in total.writes | total.weights}
        if total.writes_given:
            written |= {name for name, *_ in total.hands if self._kinds.get(name) != _PLAIN}
        imported = {self.find_full_name(name).split(".")[0] for name in written if name in self._imports}
        return imported | used.changes_later | ({file_name} if written - set(self._imports) else set())

    def find_source_modules(self, names: Iterable[str]) -> set[str]:
        """Return the modules from which names are imported."""
        tops = {name for name in map(_read_top_name, names) if not hasattr(builtins, name) or name in self._binding}
        given = (one for name in tops for one in self._binding.get(name, self._binding.get("*", ())))
        return {module for one in given if one.is_import for module in one.now.modules}

    def filter_changed_packages(self, statement: Statement, packages: Set[str]) -> set[str]:
        """Return which of some packages a statement may change, also through files that it imports."""
        total = self.totals[statement.index]
        used = self._beside(self.find_source_modules(total.loads))
        changed = self._beside(total.modules).changes | used.changes_later
        for dotted in map(self.find_full_name, total.writes):
            if dotted.startswith("sys.path"):
                changed |= {"sys.path"}
            elif not dotted.startswith(SWITCHES):
                changed.add(dotted.split(".")[0])
        called = {self.find_full_name(name) for name in total.loads}
        changed |= {name.split(".")[0] for name in called if name.startswith(SETS_STATE)}
        if "os.chdir" in called and self._beside(packages).imports:
            changed |= {"sys.path"}
        return {"any package"} if ANY in changed else changed & packages

    def _find_code_of_unlimited_change(self, total: Mentions) -> str:
        """Return the code by which a statement may reach any object, even one that the statement does not name, such as
        `exec`. Return an empty string if there is no such code."""
        mentioned = {self.find_full_name(name) for name in total.loads | total.writes} | set(total.imports.values())
        if total.anything or (self._unpickled and UNPICKLE & mentioned):
            return total.anything or "a pickle"
        return next((one for one in sorted(mentioned) if one.startswith(REACH_ANYTHING)), "")

    # --- other names of the same objects

    def add_aliases(self, names: Iterable[str], *, makers: Set[str] = frozenset()) -> set[str]:
        """Return `names` with all other names of the same objects. Names of results of the functions `makers` are
        added, too."""
        found = set(names)
        while True:
            before = len(found)
            for statement in self._all:
                done = self.totals[statement.index]
                given = {
                    target
                    for target, name, to, part in done.aliases
                    if self._passes_on_found_object(name, found, part=part)
                    and self._may_result_hold_argument(to, part=part)
                }
                given |= {target for target, name, to, part in done.mixes
                          if self._passes_on_found_object(name, found, part=part)
                          and self._may_store_argument_in_other(to)}  # fmt: skip
                given |= {target for target, name in done.made if self._may_return_found_object(name, found, makers)}
                found |= {one for one in given if self._kinds.get(one) != _PLAIN and one not in self._imports}
            if len(found) == before:
                return found

    def _passes_on_found_object(self, name: str, found: Set[str], *, part: bool) -> bool:
        """Return whether a use of a name passes on an object whose name is in `found`. A number or a string in the
        object does not count."""
        return name in found and not (part and self._kinds.get(name) in (_FLAT, _CODE))

    def _may_result_hold_argument(self, called: str, *, part: bool) -> bool:
        """Return whether the result of a call may contain the argument, or a `part` of the argument."""
        if not called or called == "()":
            return True
        top, last = _read_top_name(called), called.split(".")[-1]
        if top in self._imports:
            return self.find_full_name(called) not in READING and (
                last[:1].isupper() or (not part and not self._is_function_of_unknown_code(called))
            )
        nodes = [one.node for one in self._binding.get(top, ())]
        if any(isinstance(node, Function) for node in nodes):
            return self._collect_mentions_of_functions(top).returns_given
        return True

    def _may_store_argument_in_other(self, called: str) -> bool:
        """Return whether a function of the file may store one argument in another argument."""
        return (
            called in self._binding
            and called not in self._imports
            and self._collect_mentions_of_functions(called).writes_given
        )

    def _may_return_found_object(self, called: str, found: Set[str], makers: Set[str]) -> bool:
        """Return whether a function may return an object whose name is in `found`, or the result of a function in
        `makers`."""
        name, _, method = called.partition(".")
        if method:
            return name in makers or (name in found and method in self._giving)
        nodes = [one.node for one in self._binding.get(called, ())]
        if not any(isinstance(node, ast.ClassDef | Function) or isinstance(getattr(node, "value", None), ast.Lambda)
                   for node in nodes):  # fmt: skip
            return False
        code = self._collect_mentions_of_functions(called)
        handed = any(self._passes_on_found_object(name, found, part=part) for name, to, part in code.hands if not to)
        return handed or called in makers or bool(code.calls & makers)


def _has_stateful_decorator(node: ast.stmt) -> bool:
    """Return whether a decorator of a class or function may keep values from one call to the next."""
    decorators = getattr(node, "decorator_list", ())
    return any(may_keep_state(ast.unparse(strip_decorator_call(one))) for one in decorators)


def _is_enum(node: ast.stmt) -> bool:
    """Return whether a class is an Enum. Python calls the methods of an Enum while it defines the class."""
    return isinstance(node, ast.ClassDef) and any("Enum" in ast.unparse(base) for base in node.bases)


def _is_changed_by_reading(node: ast.AST | None) -> bool:
    """Return whether reading a value changes the value, as reading an iterator does."""
    if isinstance(node, ast.Call):
        called = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if called in ALIVE or called in FRESH_BUILTINS | HOLDING_BUILTINS:
            # `list(zip(a, b))` has read it.
            return called in ALIVE
        return any(map(_is_changed_by_reading, list_arguments(node)))
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp):
        return any(_is_changed_by_reading(getattr(node, part, None)) for part in ("elt", "value"))
    return isinstance(node, ast.GeneratorExp) or any(
        map(_is_changed_by_reading, ast.iter_child_nodes(node) if node else ())
    )


def _is_simple_assignment(node: ast.stmt) -> bool:
    """Return whether a statement assigns an expression to names only, not to attributes or items."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and all(
        isinstance(t, ast.Name) for t in targets
    )


def _read_top_name(name: str) -> str:
    """Return the first part of a dotted name: `torch` for `torch.nn`."""
    return name.split(".", 1)[0]


def _reads_own_state(node: ast.ClassDef) -> bool:
    """Return whether a module's forward reads an attribute that forward also assigns. The answer of such a module
    depends on earlier calls, including calls in training. An attribute that forward only assigns, such as attention
    for a plot, changes no answer.
    """
    waiting, methods = ["forward", "__call__"], set[str]()
    read, assigned = set[str](), set[str]()
    while waiting:
        name = waiting.pop()
        if name in methods:
            continue
        methods.add(name)
        for part in (p for p in ast.walk(node) if isinstance(p, ast.FunctionDef) and p.name == name):
            own = find_first_parameter_name(part)
            for inner in ast.walk(part):
                if isinstance(inner, ast.AugAssign) and isinstance(inner.target, ast.Attribute):
                    read.add(inner.target.attr)
                if isinstance(inner, ast.Attribute) and getattr(inner.value, "id", None) == own:
                    (assigned if isinstance(inner.ctx, ast.Store) else read).add(inner.attr)
                    waiting.append(inner.attr)
    return bool(read & assigned)


def _may_return_self(method: Function) -> bool:
    """Return whether a method may return its own object, or a part of its object."""
    own = find_first_parameter_name(method)
    for part in ast.walk(method):
        value = part.value if isinstance(part, ast.Return | ast.Yield | ast.YieldFrom) else None
        for one in [value, *getattr(value, "elts", ())]:
            while isinstance(one, ast.Attribute | ast.Subscript):
                one = one.value
            if isinstance(one, ast.Name) and one.id == own:
                return True
    return False
