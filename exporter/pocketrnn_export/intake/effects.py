"""What the statements of a file do to values that exist already: names, objects, packages. Nothing is run.

A statement is followed as it would run: through the functions and classes of the file that it calls, with what they are
given. An object is known by the statement that gave it a name; a name may reach several, as `c` does after `c = config`
or `c = [config]`.

Of code that is not the file's own, `known_code.py` says which leaves alone what it is given; any other may change that,
and give it again.

Code also runs where no call of it is written: by an operator, a `with`, an f-string, or a package that is given it. So
a statement may do what any function or class does that it loads, itself or in an object.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

from pocketrnn_export.intake.known_code import (
    ALL_OBJECTS,
    CALL_AT_ONCE,
    CALLERS,
    CHANGES_ANY,
    CHANGES_FIRST,
    CHANGES_MODULES,
    CHANGING_METHODS,
    FRESH_BUILTINS,
    GIVE_THE_CLASS,
    GIVE_THEMSELVES,
    HARMLESS_MAGICS,
    HARMLESS_METHODS,
    ITERATING_METHODS,
    KNOWN_BUILTINS,
    LEAVE_ALONE,
    MAKING,
    MAY_DO_ANYTHING,
    NOT_MODULES,
    OF_JUPYTER,
    OF_MEMBERS,
    PURE_METHODS,
    PURE_MORE,
    REACH_ANY,
    REFLECTIVE,
    RUN_BY_A_PICKLE,
    RUN_BY_PYTHON,
    RUN_TEXT,
    SETS_STATE,
    SWITCHES,
    UNPICKLE,
    WRITING,
    changes_tensor,
    gives_what_it_is_given,
    inputs_of_ufunc,
    is_method_of_class,
    is_used_up,
    keeps_something,
    nobody_can_change,
)

__all__ = ["Effects", "effects_of"]

Objects = frozenset[int]
_NONE: Final[Objects] = frozenset()
# Stands for the names of the file, as globals() gives them. What is below it stands for what objects of a class have of
# it, and for the lists and the like that are attributes of the class: see `_of_class` and `_in_class`.
_NAMES: Final = -1

# So many parts of functions are followed for one statement; more than that would take seconds.
_MOST_STEPS: Final = 60_000
# Functions that call each other are followed so far.
_DEEPEST: Final = 24
# Where the trees of `except`, and of the patterns of `match`, have the names that they give a value.
_CAPTURES: Final = ("name", "rest")
# Attributes of a class by which those above it are reached.
_OF_BASES: Final = ("__base__", "__bases__", "__mro__")
# What Jupyter showed last, and all that it showed.
_SHOWN: Final = re.compile(r"_{1,3}|_\d+|Out|_oh")
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass
class Effects:
    """What a statement does to what exists already.

    Attributes:
        sets: names of the file that it gives a value in another way than an assignment of its own: in a function that
            it calls, or by globals().
        may_set: names of the file that code gives a value which it reaches, and does not call by a call's syntax.
        changes: objects that it changes itself, by the statements that named them.
        may_change: objects that a function which it calls changes, or may change.
        weights: objects in which it changes a weight, or what is called so: those of a module that is asked for are
            loaded later.
        keeps: modules that it asks, whose forward keeps something from call to call.
        packages: what it sets in imported packages, as `torch.nn.functional.relu`.
        calls: imported packages that do not leave alone what they are given, or themselves, and that it calls.
        makes: functions and classes of the file, by their statements, that it calls: it may have made an object of
            theirs.
        loads: what it loads of imported packages and files, as `settings.CONFIG`.
        reads: imported packages and files that files beside it import, which it needs too.
        imports: the packages and files that it imports, at its top or in what it runs.
        hands_over: whether packages may run later what it gives them, such as a function that is registered.
        later: objects that code changes which it only reaches.
        anything: why it may do anything; empty otherwise.
    """

    sets: set[str] = field(default_factory=set)
    may_set: set[str] = field(default_factory=set)
    changes: set[int] = field(default_factory=set)
    may_change: set[int] = field(default_factory=set)
    weights: set[int] = field(default_factory=set)
    keeps: set[int] = field(default_factory=set)
    packages: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    makes: set[int] = field(default_factory=set)
    loads: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)
    hands_over: bool = False
    later: set[int] = field(default_factory=set)
    anything: str = ""


def effects_of(statements: Iterable[tuple[int, ast.stmt, frozenset[str]]]) -> dict[int, Effects]:
    """The effects of statements that are run one after the other.

    Args:
        statements: each with its number and the names that it binds.

    Example:
        >>> first, second = ast.parse("c = {}\nc[1] = 2").body
        >>> effects_of([(0, first, frozenset({"c"})), (1, second, frozenset())])[1].changes
        {0}
    """
    file = _File()
    return {index: file.met(index, node, binds) for index, node, binds in statements}


@dataclass
class _Scope:
    """The names of a function that is followed, with the objects that they reach; or those of the file."""

    objects: dict[str, Objects] = field(default_factory=dict)
    functions: dict[str, _Definition] = field(default_factory=dict)
    outer: _Scope | None = None
    of_file: set[str] = field(default_factory=set)
    gives: Objects = _NONE
    imports: dict[str, str] = field(default_factory=dict)
    instances: dict[str, ast.ClassDef] = field(default_factory=dict)
    # In a method that nobody calls by its name: its first parameter, and the objects that are this parameter itself.
    first: tuple[str, Objects] = ("", _NONE)


# Functions and classes of the file, each with the scope in which it was met.
_Code = dict[_Definition | ast.ClassDef, _Scope]


class _File:
    """What is known of a file so far, statement after statement."""

    def __init__(self) -> None:
        self.names = _Scope()
        self.classes: dict[str, tuple[int, ast.ClassDef]] = {}
        self.methods: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
        self._class_methods: dict[ast.AST, ast.ClassDef] = {}
        self._class_of: dict[ast.AST, int] = {}
        self._class_attributes: dict[ast.ClassDef, Set[str]] = {}
        # The functions and classes that a statement loads: an object that it makes may run them.
        self.code: dict[int, _Code] = {}
        # Statements that define a function or class, or import: their names are rarely what is changed.
        self.definitions: set[int] = set()
        # Statements that make what calls something of that which it is given.
        self.callers: set[int] = set()
        # Statements that make a defaultdict, which reading may change.
        self.filling: set[int] = set()
        # Statements whose values are others after they were used: iterators, generators, functions with a cache.
        self.used_up: set[int] = set()
        # What statements import, and what packages gave that may be their own, as `decimal.getcontext()`.
        self.of_package: dict[int, str] = {}
        # Names of lists and dicts of plain values, as their statements made them: nobody can change what is in them.
        self.flat: set[tuple[str, Objects]] = set()
        # What was put into the object of a statement after that.
        self.held: dict[int, Objects] = {}
        # The imports that each statement uses; and what attributes of packages were given.
        self.packages_loaded: dict[int, Objects] = {}
        self.package_attributes: dict[str, Objects] = {}
        # What was found out of functions and classes once.
        self._global_names: dict[ast.AST, Set[str]] = {}
        self.gives_used_up: dict[ast.AST, bool] = {}
        # Packages of which a star gives all names.
        self.stars: set[str] = set()
        # The functions and classes of the file, by their statements, that each statement calls.
        self.makes: dict[int, set[int]] = {}

    def met(self, index: int, node: ast.stmt, binds: frozenset[str]) -> Effects:
        following = _Following(self, index, node.value if isinstance(node, ast.Expr) else None)
        try:
            following.statement(node, self.names, top=True)
            following.run_what_is_reached()
        except _TooMuchError:
            following.effects.anything = "it calls more than can be followed"
        value = following.given_to_names
        plain = {name for name, held in self.names.objects.items() if not held}
        for name in binds:
            compound = isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.Try | ast.AugAssign)
            before = self.names.objects.get(name, _NONE) if compound else _NONE
            # Nothing can change a number or a string, whoever holds it.
            own = _NONE if _is_plain(getattr(node, "value", None), plain) else frozenset({index})
            self.names.objects[name] = before | value.get(name, _NONE) | own
        for name in following.effects.sets:
            self.names.objects[name] = self.names.objects.get(name, _NONE) | {index}
        # What a statement puts into an object, that object may run too.
        for changed in {index, *following.effects.changes, *following.effects.may_change}:
            self.code.setdefault(changed, {}).update(following.reached)
        if isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            self.definitions.add(index)
        if following.makes_caller:
            self.callers.add(index)
        if following.makes_filling:
            self.filling.add(index)
        if following.makes_used_up:
            self.used_up.add(index)
        if isinstance(node, ast.Assign) and len(binds) == 1 and _is_flat(node.value, plain):
            self.flat |= {(name, frozenset({index})) for name in binds}
        self.put(following.bound, following.loaded)
        self.packages_loaded[index] = following.packages_loaded
        self._changes_of_packages(index, node, following)
        self.makes[index] = following.effects.makes
        return following.effects

    def _changes_of_packages(self, index: int, node: ast.stmt, following: _Following) -> None:
        """Who changes what an import gave its name, or what a package gave of its own, changes the package."""
        effects = following.effects
        for changed in effects.changes | effects.may_change:
            if package := self.of_package.get(changed):
                effects.packages.add(package)
        if isinstance(node, ast.Import | ast.ImportFrom):
            self.of_package[index] = next(iter(_imported(node)))[1]
        elif following.gives_its_own:
            self.of_package[index] = following.gives_its_own

    def put(self, holders: Objects, value: Objects) -> None:
        """Some objects hold others from now on, whoever asks for them by whatever name."""
        for holder in holders - {_NAMES}:
            self.held[holder] = self.held.get(holder, _NONE) | (value - {holder, _NAMES})

    def with_held(self, objects: Objects) -> Objects:
        """Some objects, with all that was put into them."""
        found, waiting = set(objects), list(objects)
        while waiting:
            new = self.held.get(waiting.pop(), _NONE) - found
            found |= new
            waiting += new
        return frozenset(found)

    def global_names(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Set[str]:
        """The names that a function declares to be the file's."""
        if node not in self._global_names:
            inside = (part for statement in node.body for part in ast.walk(statement))
            self._global_names[node] = {name for part in inside if isinstance(part, ast.Global) for name in part.names}
        return self._global_names[node]

    @property
    def stars_are_known(self) -> bool:
        """Whether all that comes by a star comes from packages that leave alone what they are given."""
        return all(package in LEAVE_ALONE for package in self.stars)

    def objects_of(self, node: ast.ClassDef, objects: Objects) -> Objects:
        """Of some objects, those that may be of a class of the file or of one below it; all, if none is known to be."""
        indices = self.with_those_below(node)
        return frozenset(i for i in objects if self.makes.get(i, set()) & indices) or objects

    def with_those_below(self, node: ast.ClassDef) -> Objects:
        """A class and those that inherit from it, by their statements."""
        below = {node.name}
        for name, (_, known) in self.classes.items():
            if any(isinstance(base, ast.Name) and base.id in below for base in known.bases):
                below.add(name)
        return frozenset(self.classes[name][0] for name in below if name in self.classes)

    def class_attributes(self, node: ast.ClassDef) -> Set[str]:
        """The attributes of a class that may be changed, such as lists; but those that each object makes its own."""
        if node not in self._class_attributes:
            own = {part.attr for one in node.body if getattr(one, "name", "") == "__init__" for part in ast.walk(one)
                   if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store)}  # fmt: skip
            given = [part for part in node.body if isinstance(part, ast.Assign | ast.AnnAssign)]
            found = [part for part in given if part.value is not None and not _is_made_for_each(part.value)]
            names = {inner.id for part in found for inner in ast.walk(part)
                     if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)}  # fmt: skip
            self._class_attributes[node] = names - own
        return self._class_attributes[node]

    def new_objects(self, node: ast.ClassDef) -> Objects:
        """What stands for an object of a class that no name has."""
        return frozenset(_of_class(i) for i, one in self.classes.values() if one is node)

    def class_of(self, method: ast.AST) -> Objects:
        """What keeps the defaults of a method: its class."""
        return frozenset({_in_class(self._class_of[method])}) if method in self._class_of else _NONE

    def class_given(self, method: ast.AST) -> Objects:
        """What a classmethod is given before all else, whoever calls it by whatever object: its class, or one below it;
        none for another function."""
        node = self._class_methods.get(method)
        return _NONE if node is None else self.with_those_below(node)

    def defined(self, index: int, node: ast.ClassDef, *, inner: bool = False) -> None:
        if not inner:
            self.classes[node.name] = index, node
        for part in node.body:
            if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
                self.methods.setdefault(part.name, []).append(part)
                self._class_of[part] = index
                if _is_given_its_class(part):
                    self._class_methods[part] = node
            elif isinstance(part, ast.ClassDef):
                self.defined(index, part, inner=True)


