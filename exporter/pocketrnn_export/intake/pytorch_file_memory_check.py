"""Check a PyTorch file before PyTorch reads it, so that a small file cannot request much memory.

`torch.load(weights_only=True)` and `torch.jit.load` check what they read against the storages in the file. Three things
they allow: a compressed entry of an archive (1 MB of them gave 1 GB), `bytearray(n)` (38 bytes gave 2 GB), and a tensor
made by its class with a size alone, whose values are whatever the memory held.
"""

from __future__ import annotations

import mmap
import re
import zipfile
from pathlib import Path
from typing import Final

from pocketrnn.errors import InputError, find_file_error_reason, first_line

# The pickle around the tensors' bytes: 10,000 tensors take some 2.5 MB. Reading a pickle of this
# size takes up to 1.3 GB.
LARGEST_PICKLE: Final = 1 << 24
# torch.jit.save compresses the code; the tensors' bytes are never compressed.
_LARGEST_CODE: Final = 1 << 26
_MAKES_BY_SIZE: Final = re.compile(rb"c(?:__builtin__|builtins)\nbytearray\n|ctorch[\w.]*\n\w*Tensor\n")
_SAVE_AGAIN: Final = "Save the file again with PyTorch, and copy it whole."


def check_archive_entries(path: Path) -> list[zipfile.ZipInfo]:
    """Check the entries of a PyTorch file, which is a ZIP archive, before PyTorch reads them. Return the entries, or an
    empty list if the file is not an archive.

    Raises:
        InputError: the archive is damaged, or its entries need more memory than its size allows.
    """
    try:
        if not zipfile.is_zipfile(path):
            return []
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    # Whatever zipfile makes of damaged bytes: BadZipFile, UnicodeDecodeError, NotImplementedError, struct.error.
    except Exception as error:
        raise InputError(f"{path} is a damaged archive: {first_line(error)}.", _SAVE_AGAIN) from None
    code, size = [entry for entry in entries if _is_code_entry(entry)], path.stat().st_size
    others = [entry for entry in entries if not _is_code_entry(entry)]
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in others):
        raise InputError(f"{path} is a compressed archive, but PyTorch writes only uncompressed ones.", _SAVE_AGAIN)
    if sum(entry.file_size for entry in others) > size or sum(entry.file_size for entry in code) > _LARGEST_CODE:
        raise InputError(
            f"{path} is an archive of {size:,} bytes, but its entries claim to have more bytes. The file is damaged.",
            _SAVE_AGAIN,
        )
    return entries


def is_torchscript(path: Path) -> bool:
    """Return whether `torch.jit.save` wrote a file: an archive that contains code.

    Raises:
        InputError: the file is a damaged archive.
    """
    return path.is_file() and any("/code/" in entry.filename for entry in check_archive_entries(path))


def check_pickles(path: Path) -> None:
    """Raise an error for a file of `torch.save` that may fill the memory when PyTorch reads it.

    Raises:
        InputError: a pickle in the file is too large, or makes a tensor or bytes of a given size without data; or the
            archive is damaged or needs more memory than its size allows.
    """
    # PyTorch ignores upper and lower case in the names of entries.
    entries = [entry for entry in check_archive_entries(path) if entry.filename.lower().endswith(".pkl")]
    for entry in entries:
        if entry.file_size > LARGEST_PICKLE:
            raise InputError(
                f"{path} holds {entry.file_size:,} bytes of objects that are not tensors, but at most "
                f"{LARGEST_PICKLE:,} are allowed.",
                "Save only the weights: torch.save(module.state_dict(), 'weights.pt').",
            )
    try:
        # The entries are stored as they are, and the older form is pickles and then the tensors' bytes: so the whole
        # file is searched, at some 2 GB a second.
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            is_archive, found = content[:4] == b"PK\x03\x04", _MAKES_BY_SIZE.search(content) is not None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {find_file_error_reason(error)}.",
            "Check that the file exists and that you may read it.",
        ) from None
    except ValueError as error:
        raise InputError(f"{path} is not a file of weights: {find_file_error_reason(error)}.", _SAVE_AGAIN) from None
    if is_archive and not entries:
        raise InputError(
            f"{path} is not a complete file of weights: its archive is cut short, or has no pickle in it.", _SAVE_AGAIN
        )
    if found:
        raise InputError(
            f"{path} holds a tensor or bytes that are made from a size alone, without data. A saved state_dict "
            "never has these.",
            "Save only the weights: torch.save(module.state_dict(), 'weights.pt').",
        )


def _is_code_entry(entry: zipfile.ZipInfo) -> bool:
    return "/code/" in entry.filename
