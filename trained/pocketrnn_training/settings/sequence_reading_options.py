"""A user's options for reading sequences of numbers from files. This needs neither PyTorch nor pyarrow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pocketrnn.errors import InputError
from pocketrnn.numbers.number_input import NumberInput

__all__ = ["NOTHING_SAID", "OF_NUMBERS", "SequenceOptions"]

# The suffixes of files that hold sequences of numbers. A table holds some where its channels are named.
OF_NUMBERS: Final = (".ts", ".npz")


@dataclass(frozen=True)
class SequenceOptions:
    """A user's options for reading sequences of numbers.

    Attributes:
        channels: the names of the channels, which are columns of a table. None if the files show how many there are.
        sequence_column: the column of a table that names the sequence of each row; None if each file is one
            recording.
        time_column: the column of a table with the time of each row, by which the rows of a sequence are sorted. None
            if they are in order.
        channels_first: whether `x` of .npz files is [sequences, channels, time], as aeon has it.
        missing, window, hop, rate, integer_scale, units: see `NumberInput`; for the last two, a single value applies to
            all channels.

    Example:
        >>> SequenceOptions(("ax", "ay"), window=50).window
        50
    """

    channels: tuple[str, ...] | None = None
    sequence_column: str | None = None
    missing: float | None = None
    window: int | None = None
    hop: int | None = None
    rate: float | None = None
    integer_scale: tuple[float, ...] | None = None
    units: tuple[str, ...] | None = None
    time_column: str | None = None
    channels_first: bool = False

    def of_classifier(self, rules: NumberInput) -> SequenceOptions:
        """Return these options with the channels, windows and other number rules of a trained classifier, so that data
        is read as for its training.

        Raises:
            InputError: the user gave an option with another value than in the rules.

        Example:
            >>> SequenceOptions().of_classifier(NumberInput(("x",), window=50)).window
            50
        """
        made = SequenceOptions(
            rules.channels,
            self.sequence_column,
            rules.missing,
            rules.window,
            rules.hop,
            rules.rate,
            rules.integer_scale,
            rules.units,
            self.time_column,
            self.channels_first,
        )
        for name in ("channels", "missing", "window", "hop", "rate", "integer_scale", "units"):
            asked, known = getattr(self, name), getattr(made, name)
            if asked not in (None, known):
                raise InputError(
                    f"{name} is {asked!r}, but the classifier was trained with {known!r}.", f"Leave {name} out."
                )
        return made

    def rules(self, channel_count: int) -> NumberInput:
        """Make the rules for reading sequences of `channel_count` channels. Their mean and scale are not known yet.

        Raises:
            InputError: a value is out of its range, or another number of channels is named.

        Example:
            >>> SequenceOptions().rules(2).channels
            ('channel_1', 'channel_2')
        """
        channels = self.channels or tuple(f"channel_{number}" for number in range(1, channel_count + 1))
        if len(channels) != channel_count:
            raise InputError(
                f"{len(channels)} channels are named, but the sequences have {channel_count}.",
                f"Name exactly {channel_count} channels.",
            )
        return NumberInput(
            channels,
            units=_repeat_single_value(self.units, channel_count),
            integer_scale=_repeat_single_value(self.integer_scale, channel_count),
            missing=self.missing,
            window=self.window,
            hop=self.hop,
            rate=self.rate,
        )


def _repeat_single_value(values: tuple[Any, ...] | None, channel_count: int) -> tuple[Any, ...] | None:
    """Repeat a single value for each channel. Return several values, or None, unchanged."""
    return values * channel_count if values is not None and len(values) == 1 else values


NOTHING_SAID: Final = SequenceOptions()
