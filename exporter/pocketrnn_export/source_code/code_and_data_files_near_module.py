"""List the owner's Python files near the file of a module, the nearest first, their code, and the data files that the
code names."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Final, TypeVar

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.notebook import (
    read_python_cells,
    read_python_statements,
    read_python_statements_if_readable,
)
from pocketrnn_export.source_code.syntax_tree_parts import (
    Function,
    Import,
    find_methods,
    list_imported_modules,
    read_last_name,
)

_MOST_FILES: Final = 60
_MOST_DATA_FILES: Final = 2_000
# As in output/news/models/rnn/1.
_DEEPEST: Final = 6
# Files at the top of a project. Its code is run from there.
_PROJECT_FILES: Final = (".git", "pyproject.toml", "setup.py", "requirements.txt")
# A file lies up to three folders below the top of its project in most of them: src/package/models/lstm.py.
_MOST_FOLDERS: Final = 3
_LARGEST_CODE: Final = 4 * 2**20
# The largest file near the module, or imported, that is read. Larger ones are tables, and one of 2 MB takes a reader
# seconds.
_LARGEST_FILE_NEAR: Final = 2**17
_SETTINGS: Final = re.compile(r"(?i)\.(ya?ml|toml|ini|cfg|conf|config)$|(config|params|settings|args)\w*\.json$")
# Files whose lines show how the owner runs the code.
_COMMANDS: Final = re.compile(r"(?i)^readme(\.\w+)?$|^(gnu)?makefile$|^dockerfile$|^procfile$|\.(sh|bat|ps1)$")
_RUNS: Final = re.compile(r"\bpython|\.py\b|\s--\w")
_RUNS_ANSWERS: Final = re.compile(r"(?i)(predict|infer|classif|eval|answer|demo|serve|app)\w*\.py\b")
_LARGEST_SETTINGS: Final = 2**16
# Most of a notebook are its pictures, and reading 4 MB takes a tenth of a second.
_LARGEST_NOTEBOOK: Final = 2**23
_MOST_NOTEBOOKS: Final = 10
# PyTorch, and libraries that import it.
_WITH_TORCH: Final = frozenset((
    "allennlp", "fairseq", "fastai", "flair", "ignite", "lightning", "pytorch_lightning", "sentence_transformers",
    "skorch", "stanza", "torch", "torchaudio", "torchdata", "torchinfo", "torchmetrics", "torchnlp", "torchsummary",
    "torchtext", "torchvision",
))  # fmt: skip
# The first line of a file that the exporter writes beside its output. Such a file is not the owner's code.
WRITTEN_BY_EXPORT: Final = "# Written by pocketrnn export, from your code."
# In such a file, the folder from which paths to folders that it adds to sys.path are written.
FOLDER_OF_WRITTEN_FILE: Final = "Path(__file__).absolute().parent"
_ADDED_FOLDER: Final = re.compile(re.escape(FOLDER_OF_WRITTEN_FILE) + r" / '([^'\n]+)'")
_WRITTEN_AGAIN: Final = re.compile(
    re.escape(WRITTEN_BY_EXPORT) + r" Unless you change it, an export writes it again \((\w{12})(?:, from (.+))?\)\.\n"
)

_T = TypeVar("_T")
# The end of the place of code that belongs to another module.
_OF_ANOTHER: Final = ", code of another module"


class Nearness(IntEnum):
    """How near a code file is to a module. OWN: the module's file, or a file that imports connect with it in either
    direction. BESIDE: another file in the module's folder. ELSEWHERE: a file in another folder. OF_ANOTHER: a file that
    belongs to another module."""

    OWN = 0
    BESIDE = 1
    ELSEWHERE = 2
    OF_ANOTHER = 3


def find_top_of_project(folder: Path) -> Path | None:
    """Return the nearest folder at or above `folder` that is the top of a project, such as a repository. Return None if
    none of the nearest folders is."""
    near = [folder, *folder.parents][: _MOST_FOLDERS + 1]
    tops = (one for one in near if any((one / name).exists() for name in _PROJECT_FILES))
    return next((one for one in tops if one != Path.home()), None)


def list_search_folders(path: Path) -> list[Path]:
    """List the folders in and below which the files that belong to a module are looked for: the working folder, that of
    the module's file, and the top of the project that holds the working folder, as a path from there.

    Args:
        path: the file of the module.
    """
    top = find_top_of_project(Path.cwd())
    above = [] if top is None else [Path(os.path.relpath(top))]
    return [*dict.fromkeys((Path(), path.parent, *above))]


def list_files_near(path: Path) -> list[Path]:
    """List the Python files that may belong to a module: its own file first, then those of its folder, of the working
    folder and its subfolders, of the top of the project and its subfolders, and of the folder above. Large files, and
    those that `pocketrnn export` wrote, are left out.
    """
    here, folder = Path(), path.parent
    below = (here / path).resolve().is_relative_to(here.resolve())
    above = [] if below and folder.resolve() == here.resolve() else sorted((folder / "..").resolve().glob("*.py"))
    files = [path, *sorted(folder.glob("*.py")), *sorted(here.glob("*.py"))]
    for top in dict.fromkeys((here, list_search_folders(path)[-1])) if below else ():
        # As in src/package/data/tokenizer.py.
        deeper = [file for depth in (0, 1, 2, 3) for file in sorted(top.glob(f"{'*/' * depth}*.py"))]
        files += [file for file in deeper if not any(part.startswith(".") for part in file.relative_to(top).parts)]
    unique: dict[Path, Path] = {}
    # Neither links in a circle nor pipes, which keep a reader waiting.
    for file in filter(Path.is_file, (*files, *above)):
        if file == path or (file.stat().st_size <= _LARGEST_FILE_NEAR and not is_written_by_export(file)):
            unique.setdefault(file.resolve(), file)
    return [*unique.values()][:_MOST_FILES]


def is_written_by_export(file: Path) -> bool:
    """Return whether `pocketrnn export` wrote a Python file, as its first line says."""
    with contextlib.suppress(OSError), file.open("rb") as content:
        return content.read(len(WRITTEN_BY_EXPORT)) == WRITTEN_BY_EXPORT.encode()
    return False


def write_first_line_of_exported_file(code: str, origin: str = "") -> str:
    """Write the first line of a file that the exporter writes. The line says that the exporter wrote the file. It
    contains a digest of the code, by which a later change of the file is detected, and the function from which the code
    was copied.

    Args:
        code: the rest of the file.
        origin: the function as file.py:name, relative to the folder of the written file; empty if the code was not
            copied.
    """
    said = f", from {origin}" if origin.isprintable() and origin else ""
    digest = hashlib.sha256(code.encode()).hexdigest()[:12]
    return f"{WRITTEN_BY_EXPORT} Unless you change it, an export writes it again ({digest}{said}).\n"


def is_unchanged_since_export(file: Path) -> bool:
    """Return whether `pocketrnn export` wrote a Python file and the file has not changed since."""
    first, code = _read_written_file(file)
    return first is not None and first[1] == hashlib.sha256(code.encode()).hexdigest()[:12]


def read_copied_function_of_exported_file(file: Path) -> str:
    """Return the function from which `pocketrnn export` copied the code of a Python file, as file.py:name relative to
    the folder of the file. Return an empty string if the export did not write the file."""
    first, _ = _read_written_file(file)
    return "" if first is None else first[2] or ""


def _read_written_file(file: Path) -> tuple[re.Match[str] | None, str]:
    """Return two parts of a file that `pocketrnn export` wrote: the match of its first line, and the code below. The
    match is None if the export did not write the file."""
    if not is_written_by_export(file):
        return None, ""
    with contextlib.suppress(OSError, ValueError):
        text = file.read_bytes().decode()
        if first := _WRITTEN_AGAIN.match(text):
            return first, text[first.end() :]
    return None, ""


def list_notebooks_near(path: Path) -> list[Path]:
    """List the notebooks in the folder of a file, in the working folder, at the top of the project, and in the
    subfolders of these. The file itself is left out.

    Args:
        path: a Python file or notebook.
    """
    folders = dict.fromkeys((path.parent, *list_search_folders(path)))
    found = [file for folder in folders for depth in ("", "*/") for file in sorted(folder.glob(f"{depth}*.ipynb"))]
    unique = {file.resolve(): file for file in found if file.is_file() and file.stat().st_size <= _LARGEST_NOTEBOOK}
    unique.pop(path.resolve(), None)
    return [*unique.values()][:_MOST_NOTEBOOKS]


def list_files_that_import(path: Path) -> list[Path]:
    """List the Python files near a file that import it. An import of the file's folder, as a package, counts too."""
    return [file for file in list_files_near(path)[1:] if _imports_file(file, path)]


