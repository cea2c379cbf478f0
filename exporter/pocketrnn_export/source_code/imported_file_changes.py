"""Find which names a Python file in the notebook's folder may change, on import or in a call of its functions.

The files are parsed, not run. `import setup` may set something in another file, and so may `setup.configure()`.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterable
from pathlib import Path

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.changed_names import ChangeFinder, FileFacts
from pocketrnn_export.source_code.notebook import read_python_file
from pocketrnn_export.source_code.parts_of_functions_and_classes import Function
from pocketrnn_export.source_code.top_level_statements import list_statements


class ImportableFiles:
    """The Python files that a notebook may import from its folder. A file is parsed when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, FileFacts | None] = {}

    def merge_facts(self, modules: Iterable[str]) -> FileFacts:
        """Return one `FileFacts` object with the facts about several modules. Modules outside the folder are left
        out."""
        found = FileFacts()
        for module in modules:
            parts = module.split(".")
            # The packages that contain a file are imported with it.
            for end in range(1, len(parts) + 1):
                if file := self._find_file_facts(".".join(parts[:end])):
                    found.imports |= file.imports
                    found.changes |= file.changes
                    found.changes_later |= file.changes_later
        return found

    def _find_file_facts(self, name: str) -> FileFacts | None:
        """Return the facts about a module of the folder; None for a module outside the folder."""
        if name not in self._files:
            self._files[name] = None
            path = self._find_module_path(name)
            with contextlib.suppress(InputError):
                if path is not None:
                    # In a circular import, the facts known so far are used.
                    self._files[name] = found = FileFacts({name.split(".")[0]})
                    self._collect_file_facts(name, path, found)
        return self._files[name]

    def _find_module_path(self, name: str) -> Path | None:
        """Return the path of a module's file. The file of a package is its `__init__.py`."""
        beginning = name.replace(".", "/")
        with contextlib.suppress(OSError, ValueError):
            for path in (self._folder / beginning / "__init__.py", self._folder / f"{beginning}.py"):
                if name and not name.startswith(".") and path.is_file():
                    return path
        return None

    def _collect_file_facts(self, name: str, path: Path, facts: FileFacts) -> None:
        """Read a file, and add to `facts` what its import and its functions may change."""
        parts = [part for part in list_statements([read_python_file(path)]) if not part.alone]
        inside = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for part in parts:
            for mentions in (part.now, part.later):
                mentions.modules = {_make_absolute_name(one, inside) for one in mentions.modules}
            imported = self.merge_facts(part.now.modules | part.later.modules)
            facts.imports |= imported.imports | {one.split(".")[0] for one in part.now.modules | part.later.modules}
            facts.changes |= imported.changes
            if part.is_star:
                facts.changes_later |= imported.changes_later
        names = ChangeFinder(parts, self.merge_facts)
        for part in parts:
            changes = names.find_changed_packages(part, name.split(".")[0])
            if not isinstance(part.node, ast.ClassDef | Function):
                facts.changes |= changes - {name.split(".")[0]}
            facts.changes_later |= changes | names.find_changed_packages(part, name.split(".")[0], in_later_calls=True)


def _make_absolute_name(module: str, inside: str) -> str:
    """Return the absolute name of a module: `package.inner` for `.inner` in `package`."""
    level = len(module) - len(module.lstrip("."))
    above = inside.split(".")
    return ".".join(filter(None, [*above[: len(above) - level + 1], module[level:]])) if level else module
