"""Classify files of recordings. Each window or sequence gets an answer, as a line or as a row of a table."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from pocketrnn.classifier import Classifier, compute_logits_of_engine_input
from pocketrnn.commands.classify_file import open_answer_output
from pocketrnn.commands.file_options import DECIMALS, FileOptions, name_answer_columns
from pocketrnn.commands.input_and_answer_lines import AnswerFormat
from pocketrnn.commands.standard_streams import print_text
from pocketrnn.errors import InputError
from pocketrnn.tables.encodings import UTF8
from pocketrnn.tables.file_kinds import find_file_kind
from pocketrnn.tables.recording_reader import group_rows_by_sequence, read_columns, stack_channels
from pocketrnn.tables.row_batches import Column, CsvRows, RowBatch
from pocketrnn.tables.row_writer import Answered, write_rows

__all__ = ["check_recording_options", "classify_recordings"]

_SEQUENCES_AT_A_TIME: Final = 256

_FOR_TEXTS: Final = ("--stream", "--explain", "--tokens", "--threshold")

# The names of some windows or sequences of a file, and their answers.
_NamesAndAnswers = tuple[list[str], list[Any]]


def check_recording_options(
    classifier: Classifier,
    files: FileOptions,
    sequence_column: str | None,
    top: int | None,
    are_text_options_given: Sequence[bool],
) -> None:
    """Raise an error if an option is given that has no meaning for a classifier of sequences of numbers.

    Args:
        sequence_column: the value of --sequence-column; None if it is not given.
        top: the value of --top; None if it is not given.
        are_text_options_given: for each option of `_FOR_TEXTS`, in their order, whether it is given.

    Raises:
        click.UsageError: such an option is given, or an option for files without a file.
        InputError: --encoding is given.
    """
    for name, is_given in zip(_FOR_TEXTS, are_text_options_given, strict=True):
        if is_given:
            raise click.UsageError(f"{classifier.name} takes sequences of numbers, not texts. Leave {name} out.")
    if classifier.manifest.output.activation == "values" and top not in (None, 1):
        raise click.UsageError(f"{classifier.name} gives values, not labels. Leave --top out.")
    if files.encoding != UTF8:
        raise InputError(
            f"--encoding is for texts, but {classifier.name} takes sequences of numbers.", "Leave --encoding out."
        )
    if files.on_error == "skip":
        raise click.UsageError(
            "--on-error skip works only for rows with texts. A recording with a gap is refused as a whole. Leave "
            "--on-error out."
        )
    if sequence_column is not None and not files.input:
        raise click.UsageError("--sequence-column works only with a file. Name the file with --input.")
    if (files.output or files.output_format) and not files.input:
        raise click.UsageError("--output works only for the answers to a file. Name the file to read with --input.")


def classify_recordings(
    classifier: Classifier, files: FileOptions, wanted: AnswerFormat, sequence_column: str | None
) -> None:
    """Answer the sequences of a file, and write the answers as readable lines, as JSON lines, or as a table in a file.

    Args:
        files: the file to read, which has a column for each channel, and the file to write.
        wanted: the format of an answer line.
        sequence_column: the column that names the sequence of each row; None if the file is one recording.

    Raises:
        InputError: a sequence or a file cannot be used.
    """
    to_stdout = files.output in (None, "-")
    answered = _answer_windows_or_sequences(classifier, files, wanted, sequence_column)
    if to_stdout and files.output_format is None:
        for names, answers in answered:
            for name, answer in zip(names, answers, strict=True):
                print_text(wanted.format_answer_line(name, answer))
        return
    if wanted.as_json:
        raise click.UsageError("--json cannot be used with --output. Give --output-format jsonl instead.")
    destination = files.output or "-"
    kind = find_file_kind(destination, files.output_format, "--output-format")
    # A file that cannot be read is refused by its reader.
    read_from = None
    with contextlib.suppress(OSError, ValueError):
        read_from = Path(str(files.input)).stat()
    windows = sequence_column is None and classifier.manifest.numbers.window is not None
    table = _make_answer_table(answered, sequence_column or ("window" if windows else "sequence"), files, wanted)
    with open_answer_output(destination, kind, read_from, force=files.force) as stream:
        write_rows(stream, kind, table, sequence_column or "sequence", flush=to_stdout)


def _make_answer_columns(answers: Sequence[Any], files: FileOptions, wanted: AnswerFormat) -> list[Column]:
    """Make the columns of an answer table: for each label its name and probability, or for a bundle of values a column
    for each value."""
    if wanted.answers.gives_values:
        by_name = zip(wanted.answers.labels, np.array(answers).T.tolist(), strict=True)
        return [Column(name, [round(value, DECIMALS) for value in column], True) for name, column in by_name]
    made = []
    for rank, (label, probability) in enumerate(name_answer_columns(files, wanted.top)):
        pairs = [answer.top[rank] for answer in answers]
        made.append(Column(label, [pair[0] for pair in pairs], is_number=False))
        made.append(Column(probability, [round(pair[1], DECIMALS) for pair in pairs], is_number=True))
    return made


def _answer_windows_or_sequences(
    classifier: Classifier, files: FileOptions, wanted: AnswerFormat, sequence_column: str | None
) -> Iterator[_NamesAndAnswers]:
    """Answer each window of a recording, or, with `sequence_column`, each sequence of the file. Yield some names and
    their answers at a time. A window has a name such as "0-127", its first and last step."""
    rules, name = classifier.manifest.numbers, str(files.input)
    kind = find_file_kind(name, files.input_format, "--input-format")
    columns = read_columns(name, kind, [*rules.channels, *([sequence_column] if sequence_column is not None else [])])
    recording = stack_channels(columns, rules.channels, name, rules.integer_scale)
    if sequence_column is None and rules.window is not None:
        windows = iter(classifier.recording(recording, top=wanted.top))
        while some := list(itertools.islice(windows, _SEQUENCES_AT_A_TIME)):
            yield [f"{window.start}-{window.stop - 1}" for window in some], [window.answer for window in some]
        return
    parts = [(name, recording)]
    if sequence_column is not None:
        parts = [(value, recording[rows]) for value, rows in group_rows_by_sequence(columns[sequence_column])]
    for start in range(0, len(parts), _SEQUENCES_AT_A_TIME):
        some_parts = parts[start : start + _SEQUENCES_AT_A_TIME]
        prepared = []
        for label, sequence in some_parts:
            try:
                prepared.append(classifier.prepared(sequence))
            except InputError as error:
                raise type(error)(f"{name}, {label}: {error.problem}", error.remedy) from None
        logits = compute_logits_of_engine_input(classifier, prepared)
        yield [label for label, _ in some_parts], wanted.answers.make_predictions_or_values(logits, wanted.top)


def _make_answer_table(
    answered: Iterator[_NamesAndAnswers], name_column: str, files: FileOptions, wanted: AnswerFormat
) -> Answered:
    """Yield the rows of an answer table with their new columns. The column `name_column` holds the name of the sequence
    or window of each row."""
    for names, answers in answered:
        columns = _make_answer_columns(answers, files, wanted)
        if name_column in (column.name for column in columns):
            raise InputError(
                f"Two columns of the output would have the name {name_column!r}: the names of the sequences, and the "
                "answers.",
                "Give other names with --label-column and --probability-column. Or leave --output out to print the "
                "answers as lines.",
            )
        yield RowBatch(names, [], CsvRows([name_column], [[name] for name in names]), read=0), columns