def _imports_file(file: Path, path: Path) -> bool:
    """Return whether a Python file imports the file `path`, or its folder as a package. The modules are compared by
    their names. Two imports do not count: one that finds another file with the same name, and one that takes from the
    folder only names which other files of the folder define.

    Args:
        file: the file that may contain the import.
        path: the file that may be imported.
    """
    here = path.resolve()
    modules = {one: find_imported_file(file, one.lstrip(".")) for one in _list_modules_of_file(file)}
    modules = {one: found for one, found in modules.items() if found is None or found.resolve() == here}
    last = {one: one.rpartition(".")[2] for one in modules}
    if path.stem in last.values() or here.parent.name not in last.values():
        return path.stem in last.values()
    taken = {name for one, name in last.items() if one.rpartition(".")[0].rpartition(".")[2] == here.parent.name}
    beside = [one for one in here.parent.glob("[!_]*.py") if one != here and one.stat().st_size <= _LARGEST_FILE_NEAR]
    return not taken or not taken <= {name for one in beside for name in (one.stem, *_list_definitions(one))}


def imports_torch_directly_or_indirectly(path: Path) -> bool:
    """Return whether a Python file imports PyTorch or a library that does, itself or through a file near it. A file
    that is not valid Python counts as importing nothing."""
    waiting, seen = [path], set[Path]()
    while waiting and len(seen) < _MOST_FILES:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            if _WITH_TORCH & {module.partition(".")[0] for module in _list_modules_of_file(file)}:
                return True
            waiting += list_imported_files(file)
    return False


