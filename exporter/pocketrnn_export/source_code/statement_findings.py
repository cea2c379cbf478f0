"""What is found of one statement while it is followed: what it does to values that exist, and which code it reaches."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Final

from pocketrnn_export.source_code.file_objects import Effects, FileObjects
from pocketrnn_export.source_code.object_numbers import NAMES, NONE, Objects, by_statement
from pocketrnn_export.source_code.scope import Code

__all__ = ["StatementFindings", "TooMuchError"]

# So many parts of functions are followed for one statement; more than that would take seconds.
_MOST_STEPS: Final = 60_000


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
        makes_caller: whether it makes what calls something of that which it is given.
        makes_filling: whether it makes a defaultdict.
        makes_used_up: whether it makes what is another thing after it was read.
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
        self.makes_caller = self.makes_filling = self.makes_used_up = False
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

    def _step(self) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise TooMuchError
