"""The changes that Python files beside a notebook may make: when they are imported, and when a function is used.

They are read, not run. `import setup` may set something in another file, and so may `setup.configure()`.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterable
from pathlib import Path

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.code_facts import Function
from pocketrnn_export.source_code.notebook import python_file
from pocketrnn_export.source_code.statements import statements_of
from pocketrnn_export.source_code.touched_names import FileBeside, TouchedNames

__all__ = ["FilesBeside"]


class FilesBeside:
    """The files of a folder, where imports are looked for, each read when it is first asked about."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, FileBeside | None] = {}

    def of(self, modules: Iterable[str]) -> FileBeside:
        """The facts of the files among some modules, all together.

        Example:
            >>> FilesBeside(Path("project")).of({"settings", "torch"}).imports
            {'settings', 'os'}
        """
        found = FileBeside()
        for module in modules:
            parts = module.split(".")
            # The packages that a file stands in are imported with it.
            for end in range(1, len(parts) + 1):
                if file := self._file(".".join(parts[:end])):
                    found.imports |= file.imports
                    found.changes |= file.changes
                    found.changes_later |= file.changes_later
        return found

    def _file(self, name: str) -> FileBeside | None:
        if name not in self._files:
            self._files[name] = None
            path = self._path(name)
            with contextlib.suppress(InputError):
                if path is not None:
                    # A file that imports itself by another is looked at as far as it is known.
                    self._files[name] = found = FileBeside({name.split(".")[0]})
                    self._read(name, path, found)
        return self._files[name]

    def _path(self, name: str) -> Path | None:
        """Where a file lies; of a folder, its `__init__.py`."""
        beginning = name.replace(".", "/")
        with contextlib.suppress(OSError, ValueError):
            for path in (self._folder / beginning / "__init__.py", self._folder / f"{beginning}.py"):
                if name and not name.startswith(".") and path.is_file():
                    return path
        return None

    def _read(self, name: str, path: Path, found: FileBeside) -> None:
        parts = [part for part in statements_of([python_file(path)]) if not part.alone]
        inside = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for part in parts:
            for mentions in (part.now, part.later):
                mentions.modules = {_absolute(one, inside) for one in mentions.modules}
            imported = self.of(part.now.modules | part.later.modules)
            found.imports |= imported.imports | {one.split(".")[0] for one in part.now.modules | part.later.modules}
            found.changes |= imported.changes
            if part.is_star:
                found.changes_later |= imported.changes_later
        names = TouchedNames(parts, self.of)
        for part in parts:
            changes = names.packages_changed(part, name.split(".")[0])
            if not isinstance(part.node, ast.ClassDef | Function):
                found.changes |= changes - {name.split(".")[0]}
            found.changes_later |= changes | names.packages_changed(part, name.split(".")[0], later=True)


def _absolute(module: str, inside: str) -> str:
    """A module's whole name, of `.inner` in a file of a folder."""
    level = len(module) - len(module.lstrip("."))
    above = inside.split(".")
    return ".".join(filter(None, [*above[: len(above) - level + 1], module[level:]])) if level else module
