"""Labelled sequences of numbers, from a file or a caller. They can be divided into windows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import DataError, SequenceError, short_repr
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.tables.column_and_label_checks import check_same_labels
from pocketrnn_training.rows.class_labels import convert_codes_to_targets, sort_and_check_classes
from pocketrnn_training.rows.labelled_rows import LabelledRows, split_each_class
from pocketrnn_training.settings.number_settings import NumberSettings
from pocketrnn_training.settings.settings_of_all_runs import Settings

__all__ = ["LabelledSequences", "Recording", "compute_mean_and_scale", "make_labelled_sequences"]

Samples = npt.NDArray[Any]
# If a channel's deviation is less than this share of its mean, the channel is constant except for rounding, and it is
# not scaled.
_CONSTANT: Final = 1e-12


@dataclass(frozen=True)
class Recording:
    """A sequence of numbers as a file contains it.

    Attributes:
        name: the name of the sequence, for messages.
        samples: numbers [time, channels], as the sensor gives them; NaN is a missing sample.
        labels: one label for the whole sequence, or one for each step.
    """

    name: str
    samples: Samples
    labels: str | Sequence[str]


@dataclass(frozen=True)
class LabelledSequences(LabelledRows):
    """Sequences of numbers, each with its class.

    Attributes:
        sequences: the sequence of each row, numbers [time, channels], as the sensor gives them.
        targets: int64 [rows], the index of a row's class in `labels`.
        labels: the classes.
        rules: the channels and the other options of the numbers. Their mean and scale are set later, from the training
            rows.
        source: where the rows come from, in words.
        recordings: int64 [rows], the number of the recording that the row is a window of.
        names: the name of each row's sequence, for messages.
        notes: sentences for the user about the reading, such as how many rows were left out.
        licence: the licence of the rows; None if it is not known.

    Example:
        >>> data = read_sequences([Path("BasicMotions_TRAIN.ts")])
        >>> len(data), data.labels[data.targets[0]]
        (40, 'Standing')
    """

    ROW: ClassVar[str] = "sequence"
    STEPS: ClassVar[str] = "steps"

    sequences: Sequence[Samples] = field(repr=False)
    targets: npt.NDArray[np.int64] = field(repr=False)
    labels: tuple[str, ...]
    rules: NumberInput
    source: str
    recordings: npt.NDArray[np.int64] = field(repr=False)
    names: Sequence[str] = field(repr=False)
    notes: tuple[str, ...] = ()
    licence: str | None = None

    @property
    def inputs(self) -> Sequence[Samples]:
        """The input of the classifier for each row: its sequence."""
        return self.sequences

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """The number of the group of each row, int64 [rows]. Windows of one recording are one group.

        Example:
            >>> data.groups.tolist()
            [0]
        """
        return self.recordings

    def split(
        self, validation: LabelledSequences | None, settings: Settings
    ) -> tuple[LabelledSequences, LabelledSequences]:
        """Return the training rows and the validation rows of a run.

        If `validation` is given, it becomes the validation rows. Otherwise a part of the recordings of each class is
        held out, each with all of its windows. If the accuracy is measured by cross-validation
        (`NumberSettings.by_folds`), both results are all rows.

        Raises:
            DataError: the validation rows have other labels or channels; or rows must be held out, and every class has
                fewer than two recordings.

        Example:
            >>> training, held_out = data.split(None, NumberSettings())
        """
        if validation is not None:
            _check_same_labels_and_rules(self, validation)
            return self, validation
        numbers, first, inverse = np.unique(self.recordings, return_index=True, return_inverse=True)
        what = "sequence" if len(numbers) == len(self) else "stretch of a recording to take windows from"
        rng = np.random.default_rng(settings.seed)
        _, held_out = split_each_class(self.targets[first], self.labels, settings.validation_share, rng, row_word=what)
        is_held_out = np.isin(inverse, held_out)
        if isinstance(settings, NumberSettings) and settings.by_folds(len(numbers)):
            return self, self
        return self.rows(np.flatnonzero(~is_held_out)), self.rows(np.flatnonzero(is_held_out))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The number of steps of each row, int64 [rows].

        Example:
            >>> data.lengths.tolist()
            [5]
        """
        return np.fromiter(map(len, self.sequences), np.int64, len(self))

    def rows(self, chosen: npt.NDArray[np.int64]) -> LabelledSequences:
        """Return the chosen rows, int64 [chosen], in the given order. `labels` stays the same.

        Example:
            >>> len(data.rows(np.array([0, 0])))
            2
        """
        return replace(
            self,
            sequences=[self.sequences[i] for i in chosen.tolist()],
            targets=self.targets[chosen],
            recordings=self.recordings[chosen],
            names=[self.names[i] for i in chosen.tolist()],
        )

    def format_row(self, row: int) -> str:
        """Return the name and the length of a row as text for a report.

        Example:
            >>> data.format_row(0)
            '1: 5 steps'
        """
        steps = len(self.sequences[row])
        return f"{self.names[row]}: {steps:,} step{'' if steps == 1 else 's'}"