def list_imported_files(path: Path) -> list[Path]:
    """List the owner's Python files that a file imports. They are looked for in the folder of the file and in those
    above, up to the working folder or the top of its project."""
    found = [find_imported_file(path, module.lstrip(".")) for module in _list_modules_of_file(path)]
    return [one for one in dict.fromkeys(found) if one is not None and one.stat().st_size <= _LARGEST_FILE_NEAR]


def list_imported_libraries(path: Path) -> list[str]:
    """List the packages that a Python file imports, itself or through the owner's files that it imports. The standard
    library and the owner's files are left out."""
    imported = [(file, one) for file in (path, *list_imported_files(path)) for one in _list_modules_of_file(file)]
    # The folder of a file near it is no library.
    near = {one.partition(".")[0] for file, one in imported if find_imported_file(file, one.lstrip(".")) is not None}
    names = {one.partition(".")[0] for _, one in imported} - near
    return sorted(one for one in names if one and one not in sys.stdlib_module_names)


def _list_modules_of_file(path: Path) -> Sequence[str]:
    """Return the names of the modules that a file may import, in the order of the imports; an empty sequence for a file
    that cannot be read."""
    with contextlib.suppress(InputError, OSError):
        state = path.stat()
        if state.st_size <= _LARGEST_CODE or path.suffix == ".ipynb":
            return _list_modules_with_cache(path.absolute(), path, state.st_mtime_ns, state.st_size)
    return ()


@functools.lru_cache(maxsize=4 * _MOST_FILES)
def _list_modules_with_cache(_place: Path, path: Path, _changed: int, _size: int) -> tuple[str, ...]:
    """Return the names of the modules that a file imports. The result is cached. The other arguments are only parts of
    the cache's key: the working folder, the time of the last change, and the size."""
    nodes = ast.walk(ast.Module(read_python_statements(path), []))
    return tuple(module for node in nodes if isinstance(node, Import) for module in sorted(list_imported_modules(node)))


def find_imported_file(path: Path, module: str) -> Path | None:
    """Find the Python file that an import in the file `path` loads. The module is looked for in the folder of `path`
    and in the folders above, up to the working folder or the top of its project. Return None if there is no such file.

    Args:
        path: the file that contains the import.
        module: the imported module, such as `models.utils`.
    """
    folder = path.absolute().parent
    here = Path.cwd()
    top = find_top_of_project(here) or here
    above = [one for one in folder.parents if one.is_relative_to(top)] if folder.is_relative_to(here) else []
    added: list[str] = _ADDED_FOLDER.findall(path.read_text(errors="replace")) if is_written_by_export(path) else []
    for one in (folder, *above, *((folder / name).resolve() for name in added)):
        file = one.joinpath(*module.split(".")).with_suffix(".py")
        if module and file.is_file():
            return Path(os.path.relpath(file)) if not path.is_absolute() and file.is_relative_to(top) else file
    return None


