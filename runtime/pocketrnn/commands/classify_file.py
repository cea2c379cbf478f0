"""`pocketrnn classify` for files of rows: every row is written again, with its label and probability."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import stat
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar, get_args

import click
import numpy as np
from numpy.typing import NDArray

from pocketrnn.answers import Answers
from pocketrnn.classifier import logits_of_batches
from pocketrnn.errors import InputError, OutputError
from pocketrnn.folder import file_written_whole
from pocketrnn.incoming import OnError
from pocketrnn.tables import KINDS, Batch, Column, Kind, Source, kind_of, read, write

if TYPE_CHECKING:
    from pocketrnn.classifier import Classifier

__all__ = ["FileOptions", "classify_file", "file_options"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_STREAM: Final = "-"
# A bar that is gone before it can be read says nothing.
_BAR_AFTER: Final = 2.0
_BAR_EVERY: Final = 0.2
# A probability is float32; six decimals are what it is good for, and half the digits to write.
_DECIMALS: Final = 6


@dataclass(frozen=True)
class FileOptions:
    """What the command line says of the files; see `file_options`."""

    input: str | None
    output: str | None
    input_format: Kind | None
    output_format: Kind | None
    text_column: str
    label_column: str
    probability_column: str
    on_error: OnError
    force: bool

    @property
    def are_given(self) -> bool:
        """Whether this is about a file of rows, and not about texts a line."""
        return any((self.input, self.output, self.input_format, self.output_format))


def file_options(command: _Command) -> _Command:
    """The options of `FileOptions`, given to the command as one argument `files`."""

    @functools.wraps(command)
    def with_files(**options: Any) -> Any:
        files = FileOptions(**{member.name: options.pop(member.name) for member in fields(FileOptions)})
        return command(files=files, **options)

    for option in reversed(_OPTIONS):
        with_files = option(with_files)
    return with_files  # type: ignore[return-value]


_OPTIONS: Final = (
    click.option(
        "-i",
        "--input",
        metavar="FILE",
        help="Classify the rows of this file: .csv, .tsv (with a header line), .jsonl, .ndjson, .parquet; - is "
        "standard input.",
    ),
    click.option(
        "-o",
        "--output",
        metavar="FILE",
        help="Write the rows to this file, as a whole or not at all.  [default: standard output]",
    ),
    click.option("--input-format", type=click.Choice(KINDS), help="What the input is.  [default: as its name ends]"),
    click.option(
        "--output-format",
        type=click.Choice(KINDS),
        help="What the output is.  [default: as its name ends, else as the input]",
    ),
    click.option(
        "--text-column", default="text", show_default=True, metavar="NAME", help="The column that holds the texts."
    ),
    click.option(
        "--label-column", default="label", show_default=True, metavar="NAME", help="The column to write labels to."
    ),
    click.option(
        "--probability-column",
        default="probability",
        show_default=True,
        metavar="NAME",
        help="The column to write probabilities to.",
    ),
    click.option(
        "--on-error",
        type=click.Choice(get_args(OnError)),
        default="raise",
        show_default=True,
        help="Of a row that holds no text or cannot be read: stop at it, or give the first no label and leave the "
        "second out.",
    ),
    click.option("--force", is_flag=True, help="Replace the output file."),
)


def classify_file(classifier: Classifier, files: FileOptions, top: int) -> None:
    """Classify a file of rows into another, a few thousand rows at a time.

    Args:
        classifier: who answers.
        files: what is read and written.
        top: how many labels to give; those after the first stand in columns with `_2`, `_3` ... behind their names.

    Raises:
        InputError: an option, a file or a row cannot be used; nothing stands at the output then.
        MissingExtraError: a file is Parquet, and pyarrow is not installed.
    """
    Answers.of(classifier.manifest).check_top(top)
    given, destination = files.input or _STREAM, files.output or _STREAM
    kind = kind_of(given, files.input_format, "--input-format")
    to_stdout = destination == _STREAM
    written = kind if to_stdout and files.output_format is None else None
    if written is None:
        written = kind_of(destination, files.output_format, "--output-format")
    names = _names(files, top)
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(_opened(given))
        size = _size(stream)
        if kind == "parquet" and size is None:
            stream = stack.enter_context(_on_disk(stream))
        source = Source("Standard input" if given == _STREAM else given, kind, size)
        batches = read(
            stream,
            source,
            files.text_column,
            on_error=files.on_error,
            live=size is None,
            added=[name for pair in names for name in pair],
        )
        sink = stack.enter_context(_written(destination, stream, written, force=files.force))
        with _Progress(source, hidden=to_stdout and sys.stdout.isatty()) as progress:
            answered = _answered(classifier, batches, names, progress)
            write(sink, written, answered, files.text_column, flush=to_stdout)
    if passed_over := source.left_out + source.without_text:
        click.echo(
            f"{passed_over:,} of {source.rows:,} rows passed over: {source.without_text:,} without a text, "
            f"{source.left_out:,} left out. {source.first_fault}",
            err=True,
        )


def _names(files: FileOptions, top: int) -> list[tuple[str, str]]:
    """The names of the columns that are added: for each label its own and its probability's."""
    ends = ["", *(f"_{place}" for place in range(2, top + 1))]
    names = [(files.label_column + end, files.probability_column + end) for end in ends]
    flat = [name for pair in names for name in pair]
    if len(set(flat)) < len(flat):
        raise InputError(
            f"{files.label_column!r} and {files.probability_column!r} cannot be told apart as columns.",
            "Give --label-column and --probability-column different names.",
        )
    return names


