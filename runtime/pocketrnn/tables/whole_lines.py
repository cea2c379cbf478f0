"""Join chunks of bytes, as a file or a pipe gives them, into whole lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

__all__ = ["LONGEST_LINE", "join_into_whole_lines"]

# In bytes. A line is held until it ends: a line that never ends, as from a device, would fill the memory.
LONGEST_LINE: Final = 1 << 28


def join_into_whole_lines(chunks: Iterable[bytes], make_error: Callable[[], Exception]) -> Iterator[bytes]:
    """Join chunks of bytes into whole lines. For each chunk, yield the lines that it completes, with their line ends,
    as one bytes object. After the last chunk, yield the last line if it has no line end.

    Args:
        chunks: the bytes, as they arrive.
        make_error: makes the error to raise for a line of more than `LONGEST_LINE` bytes.
    """
    begun: list[bytes] = []
    for chunk in chunks:
        whole, newline, rest = chunk.rpartition(b"\n")
        if newline:
            yield b"".join([*begun, whole, newline])
            begun = [rest] if rest else []
            continue
        begun.append(chunk)
        if sum(map(len, begun)) > LONGEST_LINE:
            raise make_error()
    if begun:
        yield b"".join(begun)