def find_file_loaded_by_from_import(path: Path, node: ast.ImportFrom) -> Path | None:
    """Find the owner's Python file that a `from` import loads, such as `from .data import read` or `from data import
    read`. Return None if there is no such file.

    Args:
        path: the file that contains the import.
        node: the `from` import.
    """
    if not node.level:
        return find_imported_file(path, node.module or "")
    folder = path.parent
    for _ in range(node.level - 1):
        folder = folder.parent if folder.name else folder / ".."
    modules = [node.module] if node.module else [*(one.name for one in node.names), "__init__"]
    files = (folder.joinpath(*module.split(".")).with_suffix(".py") for module in modules)
    return next(filter(Path.is_file, files), None)


def make_import_absolute(path: Path, node: ast.ImportFrom) -> tuple[Path, ast.ImportFrom]:
    """Convert a relative import to one that a script outside of the package can run: `from .data import read` to `from
    package.data import read`. Return the folder that must be on `sys.path`, and the new import.

    Args:
        path: the file that contains the import.
        node: the relative import.
    """
    package = path.resolve().parents[node.level - 1]
    root = package.parent
    # The files of a package may import from above, too.
    while (root / "__init__.py").is_file():
        root = root.parent
    module = ".".join([*package.relative_to(root).parts, *filter(None, [node.module])])
    here = Path.cwd()
    root = root.relative_to(here) if root.is_relative_to(here) else root
    return root, ast.ImportFrom(module, node.names, 0)


def list_syntax_nodes_near(path: Path, *, in_notebooks: bool = False) -> Iterator[tuple[str, ast.AST]]:
    """Yield the syntax nodes of a module's file and of the files near it, the nearest file first, as pairs (place,
    node). A place is a string such as `train.py, line 3`. It ends with ", code of another module" if the file belongs
    to another module.

    Args:
        path: the file of the module. Its nodes come first, unless `in_notebooks`.
        in_notebooks: whether to read the notebooks near the file instead of it and the Python files near it.
    """
    near = rank_files_near(path, in_notebooks=in_notebooks)
    for file in sorted(near, key=lambda one: near[one]):
        end = _OF_ANOTHER if near[file] is Nearness.OF_ANOTHER else ""
        with contextlib.suppress(InputError, OSError):
            # Most of a large notebook are its pictures.
            if file.stat().st_size <= _LARGEST_CODE or file.suffix == ".ipynb":
                yield from ((f"{where}{end}", node) for where, node in _list_nodes_with_places(file))


def rank_files_near(path: Path, *, in_notebooks: bool = False) -> Mapping[Path, Nearness]:
    """Return how near each Python file around a module is to the module.

    Args:
        path: the file of the module.
        in_notebooks: whether to rank the notebooks near the file, and no Python files.
    """
    files = list_files_near(path)
    states = [(one.stat().st_mtime_ns, one.stat().st_size) if one.exists() else (0, 0) for one in files]
    ranks = _rank_files_with_cache(path.absolute(), tuple(zip(files, states, strict=True)))
    if not in_notebooks:
        return ranks
    own = _list_definitions(path)
    return {
        one: Nearness.OF_ANOTHER if _is_code_of_other_module(one, own) else _rank_by_folder(one, path)
        for one in list_notebooks_near(path)
    }


def _rank_by_folder(file: Path, path: Path) -> Nearness:
    return Nearness.BESIDE if file.resolve().parent == path.resolve().parent else Nearness.ELSEWHERE