def _of_class(index: int) -> int:
    """Stands for an object of a class, by the statement of the class: what is in its attributes may be the class's."""
    return -2 - 3 * index


def _in_class(index: int) -> int:
    """Stands for what attributes of a class hold, or defaults of its methods, by the statement of the class: who
    changes it changes the class."""
    return -3 - 3 * index


def _holding(objects: Objects) -> Objects:
    """What an object holds in an attribute, as the object: to give it another attribute does not change the class."""
    return frozenset(i - 1 if i < _NAMES and (-2 - i) % 3 == 1 else i for i in objects)


def _held_by(objects: Objects) -> Objects:
    """What attributes of some objects hold of a class."""
    return frozenset(i + 1 for i in objects if i < _NAMES and (-2 - i) % 3 == 2)


def _known(objects: Objects) -> Objects:
    """Objects by their statements: what is in a class by the class's."""
    return frozenset(i if i >= 0 else (-2 - i) // 3 for i in objects if i >= 0 or (i < _NAMES and (-2 - i) % 3 == 1))


class _TooMuchError(Exception):
    """There is more than can be followed."""


class _Following:
    """Follows one statement as it runs."""

    def __init__(self, file: _File, index: int, call: ast.expr | None) -> None:
        self.file = file
        self._index = index
        # What the statement is there for, if it is a call only.
        self._own_call = call
        self.effects = Effects()
        self.given_to_names: dict[str, Objects] = {}
        # Functions and classes of the file that it loads, and where; all objects that it loads.
        self.reached: _Code = {}
        self.loaded: Objects = _NONE
        self.packages_loaded: Objects = _NONE
        # What methods belong to that are loaded, and not called.
        self.bound: Objects = _NONE
        self.makes_caller = self.makes_filling = self.makes_used_up = False
        self.gives_its_own = ""
        self._only_reached = self._only_certain = False
        self._running: list[ast.AST] = []
        # What the functions that are running were given.
        self._given_first: dict[ast.AST, tuple[Sequence[Objects], Mapping[str, Objects]]] = {}
        # The classes whose methods are running, each with what the method's object holds.
        self._classes: list[tuple[ast.ClassDef, Objects]] = []
        self._steps = 0

    # --- statements

    def statements(self, nodes: Iterable[ast.stmt], scope: _Scope) -> None:
        for node in nodes:
            self.statement(node, scope)

    def statement(self, node: ast.AST, scope: _Scope, *, top: bool = False) -> None:
        self._step()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._definition(node, scope)
        elif isinstance(node, ast.ClassDef):
            self._class(node, scope, top=top)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            scope.imports.update(_imported(node))
            self.effects.imports |= _modules(node)
            if node.names[0].name == "*" and isinstance(node, ast.ImportFrom):
                self.file.stars.add((node.module or "").split(".")[0])
            for name, _ in _imported(node):
                scope.functions.pop(name, None)
        elif isinstance(node, ast.Global):
            scope.of_file.update(node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For | ast.AsyncFor | ast.Delete):
            self._assignment(node, scope)
            for part in (*getattr(node, "body", ()), *getattr(node, "orelse", ())):
                self.statement(part, scope)
        elif isinstance(node, ast.Return):
            scope.gives |= self.value(node.value, scope)
        elif isinstance(node, ast.withitem):
            value = self.file.with_held(self.value(node.context_expr, scope))
            if node.optional_vars is not None:
                self._given(node.optional_vars, value, scope)
        elif isinstance(node, ast.expr):
            self.value(node, scope)
        else:
            # What is raised, or matched, is what was loaded before.
            for name in filter(None, (getattr(node, field, None) for field in _CAPTURES)):
                if isinstance(name, str) and isinstance(node, ast.ExceptHandler | ast.pattern):
                    self._named(name, self.loaded, scope)
            for part in ast.iter_child_nodes(node):
                self.statement(part, scope)

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: _Scope) -> None:
        scope.functions[node.name] = node
        scope.imports.pop(node.name, None)
        arguments = node.args
        held = _NONE
        for part in (*arguments.defaults, *arguments.kw_defaults):
            held |= self.value(part, scope)
        self._union(_annotations(node), scope)
        if node.decorator_list:
            if any(self._keeps_something(one, scope) for one in node.decorator_list):
                self.makes_used_up = self.makes_used_up or scope.outer is None
            annotations = [a.annotation for a in (*arguments.args, *arguments.kwonlyargs) if a.annotation]
            named = self._union([n for a in annotations for n in ast.walk(a) if isinstance(n, ast.Name)], scope)
            self.reached.setdefault(node, scope)
            for decorator in node.decorator_list:
                self._decorated(decorator, named, scope)
        self._named(node.name, held, scope)
        if scope.outer is not None:
            # A function in a function: it is called sooner or later, as a decorator's is.
            self._call(node, [], {}, scope)

    def _class(self, node: ast.ClassDef, scope: _Scope, *, top: bool) -> None:
        inherited = self._union([*node.bases, *(keyword.value for keyword in node.keywords)], scope)
        for base in node.bases:
            known = self.file.classes.get(base.id) if isinstance(base, ast.Name) else None
            while known is not None:
                if any(isinstance(p, ast.FunctionDef) and p.name == "__init_subclass__" for p in known[1].body):
                    # What it registers there, the class above holds.
                    self._may_change(self._objects(known[1].name, scope) | {known[0]})
                following = [b.id for b in known[1].bases if isinstance(b, ast.Name)]
                known = next((self.file.classes[b] for b in following if b in self.file.classes), None)
        inside = _Scope(outer=scope)
        for part in node.body:
            if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
                at_once = (*part.args.defaults, *part.args.kw_defaults, *_annotations(part), *part.decorator_list)
                self._union(at_once, scope)
                if scope.outer is not None:
                    # A class in a function: its methods are called sooner or later.
                    self._call(part, [], {}, scope)
            else:
                self.statement(part, inside)
        if self._is_enum(node, scope):
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and part.name in OF_MEMBERS:
                    self._call(part, [], {}, scope, first=(_first_name(part), _NONE))
        for decorator in node.decorator_list:
            self._decorated(decorator, _NONE, scope)
        held = frozenset().union(*inside.objects.values())
        if scope.outer is None:
            self.file.defined(self._index, node)
        if top:
            self.given_to_names[node.name] = held
        else:
            self._named(node.name, inherited | held, scope)
        scope.imports.pop(node.name, None)

    def _keeps_something(self, decorator: ast.expr, scope: _Scope) -> bool:
        """Whether what a package's decorator gives may keep something from call to call."""
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        dotted = self._dotted(called, scope)
        return dotted is not None and keeps_something(dotted)

    def _is_enum(self, node: ast.ClassDef, scope: _Scope) -> bool:
        """Whether a class makes its members while it is made."""
        dotted = [self._dotted(base, scope) or "" for base in node.bases]
        return any(one.startswith("enum.") for one in dotted) or any(
            self._is_enum(base, scope) for base in self._bases(node)
        )

    def _decorated(self, decorator: ast.expr, given: Objects, scope: _Scope) -> None:
        """What a decorator does, and what the function does that a call of one gives."""
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(decorator, ast.Call):
            given |= self.value(decorator, scope)
            given |= self._union([*decorator.args, *(k.value for k in decorator.keywords)], scope)
        function = self._function(called, scope)
        if function is not None:
            self._call(function, [given], {}, scope)
            return
        held = self.value(called, scope)
        if isinstance(called, ast.Attribute) and self._dotted(called, scope) is None:
            # As in `@f.register`.
            self._may_change(held)
        dotted = self._dotted(called, scope)
        if dotted is not None and dotted.split(".")[0] not in LEAVE_ALONE:
            self.effects.may_change |= _known(given)

    def _assignment(
        self, node: ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For | ast.AsyncFor | ast.Delete, scope: _Scope
    ) -> None:
        if isinstance(node, ast.Delete):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    self.value(target, scope)
                else:
                    self._given(target, _NONE, scope)
            return
        if isinstance(node, ast.AnnAssign):
            self.value(node.annotation, scope)
        if isinstance(node, ast.For | ast.AsyncFor):
            value = self.file.with_held(self.value(node.iter, scope))
        else:
            value = self.value(node.value, scope)
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if isinstance(node, ast.AugAssign) and isinstance(target, ast.Name):
                # `x += [1]` changes the list itself, whoever else holds it.
                held = self.value(target, scope)
                self._change(held)
                self.file.put(held, value)
                if _NAMES in held:
                    self._names_updated(ast.Call(target, [node.value], []))
            self._given(target, value, scope)
        made = getattr(node, "value", None)
        if not isinstance(node, ast.For | ast.AsyncFor) and self._is_used_up(made, scope):
            self._holds_what_is_used_up(targets, scope)
        if not self._running:
            self.gives_its_own = self._own_of_package(made, scope)
        if isinstance(node, ast.Assign) and len(targets) == 1 and isinstance(targets[0], ast.Name):
            self._kind_of(targets[0].id, made, scope)

    def _holds_what_is_used_up(self, targets: Iterable[ast.expr], scope: _Scope) -> None:
        self.makes_used_up = self.makes_used_up or not self._running
        for target in targets:
            if isinstance(target, ast.Attribute | ast.Subscript):
                self.file.used_up |= self.value(target.value, scope) - self.file.definitions

    def _is_used_up(self, node: ast.AST | None, scope: _Scope, depth: int = 0) -> bool:
        """Whether a value may be another one after it was read, as an iterator is, or hold one that is."""

        def any_of(parts: Iterable[ast.AST | None]) -> bool:
            return any(self._is_used_up(part, scope, depth + 1) for part in parts)

        if depth > 6 or isinstance(node, ast.GeneratorExp):
            return True
        if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict | ast.IfExp | ast.BoolOp | ast.Starred):
            return any_of(ast.iter_child_nodes(node))
        if isinstance(node, ast.ListComp | ast.NamedExpr | ast.DictComp | ast.Return | ast.Assign | ast.Yield):
            return isinstance(node, ast.Yield) or any_of([getattr(node, "elt", getattr(node, "value", None))])
        if not isinstance(node, ast.Call):
            return False
        function, made = self._function(node.func, scope), self._class_called(node.func)
        if function is not None or made is not None:
            code = function if function is not None else made[1] if made is not None else node
            if code not in self.file.gives_used_up:
                # It may call itself.
                self.file.gives_used_up[code] = False
                kept = ast.Assign if isinstance(code, ast.ClassDef) else ast.Return | ast.Yield
                inside = [part for part in ast.walk(code) if isinstance(part, kept)]
                self.file.gives_used_up[code] = any_of(inside)
            return self.file.gives_used_up[code] or any_of(_arguments(node))
        dotted = self._dotted(node.func, scope)
        if dotted is None and isinstance(node.func, ast.Name):
            dotted = f"builtins.{node.func.id}"
        if dotted is None:
            return getattr(node.func, "attr", "") in ITERATING_METHODS
        holds = dotted.split(".")[0] in ("contextlib", "functools", "types") or dotted.split(".")[0] not in LEAVE_ALONE
        return is_used_up(dotted) or (holds and any_of(_arguments(node)))

    def _kind_of(self, name: str, value: ast.expr | None, scope: _Scope) -> None:
        """Note what a name stands for: a function, an object of a class of the file, a package or a part of one."""
        for known in (scope.functions, scope.instances, scope.imports):
            known.pop(name, None)
        if isinstance(value, ast.Lambda):
            scope.functions[name] = value
        elif isinstance(value, ast.Call):
            made = self._class_called(_without_moves(value).func)
            if made is not None:
                scope.instances[name] = made[1]
            elif package := self._package_asked_for(value, scope):
                scope.imports[name] = package
        elif isinstance(value, ast.Name | ast.Attribute | ast.Subscript):
            if function := self._function(value, scope):
                scope.functions[name] = function
            elif isinstance(value, ast.Name) and (known_class := self._instance(value.id, scope)):
                scope.instances[name] = known_class
            elif dotted := self._dotted(value, scope):
                scope.imports[name] = dotted
            elif isinstance(value, ast.Name) and isinstance(getattr(builtins, value.id, None), type):
                scope.imports[name] = f"builtins.{value.id}"

    def _given(self, target: ast.expr, value: Objects, scope: _Scope) -> None:
        """A target of an assignment gets a value."""
        if isinstance(target, ast.Name):
            if "__del__" in self.file.methods:
                self._name_loaded(target, scope)
            self._named(target.id, value, scope)
        elif isinstance(target, ast.Tuple | ast.List):
            for part in target.elts:
                self._given(part, self.file.with_held(value), scope)
        elif isinstance(target, ast.Starred):
            self._given(target.value, value, scope)
        elif isinstance(target, ast.Attribute | ast.Subscript):
            self._set_in(target, value, scope)

    def _set_in(self, target: ast.Attribute | ast.Subscript, value: Objects, scope: _Scope) -> None:
        if isinstance(target, ast.Subscript):
            self.value(target.slice, scope)
        dotted = self._dotted(target, scope) if isinstance(target, ast.Attribute) else None
        if isinstance(target, ast.Subscript):
            dotted = self._dotted(target.value, scope)
        if dotted is not None and dotted.startswith("<file>.__dict__"):
            key = getattr(target.slice, "value", None) if isinstance(target, ast.Subscript) else None
            if isinstance(key, str):
                self._sets(key)
            else:
                self._anything(f"`{ast.unparse(target)[:60]}` may be any name")
            return
        if dotted is not None:
            self._set_in_package(dotted, target, value)
            return
        holder = self._class_of_object(target.value, scope) or self.value(target.value, scope)
        if own := self._own_of_package(target.value, scope):
            self.effects.packages.add(own)
        if _is_weight(target):
            self._change_weights(holder)
            return
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
            holder = self._itself(target.value.id, holder, scope)
        if _NAMES in holder:
            key = target.attr if isinstance(target, ast.Attribute) else getattr(target.slice, "value", None)
            if isinstance(key, str):
                self._sets(key)
            else:
                self._anything(f"`{ast.unparse(target)[:60]}` may be any name")
        self._change(holder)
        # What a statement makes and puts somewhere has its number.
        self.file.put(holder, value | {self._index})
        root = _root_name(target)
        if root is not None:
            # The holder reaches from now on what it was given.
            where = scope if root in scope.objects else self.file.names
            where.objects[root] = where.objects.get(root, _NONE) | _holding(value)

    def _own_of_package(self, node: ast.expr | None, scope: _Scope) -> str:
        """The function of a package that may give what is the package's own, as `decimal.getcontext`; else empty."""
        while isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        dotted = self._dotted(node.func, scope) if isinstance(node, ast.Call) else None
        if dotted is None or dotted.startswith(SWITCHES) or not dotted.split(".")[-1].startswith(("get", "current")):
            return ""
        return dotted

    def _class_of_object(self, node: ast.expr, scope: _Scope) -> Objects:
        """The class of the file that `type(x)` or `x.__class__` gives; none for anything else.

        Which of the bases of a class is meant is not followed: any class of the file may be, or those of packages.
        """
        bases = node.value if isinstance(node, ast.Subscript) else node
        if isinstance(bases, ast.Attribute) and bases.attr in _OF_BASES:
            first = bases.attr != "__mro__" or getattr(getattr(node, "slice", None), "value", 0) == 1
            known = self.file.classes.get(getattr(bases.value, "id", ""))
            above = known[1].bases if known is not None else []
            if first and len(above) == 1 and self._class_called(above[0]) is not None:
                return frozenset(i for i, _ in self.file.classes.values())
            return _NONE
        inner = _whose_class(node)
        if isinstance(inner, ast.Name) and self._classes and inner.id == scope.first[0]:
            return frozenset({self._index_of(self._classes[-1][0])})
        found = self._instance(inner.id, scope) if isinstance(inner, ast.Name) else None
        if isinstance(inner, ast.Call) and (made := self._class_called(inner.func)) is not None:
            found = made[1]
        return frozenset(i for i, one in self.file.classes.values() if one is found)

    def _classes_of(self, node: ast.expr, held: Objects) -> Objects:
        """What else an expression may give that gives a class: the bases of classes, or the class of a package."""
        if isinstance(node, ast.Attribute) and node.attr in _OF_BASES:
            classes = frozenset(i for i, _ in self.file.classes.values())
            names = {_root_name(base) or "" for _, one in self.file.classes.values() for base in one.bases}
            return classes.union(*(self.file.names.objects.get(name, _NONE) for name in names))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("getmro", "mro"):
            return self._classes_of(ast.Attribute(node.func, "__mro__", ast.Load()), held)
        if _whose_class(node) is None:
            return _NONE
        return _NONE.union(self.packages_loaded, *(self.file.packages_loaded.get(i, _NONE) for i in held))

    def _keeps_state(self, node: ast.ClassDef) -> bool:
        """Whether a module's forward assigns to an attribute that it reads, too: it answers as the calls before left
        it, those of its training among them. One that it only assigns, such as attention to show, changes nothing."""
        waiting, methods = ["forward", "__call__"], set[str]()
        read, assigned = set[str](), set[str]()
        while waiting:
            name = waiting.pop()
            if name in methods:
                continue
            methods.add(name)
            for part in (p for p in ast.walk(node) if isinstance(p, ast.FunctionDef) and p.name == name):
                own = part.args.args[0].arg if part.args.args else ""
                for inner in ast.walk(part):
                    if isinstance(inner, ast.AugAssign) and isinstance(inner.target, ast.Attribute):
                        read.add(inner.target.attr)
                    if isinstance(inner, ast.Attribute) and getattr(inner.value, "id", None) == own:
                        (assigned if isinstance(inner.ctx, ast.Store) else read).add(inner.attr)
                        waiting.append(inner.attr)
        return bool(read & assigned)

    def _set_in_package(self, dotted: str, target: ast.expr, value: Objects) -> None:
        for attribute in dotted.split("."):
            self._change(self.file.package_attributes.get(attribute, _NONE))
        if isinstance(target, ast.Attribute) and (held := value - self.file.definitions):
            before = self.file.package_attributes.get(target.attr, _NONE)
            self.file.package_attributes[target.attr] = before | held
        if dotted.startswith("<file>."):
            self._sets(dotted.split(".")[1])
        elif dotted.startswith("__main__") or dotted in RUN_BY_PYTHON or dotted == "sys.modules":
            self._anything(f"`{ast.unparse(target)[:60]}`")
        else:
            self.effects.hands_over = True
            if not dotted.startswith(SWITCHES):
                self.effects.packages.add(dotted)

    def _named(self, name: str, value: Objects, scope: _Scope) -> None:
        if scope.outer is None:
            self.given_to_names[name] = self.given_to_names.get(name, _NONE) | value
            scope.objects[name] = scope.objects.get(name, _NONE) | value
        elif name in scope.of_file:
            self._sets(name)
            self.file.names.objects[name] = self.file.names.objects.get(name, _NONE) | value
        else:
            scope.objects[name] = scope.objects.get(name, _NONE) | value

    # --- values

    def value(self, node: ast.expr | None, scope: _Scope) -> Objects:
        """The objects that a value may be, or hold; after what computing it does."""
        if node is None or isinstance(node, ast.Constant):
            self._constant(node)
            return _NONE
        self._step()
        if isinstance(node, ast.Name):
            self._any_object(node, scope)
            self._reaching_any(node, scope)
            self._of_package(node, scope)
            return self._name_loaded(node, scope)
        if isinstance(node, ast.Call):
            return self._called(node, scope)
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            # `"google.colab" in sys.modules`
            seen = [part for part in node.comparators if self._dotted(part, scope) != "sys.modules"]
            self._union([node.left, *seen], scope)
            return _NONE
        if isinstance(node, ast.Attribute):
            return self._attribute(node, scope)
        if isinstance(node, ast.Subscript):
            return self._subscript(node, scope)
        if isinstance(node, ast.NamedExpr):
            held = self.value(node.value, scope)
            self._given(node.target, held, scope)
            return held
        if isinstance(node, ast.Lambda):
            self.reached.setdefault(node, scope)
            return self._call(node, [], {}, scope) | self._union(node.args.defaults, scope)
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            inside = _Scope(outer=scope)
            for part in node.generators:
                self._given(part.target, self.file.with_held(self.value(part.iter, inside)), inside)
                self._union(part.ifs, inside)
            parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            return self._union(parts, inside)
        held = self._union([part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)], scope)
        if isinstance(node, ast.Starred):
            return self.file.with_held(held)
        if isinstance(node, ast.Yield | ast.YieldFrom):
            scope.gives |= held
            # What is sent to it.
            return self.loaded
        if isinstance(node, ast.BinOp):
            return held if isinstance(node.op, ast.Add | ast.BitOr | ast.Mult) else _NONE
        return _NONE if isinstance(node, ast.Compare | ast.UnaryOp | ast.JoinedStr | ast.FormattedValue) else held

    def _attribute(self, node: ast.Attribute, scope: _Scope) -> Objects:
        self._any_object(node, scope)
        self._reaching_any(node, scope)
        self._of_package(node, scope)
        if nobody_can_change(self._dotted(node, scope) or ""):
            return _NONE
        held = self.value(node.value, scope)
        self._method_loaded(node, held, scope)
        if node.attr == "__globals__":
            return frozenset({_NAMES})
        if node.attr in REFLECTIVE:
            self._anything(f"`{ast.unparse(node)[:60]}`")
        if not node.attr.startswith("__"):
            held = self._items(node.value, held, scope)
        found = held | self._classes_of(node, held) | self.file.package_attributes.get(node.attr, _NONE)
        for method in self.file.methods.get(node.attr, ()):
            if _needs_no_call(method):
                # A property gives what its function does.
                found |= self._call(method, [held], {}, scope)
        return self.file.with_held(found | self._attribute_of_class(node.attr, held))

    def _attribute_of_class(self, name: str, held: Objects) -> Objects:
        """What an attribute of some objects or classes is, where it is one of the class that may be changed."""
        of_classes = (
            self._class_with(node, name) for i, node in self.file.classes.values() if {i, _of_class(i)} & held
        )
        return _held_by(held).union(*of_classes)

    def _class_with(self, node: ast.ClassDef, name: str) -> Objects:
        """The class, of one and those above it, in which a name stands for what may be changed."""
        if name in self.file.class_attributes(node):
            return frozenset({_in_class(self._index_of(node))})
        return _NONE.union(*(self._class_with(one, name) for one in self._bases(node)))

    def _subscript(self, node: ast.Subscript, scope: _Scope) -> Objects:
        if (asked := self._package_asked_for(node, scope)) not in (None, "<file>"):
            if asked == "__main__":
                self._anything(f"`{ast.unparse(node)[:60]}`")
            return _NONE
        held = self.value(node.value, scope)
        key = self.value(node.slice, scope)
        if known := self._class_called(node.value):
            self._method_of(known[1], "__class_getitem__", [_NONE, key], {}, scope)
        if _NAMES in held:
            return self._of_names(held, getattr(node.slice, "value", None))
        if isinstance(node.ctx, ast.Load):
            # What is not there, a defaultdict makes.
            self._change(held & self.file.filling)
        return self.file.with_held(self._items(node.value, held, scope))

    def _constant(self, node: ast.Constant | None) -> None:
        """Note a string that is the name of what reaches any name, as in getattr(f, "__globals__"), or of a method."""
        if node is None or not isinstance(node.value, str):
            return
        if node.value in REFLECTIVE | {"__globals__"}:
            self._anything(f"`{node.value}`")
        for method in self.file.methods.get(node.value, ()):
            # As in getattr(x, "use")(3) and operator.methodcaller("use", 3).
            self.reached.setdefault(method, self.file.names)

    def _method_loaded(self, node: ast.Attribute, held: Objects, scope: _Scope) -> None:
        """What may happen where an attribute is not called, but may be a method."""
        for method in self.file.methods.get(node.attr, ()):
            self.reached.setdefault(method, scope)
            if any(self._keeps_something(one, self.file.names) for one in method.decorator_list):
                # As `functools.cached_property`.
                self._change(held.union(i for i, one in self.file.classes.values() if method in one.body))
        if isinstance(node.ctx, ast.Load) and (node.attr in CHANGING_METHODS or changes_tensor(node.attr)):
            # Given to somebody who calls it, as in map(config.update, ...).
            self.makes_caller = True
            if (self._dotted(node, scope) or "").startswith(("torch.", "numpy.")):
                # A method without its object, as torch.Tensor.normal_.
                return
            self.bound |= held
            self._change(held)

    def _items(self, container: ast.expr, held: Objects, scope: _Scope) -> Objects:
        """What the items or attributes of a value may be, of all that it may be or hold."""
        if (
            isinstance(container, ast.Name)
            and (container.id, held) in self.file.flat
            and self._is_of_file(container.id, scope)
        ):
            return self.file.with_held(held) - held
        return held

    def _union(self, nodes: Iterable[ast.expr | None], scope: _Scope) -> Objects:
        held = _NONE
        for node in nodes:
            held |= self.value(node, scope)
        return held

    def _of_names(self, held: Objects, key: object) -> Objects:
        """What an item of globals() is: that of a name, or any."""
        if isinstance(key, str):
            return self._name_loaded(ast.Name(key, ast.Load()), self.file.names)
        return (held - {_NAMES}).union(*self.file.names.objects.values())

    def _objects(self, name: str, scope: _Scope) -> Objects:
        within: _Scope | None = scope
        while within is not None and name not in within.of_file:
            if name in within.objects:
                return within.objects[name]
            within = within.outer
        return self.file.names.objects.get(name, _NONE)

    # --- calls

    def _called(self, node: ast.Call, scope: _Scope) -> Objects:
        given = [self.value(argument, scope) for argument in node.args]
        named = {keyword.arg or "**": self.value(keyword.value, scope) for keyword in node.keywords}
        everything = frozenset().union(*given, *named.values())
        function = self._function(node.func, scope)
        if isinstance(node.func, ast.Name):
            self.effects.makes |= self._objects(node.func.id, scope) & self.file.definitions
        if function is not None:
            if isinstance(node.func, ast.Name):
                self._used(self._objects(node.func.id, scope))
            if any(isinstance(part, ast.Yield | ast.YieldFrom | ast.Await) for part in ast.walk(function)):
                # It runs when somebody asks for its next value, who may be of another statement.
                self.makes_caller = True
                self.reached.setdefault(function, scope)
            return self._call(function, given, named, scope) | everything
        if asked := self._attribute_asked_for(node, scope):
            return everything | self.value(asked, scope)
        made = self._class_called(node.func)
        if made is not None:
            return everything | self._made(made[1], given, named, scope)
        for argument in node.args:
            dotted = self._dotted(argument, scope) or ""
            if dotted in CHANGES_FIRST or (dotted.startswith("torch.") and dotted.endswith("_")):
                # As in map(numpy.copyto, arrays, arrays).
                self._change(everything)
            if isinstance(node.func, ast.Name | ast.Attribute) and (function := self._function(argument, scope)):
                # As in `model.apply(function)`.
                own = isinstance(node.func, ast.Attribute) and self._dotted(node.func, scope) is None
                held = self.value(node.func.value, scope) if own else _NONE  # type: ignore[union-attr]
                self._call(function, [everything | held], {}, scope)
        held = self._called_of_others(node, given, named, scope)
        return self.file.with_held(held | self._classes_of(node, held))

    def _attribute_asked_for(self, node: ast.Call, scope: _Scope) -> ast.Attribute | None:
        """x.pool of `getattr(x, "pool")`; None for anything else."""
        if getattr(node.func, "id", "") != "getattr" or self._is_defined("getattr", scope) or len(node.args) < 2:
            return None
        name = node.args[1]
        if self._dotted(node.args[0], scope) or not isinstance(name, ast.Constant) or not isinstance(name.value, str):
            return None
        return ast.copy_location(ast.Attribute(node.args[0], name.value, ast.Load()), node)

    def _called_of_others(
        self, node: ast.Call, given: Sequence[Objects], named: Mapping[str, Objects], scope: _Scope
    ) -> Objects:
        """A call of what is no function or class of the file by its name."""
        everything = frozenset().union(*given, *named.values())
        dotted = self._dotted(node.func, scope)
        if dotted is not None:
            self.effects.loads.add(dotted)
            self.packages_loaded |= self._objects(_root_name(node.func) or "", scope) & self.file.of_package.keys()
            return self._imported_called(dotted, node, given, everything, scope)
        if isinstance(node.func, ast.Name):
            return self._builtin_called(node.func.id, node, given, everything, scope)
        if isinstance(node.func, ast.Attribute):
            return self._method_called(node.func, node, given, named, scope)
        held = self.value(node.func, scope)
        self._may_change(held | (everything - self.file.definitions))
        return held | everything

    def _made(
        self, node: ast.ClassDef, given: Sequence[Objects], named: Mapping[str, Objects], scope: _Scope
    ) -> Objects:
        """What an object of a class of the file holds when it is made."""
        held = self._name_loaded(ast.Name(node.name, ast.Load()), scope)
        itself = frozenset({_of_class(self._index_of(node))})
        for name in ("__new__", "__init__"):
            held |= self._method_of(node, name, [itself, *given], named, scope) or _NONE
        self._method_of(node, "__post_init__", [held.union(*given, *named.values())], {}, scope)
        held -= self.file.definitions
        # A class may give an object that exists already, or one that shares what it has.
        return held | self._gives_old_ones(node, scope) | itself

    def _index_of(self, node: ast.ClassDef) -> int:
        return next((i for i, one in self.file.classes.values() if one is node), self._index)

    def _gives_old_ones(self, node: ast.ClassDef, scope: _Scope) -> Objects:
        """The classes, of one and those above it, that hold objects which a call of the class may give, or in which its
        objects have their attributes."""
        found = _NONE.union(*(self._gives_old_ones(one, scope) for one in self._bases(node)))
        makes_itself = any(isinstance(part, ast.FunctionDef) and part.name == "__new__" for part in node.body)
        decorated = any(not self._leaves_a_class(one, scope) for one in node.decorator_list)
        shares = _shares_its_attributes(node) or _hands_out_its_class(node)
        own = makes_itself or node.keywords or decorated or self._is_enum(node, scope) or shares
        return found | {self._index_of(node)} if found or own or self._has_descriptors(node) else found

    def _leaves_a_class(self, decorator: ast.expr, scope: _Scope) -> bool:
        """Whether a decorator is known to give the class that it is given, or one like it."""
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        return (self._dotted(called, scope) or "").startswith(GIVE_THE_CLASS)

    def _has_descriptors(self, node: ast.ClassDef) -> bool:
        """Whether attributes of a class are objects that are set by a method of their own, and so kept in the class."""
        values = [part.value for part in node.body if isinstance(part, ast.Assign | ast.AnnAssign)]
        made = [self._class_called(value.func) for value in values if isinstance(value, ast.Call)]
        return any(known is not None and self._defines(known[1], "__set__") for known in made)

    def _defines(self, node: ast.ClassDef, method: str) -> bool:
        own = any(isinstance(part, ast.FunctionDef) and part.name == method for part in node.body)
        return own or any(self._defines(one, method) for one in self._bases(node))

    def _builtin_called(
        self, name: str, node: ast.Call, given: Sequence[Objects], everything: Objects, scope: _Scope
    ) -> Objects:
        own = self._name_loaded(ast.Name(name, ast.Load()), scope)
        if own:
            # A value that is called: a module, or what a function gave.
            known = self._instance(name, scope)
            if known is not None and self._keeps_state(known):
                self.effects.keeps |= _known(own) - self.file.definitions
            elif known is None and (own & self.file.callers or not self._running):
                self._may_change(own | (everything if own & self.file.callers else _NONE))
            classes = frozenset(i for i, _ in self.file.classes.values())
            return everything.union(map(_of_class, own & classes))
        if name in ("exec", "eval", "execfile", "get_ipython", "run_path"):
            self._anything(f"`{ast.unparse(node)[:60]}`")
        elif name in ("globals", "locals", "vars") and not node.args:
            return frozenset({_NAMES}) if name == "globals" or scope.outer is None else _NONE
        elif name in ("setattr", "delattr") and node.args:
            key = node.args[1] if len(node.args) > 1 else None
            constant = key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else "some_attribute"
            target = ast.Attribute(node.args[0], constant, ast.Store())
            self._set_in(ast.copy_location(target, node), everything, scope)
        elif name == "next" and given:
            self._change(given[0])
        elif name == "__import__" and (asked := self._package_asked_for(node, scope)):
            self._asked_for(asked, node)
        elif not self._is_known(name, scope):
            # From a package by a star, or from a cell that stands below.
            self._may_change(everything)
        return _NONE if name in FRESH_BUILTINS else everything | self._classes_of(node, everything)

    def _is_known(self, name: str, scope: _Scope) -> bool:
        """Whether a function, of which no name of the file tells, leaves alone what it is given."""
        if name in KNOWN_BUILTINS or self._is_defined(name, scope):
            return True
        found = getattr(builtins, name, None)
        if isinstance(found, type):
            return issubclass(found, BaseException)
        return found is None and self.file.stars_are_known

    def _asked_for(self, package: str, node: ast.Call) -> None:
        """Note that a package is imported, or looked for, by its name."""
        if package == "__main__":
            self._anything(f"`{ast.unparse(node)[:60]}`")
        self.effects.imports.add(package)

    def _imported_called(
        self, dotted: str, node: ast.Call, given: Sequence[Objects], everything: Objects, scope: _Scope
    ) -> Objects:
        package, last = dotted.split(".")[0], dotted.split(".")[-1]
        if package == "builtins" and dotted.count(".") == 1:
            return self._builtin_called(last, node, given, everything, scope)
        if package == "builtins" and given:
            return self._unbound(last, node, given, everything)
        self._reaching_others(dotted, node, everything, scope)
        if dotted in UNPICKLE:
            # Which classes of the file a pickle holds is not known.
            for method in (one for name in RUN_BY_A_PICKLE for one in self.file.methods.get(name, ())):
                self.reached.setdefault(method, self.file.names)
            if any(isinstance(argument, ast.Constant) for argument in node.args):
                self._anything(f"`{ast.unparse(node)[:60]}`")
        self.makes_caller = self.makes_caller or dotted in CALLERS
        self.makes_filling = self.makes_filling or dotted == "collections.defaultdict"
        if dotted.startswith((*SETS_STATE, "sys.path.")) or dotted == "os.chdir":
            self.effects.packages.add(dotted)
        elif last in CHANGING_METHODS and last.startswith("__"):
            # As in F.__setattr__("relu", ...).
            self.effects.packages.add(dotted.rpartition(".")[0])
        elif dotted in CHANGES_FIRST and given:
            self._change(given[0])
            self.file.put(given[0], everything)
        elif dotted in CHANGES_ANY:
            self._change(everything)
        elif given and package in LEAVE_ALONE and is_method_of_class(dotted):
            self._change(given[0])
        elif package == "numpy" and (out := _outputs(dotted, given)):
            self._change(out)
        elif package == "torch" and dotted[-1] == "_":
            self._change_weights(everything)
        elif dotted.startswith(CHANGES_MODULES) and not dotted.startswith(NOT_MODULES):
            self._change(everything)
        elif package not in LEAVE_ALONE:
            self.effects.calls.add(package)
            self._may_change(self.file.with_held(everything))
            self.file.put(everything, everything)
        elif {"environ", "__dict__"} & set(dotted.split(".")) and last in CHANGING_METHODS:
            self.effects.packages.add(dotted)
        for keyword in node.keywords:
            self.makes_caller = self.makes_caller or keyword.arg == "inplace"
            if (keyword.arg == "copy" and getattr(keyword.value, "value", None) is False) or keyword.arg in WRITING:
                self._change(everything)
            if keyword.arg == "out":
                self._change(self.value(keyword.value, scope))
        of_objects = any(
            k.arg == "dtype" and ast.unparse(k.value)[-7:].strip("'_") in ("object", "O") for k in node.keywords
        )
        return everything if of_objects or gives_what_it_is_given(dotted) else _NONE

    def _reaching_others(self, dotted: str, node: ast.Call, everything: Objects, scope: _Scope) -> None:
        """Note a function of a package that reaches what it is not given, or that may run later what it is given."""
        package, last = dotted.split(".")[0], dotted.split(".")[-1]
        if asked := self._package_asked_for(node, scope):
            self._asked_for(asked, node)
        for attribute in dotted.split("."):
            self._may_change(self.file.package_attributes.get(attribute, _NONE))
        if package not in CALL_AT_ONCE and any(self._is_code(argument, scope) for argument in _arguments(node)):
            self.effects.hands_over = True
        if (
            dotted.startswith(MAY_DO_ANYTHING)
            or dotted in ALL_OBJECTS | RUN_BY_PYTHON
            or dotted.endswith(".__subclasses__")
            or (dotted.startswith(RUN_TEXT) and not self._runs_what_is_seen(node, scope))
            # Who has the names of the file may change any of them.
            or _NAMES in everything
            # Here, that is another file.
            or package == "__main__"
            or (dotted.startswith(("<file>.__dict__", "sys.modules.")) and last in CHANGING_METHODS)
        ):
            self._anything(f"`{ast.unparse(node)[:60]}`")

    def _is_code(self, node: ast.expr, scope: _Scope) -> bool:
        """Whether an argument is code of the file, or an object that holds some."""
        if isinstance(node, ast.Lambda) or self._function(node, scope) is not None:
            return True
        if isinstance(node, ast.Call):
            return self._class_called(node.func) is not None or any(self._is_code(a, scope) for a in _arguments(node))
        if isinstance(node, ast.Name):
            return bool(self._objects(node.id, scope) & (self.file.code.keys() | self.file.callers))
        return isinstance(node, ast.Attribute) and node.attr in CHANGING_METHODS

    def _method_called(
        self,
        called: ast.Attribute,
        node: ast.Call,
        given: Sequence[Objects],
        named: Mapping[str, Objects],
        scope: _Scope,
    ) -> Objects:
        """A method of a value. What a class of the file defines under that name is followed."""
        name, root = called.attr, called.value
        if name == "__subclasses__":
            self._anything(f"`{ast.unparse(node)[:60]}`")
        if isinstance(root, ast.Call) and ast.unparse(root) == "get_ipython()" and name in OF_JUPYTER:
            asked = " ".join(str(getattr(a, "value", "")) for a in node.args)
            if "magic" in name and asked.split(" ")[0].lstrip("%") not in HARMLESS_MAGICS:
                self._anything(f"`%{asked[:60]}`")
            return _NONE
        held = self.value(root, scope)
        everything = frozenset().union(*given, *named.values())
        if isinstance(root, ast.Name) and root.id in ("dict", "list", "set", "object", "type", "OrderedDict") and given:
            return self._unbound(name, node, given, everything)
        if given and _whose_class(root) is not None:
            # A method without its object: x.__class__.append(lst, 3).
            self._may_change(given[0])
        if name.startswith(("add", "register")) and any(self._is_code(one, scope) for one in _arguments(node)):
            self.effects.hands_over = True
        if any(keyword.arg in WRITING for keyword in node.keywords):
            self._change(held)
        if isinstance(root, ast.Name) and (known := self.file.classes.get(root.id)):
            self._method_of(known[1], name, given, named, scope)
        if isinstance(root, ast.Call) and getattr(root.func, "id", "") == "super" and self._classes:
            return everything | self._inherited(name, given, named, scope)
        known_class = self._instance(root.id, scope) if isinstance(root, ast.Name) else None
        if known_class is not None:
            given_back = self._method_of(known_class, name, [held, *given], named, scope)
            if given_back is not None:
                return held | everything | given_back
        if _NAMES in held and name in ("update", "setdefault", "__ior__", "__setitem__"):
            self._names_updated(node)
        elif _NAMES in held and name in CHANGING_METHODS and name != "pop":
            self._anything(f"`{ast.unparse(node)[:60]}`")
        if _NAMES in held and name in ("get", "items", "pop", "values"):
            return self._of_names(held, getattr(node.args[0], "value", None) if node.args else None)
        of_file = [m for m in self.file.methods.get(name, ()) if known_class is None]
        gives = _NONE.union(*(self._call(method, [held, *given], named, scope) for method in of_file))
        if (name in CHANGING_METHODS or (name[-1] == "_" and name[0] != "_")) and name not in HARMLESS_METHODS:
            (self._change_weights if _is_weight(called) else self._change)(held)
            self.file.put(held, everything | {self._index} if _arguments(node) else _NONE)
            return held | everything | gives
        if name in ("load_state_dict", "step"):
            self._change_weights(held)
        if name in ("get", "items", "keys", "values"):
            return self._items(root, held, scope) | gives
        if name in PURE_METHODS | HARMLESS_METHODS | PURE_MORE:
            return held | gives
        if not of_file and node is self._own_call:
            self._change(held)
        if not of_file:
            self._may_change(self.file.with_held(held | everything))
            self.file.put(held, everything)
        return held | everything | gives

    def _unbound(self, name: str, node: ast.Call, given: Sequence[Objects], everything: Objects) -> Objects:
        """A method of a builtin class that is given its object: `list.append(x, 3)`."""
        if name not in PURE_METHODS:
            self._change(given[0])
            self.file.put(given[0], everything)
            if _NAMES in given[0]:
                self._anything(f"`{ast.unparse(node)[:60]}`")
        return everything

    def _names_updated(self, node: ast.Call) -> None:
        keys: list[object] = [keyword.arg for keyword in node.keywords]
        for argument in node.args:
            if isinstance(argument, ast.Dict):
                keys += [getattr(key, "value", None) for key in argument.keys]
            elif isinstance(argument, ast.Constant):
                keys.append(argument.value)
            elif not keys:
                keys.append(None)
        for key in keys:
            if isinstance(key, str):
                self._sets(key)
            else:
                self._anything(f"`{ast.unparse(node)[:60]}`")

    def _method_of(
        self, node: ast.ClassDef, name: str, given: Sequence[Objects], named: Mapping[str, Objects], scope: _Scope
    ) -> Objects | None:
        """What a method of a class gives, or what it leaves in an object that it makes; None if there is none."""
        own = [p for p in node.body if isinstance(p, ast.FunctionDef | ast.AsyncFunctionDef) and p.name == name]
        held = _NONE
        first = given[0] if given else _NONE
        itself = self.file.objects_of(node, first) if own and given else _NONE
        for part in own:
            # A property has a function to read it, and one to set it.
            self._classes.append((node, first))
            of_class = self.file.class_given(part)
            held |= self._call(part, given, named, scope, first=(_first_name(part), itself | of_class))
            self._classes.pop()
        if own:
            return held
        for known in self._bases(node):
            found = self._method_of(known, name, given, named, scope)
            if found is not None:
                return found
        return None

    def _inherited(self, name: str, given: Sequence[Objects], named: Mapping[str, Objects], scope: _Scope) -> Objects:
        """What `super().name(...)` gives, or leaves in the object."""
        node, first = self._classes[-1]
        held = _NONE
        for known in self._bases(node):
            held |= self._method_of(known, name, [first, *given], named, scope) or _NONE
        running = self._running[-1]
        if isinstance(running, _Definition) and running.args.args and name in ("__init__", "__new__"):
            itself = running.args.args[0].arg
            scope.objects[itself] = scope.objects.get(itself, _NONE) | held
        return held

    def _bases(self, node: ast.ClassDef) -> list[ast.ClassDef]:
        found = [self.file.classes.get(base.id) for base in node.bases if isinstance(base, ast.Name)]
        return [known[1] for known in found if known is not None and known[1] is not node]

    def _runs_what_is_seen(self, node: ast.Call, scope: _Scope) -> bool:
        """Whether a function that runs a text is given functions, which are followed."""
        values = [*node.args, *(k.value for k in node.keywords if k.arg not in ("number", "repeat"))]
        return all(isinstance(v, ast.Lambda | ast.Attribute) or self._function(v, scope) is not None for v in values)

    def _of_package(self, node: ast.Name | ast.Attribute, scope: _Scope) -> None:
        dotted = self._dotted(node, scope)
        if dotted is not None and isinstance(node.ctx, ast.Load):
            self.effects.loads.add(dotted)
            if dotted.startswith("__main__"):
                # Here, that is another file.
                self._anything(f"`{ast.unparse(node)[:60]}`")

    def _any_object(self, node: ast.Name | ast.Attribute, scope: _Scope) -> None:
        """Note what gives objects by another way than by their names."""
        if self._dotted(node, scope) in ALL_OBJECTS:
            self._anything(f"`{ast.unparse(node)}`")

    def _reaching_any(self, node: ast.Name | ast.Attribute, scope: _Scope) -> None:
        """Note that a builtin gets another name, or is given to somebody who calls it."""
        if not isinstance(node.ctx, ast.Load):
            return
        if isinstance(node, ast.Name) and (self._is_defined(node.id, scope) or self._dotted(node, scope)):
            found = (self._dotted(node, scope) or "").removeprefix("builtins.")
        elif isinstance(node, ast.Name):
            found = node.id
        else:
            package, _, found = (self._dotted(node, scope) or "").partition(".")
            found = found if package == "builtins" else ""
        if found in REACH_ANY:
            self._anything(f"`{found}` has another name")

    def _is_of_file(self, name: str, scope: _Scope) -> bool:
        """Whether a name is the file's, and no function's own."""
        within: _Scope | None = scope
        while within is not None and name not in within.of_file:
            if within.outer is not None and name in within.objects:
                return False
            within = within.outer
        return True

    def _is_defined(self, name: str, scope: _Scope) -> bool:
        """Whether the code gives a name, which may be a builtin's, a value of its own."""
        within: _Scope | None = scope
        while within is not None:
            if name in within.objects or name in within.functions:
                return True
            within = within.outer
        return name in self.file.names.objects or name in self.file.names.functions

    # --- code that is run by another syntax than a call's, or by somebody else

    def _name_loaded(self, node: ast.Name, scope: _Scope) -> Objects:
        """What a name reaches. Whoever has it may run the code of the file that it reaches."""
        if _SHOWN.fullmatch(node.id) and not self._is_defined(node.id, scope):
            self._anything(f"`{node.id}` is what Jupyter showed")
        objects = self._objects(node.id, scope)
        function = self._function(node, scope)
        self.loaded |= objects - self.file.definitions
        self.packages_loaded |= objects & self.file.of_package.keys()
        if function is not None:
            self.reached.setdefault(function, scope)
        if known := self.file.classes.get(node.id):
            self._class_reached(known[1])
        self._used(objects)
        return objects

    def _used(self, objects: Objects) -> None:
        """Whoever has some objects may run the code in them, and use up what others find there."""
        self._change(objects & self.file.used_up)
        for index in objects:
            for code, where in self.file.code.get(index, {}).items():
                self.reached.setdefault(code, where)

    def _class_reached(self, node: ast.ClassDef) -> None:
        if node not in self.reached:
            self.reached[node] = self.file.names
            for base in self._bases(node):
                self._class_reached(base)

    def run_what_is_reached(self) -> None:
        """Follow what the statement loads of the file's code: its functions, and of its classes what has no call.

        That is what operators, statements and builtins call, as `__eq__`, `__enter__` and `__str__`, and properties.
        Who calls them, and with what, is not known: any object that the statement loads. Of other methods, which a
        package may call that is given the object, what they do to other objects counts.
        """
        done: set[ast.AST] = set()
        self._only_reached = True
        while found := [code for code in self.reached if code not in done]:
            done.update(found)
            for code in found:
                if isinstance(code, ast.ClassDef):
                    self._run_class(code)
                else:
                    self._call(code, [], {"**": self.loaded}, self.reached[code])

    def _run_class(self, node: ast.ClassDef) -> None:
        itself = frozenset(i for i in self.loaded if node in self.file.code.get(i, {}))
        for part in node.body:
            if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            self._classes.append((node, self.loaded))
            self._only_certain = not _needs_no_call(part)
            if part.name in MAKING or self._only_certain:
                self._call(part, [], {}, self.file.names, first=(_first_name(part), _NONE))
            else:
                new = self.file.new_objects(node)
                self._call(part, [], {"**": self.loaded | new}, self.file.names, first=(_first_name(part), itself))
            self._classes.pop()
        self._only_certain = False

    def _itself(self, name: str, objects: Objects, scope: _Scope) -> Objects:
        """The objects of a name whose attributes are set: of `self`, not what it holds."""
        within: _Scope | None = scope
        while within is not None:
            if within.first[0] == name:
                return within.first[1]
            within = within.outer
        return objects

    def _call(
        self,
        node: _Definition,
        given: Sequence[Objects],
        named: Mapping[str, Objects],
        scope: _Scope,
        first: tuple[str, Objects] = ("", _NONE),
    ) -> Objects:
        """Follow a call of a function, and give what it gives; of `__init__`, what it leaves in its object."""
        if node in self._running:
            if not self._only_reached:
                # It calls itself, perhaps with something else.
                before, named_before = self._given_first[node]
                for i, objects in enumerate(given):
                    self._may_change(objects - (before[i] if i < len(before) else _NONE))
                for name, objects in named.items():
                    self._may_change(objects - named_before.get(name, _NONE))
            return _NONE
        if len(self._running) > _DEEPEST:
            raise _TooMuchError
        self._given_first[node] = given, named
        arguments = node.args
        inside = _Scope(outer=scope if scope.outer is not None else self.file.names, first=first)
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
        own = self.file.names.objects.get(getattr(node, "name", ""), _NONE) | self.file.class_of(node)
        defaults = dict(zip(names[len(names) - len(arguments.defaults) :], arguments.defaults, strict=True))
        defaults |= {
            a.arg: d for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None
        }
        rest = frozenset().union(*given[len(names) :], named.get("**", _NONE))
        for name in (*names, *(a.arg for a in arguments.kwonlyargs)):
            inside.objects[name] = named.get(name, named.get("**", _NONE))
        for name, value in zip(names, given, strict=False):
            inside.objects[name] = value
        if given or named:
            first_name = _first_name(node)
            inside.objects[first_name] = inside.objects.get(first_name, _NONE) | self.file.class_given(node)
        for name, default in defaults.items():
            if not isinstance(default, ast.Constant) and not inside.objects[name]:
                # A list as a default is the function's own, from call to call.
                inside.objects[name] = own | self.value(default, scope)
        for star in filter(None, (arguments.vararg, arguments.kwarg)):
            inside.objects[star.arg] = rest.union(*named.values())
        self._running.append(node)
        try:
            if isinstance(node, ast.Lambda):
                return self.value(node.body, inside)
            inside.of_file = set(self.file.global_names(node))
            self.statements(node.body, inside)
            return inside.gives | (inside.objects[names[0]] if node.name == "__init__" and names else _NONE)
        finally:
            self._running.pop()

    # --- names

    def _function(self, node: ast.expr, scope: _Scope) -> _Definition | None:
        """The function of the file that an expression names."""
        if not isinstance(node, ast.Name):
            return node if isinstance(node, ast.Lambda) else None
        within: _Scope | None = scope
        while within is not None:
            if node.id in within.functions:
                return within.functions[node.id]
            if node.id in within.objects and within.outer is not None:
                return None
            within = within.outer
        return self.file.names.functions.get(node.id)

    def _class_called(self, node: ast.expr) -> tuple[int, ast.ClassDef] | None:
        return self.file.classes.get(node.id) if isinstance(node, ast.Name) else None

    def _instance(self, name: str, scope: _Scope) -> ast.ClassDef | None:
        within: _Scope | None = scope
        while within is not None:
            if name in within.instances:
                return within.instances[name]
            within = within.outer
        return self.file.names.instances.get(name)

    def _dotted(self, node: ast.expr, scope: _Scope) -> str | None:
        """What an expression names of an imported package, as `torch.nn.functional.relu`; None for anything else."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            found = self._package_asked_for(node, scope)
            return None if found is None else ".".join([found, *reversed(parts)])
        within: _Scope | None = scope
        while within is not None:
            if node.id in within.imports:
                return ".".join([within.imports[node.id], *reversed(parts)])
            if node.id in within.objects and within.outer is not None:
                return None
            within = within.outer
        found = self.file.names.imports.get(node.id)
        return None if found is None else ".".join([found, *reversed(parts)])

    def _package_asked_for(self, node: ast.expr, scope: _Scope) -> str | None:
        """The package that an expression asks for by its name, as `sys.modules["settings"]`; None for anything else.

        Here, `builtins` stands for any package, and `<file>` for the file itself.
        """
        if isinstance(node, ast.Subscript) and (
            ast.unparse(node.value) == "sys.modules" or self._dotted(node.value, scope) == "sys.modules"
        ):
            key = node.slice
        elif isinstance(node, ast.Subscript):
            names, key = self._dotted(node.value, scope) or "", node.slice
            if names.endswith(".__dict__") and isinstance(key, ast.Constant) and isinstance(key.value, str):
                return f"{names.removesuffix('.__dict__')}.{key.value}"
            return None
        elif isinstance(node, ast.Call) and node.args:
            called = self._dotted(node.func, scope) or ast.unparse(node.func)
            key = node.args[0]
            if called in ("vars", "getattr"):
                holder = self._dotted(key, scope)
                part = node.args[1] if called == "getattr" and len(node.args) > 1 else None
                name = "__dict__" if part is None else getattr(part, "value", "some_attribute")
                return None if holder is None else f"{holder}.{name}"
            if called not in ("importlib.import_module", "__import__", "sys.modules.get"):
                return None
        else:
            return None
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            return key.value
        return "<file>" if ast.unparse(key) == "__name__" else "builtins"

    # --- what is found

    def _change(self, objects: Objects) -> None:
        # In a function that is followed, it is the function that does it.
        found = self.effects.may_change if self._running else self.effects.changes
        found |= _known(objects)
        if self._only_reached:
            self.effects.later |= _known(objects)

    def _change_weights(self, objects: Objects) -> None:
        # What is being made has its weights from whoever makes it.
        if not self._only_reached and all(getattr(one, "name", "") != "__init__" for one in self._running):
            self.effects.weights |= _known(objects)

    def _may_change(self, objects: Objects) -> None:
        if not self._only_certain:
            if _NAMES in objects:
                self._anything("it is given the names of the file")
            self.effects.may_change |= _known(objects)
            if self._only_reached:
                self.effects.later |= _known(objects)

    def _sets(self, name: str) -> None:
        (self.effects.may_set if self._only_reached else self.effects.sets).add(name)

    def _anything(self, why: str) -> None:
        self.effects.anything = self.effects.anything or why

    def _step(self) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise _TooMuchError


def _outputs(dotted: str, given: Sequence[Objects]) -> Objects:
    """What a function of numpy writes to, of what it is given by position: `np.exp(x, x)`, `np.add.at(x, 0, 1)`."""
    name, _, method = dotted.rpartition(".")
    if method == "at" and inputs_of_ufunc(name) is not None:
        return given[0] if given else _NONE
    inputs = inputs_of_ufunc(dotted)
    return _NONE.union(*given[inputs:]) if inputs is not None else _NONE


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, f"{'.' * node.level}{node.module or ''}.{alias.name}"
        elif alias.asname:
            yield alias.asname, alias.name
        else:
            top = alias.name.split(".")[0]
            yield top, top


def _modules(node: ast.Import | ast.ImportFrom) -> set[str]:
    """The modules that an import may import, with those above them: of `from a import b`, a and a.b."""
    found = {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        above = "." * node.level + (node.module or "")
        found = {above, *(f"{above}{'.' * (not above.endswith('.'))}{name}" for name in found)}
    return found


def _arguments(node: ast.Call) -> list[ast.expr]:
    return [*node.args, *(keyword.value for keyword in node.keywords)]


def _whose_class(node: ast.expr) -> ast.expr | None:
    """x of `x.__class__` and `type(x)`; None for anything else."""
    if isinstance(node, ast.Call):
        return node.args[0] if getattr(node.func, "id", "") == "type" and len(node.args) == 1 else None
    return node.value if isinstance(node, ast.Attribute) and node.attr == "__class__" else None


def _annotations(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.expr]:
    arguments = node.args
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
    return [part for part in (*(a.annotation for a in every if a is not None), node.returns) if part is not None]


def _first_name(function: _Definition) -> str:
    """The name of a function's first parameter; empty without one."""
    return next((one.arg for one in (*function.args.posonlyargs, *function.args.args)), "")


