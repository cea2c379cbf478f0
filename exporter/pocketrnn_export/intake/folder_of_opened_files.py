"""Run a user's code where it finds the files that it opens: in the folder from which its relative paths are right, or
with files here in place of those of another machine."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar
from unittest import mock

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.code_and_data_files_near_module import list_data_files_near, list_search_folders

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_MOST_TOLD: Final = 3
_MOST_TRIES: Final = 10


def call_where_files_are(call: Callable[[], _T], path: Path, what: str) -> _T:
    """Call a function that runs a user's code, and return its result. If the code opens a file by a path that is wrong
    from the working folder, call the function again and log this. The second call runs in the folder in which the
    relative path is right or, for a path of another machine, with a file of the same name. Such files are looked for in
    and below the folder of the code and, after that, the working folder.

    Args:
        path: the file of the code.
        what: what the code is, for messages.

    Raises:
        InputError: several files with different contents may be meant.
        FileNotFoundError: there is no such file.
        Exception: any exception of the code.
    """
    in_folder: list[str] = []
    elsewhere: dict[str, Path] = {}
    folder = Path.cwd()
    for _ in range(_MOST_TRIES):
        try:
            with _open_files_elsewhere({**dict.fromkeys(in_folder), **elsewhere}), contextlib.chdir(folder):
                made = call()
        except FileNotFoundError as error:
            name = error.filename if isinstance(error.filename, str) else ""
            if not name or name in (*in_folder, *elsewhere):
                raise
            if folders := _list_folders_with(path, [*in_folder, name]):
                in_folder.append(name)
                _refuse_different_files([one / name for one in folders], name, what)
                folder = folders[0].absolute()
            elif files := _list_files_below(path, re.split(r"[/\\]", name)[-1]):
                _refuse_different_files(files, name, what)
                elsewhere[name] = files[0].absolute()
            else:
                raise
            continue
        if in_folder:
            shown = _describe_path(folder)
            _log.warning("%s opens %s from another folder: it is run in %s", what, ", ".join(in_folder), shown)
        for name, file in elsewhere.items():
            _log.warning("%s opens %s, which is not here: %s is taken", what, name, _describe_path(file))
        return made
    return call()


@contextlib.contextmanager
def _open_files_elsewhere(files: Mapping[str, Path | None]) -> Iterator[None]:
    """While the block runs, `open` reads other files in place of some paths. A path that is opened to be written is not
    replaced, but means the file in the working folder that was current before the block, so that no file of the user is
    overwritten. In `files`, None stands for a path that is only written."""
    plain, here = open, Path.cwd()

    def open_file(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        name = os.fspath(file) if isinstance(file, str | os.PathLike) else ""
        if isinstance(name, str) and name in files:
            file = (files[name] or file) if {*mode}.isdisjoint("wax+") else here / name
        return plain(file, mode, *args, **kwargs)

    if not files:
        yield
        return
    with mock.patch("builtins.open", open_file), mock.patch("io.open", open_file):
        yield


def _describe_path(path: Path) -> str:
    """Return a path for messages, relative to the working folder if it is below that."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _list_files_below(path: Path, name: str = "") -> list[Path]:
    """List the files with a name, or all files, in and below the folder of the file `path`, the working folder and
    the top of its project."""
    return [one for one in list_data_files_near(path) if name in ("", one.name)]


def _list_folders_with(path: Path, names: Sequence[str]) -> list[Path]:
    """List the folders in which all of some relative paths are those of files. The folder of `path` comes first, then
    the folders with the shortest paths."""
    if any(Path(name).is_absolute() for name in names):
        return []
    roots = dict.fromkeys((path.parent, *list_search_folders(path)))
    above = {one for file in _list_files_below(path) for one in file.parents if any(map(one.is_relative_to, roots))}
    folders = dict.fromkeys([*roots, *sorted(above, key=lambda one: (len(one.parts), one))])
    return [one for one in folders if all((one / name).is_file() for name in names)]


def _refuse_different_files(files: Sequence[Path], name: str, what: str) -> None:
    """Raise an InputError if the files that a path may mean have different contents."""
    contents: dict[bytes, Path] = {}
    for file in {one.resolve(): one for one in files}.values():
        contents.setdefault(_read_digest(file), file)
    if len(contents) > 1:
        told = [str(one) for one in contents.values()][:_MOST_TOLD]
        raise InputError(
            f"{what} opens {name}, but this may be one of several files, and these files differ: {' or '.join(told)}.",
            "Run the command in the folder in which your code runs, and write its paths relative to that folder.",
        )


def _read_digest(file: Path) -> bytes:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()
