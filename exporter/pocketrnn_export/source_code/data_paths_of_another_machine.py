"""Replace the paths of data files in copied code that exist only on another machine, such as those of a hosted
notebook, by those of the same files here. No file is read."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from pocketrnn_export.source_code.code_and_data_files_near_module import list_data_files_below

# The most characters of a string in code that may be the name of a file.
LONGEST_FILE_NAME: Final = 200
_FILE: Final = re.compile(r"[^\n*?<>|]*\w\.\w{1,8}")
_ABSOLUTE: Final = re.compile(r"[/\\~]|[A-Za-z]:[/\\]")
# A folder of another machine, such as /kaggle/input/tweets/ or ../input. Other folders may be made by the code.
_FOLDER: Final = re.compile(r"([/\\~]|[A-Za-z]:[/\\]|\.\.[/\\])[\w .~:@+/\\-]*")


class DataPaths(NamedTuple):
    """The paths in code that do not exist on this machine.

    Attributes:
        replaced: the path on this machine that replaces each path in the code.
        missing: absolute paths in the code for which no file was found on this machine.
    """

    replaced: Mapping[str, str] = MappingProxyType({})
    missing: tuple[str, ...] = ()


def replace_paths_of_another_machine(code: ast.Module, folders: Iterable[Path], place: Path) -> DataPaths:
    """Replace the file paths in code that do not exist on this machine. A path is replaced if exactly one file with the
    same name lies in or below one of `folders`. In code such as `os.path.join(folder, name)`, only the string of the
    folder is replaced.

    Args:
        code: the syntax tree. The function changes it.
        folders: the folders in which the files are looked for.
        place: the folder in which the code runs. The new paths are relative to it.

    Example:
        >>> code = ast.parse("rows = read_csv('/kaggle/input/tweets/Tweets.csv')")
        >>> replace_paths_of_another_machine(code, [Path()], Path())  # data/Tweets.csv exists
        DataPaths(replaced={'/kaggle/input/tweets/Tweets.csv': 'data/Tweets.csv'}, missing=())
    """
    absent = {
        node: value
        for node, value in _list_strings_that_may_be_paths(code)
        if not (place / value).exists() and "://" not in value
    }
    if not absent:
        return DataPaths()
    here: dict[str, dict[Path, Path]] = {}
    for file in (file for folder in dict.fromkeys(folders) for file in list_data_files_below(folder)):
        here.setdefault(file.name, {}).setdefault(file.resolve(), file)
    joined = {
        part
        for node in ast.walk(code)
        if isinstance(node, ast.JoinedStr | ast.BinOp) or (isinstance(node, ast.Call) and _joins_paths(node))
        for part in ast.iter_child_nodes(node)
    }
    replaced: dict[str, str] = {}
    joined_folders: set[Path] = set()
    missing: dict[str, None] = {}
    for node, value in absent.items():
        found = [*here.get(re.split(r"[/\\]", value)[-1], {}).values()] if _FILE.fullmatch(value) else []
        if len(found) == 1 and node in joined:
            joined_folders.add(found[0].parent)
        elif len(found) == 1:
            replaced[value] = os.path.relpath(found[0], place)
        elif not found and _FILE.fullmatch(value) and _ABSOLUTE.match(value):
            missing[value] = None
    if len(joined_folders) == 1:
        folder = os.path.relpath(joined_folders.pop(), place) + os.sep
        replaced |= {value: folder for value in absent.values()
                     if value.strip("/\\. ") and not _FILE.fullmatch(value) and _FOLDER.fullmatch(value)}  # fmt: skip
    for node, value in absent.items():
        node.value = replaced.get(value, value)
    return DataPaths(replaced, (*missing,))


def _list_strings_that_may_be_paths(code: ast.Module) -> list[tuple[ast.Constant, str]]:
    """List the strings in code that may be the name of a file or folder, each with its syntax node."""
    strings = [(one, one.value) for one in ast.walk(code) if isinstance(one, ast.Constant)]
    return [(node, value) for node, value in strings if isinstance(value, str) and value.strip("./\\ ")
            and value.isprintable() and len(value) < LONGEST_FILE_NAME]  # fmt: skip


def _joins_paths(call: ast.Call) -> bool:
    """Return whether a call joins its arguments to a path, as `os.path.join`, `joinpath` and `Path` with several
    arguments do."""
    called = ast.unparse(call.func).rpartition(".")[2]
    return called in ("join", "joinpath") or (called == "Path" and len(call.args) > 1)
