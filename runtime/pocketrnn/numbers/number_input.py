"""How a sequence of numbers is brought to what a module was trained on: channels, scale, missing samples, length.

The arithmetic is in double precision and rounded once, to float32, as where a scaler of scikit-learn stands before a
`torch.tensor(..., dtype=torch.float32)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pocketrnn.errors import InputError, SequenceError, shown

__all__ = ["FAR", "NumberInput", "Watch", "array_of", "step_or_steps"]

Samples = NDArray[np.float32]
# So many channels are not those of a sensor, but of an image or a mistake.
MOST_CHANNELS: Final = 65_536
# Numbers that are this many times the width of the training range outside of it are far. In aeon's classification sets
# (motions, gestures, speech, outlines, power) no test row is further than 0.5 from the range of the training rows,
# counts of infections 2.1; from that of a tenth of the rows none but these is further than 1.8. A wrong unit is off by
# 10 to 1,000.
FAR: Final = 4.0
# Is given numbers [time, channels] in the channels' own units, and the number of the first step.
Watch = Callable[[NDArray[np.float64], int], None]
MOST_STEPS: Final = (1 << 31) - 1


@dataclass(frozen=True)
class NumberInput:
    """The steps from a sequence to the graph's input, in this order: integers are multiplied by `integer_scale`, a
    missing sample becomes `missing`, `mean` is taken off, the rest divided by `scale`, and kept within `clip`.

    Attributes:
        channels: the names of the channels, in the order of the module's input.
        units: of each channel, such as "m/s^2"; None where nobody said.
        integer_scale: what a whole number of each channel is multiplied by, as for int16 from a sensor; None for 1.
        mean, scale: of each channel: the module sees (number - mean) / scale. None for 0 and 1.
        clip: the least and the largest number that the module sees; None for no limit.
        missing: what stands for a sample that is NaN, in the channel's own unit; None refuses such a sequence.
        steps: the number of time steps that every sequence has; None where any number will do.
        pad_side: where a sequence of fewer than `steps` is filled up; None refuses it.
        pad_value: what it is filled up with, as the module sees it.
        window, hop: how many steps of a recording are answered at once, and how far the next begins after; None where a
            recording is one sequence.
        rate: samples a second; None where nobody said.
        training_range: the least and the largest number of each channel in training, in its own unit; None where nobody
            said. Nothing is cut to it: see `far`.

    Raises:
        InputError: a member has not one number for each channel, or is not such a number.

    Example:
        >>> rules = NumberInput(("x", "y"), mean=(1.0, 0.0), scale=(2.0, 1.0))
        >>> rules.prepared([[3, 5], [1, 6]]).tolist()
        [[1.0, 5.0], [0.0, 6.0]]
    """

    kind: ClassVar[str] = "numbers"

    channels: tuple[str, ...]
    units: tuple[str, ...] | None = None
    integer_scale: tuple[float, ...] | None = None
    mean: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    clip: tuple[float, float] | None = None
    missing: float | None = None
    steps: int | None = None
    pad_side: Literal["left", "right"] | None = None
    pad_value: float = 0.0
    window: int | None = None
    hop: int | None = None
    rate: float | None = None
    training_range: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self) -> None:
        _check_names(self.channels)
        for name in ("units", "integer_scale", "mean", "scale", "training_range"):
            given = getattr(self, name)
            if given is not None and len(given) != len(self.channels):
                raise InputError(
                    f"{name} has {len(given)} values for {len(self.channels)} channels.", "Give one for each channel."
                )
        for name in ("integer_scale", "mean", "scale"):
            for number in getattr(self, name) or ():
                if not _is_finite(number) or (number == 0 and name != "mean"):
                    raise InputError(
                        f"{name} holds {shown(number)}.",
                        "Give finite numbers; of a channel that never changes, the scale is 1, as in scikit-learn.",
                    )
        if self.clip is not None and not (
            len(self.clip) == 2 and all(map(_is_number, self.clip)) and self.clip[0] < self.clip[1]
        ):
            raise InputError(f"clip is {shown(self.clip)}.", "Give the least and the largest number.")
        for name in ("missing", "pad_value"):
            if (number := getattr(self, name)) is not None and not _is_finite(number):
                raise InputError(f"{name} is {shown(number)}.", "Give a finite number.")
        for pair in self.training_range or ():
            if len(pair) != 2 or not all(map(_is_finite, pair)) or pair[0] > pair[1]:
                raise InputError(
                    f"training_range holds {shown(pair)}.", "Give the least and the largest number of each channel."
                )
        self._check_steps()

    def _check_steps(self) -> None:
        for name in ("steps", "window", "hop"):
            number = getattr(self, name)
            if number is not None and (type(number) is not int or not 1 <= number <= MOST_STEPS):
                raise InputError(f"{name} is {shown(number)}.", "Give a whole number from 1.")
        if self.rate is not None and not (_is_finite(self.rate) and self.rate > 0):
            raise InputError(f"rate is {shown(self.rate)}.", "Give the samples a second, a number above 0.")
        if self.pad_side not in (None, "left", "right"):
            raise InputError(f"pad_side is {shown(self.pad_side)}.", "Use 'left' or 'right'.")
        if self.pad_side is not None and self.steps is None:
            raise InputError("pad_side is given, and no number of steps.", "Give steps, to which is filled up.")
        if self.hop is not None and self.window is None:
            raise InputError("hop is given, and no window.", "Give window, after which the next begins.")
        if self.steps is not None and self.window is not None and self.window > self.steps:
            raise InputError(
                f"A window has {self.window} steps, and the module takes {self.steps}.", "Give a window of as many."
            )

    @property
    def document(self) -> dict[str, Any]:
        """The rules as classifier.json says them: what says something.

        Example:
            >>> NumberInput(("x",), rate=50.0).document
            {'channels': ['x'], 'rate': 50.0}
        """
        members = {field.name: getattr(self, field.name) for field in fields(self)}
        lists = {name: list(value) if isinstance(value, tuple) else value for name, value in members.items()}
        if self.training_range is not None:
            lists["training_range"] = [list(pair) for pair in self.training_range]
        return {name: value for name, value in lists.items() if value is not None and (name, value) != ("pad_value", 0)}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> NumberInput:
        """The input that a document of `document` describes.

        Raises:
            InputError: as the class.

        Example:
            >>> NumberInput.of({"channels": ["x"], "rate": 50.0}).rate
            50.0
        """
        whole = {"steps", "window", "hop"}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else int(value) if name in whole else value
            for name, value in document.items()
        }
        if "training_range" in values:
            values["training_range"] = tuple(tuple(map(float, pair)) for pair in values["training_range"])
        return cls(**values)

    def prepared(self, sequence: object, watch: Watch | None = None) -> Samples:
        """The input of the graph for a sequence.

        Args:
            sequence: numbers [time, channels]; of a single channel, also [time]. An array, lists, or a table with a
                column for each channel by its name.
            watch: as for `scaled`.

        Returns:
            float32 [time, channels].

        Raises:
            SequenceError: it has other channels or another number of steps, is empty, or holds what is not a finite
                number.

        Example:
            >>> NumberInput(("x",), missing=0.0).prepared([1.0, float("nan")]).tolist()
            [[1.0], [0.0]]
        """
        samples = self.scaled(array_of(sequence, self.channels), watch=watch)
        steps = len(samples)
        if self.steps is None or steps == self.steps:
            return samples
        if steps > self.steps:
            raise SequenceError(
                f"The sequence has {steps:,} steps, and the classifier takes {self.steps:,}.",
                "Cut it, or give the whole recording to recording() or stream(), which answer each window.",
            )
        if self.pad_side is None:
            raise SequenceError(
                f"The sequence has {steps:,} steps, and the classifier takes {self.steps:,}.",
                "Give as many steps; or export it with a pad_side, if it was trained on sequences that were filled up.",
            )
        filled = np.full((self.steps, len(self.channels)), self.pad_value, np.float32)
        start = self.steps - steps if self.pad_side == "left" else 0
        filled[start : start + steps] = samples
        return filled

    def check_samples(self, samples: NDArray[Any], first: int = 0) -> None:
        """Refuse samples [time, channels] of which one is infinite, or missing where the rules have nothing for it.

        Args:
            samples: as `array_of` gives them.
            first: which step of the recording the first is.

        Raises:
            SequenceError: one is; it is named by its channel and its step.

        Example:
            >>> NumberInput(("x",)).check_samples(np.array([[1.0]]))
        """
        infinite, gaps = np.isinf(samples), np.isnan(samples)
        if infinite.any():
            raise _at(infinite, self.channels, "infinite", "Give finite numbers.", first)
        if gaps.any() and self.missing is None:
            raise _at(
                gaps, self.channels, "missing (NaN)",
                "Fill the gap first; or export it with missing=, the value that stands for one.", first,
            )  # fmt: skip

    def in_units(self, samples: NDArray[Any]) -> NDArray[np.float64]:
        """Samples [time, channels] in the channels' own units, in double precision.

        Example:
            >>> NumberInput(("x",), integer_scale=(0.001,)).in_units(np.array([[1000]])).tolist()
            [[1.0]]
        """
        numbers = samples.astype(np.float64)
        if self.integer_scale is not None and samples.dtype.kind in "iu":
            numbers *= self.integer_scale
        return numbers

    def far(self, numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which numbers are far outside of the training range: by more than `FAR` times its width. If a channel never
        changed in training, its size counts as the width, or 1 where it was 0.

        Args:
            numbers: [time, channels], in the channels' own units.

        Returns:
            bool [time, channels]; nothing is far where no range is known.

        Example:
            >>> NumberInput(("x",), training_range=((-1.0, 1.0),)).far(np.array([[2.0], [980.0]])).tolist()
            [[False], [True]]
        """
        if self.training_range is None:
            return np.zeros(numbers.shape, bool)
        least, most = np.array(self.training_range).T
        width = np.where(most > least, most - least, np.maximum(np.abs(least), np.abs(most)))
        beyond = FAR * np.where(width > 0, width, 1.0)
        far: NDArray[np.bool_] = (numbers < least - beyond) | (numbers > most + beyond)
        return far

    def scaled(self, samples: NDArray[Any], first: int = 0, watch: Watch | None = None) -> Samples:
        """Samples [time, channels] as the graph is given them, of any number of steps.

        Args:
            samples: as `array_of` gives them.
            first: which step of the recording the first is.
            watch: is given the numbers in the channels' own units, and `first`; it may refuse them.

        Raises:
            SequenceError: one is infinite, missing, or too large for float32.

        Example:
            >>> NumberInput(("x",), scale=(2.0,)).scaled(np.array([[3.0]])).tolist()
            [[1.5]]
        """
        numbers = self.in_units(samples)
        self.check_samples(numbers, first)
        if watch is not None:
            watch(numbers, first)
        if self.missing is not None:
            numbers[np.isnan(numbers)] = self.missing
        if self.mean is not None:
            numbers -= self.mean
        if self.scale is not None:
            numbers /= self.scale
        if self.clip is not None:
            np.clip(numbers, *self.clip, out=numbers)
        with np.errstate(over="ignore"):
            made = numbers.astype(np.float32)
        if np.isinf(made).any():
            raise _at(np.isinf(made), self.channels, "too large for float32", "Check the sensor's unit.", first)
        return made


