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
    while True:
        arrived = stdin.buffer.read1(_MOST)  # type: ignore[attr-defined]
        kept = len(decoder.getstate()[0])
        try:
            text = decoder.decode(arrived, final=not arrived)
        except UnicodeDecodeError as error:
            yield from error.object[: error.start].decode("utf-8-sig").splitlines(keepends=True)
            raise InputError(
                f"Standard input is not UTF-8 (byte {read - kept + error.start + 1}).",
                "Convert the input, for instance with: iconv -f ISO-8859-1 -t UTF-8",
            ) from None
        yield from text.splitlines(keepends=True)
        read += len(arrived)
        if not arrived:
            return
