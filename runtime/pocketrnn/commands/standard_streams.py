"""Read standard input as it arrives, and write to standard output and standard error, whatever their encodings."""

from __future__ import annotations

import codecs
import contextlib
import errno
import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import click

from pocketrnn.commands.terminal_text import escape_line
from pocketrnn.errors import InputError, OutputError
from pocketrnn.tables.whole_lines import LONGEST_LINE, join_into_whole_lines

__all__ = [
    "discard_stdout",
    "discard_stream",
    "format_json_line",
    "get_lines_to_print_at_end",
    "make_stdout_write_error",
    "open_standard_input",
    "open_standard_output",
    "print_at_end_if_command_runs",
    "print_line",
    "print_line_if_slow",
    "print_text",
    "read_arriving_fragments",
    "read_arriving_lines",
    "replace_closed_stderr",
]

# A read returns at most this many bytes, and its texts are answered before the next read. Texts of a slow pipe are thus
# answered at once. A file gives some 4,000 texts a read, which takes 33 us a text; the 64 KiB of a pipe take 35 us.
_LARGEST_READ: Final = 1 << 20
_LARGEST_FRAGMENT: Final = 1 << 16
_CONVERT: Final = "Convert the input to UTF-8, for instance with: iconv -f ISO-8859-1 -t UTF-8"

# The key in a click context's `meta` for the lines that are written at the end.
_AT_THE_END: Final = "pocketrnn.lines_at_the_end"


def replace_closed_stderr() -> None:
    """If the process was started without standard error, discard all output to it.

    Otherwise click writes errors to standard output, among the answers.
    """
    # The closed file descriptors are taken: onnxruntime opens the null device at them when it is imported, so that none
    # of our files gets one.
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open until the process ends


def open_standard_output() -> IO[bytes]:
    """Return standard output as a stream of bytes. Raise an OutputError if standard output is closed."""
    _check_stdout_open()
    return sys.stdout.buffer


def _check_stdout_open() -> None:
    """Raise an OutputError if standard output is closed."""
    if sys.stdout is None:
        raise OutputError(
            "Standard output is closed.", f"Send the answers to a file by redirecting it, or to {os.devnull}."
        )


def open_standard_input() -> IO[bytes]:
    """Return standard input as a stream of bytes. Raise an InputError if standard input is closed."""
    if sys.stdin is None:
        raise InputError(
            "No text is given, and standard input is closed.",
            "Give texts as arguments, or as lines of standard input.",
        )
    return sys.stdin.buffer


def read_arriving_lines(stream: IO[bytes]) -> Iterator[list[str]]:
    """Yield lists of lines as they arrive: each list holds the lines that arrived since the last list, without line
    ends.

    Raises:
        InputError: a line is not UTF-8, or is longer than 256 MiB. The lines before it are yielded first.
    """
    number = 0

    def make_long_line_error() -> InputError:
        return InputError(
            f"Line {number + 1} of standard input is longer than {LONGEST_LINE >> 20} MiB.",
            "Give one text in each line.",
        )

    chunks = iter(partial(stream.read1, _LARGEST_READ), b"")  # type: ignore[attr-defined]
    for whole in join_into_whole_lines(chunks, make_long_line_error):
        lines = whole.removesuffix(b"\n").split(b"\n")
        yield from _decode_lines(lines, number)
        number += len(lines)


