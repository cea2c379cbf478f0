"""Read the lines of a text file: labels, texts for a proof, or a JSON object in each line. Decompress a small file,
such as one of `joblib.dump(words, file, compress=3)`."""

from __future__ import annotations

import bz2
import contextlib
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pocketrnn.bundle.names_from_paths import suggest_near_file
from pocketrnn.errors import InputError

# The first bytes of a file, and what reads it.
_READERS: Final[dict[bytes, Callable[[], Any]]] = {
    b"x": zlib.decompressobj,
    b"\x1f\x8b": lambda: zlib.decompressobj(zlib.MAX_WBITS | 16),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ": lzma.LZMADecompressor,
    b"\x5d\x00\x00": lzma.LZMADecompressor,
}


def decompress_content(content: bytes, most: int) -> bytes:
    """Decompress the content of a zlib, gzip, bzip2, xz or lzma file. Return other or damaged content unchanged.

    Args:
        content: the bytes of the file.
        most: the largest size that the caller accepts. At most one byte more is returned, so that the caller sees that
            the content is too large.

    Example:
        >>> decompress_content(zlib.compress(b"oil"), 10), decompress_content(b"oil", 10)
        (b'oil', b'oil')
    """
    for make in (one for start, one in _READERS.items() if content.startswith(start)):
        # The end is missing in a damaged file, and in one that only seems to be of this kind.
        with contextlib.suppress(zlib.error, lzma.LZMAError, OSError, ValueError):
            reader = make()
            found = bytes(reader.decompress(content, most + 1))
            if reader.eof or len(found) > most:
                return found
    return content


# The most bytes of a text file: far more than a vocabulary, or texts for a proof.
_LARGEST: Final = 1 << 28


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 text file, without an empty line at the end. Raise an InputError if the file cannot
    be read, is not UTF-8, is too large, or is empty."""
    try:
        with path.open("rb") as file:
            # A device may have no end.
            content = file.read(_LARGEST + 1)
        lines = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text.", "Save the file in UTF-8.") from None
    except OSError as error:
        near = suggest_near_file(path, (".txt", path.suffix.lower())) if isinstance(error, FileNotFoundError) else ""
        raise InputError(
            f"{path} cannot be read: {error.strerror}.", near or "Give a text file with one entry in each line."
        ) from None
    if len(content) > _LARGEST:
        raise InputError(
            f"{path} is too large: a text file may have at most {_LARGEST >> 20} MiB.",
            "Give a text file with one entry in each line.",
        )
    if lines[-1] == "":
        del lines[-1]
    if not lines:
        raise InputError(f"The text file {path} is empty.", "Give a text file with one entry in each line.")
    return lines
