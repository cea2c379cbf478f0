"""Run a user's code in the folder from which it opens its files, if a relative path in it is wrong from the working
folder."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.code_and_data_files_near_module import list_data_files_below

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_MOST_TOLD: Final = 3
_MOST_TRIES: Final = 10


def call_where_files_are(call: Callable[[], _T], path: Path, what: str) -> _T:
    """Call a function that runs a user's code, and return its result. If the code opens a file by a relative path that
    is wrong from the working folder, call the function again in the folder from which the path is right, and log this.
    Folders in and below the working folder and that of the code are tried, the folder of the code first.

    Args:
        call: the function.
        path: the file of the code.
        what: what the code is, for messages.

    Raises:
        InputError: from several folders, the path is that of files with different contents.
        FileNotFoundError: the path is right from none of these folders; or any exception of the code.
    """
    missing: dict[str, None] = {}
    folder = Path.cwd()
    for _ in range(_MOST_TRIES):
        try:
            with contextlib.chdir(folder):
                made = call()
        except FileNotFoundError as error:
            name = error.filename if isinstance(error.filename, str) else ""
            if not name or name in missing or Path(name).is_absolute():
                raise
            missing[name] = None
            folders = _list_folders_with(path, [*missing])
            if not folders:
                raise
            _refuse_different_files(folders, name, what)
            folder = folders[0].absolute()
            continue
        if missing:
            shown = describe_folder(folder)
            _log.warning("%s opens %s from another folder: it is run in %s", what, ", ".join(missing), shown)
        return made
    return call()


def describe_folder(folder: Path) -> str:
    """Return the path of a folder for messages, relative to the working folder if it is below that."""
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)


def _list_folders_with(path: Path, names: Sequence[str]) -> list[Path]:
    """List the folders from which all of some relative paths are those of files. The folder of `path`, and then the
    shortest paths, come first."""
    roots = dict.fromkeys((path.parent, Path()))
    files = [file for root in roots for file in list_data_files_below(root)]
    above = {one for file in files for one in file.parents if any(one.is_relative_to(root) for root in roots)}
    folders = dict.fromkeys([*roots, *sorted(above, key=lambda one: (len(one.parts), one))])
    return [one for one in folders if all((one / name).is_file() for name in names)]


def _refuse_different_files(folders: Sequence[Path], name: str, what: str) -> None:
    """Raise an InputError if a relative path is that of files with different contents, from different folders."""
    contents: dict[bytes, Path] = {}
    for file in {(one / name).resolve(): one / name for one in folders}.values():
        contents.setdefault(_read_digest(file), file)
    if len(contents) > 1:
        told = [str(one) for one in contents.values()][:_MOST_TOLD]
        raise InputError(
            f"{what} opens {name}, which may be {' or '.join(told)}: these files differ.",
            "Run the command in the folder in which your code runs, and give its paths from there.",
        )


def _read_digest(file: Path) -> bytes:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()
