"""Folders and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pocketrnn.errors import OutputError

__all__ = ["check_free", "file_written_whole", "put_back", "written_whole"]

_LEFT_BEHIND_SECONDS = 3600


def check_free(path: Path, *, force: bool, made_by: str) -> None:
    """Refuse an output folder that cannot be made, before any work is done for it.

    Args:
        path: the folder to be written.
        force: replace a folder that stands there.
        made_by: the file that marks such a folder as ours (`classifier.json`, `config.json`); `force` replaces a folder
            only if it is empty or holds that file, so that a slip of the hand cannot delete somebody's work.

    Raises:
        OutputError: the folder exists, is a file, or its parent cannot be written.
    """
    try:
        _check_free(path, force=force, made_by=made_by)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _check_free(path: Path, *, force: bool, made_by: str) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise OutputError(f"{path} exists and is not a folder.", "Choose another output folder.")
    if path.is_dir() and Path.cwd().is_relative_to(path.resolve()):
        raise OutputError(
            f"{path} is the folder that this runs in.", "Choose another output folder, such as one in it."
        )
    if path.is_dir() and path.is_mount():
        raise OutputError(f"{path} is where a disk is mounted.", "Choose an output folder in it.")
    if path.is_dir() and any(path.iterdir()):
        if not force:
            raise OutputError(f"{path} exists already.", "Choose another output folder, or replace it with --force.")
        if not (path / made_by).is_file():
            raise OutputError(
                f"{path} holds no {made_by}, so it is not one that pocketrnn wrote, and it is not replaced.",
                "Choose another output folder, or delete it yourself.",
            )
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{parent} is not a folder that can be written.", "Choose another output folder.")
    # Some names are too long, and some folders cannot be written though their rights say so.
    Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=parent)).rmdir()


@contextlib.contextmanager
def written_whole(path: Path, *, force: bool, made_by: str) -> Iterator[Path]:
    """A temporary sibling of `path` to write into, put in its place when the block ends well.

    When the block raises, whatever the reason, the sibling is deleted and what stood at `path` stays. The exchange is
    two renames: between them `path` is absent, never half-written.

    Raises:
        OutputError: as `check_free`; or the disk is full or refuses to be written.
    """
    check_free(path, force=force, made_by=made_by)
    path = path.absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        yield work
        # mkdtemp makes a folder for this user alone; give it the rights that mkdir would have given.
        umask = os.umask(0)
        os.umask(umask)
        work.chmod(0o777 & ~umask)
        # What came up at `path` while the work was done is not ours to replace, unless asked.
        check_free(path, force=force, made_by=made_by)
        _put_in_place(work, path)
    except OSError as error:
        if not _is_about(error, path.parent):
            raise
        raise _cannot_write(path, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def put_back(path: Path) -> None:
    """Undo an exchange that the process did not live to end: where nothing stands at `path`, what stood there returns.

    Siblings that a killed process left unfinished, an hour ago or more, are deleted.
    """
    path = path.absolute()
    if not path.parent.is_dir():
        return
    # mkdtemp's eight characters hold no dot: what belongs to a folder `run.2` is not taken for that of `run`.
    ours = f".{glob.escape(path.name)}." + "[a-z0-9_]" * 8
    for aside in path.parent.glob(f"{ours}.old"):
        old = aside / path.name
        if old.is_dir() and not path.exists():
            old.rename(path)
            aside.rmdir()
    for work in path.parent.glob(f"{ours}.partial"):
        if time.time() - work.stat().st_mtime > _LEFT_BEHIND_SECONDS:
            shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def file_written_whole(path: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """A temporary sibling of the file `path` to write into, put in its place when the block ends well.

    When the block raises, whatever the reason, the sibling is deleted and what stood at `path` stays. Where `path` is a
    link, the file that it leads to is meant.

    Raises:
        OutputError: `path` exists, unless `force` is given and it is a file; it cannot be written; the disk is full.
    """
    path = Path(os.path.realpath(path))
    _check_file(path, force=force)
    try:
        number, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    work = Path(name)
    try:
        with open(number, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            yield file
        umask = os.umask(0)
        os.umask(umask)
        work.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~umask)
        # What came up at `path` while the work was done is not ours to replace, unless asked.
        _check_file(path, force=force)
        work.replace(path)
    except OSError as error:
        if isinstance(error, BrokenPipeError) or not _is_about(error, path.parent):
            raise
        raise _cannot_write(path, error) from error
    finally:
        work.unlink(missing_ok=True)


def _check_file(path: Path, *, force: bool) -> None:
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} exists and is not a file.", "Choose another output file.")
    if path.exists() and not force:
        raise OutputError(f"{path} exists already.", "Choose another output file, or replace it with --force.")


def _put_in_place(work: Path, path: Path) -> None:
    if not path.exists():
        work.rename(path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    old = aside / path.name
    try:
        path.rename(old)
        work.rename(path)
    finally:
        # Whatever came in between: the old folder stands again, or the new one does and the old one may go.
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(aside, ignore_errors=True)


def _is_about(error: OSError, parent: Path) -> bool:
    """Whether the block failed to write here, and not to read its input or to print: those errors are not ours."""
    if error.filename is None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
    return Path(os.fsdecode(error.filename)).is_relative_to(parent)


def _cannot_write(path: Path, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"There is no room on the disk to write {path}.", "Free some space, or choose another disk.")
    return OutputError(
        f"{path} could not be written: {error.strerror or error}.", "Check the folder's rights, or choose another one."
    )
