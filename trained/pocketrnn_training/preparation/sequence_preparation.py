"""Prepare labelled sequences of numbers for training: scale the channels, and make notices about the rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import DataError, SequenceError
from pocketrnn.numbers.training_range import find_channel_ranges
from pocketrnn_training.classifiers.architecture import SequenceArchitecture
from pocketrnn_training.classifiers.checkpoint import MADE_SIGNALS
from pocketrnn_training.classifiers.random_kernel_classifier import (
    KernelArchitecture,
    choose_dilation_of_each_kernel_bank,
)
from pocketrnn_training.preparation.batch_augmentation import Augmentation
from pocketrnn_training.preparation.class_weights_and_notices import compute_class_weights, make_class_notices
from pocketrnn_training.preparation.prepared_data import OtherSources, Task, describe_rows
from pocketrnn_training.rows.encoded_rows import EncodedSequences
from pocketrnn_training.rows.labelled_rows import assign_folds
from pocketrnn_training.rows.labelled_sequences import LabelledSequences, compute_mean_and_scale
from pocketrnn_training.settings.number_settings import NumberSettings
from pocketrnn_training.settings.settings_of_all_runs import FEW_VALIDATION_ROWS
from pocketrnn_training.training_events import Notice

__all__ = ["prepare_sequences"]

_EXAMPLES: Final = 8
# The most numbers of an example; every bundle that is made of the checkpoint holds some examples.
_EXAMPLE_NUMBERS: Final = 4096
_FOLDS: Final = 5


def prepare_sequences(
    data: LabelledSequences,
    validation: LabelledSequences | None,
    settings: NumberSettings,
    report: Callable[[Notice], None],
    *,
    examples: Sequence[str] | None = None,
    other_sources: OtherSources,  # noqa: ARG001 - other sources are for texts, and refused before
) -> tuple[Task, NumberSettings]:
    """Prepare labelled sequences for training: hold out validation rows, and scale all rows by the training rows.

    Args:
        data: the training rows, from which validation rows are held out if `validation` is None.
        validation: the validation rows, or None.
        settings: the user's settings.
        report: the function to call with notices for the owner of the data.
        examples: None to store some validation rows in the checkpoint; any sequence to store none.
        other_sources: not used.

    Returns:
        the prepared data; and the settings, with a value for each None that the data decides.

    Raises:
        DataError: the data cannot be used.
    """
    data, validation = data.split(validation, settings)
    for text in _make_notices(data, validation, settings):
        report(Notice(text))
    decided = settings.fill_missing_values(len(data), len(data.labels))
    # Integers are converted to the channels' own units, as in the runtime.
    mean, scale = compute_mean_and_scale([data.rules.convert_to_channel_units(sequence) for sequence in data.sequences])
    known = find_channel_ranges(data.rules, data.sequences)
    rules = replace(data.rules, mean=mean, scale=scale, training_range=known)
    by_folds = validation is data
    task = Task(
        rules=rules,
        vocabulary=(),
        labels=data.labels,
        architecture=_make_architecture(settings, data),
        changes=Augmentation(settings.jitter, settings.scaling, settings.time_masking),
        rows=_encode_sequences(data, rules),
        targets=data.targets,
        class_weights=compute_class_weights(data.counts(), balanced=settings.class_weights == "balanced"),
        validation_rows=_encode_sequences(validation, rules),
        validation_targets=validation.targets,
        examples=_choose_examples(validation) if examples is None else (),
        about={
            **describe_rows(data, validation),
            **({} if examples is None else {"examples": MADE_SIGNALS}),
        },
        groups=data.recordings,
        folds=_assign_recordings_to_folds(data, settings.seed) if by_folds else None,
    )
    return task, decided


def _encode_sequences(data: LabelledSequences, rules: Any) -> EncodedSequences:
    """Scale the sequences by the rules to the module's input. Raise a DataError if the rules refuse a sequence."""
    try:
        return EncodedSequences.from_sequences(data.sequences, rules)
    except SequenceError as error:
        raise DataError(f"A sequence of {data.source} cannot be used: {error.problem}", error.remedy) from None


def _assign_recordings_to_folds(data: LabelledSequences, seed: int) -> npt.NDArray[np.int64]:
    """Assign each row to one of five folds, int64 [rows]; windows of one recording are in the same fold.

    With fewer than five recordings, there are as many folds as recordings.
    """
    folds = min(_FOLDS, len(np.unique(data.recordings)))
    return assign_folds(data, folds, np.random.default_rng(seed))


def _make_architecture(settings: NumberSettings, data: LabelledSequences) -> SequenceArchitecture | KernelArchitecture:
    channels, classes = len(data.rules.channels), len(data.labels)
    if kernels := settings.kernels_asked_for:
        dilations = choose_dilation_of_each_kernel_bank(kernels, int(np.median(data.lengths)))
        return KernelArchitecture(channels=channels, dilations=dilations, classes=classes)
    shape = {one.name for one in fields(SequenceArchitecture)} - {"channels", "classes"}
    return SequenceArchitecture(channels=channels, classes=classes, **{name: getattr(settings, name) for name in shape})


def _make_notices(data: LabelledSequences, validation: LabelledSequences, settings: NumberSettings) -> list[str]:
    """Make sentences for the user about problems of the rows: repeated sequences, too few validation rows, validation
    rows that are also training rows, and classes with few rows."""
    notices, skewed = list(data.notes), settings.class_weights == "none"
    known = _hash_sequences(data.sequences)
    if copies := len(known) - len(set(known)):
        notices.append(f"{copies:,} of {len(data):,} training sequences repeat another.")
    if validation is data:
        return [*notices, *make_class_notices(data.labels, data.counts(), None, warn_of_skew=skewed)]
    trained, asked = set(known), _hash_sequences(validation.sequences)
    if leaked := [row for row, digest in enumerate(asked) if digest in trained]:
        notices.append(
            f"{len(leaked):,} of {len(validation):,} validation sequences are trained on, such as "
            f"{validation.names[leaked[0]]}: the accuracy on new ones may be lower."
        )
    if len(validation) < FEW_VALIDATION_ROWS:
        notices.append(
            f"There are only {len(validation)} validation rows, so that one row is {100 / len(validation):.1f} points "
            "of the accuracy. Where no validation rows are given, --folds 5 measures all rows."
        )
    return [*notices, *make_class_notices(data.labels, data.counts(), validation.counts(), warn_of_skew=skewed)]


def _hash_sequences(sequences: Sequence[npt.NDArray[Any]]) -> list[bytes]:
    """Compute a digest of each sequence; sequences with the same numbers have the same digest."""
    return [
        hashlib.blake2b(np.ascontiguousarray(sequence, np.float64).tobytes(), digest_size=16).digest()
        for sequence in sequences
    ]


def _choose_examples(data: LabelledSequences) -> tuple[list[list[float | None]], ...]:
    """Choose up to 8 example sequences of at most 4,096 numbers, as lists of steps in the channels' own units.

    NaN becomes None, since JSON lacks NaN.
    """
    small = [row for row, sequence in enumerate(data.sequences) if sequence.size <= _EXAMPLE_NUMBERS]
    chosen = [small[i] for i in np.unique(np.linspace(0, len(small) - 1, _EXAMPLES).astype(int))] if small else []
    sequences = [data.rules.convert_to_channel_units(data.sequences[row]).tolist() for row in chosen]
    return tuple([[None if number != number else number for number in step] for step in one] for one in sequences)
