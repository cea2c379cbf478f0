"""List the owner's Python files near the file of a module, their code, and the data files that the code names."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.notebook import read_python_cells, read_python_statements
from pocketrnn_export.source_code.syntax_tree_parts import Function, Import, list_imported_modules, read_last_name

_MOST_FILES: Final = 60
_MOST_DATA_FILES: Final = 2_000
# As in output/news/models/rnn/1.
_DEEPEST: Final = 6
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
_WRITTEN_AGAIN: Final = re.compile(
    re.escape(WRITTEN_BY_EXPORT) + r" Unless you change it, an export writes it again \((\w{12})(?:, from (.+))?\)\.\n"
)


def list_files_near(path: Path) -> list[Path]:
    """List the Python files that may belong to a module: its own file first, then those of its folder, of the working
    folder and its subfolders, and of the folder above. Large files, and those that `pocketrnn export` wrote, are left
    out.

    Args:
        path: the module's file or notebook.
    """
    here, folder = Path(), path.parent
    below = (here / path).resolve().is_relative_to(here.resolve())
    above = [] if below and folder.resolve() == here.resolve() else sorted((folder / "..").resolve().glob("*.py"))
    files = [path, *sorted(folder.glob("*.py")), *sorted(here.glob("*.py"))]
    # As in src/package/data/tokenizer.py.
    deeper = [file for depth in (1, 2, 3) for file in sorted(here.glob(f"{'*/' * depth}*.py"))] if below else []
    files += [file for file in deeper if not any(part.startswith(".") for part in file.parts)]
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


def write_first_line(code: str, origin: str = "") -> str:
    """Write the first line of a file that the exporter writes. It says that the exporter wrote the file, has a digest
    by which a later change is seen, and names the function that the code was copied from.

    Args:
        code: all further lines.
        origin: the function, as file.py:name, from the folder of the written file; empty without one.
    """
    said = f", from {origin}" if origin.isprintable() and origin else ""
    digest = hashlib.sha256(code.encode()).hexdigest()[:12]
    return f"{WRITTEN_BY_EXPORT} Unless you change it, an export writes it again ({digest}{said}).\n"


def is_unchanged_since_export(file: Path) -> bool:
    """Return whether `pocketrnn export` wrote a Python file, and nobody has changed it since."""
    first, code = _read_written_file(file)
    return first is not None and first[1] == hashlib.sha256(code.encode()).hexdigest()[:12]


def read_origin_of_written_file(file: Path) -> str:
    """Return the function from which `pocketrnn export` wrote a Python file, as file.py:name from its folder. Return an
    empty string for another file."""
    first, _ = _read_written_file(file)
    return "" if first is None else first[2] or ""


def _read_written_file(file: Path) -> tuple[re.Match[str] | None, str]:
    """Return the first line of a file that `pocketrnn export` wrote, and its code; None for another file."""
    if not is_written_by_export(file):
        return None, ""
    with contextlib.suppress(OSError, ValueError):
        text = file.read_bytes().decode()
        if first := _WRITTEN_AGAIN.match(text):
            return first, text[first.end() :]
    return None, ""


def list_notebooks_near(path: Path) -> list[Path]:
    """List the notebooks of the folder of a file, of the working folder, and of their subfolders. The file itself is
    left out.

    Args:
        path: a Python file or notebook.
    """
    folders = dict.fromkeys((path.parent, Path()))
    found = [file for folder in folders for depth in ("", "*/") for file in sorted(folder.glob(f"{depth}*.ipynb"))]
    unique = {file.resolve(): file for file in found if file.is_file() and file.stat().st_size <= _LARGEST_NOTEBOOK}
    unique.pop(path.resolve(), None)
    return [*unique.values()][:_MOST_NOTEBOOKS]


def list_files_that_import(path: Path) -> list[Path]:
    """List the Python files near a file that import it, or its folder, by its name.

    Args:
        path: the file.
    """
    names = {path.stem, path.resolve().parent.name}
    return [
        file
        for file in list_files_near(path)[1:]
        if names & {module.rpartition(".")[2] for module in _list_modules_of_file(file)}
    ]


def loads_torch(path: Path) -> bool:
    """Return whether a Python file imports PyTorch or a library that does, or imports a file near it that does. Files
    that are not valid Python are left out."""
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
    """List the Python files that a file imports, as `find_imported_file` finds them.

    Args:
        path: the file.
    """
    found = [find_imported_file(path, module.lstrip(".")) for module in _list_modules_of_file(path)]
    return [one for one in dict.fromkeys(found) if one is not None and one.stat().st_size <= _LARGEST_FILE_NEAR]


def list_imported_libraries(path: Path) -> list[str]:
    """List the packages that a Python file imports, itself or through the files near it that it imports. Neither the
    standard library nor files near it count.

    Args:
        path: the file.
    """
    names = {
        module.partition(".")[0]
        for file in (path, *list_imported_files(path))
        for module in _list_modules_of_file(file)
        if not module.startswith(".") and find_imported_file(file, module) is None
    }
    return sorted(one for one in names if one and one not in sys.stdlib_module_names)


def _list_modules_of_file(path: Path) -> list[str]:
    """Return the modules that a file may import, in their order. Return none for a file that cannot be read."""
    with contextlib.suppress(InputError, OSError):
        if path.stat().st_size <= _LARGEST_CODE or path.suffix == ".ipynb":
            nodes = ast.walk(ast.Module(read_python_statements(path), []))
            return [
                module for node in nodes if isinstance(node, Import) for module in sorted(list_imported_modules(node))
            ]
    return []


def find_imported_file(path: Path, module: str) -> Path | None:
    """Return the Python file that a file imports, from its own folder or from one of those above, up to the working
    folder. Return None if there is none.

    Args:
        path: the file.
        module: what it imports, such as `models.utils`.
    """
    folder = path.absolute().parent
    here = Path.cwd()
    above = [one for one in folder.parents if one.is_relative_to(here)] if folder.is_relative_to(here) else []
    for one in (folder, *above):
        file = one.joinpath(*module.split(".")).with_suffix(".py")
        if module and file.is_file():
            return file.relative_to(here) if not path.is_absolute() and file.is_relative_to(here) else file
    return None


def find_relatively_imported_file(path: Path, node: ast.ImportFrom) -> Path | None:
    """Return the owner's Python file that `from .data import read` or `from data import read` loads. Return None if
    there is none.

    Args:
        path: the file that contains the import.
        node: the import.
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
    """Convert a relative import of a file in a package to one that a script can run: `from .data import read` to `from
    package.data import read`. Return the folder to add to `sys.path`, and the new import.

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
    """Yield the syntax nodes of a module's file and of the files near it, each with its file and line.

    Args:
        path: the file of the module, which comes first.
        in_notebooks: whether to read only the notebooks near the file instead.
    """
    for file in list_notebooks_near(path) if in_notebooks else list_files_near(path):
        with contextlib.suppress(InputError, OSError):
            # Most of a large notebook are its pictures.
            if file.stat().st_size <= _LARGEST_CODE or file.suffix == ".ipynb":
                yield from _list_nodes_with_places(file)


def _list_nodes_with_places(file: Path) -> list[tuple[str, ast.AST]]:
    """Return each syntax node of a file with the file and its line."""
    return [
        (cell.describe_place(file, node), node)
        for cell in read_python_cells(file)
        for node in ast.walk(ast.Module([*cell.statements], []))
    ]


def list_data_files_named_in_code(
    path: Path, suffix_pattern: str, names_in_folder: Collection[str] = ()
) -> dict[Path, str]:
    """Find the data files that the code of a module, a settings file, or a command in a script or README names. Return
    a dict from each file to the place where it is named; those of a command that answers texts come first. The files
    must exist in or below the working folder or the module's folder. If several have the same name, those in or below
    the module's folder come first.

    Args:
        path: the file of the module.
        suffix_pattern: a regular expression for the endings of the files' names. A file may also have such an ending
            as its whole name, such as `vocab`.
        names_in_folder: names of files that also count if the code names only their folder, which is then returned.

    Example:
        >>> list_data_files_named_in_code(Path("api.py"), "json|pkl")
        {PosixPath('vocab.json'): 'api.py, line 9'}
    """
    files: dict[Path, tuple[Path, str]] = {}
    beside = [file for folder in dict.fromkeys((Path(), path.parent)) for file in list_data_files_below(folder)]
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
    for where, node in list_syntax_nodes_near(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.replace("\\", "/").rstrip("/").rpartition("/")[2]
            if re.search(rf"(?i)(?:^|\.)(?:{suffix_pattern})$", name) or (names_in_folder and name.strip(".")):
                named.setdefault(name, where)
    named |= {name: where for name, (where, _) in in_lines.items() if name not in named}
    for file in beside:
        name = next((one for one in named if is_named(file, one)), "")
        if not name and file.name in names_in_folder and file.parent.name in named:
            name, file = file.parent.name, file.parent
        if name:
            files.setdefault(file.resolve(), (file, name))
    order = [*named]
    ordered = sorted(files.values(), key=lambda found: (order.index(found[1]), not is_below(found[0], path.parent)))
    return {file: named[name] for file, name in ordered}


def list_data_files_of_function(path: Path, name: str) -> list[Path]:
    """List the data files below the working folder that the code of a function names, and the files of full paths: the
    code outside of functions, which an import runs, and the functions that it and the function use, also in the files
    that its file imports.

    Args:
        path: the file of the function.
        name: the function.

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


def is_named(file: Path, name: str) -> bool:
    """Return whether a string in code is the name of a file, or the end of its name, such as the last part of
    `f"{kind}_model.pt"`."""
    return file.name == name or (name[:1] in ("_", "-", ".") and file.name.endswith(name))


def is_settings_file(path: Path) -> bool:
    """Return whether a path is a small file of settings, such as config.json or settings.yaml."""
    return _SETTINGS.search(path.name) is not None and path.is_file() and path.stat().st_size <= _LARGEST_SETTINGS


def list_settings_files_of(path: Path) -> list[Path]:
    """List the files of settings that belong to a file such as one of weights: those in or below the working folder
    that name it, or else those in its folder, or else those in the folder above, below the working folder.

    Args:
        path: the file.
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
    """Return whether a path is a small file with commands, such as README.md, run.sh or Makefile."""
    return _COMMANDS.search(path.name) is not None and path.stat().st_size <= _LARGEST_SETTINGS


def list_data_files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in and below a folder, up to a limit of depth and number.

    Args:
        folder: the folder.
    """
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