@functools.lru_cache(maxsize=8)
def _rank_files_with_cache(_place: Path, states: tuple[tuple[Path, tuple[int, int]], ...]) -> Mapping[Path, Nearness]:
    """Return how near each file is to a module. The result is cached.

    Args:
        _place: the working folder, which is only a part of the cache's key.
        states: the files, each with the time of its last change and its size. The first file is the module's.
    """
    path, files = states[0][0], {one.resolve(): one for one, _ in states}
    imports = {one: {*map(Path.resolve, list_imported_files(file))} & {*files} for one, file in files.items()}
    here, definitions = path.resolve(), _list_definitions(path)
    below = _list_reachable_files([here], imports)
    others = {one for one, file in files.items() if one not in below and _is_code_of_other_module(file, definitions)}
    users = {one: {user for user, imported in imports.items() if one in imported} for one in files}
    # A package has imports that name only its folder.
    for one in {here, *others}:
        users[one] |= {user for user, file in files.items() if user != one and _imports_file(file, files[one])}
    above = _list_reachable_files([here], users)
    # A script that runs all models imports their classes, too.
    steps = {
        user: {one for one in found if one not in others or _imports_more_than_modules(files[user], files[one])}
        for user, found in imports.items()
    }
    own = below | _list_reachable_files(above, steps)
    of_others = _list_reachable_files(_list_reachable_files(others - above, users) - own, imports) - own
    return {
        file: Nearness.OWN if one in own
        else Nearness.OF_ANOTHER if one in of_others | others
        else _rank_by_folder(file, path)
        for one, file in files.items()
    }  # fmt: skip


def _list_reachable_files(first: Iterable[Path], steps: Mapping[Path, Collection[Path]]) -> set[Path]:
    """Return the files in `first`, and all files that can be reached from them.

    Args:
        first: the files where the search starts.
        steps: the files that can be reached from each file in one step, such as its imports.
    """
    found, waiting = {*first}, [*first]
    while waiting:
        new = {*steps.get(waiting.pop(), ())} - found
        found |= new
        waiting += new
    return found


def _imports_more_than_modules(user: Path, file: Path) -> bool:
    """Return whether `user` imports a name from `file` that is not one of the classes with a `forward` in `file`, such
    as a function."""
    names = {
        name for above, _, name in (one.rpartition(".") for one in _list_modules_of_file(user))
        if above.rpartition(".")[2] == file.stem
    }  # fmt: skip
    statements = read_python_statements_if_readable(file)
    modules = {one.name for one in statements if isinstance(one, ast.ClassDef) and find_methods(one, "forward")}
    return bool(names - modules - {"*"})


def _list_definitions(path: Path) -> set[str]:
    """Return the names of the functions and classes of a file."""
    return {one.name for one in read_python_statements_if_readable(path) if isinstance(one, Function | ast.ClassDef)}


def _is_code_of_other_module(file: Path, names: Collection[str]) -> bool:
    """Return whether a file trains a module or defines a class with a `forward`, but defines none of the classes in
    `names`."""
    nodes = [node for one in read_python_statements_if_readable(file) for node in ast.walk(one)]
    classes = [one for one in nodes if isinstance(one, ast.ClassDef)]
    defines = any(find_methods(one, "forward") for one in classes)
    return (contains_training_loop(file) or defines) and not any(one.name in names for one in classes)


def contains_training_loop(file: Path) -> bool:
    """Return whether a file calls `backward`. A script that imports the module by a name from an option, with
    `import_module`, does not count, since it may train any module."""
    nodes = (node for one in read_python_statements_if_readable(file) for node in ast.walk(one))
    called = {read_last_name(one.func) for one in nodes if isinstance(one, ast.Call)}
    return "backward" in called and not called & {"import_module", "__import__"}


def list_code_files_of_module(path: Path) -> list[Path]:
    """List the Python files that may belong to a module, the nearest first. If imports connect any other file with the
    module's file, files that belong to another module are left out; else they come last."""
    ranks = rank_files_near(path)
    is_alone = [*ranks.values()].count(Nearness.OWN) == 1
    near = [one for one, rank in ranks.items() if is_alone or rank is not Nearness.OF_ANOTHER]
    return sorted(near, key=lambda one: (ranks[one] is not Nearness.OWN, ranks[one] is Nearness.OF_ANOTHER))


def rank_place(path: Path, place: str) -> Nearness:
    """Return how near the file of a place, such as `train.py, line 3`, is to a module. A file that is not Python, such
    as a README, is as near as the nearest code in its folder.

    Args:
        path: the file of the module.
        place: the file and line, such as `train.py, line 3`.
    """
    ranks, file = rank_files_near(path), _read_file_of_place(place)
    if file in ranks or file.suffix in (".py", ".ipynb"):
        of_another = Nearness.OF_ANOTHER if is_place_in_code_of_another_module(place) else _rank_by_folder(file, path)
        return ranks.get(file, of_another)
    folder = file.resolve().parent
    if path.resolve().is_relative_to(folder):
        return Nearness.BESIDE
    return min((rank for one, rank in ranks.items() if one.resolve().parent == folder), default=Nearness.ELSEWHERE)


