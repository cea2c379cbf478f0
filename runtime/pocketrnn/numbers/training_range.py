"""The ranges of numbers in training: find them, and warn once of numbers far outside of them, or refuse these."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pocketrnn.errors import InputError, SequenceError, short_repr
from pocketrnn.numbers.number_input import NumberInput, convert_sequence_to_array

__all__ = ["OutOfRange", "TrainingRangeCheck", "find_channel_ranges"]

OutOfRange = Literal["warn", "refuse", "ignore"]
_WAYS: Final = ("warn", "refuse", "ignore")
_log: Final = logging.getLogger(__name__)


def find_channel_ranges(rules: NumberInput, sequences: Iterable[object]) -> tuple[tuple[float, float], ...] | None:
    """Find the smallest and the largest number of each channel in all sequences, in the channel's unit.

    Missing samples do not count. Return None if a channel has only missing samples, or an infinite one.

    Args:
        sequences: the sequences as the sensor gives them.

    Raises:
        SequenceError: an item is not a sequence of numbers with the channels of the rules.
    """
    least = np.full(len(rules.channels), np.inf)
    most = -least
    for sequence in sequences:
        numbers = rules.convert_to_channel_units(
            convert_sequence_to_array(sequence, rules.channels, rules.integer_scale)
        )
        least, most = np.fmin(least, np.fmin.reduce(numbers)), np.fmax(most, np.fmax.reduce(numbers))
    if not (np.isfinite(least) & np.isfinite(most)).all():
        return None
    return tuple(zip(least.tolist(), most.tolist(), strict=True))


class TrainingRangeCheck:
    """Compares samples with the training range before they are scaled. It warns once of samples far outside this range,
    or refuses them.

    Args:
        rules: the rules for the classifier's sequences, with the training range.
        out_of_range: `warn` warns once, `refuse` refuses the sequence, `ignore` does neither.

    Raises:
        InputError: `out_of_range` is not one of these words.
    """

    def __init__(self, name: str, rules: NumberInput, out_of_range: str) -> None:
        if out_of_range not in _WAYS:
            raise InputError(
                f"out_of_range is {short_repr(out_of_range)}, but it must be one of: {', '.join(_WAYS)}.",
                "Give one of these words.",
            )
        self.out_of_range = out_of_range
        self._name = name
        self._rules = rules
        self._quiet = out_of_range == "ignore" or rules.training_range is None

    def __call__(self, numbers: NDArray[Any], first: int) -> None:
        """Compare numbers [time, channels] in the channels' units with the training range. `first` is the index in the
        recording of the first of these steps. Raise a SequenceError if a number is far outside the training range, and
        `out_of_range` is `refuse`."""
        ranges = self._rules.training_range
        if self._quiet or ranges is None or not (far := self._rules.mark_numbers_far_outside_training(numbers)).any():
            return
        step, channel = (int(found[0]) for found in np.nonzero(far))
        least, most = ranges[channel]
        unit = f" {self._rules.units[channel]}" if self._rules.units else ""
        said = (
            f"Channel {self._rules.channels[channel]!r} is {numbers[step, channel]:.6g} at step {first + step} "
            f"(counted from 0), far outside of {least:.6g} to {most:.6g}{unit}, in which {self._name} was trained."
        )
        remedy = "Check the unit. An export with integer_scale converts the integers of a sensor to the unit."
        if self.out_of_range == "refuse":
            raise SequenceError(said, remedy)
        self._quiet = True
        _log.warning("%s %s The answer may mean nothing; this warning is shown once", said, remedy)
