"""What is known of a user's file so far: its names, the objects that they reach, and what these hold; and what a
statement does to them.

An object is known by the number of the statement that gave it a name; a name may reach several, as `c` does after
`c = config` or `c = [config]`.
"""

from __future__ import annotations

import ast
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Final

from pocketrnn_export.intake.code_facts import (
    Definition,
    is_given_its_class,
    is_made_for_each,
)
from pocketrnn_export.intake.known_code import (
    LEAVE_ALONE,
)

__all__ = [
    "NAMES",
    "NONE",
    "Code",
    "Effects",
    "FileObjects",
    "Objects",
    "Scope",
    "by_statement",
    "held_by",
    "holding",
    "inside_class",
    "object_of_class",
]

Objects = frozenset[int]
NONE: Final[Objects] = frozenset()
# Stands for the names of the file, as globals() gives them. What is below it stands for what objects of a class have of
# it, and for the lists and the like that are attributes of the class: see `object_of_class` and `inside_class`.
NAMES: Final = -1


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


@dataclass
class Scope:
    """The names of a function that is followed, with the objects that they reach; or those of the file."""

    objects: dict[str, Objects] = field(default_factory=dict)
    functions: dict[str, Definition] = field(default_factory=dict)
    outer: Scope | None = None
    of_file: set[str] = field(default_factory=set)
    gives: Objects = NONE
    imports: dict[str, str] = field(default_factory=dict)
    instances: dict[str, ast.ClassDef] = field(default_factory=dict)
    # In a method that nobody calls by its name: its first parameter, and the objects that are this parameter itself.
    first: tuple[str, Objects] = ("", NONE)


# Functions and classes of the file, each with the scope in which it was met.
Code = dict[Definition | ast.ClassDef, Scope]


class FileObjects:
    """What is known of a file so far, statement after statement."""

    def __init__(self) -> None:
        self.names = Scope()
        self.classes: dict[str, tuple[int, ast.ClassDef]] = {}
        self.methods: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
        self._class_methods: dict[ast.AST, ast.ClassDef] = {}
        self._class_of: dict[ast.AST, int] = {}
        self._class_attributes: dict[ast.ClassDef, Set[str]] = {}
        # The functions and classes that a statement loads: an object that it makes may run them.
        self.code: dict[int, Code] = {}
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

    def put(self, holders: Objects, value: Objects) -> None:
        """Some objects hold others from now on, whoever asks for them by whatever name."""
        for holder in holders - {NAMES}:
            self.held[holder] = self.held.get(holder, NONE) | (value - {holder, NAMES})

    def with_held(self, objects: Objects) -> Objects:
        """Some objects, with all that was put into them."""
        found, waiting = set(objects), list(objects)
        while waiting:
            new = self.held.get(waiting.pop(), NONE) - found
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
            found = [part for part in given if part.value is not None and not is_made_for_each(part.value)]
            names = {inner.id for part in found for inner in ast.walk(part)
                     if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)}  # fmt: skip
            self._class_attributes[node] = names - own
        return self._class_attributes[node]

    def new_objects(self, node: ast.ClassDef) -> Objects:
        """What stands for an object of a class that no name has."""
        return frozenset(object_of_class(i) for i, one in self.classes.values() if one is node)

    def class_of(self, method: ast.AST) -> Objects:
        """What keeps the defaults of a method: its class."""
        return frozenset({inside_class(self._class_of[method])}) if method in self._class_of else NONE

    def class_given(self, method: ast.AST) -> Objects:
        """What a classmethod is given before all else, whoever calls it by whatever object: its class, or one below it;
        none for another function."""
        node = self._class_methods.get(method)
        return NONE if node is None else self.with_those_below(node)

    def defined(self, index: int, node: ast.ClassDef, *, inner: bool = False) -> None:
        if not inner:
            self.classes[node.name] = index, node
        for part in node.body:
            if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
                self.methods.setdefault(part.name, []).append(part)
                self._class_of[part] = index
                if is_given_its_class(part):
                    self._class_methods[part] = node
            elif isinstance(part, ast.ClassDef):
                self.defined(index, part, inner=True)


def object_of_class(index: int) -> int:
    """Stands for an object of a class, by the statement of the class: what is in its attributes may be the class's."""
    return -2 - 3 * index


def inside_class(index: int) -> int:
    """Stands for what attributes of a class hold, or defaults of its methods, by the statement of the class: who
    changes it changes the class."""
    return -3 - 3 * index


def holding(objects: Objects) -> Objects:
    """What an object holds in an attribute, as the object: to give it another attribute does not change the class."""
    return frozenset(i - 1 if i < NAMES and (-2 - i) % 3 == 1 else i for i in objects)


def held_by(objects: Objects) -> Objects:
    """What attributes of some objects hold of a class."""
    return frozenset(i + 1 for i in objects if i < NAMES and (-2 - i) % 3 == 2)


def by_statement(objects: Objects) -> Objects:
    """Objects by their statements: what is in a class by the class's."""
    return frozenset(i if i >= 0 else (-2 - i) // 3 for i in objects if i >= 0 or (i < NAMES and (-2 - i) % 3 == 1))