def step_or_steps(samples: object, channels: Sequence[str]) -> NDArray[Any]:
    """Arriving samples of a recording as numbers [time, channels]: steps, or one step [channels].

    Raises:
        SequenceError: it is neither.

    Example:
        >>> step_or_steps([1, 2], ["x", "y"]).shape
        (1, 2)
    """
    one = len(channels) > 1 and np.ndim(samples) == 1 and len(samples) == len(channels)  # type: ignore[arg-type]
    return array_of([samples] if one else samples, channels)


def array_of(sequence: object, channels: Sequence[str]) -> NDArray[Any]:
    """A sequence as numbers [time, channels].

    Args:
        sequence: as for `NumberInput.prepared`.
        channels: their names.

    Raises:
        SequenceError: it is not such a sequence.

    Example:
        >>> array_of([[1, 2], [3, 4]], ["x", "y"]).shape
        (2, 2)
    """
    by_name = getattr(sequence, "columns", None)
    if by_name is not None and not isinstance(sequence, np.ndarray):
        sequence = _columns(sequence, [str(name) for name in getattr(sequence, "column_names", by_name)], channels)
    if isinstance(sequence, str | bytes | Mapping):
        raise SequenceError(
            f"{_named(sequence)} is not a sequence of numbers.", "Give an array [time, channels], or a list of rows."
        )
    try:
        # An array of Arrow holds its lists without a copy in Python's objects.
        given = sequence.to_pylist() if hasattr(sequence, "to_pylist") else sequence
        if isinstance(given, list | tuple) and any(value is None for value in _flat(given)):
            given = [[math.nan if v is None else v for v in row] if isinstance(row, list | tuple) else
                     math.nan if row is None else row for row in given]  # fmt: skip
        found = np.asarray(given)
    # Whatever an object's conversion raises; rows of several lengths are a ValueError.
    except Exception:
        found = np.empty(0, object)
    if found.dtype.kind not in "iufb" or found.ndim not in (1, 2):
        raise SequenceError(
            f"{_named(sequence)} is not a sequence of numbers [time, channels].",
            f"Give an array or rows of {len(channels)} numbers.",
        )
    if found.ndim == 1 and (len(channels) == 1 or not found.size):
        found = found.reshape(-1, len(channels))
    if found.ndim == 1 or found.shape[1] != len(channels):
        wanted = f"{len(channels)} channel{'s' * (len(channels) != 1)} ({', '.join(channels[:6])})"
        raise SequenceError(
            f"The sequence has the shape {list(found.shape)}, and the classifier takes {wanted}.",
            "Give an array [time, channels].",
        )
    if not len(found):
        raise SequenceError("The sequence is empty.", "Give at least one time step.")
    return found


