"""Read files of labelled sequences of numbers: .ts, .npz, and tables with a column for each channel.

The format `.ts` of sktime and aeon has lines that begin with @, then a line for each sequence.
https://www.aeon-toolkit.org/en/stable/api_reference/file_specifications/ts.html: colons separate the channels of a
sequence, commas the samples of a channel; the label is after the last colon; `?` is a missing sample.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import DataError, InputError, short_repr
from pocketrnn.tables.file_kinds import ENDINGS, Kind
from pocketrnn.tables.recording_reader import group_rows_by_sequence, read_columns, stack_channels
from pocketrnn_training.rows.array_files import read_arrays
from pocketrnn_training.rows.labelled_sequences import LabelledSequences, Recording, make_labelled_sequences
from pocketrnn_training.rows.table_files import read_text_lines
from pocketrnn_training.settings.sequence_reading_options import NOTHING_SAID, OF_NUMBERS, SequenceOptions

__all__ = ["read_sequences", "read_ts_file"]

_LARGEST: Final = 1 << 32
_LAYOUT: Final = (
    "Save the arrays `x` [sequences, time, channels] and `y` [sequences] with numpy.savez. If the sequences differ in "
    "length, add the array `lengths` [sequences]."
)


def read_sequences(
    paths: Sequence[Path],
    options: SequenceOptions = NOTHING_SAID,
    *,
    label_column: str = "label",
    labels: tuple[str, ...] | None = None,
) -> LabelledSequences:
    """Read labelled sequences of numbers from files, as the rows of one data set. A file's suffix decides its format.

    A `.ts` file has the format of aeon and sktime. A `.npz` file has the arrays `x` [sequences, time, channels] (or
    [sequences, time] with one channel), `y` [sequences] with strings or whole numbers, and `lengths` [sequences] if the
    sequences differ in length. `x` is read as [sequences, channels, time] if `options.channels_first` is true, or if
    only that fits the named channels. A table (`.csv`, `.tsv`, `.jsonl`, `.ndjson`, `.parquet`) has a row for each time
    step, a column for each channel, and a column of labels.

    Args:
        paths: the files.
        options: the channels and the other options of the sequences.
        label_column: the column of a table that holds the labels.
        labels: the classes and their order; without it, the labels that occur, sorted.

    Raises:
        DataError: a file is missing, damaged or of another kind; two files have different numbers of channels; a sample
            is not a number; a label is missing, or is not one of `labels`.
        InputError: the files are tables, and their channels are not named or a column is named for two uses.

    Example:
        >>> read_sequences([Path("BasicMotions_TRAIN.ts")]).labels
        ('Badminton', 'Running', 'Standing', 'Walking')
    """
    notes: list[str] = []
    recordings = [recording for path in paths for recording in _read_recordings(path, options, label_column, notes)]
    source = ", ".join(path.name for path in paths)
    if not recordings:
        raise DataError(f"{source} holds no sequences.", "Give a file that holds at least one labelled sequence.")
    count = recordings[0].samples.shape[1]
    for recording in recordings:
        if recording.samples.shape[1] != count:
            raise DataError(
                f"{recording.name} has {recording.samples.shape[1]} channels, but {recordings[0].name} has {count}.",
                "All sequences must have the same channels: leave out the files that have other channels.",
            )
    data = make_labelled_sequences(recordings, options.rules(count), labels, source)
    return replace(data, notes=(*notes, *data.notes))


def _read_recordings(path: Path, options: SequenceOptions, label_column: str, notes: list[str]) -> Iterator[Recording]:
    """Read the recordings of a file in the format that the suffix of its name says.

    Args:
        options: the channels and the other reading options.
        label_column: the column of labels, for a table.
        notes: this function appends sentences for the user here, such as a guess about the order of axes.

    Raises:
        DataError: the suffix is unknown, or the file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix == ".ts":
        return read_ts_file(path)
    if suffix == ".npz":
        return _read_array_recordings(path, options, notes)
    if suffix not in ENDINGS:
        known = ", ".join([*OF_NUMBERS, *ENDINGS])
        raise DataError(
            f"The suffix of {path} is not that of a known file format.",
            f"Give a file whose name ends in one of: {known}.",
        )
    return _read_table_recordings(path, ENDINGS[suffix], options, label_column)


def _read_array_recordings(path: Path, options: SequenceOptions, notes: list[str]) -> Iterator[Recording]:
    """Yield the sequences of a `.npz` file. If the order of its axes is guessed, append a sentence about it to
    `notes`."""
    x, y, lengths = _read_x_y_and_lengths(path, options, notes)
    for row, (sequence, label) in enumerate(zip(x, y, strict=True)):
        end = None if lengths is None else int(lengths[row])
        yield Recording(f"sequence {row} of {path}", sequence[:end], str(label))