def _answered(
    classifier: Classifier, batches: Iterator[Batch], names: Sequence[tuple[str, str]], progress: _Progress
) -> Iterator[tuple[Batch, list[Column]]]:
    # The classifier reads a few batches ahead, so that their rows wait here for their answers.
    waiting: deque[Batch] = deque()

    def texts() -> Iterator[list[str]]:
        for batch in batches:
            waiting.append(batch)
            yield batch.texts

    with contextlib.closing(logits_of_batches(classifier, texts())) as answers:
        for logits in answers:
            batch = waiting.popleft()
            yield batch, _columns(classifier, logits, batch.without_text, names)
            progress.show(batch.read)


def _columns(
    classifier: Classifier, logits: NDArray[np.float32], without: list[int], names: Sequence[tuple[str, str]]
) -> list[Column]:
    rows, labels = np.arange(len(logits)), classifier.labels
    # By logit: far from zero, several labels of a row have the probability 1.0.
    order = logits.argmax(1)[:, None] if len(names) == 1 else np.argsort(-logits, axis=1, kind="stable")
    rounded = Answers.of(classifier.manifest).probabilities(logits).astype(np.float64).round(_DECIMALS)
    columns = []
    for place, (label_name, probability_name) in enumerate(names):
        chosen = order[:, place]
        given: list[Any] = [labels[i] for i in chosen.tolist()]
        probabilities: list[Any] = rounded[rows, chosen].tolist()
        for row in without:
            given[row] = probabilities[row] = None
        columns += [Column(label_name, given, False), Column(probability_name, probabilities, True)]
    return columns


@contextlib.contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    if name == _STREAM:
        if sys.stdin is None:
            raise InputError("Standard input is closed.", "Name a file with --input.")
        yield sys.stdin.buffer
        return
    try:
        stream = Path(name).open("rb")  # noqa: SIM115 - closed below
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name} cannot be read: {reason}.", "Check the file's name and its rights.") from None
    with stream:
        yield stream


def _status(stream: IO[bytes]) -> os.stat_result | None:
    """What the system says of a stream; None where it is no file of the system's."""
    try:
        return os.fstat(stream.fileno())
    except OSError:
        return None


def _size(stream: IO[bytes]) -> int | None:
    """The bytes of a regular file; None for a pipe or a terminal."""
    status = _status(stream)
    return status.st_size if status is not None and stat.S_ISREG(status.st_mode) else None


@contextlib.contextmanager
def _on_disk(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """A copy that can be read from its end, as Parquet is."""
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(stream, copy)
        copy.seek(0)
        yield copy


@contextlib.contextmanager
def _written(destination: str, stream: IO[bytes], kind: Kind, *, force: bool) -> Iterator[IO[bytes]]:
    read_from = _status(stream)
    if destination != _STREAM:
        path = Path(destination)
        if read_from is not None and path.exists() and os.path.samestat(read_from, path.stat()):
            raise OutputError(f"{destination} is the file that is read.", "Choose another output file.")
        with file_written_whole(path, force=force) as file:
            yield file
        return
    if kind == "parquet" and sys.stdout.isatty():
        raise OutputError("Parquet is nothing for a terminal.", "Name a file with --output.")
    out = sys.stdout.buffer
    status = _status(out)
    if _size(stream) is not None and status is not None and os.path.samestat(read_from, status):  # type: ignore[arg-type]
        raise OutputError("Standard output is the file that is read.", "Choose another output file.")
    yield out
    out.flush()


class _Progress:
    """How far the reading has come, in one line on the terminal behind standard error, where it takes long."""

    def __init__(self, source: Source, *, hidden: bool) -> None:
        self._source = source
        self._hidden = hidden or sys.stderr is None or not sys.stderr.isatty()
        self._start = self._last = time.monotonic()
        self._shown = False

    def show(self, read: int) -> None:
        """Say how much of the source is done, if it is time to."""
        now = time.monotonic()
        if self._hidden or now - self._start < _BAR_AFTER or now - self._last < _BAR_EVERY:
            return
        self._last, self._shown = now, True
        click.echo(f"\r{_progress_line(read, self._source, now - self._start):<60}", nl=False, err=True)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            click.echo(f"\r{'':<60}\r", nl=False, err=True)


def _progress_line(read: int, source: Source, seconds: float) -> str:
    rate = f"{source.rows:,} rows, {source.rows / seconds:,.0f} a second"
    if not source.size:
        return rate
    share = min(1.0, read / source.size)
    left = seconds / max(share, 1e-6) - seconds
    filled = round(20 * share)
    return f"[{'#' * filled}{'-' * (20 - filled)}] {share:4.0%}  {rate}, {left:,.0f} s left"
