"""The folders from which the code of a user's file is imported, and the package of a file with relative imports."""

from __future__ import annotations

import ast
import importlib
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from pocketrnn_export.source_code.code_and_data_files_near_module import find_top_of_project
from pocketrnn_export.source_code.notebook import read_python_statements_if_readable
from pocketrnn_export.source_code.syntax_tree_parts import Import, list_imported_modules


@contextmanager
def add_import_folders_and_hide_options(path: Path, other_files: Sequence[Path] = ()) -> Iterator[None]:
    """While the block runs, import from the file's folder first, and hide the command-line options of pocketrnn from
    the file's code.

    Args:
        other_files: the other files of the command. Their folders are searched after those of the file.
    """
    first, last = _list_folders_before_and_after_packages([path, *other_files])
    sys.path[:0], sys.path[len(sys.path) :] = first, last
    here, options = Path.cwd(), sys.argv
    sys.argv = [str(path)]
    try:
        yield
    finally:
        sys.argv = options
        # The user's code may change the working folder, to which the paths of the command line are relative.
        os.chdir(here)
        for folder in (*first, *last):
            if folder in sys.path:
                sys.path.remove(folder)


def _list_folders_before_and_after_packages(files: Sequence[Path]) -> tuple[list[str], list[str]]:
    """Return the folders to search before the installed packages, and the folders to search after them.

    Before: each file's folder, the working folder, and the folder above a package that contains the file. After: the
    folders above, up to the top of the project.
    """
    folders = [file.absolute().parent for file in files]
    packages = [folder.parents[0] for start in folders for folder in _list_package_folders_above(start)]
    first = dict.fromkeys(map(str, [folders[0], Path.cwd(), *folders[1:], *packages]))
    above = dict.fromkeys(str(folder) for start in folders for folder in _list_folders_above(start))
    return [*first], [folder for folder in above if folder not in first]


def list_folders_to_add(code: str, place: Path, files: Sequence[Path]) -> list[str]:
    """List the folders from which some code imports the user's files and that Python would not search for a file in the
    folder `place`. The folders are relative to `place`.

    Args:
        code: the code, which will be written to a file in `place`.
        files: the user's files. The code has already run with their import folders.
    """
    modules = {one.partition(".")[0] for node in ast.walk(ast.parse(code)) if isinstance(node, Import)
               for one in list_imported_modules(node)}  # fmt: skip
    first, last = _list_folders_before_and_after_packages(files) if files else ([], [])
    found: dict[str, None] = {}
    for module in sorted(modules - {"", *sys.stdlib_module_names}):
        holding = [one for one in map(Path, (str(place.absolute()), *first, *last)) if _holds_module(one, module)]
        if holding and holding[0] != place.absolute():
            found[os.path.relpath(holding[0], place.absolute())] = None
    return [*found]


def _holds_module(folder: Path, module: str) -> bool:
    """Return whether a folder has a Python file, or a folder of Python files, with the name of a module."""
    return (folder / f"{module}.py").is_file() or any((folder / module).glob("*.py"))


def _list_package_folders_above(folder: Path) -> list[Path]:
    """Return a folder and those above it, as long as each is a package, that is, has a file `__init__.py`."""
    return list(itertools.takewhile(lambda one: (one / "__init__.py").is_file(), [folder, *folder.parents]))


def _list_folders_above(folder: Path) -> list[Path]:
    """Return the folders above a folder, up to the top of its project. If no folder is such a top, return only the
    parent folder."""
    top = find_top_of_project(folder)
    return [one for one in folder.parents if top is None or one.is_relative_to(top)][: 1 if top is None else None]


def import_package_of_file(path: Path) -> str:
    """Import the package of a file with relative imports, and return the package's name, such as `project.models`.
    Return an empty string if the file has no relative imports, or if a folder's name cannot be the name of a package.

    The name has as many folders as the relative imports go up. If the code of the package itself fails, for example on
    a library that only training needs, an empty package replaces it.
    """
    nodes = (node for top in read_python_statements_if_readable(path) for node in ast.walk(top))
    levels = [node.level for node in nodes if isinstance(node, ast.ImportFrom)]
    if not max(levels, default=0):
        return ""
    folder = path.absolute().parent
    number = max(*levels, len(_list_package_folders_above(folder)))
    folders = [folder, *folder.parents][:number][::-1]
    names = [one.name for one in folders]
    if not all(map(str.isidentifier, names)):
        return ""
    sys.path.insert(0, str(folders[0].parent))
    try:
        importlib.import_module(".".join(names))
    # A user's code may raise any exception, and call sys.exit.
    except (Exception, SystemExit):
        for i, one in enumerate(folders, 1):
            name = ".".join(names[:i])
            if name not in sys.modules:
                package = sys.modules[name] = ModuleType(name)
                package.__path__ = [str(one)]
    finally:
        sys.path.remove(str(folders[0].parent))
    return ".".join(names)