def _move_channel_axis_last(
    x: npt.NDArray[Any], path: Path, options: SequenceOptions, notes: list[str], *, has_lengths: bool
) -> npt.NDArray[Any]:
    """Return the array x as [sequences, time, channels], and append a sentence to `notes` if its axes were guessed.

    x is transposed if `options.channels_first` says so, or if the number of named channels is the size of its middle
    axis and not of its last one. It is never transposed by a guess if the file states the length of each sequence
    (`has_lengths`).
    """
    steps, channels = x.shape[1:]
    if options.channels_first:
        return x.transpose(0, 2, 1)
    named = None if options.channels is None else len(options.channels)
    if named == steps != channels and not has_lengths:
        notes.append(
            f"The array x of {path.name} is read as [sequences, channels, time], with {channels:,} steps: its second "
            f"axis has the size {named}, which is the number of named channels."
        )
        return x.transpose(0, 2, 1)
    if channels > steps > 1 and named is None:
        notes.append(
            f"The array x of {path.name} is read as {len(x):,} sequences of {steps:,} steps and {channels:,} channels. "
            f"If its axes are [sequences, channels, time], as in aeon, add the option --channels-first."
        )
    return x


def _read_x_y_and_lengths(
    path: Path, options: SequenceOptions, notes: list[str]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any] | None]:
    """Read the arrays of a `.npz` file: samples x as [sequences, time, channels], labels y, and lengths or None.

    Raises:
        DataError: the file has no x or no y, or an array has a wrong shape or type.
    """
    found = read_arrays(path, _LAYOUT, most=_LARGEST, wanted=("x", "y", "lengths"))
    for name in ("x", "y"):
        if name not in found:
            have = ", ".join(sorted(found)) or "nothing"
            raise DataError(f"{path} has no array {name!r}. It has {have}.", _LAYOUT)
    x, y, lengths = found["x"], found["y"], found.get("lengths")
    if x.ndim == 2:
        x = x[:, :, None]
    if x.dtype.kind not in "iuf" or x.ndim != 3 or 0 in x.shape[1:]:
        raise DataError(
            f"The array x of {path} has the type {x.dtype} and the shape {list(x.shape)}, but it must hold numbers on "
            "two or three axes.",
            _LAYOUT,
        )
    x = _move_channel_axis_last(x, path, options, notes, has_lengths=lengths is not None)
    if y.dtype.kind not in "iuU" or y.ndim != 1:
        raise DataError(
            f"The array y of {path} has the type {y.dtype} and the shape {list(y.shape)}, but it must hold one label "
            "for each sequence.",
            "Save y with one axis, and one string or whole number for each sequence.",
        )
    if "" in y.astype(str):
        raise DataError(
            f"The array y of {path} holds an empty label.", "Save a string that is not empty, or a whole number."
        )
    if lengths is not None and (
        lengths.dtype.kind not in "iu" or lengths.ndim != 1 or ((lengths < 1) | (lengths > x.shape[1])).any()
    ):
        raise DataError(
            f"The array lengths of {path} must hold one whole number from 1 to {x.shape[1]} (the number of steps of x) "
            "for each sequence, but it holds other values.",
            "Save the number of steps of each sequence as `lengths`.",
        )
    sizes = {"y": len(y)} | ({} if lengths is None else {"lengths": len(lengths)})
    for name, size in sizes.items():
        if size != len(x):
            raise DataError(
                f"The array x of {path} has {len(x)} sequences, but the array {name} has {size} items.",
                f"Save exactly one item of {name} for each sequence.",
            )
    return x, y, lengths


def _read_table_recordings(path: Path, kind: Kind, options: SequenceOptions, label_column: str) -> Iterator[Recording]:
    """Yield the recordings of a table: one for each value of `options.sequence_column`, or a single one without it.

    Args:
        path: the table.
        kind: the file format of the table.
        options: the channels and the other reading options.
        label_column: the name of the column of labels.

    Raises:
        InputError: channels are not named, or a column is named both as a channel and for another use.
        DataError: the table cannot be read, or holds a value that is not a sample, a label or a time.
    """
    if options.channels is None:
        raise InputError(
            f"{path} is a table, but no option says which of its columns are channels.",
            "Name the columns of the channels: --channels ax,ay,az.",
        )
    by, when = options.sequence_column, options.time_column
    if clash := {label_column, by, when} & set(options.channels):
        raise InputError(
            f"The column {min(map(str, clash))!r} is named as a channel, but also as the column of labels, sequences "
            "or times.",
            f"Leave {min(map(str, clash))!r} out of the value of --channels, or give another column as labels, "
            "sequences or times.",
        )
    columns = read_columns(str(path), kind, [*options.channels, label_column, *filter(None, (by, when))])
    rules = options.rules(len(options.channels))
    samples = stack_channels(columns, options.channels, str(path), rules.integer_scale)
    labels = _convert_labels_to_strings(columns[label_column], label_column, path)
    order = np.arange(len(samples)) if when is None else _sort_row_numbers_by_time(columns[when], when, path)
    samples, labels = samples[order], labels[order]
    if by is None:
        yield Recording(str(path), samples, labels.tolist())
        return
    columns = {by: [columns[by][row] for row in order]}
    for name, rows in group_rows_by_sequence(columns[by]):
        yield Recording(f"sequence {name} of {path}", samples[rows], labels[rows].tolist())


