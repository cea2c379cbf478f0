"""A user's choices about sequences of numbers, and which files hold them. Needs neither PyTorch nor pyarrow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pocketrnn.errors import InputError
from pocketrnn.numbers.number_input import NumberInput

__all__ = ["NOTHING_SAID", "OF_NUMBERS", "SequenceOptions"]

# Files whose ending says that they hold sequences of numbers. A table does where its channels are named.
OF_NUMBERS: Final = (".ts", ".npz")


@dataclass(frozen=True)
class SequenceOptions:
    """A user's choices about sequences of numbers.

    Attributes:
        channels: their names; of a table, the columns. None where a file counts them.
        sequence_column: the column of a table that says which sequence a row is of; None where each file is one
            recording.
        time_column: the column of a table that says when a row was; the rows of a sequence are put in its order. None
            where they stand in order.
        channels_first: whether `x` of .npz files is [sequences, channels, time], as aeon has it.
        missing, window, hop, rate, integer_scale, units: see `NumberInput`; of the last two, one is for all channels.

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
        """Those with which data is read for a classifier that has these rules.

        Raises:
            InputError: other ones are said.

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
                raise InputError(f"{name} is {asked!r}, and that of the classifier is {known!r}.", "Leave it out.")
        return made

    def rules(self, count: int) -> NumberInput:
        """The rules of sequences of `count` channels, without mean and scale.

        Raises:
            InputError: a value is out of its range, or there are other channels.

        Example:
            >>> SequenceOptions().rules(2).channels
            ('channel_1', 'channel_2')
        """
        channels = self.channels or tuple(f"channel_{number}" for number in range(1, count + 1))
        if len(channels) != count:
            raise InputError(
                f"{len(channels)} channels are named, and the sequences have {count}.", "Name each channel once."
            )
        return NumberInput(
            channels,
            units=_for_each(self.units, count),
            integer_scale=_for_each(self.integer_scale, count),
            missing=self.missing,
            window=self.window,
            hop=self.hop,
            rate=self.rate,
        )


def _for_each(given: tuple[Any, ...] | None, channels: int) -> tuple[Any, ...] | None:
    return given * channels if given is not None and len(given) == 1 else given


NOTHING_SAID: Final = SequenceOptions()