def _named(sequence: object) -> str:
    """A sequence in a message: an array by its shape, whose numbers take several lines."""
    if isinstance(sequence, np.ndarray):
        return f"An array of {sequence.dtype} and the shape {list(sequence.shape)}"
    return shown(sequence, 40).replace("\n", " ")


def _flat(rows: Sequence[Any]) -> Sequence[Any]:
    if rows and isinstance(rows[0], list | tuple):
        return [value for row in rows if isinstance(row, list | tuple) for value in row]
    return rows


def _columns(table: Any, names: Sequence[str], channels: Sequence[str]) -> Any:
    """The columns of a table, such as one of pandas or Arrow, that are the channels, in their order."""
    if missing := [name for name in channels if name not in names]:
        raise SequenceError(
            f"The table has no column {missing[0]!r}; it has {', '.join(map(repr, names[:6])) or 'none'}.",
            f"Give a column for each channel: {', '.join(channels[:6])}.",
        )
    try:
        return np.stack([np.asarray(table[name]) for name in channels], axis=1)
    # Whatever a table raises.
    except Exception:
        raise SequenceError(
            "The table's columns are not numbers.", "Give a column of numbers for each channel."
        ) from None


def _at(where: NDArray[np.bool_], channels: Sequence[str], what: str, remedy: str, first: int = 0) -> SequenceError:
    step, channel = (int(found[0]) for found in np.nonzero(where))
    count = int(where.sum())
    more = f", and {count - 1:,} more are" if count > 1 else ""
    return SequenceError(
        f"Channel {channels[channel]!r} is {what} at step {first + step} (counted from 0){more}.", remedy
    )


def _check_names(channels: object) -> None:
    if isinstance(channels, str) or not isinstance(channels, tuple) or not channels:
        raise InputError(f"channels is {shown(channels)}.", "Give the channels' names, such as ('ax', 'ay', 'az').")
    if len(channels) > MOST_CHANNELS:
        raise InputError(f"There are {len(channels):,} channels.", f"Give at most {MOST_CHANNELS:,}.")
    for name in channels:
        if not isinstance(name, str) or not name or not name.isprintable() or len(name) > 200:
            raise InputError(f"{shown(name)} is not a channel's name.", "Give a word or two.")
    if len(set(channels)) < len(channels):
        twice = next(name for name in channels if channels.count(name) > 1)
        raise InputError(f"The channel {shown(twice, 40)} is there twice.", "Give each channel once.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.floating | np.integer) and not isinstance(value, bool) and value == value


def _is_finite(value: object) -> bool:
    try:
        return _is_number(value) and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:
        # A whole number that no float holds.
        return False