def _read_file_of_place(place: str) -> Path:
    return Path(place.partition(", ")[0])


def is_place_in_code_of_another_module(place: str) -> bool:
    """Return whether a place, such as `train.py, line 3, code of another module`, says that the code belongs to another
    module."""
    return place.endswith(_OF_ANOTHER)


def keep_nearest(path: Path, places: Mapping[_T, str], *, within: Nearness = Nearness.OWN) -> dict[_T, str]:
    """Return the items whose places in code are the nearest to a module, as a dict from items to places.

    Args:
        path: the file of the module.
        places: the place of each item, such as `train.py, line 3` for a file of weights.
        within: the nearness up to which all places are equally near.
    """
    ranks = {one: max(rank_place(path, where), within) for one, where in places.items()}
    return {one: places[one] for one, rank in ranks.items() if rank == min(ranks.values())}


def _list_nodes_with_places(file: Path) -> list[tuple[str, ast.AST]]:
    """Return the syntax nodes of a file as pairs (file and line, node)."""
    return [
        (cell.describe_place(file, node), node)
        for cell in read_python_cells(file)
        for node in ast.walk(ast.Module([*cell.statements], []))
    ]


def list_data_files_named_in_code(
    path: Path, suffix_pattern: str, names_in_folder: Collection[str] = ()
) -> dict[Path, str]:
    """Find the data files that the code of a module, a settings file, or a command in a script or README names. Return
    a dict from each file to the place where it is named. Files in a command that predicts come first.

    Only files that exist in or below the working folder, the module's folder or the top of the project are found. If
    several have the same name, those in or below the module's folder come first. Scripts that ask a bundle are not
    read: they came after the training, and a second export finds what the first one did.

    Args:
        path: the file of the module.
        suffix_pattern: a regular expression for the suffixes of the files, such as `json|pkl`. A file whose whole name
            matches, such as `vocab`, counts too.
        names_in_folder: names of files, such as `config.json`. If the code names only a folder that contains one, that
            file is found.

    Example:
        >>> list_data_files_named_in_code(Path("api.py"), "json|pkl")
        {PosixPath('vocab.json'): 'api.py, line 9'}
    """
    files: dict[Path, tuple[Path, str]] = {}
    beside = list_data_files_near(path)
    lines = [
        (file, number, line)
        for file in beside if is_settings_file(file) or _is_command_file(file)
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1)
        if is_settings_file(file) or _RUNS.search(line)
    ]  # fmt: skip
    in_lines = {
        found[0]: (f"{file}, line {number}", _RUNS_ANSWERS.search(line) is not None)
        for file, number, line in reversed(lines)
        for found in re.finditer(rf"(?i)[\w.-]+\.({suffix_pattern})\b", line)
    }
    named = {name: where for name, (where, is_answering) in in_lines.items() if is_answering}
    askers = {one for one in list_files_near(path)[1:] if _only_asks_bundle(one)}
    for where, node in list_syntax_nodes_near(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _read_file_of_place(where) not in askers:
            name = node.value.replace("\\", "/").rstrip("/").rpartition("/")[2]
            if re.search(rf"(?i)(?:^|\.)(?:{suffix_pattern})$", name) or (names_in_folder and name.strip(".")):
                named.setdefault(name, where)
    named |= {name: where for name, (where, _) in in_lines.items() if name not in named}
    for file in beside:
        name = next((one for one in named if is_string_the_end_of_file_name(file, one)), "")
        if not name and file.name in names_in_folder and file.parent.name in named:
            name, file = file.parent.name, file.parent
        if name:
            files.setdefault(file.resolve(), (file, name))
    order = [*named]
    ordered = sorted(files.values(), key=lambda found: (order.index(found[1]), not is_below(found[0], path.parent)))
    return {file: named[name] for file, name in ordered}


def _only_asks_bundle(file: Path) -> bool:
    """Return whether a file imports the runtime, and not the exporter, which such a file may call on a module."""
    imported = {one.partition(".")[0] for one in _list_modules_of_file(file)}
    return "pocketrnn" in imported and "pocketrnn_export" not in imported


def list_data_files_of_function(path: Path, name: str) -> list[Path]:
    """List the existing data files that a function needs, by the file names in its code. The code is that of the
    function, of the functions that it calls, and of top-level statements, also in the files that its file imports.
    Files below the working folder and files named by an absolute path are found.

    Example:
        >>> list_data_files_of_function(Path("cut.py"), "words")
        [PosixPath('words.vec')]
    """
    waiting, named = list[ast.AST](), dict[str, None]()
    definitions: dict[str, list[ast.AST]] = {}
    for file in (path, *list_imported_files(path)):
        with contextlib.suppress(InputError, OSError):
            for one in read_python_statements(file):
                is_definition = isinstance(one, Function | ast.ClassDef)
                (definitions.setdefault(getattr(one, "name", ""), []) if is_definition else waiting).append(one)
    waiting += definitions.pop(name, [])
    while waiting:
        for node in ast.walk(waiting.pop()):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
                named[node.value] = None
            elif isinstance(node, ast.Name | ast.Attribute):
                waiting += definitions.pop(read_last_name(node), [])
    below = [one for one in list_data_files_below(Path()) if one.suffix not in (".py", ".ipynb")]
    by_name = {one.name: one for one in reversed(below)}
    found: dict[Path, None] = {}
    for text in named:
        with contextlib.suppress(OSError, ValueError):
            file = Path(text) if Path(text).is_file() else by_name.get(Path(text).name, Path())
            found |= {file: None} if file.suffix and file.suffix != ".py" and file.is_file() else {}
    return [*found]


def is_below(file: Path, folder: Path) -> bool:
    """Return whether a file lies in or below a folder."""
    return file.resolve().is_relative_to(folder.resolve())


def is_string_the_end_of_file_name(file: Path, name: str) -> bool:
    """Return whether a string in code is the path of a file or the end of its name, such as "_model.pt" in
    `f"{kind}_model.pt"`."""
    name = name.replace("\\", "/").rpartition("/")[2]
    return file.name == name or (name[:1] in ("_", "-", ".") and file.name.endswith(name))


def is_settings_file(path: Path) -> bool:
    """Return whether a path is a small file with settings, such as config.json or settings.yaml, by its name and
    size."""
    return _SETTINGS.search(path.name) is not None and path.is_file() and path.stat().st_size <= _LARGEST_SETTINGS


def list_settings_files_of(path: Path) -> list[Path]:
    """List the settings files that belong to another file, such as a file of weights.

    These are the settings files in or below the working folder that contain the name of the other file. If there are no
    such files, these are the settings files in the folder of the other file or, if it has none, in the folder above.
    """
    near = [one for one in list_data_files_below(Path()) if is_settings_file(one)]
    named = re.compile(rf"(?<![\w.-]){re.escape(path.name)}(?![\w.-])")
    if naming := [one for one in near if named.search(one.read_text("utf-8", errors="replace"))]:
        return naming
    for folder in (path.parent, path.parent.parent):
        beside = [one for one in sorted(folder.glob("*")) if is_settings_file(one)]
        if beside or folder.resolve() == Path().resolve():
            return beside
    return []


def _is_command_file(path: Path) -> bool:
    """Return whether a path is a small file with commands, such as README.md, run.sh or Makefile, by its name and
    size."""
    return _COMMANDS.search(path.name) is not None and path.stat().st_size <= _LARGEST_SETTINGS


def list_data_files_near(path: Path) -> list[Path]:
    """List the files in and below the folders in which the files of a module are looked for, each once.

    Args:
        path: the file of the module.
    """
    unique: dict[Path, Path] = {}
    for one in (file for folder in list_search_folders(path) for file in list_data_files_below(folder)):
        unique.setdefault(one.resolve(), one)
    return [*unique.values()]


def list_data_files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in and below a folder, up to a fixed depth and number."""
    waiting, count = [(folder, 0)], 0
    while waiting:
        place, depth = waiting.pop(0)
        with contextlib.suppress(OSError):
            for one in sorted(place.iterdir()):
                count += 1
                if count > _MOST_DATA_FILES:
                    return
                if one.is_file():
                    yield one
                elif one.is_dir() and depth < _DEEPEST and not one.name.startswith((".", "__")):
                    waiting.append((one, depth + 1))
