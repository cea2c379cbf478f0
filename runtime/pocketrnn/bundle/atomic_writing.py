"""Write folders and files as a whole: an interrupted write leaves the old content.

Everything is written into a temporary sibling of its path: `.NAME.xxxxxxxx.partial`. It is deleted after every
interruption: its name is registered before it is made, and what a `finally` did not reach is deleted when the process
ends. A killed process leaves its sibling behind; the next process that writes to the path deletes it, see
`repair_interrupted_write`.
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
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pocketrnn.errors import OutputError, first_line

__all__ = [
    "check_output_file",
    "check_output_folder",
    "delete_own_temporary_siblings",
    "repair_interrupted_write",
    "write_whole_file",
    "write_whole_folder",
]

_LEFT_BEHIND_SECONDS = 3600
# The temporary siblings that exist or will soon exist: for each, the path it will become and the process that made it.
_siblings: dict[Path, tuple[Path, int]] = {}


def check_output_folder(path: Path, *, force: bool, marker_file: str) -> None:
    """Check before the work starts that an output folder can be written, and may be replaced if it exists already.
    Before that, clean up after a killed process that was writing the same folder.

    Args:
        force: whether a folder that exists already may be replaced.
        marker_file: the file that shows that pocketrnn wrote the folder, such as `classifier.json`. `force` replaces a
            folder only if it is empty or holds this file, so that a mistyped path cannot delete other work.

    Raises:
        OutputError: the folder exists and may not be replaced, `path` is a file, or its parent folder cannot be
            written.
    """
    try:
        repair_interrupted_write(path)
        _refuse_unwritable_folder(path, force=force, marker_file=marker_file)
    except (OSError, ValueError) as error:
        raise _make_write_error(path, error) from error


def _refuse_unwritable_folder(path: Path, *, force: bool, marker_file: str) -> None:
    """Raise an OutputError if an output folder cannot be written; or if it exists, and `force` is False or the folder
    neither is empty nor contains `marker_file`."""
    # The name is written into files, and libraries such as PyTorch open only names that are valid Unicode.
    os.fsencode(path.absolute()).decode()
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise OutputError(f"The output {path} is a file or a link, not a folder.", "Choose another output folder.")
    if path.is_dir() and Path.cwd().is_relative_to(path.resolve()):
        raise OutputError(
            f"The output folder {path} is or contains the current folder, so it cannot be replaced.",
            "Choose another output folder, such as a new one in the current folder.",
        )
    if path.is_dir() and path.is_mount():
        raise OutputError(
            f"The output folder cannot be replaced, because a disk is mounted at {path}.",
            f"Choose a new folder in {path}.",
        )
    if path.is_dir() and any(path.iterdir()):
        if not force:
            raise OutputError(
                f"The output folder {path} exists already.",
                "Choose another output folder, or replace it with --force (force=True).",
            )
        if not (path / marker_file).is_file():
            raise OutputError(
                f"The folder {path} is not replaced: it has no {marker_file}, so pocketrnn did not write it.",
                "Choose another output folder, or delete this folder yourself.",
            )
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"The output cannot be written: {parent} is a file, not a folder.", "Choose another folder.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(
            f"You have no permission to write in the folder {parent}.",
            "Change the folder's permissions, or choose another folder.",
        )
    # Some names are too long, and some folders cannot be written although their permissions allow it.
    with _use_and_delete_temporary_sibling(parent / path.name, ".partial") as probe:
        probe.mkdir(0o700)


@contextlib.contextmanager
def write_whole_folder(path: Path, *, force: bool, marker_file: str) -> Iterator[Path]:
    """Give the block a temporary folder to write into. It becomes the folder `path` if the block ends without an error.

    If the block raises any error, the temporary folder is deleted, and `path` stays as it was. On Linux, the old folder
    and the new one are exchanged in one step. Other systems need two renames, between which `path` does not exist. If
    the process is killed there, `repair_interrupted_write` undoes the first rename.

    Raises:
        OutputError: the folder exists and may not be replaced, `path` is a file, its parent folder cannot be written,
            or the disk is full.
    """
    check_output_folder(path, force=force, marker_file=marker_file)
    path = path.absolute()
    with _use_and_delete_temporary_sibling(path, ".partial") as work:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            work.mkdir(0o700)
        except OSError as error:
            raise _make_write_error(path, error) from error
        try:
            yield work
            # Until here only this user could read the folder; give it the permissions that mkdir would have given.
            umask = os.umask(0)
            os.umask(umask)
            work.chmod(0o777 & ~umask)
            # A file that appeared at `path` meanwhile is only replaced with `force`. Not `check_output_folder`: its
            # `repair_interrupted_write` would delete `work` as a leftover if the block wrote nothing for an hour.
            _refuse_unwritable_folder(path, force=force, marker_file=marker_file)
            _replace_folder(work, path)
        except OSError as error:
            if not _is_write_error(error, path.parent):
                raise
            raise _make_write_error(path, error) from error


def repair_interrupted_write(path: Path) -> None:
    """Clean up after a process that was killed while it wrote the folder or file `path`.

    If the old folder was moved aside to be replaced and `path` does not exist, move the old folder back. Delete
    temporary siblings of `path` in which nothing was written for an hour.

    Raises:
        OSError: the old folder cannot be moved back.
    """
    path = path.absolute()
    if not path.parent.is_dir():
        return
    # The eight characters of the pattern do not match a dot. So a sibling of the folder `run.2` is not mistaken for a
    # sibling of `run`.
    ours = f".{glob.escape(path.name)}." + "[a-z0-9_]" * 8
    asides = sorted(path.parent.glob(f"{ours}.old"), key=_find_last_write_time, reverse=True)
    for aside in asides:
        # Another user's folder cannot be read, and another process may repair it at the same time.
        with contextlib.suppress(PermissionError, FileNotFoundError):
            if _move_folder_back(aside, path):
                aside.rmdir()
    for left in (*asides, *path.parent.glob(f"{ours}.partial")):
        if time.time() - _find_last_write_time(left) > _LEFT_BEHIND_SECONDS:
            _delete_path(left)


def _move_folder_back(aside: Path, path: Path) -> bool:
    """Move the old folder in `aside` back to `path` if `path` does not exist. Return whether a folder was moved."""
    old = aside / path.name
    if not old.is_dir() or path.exists():
        return False
    old.rename(path)
    return True


@contextlib.contextmanager
def _use_and_delete_temporary_sibling(path: Path, suffix: str) -> Iterator[Path]:
    """Yield the path of a new temporary file or folder beside `path`, and delete the file or folder when the block
    ends.

    If a signal interrupts the block, the file or folder is deleted at the end of the process.
    """
    sibling = path.parent / f".{path.name}.{os.urandom(4).hex()}{suffix}"
    _siblings[sibling] = path, os.getpid()
    try:
        yield sibling
    finally:
        _delete_path(sibling)
        _siblings.pop(sibling, None)


@atexit.register
def delete_own_temporary_siblings() -> None:
    """Delete the temporary files and folders that this process left; called when the process ends.

    If an old folder was moved aside into one of them, move the folder back first.
    """
    for sibling, (path, process) in list(_siblings.items()):
        # A forked process has its parent's list, too.
        if process == os.getpid():
            with contextlib.suppress(OSError):
                _move_folder_back(sibling, path)
            _delete_path(sibling)
            _siblings.pop(sibling, None)


def _find_last_write_time(path: Path) -> float:
    """Return the time at which a file, or the newest file in a folder, was last written, in seconds since 1970. Return
    the present time if the path does not exist."""
    try:
        return max(found.lstat().st_mtime for found in (path, *path.rglob("*")))
    except FileNotFoundError:
        return time.time()


def _delete_path(path: Path) -> None:
    """Delete a file or a folder, as far as the system allows; ignore what cannot be deleted."""
    with contextlib.suppress(OSError, ValueError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


@contextlib.contextmanager
def write_whole_file(path: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """Give the block a temporary file to write into. It becomes the file `path` if the block ends without an error.

    If the block raises any error, the temporary file is deleted, and `path` stays as it was. If `path` is a link, the
    target of the link is written. Temporary files that a killed process left more than an hour ago are deleted.

    Raises:
        OutputError: `path` exists and `force` is False; `path` is not a file, or cannot be written; or the disk is
            full.
    """
    try:
        path = Path(os.path.realpath(path))
        _refuse_unwritable_file(path, force=force)
        repair_interrupted_write(path)
    except (OSError, ValueError) as error:
        raise _make_write_error(path, error) from error
    with _use_and_delete_temporary_sibling(path, ".partial") as work:
        try:
            file = open(work, "xb", opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115 - closed below
        except (OSError, ValueError) as error:
            raise _make_write_error(path, error) from error
        try:
            with file:
                yield file
            umask = os.umask(0)
            os.umask(umask)
            work.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~umask)
            # A file that appeared at `path` meanwhile is only replaced with `force`.
            _refuse_unwritable_file(path, force=force)
            work.replace(path)
        except OSError as error:
            if isinstance(error, BrokenPipeError) or not _is_write_error(error, path.parent):
                raise
            raise _make_write_error(path, error) from error


def check_output_file(path: Path, *, force: bool) -> None:
    """Check before the work starts that an output file can be written, and may be replaced if it exists already. Raise
    an OutputError if the file exists and `force` is False, or the path is not that of a file."""
    try:
        _refuse_unwritable_file(path, force=force)
    except (OSError, ValueError) as error:
        raise _make_write_error(path, error) from error


def _refuse_unwritable_file(path: Path, *, force: bool) -> None:
    """Raise an OutputError if the output path exists and is not a file, or if it exists and `force` is False."""
    # A path that is still a link after all links were resolved is a loop of links.
    if (path.exists() and not path.is_file()) or Path(os.path.realpath(path)).is_symlink():
        raise OutputError(f"The output {path} exists and is not a file.", "Choose another output file.")
    if path.exists() and not force:
        raise OutputError(
            f"The output file {path} exists already.",
            "Choose another output file, or replace it with --force (force=True).",
        )


def _replace_folder(work: Path, path: Path) -> None:
    """Move the folder `work` to `path`, in place of an old folder there.

    If the two folders were exchanged in one step, `work` holds the old folder afterwards, and the caller deletes it.
    """
    if not path.exists():
        work.rename(path)
        return
    if _exchange_folders(work, path):
        return
    with _use_and_delete_temporary_sibling(path, ".old") as aside:
        try:
            aside.mkdir(0o700)
            path.rename(aside / path.name)
            work.rename(path)
        finally:
            # Also after an interruption: the old folder is moved back, or the new one is there and the old is deleted.
            _move_folder_back(aside, path)


def _exchange_folders(one: Path, other: Path) -> bool:
    """Exchange two folders in one atomic step. Return False, and change nothing, if the system or the disk cannot do
    this.

    Python has no function for it; this calls renameat2 of Linux with RENAME_EXCHANGE.
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


def _is_write_error(error: OSError, parent: Path) -> bool:
    """Return whether an error comes from writing below `parent`: it names a path below `parent`; or it names no path,
    and says that a disk is full or broken."""
    if error.filename is None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
    return Path(os.fsdecode(error.filename)).is_relative_to(parent)


def _make_write_error(path: Path, error: OSError | ValueError) -> OutputError:
    """Make the OutputError for a path that could not be written, from the system's error."""
    # A ValueError is about a name that is invalid on every system, such as one with a NUL.
    if not isinstance(error, OSError):
        return OutputError(f"{path} could not be written: {first_line(error)}.", "Choose another name.")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"There is no room on the disk to write {path}.", "Free some space, or choose another disk.")
    return OutputError(
        f"{path} could not be written: {error.strerror or error}.", "Check the folder's rights, or choose another one."
    )