def _sort_row_numbers_by_time(column: Sequence[Any], column_name: str, path: Path) -> npt.NDArray[np.int64]:
    """Sort the row numbers of a table by the times in one of its columns. Rows of the same time keep their order.

    Args:
        column: the values of the column: numbers, or dates and times.
        column_name: the name of the column, for the error.
        path: the table, for the error.

    Raises:
        DataError: a value is missing or is not a time.
    """
    values = np.asarray(column)
    kinds: list[Any] = ["datetime64[ns]"] if values.dtype.kind == "M" else [np.float64, "datetime64[ns]"]
    for kind in kinds:
        try:
            with warnings.catch_warnings():
                # numpy warns that it ignores time zones: all times of a file have the same.
                warnings.simplefilter("ignore")
                times = values.astype(kind)
        except (TypeError, ValueError):
            continue
        if missing := np.isnan(times).nonzero()[0].tolist():
            problem = f"Row {missing[0] + 1} of {path} has no time in the column {column_name!r}."
            raise DataError(problem, "Write a time in each row, or leave out the option --time-column.")
        return np.argsort(times, kind="stable")
    raise DataError(
        f"The column {column_name!r} of {path} holds {short_repr(values[0], 40)}, which is not a time.",
        "Write each time as a number, or as a date and time such as 2024-05-01T12:30:00.5.",
    )


def _convert_labels_to_strings(column: Sequence[Any], column_name: str, path: Path) -> npt.NDArray[Any]:
    """Convert the labels of a column to strings: the number 1 becomes "1".

    Raises:
        DataError: a label is missing, or is neither a string nor a whole number.
    """
    made = []
    for row, value in enumerate(column):
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            found = "no label" if value in (None, "") else f"the label {short_repr(value, 40)}"
            raise DataError(
                f"Row {row + 1} of {path} has {found} in the column {column_name!r}, but it must be a string or a "
                "whole number.",
                "Write a label of such a type there, or delete the row.",
            )
        made.append(str(value))
    return np.array(made, dtype=object)


_MISSING: Final = frozenset({"?", "nan"})
_FLAGS: Final = ("timestamps", "missing", "univariate", "equallength", "targetlabel")
_SEE: Final = "Correct the file, or write it anew with the function write_to_ts_file of the library aeon."


@dataclass
class _Header:
    """The values in the header of a `.ts` file, which are its lines that begin with @.

    Attributes:
        flags: the value of each header line that says true or false, by the name in lower case: {"missing": True}.
        labels: the labels that may occur; None if the header does not say that there are labels.
        sizes: the values of `dimensions` and `serieslength`.
    """

    flags: dict[str, bool]
    labels: tuple[str, ...] | None
    sizes: dict[str, int]


def read_ts_file(path: Path) -> Iterator[Recording]:
    """Yield the sequences of a `.ts` file with their labels.

    Raises:
        DataError: the file is missing, unreadable or not UTF-8; the header is wrong, or says that there are time stamps
            or no labels; a line has a wrong number of channels or of samples, a field that is not a number, or a label
            that the header does not name.
    """
    lines = read_text_lines(path)
    header = _read_ts_header(lines, path)
    channels = header.sizes.get("dimensions", 1 if header.flags.get("univariate", False) else None)
    steps = header.sizes.get("serieslength") if header.flags.get("equallength", False) else None
    for number, text in lines:
        recording = _parse_sequence_line_of_ts_file(text, f"line {number} of {path}", header)
        found_steps, found_channels = recording.samples.shape
        if channels is not None and found_channels != channels:
            raise DataError(
                f"Line {number} of {path} has {found_channels} channels, but it must have {channels}, as the header or "
                "the line before says.",
                "Write the same number of channels on every line, with colons between them.",
            )
        if steps is not None and found_steps != steps:
            raise DataError(
                f"Line {number} of {path} has {found_steps} steps, but the header says that every line has {steps}.",
                "Correct the line, or write @equalLength false in the header.",
            )
        channels = found_channels
        yield recording


