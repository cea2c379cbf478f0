"""Files of recordings classified: an answer for each window or sequence, as lines or as a table."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from pocketrnn.classifier import Classifier, logits_of_steps
from pocketrnn.commands.answer_lines import Wanted
from pocketrnn.commands.classify_file import answers_written
from pocketrnn.commands.file_options import DECIMALS, FileOptions, answer_columns
from pocketrnn.commands.standard_streams import say
from pocketrnn.errors import InputError
from pocketrnn.tables.encodings import UTF8
from pocketrnn.tables.recordings import columns_of, parted, recording_of
from pocketrnn.tables.rows import Column, CsvRows, RowBatch, kind_of
from pocketrnn.tables.writer import Answered, write

__all__ = ["check_options", "classify_recordings"]

_SEQUENCES_AT_A_TIME: Final = 256

# Some sequences of a file: what each is called, and the answer to it.
_Some = tuple[list[str], list[Any]]


def check_options(classifier: Classifier, files: FileOptions, by: str | None, top: int | None) -> None:
    """Refuse options that a classifier of sequences of numbers has no use for.

    Args:
        classifier: who answers.
        files: the options of files.
        by: the column that says which sequence a row is of.
        top: how many labels an answer has.

    Raises:
        click.UsageError, InputError: there is one.
    """
    if classifier.manifest.output.activation == "values" and top not in (None, 1):
        raise click.UsageError(f"--top is for labels, and {classifier.name} gives values.")
    if files.encoding != UTF8:
        raise InputError("--encoding is for texts, and the bundle takes sequences of numbers.", "Leave it out.")
    if files.on_error == "skip":
        raise click.UsageError("--on-error skip is for rows with texts: a recording with a gap is refused as a whole.")
    if by is not None and not files.input:
        raise click.UsageError("--sequence-column is for a file: name it with --input.")
    if (files.output or files.output_format) and not files.input:
        raise click.UsageError("--output is for a file: name the one to read with --input.")


def classify_recordings(classifier: Classifier, files: FileOptions, wanted: Wanted, by: str | None) -> None:
    """Answer the sequences of a file: lines for people or JSON; or a table, in a file that is written whole or not at
    all.

    Args:
        classifier: who answers.
        files: the file of a recording, with a column for each channel; and where the answers go.
        wanted: what an answer shows.
        by: the column that says which sequence a row is of; None where the file is one recording.

    Raises:
        InputError: a sequence or a file cannot be used.
    """
    to_stdout = files.output in (None, "-")
    answered = _of_file(classifier, files, wanted, by)
    if to_stdout and files.output_format is None:
        for names, answers in answered:
            for name, answer in zip(names, answers, strict=True):
                say(wanted.line(name, answer))
        return
    if wanted.as_json:
        raise click.UsageError("--json is for lines on standard output; for a table, see --output-format.")
    destination = files.output or "-"
    kind = kind_of(destination, files.output_format, "--output-format")
    # A file that cannot be read is refused by its reader.
    read_from = None
    with contextlib.suppress(OSError, ValueError):
        read_from = Path(str(files.input)).stat()
    windows = by is None and classifier.manifest.numbers.window is not None
    table = _as_table(answered, by or ("window" if windows else "sequence"), files, wanted)
    with answers_written(destination, kind, read_from, force=files.force) as stream:
        write(stream, kind, table, by or "sequence", flush=to_stdout)


def _columns(answers: Sequence[Any], files: FileOptions, wanted: Wanted) -> list[Column]:
    """Answers as columns of a table: a label and its probability, for each of the first ones; or the values."""
    if wanted.answers.gives_values:
        by_name = zip(wanted.answers.labels, np.array(answers).T.tolist(), strict=True)
        return [Column(name, [round(value, DECIMALS) for value in column], True) for name, column in by_name]
    made = []
    for rank, (label, probability) in enumerate(answer_columns(files, wanted.top)):
        pairs = [answer.top[rank] for answer in answers]
        made.append(Column(label, [pair[0] for pair in pairs], is_number=False))
        made.append(Column(probability, [round(pair[1], DECIMALS) for pair in pairs], is_number=True))
    return made


def _of_file(classifier: Classifier, files: FileOptions, wanted: Wanted, by: str | None) -> Iterator[_Some]:
    """The answers to a file: to each window of a recording, or to each sequence."""
    rules, name = classifier.manifest.numbers, str(files.input)
    kind = kind_of(name, files.input_format, "--input-format")
    columns = columns_of(name, kind, [*rules.channels, *([by] if by is not None else [])])
    recording = recording_of(columns, rules.channels, name)
    if by is None and rules.window is not None:
        windows = iter(classifier.recording(recording, top=wanted.top))
        while some := list(itertools.islice(windows, _SEQUENCES_AT_A_TIME)):
            yield [f"{window.start}-{window.stop - 1}" for window in some], [window.answer for window in some]
        return
    parts = [(name, recording)]
    if by is not None:
        parts = [(value, recording[rows]) for value, rows in parted(columns[by])]
    for start in range(0, len(parts), _SEQUENCES_AT_A_TIME):
        some_parts = parts[start : start + _SEQUENCES_AT_A_TIME]
        prepared = []
        for label, sequence in some_parts:
            try:
                prepared.append(classifier.prepared(sequence))
            except InputError as error:
                raise type(error)(f"{name}, {label}: {error.problem}", error.remedy) from None
        logits = logits_of_steps(classifier, prepared)
        yield [label for label, _ in some_parts], wanted.answers.answered(logits, wanted.top)


def _as_table(answered: Iterator[_Some], first: str, files: FileOptions, wanted: Wanted) -> Answered:
    """A row for each sequence or window: what it is called, under `first`, then the answer."""
    for names, answers in answered:
        columns = _columns(answers, files, wanted)
        if first in (column.name for column in columns):
            raise InputError(
                f"Two columns would be called {first!r}: that of the sequences, and one of the answers.",
                "Give --label-column and --probability-column other names, or write lines: leave --output out.",
            )
        yield RowBatch(names, [], CsvRows([first], [[name] for name in names]), read=0), columns
