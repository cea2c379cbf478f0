"""The pieces of one text, as they arrive on standard input."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Final, TextIO

from pocketrnn.errors import InputError

__all__ = ["arriving"]

_MOST: Final = 1 << 16


def arriving(stdin: TextIO | None) -> Iterator[str]:
    """What has arrived of each line, each time some has; a line's end belongs to its piece.

    Args:
        stdin: the stream, read as bytes; None where it is closed.

    Raises:
        InputError: there is no stream, or it is not UTF-8; the pieces before that have been given.
    """
    if stdin is None:
        raise InputError("No text is given and standard input is closed.", "Give texts as arguments, or lines to read.")
    # A character may be cut by what arrived so far: the decoder keeps its first bytes. A file from Windows may begin
    # with a byte order mark, which it drops.
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    read = 0
    while arrived := stdin.buffer.read1(_MOST):  # type: ignore[attr-defined]
        yield from _decoded(decoder, arrived, read).splitlines(keepends=True)
        read += len(arrived)
    _decoded(decoder, b"", read, final=True)


def _decoded(decoder: codecs.IncrementalDecoder, arrived: bytes, before: int, *, final: bool = False) -> str:
    try:
        return decoder.decode(arrived, final)
    except UnicodeDecodeError as error:
        raise InputError(
            f"Standard input is not UTF-8 (at byte {before + error.start + 1} or a little before).",
            "Convert the input, for instance with: iconv -f ISO-8859-1 -t UTF-8",
        ) from None
