"""Standard input and output: lines and fragments as they arrive, and answers that any encoding can take."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

import click

from pocketrnn.commands.terminal import one_line
from pocketrnn.errors import InputError, OutputError

__all__ = [
    "arriving_fragments",
    "arriving_lines",
    "give_up",
    "give_up_stdout",
    "json_line",
    "replace_closed_stderr",
    "said_if_slow",
    "say",
    "standard_input",
    "standard_output",
    "tell",
]

# A read returns at most this many bytes, and what it returned is answered before the next read. A slow pipe is answered
# at once. A file gives some 4,000 texts at a time, which costs 33 us a text; the 64 KiB of a pipe cost 35 us.
_LARGEST_READ: Final = 1 << 20
_LARGEST_FRAGMENT: Final = 1 << 16
# A line is held until it ends: one that never does, as of a device, would fill the memory.
_LONGEST_LINE: Final = 1 << 28
_CONVERT: Final = "Convert the input, for instance with: iconv -f ISO-8859-1 -t UTF-8"


def replace_closed_stderr() -> None:
    """Where the process was started with standard error closed, drop what is written to it.

    Without it, click writes errors to standard output, among the answers. The closed numbers themselves are taken:
    onnxruntime opens the null device at them when it is imported, so that no file of ours gets one.
    """
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open until the process ends


def standard_output() -> IO[bytes]:
    """The bytes of standard output.

    Raises:
        OutputError: standard output is closed.
    """
    _check_stdout()
    return sys.stdout.buffer


def _check_stdout() -> None:
    if sys.stdout is None:
        raise OutputError("Standard output is closed.", f"Send the answers to a file, or to {os.devnull}.")


def standard_input() -> IO[bytes]:
    """The bytes of standard input.

    Raises:
        InputError: standard input is closed.
    """
    if sys.stdin is None:
        raise InputError("No text is given and standard input is closed.", "Give texts as arguments, or lines to read.")
    return sys.stdin.buffer


def arriving_lines(stream: IO[bytes]) -> Iterator[list[str]]:
    """The lines that have arrived, each time some have, without their line ends.

    Raises:
        InputError: a line is not UTF-8, or longer than 256 MiB. The lines before it are given first.
    """
    number = held = 0
    begun: list[bytes] = []
    while chunk := stream.read1(_LARGEST_READ):  # type: ignore[attr-defined]
        whole, newline, rest = chunk.rpartition(b"\n")
        if not newline:
            begun.append(chunk)
            held += len(chunk)
            if held > _LONGEST_LINE:
                raise InputError(
                    f"Line {number + 1} of standard input is longer than {_LONGEST_LINE >> 20} MiB.", "Check the input."
                )
            continue
        lines = b"".join([*begun, whole]).split(b"\n")
        begun, held = [rest] if rest else [], len(rest)
        yield from _decoded(lines, number)
        number += len(lines)
    if begun:
        yield from _decoded([b"".join(begun)], number)


def _decoded(lines: Iterable[bytes], number: int) -> Iterator[list[str]]:
    """The lines that follow line `number`, as one list; a shorter list, then the error, if one is not UTF-8."""
    texts: list[str] = []
    for line in lines:
        number += 1
        try:
            # A file from Windows may begin with a byte order mark.
            texts.append(line.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\r"))
        except UnicodeDecodeError as error:
            if texts:
                yield texts
            raise InputError(
                f"Line {number} of standard input is not UTF-8 (byte {error.start + 1} of the line).", _CONVERT
            ) from None
    yield texts


def arriving_fragments(stream: IO[bytes]) -> Iterator[str]:
    """The fragments of one text as they arrive, each cut at its line ends; a line end belongs to the fragment before
    it.

    Raises:
        InputError: the stream is not UTF-8. The fragments before that are given first.
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
            raise InputError(f"Standard input is not UTF-8 (byte {read - kept + error.start + 1}).", _CONVERT) from None
        yield from text.splitlines(keepends=True)
        read += len(arrived)
        if not arrived:
            return


def json_line(value: Mapping[str, Any]) -> str:
    """`value` as JSON on one line, with what the encoding of standard output lacks as JSON escapes."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(_encoding(sys.stdout))
    except UnicodeEncodeError:
        # A reader of JSON turns its escapes back into the characters, also half a surrogate pair. It would not turn
        # back the escapes of Python that `say` writes.
        return json.dumps(value, allow_nan=False)
    return text


def say(text: str, *, err: bool = False) -> None:
    """Write `text` and a line end to standard output; characters that its encoding lacks are escaped.

    Args:
        text: what to write.
        err: write to standard error.

    Raises:
        OutputError: the text cannot be written, or standard output is closed.
        BrokenPipeError: nobody reads the output any more.
    """
    if not err:
        _check_stdout()
    encoding = _encoding(sys.stderr if err else sys.stdout)
    try:
        click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err)
    except BrokenPipeError:
        raise
    except OSError as error:
        give_up_stdout()
        raise OutputError(
            f"The answer cannot be written: {error.strerror or error}.", "Free some space, or write it elsewhere."
        ) from error


@contextlib.contextmanager
def said_if_slow(line: str, seconds: float = 2.0) -> Iterator[None]:
    """Where the block takes longer, write a line about it to standard error while it runs.

    Example:
        >>> with said_if_slow("Loading PyTorch ..."):
        ...     import torch
    """
    timer = threading.Timer(seconds, tell, (line,), {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def tell(line: str, *, err: bool = False) -> None:
    """Write a line about what was done: nothing in it, such as the name of a file, breaks the line, commands the
    terminal, or is lacking in the stream's encoding. Where the stream is closed, nothing is written.

    Args:
        line: without the line end.
        err: write to standard error. If that is full, or nobody reads it any more, the work goes on.

    Raises:
        OSError: standard output cannot be written.
    """
    encoding = _encoding(sys.stderr if err else sys.stdout)
    try:
        click.echo(one_line(line).encode(encoding, "backslashreplace").decode(encoding), err=err)
    except OSError:
        if not err:
            raise
        give_up(sys.stderr)


def _encoding(stream: object) -> str:
    return getattr(stream, "encoding", None) or "ascii"


def give_up_stdout() -> None:
    """Drop what standard output still holds: Python would try to write it at its end, and complain."""
    give_up(sys.stdout)


def give_up(stream: IO[str] | None) -> None:
    """Drop what a stream still holds, and all that is written to it from now on."""
    if stream is None:
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
