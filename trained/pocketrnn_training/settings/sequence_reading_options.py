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
        channels: the names of the channels; for a table, they are the names of its columns. None if the files show how
            many channels there are.
        sequence_column: the column of a table that names the sequence of each row; None if each file is one sequence.
        time_column: the column of a table that holds the time of each row, by which rows are sorted; None if they are
            in order.
        channels_first: whether the array `x` of .npz files is [sequences, channels, time], as in aeon.
        missing, window, hop, rate, integer_scale, units: the same as in `NumberInput`. A single value for
            `integer_scale` or `units` applies to all channels.

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
        """Return these options with the values of a trained classifier, so that data is read as in its training.

        Raises:
            InputError: the user gave an option another value than the classifier has.

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
                    f"{name} is {asked!r}, but the classifier was trained with {known!r}.",
                    f"Leave out {name}: the value of the classifier is used.",
                )
        return made

    def rules(self, channel_count: int) -> NumberInput:
        """Make the rules for reading sequences of `channel_count` channels, without the mean and scale of the channels.

        Raises:
            InputError: a value is out of its range; or `channels` names another number of channels.

        Example:
            >>> SequenceOptions().rules(2).channels
            ('channel_1', 'channel_2')
        """
        channels = self.channels or tuple(f"channel_{number}" for number in range(1, channel_count + 1))
        if len(channels) != channel_count:
            raise InputError(
                f"The option --channels names {len(channels)} channels, but each sequence has {channel_count} "
                "channels.",
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
