"""Decompress a small file, such as one of `joblib.dump(words, file, compress=3)`."""

from __future__ import annotations

import bz2
import contextlib
import lzma
import zlib
from collections.abc import Callable
from typing import Any, Final

# zlib recognizes its own header and that of gzip.
_MAKE: Final[tuple[Callable[[], Any], ...]] = (
    lambda: zlib.decompressobj(zlib.MAX_WBITS | 32),
    bz2.BZ2Decompressor,
    lzma.LZMADecompressor,
)


def decompress_content(content: bytes, most: int) -> bytes:
    """Return the decompressed content of a zlib, gzip, bzip2, xz or lzma file, at most `most` bytes and one. Return
    other content as it is.

    Args:
        content: the bytes of the file.
        most: the largest size that the caller accepts.

    Example:
        >>> decompress_content(zlib.compress(b"oil"), 10), decompress_content(b"oil", 10)
        (b'oil', b'oil')
    """
    for make in _MAKE:
        # The end is missing in a damaged file, and in one that only seems to be of this kind.
        with contextlib.suppress(zlib.error, OSError, ValueError, lzma.LZMAError, EOFError):
            reader = make()
            found = bytes(reader.decompress(content, most + 1))
            if reader.eof or len(found) > most:
                return found
    return content
