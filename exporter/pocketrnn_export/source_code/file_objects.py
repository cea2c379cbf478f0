"""What is known of a user's file so far: its names, the objects that they reach, and what these hold; and what a
statement does to them.

What stands for an object is said in `object_numbers.py`.
"""

from __future__ import annotations

import ast
from collections.abc import Set
from dataclasses import dataclass, field

from pocketrnn_export.source_code.code_facts import Function
from pocketrnn_export.source_code.file_classes import FileClasses
from pocketrnn_export.source_code.object_numbers import NAMES, NONE, Objects
from pocketrnn_export.source_code.scope import Code, Scope

__all__ = ["Effects", "FileObjects"]


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


class FileObjects:
    """What is known of a file so far, statement after statement."""

    def __init__(self) -> None:
        self.names = Scope()
        self.classes = FileClasses()
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

    def global_names(self, node: Function) -> Set[str]:
        """The names that a function declares to be the file's."""
        if node not in self._global_names:
            inside = (part for statement in node.body for part in ast.walk(statement))
            self._global_names[node] = {name for part in inside if isinstance(part, ast.Global) for name in part.names}
        return self._global_names[node]

    def objects_of(self, node: ast.ClassDef, objects: Objects) -> Objects:
        """Of some objects, those that may be of a class of the file or of one below it; all, if none is known to be."""
        indices = self.classes.with_those_below(node)
        return frozenset(i for i in objects if self.makes.get(i, set()) & indices) or objects

    def items(self, container: ast.expr, held: Objects, scope: Scope) -> Objects:
        """What the items or attributes of a value may be, of all that it may be or hold."""
        if isinstance(container, ast.Name) and (container.id, held) in self.flat and scope.is_of_file(container.id):
            return self.with_held(held) - held
        return held