def _is_given_its_class(method: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return method.name in ("__new__", "__class_getitem__") or any(
        ast.unparse(one).endswith("classmethod") for one in method.decorator_list
    )


def _shares_its_attributes(node: ast.ClassDef) -> bool:
    """Whether an object of a class may have the attributes of others: its `__dict__` is another object's, or one that a
    default of a function keeps."""
    for method in (part for part in node.body if isinstance(part, ast.FunctionDef)):
        given = method.args
        plain = {a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, [given.kwarg]))}
        kept = [*given.defaults, *filter(None, given.kw_defaults)]
        if any(not isinstance(one, ast.Constant) for one in kept):
            plain = {_first_name(method)}
        for part in ast.walk(method):
            if isinstance(part, ast.Call) and "__dict__" in {getattr(a, "value", None) for a in part.args[:-1]}:
                # As in object.__setattr__(self, "__dict__", shared).
                return True
            if not isinstance(part, ast.Assign | ast.AnnAssign):
                continue
            targets = part.targets if isinstance(part, ast.Assign) else [part.target]
            if any(isinstance(inner, ast.Attribute) and inner.attr == "__dict__" for inner in targets):
                own = isinstance(part.value, ast.Name) and part.value.id in plain
                if not own and not isinstance(part.value, ast.Call | ast.Dict):
                    return True
    return False


