"""Classify the rows of a file, and write each row again with its labels and probabilities."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from pocketrnn.bundle.atomic_writing import write_whole_file
from pocketrnn.bundle.names_from_paths import suggest_near_file
from pocketrnn.bundle.texts_beyond_limits import add_text_name_to_error
from pocketrnn.classifier import (
    Classifier,
    can_split_texts,
    compute_logits_of_batches,
    find_refusal_error_of_text,
    get_answers_of_chosen_labels,
    list_refusal_reasons,
)
from pocketrnn.commands.file_options import DECIMALS, SECOND_TEXT, FileOptions, name_answer_columns
from pocketrnn.commands.input_and_answer_lines import check_labels_separable
from pocketrnn.commands.standard_streams import open_standard_output
from pocketrnn.errors import InputError, OutputError, find_file_error_reason, short_repr
from pocketrnn.predictions_from_logits import Answers
from pocketrnn.tables.encodings import recode_to_utf8
from pocketrnn.tables.file_kinds import DELIMITERS, Kind, find_file_kind
from pocketrnn.tables.row_batches import Column, RowBatch, RowSource
from pocketrnn.tables.row_reader import add_features, add_second_texts, read_batches
from pocketrnn.tables.row_writer import write_rows

__all__ = ["classify_file", "open_answer_output"]

_STREAM: Final = "-"
_NAME_BOTH: Final = "Name the columns with the two texts with --text-column and --second-text-column."
# In seconds. A bar for less time than this would be gone before it is read.
_BAR_AFTER: Final = 2.0
_BAR_EVERY: Final = 0.2


def classify_file(
    classifier: Classifier, files: FileOptions, top: int, *, by_threshold: bool = False, threshold: float | None = None
) -> None:
    """Classify the rows of a file, a few thousand at a time, and write them with their answers to another file.

    Args:
        top: how many labels to give. The columns of the second label end in `_2`, those of the third in `_3`.
        by_threshold: whether to write, in place of the `top` likeliest labels, one column with all labels whose
            probabilities reach their thresholds.
        threshold: one probability for all labels; None for the bundle's own thresholds.

    Raises:
        InputError: an option, a file or a row cannot be used. The output file is not written then.
        MissingExtraError: a file is Parquet, and pyarrow is not installed.
    """
    if not can_split_texts(classifier):
        raise InputError(
            f"{classifier.name} does not split texts into tokens: its tokenizer is not part of the bundle.",
            "Name your own function that splits them, such as --tokenizer split.py:words. Or give each text as a JSON "
            "list of its tokens on a line of standard input, with --tokens.",
        )
    answers = get_answers_of_chosen_labels(classifier)
    answers.check_top(top)
    given, destination = files.input or _STREAM, files.output or _STREAM
    with contextlib.ExitStack() as stack:
        # Opened first: a missing file is reported before any other error.
        stream = stack.enter_context(_open_input(given))
        kind = find_file_kind(given, files.input_format, "--input-format")
        to_stdout = destination == _STREAM
        written = kind if to_stdout and files.output_format is None else None
        if written is None:
            written = find_file_kind(destination, files.output_format, "--output-format")
        if by_threshold and written in DELIMITERS:
            check_labels_separable(answers, "write JSON Lines: --output-format jsonl")
        heads = _plan_answer_columns_of_each_head(answers, files, top, by_threshold=by_threshold, threshold=threshold)
        status = _read_file_status(stream)
        # A pipe or a terminal has no size.
        size = status.st_size if status is not None and stat.S_ISREG(status.st_mode) else None
        if kind == "parquet" and size is None:
            stream = stack.enter_context(_copy_to_temporary_file(stream))
        name = "Standard input" if given == _STREAM else given
        source = RowSource(name, kind, size, on_error=files.on_error)
        if classifier.manifest.has_two_texts:
            source.name_columns = _NAME_BOTH
        added = [name for head in heads for pair in head.names for name in pair]
        if twice := [name for name, times in Counter(added).items() if times > 1]:
            raise InputError(
                f"The answers of two heads would have the same column name, {twice[0]!r}.",
                "Choose one of the heads with --head NAME.",
            )
        if kind != "parquet":
            stream = recode_to_utf8(stream, name, files.encoding)
        batches = read_batches(stream, source, files.text_column, live=size is None, added=added)
        if classifier.manifest.has_two_texts:
            batches = add_second_texts(batches, source, files.second_text_column or SECOND_TEXT)
        if classifier.manifest.features:
            batches = add_features(batches, source, classifier.manifest.features)
        sink = stack.enter_context(open_answer_output(destination, written, status, force=files.force))
        with _Progress(source, hidden=to_stdout and sys.stdout.isatty()) as progress:

            def make_columns(logits: NDArray[np.float32], rows_without_answer: list[int]) -> list[Column]:
                return [
                    column
                    for head in heads
                    for column in head.make_columns(logits[:, head.logits], rows_without_answer)
                ]

            answered = _answer_batches(classifier, batches, make_columns, source, progress)
            write_rows(sink, written, answered, files.text_column, flush=to_stdout)
    _report_skipped_rows(source, list_refusal_reasons(classifier))


@dataclass(frozen=True)
class _HeadColumns:
    """The new columns for one head, or for the only set of labels.

    Attributes:
        names: pairs of column names: one for the labels, one for their probabilities.
        logits: the slice of the columns of logits that belong to the head.
        make_columns: makes the new columns from the head's logits and the indices of the rows without an answer.
    """

    names: list[tuple[str, str]]
    logits: slice
    make_columns: Callable[[NDArray[np.float32], list[int]], list[Column]]


def _plan_answer_columns_of_each_head(
    answers: Answers, files: FileOptions, top: int, *, by_threshold: bool, threshold: float | None
) -> list[_HeadColumns]:
    """Choose the new columns of each head: one pair of columns with the labels that reach their thresholds, or a pair
    for each of the `top` likeliest labels."""
    planned = []
    for name, head, logits in answers.iterate_heads():
        names = name_answer_columns(files, min(top, len(head.labels)), name)
        reached = by_threshold and (not name or threshold is not None or head.gives_reached_labels)
        make: Any = partial(_make_reached_label_columns, head, names[0], threshold)
        make = make if reached else partial(_make_likeliest_label_columns, head, names)
        planned.append(_HeadColumns(names, logits, make))
    return planned


def _report_skipped_rows(source: RowSource, refusal_reasons: list[str]) -> None:
    """Write to standard error how many rows have no answer, for which reasons, and what is wrong with the first of
    them. Write nothing if all rows have an answer."""
    counts = (source.left_out, source.without_text, source.without_feature, source.without_answer)
    if passed_over := sum(counts):
        reasons = " or ".join(refusal_reasons)
        lacking = f", {source.without_feature:,} with a missing or wrong feature" if source.without_feature else ""
        beyond = f", {source.without_answer:,} {reasons}" if source.without_answer else ""
        click.echo(
            f"{passed_over:,} of {source.rows:,} rows skipped: {source.without_text:,} without a text, "
            f"{source.left_out:,} left out{lacking}{beyond}. {source.first_fault}",
            err=True,
        )


def _answer_batches(
    classifier: Classifier,
    batches: Iterator[RowBatch],
    make_columns: Callable[[NDArray[np.float32], list[int]], list[Column]],
    source: RowSource,
    progress: _Progress,
) -> Iterator[tuple[RowBatch, list[Column]]]:
    """Answer batches of rows, and yield each batch with its new columns.

    Args:
        make_columns: makes the new columns from the logits of a batch and the indices of its rows without an answer.
        source: the file that is read, which counts the skipped rows.
    """
    # The classifier reads a few batches ahead. Their rows wait here for their answers.
    waiting: deque[RowBatch] = deque()

    def yield_texts() -> Iterator[list[Any]]:
        for batch in batches:
            waiting.append(batch)
            yield batch.texts

    before = 0
    with contextlib.closing(compute_logits_of_batches(classifier, yield_texts(), on_error="skip")) as answers:
        for logits in answers:
            batch = waiting.popleft()
            without = _find_rows_without_answer(classifier, logits, batch, source, before)
            yield batch, make_columns(logits, without)
            before += len(batch.texts)
            progress.show(batch.read)


def _find_rows_without_answer(
    classifier: Classifier, logits: NDArray[np.float32], batch: RowBatch, source: RowSource, rows_before: int
) -> list[int]:
    """Return the indices of a batch's rows without an answer: rows without a text, and rows whose text is beyond the
    graph's limits. Count the latter in `source`.

    Args:
        logits: float32 [rows, labels], with NaN for texts beyond the graph's limits.
        source: the file of the rows, with the option that says whether such texts are skipped.
        rows_before: the number of rows in the batches before this one.

    Raises:
        LimitError: a text is beyond the graph's limits, and `source.on_error` is "raise".
    """
    beyond = sorted(set(np.flatnonzero(np.isnan(logits[:, 0])).tolist()) - set(batch.without_text))
    if not beyond:
        return batch.without_text
    # If rows are refused, no row was left out before this one, so that its number is known.
    first, text = beyond[0], batch.texts[beyond[0]]
    which = f"Row {rows_before + first + 1}" if source.on_error == "raise" else f"The text {short_repr(text, 40)}"
    error = add_text_name_to_error(
        find_refusal_error_of_text(classifier, text), f"{which} of {source.name}", "skip such rows with --on-error skip"
    )
    if source.on_error == "raise":
        raise error
    source.without_answer += len(beyond)
    source.first_fault = source.first_fault or error.problem
    return sorted({*batch.without_text, *beyond})


def _make_reached_label_columns(
    answers: Answers,
    column_names: tuple[str, str],
    threshold: float | None,
    logits: NDArray[np.float32],
    rows_without_answer: list[int],
) -> list[Column]:
    """Make a column of the labels whose probabilities reach their thresholds, and a column of these probabilities. Rows
    in `rows_without_answer` get None in both.

    With sigmoid, several labels can be right, and both columns contain lists. If no label reaches its threshold, the
    label is empty, and the probability is that of the likeliest label.
    """
    probabilities = answers.probabilities(logits)
    reached = answers.mark_reached_labels(probabilities, threshold)
    order = np.argsort(-logits, axis=1, kind="stable")
    given: list[Any] = []
    shown: list[Any] = []
    for row, likeliest in enumerate(order.tolist()):
        some = [i for i in likeliest if reached[row, i]]
        given.append(tuple(answers.labels[i] for i in some))
        shown.append(tuple(round(float(probabilities[row, i]), DECIMALS) for i in some or likeliest[:1]))
    is_list = answers.activation == "sigmoid"
    if not is_list:
        given, shown = ["".join(labels) for labels in given], [likeliest[0] for likeliest in shown]
    for row in rows_without_answer:
        given[row] = shown[row] = None
    return [Column(column_names[0], given, False, is_list), Column(column_names[1], shown, True, is_list)]


def _make_likeliest_label_columns(
    answers: Answers,
    column_names: Sequence[tuple[str, str]],
    logits: NDArray[np.float32],
    rows_without_answer: list[int],
) -> list[Column]:
    """Make for each pair of `column_names` a column of labels and a column of their probabilities: the first pair for
    the likeliest label of each row, the second pair for the next label. Rows in `rows_without_answer` get None."""
    rows, labels = np.arange(len(logits)), answers.labels
    # Sorted by logit and not by probability: with large logits, several labels of a row have the probability 1.0.
    order = logits.argmax(1)[:, None] if len(column_names) == 1 else np.argsort(-logits, axis=1, kind="stable")
    rounded = answers.probabilities(logits).astype(np.float64).round(DECIMALS)
    columns = []
    for rank, (label_name, probability_name) in enumerate(column_names):
        chosen = order[:, rank]
        given: list[Any] = [labels[i] for i in chosen.tolist()]
        probabilities: list[Any] = rounded[rows, chosen].tolist()
        for row in rows_without_answer:
            given[row] = probabilities[row] = None
        columns += [Column(label_name, given, False), Column(probability_name, probabilities, True)]
    return columns


@contextlib.contextmanager
def _open_input(name: str) -> Iterator[IO[bytes]]:
    """Open the input for bytes: the file `name`, or standard input for `-`."""
    if name == _STREAM:
        if sys.stdin is None:
            raise InputError("No rows can be read, because standard input is closed.", "Name a file with --input.")
        yield sys.stdin.buffer
        return
    try:
        stream = Path(name).open("rb")  # noqa: SIM115 - closed below
    except (OSError, ValueError) as error:
        near = suggest_near_file(Path(name)) if isinstance(error, FileNotFoundError) else ""
        raise InputError(
            f"{name} cannot be read: {find_file_error_reason(error)}.",
            near or "Check the file's name and its permissions.",
        ) from None
    with stream:
        yield stream


def _read_file_status(stream: IO[bytes]) -> os.stat_result | None:
    """Return the system's status (`os.fstat`) of a stream's file; None if the stream has no file."""
    try:
        return os.fstat(stream.fileno())
    except OSError:
        return None


@contextlib.contextmanager
def _copy_to_temporary_file(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """Copy a stream to a temporary file that can be read from its end, as Parquet needs; yield the file, and delete it
    when the block ends."""
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(stream, copy)
        copy.seek(0)
        yield copy


@contextlib.contextmanager
def open_answer_output(
    destination: str, kind: Kind, input_status: os.stat_result | None, *, force: bool
) -> Iterator[IO[bytes]]:
    """Open the output for answers: standard output, or a file that is written as a whole.

    Args:
        destination: the path of the file; `-` for standard output.
        input_status: the system's status of the input file, which must not be overwritten; None if the input is not a
            file.
        force: whether a file that exists is replaced.

    Raises:
        OutputError: the output is the input file, exists already, or is Parquet for a terminal.
    """
    if destination != _STREAM:
        path = Path(destination)
        if input_status is not None and path.exists() and os.path.samestat(input_status, path.stat()):
            raise OutputError(f"The output file {destination} is also the input file.", "Choose another output file.")
        with write_whole_file(path, force=force) as file:
            yield file
        return
    out = open_standard_output()
    if kind == "parquet" and out.isatty():
        raise OutputError("Parquet cannot be shown on a terminal.", "Name a file with --output.")
    status = _read_file_status(out)
    regular = input_status is not None and stat.S_ISREG(input_status.st_mode)
    if regular and status is not None and os.path.samestat(input_status, status):  # type: ignore[arg-type]
        raise OutputError("Standard output goes to the input file.", "Choose another output file.")
    yield out
    out.flush()


class _Progress:
    """A progress bar on standard error. It is shown only on a terminal, and only after two seconds."""

    def __init__(self, source: RowSource, *, hidden: bool) -> None:
        self._source = source
        self._hidden = hidden or sys.stderr is None or not sys.stderr.isatty()
        self._start = self._last = time.monotonic()
        self._shown = False

    def show(self, read: int) -> None:
        """Update the bar, if it is shown and was not updated a moment ago. `read` is how much of the source was read,
        in the unit of `source.size`."""
        now = time.monotonic()
        if self._hidden or now - self._start < _BAR_AFTER or now - self._last < _BAR_EVERY:
            return
        self._last, self._shown = now, True
        click.echo(f"\r{_format_progress_line(read, self._source, now - self._start):<60}", nl=False, err=True)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            click.echo(f"\r{'':<60}\r", nl=False, err=True)


def _format_progress_line(read: int, source: RowSource, seconds: float) -> str:
    """Format the progress line: a bar and the time that is left if the size of the source is known, and the number of
    rows."""
    rate = f"{source.rows:,} rows, {source.rows / seconds:,.0f} a second"
    if not source.size:
        return rate
    share = min(1.0, read / source.size)
    left = seconds / max(share, 1e-6) - seconds
    filled = round(20 * share)
    return f"[{'#' * filled}{'-' * (20 - filled)}] {share:4.0%}  {rate}, {left:,.0f} s left"
