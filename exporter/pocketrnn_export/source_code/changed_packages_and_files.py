"""Find which packages and files a piece of code may change, also through the Python files in the notebook's folder.

The files are parsed, not run. `import setup` may set something in another file, and so may `setup.configure()`.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.known_function_effects import REACH_ANYTHING, SETS_STATE, SWITCHES
from pocketrnn_export.source_code.names_and_object_flow import FileNames, Mentions, find_top
from pocketrnn_export.source_code.notebook import read_python_file
from pocketrnn_export.source_code.parts_of_functions_and_classes import Function
from pocketrnn_export.source_code.top_level_statements import list_file_names, list_statements

# Stands for any package.
ANY: Final = "*"


def find_unlimited_change(code: Mentions, names: FileNames) -> str:
    """Return the part of some code that may change any object, even one that the code does not name, such as `exec`.
    Return an empty string if there is no such part."""
    mentioned = {*map(names.find_full_name, code.loads | code.writes), *code.imports.values()}
    return code.anything or next((one for one in sorted(mentioned) if one.startswith(REACH_ANYTHING)), "")


def find_written_packages(code: Mentions, names: FileNames) -> set[str]:
    """Return the names of the packages and files that some code itself may change. `sys.path` and `os.chdir` are among
    them if the code may change where files are found."""
    full = set(map(names.find_full_name, code.writes | code.loads))
    changed = {one.split(".")[0] for one in full if one.startswith(SETS_STATE)} | ({"os.chdir"} & full)
    for name in (names.find_full_name(path) for path in code.writes if find_top(path) in names.imports):
        if not name.startswith(SWITCHES):
            changed.add("sys.path" if name.startswith("sys.path") else name.split(".")[0])
    return changed


@dataclass
class FileFacts:
    """The packages and files that a Python file in the notebook's folder imports or may change. Only the first part
    of a dotted name is kept: `torch` for `torch.nn`.

    Attributes:
        imports: the file itself, its imports, and the imports of the imported files beside it.
        changes: the names that its import may change; `ANY` where it may change anything.
        changes_later: the names that a call of its functions or classes may change, also the file itself.
    """

    imports: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    changes_later: set[str] = field(default_factory=set)

    def add(self, other: FileFacts) -> None:
        """Add the facts about another file."""
        self.imports |= other.imports
        self.changes |= other.changes
        self.changes_later |= other.changes_later


class ImportableFiles:
    """The Python files that a notebook may import from its folder. A file is parsed when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # A module outside the folder has no facts. In a circular import, those known so far are used.
        self._files: dict[str, FileFacts] = {}

    def merge_facts(self, modules: Iterable[str]) -> FileFacts:
        """Return one `FileFacts` object with the facts about several modules. Modules outside the folder are left
        out."""
        found = FileFacts()
        for module in modules:
            parts = module.split(".")
            # The packages that contain a file are imported with it.
            for name in (".".join(parts[:end]) for end in range(1, len(parts) + 1)):
                if name not in self._files:
                    self._files[name] = FileFacts()
                    with contextlib.suppress(InputError, OSError, ValueError):
                        self._collect_file_facts(name, self._files[name])
                found.add(self._files[name])
        return found

    def _collect_file_facts(self, name: str, facts: FileFacts) -> None:
        """Read the file of a module, and add to `facts` what its import and its functions may change. The file of a
        package is its `__init__.py`."""
        beginning, top = self._folder / name.replace(".", "/"), name.split(".")[0]
        paths = [path for path in (beginning / "__init__.py", Path(f"{beginning}.py")) if path.is_file()]
        if not top or not paths:
            return
        facts.imports.add(top)
        statements = [one for one in list_statements([read_python_file(paths[0])]) if not one.alone]
        names = list_file_names(one.node for one in statements)
        inside = name if paths[0].name == "__init__.py" else name.rpartition(".")[0]
        now, every = Mentions(), Mentions()
        for one in statements:
            now.add(one.now)
            every.add(one.now)
            every.add(one.later)
        defined = {*names.functions, *names.classes}
        if any(one.now.loads & defined for one in statements if not isinstance(one.node, ast.ClassDef | Function)):
            # It may call any function of the file.
            now = every
        modules = {_make_absolute_name(module, inside) for module in every.modules}
        imported = self.merge_facts(modules)
        facts.imports |= imported.imports | {one.split(".")[0] for one in modules}
        mentioned = {names.imports[one] for one in {"*", *map(find_top, every.loads)} if one in names.imports}
        used = self.merge_facts(_make_absolute_name(one, inside) for one in mentioned)
        given = {names.imports[path].split(".")[0] for _, path in every.flows if path in names.imports}
        for code, changes in ((now, facts.changes), (every, facts.changes_later)):
            changes |= {ANY} if find_unlimited_change(code, names) else find_written_packages(code, names)
            changes |= given if any("*" in find_top(path) for path in code.writes) else set()
            changes |= imported.changes | (used.changes_later if code is every else set())
        facts.changes_later |= {top} if every.writes else set()


def _make_absolute_name(module: str, inside: str) -> str:
    """Return the absolute name of a module: `package.inner` for `.inner` in `package`."""
    level = len(module) - len(module.lstrip("."))
    above = inside.split(".")
    return ".".join(filter(None, [*above[: len(above) - level + 1], module[level:]])) if level else module
