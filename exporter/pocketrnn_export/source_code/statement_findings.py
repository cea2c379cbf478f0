"""What is found of one statement while it is followed: what it does to values that exist, and which code it reaches."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Final

from pocketrnn_export.source_code.file_objects import Effects, FileObjects
from pocketrnn_export.source_code.object_numbers import NAMES, NONE, Objects, by_statement
from pocketrnn_export.source_code.scope import Code, Scope

__all__ = ["StatementFindings", "TooMuchError"]

# So many parts of functions are followed for one statement; more than that would take seconds.
_MOST_STEPS: Final = 60_000
# What Jupyter showed last, and all that it showed.
_SHOWN: Final = re.compile(r"_{1,3}|_\d+|Out|_oh")


class TooMuchError(Exception):
    """There is more than can be followed."""


class StatementFindings:
    """What is found so far.

    Args:
        file: what is known of the file.
        index: the statement's number.
        call: what the statement is there for, if it is a call only.

    Attributes:
        effects: what it does.
        given_to_names: the objects that names of the file are given.
        reached: functions and classes of the file that it loads, and where.
        loaded: all objects that it loads.
        packages_loaded: those that imports gave.
        bound: what methods belong to that are loaded, and not called.
        belongs: the sets of what is known of the file to which the statement belongs from then on, as `callers`.
        gives_its_own: the function of a package that gives its name what may be the package's own; else empty.
    """

    def __init__(self, file: FileObjects, index: int, call: ast.expr | None) -> None:
        self.file = file
        self.classes = file.classes
        self._index = index
        self._own_call = call
        self.effects = Effects()
        self.given_to_names: dict[str, Objects] = {}
        self.reached: Code = {}
        self.loaded: Objects = NONE
        self.packages_loaded: Objects = NONE
        self.bound: Objects = NONE
        self.belongs: list[set[int]] = []
        self.gives_its_own = ""
        self._only_reached = self._only_certain = False
        self._running: list[ast.AST] = []
        # What the functions that are running were given.
        self._given_first: dict[ast.AST, tuple[Sequence[Objects], Mapping[str, Objects]]] = {}
        # The classes whose methods are running, each with what the method's object holds.
        self._methods_of: list[tuple[ast.ClassDef, Objects]] = []
        self._steps = 0

    def _change(self, objects: Objects) -> None:
        # In a function that is followed, it is the function that does it.
        found = self.effects.may_change if self._running else self.effects.changes
        found |= by_statement(objects)
        if self._only_reached:
            self.effects.later |= by_statement(objects)

    def _change_weights(self, objects: Objects) -> None:
        # What is being made has its weights from whoever makes it.
        if not self._only_reached and all(getattr(one, "name", "") != "__init__" for one in self._running):
            self.effects.weights |= by_statement(objects)

    def _may_change(self, objects: Objects) -> None:
        if not self._only_certain:
            if NAMES in objects:
                self._anything("it is given the names of the file")
            self.effects.may_change |= by_statement(objects)
            if self._only_reached:
                self.effects.later |= by_statement(objects)

    def _sets(self, name: str) -> None:
        (self.effects.may_set if self._only_reached else self.effects.sets).add(name)

    def _anything(self, why: str) -> None:
        self.effects.anything = self.effects.anything or why

    def _name_set(self, key: object, why: str) -> None:
        """Note that a name of the file is set by a key of its names; where the key is not known, that may be any."""
        if isinstance(key, str):
            self._sets(key)
        else:
            self._anything(why)

    def _name_loaded(self, name: str, scope: Scope) -> Objects:
        """What a name reaches. Whoever has it may run the code of the file that it reaches."""
        if _SHOWN.fullmatch(name) and not scope.is_defined(name):
            self._anything(f"`{name}` is what Jupyter showed")
        node, objects = ast.Name(name, ast.Load()), scope.objects_of(name)
        self.loaded |= objects - self.file.definitions
        self.packages_loaded |= objects & self.file.of_package.keys()
        if function := scope.function(node):
            self.reached.setdefault(function, scope)
        if known := self.classes.named(node):
            for one in (known, *self.classes.above(known)):
                self.reached.setdefault(one, self.file.names)
        self._used(objects)
        return objects

    def _used(self, objects: Objects) -> None:
        """Whoever has some objects may run the code in them, and use up what others find there."""
        self._change(objects & self.file.used_up)
        for index in objects:
            for code, where in self.file.code.get(index, {}).items():
                self.reached.setdefault(code, where)

    def _step(self) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise TooMuchError
