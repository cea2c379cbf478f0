"""Decompress a small file, such as one of `joblib.dump(words, file, compress=3)`."""

from __future__ import annotations

import bz2
import contextlib
import lzma
import zlib
from collections.abc import Callable
from typing import Any, Final

# The first bytes of a file, and what reads it.
_READERS: Final[dict[bytes, Callable[[], Any]]] = {
    b"x": zlib.decompressobj,
    b"\x1f\x8b": lambda: zlib.decompressobj(zlib.MAX_WBITS | 16),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ": lzma.LZMADecompressor,
    b"\x5d\x00\x00": lzma.LZMADecompressor,
}


def decompress_content(content: bytes, most: int) -> bytes:
    """Decompress the content of a zlib, gzip, bzip2, xz or lzma file. At most `most` + 1 bytes are returned, so that
    the caller sees if there are too many. Return other content as it is.

    Args:
        content: the bytes of the file.
        most: the largest size that the caller accepts.

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
