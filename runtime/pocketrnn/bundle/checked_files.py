"""Read the files of a bundle: only regular files of limited size, with the digest that is stated."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from pocketrnn.errors import BundleError, find_file_error_reason

__all__ = [
    "LARGEST_FILE",
    "MAKE_AGAIN",
    "compute_file_sha256",
    "read_checked_bytes",
    "read_file_size",
    "read_regular_file",
]

# The largest size of an ONNX graph in bytes, which is protobuf's limit.
LARGEST_FILE: Final = (1 << 31) - 1
MAKE_AGAIN: Final = "Copy the bundle again from where it was made, or export it again."


def read_checked_bytes(path: Path, sha256: str) -> bytes:
    """Read a file, and check the sha256 of exactly the bytes that were read.

    Args:
        sha256: the sha256 that the bytes must have, in hexadecimal digits.

    Raises:
        BundleError: the bytes have another sha256; or the file is missing, cannot be read, is not a regular file, or is
            larger than 2 GiB.
    """
    content = read_regular_file(path, LARGEST_FILE)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BundleError(f"{path} was changed after it was made: its digest does not match.", MAKE_AGAIN)
    return content


def read_regular_file(path: Path, largest_size: int) -> bytes:
    """Read a regular file of at most `largest_size` bytes. Raise a BundleError if the file is missing, cannot be read,
    is not a regular file, has more bytes, or changes its size while it is read."""
    with _open_regular_file(path, largest_size) as (file, size):
        content = file.read(size)
        if len(content) != size or file.read(1):
            raise BundleError(
                f"{path} was changed while it was read.", "Try again when no program writes to this file."
            )
    return content


def compute_file_sha256(path: Path) -> str:
    """Compute the sha256 of a file, in hexadecimal digits. Raise a BundleError if the file is missing, cannot be read,
    is not a regular file, or is larger than 2 GiB."""
    with _open_regular_file(path, LARGEST_FILE) as (file, size):
        digest = hashlib.sha256()
        # A file that grows meanwhile is read only up to its first size.
        while size > 0 and (chunk := file.read(min(size, 1 << 20))):
            digest.update(chunk)
            size -= len(chunk)
    return digest.hexdigest()


def read_file_size(path: Path) -> int:
    """Return the size of a file in bytes. Raise a BundleError if the file is missing or cannot be read."""
    with _translate_read_errors(path):
        return path.stat().st_size


@contextlib.contextmanager
def _open_regular_file(path: Path, largest_size: int) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file of at most `largest_size` bytes, and yield the file and its size.

    Other files are refused: a pipe would make the reader wait for ever, a device may never end, and a sparse file of 20
    GB takes almost no disk space. Links are followed: model hubs keep their files behind links, and the digest alone
    identifies a file.
    """
    with contextlib.ExitStack() as stack:
        with _translate_read_errors(path):
            # Checked before it is opened, since opening alone can start a device; and after, since another file may
            # have taken its place.
            _check_regular_file(path, path.stat(), largest_size)
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            file = stack.enter_context(open(os.open(path, flags), "rb"))  # noqa: PTH123 - of a descriptor
            status = os.fstat(file.fileno())
            _check_regular_file(path, status, largest_size)
        with _translate_read_errors(path):
            yield file, status.st_size


def _check_regular_file(path: Path, status: os.stat_result, largest_size: int) -> None:
    """Raise a BundleError if a path is a folder, a device or a pipe, or a file of more than `largest_size` bytes.

    Args:
        status: the result of `os.stat` for the path.
        largest_size: the largest number of bytes that the file may have.
    """
    if stat.S_ISDIR(status.st_mode):
        raise BundleError(f"{path} cannot be read: it is a folder.", MAKE_AGAIN)
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{path} cannot be read: it is a device or a pipe, not a regular file.", MAKE_AGAIN)
    if status.st_size > largest_size:
        raise BundleError(f"{path} has {status.st_size:,} bytes, but at most {largest_size:,} are allowed.", MAKE_AGAIN)


@contextlib.contextmanager
def _translate_read_errors(path: Path) -> Iterator[None]:
    """Convert the errors of reading `path` in the block, such as OSError and MemoryError, to BundleErrors."""
    try:
        yield
    except FileNotFoundError:
        raise BundleError(f"{path} is missing.", MAKE_AGAIN) from None
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{path} cannot be read: {find_file_error_reason(error)}.", "Check the file and its permissions."
        ) from None
    except MemoryError:
        raise BundleError(
            f"{path} does not fit into this machine's memory.", "Use a machine with more memory."
        ) from None
