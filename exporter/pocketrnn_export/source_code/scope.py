"""The names of a user's file, or of a function of it that is followed, and what they stand for: functions, objects of
classes, parts of packages."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pocketrnn_export.source_code.code_facts import Definition, decorating
from pocketrnn_export.source_code.known_code import SWITCHES, keeps_something
from pocketrnn_export.source_code.object_numbers import NONE, Objects

__all__ = ["Code", "Scope"]

_Kind = TypeVar("_Kind")


@dataclass
class Scope:
    """The names of a function that is followed, with the objects that they reach; or those of the file.

    Attributes:
        objects: the objects that each name reaches.
        functions: the functions that names stand for.
        outer: the scope around it; None of the file's.
        of_file: names that a function declares to be the file's.
        gives: what a function gives.
        imports: what names stand for in imported packages.
        instances: the classes of the file that names have an object of.
        first: in a method that nobody calls by its name, its first parameter, and the objects that are this parameter
            itself.
    """

    objects: dict[str, Objects] = field(default_factory=dict)
    functions: dict[str, Definition] = field(default_factory=dict)
    outer: Scope | None = None
    of_file: set[str] = field(default_factory=set)
    gives: Objects = NONE
    imports: dict[str, str] = field(default_factory=dict)
    instances: dict[str, ast.ClassDef] = field(default_factory=dict)
    first: tuple[str, Objects] = ("", NONE)

    @property
    def outward(self) -> Iterator[Scope]:
        """The scope and those around it; the last is the file's."""
        within: Scope | None = self
        while within is not None:
            yield within
            within = within.outer

    def function(self, node: ast.expr) -> Definition | None:
        """The function of the file that an expression names."""
        if isinstance(node, ast.Name):
            return self._nearest(node.id, lambda scope: scope.functions)
        return node if isinstance(node, ast.Lambda) else None

    def _nearest(self, name: str, known: Callable[[Scope], Mapping[str, _Kind]]) -> _Kind | None:
        """What a name is known for, but where a value of a function hides it."""
        for within in self.outward:
            if name in known(within):
                return known(within)[name]
            if name in within.objects and within.outer is not None:
                return None
        return None

    def instance(self, name: str) -> ast.ClassDef | None:
        """The class of the file that a name has an object of."""
        return next((within.instances[name] for within in self.outward if name in within.instances), None)

    def objects_of(self, name: str) -> Objects:
        """The objects that a name reaches."""
        *inner, file = self.outward
        for within in inner:
            if name in within.of_file:
                break
            if name in within.objects:
                return within.objects[name]
        return file.objects.get(name, NONE)

    def itself(self, name: str, objects: Objects) -> Objects:
        """The objects of a name whose attributes are set: of `self`, not what it holds."""
        return next((within.first[1] for within in self.outward if within.first[0] == name), objects)

    def is_of_file(self, name: str) -> bool:
        """Whether a name is the file's, and no function's own."""
        for within in self.outward:
            if name in within.of_file:
                return True
            if within.outer is not None and name in within.objects:
                return False
        return True

    def is_defined(self, name: str) -> bool:
        """Whether the code gives a name, which may be a builtin's, a value of its own."""
        return any(name in within.objects or name in within.functions for within in self.outward)

    def dotted(self, node: ast.expr) -> str | None:
        """What an expression names of an imported package, as `torch.nn.functional.relu`; None for anything else."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            found = self._nearest(node.id, lambda scope: scope.imports)
        else:
            found = self.package_asked_for(node)
        return None if found is None else ".".join([found, *reversed(parts)])

    def package_asked_for(self, node: ast.expr) -> str | None:
        """The package that an expression asks for by its name, as `sys.modules["settings"]`; None for anything else.

        Here, `builtins` stands for any package, and `<file>` for the file itself.
        """
        if isinstance(node, ast.Subscript):
            names, key = self.dotted(node.value) or "", node.slice
            if "sys.modules" not in (names, ast.unparse(node.value)):
                part = getattr(key, "value", None)
                is_part = names.endswith(".__dict__") and isinstance(part, str)
                return f"{names.removesuffix('.__dict__')}.{part}" if is_part else None
        elif isinstance(node, ast.Call) and node.args:
            called, key = self.dotted(node.func) or ast.unparse(node.func), node.args[0]
            if called in ("vars", "getattr"):
                holder = self.dotted(key)
                asked = node.args[1] if called == "getattr" and len(node.args) > 1 else None
                name = "__dict__" if asked is None else getattr(asked, "value", "some_attribute")
                return None if holder is None else f"{holder}.{name}"
            if called not in ("importlib.import_module", "__import__", "sys.modules.get"):
                return None
        else:
            return None
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            return key.value
        return "<file>" if ast.unparse(key) == "__name__" else "builtins"

    def own_of_package(self, node: ast.expr | None) -> str:
        """The function of a package that may give what is the package's own, as `decimal.getcontext`; else empty."""
        while isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        dotted = self.dotted(node.func) if isinstance(node, ast.Call) else None
        if dotted is None or dotted.startswith(SWITCHES) or not dotted.split(".")[-1].startswith(("get", "current")):
            return ""
        return dotted

    def keeps_something(self, decorator: ast.expr) -> bool:
        """Whether what a package's decorator gives may keep something from call to call."""
        dotted = self.dotted(decorating(decorator))
        return dotted is not None and keeps_something(dotted)


# Functions and classes of the file, each with the scope in which it was met.
Code = dict[Definition | ast.ClassDef, Scope]