def _needs_no_call(method: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether something else than a call of its name runs a method."""
    if method.name.startswith("__") and method.name.endswith("__"):
        return True
    return any(
        ast.unparse(one).endswith(("property", ".setter", ".deleter", ".getter")) for one in method.decorator_list
    )


def _hands_out_its_class(node: ast.ClassDef) -> bool:
    """Whether a special method of a class, such as `__iter__` or `__getattr__`, reads a value of its body that may be
    changed: who has a new object may then have that value, by no name and no call that is written."""
    shared = {
        target.id
        for part in node.body
        if isinstance(part, ast.Assign | ast.AnnAssign) and not _is_plain(part.value, frozenset())
        for target in (part.targets if isinstance(part, ast.Assign) else [part.target])
        if isinstance(target, ast.Name)
    }
    return any(
        isinstance(inner, ast.Attribute) and inner.attr in shared
        for part in node.body
        if isinstance(part, ast.FunctionDef) and re.fullmatch("__(?!init__|new__|repr__|str__|len__).*__", part.name)
        for inner in ast.walk(part)
    )


def _is_plain(node: ast.AST | None, names: Set[str]) -> bool:
    """Whether an expression gives a number, a string or the like, by what is written there; so do some names."""
    if isinstance(node, ast.Constant | ast.Compare | ast.JoinedStr):
        return True
    if isinstance(node, ast.Name):
        return node.id in names
    if isinstance(node, ast.UnaryOp):
        return _is_plain(node.operand, names)
    if isinstance(node, ast.IfExp):
        return _is_plain(node.body, names) and _is_plain(node.orelse, names)
    if isinstance(node, ast.BinOp):
        return _is_plain(node.left, names) and _is_plain(node.right, names)
    made = ("bool", "device", "float", "int", "is_available", "len", "round", "str")
    return isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in made


def _is_made_for_each(node: ast.expr) -> bool:
    """Whether a value in a class is plain, or one that each object gets by itself, as `field(default_factory=list)`."""
    called = node.func if isinstance(node, ast.Call) else node
    name = getattr(called, "id", getattr(called, "attr", ""))
    return _is_plain(node, frozenset()) or (isinstance(node, ast.Call) and name in ("field", "Field", "attrib", "ib"))


def _is_flat(node: ast.expr | None, names: Set[str]) -> bool:
    """Whether an expression gives a list, a dict or a namespace of nothing but numbers, strings and the like."""
    if isinstance(node, ast.Call):
        made = getattr(node.func, "id", getattr(node.func, "attr", ""))
        values: Sequence[ast.expr] = [keyword.value for keyword in node.keywords if keyword.arg]
        is_one = made in ("dict", "Namespace", "SimpleNamespace") and len(values) == len(_arguments(node))
    else:
        is_one = isinstance(node, ast.Dict | ast.List | ast.Tuple | ast.Set)
        values = node.values if isinstance(node, ast.Dict) else getattr(node, "elts", [])
        is_one = is_one and (not isinstance(node, ast.Dict) or None not in node.keys)
    return is_one and all(_is_plain(value, names) for value in values)


def _is_weight(node: ast.expr) -> bool:
    """Whether it is something in a weight, or a weight of a layer, by its name."""
    parts = []
    while isinstance(node, ast.Attribute | ast.Subscript):
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
        node = node.value
    inner, last = parts[1:], parts[:1]
    return bool({"data", "weight", "bias", "grad"} & set(inner) or {"grad", "requires_grad"} & set(last)) or (
        len(parts) > 1 and bool({"data", "weight", "bias"} & set(last))
    )


def _without_moves(node: ast.Call) -> ast.Call:
    """`Net()` of `Net().to(device).eval()`: these methods of a module give the module itself."""
    while isinstance(node.func, ast.Attribute) and node.func.attr in GIVE_THEMSELVES:
        if not isinstance(node.func.value, ast.Call):
            break
        node = node.func.value
    return node


def _root_name(node: ast.AST) -> str | None:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None