def _read_ts_header(lines: Iterator[tuple[int, str]], path: Path) -> _Header:
    """Read the header of a `.ts` file, up to the line @data.

    Args:
        lines: the numbered lines of the file; after the call, the first line of data comes next.
        path: the file, for the error.

    Raises:
        DataError: a line of the header is wrong, there is no line @data, or the header declares time stamps or declares
            no labels.
    """
    header = _Header({}, None, {})
    for number, text in lines:
        if text.lstrip().startswith("#"):
            continue
        words = text.split()
        if not words[0].startswith("@"):
            raise DataError(
                f"Line {number} of {path} comes before the line @data, so it must begin with @ or #, but it does not.",
                _SEE,
            )
        name = words[0][1:].lower()
        if name == "data":
            _refuse_unsupported_ts_header(header, path)
            return header
        where = f"Line {number} of {path}"
        if name in _FLAGS or name == "classlabel":
            said = words[1].lower() if len(words) > 1 else ""
            if said not in ("true", "false"):
                raise DataError(
                    f"{where} is {short_repr(text.strip(), 40)}, but {words[0]} must be followed by true or false.",
                    _SEE,
                )
            header.flags[name] = said == "true"
            if name == "classlabel" and said == "true":
                header.labels = tuple(words[2:])
        elif name in ("dimensions", "dimension", "serieslength"):
            if len(words) != 2 or not words[1].isascii() or not words[1].isdigit() or int(words[1]) < 1:
                raise DataError(
                    f"{where} is {short_repr(text.strip(), 40)}, but {words[0]} must be followed by a whole number of "
                    "1 or more.",
                    _SEE,
                )
            header.sizes["serieslength" if name == "serieslength" else "dimensions"] = int(words[1])
    raise DataError(f"{path} has no line @data, so it is not a file in the format .ts.", _SEE)


def _refuse_unsupported_ts_header(header: _Header, path: Path) -> None:
    """Raise a DataError if the header of a `.ts` file declares time stamps, numbers as targets, or no labels."""
    if header.flags.get("timestamps"):
        raise DataError(
            f"The samples of {path} have time stamps (@timeStamps true), but pocketrnn train reads only samples "
            "without them.",
            "Resample each sequence to equal time steps, and save only the samples, with @timeStamps false.",
        )
    if header.flags.get("targetlabel"):
        raise DataError(
            f"The targets of {path} are numbers (@targetLabel true), but pocketrnn train learns only class labels.",
            "Train a module of your own in PyTorch, and export it: pocketrnn export --values.",
        )
    if header.labels is None:
        raise DataError(
            f"The header of {path} does not declare the labels of its sequences.",
            "Write a line with @classLabel true and all labels in the header: @classLabel true walking running.",
        )


def _parse_sequence_line_of_ts_file(text: str, where: str, header: _Header) -> Recording:
    """Parse one line of data of a `.ts` file: its channels and its label, with colons between them.

    Args:
        text: the line.
        where: the line in words, for the error: "line 7 of a.ts".
        header: the header of the file, which names the labels.

    Raises:
        DataError: the line has no label, or a label that the header does not name; its channels have different numbers
            of samples; or a sample is not a number.
    """
    *channels, label = text.strip().split(":")
    label = label.strip()
    if not channels or not label:
        raise DataError(f"{where[0].upper()}{where[1:]} does not end with a colon and a label.", _SEE)
    if header.labels and label not in header.labels:
        raise DataError(
            f"The label {short_repr(label, 40)} of {where} is not in the list of labels after @classLabel in the "
            "header.",
            "Correct the label, or add it to that list.",
        )
    samples = [[_parse_sample_of_ts_file(field, where, header) for field in channel.split(",")] for channel in channels]
    if len({len(channel) for channel in samples}) > 1:
        sizes = ", ".join(str(len(channel)) for channel in samples[:6])
        raise DataError(
            f"The channels of {where} have different numbers of samples: {sizes}.",
            "Give each channel the same number of samples. Write ? for a missing sample.",
        )
    return Recording(where, np.array(samples, np.float64).T, label)


def _parse_sample_of_ts_file(field: str, where: str, header: _Header) -> float:
    """Parse one sample of a `.ts` file as a number. A sample that is missing (`?` or `NaN`) becomes NaN.

    Raises:
        DataError: `field` is not a number; or the sample is missing, but the header says @missing false.
    """
    field = field.strip()
    if field.lower() in _MISSING:
        if header.flags.get("missing") is False:
            raise DataError(
                f"A sample of {where} is missing, but the header says @missing false.",
                "Write a number in its place, or write @missing true in the header.",
            )
        return math.nan
    try:
        return float(field)
    except ValueError:
        raise DataError(
            f"The sample {short_repr(field, 30)} in {where} is not a number.",
            "Write a number in its place, or ? for a missing sample.",
        ) from None
