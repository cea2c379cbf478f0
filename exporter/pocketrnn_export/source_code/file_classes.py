"""The classes of a user's file that were met so far: what is above and below each, and what its objects share."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Set

from pocketrnn_export.source_code.code_facts import (
    Function,
    decorating,
    hands_out_its_class,
    is_given_its_class,
    is_made_for_each,
    methods_of,
    root_name,
    shares_its_attributes,
)
from pocketrnn_export.source_code.known_code import GIVE_THE_CLASS
from pocketrnn_export.source_code.object_numbers import NONE, Objects, held_by, inside_class, object_of_class
from pocketrnn_export.source_code.scope import Scope

__all__ = ["FileClasses"]


class FileClasses:
    """The classes of a file, statement after statement.

    Attributes:
        methods: the methods of all of them.
    """

    def __init__(self) -> None:
        # The last class of each name; and all, each with its statement.
        self._by_name: dict[str, ast.ClassDef] = {}
        self._met: dict[ast.ClassDef, int] = {}
        # As they were when the class was made: `class Net(Net)` has one of its own name above it.
        self._bases: dict[ast.ClassDef, list[ast.ClassDef]] = {}
        self.methods: dict[str, list[Function]] = {}
        self._class_methods: dict[ast.AST, ast.ClassDef] = {}
        self._class_of: dict[ast.AST, int] = {}
        self._attributes: dict[ast.ClassDef, Set[str]] = {}

    def defined(self, index: int, node: ast.ClassDef, *, inner: bool = False) -> None:
        """A statement has defined a class."""
        if not inner:
            self._bases[node] = self.bases(node)
            self._by_name[node.name] = node
            self._met[node] = index
        for method in methods_of(node):
            self.methods.setdefault(method.name, []).append(method)
            self._class_of[method] = index
            if is_given_its_class(method):
                self._class_methods[method] = node
        for part in node.body:
            if isinstance(part, ast.ClassDef):
                self.defined(index, part, inner=True)

    @property
    def every(self) -> Objects:
        """All classes, by their statements."""
        return frozenset(self._met.values())

    def named(self, node: ast.expr) -> ast.ClassDef | None:
        """The class that an expression names."""
        return self._by_name.get(node.id) if isinstance(node, ast.Name) else None

    def by_statement(self, node: ast.ClassDef | None) -> Objects:
        """A class by its statement; none of one that a function defines."""
        return frozenset({self._met[node]}) if node in self._met else NONE

    def bases(self, node: ast.ClassDef) -> list[ast.ClassDef]:
        """The classes of the file that a class inherits from."""
        if node in self._bases:
            return self._bases[node]
        return [known for base in node.bases if (known := self.named(base)) is not None]

    def above(self, node: ast.ClassDef) -> Iterator[ast.ClassDef]:
        """The classes of the file that a class inherits from, and that these inherit from."""
        for base in self.bases(node):
            yield base
            yield from self.above(base)

    def names_above(self) -> set[str]:
        """The names that the classes of the file inherit from, also of packages."""
        return {root_name(base) or "" for node in self._met for base in node.bases}

    def with_those_below(self, node: ast.ClassDef) -> Objects:
        """A class and those that inherit from it, by their statements."""
        return frozenset(i for one, i in self._met.items() if one is node or node in self.above(one))

    def new_objects(self, node: ast.ClassDef) -> Objects:
        """What stands for an object of a class that no name has."""
        return frozenset(map(object_of_class, self.by_statement(node)))

    def class_of(self, method: ast.AST) -> Objects:
        """What keeps the defaults of a method: its class."""
        return frozenset({inside_class(self._class_of[method])}) if method in self._class_of else NONE

    def class_given(self, method: ast.AST) -> Objects:
        """What a classmethod is given before all else, whoever calls it by whatever object: its class, or one below it;
        none for another function."""
        node = self._class_methods.get(method)
        return NONE if node is None else self.with_those_below(node)

    def with_attribute(self, name: str, held: Objects) -> Objects:
        """What an attribute of some objects or classes is, where it is one of the class that may be changed."""
        of_classes = (self._class_with(node, name) for node, i in self._met.items() if {i, object_of_class(i)} & held)
        return held_by(held).union(*of_classes)

    def _class_with(self, node: ast.ClassDef, name: str) -> Objects:
        """The class, of one and those above it, in which a name stands for what may be changed."""
        if name in self._attributes_of(node):
            return frozenset(map(inside_class, self.by_statement(node)))
        return NONE.union(*(self._class_with(one, name) for one in self.bases(node)))

    def _attributes_of(self, node: ast.ClassDef) -> Set[str]:
        """The attributes of a class that may be changed, such as lists; but those that each object makes its own."""
        if node not in self._attributes:
            own = {part.attr for one in methods_of(node, "__init__") for part in ast.walk(one)
                   if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store)}  # fmt: skip
            given = [part for part in node.body if isinstance(part, ast.Assign | ast.AnnAssign)]
            found = [part for part in given if part.value is not None and not is_made_for_each(part.value)]
            names = {inner.id for part in found for inner in ast.walk(part)
                     if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)}  # fmt: skip
            self._attributes[node] = names - own
        return self._attributes[node]

    def giving_old_ones(self, node: ast.ClassDef, scope: Scope) -> Objects:
        """The classes, of one and those above it, that hold objects which a call of the class may give, or in which its
        objects have their attributes."""
        found = NONE.union(*(self.giving_old_ones(one, scope) for one in self.bases(node)))
        decorated = any(not _leaves_a_class(one, scope) for one in node.decorator_list)
        shares = shares_its_attributes(node) or hands_out_its_class(node)
        own = methods_of(node, "__new__") or node.keywords or decorated or self.is_enum(node, scope) or shares
        return found | self.by_statement(node) if found or own or self._has_descriptors(node) else found

    def is_enum(self, node: ast.ClassDef, scope: Scope) -> bool:
        """Whether a class makes its members while it is made."""
        dotted = [scope.dotted(base) or "" for base in node.bases]
        return any(one.startswith("enum.") for one in dotted) or any(
            self.is_enum(base, scope) for base in self.bases(node)
        )

    def _has_descriptors(self, node: ast.ClassDef) -> bool:
        """Whether attributes of a class are objects that are set by a method of their own, and so kept in the class."""
        values = [part.value for part in node.body if isinstance(part, ast.Assign | ast.AnnAssign)]
        made = [self.named(value.func) for value in values if isinstance(value, ast.Call)]
        known = [one for first in made if first is not None for one in (first, *self.above(first))]
        return any(methods_of(one, "__set__") for one in known)


def _leaves_a_class(decorator: ast.expr, scope: Scope) -> bool:
    """Whether a decorator is known to give the class that it is given, or one like it."""
    return (scope.dotted(decorating(decorator)) or "").startswith(GIVE_THE_CLASS)
