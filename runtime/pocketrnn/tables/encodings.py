"""Read text files in other encodings as if they were UTF-8."""

from __future__ import annotations

import codecs
import io
from typing import IO, Final

from pocketrnn.errors import DataError, InputError, short_repr, suggest_similar_name

__all__ = ["UTF8", "check_encoding", "check_not_utf16", "make_not_utf8_error", "recode_to_utf8"]

UTF8: Final = "utf-8"
_CHUNK: Final = 1 << 20
# Some of Python's encodings, to suggest one for a misspelt name.
_USUAL: Final = (
    "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255",
    "cp1256", "cp1257", "cp1258", "cp437", "cp850", "cp874", "cp932", "cp949", "latin-1", "iso8859-2", "iso8859-15",
    "koi8-r", "koi8-u", "mac-roman", "shift_jis", "euc_jp", "euc_kr", "gb18030", "gbk", "gb2312", "big5", "tis-620",
)  # fmt: skip


def check_encoding(name: str) -> str:
    """Check the name of a text encoding, such as cp1252, and return the name that Python's `codecs` uses for it. Raise
    an InputError if there is no text encoding of this name."""
    try:
        found = codecs.lookup(name)
        # This fails for codecs that do not encode text to bytes, such as rot13, and for Python's own `undefined`.
        "a".encode(name)
        codecs.getincrementaldecoder(name)("strict")
    except (LookupError, UnicodeError, ValueError):
        raise InputError(
            f"There is no encoding {short_repr(name, 40)} in Python.",
            suggest_similar_name(name, _USUAL)
            or "Give the name of one of Python's encodings, such as cp1252, utf-16, shift_jis or gb18030.",
        ) from None
    return UTF8 if found.name in ("utf-8", "utf-8-sig") else found.name


def _guess_utf16(start: bytes) -> str | None:
    """Guess from the first bytes of a file whether it is UTF-16. Return the name of the encoding, or None if it seems
    to be another one."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if start[1:2] == b"\0" != start[:1]:
        return "utf-16-le"
    return "utf-16-be" if start[:1] == b"\0" != start[1:2] else None


def make_not_utf8_error(file_name: str, line: int, byte: int) -> DataError:
    """Make the error for a file that is not UTF-8, if the user has not named an encoding.

    Args:
        line: the number of the first invalid line, counted from 1.
        byte: the first invalid byte in it.
    """
    return DataError(
        f"{file_name} is not UTF-8: line {line} holds the byte 0x{byte:02x}.",
        "Name its encoding with --encoding, such as cp1252 (Windows, western Europe) or gb18030 (Chinese), or save it "
        "as UTF-8.",
    )


def check_not_utf16(file_name: str, start: bytes) -> None:
    """Check that a file that is read as UTF-8 does not begin like UTF-16. ASCII text in UTF-16 is also valid UTF-8,
    with a zero byte next to each letter.

    Args:
        start: the first bytes of the file.

    Raises:
        DataError: the file begins like UTF-16.
    """
    seems = _guess_utf16(start)
    if seems is not None:
        raise DataError(
            f"{file_name} is not UTF-8: it begins like a file in UTF-16.",
            f"Give --encoding {seems}, or save the file as UTF-8.",
        )


class _Utf8Stream(io.RawIOBase):
    """A stream of bytes that converts a file from another encoding to UTF-8 while it is read."""

    def __init__(self, file: IO[bytes], name: str, encoding: str) -> None:
        super().__init__()
        self._file, self._name, self._encoding = file, name, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        # To find out whether the bytes are valid UTF-8 already, and not only ASCII.
        self._utf8_decoder: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder(UTF8)("strict")
        self._beyond_ascii = False
        self._waiting = b""
        self._lines = 1
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._waiting and not self._ended:
            # Takes the bytes that have arrived from a pipe, without waiting for more.
            chunk: bytes = getattr(self._file, "read1", self._file.read)(_CHUNK)
            self._ended = not chunk
            self._refuse_if_already_utf8(chunk)
            self._waiting = self._decode_chunk(chunk).encode(UTF8, "surrogatepass")
        size = min(len(buffer), len(self._waiting))
        buffer[:size], self._waiting = self._waiting[:size], self._waiting[size:]
        return size

    def _decode_chunk(self, chunk: bytes) -> str:
        """Decode a chunk of the file, and count its lines; raise a DataError if it is not in the encoding."""
        state = self._decoder.getstate()
        try:
            text = self._decoder.decode(chunk, final=self._ended)
        except UnicodeError as error:
            raise self._make_decoding_error(error, state, chunk) from None
        self._lines += text.count("\n")
        return text

    def _make_decoding_error(self, error: UnicodeError, state: tuple[bytes, int], chunk: bytes) -> DataError:
        """Make the error for a chunk that cannot be decoded; it names the line and the byte. `state` is the state of
        the decoder before the chunk."""
        said = ""
        if isinstance(error, UnicodeDecodeError):
            held = len(error.object) - len(chunk)
            self._decoder.setstate(state)
            before = self._decoder.decode(chunk[: max(0, error.start - held)])
            line = self._lines + before.count("\n")
            said = f": line {line} holds the byte 0x{error.object[error.start]:02x}"
        return DataError(
            f"{self._name} is not in the encoding {self._encoding}{said}.",
            "Name the encoding that it was saved in with --encoding, or save it as UTF-8 and leave the option out.",
        )

    def _refuse_if_already_utf8(self, chunk: bytes) -> None:
        """Raise a DataError at the end of a file that is valid UTF-8 beyond ASCII. Hardly any text in another encoding
        is valid UTF-8, but most encodings would decode UTF-8 without an error, to wrong characters."""
        if self._utf8_decoder is None:
            return
        self._beyond_ascii = self._beyond_ascii or not chunk.isascii()
        try:
            self._utf8_decoder.decode(chunk, final=self._ended)
        except UnicodeDecodeError:
            self._utf8_decoder = None
            return
        if self._ended and self._beyond_ascii:
            raise DataError(
                f"{self._name} is UTF-8, so that --encoding {self._encoding} would read wrong characters from it.",
                f"Leave --encoding out for this file, or save the file as {self._encoding}.",
            )


def recode_to_utf8(file: IO[bytes], file_name: str, encoding: str) -> IO[bytes]:
    """Return a stream that converts a text file from another encoding to UTF-8 while it is read. Return `file` itself
    if the encoding is UTF-8.

    Reading from the stream raises a DataError if the file is not in this encoding. At the end of the file, it raises
    a DataError if the file is UTF-8.

    Args:
        encoding: the name that Python's `codecs` uses for the encoding.
    """
    return file if encoding == UTF8 else io.BufferedReader(_Utf8Stream(file, file_name, encoding), _CHUNK)
