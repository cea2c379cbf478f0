"""Folders and files that are written whole or not at all.

Everything is written into a temporary sibling of its path: `.NAME.xxxxxxxx.partial`. Whenever an interruption comes, it
is deleted: its name is known before it is made, and what a `finally` did not come to is done at the end of the process.
A process that is killed leaves its sibling behind; the next one that writes to the path deletes it, see `put_back`.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import glob
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from pocketrnn.errors import OutputError, did_you_mean, first_line

__all__ = [
    "bundle_for",
    "check_file_free",
    "check_free",
    "file_written_whole",
    "name_of",
    "near_file",
    "put_back",
    "remove_siblings",
    "written_whole",
]

_LEFT_BEHIND_SECONDS = 3600
# Usual endings of the names of checkpoints, bundles and packed files. They are not part of a classifier's name.
_ENDS = (".ck", ".ckpt", ".checkpoint", ".bundle", ".prnn")
# The temporary siblings there are, or are about to be: the path that each is for, and the process that made it.
_siblings: dict[Path, tuple[Path, int]] = {}


def name_of(path: Path) -> str:
    """The name of a classifier, from the path that it is written to; empty for the root of a disk.

    Example:
        >>> name_of(Path("runs/snips.ckpt")), name_of(Path("snips.checkpoint.bundle")), name_of(Path("v1.2"))
        ('snips', 'snips', 'v1.2')
    """
    name = path.absolute().name
    while (shorter := name.removesuffix(next((end for end in _ENDS if name.endswith(end)), ""))) not in ("", name):
        name = shorter
    return name


def bundle_for(checkpoint: Path) -> Path:
    """The folder that is suggested for the bundle of a checkpoint: beside it, and named after the classifier.

    Example:
        >>> bundle_for(Path("runs/snips.ckpt")).as_posix()
        'runs/snips.bundle'
    """
    return checkpoint.parent / f"{name_of(checkpoint) or 'classifier'}.bundle"


def near_file(
    path: Path, ends: tuple[str, ...] = (), *, folders_with: tuple[str, ...] = (), also: Iterable[str] = ()
) -> str:
    """The file beside a path that is not there whose name is nearest, as a sentence; empty where none is near.

    Args:
        path: of a file that does not exist.
        ends: of the names that are meant, such as `.py`; by default, of the path's own end.
        folders_with: folders are meant, too, that hold a file of one of these names.
        also: names that are meant wherever the path lies.

    Example:
        >>> near_file(Path("no such folder/reviews.csv"))
        ''
    """
    ends = ends or (path.suffix.lower(),)
    try:
        beside = [
            other.name
            for other in path.absolute().parent.iterdir()
            # A link that leads nowhere has the very name.
            if other.name != path.name
            and (other.suffix.lower() in ends or any((other / name).is_file() for name in folders_with))
        ]
    except (OSError, ValueError):
        beside = []
    return did_you_mean(path.name, [*beside, *also])


def check_free(path: Path, *, force: bool, made_by: str) -> None:
    """Refuse an output folder that cannot be made, before any work is done for it. Calls `put_back` first.

    Args:
        path: the folder to be written.
        force: replace a folder that is there already.
        made_by: the file that marks such a folder as ours (`classifier.json`, `config.json`); `force` replaces a folder
            only if it is empty or holds that file, so that a mistyped path cannot delete somebody's work.

    Raises:
        OutputError: the folder exists, is a file, or its parent cannot be written.

    Example:
        >>> check_free(Path("bundles/news"), force=False, made_by="classifier.json")
    """
    try:
        put_back(path)
        _check_free(path, force=force, made_by=made_by)
    except (OSError, ValueError) as error:
        raise _cannot_write(path, error) from error


def _check_free(path: Path, *, force: bool, made_by: str) -> None:
    # The name stands in files, and libraries such as PyTorch open no other.
    os.fsencode(path.absolute()).decode()
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
            raise OutputError(
                f"{path} exists already.", "Choose another output folder, or replace it with --force (force=True)."
            )
        if not (path / made_by).is_file():
            raise OutputError(
                f"{path} holds no {made_by}, so it is not one that pocketrnn wrote, and it is not replaced.",
                "Choose another output folder, or delete it yourself.",
            )
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"{parent} is a file, not a folder.", "Choose another output folder.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"You may not write in the folder {parent}.", "Check its rights, or choose another one.")
    # Some names are too long, and some folders cannot be written though their rights say so.
    with _sibling(parent / path.name, ".partial") as probe:
        probe.mkdir(0o700)


@contextlib.contextmanager
def written_whole(path: Path, *, force: bool, made_by: str) -> Iterator[Path]:
    """A temporary sibling of `path` to write into. It becomes `path` when the block ends without an error.

    When the block raises, whatever the reason, the sibling is deleted and what was at `path` stays. On Linux an old
    folder and the new one are exchanged in one step. Where the system or the disk cannot do that, it takes two renames:
    between them `path` is absent, never half-written, and `put_back` undoes the first if the process was killed there.

    Raises:
        OutputError: as `check_free`; or the disk is full or refuses to be written.

    Example:
        >>> with written_whole(Path("news"), force=True, made_by="classifier.json") as work:  # doctest: +SKIP
        ...     (work / "classifier.json").write_text("{}")
    """
    check_free(path, force=force, made_by=made_by)
    path = path.absolute()
    with _sibling(path, ".partial") as work:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            work.mkdir(0o700)
        except OSError as error:
            raise _cannot_write(path, error) from error
        try:
            yield work
            # Until here the folder was for this user alone; give it the rights that mkdir would have given.
            umask = os.umask(0)
            os.umask(umask)
            work.chmod(0o777 & ~umask)
            # A file that appeared at `path` meanwhile is only replaced if that is asked for. Not `check_free`: its
            # `put_back` could take `work` for a leftover if the block wrote nothing for an hour.
            _check_free(path, force=force, made_by=made_by)
            _move_to(work, path)
        except OSError as error:
            if not _is_about(error, path.parent):
                raise
            raise _cannot_write(path, error) from error


def put_back(path: Path) -> None:
    """Repair what a killed process left of writing `path`, a folder or a file.

    Where nothing is at `path` and a folder was moved aside to be replaced, that folder returns. Temporary siblings in
    which nothing was written for an hour are deleted.

    Raises:
        OSError: the folder cannot be moved back.

    Example:
        >>> put_back(Path("bundles/news"))
    """
    path = path.absolute()
    if not path.parent.is_dir():
        return
    # The eight characters hold no dot: what belongs to a folder `run.2` is not taken for that of `run`.
    ours = f".{glob.escape(path.name)}." + "[a-z0-9_]" * 8
    asides = sorted(path.parent.glob(f"{ours}.old"), key=_last_written, reverse=True)
    for aside in asides:
        # Another user's cannot be read, and another process may be doing the same.
        with contextlib.suppress(PermissionError, FileNotFoundError):
            if _returned(aside, path):
                aside.rmdir()
    for left in (*asides, *path.parent.glob(f"{ours}.partial")):
        if time.time() - _last_written(left) > _LEFT_BEHIND_SECONDS:
            _delete(left)


def _returned(aside: Path, path: Path) -> bool:
    """Move a folder that was moved aside back to its path, if nothing is there; whether that was done."""
    old = aside / path.name
    if not old.is_dir() or path.exists():
        return False
    old.rename(path)
    return True


@contextlib.contextmanager
def _sibling(path: Path, suffix: str) -> Iterator[Path]:
    """The name of a temporary sibling of a path, which the block makes, and which is deleted at the end of the block.

    Whenever a signal raises an exception, here or in the `with` of the caller, `remove_siblings` still knows the name.
    """
    sibling = path.parent / f".{path.name}.{os.urandom(4).hex()}{suffix}"
    _siblings[sibling] = path, os.getpid()
    try:
        yield sibling
    finally:
        _delete(sibling)
        _siblings.pop(sibling, None)


@atexit.register
def remove_siblings() -> None:
    """Delete the temporary siblings of this process which an interruption kept from being deleted; a folder that one of
    them holds is put back. For the end of the process.

    Example:
        >>> remove_siblings()
    """
    for sibling, (path, process) in list(_siblings.items()):
        # A forked process has its parent's list, too.
        if process == os.getpid():
            with contextlib.suppress(OSError):
                _returned(sibling, path)
            _delete(sibling)
            _siblings.pop(sibling, None)


def _last_written(path: Path) -> float:
    """When a file, or anything in a folder, was last written, in seconds since 1970. Now, if it has just gone."""
    try:
        return max(found.lstat().st_mtime for found in (path, *path.rglob("*")))
    except FileNotFoundError:
        return time.time()


def _delete(path: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


@contextlib.contextmanager
def file_written_whole(path: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """A temporary sibling of the file `path` to write into. It becomes `path` when the block ends without an error.

    When the block raises, whatever the reason, the sibling is deleted and what was at `path` stays. Where `path` is a
    link, the file that it leads to is written. Siblings that a killed process left an hour ago are deleted.

    Raises:
        OutputError: `path` exists, unless `force` is given and it is a file; it cannot be written; the disk is full.

    Example:
        >>> with file_written_whole(Path("answers.csv"), force=True) as file:  # doctest: +SKIP
        ...     file.write(b"text,label\\n")
    """
    try:
        path = Path(os.path.realpath(path))
        _check_file(path, force=force)
        put_back(path)
    except (OSError, ValueError) as error:
        raise _cannot_write(path, error) from error
    with _sibling(path, ".partial") as work:
        try:
            file = open(work, "xb", opener=_for_this_user)  # noqa: SIM115 - closed below
        except (OSError, ValueError) as error:
            raise _cannot_write(path, error) from error
        try:
            with file:
                yield file
            umask = os.umask(0)
            os.umask(umask)
            work.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~umask)
            # A file that appeared at `path` meanwhile is only replaced if that is asked for.
            _check_file(path, force=force)
            work.replace(path)
        except OSError as error:
            if isinstance(error, BrokenPipeError) or not _is_about(error, path.parent):
                raise
            raise _cannot_write(path, error) from error


def _for_this_user(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def check_file_free(path: Path, *, force: bool) -> None:
    """Refuse an output file that is there already, before any work is done for it.

    Raises:
        OutputError: it is, unless `force` is given and it is a file.

    Example:
        >>> check_file_free(Path("news.prnn"), force=False)
    """
    try:
        _check_file(path, force=force)
    except (OSError, ValueError) as error:
        raise _cannot_write(path, error) from error


def _check_file(path: Path, *, force: bool) -> None:
    # A path that is still a link after all links were followed is a circle of links.
    if (path.exists() and not path.is_file()) or Path(os.path.realpath(path)).is_symlink():
        raise OutputError(f"{path} exists and is not a file.", "Choose another output file.")
    if path.exists() and not force:
        raise OutputError(
            f"{path} exists already.", "Choose another output file, or replace it with --force (force=True)."
        )


def _move_to(work: Path, path: Path) -> None:
    """Make `work` the folder at `path`. An old folder there is deleted, here or with `work` by the caller."""
    if not path.exists():
        work.rename(path)
        return
    if _exchange(work, path):
        return
    with _sibling(path, ".old") as aside:
        try:
            aside.mkdir(0o700)
            path.rename(aside / path.name)
            work.rename(path)
        finally:
            # After an interruption too: the old folder is back, or the new one is there and the old one is deleted.
            _returned(aside, path)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step, which a kill cannot divide; False where the system or the disk cannot.

    Python has no function for it: this is Linux' renameat2 with RENAME_EXCHANGE, renameat2(2).
    """
    if sys.platform != "linux":
        return False
    try:
        import ctypes

        renameat2 = ctypes.CDLL(None).renameat2
    except (ImportError, OSError, AttributeError):
        # A Python without ctypes, a static one, a C library older than glibc 2.28.
        return False
    at_cwd, rename_exchange = -100, 2
    renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return bool(renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), rename_exchange) == 0)


def _is_about(error: OSError, parent: Path) -> bool:
    """Whether the block failed to write here, and not to read its input or to print: those errors are not ours."""
    if error.filename is None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
    return Path(os.fsdecode(error.filename)).is_relative_to(parent)


def _cannot_write(path: Path, error: OSError | ValueError) -> OutputError:
    # A ValueError is of a name that no system has, such as one with a NUL.
    if not isinstance(error, OSError):
        return OutputError(f"{path} could not be written: {first_line(error)}.", "Choose another name.")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"There is no room on the disk to write {path}.", "Free some space, or choose another disk.")
    return OutputError(
        f"{path} could not be written: {error.strerror or error}.", "Check the folder's rights, or choose another one."
    )
