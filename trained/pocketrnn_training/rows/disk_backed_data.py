"""Keep small data in memory, and large data in a temporary file. The data is texts or numbers.

The file is deleted when it is closed. `TMPDIR` names its folder, as for every file of `tempfile`. It is memory-mapped
for reading, so that the system keeps only the parts in memory that are in use.
"""

from __future__ import annotations

import mmap
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any, Final, overload

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import DataError

__all__ = ["ByteBuffer", "StoredTexts"]

_IN_MEMORY: Final = 16 * 2**20
# JSON allows half a surrogate pair in a text, and Python holds it; UTF-8 alone would not.
_LONE_SURROGATES: Final = "surrogatepass"


class ByteBuffer:
    """A buffer of bytes that is first written as a whole, then read as a whole."""

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        """Make a buffer that keeps up to `in_memory` bytes in memory. More bytes go to a file."""
        self._in_memory = in_memory
        self._waiting = bytearray()
        self._file: IO[bytes] | None = None

    def write(self, content: bytes) -> None:
        """Append bytes.

        Raises:
            DataError: there is no room left for temporary files.
        """
        self._waiting += content
        if len(self._waiting) > self._in_memory:
            self._move_to_file()

    def _move_to_file(self) -> None:
        """Write the bytes in memory to the temporary file."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the buffer
                weakref.finalize(self, self._file.close)
            self._file.write(self._waiting)
            self._file.flush()
        except OSError as error:
            raise DataError(
                f"The data cannot be written to the temporary folder {tempfile.gettempdir()}: "
                f"{error.strerror or error}.",
                "Free some space there, or set the environment variable TMPDIR to another folder.",
            ) from None
        self._waiting.clear()

    def buffer(self) -> bytes | mmap.mmap:
        """Return all bytes that were written. The caller must not write to the buffer afterwards."""
        if self._file is None:
            return bytes(self._waiting)
        self._move_to_file()
        return mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)

    def numbers(self, dtype: type[np.generic]) -> npt.NDArray[Any]:
        """Return all bytes that were written, as a read-only array of one dimension with items of the type `dtype`.

        The caller must not write to the buffer afterwards.
        """
        return np.frombuffer(self.buffer(), dtype=dtype)


class StoredTexts(Sequence[str]):
    """A sequence of texts that are kept as UTF-8 in one buffer: text i is the bytes from starts[i] to ends[i]."""

    def __init__(self, content: bytes | mmap.mmap, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> None:
        self._content, self._starts, self._ends = content, starts, ends

    @classmethod
    def from_chunks(cls, chunks: Iterable[Iterable[str]], in_memory: int = _IN_MEMORY) -> StoredTexts:
        """Store the texts of all chunks one after the other, as one sequence of texts.

        Up to `in_memory` bytes of UTF-8 are kept in memory; more are written to a temporary file.
        """
        return cls.from_columns(([chunk] for chunk in chunks), in_memory)[0]

    @classmethod
    def from_columns(cls, chunks: Iterable[Sequence[Iterable[str]]], in_memory: int = _IN_MEMORY) -> list[StoredTexts]:
        """Store the texts of several columns; return one `StoredTexts` for each column.

        Args:
            chunks: each item holds the next rows: a list of texts for each column. If there is no item, the result is
                one empty column.
            in_memory: up to this many bytes of a column are kept in memory; a larger column is written to a temporary
                file.
        """
        buffers: list[tuple[ByteBuffer, ByteBuffer]] = []
        for chunk in chunks:
            buffers = buffers or [(ByteBuffer(in_memory), ByteBuffer(in_memory)) for _ in chunk]
            for (content, lengths), texts in zip(buffers, chunk, strict=True):
                encoded = [text.encode("utf-8", _LONE_SURROGATES) for text in texts]
                content.write(b"".join(encoded))
                lengths.write(np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)).tobytes())
        made = []
        for content, lengths in buffers or [(ByteBuffer(), ByteBuffer())]:
            ends = np.cumsum(lengths.numbers(np.int64))
            made.append(cls(content.buffer(), np.concatenate(([0], ends))[:-1].astype(np.int64), ends))
        return made

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> StoredTexts: ...
    def __getitem__(self, index: int | slice) -> str | StoredTexts:
        if isinstance(index, slice):
            return StoredTexts(self._content, self._starts[index], self._ends[index])
        return self._content[self._starts[index] : self._ends[index]].decode("utf-8", _LONE_SURROGATES)

    def __iter__(self) -> Iterator[str]:
        content = self._content
        for start, end in zip(self._starts, self._ends, strict=True):
            yield content[start:end].decode("utf-8", _LONE_SURROGATES)

    def rows(self, chosen: npt.NDArray[np.int64]) -> StoredTexts:
        """Return the texts with the row numbers `chosen`, int64 [chosen], in this order. Their bytes are not copied."""
        return StoredTexts(self._content, self._starts[chosen], self._ends[chosen])
