"""`pocketrnn classify` with a bundle that takes sequences of numbers: recordings in files, or sequences as JSON."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from pocketrnn.classifier import Classifier, answers_of, logits_of_steps
from pocketrnn.commands.classify_file import answers_written
from pocketrnn.commands.file_options import DECIMALS, FileOptions, answer_columns
from pocketrnn.commands.standard_streams import arriving_lines, json_line, say, standard_input
from pocketrnn.commands.terminal import one_line
from pocketrnn.errors import InputError, shown
from pocketrnn.tables.encodings import UTF8
from pocketrnn.tables.recordings import columns_of, no_number, parted, recording_of
from pocketrnn.tables.rows import Column, CsvRows, RowBatch, kind_of
from pocketrnn.tables.writer import Answered, write

__all__ = ["NumberAnswers", "classify_numbers"]

_SEQUENCES_AT_A_TIME: Final = 256

# Some sequences of a file: what each is called, and the answer to it.
_Some = tuple[list[str], list[Any]]


@dataclass(frozen=True)
class NumberAnswers:
    """What is asked of a classifier of numbers.

    Attributes:
        classifier: who answers.
        top: how many labels an answer has.
        as_json: whether an answer is a JSON object.
    """

    classifier: Classifier
    top: int
    as_json: bool

    def to(self, prepared: list[NDArray[np.float32]]) -> list[Any]:
        """The answers to sequences as the graph is given them: predictions, or values."""
        return answers_of(self.classifier).answered(logits_of_steps(self.classifier, prepared), self.top)

    def line(self, name: str, answer: Any) -> str:
        """One answer as a line: what it is of, and the labels with their probabilities, or the values."""
        labels = self.classifier.labels
        if self.classifier.manifest.output.activation == "values":
            values = [round(float(value), DECIMALS) for value in answer]
            if self.as_json:
                return json_line({"sequence": name, "values": dict(zip(labels, values, strict=True))})
            return "\t".join((*(f"{value:g}" for value in values), one_line(name)))
        if self.as_json:
            top = [{"label": label, "probability": probability} for label, probability in answer.top]
            return json_line({"sequence": name, "label": answer.label, "probability": answer.probability, "top": top})
        pairs = (f"{one_line(label)}\t{probability:.4f}" for label, probability in answer.top)
        return "\t".join((*pairs, one_line(name)))

    def columns(self, answers: Sequence[Any], files: FileOptions) -> list[Column]:
        """Answers as columns of a table: a label and its probability, for each of the first ones; or the values."""
        if self.classifier.manifest.output.activation == "values":
            by_name = zip(self.classifier.labels, np.array(answers).T.tolist(), strict=True)
            return [Column(name, [round(value, DECIMALS) for value in column], True) for name, column in by_name]
        made = []
        for rank, (label, probability) in enumerate(answer_columns(files, self.top)):
            pairs = [answer.top[rank] for answer in answers]
            made.append(Column(label, [pair[0] for pair in pairs], is_number=False))
            made.append(Column(probability, [round(pair[1], DECIMALS) for pair in pairs], is_number=True))
        return made


def classify_numbers(
    classifier: Classifier,
    texts: Sequence[str],
    files: FileOptions,
    *,
    by: str | None,
    top: int,
    as_json: bool,
) -> None:
    """Answer sequences: those of a file, or JSON lists.

    Args:
        classifier: who answers.
        texts: sequences as JSON: [[0.1, 9.8], [0.2, 9.7]]. Without any, and without a file, each line of standard input
            is one.
        files: the file of a recording, with a column for each channel; and where the answers go.
        by: the column that says which sequence a row is of; None where the file is one recording.
        top: how many labels an answer has.
        as_json: whether an answer is a JSON object.

    Raises:
        InputError: a sequence or a file cannot be used.
    """
    wanted = NumberAnswers(classifier, top, as_json)
    if classifier.manifest.output.activation == "values" and top != 1:
        raise click.UsageError(f"--top is of labels, and {classifier.name} gives values.")
    if files.encoding != UTF8:
        raise InputError("--encoding is of texts, and the bundle takes sequences of numbers.", "Leave it out.")
    if files.on_error == "skip":
        raise click.UsageError("--on-error skip is of rows with texts: a recording with a gap is refused as a whole.")
    if by is not None and not files.input:
        raise click.UsageError("--sequence-column is of a file: name it with --input.")
    if files.input:
        _write(wanted, files, by)
        return
    if files.output or files.output_format:
        raise click.UsageError("--output is of a file: name the one to read with --input.")
    if texts:
        _say_all(wanted, list(texts), "Sequence", 0)
        return
    answered = 0
    stdin = standard_input()
    if stdin.isatty():
        say("Reading sequences, a JSON list on each line, until Ctrl-D.", err=True)
    for arrived in arriving_lines(stdin):
        _say_all(wanted, arrived, "Line", answered)
        answered += len(arrived)


def _say_all(wanted: NumberAnswers, texts: list[str], kind: str, before: int) -> None:
    for index, text in enumerate(texts):
        number = before + index + 1
        try:
            sequence = wanted.classifier.prepared(_of_json(text))
        except InputError as error:
            problem = error.problem.replace("The sequence", f"{kind} {number}", 1)
            said = problem if problem != error.problem else f"{kind} {number}: {problem}"
            raise type(error)(said, error.remedy) from None
        (answer,) = wanted.to([sequence])
        say(wanted.line(text if len(text) <= 60 else f"{text[:57]}...", answer))


def _of_json(text: str) -> Any:
    try:
        found = json.loads(text, parse_constant=no_number)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise InputError(f"The sequence is no JSON list: {shown(text, 40)}.", "Write [[0.1, 9.8], [0.2, 9.7]].")
    return found


def _of_file(wanted: NumberAnswers, files: FileOptions, by: str | None) -> Iterator[_Some]:
    """The answers to a file: to each window of a recording, or to each sequence."""
    classifier, rules = wanted.classifier, wanted.classifier.manifest.numbers
    name = str(files.input)
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
        yield [label for label, _ in some_parts], wanted.to(prepared)


def _write(wanted: NumberAnswers, files: FileOptions, by: str | None) -> None:
    """The answers to a file: lines for people or JSON; or a table, in a file that is written whole or not at all."""
    to_stdout = files.output in (None, "-")
    if to_stdout and files.output_format is None:
        for names, answers in _of_file(wanted, files, by):
            for name, answer in zip(names, answers, strict=True):
                say(wanted.line(name, answer))
        return
    if wanted.as_json:
        raise click.UsageError("--json is of lines on standard output; for a table, see --output-format.")
    destination = files.output or "-"
    kind = kind_of(destination, files.output_format, "--output-format")
    # A file that cannot be read is refused by its reader.
    read_from = None
    with contextlib.suppress(OSError, ValueError):
        read_from = Path(str(files.input)).stat()
    with answers_written(destination, kind, read_from, force=files.force) as stream:
        write(stream, kind, _as_table(wanted, files, by), by or "sequence", flush=to_stdout)


def _as_table(wanted: NumberAnswers, files: FileOptions, by: str | None) -> Answered:
    """A row for each sequence or window: what it is called, then the answer."""
    windows = by is None and wanted.classifier.manifest.numbers.window is not None
    first = by or ("window" if windows else "sequence")
    for names, answers in _of_file(wanted, files, by):
        columns = wanted.columns(answers, files)
        if first in (column.name for column in columns):
            raise InputError(
                f"Two columns would be called {first!r}: that of the sequences, and one of the answers.",
                "Give --label-column and --probability-column other names, or write lines: leave --output out.",
            )
        yield RowBatch(names, [], CsvRows([first], [[name] for name in names]), read=0), columns
