"""What the Python files beside a notebook do to values that exist already, when they are imported and when a part of
them is used. They are read, not run.

`import setup` may set something in another file, and so may `setup.configure()`. Loading a name is taken for using it,
as in the notebook itself (`effects.py`): whoever has a function may call it, and whoever has an object may add to it.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.code_facts import Function, Import
from pocketrnn_export.source_code.effects import Effects, effects_of
from pocketrnn_export.source_code.notebook import Cell, python_file
from pocketrnn_export.source_code.statements import Statement, statements_of

__all__ = ["with_files_beside"]


def with_files_beside(cells: Iterable[Cell], path: str) -> list[Statement]:
    """The statements of cells, with what files beside theirs do that they import or use.

    Example:
        >>> with_files_beside([python_file(Path("train.py"))], "train.py")[0].effects.reads
        {'settings', 'torch'}
    """
    files = _FilesBeside(Path(path).parent)
    statements = statements_of(cells, files.star)
    for statement in statements:
        files.add_to(statement.effects)
        for module in statement.effects.imports:
            statement.effects.reads |= files.imported(module)
    return statements


@dataclass
class _File:
    """What is known of one file.

    Attributes:
        sets: what importing it sets in other packages and files.
        calls: packages and files that importing it calls, and that may change what they are given, or themselves.
        parts: what using each of its names does.
        imports: the packages and files that it imports, and those that these files import.
        stars: what `from it import *` stands for; None where that is not known.
        anything: why importing it may change any name, that of another file too; empty otherwise.
    """

    sets: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    parts: dict[str, Effects] = field(default_factory=dict)
    imports: set[str] = field(default_factory=set)
    stars: list[Import] | None = None
    anything: str = ""


class _FilesBeside:
    """The files of a folder, where imports are looked for, each read when it is first asked about."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, _File | None] = {}

    def imported(self, name: str) -> set[str]:
        """The packages and files that a file imports, and those that these files import; none of a package."""
        file = self._file(name)
        return set() if file is None else {name.split(".")[0]} | file.imports

    def star(self, name: str) -> list[Import] | None:
        """The imports, each of one name, that `from name import *` stands for; None where that is not known."""
        file = self._file(name)
        return None if file is None else file.stars

    def add_to(self, effects: Effects) -> None:
        """Add to a statement's effects what the files do that it imports, and whose names it uses."""
        for name in effects.imports:
            # At its top, or where it runs; what stands above a file in folders is imported with it.
            parts = name.split(".")
            for end in range(1, len(parts) + 1):
                if file := self._file(".".join(parts[:end])):
                    effects.packages |= file.sets
                    effects.calls |= file.calls
                    effects.anything = effects.anything or file.anything
        for dotted in effects.loads:
            parts = dotted.split(".")
            for end in range(len(parts) - 1, 0, -1):
                file = self._file(".".join(parts[:end]))
                if file is not None:
                    used = file.parts.get(parts[end], Effects())
                    effects.packages |= used.packages
                    effects.calls |= used.calls
                    effects.anything = effects.anything or used.anything
                    break

    def _file(self, name: str) -> _File | None:
        if name not in self._files:
            self._files[name] = None
            path = self._path(name)
            with contextlib.suppress(InputError):
                if path is not None:
                    # A file that imports itself by another is looked at as far as it is known.
                    self._files[name] = found = _File()
                    self._read(name, python_file(path), found)
        return self._files[name]

    def _path(self, name: str) -> Path | None:
        """Where a file lies; of a folder, its `__init__.py`."""
        beginning = name.replace(".", "/")
        with contextlib.suppress(OSError, ValueError):
            for path in (self._folder / beginning / "__init__.py", self._folder / f"{beginning}.py"):
                if name and not name.startswith(".") and path.is_file():
                    return path
        return None

    def _read(self, name: str, cell: Cell, found: _File) -> None:
        parts = [part for part in statements_of([cell], self.star) if not part.alone]
        for part in parts:
            part.effects.imports = {self._absolute(one, name) for one in part.effects.imports}
            for module in part.effects.imports:
                found.imports |= {module.split(".")[0]} | self.imported(module)
            self.add_to(part.effects)
            found.sets |= {one for one in part.effects.packages if not one.startswith(f"{name}.")}
            found.calls |= part.effects.calls
            found.anything = found.anything or part.effects.anything
        found.parts = self._used(name, parts)
        found.stars = _of_star(name, parts)

    def _absolute(self, module: str, within: str) -> str:
        """A module's whole name, of `.inner` in a file of a folder."""
        level = len(module) - len(module.lstrip("."))
        if not level:
            return module
        path = self._path(within)
        above = within.split(".")
        above = above[: len(above) - level + (path is not None and path.name == "__init__.py")]
        return ".".join(filter(None, [*above, module[level:]]))

    def _used(self, name: str, parts: Sequence[Statement]) -> dict[str, Effects]:
        """What using each name of a file does: calling it, if it is a function or class, else loading it."""
        names = {one: part for part in parts for one in part.binds if one != "*"}
        uses: list[tuple[int, ast.stmt, frozenset[str]]] = []
        for one, part in names.items():
            value: ast.expr = ast.Name(one, ast.Load())
            made = getattr(part.node, "value", None)
            if isinstance(part.node, Function | ast.ClassDef) or isinstance(made, ast.Lambda):
                value = ast.Call(value, [], [])
            uses.append((len(parts) + len(uses), ast.Expr(value), frozenset()))
        every = [(i, part.node, part.binds) for i, part in enumerate(parts)]
        effects = effects_of([*every, *uses])
        used: dict[str, Effects] = {}
        for one, (index, *_) in zip(names, uses, strict=True):
            found = effects[index]
            self.add_to(found)
            touched = found.changes | found.may_change | found.weights
            owned = {min(parts[i].binds) for i in touched if i < len(parts) and parts[i].binds}
            found.packages |= {f"{name}.{it}" for it in owned | found.sets | found.may_set}
            used[one] = found
        return used


def _of_star(name: str, parts: Sequence[Statement]) -> list[Import] | None:
    imports: dict[str, Import] = {}
    for part in parts:
        if part.binds & {"*", "__all__", "__getattr__"}:
            # What another file gives, or a list that may be made in any way.
            return None
        for one in sorted(part.binds):
            if one.startswith("_"):
                continue
            # What the file itself imports is imported from where it comes.
            own = part.node if isinstance(part.node, Import) else None
            imports[one] = own or ast.ImportFrom(name, [ast.alias(one)], 0)
    return list(imports.values())