def _decode_lines(lines: Iterable[bytes], lines_before: int) -> Iterator[list[str]]:
    """Decode lines of standard input, and yield them as one list. If a line is not UTF-8, yield the lines before it,
    and then raise an InputError with the number of the line, counted from `lines_before` + 1."""
    texts: list[str] = []
    for number, line in enumerate(lines, lines_before + 1):
        try:
            # A file from Windows may begin with a byte order mark.
            texts.append(line.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\r"))
        except UnicodeDecodeError as error:
            if texts:
                yield texts
            raise InputError(
                f"Line {number} of standard input is not valid UTF-8: byte {error.start + 1} of the line is wrong.",
                _CONVERT,
            ) from None
    yield texts


def read_arriving_fragments(stream: IO[bytes]) -> Iterator[str]:
    """Yield the parts of one text as they arrive. A part ends where the arrived bytes end, or after a line end, which
    it keeps.

    Raises:
        InputError: the stream is not UTF-8. The text before the invalid bytes is yielded first.
    """
    # A fragment may end inside a character: the decoder keeps the character's first bytes. A file from Windows may
    # begin with a byte order mark, which the decoder drops.
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    read = 0
    while True:
        arrived = stream.read1(_LARGEST_FRAGMENT)  # type: ignore[attr-defined]
        kept = len(decoder.getstate()[0])
        try:
            text = decoder.decode(arrived, final=not arrived)
        except UnicodeDecodeError as error:
            yield from error.object[: error.start].decode("utf-8-sig").splitlines(keepends=True)
            raise InputError(
                f"Standard input is not valid UTF-8: byte {read - kept + error.start + 1} is wrong.", _CONVERT
            ) from None
        yield from text.splitlines(keepends=True)
        read += len(arrived)
        if not arrived:
            return


def format_json_line(value: Mapping[str, Any]) -> str:
    """Format an object as JSON on one line. If the encoding of standard output lacks a character, write all non-ASCII
    characters as JSON escapes."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(_find_stream_encoding(sys.stdout))
    except UnicodeEncodeError:
        # A JSON reader turns JSON escapes back into characters, also a lone surrogate. It would not turn back the
        # Python escapes that `print_text` writes.
        return json.dumps(value, allow_nan=False)
    return text


def print_text(text: str, *, err: bool = False) -> None:
    """Write a text and a line end to standard output. Characters that the stream's encoding lacks are written as
    escapes.

    Args:
        err: whether to write to standard error instead.

    Raises:
        OutputError: the text cannot be written, or standard output is closed.
        BrokenPipeError: the program that reads the output has closed it.
    """
    if not err:
        _check_stdout_open()
    try:
        _print_with_escapes(text, err=err)
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_stdout()
        raise make_stdout_write_error(error) from error


def make_stdout_write_error(error: OSError) -> OutputError:
    """Make the error for an answer that could not be written to standard output, from the system's error."""
    problem = f"The answer cannot be written: {error.strerror or error}."
    if error.errno == errno.ENOSPC:
        problem = "There is no room to write the answer."
    return OutputError(problem, "Free some space on the disk, or send the answers elsewhere.")


def print_at_end_if_command_runs(line: str, about: str = "") -> bool:
    """Print a line on standard error when the running command ends; if the command fails, after its error. Return
    False, and do nothing, if no command is running.

    Args:
        about: the topic of the line, by which other code can find and remove the line; empty for none.
    """
    context = click.get_current_context(silent=True)
    if context is not None:
        get_lines_to_print_at_end(context).append((line, about))
    return context is not None


def get_lines_to_print_at_end(context: click.Context) -> list[tuple[str, str]]:
    """Return the list of the lines that are printed when the command ends, each with its topic. The caller may change
    this list."""
    lines: list[tuple[str, str]] = context.meta.setdefault(_AT_THE_END, [])
    return lines


@contextlib.contextmanager
def print_line_if_slow(line: str, seconds: float = 2.0) -> Iterator[None]:
    """Print a line on standard error if the block takes longer than `seconds`, while it still runs."""
    timer = threading.Timer(seconds, print_line, (line,), {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def print_line(line: str, *, err: bool = False) -> None:
    """Write one status line; write nothing if the stream is closed.

    Line breaks, control characters, and characters that the stream's encoding lacks are written as escapes.

    Args:
        err: whether to write to standard error. An error there is ignored, so that the command goes on.

    Raises:
        OSError: standard output cannot be written.
    """
    try:
        _print_with_escapes(escape_line(line), err=err)
    except OSError:
        if not err:
            raise
        discard_stream(sys.stderr)


def _print_with_escapes(text: str, *, err: bool) -> None:
    """Write a text and a line end; characters that the stream's encoding lacks are written as escapes."""
    encoding = _find_stream_encoding(sys.stderr if err else sys.stdout)
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err)


def _find_stream_encoding(stream: object) -> str:
    return getattr(stream, "encoding", None) or "ascii"


def discard_stdout() -> None:
    """Discard the unwritten output to standard output, and all later output: Python would otherwise try to write it at
    exit, and print an error."""
    discard_stream(sys.stdout)


def discard_stream(stream: IO[str] | None) -> None:
    """Discard a stream's unwritten output, and all later output to it."""
    if stream is None:
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