def make_labelled_sequences(
    recordings: Iterable[Recording], rules: NumberInput, labels: tuple[str, ...] | None, source: str
) -> LabelledSequences:
    """Make labelled rows from recordings: one row for each recording, or for each window if `rules.window` is set.

    Windows are cut from stretches of consecutive steps with the same label. The steps after the last whole window of a
    stretch are left out. `LabelledSequences.notes` says how many stretches are shorter than a window.

    Args:
        recordings: the recordings of the files.
        rules: the channels, the window, and the value for a missing sample.
        labels: the classes and their order; without it, the labels that occur, sorted.
        source: where the recordings come from, in words.

    Raises:
        DataError: there is no recording; a sample is infinite; a sample is missing and `rules.missing` is None; a
            recording has several labels and `rules.window` is None; a label is not one of `labels`; or `labels` is
            None and only one label occurs.
    """
    sequences: list[Samples] = []
    names: list[str] = []
    codes: list[int] = []
    of_recording: list[int] = []
    code_of: dict[str, int] = {}
    stretches = short = 0
    for recording in recordings:
        _check_samples(recording, rules)
        for start, stop, label in _find_stretches_of_equal_labels(recording, rules):
            samples = recording.samples[start:stop]
            windows = (
                [(0, stop - start)] if rules.window is None else _list_window_bounds_in_stretch(stop - start, rules)
            )
            short += not windows
            for first, end in windows:
                sequences.append(samples[first:end])
                whole = rules.window is None
                names.append(recording.name if whole else f"{recording.name}, from step {start + first}")
                codes.append(code_of.setdefault(label, len(code_of)))
                of_recording.append(stretches)
            stretches += 1
    notes = (f"{short:,} of {stretches:,} stretches are shorter than a window, and left out.",) if short else ()
    if not sequences:
        said = (
            f" A window has {rules.window} steps, but no {rules.window} steps in a row have one label." if short else ""
        )
        raise DataError(f"{source} holds no sequences.{said}", "Give a file with labelled sequences.")
    if labels is None:
        labels = sort_and_check_classes(code_of, f"{len(sequences)} sequences of {source}", "sequences")
    targets = convert_codes_to_targets(np.array(codes, np.int64), tuple(code_of), labels, source)
    return LabelledSequences(sequences, targets, labels, rules, source, np.array(of_recording, np.int64), names, notes)


def _check_samples(recording: Recording, rules: NumberInput) -> None:
    """Raise a DataError if a recording has no steps, or has samples that the rules refuse, such as infinity."""
    if not len(recording.samples):
        raise DataError(
            f"{recording.name} has no steps, but at least one is needed.", "Leave out this sequence and its label."
        )
    try:
        rules.check_samples(recording.samples)
    except SequenceError as error:
        gap = "missing" in error.problem
        remedy = (
            "Fill the gap, or give the number that replaces each missing sample: --missing 0." if gap else error.remedy
        )
        raise DataError(f"{recording.name}: {error.problem}", remedy) from None


def _find_stretches_of_equal_labels(recording: Recording, rules: NumberInput) -> list[tuple[int, int, str]]:
    """Divide a recording into stretches of consecutive steps with the same label.

    Returns:
        The start, the end (exclusive) and the label of each stretch, in order.

    Raises:
        DataError: the recording has several labels, but `rules.window` is None, so that it must be one row.
    """
    if isinstance(recording.labels, str):
        return [(0, len(recording.samples), recording.labels)]
    labels = np.array(recording.labels, dtype=object)
    starts = [0, *(np.flatnonzero(labels[1:] != labels[:-1]) + 1).tolist()]
    stretches = [
        (start, stop, str(labels[start])) for start, stop in zip(starts, [*starts[1:], len(labels)], strict=True)
    ]
    if rules.window is None and len(stretches) > 1:
        (_, _, first), (at, _, second) = stretches[:2]
        raise DataError(
            f"{recording.name} has several labels: {first!r}, and {second!r} from step {at} (counted from 0) on.",
            "If one column tells the sequences apart, name it with --sequence-column. If the label changes during a "
            "sequence, train on windows of so many steps: --window 128.",
        )
    return stretches


def _list_window_bounds_in_stretch(steps: int, rules: NumberInput) -> list[tuple[int, int]]:
    """List the start and the end (exclusive) of each window of `rules.window` steps in a stretch of `steps` steps.

    A window begins every `rules.hop` steps; if that is None, each window begins where the one before ends.
    """
    assert rules.window is not None  # noqa: S101 - the caller looked
    starts = range(0, steps - rules.window + 1, rules.hop or rules.window)
    return [(start, start + rules.window) for start in starts]


def _check_same_labels_and_rules(data: LabelledSequences, validation: LabelledSequences) -> None:
    """Raise a DataError if the validation rows were read with other labels or other rules than the training rows."""
    remedy = "Read the validation rows with the labels and options of the training rows."
    check_same_labels(validation.labels, data.labels, "The validation rows have other labels", remedy)
    rules = asdict(data.rules)
    for name, value in asdict(validation.rules).items():
        if value != rules[name]:
            raise DataError(
                f"The validation rows were read with {name} {short_repr(value)}, but the training rows with {name} "
                f"{short_repr(rules[name])}.",
                remedy,
            )


def compute_mean_and_scale(sequences: Sequence[Samples]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute the mean and the standard deviation of each channel over the steps of all sequences.

    Return the means, then the deviations. Missing samples (NaN) do not count. A channel that never changes gets 1 in
    place of its deviation 0, so that samples can be divided by it.

    Args:
        sequences: arrays [time, channels], at least one.
    """
    channels = sequences[0].shape[1]
    total, count = np.zeros(channels), np.zeros(channels)
    for sequence in sequences:
        total += np.nansum(sequence, axis=0, dtype=np.float64)
        count += (~np.isnan(sequence)).sum(axis=0)
    mean = total / np.maximum(count, 1)
    squares = np.zeros(channels)
    for sequence in sequences:
        squares += np.nansum((sequence - mean) ** 2, axis=0)
    scale = np.sqrt(squares / np.maximum(count, 1))
    scale[scale <= _CONSTANT * np.abs(mean)] = 1.0
    return tuple(mean.tolist()), tuple(scale.tolist())
